//! A matrix of genes × cells beside a table of coordinates: Slide-seq pucks, and MERFISH and other
//! data as R users pass them on.
//!
//! ```text
//! counts      GENE  AACG…  AATC…          *digital_expression.txt[.gz]   Puck of Slide-seqV2
//!             Mbp   0      3              MappedDGEForR.csv              Slide-seq
//!                                         counts.csv                     MERFISH and others
//! positions   barcode, x, y               *bead_locations.csv, *BeadLocationsForR.csv, coords.csv
//! totals      cell, number                nUMI.csv                       may be missing
//! ```
//!
//! Each may be gzipped; commas, tabs or blanks; lines that start with `#` come before the header.

use super::files::{self, entries, list};
use super::join::{Join, points};
use super::table::{Table, TextMatrix};
use crate::anndata::{AnnData, Column, Frame};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Names of the files, in lower case and without `.gz`, in the order in which they are preferred.
const COUNTS: [&str; 6] = [
    "mappeddgeforr.csv",
    "digital_expression.txt",
    "digital_expression.tsv",
    "digital_expression.csv",
    ".dge.txt",
    "counts.csv",
];
const POSITIONS: [&str; 7] = [
    "beadlocationsforr.csv",
    "bead_locations.csv",
    "bead_locations.txt",
    "beadlocations.csv",
    "coords.csv",
    "coordinates.csv",
    "locations.csv",
];

/// How to read a folder of beads or cells with coordinates.
#[derive(Debug, Clone, Default)]
pub struct SlideSeq {
    common_only: bool,
}

/// Reads a Slide-seq folder, or any with a matrix of genes × cells and a table of coordinates.
///
/// * `X`: counts, CSR in `float32`; `obs` in the order of the matrix, `var` in that of the file
/// * `obs["nUMI"]`: from `nUMI.csv`, where it is there
/// * `obsm["spatial"]`: (x, y) as in the table of coordinates
///
/// # Errors
/// [`Error::Format`] naming the files that were looked for, or how many beads of the matrix have no
/// coordinates; `SlideSeq::default().common_only(true)` then leaves these out.
pub fn read_slideseq(folder: impl AsRef<Path>) -> Result<AnnData> {
    SlideSeq::default().read(folder)
}

/// Whether a folder looks like one that [`read_slideseq`] reads.
pub(super) fn is_slideseq_folder(folder: &Path) -> bool {
    find(folder, &COUNTS).is_some() && find(folder, &POSITIONS).is_some()
}

fn find(folder: &Path, endings: &[&str]) -> Option<PathBuf> {
    let names = entries(folder);
    let ends =
        |n: &&String, ending: &str| n.to_lowercase().trim_end_matches(".gz").ends_with(ending);
    endings.iter().find_map(|e| names.iter().find(|n| ends(n, e))).map(|n| folder.join(n))
}

fn need(folder: &Path, what: &str, endings: &[&str]) -> Result<PathBuf> {
    find(folder, endings).ok_or_else(|| {
        let reason = format!("no {what}: looked for files that end in {}", endings.join(", "));
        let hint = format!("The folder holds: {}", list(&entries(folder)));
        Error::format(folder, reason).with_hint(hint)
    })
}

impl SlideSeq {
    /// Whether beads without coordinates are left out (default: they are an error).
    pub fn common_only(mut self, common_only: bool) -> Self {
        self.common_only = common_only;
        self
    }

    /// Reads the folder; see [`read_slideseq`].
    ///
    /// # Errors
    /// As [`read_slideseq`].
    pub fn read(&self, folder: impl AsRef<Path>) -> Result<AnnData> {
        self.read_folder(folder.as_ref())
    }

    fn read_folder(&self, folder: &Path) -> Result<AnnData> {
        files::check_folder(folder)?;
        let counts = need(folder, "matrix of counts", &COUNTS)?;
        let path = need(folder, "coordinates", &POSITIONS)?;
        let (ids, table) = read_positions(&path)?;

        let counts = TextMatrix::read(&counts, &[], Some(b'#'))?;
        let (cells, genes, x) = counts.into_counts(true)?;
        let mut adata = AnnData::new(x, Frame::new(cells), Frame::new(genes))?;
        if self.common_only {
            let known: HashSet<Option<String>> = (0..ids.len()).map(|i| ids.text(i)).collect();
            let has = |&i: &usize| known.contains(&Some(adata.obs.names()[i].clone()));
            let keep: Vec<usize> = (0..adata.n_obs()).filter(has).collect();
            adata = adata.take_obs(&keep);
        }
        let mut join = Join::new(adata.obs.names());
        join.add(&ids);
        let rows = join.finish(&path, "beads of the matrix", "position");
        let hint = "To leave them out: `SlideSeq::default().common_only(true).read(…)`";
        let rows = rows.map_err(|e| e.with_hint(hint))?;
        let spatial = points(&path, &table.take(&rows), ["x", "y"])?;
        adata.obsm.insert("spatial".into(), spatial);
        if let Some(path) = find(folder, &["numi.csv"]) {
            add_totals(&mut adata, &path)?;
        }
        Ok(adata)
    }
}

/// The ids of beads, and their `x` and `y`: by name, else the first two columns of numbers.
fn read_positions(path: &Path) -> Result<(Column, Frame)> {
    let frame = Table::open(path)?.read()?;
    let columns: Vec<(&str, &Column)> = frame.columns().collect();
    let named = |names: &[&str]| {
        columns.iter().find(|(n, _)| names.contains(&n.to_lowercase().as_str())).copied()
    };
    let is_number = |c: &Column| c.to_f64().is_some();
    let numbers: Vec<&(&str, &Column)> = columns.iter().filter(|(_, c)| is_number(c)).collect();
    let xy = match (named(&["x", "xcoord", "x_coord"]), named(&["y", "ycoord", "y_coord"])) {
        (Some((_, x)), Some((_, y))) => Some((x, y)),
        _ => match numbers.as_slice() {
            [(_, x), (_, y)] => Some((*x, *y)),
            _ => None,
        },
    };
    let text = columns.iter().find(|(_, c)| !is_number(c)).map(|(_, c)| (*c).clone());
    let names = || Column::Str(frame.names().iter().cloned().map(Some).collect());
    let first = columns.first().map(|(_, c)| (*c).clone()).filter(|_| columns.len() > 2);
    let ids = text.or(first).unwrap_or_else(names);
    let Some((x, y)) = xy else {
        let has: Vec<String> = columns.iter().map(|(n, _)| n.to_string()).collect();
        let reason = format!("no coordinates: looked for x and y among the columns {}", list(&has));
        return Err(Error::format(path, reason));
    };
    let mut table = Frame::with_len(frame.len());
    table.insert("x", x.clone())?;
    table.insert("y", y.clone())?;
    Ok((ids, table))
}

fn add_totals(adata: &mut AnnData, path: &Path) -> Result<()> {
    let frame = Table::open_text(path, Some(true), None)?.read()?;
    let mut columns = frame.columns();
    let (Some((_, ids)), Some((_, totals))) = (columns.next(), columns.next()) else {
        return Err(Error::format(path, "expected two columns: the cell and its total"));
    };
    let mut join = Join::new(adata.obs.names());
    join.add(ids);
    let rows = join.finish(path, "cells of the matrix", "total")?;
    adata.obs.insert("nUMI", totals.take(&rows))
}
