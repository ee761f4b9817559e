//! Files and folders before their content: is there one, and what does it look like?

use crate::error::{Error, Result};
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Checks that `path` is a readable file with content and returns its size in bytes.
pub(super) fn check_file(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).map_err(|e| missing(path, e))?;
    if meta.is_dir() {
        return Err(Error::format(path, "this is a folder, not a file")
            .with_hint("`io::read` finds out what a folder holds"));
    }
    if !meta.is_file() {
        return open(path).map(|_| 0).map_err(|e| Error::io(path, e));
    }
    if meta.len() == 0 {
        return Err(Error::format(path, "the file is empty").with_hint("Copy or download it again"));
    }
    open(path).map_err(|e| Error::io(path, e))?;
    Ok(meta.len())
}

/// Opens a file for reading. A pipe or a device is refused at once: opening the one waits for a
/// writer, reading the other may have no end.
pub(super) fn open(path: &Path) -> std::io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // For a pipe it means not to wait for a writer; for files it means nothing.
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return Ok(file);
    }
    Err(std::io::Error::new(ErrorKind::InvalidInput, "this is a pipe or a device, not a file"))
}

/// The content of a file.
pub(super) fn bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(file.metadata()?.len() as usize);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Checks that `path` is a folder.
pub(super) fn check_folder(path: &Path) -> Result<()> {
    let meta = fs::metadata(path).map_err(|e| missing(path, e))?;
    if !meta.is_dir() {
        return Err(Error::format(path, "this is a file, not a folder")
            .with_hint("`io::read` finds out what a file holds"));
    }
    Ok(())
}

/// Reads a text file, gunzipped if it is gzipped.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = bytes(path).map_err(|e| missing(path, e))?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut out).map_err(|e| {
            Error::format(path, format!("damaged gzip file: {e}"))
                .with_hint("Copy or download it again")
        })?;
        out
    } else {
        bytes
    };
    String::from_utf8(bytes).map_err(|_| {
        let looks = describe_content(path);
        Error::format(path, format!("expected text, found {looks}"))
    })
}

/// The names in a folder, sorted; none if it cannot be read.
pub(super) fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut names: Vec<String> =
        entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The first names of a list.
pub(super) fn list(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len() {
        0 => "nothing".into(),
        n if n <= SHOWN => names.join(", "),
        n => format!("{}, … ({n} in all)", names[..SHOWN].join(", ")),
    }
}

/// The error for a path that cannot be opened, with names that are alike.
pub(super) fn missing(path: &Path, source: std::io::Error) -> Error {
    if source.kind() != ErrorKind::NotFound {
        return Error::io(path, source);
    }
    Error::io(path, source).with_hint(suggestion(path))
}

fn suggestion(path: &Path) -> String {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => Path::new(".").into(),
    };
    let Ok(entries) = fs::read_dir(&folder) else {
        let here = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
        return format!("There is no folder `{}` (working in `{here}`)", folder.display());
    };
    let wanted = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let mut names: Vec<(usize, String)> = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .map(|name| (distance(&wanted, &name.to_lowercase()), name))
        .collect();
    names.sort();
    let close = |d: usize| d <= 2 + wanted.chars().count() / 3;
    let alike: Vec<String> =
        names.iter().filter(|n| close(n.0)).take(5).map(|n| format!("`{}`", n.1)).collect();
    let folder = fs::canonicalize(&folder).unwrap_or(folder);
    if !alike.is_empty() {
        return format!("Did you mean {}? (in `{}`)", alike.join(" or "), folder.display());
    }
    let some: Vec<&str> = names.iter().take(8).map(|n| n.1.as_str()).collect();
    match some.len() {
        0 => format!("The folder `{}` is empty", folder.display()),
        _ => format!("The folder `{}` holds: {}", folder.display(), some.join(", ")),
    }
}

/// Edits that turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Refuses what a failed download leaves under the name of a text.
pub(super) fn check_download(path: &Path) -> Result<()> {
    let mut head = [0u8; 256];
    let n = open(path).and_then(|mut f| f.read(&mut head)).unwrap_or(0);
    match failed_download(&String::from_utf8_lossy(&head[..n])) {
        Some(looks) => Err(Error::format(path, format!("not a table: {looks}"))),
        None => Ok(()),
    }
}

/// Whether a text begins like what a failed download leaves, in words.
fn failed_download(text: &str) -> Option<&'static str> {
    let low = text.trim_start().to_lowercase();
    if low.starts_with("<!doctype") || low.starts_with("<html") {
        return Some("it is a web page, as a failed download leaves");
    }
    let pointer = low.starts_with("version https://git-lfs");
    pointer.then_some("it is a Git LFS pointer; run `git lfs pull`")
}

/// What the first bytes of a file look like, in words.
pub(super) fn describe_content(path: &Path) -> String {
    let mut head = [0u8; 256];
    let n = open(path).and_then(|mut f| f.read(&mut head)).unwrap_or(0);
    let head = &head[..n];
    let text = std::str::from_utf8(head).or_else(|e| {
        // A character may be cut at the end of what was read.
        std::str::from_utf8(&head[..e.valid_up_to()])
            .map_err(|_| ())
            .and_then(|s| if e.error_len().is_none() { Ok(s) } else { Err(()) })
    });
    if head.starts_with(&[0x1f, 0x8b]) {
        return "it is gzipped; gunzip it first".into();
    }
    let pictures: [&[u8]; 4] = [b"\x89PNG", b"\xff\xd8\xff", b"II\x2a\0", b"MM\0\x2a"];
    if pictures.iter().any(|p| head.starts_with(p)) {
        return "it is a picture".into();
    }
    if head.starts_with(b"PAR1") {
        return "it is a parquet table".into();
    }
    if head.starts_with(b"PK\x03\x04") {
        return "it is a zip archive; unpack it first".into();
    }
    if let Ok(text) = text {
        if let Some(looks) = failed_download(text) {
            return looks.into();
        }
        let first: String = text.lines().next().unwrap_or("").chars().take(40).collect();
        return format!("it is a text file that starts with `{first}`");
    }
    "its content is of another kind".into()
}

/// Whether an entry of a zip archive is deflated, or stored as it is.
///
/// # Errors
/// [`Error::Format`] for another compression, or when it is encrypted.
pub(super) fn is_deflated(
    path: &Path,
    name: &str,
    method: zip::CompressionMethod,
    encrypted: bool,
) -> Result<bool> {
    let deflated = match method {
        zip::CompressionMethod::Stored => false,
        zip::CompressionMethod::Deflated => true,
        other => {
            let reason = format!("entry `{name}` is compressed with {other:?}");
            return Err(Error::format(path, reason)
                .with_hint("Repack the archive with stored or deflated entries"));
        }
    };
    if encrypted {
        return Err(Error::format(path, format!("entry `{name}` is encrypted")));
    }
    Ok(deflated)
}

/// An entry of a zip archive, of `most` bytes at most.
pub(crate) fn zip_entry(path: &Path, name: &str, most: u64) -> Result<Vec<u8>> {
    check_file(path)?;
    let wrong = |reason: String| Error::format(path, reason).with_hint("Copy or download it again");
    let file = open(path).map_err(|e| Error::io(path, e))?;
    let mut archive =
        zip::ZipArchive::new(file).map_err(|e| wrong(format!("not a zip archive ({e})")))?;
    let entry = archive.by_name(name).map_err(|e| wrong(format!("no entry `{name}` ({e})")))?;
    if entry.size() > most {
        return Err(wrong(format!("entry `{name}` claims {} bytes", entry.size())));
    }
    let mut bytes = Vec::new();
    let read = entry.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|e| wrong(format!("entry `{name}` is damaged ({e})")))?;
    if bytes.len() as u64 > most {
        return Err(wrong(format!("entry `{name}` is larger than it claims")));
    }
    Ok(bytes)
}

/// Where what can be made or fetched again is kept: `SPATIALKIT_CACHE`, or else the platform's folder
/// for such things.
pub(crate) fn cache_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("SPATIALKIT_CACHE") {
        return folder;
    }
    let home = || set("HOME").unwrap_or_else(|| PathBuf::from("."));
    let caches = if cfg!(target_os = "macos") {
        home().join("Library/Caches")
    } else if cfg!(windows) {
        set("LOCALAPPDATA").unwrap_or_else(home)
    } else {
        set("XDG_CACHE_HOME").filter(|p| p.is_absolute()).unwrap_or_else(|| home().join(".cache"))
    };
    caches.join("spatialkit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_suggests_names_that_are_alike() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("slide_151673.h5ad"), "x").unwrap();
        let e = check_file(&dir.path().join("slide_151763.h5ad")).unwrap_err().to_string();
        assert!(e.contains("Did you mean `slide_151673.h5ad`?"), "{e}");
        let e = check_file(&dir.path().join("nowhere/a.h5ad")).unwrap_err().to_string();
        assert!(e.contains("There is no folder"), "{e}");
    }

    #[test]
    fn content_is_described_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "<!DOCTYPE html>").unwrap();
        assert!(describe_content(&path).contains("web page"));
        fs::write(&path, b"\x89PNG\r\n\x1a\n").unwrap();
        assert_eq!(describe_content(&path), "it is a picture");
        fs::write(&path, "barcode,layer\n").unwrap();
        assert!(describe_content(&path).contains("starts with `barcode,layer`"));
    }
}
