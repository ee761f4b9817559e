//! Unpacking `.tar.gz` archives, in which 10x keeps the `spatial` folder of a slide.
//!
//! ```text
//! 512 bytes a header: name (100), mode, uid, gid (8 each), size (12, octal), mtime (12),
//!     checksum (8), type (1), link (100), "ustar" …, prefix (155 at 345)
//! the file, filled up to a multiple of 512 bytes; two blocks of zeros at the end
//! ```
//! Only files and folders are made, and only below the target: links, devices and paths that lead
//! out of it are refused.

use super::download::unwritable;
use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use flate2::read::MultiGzDecoder;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

const BLOCK: usize = 512;
/// No archive of a slide holds more; a small file that claims to is a bomb.
const MOST: u64 = 16 << 30;
/// Bytes of a name that a header may announce.
const LONGEST: u64 = 1 << 16;

/// Unpacks an archive into a folder, which appears only once all of it is there.
pub(super) fn tar_gz(archive: &Path, target: &Path) -> Result<()> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent).map_err(|e| unwritable(parent, e))?;
    let folder = tempfile::Builder::new()
        .prefix(".unpack")
        .tempdir_in(parent)
        .map_err(|e| unwritable(parent, e))?;
    let file = File::open(archive).map_err(|e| Error::io(archive, e))?;
    let mut archive = Archive { path: archive, from: MultiGzDecoder::new(BufReader::new(file)) };
    archive.unpack(folder.path())?;
    let folder = folder.keep();
    let renamed = fs::rename(&folder, target);
    if renamed.is_err() {
        let _ = fs::remove_dir_all(&folder);
    }
    // Another process may have been quicker.
    renamed.or_else(|e| if target.is_dir() { Ok(()) } else { Err(unwritable(target, e)) })
}

struct Archive<'a> {
    path: &'a Path,
    from: MultiGzDecoder<BufReader<File>>,
}

impl Archive<'_> {
    fn error(&self, reason: impl Into<String>) -> Error {
        Error::format(self.path, reason)
    }

    fn unpack(&mut self, folder: &Path) -> Result<()> {
        let mut left = MOST;
        let mut long_name: Option<String> = None;
        let mut block = [0; BLOCK];
        loop {
            check_interrupt()?;
            self.fill(&mut block)?;
            if block == [0; BLOCK] {
                return Ok(());
            }
            let header = self.header(&block)?;
            left = left.checked_sub(header.size).ok_or_else(|| {
                self.error(format!("holds more than {} GB, which no slide does", MOST >> 30))
            })?;
            let name = long_name.take().unwrap_or(header.name);
            match header.kind {
                b'0' | 0 | b'7' => self.file(&self.below(folder, &name)?, header.size)?,
                b'5' => {
                    let path = self.below(folder, &name)?;
                    fs::create_dir_all(&path).map_err(|e| unwritable(&path, e))?;
                    self.skip(header.size)?;
                }
                // The name of the next entry, GNU's way and POSIX's.
                b'L' => {
                    let text = self.text(header.size)?;
                    long_name = Some(text.trim_end_matches('\0').to_string());
                }
                b'x' => {
                    let text = self.text(header.size)?;
                    let path = |l: &str| l.split_once(" path=").map(|(_, p)| p.to_string());
                    long_name = text.lines().find_map(path);
                }
                b'g' => self.skip(header.size)?,
                kind => {
                    let kind = char::from(kind);
                    let reason = format!("`{name}` is no file or folder (type `{kind}`)");
                    return Err(self.error(reason));
                }
            }
        }
    }

    fn fill(&mut self, block: &mut [u8]) -> Result<()> {
        self.from
            .read_exact(block)
            .map_err(|e| self.error(format!("ends early or is damaged: {e}")))
    }

    fn header(&self, block: &[u8; BLOCK]) -> Result<Header> {
        let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
        // The sum is taken with blanks in its own place.
        let own: u64 = block[148..156].iter().map(|&b| u64::from(b)).sum();
        let stated = octal(&block[148..156]);
        if stated != Some(sum - own + 8 * 32) {
            return Err(
                self.error("is no tar archive, or a damaged one (wrong checksum of a header)")
            );
        }
        let size = octal(&block[124..136]);
        let size = size.ok_or_else(|| self.error("a header has a size that is no number"))?;
        let text = |range: std::ops::Range<usize>| {
            let bytes = &block[range];
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let (name, prefix) = (text(0..100), text(345..500));
        let ustar = &block[257..262] == b"ustar" && !prefix.is_empty();
        let name = if ustar { format!("{prefix}/{name}") } else { name };
        Ok(Header { name, size, kind: block[156] })
    }

    /// A path of the archive below the folder.
    fn below(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = Path::new(name);
        let plain = |c| matches!(c, Component::Normal(_) | Component::CurDir);
        if !path.components().all(plain) {
            return Err(self.error(format!("`{name}` leads out of the folder it is unpacked into")));
        }
        Ok(folder.join(path))
    }

    fn file(&mut self, path: &Path, size: u64) -> Result<()> {
        let parent = path.parent().unwrap_or(path);
        fs::create_dir_all(parent).map_err(|e| unwritable(parent, e))?;
        let mut file = File::create(path).map_err(|e| unwritable(path, e))?;
        let written = io::copy(&mut (&mut self.from).take(size), &mut file)
            .map_err(|e| unwritable(path, e))?;
        if written != size {
            return Err(self.error(format!("ends within `{}`", path.display())));
        }
        self.skip_padding(size)
    }

    fn text(&mut self, size: u64) -> Result<String> {
        if size > LONGEST {
            return Err(self.error(format!("a name of {size} bytes")));
        }
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes)?;
        self.skip_padding(size)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip(&mut self, size: u64) -> Result<()> {
        let skipped = io::copy(&mut (&mut self.from).take(size), &mut io::sink());
        if !skipped.is_ok_and(|n| n == size) {
            return Err(self.error("ends early or is damaged"));
        }
        self.skip_padding(size)
    }

    fn skip_padding(&mut self, size: u64) -> Result<()> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        self.fill(&mut [0; BLOCK][..padding as usize])
    }
}

struct Header {
    name: String,
    size: u64,
    kind: u8,
}

/// A number in octal digits, filled up with blanks and zeros.
fn octal(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// An archive of entries: name, type, content.
    pub(in crate::datasets) fn archive(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, kind, content) in entries {
            let mut header = [0u8; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            header[156] = *kind;
            header[257..262].copy_from_slice(b"ustar");
            header[148..156].fill(b' ');
            let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
            header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
            tar.extend_from_slice(&header);
            tar.extend_from_slice(content);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.extend_from_slice(&[0; 2 * BLOCK]);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar).unwrap();
        gz.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> (tempfile::TempDir, Result<()>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar.gz");
        fs::write(&file, bytes).unwrap();
        let done = tar_gz(&file, &dir.path().join("out"));
        (dir, done)
    }

    #[test]
    fn files_and_folders_come_out() {
        let long = "d/".repeat(70) + "deep.txt";
        let bytes = archive(&[
            ("spatial/", b'5', b""),
            ("./spatial/a.json", b'0', b"{}"),
            ("x", b'L', long.as_bytes()),
            ("cut", b'0', b"deep"),
            ("pax", b'x', b"22 path=spatial/p.csv\n"),
            ("p", b'0', &[7; 1025]),
        ]);
        let (dir, done) = unpack(&bytes);
        done.unwrap();
        let out = dir.path().join("out");
        assert_eq!(fs::read(out.join("spatial/a.json")).unwrap(), b"{}");
        assert_eq!(fs::read(out.join(long)).unwrap(), b"deep");
        assert_eq!(fs::read(out.join("spatial/p.csv")).unwrap().len(), 1025);
    }

    #[test]
    fn an_archive_cannot_write_elsewhere() {
        for (name, kind) in
            [("../evil", b'0'), ("/tmp/evil", b'0'), ("a/../../b", b'0'), ("l", b'2')]
        {
            let (dir, done) = unpack(&archive(&[("ok", b'0', b"1"), (name, kind, b"")]));
            let e = done.unwrap_err().to_string();
            assert!(e.contains("a.tar.gz") && e.contains(name), "{e}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
        }
    }

    #[test]
    fn damaged_archives_are_refused() {
        let good = archive(&[("a", b'0', &[1; 5000])]);
        assert!(unpack(&good[..good.len() / 2]).1.is_err());
        assert!(unpack(b"no archive").1.is_err());
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&[b'7'; 2 * BLOCK]).unwrap();
        let e = unpack(&gz.finish().unwrap()).1.unwrap_err().to_string();
        assert!(e.contains("no tar archive"), "{e}");
    }
}
