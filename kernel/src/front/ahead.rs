//! A compiler that starts before there is anything to compile.
//!
//! A third of what rustc does for a small cell comes before the cell: it starts, and reads the
//! descriptions of the two hundred crates behind the library. So the kernel's process keeps one
//! that has done all that and waits for the rest of its source at a named pipe:
//!
//! ```text
//! kernel: [`Ahead`]  ── starts ──> rustc root.rs      extern crate spatialkit;
//!     ^ socket: source                  |             include!("src/lib.rs");   <- the pipe
//!     v status, messages                v
//! front: [`compile`]               target/cells/ctx.o
//! ```
//!
//! The next one starts as soon as a cell is handed over. Who has nothing to gain (other options, attributes
//! of the whole crate, no such compiler) runs the compiler as usual.

use anyhow::{Context, Result, ensure};
use std::ffi::{CString, OsString};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// In the session's folder: the socket, the first file, and the pipe.
const SOCKET: &str = "compiler";
const FOLDER: &str = "ahead";
const ROOT: &str = "root.rs";
const PIPE: &str = "src/lib.rs";

/// The first line of every cell, which has to be the first of the crate.
pub const ALLOW: &str = "#![allow(unused_imports, unused_mut, dead_code)]";

/// The role that starts a compiler and ends it with the kernel.
pub const ROLE: &str = "spatialkit-ahead";

/// Keeps a compiler ready; lives in the kernel's process.
pub struct Ahead {
    session: PathBuf,
    rustc: PathBuf,
    args: Vec<String>,
    waiting: Option<Child>,
}

impl Ahead {
    /// Starts the first compiler, and a thread that hands cells to it. `args` are what the compiler
    /// is called with, without the source.
    pub fn start(session: &Path, rustc: &Path, args: Vec<String>) -> Result<()> {
        let folder = session.join(FOLDER);
        std::fs::create_dir_all(folder.join("src"))?;
        let root = format!("{ALLOW}\nextern crate spatialkit;\ninclude!({PIPE:?});\n");
        std::fs::write(folder.join(ROOT), root)?;
        let pipe = CString::new(folder.join(PIPE).as_os_str().as_bytes())?;
        // SAFETY: a valid path.
        if unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) } != 0 {
            return Err(std::io::Error::last_os_error()).context("cannot make a named pipe");
        }
        let listener = UnixListener::bind(session.join(SOCKET))?;
        let mut ahead =
            Ahead { session: session.to_owned(), rustc: rustc.to_owned(), args, waiting: None };
        std::thread::Builder::new().name("compiler".to_owned()).spawn(move || {
            ahead.waiting = ahead.spawn().ok();
            for stream in listener.incoming().flatten() {
                // Without an answer the front compiles by itself.
                if let Err(error) = ahead.serve(stream) {
                    eprintln!("the compiler that waits: {error:#}");
                }
            }
        })?;
        Ok(())
    }

    fn spawn(&self) -> Result<Child> {
        Command::new(self.session.join("bin").join(ROLE))
            .current_dir(self.session.join(FOLDER))
            .arg(&self.rustc)
            .arg(ROOT)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Signals to the kernel's group are not for it.
            .process_group(0)
            .spawn()
            .context("cannot start the compiler")
    }

    fn serve(&mut self, mut stream: UnixStream) -> Result<()> {
        let mut length = [0; 8];
        stream.read_exact(&mut length)?;
        let mut source = vec![0; usize::try_from(u64::from_le_bytes(length))?];
        stream.read_exact(&mut source)?;
        let mut child = match self.waiting.take() {
            Some(child) => child,
            None => self.spawn()?,
        };
        if !matches!(child.try_wait(), Ok(None)) {
            child = self.spawn()?;
        }
        let fed = self.feed(&mut child, &source);
        // The next one starts beside it, mostly on a core that has nothing to do.
        self.waiting = self.spawn().ok();
        let result = fed.and_then(|()| finish(&mut child, &stream));
        if !matches!(result, Ok(Some(_))) {
            let _ = child.kill();
        }
        let status = child.wait()?;
        let Some(messages) = result? else {
            return Ok(());
        };
        // Ended by a signal: no result at all.
        let code = status.code().context("the compiler was ended")?;
        stream.write_all(format!("{code}\n").as_bytes())?;
        stream.write_all(&messages)?;
        Ok(())
    }

    /// Writes the source once the compiler has come to the pipe.
    fn feed(&self, child: &mut Child, source: &[u8]) -> Result<()> {
        let path = self.session.join(FOLDER).join(PIPE);
        let mut pipe = loop {
            match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path) {
                Ok(pipe) => break pipe,
                Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
                    ensure!(child.try_wait()?.is_none(), "it ended before the cell came");
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        };
        // SAFETY: plain system call on an open descriptor.
        unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, 0) };
        Ok(pipe.write_all(source)?)
    }
}

/// The compiler's messages, all of them; nothing if the front has gone: the cell was interrupted.
fn finish(child: &mut Child, front: &UnixStream) -> Result<Option<Vec<u8>>> {
    let mut stderr = child.stderr.take().context("no messages")?;
    let mut messages = Vec::new();
    let mut buffer = [0; 1 << 16];
    loop {
        let wait = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut polled = [wait(stderr.as_raw_fd(), libc::POLLIN), wait(front.as_raw_fd(), 0)];
        // SAFETY: a valid array of its length.
        unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
        if polled[1].revents & libc::POLLHUP != 0 {
            return Ok(None);
        }
        if polled[0].revents == 0 {
            continue;
        }
        match stderr.read(&mut buffer) {
            Ok(0) => return Ok(Some(messages)),
            Ok(n) => messages.extend_from_slice(&buffer[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Compiles in the compiler that waits; `None` if that is not to be had.
pub fn compile(session: &Path, source: &str) -> Option<(i32, String)> {
    // An empty line keeps the place of the one that the first file has.
    let body = source.strip_prefix(ALLOW)?;
    if body.contains("#![") {
        return None;
    }
    let mut stream = UnixStream::connect(session.join(SOCKET)).ok()?;
    stream.write_all(&(body.len() as u64).to_le_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (code, messages) = answer.split_once('\n')?;
    Some((code.parse().ok()?, messages.to_owned()))
}

/// The role [`ROLE`]: becomes the program that the arguments name, and dies with the kernel.
pub fn become_compiler(args: &[OsString]) -> Result<i32> {
    let (program, args) = args.split_first().context("called without a compiler")?;
    #[cfg(target_os = "linux")]
    // SAFETY: a plain setting of this process, which outlives `exec`.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
    Err(Command::new(program).args(args).exec()).context("cannot run the compiler")
}
