//! What squidpy's statistics of clusters look like: [`co_occurrence`], [`ripley`] and
//! [`centrality_scores`] as curves and dots, [`nhood_enrichment`] and [`interaction_matrix`] as
//! heat maps. Each reads what `gr`, or squidpy itself, has left in `uns`.

use super::axis::Axis;
use super::canvas::Canvas;
use super::chart_items::{Item, Tint};
use super::charts::{Panel, Sheet};
use super::figure::{Figure, Frame, Plot};
use super::palette::{Color, Palette};
use super::points::again;
use crate::anndata::{AnnData, Frame as Table, Value};
use crate::error::{Error, Result};
use std::sync::Arc;

/// The clusters of a column of `obs` with their colours.
#[derive(Debug, Clone)]
pub(super) struct Clusters {
    pub key: String,
    pub names: Vec<String>,
    stored: Option<Vec<String>>,
}

impl Clusters {
    pub fn of(adata: &AnnData, key: &str) -> Result<Clusters> {
        let names = adata.obs_column(key)?.to_categorical().categories;
        if names.is_empty() {
            return Err(Error::data(format!("obs[\"{key}\"]"), "has no categories"));
        }
        let stored = match adata.uns.get(&format!("{key}_colors")) {
            Some(Value::StrArray { values, .. }) => Some(values.clone()),
            _ => None,
        };
        Ok(Clusters { key: key.into(), names, stored })
    }

    pub fn colors(&self, palette: &Palette) -> Result<Vec<Color>> {
        let colors = palette.resolve(&self.names, self.stored.as_deref())?;
        Ok(colors.into_iter().map(|c| c.unwrap_or(Color::rgb(0xb0, 0xb0, 0xb0))).collect())
    }

    fn legend(&self, colors: &[Color]) -> Vec<(String, Tint)> {
        self.names.iter().cloned().zip(colors.iter().map(|&c| Tint::Is(c))).collect()
    }
}

/// `uns[key]`, or which function writes it.
pub(super) fn result<'a>(adata: &'a AnnData, key: &str, function: &str) -> Result<&'a Value> {
    adata.uns.get(key).ok_or_else(|| {
        let reason = format!("is absent: run `gr::{function}` first");
        Error::data(format!("uns[\"{key}\"]"), reason)
    })
}

/// The numbers of an array, of the shape that it must have.
pub(super) fn array(value: Option<&Value>, what: &str, shape: &[usize]) -> Result<Vec<f64>> {
    match value {
        Some(Value::Array { shape: found, values }) if found == shape => {
            Ok(values.to_f64().into_owned())
        }
        Some(Value::Array { shape: found, .. }) => {
            Err(Error::shape(what, format!("{shape:?}"), format!("{found:?}")))
        }
        _ => Err(Error::data(what, "is no array of numbers")),
    }
}

/// The names among `all` that were asked for, or all, as positions.
fn chosen(all: &[String], asked: &Option<Vec<String>>, what: &'static str) -> Result<Vec<usize>> {
    let Some(asked) = asked else { return Ok((0..all.len()).collect()) };
    if asked.is_empty() {
        return Err(Error::parameter(what, "[]", "needs at least one name"));
    }
    let find = |name: &String| {
        let absent = || Error::missing_key(what, "name", name, all);
        all.iter().position(|n| n == name).ok_or_else(absent)
    };
    asked.iter().map(find).collect()
}

/// How often clusters are found at a distance of each other; see [`co_occurrence`].
#[derive(Debug, Clone)]
pub struct CoOccurrencePlot {
    data: Result<Arc<Occurrence>, Arc<Error>>,
    clusters: Option<Vec<String>>,
    palette: Palette,
    columns: Option<usize>,
}

#[derive(Debug)]
struct Occurrence {
    clusters: Clusters,
    distances: Vec<f64>,
    /// Cluster × cluster × distance.
    occ: Vec<f64>,
}

/// Curves of the co-occurrence of clusters by distance, a panel for each cluster; squidpy's
/// `pl.co_occurrence`. Reads `uns["<cluster_key>_co_occurrence"]`. Of a result with two distances
/// (the first has no value) a dot is drawn for each cluster.
pub fn co_occurrence(adata: &AnnData, cluster_key: &str) -> Figure<CoOccurrencePlot> {
    let read = || {
        let clusters = Clusters::of(adata, cluster_key)?;
        let key = format!("{cluster_key}_co_occurrence");
        let value = result(adata, &key, "co_occurrence")?;
        let k = clusters.names.len();
        let what = format!("uns[\"{key}\"][\"interval\"]");
        let interval = match value.at(&["interval"]) {
            Some(Value::Array { values, .. }) if values.len() >= 2 => values.to_f64().into_owned(),
            _ => return Err(Error::data(what, "is no array of at least 2 distances")),
        };
        let distances = interval[1..].to_vec();
        let what = format!("uns[\"{key}\"][\"occ\"]");
        let occ = array(value.at(&["occ"]), &what, &[k, k, distances.len()])?;
        Ok(Arc::new(Occurrence { clusters, distances, occ }))
    };
    Figure::new(CoOccurrencePlot {
        data: read().map_err(Arc::new),
        clusters: None,
        palette: Palette::Default,
        columns: None,
    })
}

impl Figure<CoOccurrencePlot> {
    /// Panels for these clusters only.
    pub fn clusters<S: ToString>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.plot.clusters = Some(names.into_iter().map(|n| n.to_string()).collect());
        self
    }

    /// Colours of the clusters; see [`Palette`].
    pub fn palette(mut self, palette: impl Into<Palette>) -> Self {
        self.plot.palette = palette.into();
        self
    }

    /// Panels in a row.
    pub fn ncols(mut self, columns: usize) -> Self {
        self.plot.columns = Some(columns);
        self
    }
}

impl CoOccurrencePlot {
    fn sheet(&self) -> Result<Sheet> {
        let d = self.data.as_ref().map_err(|e| again(e))?;
        let names = &d.clusters.names;
        let colors = d.clusters.colors(&self.palette)?;
        let (k, m) = (names.len(), d.distances.len());
        let panel = |g: usize| {
            let curve = |c: usize| -> Vec<(f64, f64)> {
                let values = &d.occ[(g * k + c) * m..][..m];
                d.distances.iter().copied().zip(values.iter().copied()).collect()
            };
            let all = (0..k).flat_map(curve).map(|p| p.1).filter(|v| v.is_finite());
            let y = Axis::new("ylim", all.chain([1.0]), None, false, 0.05)?;
            let x = Axis::new("xlim", d.distances.iter().copied(), None, false, 0.02)?;
            let mut panel = Panel::new(x, y);
            panel.title = Some(format!("p(… | {}) / p(…)", names[g]));
            panel.xlabel = "distance".into();
            panel.ylabel = "ratio".into();
            panel.items.push(Item::Across { x: None, y: Some(1.0), tint: Tint::Axis });
            for (c, &color) in colors.iter().enumerate() {
                let tint = Tint::Is(color);
                panel.items.push(Item::Curve { at: curve(c), width: 1.6, tint, dash: None });
            }
            Ok(panel)
        };
        let shown = chosen(names, &self.clusters, "clusters")?;
        let mut sheet = Sheet::new(shown.into_iter().map(panel).collect::<Result<Vec<_>>>()?);
        sheet.columns = self.columns;
        sheet.legend_below = true;
        sheet.legend = d.clusters.legend(&colors);
        Ok(sheet)
    }
}

impl Plot for CoOccurrencePlot {
    fn describe(&self) -> String {
        "co-occurrence of clusters by distance".into()
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}

/// Ripley's statistics of clusters; see [`ripley`].
#[derive(Debug, Clone)]
pub struct RipleyPlot {
    data: Result<Arc<Curves>, Arc<Error>>,
    mode: String,
    sims: bool,
    palette: Palette,
}

#[derive(Debug)]
struct Curves {
    clusters: Clusters,
    /// The cluster, distance and statistic of each row.
    observed: Vec<(usize, f64, f64)>,
    /// Distance, mean and standard deviation of the simulations.
    simulated: Vec<(f64, f64, f64)>,
}

/// Ripley's statistic `mode` (`"F"`, `"G"` or `"L"`) of each cluster by distance, over the band of
/// the simulations of randomly placed points (mean ± standard deviation); squidpy's `pl.ripley`.
/// Reads `uns["<cluster_key>_ripley_<mode>"]`. What is not finite is left out.
pub fn ripley(adata: &AnnData, cluster_key: &str, mode: &str) -> Figure<RipleyPlot> {
    let read = || {
        if !["F", "G", "L"].contains(&mode) {
            return Err(Error::parameter("mode", mode, "must be \"F\", \"G\" or \"L\""));
        }
        let clusters = Clusters::of(adata, cluster_key)?;
        let key = format!("{cluster_key}_ripley_{mode}");
        let value = result(adata, &key, "ripley")?;
        let table = |name: &str| match value.at(&[name]) {
            Some(Value::Frame(f)) => Ok(f),
            _ => Err(Error::data(format!("uns[\"{key}\"][\"{name}\"]"), "is no table")),
        };
        let column = |f: &Table, name: &'static str| {
            let absent = || {
                Error::missing_key(
                    "the table of Ripley's statistic",
                    "column of numbers",
                    name,
                    f.columns().map(|c| c.0),
                )
            };
            f.get(name).and_then(|c| c.to_f64()).ok_or_else(absent)
        };
        let stat = table(&format!("{mode}_stat"))?;
        let (bins, stats) = (column(stat, "bins")?, column(stat, "stats")?);
        let labels = stat.get(cluster_key).ok_or_else(|| {
            let keys = stat.columns().map(|c| c.0);
            Error::missing_key("the table of Ripley's statistic", "column", cluster_key, keys)
        })?;
        let mut observed = Vec::with_capacity(bins.len());
        for (i, (&bin, &value)) in bins.iter().zip(&stats).enumerate() {
            let label = labels.text(i).unwrap_or_default();
            let absent =
                || Error::missing_key("obs", "cluster of Ripley's table", &label, &clusters.names);
            let c = clusters.names.iter().position(|n| *n == label).ok_or_else(absent)?;
            observed.push((c, bin, value));
        }
        let sims = table("sims_stat")?;
        let mut all: Vec<(f64, f64)> =
            column(sims, "bins")?.into_iter().zip(column(sims, "stats")?).collect();
        all.retain(|s| s.0.is_finite() && s.1.is_finite());
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let spread = |at: &[(f64, f64)]| {
            let n = at.len() as f64;
            let mean = at.iter().map(|s| s.1).sum::<f64>() / n;
            let square = at.iter().map(|s| (s.1 - mean).powi(2)).sum::<f64>();
            (at[0].0, mean, (square / (n - 1.0).max(1.0)).sqrt())
        };
        let simulated = all.chunk_by(|a, b| a.0 == b.0).map(spread).collect();
        Ok(Arc::new(Curves { clusters, observed, simulated }))
    };
    let data = read().map_err(Arc::new);
    Figure::new(RipleyPlot { data, mode: mode.into(), sims: true, palette: Palette::Default })
}

impl Figure<RipleyPlot> {
    /// Whether the simulations are drawn (on by default).
    pub fn plot_sims(mut self, on: bool) -> Self {
        self.plot.sims = on;
        self
    }

    /// Colours of the clusters; see [`Palette`].
    pub fn palette(mut self, palette: impl Into<Palette>) -> Self {
        self.plot.palette = palette.into();
        self
    }
}

impl RipleyPlot {
    fn sheet(&self) -> Result<Sheet> {
        let d = self.data.as_ref().map_err(|e| again(e))?;
        let colors = d.clusters.colors(&self.palette)?;
        let sims: &[(f64, f64, f64)] = if self.sims { &d.simulated } else { &[] };
        let finite = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite();
        let band = sims.iter().flat_map(|s| [(s.0, s.1 - s.2), (s.0, s.1 + s.2)]);
        let observed = d.observed.iter().map(|o| (o.1, o.2));
        let all: Vec<(f64, f64)> = observed.chain(band).filter(finite).collect();
        if all.is_empty() {
            return Err(Error::data("Ripley's statistic", "holds no finite numbers"));
        }
        let x = Axis::new("xlim", all.iter().map(|p| p.0), None, false, 0.02)?;
        let y = Axis::new("ylim", all.iter().map(|p| p.1), None, false, 0.05)?;
        let mut panel = Panel::new(x, y);
        panel.xlabel = "distance".into();
        panel.ylabel = format!("Ripley's {}", self.mode);
        if !sims.is_empty() {
            let up = sims.iter().map(|s| (s.0, s.1 + s.2));
            let down = sims.iter().rev().map(|s| (s.0, s.1 - s.2));
            let at = up.chain(down).collect();
            panel.items.push(Item::Shape { at, tint: Tint::Faint(0.28), rim: None });
            let at = sims.iter().map(|s| (s.0, s.1)).collect();
            panel.items.push(Item::Curve { at, width: 1.2, tint: Tint::Axis, dash: Some(4.0) });
        }
        for (c, &color) in colors.iter().enumerate() {
            let mine = d.observed.iter().filter(|o| o.0 == c);
            let at: Vec<(f64, f64)> = mine.map(|o| (o.1, o.2)).collect();
            panel.items.push(Item::Curve { at, width: 1.7, tint: Tint::Is(color), dash: None });
        }
        let mut sheet = Sheet::new(vec![panel]);
        sheet.legend = d.clusters.legend(&colors);
        if !sims.is_empty() {
            sheet.legend.push(("random".into(), Tint::Axis));
        }
        Ok(sheet)
    }
}

impl Plot for RipleyPlot {
    fn describe(&self) -> String {
        format!("Ripley's {} of clusters by distance", self.mode)
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}

/// How central clusters lie in the graph of neighbours; see [`centrality_scores`].
#[derive(Debug, Clone)]
pub struct CentralityPlot {
    data: Result<Arc<Scores>, Arc<Error>>,
    score: Option<Vec<String>>,
    palette: Palette,
    columns: Option<usize>,
}

#[derive(Debug)]
struct Scores {
    clusters: Clusters,
    scores: Vec<(String, Vec<f64>)>,
}

/// The centrality of each cluster, a panel for each score; squidpy's `pl.centrality_scores`. Reads
/// `uns["<cluster_key>_centrality_scores"]`. A cluster without a row there, or without a finite
/// score, has no dot.
pub fn centrality_scores(adata: &AnnData, cluster_key: &str) -> Figure<CentralityPlot> {
    let read = || {
        let clusters = Clusters::of(adata, cluster_key)?;
        let key = format!("{cluster_key}_centrality_scores");
        let Value::Frame(table) = result(adata, &key, "centrality_scores")? else {
            return Err(Error::data(format!("uns[\"{key}\"]"), "is no table of scores"));
        };
        // The rows are clusters by name; one that has no row has no dot.
        let row = |name: &String| table.names().iter().position(|n| n == name);
        let rows: Vec<Option<usize>> = clusters.names.iter().map(row).collect();
        if rows.iter().all(Option::is_none) {
            let what = format!("rows of uns[\"{key}\"]");
            let (expected, found) = (clusters.names.join(", "), table.names().join(", "));
            return Err(Error::shape(what, expected, found));
        }
        let numbers = |(name, column): (&str, &crate::anndata::Column)| {
            let v = column.to_f64()?;
            let at = |r: &Option<usize>| r.map_or(f64::NAN, |r| v[r]);
            Some((name.to_string(), rows.iter().map(at).collect()))
        };
        let mut scores: Vec<(String, Vec<f64>)> = table.columns().filter_map(numbers).collect();
        scores.sort_by(|a, b| a.0.cmp(&b.0));
        if scores.is_empty() {
            return Err(Error::data(format!("uns[\"{key}\"]"), "has no column of numbers"));
        }
        Ok(Arc::new(Scores { clusters, scores }))
    };
    Figure::new(CentralityPlot {
        data: read().map_err(Arc::new),
        score: None,
        palette: Palette::Default,
        columns: None,
    })
}

impl Figure<CentralityPlot> {
    /// Panels for these scores only, e.g. `["degree_centrality"]`.
    pub fn score<S: ToString>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.plot.score = Some(names.into_iter().map(|n| n.to_string()).collect());
        self
    }

    /// Colours of the clusters; see [`Palette`].
    pub fn palette(mut self, palette: impl Into<Palette>) -> Self {
        self.plot.palette = palette.into();
        self
    }

    /// Panels in a row.
    pub fn ncols(mut self, columns: usize) -> Self {
        self.plot.columns = Some(columns);
        self
    }
}

impl CentralityPlot {
    fn sheet(&self) -> Result<Sheet> {
        let d = self.data.as_ref().map_err(|e| again(e))?;
        let names: Vec<String> = d.scores.iter().map(|s| s.0.clone()).collect();
        let colors = d.clusters.colors(&self.palette)?;
        let n = d.clusters.names.len();
        let rows: Vec<String> = d.clusters.names.iter().rev().cloned().collect();
        let shown = chosen(&names, &self.score, "score")?;
        let panel = |s: usize| {
            let (name, values) = &d.scores[s];
            let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
            if finite.is_empty() {
                return Err(Error::data(format!("`{name}`"), "holds no finite numbers"));
            }
            let x = Axis::new("xlim", finite.into_iter(), None, false, 0.06)?;
            let mut panel = Panel::new(x, Axis::of_names(&rows));
            let text = name.replace('_', " ");
            let mut letters = text.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            panel.title = Some(first + letters.as_str());
            panel.xlabel = "value".into();
            for (c, &v) in values.iter().enumerate().filter(|v| v.1.is_finite()) {
                let at = vec![(v, (n - 1 - c) as f64)];
                panel.items.push(Item::Points { at, radius: 5.0, tint: Tint::Is(colors[c]) });
            }
            Ok(panel)
        };
        let mut sheet = Sheet::new(shown.into_iter().map(panel).collect::<Result<Vec<_>>>()?);
        sheet.columns = self.columns;
        sheet.plot = (180.0, (18.0 * n as f64 + 12.0).max(60.0));
        sheet.least = 110.0;
        Ok(sheet)
    }
}

impl Plot for CentralityPlot {
    fn describe(&self) -> String {
        "centrality of clusters".into()
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}
