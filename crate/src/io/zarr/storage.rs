//! Where the pieces of a store lie: files of a folder, or entries of a zip archive.
//!
//! Both are maps from keys (`obs/age/c/0`) to bytes. Nothing is written, and a key never leads out
//! of the folder: keys are made of names that are checked, and names in an archive are only looked
//! up, never used as paths.

use crate::error::{Error, Result};
use crate::io::files;
use flate2::{Crc, Decompress, FlushDecompress, Status};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Deflate cannot do better than 1:1032.
const MOST_DEFLATED: u64 = 1100;

pub(super) struct Storage {
    pub path: PathBuf,
    kind: Kind,
}

enum Kind {
    Folder,
    Zip { file: File, size: u64, root: String, entries: BTreeMap<String, Entry> },
}

/// An entry of an archive, as its directory describes it.
struct Entry {
    header: u64,
    stored: u64,
    size: u64,
    deflated: bool,
    crc: u32,
}

/// The files that say what a key is.
pub(super) const METADATA: [&str; 3] = ["zarr.json", ".zarray", ".zgroup"];

impl Storage {
    /// Opens a folder or an archive.
    pub fn open(path: &Path) -> Result<Storage> {
        let meta = fs::metadata(path).map_err(|e| files::missing(path, e))?;
        if meta.is_dir() {
            return Ok(Storage { path: path.into(), kind: Kind::Folder });
        }
        let size = files::check_file(path)?;
        let damaged = |e: &dyn std::fmt::Display| {
            Error::format(path, format!("not a zip archive, or cut short ({e})"))
                .with_hint("A zarr store is a folder or a .zip of it. Copy or download it again")
        };
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let archive = zip::ZipArchive::new(file).map_err(|e| damaged(&e))?;
        let mut entries = BTreeMap::new();
        for i in 0..archive.len() {
            let entry = archive.by_index_data(i).map_err(|e| damaged(&e))?;
            let name = entry.name().map_err(|e| damaged(&e))?.into_owned();
            if entry.is_dir() {
                continue;
            }
            let deflated = files::is_deflated(path, &name, entry.compression(), entry.encrypted())?;
            // An archive that was appended to holds a key again and again: the last is valid, and
            // the only one that the directory still gives.
            let (header, stored, size) =
                (entry.header_start(), entry.compressed_size(), entry.size());
            entries.insert(name, Entry { header, stored, size, deflated, crc: entry.crc32() });
        }
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let root = root_of(&entries);
        Ok(Storage { path: path.into(), kind: Kind::Zip { file, size, root, entries } })
    }

    /// The bytes under `key`, or `None` where there are none.
    pub fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match &self.kind {
            Kind::Folder => match files::bytes(&self.path.join(key)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if absent(&e) => Ok(None),
                Err(e) => Err(Error::io(self.path.join(key), e)),
            },
            Kind::Zip { file, size, root, entries } => {
                let Some(entry) = entries.get(&format!("{root}{key}")) else { return Ok(None) };
                entry.read(file, *size).map(Some).map_err(|reason| {
                    Error::format(&self.path, format!("entry `{key}`: {reason}"))
                        .with_hint("Copy or download it again")
                })
            }
        }
    }

    /// Whether there is something under `key`.
    pub fn contains(&self, key: &str) -> bool {
        match &self.kind {
            Kind::Folder => self.path.join(key).is_file(),
            Kind::Zip { root, entries, .. } => entries.contains_key(&format!("{root}{key}")),
        }
    }

    /// Names of the members of the group `key`: what has metadata of its own. They are in
    /// alphabetical order.
    pub fn members(&self, key: &str) -> Result<Vec<String>> {
        let prefix = if key.is_empty() { String::new() } else { format!("{key}/") };
        let mut names = Vec::new();
        match &self.kind {
            Kind::Folder => {
                let folder = self.path.join(key);
                for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))? {
                    let entry = entry.map_err(|e| Error::io(&folder, e))?;
                    let path = entry.path();
                    if METADATA.iter().any(|m| path.join(m).is_file())
                        && let Ok(name) = entry.file_name().into_string()
                    {
                        names.push(name);
                    }
                }
                names.sort();
            }
            Kind::Zip { root, entries, .. } => {
                let prefix = format!("{root}{prefix}");
                for (key, _) in entries.range(prefix.clone()..) {
                    let Some(rest) = key.strip_prefix(&prefix) else { break };
                    if let Some((name, file)) = rest.split_once('/')
                        && METADATA.contains(&file)
                        && names.last().is_none_or(|last| last != name)
                    {
                        names.push(name.to_string());
                    }
                }
                names.sort();
                names.dedup();
            }
        }
        Ok(names)
    }

    /// The keys of files in the folder `key`, at most `depth` folders further down, each without
    /// `key/` before it and with the bytes it takes.
    pub fn files(&self, key: &str, depth: usize) -> Result<Vec<(String, u64)>> {
        let mut out = Vec::new();
        match &self.kind {
            Kind::Folder => walk(&self.path.join(key), "", depth, &mut out)?,
            Kind::Zip { root, entries, .. } => {
                let prefix = format!("{root}{key}/");
                for (name, entry) in entries.range(prefix.clone()..) {
                    let Some(rest) = name.strip_prefix(&prefix) else { break };
                    if rest.bytes().filter(|&b| b == b'/').count() <= depth {
                        out.push((rest.to_string(), entry.size.min(entry.bound())));
                    }
                }
            }
        }
        Ok(out)
    }

    /// The path of `key` where the store is a folder.
    pub fn folder(&self, key: &str) -> Option<PathBuf> {
        matches!(self.kind, Kind::Folder).then(|| self.path.join(key))
    }
}

/// Whether a file is simply not there.
fn absent(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound};
    matches!(e.kind(), NotFound | NotADirectory | IsADirectory | InvalidFilename)
}

/// The folder inside an archive in which the store lies: the top, or the one folder at the top that
/// is a store.
fn root_of(entries: &BTreeMap<String, Entry>) -> String {
    if METADATA.iter().any(|m| entries.contains_key(*m)) {
        return String::new();
    }
    let tops = entries.keys().filter_map(|key| key.split_once('/'));
    let mut stores: Vec<&str> =
        tops.filter(|(_, file)| METADATA.contains(file)).map(|(folder, _)| folder).collect();
    stores.dedup();
    match stores[..] {
        [one] => format!("{one}/"),
        _ => String::new(),
    }
}

fn walk(folder: &Path, prefix: &str, depth: usize, out: &mut Vec<(String, u64)>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if absent(&e) => return Ok(()),
        Err(e) => return Err(Error::io(folder, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        let meta = fs::metadata(&path).map_err(|e| Error::io(&path, e))?;
        let key = format!("{prefix}{name}");
        if meta.is_file() {
            out.push((key, meta.len()));
        } else if depth > 0 {
            walk(&path, &format!("{key}/"), depth - 1, out)?;
        }
    }
    Ok(())
}

impl Entry {
    /// The most bytes that the stored ones can become.
    fn bound(&self) -> u64 {
        if self.deflated { self.stored.saturating_mul(MOST_DEFLATED) } else { self.stored }
    }

    fn read(&self, file: &File, file_size: u64) -> Result<Vec<u8>, String> {
        const HEADER: usize = 30;
        let io = |e: std::io::Error| format!("cannot be read ({e})");
        let mut header = [0u8; HEADER];
        file.read_exact_at(&mut header, self.header).map_err(io)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err("the archive is damaged: the entry is not where it should be".into());
        }
        // The name and further fields lie between the header and the bytes.
        let length = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let start = self.header + HEADER as u64 + length(26) + length(28);
        if start.checked_add(self.stored).is_none_or(|end| end > file_size)
            || self.size > self.bound()
        {
            return Err(format!("claims {} bytes, which the archive has not", self.size));
        }
        let mut stored = vec![0; self.stored as usize];
        file.read_exact_at(&mut stored, start).map_err(io)?;
        let bytes = if self.deflated {
            let mut out = vec![0; self.size as usize];
            let mut inflate = Decompress::new(false);
            let status = inflate.decompress(&stored, &mut out, FlushDecompress::Finish);
            if !matches!(status, Ok(Status::StreamEnd)) || inflate.total_out() != self.size {
                return Err("the compressed bytes are damaged".into());
            }
            out
        } else {
            stored
        };
        let mut crc = Crc::new();
        crc.update(&bytes);
        if crc.sum() != self.crc {
            return Err("the bytes are damaged (their checksum differs)".into());
        }
        Ok(bytes)
    }
}
