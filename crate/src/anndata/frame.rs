//! [`Frame`]: the table behind `obs` and `var`.

use super::Values;
use super::index::Index;
use crate::error::{Error, Result};
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// A column of a [`Frame`].
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Numbers or booleans without missing values (a float's NaN aside).
    Values(Values),
    /// Numbers or booleans of which some are missing (pandas' nullable types): `missing[i]` says
    /// that element `i` is.
    Nullable {
        /// The elements; arbitrary where missing.
        values: Values,
        /// Which elements are missing.
        missing: Vec<bool>,
    },
    /// Text; `None` is missing.
    Str(Vec<Option<String>>),
    /// Categories.
    Categorical(Categorical),
}

/// Elements drawn from a short list of categories.
#[derive(Debug, Clone, PartialEq)]
pub struct Categorical {
    /// For each element its position in `categories`; -1 is missing.
    pub codes: Vec<i32>,
    /// The categories as text.
    pub categories: Vec<String>,
    /// The categories in their own type where that is not text (pandas allows numbers).
    pub typed: Option<Values>,
    /// Whether the order of the categories carries meaning.
    pub ordered: bool,
}

impl Categorical {
    /// From labels; the categories are the distinct labels in natural order (`L2` before `L10`).
    pub fn from_labels<S: AsRef<str>>(labels: &[Option<S>]) -> Self {
        let mut categories: Vec<String> =
            labels.iter().flatten().map(|s| s.as_ref().to_string()).collect();
        categories.sort_by(|a, b| natural(a, b));
        categories.dedup();
        let position: std::collections::HashMap<&str, i32> =
            categories.iter().enumerate().map(|(i, c)| (c.as_str(), i as i32)).collect();
        let code = |s: &Option<S>| s.as_ref().map_or(-1, |s| position[s.as_ref()]);
        let codes = labels.iter().map(code).collect();
        Categorical { codes, categories, typed: None, ordered: false }
    }

    /// From whole-number labels, e.g. clusters; the categories are their decimal texts.
    pub fn from_numbers(labels: &[usize]) -> Self {
        let labels: Vec<Option<String>> = labels.iter().map(|l| Some(l.to_string())).collect();
        Categorical::from_labels(&labels)
    }

    /// The label of element `i`, or `None` where it is missing.
    pub fn label(&self, i: usize) -> Option<&str> {
        usize::try_from(self.codes[i]).ok().map(|c| self.categories[c].as_str())
    }
}

/// Compares texts with runs of digits taken as numbers.
pub(crate) fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    fn key(s: &str) -> Vec<(u8, u64, &str)> {
        let mut out = Vec::new();
        let mut rest = s;
        while let Some(first) = rest.chars().next() {
            let digit = first.is_ascii_digit();
            let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
            let (part, tail) = rest.split_at(end);
            // A number too long for u64 is compared as text.
            out.push(match part.parse() {
                Ok(n) if digit => (0, n, part),
                _ => (1, 0, part),
            });
            rest = tail;
        }
        out
    }
    key(a).cmp(&key(b))
}

impl Column {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Column::Values(v) | Column::Nullable { values: v, .. } => v.len(),
            Column::Str(v) => v.len(),
            Column::Categorical(c) => c.codes.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// pandas' name of the type, e.g. `category` or `float32`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Column::Values(v) | Column::Nullable { values: v, .. } => v.dtype(),
            Column::Str(_) => "string",
            Column::Categorical(_) => "category",
        }
    }

    /// The elements at `indices`, in that order. Categories without elements are kept, so that
    /// codes and colours keep their meaning.
    pub fn take(&self, indices: &[usize]) -> Column {
        match self {
            Column::Values(v) => Column::Values(v.take(indices)),
            Column::Nullable { values, missing } => Column::Nullable {
                values: values.take(indices),
                missing: indices.iter().map(|&i| missing[i]).collect(),
            },
            Column::Str(v) => Column::Str(indices.iter().map(|&i| v[i].clone()).collect()),
            Column::Categorical(c) => Column::Categorical(Categorical {
                codes: indices.iter().map(|&i| c.codes[i]).collect(),
                ..c.clone()
            }),
        }
    }

    /// Element `i` as text, or `None` where it is missing (NaN included).
    pub fn text(&self, i: usize) -> Option<String> {
        match self {
            Column::Values(v) => Column::text_of(v, i),
            Column::Nullable { missing, .. } if missing[i] => None,
            Column::Nullable { values, .. } => Column::text_of(values, i),
            Column::Str(v) => v[i].clone(),
            Column::Categorical(c) => c.label(i).map(str::to_string),
        }
    }

    /// Number `i` as text, or `None` for NaN.
    pub(super) fn text_of(values: &Values, i: usize) -> Option<String> {
        match values {
            Values::Bool(v) => Some(v[i].to_string()),
            Values::F32(v) => (!v[i].is_nan()).then(|| v[i].to_string()),
            Values::I64(v) => Some(v[i].to_string()),
            Values::U64(v) => Some(v[i].to_string()),
            v => Some(v.get_f64(i)).filter(|x| !x.is_nan()).map(|x| x.to_string()),
        }
    }

    /// The elements as numbers (missing ones as NaN), or `None` for text and categories.
    pub fn to_f64(&self) -> Option<Vec<f64>> {
        match self {
            Column::Values(v) => Some(v.to_f64().into_owned()),
            Column::Nullable { values, missing } => {
                let v = values.to_f64();
                let nan_if = |(i, &x): (usize, &f64)| if missing[i] { f64::NAN } else { x };
                Some(v.iter().enumerate().map(nan_if).collect())
            }
            _ => None,
        }
    }

    /// The column as categories: itself, or the distinct texts of its elements in natural order.
    pub fn to_categorical(&self) -> Categorical {
        match self {
            Column::Categorical(c) => c.clone(),
            other => {
                let labels: Vec<_> = (0..other.len()).map(|i| other.text(i)).collect();
                Categorical::from_labels(&labels)
            }
        }
    }
}

impl<T> From<Vec<T>> for Column
where
    Values: From<Vec<T>>,
{
    fn from(v: Vec<T>) -> Self {
        Column::Values(v.into())
    }
}

impl From<Categorical> for Column {
    fn from(c: Categorical) -> Self {
        Column::Categorical(c)
    }
}

/// A table with named rows and ordered, named columns: `obs` and `var` of an
/// [`AnnData`](super::AnnData).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    index: Index,
    /// The name of the index itself, if the file has one other than `_index`.
    pub index_name: Option<String>,
    columns: IndexMap<String, Column>,
    /// Columns of text in pandas' own type for it (`string`) rather than as objects.
    strings: BTreeSet<String>,
}

impl Frame {
    /// A table with the given row names and no column.
    pub fn new(names: Vec<String>) -> Self {
        Frame { index: Index::named(names), ..Frame::default() }
    }

    /// A table with rows named `0`, `1`, …. No text is made until somebody asks for
    /// [`names`](Frame::names), so that millions of rows cost nothing.
    pub fn with_len(n: usize) -> Self {
        Frame { index: Index::counted(n), ..Frame::default() }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row names.
    pub fn names(&self) -> &[String] {
        self.index.texts()
    }

    /// The name of row `i`, without making those of all rows.
    pub(super) fn name(&self, i: usize) -> std::borrow::Cow<'_, str> {
        self.index.text(i)
    }

    /// Bytes that the names take.
    pub(super) fn index_nbytes(&self) -> usize {
        self.index.nbytes()
    }

    /// Gives the rows new names.
    ///
    /// # Errors
    /// [`Error::Shape`] when their number is not the number of rows.
    pub fn set_names(&mut self, names: Vec<String>) -> Result<()> {
        if names.len() != self.len() {
            return Err(Error::shape("row names", self.len(), names.len()));
        }
        self.index = Index::named(names);
        Ok(())
    }

    /// A table whose rows are numbered rather than named, as tables in `uns` may be.
    pub(crate) fn with_numbers(numbers: Values) -> Self {
        Frame { index: Index::numbered(numbers), ..Frame::default() }
    }

    /// The row names as the numbers they were in the file, if they were.
    pub(crate) fn numbers(&self) -> Option<&Values> {
        self.index.numbers()
    }

    /// The columns with their names, in order.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &Column)> {
        self.columns.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Whether there is a column `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.columns.contains_key(name)
    }

    /// The column `name`, if there is one.
    pub fn get(&self, name: &str) -> Option<&Column> {
        self.columns.get(name)
    }

    /// The column `name`, to change in place; its length must stay.
    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Column> {
        self.columns.get_mut(name)
    }

    /// The columns with their names, to change in place; their lengths must stay.
    pub(super) fn columns_mut(&mut self) -> impl Iterator<Item = (&str, &mut Column)> {
        self.columns.iter_mut().map(|(k, v)| (k.as_str(), v))
    }

    /// Adds or replaces the column `name`.
    ///
    /// # Errors
    /// [`Error::Shape`] when its length is not the number of rows.
    pub fn insert(&mut self, name: impl Into<String>, column: impl Into<Column>) -> Result<()> {
        let (name, column) = (name.into(), column.into());
        if column.len() != self.len() {
            return Err(Error::shape(format!("column `{name}`"), self.len(), column.len()));
        }
        // Text of which some is missing has no other type.
        if matches!(&column, Column::Str(texts) if texts.iter().any(Option::is_none)) {
            self.strings.insert(name.clone());
        } else {
            self.strings.remove(&name);
        }
        self.columns.insert(name, column);
        Ok(())
    }

    /// Adds or replaces a column of text in pandas' own type for it.
    pub(crate) fn insert_strings(&mut self, name: &str, texts: Column) -> Result<()> {
        self.insert(name, texts)?;
        self.strings.insert(name.into());
        Ok(())
    }

    /// Whether the column `name`, if it is text, is of pandas' own type for it.
    pub(crate) fn is_strings(&self, name: &str) -> bool {
        self.strings.contains(name)
    }

    /// Takes the column `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Column> {
        self.columns.shift_remove(name)
    }

    /// Takes over the row names of a table of as many rows.
    pub(super) fn set_names_of(&mut self, other: &Frame) {
        if self.len() == other.len() {
            self.index = other.index.clone();
        }
    }

    /// The rows with their names and nothing else.
    pub(super) fn without_columns(&self) -> Frame {
        let (index, index_name) = (self.index.clone(), self.index_name.clone());
        Frame { index, index_name, ..Frame::default() }
    }

    /// The rows at `indices`, in that order; a copy.
    pub fn take(&self, indices: &[usize]) -> Frame {
        Frame {
            index: self.index.take(indices),
            index_name: self.index_name.clone(),
            columns: self.columns.iter().map(|(k, c)| (k.clone(), c.take(indices))).collect(),
            strings: self.strings.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_come_in_natural_order() {
        let labels = [Some("L10"), Some("L2"), None, Some("WM"), Some("L2")];
        let c = Categorical::from_labels(&labels);
        assert_eq!(c.categories, ["L2", "L10", "WM"]);
        assert_eq!(c.codes, [1, 0, -1, 2, 0]);
        assert_eq!(c.label(2), None);
    }

    #[test]
    fn a_column_of_the_wrong_length_is_refused() {
        let mut f = Frame::with_len(3);
        assert!(f.insert("a", vec![1.0f64, 2.0]).is_err());
        f.insert("a", vec![1.0f64, f64::NAN, 2.5]).unwrap();
        assert_eq!(f.get("a").unwrap().text(1), None);
        assert_eq!(f.take(&[2]).get("a").unwrap().text(0).unwrap(), "2.5");
    }
}
