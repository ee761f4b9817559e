//! All pairs, in tiles.

use super::super::Real;
use super::tiles::{Rows, Smallest, search};
use super::{Found, NearestRows, among_all, check, column_means, nearer, square_between};
use crate::error::Result;
use crate::progress::Progress;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

/// Rows that are searched together.
const QUERIES: usize = 128;

/// The `k` nearest other rows of each row of `x` (n × d) by Euclidean distance, exactly; rows at
/// equal distance by index.
///
/// Candidates come from products in `f32`, a few more than asked for; their distances are computed in
/// `f64`. Where the bound on the rounding of the products does not rule out that a row was missed,
/// all distances of that row are computed. Memory beside the result: one `f32` copy of `x`.
///
/// # Errors
/// [`Error::Parameter`](crate::Error::Parameter) when `k` is 0 or not below n;
/// [`Error::Data`](crate::Error::Data) when an element is not finite;
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub fn nearest_rows<T: Real>(x: ArrayView2<T>, k: usize) -> Result<NearestRows> {
    check(&x, k)?;
    let x = x.as_standard_layout();
    let (n, d) = x.dim();
    let rows = Rows::new(&x.view(), &column_means(&x.view()));
    let flat = x.as_slice().expect("standard layout");
    let mut indices = Array2::<u32>::zeros((n, k));
    let mut distances = Array2::<f64>::zeros((n, k));
    let mut progress = Progress::new("nearest neighbours", n as u64);
    // Between these groups of blocks an interrupt is looked for.
    const GROUP: usize = 32 * QUERIES;
    let out_i = indices.as_slice_mut().expect("a new array is contiguous");
    let out_d = distances.as_slice_mut().expect("a new array is contiguous");
    let groups = out_i.chunks_mut(GROUP * k).zip(out_d.chunks_mut(GROUP * k));
    for (group, (out_i, out_d)) in groups.enumerate() {
        let blocks = out_i.par_chunks_mut(QUERIES * k).zip(out_d.par_chunks_mut(QUERIES * k));
        blocks.enumerate().for_each(|(block, (out_i, out_d))| {
            let start = group * GROUP + block * QUERIES;
            let count = out_i.len() / k;
            let each = candidates(&rows, start, count, k);
            for (q, smallest) in each.iter().enumerate() {
                let found = settle(flat, d, &rows, start + q, k, smallest);
                for (slot, (square, j)) in found.into_iter().enumerate() {
                    out_i[q * k + slot] = j;
                    out_d[q * k + slot] = square.sqrt();
                }
            }
        });
        progress.tick((out_i.len() / k) as u64)?;
    }
    progress.finish();
    Ok(NearestRows { indices, distances })
}

/// What the products say of `count` rows from `start`: a few more candidates than `k`, and the row
/// itself.
fn candidates(rows: &Rows, start: usize, count: usize, k: usize) -> Vec<Smallest> {
    let wanted = (k + 1 + (k / 2).max(8)).min(rows.len());
    let mut smallest: Vec<Smallest> = (0..count).map(|_| Smallest::new(wanted)).collect();
    let queries = rows.queries(start..start + count);
    let mut buffer = Vec::new();
    search(queries.view(), rows, 0..rows.len(), |q| q, &mut smallest, &mut buffer);
    smallest.iter_mut().for_each(Smallest::cut);
    smallest
}

/// The `k` nearest of row `i` from the candidates, or from all rows where those may lack one.
fn settle<T: Real>(
    x: &[T],
    d: usize,
    rows: &Rows,
    i: usize,
    k: usize,
    smallest: &Smallest,
) -> Vec<Found> {
    let a = &x[i * d..(i + 1) * d];
    let square = |j: u32| square_between(a, &x[j as usize * d..(j as usize + 1) * d]);
    let others = smallest.found.iter().map(|f| f.1).filter(|&j| j as usize != i);
    let mut found: Vec<Found> = others.map(|j| (square(j), j)).collect();
    found.sort_unstable_by(nearer);
    found.truncate(k);
    let complete = smallest.found.len() == rows.len();
    if complete {
        return found;
    }
    // A row that was left out had a product of at least `limit`. One that is in truth no further
    // than the k-th lies at most |a| + that distance from the origin, which bounds how far rounding
    // (of the rows to f32, of d + 1 products and their sum) can have moved its product.
    let furthest = found[k - 1].0;
    let norm = f64::from(rows.square(i)).sqrt();
    let reach = norm + furthest.sqrt();
    let rounding = f64::from(f32::EPSILON) * (d + 8) as f64;
    let error = rounding * (2.0 * norm * reach + reach * reach);
    let left_out = f64::from(smallest.limit) + f64::from(rows.square(i)) - error;
    if furthest < left_out { found } else { among_all(x, d, i, k) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn plain<T: Real>(x: &Array2<T>, k: usize) -> NearestRows {
        let (n, d) = x.dim();
        let all: Vec<Vec<Found>> =
            (0..n).map(|i| among_all(x.as_slice().unwrap(), d, i, k)).collect();
        NearestRows {
            indices: Array2::from_shape_fn((n, k), |(i, j)| all[i][j].1),
            distances: Array2::from_shape_fn((n, k), |(i, j)| all[i][j].0.sqrt()),
        }
    }

    #[test]
    fn equals_looking_at_all_pairs() {
        let mut rng = Rng::new(3);
        for (n, d, k) in [(2_300, 20, 14), (300, 1, 5), (40, 3, 39), (2, 2, 1), (1_500, 130, 30)] {
            let x = Array2::from_shape_fn((n, d), |(i, j)| {
                rng.normal() * 10.0 / (1.0 + j as f64) + 30.0 * (i % 7) as f64
            });
            let got = same_with_any_threads(|| nearest_rows(x.view(), k).unwrap());
            assert_eq!(got, plain(&x, k), "{n} × {d}");
            let x = x.mapv(|v| v as f32);
            assert_eq!(nearest_rows(x.view(), k).unwrap(), plain(&x, k), "{n} × {d} in f32");
        }
    }

    #[test]
    fn ties_copies_and_far_origins_are_exact_too() {
        // Whole numbers have many equal distances; rows repeat; the origin is far away.
        let mut rng = Rng::new(4);
        for shift in [0.0, 1e6] {
            let x = Array2::from_shape_simple_fn((900, 4), || shift + rng.below(5) as f64);
            assert_eq!(nearest_rows(x.view(), 9).unwrap(), plain(&x, 9));
        }
        let x = Array2::<f32>::ones((200, 3));
        let got = nearest_rows(x.view(), 3).unwrap();
        assert_eq!(got.indices.row(0).to_vec(), [1, 2, 3]);
        assert_eq!(got.indices.row(2).to_vec(), [0, 1, 3]);
        // One row so far away that nothing else has digits left beside it.
        let mut x = Array2::from_shape_simple_fn((600, 5), || rng.normal());
        x[[17, 0]] = 1e9;
        assert_eq!(nearest_rows(x.view(), 6).unwrap(), plain(&x, 6));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let mut x = Array2::<f64>::zeros((5, 2));
        assert!(nearest_rows(x.view(), 0).is_err());
        let e = nearest_rows(x.view(), 5).unwrap_err().to_string();
        assert!(e.contains("below the number of rows, 5"), "{e}");
        x[[3, 1]] = f64::NAN;
        assert!(nearest_rows(x.view(), 2).unwrap_err().to_string().contains("row 3"));
    }
}
