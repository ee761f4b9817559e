//! One measurement of SpatialFormer at its published size: seconds, peak memory of the whole process.
//! `cargo xtask bench spatialformer-embed|spatialformer-perturb` runs it again and again, beside the official
//! package.
//!
//! ```text
//! bench-spatialformer OPERATION [N]          prints `seconds peak_mb check version`
//! ```
//! Weights and cells are made by the same formula as in `spatialformer.py`; `check` depends on all of them.

mod measured;

use rayon::prelude::*;
use spatialkit::candle_core::Tensor;
use spatialkit::models::spatialformer::{Sequences, SpatialFormerConfig};
use spatialkit::prelude::*;
use std::collections::HashMap;
use std::time::Instant;

const CELLS: usize = 500;
const GENES: usize = 300;
const PERTURBED: usize = 60;
/// Cells that are given at once.
const BATCH: usize = 32;
const ORIGIN: [u32; 4] = [26, 8, 3, 6];
const SEPARATOR: u32 = 1949;
const TOKENS: u64 = 6065;

fn main() {
    let limit = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
    let done = match std::env::args().nth(1).as_deref() {
        Some("spatialformer-embed-single") => embed_cells(limit),
        Some("spatialformer-embed-pair") => embed_pairs(limit),
        Some("spatialformer-perturb") => perturb(limit),
        _ => return eprintln!("usage: bench-spatialformer spatialformer-embed-single|… [N]"),
    };
    measured::print(done);
}

fn model() -> Result<SpatialFormer> {
    let config = SpatialFormerConfig::default();
    let mut weights = config.weights();
    weights.sort_by(|a, b| a.name.cmp(&b.name));
    let tensor = |(p, w): (usize, spatialformer::Weight)| -> Result<_> {
        let norm = w.shape.len() == 1 && w.name.ends_with(".weight") || w.name.ends_with(".scale");
        let value = |i: u64| {
            let v = 0.04 * (2.0 * measured::unit(i, p as u64) - 1.0);
            match w.name.as_str() {
                n if n.ends_with("num_batches_tracked") => 0.0,
                n if n.ends_with("running_var") => (1.0 + 0.1 * v.abs()) as f32,
                _ if norm => (1.0 + v) as f32,
                _ => v as f32,
            }
        };
        let count = w.shape.iter().product::<usize>() as u64;
        let values: Vec<f32> = (0..count).into_par_iter().map(value).collect();
        Ok((w.name, Tensor::from_vec(values, w.shape, measured::device())?))
    };
    let weights: HashMap<String, Tensor> =
        weights.into_iter().enumerate().map(tensor).collect::<Result<_>>()?;
    SpatialFormer::new(config, &weights, measured::device())
}

/// The genes of a cell.
fn cell(c: usize, genes: usize) -> Vec<u32> {
    let mut tokens = Vec::new();
    for k in 0.. {
        if tokens.len() == genes {
            break;
        }
        let token = (27 + measured::splitmix(k, 1_000_000 + c as u64) % (TOKENS - 27)) as u32;
        if token != SEPARATOR && !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    tokens
}

/// Calls `f` with batches of sequences.
fn batches(
    count: usize,
    push: impl Fn(&mut Sequences, usize),
    mut f: impl FnMut(Sequences) -> Result<f64>,
) -> Result<(f64, f64)> {
    let all: Vec<usize> = (0..count).collect();
    let batches = all.chunks(BATCH).map(|some| {
        let mut batch = Sequences::default();
        some.iter().for_each(|&i| push(&mut batch, i));
        batch
    });
    let batches: Vec<Sequences> = batches.collect();
    let start = Instant::now();
    let sum = batches.into_iter().map(&mut f).sum::<Result<f64>>()?;
    Ok((start.elapsed().as_secs_f64(), sum))
}

fn embed_cells(limit: usize) -> Result<(f64, f64)> {
    let model = model()?;
    let cells: Vec<Vec<u32>> = (0..CELLS.min(limit)).map(|c| cell(c, GENES)).collect();
    let push = |batch: &mut Sequences, i: usize| batch.push_cell(ORIGIN, &cells[i], SEPARATOR);
    batches(cells.len(), push, |batch| {
        Ok(model.first_states(&batch)?.iter().map(|&v| f64::from(v)).sum())
    })
}

fn embed_pairs(limit: usize) -> Result<(f64, f64)> {
    let model = model()?;
    let cells: Vec<Vec<u32>> = (0..CELLS.min(limit)).map(|c| cell(c, GENES)).collect();
    let push = |batch: &mut Sequences, i: usize| {
        batch.push_pair(ORIGIN, [&cells[2 * i], &cells[2 * i + 1]], SEPARATOR);
    };
    batches(cells.len() / 2, push, |batch| {
        let states = model.first_states(&batch)?;
        let p = model.pair_probabilities(states.view())?;
        Ok(p.column(1).iter().map(|&v| f64::from(v)).sum())
    })
}

fn perturb(limit: usize) -> Result<(f64, f64)> {
    let model = model()?;
    let (left, right) = (cell(0, PERTURBED), cell(1, PERTURBED));
    let mut pair = Sequences::default();
    pair.push_pair(ORIGIN, [&left, &right], SEPARATOR);
    let deletions = left.iter().flat_map(|&l| right.iter().map(move |&r| (l, r)));
    let deletions: Vec<(u32, u32)> = deletions.take(limit).collect();
    let start = Instant::now();
    let states = model.first_states(&pair)?;
    let before = model.pair_probabilities(states.view())?[(0, 1)];
    let after = model.without(&pair, &deletions)?;
    let seconds = start.elapsed().as_secs_f64();
    assert!(before.is_finite());
    Ok((seconds, after.iter().map(|&v| f64::from(v)).sum()))
}
