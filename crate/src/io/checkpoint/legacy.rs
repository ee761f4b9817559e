//! The format of `torch.save` before PyTorch 1.6 (and with `_use_new_zipfile_serialization=False`):
//! five pickles, then the bytes of the storages.
//!
//! ```text
//! pickle  0x1950a86a20f9469cfc6c
//! pickle  1001, the version
//! pickle  {"little_endian": True, …}
//! pickle  the object; its tensors refer to storages by a key
//! pickle  the keys, in the order of what follows
//! for each key: number of elements, 8 bytes; the elements
//! ```

use super::data::{Data, Piece};
use super::element::ElementType;
use super::heap::{Heap, Object, Value};
use super::input::Input;
use super::pickle;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How such a file starts: protocol 2, and the magic number as a long integer of 10 bytes.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.";
const VERSION: i64 = 1001;

/// Reads the object of a file that starts with [`MAGIC`]; the bytes of its tensors stay where they
/// are.
pub(super) fn read(path: &Path, file: File, size: u64) -> Result<(Data, Heap, Value)> {
    let mut heap = Heap::new(size);
    let mut input = Input::start_of(path, &file, size);
    input.take(MAGIC.len())?;
    let version = pickle::load(&mut input, &mut heap)?;
    if version != Value::Int(VERSION) {
        let reason = format!("version {version:?} of the format of torch.save, not {VERSION}");
        return Err(Error::format(path, reason).with_hint("Save it again with a newer PyTorch"));
    }
    let system = pickle::load(&mut input, &mut heap)?;
    if heap.get(system, "little_endian") == Some(Value::Bool(false)) {
        return Err(Error::format(path, "its numbers are stored in big-endian order")
            .with_hint("Save it again on a machine whose `sys.byteorder` is `little`"));
    }
    let object = pickle::load(&mut input, &mut heap)?;
    let keys = pickle::load(&mut input, &mut heap)?;
    let widths = widths(&heap);
    let mut pieces = HashMap::new();
    let mut at = input.position();
    let keys = heap.elements(keys).ok_or_else(|| input.damaged("the keys are no list"))?;
    for key in keys {
        let Some(key) = heap.key(*key) else {
            return Err(input.damaged("the key of a storage is no text"));
        };
        let damaged = |reason: &str| {
            Error::format(path, format!("storage `{key}` {reason}"))
                .with_hint("Copy or download it again")
        };
        let mut n = [0; 8];
        file.read_exact_at(&mut n, at).map_err(|_| damaged("is missing: the file is cut short"))?;
        let width = widths.get(&*key).copied();
        let width = width.ok_or_else(|| damaged("is listed, but no tensor is in it"))?;
        let bytes = u64::try_from(i64::from_le_bytes(n)).ok().and_then(|n| n.checked_mul(width));
        let end = bytes.and_then(|n| n.checked_add(at + 8)).filter(|end| *end <= size);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(damaged("is longer than the file"));
        };
        pieces.insert(key.to_string(), Piece::plain(at + 8, bytes));
        at = end;
    }
    Ok((Data::new(path.into(), file, size, pieces), heap, object))
}

/// Bytes of an element, by the key of the storage.
fn widths(heap: &Heap) -> HashMap<String, u64> {
    let storage = |o: &Object| match o {
        Object::Storage(s) => Some((s.key.to_string(), s.dtype.map_or(1, ElementType::size))),
        _ => None,
    };
    heap.objects().filter_map(storage).collect()
}
