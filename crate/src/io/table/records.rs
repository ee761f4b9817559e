//! Text in records: a stream of bytes (plain or gzipped) cut into blocks of whole records, and a
//! record cut into fields.
//!
//! ```text
//! "a, quoted",1.5,x\n        a field that starts with `"` ends at the next single `"`; `""` is a `"`
//! 5'-"end",2,y\r\n           a `"` elsewhere is a character like any other
//! ```
//!
//! A block ends where a record ends, which only a line break outside quotes does, so that blocks
//! are parsed independently, on as many threads as there are.

use crate::error::{Error, Result};
use crate::io::files;
use crate::progress::Progress;
use rayon::prelude::*;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of text that one thread parses at a time.
const BLOCK: usize = 4 << 20;

/// How fields are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) struct Dialect {
    /// The byte between fields; a blank stands for any run of blanks and tabs.
    pub(in crate::io) delimiter: u8,
}

impl Dialect {
    fn ends_field(self, b: u8) -> bool {
        b == self.delimiter || (self.delimiter == b' ' && b == b'\t')
    }
}

/// What takes the fields of a run of records.
pub(in crate::io) trait Sink {
    /// Takes a field; the error says what is wrong with it.
    fn field(&mut self, column: usize, field: &[u8]) -> Result<(), String>;
    /// The record that had `fields` fields is over.
    fn end(&mut self, fields: usize) -> Result<(), String>;
}

/// Hands the fields of every record to `sink`; blank lines are passed over. Returns the number of
/// line breaks, or the line (counted from 0) and the reason of a failure.
pub(in crate::io) fn parse(
    block: &[u8],
    dialect: Dialect,
    sink: &mut impl Sink,
) -> Result<usize, (usize, String)> {
    let (mut at, mut line) = (0, 0);
    let blanks = dialect.delimiter == b' ';
    while at < block.len() {
        let start = line;
        if is_blank_line(&block[at..]) {
            at = memchr::memchr(b'\n', &block[at..]).map_or(block.len(), |n| at + n + 1);
            line += 1;
            continue;
        }
        let mut column = 0;
        loop {
            if blanks {
                at += block[at..].iter().take_while(|&&b| b == b' ' || b == b'\t').count();
                if column > 0 && matches!(block.get(at), None | Some(b'\n' | b'\r')) {
                    at += usize::from(block.get(at) == Some(&b'\r'));
                    at += usize::from(at < block.len());
                    break;
                }
            }
            let rest = &block[at..];
            let (field, length) = if rest.first() == Some(&b'"') {
                let (field, length) = quoted(rest, dialect);
                line += memchr::memchr_iter(b'\n', &rest[..length]).count();
                (field, length)
            } else {
                let length = match blanks {
                    true => memchr::memchr3(b' ', b'\t', b'\n', rest),
                    false => memchr::memchr2(dialect.delimiter, b'\n', rest),
                };
                let length = length.unwrap_or(rest.len());
                (Cow::Borrowed(&rest[..length]), length)
            };
            at += length;
            let last = at >= block.len() || block[at] == b'\n';
            let field = match &*field {
                [head @ .., b'\r'] if last => head,
                whole => whole,
            };
            sink.field(column, field).map_err(|reason| (start, reason))?;
            column += 1;
            at += 1;
            if last {
                break;
            }
        }
        line += 1;
        sink.end(column).map_err(|reason| (start, reason))?;
    }
    Ok(line)
}

fn is_blank_line(text: &[u8]) -> bool {
    let first = text.iter().find(|b| !matches!(b, b' ' | b'\r'));
    matches!(first, None | Some(b'\n'))
}

/// The field that starts with the quote at the start of `text`, and how many bytes it takes up.
fn quoted(text: &[u8], dialect: Dialect) -> (Cow<'_, [u8]>, usize) {
    let plain_end = |from: usize| {
        text[from..]
            .iter()
            .position(|&b| b == b'\n' || dialect.ends_field(b))
            .map_or(text.len(), |n| from + n)
    };
    let mut out = Cow::Borrowed(&text[..0]);
    let mut from = 1;
    loop {
        let close = memchr::memchr(b'"', &text[from..]).map_or(text.len(), |n| from + n);
        let part = &text[from..close];
        if out.is_empty() {
            out = Cow::Borrowed(part);
        } else {
            out.to_mut().extend_from_slice(part);
        }
        match text.get(close + 1) {
            Some(b'"') => {
                out.to_mut().push(b'"');
                from = close + 2;
            }
            // Usually nothing: what follows a closing quote belongs to the field.
            _ => {
                let after = (close + 1).min(text.len());
                let end = plain_end(after);
                if !matches!(&text[after..end], [] | [b'\r']) {
                    out.to_mut().extend_from_slice(&text[after..end]);
                }
                return (out, end);
            }
        }
    }
}

/// The length of the whole records at the start of `text`, 0 if there is none; and whether a quote
/// is open at its end.
fn whole_records(text: &[u8], dialect: Dialect) -> (usize, bool) {
    let after = |n: Option<usize>| n.map_or(0, |n| n + 1);
    if memchr::memchr(b'"', text).is_none() {
        return (after(memchr::memrchr(b'\n', text)), false);
    }
    let mut whole = 0;
    let mut at = 0;
    loop {
        // Outside quotes, up to the next quote that opens a field.
        let quote = memchr::memchr(b'"', &text[at..]).map(|n| at + n);
        let stretch = &text[at..quote.unwrap_or(text.len())];
        if let Some(n) = memchr::memrchr(b'\n', stretch) {
            whole = at + n + 1;
        }
        let Some(quote) = quote else { return (whole, false) };
        at = quote + 1;
        let opens = quote == 0 || text[quote - 1] == b'\n' || dialect.ends_field(text[quote - 1]);
        if !opens {
            continue;
        }
        loop {
            let Some(n) = memchr::memchr(b'"', &text[at..]) else { return (whole, true) };
            at += n + 1;
            match text.get(at) {
                Some(b'"') => at += 1,
                // The next byte decides whether the quote is closed.
                None => return (whole, true),
                _ => break,
            }
        }
    }
}

/// The length of the first record, with the blank lines before it.
pub(in crate::io) fn first_record(text: &[u8], dialect: Dialect) -> usize {
    memchr::memchr_iter(b'\n', text)
        .map(|n| n + 1)
        .find(|&n| {
            !text[..n].trim_ascii().is_empty() && whole_records(&text[..n], dialect) == (n, false)
        })
        .unwrap_or(text.len())
}

/// A text file, decompressed, in blocks of whole records.
pub(in crate::io) struct Records {
    path: PathBuf,
    source: Box<dyn Read + Send>,
    dialect: Dialect,
    rest: Vec<u8>,
    ended: bool,
    /// Bytes of the file read so far.
    position: Arc<AtomicU64>,
    size: u64,
    gzipped: bool,
}

struct Counted {
    file: File,
    position: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.position.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Records {
    pub(in crate::io) fn open(path: &Path, dialect: Dialect) -> Result<Records> {
        let size = files::check_file(path)?;
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let position = Arc::new(AtomicU64::new(0));
        let mut file =
            BufReader::with_capacity(1 << 18, Counted { file, position: position.clone() });
        let gzipped = {
            use std::io::BufRead;
            let head = file.fill_buf().map_err(|e| Error::io(path, e))?;
            head.starts_with(&[0x1f, 0x8b])
        };
        let source: Box<dyn Read + Send> = match gzipped {
            true => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            false => Box::new(file),
        };
        let mut records = Records {
            path: path.into(),
            source,
            dialect,
            rest: Vec::new(),
            ended: false,
            position,
            size,
            gzipped,
        };
        records.fill(4)?;
        if records.rest.starts_with(b"\xef\xbb\xbf") {
            records.rest.drain(..3);
        }
        Ok(records)
    }

    /// Reads until `rest` holds `n` bytes or the file ends.
    fn fill(&mut self, n: usize) -> Result<()> {
        let wanted = n.saturating_sub(self.rest.len());
        if wanted == 0 || self.ended {
            return Ok(());
        }
        self.rest.reserve_exact(wanted);
        let read = (&mut self.source).take(wanted as u64).read_to_end(&mut self.rest);
        let read = read.map_err(|e| match self.gzipped {
            true => Error::format(&self.path, format!("damaged gzip file: {e}"))
                .with_hint("Copy or download it again"),
            false => Error::io(&self.path, e),
        })?;
        self.ended = read < wanted;
        Ok(())
    }

    /// The first bytes that are still to come, without taking them.
    pub(in crate::io) fn peek(&mut self, n: usize) -> Result<&[u8]> {
        self.fill(n)?;
        Ok(&self.rest[..n.min(self.rest.len())])
    }

    /// Passes over the next `n` bytes, which must have been peeked at.
    pub(in crate::io) fn skip(&mut self, n: usize) {
        self.rest.drain(..n.min(self.rest.len()));
    }

    /// The next block of whole records, about `target` bytes.
    pub(in crate::io) fn next(&mut self, target: usize) -> Result<Option<Vec<u8>>> {
        let mut target = target;
        loop {
            self.fill(target)?;
            if self.rest.is_empty() {
                return Ok(None);
            }
            let (whole, open) = whole_records(&self.rest, self.dialect);
            if self.ended {
                if open && !self.rest.ends_with(b"\"") {
                    return Err(Error::format(&self.path, "a quote is opened and never closed")
                        .with_hint("Copy or download the file again"));
                }
                return Ok(Some(std::mem::take(&mut self.rest)));
            }
            if whole > 0 {
                let tail = self.rest[whole..].to_vec();
                let mut block = std::mem::replace(&mut self.rest, tail);
                block.truncate(whole);
                return Ok(Some(block));
            }
            target = self.rest.len() * 2;
        }
    }

    /// One block for each thread.
    fn batch(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut blocks = Vec::new();
        for _ in 0..rayon::current_num_threads().clamp(1, 32) {
            let Some(block) = self.next(BLOCK)? else { break };
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// The rest of the file, to be parsed in parallel; its first line is line `line`, from 0.
    pub(in crate::io) fn batches(self, line: usize) -> Batches {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let progress = Progress::new(format!("reading {name}"), self.size);
        Batches { records: self, ahead: None, line, progress, seen: 0 }
    }
}

/// A text file that is parsed on all threads while its next blocks are read and decompressed.
pub(in crate::io) struct Batches {
    records: Records,
    ahead: Option<Vec<Vec<u8>>>,
    line: usize,
    progress: Progress,
    seen: u64,
}

impl Batches {
    /// Parses the next few blocks. `parse` is given one and returns its result with the number of
    /// its lines, or the line and the reason of a failure; the results come in the order of the
    /// file, and there are none at its end.
    pub(in crate::io) fn next<T: Send>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<(usize, T), (usize, String)> + Sync,
    ) -> Result<Vec<T>> {
        let batch = match self.ahead.take() {
            Some(batch) => batch,
            None => self.records.batch()?,
        };
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let records = &mut self.records;
        let (results, ahead) = rayon::join(
            || batch.into_par_iter().map(|block| parse(&block)).collect::<Vec<_>>(),
            || records.batch(),
        );
        let mut values = Vec::with_capacity(results.len());
        for result in results {
            let (lines, value) = result.map_err(|(at, reason)| {
                let line = self.line + at + 1;
                Error::format(&self.records.path, format!("line {line}: {reason}"))
            })?;
            self.line += lines;
            values.push(value);
        }
        self.ahead = Some(ahead?);
        let position = self.records.position.load(Ordering::Relaxed);
        self.progress.tick(position - self.seen)?;
        self.seen = position;
        Ok(values)
    }

    /// Parses everything; `take` gets the results in the order of the file.
    pub(in crate::io) fn each<T: Send>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<(usize, T), (usize, String)> + Sync,
        mut take: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        loop {
            let values = self.next(&parse)?;
            if values.is_empty() {
                return Ok(());
            }
            for value in values {
                take(value)?;
            }
        }
    }
}
