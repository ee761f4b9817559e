//! One measurement of a network: seconds of a step of the work, peak memory of the whole process.
//! `cargo xtask bench vit-encode|histosge-train|spamcaf-train` runs it again and again, beside PyTorch.
//!
//! ```text
//! bench-models OPERATION          prints `seconds peak_mb check version`
//! ```
//! Weights and inputs are made by the same formula as in `models.py`; `check` depends on all of them.

mod measured;

use rayon::prelude::*;
use spatialkit::candle_core::Tensor;
use spatialkit::models::{Vit, VitConfig, histosge, spamcaf};
use spatialkit::nn::Store;
use spatialkit::prelude::*;
use std::collections::HashMap;
use std::time::Instant;

/// Spots, genes, spots of a chunk, epochs that are timed.
const SPOTS: usize = 1800;
const GENES: usize = 1000;
const CHUNK: usize = 50;
const EPOCHS: usize = 3;
/// Images of a batch, and batches that are timed.
const BATCH: usize = 8;
const BATCHES: usize = 3;

fn main() {
    let done = match std::env::args().nth(1).as_deref() {
        Some("vit-encode") => vit(),
        Some("histosge-train") => histosge(),
        Some("spamcaf-train") => spamcaf(),
        _ => return eprintln!("usage: bench-models vit-encode|histosge-train|spamcaf-train"),
    };
    measured::print(done);
}

/// A uniform number between -1 and 1 for element `i` of tensor `p`.
fn number(i: u64, p: u64) -> f64 {
    2.0 * measured::unit(i, p) - 1.0
}

fn tensor(shape: &[usize], p: u64, value: impl Fn(f64) -> f64 + Sync) -> Result<Tensor> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> =
        (0..n as u64).into_par_iter().map(|i| value(number(i, p)) as f32).collect();
    Ok(Tensor::from_vec(values, shape, measured::device())?)
}

/// Weights by name: small numbers; around 1 for those of normalisations, which have one dimension.
fn weights(mut names: Vec<(String, Vec<usize>)>) -> Result<HashMap<String, Tensor>> {
    names.sort();
    let weight = |(p, (name, shape)): (usize, (String, Vec<usize>))| -> Result<_> {
        let scales = shape.len() == 1 && (name.ends_with(".weight") || name.ends_with(".gamma"));
        let base = if scales || name.ends_with("running_var") { 1.0 } else { 0.0 };
        let tensor = tensor(&shape, p as u64, |v| base + 0.04 * v)?;
        Ok((name, tensor))
    };
    names.into_iter().enumerate().map(weight).collect()
}

fn load(store: &Store) -> Result<()> {
    let names = store.iter().map(|(name, var)| (name.to_string(), var.dims().to_vec()));
    store.load_tensors(&weights(names.collect())?)
}

/// Seconds of a batch of images through ViT-L/16, and the sum of what comes out.
fn vit() -> Result<(f64, f64)> {
    let config = VitConfig::uni();
    let vit = Vit::new(config, &weights(config.weights())?, measured::device())?;
    let images = tensor(&[BATCH, 3, 224, 224], 1_000_000, |v| 2.0 * v)?;
    // Reading a number waits for the device.
    let sum =
        |out: Tensor| -> Result<f64> { Ok(f64::from(out.abs()?.sum_all()?.to_scalar::<f32>()?)) };
    let mut check = sum(vit.forward(&images)?)?;
    let start = Instant::now();
    for _ in 0..BATCHES {
        check = sum(vit.forward(&images)?)?;
    }
    Ok((start.elapsed().as_secs_f64() / BATCHES as f64, check))
}

/// Features of so many scales and expression, in chunks.
fn chunks(scales: usize) -> Result<Vec<(Tensor, Tensor)>> {
    let features = tensor(&[SPOTS, scales, 1024], 1_000_000, |v| v)?;
    let target = tensor(&[SPOTS, GENES], 1_000_001, |v| v.max(0.0))?;
    (0..SPOTS / CHUNK)
        .map(|c| Ok((features.narrow(0, c * CHUNK, CHUNK)?, target.narrow(0, c * CHUNK, CHUNK)?)))
        .collect()
}

/// Seconds of an epoch, and the sum of the losses of the last.
fn train(mut step: impl FnMut(usize) -> Result<f64>) -> Result<(f64, f64)> {
    let count = SPOTS / CHUNK;
    (0..count).try_for_each(|c| step(c).map(|_| ()))?;
    let start = Instant::now();
    let mut loss = 0.0;
    for _ in 0..EPOCHS {
        loss = (0..count).map(&mut step).sum::<Result<f64>>()?;
    }
    Ok((start.elapsed().as_secs_f64() / EPOCHS as f64, loss))
}

fn histosge() -> Result<(f64, f64)> {
    let config = histosge::NetworkConfig { genes: GENES, ..Default::default() };
    let mut trainer = histosge::Trainer::new(config, 1e-3, 1, measured::device())?;
    load(trainer.store())?;
    let batch = |(c, (features, target)): (usize, (Tensor, Tensor))| -> Result<_> {
        let center = |i: usize| [((c * CHUNK + i) % 60) as f64, ((c * CHUNK + i) / 60) as f64];
        let centers: Vec<[f64; 2]> = (0..CHUNK).map(center).collect();
        Ok((histosge::Batch::new(features.squeeze(1)?.contiguous()?, &centers)?, target))
    };
    let batches: Vec<_> = chunks(1)?.into_iter().enumerate().map(batch).collect::<Result<_>>()?;
    train(|c| trainer.step(&batches[c].0, &batches[c].1))
}

fn spamcaf() -> Result<(f64, f64)> {
    let config = spamcaf::NetworkConfig { genes: GENES, ..Default::default() };
    let mut trainer = spamcaf::Trainer::new(config, 1, measured::device())?;
    load(trainer.store())?;
    let chunks = chunks(2)?;
    train(|c| trainer.step(&chunks[c].0, &chunks[c].1, 1e-3))
}
