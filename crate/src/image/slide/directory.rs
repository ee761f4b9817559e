//! A TIFF file seen from one of its directories (pages), and what directories may claim.
//!
//! ```text
//! header ─> directory ─> next directory ─> …        pages, channels or levels of a pyramid
//!               └─ SubIFDs ─> directories           levels of a pyramid (OME-TIFF)
//! ```
//!
//! The decoder knows the chain only. A [`View`] is the file with a header that points to the
//! directory that is wanted, so that every directory can be the first page of a decoder.

use super::super::raster::most_bytes;
use super::super::tiff::explain;
use crate::error::{Error, Result};
use ::tiff::decoder::{Decoder, Limits};
use ::tiff::tags::{IfdPointer, Tag};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Pages are counted up to here; a damaged file may chain them without end.
pub(in crate::image) const MOST_PAGES: usize = 100_000;
/// A pyramid has no more levels than this: each is at least a little smaller than the last.
const MOST_LEVELS: usize = 64;

pub(in crate::image) type Pages = Decoder<BufReader<View>>;

/// A file with another header.
#[derive(Debug)]
pub(in crate::image) struct View {
    file: Arc<File>,
    size: u64,
    head: Vec<u8>,
    at: u64,
}

impl View {
    /// The file from the directory at `directory`, or from its first.
    pub fn new(file: Arc<File>, size: u64, directory: Option<u64>) -> io::Result<View> {
        let mut head = vec![0; size.min(16) as usize];
        file.read_exact_at(&mut head, 0)?;
        if let Some(directory) = directory {
            let big_endian = head.first() == Some(&b'M');
            let big_tiff = head.get(2..4).is_some_and(|v| v.contains(&43));
            let place = if big_tiff { 8..16 } else { 4..8 };
            let width = place.len();
            if let Some(pointer) = head.get_mut(place) {
                match big_endian {
                    true => pointer.copy_from_slice(&directory.to_be_bytes()[8 - width..]),
                    false => pointer.copy_from_slice(&directory.to_le_bytes()[..width]),
                }
            }
        }
        Ok(View { file, size, head, at: 0 })
    }
}

impl Read for View {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match self.head.get(self.at as usize..) {
            Some(mut head) if !head.is_empty() => head.read(buffer)?,
            _ => self.file.read_at(buffer, self.at)?,
        };
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for View {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// A decoder whose first page is the directory at `directory`, or the first of the file.
pub(in crate::image) fn open(
    path: &Path,
    file: &Arc<File>,
    size: u64,
    directory: Option<u64>,
) -> Result<Pages> {
    let view = View::new(file.clone(), size, directory).map_err(|e| Error::io(path, e))?;
    let mut view = BufReader::new(view);
    check_claims(path, &mut view, size)?;
    let mut limits = Limits::default();
    let most = usize::try_from(most_bytes(size)).unwrap_or(usize::MAX);
    limits.decoding_buffer_size = most;
    limits.intermediate_buffer_size = most;
    limits.ifd_value_size = usize::try_from(size).unwrap_or(usize::MAX).max(1 << 20);
    Ok(Decoder::new(view).map_err(|e| explain(path, e, None))?.with_limits(limits))
}

/// Checks that long lists in the directories lie inside the file: the decoder takes room for as many
/// values as are claimed before it looks for them. What cannot be read is left for it to report.
fn check_claims(path: &Path, file: &mut (impl Read + Seek), size: u64) -> Result<()> {
    const HARMLESS: u64 = 1 << 16;
    let fail = |e| Error::io(path, e);
    let head = bytes_at(file, 0, 16).map_err(fail)?;
    let number = |bytes: &[u8]| match head[0] {
        b'M' => bytes.iter().fold(0u64, |n, &b| n << 8 | u64::from(b)),
        _ => bytes.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b)),
    };
    if head.len() < 16 {
        return file.rewind().map_err(fail);
    }
    // Bytes of an address, of the number of entries, and of an entry.
    let (word, count, entry) = if number(&head[2..4]) == 43 { (8, 8, 20) } else { (4, 2, 12) };
    let mut next = number(&head[word..2 * word]);
    let mut seen = HashSet::new();
    while (1..size).contains(&next) && seen.len() < MOST_PAGES && seen.insert(next) {
        let entries = number(&bytes_at(file, next, count).map_err(fail)?);
        let length = entries.saturating_mul(entry as u64);
        if length > size {
            break;
        }
        let start = next.saturating_add(count as u64);
        let directory = bytes_at(file, start, length as usize + word).map_err(fail)?;
        for entry in directory.chunks_exact(entry).take(entries as usize) {
            let values = number(&entry[4..4 + word]);
            let bytes = values.saturating_mul(match number(&entry[2..4]) {
                1 | 2 | 6 | 7 => 1,
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                _ => 8,
            });
            let end = number(&entry[4 + word..]).saturating_add(bytes);
            if values > HARMLESS && end > size {
                let tag = number(&entry[..2]);
                let reason =
                    format!("damaged TIFF file: tag {tag} claims {values} values, beyond its end");
                return Err(Error::format(path, reason));
            }
        }
        next = directory.get(length as usize..).map_or(0, number);
    }
    file.rewind().map_err(fail)
}

/// So many bytes from `at`, fewer where the file ends.
fn bytes_at(file: &mut (impl Read + Seek), at: u64, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(n as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A smaller version of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub directory: u64,
    pub width: usize,
    pub height: usize,
}

/// The smaller versions of the first page, the largest first: its SubIFDs, or the following pages
/// of its proportions (labels and overviews of slide scanners have others).
pub(super) fn smaller_levels(pages: &mut Pages) -> Vec<Level> {
    let Some(first) = pages.ifd_pointer() else { return vec![] };
    let Some((whole, mut next, below)) = describe(pages, first) else { return vec![] };
    let mut levels: Vec<Level> =
        below.iter().filter_map(|&p| Some(describe(pages, IfdPointer(p))?.0)).collect();
    let mut seen = HashSet::from([first.0]);
    while let Some(pointer) = next.filter(|p| seen.len() < MOST_LEVELS && seen.insert(p.0)) {
        let Some((level, after, _)) = describe(pages, pointer) else { break };
        levels.push(level);
        next = after;
    }
    let (width, height) = (whole.width as f64, whole.height as f64);
    levels.retain(|l| {
        // Sides are rounded to whole pixels, so that small levels are a little out of proportion.
        let expected = l.width as f64 * height / width;
        l.width < whole.width && (l.height as f64 - expected).abs() <= 1.0 + 0.01 * expected
    });
    levels.sort_by_key(|l| std::cmp::Reverse(l.width));
    levels.dedup_by_key(|l| l.width);
    levels.truncate(MOST_LEVELS);
    levels
}

/// Size of the page at a directory, the directory that follows, and those below it.
fn describe(pages: &mut Pages, at: IfdPointer) -> Option<(Level, Option<IfdPointer>, Vec<u64>)> {
    let directory = pages.read_directory(at).ok()?;
    let mut tags = pages.read_directory_tags(&directory);
    let mut side = |tag| tags.find_tag_unsigned::<u32>(tag).ok().flatten().filter(|&n| n > 0);
    let (width, height) = (side(Tag::ImageWidth)?, side(Tag::ImageLength)?);
    let below = tags.find_tag(Tag::SubIfd).ok().flatten().map(ifd_pointers).unwrap_or_default();
    let level = Level { directory: at.0, width: width as usize, height: height as usize };
    Some((level, directory.next(), below))
}

/// Addresses of directories, whatever the type they are stored in.
fn ifd_pointers(value: ::tiff::decoder::ifd::Value) -> Vec<u64> {
    use ::tiff::decoder::ifd::Value;
    match value {
        Value::List(list) => list.into_iter().take(MOST_LEVELS).flat_map(ifd_pointers).collect(),
        Value::Ifd(at) | Value::Unsigned(at) => vec![at.into()],
        Value::IfdBig(at) | Value::UnsignedBig(at) => vec![at],
        _ => vec![],
    }
}
