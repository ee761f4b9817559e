//! Candidates: the smallest squared distances of many pairs of rows, from products in `f32`.
//!
//! For rows a and b with a column added, (−2a, 1) · (b, |b|²) = |b|² − 2 a·b = |a − b|² − |a|², so one
//! product of matrices gives what orders the rows b by their distance from a.

use super::super::Real;
use super::super::matmul::write_product;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

/// Rows in `f32` about a common origin, each followed by its sum of squares: n × (d + 1).
pub(super) struct Rows(pub Array2<f32>);

impl Rows {
    /// The rows of `x` minus `origin`.
    pub fn new<T: Real>(x: &ArrayView2<T>, origin: &[f64]) -> Rows {
        let (n, d) = x.dim();
        let mut out = Array2::<f32>::zeros((n, d + 1));
        out.axis_chunks_iter_mut(Axis(0), 1024).into_par_iter().enumerate().for_each(
            |(part, mut rows)| {
                let from = x.slice(s![part * 1024..part * 1024 + rows.nrows(), ..]);
                for (mut row, source) in rows.rows_mut().into_iter().zip(from.rows()) {
                    let mut square = 0f64;
                    for ((to, v), o) in row.iter_mut().zip(source).zip(origin) {
                        *to = (v.as_f64() - o) as f32;
                        square += f64::from(*to) * f64::from(*to);
                    }
                    row[d] = square as f32;
                }
            },
        );
        Rows(out)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.0.nrows()
    }

    /// Columns of the data.
    pub fn dim(&self) -> usize {
        self.0.ncols() - 1
    }

    /// The numbers of row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        let width = self.0.ncols();
        &self.0.as_slice().expect("standard layout")[i * width..(i + 1) * width - 1]
    }

    /// The sum of squares of row `i`.
    pub fn square(&self, i: usize) -> f32 {
        self.0[[i, self.0.ncols() - 1]]
    }

    /// The rows `which` as the left factor of the product.
    pub fn queries(&self, which: impl ExactSizeIterator<Item = usize>) -> Array2<f32> {
        let mut out = Array2::<f32>::ones((which.len(), self.0.ncols()));
        for (mut row, i) in out.rows_mut().into_iter().zip(which) {
            row.iter_mut().zip(self.row(i)).for_each(|(to, v)| *to = -2.0 * v);
        }
        out
    }
}

/// The `k` smallest of the numbers offered, with their indices.
pub(super) struct Smallest {
    k: usize,
    /// No number at or above it can be among them.
    pub limit: f32,
    pub found: Vec<(f32, u32)>,
}

impl Smallest {
    pub fn new(k: usize) -> Self {
        Smallest { k, limit: f32::INFINITY, found: Vec::with_capacity(3 * k + 32) }
    }

    /// Numbers whose indices run from `first`.
    #[inline]
    pub fn offer(&mut self, values: &[f32], first: usize) {
        const LANES: usize = 32;
        let (chunks, rest) = values.as_chunks::<LANES>();
        for (c, chunk) in chunks.iter().enumerate() {
            // Without a branch inside, so that it is vectorised; it is rarely true.
            if chunk.iter().fold(false, |any, &v| any | (v < self.limit)) {
                self.take(chunk, first + c * LANES);
            }
        }
        self.take(rest, first + chunks.len() * LANES);
    }

    fn take(&mut self, values: &[f32], first: usize) {
        for (j, &v) in values.iter().enumerate() {
            if v < self.limit {
                self.found.push((v, (first + j) as u32));
                if self.found.len() == self.found.capacity() {
                    self.cut();
                }
            }
        }
    }

    /// Keeps the `k` smallest of those found.
    pub fn cut(&mut self) {
        if self.found.len() < self.k {
            return;
        }
        let order = |a: &(f32, u32), b: &(f32, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        self.found.select_nth_unstable_by(self.k - 1, order);
        self.found.truncate(self.k);
        self.limit = self.found[self.k - 1].0;
    }
}

/// Offers to each of `queries` (made by [`Rows::queries`]) the rows `range` of `base`. `which` says
/// which of `smallest` belongs to each query.
pub(super) fn search(
    queries: ArrayView2<f32>,
    base: &Rows,
    range: std::ops::Range<usize>,
    which: impl Fn(usize) -> usize,
    smallest: &mut [Smallest],
    buffer: &mut Vec<f32>,
) {
    /// Rows of a tile: with 128 queries it takes half a megabyte.
    const TILE: usize = 1024;
    let m = queries.nrows();
    buffer.resize(m * TILE, 0.0);
    for start in range.clone().step_by(TILE) {
        let end = (start + TILE).min(range.end);
        let width = end - start;
        let tile = &mut buffer[..m * width];
        let out = ndarray::ArrayViewMut2::from_shape((m, width), &mut *tile).expect("its size");
        write_product(out, queries, base.0.slice(s![start..end, ..]).t());
        for (q, values) in tile.chunks_exact(width).enumerate() {
            smallest[which(q)].offer(values, start);
        }
    }
}
