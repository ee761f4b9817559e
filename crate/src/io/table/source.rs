//! The file behind a parquet table, for many threads at once.

use super::thrift;
use crate::error::{Error, Result};
use crate::io::files;
use bytes::Bytes;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes that a page may take decompressed whatever its size, and those it may take more for each
/// of its bytes. The header of a page states both; codecs reserve what it states.
const FREE_PAGE: u64 = 1 << 24;
const PAGE_RATIO: u64 = 4096;

/// A file that is read at any place by any thread.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<File>,
    size: u64,
    /// Where the footer starts, and pages end.
    footer: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Source> {
        let size = files::check_file(path)?;
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let mut tail = [0u8; 8];
        let whole = size >= 12 && read_at(&file, &mut tail, size - 8).is_ok();
        let whole = whole && tail.ends_with(b"PAR1");
        if !whole {
            let mut head = [0u8; 4];
            let starts = read_at(&file, &mut head, 0).is_ok() && head == *b"PAR1";
            return Err(match starts {
                true => Error::format(path, "this parquet file is cut short")
                    .with_hint("Copy or download it again"),
                false => {
                    let looks = files::describe_content(path);
                    Error::format(path, format!("not a parquet file: {looks}"))
                }
            });
        }
        let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let footer = (size - 8).checked_sub(length).ok_or_else(|| {
            Error::format(path, "damaged parquet file: its footer is cut short")
                .with_hint("Copy or download it again")
        })?;
        Ok(Source { file: Arc::new(file), size, footer })
    }

    /// Checks the form of the footer, before the crate follows it.
    pub(super) fn check_footer(&self) -> std::result::Result<(), String> {
        let footer = From { file: self.file.clone(), at: self.footer, end: self.size - 8 };
        let length = self.size - 8 - self.footer;
        let checked = thrift::check(BufReader::new(footer), length, thrift::FILE_METADATA);
        checked.map(drop).map_err(|e| format!("its footer: {e}"))
    }

    /// Where the footer starts, and pages end.
    pub(super) fn footer(&self) -> u64 {
        self.footer
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut buffer: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, buffer, at)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[n..];
        at += n as u64;
    }
    Ok(())
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.size
    }
}

/// A file from some place on.
pub(super) struct From {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = buffer.len().min((self.end - self.at) as usize);
        read_at(&self.file, &mut buffer[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl ChunkReader for Source {
    type T = BufReader<From>;

    /// The crate asks for this in the footer and where the header of a page starts ([`Pages`] sees to
    /// it that it reads each header once).
    fn get_read(&self, start: u64) -> std::result::Result<Self::T, ParquetError> {
        let start = start.min(self.size);
        let from = |at| From { file: self.file.clone(), at, end: self.size };
        if start < self.footer {
            let mut head = [0u8; 32];
            let n = head.len().min((self.size - start) as usize);
            read_at(&self.file, &mut head[..n], start)?;
            if let Some((full, packed)) = page_sizes(&head[..n])
                && full > FREE_PAGE.max(packed.saturating_mul(PAGE_RATIO))
            {
                let reason = format!("a page claims to hold {full} bytes in {packed}");
                return Err(ParquetError::General(reason));
            }
            let header = BufReader::with_capacity(512, from(start));
            thrift::check(header, self.footer - start, thrift::PAGE_HEADER)
                .map_err(|e| ParquetError::General(format!("the header of a page: {e}")))?;
        }
        Ok(BufReader::with_capacity(512, from(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> std::result::Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not there")));
        }
        let mut buffer = vec![0; length];
        read_at(&self.file, &mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// The pages of a column, one after the other. Without looking ahead: the crate would come back to
/// where the header of a page ends, and no one could tell that place from the start of a header.
pub(super) struct Pages(pub SerializedPageReader<Source>);

impl Iterator for Pages {
    type Item = std::result::Result<Page, ParquetError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> std::result::Result<Option<Page>, ParquetError> {
        self.0.get_next_page()
    }

    fn peek_next_page(&mut self) -> std::result::Result<Option<PageMetadata>, ParquetError> {
        Err(ParquetError::General("pages are read one after the other".into()))
    }

    fn skip_next_page(&mut self) -> std::result::Result<(), ParquetError> {
        self.get_next_page().map(drop)
    }
}

/// The size of a page decompressed and as it is, from the start of its header: three fields of
/// Thrift's compact protocol, each `0x15` and a zigzag number (kind, size, compressed size).
fn page_sizes(header: &[u8]) -> Option<(u64, u64)> {
    let mut bytes = header.iter().copied();
    let mut field = || {
        if bytes.next()? != 0x15 {
            return None;
        }
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return Some(value >> 1);
            }
            if shift > 35 {
                return None;
            }
        }
    };
    let _kind = field()?;
    Some((field()?, field()?))
}
