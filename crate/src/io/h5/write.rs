//! Writing: a file beside the target that replaces it once it is whole.

use super::{deflate, reason};
use crate::anndata::Values;
use crate::error::{Error, Result};
use crate::io::WriteOptions;
use crate::io::bytes::{Plain, as_bytes, signed};
use hdf5::types::{CompoundField, CompoundType, FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use hdf5::{Datatype, Extents, sync::sync};
use hdf5_sys::h5d::H5Dwrite;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::H5S_ALL;
use std::ffi::CString;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// Elements of a chunk are chosen to fill about this many bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// A group of a file that is being written.
pub(in crate::io) struct Writer<'a> {
    path: &'a Path,
    key: String,
    group: hdf5::Group,
    gzip: Option<u8>,
}

/// Creates a file with what `fill` writes, or leaves `path` as it was.
pub(in crate::io) fn create(
    path: &Path,
    options: &WriteOptions,
    fill: impl FnOnce(&Writer) -> Result<()>,
) -> Result<()> {
    create_after(&[], path, options, fill)
}

/// Like [`create`], after `head`: nothing, or a power of two of bytes, from 512.
pub(in crate::io) fn create_after(
    head: &[u8],
    path: &Path,
    options: &WriteOptions,
    fill: impl FnOnce(&Writer) -> Result<()>,
) -> Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if let Ok(meta) = std::fs::metadata(&target)
        && !meta.is_file()
    {
        let what = if meta.is_dir() { "folder" } else { "pipe or device" };
        return Err(Error::format(path, format!("there is a {what} of that name")));
    }
    let beside = beside(path, &target)?;
    // Not locked: nobody knows of it yet, and a lock lasts as long as any process that was started
    // in the meantime, which would keep others from the finished file.
    let file = hdf5::FileBuilder::new()
        .with_fcpl(|p| p.userblock(head.len() as u64))
        .with_fapl(|p| p.file_locking(false))
        .create(&beside)
        .map_err(|e| Error::format(path, reason(&e)))?;
    let group = file.group("/").map_err(|e| Error::format(path, reason(&e)))?;
    fill(&Writer { path, key: String::new(), group, gzip: options.gzip })?;
    file.close().map_err(|e| Error::format(path, failure(&e)))?;
    let finish = |file: std::fs::File| file.write_all_at(head, 0).and_then(|()| file.sync_all());
    let file = std::fs::OpenOptions::new().write(true).open(&beside);
    file.and_then(finish).map_err(|e| Error::io(path, e))?;
    beside.persist(&target).map_err(|e| Error::io(path, e.error))
}

/// An empty file in the folder of the target, deleted unless it is kept. Its name says what it is,
/// should the process be killed: `.slide.h5ad.unfinished-x7Gh2k`.
fn beside(path: &Path, target: &Path) -> Result<TempPath> {
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().take(60).collect();
    let prefix = format!(".{name}.unfinished-");
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file; the process's mask still applies.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let file = builder.tempfile_in(&folder).map_err(|e| {
        let hint = format!("Can the folder `{}` be written to?", folder.display());
        Error::io(path, e).with_hint(hint)
    })?;
    Ok(file.into_temp_path())
}

/// Why something could not be written: what the system said, if HDF5 passes it on.
fn failure(e: &hdf5::Error) -> String {
    let frames = e.stack().map(|s| s.iter().map(|f| f.desc().to_string()).collect::<Vec<_>>());
    let said = frames.iter().flatten().find_map(|f| {
        let (_, rest) = f.split_once("error message = '")?;
        rest.split_once('\'').map(|(message, _)| message.to_string())
    });
    format!("cannot be written: {}", said.unwrap_or_else(|| reason(e)))
}

/// A field of the records that [`Writer::records`] writes.
pub(in crate::io) enum FieldValues<'a> {
    Values(&'a Values),
    Strings(&'a [String]),
}

impl Writer<'_> {
    fn key_of(&self, name: &str) -> String {
        if self.key.is_empty() { name.into() } else { format!("{}/{name}", self.key) }
    }

    /// An error about the member `name`.
    pub fn error(&self, name: &str, reason: impl AsRef<str>) -> Error {
        let reason = format!("`{}`: {}", self.key_of(name), reason.as_ref());
        Error::format(self.path, reason)
    }

    fn fail(&self, name: &str) -> impl Fn(hdf5::Error) -> Error + '_ {
        let key = self.key_of(name);
        move |e| Error::format(self.path, format!("`{key}`: {}", failure(&e)))
    }

    fn check_name(&self, name: &str) -> Result<()> {
        let bad = name.is_empty() || name == "." || name.contains('/') || name.contains('\0');
        if bad {
            return Err(self.error(name, "a key must not be empty or contain `/`; rename it"));
        }
        Ok(())
    }

    /// A new group inside this one.
    pub fn group(&self, name: &str) -> Result<Self> {
        self.check_name(name)?;
        let group = self.group.create_group(name).map_err(self.fail(name))?;
        Ok(Writer { path: self.path, key: self.key_of(name), group, gzip: self.gzip })
    }

    /// Says how this group is encoded.
    pub fn encoding(&self, kind: &str, version: &str) -> Result<()> {
        encoding(&self.group, kind, version).map_err(self.fail(""))
    }

    /// A text attribute of this group.
    pub fn attr_text(&self, name: &str, text: &str) -> Result<()> {
        attr_text(&self.group, name, text).map_err(self.fail(name))
    }

    /// A list of texts as an attribute of this group.
    pub fn attr_texts(&self, name: &str, texts: &[String]) -> Result<()> {
        let write = || {
            if texts.is_empty() {
                // As Python writes an empty list.
                let attr = self.group.new_attr::<f64>().shape(0).create(name)?;
                return attr.write_raw(&[] as &[f64]);
            }
            let texts = texts.iter().map(|t| unicode(t)).collect::<hdf5::Result<Vec<_>>>()?;
            self.group
                .new_attr::<VarLenUnicode>()
                .shape(texts.len())
                .create(name)?
                .write_raw(&texts)
        };
        write().map_err(self.fail(name))
    }

    /// Whole numbers as an attribute of this group.
    pub fn attr_ints(&self, name: &str, values: &[i64]) -> Result<()> {
        let write =
            || self.group.new_attr::<i64>().shape(values.len()).create(name)?.write_raw(values);
        write().map_err(self.fail(name))
    }

    /// A whole number as an attribute of this group.
    pub fn attr_int(&self, name: &str, value: i64) -> Result<()> {
        let write = || self.group.new_attr::<i64>().create(name)?.write_scalar(&value);
        write().map_err(self.fail(name))
    }

    /// A boolean attribute of this group.
    pub fn attr_bool(&self, name: &str, value: bool) -> Result<()> {
        let write = || self.group.new_attr::<bool>().create(name)?.write_scalar(&value);
        write().map_err(self.fail(name))
    }

    /// Numbers or booleans; `encoded` is the encoding to state, if any.
    pub fn values(
        &self,
        name: &str,
        shape: &[usize],
        values: &Values,
        encoded: Option<(&str, &str)>,
    ) -> Result<()> {
        self.check_name(name)?;
        let write = || {
            macro_rules! write_as {
                ($($variant:ident $t:ty),*) => {
                    match values {
                        $(Values::$variant(v) => self.numbers::<$t>(name, shape, v)?,)*
                        Values::Bool(v) => self.plain(name, shape, v)?,
                    }
                };
            }
            let data = write_as!(
                F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64
            );
            encoded.map_or(Ok(()), |(kind, version)| encoding(&data, kind, version))
        };
        write().map_err(self.fail(name))
    }

    /// Indices of a sparse matrix: `int64` if `wide`, else `int32`.
    pub fn indices(&self, name: &str, indices: &[u32], wide: bool) -> Result<()> {
        self.check_name(name)?;
        let write = || match signed(indices).filter(|_| !wide) {
            Some(narrow) => self.numbers(name, &[narrow.len()], narrow),
            None => {
                let wide: Vec<i64> = indices.iter().map(|&i| i64::from(i)).collect();
                self.numbers(name, &[wide.len()], &wide)
            }
        };
        write().map(drop).map_err(self.fail(name))
    }

    /// Texts.
    pub fn strings(
        &self,
        name: &str,
        shape: &[usize],
        values: &[impl AsRef<str>],
        encoded: Option<(&str, &str)>,
    ) -> Result<()> {
        self.check_name(name)?;
        let write = || {
            let texts =
                values.iter().map(|t| unicode(t.as_ref())).collect::<hdf5::Result<Vec<_>>>()?;
            let data = self.plain(name, shape, &texts)?;
            encoded.map_or(Ok(()), |(kind, version)| encoding(&data, kind, version))
        };
        write().map_err(self.fail(name))
    }

    /// Python's `None`.
    pub fn null(&self, name: &str) -> Result<()> {
        self.check_name(name)?;
        let write = || {
            let data = self.group.new_dataset::<f32>().shape(Extents::Null).create(name)?;
            encoding(&data, "null", "0.1.0")
        };
        write().map_err(self.fail(name))
    }

    /// Numbers, which are compressed on all cores.
    fn numbers<T: hdf5::H5Type + Plain>(
        &self,
        name: &str,
        shape: &[usize],
        values: &[T],
    ) -> hdf5::Result<hdf5::Dataset> {
        let Some(level) = self.gzip.filter(|_| !values.is_empty() && !shape.is_empty()) else {
            return self.plain(name, shape, values);
        };
        let chunk = chunk_shape(shape, size_of::<T>());
        let builder = self.group.new_dataset::<T>().deflate(level);
        let data = builder.chunk(&chunk).shape(shape).create(name)?;
        deflate::write(&data, as_bytes(values), shape, &chunk, size_of::<T>(), level)?;
        Ok(data)
    }

    fn plain<T: hdf5::H5Type>(
        &self,
        name: &str,
        shape: &[usize],
        values: &[T],
    ) -> hdf5::Result<hdf5::Dataset> {
        let builder = self.group.new_dataset::<T>();
        let data = match self.gzip {
            Some(level) if !values.is_empty() && !shape.is_empty() => {
                let chunk = chunk_shape(shape, size_of::<T>());
                builder.deflate(level).chunk(chunk).shape(shape).create(name)?
            }
            _ => builder.shape(shape).create(name)?,
        };
        if !values.is_empty() {
            data.write_raw(values)?;
        }
        Ok(data)
    }

    /// Records: columns of one length with names of their own, as numpy's record arrays.
    pub fn records(&self, name: &str, n: usize, fields: &[(&str, FieldValues)]) -> Result<()> {
        self.check_name(name)?;
        let mut layout = Vec::new();
        let mut offset = 0;
        for (i, (field, values)) in fields.iter().enumerate() {
            let (ty, len) = match values {
                FieldValues::Strings(v) => (TypeDescriptor::VarLenUnicode, v.len()),
                FieldValues::Values(v) => (descriptor(v), v.len()),
            };
            if len != n {
                let reason = format!("field `{field}` has {len} elements, the first has {n}");
                return Err(self.error(name, reason));
            }
            let size = ty.size();
            layout.push(CompoundField::new(field, ty, offset, i));
            offset += size;
        }
        // The texts that records point to, kept until they are written.
        let mut texts: Vec<CString> = Vec::new();
        let mut bytes = vec![0u8; n * offset];
        for (field, (_, values)) in layout.iter().zip(fields) {
            for i in 0..n {
                let at = i * offset + field.offset;
                let slot = &mut bytes[at..at + field.ty.size()];
                match values {
                    FieldValues::Values(v) => put(slot, v, i),
                    FieldValues::Strings(v) => {
                        let text = CString::new(v[i].as_str())
                            .map_err(|_| self.error(name, "text contains a zero byte"))?;
                        slot.copy_from_slice(&(text.as_ptr() as usize).to_ne_bytes());
                        texts.push(text);
                    }
                }
            }
        }
        let write = || {
            let ty = TypeDescriptor::Compound(CompoundType { fields: layout, size: offset });
            // Packed, as numpy's are: anndata cannot read records with gaps.
            let builder = self.group.new_dataset_builder().packed(true);
            let data = builder.empty_as(&ty).shape(n).create(name)?;
            let memory = Datatype::from_descriptor(&ty)?;
            let status = sync(|| unsafe {
                let buffer = bytes.as_ptr().cast();
                H5Dwrite(data.id(), memory.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer)
            });
            if n > 0 && status < 0 {
                return Err(hdf5::Error::query().unwrap_or_else(|e| e));
            }
            encoding(&data, "rec-array", "0.2.0")
        };
        write().map_err(self.fail(name))
    }
}

fn encoding(at: &hdf5::Location, kind: &str, version: &str) -> hdf5::Result<()> {
    attr_text(at, "encoding-type", kind)?;
    attr_text(at, "encoding-version", version)
}

fn attr_text(at: &hdf5::Location, name: &str, text: &str) -> hdf5::Result<()> {
    at.new_attr::<VarLenUnicode>().create(name)?.write_scalar(&unicode(text)?)
}

fn unicode(text: &str) -> hdf5::Result<VarLenUnicode> {
    use std::str::FromStr;
    VarLenUnicode::from_str(text)
        .map_err(|_| format!("text `{text:?}` contains a zero byte").into())
}

/// A chunk of about [`CHUNK_BYTES`]: whole trailing axes, a stretch of the first that is not.
fn chunk_shape(shape: &[usize], size: usize) -> Vec<usize> {
    let mut room = (CHUNK_BYTES / size).max(1);
    let mut chunk = vec![1; shape.len()];
    for a in (0..shape.len()).rev() {
        chunk[a] = shape[a].min(room).max(1);
        room /= chunk[a];
        if room == 0 {
            break;
        }
    }
    chunk
}

fn descriptor(values: &Values) -> TypeDescriptor {
    use IntSize::*;
    match values {
        Values::F32(_) => TypeDescriptor::Float(FloatSize::U4),
        Values::F64(_) => TypeDescriptor::Float(FloatSize::U8),
        Values::I8(_) => TypeDescriptor::Integer(U1),
        Values::I16(_) => TypeDescriptor::Integer(U2),
        Values::I32(_) => TypeDescriptor::Integer(U4),
        Values::I64(_) => TypeDescriptor::Integer(U8),
        Values::U8(_) => TypeDescriptor::Unsigned(U1),
        Values::U16(_) => TypeDescriptor::Unsigned(U2),
        Values::U32(_) => TypeDescriptor::Unsigned(U4),
        Values::U64(_) => TypeDescriptor::Unsigned(U8),
        Values::Bool(_) => TypeDescriptor::Boolean,
    }
}

fn put(slot: &mut [u8], values: &Values, i: usize) {
    macro_rules! put_as {
        ($($variant:ident)*) => {
            match values {
                $(Values::$variant(v) => slot.copy_from_slice(&v[i].to_ne_bytes()),)*
                Values::Bool(v) => slot[0] = u8::from(v[i]),
            }
        };
    }
    put_as!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64);
}
