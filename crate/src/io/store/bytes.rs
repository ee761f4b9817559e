//! Buffers of numbers that are filled as bytes.

use std::alloc::{Layout, alloc_zeroed};

/// Plain numbers that may be any bytes.
///
/// # Safety
/// Any bytes must be a value of the type, and it must have no padding.
pub(in crate::io) unsafe trait Plain: Copy {}
macro_rules! plain { ($($t:ty)*) => { $(unsafe impl Plain for $t {})* } }
plain!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);

/// The bytes of numbers.
pub(in crate::io) fn bytes_of<T: Plain>(v: &mut [T]) -> &mut [u8] {
    // Safety: any bytes are a valid `T`, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts_mut(v.as_mut_ptr().cast(), size_of_val(v)) }
}

/// So many zeros, or `None` where memory does not suffice. They come from the system as pages that
/// cost nothing until they are used.
pub(in crate::io) fn zeros<T: Plain>(n: usize) -> Option<Vec<T>> {
    let layout = Layout::array::<T>(n).ok()?;
    if layout.size() == 0 {
        return Some(Vec::new());
    }
    // Safety: the size is not zero; zeros are a valid `T`; the layout is that of a vector of `n`.
    unsafe {
        let start = alloc_zeroed(layout).cast::<T>();
        (!start.is_null()).then(|| Vec::from_raw_parts(start, n, n))
    }
}
