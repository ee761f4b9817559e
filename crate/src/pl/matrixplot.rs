//! [`matrixplot`]: the mean of each gene in each group as a heat map.

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::genes::Genes;
use super::heat::Grid;
use super::heat_cells::cells;
use super::heat_key::GridKey;
use super::keys::Keys;
use super::marked::{Marked, View, gene_cell, group_options, scale_options, totals_option};
use super::norm::Shades;
use super::table::{GroupTable, Sums, stretch_all};
use crate::anndata::AnnData;
use crate::error::Result;

/// A coloured cell for each gene and group; see [`matrixplot`].
#[derive(Debug, Clone)]
pub struct MatrixPlot {
    pub(super) marked: Marked,
    digits: Option<usize>,
    /// Numbers to colour by in place of the means.
    pub(super) values: Option<GroupTable>,
}

/// The mean of each gene over the cells of each group of `groupby` (one column of `obs`, or
/// several that are joined), as colours; [`Figure::values_df`] gives the numbers.
///
/// Matches `scanpy.pl.matrixplot` 1.11.5 within 1e-6 of the largest number.
///
/// # Errors
/// When it is drawn or asked for numbers, as for [`dotplot`](super::dotplot).
pub fn matrixplot(
    adata: &AnnData,
    var_names: impl Into<Genes>,
    groupby: impl Keys,
) -> Figure<MatrixPlot> {
    Figure::new(MatrixPlot::new(Marked::new(adata, var_names.into(), groupby.keys(), "viridis")))
}

group_options!(MatrixPlot);
scale_options!(MatrixPlot);
totals_option!(MatrixPlot);

impl Figure<MatrixPlot> {
    /// Writes the numbers into the cells, with so many digits after the point.
    pub fn numbers(mut self, digits: usize) -> Self {
        self.plot.digits = Some(digits.min(9));
        self
    }

    /// The numbers that colour the cells: the mean of each group, scaled as asked for.
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn values_df(&self) -> Result<GroupTable> {
        Ok(self.plot.table(&self.plot.marked.view()?))
    }
}

impl MatrixPlot {
    pub(super) fn new(marked: Marked) -> MatrixPlot {
        MatrixPlot { marked, digits: None, values: None }
    }

    fn table(&self, view: &View<'_>) -> GroupTable {
        let sums = Sums::of(&view.values, view.width, &view.groups, 0.0);
        let means = view.table(&sums.means());
        // scanpy does not scale numbers that it was given.
        if let Some(given) = &self.values {
            return given.arranged(&means);
        }
        let mut table = means;
        let width = table.genes.len();
        if let Some(values) = table.values.as_slice_mut() {
            stretch_all(values, width, view.scale);
        }
        table
    }

    fn ready(&self) -> Result<(Grid, GroupTable, Shades)> {
        let view = self.marked.view()?;
        let o = &self.marked.options;
        let table = self.table(&view);
        let values: Vec<f64> = table.values.iter().copied().collect();
        let shades = o.norm.shades(&o.cmap, &values)?;
        let widest = match self.digits {
            Some(digits) => 26.0 + 6.0 * digits as f64,
            None => gene_cell(view.genes.len(), 24.0),
        };
        let (rows, columns) = view.edges(o, (widest, 22.0));
        let mut grid = Grid { rows, columns, outline: true, ..Grid::default() };
        if self.digits.is_some() {
            grid.columns.cell = grid.columns.cell.max(widest);
        }
        if o.legend {
            let title = o.colorbar_title.clone().unwrap_or("Mean expression\nin group".into());
            grid.keys = vec![GridKey::Bar { title, shades: shades.clone() }];
        }
        Ok((grid, table, shades))
    }
}

impl Plot for MatrixPlot {
    fn describe(&self) -> String {
        self.marked.describe("matrix plot")
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.ready()?.0.place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (grid, table, shades) = self.ready()?;
        let swap = self.marked.options.swap_axes;
        let (groups, genes) = table.values.dim();
        let (nrows, ncols) = if swap { (genes, groups) } else { (groups, genes) };
        let value =
            |r: usize, c: usize| if swap { table.values[[c, r]] } else { table.values[[r, c]] };
        let digits = self.digits.unwrap_or(0);
        let number = move |v: f64| format!("{v:.digits$}").replace('-', "−");
        let number: Option<&dyn Fn(f64) -> String> = self.digits.map(|_| &number as _);
        grid.draw(canvas, frame, |canvas, p| {
            cells(canvas, p, (nrows, ncols), &shades, value, number);
        });
        Ok(())
    }
}
