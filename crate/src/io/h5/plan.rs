//! Where the bytes of a data set lie in its file, and reading them past the library: straight from
//! their addresses, decompressed on all cores, which HDF5 (one global lock, one thread) does not do.
//!
//! Only the plain kinds are handled, which is what anndata, scanpy and Space Ranger write: elements
//! in one piece, or in chunks that are compressed with gzip or not at all, with or without byte
//! shuffling. Everything else, and every doubt, is left to HDF5.
//!
//! ```text
//!        chunk columns ->          A stretch of rows is read band by band; a band is what chunks
//! rows  +------+------+----+       that share their place on the first axis cover. Its first and
//!  |    |  0   |  1   | 2  | band  last may be cut, and chunks at the edge are only partly used.
//!  v    +------+------+----+
//! ```

use super::Data;
use super::read::{HARMLESS, MOST_EXPANSION};
use crate::anndata::Values;
use crate::io::bytes::{Plain, bytes_of, zeroed};
use flate2::{Decompress, FlushDecompress, Status};
use hdf5::Datatype;
use hdf5::filters::Filter;
use rayon::prelude::*;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Less than this is not worth the detour.
const WORTHWHILE: usize = 32 << 10;
/// Elements in one piece are fetched by so many bytes at a time.
const PIECE: usize = 4 << 20;

/// What is needed to read the elements of one data set.
pub(super) struct Plan {
    file: File,
    /// Lengths of the axes, with the size of an element as the last.
    shape: Vec<usize>,
    place: Place,
}

enum Place {
    /// All in one piece.
    At(u64),
    Chunked(Chunks),
}

struct Chunks {
    /// Lengths of the axes of a chunk, with the size of an element as the last.
    shape: Vec<usize>,
    deflate: bool,
    shuffle: Option<usize>,
    /// Address and stored bytes of each chunk, last axis fastest.
    stored: Vec<(u64, usize)>,
}

/// What a thread needs to decode chunks.
pub(super) struct Scratch {
    stored: Vec<u8>,
    plain: Vec<u8>,
    sorted: Vec<u8>,
    inflate: Decompress,
}

/// How many bytes an element takes where this machine and the file agree on its layout.
pub(super) fn plain_size(file_type: &Datatype) -> Option<usize> {
    macro_rules! sizes {
        ($($t:ty)*) => { $(if file_type.is::<$t>() { return Some(size_of::<$t>()); })* };
    }
    sizes!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);
    None
}

/// The elements in `rows`, which are of the type that `like` shows, or `None` where HDF5 should
/// read them.
pub(super) fn read(plan: &Plan, rows: Range<usize>, like: &super::Dtype) -> Option<Values> {
    use super::Dtype;
    let n = plan.elements(rows.len());
    if n * like.size() < WORTHWHILE {
        return None;
    }
    fn filled<T: Plain>(plan: &Plan, rows: Range<usize>, n: usize) -> Option<Vec<T>> {
        let mut out = zeroed::<T>(n).ok()?;
        plan.run(rows, bytes_of(&mut out))?;
        Some(out)
    }
    macro_rules! read_as {
        ($($variant:ident)*) => {
            match like {
                $(Dtype::$variant => filled(plan, rows, n).map(Values::$variant),)*
                _ => None,
            }
        };
    }
    read_as!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64)
}

impl Plan {
    /// For elements of `size` bytes; `None` when they are not stored in one of the plain ways.
    pub fn new(data: &Data, size: usize) -> Option<Plan> {
        if data.source.userblock != 0 {
            return None;
        }
        // A scalar is a list of one.
        let axes = if data.shape.is_empty() { &[1] } else { data.shape.as_slice() };
        let place = match data.inner.chunk() {
            Some(chunk) => Place::Chunked(Chunks::new(data, size, chunk)?),
            None => {
                let bytes = axes.iter().try_fold(size, |n, &d| n.checked_mul(d))? as u64;
                let address = data.inner.offset()?;
                let fits = address.checked_add(bytes)? <= data.source.size;
                if data.inner.storage_size() != bytes || !fits || !data.inner.filters().is_empty() {
                    return None;
                }
                Place::At(address)
            }
        };
        let file = data.source.file.try_clone().ok()?;
        let shape = axes.iter().copied().chain([size]).collect();
        Some(Plan { file, shape, place })
    }

    /// How many elements so many rows have.
    fn elements(&self, rows: usize) -> usize {
        self.shape[1..self.shape.len() - 1].iter().product::<usize>() * rows
    }

    /// Rows that are decompressed together.
    pub fn band(&self) -> usize {
        match &self.place {
            Place::At(_) => 1,
            Place::Chunked(chunks) => chunks.shape[0],
        }
    }

    /// Lengths of the axes of a chunk, with the size of an element as the last.
    pub fn chunk_shape(&self) -> Option<&[usize]> {
        match &self.place {
            Place::At(_) => None,
            Place::Chunked(chunks) => Some(&chunks.shape),
        }
    }

    /// How many chunks lie side by side in one band.
    pub fn chunks_across(&self) -> Option<usize> {
        match &self.place {
            Place::At(_) => None,
            Place::Chunked(chunks) => Some(chunks.lattice(&self.shape)[1..].iter().product()),
        }
    }

    /// The bytes of chunk number `k`, last axis fastest, as they are in memory.
    pub fn chunk<'s>(&self, scratch: &'s mut Scratch, k: usize) -> Option<&'s [u8]> {
        let Place::Chunked(chunks) = &self.place else { return None };
        let &(address, stored) = chunks.stored.get(k)?;
        scratch.decode(&self.file, chunks, address, stored)
    }

    /// Fills `out`, which has room for just these rows.
    pub fn run(&self, rows: Range<usize>, out: &mut [u8]) -> Option<()> {
        let row: usize = self.shape[1..].iter().product();
        if out.len() != row * rows.len() || rows.end > self.shape[0] {
            return None;
        }
        match &self.place {
            Place::At(address) => {
                let start = address + (rows.start * row) as u64;
                out.par_chunks_mut(PIECE).enumerate().try_for_each(|(i, piece)| {
                    self.file.read_exact_at(piece, start + (i * PIECE) as u64).ok()
                })
            }
            Place::Chunked(chunks) => {
                let mut bands = Vec::new();
                let (mut rest, mut at) = (out, rows.start);
                while at < rows.end {
                    let band = at / chunks.shape[0];
                    let end = ((band + 1) * chunks.shape[0]).min(rows.end);
                    let (piece, after) = rest.split_at_mut((end - at) * row);
                    bands.push((band, at % chunks.shape[0], piece));
                    (rest, at) = (after, end);
                }
                bands.into_par_iter().try_for_each_init(Scratch::new, |scratch, band| {
                    self.band_rows(chunks, scratch, band.0, band.1, band.2)
                })
            }
        }
    }

    /// Fills `target` with rows of the band number `band`, leaving out its first `skip`.
    fn band_rows(
        &self,
        chunks: &Chunks,
        scratch: &mut Scratch,
        band: usize,
        skip: usize,
        target: &mut [u8],
    ) -> Option<()> {
        let axes = self.shape.len();
        let row: usize = self.shape[1..].iter().product();
        let per_band = chunks.lattice(&self.shape)[1..].iter().product::<usize>();
        let chunk_bytes = chunks.bytes();
        for k in 0..per_band {
            let &(address, stored) = chunks.stored.get(band * per_band + k)?;
            // Where the chunk starts, and how much of it lies inside the data set.
            let mut start = chunks.offset(&self.shape, k);
            start[0] = 0;
            let mut extent: Vec<usize> =
                (0..axes).map(|a| chunks.shape[a].min(self.shape[a] - start[a])).collect();
            extent[0] = target.len() / row;
            let whole = extent == chunks.shape && chunks.shape[1..] == self.shape[1..];
            if whole && chunks.shuffle.is_none_or(|s| s == 1) {
                // The chunk is just these rows: no way round is needed.
                let target = target.get_mut(..chunk_bytes)?;
                match chunks.deflate {
                    false if stored == chunk_bytes => {
                        self.file.read_exact_at(target, address).ok()?;
                    }
                    false => return None,
                    true => scratch.inflate(&self.file, address, stored, target)?,
                }
                continue;
            }
            let bytes = scratch.decode(&self.file, chunks, address, stored)?;
            let mut from = vec![0; axes];
            from[0] = skip;
            copy_box((bytes, &chunks.shape, &from), (target, &self.shape, &start), &extent)?;
        }
        Some(())
    }
}

impl Chunks {
    fn new(data: &Data, size: usize, chunk: Vec<usize>) -> Option<Chunks> {
        let (mut deflate, mut shuffle) = (false, None);
        for filter in data.inner.filters() {
            match filter {
                // On reading, filters run backwards: shuffling must come before deflating.
                Filter::Shuffle if !deflate && shuffle.is_none() => shuffle = Some(size),
                Filter::Deflate(_) if !deflate => deflate = true,
                _ => return None,
            }
        }
        if chunk.len() != data.shape.len() || chunk.contains(&0) {
            return None;
        }
        let mut found: Vec<(Vec<u64>, u64, u64)> = Vec::new();
        let mut plain = true;
        data.inner
            .chunks_visit(|info| {
                plain &= info.filter_mask == 0;
                found.push((info.offset.to_vec(), info.addr, info.size));
                0
            })
            .ok()?;
        let bytes = chunk.iter().try_fold(size, |n, &c| n.checked_mul(c))?;
        let inside = |&(_, address, stored): &(Vec<u64>, u64, u64)| {
            // What a chunk claims to hold is bounded by what deflate can make of its bytes.
            let most = stored.saturating_mul(MOST_EXPANSION).max(HARMLESS);
            let believable = bytes as u64 <= most;
            address.checked_add(stored).is_some_and(|end| end <= data.source.size)
                && if deflate { believable } else { stored == bytes as u64 }
        };
        if !plain || !found.iter().all(inside) {
            return None;
        }
        found.sort_unstable();
        let mut chunks = Chunks {
            shape: chunk.into_iter().chain([size]).collect(),
            deflate,
            shuffle,
            stored: vec![],
        };
        // Each place of the lattice once: a chunk that was never written reads as the fill value,
        // which HDF5 knows.
        let shape: Vec<usize> = data.shape.iter().copied().chain([size]).collect();
        let expected: usize = chunks.lattice(&shape).iter().product();
        let in_place = |(k, c): (usize, &(Vec<u64>, u64, u64))| {
            c.0.iter().zip(chunks.offset(&shape, k)).all(|(&a, b)| a == b as u64)
        };
        if found.len() != expected || !found.iter().enumerate().all(in_place) {
            return None;
        }
        chunks.stored = found.into_iter().map(|c| (c.1, c.2 as usize)).collect();
        Some(chunks)
    }

    /// Bytes of a chunk in memory.
    fn bytes(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many chunks there are along each axis.
    fn lattice(&self, shape: &[usize]) -> Vec<usize> {
        shape.iter().zip(&self.shape).map(|(n, c)| n.div_ceil(*c)).collect()
    }

    /// Where chunk number `k` starts.
    fn offset(&self, shape: &[usize], mut k: usize) -> Vec<usize> {
        let mut offset = vec![0; shape.len()];
        for (a, &n) in self.lattice(shape).iter().enumerate().rev() {
            offset[a] = k % n * self.shape[a];
            k /= n;
        }
        offset
    }
}

impl Scratch {
    pub fn new() -> Self {
        Scratch { stored: vec![], plain: vec![], sorted: vec![], inflate: Decompress::new(true) }
    }

    /// Inflates the chunk at `address` into `target`, which it must fill.
    fn inflate(&mut self, file: &File, at: u64, stored: usize, target: &mut [u8]) -> Option<()> {
        self.stored.resize(stored, 0);
        file.read_exact_at(&mut self.stored, at).ok()?;
        self.inflate.reset(true);
        let status = self.inflate.decompress(&self.stored, target, FlushDecompress::Finish).ok()?;
        let full = self.inflate.total_out() as usize == target.len();
        (status == Status::StreamEnd && full).then_some(())
    }

    /// The bytes of a chunk as they are in memory.
    fn decode(&mut self, file: &File, chunks: &Chunks, at: u64, stored: usize) -> Option<&[u8]> {
        let mut plain = std::mem::take(&mut self.plain);
        plain.resize(chunks.bytes(), 0);
        let done = match chunks.deflate {
            true => self.inflate(file, at, stored, &mut plain),
            false => file.read_exact_at(&mut plain, at).ok(),
        };
        self.plain = plain;
        done?;
        let Some(size) = chunks.shuffle.filter(|&s| s > 1) else { return Some(&self.plain) };
        self.sorted.resize(self.plain.len(), 0);
        let n = self.plain.len() / size;
        for (b, plane) in self.plain.chunks_exact(n).enumerate() {
            for (i, &x) in plane.iter().enumerate() {
                self.sorted[i * size + b] = x;
            }
        }
        Some(&self.sorted)
    }
}

/// Copies a box of `extent` from one array of bytes to another. Each is given with the lengths of
/// its axes and where the box starts in it.
pub(super) fn copy_box(
    (from, from_shape, from_start): (&[u8], &[usize], &[usize]),
    (to, to_shape, to_start): (&mut [u8], &[usize], &[usize]),
    extent: &[usize],
) -> Option<()> {
    let from_row: usize = from_shape[1..].iter().product();
    let to_row: usize = to_shape[1..].iter().product();
    let (from_at, to_at) = (from_start[0] * from_row, to_start[0] * to_row);
    // Whole rows on both sides lie one after the other.
    if extent[1..] == from_shape[1..] && extent[1..] == to_shape[1..] {
        let n = extent[0] * from_row;
        to.get_mut(to_at..to_at + n)?.copy_from_slice(from.get(from_at..from_at + n)?);
        return Some(());
    }
    for i in 0..extent[0] {
        let from = from.get(from_at + i * from_row..)?.get(..from_row)?;
        let to = to.get_mut(to_at + i * to_row..)?.get_mut(..to_row)?;
        let from = (from, &from_shape[1..], &from_start[1..]);
        copy_box(from, (to, &to_shape[1..], &to_start[1..]), &extent[1..])?;
    }
    Some(())
}
