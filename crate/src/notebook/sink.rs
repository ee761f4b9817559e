//! Where outputs go: the display channel, evcxr's markers, or stdout as text.

use super::Bundle;
use crate::error::{Error, Result};
use serde_json::{Value as Json, json};
use std::io::{BufRead, BufReader, Write};
use std::sync::{LazyLock, Mutex, MutexGuard};

enum Sink {
    #[cfg(unix)]
    Channel(BufReader<std::os::unix::net::UnixStream>),
    EvcxrMarkers,
    Text,
}

static SINK: LazyLock<Mutex<Sink>> = LazyLock::new(|| Mutex::new(Sink::from_environment()));

fn sink() -> MutexGuard<'static, Sink> {
    // A panic while sending leaves the sink usable: the next message starts a new line.
    SINK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Sink {
    fn from_environment() -> Sink {
        #[cfg(unix)]
        if let Ok(address) = std::env::var("SPATIALKIT_CHANNEL")
            && let Some(path) = address.strip_prefix("unix:")
            && let Ok(stream) = std::os::unix::net::UnixStream::connect(path)
        {
            return Sink::Channel(BufReader::new(stream));
        }
        Sink::without_channel()
    }

    fn without_channel() -> Sink {
        let evcxr = std::env::var_os("EVCXR_IS_RUNTIME").is_some();
        if evcxr { Sink::EvcxrMarkers } else { Sink::Text }
    }

    /// Sends one message and waits until it and all text before it have been published. A broken
    /// channel is given up for good.
    #[cfg(unix)]
    fn post(&mut self, msg_type: &str, content: Json) -> bool {
        let Sink::Channel(stream) = self else { return false };
        let line = format!("{}\n", json!({"msg_type": msg_type, "content": content}));
        let mut exchange = || -> std::io::Result<usize> {
            std::io::stdout().flush()?;
            stream.get_mut().write_all(line.as_bytes())?;
            stream.read_line(&mut String::new())
        };
        let alive = matches!(exchange(), Ok(n) if n > 0);
        if !alive {
            *self = Sink::without_channel();
        }
        alive
    }

    #[cfg(not(unix))]
    fn post(&mut self, _: &str, _: Json) -> bool {
        false
    }
}

pub(super) fn is_notebook() -> bool {
    !matches!(*sink(), Sink::Text)
}

pub(super) fn send(msg_type: &str, bundle: &Bundle, display_id: Option<&str>) {
    let mut sink = sink();
    if sink.post(msg_type, bundle.message(display_id)) {
        return;
    }
    match *sink {
        Sink::EvcxrMarkers => print_markers(bundle),
        // Text has no place to update: only the first form of an output is printed.
        _ if msg_type == "display_data" => println!("{}", bundle.as_text()),
        _ => {}
    }
}

pub(super) fn clear(wait: bool) {
    sink().post("clear_output", json!({"wait": wait}));
}

/// A kernel takes the prompt from a marker on stdout, and the answer comes by stdin; so it does on a
/// terminal.
pub(super) fn ask(prompt: &str, password: bool) -> Result<String> {
    let prompt = prompt.replace(['\r', '\n'], " ");
    if is_notebook() {
        let kind = if password { "EVCXR_INPUT_REQUEST_PASSWORD" } else { "EVCXR_INPUT_REQUEST" };
        println!("{kind}:{prompt}");
    } else {
        print!("{prompt}");
    }
    let mut line = String::new();
    std::io::stdout()
        .flush()
        .and_then(|()| std::io::stdin().read_line(&mut line))
        .map_err(|e| Error::io("stdin", e))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_string())
}

/// evcxr keeps one output for each form and cell: a later one of the same form replaces it.
fn print_markers(bundle: &Bundle) {
    let mut out = std::io::stdout().lock();
    for (mime, content) in &bundle.data {
        let text = match content {
            Json::String(s) => s.clone(),
            other => other.to_string(),
        };
        let _ = write!(out, "EVCXR_BEGIN_CONTENT {mime}\n{text}\nEVCXR_END_CONTENT\n");
    }
    let _ = out.flush();
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_message_is_one_line_and_waits_for_its_acknowledgement() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let kernel = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            stream.get_mut().write_all(b"{\"ack\": true}\n").unwrap();
            line
        });
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut sink = Sink::Channel(BufReader::new(stream));
        let bundle = Bundle::new().text("two\nlines").png(&[1, 2, 3], 10, 20);
        assert!(sink.post("display_data", bundle.message(Some("a"))));
        let got: Json = serde_json::from_str(&kernel.join().unwrap()).unwrap();
        assert_eq!(got["msg_type"], "display_data");
        assert_eq!(got["content"]["data"]["text/plain"], "two\nlines");
        assert_eq!(got["content"]["data"]["image/png"], "AQID");
        assert_eq!(got["content"]["metadata"]["image/png"]["width"], 10);
        assert_eq!(got["content"]["transient"]["display_id"], "a");
        // The kernel is gone: the sink gives the channel up instead of failing.
        assert!(!sink.post("display_data", json!({})));
        assert!(matches!(sink, Sink::Text | Sink::EvcxrMarkers));
    }
}
