//! The HER2ST collection (Andersson et al. 2021): 36 sections of breast cancer in one folder.
//!
//! ```text
//! ST-cnts/A1.tsv.gz                         counts
//! ST-spotfiles/A1_selection.tsv             spots
//! ST-pat_lbl/A1_labeled_coordinates.tsv     labels, for some sections
//! ST-cluster_lbl/A1-cluster-annotation.tsv  clusters
//! ST-imgs/A/A1/….jpg or images/A1_….jpg     image
//! ```

use super::{LegacySt, files, stem};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::io::slide_image::SlideImage;
use std::path::{Path, PathBuf};

const COUNTS: &str = "ST-cnts";

/// The HER2ST collection, or whatever has its layout: sections by name.
///
/// ```no_run
/// use spatialkit::io::Her2st;
/// let collection = Her2st::open("her2st")?;
/// println!("{:?}", collection.sections());
/// let slide = collection.section("A1")?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Her2st {
    root: PathBuf,
    sections: Vec<(String, PathBuf)>,
}

impl Her2st {
    /// Lists the sections of a folder (the collection's, or the one above its `data`).
    ///
    /// # Errors
    /// [`Error::Format`] when there is no folder `ST-cnts` with counts in it.
    pub fn open(root: impl AsRef<Path>) -> Result<Self> {
        open(root.as_ref())
    }

    /// The names of the sections.
    pub fn sections(&self) -> Vec<String> {
        self.sections.iter().map(|s| s.0.clone()).collect()
    }

    /// Reads a section with whatever there is of it; see [`LegacySt::read`]. An image that is not
    /// the one the spots' pixels belong to is left out, which `metadata["image_left_out"]` of
    /// `uns["spatial"]` says: give its scale with [`files`](Self::files).
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the sections; those of [`LegacySt::read`].
    pub fn section(&self, name: &str) -> Result<AnnData> {
        self.files(name)?.read(self.counts(name)?)
    }

    /// The files of a section but its counts, to be read with other options:
    /// `her2st.files("A1")?.full_size(6954, 7435).read(her2st.counts("A1")?)`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the sections.
    pub fn files(&self, name: &str) -> Result<LegacySt> {
        self.counts(name)?;
        let find = |file: String| {
            let path = self.root.join(file);
            let gzipped = PathBuf::from(format!("{}.gz", path.display()));
            [path, gzipped].into_iter().find(|p| p.is_file())
        };
        Ok(LegacySt {
            spots: find(format!("ST-spotfiles/{name}_selection.tsv")),
            labels: find(format!("ST-pat_lbl/{name}_labeled_coordinates.tsv")),
            clusters: find(format!("ST-cluster_lbl/{name}-cluster-annotation.tsv")),
            image: self.image(name).map(SlideImage::new),
            image_if_placed: true,
            library_id: Some(name.into()),
            ..LegacySt::default()
        })
    }

    /// The file of a section's counts.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the sections.
    pub fn counts(&self, name: &str) -> Result<&Path> {
        let found = self.sections.iter().find(|s| s.0 == name);
        let missing = || Error::missing_key("HER2ST", "section", name, self.sections());
        found.map(|s| s.1.as_path()).ok_or_else(missing)
    }

    /// The largest picture that is named after the section or lies in a folder that is.
    fn image(&self, name: &str) -> Option<PathBuf> {
        let mut found: Vec<(u64, PathBuf)> = Vec::new();
        let mut folders: Vec<(PathBuf, usize)> =
            ["ST-imgs", "images"].map(|f| (self.root.join(f), 0)).to_vec();
        while let Some((folder, depth)) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let Ok(meta) = entry.metadata() else { continue };
                if meta.is_dir() && depth < 3 {
                    folders.push((path, depth + 1));
                } else if is_picture(&path) && (names(&path, name) || names(&folder, name)) {
                    found.push((meta.len(), path));
                }
            }
        }
        found.sort();
        found.pop().map(|f| f.1)
    }
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ["jpg", "jpeg", "png", "tif", "tiff"].contains(&ending.as_str())
}

/// Whether one of the words of a file's name is the section's.
fn names(path: &Path, section: &str) -> bool {
    let name = stem(path);
    name.split(|c: char| !c.is_alphanumeric()).any(|word| word == section)
}

fn open(root: &Path) -> Result<Her2st> {
    files::check_folder(root)?;
    let root = match root.join(COUNTS).is_dir() {
        true => root.to_path_buf(),
        false => root.join("data"),
    };
    let folder = root.join(COUNTS);
    let entries = std::fs::read_dir(&folder).map_err(|e| files::missing(&folder, e))?;
    let is_counts = |p: &PathBuf| {
        let name = p.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".tsv") || name.ends_with(".tsv.gz")
    };
    let paths = entries.flatten().map(|e| e.path()).filter(is_counts);
    let mut sections: Vec<(String, PathBuf)> = paths.map(|p| (stem(&p), p)).collect();
    sections.sort();
    if sections.is_empty() {
        return Err(Error::format(&folder, "there are no counts (*.tsv.gz) in this folder"));
    }
    Ok(Her2st { root, sections })
}

/// Reads a section by its file of counts, or the only section of a folder; `None` when neither lies
/// in such a collection.
pub(super) fn recognise(path: &Path) -> Result<Option<AnnData>> {
    if path.is_dir() {
        if !path.join(COUNTS).is_dir() && !path.join("data").join(COUNTS).is_dir() {
            return Ok(None);
        }
        let collection = open(path)?;
        return match collection.sections().as_slice() {
            [one] => collection.section(one).map(Some),
            many => Err(Error::format(path, format!("several sections: {}", many.join(", ")))
                .with_hint("Name one: `Her2st::open(folder)?.section(\"…\")`")),
        };
    }
    let folder = path.parent().filter(|f| f.file_name().is_some_and(|n| n == COUNTS));
    let Some(root) = folder.and_then(Path::parent) else { return Ok(None) };
    let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
    open(root)?.section(&stem(path)).map(Some)
}
