//! The bytes of a pickle: all of an entry of an archive, or the start of a file, of which no more is
//! read than the pickle asks for.

use crate::error::{Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Lines occur in protocol 0 and hold names and numbers.
const LONGEST_LINE: usize = 1 << 20;
/// Bytes read from a file at a time.
const STEP: u64 = 1 << 16;

pub(super) struct Input<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    at: usize,
    /// What `bytes` is the start of, and its size.
    file: Option<(&'a File, u64)>,
}

impl<'a> Input<'a> {
    /// Bytes that are all there.
    pub fn whole(path: &'a Path, bytes: Vec<u8>) -> Input<'a> {
        Input { path, bytes, at: 0, file: None }
    }

    /// A file of `size` bytes from its start.
    pub fn start_of(path: &'a Path, file: &'a File, size: u64) -> Input<'a> {
        Input { path, bytes: Vec::new(), at: 0, file: Some((file, size)) }
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Bytes before the next one.
    pub fn position(&self) -> u64 {
        self.at as u64
    }

    /// The error for what cannot be right in the bytes before this place.
    pub fn damaged(&self, reason: &str) -> Error {
        let at = self.at;
        Error::format(self.path, format!("its pickle is damaged before byte {at}: {reason}"))
            .with_hint("Copy or download it again")
    }

    /// The error for what may be right, but is not known here.
    pub fn unknown(&self, reason: &str) -> Error {
        Error::format(self.path, format!("its pickle cannot be read: {reason}"))
            .with_hint("In Python, write the weights alone: `torch.save(model.state_dict(), path)`")
    }

    /// Whether `n` more bytes are there. Memory is taken for what the file has, not for `n`.
    fn reach(&mut self, n: usize) -> Result<bool> {
        let end = self.at.saturating_add(n);
        if end <= self.bytes.len() {
            return Ok(true);
        }
        let Some((file, size)) = self.file.filter(|(_, size)| end as u64 <= *size) else {
            return Ok(false);
        };
        let have = self.bytes.len();
        self.bytes.resize((end as u64 + STEP).min(size) as usize, 0);
        file.read_exact_at(&mut self.bytes[have..], have as u64)
            .map_err(|e| Error::io(self.path, e))?;
        Ok(true)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&[u8]> {
        if !self.reach(n)? {
            return Err(self.damaged(&format!("{n} bytes are announced that the file has not")));
        }
        let from = self.at;
        self.at += n;
        Ok(&self.bytes[from..self.at])
    }

    pub fn u8(&mut self) -> Result<u8> {
        if !self.reach(1)? {
            return Err(self.damaged("it has no end"));
        }
        self.at += 1;
        Ok(self.bytes[self.at - 1])
    }

    /// A whole number without sign, of up to 8 bytes, the least first.
    pub fn number(&mut self, width: usize) -> Result<usize> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)))
    }

    /// What comes before the next line feed, each byte a character (Latin 1).
    pub fn line(&mut self) -> Result<String> {
        let mut length = 0;
        while self.reach(length + 1)? && length < LONGEST_LINE {
            let rest = &self.bytes[self.at + length..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                length += rest.len();
                continue;
            };
            let line = &self.bytes[self.at..self.at + length + end];
            let text = line.iter().map(|&b| char::from(b)).collect();
            self.at += length + end + 1;
            return Ok(text);
        }
        Err(self.damaged("a line has no end"))
    }
}
