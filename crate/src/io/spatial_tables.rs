//! A sample as two or three tables, whatever wrote them: counts, coordinates, metadata.
//!
//! ```text
//! counts       genes × cells or cells × genes, with names on both sides
//! coordinates  a row a cell: its name, x, y and, maybe, z
//! metadata     a row a cell: its name and whatever is known about it
//! ```
//!
//! Slide-seq (`MappedDGEForR.csv`, `BeadLocationsForR.csv`), osmFISH exports and most supplements
//! of papers look like this.

use super::files;
use super::slide_image::stem;
use super::table::TextMatrix;
use super::unmatched::{LeftOut, Named, Unmatched, column_at, places};
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Names of columns that are coordinates, in lower case; those of a third axis may be missing.
const COORDINATES: [[&str; 3]; 9] = [
    ["x", "y", "z"],
    ["xcoord", "ycoord", "zcoord"],
    ["x_coord", "y_coord", "z_coord"],
    ["xaxis", "yaxis", "zaxis"],
    ["pixel_x", "pixel_y", "pixel_z"],
    ["center_x", "center_y", "center_z"],
    ["x_centroid", "y_centroid", "z_centroid"],
    ["centroid_x", "centroid_y", "centroid_z"],
    ["imagecol", "imagerow", "imageslice"],
];

/// How to read a sample that lies in several tables.
///
/// ```no_run
/// use spatialkit::io::SpatialTables;
/// let puck = SpatialTables::default()
///     .counts("MappedDGEForR.csv")
///     .coordinates("BeadLocationsForR.csv")
///     .read()?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SpatialTables {
    counts: Option<PathBuf>,
    coordinates: Option<PathBuf>,
    metadata: Vec<PathBuf>,
    xy: Vec<String>,
    unmatched: Unmatched,
}

impl SpatialTables {
    /// The counts: text with a header of names and rows of a name and numbers. Which side is the
    /// genes' is seen from the names in the coordinates.
    pub fn counts(mut self, path: impl AsRef<Path>) -> Self {
        self.counts = Some(path.as_ref().into());
        self
    }

    /// The coordinates. The column of names is the one that has most of those in the counts.
    pub fn coordinates(mut self, path: impl AsRef<Path>) -> Self {
        self.coordinates = Some(path.as_ref().into());
        self
    }

    /// A table with more columns for `obs`; may be given several times.
    pub fn metadata(mut self, path: impl AsRef<Path>) -> Self {
        self.metadata.push(path.as_ref().into());
        self
    }

    /// The columns of the coordinates, two or three; by default `x` and `y` (and `z`) under one of
    /// their usual names, or the only numbers of the table.
    pub fn xy(mut self, columns: &[&str]) -> Self {
        self.xy = columns.iter().map(|c| c.to_string()).collect();
        self
    }

    /// What becomes of cells that have counts and no coordinates, or coordinates and no counts.
    pub fn unmatched(mut self, rule: Unmatched) -> Self {
        self.unmatched = rule;
        self
    }

    /// The tables of a folder by their names: one with `expression`, `counts` or `DGE`, one with
    /// `coord` or `location`, any with `meta`, `annotation` or `cluster`.
    ///
    /// # Errors
    /// [`Error::Format`] listing the folder when there is not exactly one of the first two.
    pub fn in_folder(folder: impl AsRef<Path>) -> Result<Self> {
        in_folder(folder.as_ref())
    }

    /// Reads the tables:
    /// * `X`: the counts, CSR in `float32` (as scanpy's readers of text have it, without the zeros)
    /// * `obsm["spatial"]`: the coordinates in `float64`, in the unit of the table
    /// * `obs`: every other column of the coordinates and the metadata; a cell without metadata
    ///   has missing values there, and a column whose name is taken is named after its file too
    /// * `uns["unmatched"]`: by file, the names that were left out ([`Unmatched::Drop`]); of the
    ///   metadata those that have no counts
    ///
    /// Cells come in the order of the counts.
    ///
    /// # Errors
    /// [`Error::Format`] when the tables have no name in common, a name stands twice, or a field of
    /// the counts is no number; [`Error::Parameter`] when counts or coordinates were not named.
    pub fn read(&self) -> Result<AnnData> {
        let missing = |name| Error::parameter(name, "(none)", "the file must be named");
        let counts_path = self.counts.as_deref().ok_or_else(|| missing("counts"))?;
        let coordinates_path = self.coordinates.as_deref().ok_or_else(|| missing("coordinates"))?;
        let counts = TextMatrix::read_counts(counts_path)?;
        let known: HashSet<&str> =
            counts.rows().iter().chain(&counts.columns).map(String::as_str).collect();
        let coordinates = Named::read(coordinates_path, &known, "the counts")?;
        let at = places(coordinates_path, coordinates.names.iter().map(String::as_str))?;
        let found = |names: &[String]| names.iter().filter(|n| at.contains_key(n.as_str())).count();
        let by_columns = found(&counts.columns) > found(counts.rows());
        let (names, genes, x) = counts.into_counts(by_columns)?;

        let mut left = LeftOut::default();
        let cells = names.iter().map(String::as_str);
        let without: Vec<&str> = cells.clone().filter(|n| !at.contains_key(n)).collect();
        left.note(counts_path, without, names.len(), "coordinates", self.unmatched)?;
        let cells = places(counts_path, cells)?;
        let has_counts = |n: &&str| cells.contains_key(n);
        let without = coordinates.names.iter().map(String::as_str).filter(|n| !has_counts(n));
        let (without, of) = (without.collect(), coordinates.names.len());
        left.note(coordinates_path, without, of, "counts", self.unmatched)?;

        let keep: Vec<usize> =
            (0..names.len()).filter(|&i| at.contains_key(names[i].as_str())).collect();
        let obs_names: Vec<String> = keep.iter().map(|&i| names[i].clone()).collect();
        let rows: Vec<Option<usize>> =
            obs_names.iter().map(|n| at.get(n.as_str()).copied()).collect();
        let x = if keep.len() == x.nrows() { x } else { x.take_rows(&keep) };
        let mut adata = AnnData::new(x, Frame::new(obs_names), Frame::new(genes))?;
        self.place(&mut adata, coordinates_path, &coordinates, &rows)?;
        for path in &self.metadata {
            let names: HashSet<&str> = adata.obs.names().iter().map(String::as_str).collect();
            let table = Named::read(path, &names, "the counts")?;
            let at = places(path, table.names.iter().map(String::as_str))?;
            let without = table.names.iter().map(String::as_str).filter(|n| !cells.contains_key(n));
            left.note(path, without.collect(), table.names.len(), "counts", Unmatched::Drop)?;
            let rows: Vec<Option<usize>> =
                adata.obs.names().iter().map(|n| at.get(n.as_str()).copied()).collect();
            for (name, column) in table.frame.columns() {
                // A name that is taken stays with whoever has it.
                let name = match adata.obs.contains(name) {
                    true => format!("{name}_{}", stem(path)),
                    false => name.to_string(),
                };
                adata.obs.insert(name, column_at(column, &rows))?;
            }
        }
        left.store(&mut adata);
        Ok(adata)
    }

    /// Puts the coordinates into `obsm` and the other columns of their table into `obs`.
    fn place(
        &self,
        adata: &mut AnnData,
        path: &Path,
        table: &Named,
        rows: &[Option<usize>],
    ) -> Result<()> {
        let axes = match self.xy.as_slice() {
            [] => axes(&table.frame).ok_or_else(|| {
                let has = table.frame.columns().map(|c| c.0).collect::<Vec<_>>().join(", ");
                Error::format(path, format!("no columns of coordinates; it has: {has}"))
                    .with_hint("Name them: `.xy(&[\"x\", \"y\"])`")
            })?,
            named => named.to_vec(),
        };
        let numbers = |name: &String| {
            let column = table.frame.get(name).map(|c| column_at(c, rows));
            column.as_ref().and_then(Column::to_f64).ok_or_else(|| {
                let has = table.frame.columns().map(|c| c.0).collect::<Vec<_>>().join(", ");
                Error::format(path, format!("no column of numbers `{name}`; it has: {has}"))
            })
        };
        let columns: Vec<Vec<f64>> = axes.iter().map(numbers).collect::<Result<_>>()?;
        let values: Vec<f64> =
            (0..rows.len()).flat_map(|i| columns.iter().map(move |c| c[i])).collect();
        let spatial = Matrix::Dense(Dense::new(rows.len(), axes.len(), values)?);
        adata.obsm.insert("spatial".into(), spatial);
        for (name, column) in table.frame.columns() {
            if !axes.iter().any(|a| a == name) {
                adata.obs.insert(name, column_at(column, rows))?;
            }
        }
        Ok(())
    }
}

/// The columns that are coordinates.
fn axes(table: &Frame) -> Option<Vec<String>> {
    let numbers: Vec<&str> =
        table.columns().filter(|(_, c)| c.to_f64().is_some()).map(|(n, _)| n).collect();
    let find = |wanted: &str| {
        let exact = numbers.iter().find(|n| n.to_lowercase() == wanted);
        exact.map(|n| n.to_string())
    };
    for [x, y, z] in COORDINATES {
        if let (Some(x), Some(y)) = (find(x), find(y)) {
            return Some([Some(x), Some(y), find(z)].into_iter().flatten().collect());
        }
    }
    let only = matches!(numbers.len(), 2 | 3);
    only.then(|| numbers.iter().map(|n| n.to_string()).collect())
}

fn in_folder(folder: &Path) -> Result<SpatialTables> {
    files::check_folder(folder)?;
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(|e| Error::io(folder, e))?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let is_text = |n: &str| {
        let n = n.strip_suffix(".gz").unwrap_or(n);
        [".txt", ".csv", ".tsv", ".tab"].iter().any(|e| n.ends_with(e))
    };
    let like = |words: &[&str]| -> Vec<&String> {
        let has = |n: &String| {
            let n = n.to_lowercase();
            is_text(&n) && words.iter().any(|w| n.contains(w))
        };
        names.iter().filter(|n| has(n)).collect()
    };
    let one = |what: &str, words: &[&str]| match like(words).as_slice() {
        [one] => Ok(folder.join(one)),
        several => {
            let listed = names.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
            let n = several.len();
            Err(Error::format(folder, format!("{n} tables of {what} in this folder: {listed}"))
                .with_hint("Name them: `SpatialTables::default().counts(…).coordinates(…).read()`"))
        }
    };
    let mut tables = SpatialTables::default()
        .counts(one("counts", &["expression", "count", "dge"])?)
        .coordinates(one("coordinates", &["coord", "location"])?);
    for name in like(&["meta", "annotation", "cluster"]) {
        tables = tables.metadata(folder.join(name));
    }
    Ok(tables)
}

/// Reads a folder in which one table is counts and one is coordinates; `None` for every other.
pub(super) fn recognise(folder: &Path) -> Result<Option<AnnData>> {
    in_folder(folder).ok().map(|tables| tables.read()).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use std::fs;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    #[test]
    fn either_side_of_the_counts_may_be_the_cells() {
        for counts in ["c1\tc2\tc3\ng1\t1\t0\t2\ng2\t0\t3\t0\n", ",g1,g2\nc1,1,0\nc2,0,3\nc3,2,0\n"]
        {
            let dir = folder(&[
                ("expression.txt", counts),
                ("coordinates.txt", "n\tID\tX\tY\n1\tc3\t5\t6\n2\tc1\t1.5\t2\n3\tc2\t3\t4\n"),
                ("metadata.txt", "CellID\tType\tSize\nc2\tT\t7\nc9\tB\t8\n"),
            ]);
            let a = SpatialTables::in_folder(dir.path()).unwrap().read().unwrap();
            assert_eq!(a.obs.names(), ["c1", "c2", "c3"]);
            assert_eq!(a.var.names(), ["g1", "g2"]);
            assert_eq!(a.x().unwrap().to_array_f32(), array![[1., 0.], [0., 3.], [2., 0.]]);
            assert_eq!(a.spatial().unwrap(), array![[1.5, 2.], [3., 4.], [5., 6.]]);
            let texts = |c: &str| (0..3).map(|i| a.obs.get(c).unwrap().text(i)).collect::<Vec<_>>();
            assert_eq!(texts("Type"), [None, Some("T".into()), None]);
            assert_eq!(texts("Size"), [None, Some("7".into()), None]);
            assert_eq!(texts("n"), [Some("2".into()), Some("3".into()), Some("1".into())]);
            let left = a.uns["unmatched"].at(&["metadata.txt"]);
            assert_eq!(left, Some(&crate::anndata::Value::strings(["c9"])));
        }
    }

    #[test]
    fn cells_without_a_partner_are_listed_or_refused() {
        let dir = folder(&[
            ("counts.csv", "gene,001,002,003\ng1,1,2,3\n"),
            ("coords.csv", "name,a,b\n003,1,2\n001,3,4\n004,5,6\n"),
        ]);
        let tables = SpatialTables::in_folder(dir.path()).unwrap();
        let a = tables.read().unwrap();
        assert_eq!(a.obs.names(), ["001", "003"], "names are not numbers");
        assert_eq!(a.spatial().unwrap(), array![[3., 4.], [1., 2.]]);
        let left = |file: &str| a.uns["unmatched"].at(&[file]).cloned();
        assert_eq!(left("counts.csv"), Some(crate::anndata::Value::strings(["002"])));
        assert_eq!(left("coords.csv"), Some(crate::anndata::Value::strings(["004"])));
        let e = tables.unmatched(Unmatched::Error).read().unwrap_err().to_string();
        assert!(e.contains("counts.csv: 1 of 3 have no coordinates (the first is `002`)"), "{e}");
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let counts = ("counts.csv", ",g1\nc1,1\nc2,2\n");
        for (coords, what) in [
            ("ID,x,y\nd1,1,2\n", "no column has the names of the counts"),
            ("ID,x,y\nc1,1,2\nc1,3,4\n", "`c1` stands in rows 1 and 2"),
            ("ID,x,name\nc1,1,here\n", "no columns of coordinates; it has: x, name"),
        ] {
            let dir = folder(&[counts, ("coords.csv", coords)]);
            let e = SpatialTables::in_folder(dir.path()).unwrap().read().unwrap_err().to_string();
            assert!(e.contains("coords.csv") && e.contains(what), "{e}");
        }
        let dir = folder(&[counts]);
        let e = SpatialTables::in_folder(dir.path()).unwrap_err().to_string();
        assert!(e.contains("0 tables of coordinates in this folder: counts.csv"), "{e}");
        assert!(SpatialTables::default().counts("a").read().is_err());
    }
}
