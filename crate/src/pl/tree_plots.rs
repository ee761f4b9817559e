//! [`dendrogram`] and [`correlation_matrix`]: how alike groups of cells are, as
//! `tl::dendrogram` found it.

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::heat::{Edge, Grid};
use super::heat_cells::cells;
use super::heat_key::GridKey;
use super::keys::Keys;
use super::norm::Norm;
use super::points::{Limit, again};
use super::stored_tree::StoredTree;
use super::tree::Toward;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::sync::Arc;

/// A dendrogram of groups; see [`dendrogram`].
#[derive(Debug, Clone)]
pub struct DendrogramPlot {
    tree: Arc<Result<StoredTree>>,
    orientation: String,
    labels: bool,
}

/// The clustering of the groups of `groupby` that `tl::dendrogram` left in
/// `uns["dendrogram_<groupby>"]`; the height at which two branches meet is their distance.
///
/// As `scanpy.pl.dendrogram` 1.11.5.
///
/// # Errors
/// When it is drawn: where `uns` has no such dendrogram.
pub fn dendrogram(adata: &AnnData, groupby: impl Keys) -> Figure<DendrogramPlot> {
    dendrogram_of(adata, groupby, None)
}

/// [`dendrogram`] of another key of `uns` than the usual one (`None`).
///
/// # Errors
/// When it is drawn: where `uns` has no such dendrogram.
pub fn dendrogram_of(
    adata: &AnnData,
    groupby: impl Keys,
    key: Option<&str>,
) -> Figure<DendrogramPlot> {
    let columns: Vec<String> = groupby.keys().iter().map(|k| k.name().to_string()).collect();
    let tree = Arc::new(StoredTree::read(adata, key, &columns));
    Figure::new(DendrogramPlot { tree, orientation: "top".into(), labels: true })
}

impl Figure<DendrogramPlot> {
    /// Where the root is: `top` (the default) or `left`, or `right`.
    pub fn orientation(mut self, root: impl Into<String>) -> Self {
        self.plot.orientation = root.into();
        self
    }

    /// Leaves the names of the groups off.
    pub fn remove_labels(mut self, on: bool) -> Self {
        self.plot.labels = !on;
        self
    }
}

impl DendrogramPlot {
    /// The leaves beside one large cell, in which the tree is drawn.
    fn grid(&self) -> Result<(Grid, &StoredTree, Toward)> {
        let stored = self.tree.as_ref().as_ref().map_err(again)?;
        let mut leaves =
            Edge::named(&stored.ordered, (420.0 / stored.ordered.len() as f64).clamp(14.0, 24.0));
        if !self.labels {
            leaves.labels.clear();
        }
        let one = |cell: f64| Edge { n: 1, cell, ..Edge::default() };
        let (rows, columns, toward) = match self.orientation.as_str() {
            "top" => (one(160.0), leaves, Toward::Down),
            "left" => (Edge { labels_right: true, ..leaves }, one(280.0), Toward::Right),
            "right" => (leaves, one(280.0), Toward::Left),
            other => {
                let reason = "is none of top, left and right";
                return Err(Error::parameter("orientation", other, reason));
            }
        };
        Ok((Grid { rows, columns, ..Grid::default() }, stored, toward))
    }
}

impl Plot for DendrogramPlot {
    fn describe(&self) -> String {
        match self.tree.as_ref() {
            Ok(t) => {
                format!("dendrogram of {} groups of {}", t.ordered.len(), t.groupby.join(", "))
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.grid()?.0.place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (grid, stored, toward) = self.grid()?;
        grid.draw(canvas, frame, |canvas, p| {
            let at = |k: usize| {
                let middle = k as f64 + 0.5;
                if toward == Toward::Down { p.x(middle) } else { p.y(middle) }
            };
            let leaves: Vec<f64> = (0..stored.ordered.len()).map(at).collect();
            stored.tree.draw(canvas, p.plot, toward, &leaves, canvas.ink.axis);
        });
        Ok(())
    }
}

/// Correlations of groups; see [`correlation_matrix`].
#[derive(Debug, Clone)]
pub struct CorrelationMatrix {
    tree: Arc<Result<StoredTree>>,
    dendrogram: bool,
    numbers: bool,
    cmap: String,
    norm: Norm,
    legend: bool,
}

/// The correlations of the groups of `groupby` that `tl::dendrogram` left in
/// `uns["dendrogram_<groupby>"]`, in the order of the dendrogram and with it, from −1 (blue) to 1
/// (red).
///
/// As `scanpy.pl.correlation_matrix` 1.11.5.
///
/// # Errors
/// When it is drawn: where `uns` has no such dendrogram, or one without correlations.
pub fn correlation_matrix(adata: &AnnData, groupby: impl Keys) -> Figure<CorrelationMatrix> {
    let columns: Vec<String> = groupby.keys().iter().map(|k| k.name().to_string()).collect();
    let tree = Arc::new(StoredTree::read(adata, None, &columns));
    Figure::new(CorrelationMatrix {
        tree,
        dendrogram: true,
        numbers: false,
        cmap: "RdBu_r".into(),
        norm: Norm::default(),
        legend: true,
    })
}

impl Figure<CorrelationMatrix> {
    /// Whether there is the dendrogram (on by default); without it groups stand in the order of
    /// their categories.
    pub fn dendrogram(mut self, on: bool) -> Self {
        self.plot.dendrogram = on;
        self
    }

    /// Whether the numbers are written into the cells.
    pub fn show_correlation_numbers(mut self, on: bool) -> Self {
        self.plot.numbers = on;
        self
    }

    /// Colour map: a name of [`cmap_names`](super::cmap_names), `_r` reverses it.
    pub fn cmap(mut self, name: impl Into<String>) -> Self {
        self.plot.cmap = name.into();
        self
    }

    /// Low end of the colour scale (−1 unless one of the two ends is asked for).
    pub fn vmin(mut self, limit: impl Into<Limit>) -> Self {
        self.plot.norm.vmin = Some(limit.into());
        self
    }

    /// High end of the colour scale (1 unless one of the two ends is asked for).
    pub fn vmax(mut self, limit: impl Into<Limit>) -> Self {
        self.plot.norm.vmax = Some(limit.into());
        self
    }

    /// Whether there is a colour bar (on by default).
    pub fn legend(mut self, on: bool) -> Self {
        self.plot.legend = on;
        self
    }
}

impl CorrelationMatrix {
    fn ready(&self) -> Result<(Grid, Vec<Vec<f64>>, super::norm::Shades)> {
        let stored = self.tree.as_ref().as_ref().map_err(again)?;
        let correlation = stored.correlation.as_ref().ok_or_else(|| {
            let reason = "has no `correlation_matrix` of its groups; run `tl::dendrogram` again";
            Error::data(format!("uns[\"{}\"]", stored.key), reason)
        })?;
        let k = stored.ordered.len();
        let mut names = vec![String::new(); k];
        for (name, &i) in stored.ordered.iter().zip(&stored.index) {
            names[i] = name.clone();
        }
        let order: Vec<usize> =
            if self.dendrogram { stored.index.clone() } else { (0..k).collect() };
        let names: Vec<String> = order.iter().map(|&i| names[i].clone()).collect();
        let values: Vec<Vec<f64>> =
            order.iter().map(|&r| order.iter().map(|&c| correlation[[r, c]]).collect()).collect();
        let mut norm = self.norm.clone();
        if norm.vmin.is_none() && norm.vmax.is_none() {
            (norm.vmin, norm.vmax) = (Some((-1).into()), Some(1.into()));
        }
        let all: Vec<f64> = values.iter().flatten().copied().collect();
        let shades = norm.shades(&self.cmap, &all)?;
        let cell = if self.numbers { 36.0 } else { (360.0 / k as f64).clamp(12.5, 32.0) };
        let mut rows = Edge::named(&names, cell);
        if self.dendrogram {
            rows = rows.with_tree(Some(stored.tree.clone()));
            rows.tree_first = true;
        }
        let keys = if self.legend {
            vec![GridKey::Bar { title: "Correlation".into(), shades: shades.clone() }]
        } else {
            Vec::new()
        };
        let columns = Edge::named(&names, cell);
        Ok((Grid { rows, columns, keys, outline: true }, values, shades))
    }
}

impl Plot for CorrelationMatrix {
    fn describe(&self) -> String {
        match self.tree.as_ref() {
            Ok(t) => {
                format!("correlations of {} groups of {}", t.ordered.len(), t.groupby.join(", "))
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.ready()?.0.place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (grid, values, shades) = self.ready()?;
        let k = values.len();
        let number = |v: f64| format!("{v:.2}").replace('-', "−");
        let number: Option<&dyn Fn(f64) -> String> =
            if self.numbers { Some(&number) } else { None };
        grid.draw(canvas, frame, |canvas, p| {
            cells(canvas, p, (k, k), &shades, |r, c| values[r][c], number);
        });
        Ok(())
    }
}
