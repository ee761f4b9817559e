//! Heat maps of pairs of clusters: [`nhood_enrichment`] and [`interaction_matrix`].

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::heat::{Edge, Grid};
use super::heat_cells::cells;
use super::heat_key::GridKey;
use super::neighbourhood::{Clusters, array, result};
use super::norm::{Norm, Shades};
use super::palette::Palette;
use super::points::{Limit, again};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::sync::Arc;

/// A number for each pair of clusters; see [`nhood_enrichment`] and [`interaction_matrix`].
#[derive(Debug, Clone)]
pub struct ClusterHeat {
    data: Result<Arc<Pairs>, Arc<Error>>,
    mode: String,
    title: &'static str,
    key: &'static str,
    annotate: bool,
    cmap: String,
    palette: Palette,
    norm: Norm,
}

#[derive(Debug)]
struct Pairs {
    clusters: Clusters,
    /// By mode, row by row.
    values: Vec<(String, Vec<f64>)>,
}

/// How much more often clusters are neighbours than by chance, as a heat map; squidpy's
/// `pl.nhood_enrichment`. Reads `uns["<cluster_key>_nhood_enrichment"]`. A z-score that is NaN (as
/// of a cluster of one spot with itself) has the colour of what is missing, and no number.
pub fn nhood_enrichment(adata: &AnnData, cluster_key: &str) -> Figure<ClusterHeat> {
    let read = || {
        let clusters = Clusters::of(adata, cluster_key)?;
        let key = format!("{cluster_key}_nhood_enrichment");
        let value = result(adata, &key, "nhood_enrichment")?;
        let k = clusters.names.len();
        let matrix = |mode: &str| -> Result<(String, Vec<f64>)> {
            let what = format!("uns[\"{key}\"][\"{mode}\"]");
            Ok((mode.to_string(), array(value.at(&[mode]), &what, &[k, k])?))
        };
        let values = vec![matrix("zscore")?, matrix("count")?];
        Ok(Arc::new(Pairs { clusters, values }))
    };
    Figure::new(ClusterHeat {
        data: read().map_err(Arc::new),
        mode: "zscore".into(),
        title: "Neighborhood enrichment",
        key: "z-score",
        annotate: false,
        cmap: "viridis".into(),
        palette: Palette::Default,
        norm: Norm::default(),
    })
}

/// How often clusters are neighbours, as a heat map; squidpy's `pl.interaction_matrix`. Reads
/// `uns["<cluster_key>_interactions"]`.
pub fn interaction_matrix(adata: &AnnData, cluster_key: &str) -> Figure<ClusterHeat> {
    let read = || {
        let clusters = Clusters::of(adata, cluster_key)?;
        let key = format!("{cluster_key}_interactions");
        let value = result(adata, &key, "interaction_matrix")?;
        let k = clusters.names.len();
        let matrix = array(Some(value), &format!("uns[\"{key}\"]"), &[k, k])?;
        Ok(Arc::new(Pairs { clusters, values: vec![("count".into(), matrix)] }))
    };
    Figure::new(ClusterHeat {
        data: read().map_err(Arc::new),
        mode: "count".into(),
        title: "Interaction matrix",
        key: "edges",
        annotate: false,
        cmap: "viridis".into(),
        palette: Palette::Default,
        norm: Norm::default(),
    })
}

impl Figure<ClusterHeat> {
    /// What of the enrichment is drawn: `"zscore"` (the default) or `"count"`.
    pub fn mode(mut self, mode: impl Into<String>) -> Self {
        self.plot.mode = mode.into();
        self.plot.key = if self.plot.mode == "zscore" { "z-score" } else { "edges" };
        self
    }

    /// Whether the numbers are written into the cells.
    pub fn annotate(mut self, on: bool) -> Self {
        self.plot.annotate = on;
        self
    }

    /// Colour map: a name of [`cmap_names`](super::cmap_names), `_r` reverses it.
    pub fn cmap(mut self, name: impl Into<String>) -> Self {
        self.plot.cmap = name.into();
        self
    }

    /// Colours of the clusters; see [`Palette`].
    pub fn palette(mut self, palette: impl Into<Palette>) -> Self {
        self.plot.palette = palette.into();
        self
    }

    /// Low end of the colour scale: a number, or a percentile such as `"p1"`.
    pub fn vmin(mut self, limit: impl Into<Limit>) -> Self {
        self.plot.norm.vmin = Some(limit.into());
        self
    }

    /// High end of the colour scale: a number, or a percentile such as `"p99"`.
    pub fn vmax(mut self, limit: impl Into<Limit>) -> Self {
        self.plot.norm.vmax = Some(limit.into());
        self
    }

    /// The number that gets the middle colour, e.g. 0 with the map `coolwarm`.
    pub fn vcenter(mut self, center: f64) -> Self {
        self.plot.norm.vcenter = Some(center);
        self
    }
}

impl ClusterHeat {
    fn values(&self) -> Result<(&Pairs, &[f64])> {
        let pairs = self.data.as_ref().map_err(|e| again(e))?;
        let found = pairs.values.iter().find(|v| v.0 == self.mode).ok_or_else(|| {
            let names = pairs.values.iter().map(|v| &v.0);
            Error::missing_key("the heat map", "mode", &self.mode, names)
        })?;
        Ok((pairs, &found.1))
    }

    fn grid(&self) -> Result<(Grid, Shades)> {
        let (pairs, values) = self.values()?;
        let shades = self.norm.shades(&self.cmap, values)?;
        let colors = pairs.clusters.colors(&self.palette)?;
        let names = &pairs.clusters.names;
        let cell = (340.0 / names.len() as f64).clamp(14.0, 44.0);
        let mut rows = Edge::named(names, cell);
        rows.strips = vec![colors.clone()];
        rows.name = Some(pairs.clusters.key.clone());
        let mut columns = Edge::named(names, cell);
        columns.strips = vec![colors];
        let key = GridKey::Bar { title: self.key.into(), shades: shades.clone() };
        Ok((Grid { rows, columns, keys: vec![key], ..Grid::default() }, shades))
    }

    /// With the usual title where none was given.
    fn titled(&self, frame: &Frame) -> Frame {
        let title = frame.title.clone().or(Some(self.title.into()));
        Frame { title, ..frame.clone() }
    }
}

impl Plot for ClusterHeat {
    fn describe(&self) -> String {
        format!("heat map of pairs of clusters: {}", self.title.to_lowercase())
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        let (w, h) = self.grid()?.0.place(&self.titled(frame)).size();
        Ok((frame.width.unwrap_or(w), frame.height.unwrap_or(h)))
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (grid, shades) = self.grid()?;
        let (pairs, values) = self.values()?;
        let k = pairs.clusters.names.len();
        let number = |v: f64| if v.fract() == 0.0 { format!("{v}") } else { format!("{v:.1}") };
        let number: Option<&dyn Fn(f64) -> String> =
            if self.annotate { Some(&number) } else { None };
        grid.draw(canvas, &self.titled(frame), |canvas, place| {
            cells(canvas, place, (k, k), &shades, |r, c| values[r * k + c], number);
        });
        Ok(())
    }
}
