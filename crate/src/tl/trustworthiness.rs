//! How far an embedding can be trusted: whether points that it shows as neighbours are neighbours.

use crate::error::{Error, Result};
use crate::linalg::{for_distance_tiles, knn};
use crate::progress::check_interrupt;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

/// The trustworthiness of an embedding (Venna and Kaski, 2001), between 0 and 1: what is lost are
/// the ranks, in `x`, of the `k` nearest neighbours in the embedding, as far as they exceed k.
///
/// `x` (n × d) are the data, `embedding` (n × e) the same points embedded; distances are Euclidean.
/// Computed exactly, some rows of distances at a time. Equal distances are ranked by index.
///
/// Matches `sklearn.manifold.trustworthiness` 1.9 within 1e-12 where no distances are equal.
///
/// # Errors
/// [`Error::Shape`] when the two have not the same number of rows; [`Error::Parameter`] unless
/// 0 < k < n/2; [`Error::Data`] when an element is not finite; [`Error::Interrupted`].
pub fn trustworthiness(x: ArrayView2<f64>, embedding: ArrayView2<f64>, k: usize) -> Result<f64> {
    let n = x.nrows();
    if embedding.nrows() != n {
        return Err(Error::shape("rows of the embedding", n, embedding.nrows()));
    }
    if k == 0 || 2 * k >= n {
        let reason = format!("must be above 0 and below half the number of points, {n}");
        return Err(Error::parameter("k", k, reason));
    }
    for (what, a) in [("data", &x), ("embedding", &embedding)] {
        if let Some(row) = a.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
            let reason = format!("row {row} holds NaN or infinity; drop such points first");
            return Err(Error::data(what, reason));
        }
    }
    let near = neighbours(embedding, k)?;
    let mean = x.mean_axis(Axis(0)).expect("there are rows");
    let x = &x - &mean;
    // Some million distances at a time for each thread.
    let rows = ((1 << 23) / n).clamp(1, 128);
    let blocks: Vec<usize> = (0..n).step_by(rows).collect();
    let lost = blocks.into_par_iter().map(|start| {
        check_interrupt()?;
        let block = start..(start + rows).min(n);
        let mut distances = Array2::<f64>::zeros((block.len(), n));
        for_distance_tiles(x.view(), block.clone(), |columns, tile| {
            distances.slice_mut(s![.., columns]).assign(&tile);
        });
        let mut lost = 0u64;
        for (r, i) in block.enumerate() {
            let mut row = distances.row_mut(r);
            row[i] = f64::INFINITY;
            lost += excess(
                row.as_slice().expect("rows lie together"),
                near.row(i).as_slice().expect("rows lie together"),
            );
        }
        Ok(lost)
    });
    let lost: Result<Vec<u64>> = lost.collect();
    let lost: u64 = lost?.into_iter().sum();
    let (n, k) = (n as f64, k as f64);
    Ok(1.0 - lost as f64 * 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)))
}

/// How far the ranks of the points `near` among all `distances` exceed their number, summed.
fn excess(distances: &[f64], near: &[u32]) -> u64 {
    let k = near.len();
    let mut wanted: Vec<(f64, u32)> = near.iter().map(|&j| (distances[j as usize], j)).collect();
    wanted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let farthest = wanted[k - 1].0;
    // before[r]: points that come after the first r of `wanted` and before the next.
    let mut before = vec![0u64; k + 1];
    for (j, &d) in distances.iter().enumerate() {
        if d <= farthest {
            let place = wanted.partition_point(|w| w.0 < d || (w.0 == d && w.1 <= j as u32));
            before[place] += 1;
        }
    }
    let (mut rank, mut lost) = (0, 0);
    for r in 0..k {
        // The rank of wanted[r] counts itself, which stands at before[r + 1].
        rank += before[r];
        lost += (rank + 1).saturating_sub(k as u64);
    }
    lost
}

/// The `k` nearest other points of each.
fn neighbours(points: ArrayView2<f64>, k: usize) -> Result<Array2<u32>> {
    let (index, _) = knn(points, k + 1)?;
    let mut out = Array2::zeros((points.nrows(), k));
    for (i, (row, mut to)) in index.rows().into_iter().zip(out.rows_mut()).enumerate() {
        let others = row.iter().filter(|&&j| j as usize != i);
        to.iter_mut().zip(others).for_each(|(t, &j)| *t = j);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn random(n: usize, d: usize, seed: u64) -> Array2<f64> {
        let mut rng = Rng::new(seed);
        Array2::from_shape_simple_fn((n, d), || rng.normal())
    }

    /// By the definition, with whole rows sorted.
    fn plain(x: &Array2<f64>, y: &Array2<f64>, k: usize) -> f64 {
        let n = x.nrows();
        let order = |a: &Array2<f64>, i: usize| {
            let mut all: Vec<(f64, usize)> = (0..n)
                .filter(|&j| j != i)
                .map(|j| ((&a.row(i) - &a.row(j)).mapv(|v| v * v).sum(), j))
                .collect();
            all.sort_by(|p, q| p.0.total_cmp(&q.0));
            all.into_iter().map(|p| p.1).collect::<Vec<_>>()
        };
        let mut lost = 0;
        for i in 0..n {
            let ranks = order(x, i);
            for j in &order(y, i)[..k] {
                let rank = ranks.iter().position(|r| r == j).unwrap() + 1;
                lost += rank.saturating_sub(k);
            }
        }
        let (n, k) = (n as f64, k as f64);
        1.0 - 2.0 * lost as f64 / (n * k * (2.0 * n - 3.0 * k - 1.0))
    }

    #[test]
    fn equals_the_definition() {
        let x = random(150, 6, 1);
        for (y, k) in [(x.slice(s![.., ..2]).to_owned(), 9), (random(150, 2, 2), 5)] {
            let got = same_with_any_threads(|| trustworthiness(x.view(), y.view(), k).unwrap());
            assert!((got - plain(&x, &y, k)).abs() < 1e-12);
        }
        assert_eq!(trustworthiness(x.view(), x.view(), 9).unwrap(), 1.0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let x = random(10, 3, 1);
        for k in [0, 5] {
            let e = trustworthiness(x.view(), x.view(), k).unwrap_err().to_string();
            assert!(e.contains("half the number of points, 10"), "{e}");
        }
        assert!(trustworthiness(x.view(), random(9, 2, 1).view(), 2).is_err());
        let mut y = random(10, 2, 1);
        y[[7, 0]] = f64::NAN;
        let e = trustworthiness(x.view(), y.view(), 2).unwrap_err().to_string();
        assert!(e.contains("embedding: row 7"), "{e}");
        let same = Array2::<f64>::zeros((10, 2));
        assert!((0.0..=1.0).contains(&trustworthiness(same.view(), same.view(), 3).unwrap()));
    }
}
