//! Expectation and maximisation of a mixture of Gaussians, as mclust's `me`.

use super::Covariance;
use crate::error::{Error, Result};
use crate::parallel::sum_parts;
use crate::progress::check_interrupt;
use ndarray::{Array1, Array2, ArrayView1, Axis};
use rayon::prelude::*;

/// The parameters of a mixture.
pub(super) struct Mixture {
    pub weights: Vec<f64>,
    pub means: Array2<f64>,
    /// One for all components, or one each.
    pub covariances: Vec<Array2<f64>>,
}

/// Rows that one task takes at least.
const ROWS: usize = 128;

impl Mixture {
    /// The most likely parameters, given the probabilities `z` (n × G) of the rows of `x` (n × d).
    pub(super) fn maximise(x: &Array2<f64>, z: &Array2<f64>, model: Covariance) -> Result<Mixture> {
        let ((n, d), g) = (x.dim(), z.ncols());
        let sums = sum_parts(n, g * (d + 1), ROWS, |rows, sums| {
            for i in rows {
                for k in 0..g {
                    let p = z[[i, k]];
                    let sum = &mut sums[k * (d + 1)..(k + 1) * (d + 1)];
                    sum[d] += p;
                    sum.iter_mut().zip(x.row(i)).for_each(|(s, v)| *s += p * v);
                }
            }
        });
        let sums = Array2::from_shape_vec((g, d + 1), sums).expect("G × (d + 1) sums");
        let size = sums.column(d).to_owned();
        if let Some(k) = size.iter().position(|&s| s <= n as f64 * f64::EPSILON) {
            return Err(lost(k));
        }
        let means = Array2::from_shape_fn((g, d), |(k, j)| sums[[k, j]] / size[k]);
        let scatter = scatter(x, z, &means, model);
        let all =
            |f: &dyn Fn(usize) -> f64| Array2::from_diag(&(0..d).map(f).collect::<Array1<_>>());
        let total = |k: usize| scatter[k].diag().sum();
        let covariances = match model {
            Covariance::Eee => vec![sum_of(&scatter) / n as f64],
            Covariance::Vvv => scatter.iter().zip(&size).map(|(w, &s)| w / s).collect(),
            Covariance::Eei => {
                let sum = sum_of(&scatter);
                vec![all(&|j| sum[[j, j]] / n as f64)]
            }
            Covariance::Vvi => (0..g).map(|k| all(&|j| scatter[k][[j, j]] / size[k])).collect(),
            Covariance::Eii => {
                let sum: f64 = (0..g).map(total).sum();
                vec![all(&|_| sum / (n * d) as f64)]
            }
            Covariance::Vii => (0..g).map(|k| all(&|_| total(k) / (size[k] * d as f64))).collect(),
        };
        Ok(Mixture { weights: size.iter().map(|s| s / n as f64).collect(), means, covariances })
    }

    /// The probability of each component for each row, and the logarithm of the likelihood.
    pub(super) fn expect(&self, x: &Array2<f64>) -> Result<(Array2<f64>, f64)> {
        let ((n, d), g) = (x.dim(), self.weights.len());
        let factors: Vec<Factor> = self
            .covariances
            .iter()
            .enumerate()
            .map(|(k, c)| Factor::of(c, k))
            .collect::<Result<_>>()?;
        let factor = |k: usize| &factors[if factors.len() == 1 { 0 } else { k }];
        let constant: Vec<f64> = (0..g)
            .map(|k| {
                let half_turn = d as f64 * (2.0 * std::f64::consts::PI).ln();
                self.weights[k].ln() - 0.5 * half_turn - factor(k).log_root
            })
            .collect();
        let mut z = Array2::<f64>::zeros((n, g));
        let flat = z.as_slice_mut().expect("a new array is contiguous");
        let row = |(i, out): (usize, &mut [f64])| {
            let mut y = vec![0f64; d];
            for (k, o) in out.iter_mut().enumerate() {
                *o = constant[k] - 0.5 * factor(k).square(x.row(i), self.means.row(k), &mut y);
            }
            let top = out.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = out.iter().map(|v| (v - top).exp()).sum();
            let log = top + sum.ln();
            out.iter_mut().for_each(|v| *v = (*v - log).exp());
            log
        };
        let logs: Vec<f64> =
            flat.par_chunks_mut(g).with_min_len(ROWS).enumerate().map(row).collect();
        let log_likelihood: f64 = logs.iter().sum();
        if !log_likelihood.is_finite() {
            return Err(Error::data("mixture", "a row is infinitely far from all components"));
        }
        Ok((z, log_likelihood))
    }
}

fn lost(k: usize) -> Error {
    let reason = format!("component {} has lost all its rows; ask for fewer components", k + 1);
    Error::data("mixture", reason)
}

fn sum_of(all: &[Array2<f64>]) -> Array2<f64> {
    all[1..].iter().fold(all[0].clone(), |sum, w| sum + w)
}

/// Scatter of the rows about the mean of each component: the whole matrix where the model asks for
/// it, else the diagonal.
fn scatter(
    x: &Array2<f64>,
    z: &Array2<f64>,
    means: &Array2<f64>,
    model: Covariance,
) -> Vec<Array2<f64>> {
    let ((n, d), g) = (x.dim(), z.ncols());
    let full = matches!(model, Covariance::Eee | Covariance::Vvv);
    let sums = sum_parts(n, g * d * d, ROWS, |rows, sums| {
        let mut away = vec![0f64; d];
        for i in rows {
            for k in 0..g {
                let p = z[[i, k]];
                if p == 0.0 {
                    continue;
                }
                let at = x.row(i);
                (0..d).for_each(|j| away[j] = at[j] - means[[k, j]]);
                let sum = &mut sums[k * d * d..(k + 1) * d * d];
                for a in 0..d {
                    let v = p * away[a];
                    // The lower triangle, or the diagonal alone.
                    let first = if full { 0 } else { a };
                    let row = &mut sum[a * d + first..=a * d + a];
                    row.iter_mut().zip(&away[first..=a]).for_each(|(s, w)| *s += v * w);
                }
            }
        }
    });
    let one = |k: usize| {
        Array2::from_shape_fn((d, d), |(a, b)| sums[k * d * d + a.max(b) * d + a.min(b)])
    };
    (0..g).map(one).collect()
}

/// The Cholesky factor of a covariance.
pub(super) struct Factor {
    lower: Array2<f64>,
    /// Half the logarithm of the determinant.
    pub log_root: f64,
}

impl Factor {
    /// Fails when the matrix is singular to working precision.
    fn of(covariance: &Array2<f64>, k: usize) -> Result<Factor> {
        let d = covariance.nrows();
        let singular = || {
            let reason = format!(
                "the covariance of component {} is singular; drop constant or dependent columns, or \
                 ask for fewer components",
                k + 1
            );
            Error::data("mixture", reason)
        };
        let mut lower = covariance.clone();
        for j in 0..d {
            for i in j..d {
                let dot: f64 = (0..j).map(|m| lower[[i, m]] * lower[[j, m]]).sum();
                let rest = lower[[i, j]] - dot;
                if i == j {
                    // NaN is refused too.
                    let floor = covariance[[j, j]] * f64::EPSILON * d as f64;
                    if !matches!(rest.partial_cmp(&floor), Some(std::cmp::Ordering::Greater)) {
                        return Err(singular());
                    }
                    lower[[j, j]] = rest.sqrt();
                } else {
                    lower[[i, j]] = rest / lower[[j, j]];
                }
            }
        }
        let log_root = lower.diag().iter().map(|v| v.ln()).sum();
        Ok(Factor { lower, log_root })
    }

    /// (x − m)ᵀ Σ⁻¹ (x − m); `y` is room for d numbers.
    fn square(&self, x: ArrayView1<f64>, mean: ArrayView1<f64>, y: &mut [f64]) -> f64 {
        let lower = self.lower.as_slice().expect("standard layout");
        let d = y.len();
        let mut square = 0.0;
        for i in 0..d {
            let row = &lower[i * d..i * d + i];
            let dot: f64 = row.iter().zip(y.iter()).map(|(a, b)| a * b).sum();
            y[i] = (x[i] - mean[i] - dot) / lower[i * d + i];
            square += y[i] * y[i];
        }
        square
    }
}

/// Maximises and expects in turn, from the probabilities `z`, until the log-likelihood moves by less
/// than `tol` of it. Returns the parameters, the last probabilities, the log-likelihood, rounds.
pub(super) fn fit_em(
    x: &Array2<f64>,
    mut z: Array2<f64>,
    model: Covariance,
    tol: f64,
    max_iter: usize,
) -> Result<(Mixture, Array2<f64>, f64, usize)> {
    debug_assert_eq!(z.len_of(Axis(0)), x.nrows());
    let mut last = f64::MAX / 2.0;
    for round in 1.. {
        check_interrupt()?;
        let mixture = Mixture::maximise(x, &z, model)?;
        let (next, log_likelihood) = mixture.expect(x)?;
        z = next;
        let moved = (last - log_likelihood).abs() / (1.0 + log_likelihood.abs());
        if moved < tol || round >= max_iter || z.ncols() == 1 {
            return Ok((mixture, z, log_likelihood, round));
        }
        last = log_likelihood;
    }
    unreachable!("the loop has no end of its own")
}
