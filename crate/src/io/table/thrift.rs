//! A look at metadata of parquet before the crate reads them. What a struct holds beyond the fields
//! that the crate knows is passed over by it, lists of as many elements as they claim: a list of
//! booleans, or of lists of them, takes it for ever without a byte being read. A field that it knows
//! is read as what it should be, whatever type is written before it: with another type, all that
//! follows would be something else to the crate than to this check.
//!
//! Thrift's compact protocol:
//! ```text
//! struct   fields, 0                  field: (step of the number << 4 | type), value
//! value    1, 2 true, false: nothing; 3 one byte; 4, 5, 6 varint; 7 eight bytes; 8 varint, bytes;
//!          9, 10 list: (length << 4 | type), varint if 15, values; 11 map: varint, types, pairs;
//!          12 struct; 13 sixteen bytes
//! ```

use std::io::Read;

/// Structs and lists inside each other deeper than this are no metadata of parquet.
const DEEPEST: usize = 16;

/// The type that a field should have.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A whole number of any width: a varint.
    Int,
    Byte,
    Bool,
    Double,
    Bytes,
    List(&'static Kind),
    Struct(Fields),
    /// Unknown: passed over by the crate as what it says it is.
    Any,
}
use Kind::*;

/// The fields of a struct that are known, from number 1 on.
type Fields = &'static [Kind];

const STATISTICS: Fields = &[Bytes, Bytes, Int, Int, Bytes, Bytes, Bool, Bool];
const KEY_VALUE: Fields = &[Bytes, Bytes];
const EMPTY: Kind = Struct(&[]);

/// The header of a page.
pub(super) const PAGE_HEADER: Fields = &[
    Int,
    Int,
    Int,
    Int,
    Struct(&[Int, Int, Int, Int, Struct(STATISTICS)]),
    EMPTY,
    Struct(&[Int, Int, Bool]),
    Struct(&[Int, Int, Int, Int, Int, Int, Bool, Struct(STATISTICS)]),
];

/// What is at the end of a file.
pub(super) const FILE_METADATA: Fields = &[
    Int,
    List(&Struct(SCHEMA_ELEMENT)),
    Int,
    List(&Struct(ROW_GROUP)),
    List(&Struct(KEY_VALUE)),
    Bytes,
    List(&Struct(&[EMPTY])),
    Any,
    Bytes,
];

const SCHEMA_ELEMENT: Fields =
    &[Int, Int, Int, Bytes, Int, Int, Int, Int, Int, Struct(LOGICAL_TYPE)];

const TIME: Kind = Struct(&[Bool, Struct(&[EMPTY, EMPTY, EMPTY])]);
const LOGICAL_TYPE: Fields = &[
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    Struct(&[Int, Int]),
    EMPTY,
    TIME,
    TIME,
    Any,
    Struct(&[Byte, Bool]),
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    EMPTY,
    Struct(&[Byte]),
    Struct(&[Bytes]),
    Struct(&[Bytes, Int]),
];

const ROW_GROUP: Fields =
    &[List(&Struct(COLUMN_CHUNK)), Int, Int, List(&Struct(&[Int, Bool, Bool])), Int, Int, Int];

const COLUMN_CHUNK: Fields = &[Bytes, Int, Struct(COLUMN_METADATA), Int, Int, Int, Int, Any, Bytes];

const COLUMN_METADATA: Fields = &[
    Int,
    List(&Int),
    List(&Bytes),
    Int,
    Int,
    Int,
    Int,
    List(&Struct(KEY_VALUE)),
    Int,
    Int,
    Int,
    Struct(STATISTICS),
    List(&Struct(&[Int, Int, Int])),
    Int,
    Int,
    Struct(&[Int, List(&Int), List(&Int)]),
    Struct(&[
        Struct(&[Double, Double, Double, Double, Double, Double, Double, Double]),
        List(&Int),
    ]),
];

/// Checks that a struct of these fields ends within `room` bytes, that its fields have their types,
/// and that every element of a list takes a byte; how many bytes it has.
pub(super) fn check(source: impl Read, room: u64, fields: Fields) -> Result<u64, String> {
    let mut walk = Walk { source, room };
    walk.fields(0, fields)?;
    Ok(room - walk.room)
}

struct Walk<R> {
    source: R,
    /// Bytes that are left.
    room: u64,
}

impl<R: Read> Walk<R> {
    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.take(1)?;
        self.source.read_exact(&mut byte).map_err(|_| "cut short")?;
        Ok(byte[0])
    }

    fn take(&mut self, n: u64) -> Result<(), String> {
        self.room = self.room.checked_sub(n).ok_or("claims more than the file has")?;
        Ok(())
    }

    fn skip(&mut self, n: u64) -> Result<(), String> {
        self.take(n)?;
        let skipped = std::io::copy(&mut self.source.by_ref().take(n), &mut std::io::sink());
        if skipped.is_ok_and(|skipped| skipped == n) { Ok(()) } else { Err("cut short".into()) }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number that does not end".into())
    }

    fn fields(&mut self, depth: usize, known: Fields) -> Result<(), String> {
        if depth > DEEPEST {
            return Err("nested too deep".into());
        }
        let mut number = 0u64;
        loop {
            let head = self.byte()?;
            if head & 15 == 0 {
                return Ok(());
            }
            number = match head >> 4 {
                // Twice the number; those below zero would be odd.
                0 => match self.varint()? {
                    n if n % 2 == 0 && n / 2 > number && n < 1 << 16 => n / 2,
                    _ => return Err("the numbers of fields do not rise".into()),
                },
                step => number + u64::from(step),
            };
            let known = usize::try_from(number).ok().and_then(|n| known.get(n.checked_sub(1)?));
            self.value(head & 15, depth, known.copied().unwrap_or(Any))?;
        }
    }

    fn value(&mut self, kind: u8, depth: usize, known: Kind) -> Result<(), String> {
        let fits = match known {
            Any => true,
            Bool => matches!(kind, 1 | 2),
            Byte => kind == 3,
            Int => matches!(kind, 4..=6),
            Double => kind == 7,
            Bytes => kind == 8,
            List(_) => kind == 9,
            Struct(_) => kind == 12,
        };
        if !fits {
            return Err("a field has another type than it should have".into());
        }
        match kind {
            1 | 2 => Ok(()),
            3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let length = self.varint()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                let of = if let List(of) = known { *of } else { Any };
                self.elements(n, &[head & 15], depth, of)
            }
            11 => match self.varint()? {
                0 => Ok(()),
                n => {
                    let kinds = self.byte()?;
                    self.elements(n, &[kinds >> 4, kinds & 15], depth, Any)
                }
            },
            12 => self.fields(depth + 1, if let Struct(fields) = known { fields } else { &[] }),
            13 => self.skip(16),
            other => Err(format!("a value of the unknown type {other}")),
        }
    }

    fn elements(&mut self, n: u64, kinds: &[u8], depth: usize, of: Kind) -> Result<(), String> {
        if n > self.room || depth > DEEPEST {
            return Err(format!("a list of {n} elements in {} bytes", self.room));
        }
        for _ in 0..n {
            for &kind in kinds {
                match kind {
                    // In a list they take a byte. None of parquet's lists has them.
                    1 | 2 => return Err("a list of booleans".into()),
                    kind => self.value(kind, depth + 1, of)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind::*, PAGE_HEADER, check};

    fn said(bytes: &[u8]) -> String {
        check(bytes, bytes.len() as u64, &[]).err().unwrap_or_default()
    }

    #[test]
    fn a_sound_struct_passes_whatever_its_fields() {
        // i32 -1; text "ab"; list of two structs, one with a boolean; map of i32 to bytes; end.
        let lists = [0x19, 0x2c, 0x11, 0, 0];
        let map = [0x1b, 1, 0x58, 7, 1, b'x'];
        let whole = [&[0x15, 1, 0x18, 2, b'a', b'b'], &lists[..], &map, &[0]].concat();
        assert_eq!(said(&whole), "");
        for end in 0..whole.len() {
            assert!(!said(&whole[..end]).is_empty(), "cut at {end}");
        }
    }

    #[test]
    fn known_fields_have_their_types() {
        let header = |bytes: &[u8]| check(bytes, bytes.len() as u64, PAGE_HEADER).err();
        // Kind, size, size, and the header of a dictionary: 3 values, encoding 0, sorted.
        assert_eq!(
            header(&[0x15, 4, 0x15, 40, 0x15, 40, 0x4c, 0x15, 6, 0x15, 0, 0x11, 0, 0]),
            None
        );
        // A list where the kind should be; a number where a struct should be, by its own number.
        assert!(header(&[0x19, 0x15, 2, 0]).is_some());
        assert!(header(&[0x15, 4, 0x05, 14, 2, 0]).is_some());
        // Numbers that fall: 2, 1; and -8, from which a step leads to 1.
        assert!(header(&[0x25, 4, 0x05, 2, 2, 0]).is_some());
        assert!(header(&[0x05, 15, 2, 0x99, 0x15, 2, 0]).is_some());
        let list = |bytes: &[u8]| check(bytes, bytes.len() as u64, &[List(&Int)]).err();
        assert_eq!(list(&[0x19, 0x25, 2, 4, 0]), None);
        assert!(list(&[0x19, 0x28, 0, 0, 0]).is_some());
    }

    #[test]
    fn lists_that_would_take_for_ever_are_refused() {
        // 2^31 booleans; 2^31 lists; and lists in lists in lists.
        assert!(said(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 7, 0]).contains("elements in"));
        assert!(said(&[0x19, 0xf9, 0xff, 0xff, 0xff, 0xff, 7, 0]).contains("elements in"));
        assert!(said(&[0x19, 0x21, 1, 1, 0]).contains("booleans"));
        assert!(
            said(&[0x19; 100]).contains("nested too deep") || said(&[0x19; 100]).contains("list")
        );
        assert!(said(&[0x1c; 100]).contains("nested too deep"));
    }
}
