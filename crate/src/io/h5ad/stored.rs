//! [`Stored`]: a matrix that stays in its file and is read in parts of bounded size.
//!
//! A matrix is stored along one axis, its major one: the rows of a dense or CSR matrix, the columns
//! of a CSC matrix. Consecutive majors are one stretch of the file. Parts along the other axis are
//! cut out of blocks of majors, in one pass over the file.

use super::read::{encoding, not_held};
use crate::anndata::{Dense, Matrix, Sparse, Values};
use crate::error::Result;
use crate::io::h5::Slabs;
use crate::io::store::{Attributes, Data, Group, Node};
use crate::progress::Progress;
use std::ops::Range;

/// Elements that are held at once where the caller asked for no size.
pub(super) const BLOCK: usize = 4 << 20;

/// A matrix in a file.
pub(super) struct Stored {
    pub nrows: usize,
    pub ncols: usize,
    pub form: Form,
}

// There are a few of these at a time, never many.
#[allow(clippy::large_enum_variant)]
pub(super) enum Form {
    Dense(Slabs),
    Sparse { by_rows: bool, indptr: Vec<usize>, indices: Slabs, values: Slabs },
}

/// The members of a sparse matrix, checked against each other as far as their headers go.
pub(super) struct Parts {
    pub nrows: usize,
    pub ncols: usize,
    pub indptr: Vec<usize>,
    pub indices: Data,
    pub values: Data,
}

impl Parts {
    /// A group of `data`, `indices` and `indptr`.
    pub fn of(group: &Group, by_rows: bool) -> Result<Parts> {
        let shape = match group.attr_numbers("shape")? {
            Some(shape) => Some(shape),
            None => group.attr_numbers("h5sparse_shape")?,
        };
        let whole = |x: f64| x >= 0.0 && x.fract() == 0.0 && x < 2f64.powi(48);
        let (nrows, ncols) = match shape.as_deref() {
            Some(&[r, c]) if whole(r) && whole(c) => (r as usize, c as usize),
            Some(other) => {
                let first = &other[..other.len().min(2)];
                let reason = format!("absurd shape {first:?} of {} axes", other.len());
                return Err(group.error(reason));
            }
            None => return Err(group.error("a sparse matrix without attribute `shape`")),
        };
        let (major, minor) = if by_rows { (nrows, ncols) } else { (ncols, nrows) };
        if minor > u32::MAX as usize {
            let reason = format!("an axis of {minor} cannot be held; at most 2^32 - 1");
            return Err(group.error(reason));
        }
        let indptr = group.data("indptr")?;
        if indptr.len()? != major + 1 {
            let (found, asked) = (indptr.len()?, major + 1);
            let reason = format!("indptr has {found} entries, the shape asks for {asked}");
            return Err(group.error(reason));
        }
        let (indices, values) = (group.data("indices")?, group.data("data")?);
        Ok(Parts { nrows, ncols, indptr: indptr.positions()?, indices, values })
    }
}

/// How a matrix is encoded: `csr_matrix`, `csc_matrix`, or something else. Before anndata 0.7 sparse
/// matrices had an attribute of their own.
pub(super) fn sparse_kind(group: &Group) -> Result<String> {
    let (kind, _) = encoding(group)?;
    Ok(match group.attr_text("h5sparse_format")? {
        Some(old) if kind.is_empty() => format!("{old}_matrix"),
        _ => kind,
    })
}

impl Stored {
    /// A dense or sparse matrix of numbers.
    pub fn open(node: &Node) -> Result<Stored> {
        match node {
            Node::Data(data) => match data.shape[..] {
                [nrows, ncols] => {
                    data.len()?;
                    Ok(Stored { nrows, ncols, form: Form::Dense(data.slabs()?) })
                }
                _ => Err(data.error(format!("an array of shape {:?} is no matrix", data.shape))),
            },
            Node::Group(group) => {
                let by_rows = match sparse_kind(group)?.as_str() {
                    "csr_matrix" => true,
                    "csc_matrix" => false,
                    other => return Err(group.error(not_held(other, "a matrix"))),
                };
                let Parts { nrows, ncols, indptr, indices, values } = Parts::of(group, by_rows)?;
                let n = indices.len()?;
                let rises = indptr.windows(2).all(|w| w[0] <= w[1]);
                if !rises || indptr[0] != 0 || indptr[indptr.len() - 1] != n || values.len()? != n {
                    let reason = "indptr must rise from 0 to the number of stored elements";
                    return Err(group.error(reason));
                }
                let (indices, values) = (indices.slabs()?, values.slabs()?);
                let form = Form::Sparse { by_rows, indptr, indices, values };
                Ok(Stored { nrows, ncols, form })
            }
        }
    }

    /// Whether rows are what lies together in the file.
    pub fn by_rows(&self) -> bool {
        !matches!(self.form, Form::Sparse { by_rows: false, .. })
    }

    /// The data set that holds the elements.
    pub fn values(&self) -> &Slabs {
        match &self.form {
            Form::Dense(slabs) | Form::Sparse { values: slabs, .. } => slabs,
        }
    }

    fn majors(&self) -> usize {
        if self.by_rows() { self.nrows } else { self.ncols }
    }

    /// Number of elements that are stored.
    pub fn len(&self) -> usize {
        self.elements(&(0..self.majors()))
    }

    /// Number of elements in a range of majors.
    fn elements(&self, majors: &Range<usize>) -> usize {
        match &self.form {
            Form::Dense(_) => majors.len() * self.ncols,
            Form::Sparse { indptr, .. } => indptr[majors.end] - indptr[majors.start],
        }
    }

    /// Consecutive majors: rows, or columns of a CSC matrix.
    pub fn range(&self, majors: Range<usize>) -> Result<Matrix> {
        match &self.form {
            Form::Dense(slabs) => {
                let n = majors.len();
                let dense = Dense::new(n, self.ncols, slabs.read(majors)?);
                dense.map(Matrix::Dense).map_err(|e| slabs.data.error(e.to_string()))
            }
            Form::Sparse { by_rows, indptr, indices, values } => {
                let stretch = indptr[majors.start]..indptr[majors.end];
                let starts = indptr[majors.start..=majors.end].iter();
                let starts = starts.map(|p| p - stretch.start).collect();
                let shape = match by_rows {
                    true => (majors.len(), self.ncols),
                    false => (self.nrows, majors.len()),
                };
                let found = (indices.read_indices(stretch.clone())?, values.read(stretch)?);
                let sparse = Sparse::new(shape, *by_rows, starts, found.0, found.1);
                let sparse = sparse.map_err(|e| indices.data.error(e.to_string()))?;
                Ok(if *by_rows { Matrix::Csr(sparse) } else { Matrix::Csc(sparse) })
            }
        }
    }

    /// All majors in ranges of at most `most` elements, but at least one major.
    pub fn blocks(&self, most: usize) -> Vec<Range<usize>> {
        let majors = self.majors();
        if let Form::Dense(slabs) = &self.form {
            let rows = (most / self.ncols.max(1)).max(1);
            // Whole bands, so that none is decompressed twice.
            let rows = if rows > slabs.band() { rows / slabs.band() * slabs.band() } else { rows };
            return (0..majors).step_by(rows).map(|s| s..(s + rows).min(majors)).collect();
        }
        let mut out = Vec::new();
        let mut start = 0;
        for m in 0..majors {
            if m > start && self.elements(&(start..m + 1)) > most {
                out.push(start..m);
                start = m;
            }
        }
        if start < majors {
            out.push(start..majors);
        }
        out
    }

    /// The rows at `keep`, in that order.
    pub fn take_rows(&self, keep: &[usize]) -> Result<Matrix> {
        if self.by_rows() { self.take_major(keep) } else { self.take_minor(keep) }
    }

    /// The columns at `keep`, in that order.
    pub fn take_columns(&self, keep: &[usize]) -> Result<Matrix> {
        if self.by_rows() { self.take_minor(keep) } else { self.take_major(keep) }
    }

    fn take_major(&self, keep: &[usize]) -> Result<Matrix> {
        let mut order = keep.to_vec();
        order.sort_unstable();
        order.dedup();
        let mut stack = Stack::new(self);
        for run in self.runs(&order) {
            let first = run[0];
            let block = self.range(first..run[run.len() - 1] + 1)?;
            let inside: Vec<usize> = run.iter().map(|m| m - first).collect();
            let all = inside.len() == inside[inside.len() - 1] + 1;
            stack.push(if all { block } else { take(&block, &inside) })?;
        }
        let found = stack.finish()?;
        if order == keep {
            return Ok(found);
        }
        let place: Vec<usize> = keep.iter().filter_map(|m| order.binary_search(m).ok()).collect();
        Ok(take(&found, &place))
    }

    /// Rising majors in runs that are read at once: gaps that lie in the same chunk are read along.
    fn runs<'a>(&self, order: &'a [usize]) -> Vec<&'a [usize]> {
        let gap = match &self.form {
            Form::Dense(slabs) => slabs.band() * self.ncols,
            Form::Sparse { values, .. } => values.band(),
        };
        let mut out = Vec::new();
        let mut start = 0;
        for i in 1..=order.len() {
            let ends = order.get(i).is_none_or(|&m| {
                self.elements(&(order[i - 1] + 1..m)) > gap
                    || self.elements(&(order[start]..m + 1)) > BLOCK
            });
            if ends {
                out.push(&order[start..i]);
                start = i;
            }
        }
        out
    }

    fn take_minor(&self, keep: &[usize]) -> Result<Matrix> {
        let mut stack = Stack::new(self);
        let blocks = self.blocks(BLOCK);
        let mut progress = Progress::new("reading", blocks.len() as u64);
        for majors in blocks {
            let block = self.range(majors)?;
            stack.push(match self.by_rows() {
                true => block.take_columns(keep),
                false => block.take_rows(keep),
            })?;
            progress.tick(1)?;
        }
        progress.finish();
        if self.majors() == 0 {
            let (n, m) = if self.by_rows() { (0, keep.len()) } else { (keep.len(), 0) };
            return self.empty(n, m);
        }
        stack.finish()
    }

    /// A matrix of this kind and type without stored elements.
    fn empty(&self, nrows: usize, ncols: usize) -> Result<Matrix> {
        let values = self.values().read(0..0)?;
        Ok(match &self.form {
            Form::Dense(_) => Matrix::Dense(Dense { nrows, ncols, values }),
            Form::Sparse { by_rows, .. } => {
                let indptr = vec![0; if *by_rows { nrows } else { ncols } + 1];
                let sparse = Sparse { nrows, ncols, indptr, indices: vec![], values };
                if *by_rows { Matrix::Csr(sparse) } else { Matrix::Csc(sparse) }
            }
        })
    }
}

/// The majors of a block at `keep`.
fn take(block: &Matrix, keep: &[usize]) -> Matrix {
    match block {
        Matrix::Csc(_) => block.take_columns(keep),
        _ => block.take_rows(keep),
    }
}

/// XBlocks of majors put one after the other.
struct Stack<'a> {
    of: &'a Stored,
    all: Option<Matrix>,
}

impl<'a> Stack<'a> {
    fn new(of: &'a Stored) -> Self {
        Stack { of, all: None }
    }

    fn push(&mut self, more: Matrix) -> Result<()> {
        let Some(all) = &mut self.all else {
            self.all = Some(more);
            return Ok(());
        };
        match (all, more) {
            (Matrix::Dense(a), Matrix::Dense(b)) => {
                a.nrows += b.nrows;
                append(&mut a.values, b.values);
            }
            (Matrix::Csr(a), Matrix::Csr(b)) => {
                a.nrows += b.nrows;
                join(a, b);
            }
            (Matrix::Csc(a), Matrix::Csc(b)) => {
                a.ncols += b.ncols;
                join(a, b);
            }
            _ => return Err(self.of.values().data.error("blocks of different kinds")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Matrix> {
        let (nrows, ncols) = (self.of.nrows, self.of.ncols);
        match self.all {
            Some(all) => Ok(all),
            None if self.of.by_rows() => self.of.empty(0, ncols),
            None => self.of.empty(nrows, 0),
        }
    }
}

fn join(a: &mut Sparse, b: Sparse) {
    let stored = a.indices.len();
    a.indptr.extend(b.indptr[1..].iter().map(|p| p + stored));
    a.indices.extend(b.indices);
    append(&mut a.values, b.values);
}

/// XBlocks of one data set have one type.
fn append(a: &mut Values, b: Values) {
    macro_rules! append_as {
        ($($variant:ident)*) => {
            match (a, b) {
                $((Values::$variant(a), Values::$variant(b)) => a.extend(b),)*
                _ => unreachable!("a data set has one element type"),
            }
        };
    }
    append_as!(F32 F64 I8 I16 I32 I64 U8 U16 U32 U64 Bool);
}
