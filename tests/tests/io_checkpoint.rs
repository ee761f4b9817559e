//! Weights of models: what PyTorch writes is what we read.

use candle_core::{DType, Device, Tensor};
use spatialkit::io::{self, Checkpoint, CheckpointFormat, PyValue};
use spatialkit::{Error, Result};
use spatialkit_tests::{golden_dir, python, script, shared};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_same(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.dtype(), expected.dtype(), "{what}");
    assert_eq!(found.dims(), expected.dims(), "{what}");
    assert!(numbers(found) == numbers(expected), "{what}");
}

fn checkpoint(path: &Path) -> Checkpoint {
    io::read_checkpoint(path).unwrap_or_else(|e| panic!("{e}"))
}

/// The files of a folder that are beside the tensors they hold.
fn pairs(folder: &Path) -> Vec<(PathBuf, HashMap<String, Tensor>)> {
    let files = fs::read_dir(folder).unwrap().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> =
        files.filter(|p| p.extension().is_some_and(|e| e == "pt")).collect();
    files.sort();
    let expected = |p: &PathBuf| {
        // Read by candle, which knows nothing of our reader.
        candle_core::safetensors::load(p.with_extension("safetensors"), &Device::Cpu).unwrap()
    };
    files
        .into_iter()
        .map(|p| {
            let e = expected(&p);
            (p, e)
        })
        .collect()
}

/// Compares every file of a folder, read at once and one by one.
fn compare_all(folder: &Path) -> usize {
    let pairs = pairs(folder);
    for (path, expected) in &pairs {
        let checkpoint = checkpoint(path);
        let (all, weights) = (checkpoint.tensors().unwrap(), checkpoint.state_dict().unwrap());
        let whole = weights.names().all(|n| expected.contains_key(n));
        let tensors = if whole { weights } else { all };
        let read = tensors.read_all().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(read.len(), expected.len(), "{}", path.display());
        for (name, expected) in expected {
            let what = format!("{} {name}", path.display());
            let one = tensors.take(name, expected.dims()).unwrap_or_else(|e| panic!("{e}"));
            assert_same(&one, expected, &what);
            assert_same(&read[name], expected, &what);
        }
        println!("{}: {} tensors, {:?}", path.display(), read.len(), checkpoint.format());
    }
    pairs.len()
}

#[test]
fn files_of_pytorch_hold_the_tensors_that_were_saved() {
    assert_eq!(compare_all(&golden_dir().join("checkpoint")), 10);
}

#[test]
fn every_variant_of_the_formats_holds_the_tensors_that_were_saved() {
    let test = "every_variant_of_the_formats_holds_the_tensors_that_were_saved";
    let Some(python) = python(test) else { return };
    let made = tempfile::tempdir().unwrap();
    script(&python, "io_checkpoint.py", &["make".as_ref(), made.path()]);
    assert_eq!(compare_all(made.path()), 11);
    for name in ["training-2", "training-4", "training-legacy"] {
        check_training(&checkpoint(&made.path().join(format!("{name}.pt"))));
    }
    let (mut code, mut order) = (0, 0);
    for entry in fs::read_dir(made.path().join("refused")).unwrap().flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "odd" {
            continue;
        }
        let e = io::read_checkpoint(&path).unwrap_err().to_string();
        assert!(e.contains(&name), "{e}");
        code += usize::from(e.contains("the file would run `") && e.contains("it is not read"));
        order += usize::from(name.starts_with("big") && e.contains("order"));
    }
    assert_eq!((code, order), (24, 2));
    let odd = checkpoint(&made.path().join("refused/odd.pt")).state_dict().unwrap();
    assert_eq!(odd.take("fine", &[2]).unwrap().to_vec1::<f32>().unwrap(), [1., 1.]);
    for (name, reason) in [("complex", "complex64"), ("quantised", "_rebuild_qtensor")] {
        let e = odd.take(name, &[2]).unwrap_err().to_string();
        assert!(e.contains(&format!("`{name}`")) && e.contains(reason), "{e}");
    }
}

/// What `training()` of the script put beside the tensors.
fn check_training(checkpoint: &Checkpoint) {
    let at = |path: &[&str]| checkpoint.at(path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(at(&["epoch"]).as_i64(), Some(3));
    assert_eq!(at(&["global_step"]).as_i64(), Some(1 << 40));
    assert_eq!(at(&["optimizer_states", "0", "param_groups", "0", "lr"]).as_f64(), Some(0.125));
    let parameters = at(&["hyper_parameters"]);
    let number = |key: &str| parameters.get(key).and_then(PyValue::as_f64);
    assert_eq!(number("lr"), Some(0.001));
    assert_eq!(number("low"), Some(f64::from(0.1f32)));
    assert_eq!((number("n"), number("seed")), (Some(-7.), Some(200.)));
    assert_eq!(parameters.get("on").and_then(PyValue::as_bool), Some(true));
    assert_eq!(parameters.get("who").and_then(PyValue::as_str), Some("näme"));
    assert!(parameters.get("none").unwrap().is_none());
    let shown = |key: &str| parameters.get(key).unwrap().to_string();
    assert_eq!(shown("counts"), "{'x': [1], 'y': []}");
    assert_eq!(shown("size"), "[2, 3]");
    assert_eq!(shown("set"), "[5]");
    assert_eq!(shown("bytes"), "2 bytes");
    assert_eq!(shown("dtype"), "torch.float32()");
    assert_eq!(shown("complex"), "builtins.complex(1.0, 2.0)");
    assert!(shown("array").starts_with("numpy.core.multiarray._reconstruct("));
    assert!(matches!(parameters.get("itself"), Some(PyValue::Cycle)));
    // Objects are names with attributes.
    let args = parameters.get("args").unwrap();
    assert_eq!(args.keys(), ["lr", "layers", "path", "device"]);
    assert_eq!(args.get("layers").and_then(PyValue::as_list).map(<[PyValue]>::len), Some(2));
    assert_eq!(args.get("device").unwrap().to_string(), "torch.device('cuda', 0)");
    assert_eq!(args.get("path").unwrap().to_string(), "pathlib.PurePosixPath('a', 'b')");
    let other = parameters.get("other").unwrap();
    assert!(matches!(other, PyValue::Object(o) if &*o.class == "somebodys.models.Unknown"));
    assert_eq!(other.get("inner").unwrap().to_string(), "{'a': [1, [2, 3]]}");
    // And the weights go on as those of the model.
    let weights = checkpoint.state_dict().unwrap().strip_prefix("model.").unwrap();
    let expected = [("w", vec![3, 4]), ("b", vec![3]), ("steps", vec![])];
    assert_eq!(weights.into_exactly(&expected).unwrap().len(), 3);
}

#[test]
fn hyper_parameters_are_plain_values() {
    check_training(&checkpoint(&golden_dir().join("checkpoint/made-training-2.pt")));
}

#[test]
fn optimizers_are_there_but_not_among_the_weights() {
    let nested = checkpoint(&golden_dir().join("checkpoint/nested.pt"));
    let moment = "optim.state.0.exp_avg";
    assert!(nested.tensors().unwrap().contains(moment));
    let weights = nested.state_dict().unwrap().strip_prefix("module.").unwrap();
    assert!(!weights.contains(moment) && weights.contains("0.weight"));
    assert_eq!(weights.info("0.weight").unwrap().shape, [3, 2, 2]);
    assert_eq!(nested.at(&["optim", "param_groups", "0", "lr"]).unwrap().as_f64(), Some(0.01));
}

#[test]
fn weights_written_as_safetensors_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let original = checkpoint(&golden_dir().join("checkpoint/kinds.pt"));
    let tensors = original.state_dict().unwrap().read_all().unwrap();
    let about = [("source".to_string(), original.fingerprint().unwrap().to_string())].into();
    io::write_safetensors(&path, &tensors, &about).unwrap();
    let again = checkpoint(&path);
    assert_eq!(again.format(), CheckpointFormat::Safetensors);
    let source = again.at(&["__metadata__", "source"]).unwrap();
    assert_eq!(source.as_str(), Some(original.fingerprint().unwrap()));
    let by_candle = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    for (name, tensor) in &tensors {
        assert_same(&by_candle[name], tensor, name);
    }
    assert_eq!(again.state_dict().unwrap().len(), tensors.len());
}

/// Reads all that a file holds.
fn everything(path: &Path) -> Result<()> {
    let checkpoint = io::read_checkpoint(path)?;
    assert!(checkpoint.to_string().len() < 10_000);
    checkpoint.at(&[])?;
    checkpoint.tensors()?.read_all()?;
    Ok(())
}

#[test]
fn damaged_copies_are_refused_by_name_or_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("copy.pt");
    fs::write(&path, "nothing yet").unwrap();
    let attempt = |bytes: &[u8]| {
        // Over what is there: file systems take their time to cut a file down and fill it again.
        let mut file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all(bytes).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        let e = everything(&path).err()?;
        assert!(matches!(e, Error::Format { .. } | Error::Io { .. }), "{e:?}");
        assert!(e.to_string().contains("copy.pt") && e.to_string().len() < 2000, "{e}");
        Some(())
    };
    for name in ["script.pt", "nested.pt", "legacy.pt", "module.safetensors"] {
        let whole = fs::read(golden_dir().join("checkpoint").join(name)).unwrap();
        assert!(attempt(&whole).is_none(), "{name}");
        let mut refused = 0;
        for at in 0..whole.len() {
            let mut copy = whole.clone();
            copy[at] ^= 1 << (at % 8);
            refused += attempt(&copy).map_or(0, |()| 1);
        }
        println!("{name}: {refused} of {} flips refused", whole.len());
        assert!(refused > 0, "{name}");
        for cut in (0..whole.len()).step_by(97) {
            assert!(attempt(&whole[..cut]).is_some(), "{name} cut at {cut}");
        }
    }
}

/// A checkpoint of PyTorch Lightning after two steps of training, beside the tensors it holds.
#[test]
fn a_checkpoint_of_lightning_holds_its_model_s_weights() {
    let test = "a_checkpoint_of_lightning_holds_its_model_s_weights";
    let Some(folder) = shared(test, "golden/spatialformer") else { return };
    let lightning = checkpoint(&folder.join("small.ckpt"));
    let stored = folder.join("e3_checkpoint.safetensors");
    let stored = candle_core::safetensors::load(stored, &Device::Cpu).unwrap();
    let expected: Vec<(&str, &Tensor)> =
        stored.iter().filter_map(|(n, t)| Some((n.strip_prefix("sd.")?, t))).collect();
    assert_eq!(expected.len(), 97);
    let shapes: Vec<(&str, Vec<usize>)> =
        expected.iter().map(|(n, t)| (*n, t.dims().to_vec())).collect();
    let weights = lightning.state_dict().unwrap().into_exactly(&shapes).unwrap();
    for (name, expected) in expected {
        assert_same(&weights[name], expected, name);
    }
    assert!(lightning.tensors().unwrap().len() > 97);
    // The scheduler's rate is a number of numpy.
    let rate = lightning.at(&["lr_schedulers", "0", "_last_lr", "0"]).unwrap().as_f64();
    assert!(rate.is_some_and(|r| (r - 2e-4).abs() < 1e-6), "{rate:?}");
    let config = fs::read(folder.join("small_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let parameters = lightning.at(&["hyper_parameters"]).unwrap();
    for key in ["dim_model", "nheads", "nlayers", "masking_p", "n_tokens", "lr"] {
        let found = parameters.get(key).and_then(PyValue::as_f64);
        assert_eq!(found, config[key].as_f64(), "{key}");
        assert!(found.is_some(), "{key}");
    }
}
