//! SpatialData: tables, shapes, points, images and labels of one sample in one zarr store.
//!
//! ```text
//! /                     zarr version 2 or 3; attribute `spatialdata_attrs`
//! ├─ tables/<name>      AnnData (`table/` before spatialdata 0.2)
//! ├─ images/<name>/0…   OME-NGFF: the picture in several sizes, the largest first
//! ├─ labels/<name>/0…   the same, of numbers of cells
//! ├─ shapes/<name>      shapes.parquet: geometries as WKB, `radius` of circles
//! └─ points/<name>      points.parquet: a folder of x, y and features (transcripts)
//! ```
//! Coordinates of an element are its own; `coordinateTransformations` take them to coordinate
//! systems that elements share, mostly `global`.

mod raster;
mod shapes;
#[cfg(test)]
mod tests;
mod transform;

pub use raster::Raster;
pub use shapes::{Geometry, Shapes};
pub use transform::Transform;

use super::h5ad::{ReadOptions, read_elements};
use super::table::Table;
use super::{store, zarr};
use crate::anndata::{AnnData, Map};
use crate::error::{Error, Result};
use crate::notebook::{self, Bundle, Rich, escape_html as escape};
use std::fmt;
use std::path::Path;

const KINDS: [&str; 5] = ["images", "labels", "points", "shapes", "tables"];

/// A SpatialData store that is open for reading. Opening lists the elements; each is read when it
/// is asked for. Matches spatialdata 0.7 on stores of its versions 0.1 to 0.7 (zarr 2 and 3).
///
/// ```no_run
/// # use spatialkit::io::SpatialData;
/// let sample = SpatialData::open("blobs.zarr")?;
/// let table = sample.table("table")?; // an AnnData
/// let picture = sample.image("blobs_image", 0)?; // the largest
/// let cells = sample.shapes("blobs_polygons")?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Clone)]
pub struct SpatialData {
    root: zarr::Group,
    /// Names of the elements of each of `KINDS`.
    names: [Vec<String>; 5],
}

/// Whether `root` holds elements of SpatialData.
pub(super) fn is_spatialdata(root: &store::Group) -> bool {
    let has = |name| root.contains(name);
    matches!(root, store::Group::Zarr(_))
        && !has("obs")
        && !has("X")
        && (has("table") || KINDS.into_iter().any(has))
}

/// The one table of a store, as an AnnData object of its own.
pub(super) fn only_table(root: &store::Group) -> Result<store::Group> {
    let (mut tables, mut names) = (None, vec![]);
    for slot in ["tables", "table"] {
        if root.contains(slot) {
            let group = root.group(slot)?;
            names = group.names()?;
            tables = Some(group);
            break;
        }
    }
    match (tables, &names[..]) {
        (Some(tables), [name]) => tables.group(name),
        (_, names) => {
            let tables = match names {
                [] => "without tables".into(),
                names => format!("with the tables {}", names.join(", ")),
            };
            let hint = "`io::SpatialData::open(path)?` gives its elements by name";
            Err(root.error(format!("a SpatialData store {tables}")).with_hint(hint))
        }
    }
}

impl SpatialData {
    /// Opens a store: a folder, or a `.zip` of one (whose shapes and points cannot be read).
    ///
    /// # Errors
    /// [`Error::Io`] for a missing store, [`Error::Format`] when it is none of SpatialData.
    pub fn open(path: impl AsRef<Path>) -> Result<SpatialData> {
        SpatialData::open_path(path.as_ref())
    }

    fn open_path(path: &Path) -> Result<SpatialData> {
        let root = zarr::open(path)?;
        let mut names: [Vec<String>; 5] = Default::default();
        let slots = KINDS.map(|kind| if kind == "tables" { table_slot(&root) } else { kind });
        for (names, slot) in names.iter_mut().zip(slots) {
            if root.contains(slot) {
                *names = root.group(slot)?.names()?;
            }
        }
        if !is_spatialdata(&store::Group::from(root.clone())) {
            let has = root.names()?.join(", ");
            let reason = format!("not a SpatialData store: it has {has}");
            return Err(root.error(reason).with_hint("`io::read` finds out what it is"));
        }
        Ok(SpatialData { root, names })
    }

    /// The names of the images.
    pub fn image_names(&self) -> &[String] {
        &self.names[0]
    }

    /// The names of the pictures of labels.
    pub fn label_names(&self) -> &[String] {
        &self.names[1]
    }

    /// The names of the sets of points.
    pub fn point_names(&self) -> &[String] {
        &self.names[2]
    }

    /// The names of the sets of shapes.
    pub fn shape_names(&self) -> &[String] {
        &self.names[3]
    }

    /// The names of the tables.
    pub fn table_names(&self) -> &[String] {
        &self.names[4]
    }

    /// The table `name`. Which elements its rows are about is in `uns["spatialdata_attrs"]`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the tables; otherwise as [`read_zarr`](super::read_zarr).
    pub fn table(&self, name: &str) -> Result<AnnData> {
        read_elements(&self.element("tables", name)?.into(), &ReadOptions::default())
    }

    /// The image `name` in its size `scale`: 0 is the largest. Axes are `c, y, x` (or `c, z, y, x`).
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the images, [`Error::Parameter`] for a size there is not,
    /// [`Error::Format`] when it is damaged.
    pub fn image(&self, name: &str, scale: usize) -> Result<Raster> {
        raster::read(&self.element("images", name)?, scale)
    }

    /// The labels `name` in their size `scale`: for each pixel the number of the cell it is in, 0
    /// for none. Axes are `y, x` (or `z, y, x`).
    ///
    /// # Errors
    /// As [`image`](Self::image).
    pub fn labels(&self, name: &str, scale: usize) -> Result<Raster> {
        raster::read(&self.element("labels", name)?, scale)
    }

    /// The shapes `name`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the sets of shapes, [`Error::Format`] when they are damaged or
    /// of a kind other than points, polygons and multipolygons.
    pub fn shapes(&self, name: &str) -> Result<Shapes> {
        let group = self.element("shapes", name)?;
        shapes::read(&self.parquet(&group, "shapes.parquet")?, transform::of(&group)?)
    }

    /// The points `name` as a table that is ready to be read, whole or in blocks: `x`, `y` (and
    /// `z`), and what is known about each. The column of features (genes) is read as categories.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the sets of points, [`Error::Format`] when they are damaged.
    pub fn points(&self, name: &str) -> Result<Table> {
        let group = self.element("points", name)?;
        let table = Table::open(self.parquet(&group, "points.parquet")?)?;
        let feature =
            group.attributes.get("spatialdata_attrs").and_then(|a| a["feature_key"].as_str());
        let feature = feature.filter(|f| table.columns().iter().any(|c| c == f));
        Ok(match feature {
            Some(feature) => table.categories(&[feature]),
            None => table,
        })
    }

    /// For each coordinate system the transformation that takes the points `name` there.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn points_transforms(&self, name: &str) -> Result<Map<Transform>> {
        transform::of(&self.element("points", name)?)
    }

    fn element(&self, kind: &'static str, name: &str) -> Result<zarr::Group> {
        let names = &self.names[KINDS.iter().position(|&k| k == kind).unwrap_or(0)];
        if !names.iter().any(|n| n == name) {
            return Err(Error::missing_key("SpatialData", kind, name, names));
        }
        let slot = if kind == "tables" { table_slot(&self.root) } else { kind };
        self.root.group(slot)?.group(name)
    }

    fn parquet(&self, group: &zarr::Group, file: &str) -> Result<std::path::PathBuf> {
        let Some(folder) = group.folder() else {
            return Err(group
                .error("parquet files inside an archive are not read")
                .with_hint("Unpack it"));
        };
        let path = folder.join(file);
        if path.exists() {
            return Ok(path);
        }
        let older = "Write it again with spatialdata 0.1 or later, which use parquet";
        Err(group.error(format!("there is no {file}")).with_hint(older))
    }

    /// What kind an element is of, its name and its size in words.
    fn lines(&self) -> Vec<(&'static str, &str, String)> {
        let mut out = Vec::new();
        for (kind, names) in KINDS.into_iter().zip(&self.names) {
            for name in names {
                let size = self.size(kind, name).unwrap_or_else(|e| e.to_string());
                out.push((kind, name.as_str(), size));
            }
        }
        out
    }

    fn size(&self, kind: &'static str, name: &str) -> Result<String> {
        let group = self.element(kind, name)?;
        Ok(match kind {
            "images" | "labels" => raster::sizes(&group)?,
            "shapes" => rows(&self.parquet(&group, "shapes.parquet")?)?,
            "points" => rows(&self.parquet(&group, "points.parquet")?)?,
            _ => {
                let len = |axis: &str| -> Result<usize> {
                    let group = store::Group::from(group.group(axis)?);
                    read_elements_len(&group)
                };
                format!("AnnData {} × {}", len("obs")?, len("var")?)
            }
        })
    }
}

/// Before spatialdata 0.2 there was one table, in a group of another name.
fn table_slot(root: &zarr::Group) -> &'static str {
    if root.contains("tables") { "tables" } else { "table" }
}

fn rows(path: &Path) -> Result<String> {
    Ok(format!("{} rows", Table::open(path)?.n_rows()?))
}

/// Rows of a table of an AnnData object.
fn read_elements_len(group: &store::Group) -> Result<usize> {
    use store::Attributes;
    let index = group.attr_text("_index")?.unwrap_or_else(|| "_index".into());
    match group.get(&index)? {
        store::Node::Data(data) => data.len(),
        store::Node::Group(group) => group.data("values")?.len(),
    }
}

impl fmt::Display for SpatialData {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SpatialData object in {}", self.root.path().display())?;
        let mut last = "";
        for (kind, name, size) in self.lines() {
            if kind != last {
                write!(f, "\n  {kind}")?;
                last = kind;
            }
            write!(f, "\n    '{name}': {size}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SpatialData {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "SpatialData({})", self.root.path().display())
    }
}

impl Rich for SpatialData {
    fn bundle(&self) -> Result<Bundle> {
        let path = escape(&self.root.path().display().to_string());
        let mut html = format!("<div><b>SpatialData</b> <code>{path}</code></div><table>");
        for (kind, name, size) in self.lines() {
            let (name, size) = (escape(name), escape(&size));
            html.push_str(&format!("<tr><td>{kind}</td><th>{name}</th><td>{size}</td></tr>"));
        }
        html.push_str("</table>");
        Ok(Bundle::new().text(self.to_string()).html(html))
    }
}
notebook::shows_itself!(SpatialData);
