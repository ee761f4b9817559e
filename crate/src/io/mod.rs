//! Reading and writing files. No computing: what is read is what the file holds.
//!
//! | file or folder | function |
//! |---|---|
//! | whatever it is | [`read`] |
//! | `.h5ad` of anndata 0.5 to 0.12 | [`read_h5ad`], [`write_h5ad`] |
//! | zarr store of AnnData, folder or `.zip`, versions 2 and 3 | [`read_zarr`] |
//! | MuData: `.h5mu`, zarr store | [`read_mudata`], [`write_h5mu`] |
//! | SpatialData store | [`SpatialData`] |
//! | Visium folder of Space Ranger 1 to 4 | [`read_visium`], [`Visium`] |
//! | 10x `.h5`, versions 2 and 3 | [`read_10x_h5`], [`TenxH5`] |
//! | 10x folder with `matrix.mtx` | [`read_10x_mtx`] |
//! | table: CSV, TSV, other text, parquet | [`read_table`], [`Table`] |
//! | `.loom`, versions 2 and 3 | [`read_loom`], [`Loom`] |
//! | table of labels by barcode | [`read_labels`], [`labels`] |
//!
//! Every failure is one [`Error`](crate::Error) that names the file, the key or line, the reason
//! and what would help.

mod bytes;
mod files;
mod h5;
mod h5ad;
mod labels;
mod loom;
mod mtx;
mod recognise;
mod spatialdata;
mod store;
mod table;
mod tenx;
#[cfg(test)]
mod tests;
mod visium;
mod zarr;

pub use h5ad::{ReadOptions, WriteOptions, read_h5ad, read_h5ad_with, write_h5ad, write_h5ad_with};
pub use h5ad::{read_mudata, read_mudata_with, write_h5mu, write_h5mu_with};
pub use labels::{labels, labels_beside, read_labels};
pub use loom::{Loom, read_loom};
pub use mtx::read_10x_mtx;
pub use recognise::read;
pub use spatialdata::{Geometry, Raster, Shapes, SpatialData, Transform};
pub use table::{Blocks, Table, read_table};
pub use tenx::{TenxH5, read_10x_h5};
pub use visium::{Visium, read_visium};
pub use zarr::{read_zarr, read_zarr_with};
