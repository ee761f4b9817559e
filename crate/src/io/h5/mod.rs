//! HDF5 as the readers see it: groups, data sets and attributes that know the file and the key
//! they come from, so that whatever goes wrong is reported with both.
//!
//! This is the only place that names the `hdf5` crate. Formats built on HDF5 are in the modules
//! beside it.

mod columns;
mod deflate;
mod dtype;
mod header;
mod heaps;
mod plan;
mod probe;
mod read;
mod slabs;
mod texts;
mod write;

pub(super) use super::store::{Attributes, Elements};
pub(super) use columns::Transposed;
pub(super) use dtype::Dtype;
pub(super) use slabs::Slabs;
pub(super) use write::{FieldValues, Writer, create, create_after};

use super::files;
use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use hdf5::{LocationType, sync::sync};
use hdf5_sys::h5l::{H5L_TYPE_EXTERNAL, H5Lunregister};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};

/// The file that groups and data sets belong to.
#[derive(Debug)]
pub(super) struct Source {
    pub path: PathBuf,
    /// The same file that HDF5 has open. Another may take its name at any time: writers replace.
    file: File,
    /// Bytes the file has; bounds what its headers may claim.
    pub size: u64,
    /// Bytes before the HDF5 content.
    userblock: u64,
    /// Whether a heap of texts would keep HDF5 for ever; found out when it is to read one.
    endless: OnceLock<bool>,
}

impl Source {
    /// To be asked before HDF5 itself follows texts into their heaps, which it does only where we
    /// cannot: then all heaps of the file are looked at, once.
    fn check_heaps(&self) -> Result<(), String> {
        if *self.endless.get_or_init(|| heaps::endless(&self.file, self.size)) {
            return Err("a heap of texts has an empty entry. The file is damaged".into());
        }
        Ok(())
    }
}

/// A group: names of members, each a group or a data set.
#[derive(Clone)]
pub(super) struct Group {
    pub source: Arc<Source>,
    /// Path inside the file; empty for the root.
    pub key: String,
    inner: hdf5::Group,
}

/// A data set: an n-dimensional array of elements of one type.
#[derive(Clone)]
pub(super) struct Data {
    pub source: Arc<Source>,
    /// Path inside the file.
    pub key: String,
    /// Length of each axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether there is no element at all (anndata's `None`).
    pub is_null: bool,
    inner: hdf5::Dataset,
}

/// A member of a group.
pub(super) enum Node {
    Group(Group),
    Data(Data),
}

/// Opens the root group of an HDF5 file for reading.
pub(super) fn open(path: &Path) -> Result<Group> {
    let size = files::check_file(path)?;
    // Links to other files are not followed: they may lead to anything that this machine holds.
    static ALONE: Once = Once::new();
    ALONE.call_once(|| {
        #[cfg(test)]
        std::sync::LazyLock::force(&super::hostile::LINKS);
        sync(|| unsafe { H5Lunregister(H5L_TYPE_EXTERNAL) });
    });
    let (own, file) = loop {
        let own = files::open(path).map_err(|e| Error::io(path, e))?;
        probe::check(path)?;
        let file = hdf5::File::open(path).map_err(|e| not_hdf5(path, size, &e))?;
        // Otherwise it was replaced in between, and the two are not the same.
        if is_at(&own, path) {
            break (own, file);
        }
        check_interrupt()?;
    };
    // Of this very file, which may have taken the place of the one that was looked at above.
    let size = own.metadata().map_err(|e| Error::io(path, e))?.len();
    let userblock = file.userblock();
    let path = path.to_path_buf();
    let source = Source { path, file: own, size, userblock, endless: OnceLock::new() };
    let source = Arc::new(source);
    let inner = file.group("/").map_err(|e| Error::format(&source.path, cause(&e)))?;
    Ok(Group { source, key: String::new(), inner })
}

/// Whether a path leads to this very file.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |m: std::fs::Metadata| (m.dev(), m.ino());
    let there = std::fs::metadata(path).map(place);
    file.metadata().map(place).is_ok_and(|here| there.is_ok_and(|there| there == here))
}

/// Why a file could not be opened as HDF5.
fn not_hdf5(path: &Path, size: u64, e: &hdf5::Error) -> Error {
    let cause = reason(e);
    if cause.contains("file signature not found") {
        let looks = files::describe_content(path);
        return Error::format(path, format!("not an HDF5 file: {looks}")).with_hint(
            "h5ad and 10x .h5 files are HDF5. Is it the right file, and was it downloaded whole?",
        );
    }
    if cause.contains("truncated") || cause.contains("eof") {
        return Error::format(path, format!("the file is cut short ({size} bytes are left)"))
            .with_hint("Copy or download it again");
    }
    if cause.contains("unable to lock file") {
        return Error::format(path, "another program has the file open for writing")
            .with_hint("Close it there, or set HDF5_USE_FILE_LOCKING=FALSE");
    }
    Error::format(path, format!("damaged HDF5 file: {cause}"))
        .with_hint("Copy or download it again")
}

/// The innermost reason in HDF5's stack of errors.
fn reason(e: &hdf5::Error) -> String {
    let last = |e: &hdf5::Error| Some(e.stack()?.iter().last()?.desc().trim().to_string());
    last(e).unwrap_or_else(|| e.to_string())
}

/// Why something could not be read, in one short line.
fn cause(e: &hdf5::Error) -> String {
    let frames = e.stack().map(|s| s.iter().map(|f| f.desc().to_string()).collect::<Vec<_>>());
    if let Some(filter) = frames.iter().flatten().find(|f| f.contains("required filter")) {
        return format!("compressed in a way that needs a plugin ({filter}). Rewrite it with gzip");
    }
    if frames.iter().flatten().any(|f| f.contains("link class")) {
        return "it lies in another file, which is not followed".into();
    }
    match reason(e).as_str() {
        "inflate() failed" => "the compressed bytes are damaged".into(),
        other => format!("the file is damaged here, or another program is writing it ({other})"),
    }
}

impl Group {
    /// The key of the member `name`.
    pub fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.into() } else { format!("{}/{name}", self.key) }
    }

    /// An error about this group.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        at(&self.source, &self.key, reason.as_ref())
    }

    /// Names of the members, in alphabetical order.
    pub fn names(&self) -> Result<Vec<String>> {
        let by = hdf5::IterationOrder::Increasing;
        self.inner
            .member_names_by(hdf5::IndexType::Name, by)
            .map_err(|e| self.error(format!("cannot be listed: {}", cause(&e))))
    }

    /// Whether there is a member `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.inner.link_exists(name)
    }

    /// The member `name`.
    pub fn get(&self, name: &str) -> Result<Node> {
        if !self.contains(name) {
            let has = self.names().unwrap_or_default().join(", ");
            let has = if has.is_empty() { "nothing".into() } else { has };
            return Err(self.error(format!("has no `{name}`; it has: {has}")));
        }
        let key = self.key_of(name);
        let source = self.source.clone();
        let fail = |e: hdf5::Error| at(&self.source, &key, &format!("unreadable: {}", cause(&e)));
        match self.inner.loc_type_by_name(name).map_err(fail)? {
            LocationType::Group => {
                let inner = self.inner.group(name).map_err(fail)?;
                Ok(Node::Group(Group { source, key, inner }))
            }
            LocationType::Dataset => {
                let inner = self.inner.dataset(name).map_err(fail)?;
                let space = inner.space().map_err(fail)?;
                let shape = space.shape();
                let is_null = space.is_null();
                Ok(Node::Data(Data { source, key, shape, is_null, inner }))
            }
            _ => Err(at(&source, &key, "neither a group nor a data set")),
        }
    }

    /// The member `name`, which must be a group.
    pub fn group(&self, name: &str) -> Result<Group> {
        match self.get(name)? {
            Node::Group(g) => Ok(g),
            Node::Data(d) => Err(d.error("expected a group, found a data set")),
        }
    }

    /// The member `name`, which must be a data set.
    pub fn data(&self, name: &str) -> Result<Data> {
        match self.get(name)? {
            Node::Data(d) => Ok(d),
            Node::Group(g) => Err(g.error("expected a data set, found a group")),
        }
    }
}

impl Data {
    /// An error about this data set.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        at(&self.source, &self.key, reason.as_ref())
    }
}

/// An error about `key` of a file.
fn at(source: &Source, key: &str, reason: &str) -> Error {
    let key = if key.is_empty() { "/" } else { key };
    Error::format(&source.path, format!("`{key}`: {reason}"))
}

macro_rules! attributes {
    ($($node:ty)*) => {
        $(impl Attributes for $node {
            fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>> {
                let Ok(attr) = self.location().attr(name) else { return Ok(None) };
                read::attribute(&attr, self.location(), &self.source, name)
                    .map(Some)
                    .map_err(|reason| self.error(format!("attribute `{name}`: {reason}")))
            }
            fn has_attribute(&self, name: &str) -> bool {
                self.location().attr(name).is_ok()
            }
            fn fault(&self, reason: String) -> Error {
                self.error(reason)
            }
        })*
    };
}
attributes!(Group Data);

impl Group {
    /// Names of the attributes.
    pub fn attribute_names(&self) -> Result<Vec<String>> {
        let fail = |e| self.error(format!("attributes cannot be listed: {}", cause(&e)));
        self.inner.attr_names().map_err(fail)
    }

    fn location(&self) -> &hdf5::Location {
        &self.inner
    }
}

impl Data {
    fn location(&self) -> &hdf5::Location {
        &self.inner
    }
}
