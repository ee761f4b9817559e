//! The common names of the other axis, and matrices brought to them and stacked.

use crate::anndata::categories::first_places;
use crate::anndata::take::running_sum;
use crate::anndata::values::{Kind, same_type};
use crate::anndata::{Dense, Frame, Matrix, Sparse, Values};
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::collections::HashSet;

/// Where each new place of an axis comes from; `None` is a place that the object does not have.
pub(super) struct Align {
    /// Length of the axis as it was.
    old: usize,
    /// For each new place its old one; not there when nothing changes.
    from: Option<Vec<Option<usize>>>,
}

/// The names of the other axis that all tables have (`outer`: any), and how each gets there.
///
/// As in pandas: an intersection keeps the order of the first; a union of names that differ is
/// sorted.
pub(super) fn names(tables: &[&Frame], outer: bool, slot: &str) -> Result<(Frame, Vec<Align>)> {
    for (i, table) in tables.iter().enumerate() {
        if !table.names_are_unique() {
            let reason = format!(
                "object {i} has several of one name, so that it is not clear which belong together; \
                 call `{slot}_names_make_unique()` first"
            );
            return Err(Error::data(format!("names of {slot}"), reason));
        }
    }
    let mut names: Cow<[String]> = Cow::Borrowed(tables[0].names());
    for other in tables[1..].iter().map(|t| t.names()) {
        if *names == *other {
            continue;
        }
        if !outer {
            let there: HashSet<&str> = other.iter().map(String::as_str).collect();
            names.to_mut().retain(|n| there.contains(n.as_str()));
        } else if names.is_empty() {
            names = Cow::Borrowed(other);
        } else if !other.is_empty() {
            let all = names.to_mut();
            all.extend_from_slice(other);
            all.sort_unstable();
            all.dedup();
        }
    }
    let align = |table: &&Frame| {
        let from = (*names != *table.names()).then(|| {
            let at = first_places(table.names());
            names.iter().map(|n| at.get(n.as_str()).copied()).collect()
        });
        Align { old: table.len(), from }
    };
    let aligns = tables.iter().map(align).collect();
    let mut out = Frame::new(names.into_owned());
    out.index_name = common_name(tables);
    Ok((out, aligns))
}

/// The name of the index, where all tables call it the same.
pub(super) fn common_name(tables: &[&Frame]) -> Option<String> {
    let first = &tables[0].index_name;
    if tables.iter().all(|t| t.index_name == *first) { first.clone() } else { None }
}

/// What is put where an object has nothing.
#[derive(Clone, Copy)]
struct Fill {
    value: f64,
    /// The type it has in Python, where a whole number is an `int`.
    kind: Kind,
}

impl Fill {
    fn new(given: Option<f64>, sparse: bool) -> Fill {
        let value = given.unwrap_or(if sparse { 0.0 } else { f64::NAN });
        let whole = value.fract() == 0.0 && value.abs() < 9e15;
        Fill { value, kind: if whole { Kind::I64 } else { Kind::F64 } }
    }

    /// The type of elements of `kind` among which it is put.
    fn among(self, kind: Kind) -> Kind {
        match (self.kind, kind) {
            (_, k) if k.is_float() => k,
            // A whole number fits in, or widens the type as far as it must.
            (Kind::I64, k) if self.fits(k) => k,
            (Kind::I64, k) => {
                use Kind::{I8, I16, I32, I64, U8, U16, U32, U64};
                let all = if self.value < 0.0 { [I8, I16, I32, I64] } else { [U8, U16, U32, U64] };
                k.promote(all.into_iter().find(|&k| self.fits(k)).unwrap_or(I64))
            }
            (fill, k) => k.promote(fill),
        }
    }

    fn fits(self, kind: Kind) -> bool {
        Values::F64(vec![self.value]).cast(kind).get_f64(0) == self.value
    }
}

impl Align {
    /// From the first `old` places to the first `new` ones.
    pub(super) fn counted(old: usize, new: usize) -> Align {
        let from = (old != new).then(|| (0..new).map(|i| (i < old).then_some(i)).collect());
        Align { old, from }
    }

    /// Where each new place comes from; `None` where nothing changes.
    pub(super) fn places(&self) -> Option<&[Option<usize>]> {
        self.from.as_deref()
    }

    /// The rows of a matrix at their new places; missing ones are 0 in sparse matrices, else NaN.
    pub(super) fn rows(&self, m: &Matrix) -> Matrix {
        self.axis(m, None, true).into_owned()
    }

    /// The same for columns.
    pub(super) fn columns(&self, m: &Matrix) -> Matrix {
        self.axis(m, None, false).into_owned()
    }

    fn axis<'a>(&self, m: &'a Matrix, fill: Option<f64>, rows: bool) -> Cow<'a, Matrix> {
        let Some(from) = &self.from else { return Cow::Borrowed(m) };
        let missing = from.iter().any(Option::is_none);
        let fill = Fill::new(fill, m.is_sparse());
        let by = |m: &Sparse, by_rows: bool| match rows == by_rows {
            true => major(m, by_rows, from, fill),
            false => minor(m, by_rows, from, self.old, fill),
        };
        Cow::Owned(match m {
            Matrix::Dense(m) => {
                let kind = if missing { fill.among(m.values.kind()) } else { m.values.kind() };
                Matrix::Dense(dense(m, rows, from, fill.value, kind))
            }
            Matrix::Csr(m) => Matrix::Csr(by(m, true)),
            Matrix::Csc(m) => Matrix::Csc(by(m, false)),
        })
    }
}

/// The elements, and behind them the fill value: place `len` is then an element like any other.
fn with_fill(values: &Values, fill: f64, kind: Kind) -> Values {
    let mut out = Values::with_capacity(kind, values.len() + 1);
    out.append(values);
    out.append(&Values::F64(vec![fill]));
    out
}

fn dense(m: &Dense, rows: bool, from: &[Option<usize>], fill: f64, kind: Kind) -> Dense {
    let (nrows, ncols) = if rows { (from.len(), m.ncols) } else { (m.nrows, from.len()) };
    let values = with_fill(&m.values, fill, kind);
    let end = m.values.len();
    let values = same_type!(&values, v => {
        let mut out = Vec::with_capacity(nrows * ncols);
        for r in 0..nrows {
            let at = |r: Option<usize>, c: Option<usize>| match (r, c) {
                (Some(r), Some(c)) => v[r * m.ncols + c],
                _ => v[end],
            };
            match rows {
                true => out.extend((0..ncols).map(|c| at(from[r], Some(c)))),
                false => out.extend(from.iter().map(|&c| at(Some(r), c))),
            }
        }
        out
    });
    Dense { nrows, ncols, values }
}

/// Whether something has to be put into a sparse matrix, where 0 is there already, and the matrix
/// with the value to put at the end of its elements.
fn filled<'a>(m: &'a Sparse, from: &[Option<usize>], fill: Fill) -> (bool, Cow<'a, Sparse>) {
    if fill.value == 0.0 || from.iter().all(Option::is_some) {
        return (false, Cow::Borrowed(m));
    }
    let values = with_fill(&m.values, fill.value, m.values.kind().promote(fill.kind));
    let (indptr, indices) = (m.indptr.clone(), m.indices.clone());
    (true, Cow::Owned(Sparse { indptr, indices, values, ..*m }))
}

/// New places along the compressed axis.
fn major(m: &Sparse, by_rows: bool, from: &[Option<usize>], fill: Fill) -> Sparse {
    let (put, m) = filled(m, from, fill);
    let shape = if by_rows { (from.len(), m.ncols) } else { (m.nrows, from.len()) };
    let minor = if by_rows { m.ncols } else { m.nrows };
    let end = m.nnz();
    let elements = |new: usize| {
        let old = from[new].map_or(0..0, |i| m.indptr[i]..m.indptr[i + 1]);
        let blank = if put && from[new].is_none() { 0..minor as u32 } else { 0..0 };
        old.map(|k| (m.indices[k], k)).chain(blank.map(move |i| (i, end)))
    };
    let indptr = running_sum((0..from.len()).map(|new| elements(new).count()));
    m.gather(shape, indptr, elements)
}

/// New places along the other axis, of length `old`.
fn minor(m: &Sparse, by_rows: bool, from: &[Option<usize>], old: usize, fill: Fill) -> Sparse {
    const ABSENT: u32 = u32::MAX;
    let (put, m) = filled(m, from, fill);
    let shape = if by_rows { (m.nrows, from.len()) } else { (from.len(), m.ncols) };
    let mut target = vec![ABSENT; old];
    let mut blank = Vec::new();
    for (new, place) in from.iter().enumerate() {
        match place {
            Some(old) => target[*old] = new as u32,
            None if put => blank.push(new as u32),
            None => {}
        }
    }
    let end = m.nnz();
    let range = |i: usize| m.indptr[i]..m.indptr[i + 1];
    let length =
        |i| range(i).filter(|&k| target[m.indices[k] as usize] != ABSENT).count() + blank.len();
    let indptr = running_sum((0..m.majors()).map(length));
    m.gather(shape, indptr, |i| {
        let kept = range(i).map(|k| (target[m.indices[k] as usize], k));
        let mut row: Vec<(u32, usize)> = kept.filter(|e| e.0 != ABSENT).collect();
        row.extend(blank.iter().map(|&c| (c, end)));
        row.sort_unstable();
        row.into_iter()
    })
}

/// How matrices are put together.
pub(super) struct Along<'a> {
    /// One row after the other, else one column after the other.
    pub rows: bool,
    /// Length of each object along that axis.
    pub lengths: &'a [usize],
    /// What is put where an object has nothing, if that is said.
    pub fill: Option<f64>,
}

impl Along<'_> {
    /// The parts, aligned along the other axis, one after the other: CSR if any is sparse. A part
    /// that is not there is of `float64`, as in anndata.
    pub(super) fn matrices(&self, parts: &[Option<&Matrix>], aligns: &[Align]) -> Result<Matrix> {
        let sparse = parts.iter().flatten().any(|m| m.is_sparse());
        let fill = Fill::new(self.fill, sparse);
        let aligned = |i: usize| -> Cow<Matrix> {
            match parts[i] {
                Some(m) if sparse && !matches!(m, Matrix::Csr(_)) => {
                    let m = Matrix::Csr(m.to_csr());
                    Cow::Owned(aligns[i].axis(&m, Some(fill.value), !self.rows).into_owned())
                }
                Some(m) => aligns[i].axis(m, Some(fill.value), !self.rows),
                None => Cow::Owned(self.blank(i, aligns, sparse, fill)),
            }
        };
        Ok(if sparse {
            self.sparse(parts.len(), aligned)
        } else {
            self.dense(parts.len(), aligned)
        })
    }

    /// A part that an object does not have. Its type is that of the fill value, except for sparse
    /// matrices without one.
    fn blank(&self, i: usize, aligns: &[Align], sparse: bool, fill: Fill) -> Matrix {
        let other = aligns[i].from.as_ref().map_or(aligns[i].old, Vec::len);
        let n = self.lengths[i];
        let (nrows, ncols) = if self.rows { (n, other) } else { (other, n) };
        let kind = if sparse && fill.value == 0.0 { Kind::F64 } else { fill.kind };
        if sparse && fill.value == 0.0 {
            let values = Values::with_capacity(kind, 0);
            let indptr = vec![0; nrows + 1];
            return Matrix::Csr(Sparse { nrows, ncols, indptr, indices: Vec::new(), values });
        }
        let values = Values::F64(vec![fill.value; nrows * ncols]).cast(kind);
        let all = Matrix::Dense(Dense { nrows, ncols, values });
        if sparse { Matrix::Csr(all.to_csr()) } else { all }
    }

    fn dense<'a>(&self, n: usize, part: impl Fn(usize) -> Cow<'a, Matrix>) -> Matrix {
        let mut shapes = Vec::with_capacity(n);
        let mut flat: Option<Values> = None;
        for i in 0..n {
            let m = part(i);
            shapes.push(m.shape());
            flat = Some(joined(flat, m.values()));
        }
        let flat = flat.unwrap_or(Values::F64(Vec::new()));
        if self.rows {
            let (nrows, ncols) = (shapes.iter().map(|s| s.0).sum(), shapes[0].1);
            return Matrix::Dense(Dense { nrows, ncols, values: flat });
        }
        let (nrows, ncols) = (shapes[0].0, shapes.iter().map(|s| s.1).sum());
        let starts = running_sum(shapes.iter().map(|s| s.0 * s.1));
        let values = same_type!(&flat, v => {
            let mut out = Vec::with_capacity(v.len());
            for r in 0..nrows {
                for (start, (_, width)) in starts.iter().zip(&shapes) {
                    out.extend_from_slice(&v[start + r * width..start + (r + 1) * width]);
                }
            }
            out
        });
        Matrix::Dense(Dense { nrows, ncols, values })
    }

    fn sparse<'a>(&self, n: usize, part: impl Fn(usize) -> Cow<'a, Matrix>) -> Matrix {
        // All rows of all parts one after the other, columns already at their final places.
        let (mut indptr, mut indices, mut values) = (vec![0usize], Vec::new(), None);
        let (mut shape, mut offset) = ((0, 0), 0);
        for i in 0..n {
            let m = part(i);
            let Matrix::Csr(m) = &*m else { continue };
            let start = indptr[indptr.len() - 1];
            indptr.extend(m.indptr[1..].iter().map(|p| start + p));
            indices.extend(m.indices.iter().map(|&c| c + offset));
            values = Some(joined(values, &m.values));
            match self.rows {
                true => shape = (shape.0 + m.nrows, m.ncols),
                false => {
                    shape = (m.nrows, shape.1 + m.ncols);
                    offset += m.ncols as u32;
                }
            }
        }
        let values = values.unwrap_or(Values::F64(Vec::new()));
        let stacked = Sparse { nrows: indptr.len() - 1, ncols: shape.1, indptr, indices, values };
        if self.rows {
            return Matrix::Csr(stacked);
        }
        let rows = |r: usize| (0..n).map(move |i| i * shape.0 + r);
        let range = |r: usize| stacked.indptr[r]..stacked.indptr[r + 1];
        let indptr = running_sum((0..shape.0).map(|r| rows(r).map(|r| range(r).len()).sum()));
        let elements = |r: usize| rows(r).flat_map(range).map(|k| (stacked.indices[k], k));
        Matrix::Csr(stacked.gather(shape, indptr, elements))
    }
}

/// One run of elements after another, in numpy's common type.
fn joined(before: Option<Values>, next: &Values) -> Values {
    let Some(mut all) = before else { return next.clone() };
    let kind = all.kind().promote(next.kind());
    if kind != all.kind() {
        all = all.cast(kind);
    }
    all.append(next);
    all
}

/// Square matrices as blocks on the diagonal of a CSR matrix; one that is not there is empty.
pub(super) fn diagonal(parts: &[Option<&Matrix>], lengths: &[usize]) -> Matrix {
    let total: usize = lengths.iter().sum();
    let (mut indptr, mut indices, mut values) = (vec![0usize], Vec::new(), None);
    let mut offset = 0;
    for (part, &n) in parts.iter().zip(lengths) {
        let start = indptr[indptr.len() - 1];
        match part {
            Some(m) => {
                let m = m.to_csr();
                indptr.extend(m.indptr[1..].iter().map(|p| start + p));
                indices.extend(m.indices.iter().map(|&c| c + offset as u32));
                values = Some(joined(values, &m.values));
            }
            None => {
                indptr.extend(std::iter::repeat_n(start, n));
                values = Some(joined(values, &Values::Bool(Vec::new())));
            }
        }
        offset += n;
    }
    let values = values.unwrap_or(Values::Bool(Vec::new()));
    Matrix::Csr(Sparse { nrows: total, ncols: total, indptr, indices, values })
}
