//! The rule about memory: what a parser holds at any moment is at most 4 times the size of its input
//! and a slack that each target states (16 MB for plain formats; 64 MB for those that hold
//! compressed data, which honestly expand).
//!
//! All of the program's allocations go through the functions below, those of HDF5 and zstd in C as
//! well as Rust's: they stand in for the C library's `malloc` and its like, and count what is alive.

use libc::{c_int, c_void, size_t};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static LIMIT: AtomicIsize = AtomicIsize::new(isize::MAX);
/// Greatest peak, in percent of what was allowed, that this process has seen.
static WORST: AtomicUsize = AtomicUsize::new(0);

/// Runs `parse` on an input of `size` bytes; ends the program when the rule is broken.
pub fn watch(size: usize, slack: usize, parse: impl FnOnce()) {
    let base = LIVE.load(Relaxed);
    let allowed = 4 * size + slack;
    PEAK.store(base, Relaxed);
    LIMIT.store(base + allowed as isize, Relaxed);
    parse();
    LIMIT.store(isize::MAX, Relaxed);
    let peak = (PEAK.load(Relaxed) - base).max(0) as usize;
    let percent = peak * 100 / allowed;
    if percent > WORST.fetch_max(percent, Relaxed) {
        note(percent, peak, size);
    }
}

/// Keeps the worst of all processes in a file.
fn note(percent: usize, peak: usize, size: usize) {
    let Some(path) = std::env::var_os("SPATIALKIT_FUZZ_PEAK") else { return };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let before = text.split('%').next().and_then(|p| p.parse().ok()).unwrap_or(0);
    if percent > before {
        let ratio = peak as f64 / size.max(1) as f64;
        let text = format!("{percent}% of what is allowed: {peak} bytes, {ratio:.1} × {size}\n");
        let _ = std::fs::write(path, text);
    }
}

unsafe extern "C" {
    fn __libc_malloc(size: size_t) -> *mut c_void;
    fn __libc_calloc(n: size_t, size: size_t) -> *mut c_void;
    fn __libc_realloc(at: *mut c_void, size: size_t) -> *mut c_void;
    fn __libc_memalign(align: size_t, size: size_t) -> *mut c_void;
    fn __libc_free(at: *mut c_void);
    fn malloc_usable_size(at: *mut c_void) -> size_t;
}

fn taken(at: *mut c_void) -> *mut c_void {
    if !at.is_null() {
        let size = unsafe { malloc_usable_size(at) } as isize;
        let live = LIVE.fetch_add(size, Relaxed) + size;
        PEAK.fetch_max(live, Relaxed);
        if live > LIMIT.load(Relaxed) {
            // Once: the report of what went wrong allocates as well.
            LIMIT.store(isize::MAX, Relaxed);
            let trace = std::backtrace::Backtrace::force_capture();
            eprintln!("MEMORY: {live} bytes are alive, the last {size} of them here:\n{trace}");
            std::process::abort();
        }
    }
    at
}

fn given_back(at: *mut c_void) {
    if !at.is_null() {
        LIVE.fetch_sub(unsafe { malloc_usable_size(at) } as isize, Relaxed);
    }
}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: size_t) -> *mut c_void {
    taken(unsafe { __libc_malloc(size) })
}

#[unsafe(no_mangle)]
extern "C" fn calloc(n: size_t, size: size_t) -> *mut c_void {
    taken(unsafe { __libc_calloc(n, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(at: *mut c_void, size: size_t) -> *mut c_void {
    let before = if at.is_null() { 0 } else { unsafe { malloc_usable_size(at) } };
    let new = unsafe { __libc_realloc(at, size) };
    if !new.is_null() || size == 0 {
        LIVE.fetch_sub(before as isize, Relaxed);
    }
    taken(new)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn free(at: *mut c_void) {
    given_back(at);
    unsafe { __libc_free(at) }
}

#[unsafe(no_mangle)]
extern "C" fn memalign(align: size_t, size: size_t) -> *mut c_void {
    taken(unsafe { __libc_memalign(align, size) })
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: size_t, size: size_t) -> *mut c_void {
    taken(unsafe { __libc_memalign(align, size) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(to: *mut *mut c_void, align: size_t, size: size_t) -> c_int {
    let at = unsafe { __libc_memalign(align, size) };
    if at.is_null() {
        return libc::ENOMEM;
    }
    unsafe { *to = taken(at) };
    0
}
