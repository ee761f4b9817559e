//! Features on disk: one file for each encoder, to which records are appended.
//!
//! ```text
//! header: magic, width; then for each patch: its key (32 bytes), its features (width × f32), a checksum
//! ```
//! What follows the last whole record, as a crash leaves it, is cut off when the file is opened. A record
//! is written by one call, so several processes may append to the same file.

use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"skfeat01";
const HEADER: usize = 16;

/// The features that an encoder has made.
pub(super) struct Kept {
    path: PathBuf,
    file: File,
    width: usize,
    /// Where the features of each key begin.
    index: HashMap<[u8; 32], u64>,
    /// Records that are not written yet.
    fresh: Vec<u8>,
}

impl Kept {
    /// Opens the file of an encoder below `folder`, or begins it.
    pub fn open(folder: &Path, name: &str, fingerprint: &str, width: usize) -> Result<Kept> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let hash = Sha256::digest(fingerprint.as_bytes());
        let hash: String = hash.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        let path = folder.join(format!("{name}-{hash}.features"));
        let io = |e| Error::io(&path, e);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = file.map_err(io)?;
        let mut kept =
            Kept { path: path.clone(), file, width, index: HashMap::new(), fresh: vec![] };
        let whole = kept.read().map_err(io)?;
        let length = kept.file.metadata().map_err(io)?.len();
        if whole < length {
            kept.file.set_len(whole).map_err(io)?;
        }
        if whole == 0 {
            let header = [&MAGIC[..], &(width as u64).to_le_bytes()].concat();
            kept.file.write_all(&header).map_err(io)?;
        }
        Ok(kept)
    }

    fn record(&self) -> usize {
        32 + 4 * self.width + 4
    }

    /// Finds the records; returns where the last whole one ends.
    fn read(&mut self) -> std::io::Result<u64> {
        let mut file = BufReader::with_capacity(1 << 20, &self.file);
        let mut header = [0u8; HEADER];
        if !filled(&mut file, &mut header)?
            || header[..8] != *MAGIC
            || header[8..] != (self.width as u64).to_le_bytes()
        {
            return Ok(0);
        }
        let mut record = vec![0u8; self.record()];
        let mut end = HEADER as u64;
        while filled(&mut file, &mut record)? {
            let (content, sum) = record.split_at(record.len() - 4);
            if checksum(content) != sum {
                break;
            }
            let mut key = [0u8; 32];
            key.copy_from_slice(&content[..32]);
            self.index.insert(key, end + 32);
            end += record.len() as u64;
        }
        Ok(end)
    }

    /// The features of a patch, if they are kept.
    pub fn get(&self, key: &[u8; 32]) -> Result<Option<Vec<f32>>> {
        let Some(&at) = self.index.get(key) else { return Ok(None) };
        let mut bytes = vec![0u8; 4 * self.width];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| Error::io(&self.path, e))?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()))
    }

    /// Adds the features of a patch; [`flush`](Kept::flush) writes them.
    pub fn add(&mut self, key: [u8; 32], values: &[f32]) {
        let start = self.fresh.len();
        self.fresh.extend(key);
        self.fresh.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        let sum = checksum(&self.fresh[start..]);
        self.fresh.extend(sum);
    }

    /// Writes what was added. They are found when the file is opened again.
    pub fn flush(&mut self) -> Result<()> {
        self.file.write_all(&self.fresh).map_err(|e| Error::io(&self.path, e))?;
        self.fresh.clear();
        Ok(())
    }
}

/// The start of the hash of a record.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = Sha256::digest(bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Fills `buffer`, or tells that the file ends before.
fn filled(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}
