//! Dropping genes and cells.

use super::names::not_finite;
use super::stats::{Sums, column_sums, row_sums};
use crate::anndata::{AnnData, Column, Frame, Values};
use crate::error::{Error, Result};

macro_rules! filter_options {
    ($(#[$doc:meta])* $name:ident, $min_n:ident, $max_n:ident, $entry:literal, $other:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name {
            min_n: Option<usize>,
            max_n: Option<usize>,
            min_counts: Option<f64>,
            max_counts: Option<f64>,
        }

        impl $name {
            #[doc = concat!("Keep a ", $entry, " only with counts in at least `n` ", $other, ".")]
            pub fn $min_n(mut self, n: usize) -> Self {
                self.min_n = Some(n);
                self
            }

            #[doc = concat!("Keep a ", $entry, " only with counts in at most `n` ", $other, ".")]
            pub fn $max_n(mut self, n: usize) -> Self {
                self.max_n = Some(n);
                self
            }

            #[doc = concat!("Keep a ", $entry, " only with a total count of at least `n`.")]
            pub fn min_counts(mut self, n: impl Into<f64>) -> Self {
                self.min_counts = Some(n.into());
                self
            }

            #[doc = concat!("Keep a ", $entry, " only with a total count of at most `n`.")]
            pub fn max_counts(mut self, n: impl Into<f64>) -> Self {
                self.max_counts = Some(n.into());
                self
            }

            fn keep(&self, sums: &Sums) -> Vec<usize> {
                let within = |i: &usize| {
                    let (n, counts) = (sums.count[*i], sums.sum[*i]);
                    self.min_n.is_none_or(|min| n >= min)
                        && self.max_n.is_none_or(|max| n <= max)
                        && self.min_counts.is_none_or(|min| counts >= min)
                        && self.max_counts.is_none_or(|max| counts <= max)
                };
                (0..sums.sum.len()).filter(within).collect()
            }

            /// The columns that tell what was counted, for what was asked.
            fn columns(&self, sums: &Sums, keep: &[usize], n: &str) -> Vec<(String, Column)> {
                let mut out = Vec::new();
                if self.min_n.or(self.max_n).is_some() {
                    let v: Vec<i64> = keep.iter().map(|&i| sums.count[i] as i64).collect();
                    out.push((n.to_string(), v.into()));
                }
                if self.min_counts.or(self.max_counts).is_some() {
                    let v: Vec<f64> = keep.iter().map(|&i| sums.sum[i]).collect();
                    out.push(("n_counts".to_string(), v.into()));
                }
                out
            }

            fn check(&self, sums: &Sums, keep: &[usize], names: &Frame) -> Result<()> {
                if *self == $name::default() {
                    let reason = concat!(
                        "set at least one of ", stringify!($min_n), ", min_counts, ",
                        stringify!($max_n), ", max_counts"
                    );
                    return Err(Error::parameter(stringify!($name), "default()", reason));
                }
                if let Some(i) = sums.sum.iter().position(|x| !x.is_finite()) {
                    return Err(Error::data("X", not_finite($entry, names, i)));
                }
                if keep.is_empty() {
                    let most = sums.count.iter().max().copied().unwrap_or(0);
                    let counts = sums.sum.iter().copied().fold(0.0, f64::max);
                    let reason = format!(
                        "none of {} {}s passes; the best has counts in {most} {} and {counts} in \
                         all. Choose limits below these",
                        sums.sum.len(), $entry, $other,
                    );
                    return Err(Error::data(concat!("filter of ", $entry, "s"), reason));
                }
                Ok(())
            }
        }
    };
}

filter_options!(
    /// Which genes to keep; for [`filter_genes`]. Unlike scanpy's, several conditions may be given
    /// at once.
    FilterGenes, min_cells, max_cells, "gene", "cells"
);
filter_options!(
    /// Which cells (spots) to keep; for [`filter_cells`]. Unlike scanpy's, several conditions may
    /// be given at once.
    FilterCells, min_genes, max_genes, "cell", "genes"
);

/// Drops the genes that do not meet every condition. Equals `scanpy.pp.filter_genes` exactly.
///
/// Writes `var["n_cells"]` (cells with a count above 0) where a number of cells was asked for, and
/// `var["n_counts"]` (total) where counts were.
///
/// # Errors
/// [`Error::Parameter`] without any condition, [`Error::Data`] when X holds NaN or infinity or no
/// gene would be left; the data are unchanged then.
pub fn filter_genes(adata: &mut AnnData, options: FilterGenes) -> Result<()> {
    let sums = column_sums(adata.x()?);
    let keep = options.keep(&sums);
    options.check(&sums, &keep, &adata.var)?;
    keep_vars(adata, &keep);
    for (name, column) in options.columns(&sums, &keep, "n_cells") {
        adata.var.insert(name, column)?;
    }
    Ok(())
}

/// Drops the cells that do not meet every condition. Equals `scanpy.pp.filter_cells` exactly.
///
/// Writes `obs["n_genes"]` (genes with a count above 0) where a number of genes was asked for, and
/// `obs["n_counts"]` (total) where counts were.
///
/// # Errors
/// [`Error::Parameter`] without any condition, [`Error::Data`] when X holds NaN or infinity or no
/// cell would be left; the data are unchanged then.
pub fn filter_cells(adata: &mut AnnData, options: FilterCells) -> Result<()> {
    let sums = row_sums(adata.x()?);
    let keep = options.keep(&sums);
    options.check(&sums, &keep, &adata.obs)?;
    if keep.len() < adata.n_obs() {
        adata.retain(Some(&keep), None);
    }
    for (name, column) in options.columns(&sums, &keep, "n_genes") {
        adata.obs.insert(name, column)?;
    }
    Ok(())
}

/// Drops the genes whose name starts with one of the prefixes, whatever the case: STAMGC drops
/// spike-ins and mitochondrial genes with `&["ERCC", "MT-"]`. A prefix that no gene has is no
/// error.
///
/// # Errors
/// [`Error::Data`] when no gene would be left; the data are unchanged then.
pub fn drop_genes_by_prefix(adata: &mut AnnData, prefixes: &[&str]) -> Result<()> {
    let prefixes: Vec<String> = prefixes.iter().map(|p| p.to_uppercase()).collect();
    let special = |name: &str| {
        let upper = name.to_uppercase();
        prefixes.iter().any(|p| upper.starts_with(p.as_str()))
    };
    let names = adata.var.names();
    let keep: Vec<usize> = (0..names.len()).filter(|&i| !special(&names[i])).collect();
    if keep.is_empty() {
        let reason = format!("every gene name starts with one of {}", prefixes.join(", "));
        return Err(Error::data("var", reason));
    }
    keep_vars(adata, &keep);
    Ok(())
}

/// Keeps the variables at `keep` (rising), without copying what does not depend on them.
pub(super) fn keep_vars(adata: &mut AnnData, keep: &[usize]) {
    if keep.len() < adata.n_vars() {
        adata.retain(None, Some(keep));
    }
}

/// A mask as a column.
pub(super) fn mask_column(mask: Vec<bool>) -> Column {
    Column::Values(Values::Bool(mask))
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;

    #[test]
    fn conditions_hold_afterwards_in_every_form() {
        for x in forms(200, 30) {
            let mut a = sample(x);
            let before = a.clone();
            filter_genes(&mut a, FilterGenes::default().min_cells(60).max_counts(400)).unwrap();
            assert!(a.n_vars() > 0 && a.n_vars() < 30);
            a.check().unwrap();
            let sums = column_sums(a.x().unwrap());
            assert!(sums.count.iter().all(|&n| n >= 60));
            assert_eq!(a.var_column("n_counts").unwrap().to_f64().unwrap(), sums.sum);
            filter_cells(&mut a, FilterCells::default().min_genes(3)).unwrap();
            assert!(row_sums(a.x().unwrap()).count.iter().all(|&n| n >= 3));
            assert!(a.n_obs() < before.n_obs() || a.n_obs() == 200);
        }
    }

    #[test]
    fn a_filter_that_keeps_nothing_changes_nothing() {
        let mut a = sample(forms(50, 8).remove(0));
        let before = a.clone();
        let e = filter_genes(&mut a, FilterGenes::default().min_cells(51)).unwrap_err().to_string();
        assert!(e.contains("none of 8 genes passes"), "{e}");
        assert!(filter_cells(&mut a, FilterCells::default().min_counts(1e9)).is_err());
        assert!(filter_genes(&mut a, FilterGenes::default()).is_err());
        assert!(drop_genes_by_prefix(&mut a, &[""]).is_err());
        assert_eq!(a, before);
    }

    #[test]
    fn prefixes_ignore_case() {
        let mut a = sample(forms(10, 4).remove(0));
        let names = ["MT-CO1", "mt-Nd1", "ERCC1", "Mtor"].map(String::from).to_vec();
        a.var.set_names(names).unwrap();
        drop_genes_by_prefix(&mut a, &["RPS"]).unwrap();
        assert_eq!(a.n_vars(), 4);
        drop_genes_by_prefix(&mut a, &["ERCC", "MT-"]).unwrap();
        assert_eq!(a.var.names(), ["Mtor"]);
    }

    #[test]
    fn what_is_no_number_is_named_and_nothing_is_dropped() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut a = sample(ndarray::array![[1., 2.], [3., bad]].into());
            let e = filter_genes(&mut a, FilterGenes::default().min_counts(5.0)).unwrap_err();
            assert!(
                e.to_string().starts_with("X: gene `1` (column 1) holds NaN or infinity"),
                "{e}"
            );
            let e = filter_cells(&mut a, FilterCells::default().min_genes(2)).unwrap_err();
            assert!(e.to_string().starts_with("X: cell `1` (row 1) holds NaN or infinity"), "{e}");
            assert_eq!((a.shape(), a.obs.columns().len()), ((2, 2), 0));
        }
    }

    #[test]
    fn numbers_below_zero_lower_totals_and_one_cell_is_enough() {
        let mut a = sample(ndarray::array![[2f64, -1., 0.], [1., -3., 0.]].into());
        filter_genes(&mut a, FilterGenes::default().max_cells(2).min_counts(-4.0)).unwrap();
        let var = |a: &AnnData, k: &str| a.var_column(k).unwrap().to_f64().unwrap();
        assert_eq!(
            (var(&a, "n_cells"), var(&a, "n_counts")),
            (vec![2., 0., 0.], vec![3., -4., 0.])
        );
        filter_cells(&mut a, FilterCells::default().min_counts(1.0)).unwrap();
        assert_eq!(a.obs.names(), ["0"]);
        filter_genes(&mut a, FilterGenes::default().min_cells(1)).unwrap();
        assert_eq!(a.shape(), (1, 1));
        let e = filter_cells(&mut a, FilterCells::default().min_genes(2)).unwrap_err().to_string();
        assert!(e.contains("none of 1 cells passes"), "{e}");
    }
}
