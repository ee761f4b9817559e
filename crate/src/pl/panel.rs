//! Drawing a [`PointMap`]: what colour its points have, and a panel with its legend. How panels
//! share the sheet is in `layout`.

use super::axis::LABEL;
use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::figure::{Frame, Plot, TITLE};
use super::keys::Paint;
use super::layout::{Layout, MARGIN};
use super::legend::{ColorBar, Legend};
use super::options::LegendLoc;
use super::palette::{Cmap, Color};
use super::points::{Kind, PointMap, View};
use super::scale::Scale;
use super::text::{fit, text_width};
use super::ticks;
use crate::error::{Error, Result};

pub(super) const PANEL_TITLE: f64 = 13.0;
pub(super) const AXIS_LABEL: f64 = 11.5;
/// Between a panel and its legend.
const GAP: f64 = 12.0;

enum Key {
    Legend(Legend),
    Bar(ColorBar),
}

/// What says what a panel's colours mean.
#[derive(Default)]
pub(super) struct Side {
    right: Option<Key>,
    below: Option<Key>,
    /// Names of categories on their points.
    on_data: Vec<(String, [f64; 2])>,
}

impl Side {
    fn at(place: &LegendLoc, key: Key) -> Side {
        match place {
            LegendLoc::Right => Side { right: Some(key), ..Side::default() },
            LegendLoc::Bottom => Side { below: Some(key), ..Side::default() },
            _ => Side::default(),
        }
    }

    pub fn width(&self, height: f64) -> f64 {
        match &self.right {
            None => 0.0,
            Some(Key::Legend(l)) => GAP + l.width(height),
            Some(Key::Bar(b)) => GAP + b.width(),
        }
    }

    /// What it needs beside a plot of that height.
    pub fn height(&self, plot: f64) -> f64 {
        match &self.right {
            Some(Key::Legend(l)) => l.height(plot),
            _ => 0.0,
        }
    }

    /// What it needs below a plot of that width.
    pub fn below(&self, width: f64) -> f64 {
        match &self.below {
            None => 0.0,
            Some(Key::Legend(l)) => l.height_below(width),
            Some(Key::Bar(b)) => b.height_below(),
        }
    }
}

/// A panel with the colours of its points worked out.
pub(super) struct Ready<'a> {
    view: &'a View,
    pub title: Option<String>,
    colors: Vec<Color>,
    /// The order of drawing, where it is not that of the points.
    order: Option<Vec<u32>>,
    pub side: Side,
}

type Painted = (Vec<Color>, Option<Vec<u32>>, Side);

impl PointMap {
    fn ready<'a>(&'a self, frame: &Frame, missing: Color) -> Result<Vec<Ready<'a>>> {
        let (o, data) = (&self.options, self.data()?);
        o.check(data)?;
        let missing = match &o.na_color {
            Some(color) => parse("na_color", color)?,
            None => missing,
        };
        let cmap = Cmap::named(&o.cmap)?;
        let (views, n_paints) = (&data.views, data.paints.len());
        if n_paints == 0 {
            // Nothing to colour by: the tissue alone, or plain points where there is none.
            let n = views.len();
            let ready = |view: &'a View| {
                let picture = if o.image { view.picture(o.image_name.as_deref())? } else { None };
                let colors = match picture {
                    Some(_) => Vec::new(),
                    None => vec![self.faded(missing); view.points.len()],
                };
                let title = if n == 1 { title_of(frame) } else { None };
                let title = title.or(view.name.clone().filter(|_| data.kind == Kind::Spatial));
                Ok(Ready { view, title, colors, order: None, side: Side::default() })
            };
            return views.iter().map(ready).collect();
        }
        // The panels as pairs of a view and a paint.
        let pairs: Vec<(usize, usize)> = if o.library_first {
            (0..views.len()).flat_map(|v| (0..n_paints).map(move |p| (v, p))).collect()
        } else {
            (0..n_paints).flat_map(|p| (0..views.len()).map(move |v| (v, p))).collect()
        };
        let n = pairs.len();
        let numbers = |&(v, p): &(usize, usize)| match &*data.paints[p].1 {
            Paint::Numbers(values) => Some(views[v].pick(values)),
            Paint::Labels { .. } => None,
        };
        let common = if o.shared_scale {
            let all: Vec<f64> = pairs.iter().filter_map(numbers).flatten().collect();
            Some(self.scale(&all, 0, n)?)
        } else {
            None
        };
        let ready = |k: usize| {
            let (v, p) = pairs[k];
            let (view, (name, paint)) = (&views[v], &data.paints[p]);
            let (colors, order, side) = match &**paint {
                Paint::Numbers(values) => {
                    let values = view.pick(values);
                    let scale = match common {
                        Some(scale) => scale,
                        None => self.scale(&values, k, n)?,
                    };
                    self.numbers(view, &values, &cmap, scale, data.kind, missing)
                }
                Paint::Labels { codes, categories, .. } => {
                    let palette = paint.colors(&o.palette)?;
                    self.categories(view, &view.pick(codes), categories, &palette, missing)
                }
            };
            let side = if o.legend { side } else { Side::default() };
            let usual = match &view.name {
                Some(slide) if data.kind == Kind::Spatial && n_paints == 1 => slide.clone(),
                Some(slide) if data.kind == Kind::Spatial => format!("{slide}: {name}"),
                _ => name.clone(),
            };
            let given = o.titles.as_ref().and_then(|t| t.get(k).cloned());
            let whole = if n == 1 { frame.title.clone() } else { None };
            let title = given.or(whole).unwrap_or(usual);
            let title = (!title.is_empty()).then_some(title);
            Ok(Ready { view, title, colors, order, side })
        };
        (0..n).map(ready).collect()
    }

    /// The colour scale of panel `k` of `n`.
    fn scale(&self, values: &[f64], k: usize, n: usize) -> Result<Scale> {
        let o = &self.options;
        let vmin = o.vmin.of("vmin", k, n)?;
        let vcenter = o.vcenter.of("vcenter", k, n)?;
        Scale::of(values, &vmin, &vcenter, &o.vmax.of("vmax", k, n)?, o.log_scale)
    }

    fn faded(&self, color: Color) -> Color {
        color.with_alpha(color.alpha * self.options.alpha as f32)
    }

    /// Whether point `i` of the view is to be coloured.
    fn masked(&self, view: &View) -> Option<Vec<bool>> {
        self.options.mask.as_ref().map(|m| view.pick(m))
    }

    fn numbers(
        &self,
        view: &View,
        values: &[f64],
        cmap: &Cmap,
        scale: Scale,
        kind: Kind,
        missing: Color,
    ) -> Painted {
        let o = &self.options;
        let mask = self.masked(view);
        let absent = |i: usize| {
            let v = values[i];
            v.is_nan() || (scale.log && v <= 0.0) || mask.as_ref().is_some_and(|m| !m[i])
        };
        let color = |i: usize| {
            if absent(i) {
                return self.faded(missing);
            }
            let t = scale.position(values[i]);
            let alpha = if o.alpha_by_value { 0.05 + 0.95 * t.clamp(0.0, 1.0) } else { 1.0 };
            let color = self.faded(cmap.at(t));
            color.with_alpha(color.alpha * alpha as f32)
        };
        let colors = (0..values.len()).map(color).collect();
        // Elsewhere than on tissue points overlap: the highest on top, as scanpy does.
        let order = (kind != Kind::Spatial && o.sort_order).then(|| {
            let mut order: Vec<u32> = (0..values.len() as u32).collect();
            let rank = |i: u32| {
                let i = i as usize;
                if absent(i) { f64::NEG_INFINITY } else { values[i] }
            };
            order.sort_by(|&a, &b| rank(a).total_cmp(&rank(b)));
            order
        });
        let any = (0..values.len()).any(|i| values[i].is_finite() && !absent(i));
        let side = if any {
            let bar = ColorBar::new(cmap, scale).labelled(o.colorbar_label.clone());
            Side::at(&o.colorbar, Key::Bar(bar))
        } else {
            self.legend(vec![("NA".into(), missing)])
        };
        (colors, order, side)
    }

    fn legend(&self, entries: Vec<(String, Color)>) -> Side {
        let o = &self.options;
        if entries.is_empty() {
            return Side::default();
        }
        let legend = match o.legend_fontsize {
            Some(size) => Legend::sized(entries, size),
            None => Legend::new(entries),
        };
        Side::at(&o.legend_loc, Key::Legend(legend))
    }

    fn categories(
        &self,
        view: &View,
        codes: &[i32],
        categories: &[String],
        palette: &[Option<Color>],
        missing: Color,
    ) -> Painted {
        let o = &self.options;
        let mut shown: Vec<Option<Color>> = palette.to_vec();
        let mut other = "NA";
        if let Some(groups) = &o.groups {
            for (c, name) in shown.iter_mut().zip(categories) {
                *c = c.filter(|_| groups.contains(name));
            }
            other = "other";
        }
        let mask = self.masked(view);
        let category = |i: usize| {
            let code = usize::try_from(codes[i]).ok()?;
            mask.as_ref().is_none_or(|m| m[i]).then_some(code)
        };
        let of = |i: usize| category(i).and_then(|c| shown.get(c).copied()?);
        let n = codes.len();
        let colors: Vec<Color> = (0..n).map(|i| self.faded(of(i).unwrap_or(missing))).collect();
        // Categories without a spot are not in the legend, but they keep their colours.
        let mut present = vec![false; categories.len()];
        for c in (0..n).filter_map(category) {
            if let Some(p) = present.get_mut(c) {
                *p = true;
            }
        }
        let absent = (0..n).any(|i| of(i).is_none());
        let mut entries: Vec<(String, Color)> = (0..categories.len())
            .filter(|&c| present[c])
            .filter_map(|c| shown[c].map(|color| (categories[c].clone(), color)))
            .collect();
        if absent && o.na_in_legend {
            entries.push((other.into(), missing));
        }
        // What is missing lies below the rest.
        let order = (absent && o.sort_order).then(|| {
            let mut order: Vec<u32> = (0..n as u32).collect();
            order.sort_by_key(|&i| of(i as usize).is_some());
            order
        });
        let side = if o.legend_loc == LegendLoc::OnData {
            let middle = |c: usize| {
                let of_category = |i: &usize| category(*i) == Some(c);
                let points: Vec<[f64; 2]> =
                    (0..n).filter(of_category).map(|i| view.points[i]).collect();
                Some((categories[c].clone(), [median(&points, 0)?, median(&points, 1)?]))
            };
            let shown = (0..categories.len()).filter(|&c| present[c] && shown[c].is_some());
            Side { on_data: shown.filter_map(middle).collect(), ..Side::default() }
        } else {
            self.legend(entries)
        };
        (colors, order, side)
    }

    fn panel(
        &self,
        canvas: &mut Canvas,
        ready: &Ready<'_>,
        layout: &Layout,
        cell: Rect,
    ) -> Result<()> {
        let (o, kind) = (&self.options, self.data()?.kind);
        let view = ready.view;
        let extent = self.extent(kind, view)?;
        let plot = if kind == Kind::Spatial { within(cell, &extent) } else { cell };
        let axes = if kind == Kind::Scatter { Some(self.scales(view)?) } else { None };
        let (sx, sy) = (plot.width() / extent.width(), plot.height() / extent.height());
        let place = |p: &[f64; 2]| -> [f32; 2] {
            let (x, y) = match (&axes, kind) {
                (Some((x, y)), _) => (
                    plot.x0 + x.position(p[0]) * plot.width(),
                    plot.y1 - y.position(p[1]) * plot.height(),
                ),
                (None, Kind::Spatial) => {
                    (plot.x0 + (p[0] - extent.x0) * sx, plot.y0 + (p[1] - extent.y0) * sy)
                }
                _ => (plot.x0 + (p[0] - extent.x0) * sx, plot.y0 + (extent.y1 - p[1]) * sy),
            };
            [x as f32, y as f32]
        };
        let radius = self.radius(kind, view, &extent, sx, plot) * o.spot_scale;
        let picture = if o.image { view.picture(o.image_name.as_deref())? } else { None };
        let edges_color = parse("edges_color", &o.edges_color)?;
        let outline = [
            parse("outline_color", &o.outline_color.0)?,
            parse("outline_color", &o.outline_color.1)?,
        ];
        if let Some((x, y)) = &axes {
            self.mesh(canvas, view, x, y, plot);
        }
        canvas.clipped(plot, |canvas| {
            if let Some(picture) = picture {
                let image = picture.image(o.greyscale);
                let (w, h) = (image.width as f64, image.height as f64);
                let [x0, y0] = place(&[0.0, 0.0]).map(f64::from);
                let (w, h) = (w / picture.scale * sx, h / picture.scale * sy);
                canvas.picture(image, Rect::at(x0, y0, w, h), o.image_alpha);
            }
            if let Some(edges) = &view.edges {
                let inside = |e: &[f32; 4]| {
                    let beyond = |low: f32, high: f32, min: f64, max: f64| {
                        high < min as f32 || low > max as f32
                    };
                    e.iter().all(|v| v.is_finite())
                        && !beyond(e[0].min(e[2]), e[0].max(e[2]), plot.x0, plot.x1)
                        && !beyond(e[1].min(e[3]), e[1].max(e[3]), plot.y0, plot.y1)
                };
                let ends = |&[a, b]: &[u32; 2]| {
                    let (a, b) = (place(&view.points[a as usize]), place(&view.points[b as usize]));
                    [a[0], a[1], b[0], b[1]]
                };
                let ends = edges.iter().map(ends).filter(inside).collect();
                let usual = if kind == Kind::Spatial { 1.0 } else { 0.15 };
                canvas.segments(ends, o.edges_width.unwrap_or(usual), edges_color);
            }
            let reach = radius * (1.0 + 2.0 * (o.outline_width.0 + o.outline_width.1)) + 1.0;
            let r = reach as f32;
            let seen = |p: &[f32; 2]| {
                (plot.x0 as f32 - r..=plot.x1 as f32 + r).contains(&p[0])
                    && (plot.y0 as f32 - r..=plot.y1 as f32 + r).contains(&p[1])
            };
            let (mut centers, mut colors) = (Vec::new(), Vec::new());
            let mut add = |i: usize| {
                let center = place(&view.points[i]);
                if let (true, Some(&color)) = (seen(&center), ready.colors.get(i)) {
                    centers.push(center);
                    colors.push(color);
                }
            };
            match &ready.order {
                Some(order) => order.iter().for_each(|&i| add(i as usize)),
                None => (0..view.points.len()).for_each(&mut add),
            }
            if o.outline {
                let gap = radius * (1.0 + 2.0 * o.outline_width.1);
                let rim = gap + 2.0 * radius * o.outline_width.0;
                let n = centers.len();
                canvas.spots(o.shape, centers.clone(), rim, vec![outline[0]; n]);
                canvas.spots(o.shape, centers.clone(), gap, vec![outline[1]; n]);
            }
            canvas.spots(o.shape, centers, radius, colors);
            if let Some((dx, unit)) = &o.scalebar {
                scalebar(canvas, plot, sx, *dx, unit);
            }
        });
        let ink = canvas.ink;
        if o.frame.unwrap_or(kind != Kind::Spatial) && kind != Kind::Scatter {
            canvas.outline(plot, 1.0, ink.axis);
        }
        if let (Kind::Embedding, Some((x, y))) = (kind, &view.axes) {
            let style = TextStyle::new(AXIS_LABEL, ink.text).anchor(Align::Middle, VAlign::Top);
            canvas.text(plot.center_x(), plot.y1 + 7.0, x, style);
            let style = style.anchor(Align::Middle, VAlign::Baseline).upward();
            canvas.text(plot.x0 - 7.0, plot.center_y(), y, style);
        }
        self.names(canvas, ready, plot, &place);
        match &ready.side.right {
            None => {}
            Some(Key::Legend(l)) => l.draw(canvas, cell.x1 + GAP, cell),
            Some(Key::Bar(b)) => b.draw(canvas, cell.x1 + GAP, cell),
        }
        let below = plot.y1 + layout.below();
        match &ready.side.below {
            None => {}
            Some(Key::Legend(l)) => l.draw_below(canvas, below, cell),
            Some(Key::Bar(b)) => b.draw_below(canvas, below, cell),
        }
        if let Some(title) = &ready.title {
            let style = TextStyle::new(PANEL_TITLE, ink.text)
                .bold()
                .anchor(Align::Middle, VAlign::Baseline);
            let room = cell.width() + 60.0;
            let title = fit(title, PANEL_TITLE, true, room);
            canvas.text(plot.center_x(), plot.y0 - 8.0, title, style);
        }
        Ok(())
    }

    fn radius(&self, kind: Kind, view: &View, extent: &Rect, sx: f64, plot: Rect) -> f64 {
        match (kind, self.options.spot_size) {
            (Kind::Embedding | Kind::Scatter, Some(size)) => size / 2.0,
            (Kind::Embedding | Kind::Scatter, None) => {
                let n = view.points.len().max(1) as f64;
                ((120_000.0 / n).sqrt() * plot.width() / 400.0 / 2.0).clamp(0.7, 5.0)
            }
            (Kind::Spatial, size) => {
                // Without a known diameter, points that nearly touch their neighbours.
                let near =
                    if view.spacing > 0.0 { 0.9 * view.spacing } else { extent.width() / 8.0 };
                let diameter = size.or(view.diameter).unwrap_or(near);
                (diameter * sx / 2.0).max(0.6)
            }
        }
    }

    /// The names of categories on their points, moved apart where they would touch.
    fn names(
        &self,
        canvas: &mut Canvas,
        ready: &Ready<'_>,
        plot: Rect,
        place: &dyn Fn(&[f64; 2]) -> [f32; 2],
    ) {
        let size = self.options.legend_fontsize.unwrap_or(AXIS_LABEL);
        let mut taken: Vec<Rect> = Vec::new();
        for (name, at) in &ready.side.on_data {
            let [x, y] = place(at).map(f64::from);
            let half = text_width(name, size, true) / 2.0 + 2.0;
            let x = x.clamp(plot.x0 + half, (plot.x1 - half).max(plot.x0 + half));
            let y = y.clamp(plot.y0 + size * 0.7, plot.y1 - size * 0.7);
            let at = |dy: f64| Rect {
                x0: x - half,
                x1: x + half,
                y0: y + dy - 0.6 * size,
                y1: y + dy + 0.6 * size,
            };
            let free = |r: &Rect| {
                !taken.iter().any(|t| r.x0 < t.x1 && t.x0 < r.x1 && r.y0 < t.y1 && t.y0 < r.y1)
            };
            let steps = (0..40).map(|k| {
                let step = (k + 1) / 2;
                f64::from(if k % 2 == 0 { step } else { -step }) * 0.5 * size
            });
            let inside = |r: &Rect| r.y0 >= plot.y0 && r.y1 <= plot.y1;
            let rect = steps.map(at).find(|r| free(r) && inside(r)).unwrap_or(at(0.0));
            let dark = Color::rgb(0x11, 0x11, 0x11);
            let style = TextStyle::new(size, dark).bold().anchor(Align::Middle, VAlign::Middle);
            let rim = Color::rgb(0xff, 0xff, 0xff).with_alpha(0.55);
            canvas.text_on(rect.center_x(), rect.center_y(), name, style, rim, 1.6);
            taken.push(rect);
        }
    }

    /// Axes with numbers.
    fn mesh(
        &self,
        canvas: &mut Canvas,
        view: &View,
        x: &super::axis::Axis,
        y: &super::axis::Axis,
        plot: Rect,
    ) {
        let ink = canvas.ink;
        let style = TextStyle::new(LABEL, ink.text);
        for (value, label) in y.ticks() {
            let at = plot.y1 - y.position(*value) * plot.height();
            canvas.line([(plot.x0, at), (plot.x1, at)], 1.0, ink.grid);
            canvas.text(plot.x0 - 7.0, at, label, style.anchor(Align::End, VAlign::Middle));
        }
        let mut free = f64::NEG_INFINITY;
        for (value, label) in x.ticks() {
            let at = plot.x0 + x.position(*value) * plot.width();
            canvas.line([(at, plot.y1), (at, plot.y1 + 4.0)], 1.0, ink.axis);
            let half = text_width(label, LABEL, false) / 2.0;
            if at - half > free {
                canvas.text(at, plot.y1 + 7.0, label, style.anchor(Align::Middle, VAlign::Top));
                free = at + half + 4.0;
            }
        }
        canvas.line([(plot.x0, plot.y0), (plot.x0, plot.y1)], 1.0, ink.axis);
        canvas.line([(plot.x0, plot.y1), (plot.x1, plot.y1)], 1.0, ink.axis);
        let Some((xlabel, ylabel)) = &view.axes else { return };
        let xlabel = fit(xlabel, AXIS_LABEL, false, plot.width() + 20.0);
        let at = plot.y1 + 12.0 + LABEL;
        canvas.text(plot.center_x(), at, xlabel, style.anchor(Align::Middle, VAlign::Top));
        let ylabel = fit(ylabel, AXIS_LABEL, false, plot.height() + 20.0);
        let style = style.anchor(Align::Middle, VAlign::Baseline).upward();
        canvas.text(plot.x0 - 14.0 - y.widest(), plot.center_y(), ylabel, style);
    }
}

/// The largest area of the extent's shape in the middle of `cell`.
fn within(cell: Rect, extent: &Rect) -> Rect {
    let aspect = extent.width() / extent.height();
    let width = cell.width().min(cell.height() * aspect);
    let height = width / aspect;
    if (width - cell.width()).abs() < 1.0 && (height - cell.height()).abs() < 1.0 {
        return cell;
    }
    Rect::at(cell.center_x() - width / 2.0, cell.center_y() - height / 2.0, width, height)
}

/// A bar of a round length in the lower right corner: white with a dark rim, so that it is seen on
/// anything.
fn scalebar(canvas: &mut Canvas, plot: Rect, sx: f64, dx: f64, unit: &str) {
    let longest = 0.25 * plot.width() / sx * dx;
    let power = 10f64.powf(longest.log10().floor());
    let length =
        [5.0, 2.0, 1.0].into_iter().map(|m| m * power).find(|l| *l <= longest).unwrap_or(power);
    let width = length / dx * sx;
    let label = format!("{} {unit}", ticks::labels(&[length]).concat());
    let style = TextStyle::new(AXIS_LABEL, Color::rgb(255, 255, 255))
        .bold()
        .anchor(Align::Middle, VAlign::Baseline);
    let half = (text_width(&label, AXIS_LABEL, true) / 2.0).max(width / 2.0);
    let (x, y) = (plot.x1 - 12.0 - half, plot.y1 - 12.0);
    let dark = Color::rgb(0, 0, 0).with_alpha(0.6);
    let bar = Rect::at(x - width / 2.0, y - 4.0, width, 4.0);
    let rim = Rect { x0: bar.x0 - 1.0, y0: bar.y0 - 1.0, x1: bar.x1 + 1.0, y1: bar.y1 + 1.0 };
    canvas.fill(rim, dark);
    canvas.fill(bar, Color::rgb(255, 255, 255));
    canvas.text_on(x, y - 10.0, &label, style, dark.with_alpha(0.35), 1.2);
}

fn parse(name: &'static str, color: &str) -> Result<Color> {
    Color::parse(color).ok_or_else(|| {
        Error::parameter(name, color, "is no colour; write it as #rrggbb or a CSS name")
    })
}

fn median(points: &[[f64; 2]], c: usize) -> Option<f64> {
    let mut v: Vec<f64> = points.iter().map(|p| p[c]).filter(|x| x.is_finite()).collect();
    let half = v.len() / 2;
    if v.is_empty() {
        return None;
    }
    v.sort_by(f64::total_cmp);
    Some(if v.len() % 2 == 1 { v[half] } else { (v[half - 1] + v[half]) / 2.0 })
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
                    Kind::Scatter => "scatter plot",
                };
                let names: Vec<&str> = data.paints.iter().map(|p| p.0.as_str()).collect();
                let by = if names.is_empty() { "" } else { " coloured by " };
                let n: usize = match data.kind {
                    Kind::Spatial => data.views.iter().map(|v| v.points.len()).sum(),
                    _ => data.views.first().map_or(0, |v| v.points.len()),
                };
                format!("{what} of {n} points{by}{}", names.join(", "))
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        let ready = self.ready(frame, frame.theme.ink().missing)?;
        let (w, h) = self.layout(self.data()?, &ready, frame)?.size();
        Ok((frame.width.unwrap_or(w), frame.height.unwrap_or(h)))
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let ready = self.ready(frame, canvas.ink.missing)?;
        let layout = self.layout(self.data()?, &ready, frame)?;
        let (w, h) = layout.size();
        // Centred where the sheet is larger than the panels.
        let offset = (((canvas.width - w) / 2.0).max(0.0), ((canvas.height - h) / 2.0).max(0.0));
        if let (true, Some(title)) = (ready.len() > 1, title_of(frame)) {
            let style =
                TextStyle::new(TITLE, canvas.ink.text).bold().anchor(Align::Middle, VAlign::Top);
            canvas.text(canvas.width / 2.0, MARGIN + offset.1, title, style);
        }
        for (k, ready) in ready.iter().enumerate() {
            self.panel(canvas, ready, &layout, layout.panel(k, offset))?;
        }
        Ok(())
    }
}
