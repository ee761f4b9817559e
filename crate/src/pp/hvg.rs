//! Highly variable genes.

use super::filter::{keep_vars, mask_column};
use super::loess::loess;
use super::stats::{are_counts, clipped_sums, column_sums};
use crate::anndata::{AnnData, Column, Map, Matrix, Value, Values};
use crate::error::{Error, Result};

/// Options of [`highly_variable_genes`].
#[derive(Debug, Clone, PartialEq)]
pub struct Hvg {
    n_top_genes: usize,
    span: f64,
    layer: Option<String>,
    check_values: bool,
    subset: bool,
}

impl Hvg {
    /// The flavour `seurat_v3` (Stuart et al., 2019), which wants raw counts: the `n_top_genes`
    /// genes whose variance, after standardising by what their mean lets expect, is largest.
    pub fn seurat_v3(n_top_genes: usize) -> Self {
        Hvg { n_top_genes, span: 0.3, layer: None, check_values: true, subset: false }
    }

    /// Part of the genes that each local regression of variance on mean uses. Default: 0.3.
    pub fn span(mut self, span: f64) -> Self {
        self.span = span;
        self
    }

    /// Take the counts from this layer. Default: from X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Whether values that are no counts are refused. Default: true.
    pub fn check_values(mut self, yes: bool) -> Self {
        self.check_values = yes;
        self
    }

    /// Whether to drop all other genes. Default: false, they are only marked.
    pub fn subset(mut self, yes: bool) -> Self {
        self.subset = yes;
        self
    }
}

/// What the flavour computes for each gene.
struct Dispersion {
    means: Vec<f64>,
    variances: Vec<f64>,
    variances_norm: Vec<f64>,
}

/// With m and v each gene's mean and variance (ddof 1) over the N cells: fit log₁₀ v on log₁₀ m by
/// local regression over the genes with v > 0, σ = √10^fit (1 where v = 0); cut counts above
/// m + σ√N; the variance of the result standardised by m and σ is
/// (N m² + Σc² − 2 m Σc) / ((N − 1) σ²).
fn seurat_v3(counts: &Matrix, span: f64) -> Result<Dispersion> {
    let n = counts.nrows();
    let (means, variances) = column_sums(counts).mean_var(n);
    let varying: Vec<usize> = (0..means.len()).filter(|&g| variances[g] > 0.0).collect();
    let usable = |g: usize| means[g].is_finite() && (means[g] > 0.0 || variances[g] == 0.0);
    if let Some(g) = (0..means.len()).find(|&g| !usable(g)) {
        let reason = format!(
            "gene {g} has the mean {}; the logarithm of the mean needs finite values that are not \
             negative",
            means[g]
        );
        return Err(Error::data("highly variable genes", reason));
    }
    if varying.is_empty() {
        let reason = "no gene varies between the cells; are these the right counts?";
        return Err(Error::data("highly variable genes", reason));
    }
    let log10 = |v: &[f64]| varying.iter().map(|&g| v[g].log10()).collect::<Vec<f64>>();
    let fit = loess(&log10(&means), &log10(&variances), span)?;
    let mut sigma = vec![1.0; means.len()];
    for (&g, f) in varying.iter().zip(fit) {
        sigma[g] = 10f64.powf(f).sqrt();
    }
    let n = n as f64;
    let limit: Vec<f64> = sigma.iter().zip(&means).map(|(s, m)| s * n.sqrt() + m).collect();
    let (sum, square) = clipped_sums(counts, &limit);
    let norm = |g: usize| {
        let (m, s) = (means[g], sigma[g]);
        (1.0 / ((n - 1.0) * s * s)) * (n * m * m + square[g] - 2.0 * sum[g] * m)
    };
    let variances_norm = (0..means.len()).map(norm).collect();
    Ok(Dispersion { means, variances, variances_norm })
}

/// Finds the genes that vary more between cells than their mean lets expect.
///
/// Matches `scanpy.pp.highly_variable_genes(flavor="seurat_v3")` 1.11.5: means and variances within
/// 1e-10 relative, normalised variances within 1e-9, the same ranks. Genes of exactly equal
/// normalised variance (a quarter of a real slide's, as few cells give few distinct counts) are
/// ranked in their order; scanpy leaves their order to an unstable sort.
///
/// Writes `var`: `highly_variable`, `highly_variable_rank` (0 is the most variable; NaN for genes
/// that are not among the top), `means`, `variances`, `variances_norm`; and
/// `uns["hvg"]["flavor"]`.
///
/// # Errors
/// [`Error::Parameter`] when `n_top_genes` is 0 or above the number of genes, or `span` is not in
/// (0, 1]; [`Error::Data`] when the matrix holds no raw counts, with fewer than two cells, or where
/// the regression has too few genes; [`Error::MissingKey`] without the matrix.
pub fn highly_variable_genes(adata: &mut AnnData, options: Hvg) -> Result<()> {
    let counts = match &options.layer {
        Some(layer) => adata.layer(layer)?,
        None => adata.x()?,
    };
    let (n, m) = counts.shape();
    let top = options.n_top_genes;
    if top == 0 || top > m {
        let reason = format!("must be between 1 and the number of genes, {m}");
        return Err(Error::parameter("n_top_genes", top, reason));
    }
    if !(options.span > 0.0 && options.span <= 1.0) {
        return Err(Error::parameter("span", options.span, "must be above 0 and at most 1"));
    }
    if n < 2 {
        return Err(Error::data("highly variable genes", format!("need 2 cells, found {n}")));
    }
    if options.check_values && !are_counts(counts.values()) {
        let slot = options.layer.as_ref().map_or("X".into(), |l| format!("layers[\"{l}\"]"));
        let reason = "holds negative, fractional or missing values, but `seurat_v3` wants raw \
                      counts. Call it before `normalize_total` and `log1p`, name the layer of the \
                      counts with `.layer(\"counts\")`, or accept them with `.check_values(false)`";
        return Err(Error::data(slot, reason));
    }
    let d = seurat_v3(counts, options.span)?;
    let mut order: Vec<usize> = (0..m).collect();
    order.sort_by(|&a, &b| d.variances_norm[b].total_cmp(&d.variances_norm[a]));
    let mut rank = vec![f64::NAN; m];
    let mut mask = vec![false; m];
    for (r, &g) in order[..top].iter().enumerate() {
        rank[g] = r as f64;
        mask[g] = true;
    }
    let flavor: Map<Value> = [("flavor".to_string(), Value::from("seurat_v3"))].into();
    adata.uns.insert("hvg".into(), flavor.into());
    adata.var.insert("highly_variable", mask_column(mask))?;
    adata.var.insert("highly_variable_rank", rank)?;
    adata.var.insert("means", d.means)?;
    adata.var.insert("variances", d.variances)?;
    adata.var.insert("variances_norm", d.variances_norm)?;
    if options.subset {
        keep_highly_variable(adata)?;
    }
    Ok(())
}

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
pub(super) fn masked(adata: &AnnData, column: &str) -> Result<Vec<usize>> {
    match adata.var_column(column)? {
        Column::Values(Values::Bool(mask)) => Ok((0..mask.len()).filter(|&i| mask[i]).collect()),
        Column::Nullable { values: Values::Bool(mask), missing } => {
            Ok((0..mask.len()).filter(|&i| mask[i] && !missing[i]).collect())
        }
        other => {
            let reason = format!("must hold true and false, not {}", other.dtype());
            Err(Error::data(format!("var[\"{column}\"]"), reason))
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

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::linalg::same_with_any_threads;

    #[test]
    fn every_form_and_any_threads_rank_the_same() {
        let results: Vec<AnnData> = forms(400, 120)
            .into_iter()
            .map(|x| {
                same_with_any_threads(|| {
                    let mut a = sample(x.clone());
                    highly_variable_genes(&mut a, Hvg::seurat_v3(30)).unwrap();
                    // Equality of NaN is wanted here.
                    let rank = a.var.remove("highly_variable_rank").unwrap().to_f64().unwrap();
                    assert_eq!(rank.iter().filter(|r| !r.is_nan()).count(), 30);
                    a
                })
            })
            .collect();
        assert!(results.iter().all(|a| a.var == results[0].var));
        let mut a = sample(forms(400, 120).remove(0));
        highly_variable_genes(&mut a, Hvg::seurat_v3(30).subset(true)).unwrap();
        assert_eq!(a.shape(), (400, 30));
        a.check().unwrap();
    }

    #[test]
    fn data_that_are_no_counts_are_refused_with_the_way_out() {
        let mut a = sample(forms(50, 40).remove(2));
        crate::pp::normalize_total(&mut a, 1e4).unwrap();
        let e = highly_variable_genes(&mut a, Hvg::seurat_v3(5)).unwrap_err().to_string();
        assert!(e.contains("X: holds") && e.contains("raw counts"), "{e}");
        highly_variable_genes(&mut a, Hvg::seurat_v3(5).check_values(false)).unwrap();
        let e = highly_variable_genes(&mut a, Hvg::seurat_v3(5).layer("counts")).unwrap_err();
        assert!(e.to_string().contains("layers has no entry `counts`"));
    }

    #[test]
    fn parameters_out_of_range_name_the_range() {
        let mut a = sample(forms(50, 40).remove(0));
        for n in [0, 41] {
            let e = highly_variable_genes(&mut a, Hvg::seurat_v3(n)).unwrap_err().to_string();
            assert!(e.contains("between 1 and the number of genes, 40"), "{e}");
        }
        assert!(highly_variable_genes(&mut a, Hvg::seurat_v3(5).span(0.0)).is_err());
        assert!(highly_variable_index(&a).is_err());
    }

    #[test]
    fn values_without_a_logarithm_are_refused_even_unchecked() {
        for bad in [f32::NAN, f32::INFINITY, -900.0] {
            let mut x = forms(50, 40).remove(0).to_array_f32();
            x[[3, 7]] = bad;
            let options = Hvg::seurat_v3(5).check_values(false);
            let e = highly_variable_genes(&mut sample(x.into()), options).unwrap_err().to_string();
            assert!(e.contains("gene 7"), "{bad}: {e}");
        }
    }

    #[test]
    fn degenerate_counts_are_an_error_not_a_panic() {
        let constant = ndarray::Array2::from_elem((10, 6), 2f32);
        assert!(highly_variable_genes(&mut sample(constant.into()), Hvg::seurat_v3(2)).is_err());
        for genes in 1..12 {
            let x = forms(30, genes).remove(0);
            let _ = highly_variable_genes(&mut sample(x), Hvg::seurat_v3(1));
        }
        let one = forms(1, 10).remove(0);
        assert!(highly_variable_genes(&mut sample(one), Hvg::seurat_v3(2)).is_err());
    }
}
