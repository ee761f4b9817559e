//! Unit variance.

use super::hvg::positions;
use super::names::{not_finite, slot};
use super::normalize::{FloatValues, map_elements};
use super::stats::column_sums_of;
use crate::anndata::{AnnData, Dense, Matrix, Values};
use crate::error::{Error, Result};

/// Options of [`scale`].
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    zero_center: bool,
    max_value: Option<f64>,
    layer: Option<String>,
    obsm: Option<String>,
    mask: Mask,
}

#[derive(Debug, Clone, PartialEq)]
enum Mask {
    None,
    Column(String),
    Given(Vec<bool>),
}

impl Default for Scale {
    /// Centring, no limit, all cells of X, as scanpy.
    fn default() -> Self {
        Scale { zero_center: true, max_value: None, layer: None, obsm: None, mask: Mask::None }
    }
}

impl Scale {
    /// Whether the mean of each gene is subtracted, which makes a sparse matrix dense. Default:
    /// true. PCA centres by itself: without centring here a sparse matrix may stay sparse for it.
    pub fn zero_center(mut self, yes: bool) -> Self {
        self.zero_center = yes;
        self
    }

    /// Values above are cut to it; with centring also those below its negative. Default: no limit.
    pub fn max_value(mut self, max: f64) -> Self {
        self.max_value = Some(max);
        self
    }

    /// Scale this layer. Default: X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Scale this entry of `obsm` instead; means and deviations are not written then.
    pub fn obsm(mut self, key: impl Into<String>) -> Self {
        self.obsm = Some(key.into());
        self
    }

    /// Only the cells that this boolean column of `obs` marks are looked at and scaled, by their
    /// own means and deviations; these are written as `mean of <column>` and `std of <column>`.
    pub fn mask_obs(mut self, column: impl Into<String>) -> Self {
        self.mask = Mask::Column(column.into());
        self
    }

    /// The same with a mask given; means and deviations are written as `mean with mask` and `std with
    /// mask`.
    pub fn mask(mut self, mask: impl Into<Vec<bool>>) -> Self {
        self.mask = Mask::Given(mask.into());
        self
    }

    /// The cells, rising (`None` is all), and the names of the columns to write.
    fn cells(&self, adata: &AnnData) -> Result<(Option<Vec<usize>>, [String; 2])> {
        let rows = match &self.mask {
            Mask::None => return Ok((None, ["mean".into(), "std".into()])),
            Mask::Column(name) => positions(adata.obs_column(name)?, "obs", name)?,
            Mask::Given(mask) if mask.len() != adata.n_obs() => {
                return Err(Error::shape("mask of scale", adata.n_obs(), mask.len()));
            }
            Mask::Given(mask) => (0..mask.len()).filter(|&i| mask[i]).collect(),
        };
        let name = |what: &str| match &self.mask {
            Mask::Column(column) => format!("{what} of {column}"),
            _ => format!("{what} with mask"),
        };
        Ok((Some(rows), [name("mean"), name("std")]))
    }
}

/// Divides every gene by its standard deviation (ddof 1; a gene that does not vary stays as it is),
/// after subtracting its mean if asked.
///
/// Matches `scanpy.pp.scale` 1.11.5 within 1e-5, except that `float32` data stay `float32` also
/// with centring, and that a sparse matrix of which only some cells are centred becomes dense. Whole
/// numbers become `float32`; a sparse matrix stays sparse without centring.
///
/// Writes X (or the layer, or the entry of `obsm`), `var["mean"]` and `var["std"]` (1 for a gene that
/// does not vary).
///
/// # Errors
/// [`Error::Parameter`] when `max_value` is not above 0 or both a layer and an entry of `obsm` are
/// named, [`Error::Data`] with fewer than two cells or when a gene holds NaN or infinity,
/// [`Error::MissingKey`] without the matrix or the mask, [`Error::Shape`] for a mask of another length.
pub fn scale(adata: &mut AnnData, options: Scale) -> Result<()> {
    if let Some(max) = options.max_value.filter(|m| m.is_nan() || *m <= 0.0) {
        return Err(Error::parameter("max_value", max, "must be above 0"));
    }
    let x = match (&options.layer, &options.obsm) {
        (Some(_), Some(key)) => {
            return Err(Error::parameter(
                "obsm",
                key,
                "name a layer or an entry of obsm, not both",
            ));
        }
        (Some(layer), None) => adata.layer(layer)?,
        (None, Some(key)) => adata.obsm(key)?,
        (None, None) => adata.x()?,
    };
    let (cells, names) = options.cells(adata)?;
    let n = cells.as_ref().map_or(x.nrows(), Vec::len);
    if n < 2 {
        return Err(Error::data("scale", format!("need at least 2 cells, found {n}")));
    }
    let (mean, var) = column_sums_of(x, cells.as_deref()).mean_var(n);
    if let Some(g) = (0..mean.len()).find(|&g| !mean[g].is_finite() || !var[g].is_finite()) {
        return Err(match (&options.obsm, &options.layer) {
            (Some(key), _) => {
                let reason = format!("column {g} holds NaN or infinity");
                Error::data(format!("obsm[\"{key}\"]"), reason)
            }
            (None, layer) => Error::data(slot(layer.as_ref()), not_finite("gene", &adata.var, g)),
        });
    }
    let std: Vec<f64> = var.iter().map(|&v| if v > 0.0 { v.sqrt() } else { 1.0 }).collect();
    let x = match (&options.layer, &options.obsm) {
        (Some(layer), _) => &mut adata.layers[layer.as_str()],
        (_, Some(key)) => &mut adata.obsm[key.as_str()],
        _ => adata.x_mut()?,
    };
    x.values_mut().make_float();
    if options.zero_center && x.is_sparse() {
        *x = to_dense(x);
    }
    let mut changed = vec![cells.is_none(); x.nrows()];
    cells.into_iter().flatten().for_each(|r| changed[r] = true);
    let center = options.zero_center.then_some(mean.as_slice());
    match x.values() {
        Values::F64(_) => apply::<f64>(x, &changed, center, &std, options.max_value),
        _ => apply::<f32>(x, &changed, center, &std, options.max_value),
    }
    if options.obsm.is_none() {
        let [mean_name, std_name] = names;
        adata.var.insert(mean_name, mean)?;
        adata.var.insert(std_name, std)?;
    }
    Ok(())
}

/// The same numbers with every element stored.
pub(super) fn to_dense(x: &Matrix) -> Matrix {
    let (nrows, ncols) = x.shape();
    let values = match x.values() {
        Values::F64(_) => Values::F64(x.to_array_f64().into_raw_vec_and_offset().0),
        _ => Values::F32(x.to_array_f32().into_raw_vec_and_offset().0),
    };
    Matrix::Dense(Dense { nrows, ncols, values })
}

fn apply<T: FloatValues>(
    x: &mut Matrix,
    changed: &[bool],
    mean: Option<&[f64]>,
    std: &[f64],
    max: Option<f64>,
) {
    let max = max.unwrap_or(f64::INFINITY);
    let new = |r: usize, c: usize, v: T| match mean {
        _ if !changed[r] => v,
        None => T::from_f64((v.as_f64() / std[c]).min(max)),
        Some(mean) => T::from_f64(((v.as_f64() - mean[c]) / std[c]).clamp(-max, max)),
    };
    map_elements(x, new);
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::anndata::Column;
    use crate::parallel::same_with_any_threads;

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
        scale(&mut a, Scale::default().zero_center(false)).unwrap();
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

    #[test]
    fn layers_entries_and_some_cells_are_scaled_alone() {
        for x in forms(60, 8) {
            let mut a = sample(x);
            a.layers.insert("copy".into(), a.x().unwrap().clone());
            a.obsm.insert("e".into(), a.x().unwrap().clone());
            let before = a.x().unwrap().to_array_f64();
            scale(&mut a, Scale::default().layer("copy")).unwrap();
            assert_eq!(a.x().unwrap().to_array_f64(), before);
            let whole = a.layers["copy"].to_array_f64();
            scale(&mut a, Scale::default().obsm("e")).unwrap();
            assert_eq!(a.obsm["e"].to_array_f64(), whole);

            let mask: Vec<bool> = (0..60).map(|i| i % 3 == 0).collect();
            a.obs.insert("third", Column::Values(Values::Bool(mask.clone()))).unwrap();
            let mut b = a.clone();
            scale(&mut a, Scale::default().zero_center(true).mask_obs("third")).unwrap();
            scale(&mut b, Scale::default().zero_center(true).mask(mask)).unwrap();
            assert_eq!(a.x().unwrap(), b.x().unwrap());
            let got = a.x().unwrap().to_array_f64();
            assert!(a.var.contains("mean of third") && b.var.contains("std with mask"));
            for i in 0..60 {
                assert_eq!(got.row(i) == before.row(i), i % 3 != 0);
            }
            let third: Vec<usize> = (0..60).step_by(3).collect();
            let sum = got.select(ndarray::Axis(0), &third).sum_axis(ndarray::Axis(0));
            assert!(sum.iter().all(|s| s.abs() < 1e-4));
        }
        let mut a = sample(forms(10, 4).remove(0));
        assert!(scale(&mut a, Scale::default().mask(vec![true; 3])).is_err());
        assert!(scale(&mut a, Scale::default().mask(vec![false; 10])).is_err());
        assert!(scale(&mut a, Scale::default().layer("a").obsm("b")).is_err());
        assert!(scale(&mut a, Scale::default().mask_obs("nothing")).is_err());
    }

    #[test]
    fn what_does_not_vary_is_centred_and_what_is_masked_is_not_looked_at() {
        let mut a = sample(ndarray::array![[5., 1., 2.], [5., 3., 4.], [5., 8., f64::NAN]].into());
        let e = scale(&mut a, Scale::default()).unwrap_err().to_string();
        assert!(e.contains("X: gene `2` (column 2) holds NaN"), "{e}");
        scale(&mut a, Scale::default().mask(vec![true, true, false])).unwrap();
        let got = a.x().unwrap().to_array_f64();
        assert_eq!(got.column(0).to_vec(), [0., 0., 5.]);
        assert!((got[[0, 1]] + 0.5f64.sqrt()).abs() < 1e-15);
        assert!(got[[2, 1]] == 8.0 && got[[2, 2]].is_nan());
        let std = a.var_column("std with mask").unwrap().to_f64().unwrap();
        assert_eq!(std[0], 1.0);
        let e = scale(&mut a, Scale::default().layer("log")).unwrap_err().to_string();
        assert!(e.contains("layers has no entry `log`"), "{e}");
        let e = scale(&mut a, Scale::default().obsm("e")).unwrap_err().to_string();
        assert!(e.contains("obsm has no entry `e`"), "{e}");
        a.obsm.insert("e".into(), got.into());
        let e = scale(&mut a, Scale::default().obsm("e")).unwrap_err().to_string();
        assert!(e.contains("obsm[\"e\"]: column 2 holds NaN"), "{e}");
    }
}
