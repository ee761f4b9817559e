//! The flavours `seurat_v3` and `seurat_v3_paper`: variance of standardised counts.

use super::super::filter::mask_column;
use super::super::loess::loess;
use super::super::names::called;
use super::super::stats::{are_counts, clipped_sums, column_sums_of};
use super::Hvg;
use super::batches::batches;
use crate::anndata::{AnnData, Frame, Matrix};
use crate::error::{Error, Result};

/// The variance of each gene after standardising, over some cells (rising; `None` is all).
///
/// With m and v each gene's mean and variance (ddof 1) over the N cells: fit log₁₀ v on log₁₀ m by
/// local regression over the genes with v > 0, σ = √10^fit (1 where v = 0); cut counts above
/// m + σ√N; the variance of the result standardised by m and σ is
/// (N m² + Σc² − 2 m Σc) / ((N − 1) σ²).
fn standardised(
    counts: &Matrix,
    rows: Option<&[usize]>,
    (means, variances): (&[f64], &[f64]),
    span: f64,
) -> Result<Vec<f64>> {
    let n = rows.map_or(counts.nrows(), <[usize]>::len) as f64;
    let varying: Vec<usize> = (0..means.len()).filter(|&g| variances[g] > 0.0).collect();
    if varying.is_empty() {
        let reason = "no gene varies between the cells; are these the right counts?";
        return Err(Error::data("highly variable genes", reason));
    }
    let log10 = |v: &[f64]| varying.iter().map(|&g| v[g].log10()).collect::<Vec<f64>>();
    let fit = loess(&log10(means), &log10(variances), span)?;
    let mut sigma = vec![1.0; means.len()];
    for (&g, f) in varying.iter().zip(fit) {
        sigma[g] = 10f64.powf(f).sqrt();
    }
    let limit: Vec<f64> = sigma.iter().zip(means).map(|(s, m)| s * n.sqrt() + m).collect();
    let (sum, square) = clipped_sums(counts, rows, &limit);
    let norm = |g: usize| {
        let (m, s) = (means[g], sigma[g]);
        (1.0 / ((n - 1.0) * s * s)) * (n * m * m + square[g] - 2.0 * sum[g] * m)
    };
    Ok((0..means.len()).map(norm).collect())
}

/// Means and variances over some cells, all of which must have a logarithm.
fn moments(counts: &Matrix, rows: Option<&[usize]>, var: &Frame) -> Result<(Vec<f64>, Vec<f64>)> {
    let n = rows.map_or(counts.nrows(), <[usize]>::len);
    let (means, variances) = column_sums_of(counts, rows).mean_var(n);
    let usable = |g: usize| means[g].is_finite() && (means[g] > 0.0 || variances[g] == 0.0);
    match (0..means.len()).find(|&g| !usable(g)) {
        None => Ok((means, variances)),
        Some(g) => {
            let reason = format!(
                "{} has the mean {}; the logarithm of the mean needs finite values that are not \
                 negative",
                called("gene", var, g),
                means[g]
            );
            Err(Error::data("highly variable genes", reason))
        }
    }
}

/// Genes from the largest value to the smallest, equal ones in their order.
fn falling(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// The median of whole numbers, or NaN of none.
fn median(mut ranks: Vec<usize>) -> f64 {
    ranks.sort_unstable();
    match ranks.len() {
        0 => f64::NAN,
        n => (ranks[(n - 1) / 2] + ranks[n / 2]) as f64 / 2.0,
    }
}

pub(super) fn run(adata: &mut AnnData, options: &Hvg, paper: bool) -> Result<()> {
    let counts = options.matrix(adata)?;
    let m = counts.ncols();
    let top = options.n_top_genes.unwrap_or(2000);
    if top == 0 || top > m {
        let reason = format!("must be between 1 and the number of genes, {m}");
        return Err(Error::parameter("n_top_genes", top, reason));
    }
    if !(options.span > 0.0 && options.span <= 1.0) {
        return Err(Error::parameter("span", options.span, "must be above 0 and at most 1"));
    }
    if options.check_values && !are_counts(counts.values()) {
        let reason = "holds negative, fractional or missing values, but `seurat_v3` wants raw \
                      counts. Call it before `normalize_total` and `log1p`, name the layer of the \
                      counts with `.layer(\"counts\")`, or accept them with `.check_values(false)`";
        return Err(Error::data(options.slot(), reason));
    }
    let parts = match &options.batch_key {
        Some(key) => batches(adata, key)?,
        None => Vec::new(),
    };
    let (means, variances) = moments(counts, None, &adata.var)?;
    let norms: Vec<Vec<f64>> = if options.batch_key.is_none() {
        vec![standardised(counts, None, (&means, &variances), options.span)?]
    } else {
        let one = |batch: &super::batches::Batch| {
            let rows = Some(batch.rows.as_slice());
            let (means, variances) = moments(counts, rows, &adata.var)?;
            standardised(counts, rows, (&means, &variances), options.span)
        };
        let named = |batch| one(batch).map_err(|e| super::in_batch(e, batch));
        parts.iter().map(named).collect::<Result<_>>()?
    };

    let mut ranks: Vec<Vec<usize>> = vec![Vec::new(); m];
    for norm in &norms {
        falling(norm).into_iter().take(top).enumerate().for_each(|(r, g)| ranks[g].push(r));
    }
    let n_batches: Vec<i64> = ranks.iter().map(|r| r.len() as i64).collect();
    let rank: Vec<f64> = ranks.into_iter().map(median).collect();
    let mut order: Vec<usize> = (0..m).collect();
    // NaN comes last, as the largest of numbers.
    let by_rank = |a: usize, b: usize| rank[a].total_cmp(&rank[b]);
    let by_batches = |a: usize, b: usize| n_batches[b].cmp(&n_batches[a]);
    match paper {
        false => order.sort_by(|&a, &b| by_rank(a, b).then(by_batches(a, b))),
        true => order.sort_by(|&a, &b| by_batches(a, b).then(by_rank(a, b))),
    }
    let mut mask = vec![false; m];
    order[..top].iter().for_each(|&g| mask[g] = true);
    let mean_of = |g: usize| norms.iter().map(|v| v[g]).sum::<f64>() / norms.len() as f64;
    let mean_norm: Vec<f64> = (0..m).map(mean_of).collect();

    super::write_flavor(adata, if paper { "seurat_v3_paper" } else { "seurat_v3" });
    adata.var.insert("highly_variable", mask_column(mask))?;
    adata.var.insert("highly_variable_rank", rank)?;
    adata.var.insert("means", means)?;
    adata.var.insert("variances", variances)?;
    adata.var.insert("variances_norm", mean_norm)?;
    if options.batch_key.is_some() {
        adata.var.insert("highly_variable_nbatches", n_batches)?;
    }
    Ok(())
}
