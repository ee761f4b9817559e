//! From an [`AnnData`] to the arrays that the network is trained on.

use super::super::counts::bare_counts;
use super::params::{Smoothing, Spots, Stamgc};
use crate::anndata::{AnnData, Value};
use crate::error::{Error, Result};
use crate::pp;
use ndarray::{Array2, Axis};

/// Expression of the genes that were kept.
pub(super) struct Features {
    /// Spots × genes; scaled to unit variance, at most 10.
    pub values: Array2<f32>,
    /// The genes' names.
    pub genes: Vec<String>,
}

impl Stamgc {
    /// Filters, selects, normalises and scales genes over all spots (over those used where there are several
    /// slices), on a copy of the counts; then only the spots used are left.
    pub(super) fn features(&self, adata: &AnnData, used: &[usize]) -> Result<Features> {
        let mut a = bare_counts(adata)?;
        let all = used.len() == adata.n_obs();
        if !all && self.slice_key.is_some() {
            a = a.take_obs(used);
        }
        pp::var_names_make_unique(&mut a);
        pp::filter_genes(&mut a, pp::FilterGenes::default().min_cells(self.min_cells))?;
        pp::filter_genes(&mut a, pp::FilterGenes::default().min_counts(self.min_counts as f64))?;
        pp::drop_genes_by_prefix(&mut a, &["ERCC", "MT-"])?;
        let n_top = self.network.genes.min(a.n_vars());
        pp::highly_variable_genes(&mut a, pp::Hvg::seurat_v3(n_top))?;
        pp::normalize_total(&mut a, 1e4)?;
        pp::log1p(&mut a)?;
        pp::scale(&mut a, pp::Scale::default().zero_center(false).max_value(10.0))?;
        pp::keep_highly_variable(&mut a)?;
        let mut values = a.x()?.to_array_f32();
        if values.nrows() > used.len() {
            values = values.select(Axis(0), used);
        }
        Ok(Features { values, genes: a.var.names().to_vec() })
    }

    /// The rows with a label, where only those are used.
    pub(super) fn labelled_spots(&self, adata: &AnnData) -> Result<Option<Vec<usize>>> {
        let Spots::Labelled(name) = &self.spots else { return Ok(None) };
        let column = adata.obs_column(name)?;
        let used: Vec<usize> = (0..adata.n_obs()).filter(|&i| column.text(i).is_some()).collect();
        if used.is_empty() {
            return Err(Error::data(format!("obs[\"{name}\"]"), "no spot has a label"));
        }
        Ok(Some(used))
    }

    /// The rows that are used, rising.
    pub(super) fn used_spots(&self, adata: &AnnData) -> Result<Vec<usize>> {
        let n = adata.n_obs();
        let used: Vec<usize> = match &self.spots {
            Spots::All => (0..n).collect(),
            Spots::Labelled(_) => self.labelled_spots(adata)?.unwrap_or_default(),
            Spots::Mask(mask) if mask.len() != n => {
                return Err(Error::shape("mask given to `only`", n, mask.len()));
            }
            Spots::Mask(mask) => (0..n).filter(|&i| mask[i]).collect(),
        };
        for (name, value) in [("n_domains", self.n_domains), ("n_neighbors", self.n_neighbors)] {
            if value >= used.len() {
                let reason = format!("must be below the number of spots used, {}", used.len());
                return Err(Error::parameter(name, value, reason));
            }
        }
        Ok(used)
    }

    /// σ of the smoothing in the unit of the coordinates.
    pub(super) fn sigma_of(&self, adata: &AnnData) -> Result<f64> {
        match self.smoothing {
            Smoothing::Units(sigma) => Ok(sigma),
            Smoothing::Fiducials(diameters) => {
                let whole = fiducial_diameter(adata)?.floor();
                if whole < 1.0 {
                    let reason = format!("{whole} pixels is no diameter; give `.sigma(…)` instead");
                    return Err(Error::data("fiducial_diameter_fullres", reason));
                }
                Ok(diameters * whole)
            }
        }
    }
}

/// The fiducial diameter of a slide in pixels; of several slices that of the last, as published.
pub(super) fn fiducial_diameter(adata: &AnnData) -> Result<f64> {
    let libraries = adata.uns.get("spatial").and_then(Value::as_map);
    let diameter = |(_, library): (&String, &Value)| {
        library.at(&["scalefactors", "fiducial_diameter_fullres"])?.as_f64()
    };
    let found = libraries.into_iter().flatten().filter_map(diameter).last();
    found.filter(|d| d.is_finite()).ok_or_else(|| {
        let reason = "has no library with scalefactors/fiducial_diameter_fullres, which sets the \
                      width of the smoothing; give it with `.sigma(…)`, in the unit of the \
                      coordinates";
        Error::data("uns[\"spatial\"]", reason)
    })
}
