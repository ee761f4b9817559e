//! CosMx SMI exports (NanoString, Bruker).
//!
//! ```text
//! *_exprMat_file.csv         fov, cell_ID, one column a gene; cell 0 of a field is what lies outside cells
//! *_metadata_file.csv        fov, cell_ID, areas, CenterX_local_px, CenterX_global_px, …
//! *_fov_positions_file.csv   fov, x_global_px, y_global_px        may be missing
//! ```
//!
//! Each may be gzipped. A cell is named `cell_ID` `_` `fov`, as squidpy names it.

use super::files::{self, entries, list};
use super::join::{Join, column, points};
use super::table::{Table, TextMatrix};
use crate::anndata::{AnnData, Categorical, Column, Frame, Map, Matrix, Value};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

const COMMON_ONLY: &str =
    "To read the cells that both have: `CosMx::default().common_only(true).read(…)`";

/// How to read a CosMx folder.
#[derive(Debug, Clone, Default)]
pub struct CosMx {
    common_only: bool,
}

/// Reads a CosMx folder. Matches `squidpy.read.nanostring`:
///
/// * `X`: counts, CSR in `int64`; `obs` named `cell_ID_fov`, in the order of the metadata
/// * `obs`: the columns of the metadata; `fov` as categories
/// * `obsm["spatial"]`: centres in pixels of their field of view (`Center*_local_px`, which leave
///   `obs`); `obsm["spatial_fov"]`: in pixels of the whole slide (`Center*_global_px`)
/// * `uns["spatial"][fov]`: `images` (empty: pictures are not read), `scalefactors`, and `metadata`
///   with the row of the table of fields, where there is one
///
/// # Errors
/// [`Error::Format`] naming the files that were looked for, and how many cells are in one table and
/// not in the other; `CosMx::default().common_only(true)` then reads those in both, as squidpy does.
/// Rows of cell 0, which is no cell, are left out if the metadata do not have it.
pub fn read_cosmx(folder: impl AsRef<Path>) -> Result<AnnData> {
    CosMx::default().read(folder)
}

/// Whether a folder looks like one that [`read_cosmx`] reads.
pub(super) fn is_cosmx_folder(folder: &Path) -> bool {
    let names = entries(folder);
    ["exprMat_file.csv", "metadata_file.csv"]
        .iter()
        .all(|e| names.iter().any(|n| n.trim_end_matches(".gz").ends_with(e)))
}

/// The one file of a folder whose name ends so, gzipped or not.
pub(super) fn find(folder: &Path, ending: &str) -> Result<Option<PathBuf>> {
    let names = entries(folder);
    let ends = |n: &&String| n.trim_end_matches(".gz").ends_with(ending);
    let found: Vec<String> = names.iter().filter(ends).cloned().collect();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(folder.join(one))),
        many => {
            // A file beside its own gzipped copy is one file.
            let stem = many[0].trim_end_matches(".gz");
            if many.iter().all(|n| n.trim_end_matches(".gz") == stem) {
                return Ok(Some(folder.join(&many[0])));
            }
            let reason = format!("several files end in {ending}: {}", many.join(", "));
            Err(Error::format(folder, reason).with_hint("Put each slide into a folder of its own"))
        }
    }
}

/// Like [`find`], for a file that must be there.
pub(super) fn need(folder: &Path, ending: &str) -> Result<PathBuf> {
    find(folder, ending)?.ok_or_else(|| {
        let hint = format!("The folder holds: {}", list(&entries(folder)));
        Error::format(folder, format!("no file that ends in {ending} or {ending}.gz"))
            .with_hint(hint)
    })
}

impl CosMx {
    /// Whether cells that are in one table only are left out (default: that is an error).
    pub fn common_only(mut self, common_only: bool) -> Self {
        self.common_only = common_only;
        self
    }

    /// Reads the folder; see [`read_cosmx`].
    ///
    /// # Errors
    /// As [`read_cosmx`].
    pub fn read(&self, folder: impl AsRef<Path>) -> Result<AnnData> {
        self.read_folder(folder.as_ref())
    }

    fn read_folder(&self, folder: &Path) -> Result<AnnData> {
        files::check_folder(folder)?;
        let counts_path = need(folder, "exprMat_file.csv")?;
        let meta_path = need(folder, "metadata_file.csv")?;
        let mut table = Table::open_text(&meta_path, Some(true), None)?.read()?;
        let mut names = cell_names(&meta_path, &table)?;
        let mut counts = TextMatrix::read(&counts_path, &["cell_ID", "fov"], None)?;
        let labels = std::mem::take(&mut counts.labels);
        let rows: Vec<Option<String>> =
            labels[0].iter().zip(&labels[1]).map(|(c, f)| Some(format!("{c}_{f}"))).collect();
        if self.common_only {
            let counted: HashSet<&str> = rows.iter().flatten().map(String::as_str).collect();
            let keep: Vec<usize> =
                (0..names.len()).filter(|&i| counted.contains(names[i].as_str())).collect();
            table = table.take(&keep);
            names = keep.into_iter().map(|i| std::mem::take(&mut names[i])).collect();
        } else {
            self.check_known(&counts_path, &names, &rows, &labels[0])?;
        }
        let mut join = Join::new(&names);
        join.add(&Column::Str(rows));
        let order = join.finish(&counts_path, "cells of the metadata", "row of counts");
        let order = order.map_err(|e| e.with_hint(COMMON_ONLY))?;
        let var = Frame::new(counts.columns.clone());
        let x = Matrix::Csr(counts.into_csr()?).take_rows(&order);
        let mut adata = AnnData::new(x, Frame::new(names), var)?;
        add_metadata(&mut adata, &meta_path, table)?;
        add_fields(&mut adata, folder)?;
        Ok(adata)
    }

    /// Cells of the matrix that the metadata do not have, cell 0 aside.
    fn check_known(
        &self,
        path: &Path,
        names: &[String],
        rows: &[Option<String>],
        cells: &[String],
    ) -> Result<()> {
        let known: HashSet<&str> = names.iter().map(String::as_str).collect();
        let is_new = |(row, cell): &(&Option<String>, &String)| {
            cell.as_str() != "0" && !row.as_deref().is_some_and(|r| known.contains(r))
        };
        let new: Vec<_> = rows.iter().zip(cells).filter(is_new).collect();
        let Some((first, _)) = new.first() else { return Ok(()) };
        let reason = format!(
            "{} of {} cells of the matrix have no row in the metadata (the first is `{}`)",
            new.len(),
            rows.len(),
            first.as_deref().unwrap_or_default()
        );
        Err(Error::format(path, reason).with_hint(COMMON_ONLY))
    }
}

/// `obs` and both coordinates, from metadata in the order of `obs`.
fn add_metadata(adata: &mut AnnData, path: &Path, mut table: Frame) -> Result<()> {
    let local = ["CenterX_local_px", "CenterY_local_px"];
    let global = ["CenterX_global_px", "CenterY_global_px"];
    adata.obsm.insert("spatial".into(), points(path, &table, local)?);
    adata.obsm.insert("spatial_fov".into(), points(path, &table, global)?);
    let fovs: Vec<Option<String>> = text(&table, "fov").collect();
    table.insert("fov", Categorical::from_labels(&fovs))?;
    for (name, column) in table.columns().filter(|(name, _)| !local.contains(name)) {
        adata.obs.insert(name, column.clone())?;
    }
    Ok(())
}

/// An entry of `uns["spatial"]` for each field of view.
fn add_fields(adata: &mut AnnData, folder: &Path) -> Result<()> {
    let mut fields = Map::new();
    if let Some(Column::Categorical(fovs)) = adata.obs.get("fov") {
        for fov in &fovs.categories {
            let one = || Value::int(1);
            let factors =
                ["tissue_hires_scalef", "spot_diameter_fullres"].map(|k| (k.to_string(), one()));
            let field = Map::from([
                ("images".to_string(), Value::Map(Map::new())),
                ("scalefactors".to_string(), Value::Map(factors.into_iter().collect())),
            ]);
            fields.insert(fov.clone(), Value::Map(field));
        }
    }
    if let Some(path) = find(folder, "fov_positions_file.csv")? {
        let table = Table::open_text(&path, Some(true), None)?.read()?;
        let id = if table.contains("FOV") { "FOV" } else { "fov" };
        let ids = column(&path, &table, id)?;
        for i in 0..table.len() {
            let field = fields.get_mut(&ids.text(i).unwrap_or_default());
            let Some(field) = field.and_then(Value::as_map_mut) else { continue };
            let numbers = table.columns().filter(|(name, _)| *name != id);
            let row = numbers.filter_map(|(name, c)| Some((name, c.to_f64()?[i])));
            let row: Map<Value> = row.map(|(k, x)| (k.to_string(), Value::float(x))).collect();
            field.insert("metadata".into(), Value::Map(row));
        }
    }
    adata.uns.insert("spatial".into(), Value::Map(fields));
    Ok(())
}

/// The cells of the metadata.
fn cell_names(path: &Path, table: &Frame) -> Result<Vec<String>> {
    let (cells, fovs) = (column(path, table, "cell_ID")?, column(path, table, "fov")?);
    let text = |c: &Column, i: usize| c.text(i).unwrap_or_default();
    Ok((0..table.len()).map(|i| format!("{}_{}", text(cells, i), text(fovs, i))).collect())
}

fn text<'a>(table: &'a Frame, name: &'a str) -> impl Iterator<Item = Option<String>> + 'a {
    (0..table.len()).map(move |i| table.get(name).and_then(|c| c.text(i)))
}
