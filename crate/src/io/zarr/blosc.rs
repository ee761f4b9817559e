//! Blosc's container (version 1), in which zarr v2 stores its chunks by default.
//!
//! ```text
//! 0   version, version of the codec, flags, bytes of an element
//! 4   bytes when decompressed │ bytes of a block │ bytes of all of this    (u32 each)
//! 16  where each block starts (u32 each), then the blocks
//! ```
//! A block is one stream, or one for each byte of an element; a stream is its length (u32) and its
//! bytes, which are plain where compressing them did not help. Before compression the bytes or bits
//! of the elements of a block may have been sorted by their place in the element.

const HEADER: usize = 16;
/// The format's own bounds for splitting a block into streams.
const MOST_STREAMS: usize = 16;
const SMALLEST_STREAM: usize = 128;

mod flag {
    pub const SHUFFLED: u8 = 0x01;
    pub const PLAIN: u8 = 0x02;
    pub const BITS_SHUFFLED: u8 = 0x04;
    pub const FUTURE: u8 = 0x08;
    pub const ONE_STREAM: u8 = 0x10;
}

fn number(bytes: &[u8], at: usize) -> Result<usize, String> {
    let field = bytes.get(at..at + 4).ok_or("blosc: cut short")?;
    Ok(u32::from_le_bytes([field[0], field[1], field[2], field[3]]) as usize)
}

/// The bytes that a container holds when decompressed, at most `limit`.
pub(super) fn decompress(src: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let head = src.get(..HEADER).ok_or("blosc: cut short")?;
    let (flags, element) = (head[2], usize::from(head[3]));
    let (size, block) = (number(head, 4)?, number(head, 8)?);
    if head[0] != 2 || flags & flag::FUTURE != 0 {
        return Err(format!("blosc: version {} of the format is unknown", head[0]));
    }
    if size > limit {
        return Err(format!("blosc: {size} bytes where at most {limit} belong"));
    }
    if size == 0 {
        return Ok(vec![]);
    }
    if flags & flag::PLAIN != 0 {
        let plain = src.get(HEADER..HEADER + size).ok_or("blosc: cut short")?;
        return Ok(plain.to_vec());
    }
    if element == 0 || block == 0 {
        return Err("blosc: the header is damaged".into());
    }
    let block = block.min(size);
    let blocks = size.div_ceil(block);
    if blocks > (src.len() - HEADER) / 4 {
        return Err("blosc: cut short".into());
    }
    let mut out = vec![0; size];
    let mut sorted = vec![0; block];
    for (i, target) in out.chunks_mut(block).enumerate() {
        let shuffled = flags & flag::SHUFFLED != 0 && element > 1;
        let bits = !shuffled && flags & flag::BITS_SHUFFLED != 0 && target.len() >= element;
        let start = number(src, HEADER + 4 * i)?;
        if !shuffled && !bits {
            streams(src, start, flags, element, block, target)?;
            continue;
        }
        let sorted = &mut sorted[..target.len()];
        streams(src, start, flags, element, block, sorted)?;
        if shuffled {
            unshuffle(sorted, element, target);
        } else {
            unshuffle_bits(sorted, element, target);
        }
    }
    Ok(out)
}

/// Decompresses the streams of the block at `at`.
fn streams(
    src: &[u8],
    mut at: usize,
    flags: u8,
    element: usize,
    block: usize,
    target: &mut [u8],
) -> Result<(), String> {
    let split = flags & flag::ONE_STREAM == 0
        && element <= MOST_STREAMS
        && block / element >= SMALLEST_STREAM
        && target.len() == block;
    let n = if split { element } else { 1 };
    let each = target.len() / n;
    // Where the block is not a multiple of the elements, what is left over is not stored.
    for stream in target.chunks_exact_mut(each).take(n) {
        let length = number(src, at)?;
        at += 4;
        let bytes = at.checked_add(length).and_then(|end| src.get(at..end));
        let bytes = bytes.ok_or("blosc: a stream lies outside the chunk")?;
        at += length;
        if length == each {
            stream.copy_from_slice(bytes);
            continue;
        }
        let written = match flags >> 5 {
            0 => blosclz(bytes, stream)?,
            1 => lz4_flex::block::decompress_into(bytes, stream)
                .map_err(|e| format!("blosc: damaged LZ4 stream ({e})"))?,
            2 => return Err("blosc with snappy cannot be read; write it with lz4 or zstd".into()),
            3 => super::codecs::inflate_into(bytes, true, stream)?,
            4 => zstd::bulk::decompress_to_buffer(bytes, stream)
                .map_err(|e| format!("blosc: damaged zstd stream ({e})"))?,
            other => return Err(format!("blosc: compressor {other} is unknown")),
        };
        if written != each {
            return Err(format!("blosc: a stream has {written} bytes, {each} belong there"));
        }
    }
    Ok(())
}

/// Puts bytes that were sorted by their place in the element back.
fn unshuffle(sorted: &[u8], element: usize, out: &mut [u8]) {
    let n = sorted.len() / element;
    for (place, plane) in sorted.chunks_exact(n.max(1)).take(element).enumerate() {
        for (target, &byte) in out[place..].iter_mut().step_by(element).zip(plane) {
            *target = byte;
        }
    }
    out[n * element..].copy_from_slice(&sorted[n * element..]);
}

/// Puts bits that were sorted by their place in the element back.
fn unshuffle_bits(sorted: &[u8], element: usize, out: &mut [u8]) {
    let n = sorted.len() / element;
    if !n.is_multiple_of(8) {
        out.copy_from_slice(sorted);
        return;
    }
    let plane = n / 8;
    for place in 0..element {
        for group in 0..plane {
            let byte = |bit: usize| u64::from(sorted[(place * 8 + bit) * plane + group]);
            let bits = transpose((0..8).fold(0, |all, bit| all | byte(bit) << (8 * bit)));
            for (k, value) in bits.to_le_bytes().into_iter().enumerate() {
                out[(group * 8 + k) * element + place] = value;
            }
        }
    }
    out[n * element..].copy_from_slice(&sorted[n * element..]);
}

/// Transposes 8 × 8 bits.
fn transpose(mut x: u64) -> u64 {
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swap = (x ^ (x >> shift)) & mask;
        x ^= swap ^ (swap << shift);
    }
    x
}

/// Decompresses a BloscLZ stream and returns the bytes written. A byte below 32 says how many
/// literals follow, any other starts a match: its length in the upper three bits and further bytes,
/// how far back in the lower five and the next byte (or two more).
fn blosclz(src: &[u8], out: &mut [u8]) -> Result<usize, String> {
    const FAR: usize = 8191;
    let cut = || "blosc: damaged BloscLZ stream".to_string();
    // `at` is where the next byte goes, `from` where it comes from.
    let (mut at, mut from) = (0, 0);
    let take = |from: &mut usize| {
        let byte = src.get(*from).map(|&b| usize::from(b));
        *from += 1;
        byte.ok_or_else(cut)
    };
    let mut control = take(&mut from)? & 31;
    loop {
        if control < 32 {
            let n = control + 1;
            let literals = src.get(from..from + n).ok_or_else(cut)?;
            out.get_mut(at..at + n).ok_or_else(cut)?.copy_from_slice(literals);
            from += n;
            at += n;
        } else {
            let mut length = (control >> 5) + 2;
            if control >> 5 == 7 {
                loop {
                    let more = take(&mut from)?;
                    length += more;
                    if more != 255 {
                        break;
                    }
                }
            }
            let (high, low) = (control & 31, take(&mut from)?);
            let mut distance = (high << 8) + low;
            if (high, low) == (31, 255) {
                distance = FAR + (take(&mut from)? << 8);
                distance += take(&mut from)?;
            }
            let distance = distance + 1;
            if distance > at || length > out.len() - at {
                return Err(cut());
            }
            // The match may run into what it writes.
            for i in at..at + length {
                out[i] = out[i - distance];
            }
            at += length;
        }
        if from >= src.len() {
            return Ok(at);
        }
        control = take(&mut from)?;
    }
}
