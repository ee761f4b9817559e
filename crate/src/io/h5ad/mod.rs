//! anndata's own format: one HDF5 file with a group or data set for each slot.
//!
//! ```text
//! /                  encoding-type: anndata
//! ├─ X               array, csr_matrix or csc_matrix
//! ├─ obs, var        dataframe: one member a column, attributes `_index` and `column-order`
//! ├─ layers          dict of matrices like X
//! ├─ obsm, varm      dict of matrices or dataframes
//! ├─ obsp, varp      dict of square matrices
//! ├─ uns             dict of anything
//! └─ raw             X, var, varm
//! ```
//! Each member states in `encoding-type` and `encoding-version` how it is laid out. Files before
//! anndata 0.7.9 state only some of them, files before 0.7 none (`legacy`).

mod backed;
mod blocks;
mod describe;
mod legacy;
mod mudata;
mod read;
mod stored;
#[cfg(test)]
mod tests;
mod write;

pub use backed::{H5ad, open_h5ad, open_h5ad_with};
pub use blocks::{Block, Totals, XBlocks};
pub use describe::Summary;
pub(super) use mudata::{is_mudata, only_modality};
pub use mudata::{read_mudata, read_mudata_with, write_h5mu, write_h5mu_with};

use super::{h5, store};
use crate::anndata::AnnData;
use crate::error::Result;
use std::path::Path;

/// What to leave out when reading.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    pub(super) skip: Vec<String>,
}

impl ReadOptions {
    /// Leaves out the member at `key`, e.g. `uns/model` or `obsm/X_tiles`, and all below it.
    pub fn skip(mut self, key: impl Into<String>) -> Self {
        self.skip.push(key.into().trim_matches('/').to_string());
        self
    }
}

/// How to write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    pub(super) gzip: Option<u8>,
}

impl WriteOptions {
    /// Compresses with gzip, from 1 (fast) to 9 (small); without it nothing is compressed, as in
    /// anndata. 4 is what h5py uses.
    pub fn gzip(mut self, level: u8) -> Self {
        self.gzip = Some(level.clamp(1, 9));
        self
    }
}

/// Reads an `.h5ad` file whole, with the element types that it has. Matches anndata 0.12, files of
/// anndata 0.5 and later included.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) for a missing file, [`Error::Format`](crate::Error::Format)
/// naming the key for anything that is damaged or cannot be held (awkward arrays, arrays of more
/// than two axes in `obsm`, …); [`read_h5ad_with`] can leave such a member out.
pub fn read_h5ad(path: impl AsRef<Path>) -> Result<AnnData> {
    read_h5ad_with(path, &ReadOptions::default())
}

/// Like [`read_h5ad`], with options.
///
/// # Errors
/// As [`read_h5ad`].
pub fn read_h5ad_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<AnnData> {
    fn inner(path: &Path, options: &ReadOptions) -> Result<AnnData> {
        read_elements(&h5::open(path)?.into(), options)
    }
    inner(path.as_ref(), options)
}

/// Reads the object whose slots are the members of `root`: an HDF5 file, a zarr store, or a group
/// inside one.
pub(super) fn read_elements(root: &store::Group, options: &ReadOptions) -> Result<AnnData> {
    read::Reader { options, visited: Default::default() }.anndata(root)
}

/// Writes an `.h5ad` file as anndata 0.12 does. The file is written beside and renamed, so that a
/// crash leaves an old file of that name whole.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) when a slot has the wrong size,
/// [`Error::Io`](crate::Error::Io) or [`Error::Format`](crate::Error::Format) when the file cannot
/// be written.
pub fn write_h5ad(adata: &AnnData, path: impl AsRef<Path>) -> Result<()> {
    write_h5ad_with(adata, path, &WriteOptions::default())
}

/// Like [`write_h5ad`], with options.
///
/// # Errors
/// As [`write_h5ad`].
pub fn write_h5ad_with(
    adata: &AnnData,
    path: impl AsRef<Path>,
    options: &WriteOptions,
) -> Result<()> {
    fn inner(adata: &AnnData, path: &Path, options: &WriteOptions) -> Result<()> {
        adata.check()?;
        h5::create(path, options, |root| write::anndata(root, adata))
    }
    inner(adata, path.as_ref(), options)
}
