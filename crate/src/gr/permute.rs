//! Moran's I and Geary's C when the graph's rows are permuted, as squidpy does it.
//!
//! squidpy shuffles the rows of the weights and leaves the columns, so that spot i gets the
//! neighbours of spot σ(i). Then Σ_ij w_σ(i)j z_i z_j = Σ_i z_i y_σ(i) with y = W z, which is made
//! once: a permutation costs no more steps than the feature has values that are not 0, and not the
//! number of edges.
//!
//! Each of these steps reads y at a random place, so what matters is that y stays in the cache:
//! features are taken one at a time, all permutations of each together, and permutations lie side
//! by side, so that one line of memory says where a spot goes in all of them.

use super::features::{Columns, Features};
use super::moments::Weights;
use super::statistic::Mode;
use crate::error::Result;
use crate::linalg::Csr;
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
const HELD: usize = 256 << 20;

/// Permutations side by side: a line of the cache.
const LANES: usize = 16;

/// For every spot, where it goes in each of some permutations.
type Orders = Vec<[u32; LANES]>;

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
    let columns = features.columns();
    let back = g.w.transpose();
    let all: Vec<usize> = (0..features.len()).collect();
    // Few features leave threads without work unless permutations are shared out too.
    let few = all.len() < 4 * rayon::current_num_threads();
    let mut totals = vec![Totals::default(); all.len()];
    let groups = HELD / (4 * LANES * g.n());
    let at_once = LANES * groups.clamp(1, n_perms.div_ceil(LANES));
    let mut progress = Progress::new("permutations", (n_perms * all.len()) as u64);
    for first in (0..n_perms).step_by(at_once) {
        let count = at_once.min(n_perms - first);
        let starts: Vec<usize> = (first..first + count).step_by(LANES).collect();
        let orders: Vec<Orders> =
            starts.into_par_iter().map(|p| side_by_side(g.n(), p, seed)).collect();
        for (some, totals) in all.chunks(256).zip(totals.chunks_mut(256)) {
            let run = |(&f, total): (&usize, &mut Totals)| -> Result<()> {
                check_interrupt()?;
                // A constant feature has no statistic.
                if observed[f].is_nan() {
                    *total = Totals { above: f64::NAN, sum: f64::NAN, square: f64::NAN };
                    return Ok(());
                }
                let feature = Feature::of(&columns, f, g, &back);
                let one = |orders: &Orders| feature.permuted(g, orders, mode);
                let simulated: Vec<[f64; LANES]> = match few {
                    true => orders.par_iter().map(one).collect(),
                    false => orders.iter().map(one).collect(),
                };
                for &s in simulated.as_flattened().iter().take(count) {
                    total.add(s, observed[f], expected);
                }
                Ok(())
            };
            match few {
                true => some.iter().zip(totals).try_for_each(run)?,
                false => some.par_iter().zip(totals).try_for_each(run)?,
            }
            progress.tick((count * some.len()) as u64)?;
        }
    }
    progress.finish();
    let count = n_perms as f64;
    // Not `max`, which would turn the NaN of a constant feature into 0.
    let not_negative = |v: f64| if v < 0.0 { 0.0 } else { v };
    Ok(Simulated {
        above: totals.iter().map(|t| t.above).collect(),
        mean: totals.iter().map(|t| expected + t.sum / count).collect(),
        variance: totals
            .iter()
            .map(|t| not_negative(t.square / count - (t.sum / count).powi(2)))
            .collect(),
    })
}

/// The permutations from the `first` on, each of which depends only on its number and the seed.
fn side_by_side(n: usize, first: usize, seed: u64) -> Orders {
    let orders: [Vec<u32>; LANES] = std::array::from_fn(|l| {
        let mut order: Vec<u32> = (0..n as u32).collect();
        Rng::new(rng::at(seed, (first + l) as u64)).shuffle(&mut order);
        order
    });
    (0..n).map(|i| std::array::from_fn(|l| orders[l][i])).collect()
}

/// Sums over permutations.
#[derive(Clone, Copy, Default)]
struct Totals {
    above: f64,
    sum: f64,
    square: f64,
}

impl Totals {
    fn add(&mut self, s: f64, observed: f64, expected: f64) {
        // A gene of one spot has the same value in nearly all permutations; rounding must not
        // decide on which side of the observed one they are.
        let tie = (s - observed).abs() <= 1e-12 * (1.0 + observed.abs());
        self.above += match tie {
            true => 0.5,
            false => f64::from(u8::from(s > observed)),
        };
        // Taken from the expected value, squares lose nothing to the mean.
        let d = s - expected;
        self.sum += d;
        self.square += d * d;
    }
}

/// A feature with what the permutations leave as it is.
struct Feature {
    /// The spots with a value that is not 0, and these values: as they are where most are 0,
    /// less their mean where most are not.
    spots: Vec<u32>,
    values: Vec<f64>,
    /// The mean that is still to be taken off.
    mean: f64,
    /// Σ_i z_i².
    square: f64,
    /// Σ_j z_j² times the sum of column j.
    columns: f64,
    /// W z and the sum of it.
    around: Vec<f64>,
    total: f64,
}

impl Feature {
    /// `back` are the weights of `g`, transposed.
    fn of(columns: &Columns, f: usize, g: &Weights, back: &Csr<f64>) -> Feature {
        let n = g.n();
        let (mut spots, mut values) = columns.stored(f);
        let mut mean = values.iter().sum::<f64>() / n as f64;
        if 2 * values.len() > n {
            let mut z = vec![-mean; n];
            spots.iter().zip(&values).for_each(|(&i, v)| z[i as usize] += v);
            (spots, values, mean) = ((0..n as u32).collect(), z, 0.0);
        }
        let mut around: Vec<f64> = g.rows.iter().map(|sum| -mean * sum).collect();
        for (&j, v) in spots.iter().zip(&values) {
            back.row(j as usize).for_each(|(i, w)| around[i] += w * v);
        }
        let square: f64 = values.iter().map(|v| v * v).sum();
        let off = |(&j, v): (&u32, &f64)| (v * v - 2.0 * v * mean) * g.cols[j as usize];
        Feature {
            square: square - n as f64 * mean * mean,
            columns: mean * mean * g.s0 + spots.iter().zip(&values).map(off).sum::<f64>(),
            total: around.iter().sum(),
            spots,
            values,
            mean,
            around,
        }
    }

    /// The statistic in each of some permutations, from Σ_i z_i y_σ(i) and, for Geary's C,
    /// Σ_i z_i² times the sum of row σ(i).
    fn permuted(&self, g: &Weights, orders: &Orders, mode: Mode) -> [f64; LANES] {
        let (mut cross, mut weighted) = ([0.0; LANES], [0.0; LANES]);
        for (&i, v) in self.spots.iter().zip(&self.values) {
            let to = &orders[i as usize];
            for l in 0..LANES {
                cross[l] += v * self.around[to[l] as usize];
            }
        }
        if mode == Mode::Geary {
            for (&i, v) in self.spots.iter().zip(&self.values) {
                let to = &orders[i as usize];
                let square = v * v - 2.0 * v * self.mean;
                for l in 0..LANES {
                    weighted[l] += square * g.rows[to[l] as usize];
                }
            }
        }
        let constant = self.columns + self.mean * self.mean * g.s0;
        std::array::from_fn(|l| {
            let cross = cross[l] - self.mean * self.total;
            mode.statistic(g.n() as f64, g.s0, cross, weighted[l] + constant, self.square)
        })
    }
}
