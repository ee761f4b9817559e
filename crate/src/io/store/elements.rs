//! What arrays and attributes hold, in whatever kind of file: [`Elements`] and [`Attributes`].

use crate::anndata::Values;
use crate::error::{Error, Result};
use crate::io::bytes::unsigned;

/// Elements of an array or attribute in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::io) enum Elements {
    /// Numbers or booleans.
    Values(Values),
    /// Texts.
    Strings(Vec<String>),
    /// Records: for each field its name, the lengths of its own axes, and its elements.
    Record(Vec<(String, Vec<usize>, Elements)>),
}

impl Elements {
    /// Number of elements, of records the number of elements in the first field.
    pub fn len(&self) -> usize {
        match self {
            Elements::Values(v) => v.len(),
            Elements::Strings(v) => v.len(),
            Elements::Record(fields) => fields.first().map_or(0, |f| f.2.len()),
        }
    }

    /// Numbers or booleans, or the reason why these are none.
    pub fn into_values(self) -> Result<Values, String> {
        match self {
            Elements::Values(v) => Ok(v),
            Elements::Strings(_) => Err("expected numbers, found text".into()),
            Elements::Record(_) => Err("expected numbers, found records".into()),
        }
    }

    /// Texts, or the reason why these are none.
    pub fn into_strings(self) -> Result<Vec<String>, String> {
        match self {
            Elements::Strings(v) => Ok(v),
            Elements::Values(_) => Err("expected text, found numbers".into()),
            Elements::Record(_) => Err("expected text, found records".into()),
        }
    }
}

// One arm's conversion is always to the type itself, or to a wider one.
macro_rules! whole_numbers {
    ($values:expr, $v:ident => $convert:expr) => {
        match $values {
            Values::I64($v) => $convert,
            Values::I32($v) => $convert,
            Values::I16($v) => $convert,
            Values::I8($v) => $convert,
            Values::U64($v) => $convert,
            Values::U32($v) => $convert,
            Values::U16($v) => $convert,
            Values::U8($v) => $convert,
            other => Err(format!("expected whole numbers, found {}", other.dtype())),
        }
    };
}

/// Values as positions, or which of them is none.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
pub(in crate::io) fn positions(values: Values) -> Result<Vec<usize>, String> {
    whole_numbers!(values, v => v
        .iter()
        .map(|&x| usize::try_from(x).map_err(|_| format!("{x} is not a position")))
        .collect())
}

/// Values as `u32`, or which of them is negative or too large.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
pub(in crate::io) fn indices(values: Values) -> Result<Vec<u32>, String> {
    let values = match values {
        Values::U32(v) => return Ok(v),
        // The usual width: the same bytes.
        Values::I32(v) => {
            return unsigned(v).map_err(|x| format!("{x} is not an index below 2^32"));
        }
        other => other,
    };
    whole_numbers!(values, v => v
        .iter()
        .map(|&x| u32::try_from(x).map_err(|_| format!("{x} is not an index below 2^32")))
        .collect())
}

/// What has attributes: groups, arrays and both together.
pub(in crate::io) trait Attributes {
    /// The attribute `name` as elements with their shape, or `None` if there is none.
    fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>>;

    /// Whether there is an attribute `name`.
    fn has_attribute(&self, name: &str) -> bool;

    /// An error about what has the attributes.
    fn fault(&self, reason: String) -> Error;

    /// The attribute `name` as text (of a list the first).
    fn attr_text(&self, name: &str) -> Result<Option<String>> {
        Ok(match self.attribute(name)? {
            Some((_, Elements::Strings(v))) => v.into_iter().next(),
            _ => None,
        })
    }

    /// The attribute `name` as texts.
    fn attr_texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        match self.attribute(name)? {
            Some((_, Elements::Strings(v))) => Ok(Some(v)),
            // Python writes an empty list as an empty array of numbers.
            Some((_, Elements::Values(v))) if v.is_empty() => Ok(Some(vec![])),
            Some(_) => Err(self.fault(format!("attribute `{name}` is not text"))),
            None => Ok(None),
        }
    }

    /// The attribute `name` as numbers.
    fn attr_numbers(&self, name: &str) -> Result<Option<Vec<f64>>> {
        match self.attribute(name)? {
            Some((_, Elements::Values(v))) => Ok(Some(v.to_f64().into_owned())),
            Some(_) => Err(self.fault(format!("attribute `{name}` is not a number"))),
            None => Ok(None),
        }
    }
}
