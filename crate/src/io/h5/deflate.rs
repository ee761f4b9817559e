//! Writing a compressed data set chunk by chunk: HDF5 would compress them one after the other, here
//! all cores do.

use super::plan::copy_box;
use flate2::{Compress, Compression, FlushCompress, Status};
use hdf5::sync::sync;
use hdf5_sys::h5d::H5Dwrite_chunk;
use hdf5_sys::h5p::H5P_DEFAULT;
use rayon::prelude::*;

/// Compressed chunks wait for being written in groups of so many a thread.
const AHEAD: usize = 4;

/// Writes all elements of a new data set, which was made with these chunks and gzip and nothing
/// else: `bytes` of `shape`, elements of `size` bytes each.
pub(super) fn write(
    data: &hdf5::Dataset,
    bytes: &[u8],
    shape: &[usize],
    chunk: &[usize],
    size: usize,
    level: u8,
) -> hdf5::Result<()> {
    let lattice: Vec<usize> = shape.iter().zip(chunk).map(|(n, c)| n.div_ceil(*c)).collect();
    let count: usize = lattice.iter().product();
    let start_of = |mut k: usize| {
        let mut start = vec![0; shape.len()];
        for a in (0..shape.len()).rev() {
            start[a] = k % lattice[a] * chunk[a];
            k /= lattice[a];
        }
        start
    };
    let with_size = |axes: &[usize]| [axes, &[size]].concat();
    let (from_shape, to_shape) = (with_size(shape), with_size(chunk));
    let chunk_bytes: usize = to_shape.iter().product();
    let origin = vec![0; to_shape.len()];

    // A chunk always has its full size; what lies outside the data set is zero.
    let gather = |k: usize, room: &mut Vec<u8>| {
        let start = start_of(k);
        let inside = start.iter().zip(shape).zip(chunk).map(|((s, n), &c)| c.min(n - s));
        let extent: Vec<usize> = inside.chain([size]).collect();
        if extent != to_shape {
            room.fill(0);
        }
        let mut from_start = start;
        from_start.push(0);
        copy_box((bytes, &from_shape, &from_start), (room, &to_shape, &origin), &extent)
    };
    let group = AHEAD * rayon::current_num_threads();
    for first in (0..count).step_by(group) {
        let scratch =
            || (vec![0u8; chunk_bytes], Compress::new(Compression::new(level.into()), true));
        let packed: Option<Vec<Vec<u8>>> = (first..(first + group).min(count))
            .into_par_iter()
            .map_init(scratch, |(room, compress), k| {
                gather(k, room)?;
                deflate(compress, room)
            })
            .collect();
        let packed = packed.ok_or("a chunk could not be compressed")?;
        for (k, packed) in (first..).zip(packed) {
            let offset: Vec<u64> = start_of(k).into_iter().map(|s| s as u64).collect();
            let status = sync(|| unsafe {
                let buffer = packed.as_ptr().cast();
                H5Dwrite_chunk(data.id(), H5P_DEFAULT, 0, offset.as_ptr(), packed.len(), buffer)
            });
            if status < 0 {
                return Err(hdf5::Error::query().unwrap_or_else(|e| e));
            }
        }
    }
    Ok(())
}

fn deflate(compress: &mut Compress, bytes: &[u8]) -> Option<Vec<u8>> {
    compress.reset();
    // What cannot be compressed grows by a few bytes for every 16 kB.
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 128);
    loop {
        let rest = &bytes[compress.total_in() as usize..];
        match compress.compress_vec(rest, &mut out, FlushCompress::Finish).ok()? {
            Status::StreamEnd => break,
            _ => out.reserve(bytes.len() / 8 + 1024),
        }
    }
    out.shrink_to_fit();
    Some(out)
}
