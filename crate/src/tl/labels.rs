//! [`Labels`]: whatever assigns each observation to a group.

use crate::anndata::{Categorical, Column};
use std::collections::HashMap;
use std::hash::Hash;

/// A group for each observation: a slice, array or `Vec` of anything that can be compared and
/// hashed (numbers, text, …), or a column of `obs`.
///
/// Categories of -1, absent texts and NaN in a column mean that the label is missing; a slice has
/// no missing labels.
pub trait Labels {
    /// For each observation the position of its group among those that occur, in order of first
    /// appearance, or `None` where the label is missing.
    fn groups(&self) -> Vec<Option<usize>>;
}

fn number<K: Eq + Hash>(keys: impl Iterator<Item = Option<K>>) -> Vec<Option<usize>> {
    let mut seen: HashMap<K, usize> = HashMap::new();
    keys.map(|key| {
        key.map(|k| {
            let next = seen.len();
            *seen.entry(k).or_insert(next)
        })
    })
    .collect()
}

impl<T: Eq + Hash> Labels for [T] {
    fn groups(&self) -> Vec<Option<usize>> {
        number(self.iter().map(Some))
    }
}

impl<T: Eq + Hash> Labels for Vec<T> {
    fn groups(&self) -> Vec<Option<usize>> {
        self.as_slice().groups()
    }
}

impl<T: Eq + Hash, const N: usize> Labels for [T; N] {
    fn groups(&self) -> Vec<Option<usize>> {
        self.as_slice().groups()
    }
}

impl Labels for Categorical {
    fn groups(&self) -> Vec<Option<usize>> {
        number(self.codes.iter().map(|&c| (c >= 0).then_some(c)))
    }
}

impl Labels for Column {
    fn groups(&self) -> Vec<Option<usize>> {
        match self {
            Column::Categorical(c) => c.groups(),
            Column::Str(v) => number(v.iter().map(Option::as_ref)),
            other => number((0..other.len()).map(|i| other.text(i))),
        }
    }
}

impl<T: Labels + ?Sized> Labels for &T {
    fn groups(&self) -> Vec<Option<usize>> {
        (**self).groups()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_labels_have_no_group() {
        let c = Categorical::from_labels(&[Some("b"), None, Some("a"), Some("b")]);
        assert_eq!(c.groups(), [Some(0), None, Some(1), Some(0)]);
        assert_eq!(Column::from(vec![2.5f64, f64::NAN, 2.5]).groups(), [Some(0), None, Some(0)]);
        assert_eq!(["x", "y", "x"].groups(), [Some(0), Some(1), Some(0)]);
    }
}
