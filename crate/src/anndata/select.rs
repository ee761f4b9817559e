//! [`Select`]: which observations or variables are meant, said in whatever way is at hand.

use super::{Column, Frame};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A choice of observations or variables: everything that [`AnnData::select`] takes converts into
/// it.
///
/// | written as | meaning |
/// |---|---|
/// | `..` | all of them |
/// | `10..20`, `..100`, `5..` | a run of positions |
/// | `7`, `[0, 2, 2]`, `Vec<usize>`, `&[usize]` | positions, in that order, repeated if asked for |
/// | `Vec<bool>`, `&[bool]` | those whose mask is true |
/// | `"MBP"`, `["MBP", "PCP4"]`, `Vec<String>`, `&[String]` | names, in that order |
///
/// [`AnnData::select`]: super::AnnData::select
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// Positions from the first (inclusive) to the second (exclusive; `None` is the end).
    Run(usize, Option<usize>),
    /// Positions, in that order.
    At(Vec<usize>),
    /// For each whether it is chosen.
    Mask(Vec<bool>),
    /// Names, in that order.
    Names(Vec<String>),
}

impl From<RangeFull> for Select {
    fn from(_: RangeFull) -> Self {
        Select::Run(0, None)
    }
}

impl From<Range<usize>> for Select {
    fn from(r: Range<usize>) -> Self {
        Select::Run(r.start, Some(r.end))
    }
}

impl From<RangeFrom<usize>> for Select {
    fn from(r: RangeFrom<usize>) -> Self {
        Select::Run(r.start, None)
    }
}

impl From<RangeTo<usize>> for Select {
    fn from(r: RangeTo<usize>) -> Self {
        Select::Run(0, Some(r.end))
    }
}

impl From<RangeInclusive<usize>> for Select {
    fn from(r: RangeInclusive<usize>) -> Self {
        Select::Run(*r.start(), Some(r.end().saturating_add(1)))
    }
}

impl From<RangeToInclusive<usize>> for Select {
    fn from(r: RangeToInclusive<usize>) -> Self {
        Select::Run(0, Some(r.end.saturating_add(1)))
    }
}

impl From<usize> for Select {
    fn from(position: usize) -> Self {
        Select::At(vec![position])
    }
}

impl From<&str> for Select {
    fn from(name: &str) -> Self {
        Select::Names(vec![name.into()])
    }
}

/// Lists in each of the shapes that a notebook has them in.
macro_rules! lists {
    ($($item:ty => $variant:ident, $convert:expr;)*) => {
        $(
            impl From<Vec<$item>> for Select {
                fn from(v: Vec<$item>) -> Self {
                    Select::$variant(v.into_iter().map($convert).collect())
                }
            }
            impl From<&Vec<$item>> for Select {
                fn from(v: &Vec<$item>) -> Self {
                    v.clone().into()
                }
            }
            impl From<&[$item]> for Select {
                fn from(v: &[$item]) -> Self {
                    v.to_vec().into()
                }
            }
            impl<const N: usize> From<[$item; N]> for Select {
                fn from(v: [$item; N]) -> Self {
                    v.to_vec().into()
                }
            }
            impl<const N: usize> From<&[$item; N]> for Select {
                fn from(v: &[$item; N]) -> Self {
                    v.to_vec().into()
                }
            }
        )*
    };
}

lists! {
    usize => At, |i| i;
    bool => Mask, |b| b;
    String => Names, |s| s;
    &str => Names, String::from;
}

impl Select {
    /// The positions that are meant on the axis `slot` (`obs` or `var`) whose table is `frame`;
    /// `None` is all of them in their order.
    pub(crate) fn positions(self, slot: &'static str, frame: &Frame) -> Result<Option<Vec<usize>>> {
        let n = frame.len();
        match self {
            Select::Run(0, None) => Ok(None),
            Select::Run(start, end) => {
                let end = end.unwrap_or(n.max(start));
                if start > end || end > n {
                    let reason = format!("must rise and lie within the {n} rows of {slot}");
                    return Err(Error::parameter("range", format!("{start}..{end}"), reason));
                }
                Ok((start > 0 || end < n).then(|| (start..end).collect()))
            }
            Select::At(positions) => match positions.iter().find(|&&i| i >= n) {
                None => Ok(Some(positions)),
                Some(bad) if n == 0 => {
                    Err(Error::parameter("position", bad, format!("{slot} is empty")))
                }
                Some(bad) => {
                    let reason = format!("{slot} has positions 0 to {}", n - 1);
                    Err(Error::parameter("position", bad, reason))
                }
            },
            Select::Mask(mask) if mask.len() != n => {
                Err(Error::shape(format!("mask for {slot}"), n, mask.len()))
            }
            Select::Mask(mask) => Ok(Some((0..n).filter(|&i| mask[i]).collect())),
            Select::Names(names) => frame.positions(slot, &names).map(Some),
        }
    }
}

impl Frame {
    /// Where each of `names` is among the row names of the table called `slot`.
    pub(super) fn positions(&self, slot: &'static str, names: &[String]) -> Result<Vec<usize>> {
        if let [one] = names {
            return self.position(slot, one).map(|i| vec![i]);
        }
        const TWICE: usize = usize::MAX;
        let mut at: HashMap<&str, usize> = HashMap::with_capacity(self.len());
        for (i, name) in self.names().iter().enumerate() {
            at.entry(name).and_modify(|i| *i = TWICE).or_insert(i);
        }
        let find = |name: &String| match at.get(name.as_str()) {
            Some(&i) if i != TWICE => Ok(i),
            _ => self.position(slot, name),
        };
        names.iter().map(find).collect()
    }

    /// The row of that name in the table called `slot`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing names that are alike, [`Error::Data`] for a name that several
    /// rows have.
    pub(crate) fn position(&self, slot: &'static str, name: &str) -> Result<usize> {
        let mut found = (0..self.len()).filter(|&i| self.names()[i] == name);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Error::missing_key(slot, "name", name, self.alike(name))),
            (Some(first), Some(second)) => {
                let n = 2 + found.count();
                let reason = format!(
                    "{n} rows of {slot} have this name (the first are {first} and {second}). Select \
                     by position, or make the names unique with `{slot}_names_make_unique`"
                );
                Err(Error::data(format!("name `{name}`"), reason))
            }
        }
    }

    /// Row names that somebody who wrote `name` may have meant; some names where none is alike.
    fn alike(&self, name: &str) -> Vec<&String> {
        let lower = name.to_lowercase();
        let stem: String = lower.chars().take(3).collect();
        let alike = |n: &&String| n.to_lowercase().starts_with(&stem);
        let mut names: Vec<&String> = self.names().iter().filter(alike).take(1000).collect();
        names.sort_by_key(|n| {
            let n = n.to_lowercase();
            let common = n.chars().zip(lower.chars()).take_while(|(a, b)| a == b).count();
            (n != lower, std::cmp::Reverse(common))
        });
        names.truncate(10);
        if names.is_empty() {
            names = self.names().iter().take(5).collect();
        }
        names
    }

    fn column(&self, name: &str) -> Result<&Column> {
        let names = || self.columns().map(|(k, _)| k);
        self.get(name).ok_or_else(|| Error::missing_key("table", "column", name, names()))
    }

    /// For each row whether the text of `column` fulfils a condition; a missing value never does.
    ///
    /// ```
    /// # use spatialkit::anndata::{Categorical, Frame};
    /// # let mut obs = Frame::with_len(3);
    /// # obs.insert("layer", Categorical::from_labels(&[Some("L1"), Some("WM"), None]))?;
    /// assert_eq!(obs.mask("layer", |l| l.starts_with('L'))?, [true, false, false]);
    /// # Ok::<(), spatialkit::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are.
    pub fn mask(&self, column: &str, condition: impl Fn(&str) -> bool) -> Result<Vec<bool>> {
        self.column(column).map(|c| c.mask(&condition))
    }

    /// For each row whether the number in `column` fulfils a condition (booleans are 0 and 1); a
    /// missing value never does.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are, [`Error::Data`] for a column of text.
    pub fn mask_by(&self, column: &str, condition: impl Fn(f64) -> bool) -> Result<Vec<bool>> {
        let Some(numbers) = self.column(column)?.to_f64() else {
            let reason = "holds text, not numbers; use `mask` or `equals`";
            return Err(Error::data(format!("column `{column}`"), reason));
        };
        Ok(numbers.into_iter().map(|x| !x.is_nan() && condition(x)).collect())
    }

    /// For each row whether `column` holds this text (of a number: its shortest one).
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the columns there are; [`Error::Data`] listing the categories
    /// when the column is of categories and `value` is none of them.
    pub fn equals(&self, column: &str, value: &str) -> Result<Vec<bool>> {
        self.is_in(column, &[value])
    }

    /// For each row whether `column` holds one of these texts.
    ///
    /// # Errors
    /// As [`equals`](Frame::equals).
    pub fn is_in(&self, column: &str, values: &[&str]) -> Result<Vec<bool>> {
        let found = self.column(column)?;
        if let Column::Categorical(c) = found
            && let Some(bad) = values.iter().find(|v| !c.categories.iter().any(|c| c == *v))
        {
            let reason = format!("has no category `{bad}`; it has: {}", c.categories.join(", "));
            return Err(Error::data(format!("column `{column}`"), reason));
        }
        Ok(found.mask(&|text| values.contains(&text)))
    }
}

impl Column {
    fn mask(&self, condition: &dyn Fn(&str) -> bool) -> Vec<bool> {
        match self {
            Column::Categorical(c) => {
                let fulfilled: Vec<bool> = c.categories.iter().map(|c| condition(c)).collect();
                let of = |&code: &i32| usize::try_from(code).is_ok_and(|c| fulfilled[c]);
                c.codes.iter().map(of).collect()
            }
            Column::Str(v) => v.iter().map(|t| t.as_deref().is_some_and(condition)).collect(),
            _ => (0..self.len()).map(|i| self.text(i).is_some_and(|t| condition(&t))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;

    fn genes() -> Frame {
        let names = ["MBP", "PCP4", "Mbp", "MT-CO1", "PCP4"].map(String::from).to_vec();
        let mut f = Frame::new(names);
        let layer = [Some("L1"), None, Some("WM"), Some("L1"), Some("L2")];
        f.insert("layer", Categorical::from_labels(&layer)).unwrap();
        f.insert("n", vec![1.5f64, f64::NAN, 3.0, 4.0, 5.0]).unwrap();
        f
    }

    fn positions(s: impl Into<Select>) -> Result<Option<Vec<usize>>> {
        s.into().positions("var", &genes())
    }

    #[test]
    fn all_ways_of_saying_it_mean_the_same() {
        let expected = Some(vec![0, 3]);
        assert_eq!(positions([0, 3]).unwrap(), expected);
        assert_eq!(positions(&[0usize, 3][..]).unwrap(), expected);
        assert_eq!(positions(vec![true, false, false, true, false]).unwrap(), expected);
        assert_eq!(positions(["MBP", "MT-CO1"]).unwrap(), expected);
        assert_eq!(positions(vec!["MBP".to_string(), "MT-CO1".into()]).unwrap(), expected);
        assert_eq!(positions(1..3).unwrap(), Some(vec![1, 2]));
        assert_eq!(positions(1..=3).unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(positions(3..).unwrap(), Some(vec![3, 4]));
        assert_eq!(positions(..2).unwrap(), Some(vec![0, 1]));
        assert_eq!(positions("Mbp").unwrap(), Some(vec![2]));
        for all in [Select::from(..), Select::from(0..5), Select::from(..=4)] {
            assert_eq!(positions(all).unwrap(), None);
        }
        assert_eq!(positions(5..5).unwrap(), Some(vec![]));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_does() {
        let said = |s: Select| positions(s).unwrap_err().to_string();
        assert_eq!(said([5].into()), "position = 5: var has positions 0 to 4");
        assert!(said((2..6).into()).contains("within the 5 rows of var"));
        assert!(said((6..).into()).contains("6..6"));
        assert_eq!(said([true].as_slice().into()), "mask for var: expected 5, found 1");
        assert_eq!(said(["MBP", "mbp"].into()), "var has no name `mbp`; it has: MBP, Mbp");
        let twice = said(["MBP", "PCP4"].into());
        assert!(twice.contains("2 rows of var") && twice.contains("1 and 4"), "{twice}");
        let e = Select::from(0).positions("obs", &Frame::default()).unwrap_err().to_string();
        assert_eq!(e, "position = 0: obs is empty");
    }

    #[test]
    fn masks_leave_missing_values_out() {
        let f = genes();
        assert_eq!(f.equals("layer", "L1").unwrap(), [true, false, false, true, false]);
        assert_eq!(f.is_in("layer", &["L2", "WM"]).unwrap(), [false, false, true, false, true]);
        assert_eq!(f.mask("layer", |l| l != "L1").unwrap(), [false, false, true, false, true]);
        assert_eq!(f.mask_by("n", |x| x < 4.0).unwrap(), [true, false, true, false, false]);
        assert_eq!(f.equals("n", "1.5").unwrap(), [true, false, false, false, false]);
        let e = f.equals("layer", "l1").unwrap_err().to_string();
        assert!(e.contains("has no category `l1`; it has: L1, L2, WM"), "{e}");
        assert!(f.mask_by("layer", |_| true).is_err());
        assert!(f.mask("area", |_| true).unwrap_err().to_string().contains("layer, n"));
    }
}
