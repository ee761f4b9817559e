//! One file coming over the network, as far as it comes.
//!
//! A thread reads from the server; this one writes what arrives, shows the progress, and looks for
//! an interrupt ten times a second, also while the server says nothing.

use super::download::unwritable;
use crate::error::{Error, Result};
use crate::progress::{Progress, check_interrupt};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How a transfer ended early.
pub(super) enum Broken {
    /// Asking again may help: the network failed, or the server is busy.
    Passing(Error),
    /// It will not.
    Final(Error),
}

impl From<Error> for Broken {
    fn from(e: Error) -> Self {
        Broken::Final(e)
    }
}

pub(super) struct Transfer {
    url: String,
    /// What has arrived so far.
    pub part: PathBuf,
    /// Which version of the file that is.
    from: PathBuf,
    file: File,
    /// Bytes of the whole file, if they are known beforehand.
    bytes: Option<u64>,
    patience: Duration,
    /// Whether to go on with a part of which nobody says which version it is.
    pub resumes_anything: bool,
}

/// What the reading thread tells.
enum News {
    Head(Head),
    Bytes(Vec<u8>),
    End,
    Failed { reason: String, passing: bool },
}

struct Head {
    status: u16,
    /// Bytes that follow.
    length: Option<u64>,
    /// Where in the file they belong, and how long it is in all.
    range: Option<(u64, Option<u64>)>,
    /// A strong ETag, or the date of the last change.
    version: Option<String>,
    is_html: bool,
}

/// `file.ext` as `file.ext.ending`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(ending);
    name.into()
}

/// Waits, and looks for an interrupt meanwhile.
pub(super) fn pause(wait: Duration) -> Result<()> {
    let until = Instant::now() + wait;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        check_interrupt()?;
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
    check_interrupt()
}

impl Transfer {
    /// Opens the part of the file at `path`, and keeps other processes from it.
    pub(super) fn new(
        url: &str,
        path: &Path,
        bytes: Option<u64>,
        patience: Duration,
    ) -> Result<Transfer> {
        let part = beside(path, "part");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&part)
            .map_err(|e| unwritable(&part, e))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let reason = "another process is downloading this file; wait for it";
            return Err(Error::format(&part, reason));
        }
        let from = beside(path, "from");
        Ok(Transfer { url: url.into(), part, from, file, bytes, patience, resumes_anything: false })
    }

    fn len(&self) -> Result<u64> {
        let length = self.file.metadata().map_err(|e| Error::io(&self.part, e))?.len();
        Ok(length)
    }

    /// Throws away what has arrived.
    fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|e| unwritable(&self.part, e))?;
        let _ = fs::remove_file(&self.from);
        Ok(())
    }

    /// Removes all traces of what has arrived.
    pub(super) fn discard(&self) {
        let _ = fs::remove_file(&self.part);
        let _ = fs::remove_file(&self.from);
    }

    /// Leaves nothing behind where nothing has arrived.
    pub(super) fn discard_if_empty(&self) {
        if self.file.metadata().is_ok_and(|m| m.len() == 0) {
            self.discard();
        }
    }

    /// Gives the whole file its name.
    pub(super) fn finish(self, path: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| unwritable(&self.part, e))?;
        fs::rename(&self.part, path).map_err(|e| unwritable(path, e))?;
        let _ = fs::remove_file(&self.from);
        Ok(())
    }

    /// Which version the part is of, if it is one of this address.
    fn version(&self) -> Option<String> {
        let text = fs::read_to_string(&self.from).ok()?;
        let (url, version) = text.split_once('\n')?;
        (url == self.url && !version.is_empty()).then(|| version.trim_end().to_string())
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::download(&self.url, reason)
    }

    /// Asks for the rest of the file and writes what comes.
    pub(super) fn run(&mut self) -> Result<(), Broken> {
        let version = self.version();
        if version.is_none() && !self.resumes_anything {
            self.restart()?;
        }
        let have = self.len()?;
        let (send, news) = sync_channel(4);
        let (url, patience) = (self.url.clone(), self.patience);
        std::thread::spawn(move || ask(&url, have, version.as_deref(), patience, &send));

        let head = match self.next(&news)? {
            News::Head(head) => head,
            News::Failed { reason, passing } => return Err(self.failed(reason, passing)),
            News::Bytes(_) | News::End => return Err(self.failed("it sent nothing".into(), true)),
        };
        let total = self.begin(&head, have)?;
        let name = self.part.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut progress = Progress::new(format!("{name} (kB)"), total.unwrap_or(0).div_ceil(1000));
        let mut done = self.len()?;
        progress.tick(done / 1000)?;
        loop {
            match self.next(&news)? {
                News::Bytes(bytes) => {
                    if done == 0 && looks_like_html(&bytes) {
                        let reason = "the server sent a web page instead of the file (a login, or a \
                                      notice that it has moved)";
                        self.discard();
                        return Err(self.error(reason).into());
                    }
                    self.file.write_all(&bytes).map_err(|e| unwritable(&self.part, e))?;
                    let before = done / 1000;
                    done += bytes.len() as u64;
                    if total.is_some_and(|t| done > t) {
                        self.restart()?;
                        return Err(self.failed("it sent more than it had announced".into(), true));
                    }
                    progress.tick(done / 1000 - before)?;
                }
                News::End if total.is_none_or(|t| t == done) => break,
                News::End | News::Head(_) => {
                    let reason = "the connection ended early".to_string();
                    return Err(self.failed(reason, true));
                }
                News::Failed { reason, passing } => return Err(self.failed(reason, passing)),
            }
        }
        progress.finish();
        Ok(())
    }

    fn failed(&self, reason: String, passing: bool) -> Broken {
        let e = self.error(reason);
        if passing { Broken::Passing(e) } else { Broken::Final(e) }
    }

    /// Makes the part ready for what the answer brings; the length of the whole file.
    fn begin(&mut self, head: &Head, have: u64) -> Result<Option<u64>, Broken> {
        let total = match (head.status, head.range) {
            (200, _) => {
                self.restart()?;
                head.length
            }
            (206, Some((start, total))) if start == have => total,
            (416, Some((_, Some(total)))) if total == have => Some(total),
            (206 | 416, _) => {
                self.restart()?;
                let reason = "the server no longer has the file that the download began with";
                return Err(self.failed(reason.into(), true));
            }
            (status, _) => {
                let passing = status == 429 || status == 408 || status >= 500;
                return Err(self.failed(format!("the server answers {}", meaning(status)), passing));
            }
        };
        if head.is_html && head.status != 416 && !self.url.ends_with(".html") {
            self.discard();
            let reason = "the server sent a web page instead of the file (a login, or a notice that \
                          it has moved)";
            return Err(self.error(reason).into());
        }
        if let (Some(total), Some(expected)) = (total, self.bytes)
            && total != expected
        {
            let reason = format!("the server's file has {total} bytes, expected {expected}");
            return Err(self.error(reason).into());
        }
        if let Some(version) = &head.version {
            let text = format!("{}\n{version}\n", self.url);
            fs::write(&self.from, text).map_err(|e| unwritable(&self.from, e))?;
        }
        Ok(total.or(self.bytes))
    }

    /// Waits for news, and looks for an interrupt meanwhile.
    fn next(&self, news: &Receiver<News>) -> Result<News, Broken> {
        let since = Instant::now();
        loop {
            check_interrupt()?;
            match news.recv_timeout(Duration::from_millis(100)) {
                Ok(news) => return Ok(news),
                Err(RecvTimeoutError::Timeout) if since.elapsed() < self.patience => {}
                Err(RecvTimeoutError::Timeout) => {
                    let reason = format!("nothing came for {} s", self.patience.as_secs_f32());
                    return Err(self.failed(reason, true));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed("the connection ended early".into(), true));
                }
            }
        }
    }
}

fn looks_like_html(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]).to_lowercase();
    let start = start.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

fn meaning(status: u16) -> String {
    let text = match status {
        401 | 403 => " (it wants a login, or does not give the file away)",
        404 | 410 => " (it has no such file)",
        429 => " (too many requests)",
        500.. => " (it has a problem of its own)",
        _ => "",
    };
    format!("{status}{text}")
}

/// The reading thread. It ends when nobody listens any more.
fn ask(url: &str, have: u64, version: Option<&str>, patience: Duration, news: &SyncSender<News>) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("spatialkit/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_resolve(Some(patience))
        .timeout_connect(Some(patience))
        .timeout_recv_response(Some(patience))
        .timeout_per_read(Some(patience))
        .build()
        .into();
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
        if let Some(version) = version {
            request = request.header("If-Range", version);
        }
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(e) => {
            let _ = news.send(failed(&e));
            return;
        }
    };
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_string);
    let strong = header("etag").filter(|e| !e.starts_with("W/"));
    let head = Head {
        status: response.status().as_u16(),
        length: header("content-length").and_then(|l| l.parse().ok()),
        range: header("content-range").and_then(|r| content_range(&r)),
        version: strong.or_else(|| header("last-modified")),
        is_html: header("content-type").is_some_and(|t| t.starts_with("text/html")),
    };
    let has_body = matches!(head.status, 200 | 206);
    if news.send(News::Head(head)).is_err() {
        return;
    }
    if !has_body {
        // The page that comes with a refusal is of no use.
        let _ = news.send(News::End);
        return;
    }
    let mut body = response.into_body().into_reader();
    loop {
        let mut buffer = vec![0; 1 << 17];
        let message = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                buffer.truncate(n);
                News::Bytes(buffer)
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => News::Failed { reason: format!("the connection broke: {e}"), passing: true },
        };
        let over = matches!(message, News::Failed { .. });
        if news.send(message).is_err() || over {
            return;
        }
    }
    let _ = news.send(News::End);
}

fn failed(e: &ureq::Error) -> News {
    use ureq::Error as E;
    let (reason, passing) = match e {
        E::HostNotFound => ("the server cannot be found: is there a network?".to_string(), false),
        E::ConnectionFailed => ("the server cannot be reached".into(), true),
        E::Io(e) => (format!("the server cannot be reached: {e}"), true),
        E::Timeout(_) => ("the server does not answer".into(), true),
        E::BadUri(_) | E::Http(_) => (format!("is no address of a file: {e}"), false),
        other => (other.to_string(), true),
    };
    News::Failed { reason, passing }
}

/// `bytes 10-19/20` as (10, 20), `bytes */20` as (0, 20).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = match range {
        "*" => 0,
        _ => range.split_once('-')?.0.parse().ok()?,
    };
    Some((start, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_servers_write_them() {
        assert_eq!(content_range("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(content_range("bytes */20"), Some((0, Some(20))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(content_range("lines 1-2/3"), None);
    }

    #[test]
    fn web_pages_are_told_from_files() {
        assert!(looks_like_html(b"\xef\xbb\xbf\r\n <!DOCTYPE html><title>Login"));
        assert!(looks_like_html(b"<html lang=en>"));
        assert!(!looks_like_html(b"\x89HDF\r\n\x1a\n"));
        assert!(!looks_like_html(b"<?xml version=\"1.0\"?>"));
    }
}
