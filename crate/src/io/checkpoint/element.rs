//! [`ElementType`]: the types that elements of tensors have, under their names in PyTorch, in
//! pickles and in safetensors.

use candle_core::DType;
use std::fmt;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElementType {
    /// Floating point, 64 bits.
    F64,
    /// Floating point, 32 bits.
    F32,
    /// Floating point, 16 bits, 5 of them of the exponent.
    F16,
    /// Floating point, 16 bits, 8 of them of the exponent.
    BF16,
    /// Floating point, 8 bits, 4 of them of the exponent.
    F8E4M3,
    /// Floating point, 8 bits, 5 of them of the exponent.
    F8E5M2,
    /// Whole numbers, 64 bits.
    I64,
    /// Whole numbers, 32 bits.
    I32,
    /// Whole numbers, 16 bits.
    I16,
    /// Whole numbers, 8 bits.
    I8,
    /// Whole numbers without sign, 64 bits.
    U64,
    /// Whole numbers without sign, 32 bits.
    U32,
    /// Whole numbers without sign, 16 bits.
    U16,
    /// Whole numbers without sign, 8 bits.
    U8,
    /// True or false, a byte each.
    Bool,
    /// Complex, two of 64 bits.
    Complex128,
    /// Complex, two of 32 bits.
    Complex64,
    /// Complex, two of 16 bits.
    Complex32,
    /// Quantised, 32 bits.
    QInt32,
    /// Quantised, 8 bits.
    QInt8,
    /// Quantised without sign, 8 bits.
    QUInt8,
}
use ElementType::*;

/// Type, name in PyTorch, class of its storages, name in safetensors, bytes of an element.
type Row = (ElementType, &'static str, &'static str, &'static str, u64);
const TABLE: [Row; 21] = [
    (F64, "float64", "DoubleStorage", "F64", 8),
    (F32, "float32", "FloatStorage", "F32", 4),
    (F16, "float16", "HalfStorage", "F16", 2),
    (BF16, "bfloat16", "BFloat16Storage", "BF16", 2),
    (F8E4M3, "float8_e4m3fn", "", "F8_E4M3", 1),
    (F8E5M2, "float8_e5m2", "", "F8_E5M2", 1),
    (I64, "int64", "LongStorage", "I64", 8),
    (I32, "int32", "IntStorage", "I32", 4),
    (I16, "int16", "ShortStorage", "I16", 2),
    (I8, "int8", "CharStorage", "I8", 1),
    (U64, "uint64", "", "U64", 8),
    (U32, "uint32", "", "U32", 4),
    (U16, "uint16", "", "U16", 2),
    (U8, "uint8", "ByteStorage", "U8", 1),
    (Bool, "bool", "BoolStorage", "BOOL", 1),
    (Complex128, "complex128", "ComplexDoubleStorage", "", 16),
    (Complex64, "complex64", "ComplexFloatStorage", "C64", 8),
    (Complex32, "complex32", "", "", 4),
    (QInt32, "qint32", "QInt32Storage", "", 4),
    (QInt8, "qint8", "QInt8Storage", "", 1),
    (QUInt8, "quint8", "QUInt8Storage", "", 1),
];

impl ElementType {
    fn row(self) -> &'static Row {
        // In the order of the enum, which a test makes sure of.
        &TABLE[self as usize]
    }

    /// The name in PyTorch, e.g. `float32`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Bytes that an element takes in the file.
    pub fn size(self) -> u64 {
        self.row().4
    }

    pub(super) fn from_torch(name: &str) -> Option<ElementType> {
        TABLE.iter().find(|r| r.1 == name).map(|r| r.0)
    }

    pub(super) fn from_storage(class: &str) -> Option<ElementType> {
        TABLE.iter().find(|r| r.2 == class && !class.is_empty()).map(|r| r.0)
    }

    pub(super) fn from_safetensors(name: &str) -> Option<ElementType> {
        TABLE.iter().find(|r| r.3 == name && !name.is_empty()).map(|r| r.0)
    }

    /// The type that its elements have once they are read, if there is one that holds them all.
    pub fn dtype(self) -> Option<DType> {
        Some(match self {
            F64 => DType::F64,
            F32 => DType::F32,
            F16 => DType::F16,
            BF16 => DType::BF16,
            I64 => DType::I64,
            I32 => DType::I32,
            // candle has no bytes with a sign.
            I16 | I8 => DType::I16,
            U32 | U16 => DType::U32,
            U8 | Bool => DType::U8,
            _ => return None,
        })
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, i, "{}", row.1);
            assert_eq!(ElementType::from_torch(row.0.name()), Some(row.0));
        }
        assert_eq!(ElementType::from_storage("HalfStorage"), Some(F16));
        assert_eq!(ElementType::from_safetensors(""), None);
        assert_eq!(ElementType::from_safetensors("BF16").unwrap().size(), 2);
    }
}
