//! Tables joined to observations by name: never by position, whatever order a machine wrote.

use super::files;
use crate::anndata::{AnnData, Column, Dense, Frame, Matrix, Values};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// Finds for each observation its row in a table, whose ids may come in runs.
pub(super) struct Join<'a> {
    names: &'a [String],
    place: HashMap<&'a str, usize>,
    rows: Vec<usize>,
    seen: usize,
    /// An id of the table, for the message that none was found.
    example: String,
    twice: Option<String>,
}

const NONE: usize = usize::MAX;

impl<'a> Join<'a> {
    pub(super) fn new(names: &'a [String]) -> Self {
        let place = names.iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
        let (rows, example) = (vec![NONE; names.len()], String::new());
        Join { names, place, rows, seen: 0, example, twice: None }
    }

    /// The ids of the next rows of the table.
    pub(super) fn add(&mut self, ids: &Column) {
        for i in 0..ids.len() {
            match ids {
                Column::Str(v) => self.add_one(v[i].as_deref().unwrap_or_default()),
                Column::Categorical(c) => self.add_one(c.label(i).unwrap_or_default()),
                other => self.add_one(&other.text(i).unwrap_or_default()),
            }
        }
    }

    fn add_one(&mut self, id: &str) {
        if let Some(&i) = self.place.get(id) {
            if self.rows[i] != NONE && self.twice.is_none() {
                self.twice = Some(id.to_string());
            }
            self.rows[i] = self.seen;
        }
        if self.example.is_empty() {
            self.example = id.to_string();
        }
        self.seen += 1;
    }

    /// The observations that have a row, and their rows.
    pub(super) fn common(self) -> (Vec<usize>, Vec<usize>) {
        let row = |n: &String| self.rows[self.place[n.as_str()]];
        let found = self.names.iter().enumerate().map(|(i, n)| (i, row(n)));
        found.filter(|(_, row)| *row != NONE).unzip()
    }

    /// For each observation its row of the table. `whose` and `what` say in an error whose rows are
    /// missing: `barcodes of the matrix`, `position`.
    pub(super) fn finish(self, path: &Path, whose: &str, what: &str) -> Result<Vec<usize>> {
        if let Some(id) = self.twice {
            return Err(Error::format(path, format!("`{id}` has more than one {what}")));
        }
        // A name that several observations share has its row at the last of them.
        let row = |n: &String| self.rows[self.place[n.as_str()]];
        let without: Vec<&String> = self.names.iter().filter(|n| row(n) == NONE).collect();
        if let Some(first) = without.first() {
            let reason = format!(
                "{} of {} {whose} have no {what} (the first is `{first}`; this file has {} rows \
                 with ids like `{}`)",
                without.len(),
                self.names.len(),
                self.seen,
                self.example,
            );
            return Err(Error::format(path, reason).with_hint("Are the two files of the same run?"));
        }
        Ok(self.names.iter().map(row).collect())
    }
}

/// Joins the columns of `table` to `obs` by its column `id`, which is left out. The two columns
/// named in `coordinates` do not become columns of `obs`; they are returned.
pub(super) fn join_table(
    adata: &mut AnnData,
    path: &Path,
    table: &Frame,
    id: &str,
    coordinates: [&str; 2],
) -> Result<Matrix> {
    let mut join = Join::new(adata.obs.names());
    join.add(column(path, table, id)?);
    let rows = join.finish(path, "cells of the matrix", "row")?;
    let table = table.take(&rows);
    let spatial = points(path, &table, coordinates)?;
    for (name, column) in table.columns() {
        if name != id && !coordinates.contains(&name) {
            adata.obs.insert(name, column.clone())?;
        }
    }
    Ok(spatial)
}

/// A column that a table must have.
pub(super) fn column<'a>(path: &Path, table: &'a Frame, name: &str) -> Result<&'a Column> {
    table.get(name).ok_or_else(|| {
        let has: Vec<String> = table.columns().map(|(k, _)| k.to_string()).collect();
        let has = files::list(&has);
        Error::format(path, format!("there is no column `{name}`; there is: {has}"))
    })
}

/// Two columns of numbers side by side: `int64` if both are, else `float64`.
pub(super) fn points(path: &Path, table: &Frame, names: [&str; 2]) -> Result<Matrix> {
    let [x, y] = names.map(|name| column(path, table, name));
    let values = match (x?, y?) {
        (Column::Values(Values::I64(x)), Column::Values(Values::I64(y))) => {
            Values::I64(x.iter().zip(y).flat_map(|(&x, &y)| [x, y]).collect())
        }
        (x, y) => {
            let (Some(x), Some(y)) = (x.to_f64(), y.to_f64()) else {
                let reason = format!("`{}` and `{}` do not hold numbers", names[0], names[1]);
                return Err(Error::format(path, reason));
            };
            Values::F64(x.into_iter().zip(y).flat_map(|(x, y)| [x, y]).collect())
        }
    };
    Ok(Matrix::Dense(Dense::new(table.len(), 2, values)?))
}
