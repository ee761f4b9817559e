//! Means of expression over space.

use super::names::{not_finite, slot};
use super::stats::first_column;
use crate::anndata::{AnnData, Matrix, Values};
use crate::error::{Error, Result};
use crate::linalg::{Csr, Features, Real, gaussian_smooth_of};
use ndarray::{Array2, ArrayView2};

/// Options of [`gaussian_smooth`]; a number is σ.
#[derive(Debug, Clone, PartialEq)]
pub struct GaussianSmooth {
    sigma: f64,
    layer: Option<String>,
    spatial_key: String,
    key_added: Option<String>,
    left_out: f64,
}

impl GaussianSmooth {
    /// With a kernel of the width σ = `sigma`, in the unit of the coordinates (pixels of the full
    /// picture for Visium).
    pub fn new(sigma: f64) -> Self {
        GaussianSmooth {
            sigma,
            layer: None,
            spatial_key: "spatial".into(),
            key_added: Some("smooth".into()),
            left_out: 1e-9,
        }
    }

    /// Smooth this layer. Default: X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// The entry of `obsm` with the coordinates. Default: `spatial`.
    pub fn spatial_key(mut self, key: impl Into<String>) -> Self {
        self.spatial_key = key.into();
        self
    }

    /// The layer to write. Default: `smooth`.
    pub fn key_added(mut self, layer: impl Into<String>) -> Self {
        self.key_added = Some(layer.into());
        self
    }

    /// Put the means in the place of what was smoothed instead of into a layer of their own.
    pub fn in_place(mut self) -> Self {
        self.key_added = None;
        self
    }

    /// What the weights of the pairs left out may add up to, beside a spot's own weight of 1: pairs
    /// further apart than σ √(2 ln(n / `part`)) are, and each mean differs by less than `part` of the
    /// largest value. Default: 1e-9. With 1e-3 half as far is looked, at a quarter of the work.
    pub fn left_out(mut self, part: f64) -> Self {
        self.left_out = part;
        self
    }
}

impl From<f64> for GaussianSmooth {
    fn from(sigma: f64) -> Self {
        GaussianSmooth::new(sigma)
    }
}

/// Replaces the expression of each spot by the mean over all spots, weighted by exp(−d²/2σ²) with d
/// their distance in `obsm["spatial"]` (2-D or 3-D); the kernel that STAMGC smooths with.
///
/// Matches STAMGC's published code within 1e-5, with the bound of
/// [`left_out`](GaussianSmooth::left_out). Reads dense or sparse matrices. Writes a dense one, as means
/// are hardly ever 0: `layers["smooth"]`, or in place; `float64` stays, all else becomes `float32`.
///
/// ```
/// # use spatialkit::{anndata::{AnnData, Frame}, ndarray::array, pp};
/// # let mut adata = AnnData::new(array![[4f32], [0.0]], Frame::with_len(2), Frame::with_len(1))?;
/// # adata.obsm.insert("spatial".into(), array![[0.0, 0.0], [1.0, 0.0]].into());
/// pp::gaussian_smooth(&mut adata, 100.0)?;
/// assert!((adata.layer("smooth")?.to_array_f32()[[1, 0]] - 2.0).abs() < 1e-3);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Parameter`] when σ is not above 0 or the part left out not between 0 and 1;
/// [`Error::MissingKey`] without the matrix or the coordinates; [`Error::Shape`] when these have not 2
/// or 3 columns; [`Error::Data`] when a coordinate or an element is not finite; [`Error::Interrupted`].
pub fn gaussian_smooth(adata: &mut AnnData, options: impl Into<GaussianSmooth>) -> Result<()> {
    let options = options.into();
    let x = match &options.layer {
        Some(layer) => adata.layer(layer)?,
        None => adata.x()?,
    };
    let coordinates = coordinates(adata, &options.spatial_key)?;
    if let Some(g) = first_column(x, |v| !v.is_finite()) {
        let what = slot(options.layer.as_ref());
        return Err(Error::data(what, not_finite("gene", &adata.var, g)));
    }
    let smooth: Matrix = match x.values() {
        Values::F64(v) => run(x, v, &coordinates, &options)?.into(),
        values => run(x, &values.to_f32(), &coordinates, &options)?.into(),
    };
    match (&options.key_added, &options.layer) {
        (Some(key), _) => drop(adata.layers.insert(key.clone(), smooth)),
        (None, Some(layer)) => adata.layers[layer.as_str()] = smooth,
        (None, None) => adata.x = Some(smooth),
    }
    Ok(())
}

fn run<T: Real>(
    x: &Matrix,
    values: &[T],
    coordinates: &Array2<f64>,
    options: &GaussianSmooth,
) -> Result<Array2<T>> {
    let csr;
    let features = match x {
        Matrix::Dense(m) => {
            let view = ArrayView2::from_shape((m.nrows, m.ncols), values);
            Features::Dense(view.expect("a dense matrix holds as many values as its shape says"))
        }
        Matrix::Csr(_) | Matrix::Csc(_) => {
            csr = Csr::<T>::of(x);
            Features::Sparse(&csr)
        }
    };
    gaussian_smooth_of(coordinates.view(), features, options.sigma, options.left_out)
}

fn coordinates(adata: &AnnData, key: &str) -> Result<Array2<f64>> {
    if key == "spatial" {
        return adata.spatial();
    }
    let x = adata.obsm(key)?.to_array_f64();
    if !(2..=3).contains(&x.ncols()) {
        return Err(Error::shape(format!("columns of obsm[\"{key}\"]"), "2 or 3", x.ncols()));
    }
    match x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
        None => Ok(x),
        Some(row) => {
            let reason = format!("row {row} is not finite; drop such spots first");
            Err(Error::data(format!("obsm[\"{key}\"]"), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn placed(x: Matrix, dims: usize) -> AnnData {
        let mut rng = Rng::new(5);
        let n = x.nrows();
        let mut a = sample(x);
        let at = Array2::from_shape_simple_fn((n, dims), || rng.uniform_in(0.0, 30.0));
        a.obsm.insert("spatial".into(), at.into());
        a
    }

    #[test]
    fn every_form_gives_the_same_means_between_the_extremes() {
        for dims in [2, 3] {
            let mut all = Vec::new();
            for x in forms(300, 20) {
                let a = placed(x, dims);
                let before = a.x().unwrap().clone();
                let a = same_with_any_threads(|| {
                    let mut a = a.clone();
                    gaussian_smooth(&mut a, 2.0).unwrap();
                    a
                });
                assert_eq!(a.x().unwrap(), &before);
                let smooth = a.layers["smooth"].to_array_f64();
                let most = before.to_array_f64().fold(0.0, |m: f64, &v| m.max(v));
                assert!(smooth.iter().all(|v| (0.0..=most).contains(v)));
                let mut b = a.clone();
                gaussian_smooth(&mut b, GaussianSmooth::new(2.0).in_place()).unwrap();
                assert_eq!(b.x().unwrap(), &a.layers["smooth"]);
                all.push(smooth);
            }
            assert!(all.iter().all(|s| (s - &all[0]).iter().all(|d| d.abs() < 1e-5)));
        }
    }

    #[test]
    fn a_narrow_kernel_changes_nothing_and_a_wide_one_gives_the_mean() {
        let mut a = placed(forms(50, 6).remove(4), 2);
        let x = a.x().unwrap().to_array_f64();
        gaussian_smooth(&mut a, 1e-6).unwrap();
        assert_eq!(a.layers["smooth"].to_array_f64(), x);
        gaussian_smooth(&mut a, GaussianSmooth::new(1e6).key_added("flat")).unwrap();
        let mean = x.mean_axis(ndarray::Axis(0)).unwrap();
        assert!((&a.layers["flat"].to_array_f64() - &mean).iter().all(|d| d.abs() < 1e-6));
        gaussian_smooth(&mut a, GaussianSmooth::new(1.0).layer("flat").in_place()).unwrap();
        assert!((&a.layers["flat"].to_array_f64() - &mean).iter().all(|d| d.abs() < 1e-6));
    }

    #[test]
    fn unsuited_data_are_refused() {
        let mut a = placed(forms(20, 4).remove(2), 2);
        assert!(gaussian_smooth(&mut a, 0.0).is_err());
        assert!(gaussian_smooth(&mut a, GaussianSmooth::new(1.0).left_out(2.0)).is_err());
        assert!(gaussian_smooth(&mut a, GaussianSmooth::new(1.0).spatial_key("xy")).is_err());
        assert!(gaussian_smooth(&mut a, GaussianSmooth::new(1.0).layer("none")).is_err());
        let mut at = a.obsm["spatial"].to_array_f64();
        at[[3, 1]] = f64::NAN;
        a.obsm.insert("spatial".into(), at.clone().into());
        assert!(gaussian_smooth(&mut a, 1.0).unwrap_err().to_string().contains("row 3"));
        a.obsm.insert("other".into(), at.into());
        let other = GaussianSmooth::new(1.0).spatial_key("other");
        assert!(gaussian_smooth(&mut a, other).unwrap_err().to_string().contains("row 3"));
        let mut b = placed(forms(20, 4).remove(2), 2);
        let mut x = b.x().unwrap().to_array_f32();
        x[[0, 2]] = f32::INFINITY;
        b.x = Some(x.into());
        assert!(gaussian_smooth(&mut b, 1.0).unwrap_err().to_string().contains("column 2"));
        assert!(!b.layers.contains_key("smooth"));
    }

    #[test]
    fn a_single_spot_stays_as_it_is() {
        for x in forms(1, 6) {
            let mut a = placed(x, 2);
            gaussian_smooth(&mut a, 2.0).unwrap();
            assert_eq!(a.layers["smooth"].to_array_f64(), a.x().unwrap().to_array_f64());
        }
    }
}
