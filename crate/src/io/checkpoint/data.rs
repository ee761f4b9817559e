//! The bytes of tensors: where they lie in the file, and how they come out of it.

use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Deflate cannot do better than 1:1032.
const MOST_DEFLATED: u64 = 1100;
/// Bytes that go through memory at a time where a file is only looked through.
const STEP: usize = 1 << 20;

/// A file, open, and the pieces in it that hold tensors.
#[derive(Debug)]
pub(super) struct Data {
    pub path: PathBuf,
    pub file: File,
    pub size: u64,
    pub pieces: HashMap<String, Piece>,
    fingerprint: OnceLock<String>,
}

/// Why bytes were not read.
pub(super) enum Unread {
    /// What is wrong with them.
    Damaged(String),
    /// Anything else, an interrupt for one.
    Other(Error),
}
impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Unread::Damaged(reason)
    }
}
impl From<&str> for Unread {
    fn from(reason: &str) -> Self {
        Unread::Damaged(reason.into())
    }
}
impl From<Error> for Unread {
    fn from(e: Error) -> Self {
        Unread::Other(e)
    }
}

/// A stretch of the file: an entry of an archive, or plain bytes.
#[derive(Debug)]
pub(super) struct Piece {
    place: Place,
    /// Bytes once they are inflated.
    pub size: u64,
    /// The checksum; 0 where none is known (PyTorch can be told to leave it out).
    crc: u32,
    /// Whether the checksum was found right.
    checked: AtomicBool,
}

#[derive(Debug)]
enum Place {
    Plain { start: u64 },
    Entry { header: u64, stored: u64, deflated: bool },
}

impl Piece {
    /// Plain bytes from `start` on.
    pub fn plain(start: u64, size: u64) -> Piece {
        Piece { place: Place::Plain { start }, size, crc: 0, checked: false.into() }
    }

    /// An entry of an archive of `file_size` bytes, as the directory describes it, or why it cannot
    /// be one.
    pub fn entry(
        header: u64,
        stored: u64,
        size: u64,
        deflated: bool,
        crc: u32,
        file_size: u64,
    ) -> Result<Piece, String> {
        let most = if deflated { stored.saturating_mul(MOST_DEFLATED) } else { stored };
        if stored > file_size || size > most {
            return Err(format!("claims {size} bytes, which the archive has not"));
        }
        let place = Place::Entry { header, stored, deflated };
        Ok(Piece { place, size, crc, checked: false.into() })
    }
}

impl Data {
    pub fn new(path: PathBuf, file: File, size: u64, pieces: HashMap<String, Piece>) -> Data {
        Data { path, file, size, pieces, fingerprint: OnceLock::new() }
    }

    /// Fills `out` with the bytes of a piece from `offset` on.
    ///
    /// Pieces with a checksum are looked through as a whole the first time.
    pub fn read(&self, piece: &Piece, offset: u64, out: &mut [u8]) -> Result<(), Unread> {
        let end = offset + out.len() as u64;
        if end > piece.size {
            return Err(format!("ends after {} bytes, {end} are needed", piece.size).into());
        }
        let (start, stored, deflated) = self.locate(piece)?;
        if !deflated && (piece.crc == 0 || piece.checked.load(Ordering::Relaxed)) {
            let read = self.file.read_exact_at(out, start + offset);
            return read.map_err(|e| format!("cannot be read ({e})").into());
        }
        let section = Section { file: &self.file, at: start, end: start + stored };
        let mut bytes: Box<dyn Read> =
            if deflated { Box::new(DeflateDecoder::new(section)) } else { Box::new(section) };
        let mut crc = Crc::new();
        let mut scratch = Vec::new();
        let mut at = 0;
        // Before what is wanted, that itself, and behind it.
        for (from, to) in [(0, offset), (offset, end), (end, piece.size)] {
            while at < to {
                check_interrupt()?;
                let n = (to - at).min(STEP as u64) as usize;
                let target = if from == offset && at >= offset && to == end {
                    &mut out[(at - offset) as usize..][..n]
                } else {
                    scratch.resize(n.max(scratch.len()), 0);
                    &mut scratch[..n]
                };
                bytes.read_exact(target).map_err(|e| format!("the bytes are damaged ({e})"))?;
                crc.update(target);
                at += n as u64;
            }
        }
        if !matches!(bytes.read(&mut [0]), Ok(0)) {
            return Err("holds more bytes than it claims".into());
        }
        if piece.crc != 0 && crc.sum() != piece.crc {
            return Err("the bytes are damaged (their checksum differs)".into());
        }
        piece.checked.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Where the bytes of a piece start, how many they are in the file, and whether deflated.
    fn locate(&self, piece: &Piece) -> Result<(u64, u64, bool), String> {
        const HEADER: usize = 30;
        let (header, stored, deflated) = match piece.place {
            Place::Plain { start } => return Ok((start, piece.size, false)),
            Place::Entry { header, stored, deflated } => (header, stored, deflated),
        };
        let mut bytes = [0u8; HEADER];
        self.file.read_exact_at(&mut bytes, header).map_err(|e| format!("cannot be read ({e})"))?;
        if !bytes.starts_with(b"PK\x03\x04") {
            return Err("is not where the archive's directory says".into());
        }
        // The name and further fields lie between the header and the bytes.
        let length = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let start = header + HEADER as u64 + length(26) + length(28);
        if start + stored > self.size {
            return Err("ends behind the end of the file".into());
        }
        Ok((start, stored, deflated))
    }

    /// SHA-256 of the whole file in hexadecimal digits.
    pub fn fingerprint(&self) -> Result<&str> {
        if let Some(known) = self.fingerprint.get() {
            return Ok(known);
        }
        let mut hash = Sha256::new();
        let mut file = Section { file: &self.file, at: 0, end: self.size };
        let mut bytes = vec![0; STEP];
        loop {
            check_interrupt()?;
            match file.read(&mut bytes).map_err(|e| Error::io(&self.path, e))? {
                0 => break,
                n => hash.update(&bytes[..n]),
            }
        }
        let digits = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(self.fingerprint.get_or_init(|| digits))
    }
}

/// A stretch of a file, read from its start to its end.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = (self.end.saturating_sub(self.at)).min(out.len() as u64) as usize;
        let n = self.file.read_at(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
