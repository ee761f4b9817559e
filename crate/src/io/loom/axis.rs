//! The attributes of one axis of a loom file: a table, and what has more axes than one.

use super::{last, members};
use crate::anndata::{Column, Dense, Frame, Map, Matrix, Value};
use crate::error::Result;
use crate::io::h5::{Elements, Group};

/// What is known along one axis of the matrix.
pub(super) struct Axis {
    pub frame: Frame,
    pub multi: Map<Matrix>,
    pub others: Map<Value>,
}

impl Axis {
    pub fn read(
        root: &Group,
        key: &str,
        len: usize,
        names: &str,
        mapping: &[(String, Vec<String>)],
    ) -> Result<Axis> {
        let mut columns: Map<Column> = Map::new();
        let (mut multi, mut others, mut index) = (Map::new(), Map::new(), None);
        for data in members(root, key)? {
            if data.shape.first() != Some(&len) {
                let reason = format!("shape {:?}, the matrix asks for {len} entries", data.shape);
                return Err(data.error(reason));
            }
            let (name, shape) = (last(&data).to_string(), data.shape.clone());
            let width = shape[1..].iter().product::<usize>();
            match (data.read()?, shape.len()) {
                (elements, 1 | 2) if width == 1 => {
                    let column = match elements {
                        Elements::Values(v) => Column::Values(v),
                        Elements::Strings(v) => {
                            Column::Str(v.into_iter().map(|s| Some(unescape(s))).collect())
                        }
                        Elements::Record(_) => return Err(data.error("records are not known")),
                    };
                    match name == names {
                        true => index = Some(column),
                        false => drop(columns.insert(name, column)),
                    }
                }
                (Elements::Values(v), 2) => {
                    multi.insert(name, Matrix::Dense(Dense::new(len, width, v)?));
                }
                (Elements::Values(values), _) => {
                    others.insert(name, Value::Array { shape, values });
                }
                (Elements::Strings(v), _) => {
                    let values = v.into_iter().map(unescape).collect();
                    others.insert(name, Value::StrArray { shape, values });
                }
                (Elements::Record(_), _) => return Err(data.error("records are not known")),
            }
        }
        for (target, sources) in mapping {
            let matrix = combine(root, key, len, sources, &columns)?;
            sources.iter().for_each(|s| drop(columns.shift_remove(s)));
            multi.insert(target.clone(), matrix);
        }
        let mut frame = match &index {
            Some(column) => {
                let text = |i| column.text(i).unwrap_or_else(|| "nan".into());
                Frame::new((0..len).map(text).collect())
            }
            None => Frame::with_len(len),
        };
        frame.index_name = index.map(|_| names.to_string());
        for (name, column) in columns {
            frame.insert(name, column)?;
        }
        Ok(Axis { frame, multi, others })
    }

    /// Takes the columns out that hold one value only.
    pub fn take_constants(&mut self) -> Map<Value> {
        let constant = |column: &Column| {
            let n = column.len();
            let first = (n > 0).then(|| column.text(0))?;
            if (1..n).any(|i| column.text(i) != first) {
                return None;
            }
            Some(match column {
                Column::Values(v) => Value::Array { shape: vec![], values: v.slice(0..1) },
                _ => first.map_or(Value::Null, Value::Str),
            })
        };
        let found: Map<Value> = self
            .frame
            .columns()
            .filter_map(|(name, column)| Some((name.to_string(), constant(column)?)))
            .collect();
        found.keys().for_each(|name| drop(self.frame.remove(name)));
        found
    }
}

/// A matrix of several attributes, side by side.
fn combine(
    root: &Group,
    key: &str,
    len: usize,
    sources: &[String],
    columns: &Map<Column>,
) -> Result<Matrix> {
    let numbers = |name: &String| {
        columns.get(name).and_then(Column::to_f64).ok_or_else(|| {
            let has = columns.keys().cloned().collect::<Vec<_>>().join(", ");
            root.error(format!("{key} has no numbers `{name}`; it has: {has}"))
        })
    };
    let parts: Vec<Vec<f64>> = sources.iter().map(numbers).collect::<Result<_>>()?;
    let rows = (0..len).flat_map(|i| parts.iter().map(move |p| p[i]));
    Ok(Matrix::Dense(Dense::new(len, parts.len(), rows.collect::<Vec<f64>>())?))
}

/// Loom files keep what is not ASCII as XML character references.
pub(super) fn unescape(text: String) -> String {
    if !text.contains('&') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest[1..].split_once(';').and_then(|(name, _)| {
            let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => {
                    let digits = name.strip_prefix('#')?;
                    let code = match digits.strip_prefix(['x', 'X']) {
                        Some(hex) => number(hex, 16),
                        None => number(digits, 10),
                    };
                    char::from_u32(code?)?
                }
            };
            Some((c, name.len() + 2))
        });
        let (c, used) = reference.unwrap_or(('&', 1));
        out.push(c);
        rest = &rest[used..];
    }
    out + rest
}
