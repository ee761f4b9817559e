//! Names of genes.

use crate::anndata::AnnData;

/// Makes the names of the variables unique as anndata does: the k-th repetition of a name gets the
/// suffix `-k`, counting from 1 and skipping names that exist already. The same as
/// [`AnnData::var_names_make_unique`].
pub fn var_names_make_unique(adata: &mut AnnData) {
    adata.var_names_make_unique();
}
