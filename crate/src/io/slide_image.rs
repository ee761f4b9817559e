//! The picture of a slide that lies beside its counts, as an entry of `uns["spatial"]`.

use crate::anndata::{Map, Value, Values};
use crate::error::{Error, Result};
use crate::image::read_image;
use std::path::{Path, PathBuf};

/// Longest side of the picture that is kept in memory, as Space Ranger's `hires`.
const SIDE: usize = 2000;

/// A picture and what is known about its pixels.
#[derive(Debug, Clone)]
pub(super) struct SlideImage {
    pub path: PathBuf,
    /// Pixels of the picture for a pixel of the coordinates.
    pub scale: Option<f64>,
    /// Size of the picture that the coordinates belong to.
    pub full_size: Option<(usize, usize)>,
    /// Longest side to keep.
    pub side: usize,
}

impl SlideImage {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SlideImage { path: path.into(), scale: None, full_size: None, side: SIDE }
    }

    /// The entry of a library: `images`, `scalefactors` and `metadata`. `reach` is the largest x
    /// and y of the spots, which tells whether a picture can be the one they belong to.
    pub fn library(&self, reach: (f64, f64), spot_diameter: Option<f64>) -> Result<Value> {
        let image = read_image(&self.path)?.into_image()?;
        let (width, height) = (image.width, image.height);
        let scale = self.scale_of(width, height, reach)?;
        let hires = image.thumbnail(self.side);
        let longest = |w: usize, h: usize| w.max(h) as f64;
        let smaller = longest(hires.width, hires.height) / longest(width, height);

        let mut factors = Map::new();
        factors.insert("tissue_hires_scalef".into(), Value::float(scale * smaller));
        if let Some(diameter) = spot_diameter {
            factors.insert("spot_diameter_fullres".into(), Value::float(diameter));
        }
        let mut metadata = Map::new();
        let path = self.path.display().to_string();
        metadata.insert("source_image_path".into(), path.into());
        let size = Values::I64(vec![height as i64, width as i64]);
        let size = Value::Array { shape: vec![2], values: size };
        metadata.insert("source_image_shape".into(), size);
        metadata.insert("source_image_scalef".into(), Value::float(scale));
        Ok(entry(Map::from([("hires".into(), hires.to_value())]), factors, metadata))
    }

    fn scale_of(&self, width: usize, height: usize, reach: (f64, f64)) -> Result<f64> {
        if let Some(scale) = self.scale {
            return match scale.is_finite() && scale > 0.0 {
                true => Ok(scale),
                false => Err(Error::parameter("image_scale", scale, "must be above 0")),
            };
        }
        if let Some((full_width, full_height)) = self.full_size {
            let (x, y) = (width as f64 / full_width as f64, height as f64 / full_height as f64);
            // Sides are rounded to whole pixels.
            if (x - y).abs() * full_width.max(full_height) as f64 > 1.5 {
                let reason = format!(
                    "{width} × {height} pixels are no smaller picture of {full_width} × \
                     {full_height}: {x:.4} across, {y:.4} down"
                );
                return Err(Error::format(&self.path, reason));
            }
            return Ok(x.max(y));
        }
        if reach.0 <= width as f64 && reach.1 <= height as f64 {
            return Ok(1.0);
        }
        let (x, y) = reach;
        let reason = format!(
            "the spots reach to ({x:.0}, {y:.0}), the picture ends at ({width}, {height}): it is a \
             smaller version of the one that they belong to"
        );
        Err(Error::format(&self.path, reason).with_hint(
            "Say how much smaller: `.full_size(width, height)` of that one, or `.image_scale(s)`",
        ))
    }
}

/// An entry of `uns["spatial"]`.
pub(super) fn entry(images: Map<Value>, factors: Map<Value>, metadata: Map<Value>) -> Value {
    Value::Map(Map::from([
        ("images".into(), Value::Map(images)),
        ("scalefactors".into(), Value::Map(factors)),
        ("metadata".into(), Value::Map(metadata)),
    ]))
}

/// The entry of a slide without a picture.
pub(super) fn without_picture(spot_diameter: Option<f64>, metadata: Map<Value>) -> Value {
    let factor = |d| Map::from([("spot_diameter_fullres".into(), Value::float(d))]);
    entry(Map::new(), spot_diameter.map(factor).unwrap_or_default(), metadata)
}

/// The name of a file without its folder and endings.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_string()
}
