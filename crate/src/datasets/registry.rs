//! Which public slides there are, and from where their files come (`registry.tsv`).

use super::Downloads;
use super::unpack;
use crate::anndata::{AnnData, Categorical, Column, Frame};
use crate::error::{Error, Result};
use crate::io;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const REGISTRY: &str = include_str!("registry.tsv");

/// A file of a slide.
struct Entry {
    collection: &'static str,
    /// `*` for a file of all slides.
    slide: &'static str,
    file: &'static str,
    bytes: Option<u64>,
    sha256: Option<&'static str>,
    urls: Vec<String>,
}

/// An address of which the registry abbreviates the beginning, whole.
fn whole(url: &str) -> String {
    let (name, rest) = url.split_once(':').unwrap_or(("", url));
    let mut short = REGISTRY.lines().filter_map(|l| l.strip_prefix('@')?.split_once('\t'));
    let start = short.find(|(short, _)| *short == name).map_or("", |(_, long)| long);
    format!("{start}{rest}")
}

fn entries() -> impl Iterator<Item = Entry> {
    let lines = REGISTRY.lines().filter(|l| !l.starts_with(['#', '@']));
    lines.filter_map(|line| {
        let mut fields = line.split('\t');
        Some(Entry {
            collection: fields.next()?,
            slide: fields.next()?,
            file: fields.next()?,
            bytes: fields.next()?.parse().ok(),
            sha256: fields.next().filter(|s| s.len() == 64),
            urls: fields.map(whole).collect(),
        })
    })
}

/// The slides that can be downloaded, a row each, named as the functions take them: `collection`
/// (the function), `files`, and `bytes` where they are known for all of them.
///
/// The slides of STimage-1K4M are in its own catalogue; see [`stimage`](super::stimage).
pub fn list() -> Frame {
    let mut rows: Vec<(&str, &str, i64, Option<u64>)> = Vec::new();
    for e in entries().filter(|e| e.slide != "*") {
        match rows.last_mut().filter(|r| (r.0, r.1) == (e.collection, e.slide)) {
            Some(row) => {
                row.2 += 1;
                row.3 = row.3.zip(e.bytes).map(|(a, b)| a + b);
            }
            None => rows.push((e.collection, e.slide, 1, e.bytes)),
        }
    }
    let mut out = Frame::new(rows.iter().map(|r| r.1.to_string()).collect());
    let collections: Vec<Option<&str>> = rows.iter().map(|r| Some(r.0)).collect();
    let bytes = Column::Nullable {
        values: rows.iter().map(|r| r.3.unwrap_or(0) as i64).collect::<Vec<_>>().into(),
        missing: rows.iter().map(|r| r.3.is_none()).collect(),
    };
    let files: Vec<i64> = rows.iter().map(|r| r.2).collect();
    let columns = [
        ("collection", Categorical::from_labels(&collections).into()),
        ("files", files.into()),
        ("bytes", bytes),
    ];
    for (name, column) in columns {
        out.insert(name, column).expect("a column of as many rows");
    }
    out
}

/// The published checkpoints of SpatialFormer, and their numbers at figshare.
const CHECKPOINTS: [(&str, u32); 4] = [
    ("single_input", 52503695),
    ("61slides", 52503416),
    ("lung_paired", 52504040),
    ("VUILD102LF", 52503359),
];

impl Downloads {
    /// See [`spatialformer`](super::spatialformer).
    ///
    /// # Errors
    /// As [`visium_sge`](super::visium_sge).
    pub fn spatialformer(&self, checkpoint: &str) -> Result<PathBuf> {
        let names = CHECKPOINTS.map(|(name, _)| name);
        let number = CHECKPOINTS.iter().find(|(name, _)| *name == checkpoint).map(|c| c.1);
        let missing = || Error::missing_key("SpatialFormer", "checkpoint", checkpoint, names);
        let number = number.ok_or_else(missing)?;
        self.fetch(&format!("https://ndownloader.figshare.com/files/{number}"), None)
    }

    /// Downloads the files of a slide and gives the folder of the collection.
    fn slide(&self, collection: &'static str, slide: &str) -> Result<PathBuf> {
        let of: Vec<Entry> = entries().filter(|e| e.collection == collection).collect();
        if !of.iter().any(|e| e.slide == slide) || slide == "*" {
            let mut names: Vec<&str> = of.iter().map(|e| e.slide).filter(|s| *s != "*").collect();
            names.dedup();
            return Err(Error::missing_key("datasets", collection, slide, names));
        }
        for e in of.iter().filter(|e| e.slide == slide || e.slide == "*") {
            let file = place(e);
            self.obtain(&file, &e.urls, e.sha256, e.bytes)?;
        }
        Ok(self.path().join(collection))
    }

    /// A public Visium slide of 10x Genomics, by the name it has there; see
    /// [`visium_sge`](super::visium_sge).
    ///
    /// # Errors
    /// As [`visium_sge`](super::visium_sge).
    pub fn visium_sge(&self, sample_id: &str) -> Result<AnnData> {
        let collection = self.slide("visium_sge", sample_id)?;
        self.read_visium_sge(&collection, sample_id)
    }

    /// Reads a slide whose files are there.
    pub(super) fn read_visium_sge(&self, collection: &Path, sample_id: &str) -> Result<AnnData> {
        let folder = collection.join(sample_id);
        if !folder.join("spatial").is_dir() {
            let unpacked = folder.join("unpacked");
            unpack::tar_gz(&folder.join("spatial.tar.gz"), &unpacked)?;
            let from = unpacked.join("spatial");
            let to = folder.join("spatial");
            std::fs::rename(&from, &to).map_err(|e| Error::io(&from, e))?;
            let _ = std::fs::remove_dir_all(&unpacked);
        }
        io::Visium::default().library_id(sample_id).read(&folder)
    }

    /// A section of human cortex with its layers; see [`dlpfc`](super::dlpfc).
    ///
    /// # Errors
    /// As [`dlpfc`](super::dlpfc).
    pub fn dlpfc(&self, section: &str) -> Result<AnnData> {
        let collection = self.slide("dlpfc", section)?;
        self.read_dlpfc(&collection, section)
    }

    /// Reads a section whose files are there.
    pub(super) fn read_dlpfc(&self, folder: &Path, section: &str) -> Result<AnnData> {
        let mut slide = io::Visium::default().library_id(section).read(folder.join(section))?;
        let layers = layers(&folder.join("barcode_level_layer_map.tsv"), section, &slide)?;
        slide.obs.insert("layer_guess", layers)?;
        Ok(slide)
    }
}

impl Downloads {
    /// A section of HER2ST; see [`her2st`](super::her2st).
    ///
    /// # Errors
    /// As [`her2st`](super::her2st).
    pub fn her2st(&self, section: &str) -> Result<AnnData> {
        io::Her2st::open(self.slide("her2st", section)?)?.section(section)
    }

    /// A slide of STimage-1K4M; see [`stimage`](super::stimage).
    ///
    /// # Errors
    /// As [`stimage`](super::stimage).
    pub fn stimage(&self, slide: &str) -> Result<AnnData> {
        io::StImage::open(self.stimage_files(slide)?)?.slide(slide)
    }

    /// Downloads a slide of STimage-1K4M and gives the folder of the collection.
    pub(super) fn stimage_files(&self, slide: &str) -> Result<PathBuf> {
        let catalogue = entries().find(|e| e.collection == "stimage");
        let Some(catalogue) = catalogue else {
            return Err(Error::missing_key("datasets", "collection", "stimage", [""; 0]));
        };
        let table =
            self.obtain(&place(&catalogue), &catalogue.urls, catalogue.sha256, catalogue.bytes)?;
        self.stimage_slide(&technology(&table, slide)?, slide)
    }

    /// The files of a slide whose technology is known.
    pub(super) fn stimage_slide(&self, technology: &str, slide: &str) -> Result<PathBuf> {
        for file in ["coord/{}_coord.csv", "gene_exp/{}_count.csv", "image/{}.png"] {
            let file = format!("{technology}/{}", file.replace("{}", slide));
            let place = Path::new("stimage").join(&file);
            self.obtain(&place, &[whole(&format!("hf:{file}"))], None, None)?;
        }
        Ok(self.path().join("stimage"))
    }
}

/// The folder of a slide in STimage-1K4M, from its catalogue.
pub(super) fn technology(path: &Path, slide: &str) -> Result<String> {
    let damaged = |e: csv::Error| Error::format(path, format!("damaged table: {e}"));
    let mut table = csv::Reader::from_path(path).map_err(damaged)?;
    let header = table.headers().map_err(damaged)?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|h| h == name);
        found.ok_or_else(|| Error::format(path, format!("there is no column `{name}`")))
    };
    let (name, tech) = (column("slide")?, column("tech")?);
    let mut alike = Vec::new();
    let stem: String = slide.chars().take(6).collect();
    for row in table.records() {
        let row = row.map_err(damaged)?;
        match (row.get(name), row.get(tech)) {
            (Some(n), Some(tech @ ("ST" | "Visium" | "VisiumHD"))) if n == slide => {
                return Ok(tech.to_string());
            }
            (Some(n), _) if n.starts_with(&stem) => alike.push(n.to_string()),
            _ => {}
        }
    }
    Err(Error::missing_key("STimage-1K4M", "slide", slide, alike))
}

/// Where a file lies in the cache.
fn place(e: &Entry) -> PathBuf {
    let collection = Path::new(e.collection);
    match (e.slide, e.collection) {
        // A collection with a layout of its own.
        ("*", _) | (_, "her2st") => collection.join(e.file),
        (slide, _) => collection.join(slide).join(e.file),
    }
}

/// The layers of a section: a table of barcode, section, layer.
fn layers(path: &Path, section: &str, slide: &AnnData) -> Result<Categorical> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let mut of: HashMap<&str, &str> = HashMap::new();
    for (i, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[barcode, of_section, layer] = fields.as_slice() else {
            let reason = format!("line {}: expected barcode, section, layer", i + 1);
            return Err(Error::format(path, reason));
        };
        if of_section == section {
            of.insert(barcode, layer);
        }
    }
    let labels: Vec<Option<&str>> =
        slide.obs.names().iter().map(|n| of.get(n.as_str()).copied()).collect();
    if labels.iter().all(Option::is_none) {
        return Err(Error::format(path, format!("no spot of section {section} has a layer")));
    }
    Ok(Categorical::from_labels(&labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_an_address_and_a_place_of_its_own() {
        let mut places = std::collections::HashSet::new();
        for e in entries() {
            assert!(!e.urls.is_empty(), "{} {}", e.slide, e.file);
            for url in &e.urls {
                assert!(url.starts_with("https://") && !url.contains(' '), "{url}");
            }
            assert!(places.insert(place(&e)), "{:?}", place(&e));
            assert!(e.sha256.is_none_or(|s| s.bytes().all(|b| b.is_ascii_hexdigit())));
        }
        assert!(places.len() > 250);
    }

    #[test]
    fn the_list_tells_what_there_is() {
        let list = list();
        let of = |c: &str| list.equals("collection", c).unwrap().iter().filter(|&&b| b).count();
        assert_eq!((of("dlpfc"), of("her2st")), (12, 36));
        assert!(of("visium_sge") >= 27);
        assert!(list.names().iter().any(|n| n == "V1_Human_Lymph_Node"));
    }
}
