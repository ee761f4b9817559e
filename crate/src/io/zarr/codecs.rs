//! What was done to the bytes of a chunk before they were stored, undone.
//!
//! ```text
//! array ─ transpose ─> bytes │ vlen-utf8 │ sharding ─> gzip, zlib, zstd, lz4, blosc, crc32c ─> file
//! ```
//! Version 3 of the format lists the steps; version 2 says the same by `order`, `filters` and
//! `compressor`.

use super::blosc;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use flate2::{Decompress, FlushDecompress};
use serde_json::Value as Json;
use std::io::Read;

/// The steps from an array to the bytes that are stored.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    /// The order in which the axes are stored; empty where they are not moved.
    pub order: Vec<usize>,
    pub serial: Serial,
    /// In the order of writing.
    compressors: Vec<Codec>,
}

/// How elements become bytes.
#[derive(Debug, Clone)]
pub(super) enum Serial {
    /// One after the other; `true` where the most significant byte comes first.
    Bytes(bool),
    /// Texts, each after its length.
    Texts,
    /// Inner chunks in one file with an index.
    Shard(Box<Shard>),
}

/// Chunks inside a chunk.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub chunk: Vec<usize>,
    pub inner: Pipeline,
    pub index: Pipeline,
    pub index_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Codec {
    Gzip,
    Zlib,
    Zstd,
    Lz4,
    Blosc,
    Crc32c,
}

/// Shards inside shards deeper than this are refused.
const DEEPEST: usize = 4;
/// What was compressed may have this size whatever it was compressed to …
const HARMLESS: usize = 64 << 20;
/// … or so many times the compressed size: deflate and LZ4 do not reach it, zstd does with runs.
const MOST_EXPANSION: usize = 1 << 15;

impl Pipeline {
    /// From the list of codecs in version 3.
    pub fn v3(codecs: &Json, axes: usize) -> Result<Pipeline, String> {
        Pipeline::nested(codecs, axes, 0)
    }

    fn nested(codecs: &Json, axes: usize, depth: usize) -> Result<Pipeline, String> {
        if depth > DEEPEST {
            return Err("shards are nested too deep".into());
        }
        let codecs = codecs.as_array().ok_or("`codecs` is not a list")?;
        let (mut order, mut serial, mut compressors): (Vec<usize>, _, _) = (vec![], None, vec![]);
        for codec in codecs {
            let name = codec["name"].as_str().or(codec.as_str()).ok_or("a codec without a name")?;
            let options = &codec["configuration"];
            let step = match name {
                "transpose" if serial.is_none() && order.is_empty() => {
                    order = permutation(&options["order"], axes)?;
                    continue;
                }
                // Where an element has one byte there is no order of bytes, and none is stated.
                "bytes" | "endian" => Serial::Bytes(options["endian"] == "big"),
                "vlen-utf8" => Serial::Texts,
                "sharding_indexed" => {
                    if !order.is_empty() {
                        return Err("transposed shards cannot be read".into());
                    }
                    Serial::Shard(Box::new(Shard::parse(options, axes, depth)?))
                }
                name => {
                    let name = name.strip_prefix("numcodecs.").unwrap_or(name);
                    let codec = Codec::named(name).filter(|_| serial.is_some());
                    compressors.push(codec.ok_or_else(|| unknown(name))?);
                    continue;
                }
            };
            if serial.replace(step).is_some() {
                return Err(format!("codec `{name}` follows another that gives bytes"));
            }
        }
        let serial = serial.ok_or("no codec that turns elements into bytes")?;
        Ok(Pipeline { order, serial, compressors })
    }

    /// From `order`, `filters` and `compressor` of version 2.
    pub fn v2(meta: &Json, axes: usize, is_object: bool) -> Result<Pipeline, String> {
        let order = match meta["order"].as_str() {
            Some("F") if axes > 1 => (0..axes).rev().collect(),
            Some("F" | "C") | None => vec![],
            Some(other) => return Err(format!("order `{other}` is unknown")),
        };
        let mut serial = Serial::Bytes(false);
        for filter in meta["filters"].as_array().into_iter().flatten() {
            match filter["id"].as_str().unwrap_or_default() {
                "vlen-utf8" => serial = Serial::Texts,
                id @ ("pickle" | "json2" | "json" | "msgpack2" | "msgpack") => {
                    return Err(format!(
                        "its elements are Python objects (filter `{id}`), which are not read; \
                         write them as text (`vlen-utf8`)"
                    ));
                }
                id => return Err(format!("filter `{id}` is not supported")),
            }
        }
        if is_object && !matches!(serial, Serial::Texts) {
            return Err("elements of type object without the filter `vlen-utf8`".into());
        }
        let compressors = match &meta["compressor"] {
            Json::Null => vec![],
            compressor => {
                let id = compressor["id"].as_str().unwrap_or_default();
                vec![Codec::named(id).ok_or_else(|| unknown(id))?]
            }
        };
        Ok(Pipeline { order, serial, compressors })
    }

    /// Whether the most significant byte of an element comes first.
    pub fn is_big_endian(&self) -> bool {
        match &self.serial {
            Serial::Bytes(big) => *big,
            Serial::Texts => false,
            Serial::Shard(shard) => shard.inner.is_big_endian(),
        }
    }

    /// Whether the elements are texts of any length.
    pub fn is_texts(&self) -> bool {
        match &self.serial {
            Serial::Bytes(_) => false,
            Serial::Texts => true,
            Serial::Shard(shard) => shard.inner.is_texts(),
        }
    }

    /// How many times the bytes stored an array may have.
    pub fn most_expansion(&self) -> usize {
        let inner = match &self.serial {
            Serial::Shard(shard) => shard.inner.most_expansion(),
            _ => 1,
        };
        let compressed = self.compressors.iter().any(|&c| c != Codec::Crc32c);
        if compressed { MOST_EXPANSION } else { inner }
    }

    /// How many more bytes than without them the codecs take, where they never compress.
    pub fn fixed_overhead(&self) -> Result<usize, String> {
        if self.compressors.iter().any(|&c| c != Codec::Crc32c) {
            return Err("a compressed index of a shard cannot be read".into());
        }
        Ok(4 * self.compressors.len())
    }

    /// Undoes the compression of a chunk that has at most `limit` bytes without it.
    pub fn decompress(&self, mut bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, String> {
        for (i, codec) in self.compressors.iter().enumerate().rev() {
            let limit = if i == 0 { limit } else { usize::MAX };
            bytes = codec.undo(bytes, limit)?;
        }
        Ok(bytes)
    }
}

impl Shard {
    fn parse(options: &Json, axes: usize, depth: usize) -> Result<Shard, String> {
        let chunk = super::metadata::lengths(&options["chunk_shape"])?;
        if chunk.len() != axes || chunk.contains(&0) {
            return Err(format!("absurd shape {chunk:?} of the chunks in a shard"));
        }
        let index_first = match options["index_location"].as_str() {
            Some("start") => true,
            Some("end") | None => false,
            Some(other) => return Err(format!("index location `{other}` is unknown")),
        };
        let inner = Pipeline::nested(&options["codecs"], axes, depth + 1)?;
        let index = Pipeline::nested(&options["index_codecs"], axes + 1, depth + 1)?;
        Ok(Shard { chunk, inner, index, index_first })
    }
}

fn unknown(name: &str) -> String {
    format!("codec `{name}` is not supported; write the array with zstd, blosc or gzip")
}

fn permutation(order: &Json, axes: usize) -> Result<Vec<usize>, String> {
    let order = match order.as_str() {
        Some("C") => (0..axes).collect(),
        Some("F") => (0..axes).rev().collect(),
        _ => super::metadata::lengths(order)?,
    };
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..axes) {
        return Err(format!("{order:?} is not an order of {axes} axes"));
    }
    Ok(order)
}

impl Codec {
    fn named(name: &str) -> Option<Codec> {
        Some(match name {
            "gzip" => Codec::Gzip,
            "zlib" => Codec::Zlib,
            "zstd" => Codec::Zstd,
            "lz4" => Codec::Lz4,
            "blosc" => Codec::Blosc,
            "crc32c" => Codec::Crc32c,
            _ => return None,
        })
    }

    fn undo(self, mut bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, String> {
        // Memory is taken for what the bytes can expand to, not for what they claim.
        let limit = limit.min(HARMLESS.max(bytes.len().saturating_mul(MOST_EXPANSION)));
        match self {
            Codec::Gzip => read_all(MultiGzDecoder::new(&bytes[..]), "gzip", limit),
            Codec::Zlib => read_all(ZlibDecoder::new(&bytes[..]), "zlib", limit),
            Codec::Zstd => match zstd::zstd_safe::get_frame_content_size(&bytes) {
                Ok(Some(size)) if size <= limit as u64 => {
                    zstd::bulk::decompress(&bytes, size as usize)
                        .map_err(|e| format!("damaged zstd chunk ({e})"))
                }
                Ok(Some(size)) => Err(too_long("zstd", size as usize, limit)),
                Ok(None) => {
                    let decoder = zstd::stream::read::Decoder::with_buffer(&bytes[..]);
                    let decoder = decoder.map_err(|e| format!("zstd cannot be started ({e})"))?;
                    read_all(decoder, "zstd", limit)
                }
                Err(_) => Err("damaged zstd chunk".into()),
            },
            Codec::Lz4 => {
                let (head, rest) = bytes.split_first_chunk().ok_or("LZ4 chunk cut short")?;
                let size = u32::from_le_bytes(*head) as usize;
                if size > limit || size > rest.len().saturating_mul(256) {
                    return Err(too_long("LZ4", size, limit));
                }
                lz4_flex::block::decompress(rest, size)
                    .map_err(|e| format!("damaged LZ4 chunk ({e})"))
            }
            Codec::Blosc => blosc::decompress(&bytes, limit),
            Codec::Crc32c => {
                let at = bytes.len().checked_sub(4).ok_or("too short for its checksum")?;
                let stored = bytes.split_off(at);
                if crc32c(&bytes).to_le_bytes() != stored[..] {
                    return Err("the bytes are damaged (their CRC32C differs)".into());
                }
                Ok(bytes)
            }
        }
    }
}

fn too_long(kind: &str, size: usize, limit: usize) -> String {
    format!("a {kind} chunk of {size} bytes where at most {limit} belong")
}

fn read_all(reader: impl Read, kind: &str, limit: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let most = (limit as u64).saturating_add(1);
    reader.take(most).read_to_end(&mut out).map_err(|e| format!("damaged {kind} chunk ({e})"))?;
    if out.len() > limit { Err(too_long(kind, out.len(), limit)) } else { Ok(out) }
}

/// Inflates a whole stream and returns the bytes written.
pub(super) fn inflate_into(bytes: &[u8], zlib: bool, out: &mut [u8]) -> Result<usize, String> {
    let mut inflate = Decompress::new(zlib);
    inflate
        .decompress(bytes, out, FlushDecompress::Finish)
        .map_err(|e| format!("damaged deflate stream ({e})"))?;
    Ok(inflate.total_out() as usize)
}

/// The CRC with Castagnoli's polynomial.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut i = 0;
        while i < 256 {
            let (mut crc, mut bit) = (i as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, &b| (crc >> 8) ^ TABLE[((crc as u8) ^ b) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn codecs_out_of_place_are_refused() {
        let parse = |codecs| Pipeline::v3(&codecs, 2).map(|_| ()).unwrap_err();
        assert!(parse(json!([{"name": "zstd"}, {"name": "bytes"}])).contains("zstd"));
        assert!(parse(json!([{"name": "bytes"}, {"name": "bytes"}])).contains("follows another"));
        assert!(parse(json!([])).contains("no codec"));
        let order = json!({"order": [0, 0]});
        let codecs = json!([{"name": "transpose", "configuration": order}, {"name": "bytes"}]);
        assert!(parse(codecs).contains("not an order"));
        assert!(parse(json!([{"name": "bytes"}, {"name": "magic"}])).contains("`magic`"));
    }

    #[test]
    fn what_expands_beyond_its_chunk_is_refused() {
        let plain = vec![7u8; 1 << 20];
        let stored = zstd::bulk::compress(&plain, 3).unwrap();
        assert_eq!(Codec::Zstd.undo(stored.clone(), 1 << 20).unwrap(), plain);
        assert!(Codec::Zstd.undo(stored, 1 << 19).unwrap_err().contains("at most"));
    }
}
