//! Matrices written as text: a header of names, and in each record a few labels and many numbers,
//! most of them 0. Only the others are kept, so that a million cells of a thousand genes fit.

use super::delimited::Delimited;
use super::field;
use super::records::{Sink, parse};
use crate::anndata::{Matrix, Sparse, Values};
use crate::error::{Error, Result};
use std::path::Path;

/// A matrix of text: records × columns of numbers.
pub(in crate::io) struct LabelledMatrix {
    /// For each label its text in every record.
    pub(in crate::io) labels: Vec<Vec<String>>,
    /// The names of the columns of numbers.
    pub(in crate::io) columns: Vec<String>,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f64>,
}

impl LabelledMatrix {
    /// Reads a matrix whose labels are the named columns, or the first column if none is named.
    /// Lines at the start that begin with `comment` are passed over.
    pub(in crate::io) fn read(path: &Path, labels: &[&str], comment: Option<u8>) -> Result<Self> {
        let table = Delimited::open(path, Some(true), comment)?;
        let shift = usize::from(table.row_names);
        let mut places = Vec::new();
        for &label in labels {
            let place = table.names.iter().position(|n| n == label).ok_or_else(|| {
                Error::missing_key("table", "column", label, table.names.iter().take(10))
            })?;
            places.push(place + shift);
        }
        if labels.is_empty() {
            places.push(0);
        }
        let fields = table.names.len() + shift;
        let mut plan = vec![Place::Label(0); fields];
        let mut columns = Vec::new();
        for (i, place) in plan.iter_mut().enumerate() {
            *place = match places.iter().position(|&p| p == i) {
                Some(label) => Place::Label(label),
                None if i < shift => Place::Nothing,
                None => {
                    columns.push(table.names[i - shift].clone());
                    Place::Number(columns.len() as u32 - 1)
                }
            };
        }
        let mut out = LabelledMatrix {
            labels: vec![Vec::new(); places.len()],
            columns,
            indptr: vec![0],
            indices: Vec::new(),
            values: Vec::new(),
        };
        let rows = |block: &[u8]| {
            let mut rows = Rows {
                plan: &plan,
                labels: vec![Vec::new(); places.len()],
                ends: Vec::new(),
                indices: Vec::new(),
                values: Vec::new(),
            };
            Ok((parse(block, table.dialect, &mut rows)?, rows))
        };
        table.batches()?.each(rows, |mut rows| {
            let before = out.indices.len();
            out.indptr.extend(rows.ends.iter().map(|e| before + e));
            out.indices.append(&mut rows.indices);
            out.values.append(&mut rows.values);
            out.labels.iter_mut().zip(&mut rows.labels).for_each(|(all, new)| all.append(new));
            Ok(())
        })?;
        Ok(out)
    }

    /// Records × columns; whole numbers as `int64`, as pandas has them.
    pub(in crate::io) fn into_csr(self) -> Result<Sparse> {
        let whole = self.values.iter().all(|x| x.fract() == 0.0 && x.abs() < 1e15);
        let values = match whole {
            true => Values::I64(self.values.into_iter().map(|x| x as i64).collect()),
            false => Values::F64(self.values),
        };
        let shape = (self.indptr.len() - 1, self.columns.len());
        Sparse::new(shape, true, self.indptr, self.indices, values)
    }

    /// Columns × records, e.g. cells × genes of a file with a gene in each record; `float32`.
    pub(in crate::io) fn into_transposed(self) -> Result<Sparse> {
        let values = Values::F32(self.values.into_iter().map(|x| x as f32).collect());
        let shape = (self.columns.len(), self.indptr.len() - 1);
        let turned = Sparse::new(shape, false, self.indptr, self.indices, values)?;
        Ok(Matrix::Csc(turned).to_csr())
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Label(usize),
    Number(u32),
    Nothing,
}

struct Rows<'a> {
    plan: &'a [Place],
    labels: Vec<Vec<String>>,
    /// Where each record ends among `indices`.
    ends: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f64>,
}

impl Sink for Rows<'_> {
    fn field(&mut self, column: usize, text: &[u8]) -> Result<(), String> {
        match self.plan.get(column) {
            Some(&Place::Number(i)) if text != b"0" => {
                let Some(x) = field::number(text) else {
                    let text = String::from_utf8_lossy(text);
                    let at = column + 1;
                    return Err(format!("field {at} is `{text}` where a number is expected"));
                };
                let x = x.to_f64();
                if x != 0.0 {
                    self.indices.push(i);
                    self.values.push(x);
                }
            }
            Some(&Place::Label(i)) => {
                let text = std::str::from_utf8(text)
                    .map_err(|_| format!("field {} is not UTF-8 text", column + 1))?;
                self.labels[i].push(text.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, fields: usize) -> Result<(), String> {
        if fields != self.plan.len() {
            return Err(format!("{} fields expected, {fields} found", self.plan.len()));
        }
        self.ends.push(self.indices.len());
        Ok(())
    }
}
