//! The flavours `seurat` and `cell_ranger`: dispersion beside that of genes of a similar mean.

use super::super::filter::mask_column;
use super::super::names::called;
use super::super::stats::{column_sums_of, expm1_sums, first_column};
use super::batches::{Batch, batches};
use super::{Cutoffs, Flavor, Hvg};
use crate::anndata::{AnnData, Frame, Matrix, Value};
use crate::error::{Error, Result};

/// What is known of each gene; of one that a batch does not express, zeros.
struct Genes {
    means: Vec<f64>,
    dispersions: Vec<f64>,
    normalised: Vec<f64>,
    variable: Vec<bool>,
}

pub(super) fn run(adata: &mut AnnData, options: &Hvg) -> Result<()> {
    check(options)?;
    let x = options.matrix(adata)?;
    if let Some(g) = first_column(x, |v| v < 0.0) {
        let found = format!("{} holds values below 0", called("gene", &adata.var, g));
        return Err(unsuited(options, &found));
    }
    let factor = log_base(adata)?;
    let mut intersection = None;
    let genes = match &options.batch_key {
        None => single(x, None, factor, &adata.var, options)?,
        Some(key) => {
            let parts = batches(adata, key)?;
            let one = |batch: &Batch| {
                let found = single(x, Some(&batch.rows), factor, &adata.var, options);
                found.map_err(|e| super::in_batch(e, batch))
            };
            let found = parts.iter().map(one).collect::<Result<Vec<_>>>()?;
            let (genes, n_batches) = merge(&found, adata.var.names(), options);
            let all = n_batches.iter().map(|&n| n == parts.len() as i64).collect();
            intersection = Some((n_batches, all));
            genes
        }
    };
    super::write_flavor(adata, options.flavor.name());
    adata.var.insert("highly_variable", mask_column(genes.variable))?;
    adata.var.insert("means", genes.means)?;
    adata.var.insert("dispersions", genes.dispersions)?;
    let narrow: Vec<f32> = genes.normalised.iter().map(|&x| x as f32).collect();
    adata.var.insert("dispersions_norm", narrow)?;
    if let Some((n_batches, all)) = intersection {
        adata.var.insert("highly_variable_nbatches", n_batches)?;
        adata.var.insert("highly_variable_intersection", mask_column(all))?;
    }
    Ok(())
}

fn check(options: &Hvg) -> Result<()> {
    if options.n_bins == 0 {
        return Err(Error::parameter("n_bins", 0, "must be at least 1"));
    }
    if options.n_top_genes == Some(0) {
        return Err(Error::parameter("n_top_genes", 0, "must be at least 1"));
    }
    let Cutoffs { min_mean, max_mean, min_disp, max_disp } = options.cutoffs;
    for (name, low, high) in [("min_mean", min_mean, max_mean), ("min_disp", min_disp, max_disp)] {
        if low.is_nan() || high.is_nan() || low >= high {
            let reason = format!("must be below the upper limit, {high}");
            return Err(Error::parameter(name, low, reason));
        }
    }
    Ok(())
}

/// ln of the base of the logarithm that X went through: `uns["log1p"]["base"]`.
fn log_base(adata: &AnnData) -> Result<f64> {
    match adata.uns.get("log1p").and_then(|v| v.at(&["base"])) {
        None | Some(Value::Null) => Ok(1.0),
        Some(value) => match value.as_f64() {
            Some(base) if base > 0.0 && base.is_finite() => Ok(base.ln()),
            _ => Err(Error::data("uns[\"log1p\"][\"base\"]", "must be a number above 0, or None")),
        },
    }
}

/// The genes over some cells (rising; `None` is all). Of a batch, only genes that it expresses count.
fn single(
    x: &Matrix,
    rows: Option<&[usize]>,
    factor: f64,
    var: &Frame,
    options: &Hvg,
) -> Result<Genes> {
    let n = rows.map_or(x.nrows(), <[usize]>::len);
    let seurat = options.flavor == Flavor::Seurat;
    let sums = if seurat { expm1_sums(x, rows, factor) } else { column_sums_of(x, rows) };
    let used: Vec<usize> = match rows {
        None => (0..x.ncols()).collect(),
        Some(_) => (0..x.ncols()).filter(|&g| sums.count[g] > 0).collect(),
    };
    let (all_means, all_variances) = sums.mean_var(n);
    if let Some(g) = (0..x.ncols()).find(|&g| !(all_means[g] >= 0.0 && all_means[g].is_finite())) {
        let undone = if seurat { " after undoing the logarithm" } else { "" };
        let found = format!("{} has the mean {}{undone}", called("gene", var, g), all_means[g]);
        return Err(unsuited(options, &found));
    }
    if used.is_empty() {
        return Err(Error::data(options.slot(), "no gene is expressed"));
    }
    let mut means: Vec<f64> = used.iter().map(|&g| all_means[g]).collect();
    let mut dispersions = Vec::with_capacity(used.len());
    for (mean, &g) in means.iter_mut().zip(&used) {
        if *mean == 0.0 {
            *mean = 1e-12;
        }
        let dispersion = all_variances[g] / *mean;
        dispersions.push(match seurat {
            true if dispersion == 0.0 => f64::NAN,
            true => dispersion.ln(),
            false => dispersion,
        });
        if seurat {
            *mean = mean.ln_1p();
        }
    }
    let edges = if seurat { equal_width(&means, options.n_bins) } else { percentiles(&means)? };
    let normalised = normalise(&means, &dispersions, &edges, seurat);
    let variable = match options.n_top_genes {
        None => cut(&means, &normalised, &options.cutoffs),
        Some(top) => {
            let limit = nth_highest(&normalised, top);
            normalised.iter().map(|&v| v >= limit).collect()
        }
    };
    let spread = |v: &[f64]| {
        let mut out = vec![0.0; x.ncols()];
        used.iter().zip(v).for_each(|(&g, &value)| out[g] = value);
        out
    };
    let mut mask = vec![false; x.ncols()];
    used.iter().zip(variable).for_each(|(&g, v)| mask[g] = v);
    Ok(Genes {
        means: spread(&means),
        dispersions: spread(&dispersions),
        normalised: spread(&normalised),
        variable: mask,
    })
}

fn unsuited(options: &Hvg, found: &str) -> Error {
    let reason = format!(
        "{found}; flavour `{}` wants logarithmised counts: call it after `normalize_total` and \
         `log1p` and before `scale`",
        options.flavor.name()
    );
    Error::data(options.slot(), reason)
}

/// Borders of `n` bins of equal width, each open at its left, as `pandas.cut` makes them.
fn equal_width(values: &[f64], n: usize) -> Vec<f64> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let line = |low: f64, high: f64| -> Vec<f64> {
        let step = (high - low) / n as f64;
        let mut edges: Vec<f64> = (0..=n).map(|i| i as f64 * step + low).collect();
        edges[n] = high;
        edges
    };
    if low == high {
        let margin = |v: f64| if v == 0.0 { 0.001 } else { 0.001 * v.abs() };
        return line(low - margin(low), high + margin(high));
    }
    let mut edges = line(low, high);
    edges[0] -= (high - low) * 0.001;
    edges
}

/// Borders at the 10th, 15th, … 100th percentile, and beyond.
fn percentiles(values: &[f64]) -> Result<Vec<f64>> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut edges = vec![f64::NEG_INFINITY];
    for percent in (10..=100).step_by(5) {
        let at = (sorted.len() - 1) as f64 * (f64::from(percent) / 100.0);
        let (below, part) = (at.floor() as usize, at - at.floor());
        let (a, b) = (sorted[below], sorted[(below + 1).min(sorted.len() - 1)]);
        // As numpy interpolates, from the nearer end.
        edges.push(if part >= 0.5 { b - (b - a) * (1.0 - part) } else { a + (b - a) * part });
    }
    edges.push(f64::INFINITY);
    if edges.windows(2).any(|w| w[0] >= w[1]) {
        let reason = format!(
            "too many of {} genes have the same mean for bins by percentile; drop genes that are \
             never or hardly seen first (`filter_genes`)",
            values.len()
        );
        return Err(Error::data("highly variable genes", reason));
    }
    Ok(edges)
}

/// How far each dispersion is from those of its bin: by mean and standard deviation (seurat), or by
/// median and median absolute deviation (cell_ranger).
fn normalise(means: &[f64], dispersions: &[f64], edges: &[f64], seurat: bool) -> Vec<f64> {
    let bin = |mean: f64| edges.partition_point(|&e| e < mean);
    let mut members: Vec<Vec<f64>> = vec![Vec::new(); edges.len() + 1];
    for (&mean, &dispersion) in means.iter().zip(dispersions) {
        if !dispersion.is_nan() {
            members[bin(mean)].push(dispersion);
        }
    }
    let stats: Vec<(f64, f64)> =
        members.iter().map(|v| if seurat { mean_sd(v) } else { median_mad(v) }).collect();
    let one = |(&mean, &dispersion): (&f64, &f64)| {
        let (centre, spread) = stats[bin(mean)];
        (dispersion - centre) / spread
    };
    means.iter().zip(dispersions).map(one).collect()
}

/// A gene alone in its bin gets a normalised dispersion of 1.
fn mean_sd(v: &[f64]) -> (f64, f64) {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    if v.len() < 2 {
        return (0.0, mean);
    }
    let square: f64 = v.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (square / (n - 1.0)).sqrt())
}

fn median_mad(v: &[f64]) -> (f64, f64) {
    /// The median absolute deviation of a standard normal distribution.
    const NORMAL: f64 = 0.674_489_750_196_081_7;
    let centre = median(v.to_vec());
    (centre, median(v.iter().map(|x| (x - centre).abs() / NORMAL).collect()))
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_unstable_by(f64::total_cmp);
    match v.len() {
        0 => f64::NAN,
        n => (v[(n - 1) / 2] + v[n / 2]) / 2.0,
    }
}

fn cut(means: &[f64], normalised: &[f64], c: &Cutoffs) -> Vec<bool> {
    let within = |(&mean, &norm): (&f64, &f64)| {
        let norm = if norm.is_nan() { 0.0 } else { norm };
        mean > c.min_mean && mean < c.max_mean && norm > c.min_disp && norm < c.max_disp
    };
    means.iter().zip(normalised).map(within).collect()
}

/// The `n`-th highest number that is not NaN, or the lowest of fewer.
fn nth_highest(v: &[f64], n: usize) -> f64 {
    let mut numbers: Vec<f64> = v.iter().copied().filter(|x| !x.is_nan()).collect();
    numbers.sort_unstable_by(|a, b| b.total_cmp(a));
    numbers.get(n.min(numbers.len()).saturating_sub(1)).copied().unwrap_or(f64::INFINITY)
}

/// One verdict from those of the batches: means of what is not NaN; with a number of genes to take,
/// first those that are variable in most batches, then by normalised dispersion, then by name.
fn merge(found: &[Genes], names: &[String], options: &Hvg) -> (Genes, Vec<i64>) {
    let m = names.len();
    let mean_of = |pick: fn(&Genes) -> &Vec<f64>| -> Vec<f64> {
        let one = |g: usize| {
            let known: Vec<f64> =
                found.iter().map(|b| pick(b)[g]).filter(|v| !v.is_nan()).collect();
            known.iter().sum::<f64>() / known.len() as f64
        };
        (0..m).map(one).collect()
    };
    let count = |g: usize| found.iter().filter(|b| b.variable[g]).count() as i64;
    let n_batches: Vec<i64> = (0..m).map(count).collect();
    let means = mean_of(|b| &b.means);
    let mut normalised = mean_of(|b| &b.normalised);
    let variable = match options.n_top_genes {
        None => {
            normalised.iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = 0.0);
            cut(&means, &normalised, &options.cutoffs)
        }
        Some(top) => {
            let key =
                |g: usize| if normalised[g].is_nan() { f64::NEG_INFINITY } else { normalised[g] };
            let last = |g: usize| normalised[g].is_nan();
            let mut order: Vec<usize> = (0..m).collect();
            order.sort_by(|&a, &b| {
                n_batches[b]
                    .cmp(&n_batches[a])
                    .then(last(a).cmp(&last(b)))
                    .then(key(b).total_cmp(&key(a)))
                    .then(names[a].cmp(&names[b]))
            });
            let mut mask = vec![false; m];
            order.iter().take(top).for_each(|&g| mask[g] = true);
            mask
        }
    };
    let dispersions = mean_of(|b| &b.dispersions);
    (Genes { means, dispersions, normalised, variable }, n_batches)
}
