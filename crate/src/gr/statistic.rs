//! Moran's I and Geary's C of many features over one graph.
//!
//! Spot after spot: what its neighbours hold of every feature is added up (a row of W·X), and from
//! that and the spot's own values follows what it adds to each feature's sums. So the graph is read
//! once, values are read in rows as they are stored, and nothing is kept but sums: time grows with
//! the edges times the stored values of a spot, memory with the features.
//!
//! Features that are mostly 0 are summed as they are, only over stored values, and centred at the
//! end: their squares lose nothing to their mean. All others are centred before anything is
//! multiplied.

use super::features::{Features, Rows};
use super::moments::Weights;
use crate::error::Result;
use crate::linalg::Real;
use crate::parallel::fold_parts;
use crate::progress::check_interrupt;
use std::ops::Range;

/// Which statistic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Moran,
    Geary,
}

impl Mode {
    /// From Σ z_i (W z)_i, Σ z_i² (sums of row i and of column i) and Σ z_i², over n spots and weights
    /// that sum to `s0`.
    #[inline]
    pub fn statistic(self, n: f64, s0: f64, cross: f64, weighted: f64, square: f64) -> f64 {
        match self {
            Mode::Moran => n / s0 * cross / square,
            Mode::Geary => (n - 1.0) * (weighted - 2.0 * cross) / (2.0 * s0 * square),
        }
    }
}

/// Spots whose sums are added up together at least.
const SPOTS: usize = 512;

/// The statistic of every feature; NaN for constant ones.
pub(super) fn scores(features: &Features, weights: &Weights, mode: Mode) -> Result<Vec<f64>> {
    features.with_rows(|rows| stream(&rows, weights, mode), |rows| stream(&rows, weights, mode))
}

fn stream<T: Real>(x: &Rows<T>, g: &Weights, mode: Mode) -> Result<Vec<f64>> {
    let n = g.n();
    let spread = Spread::of(x, n)?;
    let filled: Vec<u32> = (0..x.width() as u32).filter(|&f| spread.filled[f as usize]).collect();
    let mean: Vec<f64> = filled.iter().map(|&f| spread.mean[f as usize]).collect();
    let sums = fold_parts(
        n,
        SPOTS,
        || Sums::new(x.width(), filled.len()),
        |spots, sums| -> Result<()> {
            check_interrupt()?;
            match *x {
                Rows::Sparse { .. } => add_sparse(x, g, &filled, &mean, spots, sums),
                Rows::Dense { width, values } => add_dense(values, width, g, &mean, spots, sums),
            }
            Ok(())
        },
        Sums::add,
    )?;
    let total = n as f64;
    let statistic = |cross, weighted, square| mode.statistic(total, g.s0, cross, weighted, square);
    let mut out: Vec<f64> = (0..x.width())
        .map(|f| {
            let m = spread.mean[f];
            let [cross, square, linear, weighted] = sums.stored[f];
            let square = square - total * m * m;
            match mode {
                Mode::Moran => statistic(cross - m * linear + m * m * g.s0, 0.0, square),
                // Differences between spots do not depend on the mean.
                Mode::Geary => statistic(cross, weighted, square),
            }
        })
        .collect();
    for (d, &f) in filled.iter().enumerate() {
        out[f as usize] = statistic(sums.cross[d], sums.weighted[d], sums.square[d]);
    }
    out.iter_mut().zip(&spread.varies).filter(|(_, v)| !**v).for_each(|(o, _)| *o = f64::NAN);
    Ok(out)
}

/// What is known of each feature before the graph is looked at.
struct Spread {
    mean: Vec<f64>,
    /// Whether not all of its values are equal.
    varies: Vec<bool>,
    /// Whether more than half of its values are stored.
    filled: Vec<bool>,
}

impl Spread {
    fn of<T: Real>(x: &Rows<T>, n: usize) -> Result<Spread> {
        // Sum, lowest, highest, and how many are stored.
        let nothing = [0.0, f64::INFINITY, f64::NEG_INFINITY, 0.0];
        let add = |spots: Range<usize>, sums: &mut Vec<[f64; 4]>| -> Result<()> {
            check_interrupt()?;
            for r in spots {
                x.each(r, |f, v| {
                    let [sum, low, high, count] = sums[f];
                    sums[f] = [sum + v, low.min(v), high.max(v), count + 1.0];
                });
            }
            Ok(())
        };
        let join = |total: &mut Vec<[f64; 4]>, part: Vec<[f64; 4]>| {
            for (t, p) in total.iter_mut().zip(part) {
                *t = [t[0] + p[0], t[1].min(p[1]), t[2].max(p[2]), t[3] + p[3]];
            }
        };
        let all = fold_parts(n, SPOTS, || vec![nothing; x.width()], add, join)?;
        let n = n as f64;
        Ok(Spread {
            mean: all.iter().map(|s| s[0] / n).collect(),
            varies: all
                .iter()
                .map(|&[_, low, high, count]| match count < n {
                    true => low < 0.0 || high > 0.0,
                    false => low < high,
                })
                .collect(),
            filled: all.iter().map(|s| 2.0 * s[3] > n).collect(),
        })
    }
}

/// Sums over spots. b_i stands for the sum of row i and of column i of the weights.
struct Sums {
    /// Of every feature of a sparse matrix, as it is stored: Σ x_i (W x)_i, Σ x_i², Σ x_i b_i and
    /// Σ x_i² b_i.
    stored: Vec<[f64; 4]>,
    /// Of the features that are centred: Σ z_i (W z)_i,
    cross: Vec<f64>,
    /// Σ z_i²,
    square: Vec<f64>,
    /// and Σ z_i² b_i.
    weighted: Vec<f64>,
}

impl Sums {
    fn new(features: usize, centred: usize) -> Sums {
        let none = || vec![0.0; centred];
        let stored = vec![[0.0; 4]; features];
        Sums { stored, cross: none(), square: none(), weighted: none() }
    }

    fn add(&mut self, other: Sums) {
        let add = |a: &mut [f64], b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        add(self.stored.as_flattened_mut(), other.stored.as_flattened());
        add(&mut self.cross, &other.cross);
        add(&mut self.square, &other.square);
        add(&mut self.weighted, &other.weighted);
    }
}

fn add_sparse<T: Real>(
    x: &Rows<T>,
    g: &Weights,
    filled: &[u32],
    mean: &[f64],
    spots: Range<usize>,
    sums: &mut Sums,
) {
    let (mut near, mut here) = (vec![0.0; x.width()], vec![0.0; x.width()]);
    for r in spots {
        for (c, w) in g.w.row(r) {
            x.each(c, |f, v| near[f] += w * v);
        }
        let both = g.rows[r] + g.cols[r];
        x.each(r, |f, v| here[f] += v);
        for (d, (&f, m)) in filled.iter().zip(mean).enumerate() {
            let z = here[f as usize] - m;
            sums.cross[d] += z * (near[f as usize] - m * g.rows[r]);
            sums.square[d] += z * z;
            sums.weighted[d] += z * z * both;
        }
        x.each(r, |f, _| {
            // Taken, so that a feature that is stored twice is not counted twice.
            let v = std::mem::take(&mut here[f]);
            let vv = v * v;
            let [cross, square, linear, weighted] = sums.stored[f];
            sums.stored[f] =
                [cross + v * near[f], square + vv, linear + v * both, weighted + vv * both];
        });
        near.fill(0.0);
    }
}

fn add_dense<T: Real>(
    values: &[T],
    width: usize,
    g: &Weights,
    mean: &[f64],
    spots: Range<usize>,
    sums: &mut Sums,
) {
    let row = |r: usize| &values[r * width..(r + 1) * width];
    let mut near = vec![0.0; width];
    for r in spots {
        near.fill(0.0);
        for (c, w) in g.w.row(r) {
            near.iter_mut().zip(row(c)).for_each(|(n, &v)| *n += w * v.as_f64());
        }
        let both = g.rows[r] + g.cols[r];
        let sums = sums.cross.iter_mut().zip(&mut sums.square).zip(&mut sums.weighted);
        for (((cross, square), weighted), ((&x, &near), m)) in
            sums.zip(row(r).iter().zip(&near).zip(mean))
        {
            let z = x.as_f64() - m;
            *cross += z * (near - m * g.rows[r]);
            *square += z * z;
            *weighted += z * z * both;
        }
    }
}
