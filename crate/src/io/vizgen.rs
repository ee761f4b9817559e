//! Vizgen MERSCOPE exports.
//!
//! ```text
//! *cell_by_gene.csv                              the cell's id, one column a gene (and `Blank-…`)
//! *cell_metadata.csv                             the cell's id, fov, volume, center_x, center_y in µm, …
//! images/micron_to_mosaic_pixel_transform.csv    3 × 3, blanks between       may be missing
//! ```
//!
//! Ids have up to 39 digits: they are texts.

use super::cosmx::{find, need};
use super::files;
use super::join::join_table;
use super::table::{Table, TextMatrix};
use crate::anndata::{AnnData, Frame, Map, Value};
use crate::error::Result;
use std::path::Path;

const COUNTS: &str = "cell_by_gene.csv";
const METADATA: &str = "cell_metadata.csv";
const TRANSFORM: &str = "micron_to_mosaic_pixel_transform.csv";

/// Reads a Vizgen MERSCOPE folder. Matches `squidpy.read.vizgen`:
///
/// * `X`: counts, CSR in `float32`, without the blank genes
/// * `obs`: the columns of the metadata, joined by the cell's id
/// * `obsm["spatial"]`: `center_x`, `center_y` in µm
/// * `obsm_frames["blank_genes"]`: the counts of the genes whose names have `Blank` in them
/// * `uns["spatial"]["library"]["scalefactors"]["transformation_matrix"]`: from µm to pixels of the
///   mosaic images, where the file is there
///
/// # Errors
/// [`Error::Format`](crate::Error::Format) naming the files that were looked for, or how many cells
/// of the matrix have no row in the metadata.
pub fn read_vizgen(folder: impl AsRef<Path>) -> Result<AnnData> {
    read_folder(folder.as_ref())
}

/// Whether a folder looks like one that [`read_vizgen`] reads.
pub(super) fn is_vizgen_folder(folder: &Path) -> bool {
    [COUNTS, METADATA].iter().all(|e| matches!(find(folder, e), Ok(Some(_))))
}

fn read_folder(folder: &Path) -> Result<AnnData> {
    files::check_folder(folder)?;
    let counts = TextMatrix::read(&need(folder, COUNTS)?, &[], None)?;
    let (cells, genes, x) = counts.into_counts(false)?;
    let mut adata = AnnData::new(x, Frame::new(cells), Frame::new(genes))?;

    let is_blank = |&i: &usize| adata.var.names()[i].contains("Blank");
    let (blank, genes): (Vec<usize>, Vec<usize>) = (0..adata.n_vars()).partition(is_blank);
    let mut blanks = Frame::new(adata.obs.names().to_vec());
    for &i in &blank {
        blanks.insert(&adata.var.names()[i], adata.x()?.column_f32(i))?;
    }
    if !blank.is_empty() {
        adata = adata.take_vars(&genes);
    }
    adata.obsm_frames.insert("blank_genes".into(), blanks);

    let path = need(folder, METADATA)?;
    let table = Table::open_text(&path, Some(true), None)?;
    let id = table.columns().first().cloned().unwrap_or_default();
    let table = table.text(&[&id]).read()?;
    let spatial = join_table(&mut adata, &path, &table, &id, ["center_x", "center_y"])?;
    adata.obsm.insert("spatial".into(), spatial);

    let mut factors = Map::new();
    let transforms = [folder.join("images").join(TRANSFORM), folder.join(TRANSFORM)];
    if let Some(path) = transforms.iter().find(|p| p.is_file()) {
        let matrix = Table::open_text(path, Some(false), None)?.read()?;
        factors.insert("transformation_matrix".to_string(), Value::Frame(matrix));
    }
    let library = Map::from([("scalefactors".to_string(), Value::Map(factors))]);
    let spatial = Map::from([("library".to_string(), Value::Map(library))]);
    adata.uns.insert("spatial".into(), Value::Map(spatial));
    Ok(adata)
}
