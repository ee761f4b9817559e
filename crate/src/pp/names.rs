//! Names of genes, and what errors call genes, cells and matrices.

use crate::anndata::{AnnData, Frame};

/// Makes the names of the variables unique as anndata does: the k-th repetition of a name gets the
/// suffix `-k`, counting from 1 and skipping names that exist already. The same as
/// [`AnnData::var_names_make_unique`].
pub fn var_names_make_unique(adata: &mut AnnData) {
    adata.var_names_make_unique();
}

/// What entry `i` of `names` is called, a `gene` or a `cell`.
pub(super) fn called(entry: &str, names: &Frame, i: usize) -> String {
    let axis = if entry == "gene" { "column" } else { "row" };
    format!("{entry} `{}` ({axis} {i})", names.names()[i])
}

/// What to say of one that holds NaN or infinity.
pub(super) fn not_finite(entry: &str, names: &Frame, i: usize) -> String {
    let entry = called(entry, names, i);
    format!("{entry} holds NaN or infinity; set such values to 0, or drop it")
}

/// What the matrix is called that a function reads.
pub(super) fn slot(layer: Option<&String>) -> String {
    layer.map_or("X".into(), |l| format!("layers[\"{l}\"]"))
}
