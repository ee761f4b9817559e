//! Genes that a column of `var` marks.

use super::super::filter::keep_vars;
use crate::anndata::{AnnData, Column, Values};
use crate::error::{Error, Result};

/// Positions of the genes that `var["highly_variable"]` marks, rising.
///
/// # Errors
/// [`Error::MissingKey`] without that column, [`Error::Data`] when it is not boolean or marks none.
pub fn highly_variable_index(adata: &AnnData) -> Result<Vec<usize>> {
    let index = masked(adata, "highly_variable")?;
    if index.is_empty() {
        return Err(Error::data("var[\"highly_variable\"]", "marks no gene"));
    }
    Ok(index)
}

/// Positions where a boolean column of `var` is true.
pub(in super::super) fn masked(adata: &AnnData, column: &str) -> Result<Vec<usize>> {
    positions(adata.var_column(column)?, "var", column)
}

/// Positions where a boolean column is true.
pub(in super::super) fn positions(column: &Column, slot: &str, name: &str) -> Result<Vec<usize>> {
    match column {
        Column::Values(Values::Bool(mask)) => Ok((0..mask.len()).filter(|&i| mask[i]).collect()),
        Column::Nullable { values: Values::Bool(mask), missing } => {
            Ok((0..mask.len()).filter(|&i| mask[i] && !missing[i]).collect())
        }
        other => {
            let reason = format!("must hold true and false, not {}", other.dtype());
            Err(Error::data(format!("{slot}[\"{name}\"]"), reason))
        }
    }
}

/// Drops all genes that `var["highly_variable"]` does not mark.
///
/// # Errors
/// As [`highly_variable_index`].
pub fn keep_highly_variable(adata: &mut AnnData) -> Result<()> {
    let keep = highly_variable_index(adata)?;
    keep_vars(adata, &keep);
    Ok(())
}
