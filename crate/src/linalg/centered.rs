//! [`Centered`]: a data matrix minus its column means, without a centred copy.

use super::matmul::add_product;
use super::{Csr, Operator, Real, parts, sum_parts};
use crate::error::{Error, Result};
use gemm::Parallelism;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

/// A matrix of n rows × m columns whose column means are subtracted in every product.
///
/// The data stay as they are, sparse or dense, `f32` or `f64`; products are made in `f64`, dense
/// data being converted and centred a few hundred rows at a time.
#[derive(Debug, Clone)]
pub struct Centered<'a, T: Real> {
    data: Data<'a, T>,
    /// What is subtracted from each column: its mean, or zeros.
    pub mean: Array1<f64>,
    /// Sum over the columns of their sums of squares about `mean`.
    pub total_square: f64,
}

#[derive(Debug, Clone)]
enum Data<'a, T: Real> {
    Dense(ArrayView2<'a, T>),
    Sparse { rows: Csr<T>, columns: Csr<T> },
}

/// Rows that are converted at a time.
const TILE: usize = 256;

impl<'a, T: Real> Centered<'a, T> {
    /// A dense matrix; `center` says whether means are subtracted at all.
    ///
    /// # Errors
    /// [`Error::Data`] when an element is not finite.
    pub fn dense(x: ArrayView2<'a, T>, center: bool) -> Result<Self> {
        let (n, m) = x.dim();
        let sums = sum_parts(n, m, TILE, |rows, sums| {
            for row in x.slice(s![rows, ..]).rows() {
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.as_f64());
            }
        });
        check_finite(&sums)?;
        let mean = means(sums, n, center);
        let total = sum_parts(n, 1, TILE, |rows, total| {
            for row in x.slice(s![rows, ..]).rows() {
                let square = |(v, mu): (&T, &f64)| (v.as_f64() - mu).powi(2);
                total[0] += row.iter().zip(&mean).map(square).sum::<f64>();
            }
        });
        Ok(Centered { data: Data::Dense(x), mean, total_square: total[0] })
    }

    /// A sparse matrix; `center` says whether means are subtracted at all.
    ///
    /// # Errors
    /// [`Error::Data`] when an element is not finite.
    pub fn sparse(rows: Csr<T>, center: bool) -> Result<Self> {
        let columns = rows.transpose();
        let n = rows.nrows;
        let per_column: Vec<(f64, f64)> = (0..columns.nrows)
            .into_par_iter()
            .map(|c| {
                let values = &columns.values[columns.indptr[c]..columns.indptr[c + 1]];
                let sum: f64 = values.iter().map(|v| v.as_f64()).sum();
                let mean = if center { sum / n as f64 } else { 0.0 };
                let squares: f64 = values.iter().map(|v| (v.as_f64() - mean).powi(2)).sum();
                (sum, squares + (n - values.len()) as f64 * mean * mean)
            })
            .collect();
        let sums: Vec<f64> = per_column.iter().map(|p| p.0).collect();
        check_finite(&sums)?;
        let total_square = per_column.iter().map(|p| p.1).sum();
        let mean = means(sums, n, center);
        Ok(Centered { data: Data::Sparse { rows, columns }, mean, total_square })
    }

    /// The centred matrix itself, dense.
    pub fn to_array(&self) -> Array2<f64> {
        let mut out = Array2::zeros(self.dim());
        match &self.data {
            Data::Dense(x) => out.zip_mut_with(x, |o, v| *o = v.as_f64()),
            Data::Sparse { rows, .. } => {
                for r in 0..rows.nrows {
                    rows.row(r).for_each(|(c, v)| out[[r, c]] += v.as_f64());
                }
            }
        }
        out -= &self.mean;
        out
    }

    /// The matrix of scalar products of the centred columns, m × m.
    pub fn gram(&self) -> Array2<f64> {
        match &self.data {
            Data::Sparse { .. } => {
                let x = self.to_array();
                super::matmul(x.t(), x.view())
            }
            Data::Dense(x) => {
                let (n, m) = x.dim();
                let mut out = Array2::zeros((m, m));
                for start in (0..n).step_by(8 * TILE) {
                    let tile = self.tile(x, start..(start + 8 * TILE).min(n));
                    add_product(&mut out, tile.t(), tile.view(), Parallelism::Rayon(0));
                }
                out
            }
        }
    }

    fn tile(&self, x: &ArrayView2<T>, rows: std::ops::Range<usize>) -> Array2<f64> {
        let mut tile = Array2::zeros((rows.len(), x.ncols()));
        for (mut out, row) in tile.rows_mut().into_iter().zip(x.slice(s![rows, ..]).rows()) {
            for ((o, v), mu) in out.iter_mut().zip(row).zip(&self.mean) {
                *o = v.as_f64() - mu;
            }
        }
        tile
    }
}

fn means(sums: Vec<f64>, n: usize, center: bool) -> Array1<f64> {
    let scale = if center { 1.0 / n as f64 } else { 0.0 };
    sums.into_iter().map(|s| s * scale).collect()
}

fn check_finite(sums: &[f64]) -> Result<()> {
    match sums.iter().position(|s| !s.is_finite()) {
        None => Ok(()),
        Some(c) => {
            let reason = format!("column {c} holds NaN or infinity; drop or mend it first");
            Err(Error::data("principal components", reason))
        }
    }
}

impl<T: Real> Operator for Centered<'_, T> {
    fn dim(&self) -> (usize, usize) {
        match &self.data {
            Data::Dense(x) => x.dim(),
            Data::Sparse { rows, .. } => (rows.nrows, rows.ncols),
        }
    }

    fn apply(&self, b: ArrayView2<f64>) -> Array2<f64> {
        match &self.data {
            Data::Dense(x) => {
                let mut out = Array2::zeros((x.nrows(), b.ncols()));
                out.axis_chunks_iter_mut(Axis(0), TILE).into_par_iter().enumerate().for_each(
                    |(i, mut rows)| {
                        let start = i * TILE;
                        let tile = self.tile(x, start..start + rows.nrows());
                        let mut product = Array2::zeros(rows.dim());
                        add_product(&mut product, tile.view(), b, Parallelism::None);
                        rows.assign(&product);
                    },
                );
                out
            }
            Data::Sparse { rows, .. } => {
                let mut out = rows.dot(b);
                out -= &self.mean.dot(&b);
                out
            }
        }
    }

    fn apply_t(&self, b: ArrayView2<f64>) -> Array2<f64> {
        match &self.data {
            Data::Dense(x) => {
                // Few parts, as each holds a whole m × k result.
                let ranges = parts(x.nrows(), x.nrows().div_ceil(16).max(TILE));
                let partial: Vec<Array2<f64>> = ranges
                    .into_par_iter()
                    .map(|range| {
                        let mut sum = Array2::zeros((x.ncols(), b.ncols()));
                        for start in range.clone().step_by(TILE) {
                            let rows = start..(start + TILE).min(range.end);
                            let tile = self.tile(x, rows.clone());
                            let b = b.slice(s![rows, ..]);
                            add_product(&mut sum, tile.t(), b, Parallelism::None);
                        }
                        sum
                    })
                    .collect();
                let zero = Array2::zeros((x.ncols(), b.ncols()));
                partial.into_iter().fold(zero, |total, sum| total + sum)
            }
            Data::Sparse { columns, .. } => {
                let mut out = columns.dot(b);
                let sums = b.sum_axis(Axis(0));
                for (mut row, mu) in out.rows_mut().into_iter().zip(&self.mean) {
                    row.scaled_add(-mu, &sums);
                }
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::same_with_any_threads;
    use crate::rng::Rng;

    fn sample() -> (Array2<f32>, Csr<f32>) {
        let mut rng = Rng::new(5);
        let dense = Array2::from_shape_simple_fn((700, 23), || {
            if rng.uniform() < 0.3 { rng.normal() as f32 + 2.0 } else { 0.0 }
        });
        let mut csr =
            Csr { nrows: 700, ncols: 23, indptr: vec![0], indices: vec![], values: vec![] };
        for row in dense.rows() {
            for (c, &v) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                csr.indices.push(c as u32);
                csr.values.push(v);
            }
            csr.indptr.push(csr.indices.len());
        }
        (dense, csr)
    }

    #[test]
    fn dense_and_sparse_products_equal_those_of_the_centred_copy() {
        let (dense, csr) = sample();
        for center in [true, false] {
            let plain = Centered::dense(dense.view(), center).unwrap().to_array();
            let (b, q) = (plain.t().slice(s![.., ..4]).to_owned(), plain.slice(s![.., ..4]));
            let operators = [
                Centered::dense(dense.view(), center).unwrap(),
                Centered::sparse(csr.clone(), center).unwrap(),
            ];
            for a in operators {
                let near = |x: Array2<f64>, y: Array2<f64>| {
                    assert!((x - y).iter().all(|d| d.abs() < 1e-9));
                };
                near(same_with_any_threads(|| a.apply(b.view())), plain.dot(&b));
                near(same_with_any_threads(|| a.apply_t(q)), plain.t().dot(&q));
                near(same_with_any_threads(|| a.gram()), plain.t().dot(&plain));
                let total = plain.mapv(|x| x * x).sum();
                assert!((a.total_square - total).abs() < 1e-9 * total);
            }
        }
    }

    #[test]
    fn a_column_that_is_not_finite_is_named() {
        let (mut dense, _) = sample();
        dense[[4, 7]] = f32::NAN;
        let e = Centered::dense(dense.view(), true).unwrap_err().to_string();
        assert!(e.contains("column 7"), "{e}");
    }
}
