//! [`Ranked`]: what `tl::rank_genes_groups` (ours or scanpy's) left in `uns`, for the figures
//! that show it.

use crate::anndata::{AnnData, Map, Value};
use crate::error::{Error, Result};

/// The genes of each group from the first to the last rank. Whatever a method does not compute
/// (`logreg` has no p-values) is `None`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ranked {
    /// The column of `obs` that was compared.
    pub groupby: String,
    /// `wilcoxon`, `t-test`, `t-test_overestim_var` or `logreg`.
    pub method: String,
    /// `rest`, or the group that all others were compared with.
    pub reference: String,
    pub use_raw: bool,
    pub layer: Option<String>,
    /// Group by group.
    pub groups: Vec<RankedGroup>,
}

/// One group's genes by rank.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct RankedGroup {
    pub name: String,
    /// An empty name stands for a gene that `filter_rank_genes_groups` took out.
    pub genes: Vec<String>,
    pub scores: Vec<f64>,
    pub logfoldchanges: Option<Vec<f64>>,
    pub pvals: Option<Vec<f64>>,
    pub pvals_adj: Option<Vec<f64>>,
}

impl Ranked {
    /// Reads `uns[key]`.
    pub fn read(adata: &AnnData, key: &str) -> Result<Ranked> {
        let Some(value) = adata.uns.get(key) else {
            if adata.uns.values().any(|v| v.at(&["names"]).is_some()) || key != DEFAULT {
                let has = |(k, v): (&String, &Value)| v.at(&["names"]).map(|_| k.clone());
                let ranked: Vec<String> = adata.uns.iter().filter_map(has).collect();
                return Err(Error::missing_key("uns", "ranking of genes", key, ranked));
            }
            let reason = "is absent: run `tl::rank_genes_groups` first";
            return Err(Error::data(format!("uns[\"{key}\"]"), reason));
        };
        let param = |name: &str| value.at(&["params", name]).and_then(Value::as_str);
        let names = fields(value, key, "names")?;
        let scores = fields(value, key, "scores")?;
        let number = |table: Option<&Map<Value>>, field: &str, group: &str, n: usize| {
            let Some(table) = table else { return Ok(None) };
            match table.get(group) {
                Some(Value::Array { values, .. }) if values.len() == n => {
                    Ok(Some(values.to_f64().into_owned()))
                }
                _ => Err(broken(key, &format!("`{field}` has no {n} numbers for group `{group}`"))),
            }
        };
        let optional = |field: &str| match value.at(&[field]) {
            Some(Value::Record(m)) => Some(m),
            _ => None,
        };
        let mut groups = Vec::with_capacity(names.len());
        for (group, genes) in names {
            let Value::StrArray { values, .. } = genes else {
                return Err(broken(key, &format!("`names` has no texts for group `{group}`")));
            };
            let missing = |g: &String| if g == "nan" { String::new() } else { g.clone() };
            let n = values.len();
            groups.push(RankedGroup {
                name: group.clone(),
                genes: values.iter().map(missing).collect(),
                scores: number(Some(scores), "scores", group, n)?.unwrap_or_default(),
                logfoldchanges: number(optional(FOLDS), FOLDS, group, n)?,
                pvals: number(optional("pvals"), "pvals", group, n)?,
                pvals_adj: number(optional("pvals_adj"), "pvals_adj", group, n)?,
            });
        }
        if groups.is_empty() {
            return Err(broken(key, "there are no groups in it"));
        }
        let flag = value.at(&["params", "use_raw"]).and_then(Value::as_f64);
        Ok(Ranked {
            groupby: param("groupby").unwrap_or_default().to_string(),
            method: param("method").unwrap_or_default().to_string(),
            reference: param("reference").unwrap_or("rest").to_string(),
            use_raw: flag.is_some_and(|v| v != 0.0),
            layer: param("layer").map(str::to_string),
            groups,
        })
    }

    /// The group of that name.
    pub fn group(&self, name: &str) -> Result<&RankedGroup> {
        self.groups.iter().find(|g| g.name == name).ok_or_else(|| {
            Error::missing_key(
                "ranking of genes",
                "group",
                name,
                self.groups.iter().map(|g| &g.name),
            )
        })
    }
}

/// Where `rank_genes_groups` writes unless told otherwise.
pub(crate) const DEFAULT: &str = "rank_genes_groups";
const FOLDS: &str = "logfoldchanges";

fn broken(key: &str, reason: &str) -> Error {
    Error::data(format!("uns[\"{key}\"]"), format!("is no result of rank_genes_groups: {reason}"))
}

fn fields<'a>(value: &'a Value, key: &str, field: &str) -> Result<&'a Map<Value>> {
    match value.at(&[field]) {
        Some(Value::Record(m)) => Ok(m),
        _ => Err(broken(key, &format!("`{field}` is no table of the groups"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io;
    use std::path::Path;

    /// Written by scanpy 1.11.5 with `tests/python/pl_ranked.py`.
    fn stored() -> AnnData {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/pl/ranked.h5ad");
        io::read_h5ad(Path::new(path)).unwrap()
    }

    #[test]
    fn what_scanpy_wrote_is_read() {
        let r = Ranked::read(&stored(), DEFAULT).unwrap();
        assert_eq!((r.groupby.as_str(), r.method.as_str()), ("group", "wilcoxon"));
        assert_eq!((r.reference.as_str(), r.use_raw, r.layer.as_deref()), ("rest", false, None));
        let names: Vec<&str> = r.groups.iter().map(|g| g.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let b = r.group("b").unwrap();
        assert_eq!(b.genes, ["g1", "g3", "g4", "g2", "g0"]);
        assert!((b.scores[0] - 4.333_422).abs() < 1e-6);
        assert!((b.logfoldchanges.as_ref().unwrap()[0] - 2.188_504_9).abs() < 1e-6);
        assert!((b.pvals.as_ref().unwrap()[0] - 1.468_091_4e-5).abs() < 1e-11);
        assert!((b.pvals_adj.as_ref().unwrap()[1] - 0.190_964_7).abs() < 1e-6);
    }

    #[test]
    fn logistic_regression_has_scores_only() {
        let r = Ranked::read(&stored(), "logreg").unwrap();
        let a = r.group("a").unwrap();
        assert_eq!((a.genes.len(), a.scores.len()), (5, 5));
        assert_eq!((&a.pvals, &a.pvals_adj, &a.logfoldchanges), (&None, &None, &None));
    }

    #[test]
    fn what_is_absent_or_broken_is_named() {
        let mut a = stored();
        let e = Ranked::read(&a, "ranks").unwrap_err().to_string();
        assert!(e.contains("ranks") && e.contains("logreg, rank_genes_groups"), "{e}");
        let e = Ranked::read(&a, DEFAULT).unwrap().group("z").unwrap_err().to_string();
        assert!(e.contains("`z`") && e.contains("a, b, c"), "{e}");
        a.uns[DEFAULT].as_map_mut().unwrap().insert("scores".into(), Value::Null);
        assert!(Ranked::read(&a, DEFAULT).unwrap_err().to_string().contains("`scores`"));
        let e = Ranked::read(&AnnData::default(), DEFAULT).unwrap_err().to_string();
        assert!(e.contains("tl::rank_genes_groups"), "{e}");
    }
}
