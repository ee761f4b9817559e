//! Columns while they are being read: [`Piece`]s, as the decoders deliver them run by run, and
//! [`Gather`], which joins the pieces of a column in their order.
//!
//! A piece of text knows only its own rows, so the pieces of one column may differ in type: whole
//! numbers here, fractions there. `Gather` widens (`int64` → `float64`) as pandas does when it sees
//! the whole column. What cannot be widened without loss, numbers that turn out to be text, is
//! reported as a [`Conflict`]: the reader then starts again with that column as text.

use crate::anndata::{Categorical, Column, Values};
use std::collections::HashMap;

/// A run of rows of one column.
#[derive(Debug)]
pub(super) enum Piece {
    /// Rows of which nothing is known but that their element is missing.
    Missing(usize),
    /// Numbers or booleans; `missing` says which are not there, if some are.
    Values { values: Values, missing: Option<Vec<bool>> },
    /// Text.
    Text(Vec<Option<String>>),
    /// Positions in a list of texts; -1 is missing.
    Codes { codes: Vec<i32>, labels: Vec<String> },
}

/// Numbers and text met in one column.
#[derive(Debug)]
pub(super) struct Conflict;

macro_rules! each {
    ($values:expr, $v:ident => $body:expr) => {
        match $values {
            Values::F32($v) => $body,
            Values::F64($v) => $body,
            Values::I8($v) => $body,
            Values::I16($v) => $body,
            Values::I32($v) => $body,
            Values::I64($v) => $body,
            Values::U8($v) => $body,
            Values::U16($v) => $body,
            Values::U32($v) => $body,
            Values::U64($v) => $body,
            Values::Bool($v) => $body,
        }
    };
}

/// The pieces of one column so far.
#[derive(Debug, Default)]
pub(super) struct Gather {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Empty,
    Missing(usize),
    Values {
        values: Values,
        missing: Option<Vec<bool>>,
    },
    Text(Vec<Option<String>>),
    Codes {
        codes: Vec<i32>,
        labels: Vec<String>,
        place: HashMap<String, i32>,
    },
}

impl Gather {
    /// Adds the next rows.
    pub(super) fn push(&mut self, piece: Piece) -> Result<(), Conflict> {
        match piece {
            Piece::Missing(n) => self.push_missing(n),
            Piece::Values { values, missing } => self.push_values(values, missing)?,
            Piece::Text(mut texts) => match &mut self.state {
                State::Empty => self.state = State::Text(texts),
                State::Missing(n) => {
                    let mut all = vec![None; *n];
                    all.append(&mut texts);
                    self.state = State::Text(all);
                }
                State::Text(all) => all.append(&mut texts),
                _ => return Err(Conflict),
            },
            Piece::Codes { codes, labels } => self.push_codes(codes, labels)?,
        }
        Ok(())
    }

    fn push_missing(&mut self, n: usize) {
        match &mut self.state {
            State::Empty => self.state = State::Missing(n),
            State::Missing(m) => *m += n,
            State::Values { values, missing } => match values {
                Values::F64(v) => v.resize(v.len() + n, f64::NAN),
                Values::F32(v) => v.resize(v.len() + n, f32::NAN),
                other => {
                    let mask = missing.get_or_insert_with(|| vec![false; other.len()]);
                    mask.resize(mask.len() + n, true);
                    pad(other, n);
                }
            },
            State::Text(all) => all.resize(all.len() + n, None),
            State::Codes { codes, .. } => codes.resize(codes.len() + n, -1),
        }
    }

    fn push_values(&mut self, new: Values, gone: Option<Vec<bool>>) -> Result<(), Conflict> {
        match &mut self.state {
            State::Empty => self.state = State::Values { values: new, missing: gone },
            State::Missing(n) => {
                let n = std::mem::take(n);
                let mut values = empty_like(&new);
                pad(&mut values, n);
                self.state = State::Values { values, missing: Some(vec![true; n]) };
                return self.push_values(new, gone);
            }
            State::Values { values, missing } => {
                let (before, added) = (values.len(), new.len());
                if missing.is_some() || gone.is_some() {
                    let mask = missing.get_or_insert_with(|| vec![false; before]);
                    match gone {
                        Some(gone) => mask.extend(gone),
                        None => mask.resize(before + added, false),
                    }
                }
                if let Some(new) = append(values, new) {
                    let old = std::mem::replace(values, Values::Bool(Vec::new()));
                    let (mut old, mut new) = alike(old, new).ok_or(Conflict)?;
                    if let Some(missing) = missing {
                        blank(&mut old, &missing[..before]);
                        blank(&mut new, &missing[before..]);
                    }
                    append(&mut old, new);
                    *values = old;
                }
            }
            _ => return Err(Conflict),
        }
        Ok(())
    }

    fn push_codes(&mut self, mut new: Vec<i32>, new_labels: Vec<String>) -> Result<(), Conflict> {
        match &mut self.state {
            State::Empty | State::Missing(_) => {
                let n = if let State::Missing(n) = self.state { n } else { 0 };
                let place = HashMap::new();
                self.state = State::Codes { codes: vec![-1; n], labels: Vec::new(), place };
                return self.push_codes(new, new_labels);
            }
            State::Codes { codes, labels, place } => {
                let global: Vec<i32> = new_labels
                    .into_iter()
                    .map(|label| {
                        if let Some(&code) = place.get(&label) {
                            return code;
                        }
                        let code = labels.len() as i32;
                        labels.push(label.clone());
                        place.insert(label, code);
                        code
                    })
                    .collect();
                let same = global.iter().enumerate().all(|(i, &g)| i as i32 == g);
                if !same {
                    for code in &mut new {
                        *code = usize::try_from(*code).map_or(-1, |c| global[c]);
                    }
                }
                codes.append(&mut new);
            }
            _ => return Err(Conflict),
        }
        Ok(())
    }

    /// Number of rows so far.
    pub(super) fn rows(&self) -> usize {
        match &self.state {
            State::Empty => 0,
            State::Missing(n) => *n,
            State::Values { values, .. } => values.len(),
            State::Text(v) => v.len(),
            State::Codes { codes, .. } => codes.len(),
        }
    }

    /// Makes whole numbers of which some are missing floating-point, with NaN, as pandas does,
    /// unless one is too large to be exact there.
    pub(super) fn nan_for_missing(&mut self) {
        const EXACT: i64 = 1 << f64::MANTISSA_DIGITS;
        if let State::Values { values, missing: Some(gone) } = &mut self.state
            && let Values::I64(v) = values
            && gone.contains(&true)
            && v.iter().all(|x| (-EXACT..=EXACT).contains(x))
        {
            let mut wide = Values::F64(v.iter().map(|&x| x as f64).collect());
            blank(&mut wide, gone);
            self.state = State::Values { values: wide, missing: None };
        }
    }

    /// The whole column. Categories come in natural order.
    pub(super) fn finish(self) -> Column {
        match self.state {
            State::Empty => Column::Values(Values::F64(Vec::new())),
            State::Missing(n) => Column::Values(Values::F64(vec![f64::NAN; n])),
            State::Values { mut values, missing } => {
                each!(&mut values, v => v.shrink_to_fit());
                let missing = missing.filter(|m| !values.is_float() && m.contains(&true));
                match missing {
                    Some(missing) => Column::Nullable { values, missing },
                    None => Column::Values(values),
                }
            }
            State::Text(mut texts) => {
                texts.shrink_to_fit();
                Column::Str(texts)
            }
            State::Codes { mut codes, labels, .. } => {
                codes.shrink_to_fit();
                let labels: Vec<Option<String>> = labels.into_iter().map(Some).collect();
                let Categorical { codes: rank, categories, .. } = Categorical::from_labels(&labels);
                for code in &mut codes {
                    *code = usize::try_from(*code).map_or(-1, |c| rank[c]);
                }
                Column::Categorical(Categorical { codes, categories, typed: None, ordered: false })
            }
        }
    }

    /// The first `n` rows, which leave; the column keeps its type. Categories come in the order of
    /// their first row, so that the codes of later blocks mean the same.
    pub(super) fn take_front(&mut self, n: usize) -> Column {
        let state = match &mut self.state {
            State::Empty => State::Empty,
            State::Missing(all) => {
                *all -= n;
                State::Missing(n)
            }
            State::Values { values, missing } => State::Values {
                values: front(values, n),
                missing: missing.as_mut().map(|m| front_of(m, n)),
            },
            State::Text(v) => State::Text(front_of(v, n)),
            State::Codes { codes, labels, .. } => {
                let (codes, categories) = (front_of(codes, n), labels.clone());
                let c = Categorical { codes, categories, typed: None, ordered: false };
                return Column::Categorical(c);
            }
        };
        Gather { state }.finish()
    }
}

fn pad(values: &mut Values, n: usize) {
    match values {
        Values::F32(v) => v.resize(v.len() + n, f32::NAN),
        Values::F64(v) => v.resize(v.len() + n, f64::NAN),
        other => each!(other, v => v.resize(v.len() + n, Default::default())),
    }
}

/// Takes the first `n` elements out.
fn front_of<T>(v: &mut Vec<T>, n: usize) -> Vec<T> {
    let rest = v.split_off(n);
    std::mem::replace(v, rest)
}

fn front(values: &mut Values, n: usize) -> Values {
    each!(values, v => front_of(v, n).into())
}

fn empty_like(values: &Values) -> Values {
    values.slice(0..0)
}

/// Adds the elements of the same type; gives them back when the type is another.
pub(super) fn append(to: &mut Values, from: Values) -> Option<Values> {
    macro_rules! same {
        ($($kind:ident)*) => {
            match (to, from) {
                $((Values::$kind(a), Values::$kind(mut b)) => {
                    a.append(&mut b);
                    None
                })*
                (_, from) => Some(from),
            }
        };
    }
    same!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool)
}

/// Numbers of two types as the type that holds both; booleans are no numbers.
fn alike(a: Values, b: Values) -> Option<(Values, Values)> {
    let natural = |v: &[i64]| v.iter().all(|&x| x >= 0);
    let unsigned = |v: Vec<i64>| Values::U64(v.into_iter().map(|x| x as u64).collect());
    Some(match (a, b) {
        (Values::I64(a), b @ Values::U64(_)) if natural(&a) => (unsigned(a), b),
        (a @ Values::U64(_), Values::I64(b)) if natural(&b) => (a, unsigned(b)),
        (a @ Values::F64(_), b @ (Values::I64(_) | Values::U64(_)))
        | (a @ (Values::I64(_) | Values::U64(_)), b @ Values::F64(_)) => {
            (Values::F64(a.to_f64().into_owned()), Values::F64(b.to_f64().into_owned()))
        }
        _ => return None,
    })
}

/// NaN where an element is missing.
fn blank(values: &mut Values, missing: &[bool]) {
    if let Values::F64(v) = values {
        for (x, _) in v.iter_mut().zip(missing).filter(|(_, gone)| **gone) {
            *x = f64::NAN;
        }
    }
}
