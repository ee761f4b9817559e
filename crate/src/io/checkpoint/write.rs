//! Writing safetensors.

use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use candle_core::{Device, Tensor};
use safetensors::{Dtype, View};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The name under which the format keeps its texts.
const METADATA: &str = "__metadata__";

/// Writes tensors, with texts that describe them, into a safetensors file. It is written beside and
/// renamed, so that an earlier file stays whole if this fails. The same tensors give the same bytes:
/// they are sorted by element type, wide ones first, and then by name, as the format's own library
/// does.
///
/// ```
/// # use spatialkit::{candle_core::{Device, Tensor}, io};
/// # use std::collections::BTreeMap;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("weights.safetensors");
/// let weight = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let about = BTreeMap::from([("model".to_string(), "linear".to_string())]);
/// io::write_safetensors(&path, [("weight", &weight)], &about)?;
/// let again = io::read_checkpoint(&path)?.state_dict()?.take("weight", &[2, 2])?;
/// assert_eq!(again.to_vec2::<f32>()?, [[1., 2.], [3., 4.]]);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Parameter`] when two tensors have one name or one has none, [`Error::Io`] when the file
/// cannot be written, [`Error::Tensor`] when a device refuses.
pub fn write_safetensors<'a, N: Into<String>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (N, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)).collect();
    write(path.as_ref(), tensors, metadata)
}

fn write(
    path: &Path,
    mut tensors: Vec<(String, &Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let dtype = |t: &Tensor| Dtype::from(t.dtype());
    tensors.sort_by(|(a, x), (b, y)| dtype(y).cmp(&dtype(x)).then(a.cmp(b)));
    let header = header(&tensors, metadata)?;
    let io = |e| Error::io(path, e);
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    // As any new file; the process's mask still applies.
    builder.prefix(".weights.unfinished-").permissions(Permissions::from_mode(0o666));
    let beside = builder.tempfile_in(folder.unwrap_or(Path::new("."))).map_err(io)?;
    let mut file: BufWriter<&File> = BufWriter::with_capacity(1 << 20, beside.as_file());
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(&header).map_err(io)?;
    for (_, tensor) in &tensors {
        check_interrupt()?;
        // One tensor at a time is copied into bytes.
        let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
        file.write_all(&View::data(&tensor)).map_err(io)?;
    }
    file.flush().map_err(io)?;
    drop(file);
    beside.as_file().sync_all().map_err(io)?;
    beside.persist(&target).map_err(|e| io(e.error))?;
    Ok(())
}

/// The header, filled up with spaces so that the elements start at a multiple of 8 bytes.
fn header(tensors: &[(String, &Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut seen = BTreeMap::new();
    let mut parts = Vec::new();
    if !metadata.is_empty() {
        parts.push(format!("{}:{}", json!(METADATA), json!(metadata)));
    }
    let mut at = 0;
    for (name, tensor) in tensors {
        if name.is_empty() || name == METADATA || seen.insert(name.as_str(), ()).is_some() {
            let reason = "each tensor needs a name of its own, other than `__metadata__`";
            return Err(Error::parameter("tensors", format!("`{name}`"), reason));
        }
        let end = at + View::data_len(tensor);
        // Put together by hand, since a JSON object of the library would sort the names.
        let dtype = Json::from(View::dtype(tensor).to_string());
        let (name, shape) = (json!(name), json!(tensor.dims()));
        parts.push(format!(
            "{name}:{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":[{at},{end}]}}"
        ));
        at = end;
    }
    let mut header = format!("{{{}}}", parts.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::read_checkpoint;
    use candle_core::DType;

    fn tensors() -> Vec<(String, Tensor)> {
        let cpu = &Device::Cpu;
        let plain = Tensor::arange(0f32, 12., cpu).unwrap().reshape((3, 4)).unwrap();
        let mut out = vec![
            ("b".to_string(), plain.t().unwrap()),
            ("a".to_string(), plain.narrow(0, 1, 2).unwrap()),
            ("empty".to_string(), Tensor::zeros((0, 3), DType::F32, cpu).unwrap()),
            ("scalar \"quoted\"".to_string(), Tensor::new(7i64, cpu).unwrap()),
        ];
        for dtype in [DType::U8, DType::I16, DType::I32, DType::F16, DType::BF16, DType::F64] {
            out.push((format!("{dtype:?}"), plain.to_dtype(dtype).unwrap()));
        }
        out
    }

    #[test]
    fn the_format_s_own_library_writes_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let tensors = tensors();
        // Of more than one text the library's order is not fixed.
        let about = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        write_safetensors(&path, tensors.iter().map(|(n, t)| (n, t)), &about).unwrap();
        let expected = safetensors::serialize(
            tensors.iter().map(|(n, t)| (n, t)),
            Some(about.into_iter().collect()),
        );
        assert!(std::fs::read(&path).unwrap() == expected.unwrap());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn what_was_written_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        let about: BTreeMap<String, String> =
            ["x", "y", "z"].map(|k| (k.to_string(), format!("{k} ä\n"))).into();
        write_safetensors(&path, tensors().iter().map(|(n, t)| (n, t)), &about).unwrap();
        let checkpoint = read_checkpoint(&path).unwrap();
        assert_eq!(checkpoint.at(&["__metadata__", "y"]).unwrap().as_str(), Some("y ä\n"));
        let weights = checkpoint.state_dict().unwrap();
        assert_eq!(weights.len(), 10);
        for (name, tensor) in tensors() {
            let again = weights.take(&name, tensor.dims()).unwrap();
            assert_eq!(again.dtype(), tensor.dtype(), "{name}");
            let values = |t: &Tensor| -> Vec<f64> {
                t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            assert_eq!(values(&again), values(&tensor), "{name}");
        }
    }

    #[test]
    fn names_that_the_format_has_no_place_for_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.safetensors");
        std::fs::write(&path, "the old file").unwrap();
        let t = &Tensor::new(1f32, &Device::Cpu).unwrap();
        for names in [["a", "a"], ["", "b"], ["__metadata__", "b"]] {
            let e = write_safetensors(&path, names.map(|n| (n, t)), &BTreeMap::new()).unwrap_err();
            assert!(matches!(e, Error::Parameter { .. }), "{e}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the old file");
        let nowhere = dir.path().join("no/a.safetensors");
        let e = write_safetensors(&nowhere, [("a", t)], &BTreeMap::new()).unwrap_err();
        assert!(matches!(e, Error::Io { .. }), "{e}");
    }
}
