//! The format of `torch.save` since PyTorch 1.6: a zip archive.
//!
//! ```text
//! NAME/data.pkl      the object; its tensors refer to storages by a key
//! NAME/byteorder     "little" or "big"; missing before PyTorch 2.1
//! NAME/version
//! NAME/data/0, 1, …  the bytes of the storages, by key
//! ```
//! `torch.jit.save` writes the same with code beside it, which is not looked at.

use super::data::{Data, Piece, Unread};
use super::heap::{Heap, Value};
use super::input::Input;
use super::pickle;
use crate::error::{Error, Result};
use crate::io::bytes::zeroed;
use crate::io::files;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

const PICKLE: &str = "data.pkl";

/// Reads the object of an archive; the bytes of its tensors stay where they are.
pub(super) fn read(path: &Path, file: File, size: u64) -> Result<(Data, Heap, Value)> {
    let mut entries = entries(path, &file, size)?;
    let root = entries
        .keys()
        .filter_map(|name| name.strip_suffix(PICKLE))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .min_by_key(|root| (root.matches('/').count(), *root));
    let Some(root) = root.map(str::to_string) else {
        let mut names: Vec<String> = entries.into_keys().collect();
        names.sort();
        let reason = format!("a zip archive without {PICKLE}; it holds: {}", files::list(&names));
        return Err(Error::format(path, reason)
            .with_hint("`torch.save` writes one; a zarr store is read by `io::read`"));
    };
    let pickle = entries.remove(&format!("{root}{PICKLE}"));
    let order = entries.remove(&format!("{root}byteorder"));
    let folder = format!("{root}data/");
    let pieces = entries
        .into_iter()
        .filter_map(|(name, piece)| Some((name.strip_prefix(&folder)?.to_string(), piece)))
        .collect();
    let data = Data::new(path.into(), file, size, pieces);
    if let Some(order) = order {
        let order = content(&data, &order, "byteorder")?;
        if order.trim_ascii() != b"little" {
            let reason = format!("its numbers are in the order `{}`", order.escape_ascii());
            return Err(Error::format(path, reason)
                .with_hint("Save it again on a machine whose `sys.byteorder` is `little`"));
        }
    }
    // It was found above.
    let bytes = pickle.map_or(Ok(Vec::new()), |p| content(&data, &p, PICKLE))?;
    let mut heap = Heap::new(size);
    let object = pickle::load(&mut Input::whole(path, bytes), &mut heap)?;
    Ok((data, heap, object))
}

/// The entries of an archive by name.
fn entries(path: &Path, file: &File, size: u64) -> Result<HashMap<String, Piece>> {
    let damaged = |e: &dyn std::fmt::Display| {
        Error::format(path, format!("a damaged zip archive, or cut short ({e})"))
            .with_hint("Copy or download it again")
    };
    let file = file.try_clone().map_err(|e| Error::io(path, e))?;
    let archive = zip::ZipArchive::new(file).map_err(|e| damaged(&e))?;
    let mut entries = HashMap::new();
    for i in 0..archive.len() {
        let entry = archive.by_index_data(i).map_err(|e| damaged(&e))?;
        let name = entry.name().map_err(|e| damaged(&e))?.into_owned();
        let deflated = files::is_deflated(path, &name, entry.compression(), entry.encrypted())?;
        let (header, stored) = (entry.header_start(), entry.compressed_size());
        let piece = Piece::entry(header, stored, entry.size(), deflated, entry.crc32(), size);
        entries.insert(name.clone(), piece.map_err(|e| damaged(&format!("entry `{name}` {e}")))?);
    }
    Ok(entries)
}

/// All bytes of an entry.
fn content(data: &Data, piece: &Piece, name: &str) -> Result<Vec<u8>> {
    let damaged = |reason: String| {
        Error::format(&data.path, format!("entry `{name}` {reason}"))
            .with_hint("Copy or download it again")
    };
    // Pickles hardly deflate to less than a tenth; bombs do.
    if piece.size > (32 << 20) + 2 * data.size {
        return Err(damaged(format!("claims {} bytes", piece.size)));
    }
    let mut bytes = zeroed(piece.size as usize).map_err(damaged)?;
    data.read(piece, 0, &mut bytes).map_err(|e| match e {
        Unread::Damaged(reason) => damaged(reason),
        Unread::Other(e) => e,
    })?;
    Ok(bytes)
}
