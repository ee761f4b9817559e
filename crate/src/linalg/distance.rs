//! Euclidean distances between many points, a tile at a time.

use super::matmul::add_product;
use gemm::Parallelism;
use ndarray::{Array1, Array2, ArrayView2, s};
use std::ops::Range;

/// Squared distance of two points. Summed in eight lanes, so that it is vectorised.
pub fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0f64; 8];
    for (x, y) in a8.iter().zip(b8) {
        for l in 0..8 {
            lanes[l] += (x[l] - y[l]) * (x[l] - y[l]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| (x - y) * (x - y)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Sum of squares of each row.
pub fn squared_norms(x: ArrayView2<f64>) -> Array1<f64> {
    x.rows().into_iter().map(|r| r.iter().map(|v| v * v).sum()).collect()
}

/// Squared distances between the rows of `a` (m × d) and of `b` (n × d), m × n, as
/// |a|² − 2·a·b + |b|², never below 0. For points far from the origin compared with their distances,
/// subtract their mean first. Runs on one thread: call it for several tiles in parallel.
pub fn squared_distances(a: ArrayView2<f64>, b: ArrayView2<f64>) -> Array2<f64> {
    let (na, nb) = (squared_norms(a), squared_norms(b));
    let mut out = Array2::zeros((a.nrows(), b.nrows()));
    add_product(&mut out, a, b.t(), Parallelism::None);
    for (mut row, &ra) in out.rows_mut().into_iter().zip(&na) {
        for (d, &rb) in row.iter_mut().zip(&nb) {
            *d = (ra - 2.0 * *d + rb).max(0.0);
        }
    }
    out
}

/// Calls `f(columns, squared)` for every tile of the matrix of squared distances between the
/// rows `rows` of `x` and all of its rows; columns come in order. The whole matrix never exists.
/// Runs on one thread: call it for several ranges of rows in parallel.
pub fn for_distance_tiles(
    x: ArrayView2<f64>,
    rows: Range<usize>,
    mut f: impl FnMut(Range<usize>, ArrayView2<f64>),
) {
    const TILE: usize = 2048;
    let a = x.slice(s![rows, ..]);
    for start in (0..x.nrows()).step_by(TILE) {
        let columns = start..(start + TILE).min(x.nrows());
        let tile = squared_distances(a, x.slice(s![columns.clone(), ..]));
        f(columns, tile.view());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn tiles_cover_all_distances() {
        let mut rng = Rng::new(2);
        let x = Array2::from_shape_simple_fn((3_000, 3), || rng.normal());
        let mut seen = 0;
        for_distance_tiles(x.view(), 5..9, |columns, tile| {
            for ((i, j), d) in tile.indexed_iter() {
                let (p, q) = (x.row(5 + i), x.row(columns.start + j));
                let expected: f64 = p.iter().zip(q).map(|(a, b)| (a - b).powi(2)).sum();
                assert!((d - expected).abs() < 1e-12 * (1.0 + expected));
            }
            seen += tile.ncols();
        });
        assert_eq!(seen, 3_000);
    }
}
