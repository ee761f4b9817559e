//! Quality-control metrics.

use super::hvg::masked;
use super::stats::{column_sums, row_sums};
use crate::anndata::{AnnData, Matrix};
use crate::error::Result;
use rayon::prelude::*;

/// Options of [`calculate_qc_metrics`].
#[derive(Debug, Clone, PartialEq)]
pub struct QcMetrics {
    qc_vars: Vec<String>,
    percent_top: Vec<usize>,
}

impl Default for QcMetrics {
    fn default() -> Self {
        QcMetrics { qc_vars: Vec::new(), percent_top: vec![50, 100, 200, 500] }
    }
}

impl QcMetrics {
    /// Boolean columns of `var` that mark groups of genes, e.g. `mt`. Default: none.
    pub fn qc_vars<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.qc_vars = columns.into_iter().map(Into::into).collect();
        self
    }

    /// For which numbers of top genes their part of the counts is given; numbers above that of the
    /// genes are left out. Default: 50, 100, 200, 500.
    pub fn percent_top(mut self, numbers: impl IntoIterator<Item = usize>) -> Self {
        self.percent_top = numbers.into_iter().collect();
        self
    }
}

/// Counts per cell and per gene. Matches `scanpy.pp.calculate_qc_metrics` 1.11.5 within 1e-6
/// relative (columns are `float64` here).
///
/// Writes `obs`: `n_genes_by_counts`, `total_counts`, `log1p_` of both,
/// `pct_counts_in_top_{n}_genes`; for each of `qc_vars` `total_counts_{v}`,
/// `log1p_total_counts_{v}`, `pct_counts_{v}`. Writes `var`: `n_cells_by_counts`, `mean_counts`,
/// `log1p_mean_counts`, `pct_dropout_by_counts`, `total_counts`, `log1p_total_counts`.
///
/// # Errors
/// [`Error::MissingKey`](crate::Error::MissingKey) without X or one of `qc_vars`,
/// [`Error::Data`](crate::Error::Data) when one of these is not boolean.
pub fn calculate_qc_metrics(adata: &mut AnnData, options: QcMetrics) -> Result<()> {
    let x = adata.x()?;
    let (n, m) = x.shape();
    let (cells, genes) = (row_sums(x), column_sums(x));
    let mut obs: Vec<(String, Vec<f64>)> = Vec::new();
    let mut add = |name: String, values: Vec<f64>| obs.push((name, values));
    let log1p = |v: &[f64]| v.iter().map(|x| x.ln_1p()).collect::<Vec<f64>>();
    let detected: Vec<f64> = cells.positive.iter().map(|&c| c as f64).collect();
    add("log1p_n_genes_by_counts".into(), log1p(&detected));
    add("total_counts".into(), cells.sum.clone());
    add("log1p_total_counts".into(), log1p(&cells.sum));
    let percent = |part: &[f64]| -> Vec<f64> {
        part.iter().zip(&cells.sum).map(|(p, total)| 100.0 * p / total).collect()
    };
    let tops: Vec<usize> =
        options.percent_top.iter().copied().filter(|&k| (1..=m).contains(&k)).collect();
    for (k, top) in tops.iter().zip(top_sums(x, &tops)) {
        add(format!("pct_counts_in_top_{k}_genes"), percent(&top));
    }
    for name in &options.qc_vars {
        let part = row_sums(&x.take_columns(&masked(adata, name)?)).sum;
        add(format!("log1p_total_counts_{name}"), log1p(&part));
        add(format!("pct_counts_{name}"), percent(&part));
        add(format!("total_counts_{name}"), part);
    }
    let whole = |v: &[usize]| v.iter().map(|&c| c as i64).collect::<Vec<i64>>();
    adata.obs.insert("n_genes_by_counts", whole(&cells.positive))?;
    for (name, values) in obs {
        adata.obs.insert(name, values)?;
    }
    let mean: Vec<f64> = genes.sum.iter().map(|s| s / n as f64).collect();
    let dropout = |&c: &usize| 100.0 * (1.0 - c as f64 / n as f64);
    adata.var.insert("n_cells_by_counts", whole(&genes.positive))?;
    adata.var.insert("log1p_mean_counts", log1p(&mean))?;
    adata.var.insert("mean_counts", mean)?;
    let dropout: Vec<f64> = genes.positive.iter().map(dropout).collect();
    adata.var.insert("pct_dropout_by_counts", dropout)?;
    adata.var.insert("log1p_total_counts", log1p(&genes.sum))?;
    adata.var.insert("total_counts", genes.sum)?;
    Ok(())
}

/// For each of `tops` the sum of that many largest elements of each row.
fn top_sums(x: &Matrix, tops: &[usize]) -> Vec<Vec<f64>> {
    if tops.is_empty() {
        return Vec::new();
    }
    let row_of = |mut row: Vec<f64>| -> Vec<f64> {
        row.sort_unstable_by(|a, b| b.total_cmp(a));
        tops.iter().map(|&k| row.iter().take(k).sum()).collect()
    };
    let (n, m) = x.shape();
    let values = x.values();
    let per_row: Vec<Vec<f64>> = match x {
        Matrix::Dense(_) => (0..n)
            .into_par_iter()
            .map(|r| row_of((r * m..(r + 1) * m).map(|k| values.get_f64(k)).collect()))
            .collect(),
        Matrix::Csr(s) => (0..n)
            .into_par_iter()
            .map(|r| row_of((s.indptr[r]..s.indptr[r + 1]).map(|k| values.get_f64(k)).collect()))
            .collect(),
        Matrix::Csc(_) => return top_sums(&Matrix::Csr(x.to_csr()), tops),
    };
    (0..tops.len()).map(|t| per_row.iter().map(|r| r[t]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::{Column, Frame, Values};

    #[test]
    fn metrics_of_a_small_matrix() {
        let x = ndarray::array![[1f32, 0., 3., 6.], [0., 0., 2., 0.]];
        for form in [
            Matrix::from(x.clone()),
            Matrix::Csr(Matrix::from(x.clone()).to_csr()),
            Matrix::Csc(Matrix::from(x.clone()).to_csc()),
        ] {
            let mut a = AnnData::new(form, Frame::with_len(2), Frame::with_len(4)).unwrap();
            let mask = vec![true, true, false, false];
            a.var.insert("mt", Column::Values(Values::Bool(mask))).unwrap();
            let options = QcMetrics::default().qc_vars(["mt"]).percent_top([2, 50]);
            calculate_qc_metrics(&mut a, options).unwrap();
            let obs = |k: &str| a.obs_column(k).unwrap().to_f64().unwrap();
            let var = |k: &str| a.var_column(k).unwrap().to_f64().unwrap();
            assert_eq!(obs("n_genes_by_counts"), [3., 1.]);
            assert_eq!(obs("total_counts"), [10., 2.]);
            assert_eq!(obs("pct_counts_in_top_2_genes"), [90., 100.]);
            assert_eq!(obs("pct_counts_mt"), [10., 0.]);
            assert_eq!(obs("log1p_total_counts_mt"), [2f64.ln(), 0.]);
            assert_eq!(var("n_cells_by_counts"), [1., 0., 2., 1.]);
            assert_eq!(var("mean_counts"), [0.5, 0., 2.5, 3.]);
            assert_eq!(var("pct_dropout_by_counts"), [50., 100., 0., 50.]);
            assert!(!a.obs.contains("pct_counts_in_top_50_genes"));
        }
    }
}
