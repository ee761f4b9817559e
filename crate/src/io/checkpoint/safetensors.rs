//! Reading safetensors: a header in JSON, then the elements.
//!
//! ```text
//! length of the header, 8 bytes | {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …} | elements
//! ```

use super::data::{Data, Piece};
use super::element::ElementType;
use super::heap::{Heap, Object, Value, View};
use crate::error::{Error, Result};
use safetensors::tensor::Metadata;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the number that a file starts with.
const LENGTH: u64 = 8;
/// The format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// The length of the header, if a file of `size` bytes that starts with `head` may be of the format.
pub(super) fn header_length(head: &[u8], size: u64) -> Option<u64> {
    let (length, rest) = head.split_first_chunk::<8>()?;
    let length = u64::from_le_bytes(*length);
    let fits = (2..=LONGEST_HEADER).contains(&length) && length + LENGTH <= size;
    (fits && rest.first() == Some(&b'{')).then_some(length)
}

/// Reads the header; the result is as if a pickle had held a dictionary of the tensors.
pub(super) fn read(path: &Path, file: File, size: u64, length: u64) -> Result<(Data, Heap, Value)> {
    let damaged = |reason: String| {
        Error::format(path, format!("a damaged safetensors file: {reason}"))
            .with_hint("Copy or download it again")
    };
    let mut header = vec![0; length as usize];
    file.read_exact_at(&mut header, LENGTH).map_err(|e| Error::io(path, e))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| damaged(format!("its header: {e}")))?;
    let first = LENGTH + length;
    let expected = first.checked_add(metadata.data_len() as u64);
    if expected != Some(size) {
        let end = expected.unwrap_or(u64::MAX);
        return Err(damaged(format!("it has {size} bytes, its header describes {end}")));
    }
    let mut heap = Heap::new(size);
    let mut entries = Vec::new();
    let mut pieces = HashMap::new();
    if let Some(texts) = metadata.metadata() {
        let texts: BTreeMap<&String, &String> = texts.iter().collect();
        let texts = texts.into_iter().map(|(k, v)| (heap.text(k), heap.text(v))).collect();
        let (key, texts) = (heap.text("__metadata__"), heap.add(Object::Dict(texts)));
        entries.push((key, texts));
    }
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let (from, to) = info.data_offsets;
        let key = heap.text(&name);
        let tensor = match ElementType::from_safetensors(&info.dtype.to_string()) {
            Some(dtype) => {
                let view = View {
                    key: name.as_str().into(),
                    dtype,
                    shape: info.shape.clone(),
                    strides: row_major(&info.shape),
                    start: 0,
                    end: (to - from) as u64,
                };
                heap.add(Object::Tensor(view.into()))
            }
            None => heap.instance(format!("safetensors.{}", info.dtype).into(), Value::None),
        };
        entries.push((key, tensor));
        pieces.insert(name, Piece::plain(first + from as u64, (to - from) as u64));
    }
    let root = heap.add(Object::Dict(entries));
    Ok((Data::new(path.into(), file, size, pieces), heap, root))
}

/// Strides of elements that lie as they are counted. Of an empty tensor they are of no matter.
pub(super) fn row_major(shape: &[usize]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis] as u64);
    }
    strides
}
