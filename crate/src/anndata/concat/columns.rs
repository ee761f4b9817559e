//! Columns of several tables as one: the type that they share, as `pandas.concat` after anndata's
//! `unify_dtypes` finds it.
//!
//! | columns | result |
//! |---|---|
//! | numbers | numpy's common type; `float64` for whole numbers where some are missing |
//! | booleans | booleans; nullable where some are missing |
//! | nullable, or nullable and not | nullable of the common type |
//! | categories | the union in natural order (the first's own if it has them all); ordered ones that differ become text |
//! | texts, or categories and texts | text |
//! | texts and numbers | text (pandas: objects) |

use super::align::Align;
use crate::anndata::frame::natural;
use crate::anndata::values::Kind;
use crate::anndata::{Categorical, Column, Frame, Values};
use crate::error::Result;
use std::collections::HashMap;

/// Adds to `out` the columns `names` of the tables, one below the other.
pub(super) fn stack(out: &mut Frame, tables: &[&Frame], names: &[String]) -> Result<()> {
    for name in names {
        let parts: Vec<(Option<&Column>, usize)> =
            tables.iter().map(|t| (t.get(name), t.len())).collect();
        out.insert(name.as_str(), stacked(&parts))?;
    }
    Ok(())
}

/// A column at its new places, with missing values where there is none: whole numbers become
/// `float64` then, as `reindex` makes them.
pub(super) fn reindexed(column: &Column, align: &Align) -> Column {
    let Some(places) = align.places() else { return column.clone() };
    let missing = places.iter().any(Option::is_none);
    match column {
        Column::Values(v) if missing && !v.is_float() && v.kind() != Kind::Bool => {
            Column::Values(v.cast(Kind::F64)).pick(places)
        }
        other => other.pick(places),
    }
}

/// The parts one below the other; a part that is not there is as many missing values.
fn stacked(parts: &[(Option<&Column>, usize)]) -> Column {
    let there = || parts.iter().filter_map(|p| p.0);
    if there().all(|c| matches!(c, Column::Categorical(_))) {
        return categories(parts);
    }
    // Categories of numbers among numbers are numbers.
    let plain: Vec<Option<Column>> = parts.iter().map(|p| p.0.map(decategorised)).collect();
    if plain.iter().flatten().any(|c| matches!(c, Column::Str(_))) {
        let text = |(c, n): (&Option<Column>, usize)| match c {
            Some(c) => (0..n).map(|i| c.text(i)).collect(),
            None => vec![None; n],
        };
        let lengths = parts.iter().map(|p| p.1);
        return Column::Str(plain.iter().zip(lengths).flat_map(text).collect());
    }
    let gap = plain.iter().any(Option::is_none);
    let nullable = plain.iter().flatten().any(|c| matches!(c, Column::Nullable { .. }));
    let kind = plain.iter().flatten().map(kind).reduce(Kind::promote).unwrap_or(Kind::F64);
    let nullable = nullable || (gap && kind == Kind::Bool);
    let kind = if gap && !nullable && !kind.is_float() { Kind::F64 } else { kind };

    let mut values = Values::with_capacity(kind, parts.iter().map(|p| p.1).sum());
    let mut missing = Vec::new();
    for (column, &(_, n)) in plain.iter().zip(parts) {
        match column {
            Some(Column::Values(v)) => {
                values.append(v);
                // NaN among nullable numbers is a missing value, as pandas takes it.
                let nan = |i| v.is_float() && v.get_f64(i).is_nan();
                missing.extend((0..n).map(nan));
            }
            Some(Column::Nullable { values: v, missing: m }) => {
                values.append(v);
                missing.extend_from_slice(m);
            }
            _ => {
                let blank = if kind.is_float() { f64::NAN } else { 0.0 };
                values.append(&Values::F64(vec![blank; n]));
                missing.extend(std::iter::repeat_n(true, n));
            }
        }
    }
    if nullable { Column::Nullable { values, missing } } else { Column::Values(values) }
}

fn kind(c: &Column) -> Kind {
    match c {
        Column::Values(v) | Column::Nullable { values: v, .. } => v.kind(),
        Column::Str(_) | Column::Categorical(_) => Kind::F64,
    }
}

/// Categories as the texts or numbers that they stand for.
fn decategorised(c: &Column) -> Column {
    let Column::Categorical(c) = c else { return c.clone() };
    let place = |&code: &i32| usize::try_from(code).ok();
    let places: Vec<Option<usize>> = c.codes.iter().map(place).collect();
    match &c.typed {
        Some(typed) if places.iter().any(Option::is_none) && !typed.is_float() => {
            Column::Values(typed.cast(Kind::F64)).pick(&places)
        }
        Some(typed) => Column::Values(typed.clone()).pick(&places),
        None => Column::Str(c.categories.iter().cloned().map(Some).collect()).pick(&places),
    }
}

fn categories(parts: &[(Option<&Column>, usize)]) -> Column {
    let of = |c: &Option<&Column>| match c {
        Some(Column::Categorical(c)) => Some((*c).clone()),
        _ => None,
    };
    let parts: Vec<(Option<Categorical>, usize)> = parts.iter().map(|(c, n)| (of(c), *n)).collect();
    let there = || parts.iter().filter_map(|p| p.0.as_ref());
    let all = union(there());
    let ordered = there().any(|c| c.ordered);
    let all = if ordered {
        // An order is kept only where every table has the same.
        let mut full = there().filter(|c| !c.categories.is_empty());
        match full.next() {
            Some(first)
                if first.ordered && full.all(|c| c.ordered && c.categories == first.categories) =>
            {
                first.clone()
            }
            _ => {
                let text = |(c, n): &(Option<Categorical>, usize)| match c {
                    Some(c) => (0..*n).map(|i| c.label(i).map(String::from)).collect(),
                    None => vec![None; *n],
                };
                return Column::Str(parts.iter().flat_map(text).collect());
            }
        }
    } else {
        // As in pandas, where the order says nothing, the first keeps its own if it has them all.
        let complete = |c: &&Categorical| c.categories.len() == all.categories.len();
        there().next().filter(complete).cloned().unwrap_or(all)
    };
    let at: HashMap<&str, i32> =
        all.categories.iter().enumerate().map(|(i, c)| (c.as_str(), i as i32)).collect();
    let mut codes = Vec::with_capacity(parts.iter().map(|p| p.1).sum());
    for (part, n) in &parts {
        match part {
            None => codes.extend(std::iter::repeat_n(-1, *n)),
            Some(c) => {
                let new: Vec<i32> = c.categories.iter().map(|c| at[c.as_str()]).collect();
                let code = |&code: &i32| usize::try_from(code).map_or(-1, |c| new[c]);
                codes.extend(c.codes.iter().map(code));
            }
        }
    }
    Categorical { codes, categories: all.categories, typed: all.typed, ordered }.into()
}

/// The categories of all, in natural order; no codes.
fn union<'a>(all: impl Iterator<Item = &'a Categorical>) -> Categorical {
    let all: Vec<&Categorical> = all.collect();
    // Numbers stay numbers where all are, in their common type.
    let typed = all.iter().map(|c| c.typed.clone()).collect::<Option<Vec<Values>>>();
    let typed = typed.map(|parts| {
        let kind = parts.iter().map(Values::kind).reduce(Kind::promote).unwrap_or(Kind::F64);
        let mut joined = Values::with_capacity(kind, 0);
        parts.iter().for_each(|v| joined.append(v));
        joined
    });
    let mut entries: Vec<(String, usize)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (place, text) in all.iter().flat_map(|c| &c.categories).enumerate() {
        if seen.insert(text) {
            entries.push((text.clone(), place));
        }
    }
    match &typed {
        Some(v) => entries.sort_by(|a, b| v.get_f64(a.1).total_cmp(&v.get_f64(b.1))),
        None => entries.sort_by(|a, b| natural(&a.0, &b.0)),
    }
    let places: Vec<usize> = entries.iter().map(|e| e.1).collect();
    let typed = typed.map(|v| v.take(&places));
    let categories = entries.into_iter().map(|e| e.0).collect();
    Categorical { codes: Vec::new(), categories, typed, ordered: false }
}
