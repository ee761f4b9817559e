//! numpy's scalars, which learning rates and losses are now and then.

use super::heap::{Heap, Object, Value};

pub(super) enum Scalar {
    Number(Value),
    Text(String),
}

/// The value of `scalar(dtype, bytes)`; `None` for types that Python has no plain value for.
pub(super) fn scalar(heap: &Heap, args: &[Value]) -> Option<Scalar> {
    let [dtype, bytes] = *args else { return None };
    let Object::Instance(dtype) = heap.object(dtype)? else { return None };
    if &*dtype.class != "numpy.dtype" {
        return None;
    }
    // numpy.dtype("f8", …), then its state: (version, byte order, …).
    let name = heap.str(*heap.elements(dtype.arguments)?.first()?)?;
    let order = heap.elements(dtype.state).and_then(|s| s.get(1)).and_then(|o| heap.str(*o));
    /// More than any number has; texts of learning rates' names are shorter too.
    const LONGEST: usize = 4096;
    let Object::Bytes(stored) = heap.object(bytes)? else { return None };
    if stored.len() > LONGEST {
        return None;
    }
    let mut bytes = stored.to_vec();
    let kind = name.chars().next()?;
    if order == Some(">") && kind != 'U' {
        bytes.reverse();
    }
    let whole = |signed: bool| -> Option<i64> {
        let negative = signed && bytes.last()? & 0x80 != 0;
        let mut eight = [if negative { 0xff } else { 0 }; 8];
        eight.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        let n = i64::from_le_bytes(eight);
        // Of numbers without sign the largest do not fit.
        (signed || n >= 0 || bytes.len() < 8).then_some(n)
    };
    let number = match (kind, bytes.len()) {
        ('b', 1) => Value::Bool(bytes[0] != 0),
        ('i', 1 | 2 | 4 | 8) => Value::Int(whole(true)?),
        ('u', 1 | 2 | 4 | 8) => Value::Int(whole(false)?),
        ('f', 8) => Value::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        ('f', 4) => Value::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        ('f', 2) => Value::Float(half(u16::from_le_bytes(bytes.try_into().ok()?))),
        ('U', n) if n.is_multiple_of(4) => {
            let code = |c: &[u8; 4]| match order {
                Some(">") => u32::from_be_bytes(*c),
                _ => u32::from_le_bytes(*c),
            };
            let text: Option<String> =
                bytes.as_chunks::<4>().0.iter().map(|c| char::from_u32(code(c))).collect();
            return Some(Scalar::Text(text?.trim_end_matches('\0').into()));
        }
        _ => return None,
    };
    Some(Scalar::Number(number))
}

/// A float of 16 bits: sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let fraction = f64::from(bits & 0x3ff);
    sign * match bits >> 10 & 0x1f {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_have_their_value() {
        // numpy: np.array([1, -2, 65504, 0.1, 6e-8], "f2").view("u2")
        for (bits, value) in [
            (15360, 1.0),
            (49152, -2.0),
            (31743, 65504.0),
            (11878, 0.0999755859375),
            (1, 5.960464477539063e-08),
            (0x7c00, f64::INFINITY),
        ] {
            assert_eq!(half(bits), value);
        }
        assert!(half(0x7e00).is_nan());
    }
}
