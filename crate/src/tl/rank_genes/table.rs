//! What [`rank_genes_groups`](super::rank_genes_groups) wrote: as one table, and filtered.

use super::KEY;
use super::blocks::{Entry, Wide, by_column};
use crate::anndata::{AnnData, Categorical, Column, Frame, Map, Value, Values};
use crate::error::{Error, Result};
use crate::tl::source::source;
use std::collections::HashMap;

/// What to take out of a ranking; for [`rank_genes_groups_df`]. Made from the name of a group, or
/// by [`RankGenesDf::all`] and [`RankGenesDf::of`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RankGenesDf {
    groups: Option<Vec<String>>,
    key: Option<String>,
    pval_cutoff: Option<f64>,
    log2fc_min: Option<f64>,
    log2fc_max: Option<f64>,
    gene_symbols: Option<String>,
}

impl From<&str> for RankGenesDf {
    fn from(group: &str) -> Self {
        RankGenesDf::of([group])
    }
}

impl From<&String> for RankGenesDf {
    fn from(group: &String) -> Self {
        RankGenesDf::of([group])
    }
}

impl From<String> for RankGenesDf {
    fn from(group: String) -> Self {
        RankGenesDf::of([group])
    }
}

impl RankGenesDf {
    /// All groups.
    pub fn all() -> Self {
        RankGenesDf::default()
    }

    /// These groups.
    pub fn of<S: Into<String>>(groups: impl IntoIterator<Item = S>) -> Self {
        let groups = Some(groups.into_iter().map(Into::into).collect());
        RankGenesDf { groups, ..RankGenesDf::default() }
    }

    /// The key of `uns` that holds the ranking. Default: `rank_genes_groups`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only genes with an adjusted p-value below this.
    pub fn pval_cutoff(mut self, p: f64) -> Self {
        self.pval_cutoff = Some(p);
        self
    }

    /// Only genes with a log₂ fold change above this.
    pub fn log2fc_min(mut self, x: f64) -> Self {
        self.log2fc_min = Some(x);
        self
    }

    /// Only genes with a log₂ fold change below this.
    pub fn log2fc_max(mut self, x: f64) -> Self {
        self.log2fc_max = Some(x);
        self
    }

    /// Add this column of `var`, found by the genes' names.
    pub fn gene_symbols(mut self, column: impl Into<String>) -> Self {
        self.gene_symbols = Some(column.into());
        self
    }
}

/// A ranking as read from `uns`.
struct Ranking<'a> {
    key: &'a str,
    entry: &'a Map<Value>,
}

impl<'a> Ranking<'a> {
    fn of(adata: &'a AnnData, key: &'a str) -> Result<Ranking<'a>> {
        let missing = || Error::missing_key("uns", "ranking", key, adata.uns.keys());
        let entry = adata.uns.get(key).and_then(Value::as_map).ok_or_else(missing)?;
        Ok(Ranking { key, entry })
    }

    fn wrong(&self, what: &str, reason: &str) -> Error {
        let hint = "run `tl::rank_genes_groups` again";
        Error::data(format!("uns[\"{}\"][\"{what}\"]", self.key), format!("{reason}; {hint}"))
    }

    fn record(&self, field: &str) -> Result<&'a Map<Value>> {
        match self.entry.get(field) {
            Some(Value::Record(m)) => Ok(m),
            Some(_) => Err(self.wrong(field, "is no table of records")),
            None => Err(self.wrong(field, "is missing")),
        }
    }

    fn column(&self, field: &str, group: &str) -> Result<&'a Value> {
        let record = self.record(field)?;
        record
            .get(group)
            .ok_or_else(|| Error::missing_key("ranking", "group", group, record.keys()))
    }

    fn names(&self, group: &str) -> Result<&'a [String]> {
        match self.column("names", group)? {
            Value::StrArray { values, .. } => Ok(values),
            _ => Err(self.wrong("names", "holds no texts")),
        }
    }

    fn numbers(&self, field: &str, group: &str) -> Result<&'a Values> {
        let n = self.names(group)?.len();
        match self.column(field, group)? {
            Value::Array { values, .. } if values.len() == n => Ok(values),
            _ => Err(self.wrong(field, "does not hold one number a gene")),
        }
    }
}

/// The ranking that [`rank_genes_groups`](super::rank_genes_groups) wrote as a table, groups one
/// after the other, genes by rank: `tl::rank_genes_groups_df(&adata, "L1")` for one group,
/// `RankGenesDf::all()` for all.
///
/// Columns: `group` (unless there is one only), `names`, `scores`, `logfoldchanges`, `pvals`,
/// `pvals_adj`, with `pts` also `pct_nz_group` and `pct_nz_reference`. Equals
/// `scanpy.get.rank_genes_groups_df` 1.11.5.
///
/// # Errors
/// [`Error::MissingKey`] without the ranking, a group or the column of symbols; [`Error::Data`] when
/// the entry is damaged.
pub fn rank_genes_groups_df(adata: &AnnData, options: impl Into<RankGenesDf>) -> Result<Frame> {
    data_frame(adata, options.into())
}

fn data_frame(adata: &AnnData, options: RankGenesDf) -> Result<Frame> {
    let ranking = Ranking::of(adata, options.key.as_deref().unwrap_or(KEY))?;
    let available = ranking.record("names")?;
    let groups = options.groups.unwrap_or_else(|| available.keys().cloned().collect());
    let mut names: Vec<Option<String>> = Vec::new();
    let mut group_of = Vec::new();
    const FIELDS: [&str; 4] = ["scores", "logfoldchanges", "pvals", "pvals_adj"];
    // The types of the columns as they were written.
    let mut columns: [Option<Values>; 4] = Default::default();
    for (g, group) in groups.iter().enumerate() {
        let all = FIELDS.map(|f| ranking.numbers(f, group));
        let [scores, folds, pvals, adjusted] = all;
        let values = [scores?, folds?, pvals?, adjusted?];
        let genes = ranking.names(group)?;
        let passes = |i: &usize| {
            let (fold, p) = (values[1].get_f64(*i), values[3].get_f64(*i));
            options.pval_cutoff.is_none_or(|cut| p < cut)
                && options.log2fc_min.is_none_or(|min| fold > min)
                && options.log2fc_max.is_none_or(|max| fold < max)
        };
        let keep: Vec<usize> = (0..genes.len()).filter(passes).collect();
        names.extend(keep.iter().map(|&i| Some(genes[i].clone())));
        group_of.extend(keep.iter().map(|_| g as i32));
        for (column, values) in columns.iter_mut().zip(values) {
            let taken = values.take(&keep);
            match column {
                Some(column) => column.append(&taken),
                None => *column = Some(taken),
            }
        }
    }
    let mut table = Frame::with_len(names.len());
    if groups.len() != 1 {
        let (codes, categories) = (group_of.clone(), groups.clone());
        table.insert("group", Categorical { codes, categories, typed: None, ordered: false })?;
    }
    table.insert("names", Column::Str(names.clone()))?;
    for (field, column) in FIELDS.into_iter().zip(columns) {
        let column = column.unwrap_or_else(|| Values::F64(Vec::new()));
        table.insert(field, Column::Values(column))?;
    }
    if let Some(symbols) = &options.gene_symbols {
        let column = adata.var_column(symbols)?;
        let at = positions(adata.var.names());
        let text = |n: &Option<String>| column.text(*at.get(n.as_deref()?)?);
        table.insert(symbols, Column::Str(names.iter().map(text).collect()))?;
    }
    for (slot, name) in [("pts", "pct_nz_group"), ("pts_rest", "pct_nz_reference")] {
        let Some(Value::Frame(parts)) = ranking.entry.get(slot) else { continue };
        let at = positions(parts.names());
        let mut by_group = Vec::new();
        for g in &groups {
            let column = parts.get(g).and_then(Column::to_f64);
            by_group.push(column.ok_or_else(|| ranking.wrong(slot, "lacks a group"))?);
        }
        let part = |(n, &g): (&Option<String>, &i32)| {
            let row = n.as_deref().and_then(|n| at.get(n));
            row.map_or(f64::NAN, |&row| by_group[g as usize][row])
        };
        table.insert(name, names.iter().zip(&group_of).map(part).collect::<Vec<f64>>())?;
    }
    Ok(table)
}

fn positions(names: &[String]) -> HashMap<&str, usize> {
    names.iter().enumerate().rev().map(|(i, n)| (n.as_str(), i)).collect()
}

/// Options of [`filter_rank_genes_groups`].
#[derive(Debug, Clone, PartialEq)]
pub struct FilterRankedGenes {
    key: String,
    key_added: String,
    min_in_group_fraction: f64,
    min_fold_change: f64,
    max_out_group_fraction: f64,
    compare_abs: bool,
}

impl Default for FilterRankedGenes {
    fn default() -> Self {
        FilterRankedGenes {
            key: KEY.into(),
            key_added: "rank_genes_groups_filtered".into(),
            min_in_group_fraction: 0.25,
            min_fold_change: 1.0,
            max_out_group_fraction: 0.5,
            compare_abs: false,
        }
    }
}

impl FilterRankedGenes {
    /// The key of `uns` that holds the ranking. Default: `rank_genes_groups`.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// The key of `uns` to write. Default: `rank_genes_groups_filtered`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// More than this part of the group must have the gene. Default: 0.25.
    pub fn min_in_group_fraction(mut self, x: f64) -> Self {
        self.min_in_group_fraction = x;
        self
    }

    /// The log₂ fold change must be above this. Default: 1.
    pub fn min_fold_change(mut self, x: f64) -> Self {
        self.min_fold_change = x;
        self
    }

    /// Less than this part of all other cells must have the gene. Default: 0.5.
    pub fn max_out_group_fraction(mut self, x: f64) -> Self {
        self.max_out_group_fraction = x;
        self
    }

    /// Whether the fold change counts in either direction. Default: false.
    pub fn compare_abs(mut self, yes: bool) -> Self {
        self.compare_abs = yes;
        self
    }
}

/// Filters a ranking by fold change and by which part of the cells has each gene, in the group and
/// outside.
///
/// Writes `uns[key_added]`: a copy of the ranking in which the names of genes that do not pass are
/// `nan`, as scanpy's are once they come from a file. The fractions are those of `pts` where the
/// ranking has them, and counted anew where not, on the matrix (X or `raw`, or the layer) that was
/// ranked; what a filter wrote may be filtered again. Equals `scanpy.tl.filter_rank_genes_groups`
/// 1.11.5 for rankings against the rest; for a ranking against a group, scanpy takes fold changes
/// anew, against all other cells, and so do we.
///
/// # Errors
/// [`Error::MissingKey`] without the ranking or what it was made from, [`Error::Data`] when the
/// entry is damaged or its genes are no longer there.
pub fn filter_rank_genes_groups(adata: &mut AnnData, options: FilterRankedGenes) -> Result<()> {
    let ranking = Ranking::of(adata, &options.key)?;
    let param = |name: &str| adata.uns[&options.key].at(&["params", name]);
    let text = |name: &str| {
        let value = param(name).and_then(Value::as_str);
        value.ok_or_else(|| ranking.wrong("params", &format!("lacks `{name}`")))
    };
    let use_raw = param("use_raw").and_then(Value::as_f64) == Some(1.0);
    let layer = param("layer").and_then(Value::as_str);
    let source = source(adata, Some(use_raw), layer)?;
    let column = adata.obs_column(text("groupby")?)?.to_categorical();
    let against_rest = text("reference")? == "rest";
    let (n, none) = (column.codes.len(), column.categories.len());
    let of_cell: Vec<u32> =
        column.codes.iter().map(|&c| usize::try_from(c).unwrap_or(none) as u32).collect();
    let mut sizes = vec![0usize; none + 1];
    of_cell.iter().for_each(|&g| sizes[g as usize] += 1);
    // Non-zeros and sum of each group, a gene.
    let counted = by_column(&source, &of_cell, |_, entries: &mut [Wide]| {
        let mut of_group = vec![(0usize, 0f64); sizes.len()];
        for e in entries {
            let slot = &mut of_group[e.group()];
            *slot = (slot.0 + 1, slot.1 + e.value());
        }
        of_group
    })?;
    let base = adata.uns.get("log1p").and_then(|v| v.at(&["base"])).and_then(Value::as_f64);
    let at = positions(source.var.names());
    let mut filtered = Map::new();
    for group in ranking.record("names")?.keys() {
        let g = column.categories.iter().position(|c| c == group);
        let g = g.ok_or_else(|| Error::missing_key("obs", "group", group, &column.categories))?;
        let folds = ranking.numbers("logfoldchanges", group)?;
        let mut names = ranking.names(group)?.to_vec();
        for (rank, name) in names.iter_mut().enumerate() {
            let Some(&i) = at.get(name.as_str()) else {
                // Taken out by a filter before.
                if name == "nan" {
                    continue;
                }
                return Err(ranking.wrong("names", &format!("has the gene `{name}`, X has not")));
            };
            let own = counted[i][g];
            let others = counted[i].iter().enumerate().filter(|(h, _)| *h != g);
            let others = others.fold((0, 0.0), |sum, (_, o)| (sum.0 + o.0, sum.1 + o.1));
            let (inside, outside) = (sizes[g] as f64, (n - sizes[g]) as f64);
            let mut fold = if against_rest {
                folds.get_f64(rank)
            } else {
                super::fold_change([own.1 / inside, others.1 / outside], base)
            };
            if options.compare_abs {
                fold = fold.abs();
            }
            let passes = own.0 as f64 / inside > options.min_in_group_fraction
                && (others.0 as f64 / outside) < options.max_out_group_fraction
                && fold > options.min_fold_change;
            if !passes {
                *name = "nan".into();
            }
        }
        filtered.insert(group.clone(), Value::strings(names));
    }
    let mut entry = ranking.entry.clone();
    entry.insert("names".into(), Value::Record(filtered));
    adata.uns.insert(options.key_added, entry.into());
    Ok(())
}
