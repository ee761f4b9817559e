//! Downloads into a folder that keeps them: resumed where they broke off, checked, and renamed into
//! place only once they are whole.
//!
//! ```text
//! FOLDER/collection/slide/file          whole and checked
//! FOLDER/collection/slide/file.sha256   its checksum, as `sha256sum` writes it
//! FOLDER/collection/slide/file.part     what has arrived so far
//! FOLDER/collection/slide/file.from     which version of it that is, and from where
//! ```
//!
//! A checksum that somebody publishes is what the file must have. Where nobody does, that of the
//! first download is recorded, and a file that has changed since is refused.

use super::transfer::{self, Broken, Transfer};
use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Where downloads are kept and how they are made. Data sets are methods of it, e.g.
/// [`visium_sge`](Downloads::visium_sge); the functions of the same names use the default.
///
/// ```no_run
/// # use spatialkit::datasets::Downloads;
/// let slide = Downloads::new().folder("/data/slides").visium_sge("V1_Human_Lymph_Node")?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Downloads {
    folder: PathBuf,
    base: Option<String>,
    retries: u32,
    wait: Duration,
    patience: Duration,
}

impl Default for Downloads {
    fn default() -> Self {
        Downloads::new()
    }
}

impl Downloads {
    /// Into `SPATIALKIT_CACHE`, or else the platform's folder for such things:
    /// `~/.cache/spatialkit`, `~/Library/Caches/spatialkit`, `%LOCALAPPDATA%\spatialkit`.
    pub fn new() -> Self {
        Downloads {
            folder: crate::io::cache_folder(),
            base: None,
            retries: 4,
            wait: Duration::from_secs(1),
            patience: Duration::from_secs(60),
        }
    }

    /// Keeps downloads in this folder.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Asks this server instead of the one in each address: `https://host/path` becomes
    /// `BASE/path`. For mirrors.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.base = Some(base.into().trim_end_matches('/').to_string());
        self
    }

    /// How often a download that broke off is taken up again (4); in between it waits 1, 2, 4, …
    /// seconds.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The first wait before a download is taken up again (1 s); each later one is twice as long.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long a server may say nothing before it counts as gone (60 s).
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The folder in which downloads are kept.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Downloads a file, or finds it where an earlier download has put it
    /// (`FOLDER/files/host/path`). `checksum` is its SHA-256 in hexadecimal, if it is known;
    /// otherwise that of the first download is recorded and must stay.
    ///
    /// A download shows its progress; an interrupt keeps what has arrived, and the next call goes
    /// on from there if the server still has the same file.
    ///
    /// # Errors
    /// [`Error::Download`] when the server cannot be reached (saying which file to put where), says
    /// no, sends a web page instead of a file, or something with another checksum; [`Error::Io`]
    /// when the folder cannot be written or the disk is full; [`Error::Format`] when the file that
    /// is there has changed; [`Error::Interrupted`].
    pub fn fetch(&self, url: &str, checksum: Option<&str>) -> Result<PathBuf> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let part = |p: &str| p.chars().map(|c| if plain(c) { c } else { '_' }).collect::<String>();
        let parts = rest.split('/').filter(|p| !p.is_empty() && !p.chars().all(|c| c == '.'));
        let file: PathBuf = std::iter::once("files".to_string()).chain(parts.map(part)).collect();
        self.obtain(&file, &[url.to_string()], checksum, None)
    }

    /// The file at `file` below the folder, from the first of `urls` that gives it.
    pub(super) fn obtain(
        &self,
        file: &Path,
        urls: &[String],
        checksum: Option<&str>,
        bytes: Option<u64>,
    ) -> Result<PathBuf> {
        let inside = file.components().all(|c| matches!(c, Component::Normal(_)));
        if !inside || file.file_name().is_none() {
            let reason = "is no plain path below the folder of downloads";
            return Err(Error::parameter("file", file.display(), reason));
        }
        let path = self.folder.join(file);
        if path.is_file() {
            return verify(&path, checksum, urls).map(|()| path);
        }
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|e| unwritable(folder, e))?;
        let mut last = None;
        for url in urls {
            let from = self.address(url);
            match self.from(&from, &path, checksum, bytes) {
                Err(e @ Error::Download { .. }) => last = Some(e),
                other => return other.map(|()| path),
            }
        }
        let last = last.unwrap_or_else(|| Error::download("", "no address is known"));
        Err(last.with_hint(format!(
            "To do without the network, fetch {} elsewhere and put it at {}",
            urls.join(" or "),
            path.display()
        )))
    }

    fn address(&self, url: &str) -> String {
        match (&self.base, url.split_once("://")) {
            (Some(base), Some((_, rest))) => {
                format!("{base}/{}", rest.split_once('/').map_or("", |(_, path)| path))
            }
            _ => url.to_string(),
        }
    }

    /// One address, as often as it takes.
    fn from(
        &self,
        url: &str,
        path: &Path,
        checksum: Option<&str>,
        bytes: Option<u64>,
    ) -> Result<()> {
        let mut transfer = Transfer::new(url, path, bytes, self.patience)?;
        // A part without a version can be trusted only if the whole can be checked.
        transfer.resumes_anything = checksum.is_some();
        let mut wait = self.wait;
        for attempt in 0..=self.retries {
            match transfer.run() {
                Ok(()) => break,
                Err(Broken::Passing(_)) if attempt < self.retries => {}
                Err(Broken::Passing(e) | Broken::Final(e)) => {
                    transfer.discard_if_empty();
                    return Err(e);
                }
            }
            transfer::pause(wait)?;
            wait = wait.saturating_mul(2);
        }
        let found = sha256(&transfer.part)?;
        if let Some(expected) = checksum
            && !found.eq_ignore_ascii_case(expected)
        {
            transfer.discard();
            let reason = format!(
                "what came has another checksum: SHA-256 {found}, expected {expected}. It was not \
                 kept"
            );
            return Err(Error::download(url, reason));
        }
        record(path, &found)?;
        transfer.finish(path)
    }
}

/// A message for a folder or file that cannot be written.
pub(super) fn unwritable(path: &Path, e: std::io::Error) -> Error {
    let text = match e.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "What has arrived is kept: make room, or set SPATIALKIT_CACHE to a folder on another disk, \
             and ask again"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "Set SPATIALKIT_CACHE to a folder that you may write to"
        }
        _ => "",
    };
    Error::io(path, e).with_hint(text)
}

fn checksum_file(path: &Path) -> PathBuf {
    transfer::beside(path, "sha256")
}

fn record(path: &Path, checksum: &str) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let file = checksum_file(path);
    fs::write(&file, format!("{checksum}  {name}\n")).map_err(|e| unwritable(&file, e))
}

/// Checks a file that is there: against the checksum that is published, else the recorded one. A
/// file that somebody has put there by hand has none yet: it gets it now.
fn verify(path: &Path, published: Option<&str>, urls: &[String]) -> Result<()> {
    let recorded = fs::read_to_string(checksum_file(path)).ok();
    let recorded = recorded.as_deref().and_then(|t| t.split_whitespace().next());
    let found = sha256(path)?;
    match published.or(recorded) {
        Some(expected) if !found.eq_ignore_ascii_case(expected) => {
            let whose = if published.is_some() { "published" } else { "recorded at its download" };
            let reason = format!("its checksum is {found}, but the one {whose} is {expected}");
            let hint = format!("Remove it to download it again from {}", urls.join(" or "));
            Err(Error::format(path, reason).with_hint(hint))
        }
        _ if recorded.is_none() => record(path, &found),
        _ => Ok(()),
    }
}

/// The SHA-256 of a file in hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        check_interrupt()?;
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(path, e)),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
