//! The process that runs cells.
//!
//! It speaks the engine's protocol (`LOAD_AND_RUN library function` in, marker lines and
//! `EVCXR_EXECUTION_COMPLETE` out) on copies of the stdin and stdout it was started with. The
//! cells see other ones: their output goes into named pipes that the kernel reads as it comes,
//! so text without a newline, from threads or from C libraries arrives at once, survives a
//! crash, and cannot be mistaken for the protocol. What a cell reports besides is written by
//! the facade (`kernel/facade/src/cell.rs`); the kernel's end of the pipes is `channel`.
//!
//! Libraries of cells are never unloaded: values and thread-locals may point into them.

use crate::channel::{EVENTS_PIPE, STDERR_PIPE, STDIN_PIPE, STDOUT_PIPE};
use crate::facade::Facade;
use crate::front::SESSION_ENV;
use anyhow::{Context, Result, anyhow, bail};
use std::ffi::{CStr, CString, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The hidden subcommand under which the kernel starts this process.
pub const SUBCOMMAND: &str = "__child";

/// The engine's word for the end of a cell.
const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";

/// How long `print!` without a newline may wait to be seen.
const FLUSH_EVERY: Duration = Duration::from_millis(40);

static RUNNING: AtomicBool = AtomicBool::new(false);

type CellFn = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// Runs until the engine closes its end.
pub fn run() -> Result<()> {
    // SAFETY: sets a disposition; no handler is involved.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    // A kernel that is killed takes its cells along.
    #[cfg(target_os = "linux")]
    // SAFETY: a plain setting of this process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
    let session = PathBuf::from(
        std::env::var_os(SESSION_ENV).context("this subcommand is for the kernel only")?,
    );
    let facade = Facade::find()?;
    // The standard library first: the facade finds it by the name it has then.
    load(&facade.std_library, libc::RTLD_GLOBAL)?;
    let library = load(&facade.library, libc::RTLD_GLOBAL)?;
    // SAFETY: both functions are the facade's, with these signatures.
    let (install, flush) = unsafe {
        (
            std::mem::transmute::<*mut c_void, extern "C" fn(c_int, c_int)>(symbol(
                library,
                "spatialkit_hooks_install",
            )?),
            std::mem::transmute::<*mut c_void, extern "C" fn()>(symbol(
                library,
                "spatialkit_hooks_flush",
            )?),
        )
    };

    let commands = duplicate(0)?;
    let mut protocol = duplicate(1)?;
    let mut events = open(&session, EVENTS_PIPE, true)?;
    redirect(&open(&session, STDIN_PIPE, false)?, 0)?;
    redirect(&open(&session, STDOUT_PIPE, true)?, 1)?;
    redirect(&open(&session, STDERR_PIPE, true)?, 2)?;
    install(protocol.as_raw_fd(), events.as_raw_fd());
    let flusher = std::thread::spawn(move || {
        loop {
            if RUNNING.load(Ordering::Acquire) {
                std::thread::sleep(FLUSH_EVERY);
                flush();
            } else {
                std::thread::park();
            }
        }
    });

    writeln!(events, "{{\"event\":\"hello\",\"pid\":{}}}", std::process::id())?;
    let mut store: *mut c_void = std::ptr::null_mut();
    for line in BufReader::new(commands).lines() {
        let line = line?;
        let Some((library, function)) =
            line.strip_prefix("LOAD_AND_RUN ").and_then(|rest| rest.rsplit_once(' '))
        else {
            bail!("the engine sent a line that is not known: {line}");
        };
        let library = load(Path::new(library), 0)?;
        // SAFETY: the engine generated this function with this signature.
        let cell =
            unsafe { std::mem::transmute::<*mut c_void, CellFn>(symbol(library, function)?) };
        writeln!(events, "{{\"event\":\"running\"}}")?;
        RUNNING.store(true, Ordering::Release);
        flusher.thread().unpark();
        // SAFETY: as above; panics are caught inside.
        store = unsafe { cell(store) };
        RUNNING.store(false, Ordering::Release);
        flush();
        writeln!(events, "{{\"event\":\"done\"}}")?;
        writeln!(protocol, "{COMPLETE}")?;
    }
    // Destructors of what cells loaded may refer to what is gone: leave without them.
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

fn load(path: &Path, flags: c_int) -> Result<*mut c_void> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a valid path; initialisers run are those of the user's own code.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | flags) };
    if handle.is_null() {
        bail!("cannot load {}: {}", path.display(), dl_error());
    }
    Ok(handle)
}

fn symbol(library: *mut c_void, name: &str) -> Result<*mut c_void> {
    let c_name = CString::new(name)?;
    // SAFETY: the handle comes from `load`.
    let found = unsafe { libc::dlsym(library, c_name.as_ptr()) };
    if found.is_null() {
        return Err(anyhow!("{name}: {}", dl_error()));
    }
    Ok(found)
}

fn dl_error() -> String {
    // SAFETY: dlerror gives null or a C string that lives until the next call.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            "unknown".to_owned()
        } else {
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }
}

/// A copy of a descriptor, out of the way of 0, 1 and 2 and not inherited by others.
fn duplicate(fd: RawFd) -> Result<File> {
    // SAFETY: plain system call; the new descriptor is ours.
    unsafe {
        let copy = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100);
        if copy < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot copy a descriptor");
        }
        Ok(File::from_raw_fd(copy))
    }
}

fn open(session: &Path, pipe: &str, write: bool) -> Result<File> {
    let path = session.join(pipe);
    OpenOptions::new()
        .read(!write)
        .write(write)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn redirect(from: &File, to: RawFd) -> Result<()> {
    // SAFETY: plain system call.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
        return Err(std::io::Error::last_os_error()).context("cannot redirect output");
    }
    Ok(())
}
