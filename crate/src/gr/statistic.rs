//! Moran's I and Geary's C of many features over one graph.
//!
//! A feature that is mostly 0 costs what its stored values cost. Others go through the graph eight
//! at a time, one cache line a spot.

use super::features::{Features, SparseColumn};
use super::moments::Weights;
use crate::error::Result;
use crate::progress::check_interrupt;
use rayon::prelude::*;

/// Features that go through the graph together.
pub(super) const LANES: usize = 8;

/// For every spot the values of [`LANES`] features.
pub(super) type Block = [[f64; LANES]];

/// Which statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Moran,
    Geary,
}

/// Features split into those computed from their stored values and the others, eight by eight.
fn split(features: &Features) -> (Vec<usize>, Vec<Vec<usize>>) {
    let (sparse, dense): (Vec<usize>, Vec<usize>) =
        (0..features.len()).partition(|&f| features.sparse(f).is_some());
    (sparse, dense.chunks(LANES).map(<[usize]>::to_vec).collect())
}

/// The statistic of every feature; NaN for constant ones.
pub(super) fn scores(features: &Features, weights: &Weights, mode: Mode) -> Result<Vec<f64>> {
    let n = weights.n();
    let (sparse, dense) = split(features);
    let mut out = vec![f64::NAN; features.len()];
    let one = |scratch: &mut Vec<f64>, &f: &usize| {
        check_interrupt()?;
        let column = features.sparse(f).expect("chosen for being sparse");
        Ok((f, sparse_score(&column, weights, mode, scratch)))
    };
    let done: Result<Vec<(usize, f64)>> =
        sparse.par_iter().map_init(|| vec![0.0; n], one).collect();
    done?.into_iter().for_each(|(f, s)| out[f] = s);
    let eight = |z: &mut Vec<[f64; LANES]>, block: &Vec<usize>| {
        check_interrupt()?;
        let square = load(features, block, z);
        Ok(dense_scores(z, &square, weights, mode))
    };
    let done: Result<Vec<[f64; LANES]>> =
        dense.par_iter().map_init(|| vec![[0.0; LANES]; n], eight).collect();
    for (block, s) in dense.iter().zip(done?) {
        block.iter().zip(s).for_each(|(&f, s)| out[f] = s);
    }
    Ok(out)
}

fn sparse_score(x: &SparseColumn, g: &Weights, mode: Mode, scratch: &mut [f64]) -> f64 {
    let stored = || x.rows.iter().map(|&r| r as usize).zip(x.values.iter().copied());
    if stored().all(|(_, v)| v == 0.0) {
        return f64::NAN;
    }
    stored().for_each(|(r, v)| scratch[r] += v);
    let (mut sum, mut square, mut cross, mut linear, mut weighted) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (r, v) in stored() {
        let range = g.w.indptr[r]..g.w.indptr[r + 1];
        let neighbours = g.w.indices[range.clone()].iter().zip(&g.w.values[range]);
        let around: f64 = neighbours.map(|(&c, w)| w * scratch[c as usize]).sum();
        let both = g.rows[r] + g.cols[r];
        sum += v;
        square += v * v;
        cross += v * around;
        linear += v * both;
        weighted += v * v * both;
    }
    stored().for_each(|(r, _)| scratch[r] = 0.0);
    let n = g.n() as f64;
    let mean = sum / n;
    let deviation = square - n * mean * mean;
    match mode {
        Mode::Moran => n / g.s0 * (cross - mean * linear + mean * mean * g.s0) / deviation,
        Mode::Geary => (n - 1.0) * (weighted - 2.0 * cross) / (2.0 * g.s0 * deviation),
    }
}

/// Loads a block, centres it, and returns the sum of squares of each lane; a lane that is constant
/// has a sum of NaN.
pub(super) fn load(features: &Features, block: &[usize], z: &mut Block) -> [f64; LANES] {
    features.fill(block, z);
    let first = z.first().copied().unwrap_or([0.0; LANES]);
    let mut sum = [0.0; LANES];
    let mut varies = [false; LANES];
    for row in z.iter() {
        for l in 0..LANES {
            sum[l] += row[l];
            varies[l] |= row[l] != first[l];
        }
    }
    let n = z.len() as f64;
    let mean = sum.map(|s| s / n);
    let mut square = [0.0; LANES];
    for row in z.iter_mut() {
        for l in 0..LANES {
            row[l] -= mean[l];
            square[l] += row[l] * row[l];
        }
    }
    std::array::from_fn(|l| if varies[l] { square[l] } else { f64::NAN })
}

/// Σ_j w_rj z_j for each lane.
#[inline]
pub(super) fn around(g: &Weights, z: &Block, r: usize) -> [f64; LANES] {
    let mut sum = [0.0; LANES];
    for e in g.w.indptr[r]..g.w.indptr[r + 1] {
        let (w, other) = (g.w.values[e], &z[g.w.indices[e] as usize]);
        for l in 0..LANES {
            sum[l] += w * other[l];
        }
    }
    sum
}

fn dense_scores(z: &Block, square: &[f64; LANES], g: &Weights, mode: Mode) -> [f64; LANES] {
    let mut cross = [0.0; LANES];
    let mut weighted = [0.0; LANES];
    for (r, row) in z.iter().enumerate() {
        let near = around(g, z, r);
        let both = g.rows[r] + g.cols[r];
        for l in 0..LANES {
            cross[l] += row[l] * near[l];
            weighted[l] += row[l] * row[l] * both;
        }
    }
    from_sums(mode, g, &cross, &weighted, square)
}

/// The statistic from Σ z_i (W z)_i, Σ z_i² (row sum + column sum) and Σ z_i².
pub(super) fn from_sums(
    mode: Mode,
    g: &Weights,
    cross: &[f64; LANES],
    weighted: &[f64; LANES],
    square: &[f64; LANES],
) -> [f64; LANES] {
    let n = g.n() as f64;
    std::array::from_fn(|l| match mode {
        Mode::Moran => n / g.s0 * cross[l] / square[l],
        Mode::Geary => (n - 1.0) * (weighted[l] - 2.0 * cross[l]) / (2.0 * g.s0 * square[l]),
    })
}
