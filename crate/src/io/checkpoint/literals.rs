//! How pickles write numbers and texts: in bytes, and, in the oldest protocols, in words.

use super::heap::{Object, Value};
use super::pickle::Machine;
use crate::error::Result;

impl Machine<'_, '_> {
    /// Whole numbers of up to 255 bytes and more; what has more than 64 bits stays as it is.
    pub fn long(&mut self, width: usize) -> Result<()> {
        let n = self.input.number(width)?;
        let bytes = self.input.take(n)?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        if bytes.len() <= 8 {
            whole[..bytes.len()].copy_from_slice(bytes);
            self.stack.push(Value::Int(i64::from_le_bytes(whole)));
            return Ok(());
        }
        let bytes = Object::Bytes(bytes.into());
        self.big(bytes)
    }

    fn big(&mut self, digits: Object) -> Result<()> {
        let digits = self.heap.add(digits);
        let arguments = self.heap.add(Object::Tuple(vec![digits]));
        let number = self.heap.instance("builtins.int".into(), arguments);
        self.stack.push(number);
        Ok(())
    }

    pub fn number_in_words(&mut self, op: u8) -> Result<()> {
        let line = self.input.line()?;
        let digits = if op == b'L' { line.strip_suffix('L').unwrap_or(&line) } else { &line };
        let value = match (op, digits) {
            (b'I', "00") => Some(Value::Bool(false)),
            (b'I', "01") => Some(Value::Bool(true)),
            (b'F', _) => digits.parse().ok().map(Value::Float),
            _ => digits.parse().ok().map(Value::Int),
        };
        match value {
            Some(value) => self.stack.push(value),
            None if op != b'F'
                && digits.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) =>
            {
                return self.big(Object::Str(digits.into()));
            }
            None => return Err(self.damaged(&format!("`{line}` is no number"))),
        }
        Ok(())
    }

    pub fn place_in_words(&mut self) -> Result<u32> {
        let line = self.input.line()?;
        line.parse().map_err(|_| self.damaged(&format!("`{line}` is no place in its memory")))
    }

    /// Text in UTF-8. Halves of surrogate pairs, which Python writes as well, are lost.
    pub fn text(&mut self, width: usize) -> Result<()> {
        let n = self.input.number(width)?;
        let text = Object::Str(String::from_utf8_lossy(self.input.take(n)?).into());
        self.push(text);
        Ok(())
    }

    pub fn bytes(&mut self, width: usize) -> Result<()> {
        let n = self.input.number(width)?;
        let bytes = Object::Bytes(self.input.take(n)?.into());
        self.push(bytes);
        Ok(())
    }

    /// Texts of Python 2, which are bytes.
    pub fn old_text(&mut self, width: usize) -> Result<()> {
        let n = self.input.number(width)?;
        let object = text_or_bytes(self.input.take(n)?.to_vec());
        self.push(object);
        Ok(())
    }

    /// Texts of protocol 0: as in Python's source, with quotes and escapes.
    pub fn quoted(&mut self) -> Result<()> {
        let line = self.input.line()?;
        let inner = ['\'', '"'].iter().find_map(|q| line.strip_prefix(*q)?.strip_suffix(*q));
        let inner = inner.ok_or_else(|| self.damaged("a text without quotes"))?;
        let bytes: Vec<u8> = unescape(inner, "xnrt\\'\"")
            .map_err(|e| self.damaged(e))?
            .into_iter()
            .map(|c| c as u32 as u8)
            .collect();
        self.push(text_or_bytes(bytes));
        Ok(())
    }

    /// Texts of protocol 0 in Python's `raw-unicode-escape`.
    pub fn escaped(&mut self) -> Result<()> {
        let line = self.input.line()?;
        let text: String =
            unescape(&line, "uU").map_err(|e| self.damaged(e))?.into_iter().collect();
        self.push(Object::Str(text.into()));
        Ok(())
    }
}

fn text_or_bytes(bytes: Vec<u8>) -> Object {
    match String::from_utf8(bytes) {
        Ok(text) => Object::Str(text.into()),
        Err(e) => Object::Bytes(e.into_bytes().into()),
    }
}

/// The characters of a text, where `known` lists what may follow a backslash.
fn unescape(text: &str, known: &str) -> Result<Vec<char>, &'static str> {
    let (mut out, mut rest) = (Vec::new(), text.chars());
    while let Some(c) = rest.next() {
        let next = rest.as_str().chars().next();
        let Some(escape) = next.filter(|n| c == '\\' && known.contains(*n)) else {
            out.push(c);
            continue;
        };
        rest.next();
        let digits = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            'n' | 'r' | 't' => {
                out.push(match escape {
                    'n' => '\n',
                    'r' => '\r',
                    _ => '\t',
                });
                continue;
            }
            plain => {
                out.push(plain);
                continue;
            }
        };
        let code = rest.as_str().get(..digits).and_then(|d| u32::from_str_radix(d, 16).ok());
        out.push(code.and_then(char::from_u32).ok_or("a damaged escape in a text")?);
        rest = rest.as_str()[digits..].chars();
    }
    Ok(out)
}
