//! [`GridKey`]: what stands right of a grid and says what colours and sizes mean.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::heat_cells::disc;
use super::norm::Shades;
use super::palette::Color;
use super::text::{fit, text_width};
use super::ticks;
use crate::image::Image;
use std::sync::Arc;

const SIZE: f64 = 10.5;
const LINE: f64 = 13.0;
const BAR: (f64, f64) = (104.0, 11.0);
/// Room for the numbers at the ends of a bar.
const INSET: f64 = 9.0;
const ROW: f64 = 17.0;
const LONGEST: f64 = 130.0;

/// One key.
#[derive(Debug, Clone)]
pub(crate) enum GridKey {
    /// The bar of a colour scale.
    Bar { title: String, shades: Shades },
    /// Discs of these radii, with what they stand for.
    Dots { title: String, dots: Vec<(f64, String)> },
    /// Colours of categories.
    Names { title: String, names: Vec<(String, Color)> },
}

fn lines(title: &str) -> Vec<String> {
    let cut = |l: &str| fit(l, SIZE, false, LONGEST);
    title.split('\n').filter(|l| !l.is_empty()).map(cut).collect()
}

impl GridKey {
    /// Between two keys.
    pub const GAP: f64 = 16.0;

    pub fn height_of(keys: &[GridKey]) -> f64 {
        let gaps = keys.len().saturating_sub(1) as f64 * Self::GAP;
        keys.iter().map(GridKey::height).sum::<f64>() + gaps
    }

    fn title(&self) -> &str {
        match self {
            GridKey::Bar { title, .. }
            | GridKey::Dots { title, .. }
            | GridKey::Names { title, .. } => title,
        }
    }

    fn title_height(&self) -> f64 {
        let n = lines(self.title()).len() as f64;
        if n > 0.0 { n * LINE + 4.0 } else { 0.0 }
    }

    pub fn height(&self) -> f64 {
        self.title_height()
            + match self {
                GridKey::Bar { .. } => BAR.1 + 4.0 + SIZE,
                GridKey::Dots { dots, .. } => 2.0 * largest(dots) + 5.0 + SIZE,
                GridKey::Names { names, .. } => rows(names).min(names.len()) as f64 * ROW,
            }
    }

    pub fn width(&self) -> f64 {
        let titles = lines(self.title());
        let title = titles.iter().map(|l| text_width(l, SIZE, false)).fold(0.0, f64::max);
        title.max(match self {
            GridKey::Bar { .. } => BAR.0 + 2.0 * INSET,
            GridKey::Dots { dots, .. } => dots.len() as f64 * step(dots),
            GridKey::Names { names, .. } => {
                let columns = names.len().div_ceil(rows(names)).max(1) as f64;
                columns * column(names) - COLUMN_GAP
            }
        })
    }

    /// Draws it with its top left corner at (x, y).
    pub fn draw(&self, canvas: &mut Canvas, x: f64, y: f64) {
        let ink = canvas.ink;
        let style = TextStyle::new(SIZE, ink.text);
        let middle = x + self.width() / 2.0;
        let centred = style.anchor(Align::Middle, VAlign::Top);
        let names = matches!(self, GridKey::Names { .. });
        for (k, line) in lines(self.title()).into_iter().enumerate() {
            let y = y + k as f64 * LINE;
            if names {
                canvas.text(x, y, line, style.anchor(Align::Start, VAlign::Top));
            } else {
                canvas.text(middle, y, line, centred);
            }
        }
        let y = y + self.title_height();
        match self {
            GridKey::Bar { shades, .. } => {
                let bar = Rect::at((middle - BAR.0 / 2.0).round(), y, BAR.0, BAR.1);
                canvas.picture(Arc::new(strip(shades)), bar, 1.0);
                for (value, label) in numbers(shades) {
                    let x = bar.x0 + shades.position(value) * bar.width();
                    canvas.line([(x, bar.y1), (x, bar.y1 + 2.5)], 1.0, ink.axis);
                    canvas.text(x, bar.y1 + 4.5, label, centred);
                }
            }
            GridKey::Dots { dots, .. } => {
                let (r, step) = (largest(dots), step(dots));
                let left = middle - dots.len() as f64 * step / 2.0;
                let grey = Color::rgb(0x90, 0x90, 0x90);
                for (k, (radius, label)) in dots.iter().enumerate() {
                    let x = left + (k as f64 + 0.5) * step;
                    disc(canvas, x, y + r, *radius, grey, ink.axis);
                    canvas.text(x, y + 2.0 * r + 5.0, label.as_str(), centred);
                }
            }
            GridKey::Names { names, .. } => {
                let (rows, column) = (rows(names), column(names));
                for (k, (name, color)) in names.iter().enumerate() {
                    let x = x + (k / rows) as f64 * column;
                    let y = y + ((k % rows) as f64 + 0.5) * ROW;
                    canvas.fill(Rect::at(x, y - 5.0, 10.0, 10.0), *color);
                    canvas.text(x + 16.0, y, fit(name, SIZE, false, LONGEST), style);
                }
            }
        }
    }
}

/// The numbers below a bar: as many as fit beside each other, but two where there are any.
fn numbers(shades: &Shades) -> Vec<(f64, String)> {
    let ticks = |n: usize| -> Vec<(f64, String)> {
        let at = ticks::linear(shades.low, shades.high, n);
        let labels = ticks::labels(&at);
        at.into_iter().zip(labels).collect()
    };
    let fits = |ticks: &[(f64, String)]| {
        let ends = |(v, label): &(f64, String)| {
            let half = text_width(label, SIZE, false) / 2.0;
            (shades.position(*v) * BAR.0 - half, shades.position(*v) * BAR.0 + half)
        };
        ticks.windows(2).all(|w| ends(&w[0]).1 + 6.0 <= ends(&w[1]).0)
    };
    let good = |n: &usize| (fits(&ticks(*n)) && ticks(*n).len() >= 2).then_some(*n);
    let n = [5, 4, 3, 2].iter().find_map(good).unwrap_or(1);
    let mut chosen = ticks(n);
    if !fits(&chosen) {
        chosen.truncate(1);
    }
    chosen
}

fn largest(dots: &[(f64, String)]) -> f64 {
    dots.iter().map(|d| d.0).fold(3.0, f64::max)
}

const COLUMN_GAP: f64 = 12.0;

/// Names in a column.
fn rows(names: &[(String, Color)]) -> usize {
    names.len().div_ceil(3).max(18)
}

/// Width of a column of names and the gap after it.
fn column(names: &[(String, Color)]) -> f64 {
    let widths = names.iter().map(|n| text_width(&n.0, SIZE, false));
    16.0 + widths.fold(0.0, f64::max).min(LONGEST) + COLUMN_GAP
}

fn step(dots: &[(f64, String)]) -> f64 {
    let widest = dots.iter().map(|d| text_width(&d.1, SIZE, false)).fold(0.0, f64::max);
    (2.0 * largest(dots) + 3.0).max(widest + 6.0)
}

/// The colours from one end to the other, as high as they are shown.
fn strip(shades: &Shades) -> Image {
    const HEIGHT: usize = 22;
    let color = |i: usize| {
        let c = shades.cmap.at(i as f64 / 255.0);
        [c.r, c.g, c.b]
    };
    let line: Vec<u8> = (0..256).flat_map(color).collect();
    Image { width: 256, height: HEIGHT, pixels: line.repeat(HEIGHT) }
}
