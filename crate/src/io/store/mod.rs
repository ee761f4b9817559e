//! Groups, arrays and attributes, whatever holds them: an HDF5 file or a zarr store. anndata and
//! what is built on it encode their objects the same way in both, so one reader serves both.
//!
//! Whatever goes wrong is reported with the file and the key that it is about.

mod elements;

pub(super) use elements::{Attributes, Elements, indices, positions};

use super::{h5, zarr};
use crate::anndata::Values;
use crate::error::{Error, Result};

/// A group: names of members, each a group or an array.
#[derive(Clone)]
pub(super) enum Group {
    Hdf5(h5::Group),
    Zarr(zarr::Group),
}

/// An n-dimensional array of elements of one type.
#[derive(Clone)]
pub(super) struct Data {
    /// Length of each axis; empty for a scalar.
    pub shape: Vec<usize>,
    /// Whether there is no element at all (anndata's `None`).
    pub is_null: bool,
    inner: Array,
}

#[derive(Clone)]
enum Array {
    Hdf5(h5::Data),
    Zarr(zarr::Data),
}

/// A member of a group.
pub(super) enum Node {
    Group(Group),
    Data(Data),
}

impl From<h5::Group> for Group {
    fn from(group: h5::Group) -> Self {
        Group::Hdf5(group)
    }
}

impl From<h5::Data> for Data {
    fn from(data: h5::Data) -> Self {
        Data { shape: data.shape.clone(), is_null: data.is_null, inner: Array::Hdf5(data) }
    }
}

impl From<h5::Node> for Node {
    fn from(node: h5::Node) -> Self {
        match node {
            h5::Node::Group(g) => Node::Group(g.into()),
            h5::Node::Data(d) => Node::Data(d.into()),
        }
    }
}

impl From<zarr::Group> for Group {
    fn from(group: zarr::Group) -> Self {
        Group::Zarr(group)
    }
}

impl From<zarr::Data> for Data {
    fn from(data: zarr::Data) -> Self {
        Data { shape: data.shape.clone(), is_null: data.is_null, inner: Array::Zarr(data) }
    }
}

impl From<zarr::Node> for Node {
    fn from(node: zarr::Node) -> Self {
        match node {
            zarr::Node::Group(g) => Node::Group(g.into()),
            zarr::Node::Data(d) => Node::Data(d.into()),
        }
    }
}

/// The same call on whatever is inside.
macro_rules! each {
    ($of:expr, $inner:ident => $call:expr) => {
        match $of {
            Self::Hdf5($inner) => $call,
            Self::Zarr($inner) => $call,
        }
    };
}

impl Group {
    /// Path inside the store; empty for the root.
    pub fn key(&self) -> &str {
        each!(self, g => &g.key)
    }

    /// The key of the member `name`.
    pub fn key_of(&self, name: &str) -> String {
        each!(self, g => g.key_of(name))
    }

    /// An error about this group.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        each!(self, g => g.error(reason))
    }

    /// Names of the members, in alphabetical order.
    pub fn names(&self) -> Result<Vec<String>> {
        each!(self, g => g.names())
    }

    /// Whether there is a member `name`.
    pub fn contains(&self, name: &str) -> bool {
        each!(self, g => g.contains(name))
    }

    /// The member `name`.
    pub fn get(&self, name: &str) -> Result<Node> {
        each!(self, g => g.get(name).map(Node::from))
    }

    /// The member `name`, which must be a group.
    pub fn group(&self, name: &str) -> Result<Group> {
        each!(self, g => g.group(name).map(Group::from))
    }

    /// The member `name`, which must be an array.
    pub fn data(&self, name: &str) -> Result<Data> {
        each!(self, g => g.data(name).map(Data::from))
    }
}

impl Array {
    fn key(&self) -> &str {
        each!(self, d => &d.key)
    }

    fn error(&self, reason: &str) -> Error {
        each!(self, d => d.error(reason))
    }

    fn len(&self) -> Result<usize> {
        each!(self, d => d.len())
    }

    fn read(&self) -> Result<Elements> {
        each!(self, d => d.read())
    }

    fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>> {
        each!(self, d => d.attribute(name))
    }

    fn has_attribute(&self, name: &str) -> bool {
        each!(self, d => d.has_attribute(name))
    }
}

impl Data {
    /// Path inside the store.
    pub fn key(&self) -> &str {
        self.inner.key()
    }

    /// An error about this array.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        self.inner.error(reason.as_ref())
    }

    /// Number of elements.
    ///
    /// # Errors
    /// When the shape claims more than the store can hold.
    pub fn len(&self) -> Result<usize> {
        self.inner.len()
    }

    /// Whether the elements are text.
    pub fn is_text(&self) -> Result<bool> {
        match &self.inner {
            Array::Hdf5(d) => Ok(d.dtype()?.is_text()),
            Array::Zarr(d) => Ok(d.is_text()),
        }
    }

    /// Whether the elements are text in HDF5's fields of so many bytes.
    pub fn is_fixed_text(&self) -> Result<bool> {
        match &self.inner {
            Array::Hdf5(d) => Ok(matches!(d.dtype()?, h5::Dtype::FixedText(_))),
            Array::Zarr(_) => Ok(false),
        }
    }

    /// All elements.
    pub fn read(&self) -> Result<Elements> {
        self.inner.read()
    }

    /// All elements, which must be numbers or booleans.
    pub fn values(&self) -> Result<Values> {
        self.read()?.into_values().map_err(|reason| self.error(reason))
    }

    /// All elements as positions.
    ///
    /// # Errors
    /// When they are not whole numbers, or one is negative.
    pub fn positions(&self) -> Result<Vec<usize>> {
        match &self.inner {
            Array::Hdf5(d) => d.positions(),
            Array::Zarr(_) => positions(self.values()?).map_err(|reason| self.error(reason)),
        }
    }

    /// All elements as `u32`.
    ///
    /// # Errors
    /// When they are not whole numbers, or one does not fit.
    pub fn indices(&self) -> Result<Vec<u32>> {
        match &self.inner {
            Array::Hdf5(d) => d.indices(),
            Array::Zarr(_) => indices(self.values()?).map_err(|reason| self.error(reason)),
        }
    }
}

/// What only files of HDF5 can tell or do.
impl Data {
    fn in_file(&self) -> Result<&h5::Data> {
        match &self.inner {
            Array::Hdf5(d) => Ok(d),
            Array::Zarr(_) => Err(self.error("zarr stores are read whole: `io::read_zarr`")),
        }
    }

    /// numpy's name of the element type, or what the elements are in a word.
    pub fn type_name(&self) -> Result<&'static str> {
        Ok(self.in_file()?.dtype()?.name())
    }

    /// Bytes that the elements take in the file.
    pub fn stored(&self) -> u64 {
        self.in_file().map_or(0, h5::Data::stored)
    }

    /// How the elements are compressed, e.g. `gzip`; empty if they are not.
    pub fn compression(&self) -> String {
        self.in_file().map(h5::Data::compression).unwrap_or_default()
    }

    /// The array, ready to be read in stretches of its first axis.
    pub fn slabs(&self) -> Result<h5::Slabs> {
        self.in_file()?.slabs()
    }
}

impl Node {
    /// Path inside the store.
    pub fn key(&self) -> &str {
        match self {
            Node::Group(g) => g.key(),
            Node::Data(d) => d.key(),
        }
    }

    /// Whether it is in a zarr store.
    pub fn is_zarr(&self) -> bool {
        match self {
            Node::Group(g) => matches!(g, Group::Zarr(_)),
            Node::Data(d) => matches!(d.inner, Array::Zarr(_)),
        }
    }

    /// An error about this member.
    pub fn error(&self, reason: impl AsRef<str>) -> Error {
        match self {
            Node::Group(g) => g.error(reason),
            Node::Data(d) => d.error(reason),
        }
    }
}

impl Attributes for Group {
    fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>> {
        each!(self, g => g.attribute(name))
    }
    fn has_attribute(&self, name: &str) -> bool {
        each!(self, g => g.has_attribute(name))
    }
    fn fault(&self, reason: String) -> Error {
        self.error(reason)
    }
}

impl Attributes for Data {
    fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>> {
        self.inner.attribute(name)
    }
    fn has_attribute(&self, name: &str) -> bool {
        self.inner.has_attribute(name)
    }
    fn fault(&self, reason: String) -> Error {
        self.error(reason)
    }
}

impl Attributes for Node {
    fn attribute(&self, name: &str) -> Result<Option<(Vec<usize>, Elements)>> {
        match self {
            Node::Group(g) => g.attribute(name),
            Node::Data(d) => d.attribute(name),
        }
    }
    fn has_attribute(&self, name: &str) -> bool {
        match self {
            Node::Group(g) => g.has_attribute(name),
            Node::Data(d) => d.has_attribute(name),
        }
    }
    fn fault(&self, reason: String) -> Error {
        self.error(reason)
    }
}
