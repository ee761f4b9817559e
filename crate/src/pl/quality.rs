//! Figures of preprocessing: [`highest_expr_genes`], [`highly_variable_genes`] and
//! [`pca_variance_ratio`].

use super::axis::Axis;
use super::canvas::Canvas;
use super::chart_items::{Item, Tint};
use super::charts::{Panel, Sheet};
use super::figure::{Figure, Frame, Plot};
use super::kde::Summary;
use super::palette::{Color, default_colors};
use super::points::again;
use crate::anndata::{AnnData, Matrix, Value, Values};
use crate::error::{Error, Result};
use std::sync::Arc;

/// Genes with the largest part of all counts; see [`highest_expr_genes`].
#[derive(Debug, Clone)]
pub struct HighestGenes {
    data: Result<Arc<Vec<(String, Summary)>>, Arc<Error>>,
    n_top: usize,
    log: bool,
}

/// Boxes of the percentage of each cell's counts that go to a gene, for the `n_top` genes with the
/// highest mean; scanpy's `pl.highest_expr_genes`. Reads `X`, which must hold counts (or anything
/// else that is not negative). Cells without counts have 0 %.
///
/// The values are the same as scanpy 1.11's within 1e-5 of them.
pub fn highest_expr_genes(adata: &AnnData, n_top: usize) -> Figure<HighestGenes> {
    let data = adata.x().and_then(|x| highest(adata, x, n_top));
    Figure::new(HighestGenes { data: data.map(Arc::new).map_err(Arc::new), n_top, log: false })
}

/// Calls `f` with the row, column and value of all that is stored.
fn each(matrix: &Matrix, mut f: impl FnMut(usize, usize, f64)) {
    match matrix {
        Matrix::Dense(d) => {
            for (i, &v) in d.values.to_f32().iter().enumerate() {
                f(i / d.ncols, i % d.ncols, f64::from(v));
            }
        }
        Matrix::Csr(s) | Matrix::Csc(s) => {
            let rows = matches!(matrix, Matrix::Csr(_));
            let values = s.values.to_f32();
            for (major, ends) in s.indptr.windows(2).enumerate() {
                for k in ends[0]..ends[1] {
                    let minor = s.indices[k] as usize;
                    let (i, j) = if rows { (major, minor) } else { (minor, major) };
                    f(i, j, f64::from(values[k]));
                }
            }
        }
    }
}

fn highest(adata: &AnnData, x: &Matrix, n_top: usize) -> Result<Vec<(String, Summary)>> {
    let (n, genes) = (x.nrows(), x.ncols());
    if n_top == 0 {
        return Err(Error::parameter("n_top", 0, "must be at least 1"));
    }
    if n == 0 || genes == 0 {
        return Err(Error::data("X", "there are no counts to draw"));
    }
    let mut totals = vec![0f64; n];
    let mut bad = None;
    each(x, |i, j, v| {
        if !(v >= 0.0 && v.is_finite()) {
            bad.get_or_insert((i, j, v));
        }
        totals[i] += v;
    });
    if let Some((i, j, v)) = bad {
        let gene = &adata.var.names()[j];
        let reason = format!("holds {v} for gene `{gene}` of cell {i}; parts need counts from 0");
        return Err(Error::data("X", reason));
    }
    let share = |i: usize, v: f64| if totals[i] > 0.0 { 100.0 * v / totals[i] } else { 0.0 };
    let mut means = vec![0f64; genes];
    each(x, |i, j, v| means[j] += share(i, v));
    let mut order: Vec<usize> = (0..genes).collect();
    order.sort_by(|&a, &b| means[b].total_cmp(&means[a]).then(b.cmp(&a)));
    order.truncate(n_top);
    let gene = |&j: &usize| {
        let column = x.column_f32(j);
        let parts: Vec<f64> =
            column.iter().enumerate().map(|(i, &v)| share(i, f64::from(v))).collect();
        let summary = Summary::of(&parts).expect("there is at least one cell");
        (adata.var.names()[j].clone(), summary)
    };
    Ok(order.iter().map(gene).collect())
}

impl Figure<HighestGenes> {
    /// Takes the counts from `layers[layer]` of `adata` instead of `X`.
    pub fn layer(mut self, adata: &AnnData, layer: &str) -> Self {
        let n_top = self.plot.n_top;
        let data = adata.layer(layer).and_then(|x| highest(adata, x, n_top));
        self.plot.data = data.map(Arc::new).map_err(Arc::new);
        self
    }

    /// The boxes that the figure shows: each gene with the lower whisker, the quartiles and the
    /// upper whisker of its percentages.
    ///
    /// # Errors
    /// The reason why the figure cannot be drawn.
    pub fn boxes(&self) -> Result<Vec<(String, [f64; 5])>> {
        let genes = self.plot.data.as_ref().map_err(|e| again(e))?;
        let numbers = |s: &Summary| {
            let ([low, median, high], [bottom, top]) = (s.quartiles, s.whiskers);
            [bottom, low, median, high, top]
        };
        Ok(genes.iter().map(|(name, s)| (name.clone(), numbers(s))).collect())
    }

    /// Whether the axis is logarithmic; cells without the gene are then not on it.
    pub fn log(mut self, on: bool) -> Self {
        self.plot.log = on;
        self
    }
}

impl HighestGenes {
    fn sheet(&self) -> Result<Sheet> {
        let genes = self.data.as_ref().map_err(|e| again(e))?;
        let n = genes.len();
        // The first gene at the top.
        let names: Vec<String> = genes.iter().rev().map(|g| g.0.clone()).collect();
        let usable = |v: &f64| !self.log || *v > 0.0;
        let all = genes
            .iter()
            .flat_map(|(_, s)| s.quartiles.iter().chain(&s.whiskers).chain(&s.outside).copied());
        let all: Vec<f64> = all.filter(usable).collect();
        if all.is_empty() {
            return Err(Error::data("X", "holds only zeros"));
        }
        let least = all.iter().copied().fold(f64::INFINITY, f64::min);
        let x = Axis::new("xlim", all.into_iter(), None, self.log, 0.03)?;
        let mut panel = Panel::new(x, Axis::of_names(&names));
        panel.xlabel = "% of a cell's counts".into();
        let colors = default_colors(n);
        let shown = |v: f64| if self.log { v.max(least) } else { v };
        for (k, (_, s)) in genes.iter().enumerate() {
            let at = (n - 1 - k) as f64;
            let tint = Tint::Is(colors[k]);
            let [low, median, high] = s.quartiles.map(shown);
            let [left, right] = s.whiskers.map(shown);
            let outside: Vec<(f64, f64)> =
                s.outside.iter().filter(|v| usable(v)).map(|&v| (v, at)).collect();
            panel.items.push(Item::Points { at: outside, radius: 0.9, tint: Tint::Faint(0.55) });
            let curve = |a: (f64, f64), b: (f64, f64), width: f64| Item::Curve {
                at: vec![a, b],
                width,
                tint: Tint::Text,
                dash: None,
            };
            panel.items.push(curve((left, at), (right, at), 1.0));
            for end in [left, right] {
                panel.items.push(curve((end, at - 0.18), (end, at + 0.18), 1.0));
            }
            let (from, to) = ((low, at - 0.34), (high, at + 0.34));
            panel.items.push(Item::Box { from, to, tint, rim: Some((1.0, Tint::Text)) });
            panel.items.push(curve((median, at - 0.34), (median, at + 0.34), 1.6));
        }
        let mut sheet = Sheet::new(vec![panel]);
        sheet.plot = (400.0, 16.0 * n as f64 + 10.0);
        Ok(sheet)
    }
}

impl Plot for HighestGenes {
    fn describe(&self) -> String {
        "genes with the largest part of all counts".into()
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}

/// Spread of genes against their mean; see [`highly_variable_genes`].
#[derive(Debug, Clone)]
pub struct VariableGenes {
    data: Result<Arc<Spread>, Arc<Error>>,
    log: bool,
}

#[derive(Debug)]
struct Spread {
    /// `dispersions` or `variances`.
    what: &'static str,
    highly: Vec<bool>,
    means: Vec<f64>,
    normalized: Vec<f64>,
    plain: Vec<f64>,
}

/// Normalized and plain dispersions (or variances, for the flavour `seurat_v3`) of genes against
/// their means, highly variable ones in colour; scanpy's `pl.highly_variable_genes`. Reads the
/// columns that `pp::highly_variable_genes` writes into `var`.
///
/// Genes whose mean or dispersion is not finite (`seurat` gives constant and absent genes none) are
/// not drawn. A note says how many these are, and the legend counts what either panel shows.
pub fn highly_variable_genes(adata: &AnnData) -> Figure<VariableGenes> {
    let read = || {
        let numbers = |name: &str| {
            let column = adata.var_column(name)?;
            let not = || Error::data(format!("var[\"{name}\"]"), "holds no numbers");
            column.to_f64().ok_or_else(not)
        };
        let variances = adata.var.contains("variances_norm");
        let what = if variances { "variances" } else { "dispersions" };
        let normalized = if variances { "variances_norm" } else { "dispersions_norm" };
        let flags = numbers("highly_variable")?;
        Ok(Arc::new(Spread {
            what,
            highly: flags.iter().map(|v| *v == 1.0).collect(),
            means: numbers("means")?,
            normalized: numbers(normalized)?,
            plain: numbers(what)?,
        }))
    };
    Figure::new(VariableGenes { data: read().map_err(Arc::new), log: false })
}

impl Figure<VariableGenes> {
    /// Whether both axes are logarithmic; what is not above 0 is then not on them, and counted in
    /// the note.
    pub fn log(mut self, on: bool) -> Self {
        self.plot.log = on;
        self
    }
}

impl VariableGenes {
    fn sheet(&self) -> Result<Sheet> {
        let d = self.data.as_ref().map_err(|e| again(e))?;
        let usable = |v: f64| v.is_finite() && (!self.log || v > 0.0);
        let positive = if self.log { " above 0" } else { "" };
        let genes = 0..d.highly.len();
        let drawn = |values: &[f64], g: usize| usable(d.means[g]) && usable(values[g]);
        let blue = Tint::Is(Color::rgb(0x00, 0x72, 0xb2));
        let panel = |(values, kind): (&Vec<f64>, &str)| {
            let points = |highly: bool| -> Vec<(f64, f64)> {
                let mine = |&g: &usize| d.highly[g] == highly && drawn(values, g);
                genes.clone().filter(mine).map(|g| (d.means[g], values[g])).collect()
            };
            let (others, highly) = (points(false), points(true));
            if others.is_empty() && highly.is_empty() {
                let reason = format!("no gene has finite {}{positive}", d.what);
                return Err(Error::data("var", reason));
            }
            let all = || others.iter().chain(&highly);
            let x = Axis::new("xlim", all().map(|p| p.0), None, self.log, 0.03)?;
            let y = Axis::new("ylim", all().map(|p| p.1), None, self.log, 0.04)?;
            let mut panel = Panel::new(x, y);
            panel.xlabel = "mean expression".into();
            panel.ylabel = format!("{} ({kind})", d.what);
            let grey = Tint::Pale;
            panel.items.push(Item::Points { at: others, radius: 1.3, tint: grey });
            panel.items.push(Item::Points { at: highly, radius: 1.3, tint: blue });
            Ok(panel)
        };
        let both = [(&d.normalized, "normalized"), (&d.plain, "not normalized")];
        let mut sheet = Sheet::new(both.into_iter().map(panel).collect::<Result<Vec<_>>>()?);
        let count = |highly: bool| {
            let mine = |&g: &usize| d.highly[g] == highly && both.iter().any(|b| drawn(b.0, g));
            genes.clone().filter(mine).count()
        };
        sheet.plot = (270.0, 240.0);
        sheet.legend = vec![
            (format!("highly variable ({})", count(true)), blue),
            (format!("other ({})", count(false)), Tint::Pale),
        ];
        sheet.legend_below = true;
        let hidden = |(values, kind): &(&Vec<f64>, &str)| {
            let n = genes.clone().filter(|&g| !drawn(values, g)).count();
            (n > 0).then(|| format!("{n} genes ({kind})"))
        };
        let hidden: Vec<String> = both.iter().filter_map(hidden).collect();
        sheet.note = (!hidden.is_empty()).then(|| {
            format!("not drawn for lack of finite numbers{positive}: {}", hidden.join(", "))
        });
        Ok(sheet)
    }
}

impl Plot for VariableGenes {
    fn describe(&self) -> String {
        "spread of genes against their mean".into()
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}

/// How much of the variance each component explains; see [`pca_variance_ratio`].
#[derive(Debug, Clone)]
pub struct VarianceRatio {
    data: Result<Arc<Vec<f64>>, Arc<Error>>,
    n_pcs: usize,
    log: bool,
}

/// The part of the variance that each principal component explains; scanpy's
/// `pl.pca_variance_ratio`. Reads `uns["pca"]["variance_ratio"]`; a part that is not finite is left
/// out.
pub fn pca_variance_ratio(adata: &AnnData) -> Figure<VarianceRatio> {
    let read = || {
        let pca = adata
            .uns
            .get("pca")
            .ok_or_else(|| Error::data("uns[\"pca\"]", "is absent: run `pp::pca` first"))?;
        match pca.at(&["variance_ratio"]) {
            Some(Value::Array { values, .. }) if !matches!(values, Values::Bool(_)) => {
                Ok(Arc::new(values.to_f64().into_owned()))
            }
            _ => {
                let keys = pca.as_map().map(|m| m.keys().cloned().collect::<Vec<_>>());
                let keys = keys.unwrap_or_default();
                Err(Error::missing_key("uns[\"pca\"]", "array", "variance_ratio", keys))
            }
        }
    };
    Figure::new(VarianceRatio { data: read().map_err(Arc::new), n_pcs: 30, log: false })
}

impl Figure<VarianceRatio> {
    /// How many components are shown at most (30 by default).
    pub fn n_pcs(mut self, n: usize) -> Self {
        self.plot.n_pcs = n;
        self
    }

    /// Whether the axis of the parts is logarithmic.
    pub fn log(mut self, on: bool) -> Self {
        self.plot.log = on;
        self
    }
}

impl VarianceRatio {
    fn sheet(&self) -> Result<Sheet> {
        let ratios = self.data.as_ref().map_err(|e| again(e))?;
        if self.n_pcs == 0 {
            return Err(Error::parameter("n_pcs", 0, "must be at least 1"));
        }
        let usable = |v: f64| v.is_finite() && (!self.log || v > 0.0);
        let at: Vec<(f64, f64)> = ratios
            .iter()
            .take(self.n_pcs)
            .enumerate()
            .filter(|(_, r)| usable(**r))
            .map(|(k, r)| (k as f64 + 1.0, *r))
            .collect();
        if at.is_empty() {
            let reason = "holds no number that can be drawn";
            return Err(Error::data("uns[\"pca\"][\"variance_ratio\"]", reason));
        }
        let shown = ratios.len().min(self.n_pcs) as f64;
        let ends = (0.4, shown + 0.6);
        let x = Axis::new("xlim", [1.0].into_iter(), Some(ends), false, 0.0)?;
        let zero = if self.log { None } else { Some(0.0) };
        let y = Axis::new("ylim", at.iter().map(|p| p.1).chain(zero), None, self.log, 0.05)?;
        let mut panel = Panel::new(x, y);
        panel.xlabel = "principal component".into();
        panel.ylabel = "part of the variance".into();
        let tint = Tint::Is(Color::rgb(0x00, 0x72, 0xb2));
        panel.items.push(Item::Curve { at: at.clone(), width: 1.3, tint, dash: None });
        panel.items.push(Item::Points { at, radius: 3.0, tint });
        let mut sheet = Sheet::new(vec![panel]);
        let finite = || ratios.iter().take(self.n_pcs).filter(|r| r.is_finite());
        let (count, total) = (finite().count(), finite().sum::<f64>());
        sheet.note =
            Some(format!("{count} components explain {:.1} % of the variance", 100.0 * total));
        Ok(sheet)
    }
}

impl Plot for VarianceRatio {
    fn describe(&self) -> String {
        "variance explained by principal components".into()
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}
