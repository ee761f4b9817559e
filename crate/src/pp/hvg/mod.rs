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

use super::names::slot;
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
        slot(self.layer.as_ref())
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
mod tests;
