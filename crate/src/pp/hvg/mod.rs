//! Highly variable genes.
//!
//! `seurat_v3` ranks variances of standardised counts, `dispersion` holds the two older flavours;
//! `batches` tells cells apart, `mark` reads the column that results.

mod batches;
mod dispersion;
mod mark;
mod seurat_v3;

pub use mark::{highly_variable_index, keep_highly_variable};
pub(super) use mark::{masked, positions};

use crate::anndata::{AnnData, Map, Matrix, Value};
use crate::error::{Error, Result};

/// Options of [`highly_variable_genes`]. `Hvg::default()` is [`Hvg::seurat`], as in scanpy.
#[derive(Debug, Clone, PartialEq)]
pub struct Hvg {
    flavor: Flavor,
    n_top_genes: Option<usize>,
    cutoffs: Cutoffs,
    n_bins: usize,
    span: f64,
    layer: Option<String>,
    batch_key: Option<String>,
    check_values: bool,
    subset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavor {
    Seurat,
    CellRanger,
    SeuratV3,
    SeuratV3Paper,
}

impl Flavor {
    fn name(self) -> &'static str {
        match self {
            Flavor::Seurat => "seurat",
            Flavor::CellRanger => "cell_ranger",
            Flavor::SeuratV3 => "seurat_v3",
            Flavor::SeuratV3Paper => "seurat_v3_paper",
        }
    }
}

/// Between which means and normalised dispersions a gene is variable.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cutoffs {
    min_mean: f64,
    max_mean: f64,
    min_disp: f64,
    max_disp: f64,
}

impl Default for Hvg {
    fn default() -> Self {
        Hvg::seurat()
    }
}

impl Hvg {
    fn of(flavor: Flavor, n_top_genes: Option<usize>) -> Self {
        Hvg {
            flavor,
            n_top_genes,
            cutoffs: Cutoffs {
                min_mean: 0.0125,
                max_mean: 3.0,
                min_disp: 0.5,
                max_disp: f64::INFINITY,
            },
            n_bins: 20,
            span: 0.3,
            layer: None,
            batch_key: None,
            check_values: true,
            subset: false,
        }
    }

    /// The flavour `seurat` (Satija et al., 2015), which wants logarithmised counts: genes whose
    /// dispersion (variance / mean of the counts behind the logarithm), beside that of genes in the
    /// same one of 20 bins of the mean, is above [`min_disp`](Hvg::min_disp); or the
    /// [`n_top_genes`](Hvg::n_top_genes) highest.
    pub fn seurat() -> Self {
        Hvg::of(Flavor::Seurat, None)
    }

    /// The flavour `cell_ranger` (Zheng et al., 2017), which wants logarithmised counts: dispersion
    /// beside that of genes between the same percentiles of the mean. Usually with
    /// [`n_top_genes`](Hvg::n_top_genes).
    pub fn cell_ranger() -> Self {
        Hvg::of(Flavor::CellRanger, None)
    }

    /// The flavour `seurat_v3` (Stuart et al., 2019), which wants raw counts: the `n_top_genes`
    /// genes whose variance, after standardising by what their mean lets expect, is largest.
    /// Over several batches: by median rank, then by the number of batches.
    pub fn seurat_v3(n_top_genes: usize) -> Self {
        Hvg::of(Flavor::SeuratV3, Some(n_top_genes))
    }

    /// As [`seurat_v3`](Hvg::seurat_v3), but over several batches by the number of batches, then by
    /// median rank, as Seurat's `SelectIntegrationFeatures` does.
    pub fn seurat_v3_paper(n_top_genes: usize) -> Self {
        Hvg::of(Flavor::SeuratV3Paper, Some(n_top_genes))
    }

    /// How many genes to mark. `seurat` and `cell_ranger` then ignore their limits of means and
    /// dispersions, and mark more than `n` where several have the `n`-th highest dispersion.
    pub fn n_top_genes(mut self, n: usize) -> Self {
        self.n_top_genes = Some(n);
        self
    }

    /// For `seurat` and `cell_ranger`: the mean is above this. Default: 0.0125. (The mean is that of
    /// `var["means"]`: of `seurat` ln(1 + mean count).)
    pub fn min_mean(mut self, limit: f64) -> Self {
        self.cutoffs.min_mean = limit;
        self
    }

    /// For `seurat` and `cell_ranger`: the mean is below this. Default: 3.
    pub fn max_mean(mut self, limit: f64) -> Self {
        self.cutoffs.max_mean = limit;
        self
    }

    /// For `seurat` and `cell_ranger`: the normalised dispersion is above this. Default: 0.5.
    pub fn min_disp(mut self, limit: f64) -> Self {
        self.cutoffs.min_disp = limit;
        self
    }

    /// For `seurat` and `cell_ranger`: the normalised dispersion is below this. Default: no limit.
    pub fn max_disp(mut self, limit: f64) -> Self {
        self.cutoffs.max_disp = limit;
        self
    }

    /// For `seurat`: bins of the mean. Default: 20.
    pub fn n_bins(mut self, n: usize) -> Self {
        self.n_bins = n;
        self
    }

    /// For `seurat_v3`: part of the genes that each local regression of variance on mean uses.
    /// Default: 0.3.
    pub fn span(mut self, span: f64) -> Self {
        self.span = span;
        self
    }

    /// Take the values from this layer. Default: from X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Look at the batches that this column of `obs` names one by one, and merge what they say.
    pub fn batch_key(mut self, column: impl Into<String>) -> Self {
        self.batch_key = Some(column.into());
        self
    }

    /// For `seurat_v3`: whether values that are no counts are refused. Default: true.
    pub fn check_values(mut self, yes: bool) -> Self {
        self.check_values = yes;
        self
    }

    /// Whether to drop all other genes. Default: false, they are only marked.
    pub fn subset(mut self, yes: bool) -> Self {
        self.subset = yes;
        self
    }

    fn matrix<'a>(&self, adata: &'a AnnData) -> Result<&'a Matrix> {
        match &self.layer {
            Some(layer) => adata.layer(layer),
            None => adata.x(),
        }
    }

    fn slot(&self) -> String {
        self.layer.as_ref().map_or("X".into(), |l| format!("layers[\"{l}\"]"))
    }
}

/// Finds the genes that vary more between cells than their mean lets expect.
///
/// Matches `scanpy.pp.highly_variable_genes` 1.11.5, batches included. `seurat_v3`: means and
/// variances within 1e-10 relative, normalised variances within 1e-9, the same ranks; genes of exactly
/// equal normalised variance (a quarter of a real slide's, as few cells give few distinct counts) are
/// ranked in their order, where scanpy leaves their order to an unstable sort. `seurat` and
/// `cell_ranger`: within 1e-5 relative on `float32` data, of which squares are summed in `f64` here,
/// and the same genes.
///
/// Writes `var`: `highly_variable`, `means` and
/// * `seurat`, `cell_ranger`: `dispersions` (`seurat`: their logarithm, NaN for a gene that does not
///   vary), `dispersions_norm` (`float32`; NaN or infinite where scanpy's is);
/// * `seurat_v3`: `highly_variable_rank` (0 is the most variable; NaN for genes that are not among the
///   top; over several batches the median), `variances`, `variances_norm` (their mean);
/// * with a `batch_key`: `highly_variable_nbatches`, in how many batches the gene is variable, and for
///   `seurat` and `cell_ranger` `highly_variable_intersection`, whether in all;
///
/// and `uns["hvg"]["flavor"]`.
///
/// # Errors
/// [`Error::Parameter`] when `n_top_genes` is 0 or (`seurat_v3`) above the number of genes, or another
/// option is out of range; [`Error::Data`] when the values are not of the kind that the flavour
/// wants, with fewer than two cells (in a batch), for cells without a batch, or where the regression
/// or the bins have too few genes; [`Error::MissingKey`] without the matrix or the batches.
pub fn highly_variable_genes(adata: &mut AnnData, options: Hvg) -> Result<()> {
    let n = options.matrix(adata)?.nrows();
    if n < 2 {
        return Err(Error::data("highly variable genes", format!("need 2 cells, found {n}")));
    }
    match options.flavor {
        Flavor::Seurat | Flavor::CellRanger => dispersion::run(adata, &options)?,
        Flavor::SeuratV3 => seurat_v3::run(adata, &options, false)?,
        Flavor::SeuratV3Paper => seurat_v3::run(adata, &options, true)?,
    }
    if options.subset {
        keep_highly_variable(adata)?;
    }
    Ok(())
}

fn write_flavor(adata: &mut AnnData, name: &str) {
    let flavor: Map<Value> = [("flavor".to_string(), Value::from(name))].into();
    adata.uns.insert("hvg".into(), flavor.into());
}

/// Says in which batch something was wrong.
fn in_batch(e: Error, batch: &batches::Batch) -> Error {
    match e {
        Error::Data { what, reason } => {
            Error::data(format!("{what} in batch `{}`", batch.name), reason)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::{forms, sample};
    use super::*;
    use crate::anndata::{Categorical, Column};
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

    /// Logarithmised counts with three batches, in every form.
    fn logged() -> Vec<AnnData> {
        let batch: Vec<usize> = (0..300).map(|i| i % 3).collect();
        let with_batches = |x| {
            let mut a = sample(x);
            a.layers.insert("counts".into(), a.x().unwrap().clone());
            crate::pp::normalize_total(&mut a, 1e3).unwrap();
            crate::pp::log1p(&mut a).unwrap();
            a.obs.insert("batch", Categorical::from_numbers(&batch)).unwrap();
            a
        };
        forms(300, 150).into_iter().map(with_batches).collect()
    }

    fn numbers(a: &AnnData, name: &str) -> Vec<f64> {
        a.var_column(name).unwrap().to_f64().unwrap()
    }

    #[test]
    fn every_flavour_marks_the_same_genes_in_every_form_on_any_threads() {
        let flavours = [
            Hvg::seurat(),
            Hvg::seurat().n_top_genes(20),
            Hvg::cell_ranger().n_top_genes(20),
            Hvg::seurat_v3(20).layer("counts"),
            Hvg::seurat_v3_paper(20).layer("counts"),
        ];
        for options in flavours.iter().flat_map(|o| [o.clone(), o.clone().batch_key("batch")]) {
            let mut masks = Vec::new();
            for a in logged() {
                masks.push(same_with_any_threads(|| {
                    let mut a = a.clone();
                    highly_variable_genes(&mut a, options.clone()).unwrap();
                    assert_eq!(
                        a.var.contains("highly_variable_nbatches"),
                        options.batch_key.is_some()
                    );
                    (highly_variable_index(&a).unwrap(), numbers(&a, "means"))
                }));
            }
            let first = &masks[0];
            if options.n_top_genes.is_some() {
                assert_eq!(first.0.len(), 20, "{options:?}");
            }
            for (mask, means) in &masks {
                assert_eq!(mask, &first.0, "{options:?}");
                let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-5 * b.abs();
                assert!(means.iter().zip(&first.1).all(near));
            }
        }
    }

    #[test]
    fn genes_that_are_never_seen_are_neither_variable_nor_an_error() {
        let mut a = logged().remove(2);
        let mut x = a.x().unwrap().to_array_f32();
        x.column_mut(5).fill(0.0);
        x.column_mut(6).fill(0.7);
        a.x = Some(x.into());
        highly_variable_genes(&mut a, Hvg::seurat().n_top_genes(40)).unwrap();
        assert!(numbers(&a, "dispersions")[5].is_nan());
        assert_eq!(numbers(&a, "highly_variable")[5..7], [0.0, 0.0]);
        highly_variable_genes(&mut a, Hvg::seurat().n_top_genes(40).batch_key("batch")).unwrap();
        assert_eq!(numbers(&a, "highly_variable_nbatches")[5..7], [0.0, 0.0]);
    }

    #[test]
    fn batches_that_cannot_be_used_are_named() {
        let mut a = logged().remove(0);
        let options = || Hvg::seurat().batch_key("batch");
        let e = highly_variable_genes(&mut a, Hvg::seurat().batch_key("no")).unwrap_err();
        assert!(e.to_string().contains("obs has no column `no`"), "{e}");
        let Some(Column::Categorical(mut c)) = a.obs.get("batch").cloned() else { panic!() };
        c.codes[7] = -1;
        a.obs.insert("batch", c.clone()).unwrap();
        let e = highly_variable_genes(&mut a, options()).unwrap_err().to_string();
        assert!(e.contains("no batch for 1 of 300 cells"), "{e}");
        c.codes.iter_mut().for_each(|x| *x = 0);
        c.codes[0] = 2;
        a.obs.insert("batch", c.clone()).unwrap();
        let e = highly_variable_genes(&mut a, options()).unwrap_err().to_string();
        assert!(e.contains("batch `2` has one cell"), "{e}");
        // One batch, and categories that no cell has, are no error.
        c.codes.iter_mut().for_each(|x| *x = 1);
        a.obs.insert("batch", c).unwrap();
        highly_variable_genes(&mut a, options()).unwrap();
    }

    #[test]
    fn each_flavour_says_what_values_it_wants() {
        let mut a = logged().remove(2);
        crate::pp::scale(&mut a, crate::pp::Scale::default().zero_center(true)).unwrap();
        for options in [Hvg::seurat(), Hvg::cell_ranger()] {
            let e = highly_variable_genes(&mut a, options).unwrap_err().to_string();
            assert!(e.contains("wants logarithmised counts"), "{e}");
        }
        let mut a = logged().remove(0);
        assert!(highly_variable_genes(&mut a, Hvg::seurat().n_bins(0)).is_err());
        assert!(highly_variable_genes(&mut a, Hvg::seurat().n_top_genes(0)).is_err());
        let e = highly_variable_genes(&mut a, Hvg::seurat().min_mean(4.0)).unwrap_err();
        assert!(e.to_string().contains("below the upper limit, 3"), "{e}");
        let mut empty = sample(ndarray::Array2::<f32>::zeros((5, 40)).into());
        let e = highly_variable_genes(&mut empty, Hvg::cell_ranger()).unwrap_err().to_string();
        assert!(e.contains("have the same mean"), "{e}");
    }
}
