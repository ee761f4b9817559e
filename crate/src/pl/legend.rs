//! What stands beside a panel: the legend of categories, the bar of a colour scale.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::palette::{Cmap, Color};
use super::text::{fit, text_width};
use super::ticks;
use crate::image::Image;
use std::sync::Arc;

const SIZE: f64 = 11.5;
const ROW: f64 = 18.0;
const DOT: f64 = 5.0;
const LONGEST: f64 = 150.0;

/// Names of categories beside a dot of their colour, in as many columns as the height asks for.
pub(crate) struct Legend {
    entries: Vec<(String, Color)>,
    /// Lengths of the names.
    widths: Vec<f64>,
}

impl Legend {
    pub fn new(entries: Vec<(String, Color)>) -> Self {
        let cut = |(name, color): (String, Color)| (fit(&name, SIZE, false, LONGEST), color);
        let entries: Vec<(String, Color)> = entries.into_iter().map(cut).collect();
        let widths = entries.iter().map(|e| text_width(&e.0, SIZE, false)).collect();
        Legend { entries, widths }
    }

    /// Rows beside a plot of that height: as many as fit, or more where there would be more than
    /// two columns beside a low plot.
    fn rows(&self, plot: f64) -> usize {
        const ENOUGH: f64 = 324.0;
        let fit = |height: f64| ((height / ROW).floor() as usize).max(1);
        let rows = fit(plot);
        if self.entries.len() <= 2 * rows { rows } else { fit(plot.max(ENOUGH)) }
    }

    /// Height beside a plot of that height.
    pub fn height(&self, plot: f64) -> f64 {
        self.rows(plot).min(self.entries.len()) as f64 * ROW
    }

    /// The columns' widths.
    fn columns(&self, height: f64) -> Vec<f64> {
        let longest = |c: &[f64]| c.iter().copied().fold(0.0, f64::max);
        self.widths.chunks(self.rows(height)).map(|c| 2.0 * DOT + 6.0 + longest(c)).collect()
    }

    pub fn width(&self, height: f64) -> f64 {
        let columns = self.columns(height);
        columns.iter().sum::<f64>() + 14.0 * columns.len().saturating_sub(1) as f64
    }

    /// Draws it with its left edge at `x`, centred on the panel's height.
    pub fn draw(&self, canvas: &mut Canvas, x: f64, plot: Rect) {
        let rows = self.rows(plot.height());
        let used = rows.min(self.entries.len()) as f64;
        let top = plot.center_y() - used * ROW / 2.0;
        let text = canvas.ink.text;
        let mut x = x;
        for (column, width) in self.entries.chunks(rows).zip(self.columns(plot.height())) {
            for (k, (name, color)) in column.iter().enumerate() {
                let y = top + (k as f64 + 0.5) * ROW;
                canvas.disc(x + DOT, y, DOT, color.with_alpha(1.0));
                canvas.text(x + 2.0 * DOT + 6.0, y, name, TextStyle::new(SIZE, text));
            }
            x += width + 14.0;
        }
    }
}

/// A strip of the colour scale with its numbers.
pub(crate) struct ColorBar {
    strip: Arc<Image>,
    limits: (f64, f64),
    ticks: Vec<(f64, String)>,
}

const BAR: f64 = 12.0;
const TICK: f64 = 3.5;
const STRIP: usize = 24;

impl ColorBar {
    pub fn new(cmap: &Cmap, limits: (f64, f64)) -> Self {
        let color = |i: usize| {
            let c = cmap.at(1.0 - i as f64 / 255.0);
            [c.r, c.g, c.b]
        };
        // As wide as it is shown on dense screens: viewers blur the edges of enlarged pixels.
        let pixels = (0..256).flat_map(|i| [color(i); STRIP].concat()).collect();
        let ticks = ticks::linear(limits.0, limits.1, 5);
        let labels = ticks::labels(&ticks);
        ColorBar {
            strip: Arc::new(Image { width: STRIP, height: 256, pixels }),
            limits,
            ticks: ticks.into_iter().zip(labels).collect(),
        }
    }

    pub fn width(&self) -> f64 {
        let widest = self.ticks.iter().map(|t| text_width(&t.1, SIZE, false)).fold(0.0, f64::max);
        BAR + TICK + 4.0 + widest
    }

    pub fn draw(&self, canvas: &mut Canvas, x: f64, plot: Rect) {
        let height = (0.82 * plot.height()).min(300.0);
        let bar = Rect::at(x, plot.center_y() - height / 2.0, BAR, height);
        canvas.picture(self.strip.clone(), bar, 1.0);
        let ink = canvas.ink;
        for (value, label) in &self.ticks {
            let t = (value - self.limits.0) / (self.limits.1 - self.limits.0);
            let y = bar.y1 - t * bar.height();
            canvas.line([(bar.x1, y), (bar.x1 + TICK, y)], 1.0, ink.axis);
            let style = TextStyle::new(SIZE, ink.text).anchor(Align::Start, VAlign::Middle);
            canvas.text(bar.x1 + TICK + 4.0, y, label, style);
        }
    }
}
