//! [`Dtype`]: what an element is, and its fill value.

use crate::anndata::Values;
use crate::io::store::Elements;
use base64::Engine;
use serde_json::Value as Json;

/// A plain number or boolean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

/// The type of an element; `big` says that its most significant byte is stored first.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Dtype {
    Number(Number, bool),
    /// So many code points of four bytes.
    Utf32(usize, bool),
    /// Text in so many bytes.
    Bytes(usize),
    /// Text of any length.
    Text,
    /// Named fields, together so many bytes.
    Record(Vec<Field>, usize),
}

/// A field of a record: `axes` are its own, empty for a single element.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    name: String,
    offset: usize,
    axes: Vec<usize>,
    dtype: Dtype,
}

/// Records nested deeper than this are refused.
const DEEPEST: usize = 8;

impl Number {
    fn v2(kind: &str) -> Option<Number> {
        Some(match kind {
            "b1" => Number::Bool,
            "i1" => Number::I8,
            "i2" => Number::I16,
            "i4" => Number::I32,
            "i8" => Number::I64,
            "u1" => Number::U8,
            "u2" => Number::U16,
            "u4" => Number::U32,
            "u8" => Number::U64,
            "f2" => Number::F16,
            "f4" => Number::F32,
            "f8" => Number::F64,
            _ => return None,
        })
    }

    fn v3(name: &str) -> Option<Number> {
        Some(match name {
            "bool" => Number::Bool,
            "int8" => Number::I8,
            "int16" => Number::I16,
            "int32" => Number::I32,
            "int64" => Number::I64,
            "uint8" => Number::U8,
            "uint16" => Number::U16,
            "uint32" => Number::U32,
            "uint64" => Number::U64,
            "float16" => Number::F16,
            "float32" => Number::F32,
            "float64" => Number::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Number::Bool | Number::I8 | Number::U8 => 1,
            Number::I16 | Number::U16 | Number::F16 => 2,
            Number::I32 | Number::U32 | Number::F32 => 4,
            Number::I64 | Number::U64 | Number::F64 => 8,
        }
    }

    fn fill(self, json: &Json) -> Result<Vec<u8>, String> {
        let bad = || format!("fill value {json} does not fit the type");
        if let Some(hex) = json.as_str().and_then(|s| s.strip_prefix("0x")) {
            let bits = u64::from_str_radix(hex, 16).map_err(|_| bad())?;
            return Ok(bits.to_ne_bytes()[..self.size()].to_vec());
        }
        let float = || match json {
            Json::Null => Ok(0.0),
            Json::Bool(b) => Ok(f64::from(u8::from(*b))),
            Json::String(s) => match s.as_str() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                other => other.parse().map_err(|_| bad()),
            },
            other => other.as_f64().ok_or_else(bad),
        };
        macro_rules! whole {
            ($t:ty) => {{
                // Through `i128`, so that every 64-bit number stays what it is.
                let exact = json.as_i64().map(i128::from).or(json.as_u64().map(i128::from));
                let value = match exact {
                    Some(x) => x,
                    None => Some(float()?).filter(|x| x.fract() == 0.0).ok_or_else(bad)? as i128,
                };
                <$t>::try_from(value).map_err(|_| bad())?.to_ne_bytes().to_vec()
            }};
        }
        Ok(match self {
            Number::Bool => vec![u8::from(float()? != 0.0)],
            Number::I8 => whole!(i8),
            Number::I16 => whole!(i16),
            Number::I32 => whole!(i32),
            Number::I64 => whole!(i64),
            Number::U8 => whole!(u8),
            Number::U16 => whole!(u16),
            Number::U32 => whole!(u32),
            Number::U64 => whole!(u64),
            Number::F16 => match float()? {
                0.0 => vec![0, 0],
                x if x.is_nan() => 0x7e00u16.to_ne_bytes().to_vec(),
                _ => return Err(bad()),
            },
            Number::F32 => (float()? as f32).to_ne_bytes().to_vec(),
            Number::F64 => float()?.to_ne_bytes().to_vec(),
        })
    }
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&n| n < 1 << 32)
}

impl Dtype {
    /// From the type strings of numpy that version 2 uses, e.g. `<f4`.
    pub fn v2(json: &Json) -> Result<Dtype, String> {
        Dtype::v2_nested(json, 0)
    }

    fn v2_nested(json: &Json, depth: usize) -> Result<Dtype, String> {
        if depth > DEEPEST {
            return Err("records nested too deep".into());
        }
        if let Some(fields) = json.as_array() {
            return record(fields.iter().map(|field| {
                let axes = match field.get(2) {
                    Some(axes) => super::metadata::lengths(axes)?,
                    None => vec![],
                };
                let name = field[0].as_str().ok_or("a field without a name")?;
                Ok((name.to_string(), axes, Dtype::v2_nested(&field[1], depth + 1)?))
            }));
        }
        let text = json.as_str().unwrap_or_default();
        let unknown = || format!("elements of type {json} cannot be held");
        let big = text.starts_with('>');
        let kind = text.strip_prefix(['<', '>', '|', '=']).unwrap_or(text);
        if let Some(number) = Number::v2(kind) {
            return Ok(Dtype::Number(number, big));
        }
        if kind == "O" {
            return Ok(Dtype::Text);
        }
        match kind.split_at_checked(1) {
            Some(("U", n)) => Ok(Dtype::Utf32(count(n).ok_or_else(unknown)?, big)),
            Some(("S", n)) => Ok(Dtype::Bytes(count(n).ok_or_else(unknown)?)),
            _ => Err(unknown()),
        }
    }

    /// From the data type of version 3.
    pub fn v3(json: &Json, big: bool) -> Result<Dtype, String> {
        Dtype::v3_nested(json, big, 0)
    }

    fn v3_nested(json: &Json, big: bool, depth: usize) -> Result<Dtype, String> {
        if depth > DEEPEST {
            return Err("records nested too deep".into());
        }
        let name = json.as_str().or(json["name"].as_str()).unwrap_or_default();
        let options = &json["configuration"];
        if let Some(number) = Number::v3(name) {
            return Ok(Dtype::Number(number, big));
        }
        let length = || {
            let n = options["length_bytes"].as_u64().filter(|&n| n < 1 << 32);
            n.map(|n| n as usize).ok_or(format!("type `{name}` without `length_bytes`"))
        };
        match name {
            "string" | "variable_length_utf8" => Ok(Dtype::Text),
            "fixed_length_utf32" => Ok(Dtype::Utf32(length()? / 4, big)),
            "null_terminated_bytes" => Ok(Dtype::Bytes(length()?)),
            "struct" | "structured" => {
                let fields = options["fields"].as_array().ok_or("a record without fields")?;
                record(fields.iter().map(|field| {
                    // Written as an object or, before zarr-python 3.2, as a pair.
                    let (name, dtype) = match field.as_array() {
                        Some(pair) => (&field[0], pair.get(1).unwrap_or(&Json::Null)),
                        None => (&field["name"], &field["data_type"]),
                    };
                    let name = name.as_str().ok_or("a field without a name")?;
                    Ok((name.to_string(), vec![], Dtype::v3_nested(dtype, big, depth + 1)?))
                }))
            }
            _ => Err(format!("elements of type {json} cannot be held")),
        }
    }

    /// Bytes of an element; of a text what it takes in memory at least.
    pub fn size(&self) -> usize {
        match self {
            Dtype::Number(number, _) => number.size(),
            Dtype::Utf32(n, _) => 4 * n,
            Dtype::Bytes(n) | Dtype::Record(_, n) => *n,
            Dtype::Text => size_of::<String>(),
        }
    }

    pub fn is_text(&self) -> bool {
        matches!(self, Dtype::Utf32(..) | Dtype::Bytes(_) | Dtype::Text)
    }

    /// The bytes of the fill value in this machine's order.
    pub fn fill(&self, json: &Json) -> Result<Vec<u8>, String> {
        let bad = || format!("fill value {json} does not fit the type");
        let from_base64 = |text: &str| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            bytes.map_err(|_| bad())
        };
        let mut bytes = match (self, json) {
            (Dtype::Number(number, _), _) => return number.fill(json),
            (Dtype::Text, _) => return Ok(vec![]),
            (_, Json::Null) => vec![],
            // numpy's default, 0, as text.
            (Dtype::Utf32(..) | Dtype::Bytes(_), Json::Number(_)) => vec![],
            (Dtype::Utf32(..), Json::String(text)) => {
                text.chars().flat_map(|c| (c as u32).to_ne_bytes()).collect()
            }
            (Dtype::Bytes(_), Json::String(text)) => from_base64(text)?,
            (Dtype::Record(..), Json::String(text)) => {
                let mut bytes = from_base64(text)?;
                if bytes.len() != self.size() {
                    return Err(bad());
                }
                self.make_native(&mut bytes);
                bytes
            }
            (Dtype::Record(fields, size), Json::Object(values)) => {
                let mut bytes = vec![0; *size];
                for f in fields {
                    let value = values.get(&f.name).unwrap_or(&Json::Null);
                    let one = f.dtype.fill(value)?;
                    for target in
                        bytes[f.offset..f.offset + f.size()].chunks_exact_mut(one.len().max(1))
                    {
                        target.copy_from_slice(&one);
                    }
                }
                bytes
            }
            (Dtype::Record(..), Json::Number(n)) if n.as_f64() == Some(0.0) => vec![],
            _ => return Err(bad()),
        };
        if bytes.len() > self.size() {
            return Err(bad());
        }
        bytes.resize(self.size(), 0);
        Ok(bytes)
    }

    /// Brings the bytes of many elements into this machine's order.
    pub fn make_native(&self, bytes: &mut [u8]) {
        let swap = |bytes: &mut [u8], size: usize, big: bool| {
            if big != cfg!(target_endian = "big") && size > 1 {
                bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
            }
        };
        match self {
            Dtype::Number(number, big) => swap(bytes, number.size(), *big),
            Dtype::Utf32(_, big) => swap(bytes, 4, *big),
            Dtype::Bytes(_) | Dtype::Text => {}
            Dtype::Record(fields, size) => {
                for record in bytes.chunks_exact_mut((*size).max(1)) {
                    for f in fields {
                        f.dtype.make_native(&mut record[f.offset..f.offset + f.size()]);
                    }
                }
            }
        }
    }

    /// The elements that `bytes`, in this machine's order, stand for.
    pub fn elements(&self, bytes: &[u8]) -> Result<Elements, String> {
        macro_rules! numbers {
            ($variant:ident $t:ty) => {{
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
                Elements::Values(Values::$variant(
                    chunks.iter().map(|&b| <$t>::from_ne_bytes(b)).collect(),
                ))
            }};
        }
        let n = bytes.len() / self.size().max(1);
        Ok(match self {
            Dtype::Number(number, _) => match number {
                Number::Bool => {
                    Elements::Values(Values::Bool(bytes.iter().map(|&b| b != 0).collect()))
                }
                Number::I8 => numbers!(I8 i8),
                Number::I16 => numbers!(I16 i16),
                Number::I32 => numbers!(I32 i32),
                Number::I64 => numbers!(I64 i64),
                Number::U8 => numbers!(U8 u8),
                Number::U16 => numbers!(U16 u16),
                Number::U32 => numbers!(U32 u32),
                Number::U64 => numbers!(U64 u64),
                Number::F16 => {
                    let (chunks, _) = bytes.as_chunks::<2>();
                    let single = |&b: &[u8; 2]| single(u16::from_ne_bytes(b));
                    Elements::Values(Values::F32(chunks.iter().map(single).collect()))
                }
                Number::F32 => numbers!(F32 f32),
                Number::F64 => numbers!(F64 f64),
            },
            Dtype::Utf32(..) => {
                let text = |field: &[u8]| {
                    let (points, _) = field.as_chunks::<4>();
                    let points = points.iter().map(|&b| u32::from_ne_bytes(b));
                    let mut text = String::new();
                    for point in points {
                        let c = char::from_u32(point);
                        text.push(c.ok_or(format!("{point:#x} is not a character"))?);
                    }
                    text.truncate(text.trim_end_matches('\0').len());
                    Ok(text)
                };
                Elements::Strings(fields(bytes, self.size(), n, text)?)
            }
            Dtype::Bytes(_) => {
                let text = |field: &[u8]| {
                    let end = field.iter().rposition(|&b| b != 0).map_or(0, |i| i + 1);
                    utf8(&field[..end])
                };
                Elements::Strings(fields(bytes, self.size(), n, text)?)
            }
            Dtype::Text => return Err("text inside records cannot be held".into()),
            Dtype::Record(fields, size) => {
                let field = |f: &Field| {
                    let mut packed = Vec::with_capacity(n * f.size());
                    for record in bytes.chunks_exact((*size).max(1)) {
                        packed.extend_from_slice(&record[f.offset..f.offset + f.size()]);
                    }
                    let elements = f.dtype.elements(&packed);
                    let elements = elements.map_err(|e| format!("field `{}`: {e}", f.name))?;
                    Ok((f.name.clone(), f.axes.clone(), elements))
                };
                Elements::Record(fields.iter().map(field).collect::<Result<_, String>>()?)
            }
        })
    }
}

impl Field {
    /// Bytes of all elements of the field; that they can be counted was checked.
    fn size(&self) -> usize {
        self.axes.iter().product::<usize>() * self.dtype.size()
    }
}

fn fields(
    bytes: &[u8],
    size: usize,
    n: usize,
    text: impl Fn(&[u8]) -> Result<String, String>,
) -> Result<Vec<String>, String> {
    (0..n).map(|i| text(&bytes[i * size..(i + 1) * size])).collect()
}

pub(super) fn utf8(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| {
        format!("text `{}` is not UTF-8", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]))
    })?;
    Ok(text.into())
}

/// A record of these fields (name, own axes, type).
fn record(
    parts: impl Iterator<Item = Result<(String, Vec<usize>, Dtype), String>>,
) -> Result<Dtype, String> {
    let (mut fields, mut offset) = (Vec::new(), 0usize);
    for part in parts {
        let (name, axes, dtype) = part?;
        if dtype == Dtype::Text {
            return Err(format!("field `{name}` is text of any length, which cannot be held"));
        }
        let size = axes.iter().try_fold(dtype.size(), |n, &a| n.checked_mul(a));
        let end = size.and_then(|size| offset.checked_add(size)).filter(|&end| end < 1 << 32);
        let end = end.ok_or("a record of absurd size")?;
        fields.push(Field { name, offset, axes, dtype });
        offset = end;
    }
    if offset == 0 {
        return Err("records without content".into());
    }
    Ok(Dtype::Record(fields, offset))
}

/// A half-precision number.
pub(super) fn single(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (bits >> 10 & 31, f32::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1.0 + fraction / 1024.0) * 2f32.powi(i32::from(e) - 15),
    }
}
