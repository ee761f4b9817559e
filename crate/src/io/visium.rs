//! Visium folders of Space Ranger 1 to 4.
//!
//! ```text
//! filtered_feature_bc_matrix.h5            counts (or the folder filtered_feature_bc_matrix)
//! spatial/tissue_positions.csv             where each barcode lies; with a header since 2.0,
//! spatial/tissue_positions_list.csv        without before
//! spatial/scalefactors_json.json           pixels of the images per full-resolution pixel
//! spatial/tissue_hires_image.png           either may be missing
//! spatial/tissue_lowres_image.png
//! ```

use super::h5::{self, Attributes};
use super::tenx::TenxH5;
use super::{files, mtx};
use crate::anndata::{AnnData, Column, Dense, Map, Matrix, Value, Values};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const MATRIX: &str = "filtered_feature_bc_matrix";
const POSITIONS: [&str; 2] = ["tissue_positions.csv", "tissue_positions_list.csv"];

/// How to read a Visium folder.
#[derive(Debug, Clone)]
pub struct Visium {
    library_id: Option<String>,
    count_file: Option<String>,
    load_images: bool,
    tenx: TenxH5,
}

impl Default for Visium {
    fn default() -> Self {
        Visium { library_id: None, count_file: None, load_images: true, tenx: TenxH5::default() }
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
        let spatial = folder.join("spatial");
        let counts = self.find_counts(&folder)?;
        let positions = find_positions(&folder, &spatial)?;

        let is_h5 = counts.is_file();
        let mut adata = if is_h5 { self.tenx.read(&counts)? } else { mtx::read_10x_mtx(&counts)? };
        let (stated_id, metadata) = if is_h5 { describe(&counts)? } else { Default::default() };
        join_positions(&mut adata, &positions)?;

        let mut library = Map::new();
        let images = if self.load_images { read_images(&spatial)? } else { Map::new() };
        library.insert("images".into(), Value::Map(images));
        library.insert("scalefactors".into(), read_scalefactors(&spatial)?);
        library.insert("metadata".into(), Value::Map(metadata));
        let id = self.library_id.clone().or(stated_id).unwrap_or_else(|| folder_name(&folder));
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
    has(folder) || has(&folder.join("outs")) || folder.join("binned_outputs").is_dir()
}

/// The folder itself, or `outs` in it.
fn inner_folder(folder: &Path) -> Result<PathBuf> {
    files::check_folder(folder)?;
    let outs = folder.join("outs");
    if !folder.join("spatial").is_dir() && outs.is_dir() {
        return Ok(outs);
    }
    if folder.join("binned_outputs").is_dir() {
        let bins = entries(&folder.join("binned_outputs"));
        let reason = format!("a Visium HD folder with the bin sizes {}", list(&bins));
        return Err(Error::format(folder, reason)
            .with_hint("Give the folder of one bin size, e.g. `…/binned_outputs/square_008um`"));
    }
    Ok(folder.into())
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut names: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "nothing".into(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, … ({n} in all)", names[..SHOWN].join(", ")),
    }
}

fn folder_name(folder: &Path) -> String {
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

fn find_positions(folder: &Path, spatial: &Path) -> Result<PathBuf> {
    for place in [spatial, folder] {
        if let Some(path) = POSITIONS.iter().map(|n| place.join(n)).find(|p| p.is_file()) {
            return Ok(path);
        }
    }
    if spatial.join("tissue_positions.parquet").is_file() {
        let reason = "positions in parquet (Visium HD) are not read yet";
        return Err(Error::format(spatial.join("tissue_positions.parquet"), reason)
            .with_hint("Convert them to spatial/tissue_positions.csv"));
    }
    let looked: Vec<String> = POSITIONS.iter().map(|n| format!("spatial/{n}")).collect();
    let reason = format!("no positions of the spots: looked for {}", looked.join(" and "));
    let hint = match spatial.is_dir() {
        true => format!("The folder spatial holds: {}", list(&entries(spatial))),
        false => format!("The folder holds: {}", list(&entries(folder))),
    };
    let alone = ". A matrix without positions is read by `io::read_10x_h5`";
    Err(Error::format(folder, reason).with_hint(hint + alone))
}

struct Position {
    in_tissue: i64,
    row: i64,
    col: i64,
    x: f64,
    y: f64,
}

/// Parses a table of positions, with or without header.
fn parse_positions(path: &Path) -> Result<HashMap<String, Position>> {
    let text = files::read_text(path)?;
    // barcode, in_tissue, array_row, array_col, pxl_row_in_fullres, pxl_col_in_fullres
    let mut order = [0, 1, 2, 3, 4, 5];
    let mut out = HashMap::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let fields: Vec<&str> = line.split(',').map(|f| f.trim().trim_matches('"')).collect();
        if fields.iter().all(|f| f.is_empty()) {
            continue;
        }
        let number_at = |i: usize| fields.get(order[i]).and_then(|f| f.parse::<f64>().ok());
        let numbers: Vec<f64> = (1..6).filter_map(number_at).filter(|x| !x.is_infinite()).collect();
        if let &[in_tissue, row, col, y, x] = numbers.as_slice() {
            let barcode = fields[order[0]].to_string();
            let [in_tissue, row, col] = [in_tissue, row, col].map(|x| x as i64);
            out.insert(barcode, Position { in_tissue, row, col, x, y });
        } else if number == 0 && fields[1..].iter().all(|f| f.parse::<f64>().is_err()) {
            // A header. Its names say the order, should it be another.
            let names = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row", "pxl_col"];
            let found = names.map(|n| fields.iter().position(|f| f.starts_with(n)));
            if found.iter().all(Option::is_some) {
                order = found.map(Option::unwrap_or_default);
            }
        } else {
            let reason = format!(
                "line {}: `{line}` is not barcode,in_tissue,array_row,array_col,pxl_row,pxl_col",
                number + 1
            );
            return Err(Error::format(path, reason));
        }
    }
    if out.is_empty() {
        return Err(Error::format(path, "there is no position in this file"));
    }
    Ok(out)
}

fn join_positions(adata: &mut AnnData, path: &Path) -> Result<()> {
    let table = parse_positions(path)?;
    let names = adata.obs.names();
    let without: Vec<&String> = names.iter().filter(|n| !table.contains_key(*n)).collect();
    if let Some(first) = without.first() {
        let other = table.keys().min().cloned().unwrap_or_default();
        let reason = format!(
            "{} of {} barcodes of the matrix have no position (the first is `{first}`; this file \
             has barcodes like `{other}`)",
            without.len(),
            names.len(),
        );
        return Err(Error::format(path, reason)
            .with_hint("Are the matrix and the positions of the same slide and run?"));
    }
    let positions: Vec<&Position> = names.iter().map(|n| &table[n]).collect();
    let column =
        |f: fn(&Position) -> i64| Column::from(positions.iter().map(|p| f(p)).collect::<Vec<_>>());
    let columns = [
        ("in_tissue", column(|p| p.in_tissue)),
        ("array_row", column(|p| p.row)),
        ("array_col", column(|p| p.col)),
    ];
    // Whole pixels stay whole numbers, as pandas reads them.
    let xy: Vec<f64> = positions.iter().flat_map(|p| [p.x, p.y]).collect();
    let whole = xy.iter().all(|x| x.fract() == 0.0);
    let values = match whole {
        true => Values::I64(xy.iter().map(|&x| x as i64).collect()),
        false => Values::F64(xy),
    };
    let spatial = Dense::new(adata.n_obs(), 2, values)?;
    for (name, column) in columns {
        adata.obs.insert(name, column)?;
    }
    adata.obsm.insert("spatial".into(), Matrix::Dense(spatial));
    Ok(())
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
