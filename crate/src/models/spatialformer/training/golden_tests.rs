//! Training against the numbers of the released code.

use super::super::plain::{Mask, Training};
use super::super::{AttentionLayout, SpatialFormer, SpatialFormerConfig};
use super::batch::Hidden;
use super::losses::Weights;
use super::tests::{flat, near};
use super::*;
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A golden case of the released package below `golden/spatialformer` of `SPATIALKIT_SHARED`, too large to be
/// stored with the tests.
fn shared(test: &str, case: &str) -> Option<(HashMap<String, Tensor>, serde_json::Value)> {
    let root = std::env::var_os("SPATIALKIT_SHARED").map(PathBuf::from);
    let root = root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let path = root.join("golden/spatialformer").join(format!("{case}.safetensors"));
    if !path.exists() {
        println!("SKIPPED: {test}: no {}", path.display());
        return None;
    }
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let meta = std::fs::read(path.with_extension("meta.json")).unwrap();
    Some((tensors, serde_json::from_slice(&meta).unwrap()))
}

/// Cells of a golden file's description.
fn cells(meta: &serde_json::Value) -> Vec<([u32; 4], TrainingCell)> {
    let list = |v: &serde_json::Value| -> Vec<u32> {
        v.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as u32).collect()
    };
    let cell = |c: &serde_json::Value| {
        let tokens = list(&c["Full_Tokens"]);
        let together = list(&c["Rows"]).into_iter().zip(list(&c["Cols"])).collect();
        let cell = TrainingCell { genes: tokens[4..].to_vec(), together };
        (tokens[..4].try_into().unwrap(), cell)
    };
    meta["cells"].as_array().unwrap().iter().map(cell).collect()
}

/// The pairs of a golden file's description; what has no gene that lies with another is left out.
fn batch(meta: &serde_json::Value, separator: u32) -> TrainingBatch {
    let cells = cells(meta);
    let mut batch = TrainingBatch::default();
    for item in meta["items"].as_array().unwrap() {
        let anchor = item["anchor_idx"].as_u64().unwrap() as usize;
        for (kind, neighbours) in [
            ("positive_indices", true),
            ("hard_negative_indices", false),
            ("easy_negative_indices", false),
        ] {
            for other in item[kind].as_array().unwrap() {
                let (a, b) = (&cells[anchor], &cells[other.as_u64().unwrap() as usize]);
                if a.1.together.is_empty() || b.1.together.is_empty() {
                    continue;
                }
                batch.push_pair([a.0, b.0], [&a.1, &b.1], separator, neighbours);
            }
        }
    }
    batch
}

fn ints(t: &Tensor) -> Vec<i64> {
    t.to_dtype(DType::I64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The rectangle that a golden file holds, of `[batch, length]`.
fn same_rectangle(batch: &TrainingBatch, file: &HashMap<String, Tensor>, prefix: &str) {
    let padded = batch.sequences.padded(&Device::Cpu).unwrap();
    assert_eq!(ints(&padded.tokens), ints(&file[&format!("{prefix}indices")]));
    let mask = ints(&file[&format!("{prefix}attention_mask")]);
    assert_eq!(ints(&padded.mask), mask);
    let kinds = ints(&padded.kinds);
    let theirs = ints(&file[&format!("{prefix}token_type_ids")]);
    assert!(kinds.iter().zip(&theirs).zip(&mask).all(|((a, b), &m)| m == 0 || a == b));
    let lengths: Vec<i64> =
        batch.sequences.segments().iter().flatten().map(|&n| n as i64).collect();
    assert_eq!(lengths, ints(&file[&format!("{prefix}sequence_length")]));
    let (b, length) = padded.tokens.dims2().unwrap();
    let mut adjacency = vec![0i64; b * length * length];
    for (i, together) in batch.together.iter().enumerate() {
        for &(row, column) in together {
            adjacency[(i * length + row as usize) * length + column as usize] = 1;
        }
    }
    assert_eq!(adjacency, ints(&file[&format!("{prefix}adjmtx")]));
}

fn golden(case: &str) -> (HashMap<String, Tensor>, serde_json::Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/spatialformer");
    let packed = std::fs::read(path.join(format!("{case}.safetensors.gz"))).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut bytes).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    let meta = std::fs::read(path.join(format!("{case}.meta.json"))).unwrap();
    (tensors, serde_json::from_slice(&meta).unwrap())
}

#[test]
fn e5_the_blocks_one_by_one() {
    let (file, _) = golden("e5_primitives");
    let attention = AttentionLayout::PerHead;
    let sizes =
        |heads| SpatialFormerConfig { dim: 16 * heads, heads, layers: 1, tokens: 30, attention };
    for heads in [8, 64, 12] {
        let got = Tensor::from_vec(sizes(heads).slopes(), heads, &Device::Cpu).unwrap();
        near("slopes", &got, &file[&format!("alibi.slopes{heads}")], 1e-6, 0.0);
    }
    let config = SpatialFormerConfig { dim: 16, ..sizes(4) };
    let shapes: HashMap<String, Vec<usize>> =
        config.weights().into_iter().map(|w| (w.name, w.shape)).collect();
    let model = SpatialFormer::build(config.clone(), |name| {
        let conv = name.strip_prefix("encoder.layers.0.conv_blocks.0.");
        let attention = name.strip_prefix("encoder.layers.0.attn_blocks.0.");
        Ok(match (conv, attention) {
            (Some(part), _) => file[&format!("convblock.postnorm.w.{part}")].clone(),
            (_, Some(part)) => file[&format!("altblock.postnorm.w.{part}")].clone(),
            _ => Tensor::zeros(shapes[name].as_slice(), DType::F32, &Device::Cpu)?,
        })
    })
    .unwrap();
    let x = &file["blk.x"];
    let mask = file["mask"].to_dtype(DType::F32).unwrap();
    let mask = Mask::new(&model, &mask, false, true).unwrap();
    let layer = &model.layers[0];
    let conv = layer.conv.plain(x, &mask, None, "").unwrap();
    near("convolution block", &conv, &file["convblock.postnorm.out"], 1e-5, 0.0);
    let (attention, _) = layer.attention.plain(&config, x, &mask, None, "").unwrap();
    near("attention block", &attention, &file["altblock.postnorm.out"], 1e-5, 0.0);
}

#[test]
fn e6_batches_of_pairs_and_of_single_cells() {
    let (file, meta) = golden("e6_training_collators");
    let pairs = batch(&meta, 1949);
    same_rectangle(&pairs, &file, "pair.");
    let labels: Vec<i64> = pairs.neighbours.iter().map(|&n| i64::from(n)).collect();
    assert_eq!(labels, ints(&file["pair.pair_label"]));
    let mut single = TrainingBatch::default();
    for (origin, cell) in cells(&meta).iter().filter(|(_, cell)| !cell.together.is_empty()) {
        single.push_cell(*origin, cell);
    }
    same_rectangle(&single, &file, "single.");
}

#[test]
fn e7_learning_rates_and_the_weight_of_co_occurrence() {
    let (file, meta) = golden("e7_schedules");
    for (name, warmup, length) in [("out.lr_w10_m100", 10, 100), ("out.lr_real", 1000, 30_661_140)]
    {
        for (step, expected) in flat(&file[name]).into_iter().enumerate() {
            let got = schedule::learning_rate(1e-3, step, warmup, length);
            assert!((got / expected - 1.0).abs() < 1e-9, "{name} {step}: {got} {expected}");
        }
    }
    for (step, expected) in meta["linear_schedule_total1000"].as_object().unwrap() {
        let got = schedule::scale(step.parse().unwrap(), 1000);
        assert!((got - expected.as_f64().unwrap()).abs() < 1e-9, "{step}");
    }
}

fn small() -> SpatialFormerConfig {
    let attention = AttentionLayout::PerHead;
    SpatialFormerConfig { dim: 32, heads: 4, layers: 2, tokens: 300, attention }
}

fn weights(
    file: &HashMap<String, Tensor>,
    config: &SpatialFormerConfig,
) -> HashMap<String, Tensor> {
    let named = |w: super::super::Weight| (w.name.clone(), file[&format!("w0.{}", w.name)].clone());
    config.weights().into_iter().map(named).collect()
}

/// The hidden tokens that a golden file holds.
fn hidden(batch: &TrainingBatch, file: &HashMap<String, Tensor>) -> Hidden {
    let (tokens, mask) = (ints(&file["in.masked_indices"]), ints(&file["in.mask"]));
    let length = file["in.mask"].dim(1).unwrap();
    let mut hidden = Hidden { tokens: vec![], selected: vec![] };
    for (i, span) in batch.sequences.spans().into_iter().enumerate() {
        for at in i * length..i * length + span.len() {
            hidden.tokens.push(tokens[at] as u32);
            hidden.selected.push(mask[at] == 2);
        }
    }
    hidden
}

#[test]
fn e4_losses_every_gradient_and_three_steps() {
    let test = "e4_losses_every_gradient_and_three_steps";
    let Some((file, meta)) = shared(test, "e4_losses") else { return };
    let (config, batch) = (small(), batch(&meta, 299));
    same_rectangle(&batch, &file, "in.");
    let hidden = hidden(&batch, &file);
    let schedule =
        Schedule { dropout: 0.0, warmup: 10, length: 100, total: 1000, ..Schedule::default() };
    let start = SpatialFormer::new(
        config.clone(),
        &weights(&file, &config),
        &crate::nn::Device::Auto.open().unwrap(),
    )
    .unwrap();
    let weigh = Weights { scale: 1.0, neighbours: 2.0 };
    for mode in ["eval", "train"] {
        let schedule = Schedule { accumulate: 1, ..schedule.clone() };
        let start = Start::From(Box::new(start.clone()));
        let trainer = Trainer::new(start, 299, Trained::All, schedule, 1).unwrap();
        let network = trainer.network().unwrap();
        let training = Training::new(1, 0, 0.0);
        let training = (mode == "train").then_some(&training);
        let losses = network.losses(&batch, &hidden, weigh, training).unwrap();
        for (name, loss) in [
            ("total", &losses.total.value),
            ("mlm", &losses.hidden),
            ("spa_focal", losses.together.as_ref().unwrap()),
            ("pair", losses.pairs.as_ref().unwrap()),
        ] {
            let apart = near(name, loss, &file[&format!("{mode}.{name}")], 0.0, 2e-5);
            println!("e4 {mode} {name}: {apart:.1e}");
        }
        let gradients = losses.total.gradients(1.0, trainer.store(), &|_| true).unwrap();
        let (mut compared, mut most) = (0, 0f64);
        for (name, _) in trainer.store().iter() {
            let Some(expected) = file.get(&format!("{mode}.grad.{name}")) else { continue };
            let got = gradients.get(name).unwrap_or_else(|| panic!("no gradient of {name}"));
            most = most.max(near(name, got, expected, 2e-5, 2e-4));
            compared += 1;
        }
        println!("e4 {mode}: {compared} gradients, largest difference {most:.1e}");
        assert_eq!(
            compared,
            file.keys().filter(|k| k.starts_with(&format!("{mode}.grad."))).count()
        );
    }
    // The running statistics, and three steps of AdamW on the same hidden tokens.
    let schedule = Schedule { accumulate: 1, clip: f64::MAX, ..schedule };
    let start = Start::From(Box::new(start));
    let mut trainer = Trainer::new(start, 299, Trained::All, schedule, 1).unwrap();
    let expected = flat(&file["train3.losses"]);
    for (step, expected) in expected.iter().enumerate() {
        let loss = trainer.learn_hidden(&batch, &hidden, 0).unwrap();
        assert!(
            (loss.total / expected - 1.0).abs() < 2e-5,
            "step {step}: {} {expected}",
            loss.total
        );
    }
    let mut beyond = 0;
    let mut all = 0;
    for (name, var) in trainer.store().iter() {
        if let Some(expected) = file.get(&format!("train3.w.{name}")) {
            for (g, e) in flat(var.as_tensor()).iter().zip(flat(expected)) {
                all += 1;
                beyond += usize::from((g - e).abs() > 1e-5 + 1e-4 * e.abs());
            }
        }
    }
    println!("e4: after three steps {beyond} of {all} weights differ by more than 1e-5");
    assert!(all > 0 && beyond * 1000 < all, "{beyond} of {all}");
}
