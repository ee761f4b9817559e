//! Which matrix of an [`AnnData`] a function takes: X, `raw` or a layer.

use crate::anndata::{AnnData, Frame, Matrix};
use crate::error::{Error, Result};

/// A matrix with its variables.
pub(super) struct Source<'a> {
    pub x: &'a Matrix,
    pub var: &'a Frame,
    /// Whether it is `raw`.
    pub is_raw: bool,
}

/// A layer where one is asked for; else `raw`, where there is one, unless it is not wanted; else X.
pub(super) fn source<'a>(
    adata: &'a AnnData,
    use_raw: Option<bool>,
    layer: Option<&str>,
) -> Result<Source<'a>> {
    let (x, var, is_raw) = match (layer, &adata.raw, use_raw) {
        (Some(_), _, Some(true)) => {
            return Err(Error::parameter("use_raw", true, "a layer has no raw; drop one of them"));
        }
        (Some(layer), ..) => (adata.layer(layer)?, &adata.var, false),
        (None, Some(raw), None | Some(true)) => (&raw.x, &raw.var, true),
        (None, None, Some(true)) => {
            return Err(Error::parameter("use_raw", true, "there is no `raw`; leave it out"));
        }
        _ => (adata.x()?, &adata.var, false),
    };
    Ok(Source { x, var, is_raw })
}
