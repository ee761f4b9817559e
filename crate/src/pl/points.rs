//! [`PointMap`]: points in the plane, coloured by category or number, in one or several panels;
//! what [`spatial`](super::spatial) and [`embedding`](super::embedding) show. This file holds the
//! data and the options, `panel` the drawing.

use super::canvas::{Rect, SpotShape};
use super::figure::Figure;
use super::keys::{Key, Paint};
use super::palette::Palette;
use crate::error::{Error, Result};
use crate::image::Image;
use std::sync::Arc;

/// Points with what colours them; see the module's functions for how to get one.
#[derive(Debug, Clone)]
pub struct PointMap {
    pub(crate) data: Arc<Result<Data>>,
    pub(crate) options: Options,
}

/// What is drawn.
#[derive(Debug)]
pub(crate) struct Data {
    pub kind: Kind,
    /// x and y.
    pub points: Vec<[f64; 2]>,
    /// Diameter of a spot in the units of the points.
    pub diameter: Option<f64>,
    /// Distance of neighbouring points.
    pub spacing: f64,
    pub panels: Vec<Panel>,
    /// The picture below, and its pixels per unit of the points; or why there is none.
    pub tissue: Result<Option<Picture>>,
    pub axes: Option<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Spatial,
    Embedding,
}

#[derive(Debug)]
pub(crate) struct Panel {
    pub name: String,
    pub paint: Paint,
}

#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub color: Arc<Image>,
    pub grey: Arc<std::sync::OnceLock<Arc<Image>>>,
    pub scale: f64,
}

impl Picture {
    pub fn new(image: Image, scale: f64) -> Self {
        Picture { color: Arc::new(image), grey: Arc::default(), scale }
    }

    pub fn image(&self, grey: bool) -> Arc<Image> {
        if grey {
            self.grey.get_or_init(|| Arc::new(self.color.to_grey())).clone()
        } else {
            self.color.clone()
        }
    }
}

/// A limit of a colour scale.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// That value.
    Value(f64),
    /// That percentile (0 to 100) of the panel's values.
    Percentile(f64),
    /// A text that is neither; it becomes an error when the figure is drawn.
    Unknown(String),
}

impl From<f64> for Limit {
    fn from(v: f64) -> Self {
        Limit::Value(v)
    }
}

impl From<i32> for Limit {
    fn from(v: i32) -> Self {
        Limit::Value(v.into())
    }
}

impl From<&str> for Limit {
    /// A number, or as in scanpy a percentile such as `p99.5`.
    fn from(s: &str) -> Self {
        let percentile = s.strip_prefix('p').and_then(|p| p.parse().ok());
        match percentile.filter(|p| (0.0..=100.0).contains(p)) {
            Some(p) => Limit::Percentile(p),
            None => s.parse().map_or_else(|_| Limit::Unknown(s.into()), Limit::Value),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub image: bool,
    pub image_alpha: f64,
    pub greyscale: bool,
    pub alpha: f64,
    pub alpha_by_value: bool,
    pub spot_size: Option<f64>,
    pub spot_scale: f64,
    pub shape: SpotShape,
    pub crop: Option<Rect>,
    pub cmap: String,
    pub vmin: Option<Limit>,
    pub vmax: Option<Limit>,
    pub shared_scale: bool,
    pub groups: Option<Vec<String>>,
    pub palette: Palette,
    pub legend: bool,
    pub frame: Option<bool>,
    pub columns: Option<usize>,
    pub titles: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            image: true,
            image_alpha: 1.0,
            greyscale: false,
            alpha: 1.0,
            alpha_by_value: false,
            spot_size: None,
            spot_scale: 1.0,
            shape: SpotShape::Circle,
            crop: None,
            cmap: "viridis".into(),
            vmin: None,
            vmax: None,
            shared_scale: false,
            groups: None,
            palette: Palette::Default,
            legend: true,
            frame: None,
            columns: None,
            titles: None,
        }
    }
}

impl PointMap {
    pub(crate) fn data(&self) -> Result<&Data> {
        self.data.as_ref().as_ref().map_err(again)
    }
}

/// The same error once more: a figure may be asked for it several times.
pub(crate) fn again(e: &Error) -> Error {
    match e {
        Error::MissingKey { slot, kind, key, available } => {
            Error::missing_key(slot, kind, key, available)
        }
        Error::Shape { what, expected, found } => Error::shape(what, expected, found),
        Error::Parameter { name, value, reason } => Error::parameter(name, value, reason),
        Error::Data { what, reason } => Error::data(what, reason),
        other => Error::Figure(other.to_string()),
    }
}

/// Paints for each key.
pub(crate) fn panels(adata: &crate::anndata::AnnData, keys: &[Key]) -> Result<Vec<Panel>> {
    let panel = |k: &Key| Ok(Panel { name: k.name().to_string(), paint: Paint::of(adata, k)? });
    keys.iter().map(panel).collect()
}

/// The options of maps, under the names that scanpy and squidpy give them.
impl Figure<PointMap> {
    fn set(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.plot.options);
        self
    }

    /// Whether the tissue image is drawn below the spots (on by default, if there is one).
    pub fn image(self, on: bool) -> Self {
        self.set(|o| o.image = on)
    }

    /// Opacity of the tissue image, 0 to 1.
    pub fn image_alpha(self, alpha: f64) -> Self {
        self.set(|o| o.image_alpha = alpha)
    }

    /// Whether the tissue image is drawn in shades of grey, so that it does not compete with the
    /// colours of the spots.
    pub fn greyscale(self, on: bool) -> Self {
        self.set(|o| o.greyscale = on)
    }

    /// Opacity of the points, 0 to 1.
    pub fn alpha(self, alpha: f64) -> Self {
        self.set(|o| o.alpha = alpha)
    }

    /// Whether points of a low value are more transparent than those of a high one.
    pub fn alpha_by_value(self, on: bool) -> Self {
        self.set(|o| o.alpha_by_value = on)
    }

    /// Diameter of the points: on a spatial map in its coordinates (by default
    /// `spot_diameter_fullres`, or what the distance of neighbours allows), on an embedding in
    /// CSS pixels.
    pub fn spot_size(self, diameter: f64) -> Self {
        self.set(|o| o.spot_size = Some(diameter))
    }

    /// Makes the points that many times their size (scanpy's `size`).
    pub fn spot_scale(self, factor: f64) -> Self {
        self.set(|o| o.spot_scale = factor)
    }

    /// Outline of the points.
    pub fn shape(self, shape: SpotShape) -> Self {
        self.set(|o| o.shape = shape)
    }

    /// Shows only the part between (x0, y0) and (x1, y1), in the coordinates of the points.
    pub fn crop(self, x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        let crop = Rect { x0: x0.min(x1), y0: y0.min(y1), x1: x0.max(x1), y1: y0.max(y1) };
        self.set(|o| o.crop = Some(crop))
    }

    /// Colour map of numbers: a name of [`cmap_names`](super::cmap_names), `_r` reverses it.
    pub fn cmap(self, name: impl Into<String>) -> Self {
        self.set(|o| o.cmap = name.into())
    }

    /// Low end of the colour scale: a number, or a percentile such as `"p1"`.
    pub fn vmin(self, limit: impl Into<Limit>) -> Self {
        self.set(|o| o.vmin = Some(limit.into()))
    }

    /// High end of the colour scale: a number, or a percentile such as `"p99"`.
    pub fn vmax(self, limit: impl Into<Limit>) -> Self {
        self.set(|o| o.vmax = Some(limit.into()))
    }

    /// Whether all panels of numbers share one colour scale.
    pub fn shared_scale(self, on: bool) -> Self {
        self.set(|o| o.shared_scale = on)
    }

    /// Colours only these categories; the others are drawn as missing.
    pub fn groups<S: ToString>(self, groups: impl IntoIterator<Item = S>) -> Self {
        let groups = groups.into_iter().map(|g| g.to_string()).collect();
        self.set(|o| o.groups = Some(groups))
    }

    /// Colours of the categories: a name of [`palette_names`](super::palette_names) (such as
    /// `"colorblind"`), a list of colours, or pairs of category and colour.
    pub fn palette(self, palette: impl Into<Palette>) -> Self {
        self.set(|o| o.palette = palette.into())
    }

    /// Whether there are legends and colour bars (on by default).
    pub fn legend(self, on: bool) -> Self {
        self.set(|o| o.legend = on)
    }

    /// Whether a frame is drawn around each panel (by default on embeddings only).
    pub fn frame(self, on: bool) -> Self {
        self.set(|o| o.frame = Some(on))
    }

    /// Panels in a row (by default up to three).
    pub fn ncols(self, columns: usize) -> Self {
        self.set(|o| o.columns = Some(columns))
    }

    /// Titles of the panels in place of their keys.
    pub fn titles<S: ToString>(self, titles: impl IntoIterator<Item = S>) -> Self {
        let titles = titles.into_iter().map(|t| t.to_string()).collect();
        self.set(|o| o.titles = Some(titles))
    }
}
