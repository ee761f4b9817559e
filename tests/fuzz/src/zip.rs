//! What must be known of zip archives to change what is in them.
//!
//! ```text
//! "PK\x03\x04" … CRC at 14, sizes at 18 and 22, lengths of name and extra at 26 and 28 | name | bytes
//! "PK\x01\x02" … CRC at 16, place of the former at 42: the directory, at the end
//! ```

use crate::mutate::Dice;
use std::ops::Range;

fn number(bytes: &[u8], at: usize, width: usize) -> usize {
    bytes.get(at..at + width).map_or(0, |b| b.iter().rev().fold(0, |n, &x| n << 8 | x as usize))
}

/// The bytes of some entry that is stored as it is, short ones (metadata) more often.
pub fn entry(bytes: &[u8], dice: &mut Dice) -> Option<Range<usize>> {
    let from = dice.below(bytes.len());
    let places = (from..bytes.len()).chain(0..from);
    let mut entries =
        places.filter(|&at| bytes[at..].starts_with(b"PK\x03\x04")).filter_map(|at| {
            let start = at + 30 + number(bytes, at + 26, 2) + number(bytes, at + 28, 2);
            let end = start + number(bytes, at + 18, 4);
            (end > start && end <= bytes.len() && number(bytes, at + 8, 2) == 0)
                .then_some(start..end)
        });
    let first = entries.next()?;
    Some(entries.next().filter(|e| e.len() < first.len()).unwrap_or(first))
}

/// Makes the checksums of an entry right.
pub fn renew(bytes: &mut [u8], entry: Range<usize>) {
    let mut crc = !0u32;
    for &byte in &bytes[entry.clone()] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    let crc = (!crc).to_le_bytes();
    let ends = |at: &usize| {
        bytes[*at..].starts_with(b"PK\x03\x04")
            && at + 30 + number(bytes, at + 26, 2) + number(bytes, at + 28, 2) == entry.start
    };
    let Some(local) = (0..entry.start).rev().find(ends) else { return };
    bytes[local + 14..local + 18].copy_from_slice(&crc);
    let lists =
        |at: &usize| bytes[*at..].starts_with(b"PK\x01\x02") && number(bytes, at + 42, 4) == local;
    if let Some(central) = (entry.end..bytes.len().saturating_sub(46)).find(lists) {
        bytes[central + 16..central + 20].copy_from_slice(&crc);
    }
}
