//! Moran's I and Geary's C when the graph's rows are permuted, as squidpy does it.
//!
//! squidpy shuffles the rows of the weights and leaves the columns, so that spot i gets the
//! neighbours of spot σ(i). Then Σ_ij w_σ(i)j z_i z_j = Σ_i z_i y_σ(i) with y = W z, which is made
//! once: a permutation costs n steps, not the number of edges.

use super::features::{Block, Columns, Features, LANES};
use super::moments::Weights;
use super::statistic::Mode;
use crate::error::Result;
use crate::progress::{Progress, check_interrupt};
use crate::rng::{self, Rng};
use rayon::prelude::*;

/// What the permutations say of each feature.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Simulated {
    /// Permutations with a statistic above the observed one; one that is equal to it counts half.
    pub above: Vec<f64>,
    /// Mean of the statistics.
    pub mean: Vec<f64>,
    /// Their variance (ddof 0).
    pub variance: Vec<f64>,
}

/// Bytes of permutations held at once.
const PERMUTATIONS: usize = 48 << 20;

/// Sums over permutations for a block of features.
#[derive(Clone, Copy, Default)]
struct Sums {
    above: [f64; LANES],
    sum: [f64; LANES],
    square: [f64; LANES],
}

/// Runs `n_perms` permutations; the same for all features, as in squidpy. `observed` are the
/// statistics, `expected` what they are without a pattern.
pub(super) fn simulate(
    features: &Features,
    g: &Weights,
    mode: Mode,
    observed: &[f64],
    expected: f64,
    n_perms: usize,
    seed: u64,
) -> Result<Simulated> {
    let n = g.n();
    let all: Vec<usize> = (0..features.len()).collect();
    let blocks: Vec<&[usize]> = all.chunks(LANES).collect();
    let columns = features.columns();
    let mut totals = vec![Sums::default(); blocks.len()];
    let at_once = (PERMUTATIONS / (4 * n.max(1))).clamp(8, 128);
    let mut progress = Progress::new("permutations", n_perms as u64);
    for start in (0..n_perms).step_by(at_once) {
        let these: Vec<Vec<u32>> = (start..n_perms.min(start + at_once))
            .into_par_iter()
            .map(|p| {
                let mut order: Vec<u32> = (0..n as u32).collect();
                Rng::new(rng::at(seed, p as u64)).shuffle(&mut order);
                order
            })
            .collect();
        // Few blocks leave threads without work unless permutations are shared out too.
        let few = blocks.len() < 4 * rayon::current_num_threads();
        let run = |(block, total): (&&[usize], &mut Sums)| -> Result<()> {
            check_interrupt()?;
            let (mut z, mut y) = (vec![[0.0; LANES]; n], vec![[0.0; LANES]; n]);
            let square = load(&columns, block, &mut z);
            // Parallel work within parallel blocks would let a thread begin further blocks while
            // it waits, each with memory of its own.
            if few {
                let rows = y.par_iter_mut().with_min_len(1024).enumerate();
                rows.for_each(|(r, y)| *y = around(g, &z, r));
            } else {
                y.iter_mut().enumerate().for_each(|(r, y)| *y = around(g, &z, r));
            }
            let same = column_part(g, &z);
            let one = |order: &Vec<u32>| {
                let (cross, weighted) = permuted(g, &z, &y, order, mode);
                let weighted = std::array::from_fn(|l| weighted[l] + same[l]);
                from_sums(mode, g, &cross, &weighted, &square)
            };
            let simulated: Vec<[f64; LANES]> = if few {
                these.par_iter().map(one).collect()
            } else {
                these.iter().map(one).collect()
            };
            for s in simulated {
                for (l, &f) in block.iter().enumerate() {
                    // A gene of one spot has the same value in nearly all permutations; rounding
                    // must not decide on which side of the observed one they are.
                    let tie = (s[l] - observed[f]).abs() <= 1e-12 * (1.0 + observed[f].abs());
                    total.above[l] += match tie {
                        true => 0.5,
                        false => f64::from(u8::from(s[l] > observed[f])),
                    };
                    // Taken from the expected value, squares lose nothing to the mean.
                    let d = s[l] - expected;
                    total.sum[l] += d;
                    total.square[l] += d * d;
                }
            }
            Ok(())
        };
        if few {
            blocks.iter().zip(&mut totals).try_for_each(run)?;
        } else {
            blocks.par_iter().zip(&mut totals).try_for_each(run)?;
        }
        progress.tick(these.len() as u64)?;
    }
    progress.finish();
    let count = n_perms as f64;
    let of = |f: usize| (&totals[f / LANES], f % LANES);
    let mean = |f: usize| of(f).0.sum[of(f).1] / count;
    Ok(Simulated {
        above: all.iter().map(|&f| of(f).0.above[of(f).1]).collect(),
        mean: all.iter().map(|&f| expected + mean(f)).collect(),
        variance: all
            .iter()
            .map(|&f| of(f).0.square[of(f).1] / count - mean(f) * mean(f))
            // Not `max`, which would turn the NaN of a constant feature into 0.
            .map(|v| if v < 0.0 { 0.0 } else { v })
            .collect(),
    })
}

/// Σ_j z_j² times the sum of column j: the same for every permutation of rows.
fn column_part(g: &Weights, z: &Block) -> [f64; LANES] {
    let mut sum = [0.0; LANES];
    for (row, c) in z.iter().zip(&g.cols) {
        for l in 0..LANES {
            sum[l] += row[l] * row[l] * c;
        }
    }
    sum
}

/// Σ_i z_i y_σ(i) and, for Geary's C, Σ_i z_i² times the sum of row σ(i).
fn permuted(
    g: &Weights,
    z: &Block,
    y: &Block,
    order: &[u32],
    mode: Mode,
) -> ([f64; LANES], [f64; LANES]) {
    let (mut cross, mut weighted) = ([0.0; LANES], [0.0; LANES]);
    for (row, &to) in z.iter().zip(order) {
        let other = &y[to as usize];
        for l in 0..LANES {
            cross[l] += row[l] * other[l];
        }
    }
    if mode == Mode::Geary {
        for (row, &to) in z.iter().zip(order) {
            let sum = g.rows[to as usize];
            for l in 0..LANES {
                weighted[l] += row[l] * row[l] * sum;
            }
        }
    }
    (cross, weighted)
}

/// Loads a block, centres it, and returns the sum of squares of each lane; a lane that is constant
/// has a sum of NaN.
fn load(features: &Columns, block: &[usize], z: &mut Block) -> [f64; LANES] {
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
fn around(g: &Weights, z: &Block, r: usize) -> [f64; LANES] {
    let mut sum = [0.0; LANES];
    for e in g.w.indptr[r]..g.w.indptr[r + 1] {
        let (w, other) = (g.w.values[e], &z[g.w.indices[e] as usize]);
        for l in 0..LANES {
            sum[l] += w * other[l];
        }
    }
    sum
}

/// The statistic from Σ z_i (W z)_i, Σ z_i² (row sum + column sum) and Σ z_i².
fn from_sums(
    mode: Mode,
    g: &Weights,
    cross: &[f64; LANES],
    weighted: &[f64; LANES],
    square: &[f64; LANES],
) -> [f64; LANES] {
    let n = g.n() as f64;
    std::array::from_fn(|l| mode.statistic(n, g.s0, cross[l], weighted[l], square[l]))
}
