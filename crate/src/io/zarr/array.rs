//! Reading an array: its chunks are looked up, decoded on all cores and put into their place.
//!
//! What is not stored has the fill value. Only chunks that exist are visited, so that the work is
//! bounded by what the store holds, whatever the shape claims.

use super::Data;
use super::codecs::{Pipeline, Serial, Shard};
use super::dtype::{self, Dtype, Number};
use super::metadata::Array;
use super::place::Target;
use crate::anndata::Values;
use crate::error::{Error, Result};
use crate::io::bytes::{Plain, bytes_of, zeroed};
use crate::io::store::Elements;
use crate::progress::check_interrupt;
use rayon::prelude::*;

/// Elements that no chunk holds may take this many bytes (of lazily given memory): an image or a
/// matrix of fill values is stored as nothing, so that the store's size cannot bound it.
const MOST_UNSTORED: u64 = 1 << 30;

/// What chunks decode to: bytes of elements of one size, or texts.
trait Item: Clone + Send + Sync {
    /// The items of a chunk of `n` elements.
    fn decode(bytes: Vec<u8>, n: usize, dtype: &Dtype) -> Result<Vec<Self>, String>;
}

impl Item for u8 {
    fn decode(mut bytes: Vec<u8>, n: usize, dtype: &Dtype) -> Result<Vec<u8>, String> {
        let expected = n * dtype.size();
        if bytes.len() != expected {
            return Err(format!("{} bytes, where the chunk has {expected}", bytes.len()));
        }
        dtype.make_native(&mut bytes);
        Ok(bytes)
    }
}

impl Item for String {
    /// The number of texts, then each after its length (u32 in little-endian order).
    fn decode(bytes: Vec<u8>, n: usize, _: &Dtype) -> Result<Vec<String>, String> {
        let mut rest = &bytes[..];
        let number = |rest: &mut &[u8]| {
            let (head, tail) = rest.split_first_chunk().ok_or("texts are cut short")?;
            *rest = tail;
            Ok::<usize, String>(u32::from_le_bytes(*head) as usize)
        };
        let count = number(&mut rest)?;
        if count != n {
            return Err(format!("{count} texts, where the chunk has {n}"));
        }
        // Each takes four bytes at least.
        if count > rest.len() / 4 {
            return Err("texts are cut short".into());
        }
        let mut texts = Vec::with_capacity(count);
        for _ in 0..count {
            let length = number(&mut rest)?;
            let (text, tail) = rest.split_at_checked(length).ok_or("texts are cut short")?;
            texts.push(dtype::utf8(text)?);
            rest = tail;
        }
        Ok(texts)
    }
}

/// All elements.
pub(super) fn read(data: &Data) -> Result<Elements> {
    let array = &*data.array;
    let n = array.size().unwrap_or(0);
    let chunks = chunks(data, n)?;
    let job = Job { data, array };
    let fill = array.dtype.fill(&array.fill).map_err(|reason| data.error(reason))?;
    macro_rules! numbers {
        ($variant:ident $t:ty) => {{
            let mut out = filled::<$t>(data, n, &fill)?;
            job.run(&chunks, bytes_of(&mut out), size_of::<$t>())?;
            Elements::Values(Values::$variant(out))
        }};
    }
    Ok(match &array.dtype {
        Dtype::Number(number, _) => match number {
            Number::F32 => numbers!(F32 f32),
            Number::F64 => numbers!(F64 f64),
            Number::I8 => numbers!(I8 i8),
            Number::I16 => numbers!(I16 i16),
            Number::I32 => numbers!(I32 i32),
            Number::I64 => numbers!(I64 i64),
            Number::U8 => numbers!(U8 u8),
            Number::U16 => numbers!(U16 u16),
            Number::U32 => numbers!(U32 u32),
            Number::U64 => numbers!(U64 u64),
            Number::Bool => {
                let mut out = filled::<u8>(data, n, &fill)?;
                job.run(&chunks, &mut out, 1)?;
                Elements::Values(Values::Bool(out.into_iter().map(|b| b != 0).collect()))
            }
            Number::F16 => {
                let mut out = filled::<u16>(data, n, &fill)?;
                job.run(&chunks, bytes_of(&mut out), 2)?;
                Elements::Values(Values::F32(out.into_iter().map(dtype::single).collect()))
            }
        },
        Dtype::Text => {
            let text = array.fill.as_str().unwrap_or_default();
            let mut out: Vec<String> = Vec::new();
            out.try_reserve_exact(n).map_err(|_| no_memory(data, n, size_of::<String>()))?;
            out.resize(n, text.into());
            job.run(&chunks, &mut out, 1)?;
            Elements::Strings(out)
        }
        // Text of no length.
        dtype if dtype.size() == 0 => Elements::Strings(vec![String::new(); n]),
        dtype => {
            let size = dtype.size();
            let total = n.checked_mul(size).ok_or_else(|| no_memory(data, n, size))?;
            let mut out = filled::<u8>(data, total, &fill)?;
            job.run(&chunks, &mut out, size)?;
            dtype.elements(&out).map_err(|reason| data.error(reason))?
        }
    })
}

fn no_memory(data: &Data, n: usize, size: usize) -> Error {
    data.error(format!("{} bytes do not fit in memory", n.saturating_mul(size)))
}

/// `n` numbers whose bytes repeat `fill`.
fn filled<T: Plain>(data: &Data, n: usize, fill: &[u8]) -> Result<Vec<T>> {
    let mut out = zeroed(n).map_err(|reason| data.error(reason))?;
    if fill.iter().any(|&b| b != 0) {
        for element in bytes_of(&mut out).chunks_exact_mut(fill.len()) {
            element.copy_from_slice(fill);
        }
    }
    Ok(out)
}

/// The chunks that are stored: their keys and places in the grid. Fails where `n` elements are more
/// than these can hold.
fn chunks(data: &Data, n: usize) -> Result<Vec<(String, Vec<usize>)>> {
    let array = &*data.array;
    if n == 0 {
        return Ok(vec![]);
    }
    let axes = array.shape.len();
    let mut stored = 0u64;
    let mut chunks = Vec::new();
    if axes == 0 {
        let key = if array.keys.below_c { "c" } else { "0" };
        chunks.push((format!("{}/{key}", data.key), vec![]));
    } else {
        let folder = format!("{}{}", data.key, array.keys.folder());
        let folder = folder.trim_start_matches('/');
        for (key, size) in data.store.files(folder, axes)? {
            let Some(place) = array.keys.parse(&key, axes) else { continue };
            let inside = |a: usize| {
                place[a].checked_mul(array.chunk[a]).is_some_and(|at| at < array.shape[a])
            };
            if (0..axes).all(inside) {
                stored += size;
                chunks.push((format!("{folder}/{key}"), place));
            }
        }
    }
    let size = match &array.dtype {
        dtype if dtype.is_text() => dtype.size() + size_of::<String>(),
        dtype => dtype.size(),
    };
    let claimed = (n as u64).saturating_mul(size as u64);
    let bound = stored.saturating_mul(array.pipeline.most_expansion() as u64);
    if claimed > bound.max(MOST_UNSTORED) {
        return Err(data.error(format!(
            "shape {:?} claims {claimed} bytes, but only {stored} are stored. The store is \
             damaged, or the array is empty",
            array.shape
        )));
    }
    Ok(chunks)
}

/// Why a chunk could not be decoded.
enum Fault {
    Interrupted,
    Damaged(String),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault::Damaged(reason)
    }
}

/// The reading of an array.
struct Job<'a> {
    data: &'a Data,
    array: &'a Array,
}

impl Job<'_> {
    /// Decodes chunks into `buffer`, which has `size` items for each element.
    fn run<T: Item>(
        &self,
        chunks: &[(String, Vec<usize>)],
        buffer: &mut [T],
        size: usize,
    ) -> Result<()> {
        if buffer.is_empty() {
            return Ok(());
        }
        let target = Target::new(buffer, &self.array.shape, size);
        chunks.par_iter().try_for_each(|(key, place)| {
            check_interrupt()?;
            let array = self.array;
            let origin: Vec<usize> = place.iter().zip(&array.chunk).map(|(p, c)| p * c).collect();
            // A scalar's only chunk may be missing too.
            let Some(bytes) = self.data.store.read(key)? else { return Ok(()) };
            let decoded = self.chunk(&array.pipeline, bytes, &origin, &array.chunk, &target);
            decoded.map_err(|fault| match fault {
                Fault::Interrupted => Error::Interrupted,
                Fault::Damaged(reason) => {
                    let name = key.strip_prefix(&self.data.key).unwrap_or(key);
                    let name = name.trim_start_matches('/');
                    self.data.error(format!("chunk `{name}`: {reason}"))
                }
            })
        })
    }

    /// Decodes the bytes of one chunk, or of a shard of chunks, and puts them into place.
    fn chunk<T: Item>(
        &self,
        pipeline: &Pipeline,
        bytes: Vec<u8>,
        origin: &[usize],
        shape: &[usize],
        target: &Target<T>,
    ) -> Result<(), Fault> {
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let n = n.ok_or_else(|| format!("absurd shape {shape:?} of a chunk"))?;
        let limit = match pipeline.serial {
            Serial::Bytes(_) => n.checked_mul(self.array.dtype.size()),
            _ => Some(usize::MAX),
        };
        let limit = limit.ok_or_else(|| format!("absurd shape {shape:?} of a chunk"))?;
        let bytes = pipeline.decompress(bytes, limit)?;
        if let Serial::Shard(shard) = &pipeline.serial {
            return self.shard(shard, &bytes, origin, shape, target);
        }
        let items = T::decode(bytes, n, &self.array.dtype)?;
        target.put(&items, origin, shape, &pipeline.order);
        Ok(())
    }

    /// The chunks of a shard: its index says for each where it starts and how long it is.
    fn shard<T: Item>(
        &self,
        shard: &Shard,
        bytes: &[u8],
        origin: &[usize],
        shape: &[usize],
        target: &Target<T>,
    ) -> Result<(), Fault> {
        // Chunks that reached over the edge of their shard would be in two shards.
        if shape.iter().zip(&shard.chunk).any(|(n, c)| n % c != 0) {
            let (inner, outer) = (&shard.chunk, shape);
            return Err(format!("chunks of shape {inner:?} in a shard of shape {outer:?}").into());
        }
        let grid: Vec<usize> = shape.iter().zip(&shard.chunk).map(|(n, c)| n / c).collect();
        let n = grid.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let length =
            n.and_then(|n| n.checked_mul(16)?.checked_add(shard.index.fixed_overhead().ok()?));
        let index = length
            .filter(|&l| l <= bytes.len())
            .ok_or_else(|| "the shard is too short".to_string())?;
        let index = if shard.index_first { &bytes[..index] } else { &bytes[bytes.len() - index..] };
        let index = shard.index.decompress(index.to_vec(), usize::MAX)?;
        let (numbers, _) = index.as_chunks::<8>();
        let big = shard.index.is_big_endian();
        let number = |b: [u8; 8]| if big { u64::from_be_bytes(b) } else { u64::from_le_bytes(b) };
        numbers.par_chunks_exact(2).enumerate().try_for_each(|(i, place)| {
            let (start, length) = (number(place[0]), number(place[1]));
            if (start, length) == (u64::MAX, u64::MAX) {
                return Ok(());
            }
            let mut inner = origin.to_vec();
            let mut rest = i;
            for a in (0..grid.len()).rev() {
                inner[a] += rest % grid[a] * shard.chunk[a];
                rest /= grid[a];
            }
            // A shard at the edge has chunks outside the array.
            if inner.iter().zip(&self.array.shape).any(|(at, n)| at >= n) {
                return Ok(());
            }
            check_interrupt().map_err(|_| Fault::Interrupted)?;
            let end = start.checked_add(length).filter(|&end| end <= bytes.len() as u64);
            let end = end.ok_or_else(|| format!("inner chunk {i} lies outside the shard"))?;
            let stored = bytes[start as usize..end as usize].to_vec();
            self.chunk(&shard.inner, stored, &inner, &shard.chunk, target)
        })
    }
}
