//! Tables of text: comma, tab, semicolon, bar or blanks between the fields, plain or gzipped.
//!
//! The layout is seen from the first lines. Types are inferred as pandas' `read_csv` infers them
//! from whole columns; only numbers are parsed better: correctly rounded, which pandas does with
//! `float_precision="round_trip"`.

use super::column::{Gather, Piece};
use super::field::{self, Builder, Kind, Refused};
use super::records::{Batches, Dialect, Records, Sink, first_record, parse};
use crate::anndata::Column;
use crate::error::{Error, Result};
use crate::io::files;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Bytes from which the layout is seen.
const HEAD: usize = 1 << 16;
/// No table is wider than this: what looks like one is a file without line breaks.
const MAX_HEAD: usize = 1 << 28;

/// A table of text, before it is read.
#[derive(Debug, Clone)]
pub(super) struct Delimited {
    path: PathBuf,
    pub(super) dialect: Dialect,
    /// The names of all columns; without that of row names.
    pub(super) names: Vec<String>,
    /// Whether the records have one field more than the header: the names of the rows, first.
    pub(super) row_names: bool,
    /// The first field of the first record.
    pub(super) first_field: Option<String>,
    /// Bytes and lines before the first record.
    skip: (usize, usize),
}

impl Delimited {
    /// Sees the layout. `header` says whether the first record names the columns (`None`: decide);
    /// lines at the start that begin with `comment` are passed over.
    pub(super) fn open(path: &Path, header: Option<bool>, comment: Option<u8>) -> Result<Self> {
        files::check_download(path)?;
        let mut records = Records::open(path, Dialect { delimiter: b',' })?;
        let mut wanted = HEAD;
        loop {
            let head = records.peek(wanted)?;
            let complete = head.len() < wanted;
            if complete || wanted >= MAX_HEAD || memchr::memchr_iter(b'\n', head).count() > 20 {
                return layout(path, head, complete, header, comment);
            }
            wanted *= 4;
        }
    }

    fn fields(&self) -> usize {
        self.names.len() + usize::from(self.row_names)
    }

    fn records(&self) -> Result<Records> {
        let mut records = Records::open(&self.path, self.dialect)?;
        records.peek(self.skip.0)?;
        records.skip(self.skip.0);
        Ok(records)
    }

    /// The records, to be parsed from the first.
    pub(super) fn batches(&self) -> Result<Batches> {
        Ok(self.records()?.batches(self.skip.1))
    }

    /// The number of records.
    pub(super) fn count(&self) -> Result<usize> {
        let mut total = 0;
        let count = |block: &[u8]| {
            let mut counter = Counter { rows: 0 };
            Ok((parse(block, self.dialect, &mut counter)?, counter.rows))
        };
        let mut batches = self.batches()?;
        batches.each(count, |rows| {
            total += rows;
            Ok(())
        })?;
        Ok(total)
    }

    /// Which builder, if any, takes each field; the names of the rows have the last builder.
    fn plan(&self, columns: &[(usize, Kind)]) -> Vec<Option<usize>> {
        let shift = usize::from(self.row_names);
        let mut plan = vec![None; self.fields()];
        for (i, &(column, _)) in columns.iter().enumerate() {
            plan[column + shift] = Some(i);
        }
        if self.row_names {
            plan[0] = Some(columns.len());
        }
        plan
    }

    /// Reads columns, each by its position among `names`; the names of the rows, if the table has
    /// them, come after.
    pub(super) fn read(&self, columns: &[(usize, Kind)]) -> Result<Vec<Gather>> {
        let mut kinds: Vec<Kind> = columns.iter().map(|c| c.1).collect();
        if self.row_names {
            kinds.push(Kind::Verbatim);
        }
        let plan = self.plan(columns);
        // A column that turns out to be text late is read again from the start.
        'again: loop {
            let mut gathers: Vec<Gather> = kinds.iter().map(|_| Gather::default()).collect();
            let mut conflict = None;
            let parsed = |block: &[u8]| self.pieces(block, &plan, &kinds);
            let mut batches = self.batches()?;
            let done = batches.each(parsed, |pieces: Vec<Piece>| {
                for (i, piece) in pieces.into_iter().enumerate() {
                    if gathers[i].push(piece).is_err() {
                        conflict = Some(i);
                        return Err(Error::data(self.name(i, columns), "numbers and text"));
                    }
                }
                Ok(())
            });
            if let Some(i) = conflict {
                kinds[i] = Kind::Text;
                continue 'again;
            }
            done?;
            gathers.iter_mut().for_each(Gather::nan_for_missing);
            return Ok(gathers);
        }
    }

    /// Parses a block. Within it, a column of numbers in which a text turns up is parsed again.
    fn pieces(
        &self,
        block: &[u8],
        plan: &[Option<usize>],
        kinds: &[Kind],
    ) -> Result<(usize, Vec<Piece>), (usize, String)> {
        let mut kinds = kinds.to_vec();
        loop {
            let builders = kinds.iter().map(|&k| Builder::new(k)).collect();
            let mut rows = Rows { table: self, plan, builders, not_a_number: None };
            match parse(block, self.dialect, &mut rows) {
                Ok(lines) => {
                    return Ok((lines, rows.builders.into_iter().map(Builder::finish).collect()));
                }
                Err(failure) => match rows.not_a_number {
                    Some(i) => kinds[i] = Kind::Text,
                    None => return Err(failure),
                },
            }
        }
    }

    fn name<'a>(&'a self, i: usize, columns: &[(usize, Kind)]) -> &'a str {
        columns.get(i).map_or("row names", |c| &self.names[c.0])
    }

    /// The table from its start, to be read in pieces.
    pub(super) fn stream(&self, columns: &[(usize, Kind)]) -> Result<Stream> {
        let mut kinds: Vec<Kind> = columns.iter().map(|c| c.1).collect();
        if self.row_names {
            kinds.push(Kind::Verbatim);
        }
        Ok(Stream {
            plan: self.plan(columns),
            columns: columns.to_vec(),
            gathers: kinds.iter().map(|_| Gather::default()).collect(),
            table: self.clone(),
            batches: self.batches()?,
            kinds,
        })
    }
}

/// A table of text that is read in pieces.
pub(super) struct Stream {
    table: Delimited,
    batches: Batches,
    plan: Vec<Option<usize>>,
    columns: Vec<(usize, Kind)>,
    kinds: Vec<Kind>,
    gathers: Vec<Gather>,
}

impl Stream {
    /// The next `rows` rows, fewer at the end, none behind it; the names of the rows, if the table
    /// has them, come last.
    pub(super) fn next(&mut self, rows: usize) -> Result<Vec<Column>> {
        let Stream { table, batches, plan, kinds, gathers, columns } = self;
        while gathers.first().map_or(0, Gather::rows) < rows {
            let parsed = |block: &[u8]| table.pieces(block, plan, kinds);
            let results = batches.next(parsed)?;
            if results.is_empty() {
                break;
            }
            for pieces in results {
                for (i, piece) in pieces.into_iter().enumerate() {
                    gathers[i].push(piece).map_err(|_| {
                        let name = table.name(i, columns);
                        let reason = format!(
                            "the column `{name}` holds numbers in one block and text in another"
                        );
                        let hint = format!("Read it as text: `Table::open(…)?.text(&[{name:?}])`");
                        Error::format(&table.path, reason).with_hint(hint)
                    })?;
                }
            }
        }
        let n = rows.min(gathers.first().map_or(0, Gather::rows));
        gathers.iter_mut().for_each(Gather::nan_for_missing);
        Ok(gathers.iter_mut().map(|g| g.take_front(n)).collect())
    }
}

/// Distributes the fields of a run of records over the builders.
struct Rows<'a> {
    table: &'a Delimited,
    plan: &'a [Option<usize>],
    builders: Vec<Builder>,
    /// The builder of a column of numbers that met a text.
    not_a_number: Option<usize>,
}

impl Sink for Rows<'_> {
    fn field(&mut self, column: usize, field: &[u8]) -> Result<(), String> {
        // Fields beyond the last column are counted and reported at the end of the record.
        let Some(&Some(i)) = self.plan.get(column) else { return Ok(()) };
        self.builders[i].push(field).map_err(|refused| match refused {
            Refused::NotANumber => {
                self.not_a_number = Some(i);
                String::new()
            }
            Refused::NotText => format!("field {} is not UTF-8 text", column + 1),
        })
    }

    fn end(&mut self, fields: usize) -> Result<(), String> {
        if fields == self.plan.len() {
            return Ok(());
        }
        Err(format!("{} fields expected, {fields} found", self.table.fields()))
    }
}

struct Counter {
    rows: usize,
}

impl Sink for Counter {
    fn field(&mut self, _: usize, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn end(&mut self, _: usize) -> Result<(), String> {
        self.rows += 1;
        Ok(())
    }
}

/// The fields of the first few records.
#[derive(Default)]
struct Head {
    current: Vec<String>,
    records: Vec<Vec<String>>,
}

impl Sink for Head {
    fn field(&mut self, _: usize, field: &[u8]) -> Result<(), String> {
        self.current.push(String::from_utf8_lossy(field).into_owned());
        Ok(())
    }

    fn end(&mut self, _: usize) -> Result<(), String> {
        self.records.push(std::mem::take(&mut self.current));
        if self.records.len() < 20 { Ok(()) } else { Err(String::new()) }
    }
}

/// Finds out the delimiter, whether there is a header, and the names of the columns. `complete`
/// says that `head` is the whole file.
fn layout(
    path: &Path,
    head: &[u8],
    complete: bool,
    header: Option<bool>,
    comment: Option<u8>,
) -> Result<Delimited> {
    if head[..head.len().min(4096)].contains(&0) {
        let looks = files::describe_content(path);
        return Err(Error::format(path, format!("not a table of text: {looks}")));
    }
    let (mut skip, mut skipped) = (0, 0);
    while comment.is_some() && head.get(skip) == comment.as_ref() {
        skip += memchr::memchr(b'\n', &head[skip..]).map_or(head.len() - skip, |n| n + 1);
        skipped += 1;
    }
    let text = match memchr::memrchr(b'\n', &head[skip..]) {
        Some(end) if !complete => &head[skip..=skip + end],
        _ => &head[skip..],
    };
    let (dialect, records) = sniff(path, text);
    let Some(first) = records.first() else {
        return Err(Error::format(path, "there is no line in this table"));
    };
    let mut table = Delimited {
        path: path.into(),
        dialect,
        names: (0..first.len()).map(|i| i.to_string()).collect(),
        row_names: false,
        first_field: first.first().cloned(),
        skip: (skip, skipped),
    };
    if header.unwrap_or_else(|| has_header(&records)) {
        let end = first_record(text, dialect);
        table.names = unique(first);
        table.row_names = records.get(1).is_some_and(|r| r.len() == first.len() + 1);
        table.first_field = records.get(1).and_then(|r| r.first().cloned());
        table.skip.0 += end;
        table.skip.1 += memchr::memchr_iter(b'\n', &text[..end]).count();
    }
    Ok(table)
}

/// The delimiter that cuts the first records into the same number of fields, and these records.
fn sniff(path: &Path, text: &[u8]) -> (Dialect, Vec<Vec<String>>) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let named = [".csv", ".tsv"].iter().any(|e| name.trim_end_matches(".gz").ends_with(e));
    let cut = |delimiter: u8| {
        let dialect = Dialect { delimiter };
        let mut head = Head::default();
        // Reaching the limit ends the parsing with an error, which is no failure.
        let _ = parse(text, dialect, &mut head);
        (dialect, head.records)
    };
    let mut best = cut(b',');
    let mut most = 1;
    for delimiter in *b"\t,;| " {
        let (dialect, records) = cut(delimiter);
        let first = records.first().map_or(0, Vec::len);
        let others = records.get(1).map_or(first, Vec::len);
        let even = others > 1
            && (first == others || first + 1 == others)
            && records.iter().skip(1).all(|r| r.len() == others);
        // A `.csv` with blanks between numbers is a matrix; between words they are text.
        let is_number = |f: &String| field::number(f.as_bytes()).is_some();
        let words = delimiter == b' ' && named && !records.iter().flatten().all(is_number);
        // Blanks are all kinds of them: where another delimiter is in the header, it is that one.
        let other = delimiter == b' ' && most > 1;
        if even && !words && !other {
            return (dialect, records);
        }
        if first > most && delimiter != b' ' {
            most = first;
            best = (dialect, records);
        }
    }
    best
}

/// A first record with a number above a number is a record like the others, not a header, unless
/// it has an empty field, which only a header has (above the names of the rows).
fn has_header(records: &[Vec<String>]) -> bool {
    let is_number = |field: &String| field::number(field.as_bytes()).is_some();
    let first = &records[0];
    match records.get(1) {
        Some(second) => {
            let above = first.iter().zip(second).any(|(a, b)| is_number(a) && is_number(b));
            !above || first.iter().any(String::is_empty)
        }
        None => !first.iter().any(is_number),
    }
}

/// Names as pandas makes them unique: `a`, `a.1`; `Unnamed: 2` where there is none.
fn unique(header: &[String]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut repeats: HashMap<&String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(header.len());
    for (i, field) in header.iter().enumerate() {
        let mut name = if field.is_empty() { format!("Unnamed: {i}") } else { field.clone() };
        while !taken.insert(name.clone()) {
            let n = repeats.entry(field).or_insert(0);
            *n += 1;
            name = format!("{field}.{n}");
        }
        names.push(name);
    }
    names
}
