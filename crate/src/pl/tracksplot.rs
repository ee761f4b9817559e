//! [`tracksplot`]: the values of genes in every cell as bars, a track for each gene.

use super::canvas::{Align, Canvas, Rect, TextStyle, VAlign};
use super::figure::{Figure, Frame, Plot};
use super::genes::Genes;
use super::heat::{Edge, Grid};
use super::heatmap::blocks;
use super::keys::Keys;
use super::marked::{Marked, View, group_options};
use super::ticks;
use crate::anndata::AnnData;
use crate::error::{Error, Result};

/// A track for each gene; see [`tracksplot`].
#[derive(Debug, Clone)]
pub struct TracksPlot {
    pub(super) marked: Marked,
}

/// The value of each gene in every cell as the height of a bar in the colour of the cell's group
/// of `groupby`, group after group; the number on the right is the gene's largest value. Where
/// there are more cells than pixels a pixel shows the highest of them.
///
/// As `scanpy.pl.tracksplot` 1.11.5; cells without a label are not shown.
///
/// # Errors
/// When it is drawn, as for [`dotplot`](super::dotplot), and without a `groupby`.
pub fn tracksplot(
    adata: &AnnData,
    var_names: impl Into<Genes>,
    groupby: impl Keys,
) -> Figure<TracksPlot> {
    let keys = groupby.keys();
    if keys.is_empty() {
        let e = Error::parameter("groupby", "()", "tracks need a column of obs with groups");
        return Figure::new(TracksPlot { marked: Marked::failed(e, "viridis") });
    }
    Figure::new(TracksPlot { marked: Marked::new(adata, var_names.into(), keys, "viridis") })
}

group_options!(TracksPlot);

const TRACK: f64 = 26.0;
/// Room for the numbers on the right.
const NUMBERS: f64 = 30.0;

impl TracksPlot {
    fn grid(&self, view: &View<'_>) -> Grid {
        let n = view.groups.sizes.iter().sum::<usize>().max(1);
        let mut rows = Edge::named(&view.genes, TRACK);
        rows.brackets = view.brackets.clone();
        rows.beside = NUMBERS;
        Grid { rows, columns: blocks(view, 520.0 / n as f64), ..Grid::default() }
    }
}

impl Plot for TracksPlot {
    fn describe(&self) -> String {
        self.marked.describe("tracks")
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.grid(&self.marked.view()?).place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let view = self.marked.view()?;
        let grid = self.grid(&view);
        let cells = view.groups.cells(&view.order);
        let mut tops = Vec::new();
        let placed = grid.place(frame);
        for (row, &slot) in view.slots.iter().enumerate() {
            let values: Vec<f64> =
                cells.iter().map(|&i| view.values[i * view.width + slot]).collect();
            let finite = values.iter().copied().filter(|v| v.is_finite());
            let (low, high) = finite.fold((0f64, 0f64), |m, v| (m.0.min(v), m.1.max(v)));
            tops.push((row, high));
            let span = if high > low { high - low } else { 1.0 };
            let (top, bottom) = (placed.y(row as f64 + 0.08), placed.y(row as f64 + 1.0));
            let y = |v: f64| bottom - (v - low) / span * (bottom - top);
            let mut from = 0;
            for &g in &view.order {
                let to = from + view.groups.sizes[g];
                let steps = outline(&values[from..to], |k| placed.x((from as f64) + k));
                let edge = steps.iter().flat_map(|s| [(s.x0, y(s.high)), (s.x1, y(s.high))]);
                let back = steps.iter().rev().flat_map(|s| [(s.x1, y(s.low)), (s.x0, y(s.low))]);
                if steps.iter().any(|s| s.high > 0.0 || s.low < 0.0) {
                    canvas.polygon(edge.chain(back), view.groups.colors[g]);
                }
                from = to;
            }
        }
        let shown = tops.clone();
        grid.draw(canvas, frame, |canvas, p| {
            let ink = canvas.ink;
            for &(row, _) in &shown {
                let y = p.y(row as f64 + 1.0);
                canvas.fill(Rect { x0: p.plot.x0, x1: p.plot.x1, y0: y - 0.5, y1: y }, ink.grid);
            }
        });
        let ink = canvas.ink;
        for (row, high) in tops {
            let label = ticks::labels(&[rounded(high)]).concat();
            let style = TextStyle::new(9.0, ink.text).anchor(Align::Start, VAlign::Top);
            let (x, y) = (placed.plot.x1 + 3.0, placed.y(row as f64 + 0.1));
            canvas.line([(x - 3.0, y), (x, y)], 1.0, ink.axis);
            canvas.line([(x - 3.0, y), (x - 3.0, placed.y(row as f64 + 1.0))], 1.0, ink.axis);
            canvas.text(x + 2.0, y, label, style);
        }
        Ok(())
    }
}

/// To two digits where there is a fraction.
fn rounded(v: f64) -> f64 {
    if v == 0.0 || v.abs() >= 100.0 {
        return v.round();
    }
    let unit = 10f64.powi(1 - v.abs().log10().floor() as i32);
    (v * unit).round() / unit
}

/// A piece of a track: the highest and the lowest value (0 included) between two places.
struct Step {
    x0: f64,
    x1: f64,
    low: f64,
    high: f64,
}

/// One step for each cell, or for half a pixel where there are more cells than that.
fn outline(values: &[f64], x: impl Fn(f64) -> f64) -> Vec<Step> {
    let n = values.len();
    let pixels = ((x(n as f64) - x(0.0)) * 2.0).ceil().max(1.0) as usize;
    let steps = n.min(pixels);
    let step = |k: usize| {
        let (a, b) = (k * n / steps, ((k + 1) * n / steps).max(k * n / steps + 1));
        let part = values[a..b.min(n)].iter().copied().filter(|v| v.is_finite());
        let (low, high) = part.fold((0f64, 0f64), |m, v| (m.0.min(v), m.1.max(v)));
        Step { x0: x(a as f64), x1: x(b as f64), low, high }
    };
    (0..steps).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peak_is_lost_where_pixels_are_few() {
        let mut values = vec![0.0; 10_000];
        values[4321] = 5.0;
        values[7] = -2.0;
        let steps = outline(&values, |k| k * 0.01);
        assert!(steps.len() <= 200);
        assert_eq!(steps.iter().map(|s| s.high).fold(0.0, f64::max), 5.0);
        assert_eq!(steps.iter().map(|s| s.low).fold(0.0, f64::min), -2.0);
        assert_eq!((steps[0].x0, steps.last().unwrap().x1), (0.0, 100.0));
        assert_eq!(outline(&[1.0, 2.0], |k| k * 30.0).len(), 2);
    }

    #[test]
    fn numbers_have_two_digits() {
        assert_eq!([0.0, 3.456, 0.0123, 1234.4].map(rounded), [0.0, 3.5, 0.012, 1234.0]);
    }
}
