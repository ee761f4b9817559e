//! The graph of neighbouring spots, and its pruning by expression.

use crate::error::{Error, Result};
use crate::linalg::knn;
use crate::nn::Adjacency;
use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;

/// The spatial graph before and after pruning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpotGraph {
    /// An edge wherever one of two spots is among the other's nearest.
    pub spatial: Adjacency,
    /// The same without the edges to the neighbours least alike; this is what STAMGC trains on.
    pub pruned: Adjacency,
}

/// Builds the graph of each spot's `n_neighbors` nearest spots and prunes it `n_pruning` times.
///
/// A round of pruning takes from each spot the neighbour whose smoothed expression has the largest
/// cosine distance from its own (of equal ones the first by index). An edge disappears only if
/// neither of its spots keeps the other. Spots of equal distance are taken by index.
///
/// Matches STAMGC's published code exactly, save for spots all of whose neighbours have the very
/// same expression: the published code then puts a -1 on the diagonal, here nothing is taken.
///
/// # Shapes
/// `[n, 2 or 3]`, `[n, m]`.
///
/// # Errors
/// [`Error::Shape`] when the numbers of rows differ; [`Error::Parameter`] when there are not more
/// than `n_neighbors` spots.
pub fn spot_graph(
    coordinates: ArrayView2<f64>,
    smoothed: ArrayView2<f32>,
    n_neighbors: usize,
    n_pruning: usize,
) -> Result<SpotGraph> {
    let n = coordinates.nrows();
    if smoothed.nrows() != n {
        return Err(Error::shape("rows of the smoothed expression", n, smoothed.nrows()));
    }
    if n_neighbors == 0 || n_neighbors >= n {
        let reason = format!("must be at least 1 and below the number of spots, {n}");
        return Err(Error::parameter("n_neighbors", n_neighbors, reason));
    }
    let (nearest, _) = knn(coordinates, n_neighbors + 1)?;
    let rows: Vec<Vec<u32>> = nearest.outer_iter().map(|r| r.to_vec()).collect();
    let spatial = Adjacency::from_directed(&rows);

    let norms: Vec<f64> = smoothed.outer_iter().into_par_iter().map(|r| dot(r, r).sqrt()).collect();
    let pruned: Vec<Vec<u32>> = rows
        .into_par_iter()
        .enumerate()
        .map(|(i, mut row)| {
            row.sort_unstable();
            let mut row: Vec<(u32, f64)> = row
                .into_iter()
                .map(|j| (j, cosine_distance(smoothed, &norms, i, j as usize)))
                .collect();
            for _ in 0..n_pruning {
                prune(&mut row, i);
            }
            row.into_iter().map(|(j, _)| j).collect()
        })
        .collect();
    Ok(SpotGraph { spatial, pruned: Adjacency::from_directed(&pruned) })
}

/// Takes from the neighbours of spot `i`, rising by index, the first of the largest distance.
fn prune(row: &mut Vec<(u32, f64)>, i: usize) {
    let largest = row.iter().fold(0f64, |a, &(_, d)| a.max(d));
    let position = if largest > 0.0 {
        row.iter().position(|&(_, d)| d == largest)
    } else {
        // Every entry of the reference's dense row is 0, and the first of them is column 0.
        row.first().filter(|&&(j, _)| j == 0 && i != 0).map(|_| 0)
    };
    if let Some(p) = position {
        row.remove(p);
    }
}

/// 1 - cos of two rows, never below 0; a spot is at distance 0 from itself.
fn cosine_distance(x: ArrayView2<f32>, norms: &[f64], i: usize, j: usize) -> f64 {
    if i == j {
        return 0.0;
    }
    let lengths = norms[i] * norms[j];
    let cosine = if lengths > 0.0 { dot(x.row(i), x.row(j)) / lengths } else { 0.0 };
    (1.0 - cosine).clamp(0.0, 2.0)
}

fn dot(a: ArrayView1<f32>, b: ArrayView1<f32>) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn pruning_takes_the_neighbour_least_alike() {
        // A line of four; the last is of another kind.
        let x = array![[0.0, 0.0], [1.0, 0.0], [2.1, 0.0], [3.3, 0.0]];
        let f = array![[1f32, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]];
        let g = spot_graph(x.view(), f.view(), 2, 1).unwrap();
        assert_eq!(g.spatial.neighbours(3), [1, 2]);
        // 3 keeps one of its two, the one more alike.
        assert_eq!(g.pruned.neighbours(3), [2]);
        assert!(spot_graph(x.view(), f.view(), 4, 1).is_err());
    }

    #[test]
    fn identical_spots_stay_defined() {
        let x = Array2::from_shape_fn((6, 2), |(i, k)| if k == 0 { i as f64 } else { 0.0 });
        let f = Array2::from_elem((6, 3), 1f32);
        let g = spot_graph(x.view(), f.view(), 2, 1).unwrap();
        assert!((0..6).all(|i| !g.pruned.neighbours(i).contains(&(i as u32))));
    }
}
