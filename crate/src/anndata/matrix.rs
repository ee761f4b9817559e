//! [`Matrix`]: a two-dimensional array, dense or sparse, with its element type.

use super::Values;
use super::take::running_sum;
use super::values::same_type;
use crate::error::{Error, Result};
use crate::parallel::{for_each_chunk, map_items, parts};
use ndarray::Array2;
use std::ops::Range;

/// A dense matrix in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// Number of rows.
    pub nrows: usize,
    /// Number of columns.
    pub ncols: usize,
    /// `nrows * ncols` elements, row after row.
    pub values: Values,
}

/// The compressed part of a sparse matrix: CSR when it compresses rows, CSC when columns.
///
/// Invariants (checked by [`Sparse::new`]): `indptr` starts at 0, never falls, has one entry more
/// than the compressed axis and ends at `indices.len() == values.len()`; every index is below the
/// length of the other axis. Indices need not be sorted within a row, as in scipy.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    /// Number of rows.
    pub nrows: usize,
    /// Number of columns.
    pub ncols: usize,
    /// Where each compressed row (or column) starts.
    pub indptr: Vec<usize>,
    /// Column (or row) of each stored element.
    pub indices: Vec<u32>,
    /// The stored elements.
    pub values: Values,
}

/// A two-dimensional array: dense, compressed by rows, or compressed by columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Matrix {
    /// Every element stored, row-major.
    Dense(Dense),
    /// Compressed sparse rows.
    Csr(Sparse),
    /// Compressed sparse columns.
    Csc(Sparse),
}

impl Dense {
    /// A dense matrix of `nrows * ncols` values in row-major order.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of values is another.
    pub fn new(nrows: usize, ncols: usize, values: impl Into<Values>) -> Result<Self> {
        let values = values.into();
        if nrows.checked_mul(ncols) != Some(values.len()) {
            let expected = format!("{nrows} × {ncols} values");
            return Err(Error::shape("dense matrix", expected, values.len()));
        }
        Ok(Dense { nrows, ncols, values })
    }
}

impl Sparse {
    /// A sparse matrix compressed along `major` entries whose indices run below `minor`; `by_rows`
    /// says whether it is CSR.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Data`] when an invariant of the type does not hold.
    pub fn new(
        (nrows, ncols): (usize, usize),
        by_rows: bool,
        indptr: Vec<usize>,
        indices: Vec<u32>,
        values: Values,
    ) -> Result<Self> {
        let (major, minor) = if by_rows { (nrows, ncols) } else { (ncols, nrows) };
        if indptr.len() != major + 1 {
            return Err(Error::shape("sparse indptr", major + 1, indptr.len()));
        }
        if indices.len() != values.len() {
            return Err(Error::shape("sparse indices", values.len(), indices.len()));
        }
        let falls = indptr.windows(2).any(|w| w[0] > w[1]);
        if indptr[0] != 0 || falls || indptr[major] != indices.len() {
            let reason = "must rise from 0 to the number of stored elements";
            return Err(Error::data("sparse indptr", reason));
        }
        let largest = |part: Range<usize>| indices[part].iter().fold(0, |a, &b| b.max(a));
        let largest = map_items(parts(indices.len(), 1 << 16), largest).into_iter().max();
        if let Some(bad) = largest.filter(|&i| !indices.is_empty() && i as usize >= minor) {
            let reason = format!("index {bad} is outside an axis of length {minor}");
            return Err(Error::data("sparse indices", reason));
        }
        Ok(Sparse { nrows, ncols, indptr, indices, values })
    }

    /// Number of stored elements.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// The same numbers compressed along the other axis, of length `minor`, indices sorted.
    pub(crate) fn to_other_axis(&self, minor: usize) -> Sparse {
        let mut counts = vec![0usize; minor];
        self.indices.iter().for_each(|&i| counts[i as usize] += 1);
        let indptr = running_sum(counts);
        let mut next = indptr.clone();
        let mut indices = vec![0u32; self.nnz()];
        let values = same_type!(&self.values, v => {
            let mut out = vec![Default::default(); v.len()];
            for major in 0..self.indptr.len() - 1 {
                for k in self.indptr[major]..self.indptr[major + 1] {
                    let slot = &mut next[self.indices[k] as usize];
                    indices[*slot] = major as u32;
                    out[*slot] = v[k];
                    *slot += 1;
                }
            }
            out
        });
        Sparse { nrows: self.nrows, ncols: self.ncols, indptr, indices, values }
    }
}

impl Matrix {
    /// Number of rows.
    pub fn nrows(&self) -> usize {
        match self {
            Matrix::Dense(m) => m.nrows,
            Matrix::Csr(m) | Matrix::Csc(m) => m.nrows,
        }
    }

    /// Number of columns.
    pub fn ncols(&self) -> usize {
        match self {
            Matrix::Dense(m) => m.ncols,
            Matrix::Csr(m) | Matrix::Csc(m) => m.ncols,
        }
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.nrows(), self.ncols())
    }

    /// The stored elements, in the order of their storage.
    pub fn values(&self) -> &Values {
        match self {
            Matrix::Dense(m) => &m.values,
            Matrix::Csr(m) | Matrix::Csc(m) => &m.values,
        }
    }

    /// The stored elements, to change in place.
    pub fn values_mut(&mut self) -> &mut Values {
        match self {
            Matrix::Dense(m) => &mut m.values,
            Matrix::Csr(m) | Matrix::Csc(m) => &mut m.values,
        }
    }

    /// Whether only part of the elements is stored.
    pub fn is_sparse(&self) -> bool {
        !matches!(self, Matrix::Dense(_))
    }

    /// Bytes that the matrix takes in memory.
    pub fn nbytes(&self) -> usize {
        let structure = match self {
            Matrix::Dense(_) => 0,
            Matrix::Csr(m) | Matrix::Csc(m) => m.indptr.len() * 8 + m.indices.len() * 4,
        };
        structure + self.values().nbytes()
    }

    /// Compressed by rows, with sorted indices and the element type kept. Zeros of a dense matrix
    /// are left out.
    pub fn to_csr(&self) -> Sparse {
        match self {
            Matrix::Csr(m) => {
                let sorted = m
                    .indptr
                    .windows(2)
                    .all(|w| m.indices[w[0]..w[1]].windows(2).all(|p| p[0] < p[1]));
                if sorted { m.clone() } else { m.to_other_axis(m.ncols).to_other_axis(m.nrows) }
            }
            Matrix::Csc(m) => m.to_other_axis(m.nrows),
            Matrix::Dense(m) => {
                let (indptr, indices);
                let values = same_type!(&m.values, v => {
                    let stored = stored_by_rows(v, (m.nrows, m.ncols));
                    (indptr, indices) = (stored.0, stored.1);
                    stored.2
                });
                Sparse { nrows: m.nrows, ncols: m.ncols, indptr, indices, values }
            }
        }
    }

    /// Compressed by columns, with sorted indices and the element type kept.
    pub fn to_csc(&self) -> Sparse {
        match self {
            Matrix::Csc(m) => m.clone(),
            Matrix::Csr(m) => m.to_other_axis(m.ncols),
            Matrix::Dense(_) => {
                let csr = self.to_csr();
                csr.to_other_axis(csr.ncols)
            }
        }
    }

    /// All elements as a dense `f32` array; stored duplicates are summed, as scipy does.
    pub fn to_array_f32(&self) -> Array2<f32> {
        let mut out = Array2::<f32>::zeros(self.shape());
        let ncols = self.ncols();
        match self {
            Matrix::Dense(m) => {
                let flat = out.as_slice_mut().expect("a new array is contiguous");
                flat.copy_from_slice(&m.values.to_f32());
            }
            Matrix::Csr(m) => {
                let values = m.values.to_f32();
                let flat = out.as_slice_mut().expect("a new array is contiguous");
                for_each_chunk(flat, ncols, 64, |r, row| {
                    for k in m.indptr[r]..m.indptr[r + 1] {
                        row[m.indices[k] as usize] += values[k];
                    }
                });
            }
            Matrix::Csc(m) => {
                let values = m.values.to_f32();
                for c in 0..m.ncols {
                    for k in m.indptr[c]..m.indptr[c + 1] {
                        out[[m.indices[k] as usize, c]] += values[k];
                    }
                }
            }
        }
        out
    }

    /// All elements as a dense `f64` array.
    pub fn to_array_f64(&self) -> Array2<f64> {
        let mut out = Array2::<f64>::zeros(self.shape());
        match self {
            Matrix::Dense(m) => {
                let flat = out.as_slice_mut().expect("a new array is contiguous");
                flat.copy_from_slice(&m.values.to_f64());
            }
            Matrix::Csr(m) | Matrix::Csc(m) => {
                let by_rows = matches!(self, Matrix::Csr(_));
                let values = m.values.to_f64();
                for major in 0..m.indptr.len() - 1 {
                    for k in m.indptr[major]..m.indptr[major + 1] {
                        let minor = m.indices[k] as usize;
                        let at = if by_rows { [major, minor] } else { [minor, major] };
                        out[at] += values[k];
                    }
                }
            }
        }
        out
    }

    /// One column as `f32`.
    pub fn column_f32(&self, column: usize) -> Vec<f32> {
        let mut out = vec![0f32; self.nrows()];
        match self {
            Matrix::Dense(m) => {
                for (r, o) in out.iter_mut().enumerate() {
                    *o = m.values.get_f64(r * m.ncols + column) as f32;
                }
            }
            Matrix::Csc(m) => {
                for k in m.indptr[column]..m.indptr[column + 1] {
                    out[m.indices[k] as usize] += m.values.get_f64(k) as f32;
                }
            }
            Matrix::Csr(m) => {
                for r in 0..m.nrows {
                    for k in m.indptr[r]..m.indptr[r + 1] {
                        if m.indices[k] as usize == column {
                            out[r] += m.values.get_f64(k) as f32;
                        }
                    }
                }
            }
        }
        out
    }
}

/// What a sparse matrix stores of a dense one: where each row starts, and columns and values of the elements.
pub(crate) fn stored_by_rows<T: Copy + Default + PartialEq>(
    values: &[T],
    (nrows, ncols): (usize, usize),
) -> (Vec<usize>, Vec<u32>, Vec<T>) {
    let (mut indptr, mut indices, mut stored) = (vec![0], Vec::new(), Vec::new());
    for r in 0..nrows {
        let row = values[r * ncols..(r + 1) * ncols].iter().enumerate();
        for (c, &x) in row.filter(|(_, x)| is_stored(*x)) {
            indices.push(c as u32);
            stored.push(x);
        }
        indptr.push(stored.len());
    }
    (indptr, indices, stored)
}

/// Whether a sparse matrix stores it: everything but 0 (and `false`).
fn is_stored<T: Default + PartialEq>(x: &T) -> bool {
    *x != T::default()
}

impl From<Array2<f32>> for Matrix {
    fn from(a: Array2<f32>) -> Self {
        let (nrows, ncols) = a.dim();
        Matrix::Dense(Dense { nrows, ncols, values: Values::F32(a.into_iter().collect()) })
    }
}

impl From<Array2<f64>> for Matrix {
    fn from(a: Array2<f64>) -> Self {
        let (nrows, ncols) = a.dim();
        Matrix::Dense(Dense { nrows, ncols, values: Values::F64(a.into_iter().collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn sample() -> Array2<f64> {
        array![[0., 1., 0., 2.], [3., 0., 0., 0.], [0., 4., 5., 0.]]
    }

    fn all_forms() -> [Matrix; 3] {
        let dense = Matrix::from(sample());
        let (csr, csc) = (Matrix::Csr(dense.to_csr()), Matrix::Csc(dense.to_csc()));
        [dense, csr, csc]
    }

    #[test]
    fn every_form_holds_the_same_numbers() {
        for m in all_forms() {
            assert_eq!(m.to_array_f64(), sample());
            assert_eq!(m.to_array_f32(), sample().mapv(|x| x as f32));
            assert_eq!(Matrix::Csr(m.to_csr()).to_array_f64(), sample());
            assert_eq!(Matrix::Csc(m.to_csc()).to_array_f64(), sample());
            assert_eq!(m.column_f32(1), [1., 0., 4.]);
        }
    }

    #[test]
    fn taking_rows_and_columns_agrees_in_every_form() {
        let rows = [2, 0, 2];
        let cols = [3, 1];
        for m in all_forms() {
            let got = m.take_rows(&rows).take_columns(&cols).to_array_f64();
            assert_eq!(got, array![[0., 4.], [2., 1.], [0., 4.]]);
            let rising = m.take_columns(&[1, 3]).take_rows(&[0, 2]).to_array_f64();
            assert_eq!(rising, array![[1., 2.], [4., 0.]]);
        }
    }

    #[test]
    fn a_malformed_sparse_matrix_is_refused() {
        let values = || Values::F32(vec![1.0, 2.0]);
        assert!(Sparse::new((2, 2), true, vec![0, 1, 2], vec![0, 1], values()).is_ok());
        assert!(Sparse::new((2, 2), true, vec![0, 2], vec![0, 1], values()).is_err());
        assert!(Sparse::new((2, 2), true, vec![0, 3, 2], vec![0, 1], values()).is_err());
        assert!(Sparse::new((2, 2), true, vec![0, 1, 2], vec![0, 9], values()).is_err());
    }
}
