//! [`Csr`]: a sparse matrix with its element type in its type, for computing.

use super::Real;
use crate::anndata::{Matrix, Sparse, Values, with_values};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

/// A matrix compressed by rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Csr<T> {
    /// Number of rows.
    pub nrows: usize,
    /// Number of columns.
    pub ncols: usize,
    /// Where each row starts; one entry more than rows.
    pub indptr: Vec<usize>,
    /// Column of each stored element, below `ncols`.
    pub indices: Vec<u32>,
    /// The stored elements.
    pub values: Vec<T>,
}

impl<T: Real> Csr<T> {
    /// A copy of any matrix, its elements in the number type asked for; zeros of a dense one are
    /// left out.
    pub fn of(matrix: &Matrix) -> Csr<T> {
        let Sparse { nrows, ncols, indptr, indices, values } = matrix.to_csr();
        let values = with_values!(&values, v => v.iter().map(|&x| T::from_f64(x as f64)).collect());
        Csr { nrows, ncols, indptr, indices, values }
    }

    /// The stored elements of row `r` with their columns.
    pub fn row(&self, r: usize) -> impl Iterator<Item = (usize, T)> + '_ {
        let range = self.indptr[r]..self.indptr[r + 1];
        let values = self.values[range.clone()].iter().copied();
        self.indices[range].iter().map(|&c| c as usize).zip(values)
    }

    /// The columns of the stored elements of row `r`.
    pub fn indices_of(&self, r: usize) -> &[u32] {
        &self.indices[self.indptr[r]..self.indptr[r + 1]]
    }

    /// The transposed matrix, indices sorted within each row.
    pub fn transpose(&self) -> Csr<T> {
        let mut indptr = vec![0usize; self.ncols + 1];
        for &c in &self.indices {
            indptr[c as usize + 1] += 1;
        }
        for c in 0..self.ncols {
            indptr[c + 1] += indptr[c];
        }
        let mut next = indptr.clone();
        let mut indices = vec![0u32; self.indices.len()];
        let mut values = vec![T::zero(); self.values.len()];
        for r in 0..self.nrows {
            for k in self.indptr[r]..self.indptr[r + 1] {
                let slot = &mut next[self.indices[k] as usize];
                indices[*slot] = r as u32;
                values[*slot] = self.values[k];
                *slot += 1;
            }
        }
        Csr { nrows: self.ncols, ncols: self.nrows, indptr, indices, values }
    }

    /// `self · b` for a dense `b` of `ncols` × k, in the number type of `b`; rows in parallel, each
    /// summed in the order of its stored elements.
    ///
    /// # Panics
    /// When `b` has not `ncols` rows.
    pub fn dot<U: Real>(&self, b: ArrayView2<U>) -> Array2<U> {
        assert_eq!(b.nrows(), self.ncols, "sparse product");
        let k = b.ncols();
        let b = b.as_standard_layout();
        let b = b.as_slice().expect("standard layout");
        let mut out = Array2::<U>::zeros((self.nrows, k));
        if k == 0 {
            return out;
        }
        let flat = out.as_slice_mut().expect("a new array is contiguous");
        flat.par_chunks_mut(k).with_min_len(16).enumerate().for_each(|(r, row)| {
            for e in self.indptr[r]..self.indptr[r + 1] {
                let c = self.indices[e] as usize;
                let v = U::from_f64(self.values[e].as_f64());
                for (o, &x) in row.iter_mut().zip(&b[c * k..(c + 1) * k]) {
                    *o += v * x;
                }
            }
        });
        out
    }
}

impl<T: Real> From<Csr<T>> for Matrix
where
    Values: From<Vec<T>>,
{
    fn from(m: Csr<T>) -> Matrix {
        let Csr { nrows, ncols, indptr, indices, values } = m;
        Matrix::Csr(Sparse { nrows, ncols, indptr, indices, values: values.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn products_equal_the_dense_ones() {
        // [[1, 0, 2], [0, 0, 3]]
        let a = Csr {
            nrows: 2,
            ncols: 3,
            indptr: vec![0, 2, 3],
            indices: vec![0, 2, 2],
            values: vec![1f64, 2., 3.],
        };
        let b = array![[1., 2.], [3., 4.], [5., 6.]];
        assert_eq!(a.dot(b.view()), array![[11., 14.], [15., 18.]]);
        let t = a.transpose();
        assert_eq!(t.dot(array![[1.], [2.]].view()), array![[1.], [0.], [8.]]);
        assert_eq!(t.transpose(), a);
        assert_eq!(a.row(0).collect::<Vec<_>>(), [(0, 1.), (2, 2.)]);
    }
}
