//! Joining tables by the names of their rows, with an account of what has no partner.

use super::table::Table;
use crate::anndata::{AnnData, Column, Frame, Map, Value, Values};
use crate::error::{Error, Result};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What becomes of observations that only one of two files knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// They are left out, and their names are listed in `uns["unmatched"]` under the name of the
    /// file that has them.
    #[default]
    Drop,
    /// They are an error that counts them.
    Error,
}

/// Where each name stands.
///
/// # Errors
/// [`Error::Format`] naming a name that stands twice.
pub(super) fn places<'a>(
    path: &Path,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<&'a str, usize>> {
    let mut places = HashMap::new();
    for (i, name) in names.into_iter().enumerate() {
        if let Some(before) = places.insert(name, i) {
            let reason = format!("`{name}` stands in rows {} and {}", before + 1, i + 1);
            return Err(Error::format(path, reason));
        }
    }
    Ok(places)
}

/// The rows of a column in an order, missing where there is no row.
pub(super) fn column_at(column: &Column, rows: &[Option<usize>]) -> Column {
    if let Some(all) = rows.iter().copied().collect::<Option<Vec<usize>>>() {
        return column.take(&all);
    }
    // An absent row takes the place of the first one, and is then marked as missing.
    let gone: Vec<bool> = rows.iter().map(Option::is_none).collect();
    if column.is_empty() {
        return Column::Str(vec![None; rows.len()]);
    }
    let at: Vec<usize> = rows.iter().map(|r| r.unwrap_or(0)).collect();
    let blank = |gone: &[bool], i: usize| gone[i];
    match column.take(&at) {
        Column::Values(Values::F32(mut v)) => {
            (0..v.len()).filter(|&i| blank(&gone, i)).for_each(|i| v[i] = f32::NAN);
            Column::Values(Values::F32(v))
        }
        Column::Values(Values::F64(mut v)) => {
            (0..v.len()).filter(|&i| blank(&gone, i)).for_each(|i| v[i] = f64::NAN);
            Column::Values(Values::F64(v))
        }
        Column::Values(values) => Column::Nullable { values, missing: gone },
        Column::Nullable { values, missing } => {
            let missing = missing.iter().zip(&gone).map(|(a, b)| *a || *b).collect();
            Column::Nullable { values, missing }
        }
        Column::Str(mut v) => {
            (0..v.len()).filter(|&i| gone[i]).for_each(|i| v[i] = None);
            Column::Str(v)
        }
        Column::Categorical(mut c) => {
            (0..c.codes.len()).filter(|&i| gone[i]).for_each(|i| c.codes[i] = -1);
            Column::Categorical(c)
        }
    }
}

/// A table whose rows have names, found in whichever column has them.
pub(super) struct Named {
    pub names: Vec<String>,
    /// The other columns.
    pub frame: Frame,
}

impl Named {
    /// Reads a table; the names of its rows are those that `known` has most of.
    ///
    /// # Errors
    /// [`Error::Format`] when no column has a known name, with examples of both.
    pub fn read(path: &Path, known: &HashSet<&str>, whose: &str) -> Result<Named> {
        const SAMPLE: usize = 1000;
        let table = Table::open(path)?;
        // `0012` is a name, not the number 12: names are looked for in the text as it stands.
        let columns: Vec<&str> = table.columns().iter().map(String::as_str).collect();
        let text = table.clone().text(&columns);
        let sample = text.blocks(&[], SAMPLE)?.next().transpose()?.unwrap_or_default();
        if let Some(place) = place_of_names(&sample, known) {
            return Named::at(table, place);
        }
        if let Some(place) = place_of_names(&text.read()?, known) {
            return Named::at(table, place);
        }
        let example = sample.columns().next().and_then(|(_, c)| c.text(0)).unwrap_or_default();
        let other = known.iter().min().copied().unwrap_or_default();
        let reason = format!(
            "no column has the names of {whose} (this file has `{example}`, {whose} `{other}`)"
        );
        Err(Error::format(path, reason).with_hint("Are these files of the same sample?"))
    }

    fn at(table: Table, place: Option<String>) -> Result<Named> {
        let Some(name) = place else {
            let frame = table.read()?;
            return Ok(Named { names: frame.names().to_vec(), frame });
        };
        let mut frame = table.text(&[&name]).read()?;
        let names = frame.remove(&name).map(|c| texts(&c)).unwrap_or_default();
        Ok(Named { names, frame })
    }
}

/// The column that has most of the known names; inside `None` for the names of the rows themselves.
fn place_of_names(frame: &Frame, known: &HashSet<&str>) -> Option<Option<String>> {
    let own = frame.names().iter().filter(|n| known.contains(n.as_str())).count();
    let hits = |c: &Column| {
        (0..c.len()).filter(|&i| c.text(i).is_some_and(|t| known.contains(t.as_str()))).count()
    };
    let best = frame
        .columns()
        .map(|(name, c)| (hits(c), name))
        .reduce(|a, b| if b.0 > a.0 { b } else { a })
        .filter(|(count, _)| *count > 0 && *count >= own);
    match best {
        Some((_, name)) => Some(Some(name.to_string())),
        None => (own > 0).then_some(None),
    }
}

fn texts(column: &Column) -> Vec<String> {
    (0..column.len()).map(|i| column.text(i).unwrap_or_default()).collect()
}

/// What was left out, by the name of the file that has it.
#[derive(Default)]
pub(super) struct LeftOut(Map<Value>);

impl LeftOut {
    /// Notes names of `path`, or refuses them; `lack` says what they lack.
    pub fn note(
        &mut self,
        path: &Path,
        names: Vec<&str>,
        of: usize,
        lack: &str,
        rule: Unmatched,
    ) -> Result<()> {
        let Some(first) = names.first() else { return Ok(()) };
        if rule == Unmatched::Error {
            let n = names.len();
            let reason = format!("{n} of {of} have no {lack} (the first is `{first}`)");
            return Err(Error::format(path, reason)
                .with_hint("`unmatched(Unmatched::Drop)` leaves them out"));
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.0.insert(file, Value::strings(names));
        Ok(())
    }

    /// Leaves the account in `uns["unmatched"]`, if anything was left out.
    pub fn store(self, adata: &mut AnnData) {
        if !self.0.is_empty() {
            adata.uns.insert("unmatched".into(), Value::Map(self.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;

    #[test]
    fn absent_rows_are_missing_in_every_type() {
        let labels = [Some("a"), Some("b")];
        let columns = [
            Column::from(vec![1.0f64, 2.0]),
            Column::from(vec![1.0f32, 2.0]),
            Column::from(vec![1i64, 2]),
            Column::from(vec![true, false]),
            Column::Nullable { values: vec![1i32, 2].into(), missing: vec![false, false] },
            Column::Str(vec![Some("a".into()), Some("b".into())]),
            Column::Categorical(Categorical::from_labels(&labels)),
        ];
        for column in columns {
            let got = column_at(&column, &[Some(1), None, Some(0), Some(1)]);
            assert_eq!(got.dtype(), column.dtype());
            let texts: Vec<_> = (0..4).map(|i| got.text(i)).collect();
            assert_eq!(texts, [column.text(1), None, column.text(0), column.text(1)]);
            assert_eq!(column_at(&column, &[Some(1)]), column.take(&[1]), "{column:?}");
        }
        assert_eq!(column_at(&Column::from(Vec::<i64>::new()), &[None]).text(0), None);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        assert_eq!(places(Path::new("a.csv"), ["x", "y"]).unwrap()["y"], 1);
        let e = places(Path::new("a.csv"), ["x", "y", "x"]).unwrap_err().to_string();
        assert!(e.contains("a.csv: `x` stands in rows 1 and 3"), "{e}");
    }
}
