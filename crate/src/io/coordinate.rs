//! Matrix Market text, features × barcodes, as a CSR matrix of barcodes × features.
//!
//! ```text
//! %%MatrixMarket matrix coordinate integer general
//! % comments
//! features barcodes entries
//! 33 1 4                          feature and barcode, counted from 1, and the number
//! ```
//! One thread reads and gunzips blocks of lines; all cores parse the pieces of a block; what they
//! find is appended to the matrix. Neither the text nor a list of entries is ever held whole.

use super::files;
use crate::anndata::{Sparse, Values};
use crate::error::{Error, Result};
use crate::progress::Progress;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Text is read in blocks of so many bytes, and parsed in pieces.
const BLOCK: usize = 4 << 20;
const PIECE: usize = 512 << 10;
/// What a gzip file starts with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Reads the matrix of `features` × `barcodes`.
pub(super) fn read(path: &Path, features: usize, barcodes: usize) -> Result<Sparse> {
    let file = File::open(path).map_err(|e| files::missing(path, e))?;
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel(4);
        scope.spawn(move || produce(path, file, send));
        consume(path, receive, features, barcodes)
    })
}

/// Sends the text of a file, gunzipped if need be, in blocks that end with a line.
fn produce(path: &Path, mut file: File, send: SyncSender<Result<Vec<u8>>>) {
    let mut head = [0u8; 2];
    let mut n = 0;
    while let Ok(more @ 1..) = file.read(&mut head[n..]) {
        n += more;
    }
    let whole = head[..n].chain(file);
    let mut text: Box<dyn Read> = if head == GZIP {
        let packed = BufReader::with_capacity(1 << 20, whole);
        Box::new(flate2::bufread::MultiGzDecoder::new(packed))
    } else {
        Box::new(whole)
    };
    let mut rest = Vec::new();
    loop {
        let mut block = Vec::with_capacity(rest.len() + BLOCK);
        block.append(&mut rest);
        let read = text.by_ref().take(BLOCK as u64).read_to_end(&mut block);
        let last = match read {
            Ok(n) => n < BLOCK,
            Err(e) => {
                let e = match head == GZIP {
                    true => Error::format(path, format!("damaged gzip file: {e}"))
                        .with_hint("Copy or download it again"),
                    false => Error::io(path, e),
                };
                let _ = send.send(Err(e));
                return;
            }
        };
        if !last {
            match memchr::memrchr(b'\n', &block) {
                Some(end) => rest = block.split_off(end + 1),
                None => {
                    let e = Error::format(path, "a line of more than 4 MB: not a matrix");
                    let _ = send.send(Err(e));
                    return;
                }
            }
        }
        // Nobody listens any more where an error was found.
        if send.send(Ok(block)).is_err() || last {
            return;
        }
    }
}

fn consume(
    path: &Path,
    blocks: Receiver<Result<Vec<u8>>>,
    features: usize,
    barcodes: usize,
) -> Result<Sparse> {
    let bad = |line: usize, reason: &str| Error::format(path, format!("line {line}: {reason}"));
    let first = blocks.recv().unwrap_or_else(|_| Ok(vec![]))?;
    let header = Header::parse(&first).map_err(|(line, reason)| bad(line, reason))?;
    if (header.features, header.barcodes) != (features, barcodes) {
        let reason = format!(
            "the matrix has {} features and {} barcodes, the files beside it {features} and \
             {barcodes}",
            header.features, header.barcodes
        );
        return Err(bad(header.lines, &reason));
    }
    let mut matrix = Builder::new(barcodes);
    let mut lines = header.lines;
    let mut progress = Progress::new("reading the matrix", header.entries as u64);
    let (mut text, mut start) = (first, header.bytes);
    loop {
        let pieces = pieces(&text[start..]);
        let parsed: Vec<_> = pieces
            .into_par_iter()
            .map(|piece| Entries::parse(piece, features, barcodes, header.pattern))
            .collect();
        for entries in parsed {
            let entries = entries.map_err(|(line, text)| {
                bad(lines + line, &format!("`{text}` is not an entry of this matrix"))
            })?;
            lines += entries.lines;
            progress.tick(entries.values.len() as u64)?;
            matrix.append(entries);
        }
        start = 0;
        text = match blocks.recv() {
            Ok(block) => block?,
            Err(_) => break,
        };
    }
    progress.finish();
    if matrix.values.len() != header.entries {
        let (announced, found) = (header.entries, matrix.values.len());
        let reason = format!("{announced} entries announced, {found} found");
        let hint = "Copy or download the file again";
        return Err(bad(header.lines, &reason).with_hint(hint));
    }
    let (indptr, indices, values) = matrix.finish();
    Sparse::new((barcodes, features), true, indptr, indices, Values::F32(values))
        .map_err(|e| Error::format(path, e.to_string()))
}

struct Header {
    features: usize,
    barcodes: usize,
    entries: usize,
    /// Whether entries have no number, which means 1.
    pattern: bool,
    lines: usize,
    bytes: usize,
}

impl Header {
    /// From the start of the text; an error has its line.
    fn parse(text: &[u8]) -> Result<Header, (usize, &'static str)> {
        let (mut lines, mut bytes) = (0, 0);
        let mut pattern = false;
        for line in text.split_inclusive(|&b| b == b'\n') {
            lines += 1;
            bytes += line.len();
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if lines == 1 {
                let banner = line.to_lowercase();
                let known = banner.starts_with("%%matrixmarket matrix coordinate")
                    && banner.ends_with("general");
                if !known {
                    let right = "expected `%%MatrixMarket matrix coordinate integer general`";
                    return Err((1, right));
                }
                pattern = banner.contains("pattern");
                continue;
            }
            if line.is_empty() || line.starts_with('%') {
                continue;
            }
            let sizes: Vec<usize> =
                line.split_whitespace().filter_map(|s| s.parse().ok()).collect();
            let &[features, barcodes, entries] = sizes.as_slice() else {
                return Err((lines, "expected numbers of rows, columns and entries"));
            };
            return Ok(Header { features, barcodes, entries, pattern, lines, bytes });
        }
        match lines {
            0 => Err((1, "expected `%%MatrixMarket matrix coordinate integer general`")),
            n => Err((n + 1, "the line of sizes is missing")),
        }
    }
}

/// Cuts text into pieces of whole lines.
fn pieces(mut text: &[u8]) -> Vec<&[u8]> {
    let mut out = Vec::new();
    while text.len() > PIECE {
        let end = memchr::memchr(b'\n', &text[PIECE..]).map_or(text.len(), |i| PIECE + i + 1);
        let (piece, rest) = text.split_at(end);
        out.push(piece);
        text = rest;
    }
    out.push(text);
    out
}

/// Entries in the order of the text.
struct Entries {
    features: Vec<u32>,
    barcodes: Vec<u32>,
    values: Vec<f32>,
    lines: usize,
}

impl Entries {
    /// An error is a line and its text.
    fn parse(
        text: &[u8],
        features: usize,
        barcodes: usize,
        pattern: bool,
    ) -> Result<Entries, (usize, String)> {
        let room = text.len() / 8;
        let mut out = Entries {
            features: Vec::with_capacity(room),
            barcodes: Vec::with_capacity(room),
            values: Vec::with_capacity(room),
            lines: 0,
        };
        let mut at = 0;
        while at < text.len() {
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |i| at + i);
            let line = text[at..end].trim_ascii();
            at = end + 1;
            out.lines += 1;
            if line.is_empty() || line[0] == b'%' {
                continue;
            }
            let mut rest = line;
            let feature = position(&mut rest, features);
            let barcode = position(&mut rest, barcodes);
            let value = if pattern { Some(1.0) } else { number(field(&mut rest)) };
            match (feature, barcode, value) {
                (Some(f), Some(b), Some(v)) => {
                    out.features.push(f);
                    out.barcodes.push(b);
                    out.values.push(v);
                }
                _ => return Err((out.lines, String::from_utf8_lossy(line).into_owned())),
            }
        }
        Ok(out)
    }
}

/// The next field of a line.
fn field<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let text = rest.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (field, after) = text.split_at(end);
    *rest = after;
    field
}

/// Digits as a number, if it is one of at most nine.
fn digits(field: &[u8]) -> Option<u32> {
    if field.is_empty() || field.len() > 9 {
        return None;
    }
    field.iter().try_fold(0u32, |n, &b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

/// The next field as a position counted from 1, made one counted from 0.
fn position(rest: &mut &[u8], below: usize) -> Option<u32> {
    let field = field(rest);
    let i = match digits(field) {
        Some(i) => i as usize,
        None => std::str::from_utf8(field).ok()?.parse().ok()?,
    };
    (1..=below).contains(&i).then(|| (i - 1) as u32)
}

fn number(field: &[u8]) -> Option<f32> {
    match digits(field) {
        Some(n) => Some(n as f32),
        None => std::str::from_utf8(field).ok()?.parse().ok(),
    }
}

/// The matrix as it grows. A file is usually sorted by barcode; only where it is not, the barcode
/// of every entry is kept, and entries are put into place at the end.
struct Builder {
    counts: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
    last: u32,
    unsorted: Option<Vec<u32>>,
}

impl Builder {
    fn new(barcodes: usize) -> Self {
        let counts = vec![0; barcodes];
        Builder { counts, features: vec![], values: vec![], last: 0, unsorted: None }
    }

    fn append(&mut self, entries: Entries) {
        let rises = entries.barcodes.first().is_none_or(|&b| b >= self.last)
            && entries.barcodes.is_sorted();
        if !rises && self.unsorted.is_none() {
            let known = self.counts.iter().enumerate();
            let known = known.flat_map(|(b, &n)| std::iter::repeat_n(b as u32, n));
            self.unsorted = Some(known.collect());
        }
        for &b in &entries.barcodes {
            self.counts[b as usize] += 1;
        }
        self.last = entries.barcodes.last().copied().unwrap_or(self.last);
        self.features.extend_from_slice(&entries.features);
        self.values.extend_from_slice(&entries.values);
        if let Some(barcodes) = &mut self.unsorted {
            barcodes.extend_from_slice(&entries.barcodes);
        }
    }

    /// `indptr`, indices and values, with rising indices in each row.
    fn finish(self) -> (Vec<usize>, Vec<u32>, Vec<f32>) {
        let Builder { counts, mut features, mut values, unsorted, .. } = self;
        let mut indptr = Vec::with_capacity(counts.len() + 1);
        indptr.push(0);
        for n in counts {
            indptr.push(indptr[indptr.len() - 1] + n);
        }
        if let Some(barcodes) = unsorted {
            let mut next = indptr.clone();
            let (mut f, mut v) = (vec![0u32; features.len()], vec![0f32; values.len()]);
            for (k, &b) in barcodes.iter().enumerate() {
                let slot = &mut next[b as usize];
                (f[*slot], v[*slot]) = (features[k], values[k]);
                *slot += 1;
            }
            (features, values) = (f, v);
        }
        features.shrink_to_fit();
        values.shrink_to_fit();
        let rises = |w: &[usize]| features[w[0]..w[1]].is_sorted();
        if !indptr.par_windows(2).all(rises) {
            sort_rows(&indptr, &mut features, &mut values);
        }
        (indptr, features, values)
    }
}

/// Sorts the entries of each row by index; equal ones keep their order.
fn sort_rows(indptr: &[usize], indices: &mut [u32], values: &mut [f32]) {
    let mut rows = Vec::with_capacity(indptr.len() - 1);
    let (mut i, mut v) = (indices, values);
    for w in indptr.windows(2) {
        let (row_i, rest_i) = i.split_at_mut(w[1] - w[0]);
        let (row_v, rest_v) = v.split_at_mut(w[1] - w[0]);
        rows.push((row_i, row_v));
        (i, v) = (rest_i, rest_v);
    }
    rows.into_par_iter().for_each(|(indices, values)| {
        let mut row: Vec<(u32, f32)> =
            indices.iter().copied().zip(values.iter().copied()).collect();
        row.sort_by_key(|e| e.0);
        for (k, (i, v)) in row.into_iter().enumerate() {
            (indices[k], values[k]) = (i, v);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(entries: &[(u32, u32, f32)], features: usize, barcodes: usize) -> String {
        let mut out = format!(
            "%%MatrixMarket matrix coordinate real general\n%\n{features} {barcodes} {}\n",
            entries.len()
        );
        entries.iter().for_each(|(f, b, v)| out.push_str(&format!("{f} {b} {v}\n")));
        out
    }

    /// More than one block of text, plain and gzipped, sorted and not, give one and the same matrix.
    #[test]
    fn large_files_are_read_alike_in_any_order() {
        let (features, barcodes) = (1_000u32, 700u32);
        let mut entries = Vec::new();
        for b in 1..=barcodes {
            for f in (1 + b % 3..=features).step_by(2) {
                entries.push((f, b, (f + b) as f32 / 8.0));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let read_text = |text: &str, gzip: bool| {
            let path = dir.path().join("matrix.mtx");
            if gzip {
                let file = File::create(&path).unwrap();
                let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                out.write_all(text.as_bytes()).unwrap();
                out.finish().unwrap();
            } else {
                std::fs::write(&path, text).unwrap();
            }
            read(&path, features as usize, barcodes as usize).unwrap()
        };
        let sorted = text(&entries, features as usize, barcodes as usize);
        assert!(sorted.len() > BLOCK);
        let expected = read_text(&sorted, false);
        let mut k = 0;
        for (b, w) in expected.indptr.windows(2).enumerate() {
            for i in w[0]..w[1] {
                let (f, barcode, v) = entries[k];
                assert_eq!((expected.indices[i] + 1, b as u32 + 1), (f, barcode));
                assert_eq!(expected.values.get_f64(i) as f32, v);
                k += 1;
            }
        }
        assert_eq!(k, entries.len());
        assert_eq!(read_text(&sorted, true), expected);
        // Falling features within each barcode, then falling barcodes too.
        entries.sort_by_key(|e| (e.1, std::cmp::Reverse(e.0)));
        assert_eq!(read_text(&text(&entries, 1000, 700), false), expected);
        entries.reverse();
        assert_eq!(read_text(&text(&entries, 1000, 700), true), expected);
    }

    #[test]
    fn a_bad_line_far_into_a_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("matrix.mtx");
        let entries: Vec<_> = (0..500_000).map(|i| (i % 1000 + 1, i / 1000 + 1, 1.0)).collect();
        let good = text(&entries, 1000, 500);
        std::fs::write(&path, good.replace("\n1000 467 1\n", "\n1000 467 x\n")).unwrap();
        let e = read(&path, 1000, 500).unwrap_err().to_string();
        assert!(e.contains("line 467003: `1000 467 x`"), "{e}");
        std::fs::write(&path, format!("{good}\0").repeat(2).replace('\n', " ")).unwrap();
        let e = read(&path, 1000, 500).unwrap_err().to_string();
        assert!(e.contains("more than 4 MB"), "{e}");
    }

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        for s in ["0", "7", "123456789", "16777217", "4294967297", "1.5", "-3", "1e3", "nan"] {
            let (ours, std) = (number(s.as_bytes()).unwrap(), s.parse::<f32>().unwrap());
            assert!(ours == std || ours.is_nan() && std.is_nan(), "{s}");
        }
        assert_eq!(number(b"x"), None);
        assert_eq!(number(b""), None);
        assert_eq!(position(&mut &b" 0 3"[..], 9), None);
        assert_eq!(position(&mut &b" 9 3"[..], 9), Some(8));
    }
}
