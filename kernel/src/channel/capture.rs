//! The cells' stdout and stderr, read from their pipes and cut into pieces.
//!
//! Text is passed on as it is; only a character that is not complete yet waits for its end.
//! Output in the engine's own display format (`EVCXR_BEGIN_CONTENT <mime>`, content,
//! `EVCXR_END_CONTENT`), which third-party crates print, becomes a display; consecutive blocks
//! of different types are one display in several representations.

use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};

const BEGIN: &str = "EVCXR_BEGIN_CONTENT ";
const END: &str = "EVCXR_END_CONTENT";
const ASK: &str = "EVCXR_INPUT_REQUEST:";
const ASK_PASSWORD: &str = "EVCXR_INPUT_REQUEST_PASSWORD:";
/// The most that is read in one go, so that an endless loop of prints leaves time for others.
const AT_ONCE: usize = 4 << 20;

/// A piece of a cell's output.
#[derive(Debug, PartialEq)]
pub enum Piece {
    /// Text of `stdout` or `stderr`.
    Text(&'static str, String),
    /// One output in one or more representations.
    Bundle(Map<String, Value>),
    /// A question to the user.
    Ask {
        /// What to ask.
        prompt: String,
        /// Whether the answer is to be hidden.
        password: bool,
    },
}

/// The kernel's ends of the pipes and what was read but not passed on.
pub struct Capture {
    stdout: File,
    stderr: File,
    events: File,
    out: Vec<u8>,
    err: Vec<u8>,
    event: Vec<u8>,
    bundle: Map<String, Value>,
}

impl Capture {
    /// Takes over the pipes; they must not block.
    pub fn new(stdout: File, stderr: File, events: File) -> Capture {
        Capture {
            stdout,
            stderr,
            events,
            out: Vec::new(),
            err: Vec::new(),
            event: Vec::new(),
            bundle: Map::new(),
        }
    }

    /// What to wait for.
    pub fn descriptors(&self) -> [RawFd; 3] {
        [self.stdout.as_raw_fd(), self.stderr.as_raw_fd(), self.events.as_raw_fd()]
    }

    /// Everything written to stdout and stderr since the last call.
    pub fn output(&mut self) -> Vec<Piece> {
        read(&mut self.stdout, &mut self.out);
        read(&mut self.stderr, &mut self.err);
        let mut pieces = cut(&mut self.out, &mut self.bundle, false);
        if let Some(text) = take_text(&mut self.err) {
            pieces.push(Piece::Text("stderr", text));
        }
        pieces
    }

    /// What is left at the end of a cell, complete or not.
    pub fn rest(&mut self) -> Vec<Piece> {
        let mut pieces = cut(&mut self.out, &mut self.bundle, true);
        if !self.err.is_empty() {
            let text = String::from_utf8_lossy(&std::mem::take(&mut self.err)).into_owned();
            pieces.push(Piece::Text("stderr", text));
        }
        pieces
    }

    /// Complete events since the last call.
    pub fn events(&mut self) -> Vec<Value> {
        read(&mut self.events, &mut self.event);
        let Some(end) = self.event.iter().rposition(|&b| b == b'\n') else {
            return Vec::new();
        };
        let rest = self.event.split_off(end + 1);
        let lines = std::mem::replace(&mut self.event, rest);
        lines.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }
}

/// Waits until one of the pipes has something.
pub fn wait(fds: &[RawFd; 3]) {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: a valid array of its length.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
}

fn read(pipe: &mut File, into: &mut Vec<u8>) {
    let mut buffer = [0; 1 << 16];
    let mut total = 0;
    while total < AT_ONCE {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                into.extend_from_slice(&buffer[..n]);
                total += n;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The text in the buffer but for a character cut off at its end.
fn take_text(buffer: &mut Vec<u8>) -> Option<String> {
    let whole = whole_characters(buffer);
    if whole == 0 {
        return None;
    }
    let rest = buffer.split_off(whole);
    let text = std::mem::replace(buffer, rest);
    Some(String::from_utf8_lossy(&text).into_owned())
}

fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let byte = bytes[at];
        if byte & 0b1100_0000 == 0b1000_0000 {
            continue;
        }
        let length = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 1,
        };
        return if length > back { at } else { bytes.len() };
    }
    bytes.len()
}

/// Cuts stdout into pieces; with `all`, what is not complete is passed on as text.
fn cut(buffer: &mut Vec<u8>, bundle: &mut Map<String, Value>, all: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    loop {
        let marker = [BEGIN, ASK, ASK_PASSWORD]
            .into_iter()
            .filter_map(|m| Some((find(buffer, m.as_bytes())?, m)))
            .min();
        let Some((at, marker)) = marker else {
            let keep = if all { 0 } else { possible_marker(buffer) };
            let mut tail = buffer.split_off(buffer.len() - keep);
            push_text(&mut pieces, buffer, bundle, all);
            buffer.append(&mut tail);
            break;
        };
        let mut rest = buffer.split_off(at);
        push_text(&mut pieces, buffer, bundle, true);
        let body = marker.len();
        if marker == BEGIN {
            let Some(line) = find(&rest[body..], b"\n").map(|n| body + n) else {
                return hold(buffer, rest, pieces, all);
            };
            let Some(end) = find(&rest[line..], END.as_bytes()).map(|n| line + n) else {
                return hold(buffer, rest, pieces, all);
            };
            let mime = String::from_utf8_lossy(&rest[body..line]).trim().to_owned();
            let content = &rest[line + 1..end.max(line + 1)];
            let content = content.strip_suffix(b"\n").unwrap_or(content);
            let text = String::from_utf8_lossy(content).into_owned();
            let value = if mime.ends_with("json") {
                serde_json::from_str(&text).unwrap_or(Value::from(text))
            } else {
                Value::from(text)
            };
            if bundle.contains_key(&mime) {
                pieces.push(Piece::Bundle(std::mem::take(bundle)));
            }
            bundle.insert(mime, value);
            let mut next = end + END.len();
            if rest.get(next) == Some(&b'\n') {
                next += 1;
            }
            *buffer = rest.split_off(next);
        } else {
            let Some(line) = find(&rest[body..], b"\n").map(|n| body + n) else {
                return hold(buffer, rest, pieces, all);
            };
            pieces.push(Piece::Ask {
                prompt: String::from_utf8_lossy(&rest[body..line]).into_owned(),
                password: marker == ASK_PASSWORD,
            });
            *buffer = rest.split_off(line + 1);
        }
    }
    if all && !bundle.is_empty() {
        pieces.push(Piece::Bundle(std::mem::take(bundle)));
    }
    pieces
}

/// A block that is not complete waits, or is text after all at the end of the cell.
fn hold(buffer: &mut Vec<u8>, rest: Vec<u8>, mut pieces: Vec<Piece>, all: bool) -> Vec<Piece> {
    if all {
        pieces.push(Piece::Text("stdout", String::from_utf8_lossy(&rest).into_owned()));
    } else {
        *buffer = rest;
    }
    pieces
}

fn push_text(
    pieces: &mut Vec<Piece>,
    buffer: &mut Vec<u8>,
    bundle: &mut Map<String, Value>,
    all: bool,
) {
    if buffer.is_empty() {
        return;
    }
    if !bundle.is_empty() {
        pieces.push(Piece::Bundle(std::mem::take(bundle)));
    }
    let text = if all {
        Some(String::from_utf8_lossy(&std::mem::take(buffer)).into_owned())
    } else {
        take_text(buffer)
    };
    if let Some(text) = text {
        pieces.push(Piece::Text("stdout", text));
    }
}

/// Length of the buffer's end that could be the beginning of a marker.
fn possible_marker(buffer: &[u8]) -> usize {
    let longest = BEGIN.len().max(ASK_PASSWORD.len()).min(buffer.len() + 1);
    (1..longest)
        .rev()
        .find(|&n| {
            n <= buffer.len() && {
                let end = &buffer[buffer.len() - n..];
                [BEGIN, ASK, ASK_PASSWORD].iter().any(|m| m.as_bytes().starts_with(end))
            }
        })
        // A lone `E` at the end of a text is far more often just that, and a marker is written
        // in one piece with its first characters.
        .filter(|&n| n > 1)
        .unwrap_or(0)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pieces(chunks: &[&[u8]]) -> Vec<Piece> {
        let (mut buffer, mut bundle, mut out) = (Vec::new(), Map::new(), Vec::new());
        for chunk in chunks {
            buffer.extend_from_slice(chunk);
            out.extend(cut(&mut buffer, &mut bundle, false));
        }
        out.extend(cut(&mut buffer, &mut bundle, true));
        out
    }

    fn text(text: &str) -> Piece {
        Piece::Text("stdout", text.to_owned())
    }

    #[test]
    fn text_passes_at_once_and_characters_stay_whole() {
        assert_eq!(
            pieces(&[b"a\r50 %", b" \xc3", b"\xbc"]),
            [text("a\r50 %"), text(" "), text("ü")]
        );
    }

    #[test]
    fn blocks_become_displays_even_after_unterminated_text() {
        let parts: &[&[u8]] = &[
            b"x=EVCXR_BEGIN_CON",
            b"TENT text/html\n<b>1</b>\n",
            b"EVCXR_END_CONTENT\nEVCXR_BEGIN_CONTENT text/plain\n1\nEVCXR_END_CONTENT\nafter\n",
        ];
        let bundle = json!({"text/html": "<b>1</b>", "text/plain": "1"});
        let Value::Object(bundle) = bundle else { unreachable!() };
        assert_eq!(pieces(parts), [text("x="), Piece::Bundle(bundle), text("after\n")]);
    }

    #[test]
    fn an_unfinished_block_is_text_in_the_end() {
        assert_eq!(
            pieces(&[b"EVCXR_BEGIN_CONTENT text/html\n<b>"]),
            [text("EVCXR_BEGIN_CONTENT text/html\n<b>")]
        );
    }

    #[test]
    fn questions_are_recognised() {
        assert_eq!(
            pieces(&[b"EVCXR_INPUT_REQUEST:name?\n"]),
            [Piece::Ask { prompt: "name?".to_owned(), password: false }]
        );
    }
}
