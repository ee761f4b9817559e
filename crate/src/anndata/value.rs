//! [`Value`]: what `uns` holds.

use super::{Frame, Matrix, Values};
use indexmap::IndexMap;

/// An ordered map from names to whatever.
pub type Map<T> = IndexMap<String, T>;

/// A value of `uns`: scalars, arrays, text, tables, and maps of those.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Python's `None`.
    Null,
    /// Text.
    Str(String),
    /// An array of numbers in row-major order; a scalar has an empty shape.
    Array {
        /// Length of each axis.
        shape: Vec<usize>,
        /// The elements.
        values: Values,
    },
    /// An array of texts in row-major order.
    StrArray {
        /// Length of each axis.
        shape: Vec<usize>,
        /// The elements.
        values: Vec<String>,
    },
    /// A sparse matrix.
    Matrix(Matrix),
    /// A column on its own (categories, nullable numbers).
    Column(super::Column),
    /// A table.
    Frame(Frame),
    /// A table of fields with their own types, as numpy's record arrays
    /// (`rank_genes_groups` holds such).
    Record(Map<Value>),
    /// A map.
    Map(Map<Value>),
}

impl Value {
    /// A whole number.
    pub fn int(x: i64) -> Self {
        Value::Array { shape: vec![], values: Values::I64(vec![x]) }
    }

    /// A floating-point number.
    pub fn float(x: f64) -> Self {
        Value::Array { shape: vec![], values: Values::F64(vec![x]) }
    }

    /// A list of texts.
    pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        let values: Vec<String> = items.into_iter().map(Into::into).collect();
        Value::StrArray { shape: vec![values.len()], values }
    }

    /// The entry at a path of names through nested maps.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        match (path, self) {
            ([], v) => Some(v),
            ([first, rest @ ..], Value::Map(m)) => m.get(*first)?.at(rest),
            _ => None,
        }
    }

    /// The number, if it is a scalar one (or an array of one element).
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Array { values, .. } if values.len() == 1 => Some(values.get_f64(0)),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The map, if it is one.
    pub fn as_map(&self) -> Option<&Map<Value>> {
        match self {
            Value::Map(m) => Some(m),
            _ => None,
        }
    }

    /// The table, if it is one.
    pub fn as_frame(&self) -> Option<&Frame> {
        match self {
            Value::Frame(f) => Some(f),
            _ => None,
        }
    }

    /// The map, to change in place, if it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map<Value>> {
        match self {
            Value::Map(m) => Some(m),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Value::Str(s.into())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Value::Str(s)
    }
}

impl From<Map<Value>> for Value {
    fn from(m: Map<Value>) -> Self {
        Value::Map(m)
    }
}
