//! [`Dtype`]: the type of an element as the file declares it.

use hdf5_sys::h5::H5free_memory;
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5t::*;
use std::ffi::CStr;

/// The type of one element, with the layout it has in memory after HDF5 converted it to this
/// machine's byte order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::io) enum Dtype {
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    /// An enumeration of FALSE and TRUE in one byte, as h5py writes booleans.
    Bool,
    /// Text of variable length (a pointer).
    Text,
    /// Text in a field of so many bytes.
    FixedText(usize),
    /// Several named fields.
    Compound(Vec<Field>, usize),
    /// So many elements of one type.
    Array(Box<Dtype>, Vec<usize>),
    /// What no reader of ours takes, by name, and the bytes it has.
    Other(&'static str, usize),
}

/// A field of a compound type.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::io) struct Field {
    pub name: String,
    pub offset: usize,
    pub dtype: Dtype,
}

impl Dtype {
    /// numpy's name of the type, or what it is in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Dtype::F16 => "float16",
            Dtype::F32 => "float32",
            Dtype::F64 => "float64",
            Dtype::I8 => "int8",
            Dtype::I16 => "int16",
            Dtype::I32 => "int32",
            Dtype::I64 => "int64",
            Dtype::U8 => "uint8",
            Dtype::U16 => "uint16",
            Dtype::U32 => "uint32",
            Dtype::U64 => "uint64",
            Dtype::Bool => "bool",
            Dtype::Text | Dtype::FixedText(_) => "text",
            Dtype::Compound(..) => "records",
            Dtype::Array(..) => "arrays",
            Dtype::Other(what, _) => what,
        }
    }

    /// Bytes of one element in memory.
    pub fn size(&self) -> usize {
        match self {
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
            Dtype::F16 | Dtype::I16 | Dtype::U16 => 2,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
            Dtype::Text => size_of::<*const u8>(),
            Dtype::FixedText(n) | Dtype::Other(_, n) | Dtype::Compound(_, n) => *n,
            Dtype::Array(base, dims) => {
                dims.iter().fold(base.size(), |size, d| size.saturating_mul(*d))
            }
        }
    }

    /// Whether elements point to memory of their own.
    pub fn has_text(&self) -> bool {
        match self {
            Dtype::Text => true,
            Dtype::Compound(fields, _) => fields.iter().any(|f| f.dtype.has_text()),
            Dtype::Array(base, _) => base.has_text(),
            _ => false,
        }
    }

    /// Whether the elements are text.
    pub fn is_text(&self) -> bool {
        matches!(self, Dtype::Text | Dtype::FixedText(_))
    }

    /// What the HDF5 type `id` describes.
    ///
    /// # Safety
    /// `id` must be an open HDF5 data type, and the caller must hold the library's lock.
    pub unsafe fn of(id: hid_t) -> Result<Dtype, String> {
        unsafe { Dtype::nested(id, 0) }
    }

    unsafe fn nested(id: hid_t, depth: usize) -> Result<Dtype, String> {
        if depth > 8 {
            return Err("data type nested too deep".into());
        }
        unsafe {
            let size = H5Tget_size(id);
            if size == 0 {
                return Err("data type without size".into());
            }
            let signed = || H5Tget_sign(id) != H5T_SGN_NONE;
            Ok(match H5Tget_class(id) {
                H5T_class_t::H5T_INTEGER => match (size, signed()) {
                    (1, true) => Dtype::I8,
                    (2, true) => Dtype::I16,
                    (4, true) => Dtype::I32,
                    (8, true) => Dtype::I64,
                    (1, false) => Dtype::U8,
                    (2, false) => Dtype::U16,
                    (4, false) => Dtype::U32,
                    (8, false) => Dtype::U64,
                    _ => Dtype::Other("integer of unusual width", size),
                },
                H5T_class_t::H5T_FLOAT => match size {
                    2 => Dtype::F16,
                    4 => Dtype::F32,
                    8 => Dtype::F64,
                    _ => Dtype::Other("floating-point number of unusual width", size),
                },
                H5T_class_t::H5T_BITFIELD if size == 1 => Dtype::U8,
                H5T_class_t::H5T_STRING if H5Tis_variable_str(id) > 0 => Dtype::Text,
                H5T_class_t::H5T_STRING => Dtype::FixedText(size),
                H5T_class_t::H5T_ENUM => {
                    let names = member_names(id)?;
                    let boolean = names.iter().all(|n| n == "FALSE" || n == "TRUE");
                    if boolean && size == 1 {
                        return Ok(Dtype::Bool);
                    }
                    let base = H5Tget_super(id);
                    let dtype = Dtype::nested(base, depth + 1);
                    H5Tclose(base);
                    dtype?
                }
                H5T_class_t::H5T_ARRAY => {
                    let n = H5Tget_array_ndims(id);
                    if !(1..=8).contains(&n) {
                        return Err("array type of unusual rank".into());
                    }
                    let mut dims = vec![0; n as usize];
                    H5Tget_array_dims2(id, dims.as_mut_ptr());
                    let base = H5Tget_super(id);
                    let dtype = Dtype::nested(base, depth + 1);
                    H5Tclose(base);
                    Dtype::Array(Box::new(dtype?), dims.iter().map(|&d| d as usize).collect())
                }
                H5T_class_t::H5T_COMPOUND => {
                    let names = member_names(id)?;
                    let mut fields = Vec::with_capacity(names.len());
                    for (i, name) in names.into_iter().enumerate() {
                        let member = H5Tget_member_type(id, i as u32);
                        let dtype = Dtype::nested(member, depth + 1);
                        H5Tclose(member);
                        let (dtype, offset) = (dtype?, H5Tget_member_offset(id, i as u32));
                        if offset.saturating_add(dtype.size()) > size {
                            return Err(format!("field `{name}` lies outside its record"));
                        }
                        fields.push(Field { name, offset, dtype });
                    }
                    Dtype::Compound(fields, size)
                }
                H5T_class_t::H5T_REFERENCE => Dtype::Other("reference", size),
                H5T_class_t::H5T_OPAQUE => Dtype::Other("opaque bytes", size),
                H5T_class_t::H5T_VLEN => Dtype::Other("lists of variable length", size),
                H5T_class_t::H5T_TIME => Dtype::Other("time", size),
                _ => Dtype::Other("complex numbers or an unknown type", size),
            })
        }
    }
}

/// Names of the members of a compound or enumeration type.
unsafe fn member_names(id: hid_t) -> Result<Vec<String>, String> {
    unsafe {
        let n = H5Tget_nmembers(id);
        let mut names = Vec::new();
        for i in 0..n.max(0) {
            let name = H5Tget_member_name(id, i as u32);
            if name.is_null() {
                return Err("a field has no name".into());
            }
            names.push(CStr::from_ptr(name).to_string_lossy().into_owned());
            H5free_memory(name.cast());
        }
        Ok(names)
    }
}
