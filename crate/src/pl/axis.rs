//! Axes for charts: plotters' mesh and labels with our ticks.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::palette::Color;
use super::pen::Pen;
use super::text::text_width;
use super::ticks;
use crate::error::{Error, Result};
use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoFont, RGBAColor, ShapeStyle, TextStyle as PlottersText};
use std::ops::Range;

/// plotters counts in whole units; sixteen to a CSS pixel keep curves and texts where they belong.
const UNITS: u32 = 16;

pub(super) const LABEL: f64 = 11.5;
const DESCRIPTION: f64 = 12.5;
const TITLE: f64 = 14.0;
const TICK: f64 = 4.0;

fn units(px: f64) -> u32 {
    (px * f64::from(UNITS)).round() as u32
}

/// One axis: its ends, and its ticks with their labels.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    /// Whether its ticks are names of places.
    named: bool,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis for `values`, or between the limits asked for; `pad` is the part of its length to
    /// leave free at each end.
    pub fn new(
        name: &'static str,
        values: impl Iterator<Item = f64>,
        limits: Option<(f64, f64)>,
        log: bool,
        pad: f64,
    ) -> Result<Self> {
        let (low, high) = match limits {
            Some((low, high)) => {
                let finite = low.is_finite() && high.is_finite();
                if !finite || low >= high || (log && low <= 0.0) {
                    let reason = if log && low <= 0.0 {
                        "a logarithmic axis starts above 0"
                    } else {
                        "the first must be below the second"
                    };
                    return Err(Error::parameter(name, format!("({low}, {high})"), reason));
                }
                (low, high)
            }
            None => {
                let extremes = |m: (f64, f64), v: f64| (m.0.min(v), m.1.max(v));
                let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), extremes);
                padded(low, high, log, pad)
            }
        };
        let at = if log { ticks::logarithmic(low, high, 6) } else { ticks::linear(low, high, 6) };
        let labels = if log { ticks::log_labels(&at) } else { ticks::labels(&at) };
        Ok(Axis { low, high, log, named: false, ticks: at.into_iter().zip(labels).collect() })
    }

    /// An axis with one labelled place for each name, at 0, 1, 2, ….
    pub fn of_names(names: &[String]) -> Self {
        let ticks = names.iter().enumerate().map(|(i, n)| (i as f64, n.clone())).collect();
        Axis { low: -0.5, high: names.len() as f64 - 0.5, log: false, named: true, ticks }
    }

    /// The ticks with their labels.
    pub fn ticks(&self) -> &[(f64, String)] {
        &self.ticks
    }

    /// Whether its ticks are names of places.
    pub fn is_named(&self) -> bool {
        self.named
    }

    /// Where `v` lies, as a part of the axis' length.
    pub fn position(&self, v: f64) -> f64 {
        if self.log {
            (v.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (v - self.low) / (self.high - self.low)
        }
    }

    /// Width of the widest label.
    pub fn widest(&self) -> f64 {
        self.ticks.iter().map(|t| text_width(&t.1, LABEL, false)).fold(0.0, f64::max)
    }
}

fn padded(low: f64, high: f64, log: bool, pad: f64) -> (f64, f64) {
    if log {
        let (l, h) = (low.ln(), high.ln());
        let free = if h > l { pad * (h - l) } else { 0.7 };
        return ((l - free).exp(), (h + free).exp());
    }
    if low == high {
        let free = if low == 0.0 { 1.0 } else { 0.5 * low.abs().min(1.0) };
        return (low - free, high + free);
    }
    let free = pad * (high - low);
    // Quantities that are never negative keep their zero.
    let start = if low >= 0.0 && low - free < 0.0 { low.min(0.0) } else { low - free };
    (start, high + free)
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let t = self.position(*value);
        (f64::from(from) + t * f64::from(to - from)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        self.ticks.iter().map(|t| t.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.ticks.iter().find(|t| t.0 == *value).map_or(String::new(), |t| t.1.clone())
    }
}

/// The frame of a chart: title, axes, labels, grid.
pub(crate) struct Chart<'a> {
    pub title: Option<&'a str>,
    pub xlabel: &'a str,
    pub ylabel: &'a str,
    /// What to leave free at the right, in CSS pixels.
    pub right: f64,
}

impl Chart<'_> {
    /// Draws the frame and returns the area within it.
    pub fn draw(&self, canvas: &mut Canvas, x: &Axis, y: &Axis) -> Result<Rect> {
        let ink = canvas.ink;
        let top = if self.title.is_some() { 14.0 + TITLE + 8.0 } else { 14.0 };
        let below = TICK + 6.0 + LABEL + if self.xlabel.is_empty() { 0.0 } else { 20.0 };
        let left = TICK + 6.0 + y.widest() + if self.ylabel.is_empty() { 0.0 } else { 22.0 };
        // Half of the last label sticks out.
        let last = x.ticks.last().map_or(0.0, |t| {
            let half = text_width(&t.1, LABEL, false) / 2.0;
            let room = (1.0 - x.position(t.0)) * (canvas.width - left - self.right);
            (half - room).max(0.0)
        });
        let right = 10.0 + self.right.max(last);
        let plot = Rect {
            x0: 10.0 + left,
            y0: top,
            x1: canvas.width - right,
            y1: canvas.height - 10.0 - below,
        };
        if plot.width() < 20.0 || plot.height() < 20.0 {
            let size = format!("{} × {}", canvas.width, canvas.height);
            return Err(Error::parameter("size", size, "is too small for the axes and labels"));
        }
        self.mesh(canvas, x, y, plot).map_err(|e| Error::Figure(e.to_string()))?;
        if !self.xlabel.is_empty() {
            let style = TextStyle::new(DESCRIPTION, ink.text);
            let style = style.anchor(Align::Middle, VAlign::Baseline);
            canvas.text(plot.center_x(), canvas.height - 12.0, self.xlabel, style);
        }
        if !self.ylabel.is_empty() {
            let style = TextStyle::new(DESCRIPTION, ink.text).upward();
            let style = style.anchor(Align::Middle, VAlign::Top);
            canvas.text(10.0, plot.center_y(), self.ylabel, style);
        }
        if let Some(title) = self.title {
            let style = TextStyle::new(TITLE, ink.text).bold();
            let style = style.anchor(Align::Middle, VAlign::Top);
            canvas.text(plot.center_x(), 12.0, title, style);
        }
        Ok(plot)
    }

    fn mesh(
        &self,
        canvas: &mut Canvas,
        x: &Axis,
        y: &Axis,
        plot: Rect,
    ) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let ink = canvas.ink;
        let (width, height) = (canvas.width, canvas.height);
        let root = Pen::area(canvas, UNITS);
        let mut chart = ChartBuilder::on(&root)
            .margin_top(units(plot.y0))
            .margin_right(units(width - plot.x1))
            .set_label_area_size(plotters::chart::LabelAreaPosition::Left, units(plot.x0))
            .set_label_area_size(
                plotters::chart::LabelAreaPosition::Bottom,
                units(height - plot.y1),
            )
            .build_cartesian_2d(x.clone(), y.clone())?;
        let font = ("sans-serif", f64::from(units(LABEL))).into_font();
        let color = rgba(ink.text);
        let label = |h, v| PlottersText::from(font.clone()).color(&color).pos(Pos::new(h, v));
        chart
            .configure_mesh()
            .disable_x_mesh()
            .bold_line_style(stroke(ink.grid, 1.0))
            .light_line_style(stroke(ink.grid.with_alpha(0.0), 1.0))
            .axis_style(stroke(ink.axis, 1.0))
            .x_label_style(label(HPos::Center, VPos::Top))
            .y_label_style(label(HPos::Right, VPos::Center))
            .set_all_tick_mark_size(units(TICK))
            .draw()?;
        root.present()?;
        Ok(())
    }
}

fn rgba(c: Color) -> RGBAColor {
    RGBAColor(c.r, c.g, c.b, f64::from(c.alpha))
}

fn stroke(c: Color, width: f64) -> ShapeStyle {
    ShapeStyle { color: rgba(c), filled: false, stroke_width: units(width) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_spans_its_values() {
        let axis = |v: &[f64], log| Axis::new("xlim", v.iter().copied(), None, log, 0.0).unwrap();
        assert_eq!(axis(&[1.0, 5.0], false).position(2.0), 0.25);
        assert!((axis(&[1.0, 100.0], true).position(10.0) - 0.5).abs() < 1e-12);
        let flat = axis(&[3.0, 3.0], false);
        assert_eq!(flat.position(3.0), 0.5);
        let flat = axis(&[3.0], true);
        assert!((flat.position(3.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn limits_in_the_wrong_order_are_refused() {
        let limits = |l, log| Axis::new("ylim", [1.0].into_iter(), Some(l), log, 0.0);
        assert!(limits((2.0, 1.0), false).is_err());
        assert!(limits((0.0, 1.0), true).unwrap_err().to_string().contains("logarithmic"));
        assert!(limits((f64::NAN, 1.0), false).is_err());
    }
}
