//! Matrices written as text: a header of names, and in each record a few labels and many numbers,
//! most of them 0.
//!
//! ```text
//!         SAMD11  NOC2L        delimiter: tab, comma, semicolon or blanks; fields may be quoted
//! 10x13   6       1            the corner may be empty, a name, or left out altogether
//! 10x14   0       3
//! ```
//!
//! The text is parsed in blocks on all cores while the next ones are decompressed, and only what is
//! not 0 is kept: neither the text nor a dense table is ever whole in memory.

use super::delimited::Delimited;
use super::field;
use super::records::{Sink, parse};
use crate::anndata::{Matrix, Sparse, Values};
use crate::error::{Error, Result};
use std::path::Path;

/// A matrix of text: records × columns of numbers.
pub(in crate::io) struct TextMatrix {
    /// For each label its text in every record.
    pub labels: Vec<Vec<String>>,
    /// The names of the columns of numbers.
    pub columns: Vec<String>,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f64>,
}

impl TextMatrix {
    /// Reads a matrix whose labels are the named columns, or the first column if none is named.
    /// Lines at the start that begin with `comment` are passed over.
    pub fn read(path: &Path, labels: &[&str], comment: Option<u8>) -> Result<Self> {
        Self::of(&Delimited::open(path, Some(true), comment)?, labels)
    }

    fn of(table: &Delimited, labels: &[&str]) -> Result<Self> {
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
        let mut out = TextMatrix {
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

    /// Reads counts that have names on both sides and nothing else: the label is the first field.
    ///
    /// # Errors
    /// [`Error::Format`] also when there are numbers where the names of the columns should be.
    pub fn read_counts(path: &Path) -> Result<Self> {
        let is_number = |name: &String| field::number(name.as_bytes()).is_some();
        let table = Delimited::open(path, Some(true), None)?;
        let reason = match table.names.as_slice() {
            [] | [_] if !table.row_names => "there is one column only".to_string(),
            // Cells may be numbered, but then their corner is not.
            names if !table.row_names && names.iter().all(is_number) => {
                "the first line holds numbers, not names".into()
            }
            _ => return Self::of(&table, &[]),
        };
        Err(Error::format(path, reason).with_hint(
            "A matrix of counts has a header of names, and rows of a name and numbers, separated \
             by tab, comma, semicolon or blanks",
        ))
    }

    /// The name of the first record and those of the columns, to see what a file is.
    pub fn first_names(path: &Path) -> Result<(String, Vec<String>)> {
        let table = Delimited::open(path, Some(true), None)?;
        let first = table.first_field.unwrap_or_default();
        Ok((first, table.names[usize::from(!table.row_names).min(table.names.len())..].to_vec()))
    }

    /// The names of the records: their first label.
    pub fn rows(&self) -> &[String] {
        &self.labels[0]
    }

    /// Records × columns; whole numbers as `int64`, as pandas has them.
    pub fn into_csr(self) -> Result<Sparse> {
        let whole = self.values.iter().all(|x| x.fract() == 0.0 && x.abs() < 1e15);
        let values = match whole {
            true => Values::I64(self.values.into_iter().map(|x| x as i64).collect()),
            false => Values::F64(self.values),
        };
        let shape = (self.indptr.len() - 1, self.columns.len());
        Sparse::new(shape, true, self.indptr, self.indices, values)
    }

    /// The names of the records and of the columns, and records × columns in `float32`; the other
    /// way round if `transposed`. CSR in both cases.
    pub fn into_counts(mut self, transposed: bool) -> Result<(Vec<String>, Vec<String>, Matrix)> {
        let (rows, columns) = (self.labels.swap_remove(0), self.columns);
        let (n, m) = (rows.len(), columns.len());
        let values = Values::F32(self.values.into_iter().map(|x| x as f32).collect());
        let shape = if transposed { (m, n) } else { (n, m) };
        let x = Sparse::new(shape, !transposed, self.indptr, self.indices, values)?;
        Ok(match transposed {
            true => (columns, rows, Matrix::Csr(Matrix::Csc(x).to_csr())),
            false => (rows, columns, Matrix::Csr(x)),
        })
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
                let x = match field::number(text) {
                    Some(x) => x.to_f64(),
                    None if field::is_missing(text) => f64::NAN,
                    None => {
                        let text = String::from_utf8_lossy(text);
                        let at = column + 1;
                        return Err(format!("field {at} is `{text}` where a number is expected"));
                    }
                };
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

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use std::io::Write;

    type Counts = (Vec<String>, Vec<String>, Matrix);

    fn matrix(text: &str, transposed: bool) -> Result<Counts> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counts.txt");
        let read = || TextMatrix::read_counts(&path).and_then(|m| m.into_counts(transposed));
        std::fs::write(&path, text).unwrap();
        let plain = read();
        // Gzipped it is the same.
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        std::fs::write(&path, gz.finish().unwrap()).unwrap();
        assert_eq!(format!("{:?}", read()), format!("{plain:?}"));
        plain
    }

    #[test]
    fn every_layout_is_seen() {
        for text in [
            "\ta\tb\n10x13\t0\t1.5\n10x14\t2\t0\n",
            "gene,a,b\r\n10x13,0,1.5\r\n10x14,2,0\r\n",
            "\"\",\"a\",\"b\"\n\"10x13\",0,1.5\n\"10x14\",2,-0\n",
            "a b\n10x13 0 1.5\n10x14 2 0.0",
            "a\tb\n10x13\t0\t1.5\n\n10x14\t2e0\t0",
        ] {
            let read =
                |transposed| matrix(text, transposed).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            let (rows, columns, x) = read(false);
            assert_eq!((rows.join(" "), columns.join(" ")), ("10x13 10x14".into(), "a b".into()));
            let Matrix::Csr(csr) = &x else { panic!("{x:?}") };
            assert_eq!(csr.nnz(), 2, "zeros are not stored");
            assert_eq!(x.to_array_f32(), array![[0., 1.5], [2., 0.]], "{text:?}");
            let (rows, columns, x) = read(true);
            assert_eq!((rows.join(" "), columns.join(" ")), ("a b".into(), "10x13 10x14".into()));
            assert_eq!(x.to_array_f32(), array![[0., 2.], [1.5, 0.]]);
        }
    }

    #[test]
    fn a_missing_number_is_not_a_zero() {
        let (_, _, x) = matrix(",a,b\nr,NA,\n", false).unwrap();
        assert!(x.to_array_f32().iter().all(|x| x.is_nan()));
    }

    #[test]
    fn malformed_text_is_reported_with_its_line() {
        for (text, what) in [
            ("\ta\tb\nr\t1\t2\ns\t1\n", "line 3: 3 fields expected, 2 found"),
            ("\ta\tb\nr\t1\t2\ns\t1\t2\t3\n", "line 3: 3 fields expected, 4 found"),
            ("\ta\tb\nr\t1\t2\ns\t1\tx\n", "line 3: field 3 is `x` where a number is expected"),
            ("hello\n", "there is one column only"),
            ("1\t2\t3\n4\t5\t6\n", "numbers, not names"),
            ("\ta\tb\nr\t1\n", "line 2: 3 fields expected, 2 found"),
        ] {
            let e = matrix(text, false).unwrap_err().to_string();
            assert!(e.contains(what), "{text:?}: {e}");
        }
    }
}
