//! [`Values`]: a flat array with the element type it has in the file.
//!
//! anndata files hold many number types and users expect to get back what they stored, so the
//! type is kept until a computation asks for the one it works in.

use std::borrow::Cow;

macro_rules! values {
    ($($variant:ident $ty:ty, $name:literal;)*) => {
        /// A flat array of one of numpy's plain number types, or of booleans.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs)]
        pub enum Values {
            $($variant(Vec<$ty>),)*
        }

        /// The element type of [`Values`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($variant,)*
        }

        impl Values {
            /// The element type.
            pub(crate) fn kind(&self) -> Kind {
                match self { $(Values::$variant(_) => Kind::$variant,)* }
            }

            /// No elements, of a type, with room for `n`.
            pub(crate) fn with_capacity(kind: Kind, n: usize) -> Values {
                match kind { $(Kind::$variant => Values::$variant(Vec::with_capacity(n)),)* }
            }

            /// Adds the elements of `other`, converted to the type of these.
            pub(crate) fn append(&mut self, other: &Values) {
                let kind = self.kind();
                match (self, other) {
                    $((Values::$variant(to), Values::$variant(from)) => to.extend_from_slice(from),)*
                    (to, from) => to.append(&from.cast(kind)),
                }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self { $(Values::$variant(v) => v.len(),)* }
            }

            /// numpy's name of the element type, e.g. `float32`.
            pub fn dtype(&self) -> &'static str {
                match self { $(Values::$variant(_) => $name,)* }
            }

            /// Bytes that the elements take.
            pub fn nbytes(&self) -> usize {
                match self { $(Values::$variant(v) => std::mem::size_of_val(v.as_slice()),)* }
            }

            /// The elements at `indices`, in that order.
            pub fn take(&self, indices: &[usize]) -> Values {
                match self {
                    $(Values::$variant(v) => {
                        Values::$variant(indices.iter().map(|&i| v[i]).collect())
                    })*
                }
            }

            /// The elements of a range.
            pub fn slice(&self, range: std::ops::Range<usize>) -> Values {
                match self { $(Values::$variant(v) => Values::$variant(v[range].to_vec()),)* }
            }
        }

        $(impl From<Vec<$ty>> for Values {
            fn from(v: Vec<$ty>) -> Self { Values::$variant(v) }
        })*
    };
}

values! {
    F32 f32, "float32";
    F64 f64, "float64";
    I8 i8, "int8";
    I16 i16, "int16";
    I32 i32, "int32";
    I64 i64, "int64";
    U8 u8, "uint8";
    U16 u16, "uint16";
    U32 u32, "uint32";
    U64 u64, "uint64";
    Bool bool, "bool";
}

/// Runs the same expression on the vector inside a [`Values`], whatever its number type, and on
/// booleans as `u8`. Inside, `$v` is a slice of a type that converts with `as`.
#[macro_export]
#[doc(hidden)]
macro_rules! with_values {
    // One arm's cast is always to the type itself.
    (@ $body:expr) => {{
        #[allow(clippy::unnecessary_cast, clippy::let_and_return)]
        let result = $body;
        result
    }};
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            $crate::anndata::Values::F32($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::F64($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::I8($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::I16($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::I32($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::I64($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::U8($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::U16($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::U32($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::U64($v) => $crate::with_values!(@ $body),
            $crate::anndata::Values::Bool(b) => {
                let bytes: Vec<u8> = b.iter().map(|&x| u8::from(x)).collect();
                let $v = &bytes;
                $crate::with_values!(@ $body)
            }
        }
    };
}
pub use with_values;

/// Runs the same expression on the vector inside a [`Values`], whatever its type; the result is a
/// vector of that type, wrapped again.
macro_rules! same_type {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            $crate::anndata::Values::F32($v) => $crate::anndata::Values::F32($body),
            $crate::anndata::Values::F64($v) => $crate::anndata::Values::F64($body),
            $crate::anndata::Values::I8($v) => $crate::anndata::Values::I8($body),
            $crate::anndata::Values::I16($v) => $crate::anndata::Values::I16($body),
            $crate::anndata::Values::I32($v) => $crate::anndata::Values::I32($body),
            $crate::anndata::Values::I64($v) => $crate::anndata::Values::I64($body),
            $crate::anndata::Values::U8($v) => $crate::anndata::Values::U8($body),
            $crate::anndata::Values::U16($v) => $crate::anndata::Values::U16($body),
            $crate::anndata::Values::U32($v) => $crate::anndata::Values::U32($body),
            $crate::anndata::Values::U64($v) => $crate::anndata::Values::U64($body),
            $crate::anndata::Values::Bool($v) => $crate::anndata::Values::Bool($body),
        }
    };
}
pub(super) use same_type;

impl Kind {
    /// Whether it is a floating-point type.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Kind::F32 | Kind::F64)
    }

    /// Bits of a whole number, and whether it has a sign.
    fn whole(self) -> Option<(u8, bool)> {
        Some(match self {
            Kind::I8 => (8, true),
            Kind::I16 => (16, true),
            Kind::I32 => (32, true),
            Kind::I64 => (64, true),
            Kind::U8 => (8, false),
            Kind::U16 => (16, false),
            Kind::U32 => (32, false),
            Kind::U64 => (64, false),
            Kind::F32 | Kind::F64 | Kind::Bool => return None,
        })
    }

    /// The smallest type that holds both, as numpy's `promote_types`.
    pub(crate) fn promote(self, other: Kind) -> Kind {
        if self == other || other == Kind::Bool {
            return self;
        }
        match (self.whole(), other.whole()) {
            (Some((a, sa)), Some((b, sb))) if sa == sb => {
                if a > b {
                    self
                } else {
                    other
                }
            }
            (Some((a, true)), Some((b, false))) => match a.max(b.saturating_mul(2)) {
                8..=16 => Kind::I16,
                32 => Kind::I32,
                64 => Kind::I64,
                _ => Kind::F64,
            },
            (Some((bits, _)), None) if other == Kind::F32 && bits <= 16 => Kind::F32,
            (Some(_), None) if other.is_float() => Kind::F64,
            (None, None) if self != Kind::Bool => Kind::F64,
            _ => other.promote(self),
        }
    }
}

impl Values {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the element type is a floating-point one.
    pub fn is_float(&self) -> bool {
        matches!(self, Values::F32(_) | Values::F64(_))
    }

    /// The elements as `f32`, borrowed where they are.
    pub fn to_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Values::F32(v) => Cow::Borrowed(v),
            other => Cow::Owned(with_values!(other, v => v.iter().map(|&x| x as f32).collect())),
        }
    }

    /// The elements as `f64`, borrowed where they are.
    pub fn to_f64(&self) -> Cow<'_, [f64]> {
        match self {
            Values::F64(v) => Cow::Borrowed(v),
            other => Cow::Owned(with_values!(other, v => v.iter().map(|&x| x as f64).collect())),
        }
    }

    /// The elements in another type, as numpy's `astype` gives them.
    pub(crate) fn cast(&self, kind: Kind) -> Values {
        macro_rules! cast {
            ($($variant:ident $ty:ty),*) => {
                match kind {
                    $(Kind::$variant => Values::$variant(
                        with_values!(self, v => v.iter().map(|&x| x as $ty).collect())
                    ),)*
                    Kind::Bool => {
                        Values::Bool(with_values!(self, v => v.iter().map(|&x| x as f64 != 0.0).collect()))
                    }
                }
            };
        }
        if kind == self.kind() {
            return self.clone();
        }
        cast!(F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    }

    /// Element `i` as `f64` (booleans as 0 and 1).
    pub fn get_f64(&self, i: usize) -> f64 {
        match self {
            Values::Bool(v) => f64::from(u8::from(v[i])),
            Values::F32(v) => f64::from(v[i]),
            Values::F64(v) => v[i],
            Values::I8(v) => f64::from(v[i]),
            Values::I16(v) => f64::from(v[i]),
            Values::I32(v) => f64::from(v[i]),
            Values::I64(v) => v[i] as f64,
            Values::U8(v) => f64::from(v[i]),
            Values::U16(v) => f64::from(v[i]),
            Values::U32(v) => f64::from(v[i]),
            Values::U64(v) => v[i] as f64,
        }
    }

    /// Makes the elements floating-point in place, as scanpy does before it normalises: `float32`
    /// and `float64` stay, everything else becomes `float32`.
    pub fn make_float(&mut self) {
        if !self.is_float() {
            *self = Values::F32(self.to_f32().into_owned());
        }
    }
}
