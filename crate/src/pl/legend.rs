//! What stands beside a panel: the legend of categories, the bar of a colour scale.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::palette::{Cmap, Color};
use super::scale::Scale;
use super::text::{fit, text_width};
use crate::image::Image;
use std::sync::Arc;

const SIZE: f64 = 11.5;
/// Height of a row, and diameter of a dot, as parts of the size of the text.
const ROW: f64 = 18.0 / 11.5;
const DOT: f64 = 10.0 / 11.5;
const LONGEST: f64 = 150.0;
/// Between a dot and its name, and between two columns.
const SPACE: f64 = 6.0;
const COLUMN: f64 = 14.0;

/// Names of categories beside a dot of their colour, in as many columns as the height asks for.
pub(crate) struct Legend {
    entries: Vec<(String, Color)>,
    /// Lengths of the names.
    widths: Vec<f64>,
    size: f64,
}

impl Legend {
    pub fn new(entries: Vec<(String, Color)>) -> Self {
        Legend::sized(entries, SIZE)
    }

    /// With text of another size.
    pub fn sized(entries: Vec<(String, Color)>, size: f64) -> Self {
        let longest = LONGEST * (size / SIZE).max(1.0);
        let cut = |(name, color): (String, Color)| (fit(&name, size, false, longest), color);
        let entries: Vec<(String, Color)> = entries.into_iter().map(cut).collect();
        let widths = entries.iter().map(|e| text_width(&e.0, size, false)).collect();
        Legend { entries, widths, size }
    }

    fn row(&self) -> f64 {
        ROW * self.size
    }

    fn dot(&self) -> f64 {
        DOT * self.size / 2.0
    }

    /// Rows beside a plot of that height: as many as fit, or more where there would be more than
    /// two columns beside a low plot.
    fn rows(&self, plot: f64) -> usize {
        const ENOUGH: f64 = 324.0;
        let fit = |height: f64| ((height / self.row()).floor() as usize).max(1);
        let rows = fit(plot);
        if self.entries.len() <= 2 * rows { rows } else { fit(plot.max(ENOUGH)) }
    }

    /// Height beside a plot of that height.
    pub fn height(&self, plot: f64) -> f64 {
        self.rows(plot).min(self.entries.len()) as f64 * self.row()
    }

    /// The columns' widths.
    fn columns(&self, height: f64) -> Vec<f64> {
        let longest = |c: &[f64]| c.iter().copied().fold(0.0, f64::max);
        let wide = |c: &[f64]| 2.0 * self.dot() + SPACE + longest(c);
        self.widths.chunks(self.rows(height)).map(wide).collect()
    }

    pub fn width(&self, height: f64) -> f64 {
        let columns = self.columns(height);
        columns.iter().sum::<f64>() + COLUMN * columns.len().saturating_sub(1) as f64
    }

    fn entry(&self, canvas: &mut Canvas, x: f64, y: f64, k: usize) {
        let (name, color) = &self.entries[k];
        let text = canvas.ink.text;
        canvas.disc(x + self.dot(), y, self.dot(), color.with_alpha(1.0));
        let x = x + 2.0 * self.dot() + SPACE;
        canvas.text(x, y, name, TextStyle::new(self.size, text));
    }

    /// Draws it with its left edge at `x`, centred on the panel's height.
    pub fn draw(&self, canvas: &mut Canvas, x: f64, plot: Rect) {
        let rows = self.rows(plot.height());
        let used = rows.min(self.entries.len()) as f64;
        let top = plot.center_y() - used * self.row() / 2.0;
        let mut x = x;
        for (column, width) in self.columns(plot.height()).into_iter().enumerate() {
            let first = column * rows;
            for k in first..(first + rows).min(self.entries.len()) {
                self.entry(canvas, x, top + ((k - first) as f64 + 0.5) * self.row(), k);
            }
            x += width + COLUMN;
        }
    }

    /// How many entries stand in each line below a plot of that width.
    fn lines(&self, width: f64) -> Vec<usize> {
        let mut lines = Vec::new();
        let mut used = f64::INFINITY;
        for w in &self.widths {
            let wide = 2.0 * self.dot() + SPACE + w;
            match lines.last_mut() {
                Some(last) if used + COLUMN + wide <= width => {
                    *last += 1;
                    used += COLUMN + wide;
                }
                _ => {
                    lines.push(1);
                    used = wide;
                }
            }
        }
        lines
    }

    /// Height below a plot of that width.
    pub fn height_below(&self, width: f64) -> f64 {
        self.lines(width).len() as f64 * self.row()
    }

    /// Draws it in centred lines below a plot, from `y` on.
    pub fn draw_below(&self, canvas: &mut Canvas, y: f64, plot: Rect) {
        let mut k = 0;
        for (line, n) in self.lines(plot.width()).into_iter().enumerate() {
            let wide = |k: usize| 2.0 * self.dot() + SPACE + self.widths[k];
            let all = (k..k + n).map(wide).sum::<f64>() + COLUMN * (n - 1) as f64;
            let mut x = plot.center_x() - all / 2.0;
            for _ in 0..n {
                self.entry(canvas, x, y + (line as f64 + 0.5) * self.row(), k);
                x += wide(k) + COLUMN;
                k += 1;
            }
        }
    }
}

/// A strip of the colour scale with its numbers.
pub(crate) struct ColorBar {
    cmap: Cmap,
    scale: Scale,
    ticks: Vec<(f64, String)>,
    label: Option<String>,
}

const BAR: f64 = 12.0;
const TICK: f64 = 3.5;
const STRIP: usize = 24;

impl ColorBar {
    pub fn new(cmap: &Cmap, scale: impl Into<Scale>) -> Self {
        let scale = scale.into();
        ColorBar { cmap: cmap.clone(), ticks: scale.ticks(5), scale, label: None }
    }

    /// With a text along it.
    pub fn labelled(mut self, label: Option<String>) -> Self {
        self.label = label;
        self
    }

    fn widest(&self) -> f64 {
        self.ticks.iter().map(|t| text_width(&t.1, SIZE, false)).fold(0.0, f64::max)
    }

    pub fn width(&self) -> f64 {
        let label = if self.label.is_some() { SIZE + 7.0 } else { 0.0 };
        BAR + TICK + 4.0 + self.widest() + label
    }

    pub fn draw(&self, canvas: &mut Canvas, x: f64, plot: Rect) {
        let height = (0.82 * plot.height()).min(300.0);
        let bar = Rect::at(x, plot.center_y() - height / 2.0, BAR, height);
        // As wide as it is shown on dense screens: viewers blur the edges of enlarged pixels.
        let color = |i: usize| {
            let c = self.cmap.at(1.0 - i as f64 / 255.0);
            [c.r, c.g, c.b]
        };
        let pixels = (0..256).flat_map(|i| [color(i); STRIP].concat()).collect();
        let strip = Image { width: STRIP, height: 256, pixels };
        canvas.picture(Arc::new(strip), bar, 1.0);
        let ink = canvas.ink;
        let mut free = f64::INFINITY;
        for (value, label) in &self.ticks {
            let y = bar.y1 - self.scale.position(*value) * bar.height();
            // On a low bar, what would touch the number before is left off.
            if y + 0.5 * SIZE > free {
                continue;
            }
            free = y - 0.5 * SIZE;
            canvas.line([(bar.x1, y), (bar.x1 + TICK, y)], 1.0, ink.axis);
            let style = TextStyle::new(SIZE, ink.text).anchor(Align::Start, VAlign::Middle);
            canvas.text(bar.x1 + TICK + 4.0, y, label, style);
        }
        if let Some(label) = &self.label {
            let x = bar.x1 + TICK + 4.0 + self.widest() + 7.0;
            let style = TextStyle::new(SIZE, ink.text).anchor(Align::Middle, VAlign::Top).upward();
            canvas.text(x, bar.center_y(), fit(label, SIZE, false, plot.height()), style);
        }
    }

    /// Height below a plot.
    pub fn height_below(&self) -> f64 {
        let label = if self.label.is_some() { SIZE + 5.0 } else { 0.0 };
        BAR + TICK + 3.0 + SIZE + label
    }

    /// Draws it lying below a plot, from `y` on.
    pub fn draw_below(&self, canvas: &mut Canvas, y: f64, plot: Rect) {
        let width = (0.82 * plot.width()).min(300.0);
        let bar = Rect::at(plot.center_x() - width / 2.0, y, width, BAR);
        let color = |i: usize| {
            let c = self.cmap.at(i as f64 / 255.0);
            [c.r, c.g, c.b]
        };
        let row: Vec<u8> = (0..256).flat_map(color).collect();
        let strip = Image { width: 256, height: STRIP, pixels: row.repeat(STRIP) };
        canvas.picture(Arc::new(strip), bar, 1.0);
        let ink = canvas.ink;
        let style = TextStyle::new(SIZE, ink.text).anchor(Align::Middle, VAlign::Top);
        let mut free = f64::NEG_INFINITY;
        for (value, label) in &self.ticks {
            let x = bar.x0 + self.scale.position(*value) * bar.width();
            canvas.line([(x, bar.y1), (x, bar.y1 + TICK)], 1.0, ink.axis);
            let half = text_width(label, SIZE, false) / 2.0;
            // Long numbers below a short bar: what would touch the one before is left off.
            if x - half > free {
                canvas.text(x, bar.y1 + TICK + 3.0, label, style);
                free = x + half + 4.0;
            }
        }
        if let Some(label) = &self.label {
            let y = bar.y1 + TICK + 3.0 + SIZE + 4.0;
            canvas.text(bar.center_x(), y, fit(label, SIZE, false, plot.width()), style);
        }
    }
}
