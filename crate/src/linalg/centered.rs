//! [`Centered`]: a data matrix minus its column means, without a centred copy.

use super::matmul::add_product;
use super::{Csr, Operator, Real};
use crate::error::{Error, Result};
use crate::parallel::{parts, sum_parts};
use gemm::Parallelism;
use ndarray::{Array1, Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;
use std::sync::OnceLock;

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
    /// The second is the transposed matrix, made when it is first needed.
    Sparse(Csr<T>, OnceLock<Csr<T>>),
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
        let (n, m) = (rows.nrows, rows.ncols);
        let stored = |part: std::ops::Range<usize>| rows.indptr[part.start]..rows.indptr[part.end];
        let sums = sum_parts(n, m, TILE, |part, sums| {
            for k in stored(part) {
                sums[rows.indices[k] as usize] += rows.values[k].as_f64();
            }
        });
        check_finite(&sums)?;
        let mean = means(sums, n, center);
        // Of each column the squares about the mean, and how many elements are stored.
        let squares = sum_parts(n, 2 * m, TILE, |part, sums| {
            for k in stored(part) {
                let c = rows.indices[k] as usize;
                sums[2 * c] += (rows.values[k].as_f64() - mean[c]).powi(2);
                sums[2 * c + 1] += 1.0;
            }
        });
        let of = |(pair, mu): (&[f64], &f64)| pair[0] + (n as f64 - pair[1]) * mu * mu;
        let total_square = squares.chunks_exact(2).zip(&mean).map(of).sum();
        Ok(Centered { data: Data::Sparse(rows, OnceLock::new()), mean, total_square })
    }

    /// The centred matrix itself, dense.
    pub fn to_array(&self) -> Array2<f64> {
        self.tile(0..self.dim().0)
    }

    /// The matrix of scalar products of the centred columns, m × m. Rows are made dense and centred
    /// some hundred at a time; only the half on one side of the diagonal is computed.
    pub fn gram(&self) -> Array2<f64> {
        /// Columns of a block of the result.
        const BLOCK: usize = 256;
        let (n, m) = self.dim();
        let ranges: Vec<_> = (0..m).step_by(BLOCK).map(|s| s..(s + BLOCK).min(m)).collect();
        let pairs = |i: usize| (i..ranges.len()).map(move |j| (i, j));
        let mut blocks: Vec<(usize, usize, Array2<f64>)> = (0..ranges.len())
            .flat_map(pairs)
            .map(|(i, j)| (i, j, Array2::zeros((ranges[i].len(), ranges[j].len()))))
            .collect();
        let rows = 8 * TILE;
        let mut tile = Array2::zeros((rows.min(n), m));
        for start in (0..n).step_by(rows) {
            let end = (start + rows).min(n);
            let mut tile = tile.slice_mut(s![..end - start, ..]);
            tile.axis_chunks_iter_mut(Axis(0), 64)
                .into_par_iter()
                .enumerate()
                .for_each(|(part, out)| self.fill(start + 64 * part, out));
            blocks.par_iter_mut().for_each(|(i, j, out)| {
                let a = tile.slice(s![.., ranges[*i].clone()]);
                let b = tile.slice(s![.., ranges[*j].clone()]);
                add_product(out, a.t(), b, Parallelism::None);
            });
        }
        let mut out = Array2::zeros((m, m));
        for (i, j, block) in blocks {
            let (i, j) = (ranges[i].clone(), ranges[j].clone());
            out.slice_mut(s![j.clone(), i.clone()]).assign(&block.t());
            out.slice_mut(s![i, j]).assign(&block);
        }
        out
    }

    fn tile(&self, rows: std::ops::Range<usize>) -> Array2<f64> {
        let mut tile = Array2::zeros((rows.len(), self.dim().1));
        self.fill(rows.start, tile.view_mut());
        tile
    }

    /// Writes the centred rows from `start` over `out`.
    fn fill(&self, start: usize, mut out: ArrayViewMut2<f64>) {
        for (i, mut out) in out.rows_mut().into_iter().enumerate() {
            match &self.data {
                Data::Dense(x) => {
                    for ((o, v), mu) in out.iter_mut().zip(x.row(start + i)).zip(&self.mean) {
                        *o = v.as_f64() - mu;
                    }
                }
                Data::Sparse(rows, _) => {
                    out.iter_mut().zip(&self.mean).for_each(|(o, mu)| *o = -mu);
                    rows.row(start + i).for_each(|(c, v)| out[c] += v.as_f64());
                }
            }
        }
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
            Data::Sparse(rows, _) => (rows.nrows, rows.ncols),
        }
    }

    fn apply(&self, b: ArrayView2<f64>) -> Array2<f64> {
        match &self.data {
            Data::Dense(x) => {
                let mut out = Array2::zeros((x.nrows(), b.ncols()));
                out.axis_chunks_iter_mut(Axis(0), TILE).into_par_iter().enumerate().for_each(
                    |(i, mut rows)| {
                        let start = i * TILE;
                        let tile = self.tile(start..start + rows.nrows());
                        let mut product = Array2::zeros(rows.dim());
                        add_product(&mut product, tile.view(), b, Parallelism::None);
                        rows.assign(&product);
                    },
                );
                out
            }
            Data::Sparse(rows, _) => {
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
                            let tile = self.tile(rows.clone());
                            let b = b.slice(s![rows, ..]);
                            add_product(&mut sum, tile.t(), b, Parallelism::None);
                        }
                        sum
                    })
                    .collect();
                let zero = Array2::zeros((x.ncols(), b.ncols()));
                partial.into_iter().fold(zero, |total, sum| total + sum)
            }
            Data::Sparse(rows, transposed) => {
                let mut out = transposed.get_or_init(|| rows.transpose()).dot(b);
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
    use crate::parallel::same_with_any_threads;
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
