//! Rows and columns of a [`Matrix`] at given positions: the copying behind every subset.
//!
//! Every kernel copies runs of one element type, in parallel over blocks of the result that hold
//! about as many elements each; nothing as long as the data is allocated beside the result.

use super::values::same_type;
use super::{Dense, Matrix, Sparse};
use crate::parallel::{for_each_chunk, map_items, map_range};

/// Elements that one thread copies at a time.
const BLOCK: usize = 1 << 16;

impl Matrix {
    /// The rows at `keep`, in that order; a copy.
    ///
    /// # Panics
    /// Where a row does not exist.
    pub fn take_rows(&self, keep: &[usize]) -> Matrix {
        match self {
            Matrix::Dense(m) => Matrix::Dense(m.take(Some(keep), None)),
            Matrix::Csr(m) => Matrix::Csr(m.take_major((keep.len(), m.ncols), keep)),
            Matrix::Csc(m) => Matrix::Csc(m.take_minor((keep.len(), m.ncols), m.nrows, keep)),
        }
    }

    /// The columns at `keep`, in that order; a copy.
    ///
    /// # Panics
    /// Where a column does not exist.
    pub fn take_columns(&self, keep: &[usize]) -> Matrix {
        match self {
            Matrix::Dense(m) => Matrix::Dense(m.take(None, Some(keep))),
            Matrix::Csr(m) => Matrix::Csr(m.take_minor((m.nrows, keep.len()), m.ncols, keep)),
            Matrix::Csc(m) => Matrix::Csc(m.take_major((m.nrows, keep.len()), keep)),
        }
    }

    /// Rows and columns at once; `None` is all of them. Sparse matrices are cut along the axis that
    /// they compress first, so that the other cut sees less.
    pub(super) fn take_both(&self, rows: Option<&[usize]>, columns: Option<&[usize]>) -> Matrix {
        match (self, rows, columns) {
            (_, None, None) => self.clone(),
            (Matrix::Dense(m), rows, columns) => Matrix::Dense(m.take(rows, columns)),
            (_, Some(rows), None) => self.take_rows(rows),
            (_, None, Some(columns)) => self.take_columns(columns),
            (Matrix::Csr(_), Some(rows), Some(columns)) => {
                self.take_rows(rows).take_columns(columns)
            }
            (Matrix::Csc(_), Some(rows), Some(columns)) => {
                self.take_columns(columns).take_rows(rows)
            }
        }
    }
}

impl Dense {
    fn take(&self, rows: Option<&[usize]>, columns: Option<&[usize]>) -> Dense {
        let nrows = rows.map_or(self.nrows, <[usize]>::len);
        let ncols = columns.map_or(self.ncols, <[usize]>::len);
        // A row or column that does not exist is found here, not in some thread, nor never.
        check(rows, self.nrows);
        check(columns, self.ncols);
        let values = same_type!(&self.values, v => {
            let mut out = vec![Default::default(); nrows * ncols];
            let block = (BLOCK / ncols.max(1)).max(1);
            for_each_chunk(&mut out, block * ncols.max(1), 1, |b, part| {
                for (i, to) in part.chunks_exact_mut(ncols.max(1)).enumerate() {
                    let new = b * block + i;
                    let old = rows.map_or(new, |rows| rows[new]);
                    let from = &v[old * self.ncols..(old + 1) * self.ncols];
                    match columns {
                        None => to.copy_from_slice(from),
                        Some(columns) => {
                            to.iter_mut().zip(columns).for_each(|(to, &c)| *to = from[c]);
                        }
                    }
                }
            });
            out
        });
        Dense { nrows, ncols, values }
    }
}

impl Dense {
    /// Rows as columns, by square tiles so that both sides are read and written in runs.
    pub(super) fn transpose(&self) -> Dense {
        const TILE: usize = 32;
        let (nrows, ncols) = (self.ncols, self.nrows);
        let values = same_type!(&self.values, v => {
            let mut out = vec![Default::default(); nrows * ncols];
            for_each_chunk(&mut out, TILE * ncols, 1, |b, part| {
                let first = b * TILE;
                for start in (0..ncols).step_by(TILE) {
                    for (i, row) in part.chunks_exact_mut(ncols).enumerate() {
                        for c in start..(start + TILE).min(ncols) {
                            row[c] = v[c * nrows + first + i];
                        }
                    }
                }
            });
            out
        });
        Dense { nrows, ncols, values }
    }
}

impl Sparse {
    /// The compressed rows (or columns) at `keep`, in that order.
    fn take_major(&self, shape: (usize, usize), keep: &[usize]) -> Sparse {
        let range = |m: usize| self.indptr[m]..self.indptr[m + 1];
        let indptr = running_sum(keep.iter().map(|&m| range(m).len()));
        self.gather(shape, indptr, |m| range(keep[m]).map(|k| (self.indices[k], k)))
    }

    /// The other axis, of length `minor`, restricted to `keep`, in that order.
    fn take_minor(&self, shape: (usize, usize), minor: usize, keep: &[usize]) -> Sparse {
        check(Some(keep), minor);
        if keep.windows(2).all(|w| w[0] < w[1]) {
            return self.filter_minor(shape, minor, keep);
        }
        // The new places of each old index, one after the other: it may be asked for repeatedly.
        let mut counts = vec![0usize; minor];
        keep.iter().for_each(|&old| counts[old] += 1);
        let starts = running_sum(counts.iter().copied());
        let mut next = starts.clone();
        let mut places = vec![0u32; keep.len()];
        for (new, &old) in keep.iter().enumerate() {
            places[next[old]] = new as u32;
            next[old] += 1;
        }
        let range = |m: usize| self.indptr[m]..self.indptr[m + 1];
        let length = |m| range(m).map(|k| counts[self.indices[k] as usize]).sum();
        let lengths: Vec<usize> = map_range(self.majors(), 64, length);
        self.gather(shape, running_sum(lengths), |m| {
            let targets = |k: usize| {
                let old = self.indices[k] as usize;
                places[starts[old]..starts[old + 1]].iter().map(move |&new| (new, k))
            };
            let mut row: Vec<(u32, usize)> = range(m).flat_map(targets).collect();
            row.sort_unstable();
            row.into_iter()
        })
    }

    /// The same where `keep` rises, which needs no sorting: the filters of genes and cells.
    fn filter_minor(&self, shape: (usize, usize), minor: usize, keep: &[usize]) -> Sparse {
        const ABSENT: u32 = u32::MAX;
        let mut target = vec![ABSENT; minor];
        for (new, &old) in keep.iter().enumerate() {
            target[old] = new as u32;
        }
        let kept = |m: usize| {
            let range = self.indptr[m]..self.indptr[m + 1];
            range.map(|k| (target[self.indices[k] as usize], k)).filter(|&(t, _)| t != ABSENT)
        };
        let length = |m| kept(m).count();
        let lengths = map_range(self.majors(), 64, length);
        self.gather(shape, running_sum(lengths), kept)
    }

    /// Number of compressed rows (or columns).
    pub(super) fn majors(&self) -> usize {
        self.indptr.len() - 1
    }

    /// A matrix of the given shape and `indptr`. `of` tells for each of its compressed rows the
    /// indices in it, each with the place of its value among the old ones.
    pub(super) fn gather<I: Iterator<Item = (u32, usize)>>(
        &self,
        (nrows, ncols): (usize, usize),
        indptr: Vec<usize>,
        of: impl Fn(usize) -> I + Sync,
    ) -> Sparse {
        let mut indices = vec![0u32; indptr[indptr.len() - 1]];
        let values = same_type!(&self.values, v => fill(&indptr, &mut indices, v, &of));
        Sparse { nrows, ncols, indptr, indices, values }
    }
}

/// Writes `indices` and gives the values that go with them; see [`Sparse::gather`].
fn fill<T: Copy + Default + Send + Sync, I: Iterator<Item = (u32, usize)>>(
    indptr: &[usize],
    indices: &mut [u32],
    old: &[T],
    of: &(impl Fn(usize) -> I + Sync),
) -> Vec<T> {
    let mut values = vec![T::default(); indices.len()];
    let mut blocks = Vec::new();
    let (mut rest, mut rest_values, mut first) = (indices, values.as_mut_slice(), 0);
    for end in 1..indptr.len() {
        let len = indptr[end] - indptr[first];
        if len >= BLOCK || end == indptr.len() - 1 {
            let (block, tail) = rest.split_at_mut(len);
            let (block_values, tail_values) = rest_values.split_at_mut(len);
            blocks.push((first..end, block, block_values));
            (rest, rest_values, first) = (tail, tail_values, end);
        }
    }
    map_items(blocks, |(majors, indices, values)| {
        let elements = majors.flat_map(of);
        for ((index, value), (new, k)) in indices.iter_mut().zip(values).zip(elements) {
            (*index, *value) = (new, old[k]);
        }
    });
    values
}

/// 0, the first, the first two, …: where each of a list of runs starts, and the end.
pub(super) fn running_sum(lengths: impl IntoIterator<Item = usize>) -> Vec<usize> {
    let mut sum = 0;
    let ends = lengths.into_iter().map(|n| {
        sum += n;
        sum
    });
    std::iter::once(0).chain(ends).collect()
}

fn check(keep: Option<&[usize]>, len: usize) {
    let bad = keep.and_then(|keep| keep.iter().find(|&&i| i >= len));
    assert!(bad.is_none(), "position {bad:?} on an axis of length {len}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, Axis};

    /// A matrix of more than one block, a third of it zeros, in every form and two element types.
    fn forms(rows: usize, columns: usize) -> (Array2<f64>, Vec<Matrix>) {
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % 3
        };
        let dense = Array2::from_shape_fn((rows, columns), |_| next() as f64);
        let flat: Vec<u16> = dense.iter().map(|&x| x as u16).collect();
        let small = Matrix::Dense(Dense::new(rows, columns, flat).unwrap());
        let m = Matrix::from(dense.clone());
        let all = vec![
            Matrix::Csr(m.to_csr()),
            Matrix::Csc(m.to_csc()),
            Matrix::Csr(small.to_csr()),
            m,
            small,
        ];
        (dense, all)
    }

    #[test]
    fn subsets_equal_those_of_plain_arrays() {
        let (plain, forms) = forms(700, 311);
        let rising: Vec<usize> = (0..311).filter(|i| i % 3 != 1).collect();
        let mixed: Vec<usize> = (0..500).map(|i| (i * 37) % 311).collect();
        let rows: Vec<usize> = (0..900).map(|i| (i * 53) % 700).collect();
        for m in &forms {
            for columns in [&rising, &mixed, &vec![]] {
                let expected = plain.select(Axis(0), &rows).select(Axis(1), columns);
                let got = m.take_both(Some(&rows), Some(columns));
                assert_eq!(got.to_array_f64(), expected);
                assert_eq!(got, m.take_columns(columns).take_rows(&rows), "either order");
                assert_eq!(got.values().dtype(), m.values().dtype());
                let all = m.take_both(None, Some(columns)).to_array_f64();
                assert_eq!(all, plain.select(Axis(1), columns));
            }
            assert_eq!(m.take_rows(&[]).shape(), (0, 311));
            assert_eq!(m.take_both(None, None), *m);
        }
    }

    #[test]
    fn what_is_cut_is_a_valid_matrix_with_sorted_indices() {
        let (_, forms) = forms(60, 40);
        let keep: Vec<usize> = (0..80).map(|i| (i * 7) % 40).collect();
        let Matrix::Csr(m) = forms[0].take_columns(&keep) else { panic!("stays CSR") };
        let (shape, sorted) = ((m.nrows, m.ncols), m.clone());
        Sparse::new(shape, true, m.indptr, m.indices, m.values).unwrap();
        assert_eq!(Matrix::Csr(sorted.clone()).to_csr(), sorted);
    }

    #[test]
    fn transposed_numbers_change_places() {
        let (plain, forms) = forms(131, 67);
        for m in &forms {
            assert_eq!(m.transpose().to_array_f64(), plain.t());
        }
        assert_eq!(Matrix::from(Array2::<f32>::zeros((0, 3))).transpose().shape(), (3, 0));
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let (_, forms) = forms(900, 500);
        let keep: Vec<usize> = (0..800).map(|i| (i * 7) % 500).collect();
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| forms.iter().map(|m| m.take_columns(&keep)).collect::<Vec<_>>())
        };
        assert_eq!(with(1), with(5));
    }

    #[test]
    #[should_panic(expected = "axis of length 40")]
    fn a_column_that_does_not_exist_is_never_made_up() {
        forms(0, 40).1[3].take_columns(&[40]);
    }
}
