//! Fields of text: what pandas takes for missing, for a number and for a boolean, and [`Builder`],
//! which finds out the type of a column while it parses it.

use super::column::Piece;
use crate::anndata::Values;
use std::collections::HashMap;

/// Whether pandas' `read_csv` takes this text for a missing value.
pub(super) fn is_missing(text: &[u8]) -> bool {
    match text {
        [] => true,
        [b'#' | b'-' | b'1' | b'<' | b'N' | b'n', ..] if text.len() <= 9 => matches!(
            text,
            b"#N/A"
                | b"#N/A N/A"
                | b"#NA"
                | b"-1.#IND"
                | b"-1.#QNAN"
                | b"-NaN"
                | b"-nan"
                | b"1.#IND"
                | b"1.#QNAN"
                | b"<NA>"
                | b"N/A"
                | b"NA"
                | b"NULL"
                | b"NaN"
                | b"None"
                | b"n/a"
                | b"nan"
                | b"null"
        ),
        _ => false,
    }
}

/// A number as it stands in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::io) enum Number {
    Int(i64),
    /// A whole number too large for `Int`.
    Large(u64),
    Float(f64),
}

impl Number {
    pub(in crate::io) fn to_f64(self) -> f64 {
        match self {
            Number::Int(x) => x as f64,
            Number::Large(x) => x as f64,
            Number::Float(x) => x,
        }
    }
}

/// Powers of ten that are exact.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Parses a number, correctly rounded; blanks around it are allowed.
pub(in crate::io) fn number(text: &[u8]) -> Option<Number> {
    let text = text.trim_ascii();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mut mantissa, mut count, mut fraction) = (0u64, 0usize, None);
    for (i, &b) in digits.iter().enumerate() {
        match b {
            b'0'..=b'9' => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(b - b'0'));
                count += 1;
            }
            b'.' if fraction.is_none() => fraction = Some(digits.len() - i - 1),
            _ => return unusual(text, digits),
        }
    }
    if count == 0 {
        return None;
    }
    let Some(fraction) = fraction else {
        if count <= 18 {
            let x = mantissa as i64;
            return Some(Number::Int(if negative { -x } else { x }));
        }
        let text = std::str::from_utf8(text).ok()?;
        return match text.parse::<i64>() {
            Ok(x) => Some(Number::Int(x)),
            Err(_) => text.parse::<u64>().ok().map(Number::Large),
        };
    };
    // Both factors are exact, so one rounding remains: the correct one.
    if count <= 19 && mantissa <= 1 << 53 && fraction < TENS.len() {
        let x = mantissa as f64 / TENS[fraction];
        return Some(Number::Float(if negative { -x } else { x }));
    }
    std::str::from_utf8(text).ok()?.parse().ok().map(Number::Float)
}

/// Exponents and infinities. What overflows a `float64` is no number: it stays the text that it is.
fn unusual(text: &[u8], digits: &[u8]) -> Option<Number> {
    match digits.first()? {
        b'0'..=b'9' | b'.' => {
            let x: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            x.is_finite().then_some(Number::Float(x))
        }
        b'i' | b'I' => std::str::from_utf8(text).ok()?.parse().ok().map(Number::Float),
        _ => None,
    }
}

fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"True" | b"TRUE" | b"true" => Some(true),
        b"False" | b"FALSE" | b"false" => Some(false),
        _ => None,
    }
}

/// How a column is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// As what it looks like.
    #[default]
    Infer,
    /// As text, of which some may be missing.
    Text,
    /// As text exactly as it stands: `NA` is a name like any other.
    Verbatim,
    /// As categories.
    Categories,
}

/// One column of a run of rows.
#[derive(Debug)]
pub(super) struct Builder {
    kind: Kind,
    rows: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Missing,
    Bool(Vec<bool>, Option<Vec<bool>>),
    Int(Vec<i64>, Option<Vec<bool>>),
    Large(Vec<u64>),
    Float(Vec<f64>),
    Text(Vec<Option<String>>),
    Codes { codes: Vec<i32>, labels: Vec<String>, place: HashMap<Vec<u8>, i32> },
}

/// Why a field could not be taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// The column is text after all.
    NotANumber,
    /// The field is not UTF-8.
    NotText,
}

impl Builder {
    pub(super) fn new(kind: Kind) -> Self {
        let state = match kind {
            Kind::Infer => State::Missing,
            Kind::Text | Kind::Verbatim => State::Text(Vec::new()),
            Kind::Categories => {
                let place = HashMap::new();
                State::Codes { codes: Vec::new(), labels: Vec::new(), place }
            }
        };
        Builder { kind, rows: 0, state }
    }

    pub(super) fn push(&mut self, field: &[u8]) -> Result<(), Refused> {
        let row = self.rows;
        self.rows += 1;
        // Most fields of a column of numbers are numbers: they are tried before anything else.
        match &mut self.state {
            State::Float(v) => {
                if let Some(x) = number(field) {
                    let x = x.to_f64();
                    v.push(if x == 0.0 && field.contains(&b'-') { -0.0 } else { x });
                    return Ok(());
                }
            }
            State::Int(v, missing) => {
                if let Some(Number::Int(x)) = number(field) {
                    v.push(x);
                    if let Some(missing) = missing {
                        missing.push(false);
                    }
                    return Ok(());
                }
            }
            _ => {}
        }
        if self.kind != Kind::Verbatim && is_missing(field) {
            self.push_missing();
            return Ok(());
        }
        match &mut self.state {
            State::Text(v) => v.push(Some(text(field)?.to_string())),
            State::Codes { codes, labels, place } => match place.get(field) {
                Some(&code) => codes.push(code),
                None => {
                    let code = labels.len() as i32;
                    labels.push(text(field)?.to_string());
                    place.insert(field.to_vec(), code);
                    codes.push(code);
                }
            },
            State::Bool(v, missing) => {
                v.push(boolean(field).ok_or(Refused::NotANumber)?);
                if let Some(missing) = missing {
                    missing.push(false);
                }
            }
            _ => self.push_number(row, field)?,
        }
        Ok(())
    }

    /// A field that is not what the column has been so far.
    fn push_number(&mut self, row: usize, field: &[u8]) -> Result<(), Refused> {
        let Some(x) = number(field) else {
            let (State::Missing, Some(x)) = (&self.state, boolean(field)) else {
                return if matches!(self.state, State::Missing) {
                    let mut texts = vec![None; row];
                    texts.push(Some(text(field)?.to_string()));
                    self.state = State::Text(texts);
                    Ok(())
                } else {
                    Err(Refused::NotANumber)
                };
            };
            let mut values = vec![false; row];
            values.push(x);
            self.state = State::Bool(values, gone(row));
            return Ok(());
        };
        match (&mut self.state, x) {
            (State::Missing, Number::Int(x)) => {
                let mut values = vec![0; row];
                values.push(x);
                self.state = State::Int(values, gone(row));
            }
            (State::Missing, Number::Large(x)) if row == 0 => self.state = State::Large(vec![x]),
            (State::Missing, Number::Float(x)) => {
                let mut values = vec![f64::NAN; row];
                values.push(x);
                self.state = State::Float(values);
            }
            (State::Int(v, missing), Number::Float(x)) => {
                let missing = missing.take().unwrap_or_default();
                let mut wide: Vec<f64> = v.iter().map(|&x| x as f64).collect();
                for (w, _) in wide.iter_mut().zip(missing).filter(|(_, gone)| *gone) {
                    *w = f64::NAN;
                }
                wide.push(x);
                self.state = State::Float(wide);
            }
            (State::Int(v, None), Number::Large(x)) if v.iter().all(|&x| x >= 0) => {
                let mut wide: Vec<u64> = v.iter().map(|&x| x as u64).collect();
                wide.push(x);
                self.state = State::Large(wide);
            }
            (State::Large(v), Number::Large(x)) => v.push(x),
            (State::Large(v), Number::Int(x)) if x >= 0 => v.push(x as u64),
            (State::Large(v), Number::Float(x)) => {
                let wide = v.iter().map(|&x| x as f64).chain([x]);
                self.state = State::Float(wide.collect());
            }
            _ => return Err(Refused::NotANumber),
        }
        Ok(())
    }

    fn push_missing(&mut self) {
        let row = self.rows - 1;
        match &mut self.state {
            State::Missing => {}
            State::Bool(v, missing) => {
                missing.get_or_insert_with(|| vec![false; row]).push(true);
                v.push(false);
            }
            State::Int(v, missing) => {
                missing.get_or_insert_with(|| vec![false; row]).push(true);
                v.push(0);
            }
            State::Large(v) => {
                // Too large for a float and with missing ones: text, as in pandas.
                let mut texts: Vec<_> = v.iter().map(|x| Some(x.to_string())).collect();
                texts.push(None);
                self.state = State::Text(texts);
            }
            State::Float(v) => v.push(f64::NAN),
            State::Text(v) => v.push(None),
            State::Codes { codes, .. } => codes.push(-1),
        }
    }

    pub(super) fn finish(self) -> Piece {
        match self.state {
            State::Missing => Piece::Missing(self.rows),
            State::Bool(v, missing) => Piece::Values { values: Values::Bool(v), missing },
            State::Int(v, missing) => Piece::Values { values: Values::I64(v), missing },
            State::Large(v) => Piece::Values { values: Values::U64(v), missing: None },
            State::Float(v) => Piece::Values { values: Values::F64(v), missing: None },
            State::Text(v) => Piece::Text(v),
            State::Codes { codes, labels, .. } => Piece::Codes { codes, labels },
        }
    }
}

fn gone(rows: usize) -> Option<Vec<bool>> {
    (rows > 0).then(|| {
        let mut missing = vec![true; rows];
        missing.push(false);
        missing
    })
}

fn text(field: &[u8]) -> Result<&str, Refused> {
    std::str::from_utf8(field).map_err(|_| Refused::NotText)
}
