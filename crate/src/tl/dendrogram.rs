//! [`dendrogram`]: which groups of cells are alike.

use super::correlate::pearson;
use super::linkage::{Linkage, draw_tree, linkage};
use super::source::{Source, source};
use crate::anndata::{AnnData, Categorical, Map, Matrix, Value, Values};
use crate::error::{Error, Result};
use crate::parallel::sum_parts;
use crate::stats::average_ranks;
use ndarray::Array2;

/// How alike two groups are; for [`dendrogram`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Correlation {
    /// Pearson's, the default.
    #[default]
    Pearson,
    /// Spearman's, of the ranks.
    Spearman,
}

/// Options of [`dendrogram`].
#[derive(Debug, Clone, PartialEq)]
pub struct Dendrogram {
    groupby: String,
    n_pcs: Option<usize>,
    use_rep: Option<String>,
    var_names: Option<Vec<String>>,
    use_raw: Option<bool>,
    correlation: Correlation,
    linkage: Linkage,
    key_added: Option<String>,
}

impl From<&str> for Dendrogram {
    fn from(groupby: &str) -> Self {
        Dendrogram::new(groupby)
    }
}

impl Dendrogram {
    /// Compare the groups that the column `groupby` of `obs` makes.
    pub fn new(groupby: impl Into<String>) -> Self {
        Dendrogram {
            groupby: groupby.into(),
            n_pcs: None,
            use_rep: None,
            var_names: None,
            use_raw: None,
            correlation: Correlation::default(),
            linkage: Linkage::default(),
            key_added: None,
        }
    }

    /// Use only the first `n` columns of the representation. Default: all.
    pub fn n_pcs(mut self, n: usize) -> Self {
        self.n_pcs = Some(n);
        self
    }

    /// The entry of `obsm` to average, or `X`. Default: `X_pca`, and X where there are at most 50
    /// genes.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = Some(key.into());
        self
    }

    /// Average these genes rather than a representation.
    pub fn var_names<S: Into<String>>(mut self, genes: impl IntoIterator<Item = S>) -> Self {
        self.var_names = Some(genes.into_iter().map(Into::into).collect());
        self
    }

    /// With `var_names`: whether to take `raw` rather than X. Default: where there is a `raw`.
    pub fn use_raw(mut self, yes: bool) -> Self {
        self.use_raw = Some(yes);
        self
    }

    /// How groups are compared. Default: [`Correlation::Pearson`].
    pub fn cor_method(mut self, correlation: Correlation) -> Self {
        self.correlation = correlation;
        self
    }

    /// How they are joined. Default: [`Linkage::Complete`].
    pub fn linkage_method(mut self, linkage: Linkage) -> Self {
        self.linkage = linkage;
        self
    }

    /// The key of `uns` to write. Default: `dendrogram_` and the column's name.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }
}

/// Arranges groups of cells in a tree by the correlation of their mean representations. Cells
/// without a label are left out.
///
/// Matches `scanpy.tl.dendrogram` 1.11.5 with `optimal_ordering=False`: correlations and distances
/// within 1e-6 (means of `float32` data are rounded to `float32`, as pandas does), the same leaves
/// and colours. With `var_names` scanpy 1.11.5 takes all genes, against its documentation; we take
/// those named.
///
/// Writes `uns["dendrogram_<groupby>"]`: `linkage` (scipy's matrix), `groupby`, `use_rep`,
/// `cor_method`, `linkage_method`, `categories_ordered`, `categories_idx_ordered`,
/// `dendrogram_info` (`icoord`, `dcoord`, `ivl`, `leaves`, `color_list`, `leaves_color_list`),
/// `correlation_matrix`.
///
/// # Errors
/// [`Error::MissingKey`] without the column, representation or a gene; [`Error::Parameter`] for more
/// columns than there are; [`Error::Data`] when there is one group only, a category has no cell, a
/// labelled cell holds NaN or infinity, or a mean representation is constant, so that nothing
/// correlates with it.
pub fn dendrogram(adata: &mut AnnData, options: impl Into<Dendrogram>) -> Result<()> {
    run(adata, options.into())
}

fn run(adata: &mut AnnData, options: Dendrogram) -> Result<()> {
    let groups = adata.obs_column(&options.groupby)?.to_categorical();
    let means = match &options.var_names {
        Some(genes) => {
            let Source { x, var, .. } = source(adata, options.use_raw, None)?;
            let at: Result<Vec<usize>> = genes.iter().map(|g| var.position("var", g)).collect();
            group_means(&x.take_columns(&at?), &groups, None)?
        }
        None => {
            let (x, n) = representation(adata, &options)?;
            group_means(x, &groups, n)?
        }
    };
    let correlation = correlations(&means, &groups, options.correlation)?;
    let joins = linkage(correlation.mapv(|r| 1.0 - r).view(), options.linkage)?;
    let drawing = draw_tree(&joins);
    let names: Vec<String> = drawing.leaves.iter().map(|&i| groups.categories[i].clone()).collect();
    let matrix = |values: Vec<f64>, columns: usize| Value::Array {
        shape: vec![values.len() / columns, columns],
        values: Values::F64(values),
    };
    let leaves: Vec<i64> = drawing.leaves.iter().map(|&i| i as i64).collect();
    let leaves = Value::Array { shape: vec![leaves.len()], values: Values::I64(leaves) };
    let map = |entries: Vec<(&str, Value)>| -> Map<Value> {
        entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
    };
    let info = map(vec![
        ("icoord", matrix(drawing.icoord.concat(), 4)),
        ("dcoord", matrix(drawing.dcoord.concat(), 4)),
        ("ivl", Value::strings(names.clone())),
        ("leaves", leaves.clone()),
        ("color_list", Value::strings(drawing.color_list)),
        ("leaves_color_list", Value::strings(drawing.leaves_color_list)),
    ]);
    let rows =
        joins.iter().flat_map(|j| [j.left as f64, j.right as f64, j.distance, j.size as f64]);
    let cor_method = match options.correlation {
        Correlation::Pearson => "pearson",
        Correlation::Spearman => "spearman",
    };
    let entry = map(vec![
        ("linkage", matrix(rows.collect(), 4)),
        ("groupby", Value::strings([options.groupby.clone()])),
        ("use_rep", options.use_rep.map_or(Value::Null, Value::from)),
        ("cor_method", cor_method.into()),
        ("linkage_method", options.linkage.name().into()),
        ("categories_ordered", Value::strings(names)),
        ("categories_idx_ordered", leaves),
        ("dendrogram_info", info.into()),
        ("correlation_matrix", matrix(correlation.iter().copied().collect(), correlation.ncols())),
    ]);
    let key = options.key_added.unwrap_or_else(|| format!("dendrogram_{}", options.groupby));
    adata.uns.insert(key, entry.into());
    Ok(())
}

/// The matrix to average, and how many of its columns.
fn representation<'a>(
    adata: &'a AnnData,
    options: &Dendrogram,
) -> Result<(&'a Matrix, Option<usize>)> {
    let few_genes = adata.n_vars() <= 50;
    let x = match options.use_rep.as_deref() {
        Some("X") => return Ok((adata.x()?, None)),
        None if few_genes || options.n_pcs == Some(0) => return Ok((adata.x()?, None)),
        Some(key) => adata.obsm(key)?,
        None => adata.obsm("X_pca")?,
    };
    match options.n_pcs {
        Some(n) if n > x.ncols() || n == 0 => {
            let reason = format!("must be between 1 and {}, the columns there are", x.ncols());
            Err(Error::parameter("n_pcs", n, reason))
        }
        n => Ok((x, n)),
    }
}

/// The mean of each group, groups × columns.
fn group_means(x: &Matrix, groups: &Categorical, columns: Option<usize>) -> Result<Array2<f64>> {
    let (n, m) = (x.nrows(), columns.unwrap_or(x.ncols()));
    let k = groups.categories.len();
    if k < 2 {
        return Err(Error::data("groups to compare", format!("need at least two, found {k}")));
    }
    let mut size = vec![0usize; k];
    groups.codes.iter().filter_map(|&c| usize::try_from(c).ok()).for_each(|c| size[c] += 1);
    if let Some(empty) = size.iter().position(|&s| s == 0) {
        let reason = format!(
            "no cell is in `{}`; drop such categories with `adata.remove_unused_categories()`",
            groups.categories[empty]
        );
        return Err(Error::data("groups to compare", reason));
    }
    // Rows a few hundred at a time, so that sparse data are never dense as a whole.
    let sums = sum_parts(n, k * m, 256, |rows, sums| {
        let rows: Vec<usize> = rows.collect();
        for chunk in rows.chunks(256) {
            let part = x.take_rows(chunk).to_array_f64();
            for (row, &i) in part.rows().into_iter().zip(chunk) {
                if let Ok(g) = usize::try_from(groups.codes[i]) {
                    let sum = &mut sums[g * m..(g + 1) * m];
                    sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                }
            }
        }
    });
    let single = matches!(x.values(), Values::F32(_));
    let mean = |(g, j): (usize, usize)| {
        let mean = sums[g * m + j] / size[g] as f64;
        if single { f64::from(mean as f32) } else { mean }
    };
    let means = Array2::from_shape_fn((k, m), mean);
    if let Some(((g, j), _)) = means.indexed_iter().find(|(_, v)| !v.is_finite()) {
        let name = &groups.categories[g];
        let reason = format!("column {j} holds NaN or infinity in `{name}`; mend or drop it first");
        return Err(Error::data("representation to compare", reason));
    }
    Ok(means)
}

fn correlations(
    means: &Array2<f64>,
    groups: &Categorical,
    how: Correlation,
) -> Result<Array2<f64>> {
    let rows: Vec<Vec<f64>> = means
        .rows()
        .into_iter()
        .map(|r| match how {
            Correlation::Pearson => r.to_vec(),
            Correlation::Spearman => average_ranks(&r.to_vec()),
        })
        .collect();
    let mut out = Array2::eye(rows.len());
    for i in 0..rows.len() {
        for j in 0..i {
            let r = pearson(&rows[i], &rows[j]);
            if r.is_nan() {
                let constant = if pearson(&rows[i], &rows[i]).is_nan() { i } else { j };
                let reason = format!(
                    "the mean of `{}` is the same in every column, so that nothing correlates \
                     with it; take another representation",
                    groups.categories[constant]
                );
                return Err(Error::data("groups to compare", reason));
            }
            (out[[i, j]], out[[j, i]]) = (r, r);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    /// Four groups, of which a and c, b and d are alike.
    fn sample() -> AnnData {
        let mut rng = Rng::new(2);
        let x = Array2::from_shape_fn((600, 12), |(i, j)| {
            let shift = if j % 2 == i % 2 { 4.0 } else { 0.0 };
            (shift + (i % 4) as f64 * 0.1 * j as f64 + rng.uniform()) as f32
        });
        let mut a = AnnData::new(x, Frame::with_len(600), Frame::with_len(12)).unwrap();
        let labels: Vec<_> = (0..600).map(|i| Some(["a", "b", "c", "d"][i % 4])).collect();
        a.obs.insert("kind", Categorical::from_labels(&labels)).unwrap();
        a
    }

    #[test]
    fn alike_groups_stand_together_whatever_the_form_and_threads() {
        let mut all = Vec::new();
        for sparse in [false, true] {
            all.push(same_with_any_threads(|| {
                let mut a = sample();
                if sparse {
                    a.x = Some(Matrix::Csr(a.x().unwrap().to_csr()));
                }
                dendrogram(&mut a, "kind").unwrap();
                a.uns["dendrogram_kind"].clone()
            }));
        }
        assert_eq!(all[0], all[1]);
        let order = all[0].at(&["categories_ordered"]).unwrap();
        assert_eq!(*order, Value::strings(["b", "d", "a", "c"]));
    }

    #[test]
    fn what_cannot_be_arranged_is_said() {
        let refuse = |change: &dyn Fn(&mut AnnData), options: Dendrogram, words: &str| {
            let mut a = sample();
            change(&mut a);
            let e = dendrogram(&mut a, options).unwrap_err().to_string();
            assert!(e.contains(words), "{e}");
            assert!(a.uns.is_empty());
        };
        let same = |_: &mut AnnData| ();
        let new = || Dendrogram::new("kind");
        refuse(&same, Dendrogram::new("sort"), "no column `sort`");
        refuse(&same, new().use_rep("X_umap"), "no entry `X_umap`");
        refuse(&same, new().var_names(["0", "gene"]), "gene");
        refuse(&same, new().var_names(["0"]).use_raw(true), "no `raw`");
        refuse(&same, new().var_names(["0"]), "the same in every column");
        refuse(
            &|a| {
                a.obs.insert("kind", vec![1i32; 600]).unwrap();
            },
            new(),
            "at least two",
        );
        refuse(&|a| a.keep_obs([0, 1, 2]).unwrap(), new(), "no cell is in `d`");
        for bad in [f32::NAN, f32::INFINITY] {
            let spoil = |a: &mut AnnData| {
                let mut x = a.x().unwrap().to_array_f32();
                x[[5, 7]] = bad;
                a.x = Some(x.into());
            };
            refuse(&spoil, new(), "column 7 holds NaN or infinity in `b`");
        }
        let pca = |a: &mut AnnData| {
            a.obsm.insert("X_pca".into(), Array2::<f32>::zeros((600, 5)).into());
        };
        refuse(&pca, new().use_rep("X_pca").n_pcs(6), "between 1 and 5");
        refuse(&pca, new().use_rep("X_pca"), "the same in every column");
    }

    #[test]
    fn cells_without_a_label_are_left_out_and_one_cell_is_its_own_mean() {
        let x = ndarray::array![[1., 2., 4.], [3., 1., 0.], [5., 3., 2.], [f64::NAN, 9., 9.]];
        let mut a = AnnData::new(x, Frame::with_len(4), Frame::with_len(3)).unwrap();
        let labels = [Some("one"), Some("two"), Some("two"), None];
        a.obs.insert("kind", Categorical::from_labels(&labels)).unwrap();
        dendrogram(&mut a, "kind").unwrap();
        let Some(Value::Array { values, .. }) =
            a.uns["dendrogram_kind"].at(&["correlation_matrix"])
        else {
            panic!("no matrix")
        };
        let expected = pearson(&[1., 2., 4.], &[4., 2., 1.]);
        assert_eq!(values.to_f64()[..], [1.0, expected, expected, 1.0]);
    }
}
