//! Preprocessing, as scanpy's `pp`: the same names, the same results.
//!
//! Functions change the [`AnnData`](crate::anndata::AnnData) in place and keep the form of its
//! matrix: sparse stays sparse (unless centring asks for dense), `float32` stays `float32`;
//! statistics are summed in `f64`. Each function's documentation lists the keys it writes.
//!
//! ```
//! # use spatialkit::{anndata::{AnnData, Frame}, ndarray::Array2, pp, Result};
//! # fn main() -> Result<()> {
//! # let counts = Array2::from_shape_fn((60, 40), |(i, j)| ((i * 7 + j * j * 5 + i * j) % (j + 2)) as f32);
//! # let mut adata = AnnData::new(counts, Frame::with_len(60), Frame::with_len(40))?;
//! pp::filter_genes(&mut adata, pp::FilterGenes::default().min_cells(3))?;
//! pp::highly_variable_genes(&mut adata, pp::Hvg::seurat_v3(20))?;
//! pp::normalize_total(&mut adata, 1e4)?;
//! pp::log1p(&mut adata)?;
//! pp::scale(&mut adata, pp::Scale::default().max_value(10.0))?;
//! pp::pca(&mut adata, pp::Pca::default().n_comps(5))?;
//! assert_eq!(adata.obsm("X_pca")?.shape(), (60, 5));
//! pp::neighbors(&mut adata, pp::Neighbors::default())?;
//! # Ok(())
//! # }
//! ```

mod filter;
mod hvg;
mod loess;
mod names;
mod neighbors;
mod normalize;
mod pca;
mod qc;
mod regress_out;
mod scale;
mod smooth;
mod stats;

pub use filter::{FilterCells, FilterGenes, drop_genes_by_prefix, filter_cells, filter_genes};
pub use hvg::{Hvg, highly_variable_genes, highly_variable_index, keep_highly_variable};
pub use names::var_names_make_unique;
pub use neighbors::{Connectivity, Metric, Neighbors, neighbors};
pub use normalize::{NormalizeTotal, log1p, normalize_total};
pub use pca::{Pca, pca};
pub use qc::{QcMetrics, calculate_qc_metrics};
pub use regress_out::{RegressOut, regress_out};
pub use scale::{Scale, scale};
pub use smooth::{GaussianSmooth, gaussian_smooth};
