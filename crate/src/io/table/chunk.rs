//! A column of a row group of a parquet file, decoded run by run into [`Piece`]s.

use super::column::Piece;
use super::pages::{TextPages, Texts, utf8};
use super::parquet::{Element, damaged, guarded, words};
use crate::anndata::Values;
use crate::error::Result;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType};
use std::path::PathBuf;

/// A column of a row group while it is read.
pub(super) struct Chunk {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) element: Element,
    pub(super) codes: bool,
    pub(super) reader: Reader,
}

pub(super) enum Reader {
    Text(TextPages),
    Any(ColumnReader),
}

impl Chunk {
    /// The next `n` rows.
    pub(super) fn read(&mut self, n: usize) -> Result<Piece> {
        let read = guarded(|| self.piece(n));
        read.map_err(|e| damaged(&self.path, format!("column `{}`: {e}", self.name)))
    }

    fn piece(&mut self, n: usize) -> std::result::Result<Piece, String> {
        let reader = match &mut self.reader {
            Reader::Text(pages) if self.codes => {
                let mut codes = Texts::Codes(Vec::new());
                pages.read(n, &mut codes)?;
                let Texts::Codes(codes) = codes else { return Err("no codes".into()) };
                return Ok(Piece::Codes { codes, labels: pages.labels().to_vec() });
            }
            Reader::Text(pages) => {
                let mut texts = Texts::Text(Vec::new());
                pages.read(n, &mut texts)?;
                let Texts::Text(texts) = texts else { return Err("no texts".into()) };
                return Ok(Piece::Text(texts));
            }
            Reader::Any(reader) => reader,
        };
        macro_rules! as_type {
            ($read:expr, $ty:ty) => {{
                let (values, missing) = $read?;
                (Values::from(values.into_iter().map(|x| x as $ty).collect::<Vec<$ty>>()), missing)
            }};
        }
        let (mut values, missing) = match (reader, self.element) {
            (ColumnReader::BoolColumnReader(r), _) => {
                let (values, missing) = numbers(r, n)?;
                (Values::Bool(values), missing)
            }
            (ColumnReader::FloatColumnReader(r), _) => as_type!(numbers(r, n), f32),
            (ColumnReader::DoubleColumnReader(r), _) => as_type!(numbers(r, n), f64),
            (ColumnReader::Int32ColumnReader(r), Element::I8) => as_type!(numbers(r, n), i8),
            (ColumnReader::Int32ColumnReader(r), Element::I16) => as_type!(numbers(r, n), i16),
            (ColumnReader::Int32ColumnReader(r), Element::U8) => as_type!(numbers(r, n), u8),
            (ColumnReader::Int32ColumnReader(r), Element::U16) => as_type!(numbers(r, n), u16),
            (ColumnReader::Int32ColumnReader(r), Element::U32) => as_type!(numbers(r, n), u32),
            (ColumnReader::Int32ColumnReader(r), _) => as_type!(numbers(r, n), i32),
            (ColumnReader::Int64ColumnReader(r), Element::U64) => as_type!(numbers(r, n), u64),
            (ColumnReader::Int64ColumnReader(r), _) => as_type!(numbers(r, n), i64),
            (ColumnReader::ByteArrayColumnReader(r), _) => {
                let (values, missing) = numbers::<ByteArrayType>(r, n)?;
                let missing = missing.unwrap_or_default();
                let mut texts = Vec::with_capacity(values.len());
                for (i, value) in values.iter().enumerate() {
                    texts.push(match missing.get(i) {
                        Some(true) => None,
                        _ => Some(utf8(value.data())?.to_string()),
                    });
                }
                return Ok(if self.codes { codes(texts) } else { Piece::Text(texts) });
            }
            _ => return Err("its type is not the one announced".into()),
        };
        // NaN says it for floating-point numbers, as in pandas.
        match (&mut values, &missing) {
            (Values::F64(v), Some(gone)) => {
                v.iter_mut().zip(gone).filter(|(_, g)| **g).for_each(|(x, _)| *x = f64::NAN);
            }
            (Values::F32(v), Some(gone)) => {
                v.iter_mut().zip(gone).filter(|(_, g)| **g).for_each(|(x, _)| *x = f32::NAN);
            }
            _ => return Ok(Piece::Values { values, missing }),
        }
        Ok(Piece::Values { values, missing: None })
    }
}

/// Texts as codes of categories.
fn codes(texts: Vec<Option<String>>) -> Piece {
    let mut labels = Vec::new();
    let mut place = std::collections::HashMap::new();
    let code = |text: Option<String>| {
        let Some(text) = text else { return -1 };
        *place.entry(text).or_insert_with_key(|text| {
            labels.push(text.clone());
            labels.len() as i32 - 1
        })
    };
    let codes = texts.into_iter().map(code).collect();
    Piece::Codes { codes, labels }
}

/// Reads `n` rows: a value for each, and which are missing if some are.
#[allow(clippy::type_complexity)]
pub(super) fn numbers<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    n: usize,
) -> std::result::Result<(Vec<T::T>, Option<Vec<bool>>), String> {
    // Memory grows with what is there, not with what was announced.
    const STEP: usize = 1 << 18;
    let mut values = Vec::new();
    let mut levels = Vec::new();
    let mut rows = 0;
    while rows < n {
        let step = (n - rows).min(STEP);
        let (read, ..) =
            reader.read_records(step, Some(&mut levels), None, &mut values).map_err(words)?;
        if read == 0 {
            return Err("the column ends before its last row".into());
        }
        rows += read;
    }
    if values.len() == n {
        return Ok((values, None));
    }
    if levels.len() != n {
        return Err("the column ends before its last row".into());
    }
    let missing: Vec<bool> = levels.iter().map(|&l| l == 0).collect();
    let mut values = values.into_iter();
    let mut all = Vec::with_capacity(n);
    for &gone in &missing {
        all.push(match gone {
            true => T::T::default(),
            false => values.next().ok_or("the column has fewer values than it says")?,
        });
    }
    Ok((all, Some(missing)))
}
