//! Tables in parquet: a file, or a folder of parts `part.0.parquet`, `part.1.parquet`, ….
//!
//! ```text
//! PAR1
//! row group     column chunk    pages: [dictionary] data data …     compressed one by one
//!               column chunk    …
//! row group     …
//! footer        names and types; for each chunk its place, codec and number of values
//! u32 length of the footer, PAR1
//! ```
//!
//! The crate `parquet` reads footer and pages and decodes numbers; texts are decoded in
//! [`pages`](super::pages). What the footer and the headers of pages claim is compared with the
//! size of the file before memory is taken for it.

use super::column::Piece;
use super::field::Kind;
use super::pages::{TextPages, Texts, utf8};
use super::source::Source;
use crate::anndata::Values;
use crate::error::{Error, Result};
use parquet::basic::{ConvertedType, Encoding, LogicalType, Type};
use parquet::column::page::PageReader;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArrayType, DataType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescriptor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows that any table may have, and those it may have more for each byte of the file: runs of
/// equal values take next to no space, so the size alone is no bound.
const FREE_ROWS: u64 = 1 << 24;
const ROWS_PER_BYTE: u64 = 256;

/// A table in parquet, before it is read.
#[derive(Debug, Clone)]
pub(super) struct Parquet {
    parts: Arc<Vec<Part>>,
    columns: Arc<Vec<Leaf>>,
    pub(super) names: Vec<String>,
    pub(super) rows: usize,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    source: Arc<Source>,
    meta: ParquetMetaData,
}

/// A column that holds one value a row.
#[derive(Debug, PartialEq)]
struct Leaf {
    name: String,
    /// Its position among the columns of the file, or why it cannot be read.
    index: std::result::Result<usize, String>,
    element: Element,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F32,
    F64,
    Text,
    Unknown,
}

/// Rows of one row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    part: usize,
    group: usize,
    pub(super) rows: usize,
}

/// Calls into the crate `parquet`. On damaged files its decoders still panic in places (slices and
/// capacities computed from what a page says), which must not end a notebook's process: this is
/// the one place where a panic becomes an error. Nothing that such a panic could leave half done
/// is used afterwards.
fn guarded<T>(
    call: impl FnOnce() -> std::result::Result<T, String>,
) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("the file is damaged".into()))
}

/// A reason in the crate's words, without the kind of error in front.
fn words(e: ParquetError) -> String {
    let text = e.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, reason)| reason.to_string())
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::format(path, format!("damaged parquet file: {reason}"))
        .with_hint("Copy or download it again")
}

impl Parquet {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let files = match path.is_dir() {
            true => parts(path)?,
            false => vec![path.to_path_buf()],
        };
        let parts: Vec<Part> = files.into_iter().map(Part::open).collect::<Result<_>>()?;
        let columns = parts[0].leaves();
        for part in &parts[1..] {
            if part.leaves() != columns {
                let reason = format!("its columns are not those of {}", parts[0].path.display());
                return Err(Error::format(&part.path, reason));
            }
        }
        let rows = parts.iter().map(|p| p.meta.file_metadata().num_rows() as usize).sum();
        let names = columns.iter().map(|l| l.name.clone()).collect();
        Ok(Parquet { parts: Arc::new(parts), columns: Arc::new(columns), names, rows })
    }

    /// Checks that a column can be read.
    pub(super) fn check(&self, column: usize) -> Result<()> {
        let leaf = &self.columns[column];
        let Err(reason) = &leaf.index else { return Ok(()) };
        let readable = self.columns.iter().filter(|l| l.index.is_ok());
        let names: Vec<String> = readable.map(|l| format!("{:?}", l.name)).collect();
        let reason = format!("the column `{}` cannot be read: {reason}", leaf.name);
        let hint = format!("Leave it out: `Table::open(…)?.select(&[{}])`", names.join(", "));
        Err(Error::format(&self.parts[0].path, reason).with_hint(hint))
    }

    /// The runs of rows in which the table is stored.
    pub(super) fn groups(&self) -> Vec<Group> {
        let groups =
            |(part, p): (usize, &Part)| {
                let rows = |(group, g): (usize, &parquet::file::metadata::RowGroupMetaData)| {
                    Group { part, group, rows: g.num_rows() as usize }
                };
                p.meta.row_groups().iter().enumerate().map(rows).collect::<Vec<_>>()
            };
        self.parts.iter().enumerate().flat_map(groups).collect()
    }

    /// Opens a column of a row group, to be read from its first row on.
    pub(super) fn chunk(&self, group: Group, column: usize, kind: Kind) -> Result<Chunk> {
        self.check(column)?;
        let (part, leaf) = (&self.parts[group.part], &self.columns[column]);
        let opened = guarded(|| {
            let index = leaf.index.clone()?;
            let meta = part.meta.row_group(group.group).column(index);
            let nullable = meta.column_descr().max_def_level() > 0;
            let source = part.source.clone();
            let pages = SerializedPageReader::new(source, meta, group.rows, None).map_err(words)?;
            let pages: Box<dyn PageReader> = Box::new(pages);
            let simple = meta.encodings().all(|e| {
                matches!(
                    e,
                    Encoding::PLAIN
                        | Encoding::RLE
                        | Encoding::PLAIN_DICTIONARY
                        | Encoding::RLE_DICTIONARY
                )
            });
            let reader = match leaf.element == Element::Text && simple {
                true => Reader::Text(TextPages::new(pages, nullable)),
                false => Reader::Any(get_column_reader(meta.column_descr_ptr(), pages)),
            };
            Ok(Chunk {
                name: leaf.name.clone(),
                path: part.path.clone(),
                element: leaf.element,
                codes: kind == Kind::Categories,
                reader,
            })
        });
        opened.map_err(|e| damaged(&part.path, format!("column `{}`: {e}", leaf.name)))
    }

    /// A column of bytes, e.g. of geometries; `None` is missing.
    pub(super) fn bytes(&self, column: usize) -> Result<Vec<Option<Vec<u8>>>> {
        let mut all = Vec::new();
        for group in self.groups() {
            let mut chunk = self.chunk(group, column, Kind::Text)?;
            chunk.reader = match chunk.reader {
                Reader::Text(_) => {
                    let part = &self.parts[group.part];
                    let index = self.columns[column].index.clone();
                    let opened = guarded(|| {
                        let meta = part.meta.row_group(group.group).column(index?);
                        let source = part.source.clone();
                        let pages = SerializedPageReader::new(source, meta, group.rows, None);
                        let pages = Box::new(pages.map_err(words)?);
                        Ok(Reader::Any(get_column_reader(meta.column_descr_ptr(), pages)))
                    });
                    opened.map_err(|e| damaged(&part.path, e))?
                }
                other => other,
            };
            let Reader::Any(ColumnReader::ByteArrayColumnReader(reader)) = &mut chunk.reader else {
                let reason = format!("the column `{}` does not hold bytes", chunk.name);
                return Err(Error::format(&chunk.path, reason));
            };
            let read = guarded(|| numbers::<ByteArrayType>(reader, group.rows));
            let (values, missing) = read.map_err(|e| damaged(&chunk.path, e))?;
            let missing = missing.unwrap_or_default();
            let gone = |i: usize| missing.get(i) == Some(&true);
            let bytes = values.into_iter().enumerate();
            all.extend(bytes.map(|(i, b)| (!gone(i)).then(|| b.data().to_vec())));
        }
        Ok(all)
    }
}

/// The parts of a folder in the order of their numbers.
fn parts(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut files: Vec<(Vec<u64>, PathBuf)> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "parquet") && p.is_file())
        .map(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let digits = name.split(|c: char| !c.is_ascii_digit()).filter_map(|d| d.parse().ok());
            (digits.collect(), p)
        })
        .collect();
    files.sort();
    if files.is_empty() {
        let reason = "no table in this folder: looked for files that end in .parquet";
        return Err(Error::format(folder, reason));
    }
    Ok(files.into_iter().map(|f| f.1).collect())
}

impl Part {
    fn open(path: PathBuf) -> Result<Part> {
        let source = Arc::new(Source::open(&path)?);
        let meta = guarded(|| {
            source.check_footer()?;
            let meta = ParquetMetaDataReader::new().parse_and_finish(&*source).map_err(words)?;
            plausible(&meta, source.size())?;
            Ok(meta)
        });
        let meta = meta.map_err(|e| damaged(&path, e))?;
        Ok(Part { path, source, meta })
    }

    fn leaves(&self) -> Vec<Leaf> {
        let schema = self.meta.file_metadata().schema_descr();
        let mut leaves: Vec<Leaf> = Vec::new();
        for (index, column) in schema.columns().iter().enumerate() {
            let name = column.path().parts()[0].clone();
            if leaves.last().is_some_and(|l| l.name == name) {
                continue; // the second leaf of a column that is refused for being nested
            }
            let (index, element) = match element(column) {
                Ok(element) => (Ok(index), element),
                Err(reason) => (Err(reason), Element::Unknown),
            };
            leaves.push(Leaf { name, index, element });
        }
        leaves
    }
}

/// Compares what a footer claims with itself and with the size of the file.
fn plausible(meta: &ParquetMetaData, size: u64) -> std::result::Result<(), String> {
    let claimed = meta.file_metadata().num_rows();
    let mut rows = 0i64;
    for group in meta.row_groups() {
        if group.num_rows() < 0 {
            return Err("a row group has less than no rows".into());
        }
        rows = rows.saturating_add(group.num_rows());
        for column in group.columns() {
            let name = column.column_path().string();
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            // `byte_range` does not take a number below zero.
            let sound = start >= 0 && column.compressed_size() >= 0;
            if !sound || end.is_none_or(|end| end as u64 > size) {
                return Err(format!("the column `{name}` lies beyond the end of the file"));
            }
            let flat = column.column_descr().max_rep_level() == 0;
            if flat && column.num_values() != group.num_rows() {
                let (n, rows) = (column.num_values(), group.num_rows());
                return Err(format!("the column `{name}` has {n} values in {rows} rows"));
            }
        }
    }
    if rows != claimed {
        return Err(format!("{claimed} rows announced, {rows} in its row groups"));
    }
    if rows as u64 > FREE_ROWS.max(size.saturating_mul(ROWS_PER_BYTE)) {
        return Err(format!("it claims {rows} rows in {size} bytes"));
    }
    Ok(())
}

/// What a column holds, or why it cannot be read.
fn element(column: &ColumnDescriptor) -> std::result::Result<Element, String> {
    if column.path().parts().len() > 1 || column.max_rep_level() > 0 {
        return Err("it holds lists or records".into());
    }
    let is_signed = |t: &LogicalType| match t {
        LogicalType::Integer(i) => Some((i.bit_width, i.is_signed)),
        _ => None,
    };
    let logical = column.logical_type_ref();
    let integer = logical.and_then(is_signed);
    let not_read = || {
        let kind = match logical {
            Some(logical) => format!("{logical:?}"),
            None => format!("{}", column.converted_type()),
        };
        let kind = kind.split(['(', ' ', '{']).next().unwrap_or_default().to_lowercase();
        Err(format!("values of the type {kind} are not read"))
    };
    Ok(match (column.physical_type(), integer, column.converted_type()) {
        (Type::BOOLEAN, ..) => Element::Bool,
        (Type::FLOAT, ..) => Element::F32,
        (Type::DOUBLE, ..) => Element::F64,
        (Type::INT32, Some((8, true)), _) => Element::I8,
        (Type::INT32, Some((16, true)), _) => Element::I16,
        (Type::INT32, Some((32, true)), _) => Element::I32,
        (Type::INT64, Some((64, true)), _) => Element::I64,
        (Type::INT32, Some((8, false)), _) => Element::U8,
        (Type::INT32, Some((16, false)), _) => Element::U16,
        (Type::INT32, Some((32, false)), _) => Element::U32,
        (Type::INT64, Some((64, false)), _) => Element::U64,
        (Type::INT32, None, ConvertedType::NONE) if logical.is_none() => Element::I32,
        (Type::INT64, None, ConvertedType::NONE) if logical.is_none() => Element::I64,
        (Type::INT32, None, ConvertedType::INT_8) => Element::I8,
        (Type::INT32, None, ConvertedType::INT_16) => Element::I16,
        (Type::INT32, None, ConvertedType::INT_32) => Element::I32,
        (Type::INT64, None, ConvertedType::INT_64) => Element::I64,
        (Type::INT32, None, ConvertedType::UINT_8) => Element::U8,
        (Type::INT32, None, ConvertedType::UINT_16) => Element::U16,
        (Type::INT32, None, ConvertedType::UINT_32) => Element::U32,
        (Type::INT64, None, ConvertedType::UINT_64) => Element::U64,
        (Type::BYTE_ARRAY, _, ConvertedType::DECIMAL) => return not_read(),
        (Type::BYTE_ARRAY, ..) if !matches!(logical, Some(LogicalType::Decimal(_))) => {
            Element::Text
        }
        (Type::INT96, ..) => return Err("times of the old type INT96 are not read".into()),
        (Type::FIXED_LEN_BYTE_ARRAY, None, ConvertedType::NONE) if logical.is_none() => {
            return Err("bytes of a fixed length are not read".into());
        }
        _ => return not_read(),
    })
}

/// A column of a row group while it is read.
pub(super) struct Chunk {
    name: String,
    path: PathBuf,
    element: Element,
    codes: bool,
    reader: Reader,
}

enum Reader {
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
fn numbers<T: DataType>(
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
