//! [`StoredTree`]: what `tl::dendrogram` (ours or scanpy's) left in `uns`.

use super::tree::Tree;
use crate::anndata::{AnnData, Value};
use crate::error::{Error, Result};
use ndarray::Array2;

/// A clustering of groups of cells.
#[derive(Debug, Clone)]
pub(super) struct StoredTree {
    /// Its key in `uns`.
    pub key: String,
    /// The columns of `obs` that make the groups.
    pub groupby: Vec<String>,
    /// The groups from one end of the tree to the other.
    pub ordered: Vec<String>,
    /// Their places among the categories.
    pub index: Vec<usize>,
    pub tree: Tree,
    /// In the order of the categories.
    pub correlation: Option<Array2<f64>>,
}

impl StoredTree {
    /// Reads `uns[key]`, or `uns["dendrogram_<columns>"]` where there is no key.
    pub fn read(adata: &AnnData, key: Option<&str>, columns: &[String]) -> Result<StoredTree> {
        let default = format!("dendrogram_{}", columns.join("_"));
        let key = key.unwrap_or(&default);
        let Some(value) = adata.uns.get(key) else {
            let is = |v: &Value| v.at(&["linkage"]).is_some();
            let stored: Vec<&String> =
                adata.uns.iter().filter(|(_, v)| is(v)).map(|(k, _)| k).collect();
            if stored.is_empty() {
                let reason = "is absent: run `tl::dendrogram` first";
                return Err(Error::data(format!("uns[\"{key}\"]"), reason));
            }
            return Err(Error::missing_key("uns", "dendrogram", key, stored));
        };
        let broken = |reason: &str| {
            Error::data(format!("uns[\"{key}\"]"), format!("is no dendrogram: {reason}"))
        };
        let ordered = texts(value.at(&["categories_ordered"]))
            .ok_or_else(|| broken("`categories_ordered` is no list of groups"))?;
        let groupby = texts(value.at(&["groupby"]))
            .ok_or_else(|| broken("`groupby` is no list of columns"))?;
        let table = |name: &str| match value.at(&[name]) {
            Some(Value::Array { shape, values }) if shape.len() == 2 => {
                Array2::from_shape_vec((shape[0], shape[1]), values.to_f64().into_owned()).ok()
            }
            Some(Value::Matrix(m)) => Some(m.to_array_f64()),
            _ => None,
        };
        let linkage = table("linkage").filter(|l| l.ncols() == 4);
        let linkage = linkage.ok_or_else(|| broken("`linkage` is no table of 4 columns"))?;
        let rows: Vec<[f64; 4]> =
            linkage.rows().into_iter().map(|r| [r[0], r[1], r[2], r[3]]).collect();
        let tree = Tree::new(&rows)?;
        if tree.leaves.len() != ordered.len() {
            let reason =
                format!("`linkage` has {} groups, not {}", tree.leaves.len(), ordered.len());
            return Err(broken(&reason));
        }
        let k = ordered.len();
        let index = match value.at(&["categories_idx_ordered"]) {
            Some(Value::Array { values, .. }) if values.len() == k => {
                values.to_f64().iter().map(|&v| v as usize).collect()
            }
            _ => tree.leaves.clone(),
        };
        let correlation = table("correlation_matrix").filter(|c| c.dim() == (k, k));
        let mut named = vec![false; k];
        if index.iter().any(|&i| i >= k || std::mem::replace(&mut named[i], true)) {
            return Err(broken("`categories_idx_ordered` does not name every group once"));
        }
        Ok(StoredTree { key: key.to_string(), groupby, ordered, index, tree, correlation })
    }

    /// The places of `names` in the order of the tree, which must be made of the same groups.
    pub fn order(&self, names: &[String], columns: &[String]) -> Result<Vec<usize>> {
        let again = |reason: String| {
            let what = format!("uns[\"{}\"]", self.key);
            Error::data(what, format!("{reason}; run `tl::dendrogram` again"))
        };
        if !columns.is_empty() && self.groupby != columns {
            let (theirs, ours) = (self.groupby.join(", "), columns.join(", "));
            return Err(again(format!("was made for {theirs}, not for {ours}")));
        }
        let place = |n: &String| names.iter().position(|m| m == n);
        let order: Option<Vec<usize>> = self.ordered.iter().map(place).collect();
        match order {
            Some(order) if order.len() == names.len() => Ok(order),
            _ => Err(again(format!(
                "has {} groups ({}), the figure has {} ({})",
                self.ordered.len(),
                few(&self.ordered),
                names.len(),
                few(names)
            ))),
        }
    }
}

fn few(names: &[String]) -> String {
    let shown = names[..names.len().min(5)].join(", ");
    if names.len() > 5 { format!("{shown}, …") } else { shown }
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::StrArray { values, .. } => Some(values.clone()),
        Value::Str(s) => Some(vec![s.clone()]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io;
    use std::path::Path;

    fn stored() -> AnnData {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/pl/ranked.h5ad");
        io::read_h5ad(Path::new(path)).unwrap()
    }

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_scanpy_wrote_is_read() {
        let t = StoredTree::read(&stored(), None, &names(&["group"])).unwrap();
        assert_eq!(t.ordered, ["b", "a", "c"]);
        assert_eq!(
            (t.index.as_slice(), t.tree.leaves.as_slice()),
            ([1, 0, 2].as_slice(), [1, 0, 2].as_slice())
        );
        let c = t.correlation.as_ref().unwrap();
        assert!((c[[0, 0]] - 1.0).abs() < 1e-9 && (c[[0, 2]] - c[[2, 0]]).abs() < 1e-9);
        assert_eq!(t.order(&names(&["a", "b", "c"]), &names(&["group"])).unwrap(), [1, 0, 2]);
    }

    #[test]
    fn a_tree_of_other_groups_is_refused() {
        let a = stored();
        let t = StoredTree::read(&a, None, &names(&["group"])).unwrap();
        for (groups, columns) in
            [(&["a", "b"][..], "group"), (&["a", "b", "d"], "group"), (&["a", "b", "c"], "other")]
        {
            let e = t.order(&names(groups), &names(&[columns])).unwrap_err().to_string();
            assert!(e.contains("tl::dendrogram"), "{e}");
        }
    }

    #[test]
    fn what_is_absent_or_broken_is_named() {
        let mut a = stored();
        let e = StoredTree::read(&a, None, &names(&["layer"])).unwrap_err().to_string();
        assert!(e.contains("dendrogram_layer") && e.contains("dendrogram_group"), "{e}");
        let e = StoredTree::read(&AnnData::default(), Some("d"), &[]).unwrap_err().to_string();
        assert!(e.contains("tl::dendrogram"), "{e}");
        for wrong in [vec![1.0, 0.0, 1.0], vec![1.0, 0.0, 3.0], vec![f64::NAN, 0.0, 1.0]] {
            let wrong = Value::Array { shape: vec![3], values: wrong.into() };
            let map = a.uns["dendrogram_group"].as_map_mut().unwrap();
            map.insert("categories_idx_ordered".into(), wrong);
            let e = StoredTree::read(&a, None, &names(&["group"])).unwrap_err().to_string();
            assert!(e.contains("does not name every group once"), "{e}");
        }
        let map = a.uns["dendrogram_group"].as_map_mut().unwrap();
        map.insert("linkage".into(), Value::float(1.0));
        let e = StoredTree::read(&a, None, &names(&["group"])).unwrap_err().to_string();
        assert!(e.contains("linkage"), "{e}");
    }
}
