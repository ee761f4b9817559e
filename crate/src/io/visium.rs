//! Visium folders of Space Ranger 1 to 4.
//!
//! ```text
//! filtered_feature_bc_matrix.h5            counts (or the folder filtered_feature_bc_matrix)
//! spatial/tissue_positions.csv             where each barcode lies; with a header since 2.0,
//! spatial/tissue_positions_list.csv        without before; or tissue_positions.parquet
//! spatial/scalefactors_json.json           pixels of the images per full-resolution pixel
//! spatial/tissue_hires_image.png           either may be missing
//! spatial/tissue_lowres_image.png
//! ```

use super::files::{self, entries, list};
use super::h5::{self, Attributes};
use super::tenx::TenxH5;
use super::{mtx, positions};
use crate::anndata::{AnnData, Map, Value, Values};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

const MATRIX: &str = "filtered_feature_bc_matrix";

/// How to read a Visium folder.
#[derive(Debug, Clone)]
pub struct Visium {
    library_id: Option<String>,
    count_file: Option<String>,
    load_images: bool,
    common_only: bool,
    tenx: TenxH5,
}

impl Default for Visium {
    fn default() -> Self {
        Visium {
            library_id: None,
            count_file: None,
            load_images: true,
            common_only: false,
            tenx: TenxH5::default(),
        }
    }
}

impl Visium {
    /// The key under `uns["spatial"]`; by default what the matrix states, else the folder's name.
    pub fn library_id(mut self, id: impl Into<String>) -> Self {
        self.library_id = Some(id.into());
        self
    }

    /// The file or folder of counts, by default `filtered_feature_bc_matrix.h5`, any file whose name
    /// ends like that, or the folder `filtered_feature_bc_matrix`.
    pub fn count_file(mut self, name: impl Into<String>) -> Self {
        self.count_file = Some(name.into());
        self
    }

    /// Whether to read the tissue images (default: yes).
    pub fn load_images(mut self, load: bool) -> Self {
        self.load_images = load;
        self
    }

    /// Whether barcodes without a position are left out (default: they are an error).
    pub fn common_only(mut self, common_only: bool) -> Self {
        self.common_only = common_only;
        self
    }

    /// Keeps the genes of one genome.
    pub fn genome(mut self, genome: impl Into<String>) -> Self {
        self.tenx = self.tenx.genome(genome);
        self
    }

    /// Whether to keep gene expression only (the default) or features of every kind.
    pub fn gex_only(mut self, gex_only: bool) -> Self {
        self.tenx = self.tenx.gex_only(gex_only);
        self
    }

    /// Reads the folder; see [`read_visium`].
    ///
    /// # Errors
    /// As [`read_visium`].
    pub fn read(&self, folder: impl AsRef<Path>) -> Result<AnnData> {
        self.read_folder(folder.as_ref())
    }

    fn read_folder(&self, folder: &Path) -> Result<AnnData> {
        let folder = inner_folder(folder)?;
        let name = folder_name(&folder);
        let join =
            |adata: &mut AnnData, folder: &Path, spatial: &Path| self.join(adata, folder, spatial);
        self.read_parts(&folder, None, self.library_id.clone(), name, &join)
    }

    /// Joins the positions of spots or bins.
    pub(super) fn join(&self, adata: &mut AnnData, folder: &Path, spatial: &Path) -> Result<()> {
        positions::join(adata, &positions::find(folder, spatial)?, self.common_only)
    }

    pub(super) fn has_count_file(&self) -> bool {
        self.count_file.is_some()
    }

    /// Reads what lies in `folder`; images may also lie in `more`. `join` says where observations
    /// are; `name` is the library's if neither `id` nor the matrix states one.
    pub(super) fn read_parts(
        &self,
        folder: &Path,
        more: Option<&Path>,
        id: Option<String>,
        name: String,
        join: &dyn Fn(&mut AnnData, &Path, &Path) -> Result<()>,
    ) -> Result<AnnData> {
        let spatial = folder.join("spatial");
        let counts = self.find_counts(folder)?;
        let is_h5 = counts.is_file();
        let mut adata = if is_h5 { self.tenx.read(&counts)? } else { mtx::read_10x_mtx(&counts)? };
        let (stated_id, metadata) = if is_h5 { describe(&counts)? } else { Default::default() };
        join(&mut adata, folder, &spatial)?;

        let mut library = Map::new();
        let mut images = Map::new();
        if self.load_images {
            images = read_images(&spatial)?;
            if let (true, Some(more)) = (images.is_empty(), more) {
                images = read_images(more)?;
            }
        }
        library.insert("images".into(), Value::Map(images));
        library.insert("scalefactors".into(), read_scalefactors(&spatial)?);
        library.insert("metadata".into(), Value::Map(metadata));
        let id = id.or(stated_id).unwrap_or(name);
        let spatial = Map::from([(id, Value::Map(library))]);
        adata.uns.insert("spatial".into(), Value::Map(spatial));
        Ok(adata)
    }

    fn find_counts(&self, folder: &Path) -> Result<PathBuf> {
        if let Some(name) = &self.count_file {
            let path = folder.join(name);
            return match path.exists() {
                true => Ok(path),
                false => Err(files::missing(&path, std::io::ErrorKind::NotFound.into())),
            };
        }
        let plain = folder.join(format!("{MATRIX}.h5"));
        if plain.is_file() {
            return Ok(plain);
        }
        let ending = format!("{MATRIX}.h5");
        let named = entries(folder).into_iter().filter(|n| n.ends_with(&ending));
        match named.collect::<Vec<_>>().as_slice() {
            [one] => return Ok(folder.join(one)),
            [] => {}
            many => {
                let reason = format!("several matrices: {}", many.join(", "));
                let hint = "Name one: `Visium::default().count_file(\"…\").read(folder)`";
                return Err(Error::format(folder, reason).with_hint(hint));
            }
        }
        let unpacked = folder.join(MATRIX);
        if mtx::is_mtx_folder(&unpacked) {
            return Ok(unpacked);
        }
        if mtx::is_mtx_folder(folder) {
            return Ok(folder.into());
        }
        let looked = format!(
            "no matrix of counts: looked for {MATRIX}.h5, *{MATRIX}.h5, {MATRIX}/matrix.mtx.gz and \
             matrix.mtx.gz"
        );
        let hint = format!("The folder holds: {}", list(&entries(folder)));
        Err(Error::format(folder, looked).with_hint(hint))
    }
}

/// Reads a Visium folder of Space Ranger 1 to 4 (or the folder above its `outs`).
///
/// Matches squidpy's and scanpy 1.11's `read_visium`:
/// * `X`, `var`: as [`read_10x_h5`](super::read_10x_h5)
/// * `obs`: `in_tissue`, `array_row`, `array_col`, joined by barcode
/// * `obsm["spatial"]`: (x, y) in pixels of the full-resolution image
/// * `uns["spatial"][library]`: `images` (`hires`, `lowres`), `scalefactors`, `metadata`. An image is an
///   array of `uint8` with shape height × width × 3 (or 4 with transparency); Python holds the same
///   divided by 255.
///
/// Whether the table of positions has a header is seen from its content, not from its name.
///
/// # Errors
/// [`Error::Format`] naming the files that were looked for when the matrix or the positions are
/// missing, the barcodes without a position, and malformed lines, scale factors and images.
pub fn read_visium(folder: impl AsRef<Path>) -> Result<AnnData> {
    Visium::default().read(folder)
}

/// Whether a folder looks like one that [`read_visium`] reads.
pub(super) fn is_visium_folder(folder: &Path) -> bool {
    let has = |f: &Path| {
        f.join("spatial").is_dir()
            || entries(f).iter().any(|n| n.ends_with(&format!("{MATRIX}.h5")))
    };
    has(folder) || has(&folder.join("outs"))
}

/// The folder itself, or `outs` in it.
fn inner_folder(folder: &Path) -> Result<PathBuf> {
    files::check_folder(folder)?;
    let outs = folder.join("outs");
    if !folder.join("spatial").is_dir() && outs.is_dir() {
        return Ok(outs);
    }
    Ok(folder.into())
}

pub(super) fn folder_name(folder: &Path) -> String {
    let full = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    match name(&full) {
        Some(n) if n == "outs" => full.parent().and_then(name).unwrap_or(n),
        Some(n) => n,
        None => "library".into(),
    }
}

/// The library id and the metadata that a matrix states in its attributes.
fn describe(counts: &Path) -> Result<(Option<String>, Map<Value>)> {
    let root = h5::open(counts)?;
    let mut metadata = Map::new();
    for key in ["chemistry_description", "software_version"] {
        if let Some(text) = root.attr_text(key)? {
            metadata.insert(key.into(), text.into());
        }
    }
    Ok((root.attr_text("library_ids")?.filter(|id| !id.is_empty()), metadata))
}

fn read_scalefactors(spatial: &Path) -> Result<Value> {
    let path = spatial.join("scalefactors_json.json");
    let text = files::read_text(&path)?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| {
        Error::format(&path, format!("malformed JSON: {e}")).with_hint("Copy or download it again")
    })?;
    let serde_json::Value::Object(entries) = json else {
        return Err(Error::format(&path, "expected an object of scale factors"));
    };
    let mut map = Map::new();
    for (key, v) in entries {
        let value = match &v {
            serde_json::Value::Number(n) => match n.as_i64() {
                Some(i) => Value::int(i),
                None => Value::float(n.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(s) => Value::Str(s.clone()),
            _ => return Err(Error::format(&path, format!("`{key}` is {v}, expected a number"))),
        };
        map.insert(key, value);
    }
    for key in ["tissue_hires_scalef", "tissue_lowres_scalef", "spot_diameter_fullres"] {
        if map.get(key).and_then(Value::as_f64).is_none() {
            let has = list(&map.keys().cloned().collect::<Vec<_>>());
            let reason = format!("there is no number `{key}`; there is: {has}");
            return Err(Error::format(&path, reason));
        }
    }
    Ok(Value::Map(map))
}

fn read_images(spatial: &Path) -> Result<Map<Value>> {
    let read = |name: &str| {
        let path = spatial.join(format!("tissue_{name}_image.png"));
        path.is_file().then(|| read_image(&path)).transpose()
    };
    let (hires, lowres) = rayon::join(|| read("hires"), || read("lowres"));
    let found = [("hires", hires?), ("lowres", lowres?)];
    Ok(found.into_iter().filter_map(|(k, v)| Some((k.to_string(), v?))).collect())
}

/// An image as bytes, height × width × 3, or × 4 with transparency.
fn read_image(path: &Path) -> Result<Value> {
    let damaged = |e: image::ImageError| {
        Error::format(path, format!("damaged image: {e}"))
            .with_hint("Copy it again, or read without: `Visium::default().load_images(false)`")
    };
    let reader = image::ImageReader::open(path).and_then(|r| r.with_guessed_format());
    let image = reader.map_err(|e| Error::io(path, e))?.decode().map_err(damaged)?;
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (channels, bytes) = match image.color().has_alpha() {
        true => (4, image.into_rgba8().into_raw()),
        false => (3, image.into_rgb8().into_raw()),
    };
    Ok(Value::Array { shape: vec![height, width, channels], values: Values::U8(bytes) })
}
