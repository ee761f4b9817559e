//! [`heatmap`]: every cell, group after group, as a line of colours.

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::genes::Genes;
use super::heat::{Edge, Grid};
use super::heat_cells::cells;
use super::heat_key::GridKey;
use super::keys::Keys;
use super::marked::{Marked, View, gene_cell, group_options, scale_options};
use super::norm::Shades;
use super::palette::Color;
use super::table::stretch_all;
use crate::anndata::AnnData;
use crate::error::Result;

/// The values of genes in single cells; see [`heatmap`].
#[derive(Debug, Clone)]
pub struct Heatmap {
    pub(super) marked: Marked,
    gene_labels: Option<bool>,
}

/// The values of genes in every cell, a line each, group after group of `groupby` (`()` for all
/// cells in the order of the data). Where there are more cells than pixels a pixel shows the mean
/// of their colours.
///
/// Cells without a label are not shown. Genes are labelled where there are at most 50, as by
/// `scanpy.pl.heatmap` 1.11.5.
///
/// # Errors
/// When it is drawn, as for [`dotplot`](super::dotplot).
pub fn heatmap(
    adata: &AnnData,
    var_names: impl Into<Genes>,
    groupby: impl Keys,
) -> Figure<Heatmap> {
    let marked = Marked::new(adata, var_names.into(), groupby.keys(), "viridis");
    Figure::new(Heatmap::new(marked))
}

group_options!(Heatmap);
scale_options!(Heatmap);

impl Figure<Heatmap> {
    /// Whether genes are labelled (by default where there are at most 50).
    pub fn show_gene_labels(mut self, on: bool) -> Self {
        self.plot.gene_labels = Some(on);
        self
    }
}

/// The groups as blocks of cells with strips of their colours.
pub(super) fn blocks(view: &View<'_>, cell: f64) -> Edge {
    if view.groups.key.is_empty() {
        return Edge { n: view.groups.codes.len(), cell, ..Edge::default() };
    }
    let block = |&g: &usize| (view.groups.names[g].clone(), view.groups.sizes[g]);
    let mut edge = Edge::blocks(&view.order.iter().map(block).collect::<Vec<_>>(), cell);
    let color = |&g: &usize| std::iter::repeat_n(view.groups.colors[g], view.groups.sizes[g]);
    let colors: Vec<Color> = view.order.iter().flat_map(color).collect();
    edge.strips = vec![colors];
    edge.with_tree(view.tree.clone())
}

struct Ready<'a> {
    view: View<'a>,
    values: Vec<f64>,
    cells: Vec<usize>,
    shades: Shades,
    grid: Grid,
}

impl Heatmap {
    pub(super) fn new(marked: Marked) -> Heatmap {
        Heatmap { marked, gene_labels: None }
    }

    fn ready(&self) -> Result<Ready<'_>> {
        let view = self.marked.view()?;
        let o = &self.marked.options;
        let cells = view.groups.cells(&view.order);
        let mut values = view.values.to_vec();
        stretch_all(&mut values, view.width, view.scale);
        // The colours span what is shown.
        let shown: Vec<f64> = cells
            .iter()
            .flat_map(|&i| &values[i * view.width..(i + 1) * view.width])
            .copied()
            .collect();
        let shades = o.norm.shades(&o.cmap, &shown)?;
        let n = cells.len().max(1) as f64;
        let swap = o.swap_axes;
        let groups = blocks(&view, if swap { 480.0 } else { 360.0 } / n);
        let most = if swap { 16.0 } else { 22.0 };
        let mut genes = Edge::named(&view.genes, gene_cell(view.genes.len(), most));
        genes.brackets = view.brackets.clone();
        if !self.gene_labels.unwrap_or(view.genes.len() <= 50) {
            genes.labels.clear();
            genes.cell = 460.0 / view.genes.len() as f64;
        }
        let (rows, columns) = view.turned(o, groups, genes);
        let mut grid = Grid { rows, columns, ..Grid::default() };
        if o.legend {
            let title = o.colorbar_title.clone().unwrap_or("Expression".into());
            grid.keys = vec![GridKey::Bar { title, shades: shades.clone() }];
        }
        Ok(Ready { view, values, cells, shades, grid })
    }
}

impl Plot for Heatmap {
    fn describe(&self) -> String {
        self.marked.describe("heat map")
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.ready()?.grid.place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let r = self.ready()?;
        let (n, genes, width) = (r.cells.len(), r.view.genes.len(), r.view.width);
        let value = |cell: usize, gene: usize| r.values[r.cells[cell] * width + r.view.slots[gene]];
        let swap = self.marked.options.swap_axes;
        r.grid.draw(canvas, frame, |canvas, p| {
            if swap {
                cells(canvas, p, (genes, n), &r.shades, |row, column| value(column, row), None);
            } else {
                cells(canvas, p, (n, genes), &r.shades, value, None);
            }
        });
        Ok(())
    }
}
