//! Reading elements with the type they have in the file.

use super::{Data, Dtype, Elements, Source, plan, slabs, texts};
use crate::anndata::Values;
use crate::error::{Error, Result};
use crate::io::bytes::{Plain, zeroed};
use crate::io::store;
use hdf5::dataset::Layout;
use hdf5::filters::Filter;
use hdf5::{Datatype, sync::sync};
use hdf5_sys::h5a::H5Aread;
use hdf5_sys::h5d::{H5Dget_storage_size, H5Dread};
use hdf5_sys::h5o::{H5O_INFO_BASIC, H5O_info2_t, H5Oget_info3};
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::H5S_ALL;
use hdf5_sys::h5t::{H5T_DIR_DEFAULT, H5Tget_native_type, H5Treclaim};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// A data set may expand this much over the bytes stored: deflate cannot do better than 1:1032.
pub(super) const MOST_EXPANSION: u64 = 1100;
/// Below this, a header is believed without a look at the bytes stored.
pub(super) const HARMLESS: u64 = 64 << 20;

impl Data {
    /// Number of elements.
    ///
    /// # Errors
    /// When the shape claims more than the file can hold.
    pub fn len(&self) -> Result<usize> {
        let n = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let n = n.ok_or_else(|| self.error(format!("absurd shape {:?}", self.shape)))?;
        Ok(if self.is_null { 0 } else { n })
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Result<Dtype> {
        let dtype = self.inner.dtype().map_err(|e| self.error(super::cause(&e)))?;
        native(&dtype).map(|(_, d)| d).map_err(|reason| self.error(reason))
    }

    /// Checks that a file of this size can hold what the shape claims, before memory is taken.
    pub(super) fn check_size(&self, bytes: u64) -> Result<()> {
        let stored = sync(|| unsafe { H5Dget_storage_size(self.inner.id()) });
        let bound = stored.min(self.source.size).saturating_mul(MOST_EXPANSION);
        if bytes <= HARMLESS || bytes <= bound {
            return check_storage(&self.inner, bound).map_err(|reason| self.error(reason));
        }
        Err(self.error(format!(
            "shape {:?} claims {bytes} bytes, but only {stored} are stored. The file is damaged",
            self.shape
        )))
    }

    /// The error for elements that HDF5 could not read; it names the plugin that is missing, if
    /// that is the reason.
    pub(super) fn unreadable(&self, reason: String) -> Error {
        let plugin = self.inner.filters().into_iter().find_map(|filter| match filter {
            Filter::User(id, _) if reason.contains("plugin") => Some(id),
            _ => None,
        });
        self.error(plugin.map_or(reason, |id| {
            let name = slabs::plugin(id);
            format!(
                "compressed with {name} (filter {id}), which needs a plugin. Rewrite it with gzip"
            )
        }))
    }

    /// All elements.
    pub fn read(&self) -> Result<Elements> {
        let n = self.len()?;
        let file_type = self.inner.dtype().map_err(|e| self.error(super::cause(&e)))?;
        let (memory_type, dtype) = native(&file_type).map_err(|reason| self.error(reason))?;
        let bytes = (n as u64).saturating_mul(dtype.size() as u64);
        self.check_size(bytes)?;
        let rows = self.shape.first().copied().unwrap_or(1);
        if n > 0
            && let Some(size) = plan::plain_size(&file_type)
            && let Some(plan) = plan::Plan::new(self, size)
            && let Some(values) = plan::read(&plan, 0..rows, &dtype)
        {
            return Ok(Elements::Values(values));
        }
        if n > 0
            && dtype == Dtype::Text
            && let Some(texts) = texts::read(self, n)
        {
            return texts.map(Elements::Strings).map_err(|reason| self.error(reason));
        }
        if n > 0 && dtype.has_text() {
            self.source.check_heaps().map_err(|reason| self.error(reason))?;
        }
        let id = self.inner.id();
        let space = self.inner.space().map_err(|e| self.error(super::cause(&e)))?;
        elements(&memory_type, &dtype, n, space.id(), |memory, buffer| unsafe {
            H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer)
        })
        .map_err(|reason| self.unreadable(reason))
    }

    /// All elements, which must be numbers or booleans.
    pub fn values(&self) -> Result<Values> {
        self.read()?.into_values().map_err(|reason| self.error(reason))
    }

    /// All elements, which must be text.
    pub fn strings(&self) -> Result<Vec<String>> {
        self.read()?.into_strings().map_err(|reason| self.error(reason))
    }

    /// All elements as positions.
    ///
    /// # Errors
    /// When they are not whole numbers, or one is negative.
    pub fn positions(&self) -> Result<Vec<usize>> {
        self.converted(store::positions)
    }

    /// All elements as `u32`.
    ///
    /// # Errors
    /// When they are not whole numbers, or one does not fit.
    pub fn indices(&self) -> Result<Vec<u32>> {
        match self.dtype()? {
            // The usual width: the same bytes.
            Dtype::I32 | Dtype::U32 => self.as_indices(self.values()?),
            _ => self.converted(store::indices),
        }
    }

    /// Some of the elements as `u32`.
    pub(super) fn as_indices(&self, values: Values) -> Result<Vec<u32>> {
        store::indices(values).map_err(|reason| self.error(reason))
    }

    /// All elements as `float32`.
    pub fn floats(&self) -> Result<Vec<f32>> {
        self.converted(|values| Ok(values.to_f32().into_owned()))
    }

    /// All elements as another type, piece by piece so that there is no second copy of all.
    fn converted<T: Plain>(
        &self,
        convert: impl Fn(Values) -> Result<Vec<T>, String>,
    ) -> Result<Vec<T>> {
        let fail = |reason| self.error(reason);
        if self.shape.len() != 1 {
            return convert(self.values()?).map_err(fail);
        }
        let (n, slabs) = (self.len()?, self.slabs()?);
        slabs.check(n)?;
        let mut out = zeroed(n).map_err(fail)?;
        let piece = slabs.piece();
        for (k, slot) in out.chunks_mut(piece).enumerate() {
            let values = slabs.read(k * piece..k * piece + slot.len())?;
            slot.copy_from_slice(&convert(values).map_err(fail)?);
        }
        Ok(out)
    }
}

/// The elements of an attribute with their shape.
pub(super) fn attribute(
    attr: &hdf5::Attribute,
    of: &hdf5::Location,
    source: &Source,
    name: &str,
) -> Result<(Vec<usize>, Elements), String> {
    let (shape, n) = attribute_shape(attr)?;
    let (memory_type, dtype) = native(&attr.dtype().map_err(|e| super::cause(&e))?)?;
    if dtype == Dtype::Text
        && let Some(address) = address(of)
        && let Some(texts) = texts::attribute(source, address, name, n)
    {
        return texts.map(|texts| (shape, Elements::Strings(texts)));
    }
    if n > 0 && dtype.has_text() {
        source.check_heaps()?;
    }
    let (id, space) = (attr.id(), attr.space().map_err(|e| super::cause(&e))?);
    let elements = elements(&memory_type, &dtype, n, space.id(), |memory, buffer| unsafe {
        H5Aread(id, memory, buffer)
    })?;
    Ok((shape, elements))
}

fn attribute_shape(attr: &hdf5::Attribute) -> Result<(Vec<usize>, usize), String> {
    let space = attr.space().map_err(|e| super::cause(&e))?;
    let shape = space.shape();
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
    let n = if space.is_null() { 0 } else { n };
    // HDF5 keeps attributes below 64 kB unless they are stored densely, and those are small too.
    if n > 1 << 24 {
        return Err(format!("absurd shape {shape:?}"));
    }
    Ok((shape, n))
}

/// Checks that HDF5 will find the elements in the file itself, in chunks of at most `bound` bytes.
fn check_storage(data: &hdf5::Dataset, bound: u64) -> Result<(), String> {
    let plist = data.dcpl().map_err(|e| super::cause(&e))?;
    // A file from somewhere else has no business with the other files of this machine.
    if plist.layout() == Layout::Virtual || !plist.external().is_empty() {
        return Err("its elements lie in other files, which are not followed".into());
    }
    let Some(chunk) = data.chunk() else { return Ok(()) };
    let size = data.dtype().map_err(|e| super::cause(&e))?.size() as u64;
    // HDF5 fills a whole chunk with zeros before it reads one element.
    let bytes = chunk.iter().fold(size, |n, &c| n.saturating_mul(c as u64));
    if bytes <= HARMLESS || bytes <= bound {
        return Ok(());
    }
    Err(format!("a chunk claims {bytes} bytes. The file is damaged"))
}

/// Looks at everything that describes a data set, and at its elements if they take at most `small`
/// bytes; HDF5 does all of it, and whatever it says is dropped.
pub(super) fn glance(source: &Arc<Source>, data: &hdf5::Dataset, small: u64) {
    let _ = (data.chunk(), data.filters(), data.offset(), data.is_chunked());
    let _ = data.chunks_visit(|_| 0);
    let (Ok(space), Ok(file_type)) = (data.space(), data.dtype()) else { return };
    let stored = sync(|| unsafe { H5Dget_storage_size(data.id()) });
    let Ok((memory_type, dtype)) = native(&file_type) else { return };
    if check_storage(data, 0).is_err() {
        return;
    }
    let shape = space.shape();
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
    if dtype == Dtype::Text {
        let (source, is_null) = (source.clone(), space.is_null());
        let data = Data { source, key: String::new(), shape, is_null, inner: data.clone() };
        if texts::reads(&data) {
            return;
        }
    }
    if dtype.has_text() && source.check_heaps().is_err() {
        return;
    }
    if !space.is_null() && (n as u64).saturating_mul(dtype.size() as u64).max(stored) <= small {
        let id = data.id();
        let _ = elements(&memory_type, &dtype, n, space.id(), |memory, buffer| unsafe {
            H5Dread(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer)
        });
    }
}

/// Where the header of a group or data set is.
fn address(of: &hdf5::Location) -> Option<u64> {
    sync(|| unsafe {
        let mut info = MaybeUninit::<H5O_info2_t>::zeroed();
        if H5Oget_info3(of.id(), info.as_mut_ptr(), H5O_INFO_BASIC) < 0 {
            return None;
        }
        // All bytes zero are such a structure, and HDF5 filled it in. A token is an address in the
        // least significant bytes first.
        let token: [u8; 16] = std::mem::transmute(info.assume_init().token);
        Some(u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i: usize| token[i])))
    })
}

/// The type in memory for a type in a file: this machine's byte order, nothing else changed.
pub(super) fn native(file: &Datatype) -> Result<(Datatype, Dtype), String> {
    sync(|| unsafe {
        let id = H5Tget_native_type(file.id(), H5T_DIR_DEFAULT);
        let memory: Datatype = hdf5::from_id(id).map_err(|_| "unknown data type".to_string())?;
        let dtype = Dtype::of(memory.id())?;
        if dtype == Dtype::F16 {
            let single = Datatype::from_type::<f32>().map_err(|e| super::cause(&e))?;
            return Ok((single, Dtype::F32));
        }
        Ok((memory, dtype))
    })
}

/// Takes room for `n` elements of type `T` and lets `fill` write them.
fn filled<T: Plain>(
    n: usize,
    fill: impl FnOnce(*mut std::ffi::c_void) -> i32,
) -> Result<Vec<T>, String> {
    let mut buffer: Vec<T> = zeroed(n)?;
    if n > 0 {
        sync(|| {
            if fill(buffer.as_mut_ptr().cast()) < 0 {
                let e = hdf5::Error::query().unwrap_or_else(|e| e);
                return Err(format!("cannot be read: {}", super::cause(&e)));
            }
            Ok(())
        })?;
    }
    Ok(buffer)
}

/// Reads `n` elements of type `dtype` by `read(memory type, buffer)`.
pub(super) fn elements(
    memory: &Datatype,
    dtype: &Dtype,
    n: usize,
    space: i64,
    read: impl FnOnce(i64, *mut std::ffi::c_void) -> i32,
) -> Result<Elements, String> {
    let id = memory.id();
    macro_rules! plain {
        ($variant:ident) => {
            Elements::Values(Values::$variant(filled(n, |buffer| read(id, buffer))?))
        };
    }
    Ok(match dtype {
        Dtype::F32 => plain!(F32),
        Dtype::F64 => plain!(F64),
        Dtype::I8 => plain!(I8),
        Dtype::I16 => plain!(I16),
        Dtype::I32 => plain!(I32),
        Dtype::I64 => plain!(I64),
        Dtype::U8 => plain!(U8),
        Dtype::U16 => plain!(U16),
        Dtype::U32 => plain!(U32),
        Dtype::U64 => plain!(U64),
        Dtype::F16 => return Err("half-precision numbers inside records".into()),
        Dtype::Other(what, _) => return Err(format!("elements are {what}, which cannot be held")),
        Dtype::Bool
        | Dtype::Text
        | Dtype::FixedText(_)
        | Dtype::Array(..)
        | Dtype::Compound(..) => {
            let size = dtype.size();
            let total = n.checked_mul(size).ok_or("absurd size")?;
            let mut bytes: Vec<u8> = filled(total, |buffer| read(id, buffer))?;
            let out = decode(&bytes, 0, size, n, dtype);
            if dtype.has_text() && n > 0 {
                sync(|| unsafe {
                    H5Treclaim(id, space, H5P_DEFAULT, bytes.as_mut_ptr().cast());
                });
            }
            out?
        }
    })
}

/// Decodes one field of `n` records of `stride` bytes, at `offset` in each.
fn decode(
    bytes: &[u8],
    offset: usize,
    stride: usize,
    n: usize,
    dtype: &Dtype,
) -> Result<Elements, String> {
    let size = dtype.size();
    let at = |i: usize| &bytes[i * stride + offset..i * stride + offset + size];
    macro_rules! numbers {
        ($variant:ident, $t:ty) => {
            Elements::Values(Values::$variant(
                (0..n)
                    .map(|i| <$t>::from_ne_bytes(at(i).try_into().expect("size of the type")))
                    .collect(),
            ))
        };
    }
    Ok(match dtype {
        Dtype::F32 => numbers!(F32, f32),
        Dtype::F64 => numbers!(F64, f64),
        Dtype::I8 => numbers!(I8, i8),
        Dtype::I16 => numbers!(I16, i16),
        Dtype::I32 => numbers!(I32, i32),
        Dtype::I64 => numbers!(I64, i64),
        Dtype::U8 => numbers!(U8, u8),
        Dtype::U16 => numbers!(U16, u16),
        Dtype::U32 => numbers!(U32, u32),
        Dtype::U64 => numbers!(U64, u64),
        Dtype::Bool => Elements::Values(Values::Bool((0..n).map(|i| at(i)[0] != 0).collect())),
        Dtype::FixedText(_) => {
            let text = |i| {
                let field = at(i);
                let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
                utf8(&field[..end])
            };
            Elements::Strings((0..n).map(text).collect::<Result<_, _>>()?)
        }
        Dtype::Text => {
            let text = |i| {
                let pointer = usize::from_ne_bytes(at(i).try_into().expect("size of a pointer"));
                if pointer == 0 {
                    return Ok(String::new());
                }
                // HDF5 allocated the text and ended it with a zero.
                utf8(unsafe { CStr::from_ptr(pointer as *const c_char) }.to_bytes())
            };
            Elements::Strings((0..n).map(text).collect::<Result<_, _>>()?)
        }
        Dtype::Compound(fields, _) => {
            let field = |f: &super::dtype::Field| {
                let (base, dims) = match &f.dtype {
                    Dtype::Array(base, dims) => (base.as_ref(), dims.clone()),
                    other => (other, vec![]),
                };
                let inside = decode_array(bytes, offset + f.offset, stride, n, base, &dims)
                    .map_err(|reason| format!("field `{}`: {reason}", f.name))?;
                Ok((f.name.clone(), dims, inside))
            };
            Elements::Record(fields.iter().map(field).collect::<Result<_, String>>()?)
        }
        Dtype::Array(..) => return Err("an array of arrays cannot be held".into()),
        Dtype::F16 => return Err("half-precision numbers inside records cannot be held".into()),
        Dtype::Other(what, _) => return Err(format!("{what} cannot be held")),
    })
}

/// Decodes a field that is itself an array of `dims` elements.
fn decode_array(
    bytes: &[u8],
    offset: usize,
    stride: usize,
    n: usize,
    base: &Dtype,
    dims: &[usize],
) -> Result<Elements, String> {
    if dims.is_empty() {
        return decode(bytes, offset, stride, n, base);
    }
    let width: usize = dims.iter().product();
    let size = base.size();
    let mut packed = Vec::with_capacity(n * width * size);
    for i in 0..n {
        let start = i * stride + offset;
        packed.extend_from_slice(&bytes[start..start + width * size]);
    }
    decode(&packed, 0, size, n * width, base)
}

pub(super) fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        let shown = String::from_utf8_lossy(bytes);
        format!("text `{shown}` is not UTF-8")
    })
}
