//! Visium HD folders of Space Ranger 3 and 4: a grid of 2 µm squares, binned.
//!
//! ```text
//! binned_outputs/square_002um/filtered_feature_bc_matrix.h5     or raw_feature_bc_matrix.h5
//!                             spatial/tissue_positions.parquet
//!                             spatial/scalefactors_json.json    with bin_size_um, microns_per_pixel
//!                             spatial/tissue_hires_image.png    or in the spatial/ on top
//! binned_outputs/square_008um/…
//! segmented_outputs/filtered_feature_cell_matrix.h5             cells, since Space Ranger 4
//!                   cell_segmentations.geojson                  their outlines, in pixels
//!                   spatial/…
//! ```

use super::files::{self, entries, list};
use super::visium::{Visium, folder_name};
use crate::anndata::{AnnData, Dense, Matrix, Values};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const BINNED: &str = "binned_outputs";
const SEGMENTED: &str = "segmented_outputs";

/// How to read a Visium HD folder.
#[derive(Debug, Clone, Default)]
pub struct VisiumHd {
    bin_size: Option<u32>,
    cells: bool,
    visium: Visium,
    library_id: Option<String>,
}

impl VisiumHd {
    /// The side of the bins in µm: 2, 8 (the default, which 10x recommends to start with) or 16, or
    /// whatever else was made.
    pub fn bin_size(mut self, micrometres: u32) -> Self {
        self.bin_size = Some(micrometres);
        self
    }

    /// Reads the segmented cells of Space Ranger 4 instead of bins.
    pub fn segmented(mut self, cells: bool) -> Self {
        self.cells = cells;
        self
    }

    /// The file of counts in the folder of the bin size; by default
    /// `filtered_feature_bc_matrix.h5`. `raw_feature_bc_matrix.h5` has the bins beside the tissue too.
    pub fn count_file(mut self, name: impl Into<String>) -> Self {
        self.visium = self.visium.count_file(name);
        self
    }

    /// The key under `uns["spatial"]`; by default what the matrix states, else the folder's name.
    pub fn library_id(mut self, id: impl Into<String>) -> Self {
        self.library_id = Some(id.into());
        self
    }

    /// Whether to read the tissue images (default: yes).
    pub fn load_images(mut self, load: bool) -> Self {
        self.visium = self.visium.load_images(load);
        self
    }

    /// Whether bins without a position are left out (default: they are an error).
    pub fn common_only(mut self, common_only: bool) -> Self {
        self.visium = self.visium.common_only(common_only);
        self
    }

    /// Keeps the genes of one genome.
    pub fn genome(mut self, genome: impl Into<String>) -> Self {
        self.visium = self.visium.genome(genome);
        self
    }

    /// Whether to keep gene expression only (the default) or features of every kind.
    pub fn gex_only(mut self, gex_only: bool) -> Self {
        self.visium = self.visium.gex_only(gex_only);
        self
    }

    /// Reads the folder; see [`read_visium_hd`].
    ///
    /// # Errors
    /// As [`read_visium_hd`].
    pub fn read(&self, folder: impl AsRef<Path>) -> Result<AnnData> {
        self.read_folder(folder.as_ref())
    }

    fn read_folder(&self, folder: &Path) -> Result<AnnData> {
        files::check_folder(folder)?;
        let place = Place::find(folder);
        let (inner, top) = match &place {
            _ if self.cells => (cells(folder, &place)?, place.top()),
            Some(place) => (place.bin(folder, self.bin_size)?, place.top.clone()),
            None => return Err(not_hd(folder)),
        };
        let images = top.as_ref().map(|top| top.join("spatial"));
        let id = self.library_id.clone();
        let name = folder_name(top.as_deref().unwrap_or(&inner));
        if self.cells {
            let visium = self.visium.clone().count_file("filtered_feature_cell_matrix.h5");
            return visium.read_parts(&inner, images.as_deref(), id, name, &join_cells);
        }
        let visium = match self.visium.has_count_file() || !only_raw(&inner) {
            true => self.visium.clone(),
            false => self.visium.clone().count_file("raw_feature_bc_matrix.h5"),
        };
        let join = |adata: &mut AnnData, folder: &Path, spatial: &Path| {
            visium.join(adata, folder, spatial)
        };
        visium.read_parts(&inner, images.as_deref(), id, name, &join)
    }
}

/// Reads a Visium HD folder of Space Ranger 3 or 4, bins of 8 µm: the folder of the run, its
/// `outs`, its `binned_outputs`, or the folder of one bin size. [`VisiumHd`] has other bin sizes.
///
/// * `X`, `var`: as [`read_10x_h5`](super::read_10x_h5)
/// * `obs`: `in_tissue`, `array_row`, `array_col`, joined by barcode; every bin of the matrix is kept
/// * `obsm["spatial"]`: (x, y) in pixels of the full-resolution image
/// * `uns["spatial"][library]`: as [`read_visium`](super::read_visium); `scalefactors` has
///   `bin_size_um` and `microns_per_pixel` as well. Images are those of the bin size, else those of
///   the `spatial/` on top.
///
/// Segmented cells (`.segmented(true)`) have the centres of gravity of their outlines in
/// `obsm["spatial"]` and nothing in `obs`.
///
/// # Errors
/// [`Error::Format`] listing the bin sizes that there are when the one asked for is not, and
/// whatever [`read_visium`](super::read_visium) reports.
pub fn read_visium_hd(folder: impl AsRef<Path>) -> Result<AnnData> {
    VisiumHd::default().read(folder)
}

/// Whether a folder looks like one that [`read_visium_hd`] reads.
pub(super) fn is_visium_hd_folder(folder: &Path) -> bool {
    Place::find(folder).is_some()
}

/// Where the bins are.
struct Place {
    /// The folder that holds the bin sizes, or that of one bin size.
    bins: PathBuf,
    single: bool,
    /// The folder of the run, if it was given or is above.
    top: Option<PathBuf>,
}

trait Top {
    fn top(&self) -> Option<PathBuf>;
}

impl Top for Option<Place> {
    fn top(&self) -> Option<PathBuf> {
        self.as_ref().and_then(|p| p.top.clone())
    }
}

fn bin_size(name: &str) -> Option<u32> {
    name.strip_prefix("square_")?.strip_suffix("um")?.parse().ok()
}

fn sizes(folder: &Path) -> Vec<u32> {
    entries(folder).iter().filter_map(|n| bin_size(n)).collect()
}

impl Place {
    fn find(folder: &Path) -> Option<Place> {
        for top in [folder.to_path_buf(), folder.join("outs")] {
            if top.join(BINNED).is_dir() {
                return Some(Place { bins: top.join(BINNED), single: false, top: Some(top) });
            }
        }
        let above = |levels: usize| {
            let full = std::fs::canonicalize(folder).ok()?;
            let top = full.ancestors().nth(levels)?;
            top.join(BINNED).is_dir().then(|| top.to_path_buf())
        };
        if !sizes(folder).is_empty() {
            return Some(Place { bins: folder.into(), single: false, top: above(1) });
        }
        let single = folder.join("spatial/tissue_positions.parquet").is_file();
        single.then(|| Place { bins: folder.into(), single, top: above(2) })
    }

    /// The folder of a bin size.
    fn bin(&self, folder: &Path, wanted: Option<u32>) -> Result<PathBuf> {
        let sizes = if self.single { Vec::new() } else { sizes(&self.bins) };
        let size = wanted.unwrap_or(8);
        if self.single {
            let is = bin_size(&folder_name(&self.bins));
            return match (is, wanted) {
                (Some(is), Some(wanted)) if is != wanted => {
                    let reason = format!("these are bins of {is} µm, not of {wanted} µm");
                    let hint = "Give the folder above it, or leave the bin size out";
                    Err(Error::format(folder, reason).with_hint(hint))
                }
                _ => Ok(self.bins.clone()),
            };
        }
        if sizes.contains(&size) {
            return Ok(self.bins.join(format!("square_{size:03}um")));
        }
        let found: Vec<String> = sizes.iter().map(|s| format!("{s} µm")).collect();
        let reason = format!("there are no bins of {size} µm; there are bins of {}", list(&found));
        let hint = match sizes.first() {
            Some(first) => format!("Choose one: `VisiumHd::default().bin_size({first}).read(…)`"),
            None => format!("{BINNED} holds: {}", list(&entries(&self.bins))),
        };
        Err(Error::format(&self.bins, reason).with_hint(hint))
    }
}

fn not_hd(folder: &Path) -> Error {
    let reason = format!(
        "not a Visium HD folder: looked for {BINNED}/, outs/{BINNED}/, square_008um/ and \
         spatial/tissue_positions.parquet"
    );
    Error::format(folder, reason).with_hint(format!("The folder holds: {}", list(&entries(folder))))
}

fn only_raw(bin: &Path) -> bool {
    let names = entries(bin);
    names.iter().any(|n| n == "raw_feature_bc_matrix.h5")
        && !names.iter().any(|n| n.contains("filtered_feature_bc_matrix"))
}

/// The folder of segmented cells.
fn cells(folder: &Path, place: &Option<Place>) -> Result<PathBuf> {
    let tops = [Some(folder.to_path_buf()), Some(folder.join("outs")), place.top()];
    let mut folders = tops.into_iter().flatten().map(|top| top.join(SEGMENTED));
    folders.find(|f| f.is_dir()).ok_or_else(|| {
        let reason = format!("no segmented cells: looked for {SEGMENTED}/ and outs/{SEGMENTED}/");
        Error::format(folder, reason).with_hint("Space Ranger writes them from version 4 on")
    })
}

/// Puts the centres of gravity of the cells' outlines into `obsm["spatial"]`.
fn join_cells(adata: &mut AnnData, folder: &Path, _spatial: &Path) -> Result<()> {
    let path = folder.join("cell_segmentations.geojson");
    let text = files::read_text(&path)?;
    let json: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| Error::format(&path, format!("malformed JSON: {e}")))?;
    let features = json["features"].as_array();
    let features = features.ok_or_else(|| Error::format(&path, "expected `features`: a list"))?;
    let mut centres: HashMap<u64, (f64, f64)> = HashMap::new();
    for (i, feature) in features.iter().enumerate() {
        let id = feature["properties"]["cell_id"].as_u64();
        let outline = feature["geometry"]["coordinates"][0].as_array();
        let centre = outline.and_then(|o| centre(o));
        let (Some(id), Some(centre)) = (id, centre) else {
            let reason = format!("feature {i} is no polygon with a number `cell_id`");
            return Err(Error::format(&path, reason));
        };
        centres.insert(id, centre);
    }
    // Barcodes are `cellid_000000017-1`.
    let number = |name: &String| {
        let digits = name.strip_prefix("cellid_")?.split('-').next()?;
        centres.get(&digits.parse::<u64>().ok()?).copied()
    };
    let found: Vec<Option<(f64, f64)>> = adata.obs.names().iter().map(number).collect();
    let missing = found.iter().filter(|c| c.is_none()).count();
    if let Some(first) = found.iter().position(Option::is_none) {
        let (n, name) = (adata.n_obs(), &adata.obs.names()[first]);
        let reason =
            format!("{missing} of {n} cells of the matrix have no outline (the first is `{name}`)");
        return Err(Error::format(&path, reason));
    }
    let xy: Vec<f64> = found.into_iter().flatten().flat_map(|(x, y)| [x, y]).collect();
    let spatial = Dense::new(adata.n_obs(), 2, Values::F64(xy))?;
    adata.obsm.insert("spatial".into(), Matrix::Dense(spatial));
    Ok(())
}

/// The centre of gravity of a polygon.
fn centre(outline: &[serde_json::Value]) -> Option<(f64, f64)> {
    let points: Option<Vec<(f64, f64)>> =
        outline.iter().map(|p| Some((p[0].as_f64()?, p[1].as_f64()?))).collect();
    let points = points?;
    let &(x0, y0) = points.first()?;
    let (mut area, mut cx, mut cy) = (0.0, 0.0, 0.0);
    for (i, a) in points.iter().enumerate() {
        let b = points[(i + 1) % points.len()];
        // Relative to a corner: pixels are large numbers, their differences are not.
        let (ax, ay, bx, by) = (a.0 - x0, a.1 - y0, b.0 - x0, b.1 - y0);
        let cross = ax * by - bx * ay;
        area += cross;
        cx += (ax + bx) * cross;
        cy += (ay + by) * cross;
    }
    if area == 0.0 {
        let n = points.len() as f64;
        let sum = points.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
        return Some((sum.0 / n, sum.1 / n));
    }
    Some((x0 + cx / (3.0 * area), y0 + cy / (3.0 * area)))
}
