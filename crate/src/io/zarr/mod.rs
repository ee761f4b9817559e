//! Zarr stores, versions 2 and 3, for reading: a folder or a `.zip` of it.
//!
//! ```text
//! version 3                        version 2
//! zarr.json        the root        .zgroup, .zattrs
//! obs/zarr.json    a group         obs/.zgroup, obs/.zattrs
//! X/zarr.json      an array        X/.zarray, X/.zattrs
//! X/c/0/1          its chunks      X/0.1
//! ```
//! An array is cut into chunks of one shape; each lies in a file (or, with shards, several in one)
//! and has gone through the codecs that the array's metadata lists. Chunks that are not there have
//! the fill value.

mod array;
mod blosc;
mod codecs;
mod dtype;
mod metadata;
mod place;
mod storage;
#[cfg(test)]
mod tests;

use super::store::{self, Attributes, Elements};
use crate::anndata::{AnnData, Values};
use crate::error::{Error, Result};
use crate::io::ReadOptions;
use metadata::{Array, Member};
use serde_json::Value as Json;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use storage::Storage;

/// A group: names of members, each a group or an array.
#[derive(Clone)]
pub(super) struct Group {
    store: Arc<Storage>,
    /// Path inside the store; empty for the root.
    pub key: String,
    /// The attributes as they are stored.
    pub attributes: metadata::Attributes,
}

/// An array.
#[derive(Clone)]
pub(super) struct Data {
    store: Arc<Storage>,
    /// Path inside the store.
    pub key: String,
    /// Length of each axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether it stands for Python's `None`.
    pub is_null: bool,
    attributes: metadata::Attributes,
    array: Arc<Array>,
}

/// A member of a group.
pub(super) enum Node {
    Group(Group),
    Data(Data),
}

/// Opens the root group of a store.
pub(super) fn open(path: &Path) -> Result<Group> {
    let store = Arc::new(Storage::open(path)?);
    match metadata::read(&store, "")? {
        Some(Member::Group(attributes)) => Ok(Group { store, key: String::new(), attributes }),
        Some(Member::Array(..)) => Err(Error::format(path, "a zarr array, not a group")
            .with_hint("Give the store that it is part of")),
        None => {
            Err(Error::format(path, "not a zarr store: neither zarr.json nor .zgroup is in it"))
        }
    }
}

/// Whether a folder, or the archive of a folder, looks like a zarr store.
pub(super) fn is_store(path: &Path) -> bool {
    let is_zip = || {
        let mut head = [0u8; 4];
        let read = |mut f: std::fs::File| f.read_exact(&mut head);
        crate::io::files::open(path).and_then(read).is_ok() && head == *b"PK\x03\x04"
    };
    let has = |s: &Storage| storage::METADATA.iter().any(|m| s.contains(m));
    (path.is_dir() || is_zip()) && Storage::open(path).is_ok_and(|s| has(&s))
}

fn at(store: &Storage, key: &str, reason: &str) -> Error {
    let key = if key.is_empty() { "/" } else { key };
    Error::format(&store.path, format!("`{key}`: {reason}"))
}

impl Group {
    /// The key of the member `name`.
    pub fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.into() } else { format!("{}/{name}", self.key) }
    }

    /// An error about this group.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        at(&self.store, &self.key, reason.as_ref())
    }

    /// The store.
    pub fn path(&self) -> &Path {
        &self.store.path
    }

    /// The folder of this group, where the store is one.
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        self.store.folder(&self.key)
    }

    /// Names of the members, in alphabetical order.
    pub fn names(&self) -> Result<Vec<String>> {
        self.store.members(&self.key)
    }

    /// Whether there is a member `name`.
    pub fn contains(&self, name: &str) -> bool {
        let key = self.key_of(name);
        let has = |m| self.store.contains(&format!("{key}/{m}"));
        is_name(name) && storage::METADATA.iter().any(has)
    }

    /// The member `name`.
    pub fn get(&self, name: &str) -> Result<Node> {
        let (store, key) = (self.store.clone(), self.key_of(name));
        let member = if is_name(name) { metadata::read(&store, &key)? } else { None };
        Ok(match member {
            Some(Member::Group(attributes)) => Node::Group(Group { store, key, attributes }),
            Some(Member::Array(attributes, array)) => {
                let is_null = attributes.get("encoding-type").is_some_and(|kind| kind == "null");
                let (shape, array) = (array.shape.clone(), Arc::new(array));
                Node::Data(Data { store, key, shape, is_null, attributes, array })
            }
            None => {
                let has = self.names().unwrap_or_default().join(", ");
                let has = if has.is_empty() { "nothing".into() } else { has };
                return Err(self.error(format!("has no `{name}`; it has: {has}")));
            }
        })
    }

    /// The member `name`, which must be a group.
    pub fn group(&self, name: &str) -> Result<Group> {
        match self.get(name)? {
            Node::Group(g) => Ok(g),
            Node::Data(d) => Err(d.error("expected a group, found an array")),
        }
    }

    /// The member `name`, which must be an array.
    pub fn data(&self, name: &str) -> Result<Data> {
        match self.get(name)? {
            Node::Data(d) => Ok(d),
            Node::Group(g) => Err(g.error("expected an array, found a group")),
        }
    }
}

/// Whether `name` is made of names of members: it must not lead out of the group.
fn is_name(name: &str) -> bool {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    !name.split('/').any(bad)
}

impl Data {
    /// An error about this array.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        at(&self.store, &self.key, reason.as_ref())
    }

    /// Number of elements.
    pub fn len(&self) -> Result<usize> {
        Ok(if self.is_null { 0 } else { self.array.size().unwrap_or(0) })
    }

    /// Whether the elements are text.
    pub fn is_text(&self) -> bool {
        self.array.dtype.is_text()
    }

    /// All elements.
    pub fn read(&self) -> Result<Elements> {
        array::read(self)
    }
}

/// A JSON value as an attribute of HDF5 would hold it.
fn elements(json: &Json) -> Option<(Vec<usize>, Elements)> {
    let list = |items: &[Json]| {
        if items.iter().all(Json::is_i64) {
            Some(Values::I64(items.iter().filter_map(Json::as_i64).collect()))
        } else if items.iter().all(Json::is_number) {
            Some(Values::F64(items.iter().filter_map(Json::as_f64).collect()))
        } else if items.iter().all(Json::is_boolean) {
            Some(Values::Bool(items.iter().filter_map(Json::as_bool).collect()))
        } else {
            None
        }
    };
    Some(match json {
        Json::String(text) => (vec![], Elements::Strings(vec![text.clone()])),
        Json::Array(items) if !items.is_empty() && items.iter().all(Json::is_string) => {
            let texts = items.iter().filter_map(|t| Some(t.as_str()?.to_string())).collect();
            (vec![items.len()], Elements::Strings(texts))
        }
        Json::Array(items) => (vec![items.len()], Elements::Values(list(items)?)),
        other => (vec![], Elements::Values(list(std::slice::from_ref(other))?)),
    })
}

macro_rules! attributes {
    ($($node:ty)*) => {
        $(impl Attributes for $node {
            fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>> {
                match self.attributes.get(name) {
                    None | Some(Json::Null) => Ok(None),
                    Some(json) => elements(json).map(Some).ok_or_else(|| {
                        self.error(format!("attribute `{name}` is neither text nor numbers"))
                    }),
                }
            }
            fn has_attribute(&self, name: &str) -> bool {
                self.attributes.contains_key(name)
            }
            fn fault(&self, reason: String) -> Error {
                self.error(reason)
            }
        })*
    };
}
attributes!(Group Data);

/// Reads an AnnData object from a zarr store of version 2 or 3, a folder or a `.zip`, with the
/// element types that it has. Matches anndata 0.12, stores of anndata 0.7 and later included.
/// Half-precision numbers become `float32`.
///
/// # Errors
/// [`Error::Io`] for a missing store, [`Error::Format`] naming the key for anything that is damaged,
/// stored in a way that is not supported (filters other than `vlen-utf8`, pickled objects, snappy),
/// or cannot be held; [`read_zarr_with`] can leave such a member out.
pub fn read_zarr(path: impl AsRef<Path>) -> Result<AnnData> {
    read_zarr_with(path, &ReadOptions::default())
}

/// Like [`read_zarr`], with options.
///
/// # Errors
/// As [`read_zarr`].
pub fn read_zarr_with(path: impl AsRef<Path>, options: &ReadOptions) -> Result<AnnData> {
    fn inner(path: &Path, options: &ReadOptions) -> Result<AnnData> {
        super::h5ad::read_elements(&store::Group::from(open(path)?), options)
    }
    inner(path.as_ref(), options)
}
