//! One run of k-means on plain arrays: greedy k-means++ and Lloyd's iteration, as scikit-learn's
//! `_kmeans_single_lloyd`.

use crate::linalg::squared_distance;
use crate::parallel::sum_parts;
use crate::rng::Rng;
use ndarray::{Array2, ArrayView1, ArrayView2, s};
use rayon::prelude::*;

/// The outcome of one run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub labels: Vec<usize>,
    pub centers: Array2<f64>,
    pub inertia: f64,
    pub n_iter: usize,
}

/// Rows that one task takes at least.
const ROWS: usize = 256;

/// The elements of a row of a standard-layout array.
fn slice<'a>(row: ArrayView1<'a, f64>) -> &'a [f64] {
    row.to_slice().expect("k-means works on arrays in standard layout")
}

/// Squared distance of every row to one point.
fn squares_to(x: ArrayView2<f64>, point: ArrayView1<f64>) -> Vec<f64> {
    let point = slice(point);
    let row = |i: usize| squared_distance(slice(x.row(i)), point);
    (0..x.nrows()).into_par_iter().with_min_len(ROWS).map(row).collect()
}

/// Greedy k-means++ (Arthur and Vassilvitskii, 2007): each new centre is the best of 2 + ln k
/// candidates drawn with probability proportional to the squared distance to the centres so far.
pub(super) fn plus_plus(x: ArrayView2<f64>, k: usize, rng: &mut Rng) -> Array2<f64> {
    let n = x.nrows();
    let trials = 2 + (k as f64).ln() as usize;
    let mut centers = Array2::zeros((k, x.ncols()));
    let first = rng.below(n);
    centers.row_mut(0).assign(&x.row(first));
    let mut closest = squares_to(x, x.row(first));
    let mut potential: f64 = closest.iter().sum();
    for c in 1..k {
        let mut cumulative = closest.clone();
        (1..n).for_each(|i| cumulative[i] += cumulative[i - 1]);
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for _ in 0..trials {
            let target = rng.uniform() * potential;
            let candidate = cumulative.partition_point(|&sum| sum < target).min(n - 1);
            let mut to = squares_to(x, x.row(candidate));
            to.iter_mut().zip(&closest).for_each(|(t, &c)| *t = t.min(c));
            let sum = to.iter().sum();
            if best.as_ref().is_none_or(|b| sum < b.0) {
                best = Some((sum, candidate, to));
            }
        }
        let (sum, candidate, to) = best.expect("there is at least one trial");
        (potential, closest) = (sum, to);
        centers.row_mut(c).assign(&x.row(candidate));
    }
    centers
}

/// The nearest centre of every row (the first among equals) and the squared distance to it.
fn assign(x: ArrayView2<f64>, centers: &Array2<f64>) -> Vec<(usize, f64)> {
    let nearest = |i: usize| {
        let row = slice(x.row(i));
        let mut best = (0, f64::INFINITY);
        for (c, center) in centers.rows().into_iter().enumerate() {
            let d = squared_distance(row, slice(center));
            if d < best.1 {
                best = (c, d);
            }
        }
        best
    };
    (0..x.nrows()).into_par_iter().with_min_len(ROWS).map(nearest).collect()
}

/// The mean of the rows of each cluster. A cluster that lost all its rows gets the row farthest
/// from its own centre, which that one gives up; if there is none, it stands where the largest one
/// does, as in scikit-learn.
fn means(x: ArrayView2<f64>, assigned: &[(usize, f64)], k: usize) -> Array2<f64> {
    let d = x.ncols();
    let sums = sum_parts(x.nrows(), k * (d + 1), ROWS, |rows, sums| {
        for i in rows {
            let c = assigned[i].0;
            let sum = &mut sums[c * (d + 1)..(c + 1) * (d + 1)];
            sum[0] += 1.0;
            sum[1..].iter_mut().zip(x.row(i)).for_each(|(s, v)| *s += v);
        }
    });
    let sums = Array2::from_shape_vec((k, d + 1), sums).expect("k × (d + 1) sums");
    let mut count = sums.column(0).to_owned();
    let mut centers = sums.slice(s![.., 1..]).to_owned();
    let empty: Vec<usize> = (0..k).filter(|&c| count[c] == 0.0).collect();
    if !empty.is_empty() {
        let mut far: Vec<usize> = (0..x.nrows()).collect();
        far.sort_by(|&i, &j| assigned[j].1.total_cmp(&assigned[i].1));
        // With fewer distinct rows than clusters there is nothing to move.
        let movable = far.into_iter().take_while(|&i| assigned[i].1 > 0.0);
        for (c, i) in empty.into_iter().zip(movable) {
            let old = assigned[i].0;
            centers.row_mut(old).scaled_add(-1.0, &x.row(i));
            count[old] -= 1.0;
            centers.row_mut(c).assign(&x.row(i));
            count[c] = 1.0;
        }
    }
    let largest = (0..k).rev().max_by(|&a, &b| count[a].total_cmp(&count[b])).unwrap_or(0);
    let stand = &centers.row(largest) / count[largest];
    for (mut center, &n) in centers.rows_mut().into_iter().zip(&count) {
        if n > 0.0 {
            center /= n;
        } else {
            center.assign(&stand);
        }
    }
    centers
}

/// Lloyd's iteration from `centers` until no label changes, or the centres move by a total squared
/// distance of at most `tolerance`, or `max_iter` rounds.
pub(super) fn lloyd(
    x: ArrayView2<f64>,
    mut centers: Array2<f64>,
    max_iter: usize,
    tolerance: f64,
) -> Run {
    let k = centers.nrows();
    let mut previous: Vec<usize> = Vec::new();
    let mut n_iter = 0;
    while n_iter < max_iter {
        n_iter += 1;
        let assigned = assign(x, &centers);
        let moved = means(x, &assigned, k);
        let shift: f64 = (&moved - &centers).iter().map(|v| v * v).sum();
        centers = moved;
        let labels: Vec<usize> = assigned.iter().map(|a| a.0).collect();
        if labels == previous || shift <= tolerance {
            break;
        }
        previous = labels;
    }
    // The labels that belong to the final centres.
    let assigned = assign(x, &centers);
    let inertia = assigned.iter().map(|a| a.1).sum();
    Run { labels: assigned.into_iter().map(|a| a.0).collect(), centers, inertia, n_iter }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn an_empty_cluster_takes_the_farthest_row() {
        let x = array![[0.], [1.], [10.], [11.], [30.]];
        // No row is nearest to the last centre.
        let run = lloyd(x.view(), array![[0.5], [10.5], [1000.]], 300, 0.0);
        assert_eq!(run.labels, [0, 0, 1, 1, 2]);
        assert_eq!(run.inertia, 1.0);
    }

    #[test]
    fn fewer_distinct_rows_than_clusters_still_ends() {
        let x = array![[1.], [1.], [2.]];
        let centers = plus_plus(x.view(), 3, &mut Rng::new(0));
        let run = lloyd(x.view(), centers, 300, 1e-4);
        assert_eq!(run.inertia, 0.0);
        assert!(run.labels[0] == run.labels[1] && run.labels[0] != run.labels[2]);
        assert!(run.centers.iter().all(|&c| c == 1.0 || c == 2.0), "{}", run.centers);
    }

    #[test]
    fn plus_plus_prefers_far_rows() {
        let x = Array2::from_shape_fn((90, 1), |(i, _)| (i / 30) as f64 * 100.0);
        for seed in 0..20 {
            let mut got: Vec<f64> =
                plus_plus(x.view(), 3, &mut Rng::new(seed)).into_iter().collect();
            got.sort_by(f64::total_cmp);
            assert_eq!(got, [0., 100., 200.]);
        }
    }
}
