//! [`stacked_violin`]: a small violin for each gene and group.

use super::canvas::{Canvas, SpotShape};
use super::density::Density;
use super::figure::{Figure, Frame, Plot};
use super::genes::Genes;
use super::heat::{Grid, Placed};
use super::heat_key::GridKey;
use super::keys::Keys;
use super::marked::{Marked, View, gene_cell, group_options, scale_options, totals_option};
use super::norm::{Shades, readable_on};
use super::palette::{Color, Palette};
use super::table::{GroupTable, medians, stretch_all};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::rng;
use rayon::prelude::*;

/// What the width of a violin stands for (seaborn's `density_norm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DensityNorm {
    /// Nothing: all are equally wide.
    #[default]
    Width,
    /// The density: all violins of a row have the same area.
    Area,
    /// The number of cells at a value.
    Count,
}

/// A violin for each gene and group; see [`stacked_violin`].
#[derive(Debug, Clone)]
pub struct StackedViolin {
    pub(super) marked: Marked,
    style: Style,
}

#[derive(Debug, Clone)]
struct Style {
    strip: bool,
    jitter: f64,
    jitter_size: f64,
    palette: Option<Palette>,
    density: DensityNorm,
    ylim: Option<(f64, f64)>,
}

/// The distribution of each gene over the cells of each group of `groupby`, as violins coloured
/// by the median. The violins of a row share their axis, which runs from the smallest to the
/// largest value of the row.
///
/// Medians match those of `scanpy.pl.stacked_violin` 1.11.5 within 1e-6, densities within 1e-3 of
/// their maximum.
///
/// # Errors
/// When it is drawn or asked for numbers, as for [`dotplot`](super::dotplot).
pub fn stacked_violin(
    adata: &AnnData,
    var_names: impl Into<Genes>,
    groupby: impl Keys,
) -> Figure<StackedViolin> {
    let marked = Marked::new(adata, var_names.into(), groupby.keys(), "Blues");
    Figure::new(StackedViolin::new(marked))
}

group_options!(StackedViolin);
scale_options!(StackedViolin);
totals_option!(StackedViolin);

impl Figure<StackedViolin> {
    fn style(mut self, change: impl FnOnce(&mut Style)) -> Self {
        change(&mut self.plot.style);
        self
    }

    /// Whether each cell is drawn as a point on its violin.
    pub fn stripplot(self, on: bool) -> Self {
        self.style(|s| s.strip = on)
    }

    /// How far points stray sideways, as a part of the violin's room (0.1 by default, as in
    /// seaborn).
    pub fn jitter(self, width: f64) -> Self {
        self.style(|s| s.jitter = width)
    }

    /// Diameter of the points in CSS pixels.
    pub fn jitter_size(self, diameter: f64) -> Self {
        self.style(|s| s.jitter_size = diameter)
    }

    /// Colours the rows by this palette instead of violins by their median.
    pub fn row_palette(self, palette: impl Into<Palette>) -> Self {
        self.style(|s| s.palette = Some(palette.into()))
    }

    /// What the width of a violin stands for.
    pub fn density_norm(self, norm: DensityNorm) -> Self {
        self.style(|s| s.density = norm)
    }

    /// Ends of the axis of every row.
    pub fn ylim(self, low: f64, high: f64) -> Self {
        self.style(|s| s.ylim = Some((low, high)))
    }

    /// The numbers that colour the violins: the median of each group, of values scaled as asked
    /// for.
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn medians_df(&self) -> Result<GroupTable> {
        let view = self.plot.marked.view()?;
        let values = scaled(&view);
        Ok(view.table(&medians(&values, view.width, &view.groups)))
    }
}

fn scaled(view: &View<'_>) -> Vec<f64> {
    let mut values = view.values.to_vec();
    stretch_all(&mut values, view.width, view.scale);
    values
}

impl StackedViolin {
    pub(super) fn new(marked: Marked) -> StackedViolin {
        let style = Style {
            strip: false,
            jitter: 0.1,
            jitter_size: 1.0,
            palette: None,
            density: DensityNorm::Width,
            ylim: None,
        };
        StackedViolin { marked, style }
    }

    fn ready(&self) -> Result<Ready<'_>> {
        if let Some((low, high)) = self.style.ylim
            && !(low < high && low.is_finite() && high.is_finite())
        {
            let reason = "the first must be below the second";
            return Err(Error::parameter("ylim", format!("({low}, {high})"), reason));
        }
        for (name, v) in [("jitter", self.style.jitter), ("jitter_size", self.style.jitter_size)] {
            if !(v >= 0.0 && v.is_finite()) {
                return Err(Error::parameter(name, v, "must be a finite number, 0 or more"));
            }
        }
        let view = self.marked.view()?;
        let o = &self.marked.options;
        let values = scaled(&view);
        let medians = view.table(&medians(&values, view.width, &view.groups));
        let colors: Vec<f64> = medians.values.iter().copied().collect();
        let shades = o.norm.shades(&o.cmap, &colors)?;
        let (mut rows, mut columns) = view.edges(o, (gene_cell(view.genes.len(), 27.0), 27.0));
        (rows.pad, columns.pad) = (0.1, 0.1);
        let mut grid = Grid { rows, columns, outline: true, ..Grid::default() };
        if o.legend && self.style.palette.is_none() {
            let title = o.colorbar_title.clone().unwrap_or("Median expression\nin group".into());
            grid.keys = vec![GridKey::Bar { title, shades: shades.clone() }];
        }
        Ok(Ready { view, values, medians, shades, grid })
    }
}

struct Ready<'a> {
    view: View<'a>,
    values: Vec<f64>,
    medians: GroupTable,
    shades: Shades,
    grid: Grid,
}

impl Plot for StackedViolin {
    fn describe(&self) -> String {
        self.marked.describe("stacked violins")
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.ready()?.grid.place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let r = self.ready()?;
        let swap = self.marked.options.swap_axes;
        let (groups, genes) = r.medians.values.dim();
        let (nrows, ncols) = if swap { (genes, groups) } else { (groups, genes) };
        let palette: Option<Vec<Color>> = match &self.style.palette {
            None => None,
            Some(palette) => {
                let names = if swap { &r.view.genes } else { &r.medians.groups };
                let missing = canvas.ink.missing;
                let colors = palette.resolve(names, None)?;
                Some(colors.into_iter().map(|c| c.unwrap_or(missing)).collect())
            }
        };
        // The values of each group's cells, gathered once.
        let order = &r.view.order;
        let cells = r.view.groups.cells(order);
        let slots = &r.view.slots;
        let mut start = vec![0];
        for &g in order {
            start.push(start.last().copied().unwrap_or(0) + r.view.groups.sizes[g]);
        }
        let (values, width) = (&r.values, r.view.width);
        let of = |row: usize, column: usize| {
            let (g, gene) = if swap { (column, row) } else { (row, column) };
            let slot = slots[gene];
            let cells = &cells[start[g]..start[g + 1]];
            cells.iter().map(move |&i| (i, values[i * width + slot]))
        };
        let shapes: Vec<Option<Density>> = (0..nrows * ncols)
            .into_par_iter()
            .map(|k| Density::of(of(k / ncols, k % ncols).map(|v| v.1), 100))
            .collect();
        let shades = &r.shades;
        r.grid.draw(canvas, frame, |canvas, p| {
            let (missing, edge) = (canvas.ink.missing, canvas.ink.axis);
            for row in 0..nrows {
                let densities = &shapes[row * ncols..(row + 1) * ncols];
                let all = (0..ncols).flat_map(|c| of(row, c).map(|v| v.1));
                let range = self.style.ylim.unwrap_or_else(|| limits(all));
                let axis = Axis { p, row, range };
                for column in 0..ncols {
                    let at = if swap { [column, row] } else { [row, column] };
                    let color = match &palette {
                        Some(colors) => colors[row],
                        None => shades.color(r.medians.values[at], missing),
                    };
                    let room = 0.4 * p.pitch().0;
                    let x = p.x(column as f64 + 0.5);
                    let scale = room / self.highest(densities, column, |c| of(row, c).count());
                    match &densities[column] {
                        Some(d) => {
                            let weight = self.weight(of(row, column).count());
                            axis.violin(canvas, x, d, scale * weight, color, edge);
                        }
                        // Values that do not vary are a line.
                        None => {
                            if let Some(v) = of(row, column).map(|v| v.1).find(|v| v.is_finite()) {
                                let y = axis.y(v);
                                canvas.line([(x - room, y), (x + room, y)], 1.4, color);
                                canvas.line([(x - room, y), (x + room, y)], 0.5, edge);
                            }
                        }
                    }
                    if self.style.strip {
                        let jitter = self.style.jitter * p.pitch().0;
                        let centers = of(row, column).filter(|v| v.1.is_finite()).map(|(i, v)| {
                            let t = rng::at(0, (i * nrows * ncols + row * ncols + column) as u64);
                            let side = 2.0 * rng::unit(t) - 1.0;
                            [(x + side * jitter) as f32, axis.y(v) as f32]
                        });
                        let centers: Vec<[f32; 2]> = centers.collect();
                        let colors = vec![readable_on(color).with_alpha(0.6); centers.len()];
                        let radius = self.style.jitter_size / 2.0;
                        canvas.spots(SpotShape::Circle, centers, radius, colors);
                    }
                }
            }
        });
        Ok(())
    }
}

impl StackedViolin {
    fn weight(&self, cells: usize) -> f64 {
        if self.style.density == DensityNorm::Count { cells as f64 } else { 1.0 }
    }

    /// The height of density that fills a violin's room.
    fn highest(
        &self,
        row: &[Option<Density>],
        column: usize,
        cells: impl Fn(usize) -> usize,
    ) -> f64 {
        let of = |c: usize| {
            let d = row[c].as_ref().map_or(0.0, |d| d.heights.iter().copied().fold(0.0, f64::max));
            d * self.weight(cells(c))
        };
        let highest = match self.style.density {
            DensityNorm::Width => of(column),
            DensityNorm::Area | DensityNorm::Count => (0..row.len()).map(of).fold(0.0, f64::max),
        };
        highest.max(f64::MIN_POSITIVE)
    }
}

/// From the smallest to the largest value, and a little beyond.
fn limits(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |m, v| (m.0.min(v), m.1.max(v)));
    match (low <= high, low < high) {
        (false, _) => (0.0, 1.0),
        (_, false) => (low - 0.5, low + 0.5),
        _ => (low - 0.05 * (high - low), high + 0.05 * (high - low)),
    }
}

struct Axis<'a> {
    p: &'a Placed,
    row: usize,
    range: (f64, f64),
}

impl Axis<'_> {
    fn y(&self, v: f64) -> f64 {
        let t = (v - self.range.0) / (self.range.1 - self.range.0);
        let (top, bottom) = (self.p.y(self.row as f64), self.p.y(self.row as f64 + 1.0));
        (bottom - t * (bottom - top)).clamp(top, bottom)
    }

    fn violin(
        &self,
        canvas: &mut Canvas,
        x: f64,
        d: &Density,
        scale: f64,
        color: Color,
        edge: Color,
    ) {
        let n = d.heights.len();
        let at = |k: usize| self.y(d.low + (d.high - d.low) * k as f64 / (n - 1) as f64);
        let right = (0..n).map(|k| (x + d.heights[k] * scale, at(k)));
        let left = (0..n).rev().map(|k| (x - d.heights[k] * scale, at(k)));
        let mut outline: Vec<(f64, f64)> = right.chain(left).collect();
        canvas.polygon(outline.iter().copied(), color);
        outline.push(outline[0]);
        canvas.line(outline, 0.6, edge);
    }
}
