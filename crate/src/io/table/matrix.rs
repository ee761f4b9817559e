//! Matrices of counts as text: named rows, named columns, numbers between, most of them zero.
//!
//! ```text
//!         SAMD11  NOC2L        delimiter: tab, comma, semicolon or blanks; fields may be quoted
//! 10x13   6       1            the corner may be empty, a name, or left out altogether
//! 10x14   0       3
//! ```
//!
//! The text is parsed in blocks on all cores while the next ones are decompressed, straight into
//! rows of a sparse matrix: neither the text nor a dense table is ever whole in memory.

use super::field::{is_missing, number};
use super::records::{Dialect, Records, Sink, first_record, parse};
use crate::anndata::{Matrix, Sparse, Values};
use crate::error::{Error, Result};
use std::path::Path;

/// Bytes from which the layout is seen at first.
const HEAD: usize = 1 << 16;
/// No header is longer than this.
const MAX_HEAD: usize = 1 << 26;

/// A matrix with the names of its rows and columns.
#[derive(Debug)]
pub(in crate::io) struct TextMatrix {
    pub rows: Vec<String>,
    pub columns: Vec<String>,
    /// `rows × columns`, CSR in `float32` without zeros.
    pub values: Sparse,
}

/// The layout of a file, as its first two records show it.
pub(in crate::io) struct Layout {
    dialect: Dialect,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The name of the first row.
    pub first_row: String,
    /// Bytes and lines of the header.
    skip: (usize, usize),
}

impl Layout {
    /// Looks at the start of a file.
    ///
    /// # Errors
    /// [`Error::Format`] when there is no header of names followed by a row with a name and
    /// numbers.
    pub fn of(path: &Path) -> Result<Layout> {
        let bad = |reason: String| {
            Error::format(path, reason).with_hint(
                "A matrix of counts has a header of names, and rows of a name and numbers, \
                 separated by tab, comma, semicolon or blanks",
            )
        };
        let mut wanted = HEAD;
        let mut records = Records::open(path, Dialect { delimiter: b',' })?;
        loop {
            let head = records.peek(wanted)?;
            let complete = head.len() < wanted;
            let dialect = Dialect { delimiter: delimiter(head) };
            let header = first_record(head, dialect);
            let second = first_record(&head[header..], dialect);
            if header + second < head.len() || complete {
                let names = fields(&head[..header], dialect).map_err(&bad)?;
                let row = fields(&head[header..header + second], dialect).map_err(&bad)?;
                let skip = (header, memchr::memchr_iter(b'\n', &head[..header]).count());
                let columns = match row.len() {
                    n if n > 1 && n == names.len() => names[1..].to_vec(),
                    n if n > 1 && n == names.len() + 1 => names.clone(),
                    n => {
                        let (header, row) = (names.len(), n);
                        let found = format!("a header of {header} fields over a row of {row}");
                        return Err(bad(found));
                    }
                };
                // Cells may be numbered, but then their corner is not.
                if names.len() == row.len() && names.iter().all(|c| number(c.as_bytes()).is_some())
                {
                    return Err(bad("the first line holds numbers, not names".into()));
                }
                return Ok(Layout { dialect, columns, first_row: row[0].clone(), skip });
            }
            if wanted >= MAX_HEAD {
                return Err(bad("the first lines do not end".into()));
            }
            wanted *= 4;
        }
    }
}

fn read(path: &Path) -> Result<TextMatrix> {
    let Layout { dialect, columns, skip, .. } = Layout::of(path)?;
    if columns.len() > u32::MAX as usize {
        return Err(Error::format(path, format!("{} columns cannot be held", columns.len())));
    }
    let mut records = Records::open(path, dialect)?;
    records.peek(skip.0)?;
    records.skip(skip.0);
    let (mut rows, mut indptr) = (Vec::new(), vec![0usize]);
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    let parse_block = |block: &[u8]| {
        let mut rows = Rows { width: columns.len(), ..Rows::default() };
        let lines = parse(block, dialect, &mut rows)?;
        Ok((lines, rows))
    };
    records.batches(skip.1).each(parse_block, |mut block: Rows| {
        rows.append(&mut block.names);
        indptr.extend(block.ends.iter().map(|end| indices.len() + end));
        indices.append(&mut block.indices);
        values.append(&mut block.values);
        Ok(())
    })?;
    let shape = (rows.len(), columns.len());
    let values = Sparse::new(shape, true, indptr, indices, Values::F32(values))
        .map_err(|e| Error::format(path, e.to_string()))?;
    Ok(TextMatrix { rows, columns, values })
}

impl TextMatrix {
    /// Reads a matrix; numbers are parsed as `float64` and kept as `float32`, missing ones as NaN.
    ///
    /// # Errors
    /// [`Error::Format`] naming the line of a field that is no number or of a row with fewer or
    /// more fields than the header.
    pub fn read(path: &Path) -> Result<TextMatrix> {
        read(path)
    }

    /// The matrix with its columns as rows, in CSR.
    pub fn transposed(self) -> TextMatrix {
        let Sparse { nrows, ncols, indptr, indices, values } = self.values;
        let by_columns = Sparse { nrows: ncols, ncols: nrows, indptr, indices, values };
        let values = Matrix::Csc(by_columns).to_csr();
        TextMatrix { rows: self.columns, columns: self.rows, values }
    }
}

/// The delimiter that the first line has most of.
fn delimiter(head: &[u8]) -> u8 {
    let line = &head[..memchr::memchr(b'\n', head).unwrap_or(head.len())];
    let count = |d: u8| memchr::memchr_iter(d, line).count();
    let best = *b"\t,;".iter().max_by_key(|&&d| (count(d), d == b'\t')).unwrap_or(&b'\t');
    if count(best) == 0 { b' ' } else { best }
}

/// The fields of a record as text.
fn fields(record: &[u8], dialect: Dialect) -> Result<Vec<String>, String> {
    struct Texts(Vec<String>);
    impl Sink for Texts {
        fn field(&mut self, _: usize, field: &[u8]) -> Result<(), String> {
            let text = std::str::from_utf8(field).map_err(|_| "the file is not UTF-8 text")?;
            self.0.push(text.to_string());
            Ok(())
        }
        fn end(&mut self, _: usize) -> Result<(), String> {
            Ok(())
        }
    }
    let mut texts = Texts(Vec::new());
    parse(record, dialect, &mut texts).map_err(|(_, reason)| reason)?;
    Ok(texts.0)
}

/// The rows of a block.
#[derive(Default)]
struct Rows {
    width: usize,
    names: Vec<String>,
    /// Number of elements up to the end of each row.
    ends: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Sink for Rows {
    fn field(&mut self, column: usize, field: &[u8]) -> Result<(), String> {
        if column == 0 {
            let name = std::str::from_utf8(field).map_err(|_| "the name is not UTF-8 text")?;
            self.names.push(name.to_string());
            return Ok(());
        }
        if field == b"0" {
            return Ok(());
        }
        let value = match number(field) {
            Some(x) => x.to_f64() as f32,
            None if is_missing(field) => f32::NAN,
            None => {
                let (text, name) = (String::from_utf8_lossy(field), self.names.last());
                let name = name.map_or("", String::as_str);
                return Err(format!(
                    "field {} of row `{name}`, `{text}`, is no number",
                    column + 1
                ));
            }
        };
        if value != 0.0 {
            // Fields beyond the last column are reported at the end of the record.
            self.indices.push((column - 1) as u32);
            self.values.push(value);
        }
        Ok(())
    }

    fn end(&mut self, fields: usize) -> Result<(), String> {
        if fields != self.width + 1 {
            let expected = self.width + 1;
            return Err(format!("{fields} fields, where the header asks for {expected}"));
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

    fn matrix(text: &str) -> Result<TextMatrix> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counts.tsv");
        std::fs::write(&path, text).unwrap();
        let plain = read(&path);
        // Gzipped it is the same.
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text.as_bytes()).unwrap();
        std::fs::write(&path, gz.finish().unwrap()).unwrap();
        assert_eq!(format!("{:?}", read(&path)), format!("{plain:?}"));
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
            let m = matrix(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(
                (m.rows.join(" "), m.columns.join(" ")),
                ("10x13 10x14".into(), "a b".into())
            );
            assert_eq!(m.values.nnz(), 2, "zeros are not stored");
            let dense = Matrix::Csr(m.values.clone()).to_array_f32();
            assert_eq!(dense, array![[0., 1.5], [2., 0.]], "{text:?}");
            let t = m.transposed();
            assert_eq!(
                (t.rows.join(" "), t.columns.join(" ")),
                ("a b".into(), "10x13 10x14".into())
            );
            assert_eq!(Matrix::Csr(t.values).to_array_f32(), array![[0., 2.], [1.5, 0.]]);
        }
    }

    #[test]
    fn a_missing_number_is_not_a_zero() {
        let m = matrix(",a,b\nr,NA,\n").unwrap();
        assert_eq!(m.values.nnz(), 2);
        assert!(m.values.values.to_f32().iter().all(|x| x.is_nan()));
    }

    #[test]
    fn malformed_text_is_reported_with_its_line() {
        for (text, what) in [
            ("\ta\tb\nr\t1\t2\ns\t1\n", "line 3: 2 fields, where the header asks for 3"),
            ("\ta\tb\nr\t1\t2\ns\t1\t2\t3\n", "line 3: 4 fields"),
            ("\ta\tb\nr\t1\t2\ns\t1\tx\n", "line 3: field 3 of row `s`, `x`, is no number"),
            ("hello\n", "a header of 1 fields over a row of 0"),
            ("1\t2\t3\n4\t5\t6\n", "numbers, not names"),
            ("\ta\tb\nr\t1\n", "a header of 3 fields over a row of 2"),
        ] {
            let e = matrix(text).unwrap_err().to_string();
            assert!(e.contains(what), "{text:?}: {e}");
        }
    }
}
