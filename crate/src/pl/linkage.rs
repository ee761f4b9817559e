//! [`average_linkage`]: hierarchical clustering of the rows of a small table, for the order of a
//! [`clustermap`](super::clustermap). It gives the linkage matrix of scipy's
//! `linkage(rows, "average", "euclidean")`, ties included.

use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use rayon::prelude::*;

/// Above this many rows their distances would take more than 400 MB.
pub(super) const MOST: usize = 10_000;

/// Joins the two nearest clusters again and again, where the distance of two is the mean over
/// their pairs of rows: rows (cluster, cluster, distance, size), by nearest-neighbour chains
/// (Müllner 2011, arXiv:1109.2378).
pub(super) fn average_linkage(values: &[f64], n: usize, width: usize) -> Result<Vec<[f64; 4]>> {
    if n > MOST {
        let reason = format!("clustering compares all pairs: {MOST} are possible, choose fewer");
        return Err(Error::parameter("rows to cluster", n, reason));
    }
    let mut distances = Distances::of(values, n, width);
    let mut size = vec![1usize; n];
    let mut chain: Vec<usize> = Vec::with_capacity(n);
    let mut joined: Vec<(usize, usize, f64)> = Vec::with_capacity(n.saturating_sub(1));
    for step in 1..n {
        if step % 64 == 0 {
            check_interrupt()?;
        }
        if chain.is_empty() {
            chain.extend((0..n).find(|&i| size[i] > 0));
        }
        let (x, y, distance) = loop {
            let x = chain[chain.len() - 1];
            let before = chain.len().checked_sub(2).map(|k| chain[k]);
            let mut best = match before {
                Some(y) => (distances.get(x, y), y),
                None => (f64::INFINITY, usize::MAX),
            };
            for i in (0..n).filter(|&i| size[i] > 0 && i != x) {
                let d = distances.get(x, i);
                if d < best.0 || best.1 == usize::MAX {
                    best = (d, i);
                }
            }
            if before == Some(best.1) {
                break (x, best.1, best.0);
            }
            chain.push(best.1);
        };
        chain.truncate(chain.len() - 2);
        let (x, y) = (x.min(y), x.max(y));
        joined.push((x, y, distance));
        let (nx, ny) = (size[x] as f64, size[y] as f64);
        (size[x], size[y]) = (0, size[x] + size[y]);
        for i in (0..n).filter(|&i| size[i] > 0 && i != y) {
            let d = (nx * distances.get(i, x) + ny * distances.get(i, y)) / (nx + ny);
            distances.set(i, y, d);
        }
    }
    joined.sort_by(|a, b| a.2.total_cmp(&b.2));
    Ok(label(&joined, n))
}

/// Gives clusters the numbers that scipy gives them.
fn label(joined: &[(usize, usize, f64)], n: usize) -> Vec<[f64; 4]> {
    let mut parent: Vec<usize> = (0..2 * n).collect();
    let mut size = vec![1f64; 2 * n];
    let root = |parent: &mut Vec<usize>, mut i: usize| {
        while parent[i] != i {
            parent[i] = parent[parent[i]];
            i = parent[i];
        }
        i
    };
    let mut out = Vec::with_capacity(joined.len());
    for (k, &(x, y, distance)) in joined.iter().enumerate() {
        let (a, b) = (root(&mut parent, x), root(&mut parent, y));
        let new = n + k;
        (parent[a], parent[b]) = (new, new);
        size[new] = size[a] + size[b];
        out.push([a.min(b) as f64, a.max(b) as f64, distance, size[new]]);
    }
    out
}

/// The distances of all pairs of rows.
struct Distances {
    n: usize,
    /// Row after row, above the diagonal.
    values: Vec<f64>,
}

impl Distances {
    fn of(rows: &[f64], n: usize, width: usize) -> Distances {
        let line = |i: usize| {
            let a = &rows[i * width..(i + 1) * width];
            let to = |j: usize| {
                let b = &rows[j * width..(j + 1) * width];
                a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
            };
            (i + 1..n).map(to).collect::<Vec<f64>>()
        };
        let lines: Vec<Vec<f64>> = (0..n).into_par_iter().map(line).collect();
        Distances { n, values: lines.concat() }
    }

    fn at(&self, i: usize, j: usize) -> usize {
        let (i, j) = (i.min(j), i.max(j));
        self.n * i - i * (i + 1) / 2 + j - i - 1
    }

    fn get(&self, i: usize, j: usize) -> f64 {
        self.values[self.at(i, j)]
    }

    fn set(&mut self, i: usize, j: usize, d: f64) {
        let at = self.at(i, j);
        self.values[at] = d;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkage_is_scipys() {
        // scipy.cluster.hierarchy.linkage([[0, 0], [4, 0], [1, 0], [10, 3], [5.5, 1]], "average")
        let rows = [0.0, 0.0, 4.0, 0.0, 1.0, 0.0, 10.0, 3.0, 5.5, 1.0];
        let z = average_linkage(&rows, 5, 2).unwrap();
        let expected = [
            [0.0, 2.0, 1.0, 2.0],
            [1.0, 4.0, 1.8027756377319946, 2.0],
            [5.0, 6.0, 4.2999855430989795, 4.0],
            [3.0, 7.0, 7.8899430807032775, 5.0],
        ];
        for (a, b) in z.iter().flatten().zip(expected.iter().flatten()) {
            assert!((a - b).abs() < 1e-12, "{z:?}");
        }
        assert!(average_linkage(&[1.0], 1, 1).unwrap().is_empty());
        assert!(average_linkage(&[], 0, 3).unwrap().is_empty());
    }

    #[test]
    fn equal_rows_are_joined_as_scipy_joins_them() {
        // linkage([[1], [1], [2], [2], [1]], "average")
        let z = average_linkage(&[1.0, 1.0, 2.0, 2.0, 1.0], 5, 1).unwrap();
        assert_eq!(
            z,
            [
                [0.0, 1.0, 0.0, 2.0],
                [4.0, 5.0, 0.0, 3.0],
                [2.0, 3.0, 0.0, 2.0],
                [6.0, 7.0, 1.0, 5.0],
            ]
        );
    }

    #[test]
    fn too_many_rows_are_refused() {
        let e = average_linkage(&[], MOST + 1, 0).unwrap_err().to_string();
        assert!(e.contains("choose fewer"), "{e}");
    }
}
