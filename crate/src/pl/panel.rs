//! Drawing a [`PointMap`]: what colour its points have, and a panel with its legend. How panels
//! share the sheet is in `layout`.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::figure::{Frame, Plot};
use super::keys::Paint;
use super::layout::MARGIN;
use super::legend::{ColorBar, Legend};
use super::palette::{Cmap, Color};
use super::points::{Data, Kind, Panel, PointMap};
use super::scale;
use crate::error::{Error, Result};

pub(super) const TITLE: f64 = 14.0;
pub(super) const PANEL_TITLE: f64 = 13.0;
pub(super) const AXIS_LABEL: f64 = 11.5;
/// Between a panel and its legend.
const GAP: f64 = 12.0;

/// What stands beside a panel and says what its colours mean.
pub(super) enum Side {
    None,
    Legend(Legend),
    Bar(ColorBar),
}

impl Side {
    pub fn width(&self, height: f64) -> f64 {
        match self {
            Side::None => 0.0,
            Side::Legend(l) => GAP + l.width(height),
            Side::Bar(b) => GAP + b.width(),
        }
    }

    /// What it needs beside a plot of that height.
    pub fn height(&self, plot: f64) -> f64 {
        match self {
            Side::Legend(l) => l.height(plot),
            _ => 0.0,
        }
    }
}

/// A panel with the colours of its points worked out.
pub(super) struct Ready {
    pub title: Option<String>,
    colors: Vec<Color>,
    /// The order of drawing, where it is not that of the points.
    order: Option<Vec<u32>>,
    pub side: Side,
}

impl PointMap {
    fn ready(&self, data: &Data, frame: &Frame, ink_missing: Color) -> Result<Vec<Ready>> {
        let o = &self.options;
        for (name, value) in [("alpha", o.alpha), ("image_alpha", o.image_alpha)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::parameter(name, value, "must be between 0 and 1"));
            }
        }
        for (name, value) in [("spot_size", o.spot_size), ("spot_scale", Some(o.spot_scale))] {
            if let Some(v) = value.filter(|v| !(*v > 0.0 && v.is_finite())) {
                return Err(Error::parameter(name, v, "must be a positive number"));
            }
        }
        if o.columns == Some(0) {
            return Err(Error::parameter("ncols", 0, "must be at least 1"));
        }
        let cmap = Cmap::named(&o.cmap)?;
        let common = if o.shared_scale {
            let all = data.panels.iter().filter_map(|p| match &p.paint {
                Paint::Numbers(v) => Some(v),
                Paint::Labels { .. } => None,
            });
            let all: Vec<f64> = all.flatten().copied().collect();
            Some(scale::limits(&all, &o.vmin, &o.vmax)?)
        } else {
            None
        };
        let n = data.panels.len();
        let title = |k: usize, name: &str| -> Option<String> {
            let given = o.titles.as_ref().and_then(|t| t.get(k).cloned());
            let whole = if n == 1 { frame.title.clone() } else { None };
            let title = given.or(whole).unwrap_or_else(|| name.to_string());
            (!title.is_empty()).then_some(title)
        };
        if n == 0 {
            // Nothing to colour by: the tissue alone, or plain points where there is none.
            let plain = matches!(&data.tissue, Ok(Some(_))) && o.image;
            let colors =
                if plain { Vec::new() } else { vec![self.faded(ink_missing); data.points.len()] };
            let title = title_of(frame);
            return Ok(vec![Ready { title, colors, order: None, side: Side::None }]);
        }
        let ready = |(k, panel): (usize, &Panel)| {
            let (colors, order, side) = match &panel.paint {
                Paint::Numbers(v) => self.numbers(v, &cmap, common, data.kind, ink_missing)?,
                Paint::Labels { codes, categories, .. } => {
                    let palette = panel.paint.colors(&o.palette)?;
                    self.categories(codes, categories, &palette, ink_missing)?
                }
            };
            let side = if o.legend { side } else { Side::None };
            Ok(Ready { title: title(k, &panel.name), colors, order, side })
        };
        data.panels.iter().enumerate().map(ready).collect()
    }

    fn faded(&self, color: Color) -> Color {
        color.with_alpha(color.alpha * self.options.alpha as f32)
    }

    fn numbers(
        &self,
        values: &[f64],
        cmap: &Cmap,
        common: Option<(f64, f64)>,
        kind: Kind,
        missing: Color,
    ) -> Result<(Vec<Color>, Option<Vec<u32>>, Side)> {
        let o = &self.options;
        let limits = match common {
            Some(limits) => limits,
            None => scale::limits(values, &o.vmin, &o.vmax)?,
        };
        let color = |&v: &f64| {
            if v.is_nan() {
                return self.faded(missing);
            }
            let t = scale::position(v, limits);
            let alpha = if o.alpha_by_value { 0.05 + 0.95 * t.clamp(0.0, 1.0) } else { 1.0 };
            let color = self.faded(cmap.at(t));
            color.with_alpha(color.alpha * alpha as f32)
        };
        let colors = values.iter().map(color).collect();
        // On an embedding points overlap: the highest on top, as scanpy does.
        let order = (kind == Kind::Embedding).then(|| {
            let mut order: Vec<u32> = (0..values.len() as u32).collect();
            let rank = |i: u32| {
                let v = values[i as usize];
                if v.is_nan() { f64::NEG_INFINITY } else { v }
            };
            order.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
            order
        });
        let any = values.iter().any(|v| v.is_finite());
        let side = if any {
            Side::Bar(ColorBar::new(cmap, limits))
        } else {
            Side::Legend(Legend::new(vec![("NA".into(), missing)]))
        };
        Ok((colors, order, side))
    }

    fn categories(
        &self,
        codes: &[i32],
        categories: &[String],
        palette: &[Option<Color>],
        missing: Color,
    ) -> Result<(Vec<Color>, Option<Vec<u32>>, Side)> {
        let mut shown: Vec<Option<Color>> = palette.to_vec();
        let mut other = "NA";
        if let Some(groups) = &self.options.groups {
            if let Some(unknown) = groups.iter().find(|g| !categories.contains(g)) {
                return Err(Error::missing_key("groups", "category", unknown, categories));
            }
            for (c, name) in shown.iter_mut().zip(categories) {
                *c = c.filter(|_| groups.contains(name));
            }
            other = "other";
        }
        let of = |code: i32| usize::try_from(code).ok().and_then(|c| shown.get(c).copied()?);
        let colors: Vec<Color> =
            codes.iter().map(|&c| self.faded(of(c).unwrap_or(missing))).collect();
        // Categories without a spot are not in the legend, but they keep their colours.
        let mut present = vec![false; categories.len()];
        for &code in codes {
            if let Some(p) = usize::try_from(code).ok().and_then(|c| present.get_mut(c)) {
                *p = true;
            }
        }
        let mut entries: Vec<(String, Color)> = (0..categories.len())
            .filter(|&c| present[c])
            .filter_map(|c| shown[c].map(|color| (categories[c].clone(), color)))
            .collect();
        if codes.iter().any(|&c| of(c).is_none()) {
            entries.push((other.into(), missing));
        }
        // What is missing lies below the rest.
        let order = codes.iter().any(|&c| of(c).is_none()).then(|| {
            let mut order: Vec<u32> = (0..codes.len() as u32).collect();
            order.sort_by_key(|&i| of(codes[i as usize]).is_some());
            order
        });
        Ok((colors, order, Side::Legend(Legend::new(entries))))
    }

    fn panel(&self, canvas: &mut Canvas, data: &Data, ready: &Ready, plot: Rect) -> Result<()> {
        let o = &self.options;
        let extent = self.extent(data)?;
        let (sx, sy) = (plot.width() / extent.width(), plot.height() / extent.height());
        let down = data.kind == Kind::Spatial;
        let place = |p: &[f64; 2]| {
            let x = plot.x0 + (p[0] - extent.x0) * sx;
            let y = if down { p[1] - extent.y0 } else { extent.y1 - p[1] } * sy + plot.y0;
            [x as f32, y as f32]
        };
        let radius = match (data.kind, o.spot_size) {
            (Kind::Embedding, Some(size)) => size / 2.0,
            (Kind::Embedding, None) => {
                let n = data.points.len().max(1) as f64;
                ((120_000.0 / n).sqrt() * plot.width() / 400.0 / 2.0).clamp(0.7, 5.0)
            }
            (Kind::Spatial, size) => {
                // Without a known diameter, points that nearly touch their neighbours.
                let near =
                    if data.spacing > 0.0 { 0.9 * data.spacing } else { extent.width() / 8.0 };
                let diameter = size.or(data.diameter).unwrap_or(near);
                (diameter * sx / 2.0).max(0.6)
            }
        } * o.spot_scale;
        let tissue = data.tissue.as_ref().map_err(super::points::again);
        let picture = if o.image { tissue?.as_ref() } else { None };
        canvas.clipped(plot, |canvas| {
            if let Some(picture) = picture {
                let image = picture.image(o.greyscale);
                let (w, h) = (image.width as f64, image.height as f64);
                let [x0, y0] = place(&[0.0, 0.0]).map(f64::from);
                let (w, h) = (w / picture.scale * sx, h / picture.scale * sy);
                canvas.picture(image, Rect::at(x0, y0, w, h), o.image_alpha);
            }
            let r = radius as f32 + 1.0;
            let seen = |p: &[f32; 2]| {
                (plot.x0 as f32 - r..=plot.x1 as f32 + r).contains(&p[0])
                    && (plot.y0 as f32 - r..=plot.y1 as f32 + r).contains(&p[1])
            };
            let (mut centers, mut colors) = (Vec::new(), Vec::new());
            let mut add = |i: usize| {
                let center = place(&data.points[i]);
                if let (true, Some(&color)) = (seen(&center), ready.colors.get(i)) {
                    centers.push(center);
                    colors.push(color);
                }
            };
            match &ready.order {
                Some(order) => order.iter().for_each(|&i| add(i as usize)),
                None => (0..data.points.len()).for_each(&mut add),
            }
            canvas.spots(o.shape, centers, radius, colors);
        });
        let ink = canvas.ink;
        if o.frame.unwrap_or(data.kind == Kind::Embedding) {
            canvas.outline(plot, 1.0, ink.axis);
        }
        if let Some((x, y)) = &data.axes {
            let style = TextStyle::new(AXIS_LABEL, ink.text).anchor(Align::Middle, VAlign::Top);
            canvas.text(plot.center_x(), plot.y1 + 7.0, x, style);
            let style = style.anchor(Align::Middle, VAlign::Baseline).upward();
            canvas.text(plot.x0 - 7.0, plot.center_y(), y, style);
        }
        match &ready.side {
            Side::None => {}
            Side::Legend(l) => l.draw(canvas, plot.x1 + GAP, plot),
            Side::Bar(b) => b.draw(canvas, plot.x1 + GAP, plot),
        }
        if let Some(title) = &ready.title {
            let style = TextStyle::new(PANEL_TITLE, ink.text)
                .bold()
                .anchor(Align::Middle, VAlign::Baseline);
            let room = plot.width() + 60.0;
            let title = super::text::fit(title, PANEL_TITLE, true, room);
            canvas.text(plot.center_x(), plot.y0 - 8.0, title, style);
        }
        Ok(())
    }
}

fn title_of(frame: &Frame) -> Option<String> {
    frame.title.clone().filter(|t| !t.is_empty())
}

impl Plot for PointMap {
    fn describe(&self) -> String {
        match self.data() {
            Ok(data) => {
                let what = match data.kind {
                    Kind::Spatial => "spatial map",
                    Kind::Embedding => "embedding",
                };
                let names: Vec<&str> = data.panels.iter().map(|p| p.name.as_str()).collect();
                let by = if names.is_empty() { "" } else { " coloured by " };
                format!("{what} of {} points{by}{}", data.points.len(), names.join(", "))
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        let data = self.data()?;
        let ready = self.ready(data, frame, frame.theme.ink().missing)?;
        let (w, h) = self.layout(data, &ready, frame)?.size();
        Ok((frame.width.unwrap_or(w), frame.height.unwrap_or(h)))
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let data = self.data()?;
        let ready = self.ready(data, frame, canvas.ink.missing)?;
        let layout = self.layout(data, &ready, frame)?;
        let (w, h) = layout.size();
        // Centred where the sheet is larger than the panels.
        let offset = (((canvas.width - w) / 2.0).max(0.0), ((canvas.height - h) / 2.0).max(0.0));
        if let (true, Some(title)) = (ready.len() > 1, title_of(frame)) {
            let style =
                TextStyle::new(TITLE, canvas.ink.text).bold().anchor(Align::Middle, VAlign::Top);
            canvas.text(canvas.width / 2.0, MARGIN + offset.1, title, style);
        }
        for (k, ready) in ready.iter().enumerate() {
            self.panel(canvas, data, ready, layout.panel(k, offset))?;
        }
        Ok(())
    }
}
