//! Nearest neighbours among rows of many dimensions.
//!
//! [`nearest_rows`] is exact and costs n² products of rows; [`nearest_rows_approximate`] grows nearly
//! as n. Both find candidates by products of matrices in `f32` (`tiles`), never holding n × n
//! distances, and order them by distances computed in `f64` from the differences, so that the
//! distances they give are exact to rounding also for rows that nearly coincide. For points of one
//! to three dimensions [`knn`](super::knn) is faster.

mod approximate;
mod cells;
mod descent;
mod exact;
mod tiles;

pub use approximate::nearest_rows_approximate;
pub use exact::nearest_rows;

use super::Real;
use crate::error::{Error, Result};
use crate::parallel::sum_parts;
use ndarray::{Array2, ArrayView2, s};

/// For each of n rows the k others that are nearest, nearest first; equal distances by index. A row
/// is never its own neighbour, but a copy of it is.
#[derive(Debug, Clone, PartialEq)]
pub struct NearestRows {
    /// Which rows, n × k.
    pub indices: Array2<u32>,
    /// Their Euclidean distances, n × k.
    pub distances: Array2<f64>,
}

/// Refuses what has no neighbours.
fn check<T: Real>(x: &ArrayView2<T>, k: usize) -> Result<()> {
    let n = x.nrows();
    if k == 0 || k >= n {
        let reason = format!("must be at least 1 and below the number of rows, {n}");
        return Err(Error::parameter("k", k, reason));
    }
    if u32::try_from(n).is_err() {
        return Err(Error::data("rows to search", format!("{n} rows are more than 2³² − 1")));
    }
    if let Some(row) = x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
        let reason = format!("row {row} holds NaN or infinity; drop such rows first");
        return Err(Error::data("rows to search", reason));
    }
    Ok(())
}

/// The mean of each column.
fn column_means<T: Real>(x: &ArrayView2<T>) -> Vec<f64> {
    let (n, d) = x.dim();
    let sums = sum_parts(n, d, 1024, |rows, sums| {
        for row in x.slice(s![rows, ..]).rows() {
            sums.iter_mut().zip(row).for_each(|(s, v)| *s += v.as_f64());
        }
    });
    sums.into_iter().map(|s| s / n as f64).collect()
}

/// Squared distance of two rows, from their differences and in `f64`; eight lanes, so that it is
/// vectorised.
fn square_between<T: Real>(a: &[T], b: &[T]) -> f64 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0f64; 8];
    for (x, y) in a8.iter().zip(b8) {
        for l in 0..8 {
            let d = x[l].as_f64() - y[l].as_f64();
            lanes[l] += d * d;
        }
    }
    let rest = |(x, y): (&T, &T)| (x.as_f64() - y.as_f64()).powi(2);
    lanes.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(rest).sum::<f64>()
}

/// A row that was found and how far away it is.
type Found = (f64, u32);

fn nearer(a: &Found, b: &Found) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

/// The `k` rows nearest to row `i` by looking at all of them.
fn among_all<T: Real>(x: &[T], d: usize, i: usize, k: usize) -> Vec<Found> {
    let a = &x[i * d..(i + 1) * d];
    let others = x.chunks_exact(d).enumerate().filter(|(j, _)| *j != i);
    let mut all: Vec<Found> = others.map(|(j, b)| (square_between(a, b), j as u32)).collect();
    all.select_nth_unstable_by(k - 1, nearer);
    all.truncate(k);
    all.sort_unstable_by(nearer);
    all
}
