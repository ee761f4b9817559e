//! A look at a file's heaps of text before HDF5 sees them: HDF5 2.2 runs in a circle, for ever, on a
//! heap in which a damaged entry has no length (`H5HG__cache_heap_deserialize`). It sees them only
//! where `texts` and `header` cannot read texts by themselves: records with texts, and data sets and
//! attributes that are stored in unusual ways.
//!
//! ```text
//! "GCOL" 1 0 0 0 | size of the heap | entries: index, references, 0, length, text padded to 8 bytes
//! ```
//! Entry 0 is the free space; its length counts its own header.

use memchr::memmem;
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: usize = 4 << 20;
const SIGNATURE: &[u8] = b"GCOL\x01\0\0\0";
const HEADER: usize = 16;

/// Whether there is a heap that HDF5 would not come back from.
pub(super) fn endless(file: &File, size: u64) -> bool {
    let finder = memmem::Finder::new(SIGNATURE);
    let mut block = vec![0u8; BLOCK.min(size as usize)];
    let mut start = 0u64;
    while start < size {
        let n = block.len().min((size - start) as usize);
        if file.read_exact_at(&mut block[..n], start).is_err() {
            return false;
        }
        if finder.find_iter(&block[..n]).any(|at| heap_is_endless(file, start + at as u64, size)) {
            return true;
        }
        // A signature may lie across two blocks.
        start += (n.saturating_sub(SIGNATURE.len() - 1)).max(1) as u64;
    }
    false
}

fn heap_is_endless(file: &File, start: u64, size: u64) -> bool {
    let mut header = [0u8; HEADER];
    let number = |bytes: &[u8; HEADER]| {
        u64::from_le_bytes([8, 9, 10, 11, 12, 13, 14, 15].map(|i: usize| bytes[i]))
    };
    if file.read_exact_at(&mut header, start).is_err() {
        return false;
    }
    let end = start.saturating_add(number(&header)).min(size);
    let mut at = start + HEADER as u64;
    while at + HEADER as u64 <= end {
        if file.read_exact_at(&mut header, at).is_err() {
            return false;
        }
        let (index, length) = (u16::from_le_bytes([header[0], header[1]]), number(&header));
        let step = match index {
            0 => length,
            _ => length.wrapping_add(7) / 8 * 8 + HEADER as u64,
        };
        // A length that wraps around is as bad as none.
        if step == 0 || (index > 0 && length > u64::MAX - 64) {
            return true;
        }
        if step > end - at {
            return false;
        }
        at += step;
    }
    false
}
