//! Categories: dropping, renaming, reordering and adding them, with their colours.
//!
//! Subsetting keeps categories that have no element left, so that codes and the colours in
//! `uns["<key>_colors"]` keep their meaning; here they are changed on purpose.

use super::{AnnData, Categorical, Column, Frame, Map, Value};
use crate::error::{Error, Result};
use std::collections::HashMap;

impl Categorical {
    /// The positions of the categories that have elements.
    fn used(&self) -> Vec<usize> {
        let mut used = vec![false; self.categories.len()];
        for &code in &self.codes {
            if let Ok(c) = usize::try_from(code) {
                used[c] = true;
            }
        }
        (0..used.len()).filter(|&c| used[c]).collect()
    }

    /// The same with only the categories at `keep`, in that order; elements of others are missing.
    fn with(&self, keep: &[usize]) -> Categorical {
        let mut new = vec![-1i32; self.categories.len()];
        for (to, &from) in keep.iter().enumerate() {
            new[from] = to as i32;
        }
        let code = |&code: &i32| usize::try_from(code).map_or(-1, |c| new[c]);
        Categorical {
            codes: self.codes.iter().map(code).collect(),
            categories: keep.iter().map(|&c| self.categories[c].clone()).collect(),
            typed: self.typed.as_ref().map(|t| t.take(keep)),
            ordered: self.ordered,
        }
    }

    /// Drops the categories that no element has.
    pub fn remove_unused(&mut self) {
        let used = self.used();
        if used.len() < self.categories.len() {
            *self = self.with(&used);
        }
    }

    /// Gives the categories new names, one for each in their order.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of names, [`Error::Parameter`] for a name given twice.
    pub fn rename(&mut self, names: &[&str]) -> Result<()> {
        if names.len() != self.categories.len() {
            return Err(Error::shape("names of categories", self.categories.len(), names.len()));
        }
        distinct(names)?;
        self.categories = names.iter().map(|s| s.to_string()).collect();
        self.typed = None;
        Ok(())
    }

    /// Puts the categories into another order.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless `names` holds every category once.
    pub fn reorder(&mut self, names: &[&str]) -> Result<()> {
        *self = self.with(&self.order_of(names)?);
        Ok(())
    }

    /// Where the categories called `names` are now.
    fn order_of(&self, names: &[&str]) -> Result<Vec<usize>> {
        distinct(names)?;
        let find = |n: &&str| self.categories.iter().position(|c| c == n);
        match names.iter().map(find).collect::<Option<Vec<usize>>>() {
            Some(order) if order.len() == self.categories.len() => Ok(order),
            _ => {
                let reason =
                    format!("must name each category once: {}", self.categories.join(", "));
                Err(Error::parameter("categories", names.join(", "), reason))
            }
        }
    }

    /// Adds categories, after those that there are; no element has them yet.
    ///
    /// # Errors
    /// [`Error::Parameter`] for one that exists already, or that is given twice.
    pub fn add(&mut self, names: &[&str]) -> Result<()> {
        distinct(names)?;
        if let Some(old) = names.iter().find(|n| self.categories.iter().any(|c| c == *n)) {
            return Err(Error::parameter("categories", old, "is a category already"));
        }
        self.categories.extend(names.iter().map(|s| s.to_string()));
        self.typed = None;
        Ok(())
    }
}

fn distinct(names: &[&str]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|n| !seen.insert(**n)) {
        Some(twice) => Err(Error::parameter("categories", twice, "is given twice")),
        None => Ok(()),
    }
}

impl AnnData {
    /// Drops the categories without elements from every column of `obs`, `var` and the tables in
    /// `obsm` and `varm`, and, for columns of `obs` and `var`, their colours from `uns["<key>_colors"]` (colours that are not one a category are dropped whole).
    /// Matches what anndata does to a subset when it copies it.
    pub fn remove_unused_categories(&mut self) {
        for frame in [&mut self.obs, &mut self.var] {
            for (name, column) in frame.columns_mut() {
                let Column::Categorical(c) = column else { continue };
                let (used, before) = (c.used(), c.categories.len());
                *c = c.with(&used);
                recolor(&mut self.uns, name, before, &used);
            }
        }
        for frame in self.obsm_frames.values_mut().chain(self.varm_frames.values_mut()) {
            for (_, column) in frame.columns_mut() {
                if let Column::Categorical(c) = column {
                    c.remove_unused();
                }
            }
        }
    }

    /// Gives the categories of the column `key` of `obs` (or else `var`) new names, one for each in
    /// their order; colours stay with their category. Matches anndata's `rename_categories`, with
    /// what scanpy wrote to `uns` left alone.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::Data`] when there is no such column of categories, and
    /// those of [`Categorical::rename`].
    pub fn rename_categories(&mut self, key: &str, names: &[&str]) -> Result<()> {
        self.categories_mut(key)?.rename(names)
    }

    /// Puts the categories of the column `key` of `obs` (or else `var`) into another order, and
    /// their colours with them.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::Data`] when there is no such column of categories, and
    /// those of [`Categorical::reorder`].
    pub fn reorder_categories(&mut self, key: &str, names: &[&str]) -> Result<()> {
        let c = self.categories_mut(key)?;
        let order = c.order_of(names)?;
        *c = c.with(&order);
        recolor(&mut self.uns, key, order.len(), &order);
        Ok(())
    }

    fn categories_mut(&mut self, key: &str) -> Result<&mut Categorical> {
        let columns = [&self.obs, &self.var].map(|f| f.columns().map(|(k, _)| k.to_string()));
        let names: Vec<String> = columns.into_iter().flatten().collect();
        let frame = if self.obs.contains(key) { &mut self.obs } else { &mut self.var };
        match frame.get_mut(key) {
            Some(Column::Categorical(c)) => Ok(c),
            Some(other) => {
                let reason = format!("is of type {}, not of categories", other.dtype());
                Err(Error::data(format!("column `{key}`"), reason))
            }
            None => Err(Error::missing_key("obs or var", "column", key, names)),
        }
    }

    /// Turns the text columns of `obs` and `var` that repeat themselves into categories in natural
    /// order; those in which every row is different stay text. Matches anndata 0.12, which does it
    /// when it writes a file.
    pub fn strings_to_categoricals(&mut self) {
        self.obs.strings_to_categoricals();
        self.var.strings_to_categoricals();
    }
}

impl Frame {
    /// Turns text columns that repeat themselves into categories; see
    /// [`AnnData::strings_to_categoricals`].
    pub fn strings_to_categoricals(&mut self) {
        for (_, column) in self.columns_mut() {
            let Column::Str(texts) = column else { continue };
            let c = Categorical::from_labels(texts);
            if c.categories.len() < texts.len() {
                *column = Column::Categorical(c);
            }
        }
    }
}

/// Takes the colours at `keep` where there is one for each of `n` categories; colours of another
/// number mean nothing and go.
fn recolor(uns: &mut Map<Value>, key: &str, n: usize, keep: &[usize]) {
    let key = format!("{key}_colors");
    if let Some(Value::StrArray { shape, values }) = uns.get_mut(&key) {
        if values.len() != n {
            uns.shift_remove(&key);
            return;
        }
        *values = keep.iter().map(|&c| values[c].clone()).collect();
        *shape = vec![values.len()];
    }
}

/// Where each of `names` comes first.
pub(super) fn first_places(names: &[String]) -> HashMap<&str, usize> {
    let mut at = HashMap::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        at.entry(name.as_str()).or_insert(i);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Values;

    fn slide() -> AnnData {
        let mut a = AnnData { obs: Frame::with_len(4), ..AnnData::default() };
        let labels = [Some("L1"), Some("L10"), None, Some("L2")];
        a.obs.insert("layer", Categorical::from_labels(&labels)).unwrap();
        a.obs.insert("area", vec![1i32, 2, 3, 4]).unwrap();
        a.uns.insert("layer_colors".into(), Value::strings(["red", "green", "blue"]));
        a
    }

    fn colors(a: &AnnData) -> Vec<String> {
        match &a.uns["layer_colors"] {
            Value::StrArray { values, .. } => values.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn unused_categories_go_with_their_colours_when_asked() {
        let mut a = slide();
        a.keep_obs([3, 1, 2]).unwrap();
        assert_eq!(a.obs_column("layer").unwrap().to_categorical().categories.len(), 3);
        a.remove_unused_categories();
        let c = a.obs_column("layer").unwrap().to_categorical();
        assert_eq!((c.categories, c.codes), (vec!["L2".into(), "L10".into()], vec![0, 1, -1]));
        assert_eq!(colors(&a), ["green", "blue"]);
        // Colours that are too many mean nothing.
        a.uns.insert("layer_colors".into(), Value::strings(["a", "b", "c"]));
        a.remove_unused_categories();
        assert!(!a.uns.contains_key("layer_colors"));
    }

    #[test]
    fn renaming_and_reordering_keep_elements_and_colours_together() {
        let mut a = slide();
        a.reorder_categories("layer", &["L10", "L1", "L2"]).unwrap();
        assert_eq!(colors(&a), ["blue", "red", "green"]);
        a.rename_categories("layer", &["ten", "one", "two"]).unwrap();
        let c = a.obs_column("layer").unwrap().to_categorical();
        let labels: Vec<_> = (0..4).map(|i| c.label(i)).collect();
        assert_eq!(labels, [Some("one"), Some("ten"), None, Some("two")]);
    }

    #[test]
    fn what_cannot_be_done_to_categories_is_said() {
        let mut a = slide();
        let e = a.rename_categories("layer", &["a", "b"]).unwrap_err().to_string();
        assert_eq!(e, "names of categories: expected 3, found 2");
        assert!(a.rename_categories("layer", &["a", "b", "a"]).is_err());
        let e = a.reorder_categories("layer", &["L1", "L2", "WM"]).unwrap_err().to_string();
        assert!(e.contains("L1, L2, L10"), "{e}");
        assert!(a.reorder_categories("area", &[]).unwrap_err().to_string().contains("int32"));
        let e = a.rename_categories("laier", &[]).unwrap_err().to_string();
        assert!(e.contains("layer, area"), "{e}");
        let mut c = a.obs_column("layer").unwrap().to_categorical();
        assert!(c.add(&["L1"]).is_err());
        c.add(&["WM"]).unwrap();
        assert_eq!(c.categories, ["L1", "L2", "L10", "WM"]);
    }

    #[test]
    fn numbers_as_categories_keep_their_type_when_some_go() {
        let typed = Some(Values::I64(vec![10, 20, 30]));
        let categories = ["10", "20", "30"].map(String::from).to_vec();
        let mut c = Categorical { codes: vec![2, 0, -1], categories, typed, ordered: true };
        c.remove_unused();
        assert_eq!(c.typed, Some(Values::I64(vec![10, 30])));
        assert_eq!((c.codes, c.ordered), (vec![1, 0, -1], true));
    }

    #[test]
    fn texts_that_repeat_become_categories() {
        let mut a = slide();
        let texts = |v: [Option<&str>; 4]| Column::Str(v.map(|t| t.map(String::from)).to_vec());
        a.obs.insert("side", texts([Some("b10"), Some("b9"), Some("b10"), None])).unwrap();
        a.obs.insert("id", texts([Some("a"), Some("b"), Some("c"), Some("d")])).unwrap();
        a.strings_to_categoricals();
        let side = a.obs_column("side").unwrap();
        assert_eq!(side.dtype(), "category");
        assert_eq!(side.to_categorical().categories, ["b9", "b10"]);
        assert_eq!(a.obs_column("id").unwrap().dtype(), "string");
    }
}
