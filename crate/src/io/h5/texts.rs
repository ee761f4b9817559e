//! Texts of variable length read past the library.
//!
//! A data set holds, for each text, its length and where in which heap of the file it lies. HDF5
//! takes memory for whatever length is claimed (up to 4 GiB a text) before it looks into the heap;
//! here the heap is looked at first, which is also faster.

use super::{Data, Source, header, plan::Plan};
use std::collections::{HashMap, hash_map::Entry};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes that stand for a text in a data set: length, address of the heap, index in the heap.
pub(super) const REFERENCE: usize = 16;
/// Bytes before the texts of a heap, and before each text.
const HEADER: usize = 16;

pub(super) struct Reference {
    length: usize,
    heap: u64,
    index: u32,
}

impl Reference {
    /// From the bytes that are stored.
    pub fn of(bytes: &[u8]) -> Reference {
        let number = |b: &[u8]| b.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
        Reference {
            length: number(&bytes[..4]) as usize,
            heap: number(&bytes[4..12]),
            index: number(&bytes[12..16]) as u32,
        }
    }
}

/// A heap and where in it the texts lie, by index; they are counted from 1.
struct Heap {
    bytes: Vec<u8>,
    texts: Vec<Range<usize>>,
}

/// All texts, or `None` where HDF5 should read them.
pub(super) fn read(data: &Data, n: usize) -> Option<Result<Vec<String>, String>> {
    let references = references(data, n)?;
    Some(follow(&data.source.file, data.source.size, &references))
}

/// Whether texts are stored in a way that HDF5 is not asked to read.
pub(super) fn reads(data: &Data) -> bool {
    Plan::new(data, REFERENCE).is_some()
}

fn references(data: &Data, n: usize) -> Option<Vec<Reference>> {
    let total = n.checked_mul(REFERENCE)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(total).ok()?;
    bytes.resize(total, 0);
    let plan = Plan::new(data, REFERENCE)?;
    plan.run(0..data.shape.first().copied().unwrap_or(1), &mut bytes)?;
    Some(bytes.chunks_exact(REFERENCE).map(Reference::of).collect())
}

/// The `n` texts of attribute `name` of the object whose header is at `address`, or `None` where
/// HDF5 should read them.
pub(super) fn attribute(
    source: &Source,
    address: u64,
    name: &str,
    n: usize,
) -> Option<Result<Vec<String>, String>> {
    if source.userblock != 0 {
        return None;
    }
    let references = header::references(&source.file, address, name, n)?;
    Some(follow(&source.file, source.size, &references))
}

fn follow(file: &File, size: u64, references: &[Reference]) -> Result<Vec<String>, String> {
    let mut heaps: HashMap<u64, Heap> = HashMap::new();
    // Every text is stored once, so that together they are no longer than the file.
    let mut room = size;
    let mut heap_room = size;
    let mut out = Vec::with_capacity(references.len());
    for r in references {
        if r.length == 0 || r.heap == 0 {
            out.push(String::new());
            continue;
        }
        room = room
            .checked_sub(r.length as u64)
            .ok_or("its texts claim to be longer than the file. The file is damaged")?;
        let heap = match heaps.entry(r.heap) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => {
                let heap = Heap::read(file, heap_room, size, r.heap)?;
                heap_room -= heap.bytes.len() as u64;
                slot.insert(heap)
            }
        };
        let place = heap.texts.get(r.index as usize).filter(|p| p.len() >= r.length);
        let place = place.ok_or("a text is not where it should be. The file is damaged")?;
        let text = &heap.bytes[place.start..place.start + r.length];
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        out.push(super::read::utf8(&text[..end])?);
    }
    Ok(out)
}

impl Heap {
    /// Reads the heap at `address`, which may have at most `room` bytes.
    fn read(file: &File, room: u64, size: u64, address: u64) -> Result<Heap, String> {
        let damaged = || "a heap of texts is damaged".to_string();
        let mut header = [0u8; HEADER];
        file.read_exact_at(&mut header, address).map_err(|_| damaged())?;
        let number = |b: &[u8]| b.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
        let length = number(&header[8..]);
        if !header.starts_with(b"GCOL\x01") || length > size.saturating_sub(address).min(room) {
            return Err(damaged());
        }
        let mut bytes = vec![0u8; length as usize];
        file.read_exact_at(&mut bytes, address).map_err(|_| damaged())?;
        let mut texts = Vec::new();
        let mut at = HEADER;
        while at + HEADER <= bytes.len() {
            let index = number(&bytes[at..at + 2]) as usize;
            let length = number(&bytes[at + 8..at + HEADER]);
            // Entry 0 is free space, which ends the heap.
            if index == 0 {
                break;
            }
            let start = at + HEADER;
            if length > (bytes.len() - start) as u64 {
                return Err(damaged());
            }
            let end = start + length as usize;
            if index >= texts.len() {
                texts.resize(index + 1, 0..0);
            }
            texts[index] = start..end;
            at = end.next_multiple_of(8);
        }
        Ok(Heap { bytes, texts })
    }
}
