//! What every function of this module reads from an `AnnData`: coordinates, the stored graph and
//! the labels, each checked and with errors that say what to do.

use crate::anndata::{AnnData, Categorical, Column, Values};
use crate::error::{Error, Result};
use crate::linalg::Csr;
use ndarray::Array2;

/// The entry of `obsp` that [`spatial_neighbors`](super::spatial_neighbors) writes by default.
pub(super) const CONNECTIVITIES: &str = "spatial_connectivities";

/// The coordinates in `obsm[key]`, all of them finite.
pub(super) fn coordinates(adata: &AnnData, key: &str) -> Result<Array2<f64>> {
    let coords = adata.obsm(key)?.to_array_f64();
    let what = format!("obsm[\"{key}\"]");
    if coords.ncols() == 0 {
        return Err(Error::shape(format!("columns of {what}"), "at least 1", 0));
    }
    let bad: Vec<usize> =
        (0..coords.nrows()).filter(|&i| coords.row(i).iter().any(|x| !x.is_finite())).collect();
    if let Some(&first) = bad.first() {
        let reason = format!(
            "{} of {} observations have a coordinate that is not a number (the first is row \
             {first}). Drop them with `adata.keep_obs(…)` first",
            bad.len(),
            coords.nrows()
        );
        return Err(Error::data(what, reason));
    }
    Ok(coords)
}

/// The first two columns of the coordinates, as points.
pub(super) fn points(adata: &AnnData, key: &str) -> Result<Vec<[f64; 2]>> {
    let coords = coordinates(adata, key)?;
    if coords.ncols() < 2 {
        return Err(Error::shape(format!("columns of obsm[\"{key}\"]"), "at least 2", 1));
    }
    Ok(coords.rows().into_iter().map(|p| [p[0], p[1]]).collect())
}

/// The graph in `obsp[key]` with its weights, columns rising within each row.
pub(super) fn graph(adata: &AnnData, key: &str) -> Result<Csr<f64>> {
    let what = format!("obsp[\"{key}\"]");
    let Some(matrix) = adata.obsp.get(key) else {
        let there: Vec<&str> = adata.obsp.keys().map(String::as_str).collect();
        let there = if there.is_empty() { "nothing".into() } else { there.join(", ") };
        let reason = format!(
            "there is no such graph (obsp has: {there}). Run `gr::spatial_neighbors` first, or \
             name another with `.connectivity_key(…)`"
        );
        return Err(Error::data(what, reason));
    };
    let n = adata.n_obs();
    if matrix.shape() != (n, n) {
        let found = format!("{} × {}", matrix.nrows(), matrix.ncols());
        return Err(Error::shape(what, format!("{n} × {n}"), found));
    }
    let mut graph = Csr::<f64>::of(matrix);
    if graph.values.iter().any(|w| !w.is_finite()) {
        return Err(Error::data(what, "has weights that are not finite; make the graph again"));
    }
    drop_zeros(&mut graph);
    Ok(graph)
}

/// A stored zero is no edge.
fn drop_zeros(graph: &mut Csr<f64>) {
    if graph.values.iter().all(|&w| w != 0.0) {
        return;
    }
    let mut kept = 0;
    let mut start = 0;
    for r in 0..graph.nrows {
        let end = graph.indptr[r + 1];
        for e in start..end {
            if graph.values[e] != 0.0 {
                graph.values[kept] = graph.values[e];
                graph.indices[kept] = graph.indices[e];
                kept += 1;
            }
        }
        start = end;
        graph.indptr[r + 1] = kept;
    }
    graph.values.truncate(kept);
    graph.indices.truncate(kept);
}

/// The categories in `obs[key]`; columns of text, whole numbers and booleans are taken as such.
pub(super) fn categories(adata: &AnnData, key: &str) -> Result<Categorical> {
    let column = adata.obs_column(key)?;
    let real = |v: &Values| matches!(v, Values::F32(_) | Values::F64(_));
    match column {
        Column::Values(v) | Column::Nullable { values: v, .. } if real(v) => {
            let reason = format!("holds {}, not categories", v.dtype());
            Err(Error::data(format!("obs[\"{key}\"]"), reason))
        }
        column => Ok(column.to_categorical()),
    }
}

/// The same where every observation must have one; the codes as positions.
pub(super) fn labels(adata: &AnnData, key: &str) -> Result<(Categorical, Vec<u32>)> {
    let c = categories(adata, key)?;
    let missing = c.codes.iter().filter(|&&code| code < 0).count();
    if missing > 0 {
        let reason = format!(
            "{missing} of {} observations have no category. Drop them first, e.g. with \
             `adata.keep_obs(adata.obs.mask(\"{key}\", |_| true)?)`, and make the graph of the rest",
            c.codes.len()
        );
        return Err(Error::data(format!("obs[\"{key}\"]"), reason));
    }
    let codes = c.codes.iter().map(|&code| code as u32).collect();
    Ok((c, codes))
}
