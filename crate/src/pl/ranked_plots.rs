//! `rank_genes_groups_dotplot` and its siblings: the best genes of each group, as
//! `tl::rank_genes_groups` ranked them, in the figures of genes × groups.

use super::dotplot::DotPlot;
use super::figure::Figure;
use super::genes::Genes;
use super::heatmap::Heatmap;
use super::keys::Key;
use super::marked::{Dendrogram, Marked};
use super::matrixplot::MatrixPlot;
use super::ranked::{DEFAULT, Ranked, RankedGroup};
use super::stacked_violin::StackedViolin;
use super::table::GroupTable;
use super::tracksplot::TracksPlot;
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use ndarray::Array2;
use std::collections::HashMap;

/// Which genes of a ranking are shown, and from where their values come.
///
/// A number alone stands for so many genes of each group; a negative one for the last of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    n_genes: Option<i64>,
    groups: Option<Vec<String>>,
    groupby: Option<String>,
    values_to_plot: Option<String>,
    min_logfoldchange: Option<f64>,
    key: String,
    var_names: Option<Genes>,
    layer: Option<String>,
    raw: Option<bool>,
    symbols: Option<String>,
}

impl Default for Ranking {
    fn default() -> Self {
        Ranking {
            n_genes: None,
            groups: None,
            groupby: None,
            values_to_plot: None,
            min_logfoldchange: None,
            key: DEFAULT.into(),
            var_names: None,
            layer: None,
            raw: None,
            symbols: None,
        }
    }
}

impl From<i32> for Ranking {
    fn from(n_genes: i32) -> Self {
        Ranking::default().n_genes(n_genes)
    }
}

impl From<()> for Ranking {
    fn from((): ()) -> Self {
        Ranking::default()
    }
}

impl Ranking {
    /// So many genes of each group (10 by default); negative: as many from the end of the ranking.
    pub fn n_genes(mut self, n: impl Into<i64>) -> Self {
        self.n_genes = Some(n.into());
        self
    }

    /// The genes of these groups only.
    pub fn groups<S: ToString>(mut self, groups: impl IntoIterator<Item = S>) -> Self {
        self.groups = Some(groups.into_iter().map(|g| g.to_string()).collect());
        self
    }

    /// The column of `obs` whose groups are shown, in place of the one that was ranked.
    pub fn groupby(mut self, column: impl Into<String>) -> Self {
        self.groupby = Some(column.into());
        self
    }

    /// Colours by `scores`, `logfoldchanges`, `pvals`, `pvals_adj`, `log10_pvals` or
    /// `log10_pvals_adj` instead of the mean (dot and matrix plots only). The ranking must hold
    /// every gene.
    ///
    /// As in scanpy, what is NaN (a log fold change where a mean is negative, as of scaled data) or
    /// not in the ranking (a column of `obs` among [`var_names`](Self::var_names)) is shown as 1,
    /// which looks like a fold of 2; of `log10_pvals` and `log10_pvals_adj` as 0.
    pub fn values_to_plot(mut self, what: impl Into<String>) -> Self {
        self.values_to_plot = Some(what.into());
        self
    }

    /// Only genes whose log fold change is above this; one that is NaN is not.
    pub fn min_logfoldchange(mut self, least: f64) -> Self {
        self.min_logfoldchange = Some(least);
        self
    }

    /// The key of `uns` where the ranking is (`rank_genes_groups` by default).
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Shows these genes instead of the best ones.
    pub fn var_names(mut self, genes: impl Into<Genes>) -> Self {
        self.var_names = Some(genes.into());
        self
    }

    /// Takes values from `layers[layer]`.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Whether values come from `raw` (by default where there is one and no layer is asked for).
    pub fn use_raw(mut self, on: bool) -> Self {
        self.raw = Some(on);
        self
    }

    /// Labels genes by that column of `var`. A gene without a symbol is passed over: the next of the
    /// ranking takes its place.
    pub fn gene_symbols(mut self, column: impl Into<String>) -> Self {
        self.symbols = Some(column.into());
        self
    }
}

/// What comes of a [`Ranking`]: the genes, the column of groups, and the numbers to colour by
/// with their title.
struct Chosen {
    genes: Genes,
    groupby: String,
    table: Option<(GroupTable, String)>,
}

impl Ranking {
    fn choose(&self, adata: &AnnData, may_color: bool) -> Result<Chosen> {
        let ranked = Ranked::read(adata, &self.key)?;
        let groupby = self.groupby.clone().unwrap_or_else(|| ranked.groupby.clone());
        let symbols = self.symbol_of(adata)?;
        let shown = |gene: &str| -> String {
            symbols.as_ref().map_or(gene, |s| s.get(gene).map_or("", String::as_str)).to_string()
        };
        if let (Some(_), Some(n)) = (&self.var_names, self.n_genes) {
            let reason = "`var_names` are given: leave one of the two off";
            return Err(Error::parameter("n_genes", n, reason));
        }
        let mut genes = match &self.var_names {
            Some(genes) => genes.clone(),
            None => self.best(&ranked, &shown)?,
        };
        if let Some(layer) = &self.layer {
            genes = genes.layer(layer);
        }
        if let Some(on) = self.raw {
            genes = genes.use_raw(on);
        }
        if let Some(column) = &self.symbols {
            genes = genes.gene_symbols(column);
        }
        let table = match &self.values_to_plot {
            None => None,
            Some(what) if !may_color => {
                let reason = "only dot plots and matrix plots are coloured by it";
                return Err(Error::parameter("values_to_plot", what, reason));
            }
            Some(what) => {
                let title = match what.as_str() {
                    "logfoldchanges" => "log fold change".to_string(),
                    other => other.replace('_', " ").replace("pvals", "p-value"),
                };
                Some((self.table(adata, &ranked, what, genes.names(), &shown)?, title))
            }
        };
        Ok(Chosen { genes, groupby, table })
    }

    /// Names of genes → symbols, where a column of those was asked for.
    fn symbol_of(&self, adata: &AnnData) -> Result<Option<HashMap<String, String>>> {
        let Some(key) = &self.symbols else { return Ok(None) };
        let column = adata.var_column(key)?;
        let names = adata.var.names().iter().enumerate();
        Ok(Some(names.filter_map(|(i, n)| Some((n.clone(), column.text(i)?))).collect()))
    }

    fn best(&self, ranked: &Ranked, shown: &impl Fn(&str) -> String) -> Result<Genes> {
        let groups: Vec<&RankedGroup> = match &self.groups {
            None => ranked.groups.iter().collect(),
            Some(names) => names.iter().map(|n| ranked.group(n)).collect::<Result<_>>()?,
        };
        let n = self.n_genes.unwrap_or(10);
        if n == 0 {
            return Err(Error::parameter("n_genes", 0, "must not be 0"));
        }
        let mut chosen: Vec<(String, Vec<String>)> = Vec::new();
        for group in groups {
            let mut genes: Vec<String> = Vec::new();
            for (k, gene) in group.genes.iter().enumerate() {
                let enough = match (self.min_logfoldchange, &group.logfoldchanges) {
                    (None, _) => true,
                    (Some(least), Some(folds)) => folds[k] > least,
                    // A ranking without fold changes is not filtered by them, as in scanpy.
                    (Some(_), None) => true,
                };
                let name = shown(gene);
                if enough && !gene.is_empty() && !name.is_empty() {
                    genes.push(name);
                }
            }
            let m = genes.len();
            let part = (n.unsigned_abs() as usize).min(m);
            let genes = if n < 0 { genes.split_off(m - part) } else { genes[..part].to_vec() };
            if !genes.is_empty() {
                chosen.push((group.name.clone(), genes));
            }
        }
        if chosen.is_empty() {
            let what = format!("uns[\"{}\"]", self.key);
            let reason = match (self.min_logfoldchange, &self.symbols) {
                (Some(_), _) => "no gene of any group passes `min_logfoldchange`",
                (None, Some(_)) => "no gene of any group has a symbol; leave `gene_symbols` off",
                (None, None) => "no gene of any group is left; a filter took them out",
            };
            return Err(Error::data(what, reason));
        }
        Ok(Genes::groups(chosen))
    }

    /// The numbers of all groups × genes, as scanpy's `_get_values_to_plot`.
    fn table(
        &self,
        adata: &AnnData,
        ranked: &Ranked,
        what: &str,
        genes: &[String],
        shown: &impl Fn(&str) -> String,
    ) -> Result<GroupTable> {
        const KNOWN: [&str; 6] =
            ["scores", "logfoldchanges", "pvals", "pvals_adj", "log10_pvals", "log10_pvals_adj"];
        if !KNOWN.contains(&what) {
            let reason = format!("is none of {}", KNOWN.join(", "));
            return Err(Error::parameter("values_to_plot", what, reason));
        }
        let (column, log) = match what.strip_prefix("log10_") {
            Some(rest) => (rest, true),
            None => (what, false),
        };
        let groups: Vec<String> = ranked.groups.iter().map(|g| g.name.clone()).collect();
        let mut values = Array2::from_elem((groups.len(), genes.len()), f64::NAN);
        for (r, group) in ranked.groups.iter().enumerate() {
            let numbers = match column {
                "scores" => Some(&group.scores),
                "logfoldchanges" => group.logfoldchanges.as_ref(),
                "pvals" => group.pvals.as_ref(),
                _ => group.pvals_adj.as_ref(),
            };
            let Some(numbers) = numbers else {
                let reason = format!("the method {} does not compute it", ranked.method);
                return Err(Error::parameter("values_to_plot", what, reason));
            };
            if group.genes.len() < adata.n_vars() {
                let reason = format!(
                    "group `{}` has {} of {} genes: rank all of them first",
                    group.name,
                    group.genes.len(),
                    adata.n_vars()
                );
                return Err(Error::parameter("values_to_plot", what, reason));
            }
            let of: HashMap<String, f64> =
                group.genes.iter().zip(numbers).map(|(g, &v)| (shown(g), v)).collect();
            for (c, gene) in genes.iter().enumerate() {
                // What is absent or no number counts as 1, as in scanpy.
                let v = of.get(gene).copied().filter(|v| !v.is_nan()).unwrap_or(1.0);
                values[[r, c]] = if log { -v.log10() } else { v };
            }
        }
        Ok(GroupTable { groups, genes: genes.to_vec(), values })
    }

    /// The genes × groups, with the dendrogram of the groups where `uns` has it.
    fn marked(&self, adata: &AnnData, cmap: &str, may_color: bool) -> (Marked, Option<GroupTable>) {
        match self.choose(adata, may_color) {
            Err(e) => (Marked::failed(e, cmap), None),
            Ok(c) => {
                let mut marked = Marked::new(adata, c.genes, vec![Key::new(c.groupby)], cmap);
                marked.options.dendrogram = Dendrogram::IfThere;
                let Some((table, title)) = c.table else { return (marked, None) };
                marked.options.colorbar_title = Some(title);
                (marked, Some(table))
            }
        }
    }
}

/// [`dotplot`](super::dotplot) of the best genes of each group. `ranking` is a number of genes, or
/// a [`Ranking`] with more to say; `()` takes ten.
///
/// The dendrogram of the groups is shown where `uns` has it (`tl::dendrogram`); scanpy computes it
/// if it has not.
///
/// Matches `scanpy.pl.rank_genes_groups_dotplot` 1.11.5: the same genes, the same numbers within
/// 1e-6 of the largest.
///
/// # Errors
/// When it is drawn: without a ranking in `uns`, and as for [`dotplot`](super::dotplot).
pub fn rank_genes_groups_dotplot(adata: &AnnData, ranking: impl Into<Ranking>) -> Figure<DotPlot> {
    let (marked, colors) = ranking.into().marked(adata, "Reds", true);
    let mut plot = DotPlot::new(marked);
    plot.colors = colors;
    Figure::new(plot)
}

/// [`matrixplot`](super::matrixplot) of the best genes of each group; see
/// [`rank_genes_groups_dotplot`].
///
/// # Errors
/// As for [`rank_genes_groups_dotplot`].
pub fn rank_genes_groups_matrixplot(
    adata: &AnnData,
    ranking: impl Into<Ranking>,
) -> Figure<MatrixPlot> {
    let (marked, values) = ranking.into().marked(adata, "viridis", true);
    let mut plot = MatrixPlot::new(marked);
    plot.values = values;
    Figure::new(plot)
}

/// [`stacked_violin`](super::stacked_violin) of the best genes of each group; see
/// [`rank_genes_groups_dotplot`].
///
/// # Errors
/// As for [`rank_genes_groups_dotplot`].
pub fn rank_genes_groups_stacked_violin(
    adata: &AnnData,
    ranking: impl Into<Ranking>,
) -> Figure<StackedViolin> {
    Figure::new(StackedViolin::new(ranking.into().marked(adata, "Blues", false).0))
}

/// [`heatmap`](super::heatmap) of the best genes of each group; see
/// [`rank_genes_groups_dotplot`].
///
/// # Errors
/// As for [`rank_genes_groups_dotplot`].
pub fn rank_genes_groups_heatmap(adata: &AnnData, ranking: impl Into<Ranking>) -> Figure<Heatmap> {
    Figure::new(Heatmap::new(ranking.into().marked(adata, "viridis", false).0))
}

/// [`tracksplot`](super::tracksplot) of the best genes of each group; see
/// [`rank_genes_groups_dotplot`].
///
/// # Errors
/// As for [`rank_genes_groups_dotplot`].
pub fn rank_genes_groups_tracksplot(
    adata: &AnnData,
    ranking: impl Into<Ranking>,
) -> Figure<TracksPlot> {
    Figure::new(TracksPlot { marked: ranking.into().marked(adata, "viridis", false).0 })
}
