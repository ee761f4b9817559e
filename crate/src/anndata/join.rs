//! Joining a table to `obs` or `var` by the names of the rows.

use super::categories::first_places;
use super::{AnnData, Column, Frame, Values};
use crate::error::{Error, Result};

/// Which rows stay when a table is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum How {
    /// All rows; those that the table does not know get missing values.
    #[default]
    Left,
    /// Only rows that the table knows.
    Inner,
}

/// What a join found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// Rows that found their match.
    pub matched: usize,
    /// Rows without a match; with [`How::Inner`] they are gone.
    pub unmatched: usize,
    /// Rows of the joined table that nobody asked for.
    pub unused: usize,
}

impl Frame {
    /// Adds the columns of `other`, row by row of the same name. Matches `DataFrame.join` of pandas
    /// for names that `other` holds once, with one difference: numbers and booleans with missing
    /// rows become nullable (`Int64`-like) instead of floats or objects, so that no digit is lost;
    /// floats get NaN.
    ///
    /// # Errors
    /// [`Error::Data`] when a column exists on both sides, when `other` has two rows of one name, or
    /// when no name is found at all (with one of either side, so that a wrong suffix shows).
    pub fn join(&mut self, other: &Frame, how: How) -> Result<Joined> {
        let (keep, joined) = self.joining(other, how)?;
        if let Some(keep) = keep {
            *self = self.take(&keep);
        }
        self.append(other)?;
        Ok(joined)
    }

    /// Checks a join; also gives the rows to keep where they are not all of them.
    fn joining(&self, other: &Frame, how: How) -> Result<(Option<Vec<usize>>, Joined)> {
        if let Some((twice, _)) = other.columns().find(|(name, _)| self.contains(name)) {
            let reason = "is in both tables; remove or rename one of them";
            return Err(Error::data(format!("column `{twice}`"), reason));
        }
        let at = first_places(other.names());
        if at.len() < other.len() {
            let names = other.names().iter().enumerate();
            let twice = names.filter(|(i, n)| at[n.as_str()] != *i).map(|(_, n)| n).next();
            let reason = format!(
                "the joined table has two rows called `{}`",
                twice.map_or("", String::as_str)
            );
            return Err(Error::data("join", reason));
        }
        let names = self.names();
        let keep: Vec<usize> =
            (0..names.len()).filter(|&i| at.contains_key(names[i].as_str())).collect();
        if keep.is_empty() && !self.is_empty() && !other.is_empty() {
            let reason = format!(
                "none of the {} rows is named as one of the joined table (`{}` here, `{}` there)",
                self.len(),
                names[0],
                other.names()[0],
            );
            return Err(Error::data("join", reason));
        }
        let (matched, unmatched) = (keep.len(), self.len() - keep.len());
        let distinct = first_places(names).into_keys().filter(|n| at.contains_key(n)).count();
        let joined = Joined { matched, unmatched, unused: other.len() - distinct };
        Ok(((how == How::Inner && unmatched > 0).then_some(keep), joined))
    }

    /// Adds the columns of `other` to the rows of the same name.
    fn append(&mut self, other: &Frame) -> Result<()> {
        let at = first_places(other.names());
        let rows: Vec<Option<usize>> =
            self.names().iter().map(|n| at.get(n.as_str()).copied()).collect();
        other.columns().try_for_each(|(name, c)| self.insert(name, c.pick(&rows)))
    }
}

impl AnnData {
    /// Joins a table to `obs` by the names of the observations; [`How::Inner`] drops observations
    /// that the table does not know, in every slot. See [`Frame::join`].
    ///
    /// # Errors
    /// As [`Frame::join`]; nothing is changed then.
    pub fn join_obs(&mut self, table: &Frame, how: How) -> Result<Joined> {
        let (keep, joined) = self.obs.joining(table, how)?;
        if let Some(keep) = keep {
            self.retain(Some(&keep), None);
        }
        self.obs.append(table)?;
        Ok(joined)
    }

    /// Joins a table to `var` by the names of the variables, as [`join_obs`](AnnData::join_obs).
    ///
    /// # Errors
    /// As [`Frame::join`]; nothing is changed then.
    pub fn join_var(&mut self, table: &Frame, how: How) -> Result<Joined> {
        let (keep, joined) = self.var.joining(table, how)?;
        if let Some(keep) = keep {
            self.retain(None, Some(&keep));
        }
        self.var.append(table)?;
        Ok(joined)
    }
}

impl Column {
    /// The elements at `rows`; `None` gives a missing one.
    pub(super) fn pick(&self, rows: &[Option<usize>]) -> Column {
        if let Some(all) = rows.iter().copied().collect::<Option<Vec<usize>>>() {
            return self.take(&all);
        }
        match self {
            Column::Values(Values::F32(v)) => Column::Values(Values::F32(
                rows.iter().map(|r| r.map_or(f32::NAN, |i| v[i])).collect(),
            )),
            Column::Values(Values::F64(v)) => Column::Values(Values::F64(
                rows.iter().map(|r| r.map_or(f64::NAN, |i| v[i])).collect(),
            )),
            Column::Values(values) => {
                let missing = rows.iter().map(Option::is_none).collect();
                Column::Nullable { values: values.pick(rows), missing }
            }
            Column::Nullable { values, missing } => Column::Nullable {
                values: values.pick(rows),
                missing: rows.iter().map(|r| r.is_none_or(|i| missing[i])).collect(),
            },
            Column::Str(v) => {
                Column::Str(rows.iter().map(|r| r.and_then(|i| v[i].clone())).collect())
            }
            Column::Categorical(c) => {
                let codes = rows.iter().map(|r| r.map_or(-1, |i| c.codes[i])).collect();
                let (categories, typed) = (c.categories.clone(), c.typed.clone());
                super::Categorical { codes, categories, typed, ordered: c.ordered }.into()
            }
        }
    }
}

impl Values {
    /// The elements at `rows`; `None` gives 0 or `false`.
    fn pick(&self, rows: &[Option<usize>]) -> Values {
        super::values::same_type!(self, v => {
            rows.iter().map(|r| r.map_or(Default::default(), |i| v[i])).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;

    fn named(names: &[&str]) -> Frame {
        Frame::new(names.iter().map(|s| s.to_string()).collect())
    }

    fn table() -> Frame {
        let mut t = named(&["c", "a", "z"]);
        t.insert("n", vec![9_007_199_254_740_993i64, 1, 2]).unwrap();
        t.insert("area", vec![0.5f32, 1.5, 2.5]).unwrap();
        t.insert("layer", Categorical::from_labels(&[Some("L1"), None, Some("L2")])).unwrap();
        t.insert("ok", vec![true, false, true]).unwrap();
        t
    }

    #[test]
    fn rows_find_each_other_by_name() {
        let mut f = named(&["a", "b", "c"]);
        let joined = f.join(&table(), How::Left).unwrap();
        assert_eq!(joined, Joined { matched: 2, unmatched: 1, unused: 1 });
        let text = |c: &str| (0..3).map(|i| f.get(c).unwrap().text(i)).collect::<Vec<_>>();
        let some = |t: &str| Some(t.to_string());
        assert_eq!(text("n"), [some("1"), None, some("9007199254740993")]);
        assert_eq!(text("area"), [some("1.5"), None, some("0.5")]);
        assert_eq!(text("layer"), [None, None, some("L1")]);
        assert_eq!(text("ok"), [some("false"), None, some("true")]);
        assert_eq!(f.get("area").unwrap().dtype(), "float32");
        assert_eq!(f.len(), 3);
    }

    #[test]
    fn an_inner_join_drops_what_has_no_match_everywhere() {
        let x = ndarray::array![[1f32], [2.], [3.]];
        let mut a = AnnData::new(x, named(&["a", "b", "c"]), named(&["g"])).unwrap();
        a.join_obs(&table(), How::Inner).unwrap();
        a.check().unwrap();
        assert_eq!(a.obs.names(), ["a", "c"]);
        assert_eq!(a.x().unwrap().column_f32(0), [1., 3.]);
        assert_eq!(a.obs_column("n").unwrap().dtype(), "int64");
        let mut genes = named(&["g"]);
        genes.insert("id", vec![7u8]).unwrap();
        assert_eq!(a.join_var(&genes, How::Left).unwrap().matched, 1);
    }

    #[test]
    fn joins_that_make_no_sense_change_nothing() {
        let mut f = named(&["a-1", "b-1"]);
        let e = f.join(&table(), How::Left).unwrap_err().to_string();
        assert!(e.contains("`a-1` here, `c` there"), "{e}");
        let mut f = named(&["a"]);
        f.insert("n", vec![1u8]).unwrap();
        let e = f.join(&table(), How::Left).unwrap_err().to_string();
        assert!(e.starts_with("column `n`: is in both tables"), "{e}");
        let e = named(&["a"]).join(&named(&["a", "b", "b"]), How::Inner).unwrap_err().to_string();
        assert!(e.contains("two rows called `b`"), "{e}");
        assert_eq!(f.columns().len(), 1);
    }
}
