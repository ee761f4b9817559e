//! Buffers of numbers that are filled as bytes.

use rayon::prelude::*;
use std::alloc::{Layout, alloc_zeroed};

/// Plain numbers that may be any bytes.
pub(in crate::io) trait Plain: Copy + Send + Sync {}
macro_rules! plain { ($($t:ty)*) => { $(impl Plain for $t {})* } }
plain!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64 usize);

/// The bytes of numbers.
pub(in crate::io) fn bytes_of<T: Plain>(v: &mut [T]) -> &mut [u8] {
    // Any bytes are a valid `T`, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts_mut(v.as_mut_ptr().cast(), size_of_val(v)) }
}

/// The bytes of numbers, to look at.
pub(in crate::io) fn as_bytes<T: Plain>(v: &[T]) -> &[u8] {
    // As above.
    unsafe { std::slice::from_raw_parts(v.as_ptr().cast(), size_of_val(v)) }
}

/// `n` zeros, whose memory is taken only as they are written to. What is too much is an error.
pub(in crate::io) fn zeroed<T: Plain>(n: usize) -> Result<Vec<T>, String> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let too_much = || format!("{} bytes do not fit in memory", n.saturating_mul(size_of::<T>()));
    let layout = Layout::array::<T>(n).map_err(|_| too_much())?;
    let start = unsafe { alloc_zeroed(layout) };
    if start.is_null() {
        return Err(too_much());
    }
    large_pages(start, layout.size());
    // Allocated with the layout of such a vector; zeros are a valid `T`.
    Ok(unsafe { Vec::from_raw_parts(start.cast(), n, n) })
}

/// Asks for large pages, which take a tenth of the time to be filled in; numpy does so too.
#[cfg(target_os = "linux")]
fn large_pages(start: *mut u8, bytes: usize) {
    const PAGE: usize = 2 << 20;
    let first = (start as usize).next_multiple_of(PAGE);
    let end = (start as usize + bytes) / PAGE * PAGE;
    if end > first {
        // Advice: it is no matter whether it is taken.
        unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
    }
}
#[cfg(not(target_os = "linux"))]
fn large_pages(_: *mut u8, _: usize) {}

/// `i32` as `u32` in the same memory, or the first that is negative.
pub(in crate::io) fn unsigned(v: Vec<i32>) -> Result<Vec<u32>, i32> {
    // The smallest is found many at a time and on all cores; which is the first matters only then.
    let smallest = v.par_chunks(1 << 16).map(|piece| piece.iter().fold(0, |a, &b| b.min(a))).min();
    if smallest.is_some_and(|x| x < 0)
        && let Some(&bad) = v.iter().find(|x| **x < 0)
    {
        return Err(bad);
    }
    let mut v = std::mem::ManuallyDrop::new(v);
    // The same size and alignment; what is not negative means the same in both.
    Ok(unsafe { Vec::from_raw_parts(v.as_mut_ptr().cast(), v.len(), v.capacity()) })
}

/// `u32` as `i32` in the same memory, or `None` where one is too large.
pub(in crate::io) fn signed(v: &[u32]) -> Option<&[i32]> {
    let fits = v.iter().all(|&x| x <= i32::MAX as u32);
    // As above.
    fits.then(|| unsafe { std::slice::from_raw_parts(v.as_ptr().cast(), v.len()) })
}
