//! Reading and writing files. No computing: what is read is what the file holds.
//!
//! | file or folder | function |
//! |---|---|
//! | whatever it is | [`read`] |
//! | `.h5ad` of anndata 0.5 to 0.12 | [`read_h5ad`], [`write_h5ad`] |
//! | zarr store of AnnData, folder or `.zip`, versions 2 and 3 | [`read_zarr`] |
//! | parts of an `.h5ad` larger than memory | [`open_h5ad`], [`H5ad`] |
//! | MuData: `.h5mu`, zarr store | [`read_mudata`], [`write_h5mu`] |
//! | SpatialData store | [`SpatialData`] |
//! | Visium folder of Space Ranger 1 to 4 | [`read_visium`], [`Visium`] |
//! | Visium HD folder of Space Ranger 3 and 4 | [`read_visium_hd`], [`VisiumHd`] |
//! | Xenium folder | [`read_xenium`], [`Xenium`] |
//! | CosMx, Vizgen MERSCOPE folders | [`read_cosmx`], [`read_vizgen`] |
//! | Slide-seq folder, other counts with coordinates | [`read_slideseq`] |
//! | Stereo-seq `.gem` | [`read_stereoseq`], [`StereoSeq`] |
//! | 10x `.h5`, versions 2 and 3 | [`read_10x_h5`], [`TenxH5`] |
//! | 10x folder with `matrix.mtx` | [`read_10x_mtx`] |
//! | table: CSV, TSV, other text, parquet | [`read_table`], [`Table`] |
//! | `.loom`, versions 2 and 3 | [`read_loom`], [`Loom`] |
//! | counts, coordinates and metadata as tables | [`SpatialTables`] |
//! | legacy Spatial Transcriptomics; the HER2ST folder | [`read_st`], [`LegacySt`], [`Her2st`] |
//! | the STimage-1K4M collection | [`StImage`] |
//! | table of labels by barcode | [`read_labels`], [`labels`] |
//! | gene sets `.gmt` | [`read_gmt`] |
//! | weights of models: PyTorch, safetensors | [`read_checkpoint`], [`write_safetensors`] |
//!
//! Every failure is one [`Error`](crate::Error) that names the file, the key or line, the reason
//! and what would help.

mod beads;
mod bytes;
mod checkpoint;
mod coordinate;
mod cosmx;
mod files;
pub(crate) use files::{cache_folder, zip_entry};
mod gmt;
mod h5;
mod h5ad;
#[cfg(test)]
mod hostile;
mod join;
mod labels;
mod legacy_st;
mod loom;
#[cfg(test)]
mod machines;
mod mtx;
mod positions;
mod recognise;
mod slide_image;
mod spatial_tables;
mod spatialdata;
mod stereoseq;
mod stimage;
mod store;
mod table;
mod tenx;
#[cfg(test)]
mod tests;
mod unmatched;
mod visium;
mod visium_hd;
mod vizgen;
mod xenium;
mod zarr;

pub use beads::{SlideSeq, read_slideseq};
pub(crate) use checkpoint::pickle_from;
pub use checkpoint::{Checkpoint, CheckpointFormat, ElementType, PyObject, PyValue};
pub use checkpoint::{TensorInfo, Tensors, read_checkpoint, read_pickle, write_safetensors};
pub use cosmx::{CosMx, read_cosmx};
pub use gmt::read_gmt;
pub use h5ad::{Block, H5ad, Summary, Totals, XBlocks, open_h5ad, open_h5ad_with};
pub use h5ad::{ReadOptions, WriteOptions, read_h5ad, read_h5ad_with, write_h5ad, write_h5ad_with};
pub use h5ad::{read_mudata, read_mudata_with, write_h5mu, write_h5mu_with};
pub use labels::{labels, labels_beside, read_labels};
pub use legacy_st::{Her2st, LegacySt, read_st};
pub use loom::{Loom, read_loom};
pub use mtx::read_10x_mtx;
pub use recognise::read;
pub use spatial_tables::SpatialTables;
pub use spatialdata::{Geometry, Raster, Shapes, SpatialData, Transform};
pub use stereoseq::{StereoSeq, read_stereoseq};
pub use stimage::{StImage, StImageFilter};
pub use table::{Blocks, Table, read_table};
pub use tenx::{TenxH5, read_10x_h5};
pub use unmatched::Unmatched;
pub use visium::{Visium, read_visium};
pub use visium_hd::{VisiumHd, read_visium_hd};
pub use vizgen::read_vizgen;
pub use xenium::{Boundary, Polygons, Xenium, read_xenium};
pub use zarr::{read_zarr, read_zarr_with};
