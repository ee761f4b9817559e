//! Convolution of each column with a kernel of its own along the rows of a sequence, with the affine map
//! of a normalisation and SiLU behind it.

use super::linear::add_up;
use super::math::sigmoid;
use super::parts;
use super::simd::{fma, vectorised};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task takes.
const ROWS: usize = 64;

/// What follows the sum of a column's taps: SiLU(sum · factor + shift).
#[derive(Clone, Copy)]
pub(crate) struct Convolution<'a> {
    /// `[taps, width]`, an odd number of taps.
    pub kernel: &'a [f32],
    /// Of each column.
    pub factor: &'a [f32],
    /// Of each column.
    pub shift: &'a [f32],
}

impl Convolution<'_> {
    /// Writes the rows of `x`, whose sequences lie at `spans` one behind the other, into `y`; beyond the
    /// ends of a sequence there are zeros.
    pub fn forward(&self, spans: &[Range<usize>], x: &[f32], y: &mut [f32]) {
        let d = self.factor.len();
        let half = self.kernel.len() / d / 2;
        let mut tasks = Vec::new();
        let mut rest = y;
        for span in spans {
            for first in span.clone().step_by(ROWS) {
                let last = (first + ROWS).min(span.end);
                let (rows, after) = std::mem::take(&mut rest).split_at_mut((last - first) * d);
                rest = after;
                tasks.push((span.clone(), first, rows));
            }
        }
        tasks.into_par_iter().for_each(|(span, first, rows)| {
            for (i, y) in rows.chunks_exact_mut(d).enumerate() {
                let at = first + i;
                let from = at.saturating_sub(half).max(span.start);
                let to = (at + half + 1).min(span.end);
                let tap = from + half - at;
                let kernel = &self.kernel[tap * d..(tap + to - from) * d];
                taps(&x[from * d..to * d], kernel, self.factor, self.shift, y);
            }
        });
    }
}

/// Writes the rows of `x`, convolved, into `y`, without what may follow; see [`Convolution`]. A row has
/// `width` numbers, the kernel is `[taps, width]`.
pub(crate) fn convolve(
    kernel: &[f32],
    width: usize,
    spans: &[Range<usize>],
    x: &[f32],
    y: &mut [f32],
) {
    let taps = kernel.len() / width;
    let half = taps / 2;
    let parts: Vec<_> = spans.iter().zip(parts(spans.iter().map(Range::len), width, y)).collect();
    parts.into_par_iter().for_each(|(span, y)| {
        let (n, x) = (span.len(), &x[span.start * width..span.end * width]);
        for (t, y) in y.chunks_exact_mut(width).enumerate() {
            y.fill(0.0);
            let first = half.saturating_sub(t);
            let last = taps.min(n + half - t);
            let x = x[(t + first - half) * width..].chunks_exact(width);
            for (k, x) in kernel[first * width..last * width].chunks_exact(width).zip(x) {
                add_product(k, x, y);
            }
        }
    });
}

/// Writes the gradient of what [`convolve`] took into `dx`, from that of what it made; returns that of the
/// kernel.
pub(crate) fn convolve_back(
    kernel: &[f32],
    width: usize,
    spans: &[Range<usize>],
    x: &[f32],
    gradient: &[f32],
    dx: &mut [f32],
) -> Vec<f32> {
    let flipped: Vec<f32> = kernel.chunks_exact(width).rev().flatten().copied().collect();
    convolve(&flipped, width, spans, gradient, dx);
    let taps = kernel.len() / width;
    let half = taps / 2;
    let of_sequence = |span: &Range<usize>| {
        let mut sum = vec![0f32; kernel.len()];
        let rows = span.start * width..span.end * width;
        let (x, gradient) = (&x[rows.clone()], &gradient[rows]);
        for (t, g) in gradient.chunks_exact(width).enumerate() {
            let first = half.saturating_sub(t);
            let x = x[(t + first - half) * width..].chunks_exact(width);
            for (sum, x) in sum[first * width..].chunks_exact_mut(width).zip(x) {
                add_product(g, x, sum);
            }
        }
        sum
    };
    let sums: Vec<Vec<f32>> = spans.par_iter().map(of_sequence).collect();
    add_up(&sums, kernel.len())
}

vectorised! {
    fn add_product(a: &[f32], b: &[f32], sum: &mut [f32]) {
        for ((s, &a), &b) in sum.iter_mut().zip(a).zip(b) {
            *s = fma::<FMA>(a, b, *s);
        }
    }
}

vectorised! {
    fn taps(x: &[f32], kernel: &[f32], factor: &[f32], shift: &[f32], y: &mut [f32]) {
        // A block of columns at a time, whose sums stay in registers.
        const COLUMNS: usize = 64;
        let d = y.len();
        let whole = d / COLUMNS * COLUMNS;
        for c in (0..whole).step_by(COLUMNS) {
            let mut sum = [0f32; COLUMNS];
            for (x, k) in x.chunks_exact(d).zip(kernel.chunks_exact(d)) {
                let (x, k) = (&x[c..c + COLUMNS], &k[c..c + COLUMNS]);
                for l in 0..COLUMNS {
                    sum[l] = fma::<FMA>(x[l], k[l], sum[l]);
                }
            }
            let (f, s) = (&factor[c..c + COLUMNS], &shift[c..c + COLUMNS]);
            let y = &mut y[c..c + COLUMNS];
            for l in 0..COLUMNS {
                let v = fma::<FMA>(sum[l], f[l], s[l]);
                y[l] = v * sigmoid::<FMA>(v);
            }
        }
        for c in whole..d {
            let mut sum = 0f32;
            for (x, k) in x.chunks_exact(d).zip(kernel.chunks_exact(d)) {
                sum = fma::<FMA>(x[c], k[c], sum);
            }
            let v = fma::<FMA>(sum, factor[c], shift[c]);
            y[c] = v * sigmoid::<FMA>(v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn equals_the_sum_as_written() {
        let mut rng = Rng::new(3);
        for (d, taps) in [(64, 17), (70, 5), (3, 17)] {
            let spans = [0..1, 1..4, 4..90];
            let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
            let (x, kernel) = (draw(90 * d), draw(taps * d));
            let (factor, shift) = (draw(d), draw(d));
            let mut y = vec![f32::NAN; 90 * d];
            let conv = Convolution { kernel: &kernel, factor: &factor, shift: &shift };
            conv.forward(&spans, &x, &mut y);
            for span in spans {
                for t in span.clone() {
                    for c in 0..d {
                        let sum: f64 = (0..taps)
                            .filter_map(|k| (t + k).checked_sub(taps / 2).map(|s| (k, s)))
                            .filter(|(_, s)| span.contains(s))
                            .map(|(k, s)| f64::from(kernel[k * d + c]) * f64::from(x[s * d + c]))
                            .sum();
                        let v = sum * f64::from(factor[c]) + f64::from(shift[c]);
                        let expected = v / (1.0 + (-v).exp());
                        let found = f64::from(y[t * d + c]);
                        assert!((found - expected).abs() < 1e-5, "{t} {c}: {found} {expected}");
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_equal_differences() {
        let mut rng = Rng::new(4);
        let (d, taps, n) = (3, 5, 12);
        let spans = [0..1, 1..4, 4..12];
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
        let (x, kernel, g) = (draw(n * d), draw(taps * d), draw(n * d));
        let loss = |x: &[f32], kernel: &[f32]| -> f64 {
            let mut y = vec![f32::NAN; n * d];
            convolve(kernel, d, &spans, x, &mut y);
            y.iter().zip(&g).map(|(&y, &g)| f64::from(y) * f64::from(g)).sum()
        };
        let mut dx = vec![f32::NAN; n * d];
        let d_kernel = convolve_back(&kernel, d, &spans, &x, &g, &mut dx);
        // It is linear in each: any step will do.
        for (at, &slope) in dx.iter().enumerate() {
            let mut moved = x.clone();
            moved[at] += 1.0;
            let change = loss(&moved, &kernel) - loss(&x, &kernel);
            assert!((f64::from(slope) - change).abs() < 1e-4, "{slope} {change}");
        }
        for (at, &slope) in d_kernel.iter().enumerate() {
            let mut moved = kernel.clone();
            moved[at] += 1.0;
            let change = loss(&x, &moved) - loss(&x, &kernel);
            assert!((f64::from(slope) - change).abs() < 1e-4, "{slope} {change}");
        }
    }
}
