//! Tables: rows and named columns in text or parquet, of whatever size.
//!
//! | module | holds |
//! |---|---|
//! | `mod` | [`Table`]: what a table is, whatever it is written in; [`Blocks`] |
//! | `delimited` | text: layout, types, rows |
//! | `records`, `field` | text: blocks, records and fields; numbers and missing values |
//! | `labelled` | text: matrices of counts with several labels a row |
//! | `parquet`, `chunk`, `pages` | parquet: footer; columns; pages of texts |
//! | `source`, `thrift` | parquet: the file; what its headers claim |
//! | `matrix` | text: numbers with named rows and columns, as a sparse matrix |
//! | `column` | columns while they are put together from pieces |

mod chunk;
mod column;
mod delimited;
mod field;
mod matrix;
mod pages;
mod parquet;
mod records;
mod source;
#[cfg(test)]
mod tests;
mod thrift;

pub(in crate::io) use matrix::TextMatrix;

use crate::anndata::{Column, Frame};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_interrupt};
use chunk::Chunk;
use column::Gather;
use delimited::Delimited;
use field::Kind;
use parquet::{Group, Parquet};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// A table in a file: text or parquet, told apart by their content.
///
/// * **Text**: fields between commas, tabs, semicolons, bars or blanks (the first lines decide),
///   plain or gzipped, quoted or not. The first line is a header unless there are numbers in it
///   above numbers ([`Table::header`] says otherwise). Types are those that pandas 2's `read_csv`
///   infers from whole columns: `bool`, `int64`, `uint64`, `float64` or text, with the same texts
///   for missing values; numbers are rounded correctly, as with `float_precision="round_trip"`.
///   Unlike in pandas a record with too few fields is an error, booleans of which some are missing
///   stay booleans (nullable), and so do whole numbers if one is too large for a `float64`.
///   Where records have one field more than the header, the first is the name of the row.
/// * **Parquet**: a file, or a folder of files as one table; columns of booleans, numbers and
///   texts, in their own types. Bytes that no type is stated for are texts. Whole numbers and
///   booleans of which some are missing are nullable, as with
///   `pd.read_parquet(dtype_backend="numpy_nullable")`. A column of another kind (lists, records,
///   dates, decimals) is refused when it is asked for, not before.
///
/// ```no_run
/// # use spatialkit::io::Table;
/// let table = Table::open("transcripts.parquet")?.categories(&["feature_name"]);
/// println!("{} rows of {:?}", table.n_rows()?, table.columns());
/// for block in table.blocks(&["feature_name", "x_location", "y_location"], 1_000_000)? {
///     let block = block?; // a Frame of a million rows
/// }
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    source: Source,
    kinds: Vec<Kind>,
    /// Columns that were given a kind but do not exist.
    unknown: Option<String>,
}

#[derive(Debug, Clone)]
enum Source {
    Text(Delimited),
    Parquet(Parquet),
}

/// Reads a whole table; see [`Table`].
///
/// # Errors
/// As [`Table::open`] and [`Table::read`].
pub fn read_table(path: impl AsRef<Path>) -> Result<Frame> {
    Table::open_path(path.as_ref())?.read()
}

impl Table {
    /// Opens a table and sees its columns; nothing else is read yet.
    ///
    /// # Errors
    /// [`Error::Io`] for a missing file, [`Error::Format`] when it is no table or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Table> {
        Table::open_path(path.as_ref())
    }

    fn open_path(path: &Path) -> Result<Table> {
        let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        let source = match path.is_dir() || named || is_parquet(path) {
            true => Source::Parquet(Parquet::open(path)?),
            false => Source::Text(Delimited::open(path, None, None)?),
        };
        Ok(Table::new(path, source))
    }

    fn new(path: &Path, source: Source) -> Table {
        let mut table = Table { path: path.into(), source, kinds: Vec::new(), unknown: None };
        table.kinds = vec![Kind::Infer; table.columns().len()];
        table
    }

    /// Opens a table of text whose header is known to be there or not, passing over lines at the
    /// start that begin with `comment`.
    pub(in crate::io) fn open_text(
        path: &Path,
        header: Option<bool>,
        comment: Option<u8>,
    ) -> Result<Table> {
        Ok(Table::new(path, Source::Text(Delimited::open(path, header, comment)?)))
    }

    /// Says whether the first line of a table of text names the columns. Without it they are named
    /// `0`, `1`, …. What was said of columns before is forgotten.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn header(self, header: bool) -> Result<Table> {
        match self.source {
            Source::Text(_) => Table::open_text(&self.path, Some(header), None),
            Source::Parquet(_) => Ok(self),
        }
    }

    /// Reads columns of repeated texts as categories, in natural order: four bytes a row.
    pub fn categories(self, columns: &[&str]) -> Self {
        self.kind(columns, Kind::Categories)
    }

    /// Reads columns of a table of text as text exactly as it stands, whatever it looks like:
    /// `0012` stays so, `NA` is a name.
    pub fn text(self, columns: &[&str]) -> Self {
        self.kind(columns, Kind::Verbatim)
    }

    fn kind(mut self, columns: &[&str], kind: Kind) -> Self {
        for &column in columns {
            match self.columns().iter().position(|c| c == column) {
                Some(i) => self.kinds[i] = kind,
                None => self.unknown = Some(column.into()),
            }
        }
        self
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        match &self.source {
            Source::Text(t) => &t.names,
            Source::Parquet(t) => &t.names,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of rows. Parquet states it; text has to be gone through.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Format`] when the text cannot be read.
    pub fn n_rows(&self) -> Result<usize> {
        match &self.source {
            Source::Text(t) => t.count(),
            Source::Parquet(t) => Ok(t.rows),
        }
    }

    /// Reads all columns. The rows are named `0`, `1`, … unless the table names them.
    ///
    /// # Errors
    /// [`Error::Format`] naming the file, the line or column, and what is wrong with it;
    /// [`Error::MissingKey`] when a column named before does not exist; [`Error::Interrupted`].
    pub fn read(&self) -> Result<Frame> {
        self.read_columns(&(0..self.columns().len()).collect::<Vec<_>>())
    }

    /// Reads some columns, in the order given.
    ///
    /// # Errors
    /// As [`Table::read`]; [`Error::MissingKey`] listing the columns when one does not exist.
    pub fn select(&self, columns: &[&str]) -> Result<Frame> {
        self.read_columns(&self.positions(columns)?)
    }

    /// Reads the table, or the columns named (none: all), in blocks of `rows` rows, so that memory
    /// does not grow with the table. Codes of categories mean the same in every block: categories
    /// come in the order of their first row, and later blocks may have more of them. A column of
    /// text that starts with whole numbers is `int64` until the first fraction and `float64` after.
    ///
    /// # Errors
    /// As [`Table::select`]; [`Error::Parameter`] for blocks of no rows.
    pub fn blocks(&self, columns: &[&str], rows: usize) -> Result<Blocks> {
        if rows == 0 {
            return Err(Error::parameter("rows", 0, "a block has one row at least"));
        }
        let columns = match columns {
            [] => (0..self.columns().len()).collect(),
            some => self.positions(some)?,
        };
        let columns = self.with_kinds(&columns)?;
        let source = match &self.source {
            Source::Text(t) => BlockSource::Text(Box::new(t.stream(&columns)?)),
            Source::Parquet(t) => BlockSource::Parquet {
                table: t.clone(),
                groups: t.groups().into(),
                open: Vec::new(),
                left: 0,
                gathers: columns.iter().map(|_| Gather::default()).collect(),
            },
        };
        Ok(Blocks { table: self.clone(), columns, rows, done: 0, source: Some(source) })
    }

    /// A column of bytes of a parquet table, e.g. of geometries; `None` is missing.
    #[allow(dead_code)]
    pub(in crate::io) fn bytes(&self, column: &str) -> Result<Vec<Option<Vec<u8>>>> {
        let column = self.positions(&[column])?[0];
        match &self.source {
            Source::Parquet(t) => t.bytes(column),
            Source::Text(_) => Err(Error::format(&self.path, "a table of text holds no bytes")),
        }
    }

    fn positions(&self, columns: &[&str]) -> Result<Vec<usize>> {
        let find = |&name: &&str| {
            let missing = || Error::missing_key("table", "column", name, self.columns());
            self.columns().iter().position(|c| c == name).ok_or_else(missing)
        };
        columns.iter().map(find).collect()
    }

    fn with_kinds(&self, columns: &[usize]) -> Result<Vec<(usize, Kind)>> {
        if let Some(name) = &self.unknown {
            return Err(Error::missing_key("table", "column", name, self.columns()));
        }
        if let Source::Parquet(t) = &self.source {
            columns.iter().try_for_each(|&c| t.check(c))?;
        }
        Ok(columns.iter().map(|&c| (c, self.kinds[c])).collect())
    }

    fn read_columns(&self, columns: &[usize]) -> Result<Frame> {
        let columns = self.with_kinds(columns)?;
        let (read, rows) = match &self.source {
            Source::Text(t) => (t.read(&columns)?, None),
            Source::Parquet(t) => (read_parquet(&self.path, t, &columns)?, Some(t.rows)),
        };
        let read = read.into_iter().map(Gather::finish).collect();
        self.frame(&columns, read, 0, rows)
    }

    /// Columns as a table whose first row is row `first`; the names of the rows come last.
    fn frame(
        &self,
        columns: &[(usize, Kind)],
        mut read: Vec<Column>,
        first: usize,
        rows: Option<usize>,
    ) -> Result<Frame> {
        let named = read.len() > columns.len();
        let names = if named { read.pop() } else { None };
        let rows = rows.or(read.first().map(Column::len)).unwrap_or(0);
        let mut frame = match names {
            Some(Column::Str(names)) => {
                Frame::new(names.into_iter().map(Option::unwrap_or_default).collect())
            }
            _ if first == 0 => Frame::with_len(rows),
            _ => Frame::new((first..first + rows).map(|i| i.to_string()).collect()),
        };
        for (&(i, _), column) in columns.iter().zip(read) {
            frame.insert(&self.columns()[i], column)?;
        }
        Ok(frame)
    }
}

fn is_parquet(path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0u8; 4];
    crate::io::files::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok()
        && head == *b"PAR1"
}

/// Reads columns of a parquet table: a few row groups at a time, all their columns in parallel.
fn read_parquet(path: &Path, table: &Parquet, columns: &[(usize, Kind)]) -> Result<Vec<Gather>> {
    let groups = table.groups();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut progress = Progress::new(format!("reading {name}"), table.rows as u64);
    let mut gathers: Vec<Gather> = columns.iter().map(|_| Gather::default()).collect();
    let at_once = (2 * rayon::current_num_threads()).div_ceil(columns.len().max(1));
    for groups in groups.chunks(at_once) {
        let tasks: Vec<(Group, usize)> =
            groups.iter().flat_map(|&g| (0..columns.len()).map(move |c| (g, c))).collect();
        let pieces: Vec<_> = tasks
            .par_iter()
            .map(|&(group, c)| {
                check_interrupt()?;
                table.chunk(group, columns[c].0, columns[c].1)?.read(group.rows)
            })
            .collect();
        for (&(_, c), piece) in tasks.iter().zip(pieces) {
            gathers[c].push(piece?).map_err(|_| mixed(path))?;
        }
        progress.tick(groups.iter().map(|g| g.rows as u64).sum())?;
    }
    progress.finish();
    Ok(gathers)
}

fn mixed(path: &Path) -> Error {
    Error::format(path, "a column changes its type from one row group to the next")
}

/// A table block by block: an iterator over `Result<Frame>`. The rows of a block are named by their
/// positions in the table unless the table names them.
pub struct Blocks {
    table: Table,
    columns: Vec<(usize, Kind)>,
    rows: usize,
    done: usize,
    source: Option<BlockSource>,
}

enum BlockSource {
    Text(Box<delimited::Stream>),
    Parquet {
        table: Parquet,
        groups: std::collections::VecDeque<Group>,
        /// The columns of the row group that is being read, and how many of its rows are left.
        open: Vec<Chunk>,
        left: usize,
        gathers: Vec<Gather>,
    },
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blocks({} rows of {})", self.rows, self.table.path.display())
    }
}

impl Blocks {
    fn next_block(&mut self) -> Result<Option<Frame>> {
        check_interrupt()?;
        let rows = self.rows;
        let (read, n) = match &mut self.source {
            None => return Ok(None),
            Some(BlockSource::Text(stream)) => {
                let read = stream.next(rows)?;
                let n = read.first().map_or(0, Column::len);
                (read, n)
            }
            Some(BlockSource::Parquet { table, groups, open, left, gathers }) => {
                let mut n = 0;
                while n < rows {
                    if *left == 0 {
                        let Some(group) = groups.pop_front() else { break };
                        let chunk = |&(c, kind): &(usize, Kind)| table.chunk(group, c, kind);
                        *open = self.columns.iter().map(chunk).collect::<Result<_>>()?;
                        *left = group.rows;
                        continue;
                    }
                    let take = (*left).min(rows - n);
                    let pieces: Vec<_> = open.par_iter_mut().map(|c| c.read(take)).collect();
                    for (gather, piece) in gathers.iter_mut().zip(pieces) {
                        gather.push(piece?).map_err(|_| mixed(&self.table.path))?;
                    }
                    *left -= take;
                    n += take;
                }
                (gathers.iter_mut().map(|g| g.take_front(n)).collect(), n)
            }
        };
        if n == 0 {
            return Ok(None);
        }
        let frame = self.table.frame(&self.columns, read, self.done, Some(n))?;
        self.done += n;
        Ok(Some(frame))
    }
}

impl Iterator for Blocks {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        let next = self.next_block();
        if !matches!(next, Ok(Some(_))) {
            self.source = None;
        }
        next.transpose()
    }
}
