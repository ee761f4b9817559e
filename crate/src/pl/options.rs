//! The options of maps of points, under the names that scanpy and squidpy give them.

use super::canvas::{Rect, SpotShape};
use super::figure::Figure;
use super::keys::Paint;
use super::palette::Palette;
use super::points::{Data, Kind, Limits, PointMap};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub image: bool,
    pub image_alpha: f64,
    pub image_name: Option<String>,
    pub greyscale: bool,
    pub alpha: f64,
    pub alpha_by_value: bool,
    pub spot_size: Option<f64>,
    pub spot_scale: f64,
    pub shape: SpotShape,
    pub crop: Option<Rect>,
    pub cmap: String,
    pub vmin: Limits,
    pub vmax: Limits,
    pub vcenter: Limits,
    pub log_scale: bool,
    pub shared_scale: bool,
    pub groups: Option<Vec<String>>,
    pub mask: Option<Vec<bool>>,
    pub palette: Palette,
    pub na_color: Option<String>,
    pub na_in_legend: bool,
    pub sort_order: bool,
    pub legend: bool,
    pub legend_loc: LegendLoc,
    pub legend_fontsize: Option<f64>,
    pub colorbar: LegendLoc,
    pub colorbar_label: Option<String>,
    pub outline: bool,
    pub outline_width: (f64, f64),
    pub outline_color: (String, String),
    pub edges_width: Option<f64>,
    pub edges_color: String,
    pub scalebar: Option<(f64, String)>,
    pub frame: Option<bool>,
    pub columns: Option<usize>,
    pub wspace: Option<f64>,
    pub hspace: Option<f64>,
    pub library_first: bool,
    pub titles: Option<Vec<String>>,
    pub log: (bool, bool),
}

impl Default for Options {
    fn default() -> Self {
        Options {
            image: true,
            image_alpha: 1.0,
            image_name: None,
            greyscale: false,
            alpha: 1.0,
            alpha_by_value: false,
            spot_size: None,
            spot_scale: 1.0,
            shape: SpotShape::Circle,
            crop: None,
            cmap: "viridis".into(),
            vmin: Limits::default(),
            vmax: Limits::default(),
            vcenter: Limits::default(),
            log_scale: false,
            shared_scale: false,
            groups: None,
            mask: None,
            palette: Palette::Default,
            na_color: None,
            na_in_legend: true,
            sort_order: true,
            legend: true,
            legend_loc: LegendLoc::Right,
            legend_fontsize: None,
            colorbar: LegendLoc::Right,
            colorbar_label: None,
            outline: false,
            outline_width: (0.3, 0.05),
            outline_color: ("black".into(), "white".into()),
            edges_width: None,
            edges_color: "grey".into(),
            scalebar: None,
            frame: None,
            columns: None,
            wspace: None,
            hspace: None,
            library_first: true,
            titles: None,
            log: (false, false),
        }
    }
}

/// Where a legend stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegendLoc {
    /// To the right of the panel.
    Right,
    /// Below the panel.
    Bottom,
    /// The names of categories on the middle of their points.
    OnData,
    /// No legend.
    None,
    /// A text that is none of these; it becomes an error when the figure is drawn.
    Unknown(String),
}

impl From<&str> for LegendLoc {
    /// `right margin` (or `right`), `bottom` (or matplotlib's `lower center`), `on data`, `none`.
    fn from(text: &str) -> Self {
        match text.to_lowercase().as_str() {
            "right margin" | "right" | "center right" | "best" => LegendLoc::Right,
            "bottom" | "lower center" | "bottom margin" => LegendLoc::Bottom,
            "on data" => LegendLoc::OnData,
            "none" | "" => LegendLoc::None,
            _ => LegendLoc::Unknown(text.into()),
        }
    }
}

impl Figure<PointMap> {
    fn set(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.plot.options);
        self
    }

    /// Changes the data; a failure becomes the figure's error.
    fn change(mut self, change: impl FnOnce(&mut Data) -> Result<()>) -> Self {
        if let Ok(data) = &mut self.plot.data
            && let Err(e) = change(data)
        {
            self.plot.data = Err(Arc::new(e));
        }
        self
    }

    /// Whether the tissue image is drawn below the spots (on by default, if there is one).
    pub fn image(self, on: bool) -> Self {
        self.set(|o| o.image = on)
    }

    /// [`image`](Self::image) under squidpy's name.
    pub fn img(self, on: bool) -> Self {
        self.image(on)
    }

    /// Opacity of the tissue image, 0 to 1.
    pub fn image_alpha(self, alpha: f64) -> Self {
        self.set(|o| o.image_alpha = alpha)
    }

    /// [`image_alpha`](Self::image_alpha) under squidpy's name.
    pub fn img_alpha(self, alpha: f64) -> Self {
        self.image_alpha(alpha)
    }

    /// Which of the slide's images is drawn: `hires` (the default if there is one), `lowres`, ….
    pub fn img_res_key(self, name: impl Into<String>) -> Self {
        self.set(|o| o.image_name = Some(name.into()))
    }

    /// Whether the tissue image is drawn in shades of grey, so that it does not compete with the
    /// colours of the spots (scanpy's `bw`).
    pub fn greyscale(self, on: bool) -> Self {
        self.set(|o| o.greyscale = on)
    }

    /// [`greyscale`](Self::greyscale) under scanpy's name.
    pub fn bw(self, on: bool) -> Self {
        self.greyscale(on)
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
    /// `spot_diameter_fullres`, or what the distance of neighbours allows), elsewhere in CSS
    /// pixels.
    pub fn spot_size(self, diameter: f64) -> Self {
        self.set(|o| o.spot_size = Some(diameter))
    }

    /// Makes the points that many times their size (scanpy's and squidpy's `size` of spatial maps).
    pub fn spot_scale(self, factor: f64) -> Self {
        self.set(|o| o.spot_scale = factor)
    }

    /// Outline of the points.
    pub fn shape(self, shape: SpotShape) -> Self {
        self.set(|o| o.shape = shape)
    }

    /// Whether the points have a rim, so that groups stand out: a dark line around them all and a
    /// light one between it and the points. See [`outline_width`](Self::outline_width).
    pub fn add_outline(self, on: bool) -> Self {
        self.set(|o| o.outline = on)
    }

    /// [`add_outline`](Self::add_outline) under squidpy's name.
    pub fn outline(self, on: bool) -> Self {
        self.add_outline(on)
    }

    /// Widths of the outline and of the gap below it, as parts of a point's diameter (0.3 and 0.05
    /// by default).
    pub fn outline_width(self, outline: f64, gap: f64) -> Self {
        self.set(|o| o.outline_width = (outline, gap))
    }

    /// Colours of the outline and of the gap below it (black and white by default).
    pub fn outline_color(self, outline: impl Into<String>, gap: impl Into<String>) -> Self {
        self.set(|o| o.outline_color = (outline.into(), gap.into()))
    }

    /// Shows only the part between (x0, y0) and (x1, y1), in the coordinates of the points.
    pub fn crop(self, x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        let crop = Rect { x0: x0.min(x1), y0: y0.min(y1), x1: x0.max(x1), y1: y0.max(y1) };
        self.set(|o| o.crop = Some(crop))
    }

    /// [`crop`](Self::crop) in scanpy's order: left, right, top, bottom.
    pub fn crop_coord(self, left: f64, right: f64, top: f64, bottom: f64) -> Self {
        self.crop(left, top, right, bottom)
    }

    /// Colour map of numbers: a name of [`cmap_names`](super::cmap_names), `_r` reverses it.
    pub fn cmap(self, name: impl Into<String>) -> Self {
        self.set(|o| o.cmap = name.into())
    }

    /// [`cmap`](Self::cmap) under scanpy's other name.
    pub fn color_map(self, name: impl Into<String>) -> Self {
        self.cmap(name)
    }

    /// Low end of the colour scale: a number, or a percentile such as `"p1"`; or a list with one
    /// for each panel.
    pub fn vmin(self, limit: impl Into<Limits>) -> Self {
        self.set(|o| o.vmin = limit.into())
    }

    /// High end of the colour scale: a number, or a percentile such as `"p99"`; or a list with one
    /// for each panel.
    pub fn vmax(self, limit: impl Into<Limits>) -> Self {
        self.set(|o| o.vmax = limit.into())
    }

    /// The number that gets the middle colour, with both sides stretched on their own: for
    /// diverging maps such as `RdBu_r`.
    pub fn vcenter(self, limit: impl Into<Limits>) -> Self {
        self.set(|o| o.vcenter = limit.into())
    }

    /// Whether numbers are coloured by their logarithm; what is not above 0 is drawn as missing.
    pub fn log_norm(self, on: bool) -> Self {
        self.set(|o| o.log_scale = on)
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

    /// Colours only the observations for which this is true; the others are drawn as missing.
    pub fn mask_obs(self, mask: impl IntoIterator<Item = bool>) -> Self {
        self.set(|o| o.mask = Some(mask.into_iter().collect()))
    }

    /// Colours of the categories: a name of [`palette_names`](super::palette_names) (such as
    /// `"colorblind"`), a list of colours, or pairs of category and colour.
    pub fn palette(self, palette: impl Into<Palette>) -> Self {
        self.set(|o| o.palette = palette.into())
    }

    /// Colour of what has no value (a light grey by default).
    pub fn na_color(self, color: impl Into<String>) -> Self {
        self.set(|o| o.na_color = Some(color.into()))
    }

    /// Whether the legend says which colour missing values have (on by default).
    pub fn na_in_legend(self, on: bool) -> Self {
        self.set(|o| o.na_in_legend = on)
    }

    /// Whether high values are drawn above low ones, and anything above what is missing (on by
    /// default; on tissue, where spots seldom overlap, numbers keep their order).
    pub fn sort_order(self, on: bool) -> Self {
        self.set(|o| o.sort_order = on)
    }

    /// Whether there are legends and colour bars (on by default).
    pub fn legend(self, on: bool) -> Self {
        self.set(|o| o.legend = on)
    }

    /// Where the legend of categories stands: `"right margin"`, `"bottom"`, `"on data"`, `"none"`.
    pub fn legend_loc(self, place: impl Into<LegendLoc>) -> Self {
        self.set(|o| o.legend_loc = place.into())
    }

    /// Size of the legend's text in CSS pixels.
    pub fn legend_fontsize(self, size: f64) -> Self {
        self.set(|o| o.legend_fontsize = Some(size))
    }

    /// Where the colour bar stands: `"right"`, `"bottom"` or `"none"`.
    pub fn colorbar_loc(self, place: impl Into<LegendLoc>) -> Self {
        self.set(|o| o.colorbar = place.into())
    }

    /// Whether there are colour bars (squidpy's `colorbar`).
    pub fn colorbar(self, on: bool) -> Self {
        self.set(|o| o.colorbar = if on { LegendLoc::Right } else { LegendLoc::None })
    }

    /// A text along the colour bar, e.g. the unit of its numbers.
    pub fn colorbar_label(self, label: impl Into<String>) -> Self {
        self.set(|o| o.colorbar_label = Some(label.into()))
    }

    /// Draws the edges of `adata.obsp[key]` below the points, e.g. `"spatial_connectivities"`
    /// (squidpy's `connectivity_key`) or `"connectivities"`. `adata` must be the object that the
    /// figure was made of.
    pub fn edges(self, adata: &AnnData, key: &str) -> Self {
        self.change(|data| {
            let graph = adata
                .obsp
                .get(key)
                .ok_or_else(|| Error::missing_key("obsp", "graph", key, adata.obsp.keys()))?;
            for view in &mut data.views {
                let most = match &view.rows {
                    Some(rows) => rows.iter().max().map_or(0, |m| m + 1),
                    None => view.points.len(),
                };
                let fits =
                    if view.rows.is_some() { graph.nrows() >= most } else { graph.nrows() == most };
                if !fits || graph.nrows() != graph.ncols() {
                    let found = format!("{} × {}", graph.nrows(), graph.ncols());
                    return Err(Error::shape(
                        format!("obsp[\"{key}\"]"),
                        format!("{most} × {most}"),
                        found,
                    ));
                }
                view.join(graph);
            }
            Ok(())
        })
    }

    /// [`edges`](Self::edges) under squidpy's name.
    pub fn connectivity_key(self, adata: &AnnData, key: &str) -> Self {
        self.edges(adata, key)
    }

    /// Width of edges in CSS pixels (by default 1 on tissue and 0.15 elsewhere).
    pub fn edges_width(self, width: f64) -> Self {
        self.set(|o| o.edges_width = Some(width))
    }

    /// Colour of edges.
    pub fn edges_color(self, color: impl Into<String>) -> Self {
        self.set(|o| o.edges_color = color.into())
    }

    /// Draws a scale bar on a spatial map: `dx` is the length of one unit of the coordinates (of
    /// a full-resolution pixel, say) in `unit`, e.g. 0.5 and `"µm"`.
    pub fn scalebar(self, dx: f64, unit: impl Into<String>) -> Self {
        self.set(|o| o.scalebar = Some((dx, unit.into())))
    }

    /// Whether a frame is drawn around each panel (by default not on tissue).
    pub fn frame(self, on: bool) -> Self {
        self.set(|o| o.frame = Some(on))
    }

    /// [`frame`](Self::frame) under scanpy's name.
    pub fn frameon(self, on: bool) -> Self {
        self.frame(on)
    }

    /// Panels in a row (by default up to three).
    pub fn ncols(self, columns: usize) -> Self {
        self.set(|o| o.columns = Some(columns))
    }

    /// Space between panels side by side, as a part of a panel's width.
    pub fn wspace(self, space: f64) -> Self {
        self.set(|o| o.wspace = Some(space))
    }

    /// Space between rows of panels, as a part of a panel's height.
    pub fn hspace(self, space: f64) -> Self {
        self.set(|o| o.hspace = Some(space))
    }

    /// Whether all keys of one library (or pair of dimensions) come before the next library (the
    /// default, as in squidpy), or all libraries of one key before the next key.
    pub fn library_first(self, on: bool) -> Self {
        self.set(|o| o.library_first = on)
    }

    /// Titles of the panels in place of their keys.
    pub fn titles<S: ToString>(self, titles: impl IntoIterator<Item = S>) -> Self {
        let titles = titles.into_iter().map(|t| t.to_string()).collect();
        self.set(|o| o.titles = Some(titles))
    }

    /// Logarithmic axes of a [`scatter_xy`](super::scatter_xy); points that are not above 0 there
    /// are an error.
    pub fn log(self, x: bool, y: bool) -> Self {
        self.set(|o| o.log = (x, y))
    }

    /// Which dimensions of an embedding are drawn, one panel for each text such as `"1,2"`
    /// (counted from 1, as scanpy's `components`). `adata` must be the object that the figure was
    /// made of.
    pub fn components<S: AsRef<str>>(
        self,
        adata: &AnnData,
        components: impl IntoIterator<Item = S>,
    ) -> Self {
        self.change(|data| {
            let mut pairs = Vec::new();
            for text in components {
                let text = text.as_ref();
                let wrong =
                    || Error::parameter("components", text, "must be two numbers from 1, e.g. 1,2");
                let number = |s: &str| s.trim().parse::<usize>().ok()?.checked_sub(1);
                let (a, b) = text.split_once(',').ok_or_else(wrong)?;
                pairs.push((number(a).ok_or_else(wrong)?, number(b).ok_or_else(wrong)?));
            }
            super::spatial::choose_dimensions(data, adata, &pairs)
        })
    }

    /// [`components`](Self::components) as pairs of columns counted from 0 (scanpy's `dimensions`).
    pub fn dimensions_of(
        self,
        adata: &AnnData,
        pairs: impl IntoIterator<Item = (usize, usize)>,
    ) -> Self {
        let pairs: Vec<_> = pairs.into_iter().collect();
        self.change(|data| super::spatial::choose_dimensions(data, adata, &pairs))
    }
}

impl Options {
    /// Says which option makes no sense.
    pub(crate) fn check(&self, data: &Data) -> Result<()> {
        for (name, value) in [("alpha", self.alpha), ("image_alpha", self.image_alpha)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::parameter(name, value, "must be between 0 and 1"));
            }
        }
        let positive = [
            ("spot_size", self.spot_size),
            ("spot_scale", Some(self.spot_scale)),
            ("legend_fontsize", self.legend_fontsize),
            ("edges_width", self.edges_width),
            ("scalebar", self.scalebar.as_ref().map(|s| s.0)),
        ];
        for (name, value) in positive {
            if let Some(v) = value.filter(|v| !(*v > 0.0 && v.is_finite())) {
                return Err(Error::parameter(name, v, "must be a positive number"));
            }
        }
        let spaces = [
            ("wspace", self.wspace),
            ("hspace", self.hspace),
            ("outline_width", Some(self.outline_width.0)),
            ("outline_width", Some(self.outline_width.1)),
        ];
        for (name, value) in spaces {
            if let Some(v) = value.filter(|v| !(0.0..=10.0).contains(v)) {
                return Err(Error::parameter(name, v, "must be between 0 and 10"));
            }
        }
        if self.columns == Some(0) {
            return Err(Error::parameter("ncols", 0, "must be at least 1"));
        }
        for (name, place) in [("legend_loc", &self.legend_loc), ("colorbar_loc", &self.colorbar)] {
            if let LegendLoc::Unknown(text) = place {
                let reason = "must be \"right margin\", \"bottom\", \"on data\" or \"none\"";
                return Err(Error::parameter(name, text, reason));
            }
        }
        if let Some(mask) = &self.mask {
            let n = data
                .paints
                .iter()
                .map(|p| p.1.len())
                .chain(data.views.iter().filter(|v| v.rows.is_none()).map(|v| v.points.len()));
            if let Some(n) = n.into_iter().find(|n| *n != mask.len()) {
                return Err(Error::shape("mask_obs", format!("{n} (one a spot)"), mask.len()));
            }
        }
        if self.scalebar.is_some() && data.kind != Kind::Spatial {
            return Err(Error::parameter("scalebar", "set", "only tissue has a scale"));
        }
        if let Some(groups) = &self.groups {
            let labels = data.paints.iter().filter_map(|p| match &*p.1 {
                Paint::Labels { categories, .. } => Some(categories),
                Paint::Numbers(_) => None,
            });
            let mut known: Vec<&String> = labels.flatten().collect();
            known.dedup();
            if let Some(unknown) = groups.iter().find(|g| !known.contains(g)) {
                return Err(Error::missing_key("groups", "category", unknown, known));
            }
        }
        Ok(())
    }
}
