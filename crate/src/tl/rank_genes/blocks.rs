//! The columns of a matrix of any form, a block of them at a time, as lists of their non-zero
//! elements: what a test by genes reads, without ever holding a dense or transposed copy.

use crate::anndata::{Dense, Matrix, Sparse, Values, with_values};
use crate::error::{Error, Result};
use crate::parallel::map_items;
use crate::tl::source::Source;
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// A non-zero element with the group of its cell, ordered by the element.
pub(super) trait Entry: Copy + Ord + Send + Sync {
    fn new(value: f64, group: u32) -> Self;
    fn value(self) -> f64;
    fn group(self) -> usize;
}

/// An element that `f32` holds exactly, packed with its group into one word, which sorts fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Narrow(u64);

impl Entry for Narrow {
    fn new(value: f64, group: u32) -> Self {
        let bits = (value as f32).to_bits();
        // The order of these whole numbers is that of the floating-point ones.
        let key = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
        Narrow(u64::from(key) << 32 | u64::from(group))
    }
    fn value(self) -> f64 {
        let key = (self.0 >> 32) as u32;
        let bits = if key >> 31 == 1 { key & !(1 << 31) } else { !key };
        f64::from(f32::from_bits(bits))
    }
    fn group(self) -> usize {
        self.0 as u32 as usize
    }
}

/// Any element with its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide(u64, u32);

impl Entry for Wide {
    fn new(value: f64, group: u32) -> Self {
        let bits = value.to_bits();
        Wide(if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }, group)
    }
    fn value(self) -> f64 {
        f64::from_bits(if self.0 >> 63 == 1 { self.0 & !(1 << 63) } else { !self.0 })
    }
    fn group(self) -> usize {
        self.1 as usize
    }
}

/// Whether [`Narrow`] holds every element exactly.
pub(super) fn is_narrow(values: &Values) -> bool {
    !matches!(
        values,
        Values::F64(_) | Values::I32(_) | Values::I64(_) | Values::U32(_) | Values::U64(_)
    )
}

/// Elements that a block holds, about.
const BLOCK: usize = 1 << 19;
/// Blocks of a sparse matrix, at least for the threads' sake, and at most since each looks at every
/// row: more of them would make time grow with the square of the rows.
const BLOCKS: Range<usize> = 16..32;

/// The lists of a block of columns.
struct Lists<E> {
    starts: Vec<usize>,
    entries: Vec<E>,
}

/// Calls `each(column, non-zero elements)` for every column, columns in parallel; returns what it
/// returned, in the order of the columns. `group[r]` is the group of row r; the elements come in
/// the order of their rows.
pub(super) fn by_column<E: Entry, R: Send>(
    source: &Source,
    group: &[u32],
    each: impl Fn(usize, &mut [E]) -> R + Sync,
) -> Result<Vec<R>> {
    let matrix = canonical(source.x);
    let (n, m) = matrix.shape();
    let width = match &*matrix {
        // A cache line of every row.
        Matrix::Dense(_) => 16.max(BLOCK / 8 / n.max(1)).min(64),
        Matrix::Csr(s) | Matrix::Csc(s) => {
            let blocks = (s.nnz() / BLOCK).clamp(BLOCKS.start, BLOCKS.end);
            m.div_ceil(blocks).max(1)
        }
    };
    let blocks: Vec<Range<usize>> =
        (0..m).step_by(width).map(|start| start..(start + width).min(m)).collect();
    let one = |columns: Range<usize>| {
        crate::progress::check_interrupt()?;
        let mut lists = with_values!(matrix.values(), v => {
            lists::<E>(&matrix, columns.clone(), group, |k| v[k] as f64)
        });
        let mut out = Vec::with_capacity(columns.len());
        let mut rest = lists.entries.as_mut_slice();
        for (i, c) in columns.enumerate() {
            let (own, others) = rest.split_at_mut(lists.starts[i + 1] - lists.starts[i]);
            rest = others;
            if own.iter().any(|e| !e.value().is_finite()) {
                return Err(Error::data(
                    format!("gene `{}` (column {c})", source.var.names()[c]),
                    "holds NaN or infinity; mend or drop such values first",
                ));
            }
            out.push(each(c, own));
        }
        Ok(out)
    };
    let parts: Result<Vec<Vec<R>>> = map_items(blocks, one).into_iter().collect();
    Ok(parts?.into_iter().flatten().collect())
}

fn lists<E: Entry>(
    matrix: &Matrix,
    columns: Range<usize>,
    group: &[u32],
    value: impl Fn(usize) -> f64,
) -> Lists<E> {
    let width = columns.len();
    match matrix {
        Matrix::Csc(s) => {
            let mut starts = vec![0];
            let mut entries = Vec::with_capacity(s.indptr[columns.end] - s.indptr[columns.start]);
            for c in columns {
                for k in s.indptr[c]..s.indptr[c + 1] {
                    let v = value(k);
                    if v != 0.0 {
                        entries.push(E::new(v, group[s.indices[k] as usize]));
                    }
                }
                starts.push(entries.len());
            }
            Lists { starts, entries }
        }
        Matrix::Csr(s) => {
            let (low, high) = (columns.start as u32, columns.end as u32);
            // Where each row enters the block; counted and filled in two passes.
            let mut counts = vec![0usize; width + 1];
            let mut enter = Vec::with_capacity(s.nrows);
            for r in 0..s.nrows {
                let row = &s.indices[s.indptr[r]..s.indptr[r + 1]];
                let start = s.indptr[r] + row.partition_point(|&c| c < low);
                enter.push(start);
                for k in start..s.indptr[r + 1] {
                    let c = s.indices[k];
                    if c >= high {
                        break;
                    }
                    counts[(c - low) as usize + 1] += usize::from(value(k) != 0.0);
                }
            }
            (0..width).for_each(|c| counts[c + 1] += counts[c]);
            let starts = counts.clone();
            let mut entries = vec![E::new(0.0, 0); starts[width]];
            for (r, &start) in enter.iter().enumerate() {
                for k in start..s.indptr[r + 1] {
                    let c = s.indices[k];
                    if c >= high {
                        break;
                    }
                    let v = value(k);
                    if v != 0.0 {
                        let slot = &mut counts[(c - low) as usize];
                        entries[*slot] = E::new(v, group[r]);
                        *slot += 1;
                    }
                }
            }
            Lists { starts, entries }
        }
        Matrix::Dense(d) => {
            let mut lists = vec![Vec::new(); width];
            for r in 0..d.nrows {
                for (list, c) in lists.iter_mut().zip(columns.clone()) {
                    let v = value(r * d.ncols + c);
                    if v != 0.0 {
                        list.push(E::new(v, group[r]));
                    }
                }
            }
            let mut starts = vec![0];
            starts.extend(lists.iter().scan(0, |sum, l| {
                *sum += l.len();
                Some(*sum)
            }));
            Lists { starts, entries: lists.concat() }
        }
    }
}

/// The matrix with indices that rise strictly within each row (or column): itself, or a sorted
/// copy in which elements stored twice are summed, as scipy takes them.
pub(super) fn canonical(matrix: &Matrix) -> Cow<'_, Matrix> {
    let rises = |s: &Sparse| {
        s.indptr
            .par_windows(2)
            .with_min_len(256)
            .all(|w| s.indices[w[0]..w[1]].is_sorted_by(|a, b| a < b))
    };
    match matrix {
        Matrix::Dense(Dense { .. }) => Cow::Borrowed(matrix),
        Matrix::Csr(s) | Matrix::Csc(s) if rises(s) => Cow::Borrowed(matrix),
        _ => {
            let s = matrix.to_csr();
            let mut indptr = vec![0];
            let (mut indices, mut values) = (Vec::<u32>::new(), Vec::<f64>::new());
            for r in 0..s.nrows {
                for k in s.indptr[r]..s.indptr[r + 1] {
                    let v = s.values.get_f64(k);
                    let first = indices.len() == indptr[r];
                    if !first && indices.last() == Some(&s.indices[k]) {
                        *values.last_mut().expect("as many values as indices") += v;
                    } else {
                        indices.push(s.indices[k]);
                        values.push(v);
                    }
                }
                indptr.push(indices.len());
            }
            let (nrows, ncols) = (s.nrows, s.ncols);
            // f32 sums of f32 elements, so that `is_narrow` stays true of the copy.
            let values = match is_narrow(&s.values) {
                true => Values::F32(values.into_iter().map(|v| v as f32).collect()),
                false => Values::F64(values),
            };
            Cow::Owned(Matrix::Csr(Sparse { nrows, ncols, indptr, indices, values }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;

    fn source<'a>(x: &'a Matrix, var: &'a Frame) -> Source<'a> {
        Source { x, var, is_raw: false }
    }

    #[test]
    fn packed_elements_sort_as_their_numbers() {
        let values = [-3.5, -1e-20, 1e-30, 0.25, 7.0, 1e30];
        let narrow: Vec<Narrow> = values.iter().map(|&v| Narrow::new(v, 3)).collect();
        let wide: Vec<Wide> = values.iter().map(|&v| Wide::new(v, 3)).collect();
        assert!(narrow.is_sorted() && wide.is_sorted());
        for (i, &v) in values.iter().enumerate() {
            assert_eq!(narrow[i].value(), f64::from(v as f32));
            assert_eq!((wide[i].value(), wide[i].group(), narrow[i].group()), (v, 3, 3));
        }
    }

    #[test]
    fn every_form_gives_the_same_lists_and_elements_stored_twice_count_once() {
        // [[0, 3], [-1, 0], [2, 0]], with 2 stored as 1.5 + 0.5 and a stored zero.
        let unsorted = Sparse::new(
            (3, 2),
            true,
            vec![0, 2, 3, 5],
            vec![1, 0, 0, 0, 0],
            Values::F32(vec![3.0, 0.0, -1.0, 1.5, 0.5]),
        );
        let unsorted = Matrix::Csr(unsorted.unwrap());
        let dense = Matrix::from(unsorted.to_array_f64());
        let forms = [Matrix::Csr(dense.to_csr()), Matrix::Csc(dense.to_csc()), unsorted, dense];
        let var = Frame::with_len(2);
        for m in &forms {
            let got = by_column::<Wide, _>(&source(m, &var), &[7, 8, 9], |c, e| {
                (c, e.iter().map(|e| (e.value(), e.group())).collect::<Vec<_>>())
            });
            assert_eq!(got.unwrap(), [(0, vec![(-1.0, 8), (2.0, 9)]), (1, vec![(3.0, 7)])]);
        }
        let nan = Matrix::from(ndarray::array![[0f32, f32::NAN]]);
        let e = by_column::<Narrow, _>(&source(&nan, &var), &[0], |_, _| ()).unwrap_err();
        assert!(e.to_string().contains("gene `1` (column 1)"), "{e}");
    }
}
