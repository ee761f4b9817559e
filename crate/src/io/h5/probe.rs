//! A process that looks at a file first, so that this one need not die of it.
//!
//! HDF5 is a C library, and there is damage that it does not survive. Met while fuzzing HDF5 2.2:
//! * an index of links (B-tree of version 2) that claims longer records than its nodes have room for,
//!   and a table of symbols whose names lie outside their heap: it reads past its buffers and crashes;
//! * heaps, messages and indices that lead back to themselves: it never returns;
//! * a chunk, an array or a node of an index that claims gigabytes, which it fills with zeros.
//!
//! Such files are rare but not exotic: one wrong block of a disk or a broken download is enough, and
//! a notebook would lose every variable. No check of ours could keep up with all that the format can
//! get wrong, so a file is opened first by a copy of this process (`fork`), which walks through
//! every group, attribute and data set, reads what is small, and ends. Only when it ended well does
//! this process open the file. An error that HDF5 reports is no reason to refuse: the reader will
//! meet it in its place and name the key, or leave the member out as it was told to. Only where
//! members or attributes cannot be listed nobody knows what a reader may find there by name.
//!
//! It costs the walk, some milliseconds (the data are not read), and the copy of the page tables,
//! 10 to 80 ms for each GB that the process holds. A file that has not changed since is not looked
//! at again. Where the system allows no second process, the file is opened without.

use super::{Source, read};
use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use hdf5::{LocationType, sync::sync};
use hdf5_sys::h5::herr_t;
use hdf5_sys::h5e::{H5E_DEFAULT, H5E_direction_t, H5E_error2_t, H5Eset_auto2, H5Ewalk2};
use hdf5_sys::h5i::hid_t;
use std::collections::HashSet;
use std::ffi::{CStr, c_void};
use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Data sets up to this size are read as well: their elements may point to heaps.
const SMALL: u64 = 1 << 20;
/// Memory that the walk may take beside four times the file.
const SLACK: u64 = 128 << 20;
/// Address space that the walk may take; beyond it HDF5 reports an error.
const ADDRESSES: u64 = 1 << 30;
/// How the walk ends when HDF5 was denied memory, and when it could not list everything: then it
/// says at its end of the pipe whose members or attributes are not known.
const DENIED: i32 = 3;
const UNSEEN: i32 = 4;
/// Groups nested deeper than this are left to the reader, which refuses them.
const DEEPEST: usize = 64;

/// Files that were found sound, by device, number, size and time of change; the latest last.
static SOUND: Mutex<Vec<[i64; 5]>> = Mutex::new(Vec::new());
const REMEMBERED: usize = 64;

/// Checks that HDF5 survives the file.
///
/// # Errors
/// [`Error::Format`] when it does not, [`Error::Interrupted`].
pub(super) fn check(path: &Path) -> Result<()> {
    let Some(identity) = identity(path) else { return Ok(()) };
    let mut known = SOUND.lock().unwrap_or_else(|e| e.into_inner());
    if known.contains(&identity) {
        return Ok(());
    }
    let size = identity[2] as u64;
    if let Some(outcome) = look(path, size)?
        && let Some(reason) = outcome.reason(size)
    {
        return Err(Error::format(path, format!("damaged HDF5 file: {reason}"))
            .with_hint("Copy or download it again"));
    }
    if known.len() == REMEMBERED {
        known.remove(0);
    }
    known.push(identity);
    Ok(())
}

fn identity(path: &Path) -> Option<[i64; 5]> {
    let meta = std::fs::metadata(path).ok()?;
    let time = meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec());
    Some([meta.dev() as i64, meta.ino() as i64, meta.len() as i64, time, meta.ctime_nsec()])
}

/// How the look at a file ended.
struct Outcome {
    /// The signal that ended the process; 0 if it ended by itself.
    signal: i32,
    /// How the process ended by itself.
    status: i32,
    /// What could not be listed.
    unseen: String,
    /// Bytes of memory that it held at most beyond what it started with.
    memory: u64,
}

impl Outcome {
    fn reason(&self, size: u64) -> Option<String> {
        match self.status {
            DENIED => {
                let mb = (4 * size + ADDRESSES) >> 20;
                let reason = "its structure asks for more than";
                return Some(format!("{reason} {mb} MB, the file has {size} bytes"));
            }
            UNSEEN => return Some(format!("what is in `{}` cannot be listed", self.unseen)),
            _ => {}
        }
        match self.signal {
            libc::SIGPROF => Some("its structure leads in a circle".into()),
            // Whoever ends processes from outside says nothing about the file.
            0 | libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP
                if self.memory <= 4 * size + SLACK =>
            {
                None
            }
            0 | libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
                let mb = self.memory >> 20;
                Some(format!("its structure asks for {mb} MB, the file has {size} bytes"))
            }
            signal => {
                Some(format!("its structure is so broken that HDF5 crashes (signal {signal})"))
            }
        }
    }
}

/// Lets a copy of this process look at the file; `None` where there can be none.
fn look(path: &Path, size: u64) -> Result<Option<Outcome>> {
    // The copy holds one end of a pipe; when it is gone, the other end can be read.
    let mut ends = [0; 2];
    if unsafe { libc::pipe(ends.as_mut_ptr()) } != 0 {
        return Ok(None);
    }
    // No other program that is started meanwhile may hold an end.
    for end in ends {
        unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    let own = resident();
    // With the library's lock held no other thread leaves it half-way in the copy. It is kept until
    // the copy has closed the files of this process: they are locked as long as anybody has them.
    let child = sync(|| match fork() {
        0 => {
            close_all_but(ends[1]);
            unsafe { libc::write(ends[1], [1u8].as_ptr().cast(), 1) };
            walk_and_exit(path, size, ends[1])
        }
        child => {
            unsafe { libc::close(ends[1]) };
            let mut closed = [0u8];
            unsafe { libc::read(ends[0], closed.as_mut_ptr().cast(), 1) };
            child
        }
    });
    let interrupted = if child > 0 { wait(child, ends[0], size) } else { Ok(()) };
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    if child < 0 || unsafe { libc::wait4(child, &mut status, 0, &mut usage) } != child {
        unsafe { libc::close(ends[0]) };
        return Ok(None);
    }
    let mut said = unsafe { File::from_raw_fd(ends[0]) };
    interrupted?;
    let signal = if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { 0 };
    let status = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 0 };
    let mut unseen = String::new();
    if status == UNSEEN {
        let _ = said.read_to_string(&mut unseen);
    }
    let memory = (usage.ru_maxrss as u64 * MAXRSS_UNIT).saturating_sub(own);
    Ok(Some(Outcome { signal, status, unseen, memory }))
}

/// A copy of this process. No signal's handler runs half-way, and the copy takes every signal.
fn fork() -> libc::pid_t {
    unsafe {
        let (mut all, mut before) = std::mem::zeroed::<(libc::sigset_t, libc::sigset_t)>();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let child = libc::fork();
        if child == 0 {
            libc::sigemptyset(&mut before);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        child
    }
}

/// Closes every file of this process but one.
fn close_all_but(kept: i32) {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let open = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let open: Vec<i32> =
        open.filter_map(|e| e.file_name().to_str().and_then(|n| n.parse().ok())).collect();
    for file in open.into_iter().filter(|&file| file != kept) {
        unsafe { libc::close(file) };
    }
}

/// Waits until the process at the other end is gone; ends it at an interrupt, and when it waits
/// for something (a disk, or a lock that another thread held at the fork) for too long.
fn wait(child: libc::pid_t, end: i32, size: u64) -> Result<()> {
    let mut poll = libc::pollfd { fd: end, events: libc::POLLIN, revents: 0 };
    let (begun, longest) = (Instant::now(), Duration::from_secs(20 + size / (10 << 20)));
    while unsafe { libc::poll(&mut poll, 1, 100) } <= 0 {
        let outcome = check_interrupt();
        if outcome.is_err() || begun.elapsed() > longest {
            unsafe { libc::kill(child, libc::SIGKILL) };
            return outcome;
        }
    }
    Ok(())
}

/// Unit of `ru_maxrss`.
const MAXRSS_UNIT: u64 = if cfg!(target_os = "macos") { 1 } else { 1024 };

/// Bytes of memory that this process holds now, or more where the system does not say.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|t| t.split_whitespace().nth(1)?.parse::<u64>().ok());
    match pages {
        Some(pages) => pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64,
        None => u64::MAX,
    }
}

/// Bytes of addresses that this process has in use.
fn addresses() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = pages.split_whitespace().next()?.parse().ok()?;
    Some(pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
}

/// What the copy does. It has this thread only, so that nothing here may wait for another (rayon).
fn walk_and_exit(path: &Path, size: u64, end: i32) -> libc::pid_t {
    unsafe {
        // A crash here is an answer, not a report: no words of the C library, no handlers, no core.
        for _ in 0..3 {
            libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        }
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGFPE, libc::SIGILL] {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::signal(libc::SIGPROF, libc::SIG_DFL);
        let limit = |most: u64| libc::rlimit { rlim_cur: most, rlim_max: most };
        libc::setrlimit(libc::RLIMIT_CORE, &limit(0));
        // Time on a processor. A walk through a sound file takes a small part of this.
        let time = Duration::from_millis(500 + size / 10_000);
        let mut timer = std::mem::zeroed::<libc::itimerval>();
        timer.it_value.tv_sec = time.as_secs() as _;
        timer.it_value.tv_usec = time.subsec_micros() as _;
        libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut());
        if let Some(used) = addresses() {
            libc::setrlimit(libc::RLIMIT_AS, &limit(used + 4 * size + ADDRESSES));
        }
    }
    let mut denied = false;
    unsafe { H5Eset_auto2(H5E_DEFAULT, Some(see_errors), (&raw mut denied).cast()) };
    let walked = std::panic::catch_unwind(|| {
        if let Ok(file) = hdf5::File::open(path)
            && let Ok(root) = file.group("/")
            && let Ok(own) = File::open(path)
        {
            let (path, userblock) = (path.to_path_buf(), file.userblock());
            let source = Source { path, file: own, size, userblock, endless: OnceLock::new() };
            return walk(&Arc::new(source), &root, &mut HashSet::new(), 0);
        }
        Ok(())
    });
    let mut status = if denied { DENIED } else { 0 };
    if let Ok(Err(unseen)) = walked
        && status == 0
    {
        let key = &unseen.as_bytes()[..unseen.len().min(200)];
        unsafe { libc::write(end, key.as_ptr().cast(), key.len()) };
        status = UNSEEN;
    }
    // Not `exit`: what the other process registered to be done at its end is not ours to do.
    unsafe { libc::_exit(status) }
}

/// Is called by HDF5 with every error; notes those about memory.
unsafe extern "C" fn see_errors(stack: hid_t, denied: *mut c_void) -> herr_t {
    unsafe extern "C" fn one(_: u32, error: *const H5E_error2_t, denied: *mut c_void) -> herr_t {
        let (error, denied) = unsafe { (&*error, &mut *denied.cast::<bool>()) };
        // Its numbers for this are several; its words are "memory allocation failed" or the like.
        if !error.desc.is_null() {
            let words = unsafe { CStr::from_ptr(error.desc) };
            *denied |= memchr::memmem::find(words.to_bytes(), b"alloc").is_some();
        }
        0
    }
    unsafe { H5Ewalk2(stack, H5E_direction_t::H5E_WALK_UPWARD, Some(one), denied) }
}

/// Looks at a group and everything below it, each object once: what the reader would let HDF5 do,
/// HDF5 does here. An error is the name of what cannot be listed.
fn walk(
    source: &Arc<Source>,
    group: &hdf5::Group,
    seen: &mut HashSet<String>,
    depth: usize,
) -> Result<(), String> {
    attributes(source, group)?;
    let by = hdf5::IterationOrder::Increasing;
    let names = group.member_names_by(hdf5::IndexType::Name, by).map_err(|_| group.name())?;
    for name in names {
        match group.loc_type_by_name(&name) {
            Ok(LocationType::Group) => {
                let Ok(inner) = group.group(&name) else { continue };
                let token = inner.loc_info().map(|i| format!("{:?}", i.token)).unwrap_or_default();
                if depth < DEEPEST && seen.insert(token) {
                    walk(source, &inner, seen, depth + 1)?;
                }
            }
            Ok(LocationType::Dataset) => {
                if let Ok(data) = group.dataset(&name) {
                    attributes(source, &data)?;
                    read::glance(source, &data, SMALL);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn attributes(source: &Source, at: &hdf5::Location) -> Result<(), String> {
    for name in at.attr_names().map_err(|_| at.name())? {
        if let Ok(attr) = at.attr(&name) {
            let _ = read::attribute(&attr, at, source, &name);
        }
    }
    Ok(())
}
