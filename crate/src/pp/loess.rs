//! The local regression behind the seurat_v3 flavour.

use crate::error::{Error, Result};
use loess_rs::prelude::Loess;

/// Local quadratic regression of `y` on `x` with the nearest 30 % (`span`) of the points, evaluated
/// at `x`: what `skmisc.loess(x, y, span=span, degree=2)` gives, within 1e-13. As there, the curve
/// is interpolated between the vertices of a k-d tree; plain local regression differs by up to 0.13.
pub(super) fn loess(x: &[f64], y: &[f64], span: f64) -> Result<Vec<f64>> {
    let failed = |e: loess_rs::prelude::LoessError| {
        let reason = format!(
            "the regression of variance on mean failed over {} genes ({e}); filter out rarely seen \
             genes first, or ask for a larger span",
            x.len()
        );
        Error::data("highly variable genes", reason)
    };
    let model = Loess::new()
        .fraction(span)
        .iterations(0)
        .degree("quadratic")
        .surface_mode("interpolation")
        .boundary_policy("noboundary")
        .boundary_degree_fallback(false)
        .cell(0.2)
        .build()
        .map_err(failed)?;
    let fitted = model.fit(x, y).map_err(failed)?.y;
    if fitted.len() != x.len() || fitted.iter().any(|v| !v.is_finite()) {
        let reason = format!(
            "the regression of variance on mean is singular over {} genes; filter out rarely seen \
             genes first (`filter_genes`), or ask for a larger span",
            x.len()
        );
        return Err(Error::data("highly variable genes", reason));
    }
    Ok(fitted)
}
