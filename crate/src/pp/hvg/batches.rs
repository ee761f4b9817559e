//! The cells of each batch.

use crate::anndata::AnnData;
use crate::error::{Error, Result};

/// A batch: its name, and its cells, rising.
pub(super) struct Batch {
    pub name: String,
    pub rows: Vec<usize>,
}

/// The batches that `obs[key]` tells apart, in the order of the categories; those without cells are
/// left out.
pub(super) fn batches(adata: &AnnData, key: &str) -> Result<Vec<Batch>> {
    let labels = adata.obs_column(key)?.to_categorical();
    let mut all: Vec<Batch> =
        labels.categories.iter().map(|c| Batch { name: c.clone(), rows: Vec::new() }).collect();
    let mut missing = 0usize;
    for (row, &code) in labels.codes.iter().enumerate() {
        match usize::try_from(code) {
            Ok(code) => all[code].rows.push(row),
            Err(_) => missing += 1,
        }
    }
    let what = || format!("obs[\"{key}\"]");
    if missing > 0 {
        let reason = format!(
            "names no batch for {missing} of {} cells; drop these cells or give them a batch",
            adata.n_obs()
        );
        return Err(Error::data(what(), reason));
    }
    all.retain(|b| !b.rows.is_empty());
    if let Some(single) = all.iter().find(|b| b.rows.len() < 2) {
        let reason = format!("batch `{}` has one cell; each needs at least 2", single.name);
        return Err(Error::data(what(), reason));
    }
    Ok(all)
}
