//! Xenium folders (10x Xenium Onboard Analysis 1 to 3).
//!
//! ```text
//! cell_feature_matrix.h5                 counts by cell, or the folder cell_feature_matrix
//! cells.parquet, cells.csv.gz            centroids in µm, areas, counts by kind of code
//! cell_boundaries.parquet, .csv.gz       outlines: cell_id, vertex_x, vertex_y in µm
//! nucleus_boundaries.parquet, .csv.gz
//! transcripts.parquet, .csv.gz           every molecule, up to 10⁸ and more
//! experiment.xenium                      JSON: pixel size, versions, panel
//! ```
//!
//! Cells are numbered in version 1 and named (`aaabbbcc-1`) since version 2; in parquet a name may
//! be bytes. They are joined as texts.

use super::files::{self, entries, list};
use super::join::join_table;
use super::table::Table;
use super::tenx::TenxH5;
use super::{mtx, visium};
use crate::anndata::{AnnData, Column, Map, Value};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// A Xenium folder.
#[derive(Debug, Clone)]
pub struct Xenium {
    folder: PathBuf,
    controls: bool,
    metadata: Map<Value>,
}

/// Outlines of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// Cells.
    Cell,
    /// Nuclei.
    Nucleus,
}

/// One outline for each id: polygon `i` has the vertices `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polygons {
    /// What each polygon outlines, e.g. cell ids.
    pub ids: Vec<String>,
    /// Where the vertices of each polygon start, and the number of all vertices.
    pub offsets: Vec<usize>,
    /// x and y of every vertex.
    pub vertices: Vec<[f64; 2]>,
}

impl Polygons {
    /// Number of polygons.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no polygons.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The vertices of polygon `i`.
    pub fn polygon(&self, i: usize) -> &[[f64; 2]] {
        &self.vertices[self.offsets[i]..self.offsets[i + 1]]
    }
}

/// Reads a Xenium folder: gene expression by cell.
///
/// * `X`, `var`: as [`read_10x_h5`](super::read_10x_h5); controls and blanks with
///   [`Xenium::controls`]
/// * `obs`: the other columns of `cells.parquet` or `cells.csv.gz`, joined by `cell_id`
/// * `obsm["spatial"]`: `x_centroid`, `y_centroid` in µm
/// * `uns["spatial"][region]`: `images` and `scalefactors` (empty), `metadata`: `units` (`micron`) and
///   the numbers and texts of `experiment.xenium` (`pixel_size` in µm, versions, panel)
///
/// # Errors
/// [`Error::Format`] naming the files that were looked for, or how many cells of the matrix have no
/// row in the table of cells.
pub fn read_xenium(folder: impl AsRef<Path>) -> Result<AnnData> {
    Xenium::open_folder(folder.as_ref())?.read()
}

/// Whether a folder looks like one that [`read_xenium`] reads.
pub(super) fn is_xenium_folder(folder: &Path) -> bool {
    let folder = inner(folder);
    find(&folder, "cells").is_some()
        && (folder.join("cell_feature_matrix.h5").is_file()
            || folder.join("cell_feature_matrix").is_dir())
}

/// The folder itself, or `outs` in it.
fn inner(folder: &Path) -> PathBuf {
    match folder.join("outs/cell_feature_matrix.h5").is_file() {
        true => folder.join("outs"),
        false => folder.into(),
    }
}

/// A table of a Xenium folder, whichever way it is written.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let path = |ending: &&str| folder.join(format!("{name}.{ending}"));
    ["parquet", "csv.gz", "csv"].iter().map(path).find(|p| p.is_file())
}

impl Xenium {
    /// Opens a folder; only its metadata are read.
    ///
    /// # Errors
    /// [`Error::Io`] without such a folder, [`Error::Format`] for malformed metadata.
    pub fn open(folder: impl AsRef<Path>) -> Result<Xenium> {
        Xenium::open_folder(folder.as_ref())
    }

    fn open_folder(folder: &Path) -> Result<Xenium> {
        files::check_folder(folder)?;
        let folder = inner(folder);
        let mut metadata = Map::from([("units".to_string(), Value::from("micron"))]);
        let path = folder.join("experiment.xenium");
        if path.is_file() {
            let json: serde_json::Value = serde_json::from_str(&files::read_text(&path)?)
                .map_err(|e| Error::format(&path, format!("malformed JSON: {e}")))?;
            let entries = json.as_object();
            let entries = entries.ok_or_else(|| Error::format(&path, "expected a JSON object"))?;
            // Lists of files and images say nothing about the cells.
            metadata.extend(entries.iter().filter_map(|(key, v)| {
                let value = match v {
                    serde_json::Value::String(s) => Value::from(s.as_str()),
                    serde_json::Value::Number(n) => match n.as_i64() {
                        Some(i) => Value::int(i),
                        None => Value::float(n.as_f64()?),
                    },
                    _ => return None,
                };
                Some((key.clone(), value))
            }));
        }
        Ok(Xenium { folder, controls: false, metadata })
    }

    /// Whether [`read`](Xenium::read) keeps control probes, control codewords and blanks as well as
    /// genes (default: genes only).
    pub fn controls(mut self, controls: bool) -> Self {
        self.controls = controls;
        self
    }

    /// The numbers and texts of `experiment.xenium` (`pixel_size`, `analysis_sw_version`,
    /// `panel_name`, …) and `units`.
    pub fn metadata(&self) -> &Map<Value> {
        &self.metadata
    }

    fn table(&self, name: &str) -> Result<Table> {
        let Some(path) = find(&self.folder, name) else {
            let reason = format!("no {name}: looked for {name}.parquet, .csv.gz and .csv");
            let hint = format!("The folder holds: {}", list(&entries(&self.folder)));
            return Err(Error::format(&self.folder, reason).with_hint(hint));
        };
        Table::open(path)
    }

    /// Reads the counts by cell; see [`read_xenium`].
    ///
    /// # Errors
    /// As [`read_xenium`].
    pub fn read(&self) -> Result<AnnData> {
        let h5 = self.folder.join("cell_feature_matrix.h5");
        let mut adata = if h5.is_file() {
            TenxH5::default().gex_only(!self.controls).read(&h5)?
        } else {
            let all = mtx::read_10x_mtx(self.folder.join("cell_feature_matrix"))?;
            if self.controls { all } else { genes_only(all) }
        };
        let table = self.table("cells")?;
        let frame = table.read()?;
        let centroids = ["x_centroid", "y_centroid"];
        let spatial = join_table(&mut adata, table.path(), &frame, "cell_id", centroids)?;
        adata.obsm.insert("spatial".into(), spatial);
        let region = self.metadata.get("region_name").and_then(Value::as_str);
        let name = region.filter(|r| !r.is_empty()).map(str::to_string);
        let library = Map::from([
            ("images".to_string(), Value::Map(Map::new())),
            ("scalefactors".to_string(), Value::Map(Map::new())),
            ("metadata".to_string(), Value::Map(self.metadata.clone())),
        ]);
        let name = name.unwrap_or_else(|| visium::folder_name(&self.folder));
        let spatial = Map::from([(name.replace('/', "_"), Value::Map(library))]);
        adata.uns.insert("spatial".into(), Value::Map(spatial));
        Ok(adata)
    }

    /// Reads the outlines of cells or nuclei, in µm, in the order of the file; consecutive rows of
    /// one id are one outline.
    ///
    /// # Errors
    /// [`Error::Format`] when the table is missing or damaged.
    pub fn boundaries(&self, what: Boundary) -> Result<Polygons> {
        let name = match what {
            Boundary::Cell => "cell_boundaries",
            Boundary::Nucleus => "nucleus_boundaries",
        };
        let table = self.table(name)?.categories(&["cell_id"]);
        let path = table.path().to_path_buf();
        let mut out = Polygons { offsets: vec![0], ..Polygons::default() };
        let mut last = None;
        for block in table.blocks(&["cell_id", "vertex_x", "vertex_y"], 1 << 20)? {
            let block = block?;
            let numbers = |name: &str| {
                block.get(name).and_then(Column::to_f64).ok_or_else(|| {
                    Error::format(&path, format!("the column `{name}` does not hold numbers"))
                })
            };
            let (x, y) = (numbers("vertex_x")?, numbers("vertex_y")?);
            let Some(Column::Categorical(cells)) = block.get("cell_id") else {
                return Err(Error::format(&path, "the column `cell_id` holds no ids"));
            };
            for i in 0..block.len() {
                // Codes mean the same in every block.
                if last != Some(cells.codes[i]) {
                    last = Some(cells.codes[i]);
                    out.ids.push(cells.label(i).unwrap_or_default().to_string());
                    out.offsets.push(out.vertices.len());
                }
                out.vertices.push([x[i], y[i]]);
                if let Some(end) = out.offsets.last_mut() {
                    *end = out.vertices.len();
                }
            }
        }
        Ok(out)
    }

    /// The table of molecules, with genes, cells and fields of view as categories: four bytes each.
    /// [`Table::blocks`] goes through it in bounded memory.
    ///
    /// # Errors
    /// [`Error::Format`] when the table is missing or damaged.
    pub fn transcripts(&self) -> Result<Table> {
        let table = self.table("transcripts")?;
        let texts = ["cell_id", "feature_name", "fov_name"];
        let has = |name: &&&str| table.columns().iter().any(|c| c == **name);
        let texts: Vec<&str> = texts.iter().filter(has).copied().collect();
        Ok(table.categories(&texts))
    }
}

fn genes_only(adata: AnnData) -> AnnData {
    let Some(kinds) = adata.var.get("feature_types").map(Column::to_categorical) else {
        return adata;
    };
    let is_gene = |&i: &usize| kinds.label(i) == Some("Gene Expression");
    let keep: Vec<usize> = (0..adata.n_vars()).filter(is_gene).collect();
    if keep.is_empty() { adata } else { adata.take_vars(&keep) }
}
