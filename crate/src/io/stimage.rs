//! The STimage-1K4M collection (Chen et al. 2024) in a local copy: 1,149 slides in one layout.
//!
//! ```text
//! meta/meta_all_gene*.csv            slide, species, tissue, pmid, title, abstract, keywords,
//!                                    involve_cancer, tech, spot_num, gene_num
//! TECH/gene_exp/SLIDE_count.csv      counts, a row a spot: SLIDE_10x13
//! TECH/coord/SLIDE_coord.csv         of each spot yaxis, xaxis and r, its radius, in pixels of
//! TECH/image/SLIDE.png               the image (PNG, JPEG or TIFF, whatever it is called)
//! annotation/SLIDE_anno.csv          a pathologist's label for each spot, of some slides
//! ```
//!
//! `TECH` is `ST`, `Visium` or `VisiumHD`. A copy need not be whole: what is there is what is read.

use super::files;
use super::slide_image::{SlideImage, stem, without_picture};
use super::spatial_tables::SpatialTables;
use super::table::Table;
use super::unmatched::Unmatched;
use crate::anndata::{AnnData, Column, Frame, Map, Value};
use crate::error::{Error, Result};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

const TECHNOLOGIES: [&str; 3] = ["ST", "Visium", "VisiumHD"];

/// A copy of STimage-1K4M, or the part of it that a filter left.
///
/// ```no_run
/// use spatialkit::io::{StImage, StImageFilter};
/// let collection = StImage::open("STimage-1K4M")?;
/// let breast = collection.filter(&StImageFilter::default().species("human").tissue("breast"))?;
/// let slide = breast.slide(&breast.slides()[0])?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct StImage {
    root: PathBuf,
    catalogue: Frame,
    load_images: bool,
    side: usize,
    unmatched: Unmatched,
}

/// Which slides of a collection: those that have everything that is named. Upper and lower case
/// are the same.
#[derive(Debug, Clone, Default)]
pub struct StImageFilter {
    wanted: Vec<(&'static str, String)>,
}

impl StImageFilter {
    /// `ST`, `Visium` or `VisiumHD`.
    pub fn technology(self, technology: impl Into<String>) -> Self {
        self.want("tech", technology.into())
    }

    /// E.g. `human`, `mouse`.
    pub fn species(self, species: impl Into<String>) -> Self {
        self.want("species", species.into())
    }

    /// E.g. `breast`, `brain`.
    pub fn tissue(self, tissue: impl Into<String>) -> Self {
        self.want("tissue", tissue.into())
    }

    /// The study: the series (`GSE144239`), or the name in the slide's name (`Andersson`).
    pub fn study(self, study: impl Into<String>) -> Self {
        self.want("study", study.into())
    }

    fn want(mut self, column: &'static str, value: String) -> Self {
        self.wanted.push((column, value));
        self
    }
}

impl StImage {
    /// Lists a copy of the collection. No file is opened but the one of metadata.
    ///
    /// # Errors
    /// [`Error::Format`] when there are neither metadata nor folders of a technology.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        open(root.as_ref())
    }

    /// Whether slides come with their image (default: yes).
    pub fn load_images(mut self, load: bool) -> Self {
        self.load_images = load;
        self
    }

    /// The longest side of the image that a slide keeps (default 2000 pixels).
    pub fn image_size(mut self, side: usize) -> Self {
        self.side = side;
        self
    }

    /// What becomes of spots that have counts and no coordinates, or coordinates and no counts.
    pub fn unmatched(mut self, rule: Unmatched) -> Self {
        self.unmatched = rule;
        self
    }

    /// The slides, a row each, named after the slide:
    /// * from the metadata `species`, `tissue`, `tech`, `involve_cancer`, `spot_num`, `gene_num`,
    ///   `pmid`, `title`, `abstract`, `keywords`; without metadata, the first three from the name
    /// * `study`: the series or the author in the slide's name
    /// * `counts`, `coordinates`, `image`, `annotation`: files, missing where the copy has none
    pub fn catalogue(&self) -> &Frame {
        &self.catalogue
    }

    /// The names of the slides.
    pub fn slides(&self) -> &[String] {
        self.catalogue.names()
    }

    /// The slides whose counts and coordinates are in this copy.
    pub fn available(&self) -> StImage {
        let has =
            |i: usize| self.file("counts", i).is_some() && self.file("coordinates", i).is_some();
        let keep: Vec<usize> = (0..self.catalogue.len()).filter(|&i| has(i)).collect();
        StImage { catalogue: self.catalogue.take(&keep), ..self.clone() }
    }

    /// The slides that have what the filter names.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, with the values that there are.
    pub fn filter(&self, filter: &StImageFilter) -> Result<StImage> {
        let mut keep: Vec<usize> = (0..self.catalogue.len()).collect();
        for (column, value) in &filter.wanted {
            let texts = |i: usize| self.catalogue.get(column).and_then(|c| c.text(i));
            let values: BTreeSet<String> = keep.iter().filter_map(|&i| texts(i)).collect();
            keep.retain(|&i| texts(i).is_some_and(|t| t.eq_ignore_ascii_case(value)));
            if keep.is_empty() {
                let values: Vec<String> = values.into_iter().collect();
                let reason = format!("no slide has `{value}`; there is: {}", values.join(", "));
                return Err(Error::data(format!("{column} of the collection"), reason));
            }
        }
        Ok(StImage { catalogue: self.catalogue.take(&keep), ..self.clone() })
    }

    /// Reads a slide:
    /// * `X`: counts, CSR in `float32`; spots named as in the files
    /// * `obsm["spatial"]`: (x, y) in pixels of the image
    /// * `obs["r"]`: the spot's radius in pixels; with a pathologist's labels `label` (the
    ///   collection's column `V2`) and the other columns of that table, missing for spots without
    /// * `uns["spatial"][slide]`: `images["hires"]`, `tissue_hires_scalef`,
    ///   `spot_diameter_fullres` (twice the median radius); in `metadata` the path and size of the
    ///   whole image and what the catalogue knows of the slide
    /// * `uns["unmatched"]`: see [`Unmatched`]
    ///
    /// The image is decoded whole, and kept in a smaller version.
    ///
    /// # Errors
    /// [`Error::MissingKey`] when there is no such slide, [`Error::Format`] when its counts or
    /// coordinates are not in this copy, and those of [`SpatialTables::read`].
    pub fn slide(&self, name: &str) -> Result<AnnData> {
        let alike = || {
            let stem: String = name.chars().take(5).collect();
            let alike = self.slides().iter().filter(|s| s.starts_with(&stem)).take(10);
            let some: Vec<&String> = alike.collect();
            if some.is_empty() { self.slides().iter().take(5).collect() } else { some }
        };
        let i = self.slides().iter().position(|s| s == name);
        let i = i.ok_or_else(|| Error::missing_key("STimage-1K4M", "slide", name, alike()))?;
        let need = |column: &str, folder: &str, ending: &str| {
            self.file(column, i).ok_or_else(|| {
                let tech = self.catalogue.get("tech").and_then(|c| c.text(i));
                let path = self.root.join(tech.unwrap_or_default()).join(folder);
                Error::format(path.join(format!("{name}{ending}")), "is not in this copy")
                    .with_hint("Download it there, or see `available()` for what can be read")
            })
        };
        let mut tables = SpatialTables::default()
            .counts(need("counts", "gene_exp", "_count.csv")?)
            .coordinates(need("coordinates", "coord", "_coord.csv")?)
            .xy(&["xaxis", "yaxis"])
            .unmatched(self.unmatched);
        if let Some(path) = self.file("annotation", i) {
            tables = tables.metadata(path);
        }
        let mut adata = tables.read()?;
        if let Some(labels) = adata.obs.remove("V2") {
            adata.obs.insert("label", labels.to_categorical())?;
        }
        let entry = self.library(&adata, i)?;
        adata.uns.insert("spatial".into(), Value::Map(Map::from([(name.into(), entry)])));
        Ok(adata)
    }

    /// The entry of `uns["spatial"]`.
    fn library(&self, adata: &AnnData, i: usize) -> Result<Value> {
        let radii = adata.obs.get("r").and_then(Column::to_f64).unwrap_or_default();
        let mut radii: Vec<f64> = radii.into_iter().filter(|r| *r > 0.0).collect();
        radii.sort_by(f64::total_cmp);
        let diameter = radii.get(radii.len() / 2).map(|r| 2.0 * r);
        let mut entry = match self.file("image", i).filter(|_| self.load_images) {
            Some(path) => {
                let image =
                    SlideImage { side: self.side, scale: Some(1.0), ..SlideImage::new(path) };
                image.library((0.0, 0.0), diameter)?
            }
            None => without_picture(diameter, Map::new()),
        };
        let metadata = entry.as_map_mut().and_then(|e| e.get_mut("metadata")?.as_map_mut());
        if let Some(metadata) = metadata {
            for (key, column) in self.catalogue.columns() {
                let is_file = ["counts", "coordinates", "image", "annotation"].contains(&key);
                if let Some(text) = column.text(i).filter(|_| !is_file) {
                    metadata.insert(key.into(), text.into());
                }
            }
        }
        Ok(entry)
    }

    fn file(&self, column: &str, i: usize) -> Option<String> {
        self.catalogue.get(column)?.text(i)
    }
}

fn open(root: &Path) -> Result<StImage> {
    files::check_folder(root)?;
    let listing = Listing::of(root);
    let known = match newest_metadata(root) {
        Some(path) => read_metadata(&path)?,
        None => Frame::default(),
    };
    let listed: HashSet<&str> = known.names().iter().map(String::as_str).collect();
    let mut others: Vec<&String> =
        listing.technology.keys().filter(|s| !listed.contains(s.as_str())).collect();
    others.sort();
    let names: Vec<String> = known.names().iter().chain(others).cloned().collect();
    if names.is_empty() {
        let reason = "not a copy of STimage-1K4M: looked for meta/meta_all_gene*.csv and for counts \
                      in {ST,Visium,VisiumHD}/gene_exp";
        return Err(Error::format(root, reason));
    }
    let n = known.len();
    let mut catalogue = Frame::new(names);
    let rows: Vec<Option<usize>> = (0..catalogue.len()).map(|i| (i < n).then_some(i)).collect();
    for (name, column) in known.columns() {
        catalogue.insert(name, super::unmatched::column_at(column, &rows))?;
    }
    listing.complete(&mut catalogue)?;
    let side = 2000;
    let unmatched = Unmatched::default();
    Ok(StImage { root: root.into(), catalogue, load_images: true, side, unmatched })
}

/// The table of metadata with the latest date in its name (month, day, year).
fn newest_metadata(root: &Path) -> Option<PathBuf> {
    let date = |path: &PathBuf| {
        let name = stem(path);
        let digits = name.strip_prefix("meta_all_gene")?.to_string();
        let whole = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
        Some(if whole { format!("{}{}", &digits[4..], &digits[..4]) } else { String::new() })
    };
    let entries = std::fs::read_dir(root.join("meta")).into_iter().flatten().flatten();
    let tables = entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "csv"));
    tables.filter_map(|p| Some((date(&p)?, p))).max().map(|t| t.1)
}

fn read_metadata(path: &Path) -> Result<Frame> {
    let table = Table::open(path)?;
    let texts: Vec<&str> = ["slide", "pmid"]
        .into_iter()
        .filter(|name| table.columns().iter().any(|c| c == name))
        .collect();
    let mut table = table.clone().text(&texts).read()?;
    let Some(slides) = table.remove("slide") else {
        let has = table.columns().map(|c| c.0).collect::<Vec<_>>().join(", ");
        return Err(Error::format(path, format!("no column `slide`; it has: {has}")));
    };
    let names: Vec<String> = (0..table.len()).map(|i| slides.text(i).unwrap_or_default()).collect();
    super::unmatched::places(path, names.iter().map(String::as_str))?;
    let mut frame = Frame::new(names);
    for (name, column) in table.columns() {
        // Read as it stands, an absent number is an empty text.
        let column = match column {
            Column::Str(v) => {
                Column::Str(v.iter().map(|t| t.clone().filter(|t| !t.is_empty())).collect())
            }
            other => other.clone(),
        };
        frame.insert(name, column)?;
    }
    Ok(frame)
}

/// What a copy has, from the names of its files.
#[derive(Default)]
struct Listing {
    /// The technology of each slide that has counts or coordinates.
    technology: HashMap<String, &'static str>,
    /// Files by column of the catalogue and slide.
    files: HashMap<(&'static str, String), PathBuf>,
}

impl Listing {
    fn of(root: &Path) -> Listing {
        let mut listing = Listing::default();
        for technology in TECHNOLOGIES {
            let folder = root.join(technology);
            for (column, inner, endings) in [
                ("counts", "gene_exp", ["_count.csv", "_count.csv.gz"].as_slice()),
                ("coordinates", "coord", &["_coord.csv", "_coord.csv.gz"]),
                ("image", "image", &[".png", ".jpg", ".jpeg", ".tif", ".tiff"]),
            ] {
                for slide in listing.add(&folder.join(inner), column, endings) {
                    if column != "image" {
                        listing.technology.insert(slide, technology);
                    }
                }
            }
        }
        listing.add(&root.join("annotation"), "annotation", &["_anno.csv", "_anno.csv.gz"]);
        listing
    }

    /// Adds the files of a folder and returns their slides.
    fn add(&mut self, folder: &Path, column: &'static str, endings: &[&str]) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut slides = vec![];
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(slide) = endings.iter().find_map(|e| name.strip_suffix(e)) {
                self.files.insert((column, slide.to_string()), entry.path());
                slides.push(slide.to_string());
            }
        }
        slides
    }

    /// Adds files, studies and, where metadata are missing, what the names say.
    fn complete(&self, catalogue: &mut Frame) -> Result<()> {
        let names = catalogue.names().to_vec();
        let each =
            |f: &dyn Fn(&str) -> Option<String>| Column::Str(names.iter().map(|n| f(n)).collect());
        let named = [
            ("species", each(&|n| words(n).map(|w| w[0].to_lowercase()))),
            ("tissue", each(&|n| words(n).map(|w| w[1].to_lowercase()))),
            ("tech", each(&|n| self.technology.get(n).map(|t| t.to_string()))),
        ];
        for (key, fallback) in named {
            let merged = match catalogue.get(key) {
                None => fallback,
                Some(stated) => {
                    let either = |i| stated.text(i).or_else(|| fallback.text(i));
                    Column::Str((0..names.len()).map(either).collect())
                }
            };
            catalogue.insert(key, merged)?;
        }
        catalogue.insert("study", each(&study))?;
        for column in ["counts", "coordinates", "image", "annotation"] {
            let file = |n: &str| self.files.get(&(column, n.to_string()));
            let path = |n: &str| file(n).map(|p| p.display().to_string());
            catalogue.insert(column, each(&path))?;
        }
        Ok(())
    }
}

/// The words of a name like `Human_Breast_Andersson_10142021_ST_A1`; none of a series' name.
fn words(slide: &str) -> Option<Vec<&str>> {
    let words: Vec<&str> = slide.split('_').collect();
    let is_date = |w: &&str| w.len() == 8 && w.bytes().all(|b| b.is_ascii_digit());
    (words.len() >= 4 && words.get(3).is_some_and(is_date)).then_some(words)
}

fn study(slide: &str) -> Option<String> {
    match words(slide) {
        Some(words) => Some(words[2].to_string()),
        None => slide.split('_').next().filter(|w| w.starts_with("GSE")).map(str::to_string),
    }
}

/// Reads a slide by its file of counts, where it lies in a copy of the collection; `None` for
/// everything else.
///
/// # Errors
/// Of a folder with the collection's layout: it has many slides.
pub(super) fn recognise(path: &Path) -> Result<Option<AnnData>> {
    if path.is_dir() {
        if !TECHNOLOGIES.iter().any(|t| path.join(t).join("gene_exp").is_dir()) {
            return Ok(None);
        }
        let n = open(path)?.slides().len();
        return Err(Error::format(path, format!("STimage-1K4M with {n} slides"))
            .with_hint("Name one: `StImage::open(folder)?.slide(\"…\")`"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let slide = name.strip_suffix(".gz").unwrap_or(&name).strip_suffix("_count.csv");
    let folder = path.parent().filter(|f| f.file_name().is_some_and(|n| n == "gene_exp"));
    let technology = folder.and_then(Path::parent);
    let known = |f: &&Path| f.file_name().is_some_and(|n| TECHNOLOGIES.iter().any(|t| n == *t));
    let root = technology.filter(known).and_then(Path::parent);
    let (Some(slide), Some(root)) = (slide, root) else { return Ok(None) };
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    open(root)?.slide(slide).map(Some)
}

#[cfg(test)]
mod tests;
