//! The cells of a grid: [`cells`] filled with colours, [`dots`] of several sizes; and strips of
//! category colours beside them.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::heat::{LABEL, Placed};
use super::norm::{Shades, readable_on};
use super::palette::Color;
use super::text::text_width;
use crate::image::Image;
use rayon::prelude::*;
use std::sync::Arc;

/// Cells above this number are one bitmap.
const MANY: usize = 3000;

/// Fills the cells with the colours of `value(row, column)`; `number`, where given, is written
/// into a cell that has room for it.
pub(crate) fn cells(
    canvas: &mut Canvas,
    p: &Placed,
    (nrows, ncols): (usize, usize),
    shades: &Shades,
    value: impl Fn(usize, usize) -> f64 + Sync,
    number: Option<&dyn Fn(f64) -> String>,
) {
    let missing = canvas.ink.missing;
    let small = p.pitch().0.min(p.pitch().1) < 2.0;
    if nrows * ncols > MANY || (small && nrows * ncols > 100) {
        let area =
            Rect { x0: p.x(0.0), x1: p.x(ncols as f64), y0: p.y(0.0), y1: p.y(nrows as f64) };
        let color = |r: usize, c: usize| shades.color(value(r, c), missing);
        canvas.picture(Arc::new(bitmap((nrows, ncols), &area, color)), area, 1.0);
        return;
    }
    for r in 0..nrows {
        for c in 0..ncols {
            let area = p.cell(r, c);
            let v = value(r, c);
            let color = shades.color(v, missing);
            canvas.fill(area, color);
            let Some(number) = number else { continue };
            let text = if v.is_nan() { String::new() } else { number(v) };
            let size = (p.pitch().1 * 0.55).min(LABEL);
            let width = text_width(&text, size, false);
            let size = size * ((p.pitch().0 - 4.0) / width.max(1e-9)).min(1.0);
            if size >= 6.5 {
                let style = TextStyle::new(size, readable_on(color));
                let style = style.anchor(Align::Middle, VAlign::Middle);
                canvas.text(area.center_x(), area.center_y(), text, style);
            }
        }
    }
}

/// A picture of the cells at two pixels for each CSS pixel. Where several cells fall on a pixel
/// it has the mean of their colours; none is dropped.
fn bitmap(
    (nrows, ncols): (usize, usize),
    area: &Rect,
    color: impl Fn(usize, usize) -> Color + Sync,
) -> Image {
    let width = ((2.0 * area.width()).round() as usize).max(1);
    let height = ((2.0 * area.height()).round() as usize).max(1);
    let range = |k: usize, pixels: usize, n: usize| {
        if n <= pixels {
            let i = ((k as f64 + 0.5) / pixels as f64 * n as f64) as usize;
            i.min(n - 1)..i.min(n - 1) + 1
        } else {
            k * n / pixels..((k + 1) * n).div_ceil(pixels)
        }
    };
    let columns: Vec<_> = (0..width).map(|k| range(k, width, ncols)).collect();
    let mut pixels = vec![0u8; width * height * 3];
    pixels.par_chunks_mut(width * 3).enumerate().for_each(|(k, line)| {
        let rows = range(k, height, nrows);
        for (pixel, columns) in line.as_chunks_mut::<3>().0.iter_mut().zip(&columns) {
            let mut sum = [0u32; 3];
            let n = (rows.len() * columns.len()) as u32;
            for r in rows.clone() {
                for c in columns.clone() {
                    let color = color(r, c);
                    for (s, v) in sum.iter_mut().zip([color.r, color.g, color.b]) {
                        *s += u32::from(v);
                    }
                }
            }
            *pixel = sum.map(|s| ((s + n / 2) / n.max(1)) as u8);
        }
    });
    Image { width, height, pixels }
}

/// A strip of colours: a rectangle for each run of one colour, or a bitmap where there are many.
pub(super) fn draw_strip(canvas: &mut Canvas, colors: &[Color], area: Rect, across: bool) {
    let n = colors.len();
    if n == 0 {
        return;
    }
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for i in 0..n {
        match runs.last_mut() {
            Some(run) if colors[run.0] == colors[i] => run.1 = i + 1,
            _ => runs.push((i, i + 1)),
        }
    }
    if runs.len() > 400 {
        let image = if across {
            bitmap((1, n), &area, |_, c| colors[c])
        } else {
            bitmap((n, 1), &area, |r, _| colors[r])
        };
        canvas.picture(Arc::new(image), area, 1.0);
        return;
    }
    let length = if across { area.width() } else { area.height() } / n as f64;
    let snap = |v: f64| (2.0 * v).round() / 2.0;
    for (from, to) in runs {
        let (a, b) = (from as f64 * length, to as f64 * length);
        let part = if across {
            Rect { x0: snap(area.x0 + a), x1: snap(area.x0 + b), ..area }
        } else {
            Rect { y0: snap(area.y0 + a), y1: snap(area.y0 + b), ..area }
        };
        canvas.fill(part, colors[from]);
    }
}

/// Draws a disc in each cell: `radius(row, column)` in CSS pixels, with a thin edge so that pale
/// ones can be seen.
pub(crate) fn dots(
    canvas: &mut Canvas,
    p: &Placed,
    (nrows, ncols): (usize, usize),
    radius: impl Fn(usize, usize) -> f64,
    color: impl Fn(usize, usize) -> Color,
) {
    let edge = canvas.ink.axis;
    for r in 0..nrows {
        for c in 0..ncols {
            let (x, y) = (p.x(c as f64 + 0.5), p.y(r as f64 + 0.5));
            disc(canvas, x, y, radius(r, c), color(r, c), edge);
        }
    }
}

/// A disc with an edge.
pub(crate) fn disc(canvas: &mut Canvas, x: f64, y: f64, radius: f64, color: Color, edge: Color) {
    if radius <= 0.15 {
        return;
    }
    canvas.disc(x, y, radius + 0.3, edge);
    if radius > 0.3 {
        canvas.disc(x, y, radius - 0.3, color);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_shows_every_cell_or_their_mean() {
        let black_or_white = |r: usize, _: usize| {
            let v = if r.is_multiple_of(2) { 0 } else { 255 };
            Color::rgb(v, v, v)
        };
        let few = bitmap((2, 1), &Rect::at(0.0, 0.0, 1.0, 2.0), black_or_white);
        assert_eq!((few.width, few.height), (2, 4));
        let column: Vec<u8> = few.pixels.chunks_exact(6).map(|p| p[0]).collect();
        assert_eq!(column, [0, 0, 255, 255]);
        let many = bitmap((4000, 3), &Rect::at(0.0, 0.0, 1.0, 10.0), black_or_white);
        assert!(many.pixels.iter().all(|&v| v == 128));
    }
}
