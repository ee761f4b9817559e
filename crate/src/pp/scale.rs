//! Unit variance.

use super::normalize::{FloatValues, map_elements};
use super::stats::column_sums;
use crate::anndata::{AnnData, Dense, Matrix, Values};
use crate::error::{Error, Result};

/// Options of [`scale`].
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    zero_center: bool,
    max_value: Option<f64>,
}

impl Default for Scale {
    /// No centring, no limit.
    fn default() -> Self {
        Scale { zero_center: false, max_value: None }
    }
}

impl Scale {
    /// Whether the mean of each gene is subtracted, which makes a sparse matrix dense. Default:
    /// false, unlike scanpy: STAMGC does not centre, and PCA centres by itself.
    pub fn zero_center(mut self, yes: bool) -> Self {
        self.zero_center = yes;
        self
    }

    /// Values above are cut to it; with centring also those below its negative. Default: no limit.
    pub fn max_value(mut self, max: f64) -> Self {
        self.max_value = Some(max);
        self
    }
}

/// Divides every gene by its standard deviation (ddof 1; a gene that does not vary stays as it is),
/// after subtracting its mean if asked.
///
/// Matches `scanpy.pp.scale` 1.11.5 within 1e-5, except that `float32` data stay `float32` also
/// with centring. Whole numbers become `float32`; a sparse matrix stays sparse without centring.
///
/// Writes `var["mean"]` and `var["std"]` (1 for a gene that does not vary).
///
/// # Errors
/// [`Error::Parameter`] when `max_value` is not above 0, [`Error::Data`] with fewer than two cells
/// or when a gene holds NaN or infinity, [`Error::MissingKey`] without X.
pub fn scale(adata: &mut AnnData, options: Scale) -> Result<()> {
    if let Some(max) = options.max_value.filter(|m| m.is_nan() || *m <= 0.0) {
        return Err(Error::parameter("max_value", max, "must be above 0"));
    }
    let x = adata.x()?;
    let n = x.nrows();
    if n < 2 {
        return Err(Error::data("scale", format!("need at least 2 cells, found {n}")));
    }
    let (mean, var) = column_sums(x).mean_var(n);
    if let Some(g) = (0..mean.len()).find(|&g| !mean[g].is_finite() || !var[g].is_finite()) {
        let reason = format!("gene `{}` (column {g}) holds NaN or infinity", adata.var.names()[g]);
        return Err(Error::data("X", reason));
    }
    let std: Vec<f64> = var.iter().map(|&v| if v > 0.0 { v.sqrt() } else { 1.0 }).collect();
    let x = adata.x_mut()?;
    x.values_mut().make_float();
    if options.zero_center && x.is_sparse() {
        *x = to_dense(x);
    }
    let center = options.zero_center.then_some(mean.as_slice());
    match x.values() {
        Values::F64(_) => apply::<f64>(x, center, &std, options.max_value),
        _ => apply::<f32>(x, center, &std, options.max_value),
    }
    adata.var.insert("mean", mean)?;
    adata.var.insert("std", std)?;
    Ok(())
}

fn to_dense(x: &Matrix) -> Matrix {
    let (nrows, ncols) = x.shape();
    let values = match x.values() {
        Values::F64(_) => Values::F64(x.to_array_f64().into_raw_vec_and_offset().0),
        _ => Values::F32(x.to_array_f32().into_raw_vec_and_offset().0),
    };
    Matrix::Dense(Dense { nrows, ncols, values })
}

fn apply<T: FloatValues>(x: &mut Matrix, mean: Option<&[f64]>, std: &[f64], max: Option<f64>) {
    let max = max.unwrap_or(f64::INFINITY);
    match mean {
        None => map_elements(x, |_, c, v: T| T::from_f64((v.as_f64() / std[c]).min(max))),
        Some(mean) => map_elements(x, |_, c, v: T| {
            T::from_f64(((v.as_f64() - mean[c]) / std[c]).clamp(-max, max))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::linalg::same_with_any_threads;

    #[test]
    fn every_form_agrees_and_sparse_stays_sparse() {
        for center in [false, true] {
            let options = || Scale::default().zero_center(center).max_value(2.5);
            let mut results = Vec::new();
            for x in forms(150, 20) {
                let sparse = x.is_sparse();
                let a = same_with_any_threads(|| {
                    let mut a = sample(x.clone());
                    scale(&mut a, options()).unwrap();
                    a
                });
                assert_eq!(a.x().unwrap().is_sparse(), sparse && !center);
                results.push(a.x().unwrap().to_array_f64());
            }
            for r in &results {
                assert!((r - &results[0]).iter().all(|d| d.abs() < 1e-6));
                assert!(r.iter().all(|&v| (-2.5..=2.5).contains(&v)));
            }
        }
    }

    #[test]
    fn a_gene_that_does_not_vary_stays() {
        let x = ndarray::array![[5f64, 0.1, 1.], [5., 0.1, 2.], [5., 0.1, 6.]];
        let mut a = sample(x.into());
        scale(&mut a, Scale::default()).unwrap();
        let got = a.x().unwrap().to_array_f64();
        assert_eq!(got.column(0).to_vec(), [5., 5., 5.]);
        assert_eq!(got.column(1).to_vec(), [0.1, 0.1, 0.1]);
        assert_eq!(a.var_column("std").unwrap().to_f64().unwrap()[..2], [1., 1.]);
    }

    #[test]
    fn unsuited_data_are_refused() {
        let mut a = sample(ndarray::array![[0f32, 1.], [3., f32::INFINITY]].into());
        assert!(scale(&mut a, Scale::default()).unwrap_err().to_string().contains("column 1"));
        assert!(scale(&mut a, Scale::default().max_value(0.0)).is_err());
        assert!(scale(&mut sample(ndarray::array![[0f32]].into()), Scale::default()).is_err());
    }
}
