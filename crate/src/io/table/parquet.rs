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

use super::chunk::{Chunk, Reader, numbers};
use super::field::Kind;
use super::pages::TextPages;
use super::source::{Pages, Source};
use crate::error::{Error, Result};
use parquet::basic::{ConvertedType, Encoding, LogicalType, Type};
use parquet::column::page::PageReader;
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::data_type::ByteArrayType;
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
pub(super) enum Element {
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
pub(super) fn guarded<T>(
    call: impl FnOnce() -> std::result::Result<T, String>,
) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err("the file is damaged".into()))
}

/// A reason in the crate's words, without the kind of error in front.
pub(super) fn words(e: ParquetError) -> String {
    let text = e.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, reason)| reason.to_string())
}

pub(super) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Error {
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
            let pages: Box<dyn PageReader> = Box::new(Pages(pages));
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
                        let pages = Box::new(Pages(pages.map_err(words)?));
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
            plausible(&meta, source.footer())?;
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
fn plausible(meta: &ParquetMetaData, footer: u64) -> std::result::Result<(), String> {
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
            if !sound || end.is_none_or(|end| end as u64 > footer) {
                return Err(format!("the column `{name}` lies beyond the end of the data"));
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
    if rows as u64 > FREE_ROWS.max(footer.saturating_mul(ROWS_PER_BYTE)) {
        return Err(format!("it claims {rows} rows in {footer} bytes"));
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
