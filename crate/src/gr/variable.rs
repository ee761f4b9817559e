//! [`spatially_variable_genes`]: the genes whose pattern in space is clear, marked in `var`.

use super::autocorr::{SpatialAutocorr, compute};
use super::graph::CONNECTIVITIES;
use crate::anndata::{AnnData, Select, Value};
use crate::error::{Error, Result};

/// Options of [`spatially_variable_genes`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpatiallyVariable {
    fdr: f64,
    n_top_genes: Option<usize>,
    layer: Option<String>,
    connectivity_key: String,
}

impl Default for SpatiallyVariable {
    fn default() -> Self {
        SpatiallyVariable {
            fdr: 0.05,
            n_top_genes: None,
            layer: None,
            connectivity_key: CONNECTIVITIES.into(),
        }
    }
}

impl SpatiallyVariable {
    /// The share of marked genes that may be marked wrongly. Default: 0.05.
    pub fn fdr(mut self, fdr: f64) -> Self {
        self.fdr = fdr;
        self
    }

    /// Mark no more than so many, those of the highest I. Default: no limit.
    pub fn n_top_genes(mut self, n: usize) -> Self {
        self.n_top_genes = Some(n);
        self
    }

    /// Take the values from this layer. Default: from X.
    pub fn layer(mut self, key: impl Into<String>) -> Self {
        self.layer = Some(key.into());
        self
    }

    /// The graph in `obsp`. Default: `spatial_connectivities`.
    pub fn connectivity_key(mut self, key: impl Into<String>) -> Self {
        self.connectivity_key = key.into();
        self
    }
}

/// Ranks all genes by Moran's I and marks those whose pattern is not chance: I above what is
/// expected, one-sided p-value under normality, Benjamini and Hochberg's false discovery rate.
///
/// The statistic is that of [`spatial_autocorr`](super::spatial_autocorr) over all genes.
///
/// Writes `uns["moranI"]` as there, and `var`: `spatially_variable`, `spatially_variable_rank` (0
/// is the highest I), `moranI`, `moranI_pval` and `moranI_fdr`; NaN for genes that are constant,
/// which are never marked. On a complete graph there are no p-values, and no gene is marked.
///
/// # Errors
/// As [`spatial_autocorr`](super::spatial_autocorr); [`Error::Parameter`] when `fdr` is not in
/// (0, 1] or `n_top_genes` is 0.
pub fn spatially_variable_genes(adata: &mut AnnData, options: SpatiallyVariable) -> Result<()> {
    if !(options.fdr > 0.0 && options.fdr <= 1.0) {
        return Err(Error::parameter("fdr", options.fdr, "must be above 0 and at most 1"));
    }
    if options.n_top_genes == Some(0) {
        return Err(Error::parameter("n_top_genes", 0, "must be at least 1"));
    }
    let mut moran = SpatialAutocorr::moran()
        .genes(Select::Run(0, None))
        .connectivity_key(&options.connectivity_key);
    if let Some(layer) = &options.layer {
        moran = moran.layer(layer);
    }
    // Rows with the genes they are of: names may repeat.
    let (table, order) = compute(adata, &moran)?;
    let m = adata.n_vars();
    let column = |name: &str| table.get(name).and_then(|c| c.to_f64()).unwrap_or_default();
    let (i, p, q) = (column("I"), column("pval_norm"), column("pval_norm_fdr_bh"));
    let expected = -1.0 / (adata.n_obs() as f64 - 1.0);
    let limit = options.n_top_genes.unwrap_or(m);
    let mut marked = vec![false; m];
    let [mut rank, mut stat, mut pval, mut fdr] = std::array::from_fn(|_| vec![f64::NAN; m]);
    for (place, &g) in order.iter().enumerate() {
        (stat[g], pval[g], fdr[g]) = (i[place], p[place], q[place]);
        if i[place].is_nan() {
            continue;
        }
        rank[g] = place as f64;
        marked[g] = place < limit && i[place] > expected && q[place] <= options.fdr;
    }
    adata.uns.insert("moranI".into(), Value::Frame(table));
    adata.var.insert("spatially_variable", marked)?;
    for (name, values) in [
        ("spatially_variable_rank", rank),
        ("moranI", stat),
        ("moranI_pval", pval),
        ("moranI_fdr", fdr),
    ] {
        adata.var.insert(name, values)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gr::sample::slide;
    use crate::gr::{SpatialNeighbors, spatial_neighbors};

    #[test]
    fn the_gradient_is_marked_and_nothing_else() {
        let mut a = slide(12, 10);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        spatially_variable_genes(&mut a, SpatiallyVariable::default()).unwrap();
        let get = |name: &str| a.var_column(name).unwrap().to_f64().unwrap();
        assert_eq!(get("spatially_variable"), [1.0, 0.0, 0.0]);
        let rank = get("spatially_variable_rank");
        assert!(rank[0] == 0.0 && rank[1] == 1.0 && rank[2].is_nan());
        let i = get("moranI");
        assert!(i[0] > 0.8 && i[1] < -0.9 && i[2].is_nan(), "{i:?}");
        assert!(get("moranI_fdr")[0] < 1e-10);
    }

    #[test]
    fn bad_options_are_named() {
        let mut a = slide(6, 4);
        let run = |a: &mut AnnData, o| spatially_variable_genes(a, o).unwrap_err().to_string();
        assert!(run(&mut a, SpatiallyVariable::default()).contains("gr::spatial_neighbors"));
        assert!(run(&mut a, SpatiallyVariable::default().fdr(0.0)).contains("fdr"));
        assert!(run(&mut a, SpatiallyVariable::default().n_top_genes(0)).contains("at least 1"));
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        let e = run(&mut a, SpatiallyVariable::default().layer("counts"));
        assert!(e.contains("layers has no entry `counts`"), "{e}");
    }
}
