//! Which entries are kept that do not follow the axis of concatenation, and when two are equal.

use super::Merge;
use crate::anndata::{Column, Dense, Frame, Map, Matrix, Sparse, Value, Values};

/// An entry of `varm`, `varp` and the like.
pub(super) enum Entry {
    Matrix(Matrix),
    Frame(Frame),
}

/// Every key once, in the order of appearance.
pub(super) fn union<'a>(lists: &[Vec<&'a str>]) -> Vec<&'a str> {
    let mut seen = std::collections::HashSet::new();
    lists.iter().flatten().copied().filter(|k| seen.insert(*k)).collect()
}

/// The keys that all lists have, in the order of the last, as anndata has them.
pub(super) fn intersection<'a>(lists: &[Vec<&'a str>]) -> Vec<&'a str> {
    let Some((last, others)) = lists.split_last() else { return Vec::new() };
    last.iter().copied().filter(|k| others.iter().all(|l| l.contains(k))).collect()
}

/// The keys to look at.
fn keys<T>(maps: &[Map<T>], merge: Merge) -> Vec<String> {
    let lists: Vec<Vec<&str>> = maps.iter().map(super::keys_of).collect();
    let keys = match merge {
        Merge::None => Vec::new(),
        Merge::Same => intersection(&lists),
        Merge::Unique | Merge::First | Merge::Only => union(&lists),
    };
    keys.into_iter().map(String::from).collect()
}

/// The one of several values to keep, if there is one.
fn choose<T>(mut found: Vec<T>, merge: Merge, same: impl Fn(&T, &T) -> bool) -> Option<T> {
    let keep = match merge {
        Merge::None => false,
        Merge::Same | Merge::Unique => found[1..].iter().all(|v| same(v, &found[0])),
        Merge::First => true,
        Merge::Only => found.len() == 1,
    };
    keep.then(|| found.swap_remove(0))
}

/// The entries to keep.
pub(super) fn entries<T>(
    mut maps: Vec<Map<T>>,
    merge: Merge,
    same: impl Fn(&T, &T) -> bool,
) -> Map<T> {
    let mut out = Map::new();
    for key in keys(&maps, merge) {
        let found: Vec<T> = maps.iter_mut().filter_map(|m| m.swap_remove(&key)).collect();
        if let Some(v) = choose(found, merge, &same) {
            out.insert(key, v);
        }
    }
    out
}

/// The entries of `uns` to keep, maps in maps one by one; a map of which nothing is left goes.
pub(super) fn values(maps: &[&Map<Value>], merge: Merge) -> Map<Value> {
    if merge == Merge::None {
        return Map::new();
    }
    let of = |m: &&Map<Value>| m.keys().map(|k| (k.clone(), ())).collect::<Map<()>>();
    let mut out = Map::new();
    for key in keys(&maps.iter().map(of).collect::<Vec<_>>(), merge) {
        let found: Vec<&Value> = maps.iter().filter_map(|m| m.get(&key)).collect();
        let nested = found.iter().map(|v| v.as_map()).collect::<Option<Vec<_>>>();
        let kept = match nested {
            Some(maps) => Some(values(&maps, merge)).filter(|m| !m.is_empty()).map(Value::Map),
            None => choose(found, merge, |a, b| same_value(a, b)).cloned(),
        };
        if let Some(v) = kept {
            out.insert(key, v);
        }
    }
    out
}

pub(super) fn same_entry(a: &Entry, b: &Entry) -> bool {
    match (a, b) {
        (Entry::Matrix(a), Entry::Matrix(b)) => same_matrix(a, b),
        (Entry::Frame(a), Entry::Frame(b)) => same_frame(a, b),
        _ => false,
    }
}

/// Equal numbers of one type, NaN included.
fn same_values(a: &Values, b: &Values) -> bool {
    fn eq<T: Copy + PartialEq>(a: &[T], b: &[T], nan: impl Fn(T) -> bool) -> bool {
        let same = |(&x, &y): (&T, &T)| x == y || (nan(x) && nan(y));
        a.len() == b.len() && a.iter().zip(b).all(same)
    }
    match (a, b) {
        (Values::F32(a), Values::F32(b)) => eq(a, b, f32::is_nan),
        (Values::F64(a), Values::F64(b)) => eq(a, b, f64::is_nan),
        (a, b) => a == b,
    }
}

fn same_matrix(a: &Matrix, b: &Matrix) -> bool {
    let dense = |a: &Dense, b: &Dense| {
        (a.nrows, a.ncols) == (b.nrows, b.ncols) && same_values(&a.values, &b.values)
    };
    // Sparse matrices are compared by their numbers, whatever their type; stored zeros do not count.
    let plain = |m: &Sparse, i: usize| {
        let mut row: Vec<(u32, f64)> =
            (m.indptr[i]..m.indptr[i + 1]).map(|k| (m.indices[k], m.values.get_f64(k))).collect();
        row.sort_by_key(|e| e.0);
        row.dedup_by(|next, sum| {
            next.0 == sum.0 && {
                sum.1 += next.1;
                true
            }
        });
        row.retain(|e| e.1 != 0.0);
        row
    };
    match (a, b) {
        (Matrix::Dense(a), Matrix::Dense(b)) => dense(a, b),
        (Matrix::Dense(_), b) => {
            let eq = |(x, y): (&f64, &f64)| x == y || (x.is_nan() && y.is_nan());
            a.values().kind() == b.values().kind()
                && a.shape() == b.shape()
                && a.to_array_f64().iter().zip(&b.to_array_f64()).all(eq)
        }
        (_, Matrix::Dense(_)) => false,
        (a, b) => {
            let same = |(x, y): (&(u32, f64), &(u32, f64))| {
                x.0 == y.0 && (x.1 == y.1 || (x.1.is_nan() && y.1.is_nan()))
            };
            let (shape, a, b) = (a.shape() == b.shape(), a.to_csr(), b.to_csr());
            shape
                && (0..a.nrows).all(|i| {
                    let (x, y) = (plain(&a, i), plain(&b, i));
                    x.len() == y.len() && x.iter().zip(&y).all(same)
                })
        }
    }
}

/// Equal as pandas' `Series.equals` has it: type, values, and which are missing. The order of
/// categories counts only where it means something.
pub(super) fn same_column(a: &Column, b: &Column) -> bool {
    match (a, b) {
        (Column::Values(a), Column::Values(b)) => same_values(a, b),
        (
            Column::Nullable { values: v, missing: m },
            Column::Nullable { values: w, missing: n },
        ) => {
            v.kind() == w.kind()
                && m == n
                && (0..m.len()).all(|i| m[i] || same_values(&v.slice(i..i + 1), &w.slice(i..i + 1)))
        }
        (Column::Str(a), Column::Str(b)) => a == b,
        (Column::Categorical(a), Column::Categorical(b)) => {
            let kind = |c: &super::Categorical| c.typed.as_ref().map(Values::kind);
            let sorted = |c: &super::Categorical| {
                let mut all = c.categories.clone();
                all.sort_unstable();
                all
            };
            a.ordered == b.ordered
                && kind(a) == kind(b)
                && if a.ordered { a.categories == b.categories } else { sorted(a) == sorted(b) }
                && a.codes.len() == b.codes.len()
                && (0..a.codes.len()).all(|i| a.label(i) == b.label(i))
        }
        _ => false,
    }
}

fn same_frame(a: &Frame, b: &Frame) -> bool {
    a.names() == b.names()
        && a.columns().len() == b.columns().len()
        && a.columns().zip(b.columns()).all(|((k, x), (l, y))| k == l && same_column(x, y))
}

fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array { shape: s, values: v }, Value::Array { shape: t, values: w }) => {
            // Scalars are compared as Python compares numbers: 1 is 1.0, NaN is not NaN.
            match s.is_empty() && t.is_empty() {
                true => v.get_f64(0) == w.get_f64(0),
                false => s == t && same_values(v, w),
            }
        }
        (Value::Matrix(a), Value::Matrix(b)) => same_matrix(a, b),
        (Value::Column(a), Value::Column(b)) => same_column(a, b),
        (Value::Frame(a), Value::Frame(b)) => same_frame(a, b),
        (Value::Record(a), Value::Record(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, x), (l, y))| k == l && same_value(x, y))
        }
        (a, b) => a == b,
    }
}
