//! Chunked data sets read past the library: the chunks' bytes are fetched by address and
//! decompressed on all cores, which HDF5 (one global lock, one thread) does not do.
//!
//! Only the plain case is handled, which is what anndata, scanpy and Space Ranger write: numbers in
//! this machine's byte order, compressed with gzip or not at all, with or without byte shuffling.
//! Everything else, and every doubt, is left to HDF5.

mod columns;

pub(in crate::io) use columns::Transposed;

use super::{Data, Dtype};
use crate::anndata::Values;
use flate2::{Decompress, FlushDecompress, Status};
use hdf5::Datatype;
use hdf5::filters::Filter;
use rayon::prelude::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Smaller data sets are not worth the detour.
const WORTHWHILE: usize = 32 << 10;

struct Chunk {
    offset: Vec<u64>,
    address: u64,
    size: u64,
}

/// What is needed to read the chunks of one data set.
pub(super) struct Plan {
    file: File,
    /// Lengths of the axes, with the size of an element as the last.
    shape: Vec<usize>,
    chunk: Vec<usize>,
    deflate: bool,
    shuffle: Option<usize>,
    chunks: Vec<Chunk>,
}

/// All elements, or `None` where HDF5 should read them.
pub(super) fn read(data: &Data, dtype: &Dtype, file_type: &Datatype, n: usize) -> Option<Values> {
    if n * dtype.size() < WORTHWHILE {
        return None;
    }
    macro_rules! read_as {
        ($($variant:ident $t:ty),*) => {
            match dtype {
                $(Dtype::$variant if file_type.is::<$t>() => {
                    let plan = Plan::new(data, size_of::<$t>())?;
                    let mut out: Vec<$t> = Vec::new();
                    out.try_reserve_exact(n).ok()?;
                    out.resize(n, <$t>::default());
                    plan.run(bytes_of(&mut out))?;
                    Some(Values::$variant(out))
                })*
                _ => None,
            }
        };
    }
    read_as!(F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
}

/// Plain numbers that may be any bytes.
trait Plain: Copy {}
macro_rules! plain { ($($t:ty)*) => { $(impl Plain for $t {})* } }
plain!(f32 f64 i8 i16 i32 i64 u8 u16 u32 u64);

fn bytes_of<T: Plain>(v: &mut [T]) -> &mut [u8] {
    // Any bytes are a valid `T`, and bytes need no alignment.
    unsafe { std::slice::from_raw_parts_mut(v.as_mut_ptr().cast(), size_of_val(v)) }
}

impl Plan {
    /// For elements of `size` bytes; `None` when the chunks are not of the plain kind.
    pub fn new(data: &Data, size: usize) -> Option<Plan> {
        let chunk = data.inner.chunk()?;
        let (mut deflate, mut shuffle) = (false, None);
        for filter in data.inner.filters() {
            match filter {
                // On reading, filters run backwards: shuffling must come before deflating.
                Filter::Shuffle if !deflate && shuffle.is_none() => shuffle = Some(size),
                Filter::Deflate(_) if !deflate => deflate = true,
                _ => return None,
            }
        }
        if chunk.len() != data.shape.len() || chunk.contains(&0) || data.source.userblock != 0 {
            return None;
        }
        let mut chunks = Vec::new();
        let mut plain = true;
        data.inner
            .chunks_visit(|info| {
                plain &= info.filter_mask == 0;
                let offset = info.offset.to_vec();
                chunks.push(Chunk { offset, address: info.addr, size: info.size });
                0
            })
            .ok()?;
        let expected: usize = data.shape.iter().zip(&chunk).map(|(n, c)| n.div_ceil(*c)).product();
        // A chunk that was never written reads as the fill value, which HDF5 knows.
        if !plain || chunks.len() != expected {
            return None;
        }
        let chunk_bytes = chunk.iter().try_fold(size, |n, &c| n.checked_mul(c))?;
        let stored_ok = |c: &Chunk| {
            let end = c.address.checked_add(c.size);
            end.is_some_and(|end| end <= data.source.size)
                && (deflate || c.size as usize == chunk_bytes)
        };
        if !chunks.iter().all(stored_ok) {
            return None;
        }
        chunks.sort_by(|a, b| a.offset.cmp(&b.offset));
        let file = File::open(&data.source.path).ok()?;
        let shape = data.shape.iter().copied().chain([size]).collect();
        let chunk = chunk.into_iter().chain([size]).collect();
        Some(Plan { file, shape, chunk, deflate, shuffle, chunks })
    }

    /// Fills `out` band by band: the chunks that share their place on the first axis cover one
    /// contiguous stretch of it.
    pub fn run(&self, out: &mut [u8]) -> Option<()> {
        let row: usize = self.shape[1..].iter().product();
        let chunk_bytes: usize = self.chunk.iter().product();
        let per_band = self.chunks.len() / self.shape[0].div_ceil(self.chunk[0]);
        if per_band == 0 || chunk_bytes > (1 << 30) {
            return None;
        }
        let band_bytes = self.chunk[0] * row;
        out.par_chunks_mut(band_bytes)
            .zip(self.chunks.par_chunks(per_band))
            .enumerate()
            .map_init(
                || (Vec::new(), vec![0; chunk_bytes], vec![0; chunk_bytes]),
                |(stored, plain, sorted), (band, (target, chunks))| {
                    let start = (band * self.chunk[0]) as u64;
                    for chunk in chunks {
                        if chunk.offset[0] != start {
                            return None;
                        }
                        let bytes = self.decode(chunk, stored, plain, sorted)?;
                        self.copy(chunk, bytes, target)?;
                    }
                    Some(())
                },
            )
            .collect()
    }

    /// The bytes of a chunk as they are in memory.
    fn decode<'a>(
        &self,
        chunk: &Chunk,
        stored: &'a mut Vec<u8>,
        plain: &'a mut [u8],
        sorted: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        stored.resize(chunk.size as usize, 0);
        self.file.read_exact_at(stored, chunk.address).ok()?;
        let bytes: &[u8] = if self.deflate {
            let mut inflate = Decompress::new(true);
            let status = inflate.decompress(stored, plain, FlushDecompress::Finish).ok()?;
            if status != Status::StreamEnd || inflate.total_out() as usize != plain.len() {
                return None;
            }
            plain
        } else {
            stored
        };
        let Some(size) = self.shuffle.filter(|&s| s > 1) else { return Some(bytes) };
        let n = bytes.len() / size;
        for (b, plane) in bytes.chunks_exact(n).enumerate() {
            for (i, &x) in plane.iter().enumerate() {
                sorted[i * size + b] = x;
            }
        }
        Some(sorted)
    }

    /// Copies the part of a chunk that lies inside the data set to its place in the band.
    fn copy(&self, chunk: &Chunk, bytes: &[u8], target: &mut [u8]) -> Option<()> {
        let axes = self.shape.len();
        let mut start = vec![0usize; axes];
        for (s, &o) in start[1..].iter_mut().zip(&chunk.offset[1..]) {
            *s = o as usize;
        }
        // Rows of the target that this chunk may fill.
        let row: usize = self.shape[1..].iter().product();
        let mut extent: Vec<usize> = Vec::with_capacity(axes);
        extent.push(self.chunk[0].min(target.len() / row));
        for a in 1..axes {
            extent.push(self.chunk[a].min(self.shape[a].checked_sub(start[a])?));
        }
        copy_axis(bytes, &self.chunk, target, &self.shape, &start, &extent)
    }
}

/// Copies a box of `extent` from the origin of `from` (of shape `from_shape`) to `start` in `to`.
fn copy_axis(
    from: &[u8],
    from_shape: &[usize],
    to: &mut [u8],
    to_shape: &[usize],
    start: &[usize],
    extent: &[usize],
) -> Option<()> {
    let from_row: usize = from_shape[1..].iter().product();
    let to_row: usize = to_shape[1..].iter().product();
    // Whole rows on both sides lie one after the other.
    if extent[1..] == from_shape[1..] && from_row == to_row {
        let n = extent[0] * from_row;
        let at = start[0] * to_row;
        to.get_mut(at..at + n)?.copy_from_slice(from.get(..n)?);
        return Some(());
    }
    for i in 0..extent[0] {
        let from = from.get(i * from_row..(i + 1) * from_row)?;
        let at = (start[0] + i) * to_row;
        let to = to.get_mut(at..at + to_row)?;
        copy_axis(from, &from_shape[1..], to, &to_shape[1..], &start[1..], &extent[1..])?;
    }
    Some(())
}
