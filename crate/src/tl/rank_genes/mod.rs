//! Genes that tell groups of cells apart: [`rank_genes_groups`]; reading and filtering what it
//! wrote is in `table`.

mod blocks;
mod gene;
mod table;

pub use table::{FilterRankedGenes, RankGenesDf, filter_rank_genes_groups, rank_genes_groups_df};

use super::source::{Source, source};
use crate::anndata::{AnnData, Categorical, Column, Frame, Map, Value, Values};
use crate::error::{Error, Result};
use crate::stats::{benjamini_hochberg, bonferroni};
use blocks::{Narrow, Wide, by_column, is_narrow};
use gene::{Outcome, Plan, Test, test_gene};

/// The tests of [`rank_genes_groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RankMethod {
    /// Welch's t-test, the default.
    #[default]
    TTest,
    /// Welch's t-test with the size of the group also as that of what it is compared with.
    TTestOverestimVar,
    /// Wilcoxon's rank-sum test by its normal approximation, without correction for continuity.
    Wilcoxon,
}

/// How p-values are adjusted for the number of genes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CorrMethod {
    /// The false discovery rate of Benjamini and Hochberg (1995), the default.
    #[default]
    BenjaminiHochberg,
    /// p times the number of genes.
    Bonferroni,
}

impl RankMethod {
    fn name(self) -> &'static str {
        match self {
            RankMethod::TTest => "t-test",
            RankMethod::TTestOverestimVar => "t-test_overestim_var",
            RankMethod::Wilcoxon => "wilcoxon",
        }
    }
}

impl CorrMethod {
    fn name(self) -> &'static str {
        match self {
            CorrMethod::BenjaminiHochberg => "benjamini-hochberg",
            CorrMethod::Bonferroni => "bonferroni",
        }
    }
}

/// Options of [`rank_genes_groups`].
#[derive(Debug, Clone, PartialEq)]
pub struct RankGenes {
    groupby: String,
    method: RankMethod,
    tie_correct: bool,
    groups: Option<Vec<String>>,
    reference: String,
    n_genes: Option<usize>,
    rankby_abs: bool,
    use_raw: Option<bool>,
    layer: Option<String>,
    mask_var: Option<String>,
    corr_method: CorrMethod,
    pts: bool,
    key_added: String,
}

impl RankGenes {
    /// Compare the groups that the column `groupby` of `obs` makes.
    pub fn new(groupby: impl Into<String>) -> Self {
        RankGenes {
            groupby: groupby.into(),
            method: RankMethod::default(),
            tie_correct: false,
            groups: None,
            reference: "rest".into(),
            n_genes: None,
            rankby_abs: false,
            use_raw: None,
            layer: None,
            mask_var: None,
            corr_method: CorrMethod::default(),
            pts: false,
            key_added: KEY.into(),
        }
    }

    /// The test. Default: [`RankMethod::TTest`], as scanpy's.
    pub fn method(mut self, method: RankMethod) -> Self {
        self.method = method;
        self
    }

    /// Whether Wilcoxon's test corrects its variance for ties, of which sparse data are full.
    /// Default: false, as scanpy's.
    pub fn tie_correct(mut self, yes: bool) -> Self {
        self.tie_correct = yes;
        self
    }

    /// Test these groups only; the rest that they are compared with still holds all other cells.
    /// Default: all groups.
    pub fn groups<S: Into<String>>(mut self, groups: impl IntoIterator<Item = S>) -> Self {
        self.groups = Some(groups.into_iter().map(Into::into).collect());
        self
    }

    /// What groups are compared with: a group, or `rest` for all other cells. Default: `rest`.
    pub fn reference(mut self, group: impl Into<String>) -> Self {
        self.reference = group.into();
        self
    }

    /// Write only that many genes a group, the best. Default: all.
    pub fn n_genes(mut self, n: usize) -> Self {
        self.n_genes = Some(n);
        self
    }

    /// Whether genes are ranked by the absolute score. Default: false.
    pub fn rankby_abs(mut self, yes: bool) -> Self {
        self.rankby_abs = yes;
        self
    }

    /// Whether to take `raw` rather than X. Default: where there is a `raw` and no layer is asked
    /// for.
    pub fn use_raw(mut self, yes: bool) -> Self {
        self.use_raw = Some(yes);
        self
    }

    /// Take this layer rather than X.
    pub fn layer(mut self, layer: impl Into<String>) -> Self {
        self.layer = Some(layer.into());
        self
    }

    /// Test only the genes that this column of `var` (or `raw.var`) marks; adjusted p-values count
    /// only them.
    pub fn mask_var(mut self, column: impl Into<String>) -> Self {
        self.mask_var = Some(column.into());
        self
    }

    /// How p-values are adjusted. Default: [`CorrMethod::BenjaminiHochberg`].
    pub fn corr_method(mut self, method: CorrMethod) -> Self {
        self.corr_method = method;
        self
    }

    /// Whether to write which part of the cells has the gene. Default: false.
    pub fn pts(mut self, yes: bool) -> Self {
        self.pts = yes;
        self
    }

    /// The key of `uns` to write. Default: `rank_genes_groups`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }
}

/// The key of `uns` under which results lie unless another is asked for.
const KEY: &str = "rank_genes_groups";

/// Ranks the genes by how well they tell each group of cells from the rest, or from one group.
///
/// Expects logarithmised data. The non-zero elements of a gene are ranked alone, its zeros being one
/// tie; the matrix is never made dense, nor copied.
///
/// Matches `scanpy.tl.rank_genes_groups` 1.11.5: scores equal in `float32`, p-values within 1e-8
/// relative; on `float32` data, which scanpy squares in `float32`, t within 1e-5 and its p-values
/// within 1e-3 relative in the far tails. Genes of equal score keep their order; scanpy leaves it to
/// an unstable sort.
///
/// Writes `uns[key_added]`: records with a field for each group, genes by descending score:
/// `names`, `scores` (z or t, `float32`), `pvals`, `pvals_adj`, `logfoldchanges` (log₂ of the ratio
/// of the means, each taken back from the logarithm and raised by 1e-9; `float32`; NaN where a mean
/// is negative, as those of scaled data are, also where both are and scanpy gives a number that
/// tells nothing); with `pts` the tables `pts` and, against the rest, `pts_rest` (genes × groups);
/// and `params`. Python's `sc.get.rank_genes_groups_df` reads them from a written file. A t
/// statistic is infinite, with p = 0, where neither side varies and both differ.
///
/// # Errors
/// [`Error::MissingKey`] without the column, group, layer, or matrix; [`Error::Parameter`] for
/// options that contradict each other; [`Error::Data`] when a group has fewer than two cells (drop
/// unused categories first), nothing is left to compare with (for a t-test: fewer than two cells),
/// or the data hold NaN or infinity. Nothing is written then.
///
/// ```
/// # use spatialkit::{anndata::{AnnData, Categorical, Frame}, ndarray::Array2, tl, Result};
/// # fn main() -> Result<()> {
/// # let x = Array2::from_shape_fn((40, 3), |(i, j)| ((i * 7 + j) % 5 + (i % 2) * j) as f32);
/// # let mut adata = AnnData::new(x, Frame::with_len(40), Frame::with_len(3))?;
/// # adata.obs.insert("leiden", Categorical::from_numbers(&(0..40).map(|i| i % 2).collect::<Vec<_>>()))?;
/// use tl::{RankGenes, RankMethod};
/// tl::rank_genes_groups(&mut adata, RankGenes::new("leiden").method(RankMethod::Wilcoxon))?;
/// let table = tl::rank_genes_groups_df(&adata, "1")?;
/// assert_eq!(table.get("names").unwrap().text(0).unwrap(), "2");
/// # Ok(())
/// # }
/// ```
pub fn rank_genes_groups(adata: &mut AnnData, options: RankGenes) -> Result<()> {
    let source = source(adata, options.use_raw, options.layer.as_deref())?;
    let use_raw = source.is_raw;
    let column = adata.obs_column(&options.groupby)?.to_categorical();
    let groups = Groups::new(&column, &options)?;
    if options.n_genes == Some(0) {
        return Err(Error::parameter("n_genes", 0, "must be at least 1"));
    }
    let kept = kept_genes(&source, options.mask_var.as_deref())?;
    let test = match options.method {
        RankMethod::Wilcoxon => Test::Wilcoxon { tie_correct: options.tie_correct },
        RankMethod::TTest => Test::Welch { overestimate: false },
        RankMethod::TTestOverestimVar => Test::Welch { overestimate: true },
    };
    let plan = Plan { sizes: groups.sizes.clone(), reference: groups.reference, test };
    let outcomes = if is_narrow(source.x.values()) {
        by_column(&source, &groups.of_cell, |_, e: &mut [Narrow]| test_gene(&plan, e))?
    } else {
        by_column(&source, &groups.of_cell, |_, e: &mut [Wide]| test_gene(&plan, e))?
    };
    let base = adata.uns.get("log1p").and_then(|v| v.at(&["base"])).and_then(Value::as_f64);
    let names = source.var.names();
    let mut entry = Map::new();
    let params: Map<Value> = [
        ("groupby", options.groupby.as_str().into()),
        ("reference", options.reference.as_str().into()),
        ("method", options.method.name().into()),
        ("use_raw", Value::Array { shape: vec![], values: Values::Bool(vec![use_raw]) }),
        ("layer", options.layer.as_deref().map_or(Value::Null, Value::from)),
        ("corr_method", options.corr_method.name().into()),
    ]
    .map(|(k, v): (&str, Value)| (k.to_string(), v))
    .into();
    entry.insert("params".into(), params.into());
    if options.pts {
        let table = |which: usize| fractions(&groups, &outcomes, &kept, names, which);
        entry.insert("pts".into(), Value::Frame(table(0)?));
        if groups.reference.is_none() {
            entry.insert("pts_rest".into(), Value::Frame(table(1)?));
        }
    }
    let fields = ["names", "scores", "pvals", "pvals_adj", "logfoldchanges"];
    let mut records = fields.map(|_| Map::new());
    for (g, name) in groups.names.iter().enumerate() {
        if groups.reference != Some(g) {
            let of_group = |&i: &usize| outcomes[i][g];
            let outcomes: Vec<Outcome> = kept.iter().map(of_group).collect();
            let columns = ranked(&outcomes, &kept, names, base, &options);
            for (record, column) in records.iter_mut().zip(columns) {
                record.insert(name.clone(), column);
            }
        }
    }
    for (field, record) in fields.into_iter().zip(records) {
        entry.insert(field.into(), Value::Record(record));
    }
    adata.uns.insert(options.key_added, entry.into());
    Ok(())
}

/// The groups that take part.
struct Groups {
    /// Those tested, in order, and the reference.
    names: Vec<String>,
    reference: Option<usize>,
    /// Cells of each, and last those of none.
    sizes: Vec<usize>,
    /// For each cell the position among `names`, or their number.
    of_cell: Vec<u32>,
}

impl Groups {
    fn new(column: &Categorical, options: &RankGenes) -> Result<Groups> {
        let all = &column.categories;
        let mut names = options.groups.clone().unwrap_or_else(|| all.clone());
        let rest = options.reference == "rest";
        if !rest && !names.contains(&options.reference) {
            names.push(options.reference.clone());
        }
        let mut number = vec![None; all.len()];
        for (g, name) in names.iter().enumerate() {
            let at = all.iter().position(|c| c == name);
            let at = at.ok_or_else(|| Error::missing_key("groupby", "group", name, all))?;
            if number[at].replace(g as u32).is_some() {
                return Err(Error::parameter("groups", name, "is given twice"));
            }
        }
        let none = names.len() as u32;
        let of = |&code: &i32| usize::try_from(code).ok().and_then(|c| number[c]).unwrap_or(none);
        let of_cell: Vec<u32> = column.codes.iter().map(of).collect();
        let mut sizes = vec![0; names.len() + 1];
        of_cell.iter().for_each(|&g| sizes[g as usize] += 1);
        let what = || format!("obs[\"{}\"]", options.groupby);
        let small: Vec<&str> =
            names.iter().zip(&sizes).filter(|(_, n)| **n < 2).map(|(s, _)| s.as_str()).collect();
        if !small.is_empty() {
            let reason = format!(
                "fewer than two cells are in {}; drop those categories, or name the groups to test",
                small.join(", ")
            );
            return Err(Error::data(what(), reason));
        }
        let reference = names.iter().position(|n| !rest && *n == options.reference);
        let tested = names.len() - usize::from(reference.is_some());
        if tested == 0 || (rest && sizes.contains(&column.codes.len())) {
            let reason = "needs at least two groups, so that there is something to compare";
            return Err(Error::data(what(), reason));
        }
        let leaves_one = |(_, n): &(&String, &usize)| **n + 1 == column.codes.len();
        let short = names.iter().zip(&sizes).find(leaves_one);
        if let (true, Some((name, _))) = (rest && options.method != RankMethod::Wilcoxon, short) {
            let reason = format!(
                "only one cell is not in `{name}`, and a t-test needs two to compare with; take \
                 other groups or `RankMethod::Wilcoxon`"
            );
            return Err(Error::data(what(), reason));
        }
        Ok(Groups { names, reference, sizes, of_cell })
    }
}

/// The genes to test: all, or those that a column marks.
fn kept_genes(source: &Source, mask: Option<&str>) -> Result<Vec<usize>> {
    let all = 0..source.var.len();
    let Some(name) = mask else { return Ok(all.collect()) };
    let names = || source.var.columns().map(|(k, _)| k);
    let column = source.var.get(name);
    let column = column.ok_or_else(|| Error::missing_key("var", "column", name, names()))?;
    let (Column::Values(Values::Bool(_)) | Column::Nullable { values: Values::Bool(_), .. }) =
        column
    else {
        let reason = format!("is of type {}, not of true and false", column.dtype());
        return Err(Error::data(format!("var[\"{name}\"]"), reason));
    };
    let mask = source.var.mask_by(name, |v| v == 1.0)?;
    let kept: Vec<usize> = all.filter(|&i| mask[i]).collect();
    if kept.is_empty() {
        return Err(Error::data(format!("var[\"{name}\"]"), "marks no gene"));
    }
    Ok(kept)
}

/// names, scores, pvals, pvals_adj, logfoldchanges of one group.
fn ranked(
    outcomes: &[Outcome],
    kept: &[usize],
    names: &[String],
    base: Option<f64>,
    options: &RankGenes,
) -> [Value; 5] {
    let p: Vec<f64> = outcomes.iter().map(|o| o.pval).collect();
    let adjusted = match options.corr_method {
        CorrMethod::BenjaminiHochberg => benjamini_hochberg(&p),
        CorrMethod::Bonferroni => bonferroni(&p),
    };
    let key = |i: usize| {
        let s = outcomes[i].score;
        if options.rankby_abs { s.abs() } else { s }
    };
    let mut order: Vec<usize> = (0..outcomes.len()).collect();
    // Stable: equal scores stay in the order of the genes. + 0.0 makes −0 an equal of 0.
    order.sort_by(|&a, &b| (key(b) + 0.0).total_cmp(&(key(a) + 0.0)));
    order.truncate(options.n_genes.unwrap_or(usize::MAX));
    let fold = |&i: &usize| fold_change(outcomes[i].means, base) as f32;
    let array = |values: Values| Value::Array { shape: vec![values.len()], values };
    [
        Value::strings(order.iter().map(|&i| names[kept[i]].clone())),
        array(order.iter().map(|&i| outcomes[i].score as f32).collect::<Vec<_>>().into()),
        array(order.iter().map(|&i| p[i]).collect::<Vec<_>>().into()),
        array(order.iter().map(|&i| adjusted[i]).collect::<Vec<_>>().into()),
        array(order.iter().map(fold).collect::<Vec<_>>().into()),
    ]
}

/// log₂ of the ratio of two means of logarithmised data, taken back from the logarithm; NaN where
/// one is negative, which is no mean of logarithmised data.
fn fold_change([a, b]: [f64; 2], base: Option<f64>) -> f64 {
    if a < 0.0 || b < 0.0 {
        return f64::NAN;
    }
    let scale = base.map_or(1.0, f64::ln);
    let (a, b) = (a * scale, b * scale);
    // Beyond what f64 can exponentiate (data that are no logarithms), where 1 and 1e-9 are nothing.
    const LARGE: f64 = 700.0;
    if a.max(b) > LARGE {
        let log2 = |x: f64| {
            if x > LARGE { x / std::f64::consts::LN_2 } else { (x.exp_m1() + 1e-9).log2() }
        };
        return log2(a) - log2(b);
    }
    ((a.exp_m1() + 1e-9) / (b.exp_m1() + 1e-9)).log2()
}

/// Which part of the cells of each group (0), or of all others (1), has each gene.
fn fractions(
    groups: &Groups,
    outcomes: &[Vec<Outcome>],
    kept: &[usize],
    names: &[String],
    which: usize,
) -> Result<Frame> {
    let mut table = Frame::new(kept.iter().map(|&i| names[i].clone()).collect());
    let all: usize = groups.sizes.iter().sum();
    for (g, name) in groups.names.iter().enumerate() {
        let n = if which == 0 { groups.sizes[g] } else { all - groups.sizes[g] };
        let part = |&i: &usize| outcomes[i][g].nonzero[which] as f64 / n as f64;
        table.insert(name, kept.iter().map(part).collect::<Vec<f64>>())?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
