//! Spatial Transcriptomics as it was before Visium: 1,007 spots of 100 µm, 200 µm apart, named
//! after their column and row on the array.
//!
//! ```text
//! counts       a row a spot: `10x13` (column 10, row 13), a column a gene; or the other way round
//! spots        x, y            column and row
//!              new_x, new_y    the same, adjusted to where the spot was printed
//!              pixel_x, pixel_y   on the full-resolution image
//!              selected        whether it lies on tissue
//! labels       x, y            adjusted: rounded they are column and row
//!              label           what a pathologist saw
//! clusters     x, y, label     what an analysis found
//! ```

use super::files;
use super::slide_image::{SlideImage, stem, without_picture};
use super::table::{Table, TextMatrix};
use super::unmatched::{LeftOut, Unmatched, column_at};
use crate::anndata::{AnnData, Column, Dense, Frame, Map, Matrix, Value, Values};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

mod her2st;

pub use her2st::Her2st;

/// How to read a slide of legacy Spatial Transcriptomics.
///
/// ```no_run
/// use spatialkit::io::LegacySt;
/// let slide = LegacySt::default()
///     .spots("ST-spotfiles/A1_selection.tsv")
///     .labels("ST-pat_lbl/A1_labeled_coordinates.tsv")
///     .image("images/A1.jpg")
///     .read("ST-cnts/A1.tsv.gz")?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct LegacySt {
    spots: Option<PathBuf>,
    labels: Option<PathBuf>,
    clusters: Option<PathBuf>,
    image: Option<SlideImage>,
    /// Whether a picture whose scale is not known is left out rather than refused.
    image_if_placed: bool,
    library_id: Option<String>,
    unmatched: Unmatched,
}

impl LegacySt {
    /// The table of spots, `*_selection.tsv` or `spot_data-selection-*.tsv`.
    pub fn spots(mut self, path: impl AsRef<Path>) -> Self {
        self.spots = Some(path.as_ref().into());
        self
    }

    /// The table of labels, for `obs["label"]`.
    pub fn labels(mut self, path: impl AsRef<Path>) -> Self {
        self.labels = Some(path.as_ref().into());
        self
    }

    /// The table of clusters, for `obs["cluster"]`.
    pub fn clusters(mut self, path: impl AsRef<Path>) -> Self {
        self.clusters = Some(path.as_ref().into());
        self
    }

    /// The image: that of the spots' pixels, or a smaller one with [`full_size`](Self::full_size)
    /// or [`image_scale`](Self::image_scale).
    pub fn image(mut self, path: impl AsRef<Path>) -> Self {
        let old = self.image.take();
        let image = SlideImage::new(path.as_ref());
        let (scale, full_size) = old.map_or((None, None), |o| (o.scale, o.full_size));
        self.image = Some(SlideImage { scale, full_size, ..image });
        self.image_if_placed = false;
        self
    }

    /// Width and height of the image that the spots' pixels belong to, where the image given is a
    /// smaller one.
    pub fn full_size(mut self, width: usize, height: usize) -> Self {
        self.image.get_or_insert_with(|| SlideImage::new("")).full_size = Some((width, height));
        self
    }

    /// Pixels of the image given for a pixel of the spots.
    pub fn image_scale(mut self, scale: f64) -> Self {
        self.image.get_or_insert_with(|| SlideImage::new("")).scale = Some(scale);
        self
    }

    /// The key under `uns["spatial"]`; by default the name of the counts' file.
    pub fn library_id(mut self, id: impl Into<String>) -> Self {
        self.library_id = Some(id.into());
        self
    }

    /// What becomes of spots that have counts and no entry in the table of spots, or an entry and
    /// no counts.
    pub fn unmatched(mut self, rule: Unmatched) -> Self {
        self.unmatched = rule;
        self
    }

    /// Reads the counts and what was named beside them:
    /// * `X`: counts, CSR in `float32` (as scanpy's readers of text have them, without the zeros);
    ///   spots named as in the file
    /// * `obs`: `array_row`, `array_col`; with spots `in_tissue` (the column `selected`), `new_x`,
    ///   `new_y`; with labels `label`; with clusters `cluster` and the table's other columns
    /// * `obsm["spatial"]`: (x, y) in pixels of the full-resolution image; without a table of spots
    ///   column and row
    /// * `uns["spatial"][library]`: with spots; `images["hires"]` of at most 2000 pixels a side,
    ///   `tissue_hires_scalef`, `spot_diameter_fullres` (half of the median distance between
    ///   neighbours: 100 µm of 200 µm), and where the image came from
    /// * `uns["unmatched"]`: by file, the names of spots that were left out
    ///
    /// As in the authors' code, spots that are not in both counts and table are left out; see
    /// [`unmatched`](Self::unmatched). Labels and clusters never leave a spot out: without one it
    /// has a missing value.
    ///
    /// # Errors
    /// [`Error::Format`] for counts whose spots are not named like `10x13`, a spot that stands
    /// twice, files without a spot in common, malformed tables, and an image that cannot be placed.
    pub fn read(&self, counts: impl AsRef<Path>) -> Result<AnnData> {
        self.read_path(counts.as_ref())
    }

    fn read_path(&self, path: &Path) -> Result<AnnData> {
        let counts = TextMatrix::read_counts(path)?;
        let by_columns = spot_names(counts.rows()) < spot_names(&counts.columns);
        let (names, genes, x) = counts.into_counts(by_columns)?;
        let spots = Spots::of_names(path, &names)?;

        let mut left = LeftOut::default();
        let library = self.library_id.clone().unwrap_or_else(|| stem(path));
        let Some(table_path) = &self.spots else {
            let mut adata = AnnData::new(x, Frame::new(names), Frame::new(genes))?;
            let all: Vec<usize> = (0..adata.n_obs()).collect();
            spots.array(&mut adata, &all)?;
            let xy = spots.at.iter().flat_map(|&(x, y)| [x, y]).collect();
            set_spatial(&mut adata, xy)?;
            self.annotate(&mut adata, &spots.at, &mut left)?;
            left.store(&mut adata);
            return Ok(adata);
        };
        let table = Table::open(table_path)?.read()?;
        let (known, adjusted) = Spots::of_table(table_path, &table, &spots)?;
        let rows: Vec<Option<usize>> = spots.at.iter().map(|s| known.row(*s)).collect();

        let with = |i: &usize| rows[*i].is_some();
        let keep: Vec<usize> = (0..rows.len()).filter(with).collect();
        let without = (0..rows.len()).filter(|i| !with(i)).map(|i| names[i].as_str());
        let without: Vec<&str> = without.collect();
        left.note(path, without, names.len(), "entry in the table of spots", self.unmatched)?;
        let listed: Vec<String> = known.names();
        let lack = |i: &usize| spots.row(known.at[*i]).is_none();
        let without = (0..listed.len()).filter(lack).map(|i| listed[i].as_str()).collect();
        left.note(table_path, without, listed.len(), "counts", self.unmatched)?;
        if keep.is_empty() {
            let (a, b) = (&names, &listed);
            let example = |n: &[String]| n.first().cloned().unwrap_or_default();
            let reason =
                format!("none of its spots is in the counts ({}, {})", example(b), example(a));
            return Err(Error::format(table_path, reason)
                .with_hint("Are the two files of the same section?"));
        }

        let names = keep.iter().map(|&i| names[i].clone()).collect();
        let x = if keep.len() == x.nrows() { x } else { x.take_rows(&keep) };
        let mut adata = AnnData::new(x, Frame::new(names), Frame::new(genes))?;
        let rows: Vec<usize> = keep.iter().filter_map(|&i| rows[i]).collect();
        let table = table.take(&rows);
        // The array's columns and rows are whole numbers even where the counts' names are not.
        let array = Spots::numbered(table_path, &table, ["x", "y"])?;
        let all: Vec<usize> = (0..rows.len()).collect();
        array.array(&mut adata, &all)?;
        for (from, to) in [("selected", "in_tissue"), ("new_x", "new_x"), ("new_y", "new_y")] {
            if let Some(column) = table.get(from) {
                adata.obs.insert(to, column.clone())?;
            }
        }
        let pixels = table.contains("pixel_x");
        let place = if pixels { ["pixel_x", "pixel_y"] } else { adjusted };
        let place = Spots::numbered(table_path, &table, place)?.at;
        set_spatial(&mut adata, place.iter().flat_map(|&(x, y)| [x, y]).collect())?;
        let keys: Vec<(f64, f64)> = keep.iter().map(|&i| spots.at[i]).collect();
        self.annotate(&mut adata, &keys, &mut left)?;
        if pixels {
            let entry = self.library(&array.at, &place)?;
            adata.uns.insert("spatial".into(), Value::Map(Map::from([(library, entry)])));
        }
        left.store(&mut adata);
        Ok(adata)
    }

    /// Labels and clusters, joined by rounded column and row.
    fn annotate(&self, adata: &mut AnnData, keys: &[(f64, f64)], left: &mut LeftOut) -> Result<()> {
        for (path, key) in [(&self.labels, "label"), (&self.clusters, "cluster")] {
            let Some(path) = path else { continue };
            let table = Table::open(path)?.read()?;
            let mut known = Spots::numbered(path, &table, ["x", "y"])?;
            known.at.iter_mut().for_each(|at| *at = rounded(*at));
            known.index(path)?;
            let spots = Spots::indexed(keys.iter().map(|&k| rounded(k)).collect());
            let rows: Vec<Option<usize>> = spots.at.iter().map(|&s| known.row(s)).collect();
            if rows.iter().all(Option::is_none) {
                return Err(Error::format(path, "none of its spots is in the counts")
                    .with_hint("Are the two files of the same section?"));
            }
            let names = known.names();
            let lack = |i: &usize| spots.row(known.at[*i]).is_none();
            let without = (0..names.len()).filter(lack).map(|i| names[i].as_str()).collect();
            left.note(path, without, names.len(), "counts", Unmatched::Drop)?;
            let places = ["x", "y", "pixel_x", "pixel_y", "Row.names", ""];
            for (name, column) in table.columns() {
                if name == "label" {
                    let labels = column_at(column, &rows).to_categorical();
                    adata.obs.insert(key, labels)?;
                } else if !places.contains(&name) && !name.starts_with("Unnamed") {
                    adata.obs.insert(name, column_at(column, &rows))?;
                }
            }
            if !table.contains("label") {
                let has = table.columns().map(|c| c.0).collect::<Vec<_>>().join(", ");
                return Err(Error::format(path, format!("no column `label`; it has: {has}")));
            }
        }
        Ok(())
    }

    /// The entry of `uns["spatial"]`.
    fn library(&self, array: &[(f64, f64)], pixels: &[(f64, f64)]) -> Result<Value> {
        let diameter = pitch(array, pixels).map(|p| p / 2.0);
        let largest = |f: fn(&(f64, f64)) -> f64| pixels.iter().map(f).fold(0.0, f64::max);
        let reach = (largest(|p| p.0), largest(|p| p.1));
        let Some(image) = self.image.as_ref().filter(|i| !i.path.as_os_str().is_empty()) else {
            return Ok(without_picture(diameter, Map::new()));
        };
        match image.library(reach, diameter) {
            Err(Error::Format { reason, .. }) if self.image_if_placed => {
                let path = image.path.display().to_string();
                let notes = [("source_image_path", path), ("image_left_out", reason)];
                let notes = notes.map(|(k, v)| (k.to_string(), Value::Str(v)));
                Ok(without_picture(diameter, Map::from(notes)))
            }
            other => other,
        }
    }
}

/// Reads counts of legacy Spatial Transcriptomics without anything beside them; see
/// [`LegacySt::read`].
///
/// # Errors
/// As [`LegacySt::read`].
pub fn read_st(counts: impl AsRef<Path>) -> Result<AnnData> {
    LegacySt::default().read(counts)
}

fn set_spatial(adata: &mut AnnData, xy: Vec<f64>) -> Result<()> {
    let spatial = Dense::new(adata.n_obs(), 2, xy)?;
    adata.obsm.insert("spatial".into(), Matrix::Dense(spatial));
    Ok(())
}

/// Column and row in a name like `10x13`, also behind a prefix: `A1_10x13`.
pub(super) fn spot(name: &str) -> Option<(f64, f64)> {
    let own = name.rsplit('_').next().unwrap_or(name);
    let (x, y) = own.split_once('x')?;
    let number = |s: &str| s.parse().ok().filter(|x: &f64| x.is_finite());
    Some((number(x)?, number(y)?))
}

/// How many of the first names are those of spots.
fn spot_names(names: &[String]) -> usize {
    names.iter().take(1000).filter(|n| spot(n).is_some()).count()
}

fn rounded((x, y): (f64, f64)) -> (f64, f64) {
    (x.round_ties_even(), y.round_ties_even())
}

/// Distance between neighbours on the array, in pixels: the median.
fn pitch(array: &[(f64, f64)], pixels: &[(f64, f64)]) -> Option<f64> {
    let spots = Spots::indexed(array.to_vec());
    let mut distances = Vec::new();
    for (i, &(x, y)) in array.iter().enumerate() {
        for next in [(x + 1.0, y), (x, y + 1.0)] {
            if let Some(j) = spots.row(next) {
                distances.push((pixels[i].0 - pixels[j].0).hypot(pixels[i].1 - pixels[j].1));
            }
        }
    }
    distances.retain(|d| d.is_finite() && *d > 0.0);
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied()
}

/// Spots by column and row.
struct Spots {
    at: Vec<(f64, f64)>,
    rows: HashMap<(u64, u64), usize>,
}

fn key((x, y): (f64, f64)) -> (u64, u64) {
    // -0 is 0.
    ((x + 0.0).to_bits(), (y + 0.0).to_bits())
}

impl Spots {
    fn indexed(at: Vec<(f64, f64)>) -> Spots {
        let rows = at.iter().enumerate().map(|(i, &s)| (key(s), i)).collect();
        Spots { at, rows }
    }

    /// Indexes the spots again, each of which may stand once; those without a place do not count.
    fn index(&mut self, path: &Path) -> Result<()> {
        self.rows.clear();
        for (i, &(x, y)) in self.at.iter().enumerate() {
            if x.is_nan() || y.is_nan() {
                continue;
            }
            if let Some(before) = self.rows.insert(key((x, y)), i) {
                let reason = format!("spot {x}x{y} stands in rows {} and {}", before + 1, i + 1);
                return Err(Error::format(path, reason));
            }
        }
        Ok(())
    }

    fn of_names(path: &Path, names: &[String]) -> Result<Spots> {
        let at = names.iter().enumerate().map(|(i, name)| {
            spot(name).ok_or_else(|| {
                let reason =
                    format!("row {}: `{name}` is not the name of a spot, as `10x13`", i + 1);
                Error::format(path, reason).with_hint(
                    "Other tables of counts are read with `SpatialTables`, with their coordinates",
                )
            })
        });
        let mut spots = Spots { at: at.collect::<Result<_>>()?, rows: HashMap::new() };
        spots.index(path)?;
        Ok(spots)
    }

    fn numbered(path: &Path, table: &Frame, [x, y]: [&str; 2]) -> Result<Spots> {
        let numbers = |name: &str| {
            table.get(name).and_then(Column::to_f64).ok_or_else(|| {
                let has = table.columns().map(|c| c.0).collect::<Vec<_>>().join(", ");
                Error::format(path, format!("no column of numbers `{name}`; it has: {has}"))
            })
        };
        Ok(Spots { at: numbers(x)?.into_iter().zip(numbers(y)?).collect(), rows: HashMap::new() })
    }

    /// The spots of a table by whichever pair of columns the counts are named after, and the most
    /// exact place on the array that it states.
    fn of_table<'a>(path: &Path, table: &Frame, counts: &Spots) -> Result<(Spots, [&'a str; 2])> {
        let mut spots = Spots::numbered(path, table, ["x", "y"])?;
        let (mut exact, adjusted) = (["x", "y"], ["new_x", "new_y"]);
        if adjusted.iter().all(|c| table.contains(c)) {
            exact = adjusted;
            let whole = |&&(x, y): &&(f64, f64)| x.fract() == 0.0 && y.fract() == 0.0;
            if !counts.at.iter().all(|s| whole(&s)) {
                spots = Spots::numbered(path, table, adjusted)?;
            }
        }
        spots.index(path)?;
        Ok((spots, exact))
    }

    fn row(&self, spot: (f64, f64)) -> Option<usize> {
        self.rows.get(&key(spot)).copied()
    }

    fn names(&self) -> Vec<String> {
        self.at.iter().map(|(x, y)| format!("{x}x{y}")).collect()
    }

    /// `array_row` and `array_col` of the spots at `rows`.
    fn array(&self, adata: &mut AnnData, rows: &[usize]) -> Result<()> {
        let column = |f: fn(&(f64, f64)) -> f64| {
            let v: Vec<f64> = rows.iter().map(|&i| f(&self.at[i])).collect();
            match v.iter().all(|x| x.fract() == 0.0) {
                true => Values::I64(v.iter().map(|&x| x as i64).collect()),
                false => Values::F64(v),
            }
        };
        adata.obs.insert("array_row", Column::Values(column(|s| s.1)))?;
        adata.obs.insert("array_col", Column::Values(column(|s| s.0)))
    }
}

/// Reads a section of a collection, or a file of counts whose rows or columns are named after spots;
/// `None` for everything else.
pub(super) fn recognise(path: &Path) -> Result<Option<AnnData>> {
    if let Some(section) = her2st::recognise(path)? {
        return Ok(Some(section));
    }
    let named = |(row, columns): (String, Vec<String>)| {
        let all = columns.iter().take(3).all(|c| spot(c).is_some());
        !columns.is_empty() && (spot(&row).is_some() || all)
    };
    let counts = path.is_file() && TextMatrix::first_names(path).is_ok_and(named);
    if counts { read_st(path).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests;
