//! [`Index`]: the names of a table's rows, made into texts only once somebody asks.
//!
//! Millions of transcripts are numbered, not named: a text for each would weigh more than the
//! table itself.

use super::{Column, Values};
use std::borrow::Cow;
use std::sync::OnceLock;

/// Where the names come from.
#[derive(Debug, Clone)]
enum Source {
    /// Stored as they are.
    Texts(Vec<String>),
    /// `0`, `1`, … up to the number of rows.
    Counted(usize),
    /// Rows taken out of counted ones, under the numbers that they had.
    Picked(Vec<usize>),
    /// The numbers that the file has instead of texts.
    Numbers(Values),
}

/// The names of a table's rows.
#[derive(Debug)]
pub(super) struct Index {
    source: Source,
    /// The texts of a source that has none of its own.
    texts: OnceLock<Vec<String>>,
}

impl Index {
    fn of(source: Source) -> Self {
        Index { source, texts: OnceLock::new() }
    }

    pub(super) fn named(names: Vec<String>) -> Self {
        Index::of(Source::Texts(names))
    }

    pub(super) fn counted(n: usize) -> Self {
        Index::of(Source::Counted(n))
    }

    pub(super) fn numbered(numbers: Values) -> Self {
        Index::of(Source::Numbers(numbers))
    }

    pub(super) fn len(&self) -> usize {
        match &self.source {
            Source::Texts(v) => v.len(),
            Source::Counted(n) => *n,
            Source::Picked(v) => v.len(),
            Source::Numbers(v) => v.len(),
        }
    }

    /// The name of row `i`.
    pub(super) fn text(&self, i: usize) -> Cow<'_, str> {
        match &self.source {
            Source::Texts(v) => Cow::Borrowed(&v[i]),
            Source::Counted(_) => Cow::Owned(i.to_string()),
            Source::Picked(v) => Cow::Owned(v[i].to_string()),
            Source::Numbers(v) => Cow::Owned(Column::text_of(v, i).unwrap_or_else(|| "nan".into())),
        }
    }

    /// All names; made and kept at the first call where they are not stored.
    pub(super) fn texts(&self) -> &[String] {
        match &self.source {
            Source::Texts(v) => v,
            _ => self
                .texts
                .get_or_init(|| (0..self.len()).map(|i| self.text(i).into_owned()).collect()),
        }
    }

    /// Bytes of the source and of the texts, where some were made.
    pub(super) fn nbytes(&self) -> usize {
        let texts = |v: &[String]| v.iter().map(|t| t.capacity() + size_of::<String>()).sum();
        let source = match &self.source {
            Source::Texts(v) => texts(v),
            Source::Counted(_) => 0,
            Source::Picked(v) => size_of_val(v.as_slice()),
            Source::Numbers(v) => v.nbytes(),
        };
        source + self.texts.get().map_or(0, |v| texts(v))
    }

    pub(super) fn numbers(&self) -> Option<&Values> {
        match &self.source {
            Source::Numbers(v) => Some(v),
            _ => None,
        }
    }

    /// The names at `rows`, in that order.
    ///
    /// # Panics
    /// Where a row does not exist, as an index into a slice does.
    pub(super) fn take(&self, rows: &[usize]) -> Self {
        Index::of(match &self.source {
            Source::Texts(v) => Source::Texts(rows.iter().map(|&i| v[i].clone()).collect()),
            Source::Counted(n) => {
                assert!(rows.iter().all(|i| i < n), "a row beyond the {n} that there are");
                Source::Picked(rows.to_vec())
            }
            Source::Picked(v) => Source::Picked(rows.iter().map(|&i| v[i]).collect()),
            Source::Numbers(v) => Source::Numbers(v.take(rows)),
        })
    }
}

impl Default for Index {
    fn default() -> Self {
        Index::counted(0)
    }
}

impl Clone for Index {
    /// Without the texts that were made on the way.
    fn clone(&self) -> Self {
        Index::of(self.source.clone())
    }
}

impl PartialEq for Index {
    /// The same names; an index of numbers equals one of the same numbers only.
    fn eq(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (Source::Counted(a), Source::Counted(b)) => a == b,
            (Source::Texts(a), Source::Texts(b)) => a == b,
            (Source::Picked(a), Source::Picked(b)) => a == b,
            (Source::Numbers(a), Source::Numbers(b)) => a == b,
            (Source::Numbers(_), _) | (_, Source::Numbers(_)) => false,
            _ => {
                self.len() == other.len() && (0..self.len()).all(|i| self.text(i) == other.text(i))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Index {
        Index::named(names.iter().map(|s| s.to_string()).collect())
    }

    #[test]
    fn rows_that_are_counted_have_no_texts_until_asked() {
        let counted = Index::counted(usize::MAX);
        assert_eq!(counted.len(), usize::MAX);
        assert_eq!(counted.text(70_000), "70000");
        let picked = counted.take(&[4_000_000_000, 7]);
        assert!(picked.texts.get().is_none());
        assert_eq!(picked.texts(), ["4000000000", "7"]);
        assert!(picked.texts.get().is_some() && picked.clone().texts.get().is_none());
    }

    #[test]
    fn names_are_equal_however_they_are_kept() {
        let counted = Index::counted(3);
        assert_eq!(counted, texts(&["0", "1", "2"]));
        assert_eq!(counted, counted.take(&[0, 1, 2]));
        assert_ne!(counted, counted.take(&[0, 2, 1]));
        assert_ne!(counted, texts(&["0", "1"]));
        let numbered = Index::numbered(Values::I64(vec![0, 1, 2]));
        assert_ne!(counted, numbered, "a file keeps numbers apart from texts");
        assert_eq!(numbered.take(&[1, 0, 2]).take(&[1, 0, 2]), numbered);
    }

    #[test]
    fn numbers_are_named_as_python_prints_whole_ones() {
        let numbered = Index::numbered(Values::F64(vec![1.5, f64::NAN]));
        assert_eq!(numbered.texts(), ["1.5", "nan"]);
        assert_eq!(numbered.take(&[1]).texts(), ["nan"]);
    }

    #[test]
    #[should_panic(expected = "beyond the 3")]
    fn a_row_that_does_not_exist_is_no_name() {
        Index::counted(3).take(&[3]);
    }
}
