//! Quality-control metrics.

use super::hvg::masked;
use super::names::not_finite;
use super::stats::{nonzero_sums, row_sums};
use crate::anndata::{AnnData, Matrix};
use crate::error::{Error, Result};
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
/// relative (columns are `float64` here). As there, whatever is not 0 counts, also below 0, and the
/// `pct_` columns of a cell whose total is 0 are NaN. The zeros of a sparse matrix take part in the
/// top genes (scanpy may leave them out where numbers are below 0).
///
/// Writes `obs`: `n_genes_by_counts`, `total_counts`, `log1p_` of both,
/// `pct_counts_in_top_{n}_genes`; for each of `qc_vars` `total_counts_{v}`,
/// `log1p_total_counts_{v}`, `pct_counts_{v}`. Writes `var`: `n_cells_by_counts`, `mean_counts`,
/// `log1p_mean_counts`, `pct_dropout_by_counts`, `total_counts`, `log1p_total_counts`.
///
/// # Errors
/// [`Error::MissingKey`] without X or one of `qc_vars`, [`Error::Data`] when one of these is not
/// boolean, or X holds NaN or infinity.
pub fn calculate_qc_metrics(adata: &mut AnnData, options: QcMetrics) -> Result<()> {
    let x = adata.x()?;
    let (n, m) = x.shape();
    let [cells, genes] = nonzero_sums(x);
    if let Some(g) = genes.sum.iter().position(|s| !s.is_finite()) {
        return Err(Error::data("X", not_finite("gene", &adata.var, g)));
    }
    let mut obs: Vec<(String, Vec<f64>)> = Vec::new();
    let mut add = |name: String, values: Vec<f64>| obs.push((name, values));
    let log1p = |v: &[f64]| v.iter().map(|x| x.ln_1p()).collect::<Vec<f64>>();
    let detected: Vec<f64> = cells.count.iter().map(|&c| c as f64).collect();
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
    adata.obs.insert("n_genes_by_counts", whole(&cells.count))?;
    for (name, values) in obs {
        adata.obs.insert(name, values)?;
    }
    let mean: Vec<f64> = genes.sum.iter().map(|s| s / n as f64).collect();
    let dropout = |&c: &usize| 100.0 * (1.0 - c as f64 / n as f64);
    adata.var.insert("n_cells_by_counts", whole(&genes.count))?;
    adata.var.insert("log1p_mean_counts", log1p(&mean))?;
    adata.var.insert("mean_counts", mean)?;
    let dropout: Vec<f64> = genes.count.iter().map(dropout).collect();
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
    let (n, m) = x.shape();
    let row_of = |mut row: Vec<f64>| -> Vec<f64> {
        row.sort_unstable_by(|a, b| b.total_cmp(a));
        // Zeros that are not stored come before what is below 0.
        let above = row.partition_point(|&v| v > 0.0);
        let zeros = m.saturating_sub(row.len());
        let stored = |k: usize| k.min(above).max(k.saturating_sub(zeros));
        tops.iter().map(|&k| row.iter().take(stored(k)).sum()).collect()
    };
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
    use super::super::stats::tests::sample;
    use super::*;
    use crate::anndata::{Column, Values};
    use ndarray::{Array2, array};

    fn in_every_form(x: Array2<f32>) -> [AnnData; 3] {
        let dense = Matrix::from(x);
        [Matrix::Csr(dense.to_csr()), Matrix::Csc(dense.to_csc()), dense].map(sample)
    }

    fn obs(a: &AnnData, column: &str) -> Vec<f64> {
        a.obs_column(column).unwrap().to_f64().unwrap()
    }

    fn var(a: &AnnData, column: &str) -> Vec<f64> {
        a.var_column(column).unwrap().to_f64().unwrap()
    }

    #[test]
    fn metrics_of_a_small_matrix() {
        for mut a in in_every_form(array![[1f32, 0., 3., 6.], [0., 0., 2., 0.]]) {
            let mask = vec![true, true, false, false];
            a.var.insert("mt", Column::Values(Values::Bool(mask))).unwrap();
            let options = QcMetrics::default().qc_vars(["mt"]).percent_top([2, 50]);
            calculate_qc_metrics(&mut a, options).unwrap();
            let (obs, var) = (|k: &str| obs(&a, k), |k: &str| var(&a, k));
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

    #[test]
    fn numbers_below_zero_count_and_an_empty_cell_has_no_percentage() {
        for mut a in in_every_form(array![[2f32, -1., 0., -3.], [0., 0., 0., 0.]]) {
            calculate_qc_metrics(&mut a, QcMetrics::default().percent_top([1, 2, 3])).unwrap();
            assert_eq!(obs(&a, "n_genes_by_counts"), [3., 0.]);
            assert_eq!(var(&a, "n_cells_by_counts"), [1., 1., 0., 1.]);
            assert_eq!(var(&a, "pct_dropout_by_counts"), [50., 50., 100., 50.]);
            assert_eq!(obs(&a, "total_counts"), [-2., 0.]);
            // The largest are 2, 0, -1 and -3.
            for (k, percent) in [(1, -100.), (2, -100.), (3, -50.)] {
                let got = obs(&a, &format!("pct_counts_in_top_{k}_genes"));
                assert!(got[0] == percent && got[1].is_nan(), "{k}: {got:?}");
            }
        }
    }

    #[test]
    fn one_cell_is_its_own_mean_and_no_cell_has_none() {
        let mut one = sample(array![[4f32, 0.]].into());
        calculate_qc_metrics(&mut one, QcMetrics::default()).unwrap();
        assert_eq!(var(&one, "mean_counts"), [4., 0.]);
        assert_eq!(var(&one, "pct_dropout_by_counts"), [0., 100.]);
        let mut none = sample(Array2::<f32>::zeros((0, 2)).into());
        calculate_qc_metrics(&mut none, QcMetrics::default()).unwrap();
        assert_eq!(var(&none, "total_counts"), [0., 0.]);
        assert!(var(&none, "mean_counts").iter().all(|m| m.is_nan()));
    }

    #[test]
    fn unsuited_data_are_refused_and_a_group_may_be_empty() {
        let mut a = sample(array![[4f32, 0.], [1., 1.]].into());
        let with = |column: &str| QcMetrics::default().qc_vars([column]);
        a.var.insert("score", vec![1.0, 0.0]).unwrap();
        a.var.insert("rp", vec![false, false]).unwrap();
        let missing =
            Column::Nullable { values: Values::Bool(vec![true, true]), missing: vec![false, true] };
        a.var.insert("mt", missing).unwrap();
        let e = calculate_qc_metrics(&mut a, with("hb")).unwrap_err().to_string();
        assert!(e.contains("var has no column `hb`; it has: score, rp, mt"), "{e}");
        let e = calculate_qc_metrics(&mut a, with("score")).unwrap_err().to_string();
        assert!(e.contains("must hold true and false, not float64"), "{e}");
        assert_eq!(a.obs.columns().len(), 0);
        calculate_qc_metrics(&mut a, with("rp")).unwrap();
        assert_eq!(obs(&a, "pct_counts_rp"), [0., 0.]);
        calculate_qc_metrics(&mut a, with("mt")).unwrap();
        assert_eq!(obs(&a, "pct_counts_mt"), [100., 50.]);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut a = sample(array![[4f32, bad], [1., 1.]].into());
            let e = calculate_qc_metrics(&mut a, QcMetrics::default()).unwrap_err().to_string();
            assert!(e.starts_with("X: gene `1` (column 1) holds NaN or infinity"), "{e}");
        }
    }
}
