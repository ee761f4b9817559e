//! [`volcano`]: how much and how surely genes differ; and [`rank_genes_groups`], the genes that
//! mark each group, by rank. Both read what `tl::rank_genes_groups`, ours or scanpy's, has left.

use super::axis::Axis;
use super::canvas::Canvas;
use super::chart_items::{Item, Tint};
use super::charts::{Panel, Sheet};
use super::figure::{Figure, Frame, Plot};
use super::palette::Color;
use super::points::again;
use super::ranked::{DEFAULT, Ranked, RankedGroup};
use super::text::text_width;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::sync::Arc;

/// Okabe and Ito's vermilion and blue: apart for every reader.
const UP: Color = Color::rgb(0xd5, 0x5e, 0x00);
const DOWN: Color = Color::rgb(0x00, 0x72, 0xb2);

/// Fold changes and p-values of one group's genes; see [`volcano`].
#[derive(Debug, Clone)]
pub struct Volcano {
    data: Result<Arc<Genes>, Arc<Error>>,
    group: String,
    fold: f64,
    p: f64,
    adjusted: bool,
    n_labels: usize,
    labelled: Option<Vec<String>>,
    xlim: Option<(f64, f64)>,
}

#[derive(Debug)]
struct Genes {
    group: RankedGroup,
    reference: String,
}

/// log2 fold changes of the genes of `group` against −log10 of their adjusted p-values, from
/// `uns["rank_genes_groups"]`. Genes beyond both thresholds are coloured, the most significant of
/// them named, and no two names touch.
///
/// A p-value of 0 (below the smallest number) stands at the upper edge. The axis of fold changes is
/// that of the coloured genes: others beyond it stand at its ends. Genes without a fold change or
/// p-value are left out. Notes say how many these are.
///
/// ```no_run
/// use spatialkit::{io, pl};
/// let slide = io::read("ranked.h5ad")?;
/// pl::volcano(&slide, "L1").thresholds(1.0, 0.01).n_labels(15).save("l1.png")?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
pub fn volcano(adata: &AnnData, group: impl Into<String>) -> Figure<Volcano> {
    let group = group.into();
    Figure::new(Volcano {
        data: read(adata, DEFAULT, &group),
        group,
        fold: 1.0,
        p: 0.05,
        adjusted: true,
        n_labels: 10,
        labelled: None,
        xlim: None,
    })
}

fn read(adata: &AnnData, key: &str, group: &str) -> Result<Arc<Genes>, Arc<Error>> {
    let genes = || {
        let ranked = Ranked::read(adata, key)?;
        let found = ranked.group(group)?.clone();
        Ok(Arc::new(Genes { group: found, reference: ranked.reference }))
    };
    genes().map_err(Arc::new)
}

impl Figure<Volcano> {
    /// Reads `uns[key]` of `adata` instead of `uns["rank_genes_groups"]`.
    pub fn key(mut self, adata: &AnnData, key: &str) -> Self {
        self.plot.data = read(adata, key, &self.plot.group);
        self
    }

    /// Which genes count as different: those with an absolute log2 fold change of at least `fold`
    /// and a p-value of at most `p` (1 and 0.05 by default).
    pub fn thresholds(mut self, fold: f64, p: f64) -> Self {
        (self.plot.fold, self.plot.p) = (fold, p);
        self
    }

    /// Takes p-values as they are instead of those adjusted for the number of genes.
    pub fn unadjusted(mut self, on: bool) -> Self {
        self.plot.adjusted = !on;
        self
    }

    /// How many of the most significant genes are named (10 by default).
    pub fn n_labels(mut self, n: usize) -> Self {
        self.plot.n_labels = n;
        self
    }

    /// Names these genes instead.
    pub fn label_genes<S: ToString>(mut self, genes: impl IntoIterator<Item = S>) -> Self {
        self.plot.labelled = Some(genes.into_iter().map(|g| g.to_string()).collect());
        self
    }

    /// Ends of the axis of fold changes; genes beyond them are drawn on its edge.
    pub fn xlim(mut self, low: f64, high: f64) -> Self {
        self.plot.xlim = Some((low, high));
        self
    }
}

impl Volcano {
    fn sheet(&self) -> Result<Sheet> {
        let genes = self.data.as_ref().map_err(|e| again(e))?;
        if !(self.fold >= 0.0 && self.fold.is_finite()) {
            return Err(Error::parameter("fold", self.fold, "must be 0 or above"));
        }
        if !(self.p > 0.0 && self.p <= 1.0) {
            return Err(Error::parameter("p", self.p, "must be above 0 and at most 1"));
        }
        let absent = |what: &str| {
            let reason = format!("holds no {what}: rank with the Wilcoxon test or a t-test");
            Error::data("uns[\"rank_genes_groups\"]", reason)
        };
        let g = &genes.group;
        let folds = g.logfoldchanges.as_ref().ok_or_else(|| absent("logfoldchanges"))?;
        let field = if self.adjusted { &g.pvals_adj } else { &g.pvals };
        let name = if self.adjusted { "pvals_adj" } else { "pvals" };
        let p = field.as_ref().ok_or_else(|| absent(name))?;
        let usable: Vec<usize> = (0..folds.len())
            .filter(|&i| folds[i].is_finite() && (0.0..=1.0).contains(&p[i]))
            .collect();
        if usable.is_empty() {
            let what = format!("genes of group `{}`", self.group);
            return Err(Error::data(what, "none has a fold change and a p-value"));
        }
        let height = |i: usize| -p[i].log10();
        let finite = usable.iter().map(|&i| height(i)).filter(|h| h.is_finite());
        let highest = finite.fold(0.0, f64::max);
        let top = if highest > 0.0 { 1.04 * highest } else { 1.0 };
        let sure = |i: usize| p[i] <= self.p && folds[i].abs() >= self.fold;
        // The fold change of a gene that one side hardly has is huge and says little: the axis is
        // that of the coloured genes.
        let widest = usable.iter().filter(|&&i| sure(i)).map(|&i| folds[i].abs());
        let widest = widest.fold(0.0, f64::max).max(1.5 * self.fold);
        let all = usable.iter().map(|&i| folds[i].abs()).fold(0.0, f64::max);
        let widest = if usable.iter().any(|&i| sure(i)) {
            widest.min(all.max(1.5 * self.fold))
        } else {
            all
        };
        let widest = if widest > 0.0 { 1.06 * widest } else { 1.0 };
        let ends = self.xlim.unwrap_or((-widest, widest));
        let x = Axis::new("xlim", [0.0].into_iter(), Some(ends), false, 0.0)?;
        let at = |i: usize| (folds[i].clamp(ends.0, ends.1), height(i).min(top));
        let beyond = usable.iter().filter(|&&i| folds[i] < ends.0 || folds[i] > ends.1).count();
        let threshold = -self.p.log10();
        let heights = usable.iter().map(|&i| at(i).1).chain([0.0, 1.1 * threshold]);
        let y = Axis::new("ylim", heights, None, false, 0.05)?;
        let mut panel = Panel::new(x, y);
        panel.xlabel = format!("log2 fold change, {} against {}", self.group, genes.reference);
        panel.ylabel = format!("−log10 {}p", if self.adjusted { "adjusted " } else { "" });
        let points = |keep: &dyn Fn(usize) -> bool| -> Vec<(f64, f64)> {
            usable.iter().filter(|&&i| keep(i)).map(|&i| at(i)).collect()
        };
        let radius = if usable.len() > 5000 { 1.7 } else { 2.4 };
        let grey = points(&|i| !sure(i));
        panel.items.push(Item::Points { at: grey, radius, tint: Tint::Pale });
        let up = points(&|i| sure(i) && folds[i] > 0.0);
        let down = points(&|i| sure(i) && folds[i] <= 0.0);
        let counts = (up.len(), down.len());
        panel.items.push(Item::Points { at: up, radius, tint: Tint::Is(UP) });
        panel.items.push(Item::Points { at: down, radius, tint: Tint::Is(DOWN) });
        for side in [-1.0, 1.0].into_iter().filter(|_| self.fold > 0.0) {
            let x = Some(side * self.fold);
            panel.items.push(Item::Across { x, y: None, tint: Tint::Axis });
        }
        panel.items.push(Item::Across { x: None, y: Some(threshold), tint: Tint::Axis });
        let named: Vec<usize> = match &self.labelled {
            Some(list) => {
                let find = |name: &String| {
                    let absent = || {
                        let alike = super::keys::alike(&g.genes, name);
                        Error::missing_key("ranking of genes", "gene", name, alike)
                    };
                    g.genes.iter().position(|n| n == name).ok_or_else(absent)
                };
                let all = list.iter().map(find).collect::<Result<Vec<_>>>()?;
                all.into_iter().filter(|i| usable.contains(i)).collect()
            }
            None => {
                let mut all: Vec<usize> = usable.iter().copied().filter(|&i| sure(i)).collect();
                let by = |a: &usize, b: &usize| {
                    p[*a].total_cmp(&p[*b]).then(folds[*b].abs().total_cmp(&folds[*a].abs()))
                };
                all.sort_by(by);
                all.truncate(self.n_labels);
                all
            }
        };
        let label = |&i: &usize| (at(i).0, at(i).1, g.genes[i].clone());
        let others = usable.iter().filter(|&&i| sure(i)).map(|&i| at(i)).collect();
        let at = named.iter().map(label).collect();
        panel.items.push(Item::Names { at, others, size: 10.5 });
        let mut sheet = Sheet::new(vec![panel]);
        sheet.plot = (430.0, 300.0);
        sheet.legend = vec![
            (format!("up ({})", counts.0), Tint::Is(UP)),
            (format!("down ({})", counts.1), Tint::Is(DOWN)),
            ("neither".into(), Tint::Pale),
        ];
        let left_out = folds.len() - usable.len();
        let mut notes = Vec::new();
        if beyond > 0 {
            notes.push(format!("{beyond} genes beyond the axis stand at its ends"));
        }
        if left_out > 0 {
            notes.push(format!("{left_out} genes without a fold change or p-value are left out"));
        }
        sheet.note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(sheet)
    }
}

impl Plot for Volcano {
    fn describe(&self) -> String {
        format!("volcano plot of group {}", self.group)
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}

/// The first genes of each group by their score; see [`rank_genes_groups`].
#[derive(Debug, Clone)]
pub struct GeneRanks {
    data: Result<Arc<Ranked>, Arc<Error>>,
    groups: Option<Vec<String>>,
    n_genes: usize,
    share_y: bool,
    columns: Option<usize>,
    fontsize: f64,
}

/// The scores of the first genes of each group, with their names along the curve; scanpy's
/// `pl.rank_genes_groups`. Reads `uns["rank_genes_groups"]`.
pub fn rank_genes_groups(adata: &AnnData) -> Figure<GeneRanks> {
    Figure::new(GeneRanks {
        data: Ranked::read(adata, DEFAULT).map(Arc::new).map_err(Arc::new),
        groups: None,
        n_genes: 20,
        share_y: true,
        columns: None,
        fontsize: 9.5,
    })
}

impl Figure<GeneRanks> {
    /// Reads `uns[key]` of `adata` instead of `uns["rank_genes_groups"]`.
    pub fn key(mut self, adata: &AnnData, key: &str) -> Self {
        self.plot.data = Ranked::read(adata, key).map(Arc::new).map_err(Arc::new);
        self
    }

    /// Shows these groups, in this order.
    pub fn groups<S: ToString>(mut self, groups: impl IntoIterator<Item = S>) -> Self {
        self.plot.groups = Some(groups.into_iter().map(|g| g.to_string()).collect());
        self
    }

    /// How many genes of each group are shown (20 by default).
    pub fn n_genes(mut self, n: usize) -> Self {
        self.plot.n_genes = n;
        self
    }

    /// Whether all panels have one axis of scores (on by default).
    pub fn sharey(mut self, on: bool) -> Self {
        self.plot.share_y = on;
        self
    }

    /// Panels in a row.
    pub fn ncols(mut self, columns: usize) -> Self {
        self.plot.columns = Some(columns);
        self
    }

    /// Size of the genes' names in CSS pixels.
    pub fn fontsize(mut self, size: f64) -> Self {
        self.plot.fontsize = size;
        self
    }
}

impl GeneRanks {
    fn sheet(&self) -> Result<Sheet> {
        let ranked = self.data.as_ref().map_err(|e| again(e))?;
        if self.n_genes == 0 {
            return Err(Error::parameter("n_genes", 0, "must be at least 1"));
        }
        if !(4.0..=40.0).contains(&self.fontsize) {
            return Err(Error::parameter("fontsize", self.fontsize, "must be between 4 and 40"));
        }
        let groups: Vec<&RankedGroup> = match &self.groups {
            Some(names) => names.iter().map(|n| ranked.group(n)).collect::<Result<_>>()?,
            None => ranked.groups.iter().collect(),
        };
        // Genes that a filter took out have no name.
        let first = |g: &RankedGroup| -> Vec<(String, f64)> {
            let named =
                g.genes.iter().zip(&g.scores).filter(|(n, s)| !n.is_empty() && s.is_finite());
            named.take(self.n_genes).map(|(n, s)| (n.clone(), *s)).collect()
        };
        let lists: Vec<Vec<(String, f64)>> = groups.iter().map(|g| first(g)).collect();
        if lists.iter().all(Vec::is_empty) {
            let reason = "no gene has a score";
            return Err(Error::data("uns[\"rank_genes_groups\"]", reason));
        }
        let all: Vec<f64> = lists.iter().flatten().map(|g| g.1).collect();
        let longest = lists.iter().flatten().map(|g| text_width(&g.0, self.fontsize, false));
        let longest = longest.fold(0.0, f64::max).min(90.0);
        let against = match ranked.reference.as_str() {
            "rest" => "the rest".to_string(),
            other => other.to_string(),
        };
        let panel = |(g, list): (&&RankedGroup, &Vec<(String, f64)>)| {
            let own: Vec<f64> = list.iter().map(|g| g.1).collect();
            let values = if self.share_y || own.is_empty() { all.clone() } else { own };
            let y = Axis::new("ylim", values.into_iter(), None, false, 0.04)?;
            let n = self.n_genes.min(lists.iter().map(Vec::len).max().unwrap_or(1)) as f64;
            let x =
                Axis::new("xlim", [0.3, n + 0.7].into_iter(), Some((0.3, n + 0.7)), false, 0.0)?;
            let mut panel = Panel::new(x, y);
            panel.title = Some(format!("{} against {against}", g.name));
            panel.xlabel = "rank".into();
            panel.ylabel = "score".into();
            panel.head = longest + 8.0;
            let places: Vec<(f64, f64)> =
                list.iter().enumerate().map(|(k, g)| (k as f64 + 1.0, g.1)).collect();
            let name = |(at, g): (&(f64, f64), &(String, f64))| {
                (at.0, at.1, super::text::fit(&g.0, self.fontsize, false, 90.0))
            };
            let names = places.iter().zip(list).map(name).collect();
            panel.items.push(Item::Upright { at: names, size: self.fontsize });
            panel.items.push(Item::Points { at: places, radius: 1.8, tint: Tint::Is(DOWN) });
            Ok(panel)
        };
        let panels = groups.iter().zip(&lists).map(panel).collect::<Result<Vec<_>>>()?;
        let shown = lists.iter().map(Vec::len).max().unwrap_or(1) as f64;
        let wide = (1.2 * self.fontsize * (shown + 0.4)).clamp(120.0, 900.0);
        let mut sheet = Sheet::new(panels);
        sheet.columns = self.columns;
        sheet.plot = (wide, 150.0 + longest);
        sheet.least = wide;
        Ok(sheet)
    }
}

impl Plot for GeneRanks {
    fn describe(&self) -> String {
        match &self.data {
            Ok(ranked) => {
                let names: Vec<&str> = ranked.groups.iter().map(|g| g.name.as_str()).collect();
                format!("ranked genes of {}", names.join(", "))
            }
            Err(e) => format!("figure that cannot be drawn: {e}"),
        }
    }

    fn size(&self, frame: &Frame) -> Result<(f64, f64)> {
        self.sheet()?.size(frame)
    }

    fn draw(&self, canvas: &mut Canvas, frame: &Frame) -> Result<()> {
        self.sheet()?.draw(canvas, frame)
    }
}
