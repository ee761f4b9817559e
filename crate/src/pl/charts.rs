//! [`Sheet`]: charts in rows and columns. Each [`Panel`] has two axes and items in their units
//! ([`Item`]): points, curves, boxes, texts. What violins, volcano plots, curves of neighbourhood
//! statistics and their kin are made of; `chart_items` draws the items, this file axes and sheet.

use super::axis::{Axis, LABEL};
use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::chart_items::{Item, Tint};
use super::figure::{Frame, TITLE};
use super::layout::MARGIN;
use super::legend::Legend;
use super::text::{fit, text_width};
use crate::error::{Error, Result};

const PANEL_TITLE: f64 = 13.0;
const DESCRIPTION: f64 = 12.0;
const NOTE: f64 = 10.5;
const TICK: f64 = 4.0;
const GUTTER: f64 = 16.0;
/// Longest names of places; longer ones are cut.
const LONGEST: f64 = 130.0;

/// A chart.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub title: Option<String>,
    pub x: Axis,
    pub y: Axis,
    pub xlabel: String,
    pub ylabel: String,
    /// What to leave free at the top, within the axes, in CSS pixels.
    pub head: f64,
    pub items: Vec<Item>,
}

impl Panel {
    pub fn new(x: Axis, y: Axis) -> Self {
        let (xlabel, ylabel) = (String::new(), String::new());
        Panel { title: None, x, y, xlabel, ylabel, head: 0.0, items: Vec::new() }
    }
}

/// Charts with a common legend.
#[derive(Debug, Clone)]
pub(crate) struct Sheet {
    pub panels: Vec<Panel>,
    pub columns: Option<usize>,
    pub legend: Vec<(String, Tint)>,
    /// Whether the legend is below the panels instead of on their right.
    pub legend_below: bool,
    /// Size of the area within the axes where the frame leaves it open.
    pub plot: (f64, f64),
    /// The width of that area below which there are fewer panels in a row.
    pub least: f64,
    /// Whether names below an axis stand upright: as asked for, or where they need it.
    pub upright: Option<bool>,
    /// Small text at the foot.
    pub note: Option<String>,
}

/// Where a panel is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where the values are: the area within the axes without its head.
    pub data: Rect,
    /// The area within the axes.
    pub plot: Rect,
}

/// Sizes that all panels share.
struct Layout {
    columns: usize,
    rows: usize,
    plot: (f64, f64),
    left: f64,
    below: f64,
    above: f64,
    right: f64,
    header: f64,
    footer: f64,
    /// Width of the legend on the right, height of the one below.
    legend: f64,
    below_all: f64,
    upright: bool,
}

impl Layout {
    fn size(&self) -> (f64, f64) {
        let (columns, rows) = (self.columns as f64, self.rows as f64);
        let across = self.left + self.plot.0 + self.right;
        let down = self.above + self.plot.1 + self.below;
        let width = columns * across + (columns - 1.0) * GUTTER + self.legend;
        let height = self.header + rows * down + (rows - 1.0) * GUTTER + self.footer;
        (width + 2.0 * MARGIN, height + 2.0 * MARGIN)
    }

    fn panel(&self, k: usize) -> Rect {
        let (column, row) = ((k % self.columns) as f64, (k / self.columns) as f64);
        let x = MARGIN + column * (self.left + self.plot.0 + self.right + GUTTER) + self.left;
        let down = self.above + self.plot.1 + self.below + GUTTER;
        let y = MARGIN + self.header + row * down + self.above;
        Rect::at(x, y, self.plot.0, self.plot.1)
    }
}

impl Sheet {
    pub fn new(panels: Vec<Panel>) -> Self {
        let plot = match panels.len() {
            0 | 1 => (460.0, 280.0),
            2 => (260.0, 230.0),
            _ => (210.0, 180.0),
        };
        let (legend, least) = (Vec::new(), 150.0);
        Sheet {
            panels,
            columns: None,
            legend,
            legend_below: false,
            plot,
            least,
            upright: None,
            note: None,
        }
    }

    fn legend(&self, canvas_ink: &super::theme::Ink) -> Option<Legend> {
        let entries: Vec<_> =
            self.legend.iter().map(|(n, t)| (n.clone(), t.color(canvas_ink))).collect();
        (!entries.is_empty()).then(|| Legend::new(entries))
    }

    fn layout(&self, frame: &Frame) -> Result<Layout> {
        let n = self.panels.len();
        if n == 0 {
            return Err(Error::data("figure", "there is nothing to draw"));
        }
        if self.columns == Some(0) {
            return Err(Error::parameter("ncols", 0, "must be at least 1"));
        }
        let usual = self.columns.unwrap_or(if n == 4 { 2 } else { 3 }).clamp(1, n);
        let mut layout = self.layout_in(usual, frame);
        if self.columns.is_none() {
            for columns in (1..usual).rev() {
                if layout.plot.0 >= self.least.min(self.plot.0) {
                    break;
                }
                layout = self.layout_in(columns, frame);
            }
        }
        if layout.plot.0 < 20.0 || layout.plot.1 < 20.0 {
            let (w, h) = layout.size();
            let size = format!(
                "{} × {}",
                frame.width.unwrap_or(w.round()),
                frame.height.unwrap_or(h.round())
            );
            return Err(Error::parameter("size", size, "is too small for the axes and labels"));
        }
        Ok(layout)
    }

    fn layout_in(&self, columns: usize, frame: &Frame) -> Layout {
        let most = |f: &dyn Fn(&Panel) -> f64| self.panels.iter().map(f).fold(0.0, f64::max);
        let rows = self.panels.len().div_ceil(columns);
        let label = |text: &String, room: f64| if text.is_empty() { 0.0 } else { room };
        let left = most(&|p| TICK + 6.0 + p.y.widest().min(LONGEST) + label(&p.ylabel, 20.0));
        let titled = self.panels.iter().any(|p| p.title.is_some());
        let ink = frame.theme.ink();
        let mut layout = Layout {
            columns,
            rows,
            plot: self.plot,
            left,
            below: 0.0,
            above: if titled { PANEL_TITLE + 10.0 } else { 6.0 },
            right: 4.0,
            header: if frame.title.is_some() { TITLE + 12.0 } else { 0.0 },
            footer: 0.0,
            legend: 0.0,
            below_all: 0.0,
            upright: false,
        };
        let legend = self.legend(&ink);
        let plot_width = |layout: &Layout| match frame.width {
            None => self.plot.0,
            Some(width) => {
                let columns = columns as f64;
                let rest = width - 2.0 * MARGIN - layout.legend - (columns - 1.0) * GUTTER;
                rest / columns - layout.left - layout.right
            }
        };
        if !self.legend_below {
            layout.legend = legend.as_ref().map_or(0.0, |l| 14.0 + l.width(self.plot.1));
        }
        layout.plot.0 = plot_width(&layout);
        // The last number of an axis sticks out.
        layout.right = most(&|p| {
            let last = if p.x.is_named() { None } else { p.x.ticks().last() };
            last.map_or(4.0, |t| {
                let half = text_width(&t.1, LABEL, false) / 2.0;
                (half - (1.0 - p.x.position(t.0)) * layout.plot.0 + 2.0).max(4.0)
            })
        });
        layout.plot.0 = plot_width(&layout);
        let named = |p: &&Panel| p.x.is_named();
        let too_long = |p: &Panel| {
            let room = layout.plot.0 / p.x.ticks().len().max(1) as f64;
            p.x.ticks().len() > 1 && p.x.widest() > room - 6.0
        };
        layout.upright =
            self.upright.unwrap_or_else(|| self.panels.iter().filter(named).any(too_long));
        layout.below = most(&|p| {
            let names = match (p.x.is_named(), layout.upright) {
                _ if p.x.ticks().is_empty() => 2.0,
                (true, true) => 10.0 + p.x.widest().min(LONGEST),
                _ => TICK + 5.0 + LABEL,
            };
            names + label(&p.xlabel, DESCRIPTION + 8.0)
        });
        let width = frame.width.unwrap_or_else(|| layout.size().0);
        let lines = self.note_lines(width).len() as f64;
        layout.footer = if lines > 0.0 { lines * 1.3 * NOTE + 5.0 } else { 0.0 };
        if let (true, Some(legend)) = (self.legend_below, &legend) {
            layout.below_all = 6.0 + legend.height_below(width - 2.0 * MARGIN);
            layout.footer += layout.below_all;
        }
        layout.plot.1 = match frame.height {
            Some(height) => {
                let rest = height - 2.0 * MARGIN - layout.header - layout.footer;
                let gaps = (rows as f64 - 1.0) * GUTTER;
                (rest - gaps) / rows as f64 - layout.above - layout.below
            }
            // Wider plots are not that much higher.
            None => self.plot.1 * (layout.plot.0 / self.plot.0).clamp(0.7, 1.25),
        };
        layout
    }

    /// The note in lines that are not longer than the sheet is wide.
    fn note_lines(&self, width: f64) -> Vec<String> {
        let room = width - 2.0 * MARGIN;
        let mut lines: Vec<String> = Vec::new();
        for word in self.note.as_deref().unwrap_or_default().split_whitespace() {
            match lines.last_mut() {
                Some(line) if text_width(&format!("{line} {word}"), NOTE, false) <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.into()),
            }
        }
        lines
    }

    pub fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        let layout = self.layout(frame)?;
        let (w, mut h) = layout.size();
        if let (false, Some(legend)) = (self.legend_below, self.legend(&frame.theme.ink())) {
            let inner = h - 2.0 * MARGIN - layout.header - layout.footer;
            h += (legend.height(self.plot.1) - inner).max(0.0);
        }
        Ok((frame.width.unwrap_or(w), frame.height.unwrap_or(h)))
    }

    pub fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let layout = self.layout(frame)?;
        let ink = canvas.ink;
        for (k, panel) in self.panels.iter().enumerate() {
            panel.draw(canvas, layout.panel(k), &layout);
        }
        frame.draw_title(canvas, canvas.width / 2.0);
        if let Some(legend) = self.legend(&ink) {
            let first = layout.panel(0);
            let last = layout.panel(self.panels.len() - 1);
            if self.legend_below {
                let y = last.y1 + layout.below + 6.0;
                let (x0, x1) = (MARGIN, canvas.width - MARGIN);
                legend.draw_below(canvas, y, Rect { x0, x1, ..first });
            } else {
                let x = layout.size().0 - MARGIN - layout.legend + 14.0;
                // Beside a high sheet it stands at its first row, where it is looked for.
                let least = legend.height(self.plot.1).max(first.height());
                let y1 = if layout.rows == 1 { last.y1 } else { first.y0 + least };
                legend.draw(canvas, x, Rect { y1, ..first });
            }
        }
        let style = TextStyle::new(NOTE, ink.text).anchor(Align::Start, VAlign::Baseline);
        let lines = self.note_lines(canvas.width);
        for (k, line) in lines.iter().rev().enumerate() {
            let y = canvas.height - MARGIN - k as f64 * 1.3 * NOTE;
            canvas.text(MARGIN, y, line, style);
        }
        Ok(())
    }
}

impl Panel {
    fn draw(&self, canvas: &mut Canvas, plot: Rect, layout: &Layout) {
        let ink = canvas.ink;
        let head = self.head.min(0.6 * plot.height());
        let place = Place { plot, data: Rect { y0: plot.y0 + head, ..plot } };
        self.axes(canvas, place, layout);
        for item in &self.items {
            item.draw(canvas, self, place);
        }
        canvas.line([(plot.x0, plot.y0), (plot.x0, plot.y1)], 1.0, ink.axis);
        canvas.line([(plot.x0, plot.y1), (plot.x1, plot.y1)], 1.0, ink.axis);
        let style = TextStyle::new(DESCRIPTION, ink.text);
        if !self.xlabel.is_empty() {
            let y = plot.y1 + layout.below - 4.0;
            let label = fit(&self.xlabel, DESCRIPTION, false, plot.width() + 30.0);
            let style = style.anchor(Align::Middle, VAlign::Baseline);
            canvas.text(plot.center_x(), y, label, style);
        }
        if !self.ylabel.is_empty() {
            let label = fit(&self.ylabel, DESCRIPTION, false, plot.height() + 30.0);
            let style = style.anchor(Align::Middle, VAlign::Top).upward();
            canvas.text(plot.x0 - layout.left, plot.center_y(), label, style);
        }
        if let Some(title) = &self.title {
            let room = plot.width() + 0.8 * layout.left;
            let title = fit(title, PANEL_TITLE, true, room);
            let style = TextStyle::new(PANEL_TITLE, ink.text).bold();
            let style = style.anchor(Align::Middle, VAlign::Baseline);
            canvas.text(plot.center_x(), plot.y0 - 8.0, title, style);
        }
    }

    fn axes(&self, canvas: &mut Canvas, place: Place, layout: &Layout) {
        let ink = canvas.ink;
        let (plot, data) = (place.plot, place.data);
        let style = TextStyle::new(LABEL, ink.text);
        let mut lowest = f64::INFINITY;
        for (value, label) in self.y.ticks() {
            let y = data.y1 - self.y.position(*value) * data.height();
            if !self.y.is_named() {
                canvas.line([(plot.x0, y), (plot.x1, y)], 1.0, ink.grid);
            }
            // Where the rows are lower than their names, every other one or so.
            if y + 0.55 * LABEL < lowest {
                let label = fit(label, LABEL, false, LONGEST);
                canvas.text(
                    plot.x0 - TICK - 4.0,
                    y,
                    label,
                    style.anchor(Align::End, VAlign::Middle),
                );
                canvas.line([(plot.x0 - TICK, y), (plot.x0, y)], 1.0, ink.axis);
                lowest = y - 0.55 * LABEL;
            }
        }
        let mut free = f64::NEG_INFINITY;
        for (value, label) in self.x.ticks() {
            let x = plot.x0 + self.x.position(*value) * plot.width();
            if self.y.is_named() && !self.x.is_named() {
                canvas.line([(x, plot.y0), (x, plot.y1)], 1.0, ink.grid);
            }
            let upright = self.x.is_named() && layout.upright;
            let label = fit(label, LABEL, false, LONGEST);
            let half = if upright { 0.55 * LABEL } else { text_width(&label, LABEL, false) / 2.0 };
            if x - half < free {
                continue;
            }
            free = x + half + if upright { 0.0 } else { 3.0 };
            canvas.line([(x, plot.y1), (x, plot.y1 + TICK)], 1.0, ink.axis);
            if upright {
                let style = style.upward().anchor(Align::End, VAlign::Middle);
                canvas.text(x, plot.y1 + TICK + 4.0, label, style);
            } else {
                let style = style.anchor(Align::Middle, VAlign::Top);
                canvas.text(x, plot.y1 + TICK + 4.0, label, style);
            }
        }
    }
}
