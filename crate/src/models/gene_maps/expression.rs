//! Expression as both methods take it: the most variable genes, normalised, in logarithms.

use super::super::counts::bare_counts;
use crate::anndata::AnnData;
use crate::error::Result;
use crate::pp;
use ndarray::Array2;

/// Expression of the genes that are predicted.
pub(super) struct Expression {
    /// Spots × genes.
    pub values: Array2<f32>,
    /// The genes' names.
    pub genes: Vec<String>,
}

impl Expression {
    /// Of the `n_top` most variable genes (`seurat_v3` on raw counts; all where there are fewer); counts
    /// of each spot are scaled to 10,000 over all genes and replaced by ln(1 + x).
    pub fn of(adata: &AnnData, n_top: usize) -> Result<Expression> {
        let mut a = bare_counts(adata)?;
        pp::var_names_make_unique(&mut a);
        if n_top < a.n_vars() {
            pp::highly_variable_genes(&mut a, pp::Hvg::seurat_v3(n_top))?;
        }
        pp::normalize_total(&mut a, 1e4)?;
        pp::log1p(&mut a)?;
        if n_top < a.n_vars() {
            pp::keep_highly_variable(&mut a)?;
        }
        Ok(Expression { values: a.x()?.to_array_f32(), genes: a.var.names().to_vec() })
    }
}
