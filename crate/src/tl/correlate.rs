//! Correlation of two tables column by column: of measured and predicted expression, gene by gene.

use crate::error::{Error, Result};
use crate::linalg::Real;
use crate::stats::average_ranks;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Pearson's correlation of each column of `a` with the same column of `b` (both n × m); NaN where
/// a column of either is constant, as scipy's. Matches `scipy.stats.pearsonr` within 1e-10.
///
/// # Errors
/// [`Error::Shape`] when the shapes differ, [`Error::Data`] with fewer than two rows or an element
/// that is not finite.
pub fn pearson_columns<T: Real, U: Real>(a: ArrayView2<T>, b: ArrayView2<U>) -> Result<Vec<f64>> {
    columns(a, b, |x, y| pearson(&x, &y))
}

/// Spearman's rank correlation of each column of `a` with the same column of `b` (both n × m); NaN
/// where a column of either is constant, as scipy's. Matches `scipy.stats.spearmanr` within 1e-10.
///
/// # Errors
/// As [`pearson_columns`].
pub fn spearman_columns<T: Real, U: Real>(a: ArrayView2<T>, b: ArrayView2<U>) -> Result<Vec<f64>> {
    columns(a, b, |x, y| pearson(&average_ranks(&x), &average_ranks(&y)))
}

fn columns<T: Real, U: Real>(
    a: ArrayView2<T>,
    b: ArrayView2<U>,
    of: impl Fn(Vec<f64>, Vec<f64>) -> f64 + Sync,
) -> Result<Vec<f64>> {
    if a.dim() != b.dim() {
        let text = |(n, m): (usize, usize)| format!("{n} × {m}");
        return Err(Error::shape("tables to compare", text(a.dim()), text(b.dim())));
    }
    if a.nrows() < 2 {
        return Err(Error::data("tables to compare", "need at least two rows"));
    }
    let one = |j: usize| {
        let x: Vec<f64> = a.column(j).iter().map(|v| v.as_f64()).collect();
        let y: Vec<f64> = b.column(j).iter().map(|v| v.as_f64()).collect();
        if x.iter().chain(&y).any(|v| !v.is_finite()) {
            let reason = "holds NaN or infinity; drop such rows first";
            return Err(Error::data(format!("column {j} to compare"), reason));
        }
        Ok(of(x, y))
    };
    (0..a.ncols()).into_par_iter().map(one).collect()
}

/// Pearson's correlation of two lists of finite numbers; NaN where one is constant.
pub(super) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let constant = |v: &[f64]| v.iter().all(|&e| e == v[0]);
    if constant(x) || constant(y) {
        return f64::NAN;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        let (a, b) = (a - mx, b - my);
        (xx, yy, xy) = (xx + a * a, yy + b * b, xy + a * b);
    }
    (xy / (xx.sqrt() * yy.sqrt())).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn columns_are_compared_one_by_one() {
        let a = array![[1f32, 5.0, 2.0], [2.0, 5.0, 1.0], [3.0, 5.0, 7.0], [4.0, 5.0, 7.0]];
        let b = array![[1f64, 1.0, 9.0], [4.0, 2.0, 11.0], [9.0, 3.0, 2.0], [16.0, 4.0, 1.0]];
        let p = pearson_columns(a.view(), b.view()).unwrap();
        // scipy 1.17: pearsonr([1,2,3,4],[1,4,9,16]), and the third columns.
        assert!((p[0] - 0.9843740386976972).abs() < 1e-12);
        assert!(p[1].is_nan());
        let s = spearman_columns(a.view(), b.view()).unwrap();
        assert!((s[0] - 1.0).abs() < 1e-12);
        assert!(s[1].is_nan());
        assert!((s[2] + 0.9486832980505138).abs() < 1e-12, "{}", s[2]);
    }

    #[test]
    fn bad_tables_are_refused() {
        let a = array![[1f64], [2.0]];
        assert!(pearson_columns(a.view(), array![[1f64, 2.0]].view()).is_err());
        assert!(pearson_columns(array![[1f64]].view(), array![[1f64]].view()).is_err());
        let nan = array![[1f64], [f64::NAN]];
        let e = spearman_columns(a.view(), nan.view()).unwrap_err().to_string();
        assert!(e.contains("column 0"), "{e}");
    }
}
