//! Attributes of text read past the library, for the same reason as data sets of text (`texts`):
//! HDF5 would take memory for whatever length is claimed, and follow a damaged heap for ever.
//!
//! ```text
//! version 1   1, 0, messages: 2, references: 4, bytes: 4, 0: 4 | messages
//! version 2   "OHDR", 2, flags | times: 16 if flag 5 | limits: 4 if flag 4 | bytes: 1-8 | messages
//!             further blocks: "OCHK" | messages | checksum: 4
//! message 1   kind: 2, bytes: 2, flags, 0: 3 | body         (padded to 8)
//! message 2   kind: 1, bytes: 2, flags | order: 2 if flag 2 of the header | body
//! attribute   version, flags, bytes of name: 2, of type: 2, of space: 2 | encoding: 1 in version 3
//!             | name | type | space (each padded to 8 in version 1) | elements
//! ```
//! Attributes that are kept otherwise (more than eight of one object, in the newest format) are left
//! to HDF5.

use super::texts::{REFERENCE, Reference};
use std::fs::File;
use std::os::unix::fs::FileExt;

const CONTINUATION: u16 = 0x10;
const ATTRIBUTE: u16 = 0x0c;
/// Headers have no more blocks than this, nor larger ones, unless they are damaged.
const MOST_BLOCKS: usize = 256;
const MOST_BYTES: usize = 4 << 20;
/// Bit of a message's flags: its body is elsewhere.
const SHARED: u8 = 2;

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b))
}

/// The bytes that stand for the `n` texts of attribute `name`, of the object whose header is at
/// `address`; `None` where HDF5 should look.
pub(super) fn references(
    file: &File,
    address: u64,
    name: &str,
    n: usize,
) -> Option<Vec<Reference>> {
    let elements = find(file, address, name)?;
    let bytes = elements.get(..n.checked_mul(REFERENCE)?)?;
    Some(bytes.chunks_exact(REFERENCE).map(Reference::of).collect())
}

/// The elements of an attribute as they are stored.
fn find(file: &File, address: u64, name: &str) -> Option<Vec<u8>> {
    let mut start = [0u8; 16];
    file.read_exact_at(&mut start, address).ok()?;
    let second = start.starts_with(b"OHDR\x02");
    let flags = if second { start[5] } else { 0 };
    let first = if second {
        let mut at = 6;
        at += if flags & 0x20 != 0 { 16 } else { 0 };
        at += if flags & 0x10 != 0 { 4 } else { 0 };
        let width = 1usize << (flags & 3);
        let mut bytes = [0u8; 8];
        file.read_exact_at(&mut bytes[..width], address + at).ok()?;
        (address + at + width as u64, number(&bytes[..width]))
    } else if start[0] == 1 {
        (address + 16, number(&start[8..12]))
    } else {
        return None;
    };
    let mut blocks = vec![first];
    let mut next = 0;
    while let Some(&(at, length)) = blocks.get(next) {
        next += 1;
        if blocks.len() > MOST_BLOCKS || length as usize > MOST_BYTES {
            return None;
        }
        let mut block = vec![0u8; length as usize];
        file.read_exact_at(&mut block, at).ok()?;
        let mut rest: &[u8] = &block;
        if second && next > 1 {
            rest = rest.strip_prefix(b"OCHK")?;
            rest = &rest[..rest.len().checked_sub(4)?];
        }
        while let Some(message) = Message::take(&mut rest, second, flags) {
            match message.kind {
                CONTINUATION => {
                    let body = message.body.get(..16)?;
                    blocks.push((number(&body[..8]), number(&body[8..])));
                }
                ATTRIBUTE if message.flags & SHARED != 0 => return None,
                ATTRIBUTE => {
                    if let Some(elements) = elements_of(message.body, name)? {
                        return Some(elements.to_vec());
                    }
                }
                _ => {}
            }
        }
    }
    None
}

struct Message<'a> {
    kind: u16,
    flags: u8,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The next message of a block.
    fn take(rest: &mut &'a [u8], second: bool, flags: u8) -> Option<Message<'a>> {
        let head = if !second {
            8
        } else if flags & 4 != 0 {
            6
        } else {
            4
        };
        let (start, after) = rest.split_at_checked(head)?;
        let (kind, length, flags) = match second {
            false => (number(&start[..2]) as u16, number(&start[2..4]), start[4]),
            true => (u16::from(start[0]), number(&start[1..3]), start[3]),
        };
        let (body, after) = after.split_at_checked(length as usize)?;
        *rest = after;
        Some(Message { kind, flags, body })
    }
}

/// The elements if the message is about attribute `name`; `None` if it cannot be understood.
fn elements_of<'a>(body: &'a [u8], name: &str) -> Option<Option<&'a [u8]>> {
    let head = body.get(..8)?;
    let sizes = [2, 4, 6].map(|i| number(&head[i..i + 2]) as usize);
    let (start, padded) = match head[0] {
        1 => (8, sizes.map(|n| n.next_multiple_of(8))),
        2 => (8, sizes),
        3 => (9, sizes),
        _ => return None,
    };
    let found = body.get(start..start + sizes[0])?;
    if found.split(|&b| b == 0).next() != Some(name.as_bytes()) {
        return Some(None);
    }
    body.get(start + padded.iter().sum::<usize>()..).map(Some)
}
