//! What a running cell says to the kernel: its value, its panic, its early return by `?`, and
//! the engine's own marker lines.
//!
//! The process that runs cells opens two descriptors before it loads this library and hands
//! them over in [`spatialkit_hooks_install`]: one carries the engine's protocol lines, the
//! other one JSON object a line for the kernel. Neither is `stdout`, so nothing a cell prints
//! can be mistaken for either. How cells are rewritten to call these functions is in the
//! kernel's `front` module.

use crate::__store::USER_ERROR_OCCURRED;
use std::error::Error;
use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::panic::Location;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

/// Lines longer than a pipe's atomic size would mix otherwise.
static WRITING: Mutex<()> = Mutex::new(());
static PROTOCOL: AtomicI32 = AtomicI32::new(-1);
static EVENTS: AtomicI32 = AtomicI32::new(-1);

/// Takes the two descriptors and installs the panic hook. Called once, before the first cell,
/// from the thread that will run the cells.
#[unsafe(no_mangle)]
pub extern "C" fn spatialkit_hooks_install(protocol: i32, events: i32) {
    PROTOCOL.store(protocol, Relaxed);
    EVENTS.store(events, Relaxed);
    let cells = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        let message = match info.payload_as_str() {
            Some(text) => text.to_owned(),
            None => "a value that is not text".to_owned(),
        };
        let here = std::thread::current();
        if here.id() == cells {
            event("panic", &[("message", &message)], info.location());
        } else {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let name = here.name().unwrap_or("<unnamed>").to_owned();
            let _ = writeln!(std::io::stderr(), "thread '{name}' panicked at {place}:\n{message}");
            // A thread pool hands its panic on to the cell without calling this hook again.
            event("thread_panic", &[("message", &message)], info.location());
        }
    }));
}

/// Pushes out what `print!` holds back. Called at the end of a cell and now and then while one
/// runs.
#[unsafe(no_mangle)]
pub extern "C" fn spatialkit_hooks_flush() {
    let _ = std::io::stdout().flush();
}

/// Hands one of the engine's marker lines to the engine.
pub fn marker(line: &str) {
    event("marker", &[("line", line)], None);
    write_line(PROTOCOL.load(Relaxed), line);
}

/// Where a cell's errors go that have `Display`.
pub mod display {
    /// The error of a cell that returned early through `?`: reported, then gone.
    pub struct EvcxrUserCodeError;

    impl<T: Into<Box<dyn std::error::Error>>> From<T> for EvcxrUserCodeError {
        #[track_caller]
        fn from(error: T) -> Self {
            super::failed(error.into(), std::panic::Location::caller());
            EvcxrUserCodeError
        }
    }
}

/// Where a cell's errors go that know only `Debug`.
pub mod debug {
    /// The error of a cell that returned early through `?`: reported, then gone.
    pub struct EvcxrUserCodeError;

    impl<T: std::fmt::Debug> From<T> for EvcxrUserCodeError {
        #[track_caller]
        fn from(error: T) -> Self {
            super::returned(&format!("{error:?}"), &[], std::panic::Location::caller());
            EvcxrUserCodeError
        }
    }
}

fn failed(error: Box<dyn Error>, place: &Location<'_>) {
    let message = error.to_string();
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string().replace('\n', " ");
        // Many types print their source in their own text; once is enough.
        if !message.contains(&text) {
            causes.push(text);
        }
        next = cause.source();
    }
    returned(&message, &causes, place);
}

fn returned(message: &str, causes: &[String], place: &Location<'_>) {
    event("error", &[("message", message), ("causes", &causes.join("\n"))], Some(place));
    marker(USER_ERROR_OCCURRED);
}

/// Shows the value of a cell's last expression. A type that has its own `evcxr_display` is
/// preferred over this by the language's rules of method lookup.
pub trait Show {
    /// Reports the value as text; `()` has none.
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> Show for T {
    fn evcxr_display(&self) {
        if std::any::type_name::<T>() != "()" {
            let mut text = Limited::default();
            if write!(text, "{self:?}").is_err() {
                text.0.push_str(" … (cut off)");
            }
            value(&text.0);
        }
    }
}

/// Reports a cell's value as text.
pub fn value(text: &str) {
    event("value", &[("text", text)], None);
}

/// Nobody reads ten million numbers, and a front end that shows them does nothing else.
const LONGEST_VALUE: usize = 100_000;

#[derive(Default)]
struct Limited(String);

impl std::fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = LONGEST_VALUE.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(std::fmt::Error)
    }
}

fn event(kind: &str, fields: &[(&str, &str)], place: Option<&Location<'_>>) {
    spatialkit_hooks_flush();
    let mut line = format!("{{\"event\":\"{kind}\"");
    for (key, value) in fields {
        let _ = write!(line, ",\"{key}\":");
        quote(&mut line, value);
    }
    if let Some(place) = place {
        line.push_str(",\"file\":");
        quote(&mut line, place.file());
        let _ = write!(line, ",\"line\":{},\"column\":{}", place.line(), place.column());
    }
    line.push('}');
    write_line(EVENTS.load(Relaxed), &line);
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_line(fd: i32, line: &str) {
    if fd < 0 {
        return;
    }
    // SAFETY: the descriptor was opened for the life of the process; it is not closed here.
    let mut file = ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(fd) });
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    let _turn = WRITING.lock();
    let _ = file.write_all(&bytes);
}
