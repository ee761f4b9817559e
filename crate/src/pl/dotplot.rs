//! [`dotplot`]: how many cells of a group have a gene (size) and how much of it (colour).

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::genes::Genes;
use super::heat::{Grid, Placed};
use super::heat_cells::{cells, dots};
use super::heat_key::GridKey;
use super::keys::Keys;
use super::marked::{Marked, View, gene_cell, group_options, scale_options, totals_option};
use super::norm::{Shades, readable_on};
use super::table::{GroupTable, Sums, stretch_all};
use crate::anndata::AnnData;
use crate::error::{Error, Result};

/// A dot for each gene and group; see [`dotplot`].
#[derive(Debug, Clone)]
pub struct DotPlot {
    pub(super) marked: Marked,
    style: Style,
    /// Numbers to colour by in place of the means.
    pub(super) colors: Option<GroupTable>,
}

#[derive(Debug, Clone)]
struct Style {
    cutoff: f64,
    only_expressed: bool,
    dot_max: Option<f64>,
    dot_min: Option<f64>,
    smallest: f64,
    largest: f64,
    exponent: f64,
    square: bool,
    size_title: String,
}

/// The genes' expression in the groups of `groupby` (one column of `obs`, or several that are
/// joined): the size of a dot is the part of the group's cells that express the gene, its colour
/// the mean over the group.
///
/// Cells without a label are in no group, and groups without a cell are not shown. The numbers are
/// those of scanpy's `dot_color_df` and `dot_size_df`; [`Figure::dot_color_df`] and
/// [`Figure::dot_size_df`] give them.
///
/// Matches `scanpy.pl.dotplot` 1.11.5 within 1e-6 of the largest number (scanpy adds `f32`).
///
/// ```
/// use spatialkit::{datasets, pl};
/// let slide = datasets::synthetic(&datasets::Synthetic::default().n_genes(50))?;
/// let genes = slide.var.names()[..4].to_vec();
/// let dots = pl::dotplot(&slide, genes, "layer").standard_scale("var");
/// assert_eq!(dots.dot_size_df()?.genes.len(), 4);
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// When it is drawn or asked for numbers: a gene, column, layer or dendrogram that does not exist,
/// no genes, no cell with a label, or an option out of range.
pub fn dotplot(
    adata: &AnnData,
    var_names: impl Into<Genes>,
    groupby: impl Keys,
) -> Figure<DotPlot> {
    Figure::new(DotPlot::new(Marked::new(adata, var_names.into(), groupby.keys(), "Reds")))
}

group_options!(DotPlot);
scale_options!(DotPlot);
totals_option!(DotPlot);

impl Figure<DotPlot> {
    fn style(mut self, change: impl FnOnce(&mut Style)) -> Self {
        change(&mut self.plot.style);
        self
    }

    /// A cell expresses a gene whose value is above this (0 by default).
    pub fn expression_cutoff(self, cutoff: f64) -> Self {
        self.style(|s| s.cutoff = cutoff)
    }

    /// Whether the mean is over the cells that express the gene only.
    pub fn mean_only_expressed(self, on: bool) -> Self {
        self.style(|s| s.only_expressed = on)
    }

    /// The part of cells, 0 to 1, from which on dots are largest (by default the largest part,
    /// rounded up to a tenth).
    pub fn dot_max(self, fraction: f64) -> Self {
        self.style(|s| s.dot_max = Some(fraction))
    }

    /// The part of cells, 0 to 1, up to which dots are smallest (0 by default).
    pub fn dot_min(self, fraction: f64) -> Self {
        self.style(|s| s.dot_min = Some(fraction))
    }

    /// Area of the smallest dots in square points (0 by default, and the largest have 200). Dots
    /// are drawn smaller where they would touch.
    pub fn smallest_dot(self, area: f64) -> Self {
        self.style(|s| s.smallest = area)
    }

    /// Area of the largest dots in square points.
    pub fn largest_dot(self, area: f64) -> Self {
        self.style(|s| s.largest = area)
    }

    /// The area of a dot is the part of cells to this power (1.5 by default).
    pub fn size_exponent(self, exponent: f64) -> Self {
        self.style(|s| s.exponent = exponent)
    }

    /// Whether the colour fills the cell behind a ring instead of the dot (scanpy's
    /// `color_on="square"`).
    pub fn color_on_square(self, on: bool) -> Self {
        self.style(|s| s.square = on)
    }

    /// Title of the key of sizes; `\n` breaks the line.
    pub fn size_title(self, title: impl Into<String>) -> Self {
        self.style(|s| s.size_title = title.into())
    }

    /// The numbers that colour the dots: the mean of each group, scaled as asked for.
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn dot_color_df(&self) -> Result<GroupTable> {
        Ok(self.plot.tables(&self.plot.marked.view()?)?.0)
    }

    /// The part of each group's cells that express the gene, from 0 to 1.
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn dot_size_df(&self) -> Result<GroupTable> {
        Ok(self.plot.tables(&self.plot.marked.view()?)?.1)
    }
}

/// What is drawn, worked out.
struct Ready {
    grid: Grid,
    placed: Placed,
    colors: GroupTable,
    shades: Shades,
    /// Radius in CSS pixels.
    radius: Vec<f64>,
}

impl DotPlot {
    pub(super) fn new(marked: Marked) -> DotPlot {
        let style = Style {
            cutoff: 0.0,
            only_expressed: false,
            dot_max: None,
            dot_min: None,
            smallest: 0.0,
            largest: 200.0,
            exponent: 1.5,
            square: false,
            size_title: "Fraction of cells\nin group (%)".into(),
        };
        DotPlot { marked, style, colors: None }
    }

    fn tables(&self, view: &View<'_>) -> Result<(GroupTable, GroupTable)> {
        if self.style.cutoff.is_nan() {
            return Err(Error::parameter("expression_cutoff", "NaN", "must be a number"));
        }
        let sums = Sums::of(&view.values, view.width, &view.groups, self.style.cutoff);
        let sizes = view.table(&sums.fractions(view.width, &view.groups));
        let mut colors = match &self.colors {
            Some(given) => given.arranged(&sizes),
            None if self.style.only_expressed => view.table(&sums.means_above()),
            None => view.table(&sums.means()),
        };
        let width = colors.genes.len();
        if let Some(values) = colors.values.as_slice_mut() {
            stretch_all(values, width, view.scale);
        }
        Ok((colors, sizes))
    }

    /// Both ends of the sizes, as scanpy chooses them.
    fn range(&self, sizes: &GroupTable) -> Result<(f64, f64)> {
        let s = &self.style;
        for (name, v) in [("dot_max", s.dot_max), ("dot_min", s.dot_min)] {
            if let Some(v) = v.filter(|v| !(0.0..=1.0).contains(v)) {
                return Err(Error::parameter(name, v, "must be between 0 and 1"));
            }
        }
        for (name, v) in [
            ("smallest_dot", s.smallest),
            ("largest_dot", s.largest),
            ("size_exponent", s.exponent),
        ] {
            if !(v >= 0.0 && v.is_finite()) {
                return Err(Error::parameter(name, v, "must be a finite number, 0 or more"));
            }
        }
        let largest = sizes.values.iter().copied().fold(0.0, f64::max);
        let low = s.dot_min.unwrap_or(0.0);
        // Where no cell expresses any gene there still is a scale.
        let high = s.dot_max.unwrap_or_else(|| ((largest * 10.0).ceil() / 10.0).max(low + 0.1));
        if low >= high {
            let reason = format!("must be below dot_max = {high}");
            return Err(Error::parameter("dot_min", low, reason));
        }
        Ok((low, high))
    }

    /// Radius in CSS pixels of a dot for that part of cells.
    fn radius(&self, fraction: f64, (low, high): (f64, f64)) -> f64 {
        let s = &self.style;
        let t = ((fraction.clamp(low, high) - low) / (high - low)).powf(s.exponent);
        let points = t * (s.largest - s.smallest) + s.smallest;
        (points.max(0.0) / std::f64::consts::PI).sqrt() * 4.0 / 3.0
    }

    fn ready(&self, frame: &Frame) -> Result<Ready> {
        let view = self.marked.view()?;
        let o = &self.marked.options;
        let (colors, sizes) = self.tables(&view)?;
        let values: Vec<f64> = colors.values.iter().copied().collect();
        let shades = o.norm.shades(&o.cmap, &values)?;
        let range = self.range(&sizes)?;
        let (mut rows, mut columns) = view.edges(o, (gene_cell(view.genes.len(), 24.0), 22.0));
        if !self.style.square {
            (rows.pad, columns.pad) = (0.3, 0.25);
        }
        let mut grid = Grid { rows, columns, outline: true, ..Grid::default() };
        let key = |shrink: f64| {
            let (low, high) = range;
            let step = match high - low {
                d if d > 0.6 => 0.2,
                d if d > 0.3 => 0.1,
                _ => 0.05,
            };
            // Downwards from the largest, which must be among them.
            let n = ((high - low) / step - 1e-9).ceil().max(1.0) as usize;
            let dot = |k: usize| {
                let v = high - step * k as f64;
                (self.radius(v, range) * shrink, format!("{:.0}", 100.0 * v))
            };
            let title = self.style.size_title.clone();
            GridKey::Dots { title, dots: (0..n).rev().map(dot).collect() }
        };
        let title = o.colorbar_title.clone().unwrap_or("Mean expression\nin group".into());
        let bar = GridKey::Bar { title, shades: shades.clone() };
        if o.legend {
            grid.keys = vec![key(1.0), bar.clone()];
        }
        // Dots that would touch are drawn smaller, in the key as well.
        let pitch = grid.place(frame).pitch();
        let largest = self.radius(range.1, range).max(self.radius(range.0, range)).max(1e-9);
        let shrink =
            (if self.style.square { 0.38 } else { 0.46 } * pitch.0.min(pitch.1) / largest).min(1.0);
        if o.legend {
            grid.keys = vec![key(shrink), bar];
        }
        let placed = grid.place(frame);
        let radius = sizes.values.iter().map(|&v| self.radius(v, range) * shrink).collect();
        Ok(Ready { grid, placed, colors, shades, radius })
    }
}

impl Plot for DotPlot {
    fn describe(&self) -> String {
        self.marked.describe("dot plot")
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.ready(frame)?.placed.size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let r = self.ready(frame)?;
        let swap = self.marked.options.swap_axes;
        let (groups, genes) = r.colors.values.dim();
        let (nrows, ncols) = if swap { (genes, groups) } else { (groups, genes) };
        let at = |row: usize, column: usize| if swap { (column, row) } else { (row, column) };
        let square = self.style.square;
        r.grid.draw(canvas, frame, |canvas, p| {
            let value = |row: usize, column: usize| r.colors.values[at(row, column)];
            let missing = canvas.ink.missing;
            let color = |row: usize, column: usize| r.shades.color(value(row, column), missing);
            let radius = |row: usize, column: usize| {
                let (g, c) = at(row, column);
                r.radius[g * genes + c]
            };
            if !square {
                return dots(canvas, p, (nrows, ncols), radius, color);
            }
            cells(canvas, p, (nrows, ncols), &r.shades, value, None);
            for row in 0..nrows {
                for column in 0..ncols {
                    let (x, y) = (p.x(column as f64 + 0.5), p.y(row as f64 + 0.5));
                    let ink = readable_on(color(row, column));
                    ring(canvas, x, y, radius(row, column), ink);
                }
            }
        });
        Ok(())
    }
}

fn ring(canvas: &mut Canvas, x: f64, y: f64, radius: f64, color: super::palette::Color) {
    if radius < 0.5 {
        return;
    }
    let corner = |k: usize| {
        let angle = k as f64 * std::f64::consts::TAU / 36.0;
        (x + radius * angle.cos(), y + radius * angle.sin())
    };
    canvas.line((0..=36).map(corner), 1.3, color);
}
