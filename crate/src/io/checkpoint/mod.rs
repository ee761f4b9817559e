//! Weights of models: what `torch.save` and `torch.jit.save` write, and safetensors.
//!
//! ```text
//!          ┌─ archive ─┐  bytes   ┌────────┐  objects   ┌──────┐ names  ┌─────────┐
//! path ─> ─┼─ legacy  ─┼────────> │ pickle │ ─────────> │ walk │ ─────> │ Tensors │ ─> Tensor
//!          │           │          └────────┘   (heap)   └──────┘        └─────────┘
//!          └─ safetensors (as if a pickle had held a dictionary) ─────> ┘     │
//!                         pieces of the file (data) <─── when one is taken ───┘
//! ```
//!
//! A pickle is a program, and in Python reading it runs what it says. Here nothing is run: classes
//! and functions are names, a few of which ([`globals`]) say where a tensor lies; a file that names
//! what runs code is refused. A file of a gigabyte is not read as a whole: only the pickle is, and
//! then those tensors that are asked for.
//!
//! What a file claims (lengths, shapes, places of storages) is held against its size before memory is
//! taken. Nesting is bounded, circles end, and what many values share is held once.

mod archive;
mod data;
mod element;
mod expect;
mod globals;
mod heap;
mod input;
mod legacy;
mod literals;
mod numpy;
mod pickle;
#[cfg(test)]
mod pickle_tests;
mod safetensors;
mod show;
mod tensors;
#[cfg(test)]
mod tests;
mod value;
mod walk;
#[cfg(test)]
mod weights_tests;
mod write;

pub use element::ElementType;
pub use tensors::{TensorInfo, Tensors};
pub use value::{PyObject, PyValue};
pub use write::write_safetensors;

use super::files;
use crate::error::{Error, Result};
use data::Data;
use heap::{Heap, Value};
use indexmap::IndexSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The formats that [`read_checkpoint`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointFormat {
    /// The zip archive of `torch.save` since PyTorch 1.6 and of `torch.jit.save`.
    Archive,
    /// The pickles and storages of `torch.save` before.
    Legacy,
    /// safetensors.
    Safetensors,
}

/// A file of weights, open: what it holds is known, the elements of its tensors are not read yet.
///
/// ```no_run
/// # use spatialkit::io;
/// let checkpoint = io::read_checkpoint("model.ckpt")?;
/// let lr = checkpoint.at(&["hyper_parameters", "lr"])?.as_f64();
/// let weights = checkpoint.state_dict()?.strip_prefix("module.")?;
/// let weight = weights.take("encoder.0.weight", &[512, 1024])?;
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    format: CheckpointFormat,
    data: Arc<Data>,
    heap: Heap,
    root: Value,
}

/// Opens a file of weights: of `torch.save` (the zip archive and the format before 1.6; dictionaries
/// of weights, whole checkpoints of training, whole modules), of `torch.jit.save`, or safetensors.
/// The content decides, not the name.
///
/// # Errors
/// [`Error::Format`] when the file is none of these, is damaged or cut short, was written in
/// big-endian order, or names what would run code; [`Error::Io`] when it cannot be read.
pub fn read_checkpoint(path: impl AsRef<Path>) -> Result<Checkpoint> {
    open(path.as_ref())
}

fn open(path: &Path) -> Result<Checkpoint> {
    let size = files::check_file(path)?;
    let file = files::open(path).map_err(|e| Error::io(path, e))?;
    let mut head = [0; 512];
    let head = &mut head[..size.min(512) as usize];
    file.read_exact_at(head, 0).map_err(|e| Error::io(path, e))?;
    use CheckpointFormat::{Archive, Legacy, Safetensors};
    let (format, (data, heap, root)) = if head.starts_with(b"PK\x03\x04") {
        (Archive, archive::read(path, file, size)?)
    } else if head.starts_with(legacy::MAGIC) {
        (Legacy, legacy::read(path, file, size)?)
    } else if let Some(length) = safetensors::header_length(head, size) {
        (Safetensors, safetensors::read(path, file, size, length)?)
    } else {
        return Err(not_weights(path, head));
    };
    Ok(Checkpoint { format, data: Arc::new(data), heap, root })
}

/// Reads a plain pickle of Python: dictionaries, lists, texts and numbers, numpy's among them. Nothing in
/// it is run.
///
/// # Errors
/// [`Error::Format`] when it is no pickle, is damaged, or names what would run code; [`Error::Io`] when it
/// cannot be read.
pub fn read_pickle(path: impl AsRef<Path>) -> Result<PyValue> {
    let path = path.as_ref();
    files::check_file(path)?;
    pickle_from(path, files::bytes(path).map_err(|e| Error::io(path, e))?)
}

/// The same of bytes that were read before; `path` is for messages.
pub(crate) fn pickle_from(path: &Path, bytes: Vec<u8>) -> Result<PyValue> {
    let mut heap = Heap::new(bytes.len() as u64);
    let root = pickle::load(&mut input::Input::whole(path, bytes), &mut heap)?;
    value::from_heap(&heap, root, path)
}

fn not_weights(path: &Path, head: &[u8]) -> Error {
    let looks = if head.get(257..262) == Some(b"ustar") {
        "it is a tar archive, as PyTorch before 0.2 wrote them".into()
    } else if matches!(head, [0x80, 2..=5, ..]) {
        "it is a pickle of Python, but not of torch.save".into()
    } else if head.starts_with(b"\x89HDF") {
        "it is an HDF5 file".into()
    } else {
        files::describe_content(path)
    };
    Error::format(path, format!("not a file of weights: {looks}"))
        .with_hint("This reads what `torch.save(model.state_dict(), path)` writes, and safetensors")
}

impl Checkpoint {
    /// The file's format.
    pub fn format(&self) -> CheckpointFormat {
        self.format
    }

    /// The keys of the dictionary (or the attributes of the object) that the file holds.
    pub fn keys(&self) -> Vec<String> {
        self.keys_of(self.root)
    }

    fn keys_of(&self, value: Value) -> Vec<String> {
        let entries = match self.heap.object(value) {
            Some(heap::Object::Instance(i)) if i.dict.is_empty() => self.heap.attributes(i),
            _ => self.heap.entries(value).unwrap_or_default(),
        };
        // A key that is set again and again is one.
        let keys: IndexSet<_> = entries.iter().filter_map(|(k, _)| self.heap.key(*k)).collect();
        keys.into_iter().map(Into::into).collect()
    }

    /// The value at a path of keys, attributes, and places in lists; of an empty path the whole.
    /// The texts of a safetensors file are at `__metadata__`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the keys there are; [`Error::Format`] when the values lie more
    /// than 500 within one another.
    pub fn at(&self, path: &[&str]) -> Result<PyValue> {
        value::from_heap(&self.heap, self.find(path)?, &self.data.path)
    }

    fn find(&self, path: &[&str]) -> Result<Value> {
        path.iter().try_fold(self.root, |value, key| {
            let found = self.heap.get(value, key);
            found.ok_or_else(|| Error::missing_key("checkpoint", "key", key, self.keys_of(value)))
        })
    }

    /// All tensors of the file in its order, each by the path to it, joined by dots:
    /// `state_dict.encoder.weight`, `optimizer_states.0.state.0.exp_avg`. A tensor on its own has an
    /// empty name.
    ///
    /// # Errors
    /// [`Error::Format`] naming a tensor that is not where the file says.
    pub fn tensors(&self) -> Result<Tensors> {
        let entries = walk::collect(&self.heap, &self.data, self.root)?;
        Ok(Tensors { data: self.data.clone(), entries })
    }

    /// The weights of the model, under the names they have in it: the tensors at `state_dict`,
    /// `model_state_dict`, `model`, `net`, `network` or `module`, also of one in the other, or else
    /// all of the file. Of a whole pickled `nn.Module`, those of its `state_dict()`.
    ///
    /// # Errors
    /// [`Error::Format`] when there are none, saying what the file holds instead, or naming one that
    /// is not where the file says.
    pub fn state_dict(&self) -> Result<Tensors> {
        let entries = walk::state_dict(&self.heap, &self.data, self.root)?;
        Ok(Tensors { data: self.data.clone(), entries })
    }

    /// As [`state_dict`](Checkpoint::state_dict), of what is at a path of keys, e.g.
    /// `&["teacher"]`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the keys there are; those of
    /// [`state_dict`](Checkpoint::state_dict).
    pub fn state_dict_at(&self, path: &[&str]) -> Result<Tensors> {
        let entries = walk::state_dict(&self.heap, &self.data, self.find(path)?)?;
        Ok(Tensors { data: self.data.clone(), entries })
    }

    /// SHA-256 of the whole file in hexadecimal digits, as `sha256sum` gives it. The file is read
    /// once for it; later calls know it.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Interrupted`].
    pub fn fingerprint(&self) -> Result<&str> {
        self.data.fingerprint()
    }
}
