//! [`clustermap`]: cells × genes with both put in the order of a clustering.

use super::canvas::Canvas;
use super::figure::{Figure, Frame, Plot};
use super::heat::{Edge, Grid};
use super::heat_cells::cells;
use super::heat_key::GridKey;
use super::keys::{Key, Keys, Paint};
use super::linkage::{MOST, average_linkage};
use super::norm::{Norm, Shades};
use super::palette::{Color, Palette};
use super::points::{Limit, again};
use super::table::{StandardScale, stretch_all};
use super::tree::Tree;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::sync::{Arc, Mutex};

/// What came of the options that were asked for.
type Done = (Arrangement, Arc<Clustered>);

/// Cells × genes in the order of a clustering; see [`clustermap`].
#[derive(Debug, Clone)]
pub struct ClusterMap {
    source: Arc<Result<Source>>,
    options: Options,
    /// What came of the options last, since it takes a while.
    done: Arc<Mutex<Option<Done>>>,
}

#[derive(Debug)]
struct Source {
    cells: Vec<String>,
    genes: Vec<String>,
    /// Cells × genes.
    values: Vec<f64>,
    key: Option<Annotation>,
}

/// The labels beside the rows.
#[derive(Debug)]
struct Annotation {
    name: String,
    codes: Vec<i32>,
    names: Vec<(String, Color)>,
}

/// What the order depends on.
#[derive(Debug, Clone, PartialEq)]
struct Arrangement {
    standard: Result<StandardScale, String>,
    z_score: Result<StandardScale, String>,
    rows: bool,
    columns: bool,
}

#[derive(Debug, Clone)]
struct Options {
    arrangement: Arrangement,
    cmap: String,
    norm: Norm,
    legend: bool,
}

#[derive(Debug)]
struct Clustered {
    values: Vec<f64>,
    rows: Option<Tree>,
    columns: Option<Tree>,
}

/// All genes of `X` (or `raw`, where there is one) in all cells as a heat map, cells and genes in
/// the order of their average linkage by Euclidean distance, with both dendrograms. `obs_key` (or
/// `()`) names a column of `obs` whose categories are shown beside the cells.
///
/// Meant for a chosen part of the data (`select`): all pairs of cells and of genes are compared,
/// which is possible for 10,000 of each at most.
///
/// As `scanpy.pl.clustermap` 1.11.5 (seaborn's): the order of rows and columns is the same.
///
/// # Errors
/// When it is drawn: no matrix, fewer than one cell or gene, values that are no finite numbers, or
/// a key that does not exist.
pub fn clustermap(adata: &AnnData, obs_key: impl Keys) -> Figure<ClusterMap> {
    let source = Source::new(adata, &obs_key.keys(), None);
    Figure::new(ClusterMap::new(source))
}

/// [`clustermap`] of `X` even where there is a `raw` (scanpy's `use_raw=False`).
///
/// # Errors
/// As for [`clustermap`].
pub fn clustermap_of_x(adata: &AnnData, obs_key: impl Keys) -> Figure<ClusterMap> {
    let source = Source::new(adata, &obs_key.keys(), Some(false));
    Figure::new(ClusterMap::new(source))
}

impl Figure<ClusterMap> {
    /// Stretches numbers to the range from 0 to 1, by gene (`"var"`) or by cell (`"obs"`).
    pub fn standard_scale(mut self, by: &str) -> Self {
        let scale = StandardScale::try_from(by).map_err(|_| by.to_string());
        self.plot.options.arrangement.standard = scale;
        self
    }

    /// Takes the mean off and divides by the standard deviation, by gene (`"var"`) or by cell
    /// (`"obs"`); what does not vary, but for rounding, becomes 0.
    pub fn z_score(mut self, by: &str) -> Self {
        let scale = StandardScale::try_from(by).map_err(|_| by.to_string());
        self.plot.options.arrangement.z_score = scale;
        self
    }

    /// Whether cells are clustered (on by default).
    pub fn row_cluster(mut self, on: bool) -> Self {
        self.plot.options.arrangement.rows = on;
        self
    }

    /// Whether genes are clustered (on by default).
    pub fn col_cluster(mut self, on: bool) -> Self {
        self.plot.options.arrangement.columns = on;
        self
    }

    /// Colour map: a name of [`cmap_names`](super::cmap_names), `_r` reverses it.
    pub fn cmap(mut self, name: impl Into<String>) -> Self {
        self.plot.options.cmap = name.into();
        self
    }

    /// Low end of the colour scale: a number, or a percentile such as `"p1"`.
    pub fn vmin(mut self, limit: impl Into<Limit>) -> Self {
        self.plot.options.norm.vmin = Some(limit.into());
        self
    }

    /// High end of the colour scale: a number, or a percentile such as `"p99"`.
    pub fn vmax(mut self, limit: impl Into<Limit>) -> Self {
        self.plot.options.norm.vmax = Some(limit.into());
        self
    }

    /// The number at the middle of the colour map.
    pub fn vcenter(mut self, center: impl Into<f64>) -> Self {
        self.plot.options.norm.vcenter = Some(center.into());
        self
    }

    /// Whether there are keys of colours (on by default).
    pub fn legend(mut self, on: bool) -> Self {
        self.plot.options.legend = on;
        self
    }

    /// The rows and columns of the matrix from first to last as they are drawn (seaborn's
    /// `dendrogram_row.reordered_ind` and `dendrogram_col.reordered_ind`).
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn reordered_ind(&self) -> Result<(Vec<usize>, Vec<usize>)> {
        let s = self.plot.source()?;
        let c = self.plot.clustered()?;
        let order = |tree: &Option<Tree>, n: usize| match tree {
            Some(t) => t.leaves.clone(),
            None => (0..n).collect(),
        };
        Ok((order(&c.rows, s.cells.len()), order(&c.columns, s.genes.len())))
    }
}

impl Source {
    fn new(adata: &AnnData, keys: &[Key], use_raw: Option<bool>) -> Result<Source> {
        if let [_, second, ..] = keys {
            let reason = "only one column of obs can be shown";
            return Err(Error::parameter("obs_key", second.name(), reason));
        }
        let raw = adata.raw.as_ref().filter(|_| use_raw.unwrap_or(true));
        let (matrix, var) = match raw {
            Some(raw) => (&raw.x, &raw.var),
            None => (adata.x()?, &adata.var),
        };
        let (n, m) = (matrix.nrows(), matrix.ncols());
        if n == 0 || m == 0 {
            return Err(Error::data("X", format!("there is nothing to show in {n} × {m}")));
        }
        for (what, k) in [("cells", n), ("genes", m)] {
            if k > MOST {
                let reason =
                    format!("all pairs are compared, of {MOST} {what} at most; choose some");
                return Err(Error::parameter("clustermap", format!("{k} {what}"), reason));
            }
        }
        let values: Vec<f64> = matrix.to_array_f64().into_iter().collect();
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let (cell, gene) = (&adata.obs.names()[at / m], &var.names()[at % m]);
            let reason = format!("is {} in cell {cell}: it cannot be clustered", values[at]);
            return Err(Error::data(format!("gene {gene}"), reason));
        }
        let key = match keys {
            [] => None,
            [key, ..] => {
                let paint = Paint::of(adata, key)?;
                let colors = paint.colors(&Palette::Default)?;
                let Paint::Labels { codes, categories, .. } = paint else {
                    let reason = "holds numbers; only categories can be shown beside the cells";
                    return Err(Error::parameter("obs_key", key.name(), reason));
                };
                let grey = Color::rgb(0x80, 0x80, 0x80);
                let colors = colors.into_iter().map(|c| c.unwrap_or(grey));
                let names = categories.into_iter().zip(colors).collect();
                Some(Annotation { name: key.name().to_string(), codes, names })
            }
        };
        Ok(Source { cells: adata.obs.names().to_vec(), genes: var.names().to_vec(), values, key })
    }
}

impl ClusterMap {
    fn new(source: Result<Source>) -> ClusterMap {
        ClusterMap {
            source: Arc::new(source),
            options: Options {
                arrangement: Arrangement {
                    standard: Ok(StandardScale::None),
                    z_score: Ok(StandardScale::None),
                    rows: true,
                    columns: true,
                },
                cmap: "viridis".into(),
                norm: Norm::default(),
                legend: true,
            },
            done: Arc::default(),
        }
    }

    fn source(&self) -> Result<&Source> {
        self.source.as_ref().as_ref().map_err(again)
    }

    fn clustered(&self) -> Result<Arc<Clustered>> {
        let wanted = &self.options.arrangement;
        // A panic while it was held leaves nothing half done: the value is replaced as a whole.
        let mut done = self.done.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((of, clustered)) = done.as_ref()
            && of == wanted
        {
            return Ok(clustered.clone());
        }
        let clustered = Arc::new(self.cluster()?);
        *done = Some((wanted.clone(), clustered.clone()));
        Ok(clustered)
    }

    fn cluster(&self) -> Result<Clustered> {
        let s = self.source()?;
        let a = &self.options.arrangement;
        let (n, m) = (s.cells.len(), s.genes.len());
        let scale = |name, by: &Result<StandardScale, String>| {
            let reason = "is neither var, group nor obs";
            by.clone().map_err(|given| Error::parameter(name, given, reason))
        };
        let (standard, z) = (scale("standard_scale", &a.standard)?, scale("z_score", &a.z_score)?);
        if standard != StandardScale::None && z != StandardScale::None {
            let reason = "`standard_scale` is asked for as well: choose one of the two";
            return Err(Error::parameter("z_score", format!("{z:?}"), reason));
        }
        let mut values = s.values.clone();
        stretch_all(&mut values, m, standard);
        match z {
            StandardScale::None => {}
            StandardScale::Group => values.chunks_mut(m).for_each(|row| z_score(row.iter_mut())),
            StandardScale::Var => {
                (0..m).for_each(|k| z_score(values.iter_mut().skip(k).step_by(m)));
            }
        }
        let rows = if a.rows { Some(Tree::new(&average_linkage(&values, n, m)?)?) } else { None };
        let columns = if a.columns {
            let mut turned = vec![0.0; n * m];
            for (i, row) in values.chunks_exact(m).enumerate() {
                for (k, &v) in row.iter().enumerate() {
                    turned[k * n + i] = v;
                }
            }
            Some(Tree::new(&average_linkage(&turned, m, n)?)?)
        } else {
            None
        };
        Ok(Clustered { values, rows, columns })
    }

    fn ready(&self) -> Result<(Grid, Vec<f64>, Shades)> {
        let s = self.source()?;
        let o = &self.options;
        let clustered = self.clustered()?;
        let (n, m) = (s.cells.len(), s.genes.len());
        let all = |k: usize| (0..k).collect::<Vec<usize>>();
        let row_order = clustered.rows.as_ref().map_or_else(|| all(n), |t| t.leaves.clone());
        let column_order = clustered.columns.as_ref().map_or_else(|| all(m), |t| t.leaves.clone());
        let mut values = Vec::with_capacity(n * m);
        for &r in &row_order {
            values.extend(column_order.iter().map(|&c| clustered.values[r * m + c]));
        }
        let shades = o.norm.shades(&o.cmap, &values)?;
        let edge = |names: &[String], order: &[usize], tree: &Option<Tree>, length: f64| {
            let names: Vec<String> = order.iter().map(|&i| names[i].clone()).collect();
            let cell = (length / names.len() as f64).min(22.0);
            let mut edge = Edge::named(&names, cell).with_tree(tree.clone());
            if names.len() > 60 {
                edge.labels.clear();
            }
            edge
        };
        let mut rows = edge(&s.cells, &row_order, &clustered.rows, 420.0);
        let columns = edge(&s.genes, &column_order, &clustered.columns, 420.0);
        rows.tree_first = true;
        rows.labels_right = true;
        let mut keys = Vec::new();
        if o.legend {
            keys.push(GridKey::Bar { title: "Expression".into(), shades: shades.clone() });
        }
        if let Some(key) = &s.key {
            let grey = Color::rgb(0xd3, 0xd3, 0xd3);
            let color = |&i: &usize| {
                let code = usize::try_from(key.codes[i]).ok();
                code.and_then(|c| key.names.get(c)).map_or(grey, |n| n.1)
            };
            rows.strips = vec![row_order.iter().map(color).collect()];
            if o.legend {
                let present = |k: &usize| key.codes.contains(&(*k as i32));
                let names: Vec<(String, Color)> =
                    (0..key.names.len()).filter(present).map(|k| key.names[k].clone()).collect();
                keys.push(GridKey::Names { title: key.name.clone(), names });
            }
        }
        Ok((Grid { rows, columns, keys, ..Grid::default() }, values, shades))
    }
}

/// seaborn's: with the standard deviation of pandas (n − 1); what does not vary becomes 0, also
/// where the mean of equal numbers is rounded.
fn z_score<'a>(line: impl Iterator<Item = &'a mut f64>) {
    let line: Vec<&mut f64> = line.collect();
    let n = line.len() as f64;
    let mean = line.iter().map(|v| **v).sum::<f64>() / n;
    let square = line.iter().map(|v| (**v - mean) * (**v - mean)).sum::<f64>();
    let deviation = (square / (n - 1.0)).sqrt();
    let varies = deviation > f64::EPSILON * n * mean.abs();
    for v in line {
        *v = if varies { (*v - mean) / deviation } else { 0.0 };
    }
}

impl Plot for ClusterMap {
    fn describe(&self) -> String {
        match self.source.as_ref() {
            Ok(s) => {
                format!("clustered heat map of {} cells × {} genes", s.cells.len(), s.genes.len())
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        Ok(self.ready()?.0.place(frame).size())
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        let (grid, values, shades) = self.ready()?;
        let (n, m) = (grid.rows.n, grid.columns.n);
        grid.draw(canvas, frame, |canvas, p| {
            cells(canvas, p, (n, m), &shades, |r, c| values[r * m + c], None);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_no_z_score() {
        for n in [1, 2, 3, 6, 10, 12, 20, 10_000] {
            for v in [0.0, 0.1, -0.3, 1e-9, 7.7e12] {
                let mut line = vec![v; n];
                z_score(line.iter_mut());
                assert!(line.iter().all(|z| *z == 0.0), "{n} times {v}: {}", line[0]);
            }
        }
        // What varies little still varies.
        let mut line = [1.0, 1.0 + 1e-12, 1.0 - 1e-12];
        z_score(line.iter_mut());
        assert!((line[1] - 1.0).abs() < 1e-3 && (line[2] + 1.0).abs() < 1e-3, "{line:?}");
    }
}
