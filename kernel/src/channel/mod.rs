//! What the running cell sends: its output, its reports, and the library's display messages.
//!
//! Three ways in, all published with the running cell as parent:
//! * named pipes that are the cells' stdout and stderr ([`capture`]);
//! * a named pipe of events, one JSON object a line, written by the facade ([`Report`]);
//! * the display channel (ARCHITECTURE.md), a Unix socket on which the library sends whole
//!   display messages and waits until each is published.
//!
//! The pipes are opened for reading and writing here, so they outlive the process that runs
//! cells and are there for the next one. What is done about a failed cell is in `engine`.

mod capture;
mod stdin;

use crate::publish::Publisher;
use anyhow::{Context, Result};
use capture::{Capture, Piece};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names of the pipes and the socket in the session's folder.
pub const STDIN_PIPE: &str = "stdin";
/// See [`STDIN_PIPE`].
pub const STDOUT_PIPE: &str = "stdout";
/// See [`STDIN_PIPE`].
pub const STDERR_PIPE: &str = "stderr";
/// See [`STDIN_PIPE`].
pub const EVENTS_PIPE: &str = "events";
/// See [`STDIN_PIPE`].
pub const SOCKET: &str = "display";
/// The variable that tells the library of the socket.
pub const CHANNEL_ENV: &str = "SPATIALKIT_CHANNEL";

/// Output is gathered this long, so that a thousand lines are not a thousand messages.
const GATHER: Duration = Duration::from_millis(15);
/// How often it is looked whether a cell waits for input.
const STDIN_LOOK: Duration = Duration::from_millis(200);
/// The most that one line on the display channel may hold.
const LINE_LIMIT: u64 = 2 << 30;

/// A panic or an error of a cell, as the facade reports it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What the panic or the error says.
    pub message: String,
    /// The error's sources, outermost first.
    pub causes: Vec<String>,
    /// File and line of the panic or of the `?`.
    pub place: Option<(String, usize)>,
}

/// What becomes of a cell's values and displays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// They are published.
    #[default]
    Shown,
    /// The value of the last expression is not.
    Dropped,
    /// They are kept for whoever asked for them.
    Kept,
}

impl Values {
    /// What the protocol calls `silent`.
    pub fn of(silent: bool) -> Values {
        if silent { Values::Dropped } else { Values::Shown }
    }
}

/// What is known of the running cell.
#[derive(Debug, Default)]
pub struct Cell {
    /// Counted up with every cell.
    pub serial: u64,
    /// `In [n]`.
    pub count: u64,
    /// What becomes of values.
    pub values: Values,
    /// When the process began to run it.
    pub since: Option<Instant>,
    /// How long it ran.
    pub ran: Duration,
    /// A value that is kept, in all its forms.
    pub kept: Map<String, Value>,
    /// The process runs it (it is compiled otherwise).
    pub running: bool,
    /// Process id of the process that runs cells.
    pub pid: i32,
    /// The engine says that it panicked.
    pub panicked: bool,
    /// The last panic on the cell's own thread.
    pub panic: Option<Report>,
    /// The last panic on another thread.
    pub thread_panic: Option<Report>,
    /// The error that left it through `?`.
    pub error: Option<Report>,
}

/// Asks the user for a line: prompt and whether it is a password.
pub type Ask = Box<dyn Fn(&str, bool) -> String + Send + Sync>;

/// The kernel's end.
pub struct Channel {
    publisher: Arc<Publisher>,
    capture: Mutex<Capture>,
    cell: Mutex<Cell>,
    comms: Mutex<BTreeMap<String, String>>,
    stdin: Mutex<File>,
    ask: Ask,
    /// A question is before the user.
    asking: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    /// Makes the pipes and the socket in `folder` and starts reading them.
    pub fn open(folder: &Path, publisher: Arc<Publisher>, ask: Ask) -> Result<Arc<Channel>> {
        let stdin = pipe(folder, STDIN_PIPE)?;
        let capture = Capture::new(
            pipe(folder, STDOUT_PIPE)?,
            pipe(folder, STDERR_PIPE)?,
            pipe(folder, EVENTS_PIPE)?,
        );
        let channel = Arc::new(Channel {
            publisher,
            capture: Mutex::new(capture),
            cell: Mutex::default(),
            comms: Mutex::default(),
            stdin: Mutex::new(stdin),
            ask,
            asking: AtomicBool::new(false),
        });
        let path = folder.join(SOCKET);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot make the display channel {}", path.display()))?;
        let serving = channel.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let channel = serving.clone();
                std::thread::spawn(move || channel.serve(stream));
            }
        });
        let watching = channel.clone();
        std::thread::spawn(move || watching.watch_stdin());
        let reading = channel.clone();
        std::thread::spawn(move || {
            let fds = lock(&reading.capture).descriptors();
            loop {
                capture::wait(&fds);
                reading.drain();
                std::thread::sleep(GATHER);
            }
        });
        Ok(channel)
    }

    /// Publishes everything that the cell has written up to now.
    pub fn drain(self: &Arc<Channel>) {
        let mut capture = lock(&self.capture);
        self.drain_output(&mut capture);
        for event in capture.events() {
            // What was printed before the event is in the pipes by now.
            self.drain_output(&mut capture);
            self.event(&event);
        }
    }

    fn drain_output(self: &Arc<Channel>, capture: &mut Capture) {
        for piece in capture.output() {
            match piece {
                Piece::Text(name, text) => self.publisher.stream(name, &text),
                Piece::Bundle(bundle) => self.show(&bundle),
                Piece::Ask { prompt, password } => {
                    self.asking.store(true, Ordering::Release);
                    let channel = self.clone();
                    std::thread::spawn(move || channel.answer(&prompt, password));
                }
            }
        }
    }

    /// Puts a question to the user and hands the answer to the cell.
    fn answer(&self, prompt: &str, password: bool) {
        let answer = (self.ask)(prompt, password).replace('\n', " ");
        let _ = writeln!(lock(&self.stdin), "{answer}");
        self.asking.store(false, Ordering::Release);
    }

    /// A cell that just reads `stdin` announces nothing: whoever has waited there for a while is
    /// taken to want an answer.
    fn watch_stdin(&self) {
        let mut waited = false;
        loop {
            std::thread::sleep(STDIN_LOOK);
            let (running, pid) = {
                let cell = lock(&self.cell);
                (cell.running, cell.pid)
            };
            let waits = running && !self.asking.load(Ordering::Acquire) && stdin::is_read_by(pid);
            if waits && waited {
                self.asking.store(true, Ordering::Release);
                self.answer("", false);
            }
            waited = waits && !waited;
        }
    }

    /// Publishes what the engine's own markers carried.
    fn show<B: serde::Serialize>(&self, bundle: &B) {
        let content = json!({"data": bundle, "metadata": {}, "transient": {}});
        self.publisher.publish("display_data", content);
    }

    fn event(&self, event: &Value) {
        let report = || Report {
            message: event["message"].as_str().unwrap_or("").to_owned(),
            causes: event["causes"].as_str().unwrap_or("").lines().map(str::to_owned).collect(),
            place: event["file"].as_str().map(|file| {
                let line = event["line"].as_u64().unwrap_or(0);
                (file.to_owned(), line as usize)
            }),
        };
        let mut cell = lock(&self.cell);
        match event["event"].as_str().unwrap_or("") {
            "hello" => cell.pid = event["pid"].as_i64().unwrap_or(0) as i32,
            "running" => {
                cell.running = true;
                cell.since = Some(Instant::now());
            }
            "done" => {
                cell.running = false;
                let since = cell.since.take();
                cell.ran += since.map_or(Duration::ZERO, |since| since.elapsed());
            }
            "panic" => cell.panic = Some(report()),
            "thread_panic" => cell.thread_panic = Some(report()),
            "error" => cell.error = Some(report()),
            "marker" => cell.panicked |= event["line"] == "EVCXR_PANIC_NOTIFICATION",
            "value" if cell.values == Values::Kept => {
                cell.kept.insert("text/plain".to_owned(), event["text"].clone());
            }
            "value" if cell.values == Values::Shown => {
                let content = json!({
                    "execution_count": cell.count, "metadata": {},
                    "data": {"text/plain": event["text"]},
                });
                self.publisher.publish("execute_result", content);
            }
            _ => {}
        }
    }

    /// Starts the books of a new cell.
    pub fn begin(&self, count: u64, values: Values) -> u64 {
        let mut cell = lock(&self.cell);
        *cell = Cell { serial: cell.serial + 1, pid: cell.pid, count, values, ..Cell::default() };
        cell.serial
    }

    /// Closes the books: everything is published, and what was reported is handed over.
    pub fn end(self: &Arc<Channel>) -> Cell {
        self.drain();
        let mut capture = lock(&self.capture);
        for piece in capture.rest() {
            match piece {
                Piece::Text(name, text) => self.publisher.stream(name, &text),
                Piece::Bundle(bundle) => self.show(&bundle),
                // Nobody is left to take the answer.
                Piece::Ask { .. } => {}
            }
        }
        let mut cell = lock(&self.cell);
        let next = Cell { serial: cell.serial, pid: cell.pid, ..Cell::default() };
        std::mem::replace(&mut *cell, next)
    }

    /// A line of the kernel's own in the cell's output.
    pub fn print(&self, text: &str) {
        self.publisher.stream("stdout", text);
    }

    /// Serial number, whether it runs, and the process, of the current cell.
    pub fn current(self: &Arc<Channel>) -> (u64, bool, i32) {
        self.drain();
        let cell = lock(&self.cell);
        (cell.serial, cell.running, cell.pid)
    }

    /// Open comms: id and target.
    pub fn comms(&self) -> BTreeMap<String, String> {
        lock(&self.comms).clone()
    }

    /// One connection of the library's.
    fn serve(self: &Arc<Channel>, stream: UnixStream) {
        let Ok(mut answers) = stream.try_clone() else {
            return;
        };
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line) {
                Ok(n) if n > 0 && line.ends_with(b"\n") => {}
                _ => return,
            }
            self.drain();
            match serde_json::from_slice::<Value>(&line) {
                Ok(mut message) => {
                    self.display(message["msg_type"].take(), message["content"].take())
                }
                Err(error) => eprintln!("the display channel carried no JSON: {error}"),
            }
            if answers.write_all(b"{\"ack\": true}\n").is_err() {
                return;
            }
        }
    }

    fn display(&self, kind: Value, content: Value) {
        let kind = kind.as_str().unwrap_or("");
        let id = content["comm_id"].as_str().unwrap_or("").to_owned();
        match kind {
            "comm_open" => {
                let target = content["target_name"].as_str().unwrap_or("").to_owned();
                lock(&self.comms).insert(id, target);
            }
            "comm_close" => {
                lock(&self.comms).remove(&id);
            }
            "display_data" if lock(&self.cell).values == Values::Kept => {
                if let Value::Object(data) = &content["data"] {
                    lock(&self.cell).kept.extend(data.clone());
                }
                return;
            }
            "display_data" | "update_display_data" | "clear_output" | "comm_msg" => {}
            _ => {
                eprintln!("the display channel carried a message of type `{kind}`");
                return;
            }
        }
        self.publisher.publish(kind, content);
    }
}

/// Makes a named pipe and opens it so that it never ends and never blocks.
fn pipe(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a valid path.
    if unsafe { libc::mkfifo(c_path.as_ptr(), 0o600) } != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("cannot make the pipe {}", path.display()));
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .with_context(|| format!("cannot open the pipe {}", path.display()))
}
