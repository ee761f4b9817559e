//! The rule about memory: what a parser holds at any moment is at most 4 times the size of its input
//! and a slack that each target states (16 MB for plain formats; 64 MB for those that hold
//! compressed data, which honestly expand).
//!
//! All of the program's allocations are counted. Rust's, through the global allocator, count as soon
//! as they are asked for. Two kinds that the system lends page by page, as they are used, count when
//! they are given back, with as much of them as was used: large ones of zeros (the elements of an
//! array that no chunk holds), and large ones of C, through functions that stand in for the C library's
//! `malloc` and its like: HDF5 asks for what a header claims and then finds that the file is
//! shorter, which costs addresses but no memory.

use libc::{c_int, c_void, size_t};
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static LIMIT: AtomicIsize = AtomicIsize::new(isize::MAX);
/// Greatest peak that this process has seen, in thousandths of what was allowed.
static WORST: AtomicUsize = AtomicUsize::new(0);

/// Allocations from this size on are lent from the system page by page as they are used.
const LARGE: usize = 1 << 20;
/// Rust's large allocations of zeros that are alive.
static ZEROS: [AtomicUsize; 256] = [const { AtomicUsize::new(0) }; 256];

/// Replaces an entry of [`ZEROS`], if it is there.
fn swap(from: usize, to: usize) -> bool {
    ZEROS.iter().any(|slot| slot.compare_exchange(from, to, Relaxed, Relaxed).is_ok())
}

/// Runs `parse` on an input of `size` bytes; ends the program when the rule is broken.
pub fn watch(size: usize, slack: usize, parse: impl FnOnce()) {
    let base = LIVE.load(Relaxed);
    let allowed = 4 * size + slack;
    PEAK.store(base, Relaxed);
    LIMIT.store(base + allowed as isize, Relaxed);
    parse();
    LIMIT.store(isize::MAX, Relaxed);
    let peak = (PEAK.load(Relaxed) - base).max(0) as usize;
    let share = peak * 1000 / allowed;
    if share > WORST.fetch_max(share, Relaxed) {
        note(share, peak, size);
    }
}

/// Keeps the worst of all processes in a file.
fn note(share: usize, peak: usize, size: usize) {
    let Some(path) = std::env::var_os("SPATIALKIT_FUZZ_PEAK") else { return };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let before = text.split(' ').next().and_then(|p| p.parse().ok()).unwrap_or(0);
    if share > before {
        let ratio = peak as f64 / size.max(1) as f64;
        let text =
            format!("{share} thousandths of the allowed: {peak} bytes for {size} ({ratio:.1})\n");
        let _ = std::fs::write(path, text);
    }
}

fn count(size: isize) {
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

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let at = unsafe { __libc_memalign(layout.align().max(16), layout.size()) };
        count(if at.is_null() { 0 } else { layout.size() as isize });
        at.cast()
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 16 {
            let at = unsafe { self.alloc(layout) };
            unsafe { at.write_bytes(0, layout.size()) };
            return at;
        }
        let at = unsafe { __libc_calloc(1, layout.size()) };
        if layout.size() >= LARGE && !at.is_null() && swap(0, at as usize) {
            return at.cast();
        }
        count(if at.is_null() { 0 } else { layout.size() as isize });
        at.cast()
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.size() >= LARGE && swap(at as usize, 0) {
            given_back(at.cast());
        } else {
            LIVE.fetch_sub(layout.size() as isize, Relaxed);
        }
        unsafe { __libc_free(at.cast()) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() >= LARGE && swap(at as usize, 0) {
            // From now on it counts in full.
            count(layout.size() as isize);
        }
        if layout.align() > 16 {
            let new =
                unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
            unsafe {
                new.copy_from_nonoverlapping(at, size.min(layout.size()));
                self.dealloc(at, layout);
            }
            return new;
        }
        let new = unsafe { __libc_realloc(at.cast(), size) };
        count(if new.is_null() { 0 } else { size as isize - layout.size() as isize });
        new.cast()
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
    let size = unsafe { malloc_usable_size(at) };
    if size < LARGE {
        count(size as isize);
    }
    at
}

fn given_back(at: *mut c_void) {
    let size = unsafe { malloc_usable_size(at) };
    if size < LARGE {
        LIVE.fetch_sub(size as isize, Relaxed);
    } else if LIMIT.load(Relaxed) < isize::MAX {
        let used = used(at, size) as isize;
        count(used);
        LIVE.fetch_sub(used, Relaxed);
    }
}

/// How many bytes of a large allocation have memory behind them.
fn used(at: *mut c_void, size: usize) -> usize {
    const PAGE: usize = 4096;
    let mut pages = [0u8; 4096];
    let (mut from, end) = (at as usize & !(PAGE - 1), at as usize + size);
    let mut used = 0;
    while from < end {
        let length = (end - from).min(pages.len() * PAGE);
        unsafe { libc::mincore(from as *mut c_void, length, pages.as_mut_ptr()) };
        used += pages[..length.div_ceil(PAGE)].iter().filter(|p| **p & 1 == 1).count() * PAGE;
        from += length;
    }
    used
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
    given_back(at);
    taken(unsafe { __libc_realloc(at, size) })
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
