//! Principal components of plain arrays; on an [`AnnData`](crate::anndata::AnnData) use
//! [`pp::pca`](crate::pp::pca).

use super::svd::gram_svd;
use super::{Centered, Operator, Real, Svd, krylov_svd, matmul, randomized_svd, svd, svd_flip};
use crate::error::{Error, Result};
use ndarray::{Array1, Array2, ArrayView2};

/// How the singular value decomposition behind the principal components is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PcaSolver {
    /// scikit-learn's choice by size: exact up to 500 × 500; from the covariance matrix for up to
    /// 1,000 columns and ten times as many rows; randomized where fewer than 80 % of the components
    /// are asked for; exact otherwise.
    #[default]
    Auto,
    /// Every component exactly, whatever the size (singular values to the accuracy of `f64`): by the
    /// full decomposition of up to 500 × 500, by the covariance matrix of up to 2,500 columns and at
    /// least as many rows, otherwise by a Krylov iteration run to convergence.
    Exact,
    /// Random projection with power iterations: fast, and close where the spectrum falls.
    Randomized,
}

/// Principal components of n rows × m columns of data.
#[derive(Debug, Clone, PartialEq)]
pub struct PcaFit {
    /// The data in the new coordinates, n × k.
    pub scores: Array2<f64>,
    /// The new axes, k × m, each of length 1; in each the largest loading is positive.
    pub components: Array2<f64>,
    /// Singular values of the centred data, falling.
    pub singular_values: Array1<f64>,
    /// Variance along each axis: s² / (n − 1).
    pub explained_variance: Array1<f64>,
    /// The same as a part of the variance of all columns.
    pub explained_variance_ratio: Array1<f64>,
    /// What was subtracted from each column: its mean, or 0 without centring.
    pub mean: Array1<f64>,
}

/// The first `n_components` principal components of `x` (rows are observations), centred.
///
/// Matches `sklearn.decomposition.PCA` 1.9: the exact solvers within 1e-12 relative on singular
/// values, signs included; the randomized one to the accuracy of that method.
///
/// # Errors
/// [`Error::Parameter`] when `n_components` is 0 or above min(n, m); [`Error::Data`] with fewer
/// than two rows or an element that is not finite.
pub fn pca<T: Real>(
    x: ArrayView2<T>,
    n_components: usize,
    solver: PcaSolver,
    seed: u64,
) -> Result<PcaFit> {
    pca_of(&Centered::dense(x, true)?, n_components, solver, seed)
}

/// The same for data that are sparse, or not centred.
///
/// # Errors
/// As [`pca`].
pub fn pca_of<T: Real>(
    x: &Centered<T>,
    n_components: usize,
    solver: PcaSolver,
    seed: u64,
) -> Result<PcaFit> {
    let (n, m) = x.dim();
    let (k, smaller, larger) = (n_components, n.min(m), n.max(m));
    if n < 2 {
        let reason = format!("need at least 2 rows, found {n}");
        return Err(Error::data("principal components", reason));
    }
    if k == 0 || k > smaller {
        let reason = format!("must be between 1 and {smaller} for data of {n} × {m}");
        return Err(Error::parameter("n_components", k, reason));
    }
    let by_covariance = m <= 1000 && n >= 10 * m;
    let mut fit = match solver {
        PcaSolver::Auto | PcaSolver::Exact if larger <= 500 => full(x, k)?,
        PcaSolver::Auto if by_covariance => gram_svd(x, &x.gram(), k, seed)?,
        PcaSolver::Auto if 10 * k < 8 * smaller => randomized_svd(x, k, seed)?,
        PcaSolver::Randomized => randomized_svd(x, k, seed)?,
        _ if m <= 2500 && n >= m => gram_svd(x, &x.gram(), k, seed)?,
        _ if smaller <= 500 && n * m <= 1 << 22 => full(x, k)?,
        _ => krylov_svd(x, k, 1e-8, seed)?,
    };
    svd_flip(&mut fit.u, &mut fit.vt);
    let explained_variance = fit.s.mapv(|s| s * s / (n - 1) as f64);
    let total = x.total_square / (n - 1) as f64;
    let ratio = |v: f64| if total > 0.0 { v / total } else { 0.0 };
    Ok(PcaFit {
        scores: &fit.u * &fit.s,
        explained_variance_ratio: explained_variance.mapv(ratio),
        components: fit.vt,
        singular_values: fit.s,
        explained_variance,
        mean: x.mean.clone(),
    })
}

fn full<T: Real>(x: &Centered<T>, k: usize) -> Result<Svd> {
    let (u, s, vt) = svd(x.to_array().view())?;
    Ok(Svd { u, s, vt }.truncated(k))
}

impl PcaFit {
    /// Further rows in the same coordinates.
    ///
    /// # Panics
    /// When `x` has another number of columns.
    pub fn transform(&self, x: ArrayView2<f64>) -> Array2<f64> {
        matmul((&x - &self.mean).view(), self.components.t())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn sample(n: usize, m: usize) -> Array2<f32> {
        let mut rng = Rng::new(9);
        let scale: Vec<f64> = (0..m).map(|j| 20.0 / (1.0 + j as f64)).collect();
        Array2::from_shape_fn((n, m), |(_, j)| (3.0 + rng.normal() * scale[j]) as f32)
    }

    #[test]
    fn every_solver_finds_the_same_components() {
        for (n, m) in [(900, 60), (60, 900), (620, 540)] {
            let x = sample(n, m);
            let exact = full(&Centered::dense(x.view(), true).unwrap(), 5).unwrap();
            for solver in [PcaSolver::Auto, PcaSolver::Exact, PcaSolver::Randomized] {
                let fit = same_with_any_threads(|| pca(x.view(), 5, solver, 0).unwrap());
                for (a, b) in fit.singular_values.iter().zip(&exact.s) {
                    assert!((a - b).abs() < 1e-6 * b, "{solver:?} {n} × {m}: {a} is not {b}");
                }
                let again = fit.transform(x.mapv(f64::from).view());
                assert!((&again - &fit.scores).iter().all(|d| d.abs() < 1e-3));
                assert!(fit.explained_variance_ratio.sum() <= 1.0);
            }
        }
    }

    #[test]
    fn too_many_components_are_refused_with_the_limit() {
        let e = pca(sample(10, 4).view(), 5, PcaSolver::Auto, 0).unwrap_err().to_string();
        assert!(e.contains("between 1 and 4"), "{e}");
        assert!(pca(sample(10, 4).view(), 0, PcaSolver::Auto, 0).is_err());
        assert!(pca(sample(1, 4).view(), 1, PcaSolver::Auto, 0).is_err());
    }

    #[test]
    fn constant_data_have_no_variance_and_no_nan() {
        let x = Array2::<f32>::ones((8, 3));
        let fit = pca(x.view(), 2, PcaSolver::Auto, 0).unwrap();
        assert!(fit.scores.iter().chain(&fit.explained_variance_ratio).all(|&v| v == 0.0));
    }
}
