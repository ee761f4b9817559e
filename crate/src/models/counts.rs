//! Raw counts, which the methods select genes by.

use crate::anndata::{AnnData, Frame, Matrix};
use crate::error::{Error, Result};

/// The raw counts: `layers["counts"]`, or X where there is no such layer.
///
/// # Errors
/// [`Error::Data`] when they are not whole numbers of at least 0, or all of them are 0.
pub(super) fn counts(adata: &AnnData) -> Result<&Matrix> {
    let (what, counts) = match adata.layers.get("counts") {
        Some(layer) => ("layers[\"counts\"]", layer),
        None => ("X", adata.x()?),
    };
    check_counts(what, counts)?;
    Ok(counts)
}

/// A copy of the counts with the names of spots and genes, and nothing else.
///
/// # Errors
/// As [`counts`].
pub(super) fn bare_counts(adata: &AnnData) -> Result<AnnData> {
    let obs = Frame::new(adata.obs.names().to_vec());
    let var = Frame::new(adata.var.names().to_vec());
    AnnData::new(counts(adata)?.clone(), obs, var)
}

/// The genes are selected by a model of counts, and no error would tell that it was fed anything
/// else.
fn check_counts(what: &str, counts: &Matrix) -> Result<()> {
    let values = counts.values();
    let mut any = false;
    for i in 0..values.len() {
        let x = values.get_f64(i);
        if !(x >= 0.0 && x.is_finite() && x.fract() == 0.0) {
            let reason = format!(
                "must hold raw counts, whole numbers of at least 0; it holds {x}. If the counts \
                 are elsewhere, put them into layers[\"counts\"]"
            );
            return Err(Error::data(what, reason));
        }
        any |= x > 0.0;
    }
    if any { Ok(()) } else { Err(Error::data(what, "holds no counts: every element is 0")) }
}
