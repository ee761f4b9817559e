//! Layer normalisation and batch normalisation of rows, with their gradients.
//!
//! ```text
//! layer: y = (x - mean of the row) / √(variance of the row + ε) · w + b
//! batch: the same with the mean and the variance of each column
//! ```
//! Variances are those of the sample as it is (divided by n). Sums are made in lanes whose number does
//! not depend on the machine's vectors.

use super::simd::{LANES, added, fma, vectorised};
use rayon::prelude::*;

/// Rows that one task takes.
const ROWS: usize = 32;

/// Weight, bias and ε of a layer normalisation.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    /// One factor a column.
    pub weight: &'a [f32],
    /// One summand a column.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f32,
}

/// Writes the normalised rows of `x` into `y`.
pub(crate) fn layer_norm(x: &[f32], norm: Norm, y: &mut [f32]) {
    let d = norm.weight.len();
    let size = ROWS * d;
    y.par_chunks_mut(size).zip(x.par_chunks(size)).for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            normalise(x, norm.weight, norm.bias, norm.epsilon, y);
        }
    });
}

/// Adds `scale ∘ (update + bias)` to `x`, row by row, and writes the normalised rows of the sum into
/// `y`: what stands between two layers of a transformer, in one pass. Without `scale` it is 1.
pub(crate) fn add_and_norm(
    x: &mut [f32],
    update: &[f32],
    bias: &[f32],
    scale: Option<&[f32]>,
    norm: Norm,
    y: &mut [f32],
) {
    let d = norm.weight.len();
    let size = ROWS * d;
    x.par_chunks_mut(size).zip(update.par_chunks(size)).zip(y.par_chunks_mut(size)).for_each(
        |((x, update), y)| {
            let rows = x.chunks_exact_mut(d).zip(update.chunks_exact(d)).zip(y.chunks_exact_mut(d));
            for ((x, update), y) in rows {
                match scale {
                    Some(scale) => add_scaled(x, update, bias, scale),
                    None => add_biased(x, update, bias),
                }
                normalise(x, norm.weight, norm.bias, norm.epsilon, y);
            }
        },
    );
}

/// Writes `norm(x + scale ∘ update + shift)` into `x`, row by row: what stands between two layers of a
/// transformer that normalises behind them.
pub(crate) fn add_then_norm(
    x: &mut [f32],
    update: &[f32],
    scale: &[f32],
    shift: &[f32],
    norm: Norm,
) {
    let d = norm.weight.len();
    let size = ROWS * d;
    x.par_chunks_mut(size).zip(update.par_chunks(size)).for_each(|(x, update)| {
        for (x, update) in x.chunks_exact_mut(d).zip(update.chunks_exact(d)) {
            add_shifted(x, update, shift, scale);
            normalise_in_place(x, norm.weight, norm.bias, norm.epsilon);
        }
    });
}

vectorised! {
    fn normalise_in_place(x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let (mean, inverse) = moments::<FMA>(x, epsilon);
        for ((x, &w), &b) in x.iter_mut().zip(weight).zip(bias) {
            *x = fma::<FMA>((*x - mean) * inverse, w, b);
        }
    }
}

vectorised! {
    fn add_shifted(x: &mut [f32], update: &[f32], shift: &[f32], scale: &[f32]) {
        for (((x, &u), &b), &s) in x.iter_mut().zip(update).zip(shift).zip(scale) {
            *x += fma::<FMA>(s, u, b);
        }
    }
}

vectorised! {
    fn add_scaled(x: &mut [f32], update: &[f32], bias: &[f32], scale: &[f32]) {
        for (((x, &u), &b), &s) in x.iter_mut().zip(update).zip(bias).zip(scale) {
            *x = fma::<FMA>(s, u + b, *x);
        }
    }
}

vectorised! {
    fn add_biased(x: &mut [f32], update: &[f32], bias: &[f32]) {
        for ((x, &u), &b) in x.iter_mut().zip(update).zip(bias) {
            *x += u + b;
        }
    }
}

vectorised! {
    fn normalise(x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32, y: &mut [f32]) {
        let (mean, inverse) = moments::<FMA>(x, epsilon);
        for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = fma::<FMA>((x - mean) * inverse, w, b);
        }
    }
}

/// The mean of a row and 1 / √(variance + ε).
#[inline(always)]
fn moments<const FMA: bool>(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum(x, |v| v) / n;
    let variance = sum(x, |v| (v - mean) * (v - mean)) / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// The sum of `f` over a row, in 16 lanes.
#[inline(always)]
fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for block in blocks {
        for (l, &v) in lanes.iter_mut().zip(block) {
            *l += f(v);
        }
    }
    for (l, &v) in lanes.iter_mut().zip(rest) {
        *l += f(v);
    }
    added(&lanes)
}

/// The gradients of [`layer_norm`]: writes that of `x` into `dx` and adds those of the weight and the
/// bias to `dw` and `db`. For the few hundred rows of a training step; on one thread.
pub(crate) fn layer_norm_back(
    x: &[f32],
    norm: Norm,
    gradient: &[f32],
    dx: &mut [f32],
    dw: &mut [f32],
    db: &mut [f32],
) {
    let d = norm.weight.len();
    let rows = x.chunks_exact(d).zip(gradient.chunks_exact(d)).zip(dx.chunks_exact_mut(d));
    for ((x, g), dx) in rows {
        back_row(x, norm.weight, norm.epsilon, g, dx, dw, db);
    }
}

vectorised! {
    fn back_row(
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        g: &[f32],
        dx: &mut [f32],
        dw: &mut [f32],
        db: &mut [f32],
    ) {
        // With x̂ = (x - mean) / σ and h = g ∘ w: dx = (h - mean(h) - x̂ mean(h ∘ x̂)) / σ.
        let (mean, inverse) = moments::<FMA>(x, epsilon);
        let n = x.len() as f32;
        for (((((dx, &x), &g), &w), dw), db) in
            dx.iter_mut().zip(x).zip(g).zip(weight).zip(dw.iter_mut()).zip(db.iter_mut())
        {
            *dx = g * w;
            *dw = fma::<FMA>(g, (x - mean) * inverse, *dw);
            *db += g;
        }
        let first = sum(dx, |h| h) / n;
        let mut lanes = [0f32; LANES];
        let (blocks, rest) = dx.as_chunks::<LANES>();
        let (x_blocks, x_rest) = x.as_chunks::<LANES>();
        for (h, x) in blocks.iter().zip(x_blocks) {
            for ((l, &h), &x) in lanes.iter_mut().zip(h).zip(x) {
                *l = fma::<FMA>(h, (x - mean) * inverse, *l);
            }
        }
        for ((l, &h), &x) in lanes.iter_mut().zip(rest).zip(x_rest) {
            *l = fma::<FMA>(h, (x - mean) * inverse, *l);
        }
        let second = lanes.iter().sum::<f32>() / n;
        for (dx, &x) in dx.iter_mut().zip(x) {
            *dx = (*dx - first - (x - mean) * inverse * second) * inverse;
        }
    }
}

/// What a batch normalisation finds: mean and variance of each column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Columns {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances, divided by n.
    pub variance: Vec<f32>,
}

impl Columns {
    /// Of `n` rows.
    pub fn of(x: &[f32], n: usize) -> Columns {
        let d = x.len() / n.max(1);
        let mut mean = vec![0f64; d];
        for row in x.chunks_exact(d) {
            mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v));
        }
        mean.iter_mut().for_each(|m| *m /= n as f64);
        let mut variance = vec![0f64; d];
        for row in x.chunks_exact(d) {
            for ((s, &v), &m) in variance.iter_mut().zip(row).zip(&mean) {
                *s += (f64::from(v) - m) * (f64::from(v) - m);
            }
        }
        Columns {
            mean: mean.iter().map(|&m| m as f32).collect(),
            variance: variance.iter().map(|&s| (s / n as f64) as f32).collect(),
        }
    }

    /// Writes (x - mean) / √(variance + ε) · w + b into `y`.
    pub fn normalise(&self, x: &[f32], norm: Norm, y: &mut [f32]) {
        let d = self.mean.len();
        let factor: Vec<f32> = (self.variance.iter().zip(norm.weight))
            .map(|(&v, &w)| w / (v + norm.epsilon).sqrt())
            .collect();
        for (y, x) in y.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
            for ((((y, &x), &m), &f), &b) in
                y.iter_mut().zip(x).zip(&self.mean).zip(&factor).zip(norm.bias)
            {
                *y = (x - m) * f + b;
            }
        }
    }

    /// The gradients of [`normalise`](Columns::normalise) with these columns' own statistics, from its
    /// input and the output's gradient, which becomes that of the input; returns those of the weight and
    /// the bias.
    pub fn back(&self, x: &[f32], norm: Norm, gradient: &mut [f32]) -> (Vec<f32>, Vec<f32>) {
        let d = self.mean.len();
        let n = (x.len() / d) as f64;
        let inverse: Vec<f32> =
            self.variance.iter().map(|&v| 1.0 / (v + norm.epsilon).sqrt()).collect();
        let (mut dw, mut db) = (vec![0f64; d], vec![0f64; d]);
        for (x, g) in x.chunks_exact(d).zip(gradient.chunks_exact(d)) {
            for c in 0..d {
                dw[c] += f64::from(g[c]) * f64::from((x[c] - self.mean[c]) * inverse[c]);
                db[c] += f64::from(g[c]);
            }
        }
        let (share_w, share_b): (Vec<f32>, Vec<f32>) =
            dw.iter().zip(&db).map(|(&w, &b)| ((w / n) as f32, (b / n) as f32)).unzip();
        for (x, g) in x.chunks_exact(d).zip(gradient.chunks_exact_mut(d)) {
            for c in 0..d {
                let unit = (x[c] - self.mean[c]) * inverse[c];
                g[c] = (g[c] - share_b[c] - unit * share_w[c]) * inverse[c] * norm.weight[c];
            }
        }
        (dw.iter().map(|&v| v as f32).collect(), db.iter().map(|&v| v as f32).collect())
    }
}
