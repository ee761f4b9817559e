//! Exact nearest neighbours among points of few dimensions.

use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A neighbour of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbor {
    /// Euclidean distance.
    pub distance: f64,
    /// Row of the neighbour.
    pub index: usize,
}

/// Ordered by squared distance, then index: on a regular grid many distances are equal, and the
/// order has to be the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    square: f64,
    index: u32,
}

impl Eq for Candidate {}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.square.total_cmp(&other.square).then(self.index.cmp(&other.index))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A k-d tree over points of 1 to a handful of dimensions. Answers are exact; equal distances are
/// ordered by index.
#[derive(Debug, Clone)]
pub struct KdTree {
    dim: usize,
    /// Coordinates in the order of the leaves.
    points: Vec<f64>,
    /// Row of each of them.
    rows: Vec<u32>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
struct Node {
    start: usize,
    end: usize,
    /// Lower corner, then upper corner, of the points below.
    bounds: Vec<f64>,
    /// The two halves; `None` in a leaf.
    children: Option<(usize, usize)>,
}

const LEAF: usize = 16;

impl KdTree {
    /// A tree over the rows of `points` (n × d).
    ///
    /// # Errors
    /// [`Error::Data`] when a coordinate is not finite.
    pub fn new(points: ArrayView2<f64>) -> Result<KdTree> {
        let dim = points.ncols();
        if let Some(row) = points.rows().into_iter().position(|p| p.iter().any(|x| !x.is_finite()))
        {
            let reason = format!("row {row} is not finite; drop such points first");
            return Err(Error::data("coordinates", reason));
        }
        let mut rows: Vec<u32> = (0..points.nrows() as u32).collect();
        let mut nodes = Vec::new();
        if !rows.is_empty() {
            build(&points, &mut rows, 0, &mut nodes);
        }
        let points = rows.iter().flat_map(|&r| points.row(r as usize).to_vec()).collect();
        Ok(KdTree { dim, points, rows, nodes })
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no points.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The `k` points nearest to `query` (fewer when there are fewer), nearest first, equal
    /// distances by index. A query that is itself one of the points finds itself.
    pub fn nearest(&self, query: &[f64], k: usize) -> Vec<Neighbor> {
        let mut heap = BinaryHeap::with_capacity(k + 1);
        if k > 0 && !self.is_empty() {
            self.descend(0, query, k, &mut heap);
        }
        heap.into_sorted_vec().into_iter().map(neighbor).collect()
    }

    /// All points at most `radius` away from `query`, in the same order.
    pub fn within(&self, query: &[f64], radius: f64) -> Vec<Neighbor> {
        let mut found = Vec::new();
        let mut open: Vec<usize> = (!self.is_empty()).then_some(0).into_iter().collect();
        while let Some(n) = open.pop() {
            let node = &self.nodes[n];
            // The square root is compared, so that a point exactly on the circle is in.
            if node.square_to(query).sqrt() > radius {
                continue;
            }
            match node.children {
                Some((a, b)) => open.extend([a, b]),
                None => found.extend(self.leaf(node, query).filter(|c| c.square.sqrt() <= radius)),
            }
        }
        found.sort_unstable();
        found.into_iter().map(neighbor).collect()
    }

    fn leaf<'a>(
        &'a self,
        node: &'a Node,
        query: &'a [f64],
    ) -> impl Iterator<Item = Candidate> + 'a {
        (node.start..node.end).map(move |i| {
            let p = &self.points[i * self.dim..(i + 1) * self.dim];
            let square = p.iter().zip(query).map(|(a, b)| (a - b) * (a - b)).sum();
            Candidate { square, index: self.rows[i] }
        })
    }

    fn descend(&self, n: usize, query: &[f64], k: usize, heap: &mut BinaryHeap<Candidate>) {
        let node = &self.nodes[n];
        let Some((a, b)) = node.children else {
            for candidate in self.leaf(node, query) {
                if heap.len() < k {
                    heap.push(candidate);
                } else if heap.peek().is_some_and(|worst| candidate < *worst) {
                    heap.pop();
                    heap.push(candidate);
                }
            }
            return;
        };
        let (da, db) = (self.nodes[a].square_to(query), self.nodes[b].square_to(query));
        let order = if db < da { [(db, b), (da, a)] } else { [(da, a), (db, b)] };
        for (square, child) in order {
            // A box at exactly the worst distance may hold an equal one of a smaller index.
            if heap.len() < k || heap.peek().is_some_and(|worst| square <= worst.square) {
                self.descend(child, query, k, heap);
            }
        }
    }
}

fn neighbor(c: Candidate) -> Neighbor {
    Neighbor { distance: c.square.sqrt(), index: c.index as usize }
}

impl Node {
    /// Squared distance from `query` to the box, 0 inside.
    fn square_to(&self, query: &[f64]) -> f64 {
        let (low, high) = self.bounds.split_at(query.len());
        let gap = |((&q, &l), &h): ((&f64, &f64), &f64)| (l - q).max(q - h).max(0.0);
        query.iter().zip(low).zip(high).map(gap).map(|d| d * d).sum()
    }
}

/// Adds the node of `rows` (which start at `offset` in the whole) and those below; returns its
/// position.
fn build(
    points: &ArrayView2<f64>,
    rows: &mut [u32],
    offset: usize,
    nodes: &mut Vec<Node>,
) -> usize {
    let dim = points.ncols();
    let mut bounds = vec![f64::INFINITY; dim];
    bounds.resize(2 * dim, f64::NEG_INFINITY);
    for &r in rows.iter() {
        for (d, &x) in points.row(r as usize).iter().enumerate() {
            bounds[d] = bounds[d].min(x);
            bounds[dim + d] = bounds[dim + d].max(x);
        }
    }
    let width = |d: &usize| bounds[dim + d] - bounds[*d];
    let widest = (0..dim).max_by(|a, b| width(a).total_cmp(&width(b)));
    let split = widest.filter(|d| rows.len() > LEAF && width(d) > 0.0);
    let id = nodes.len();
    nodes.push(Node { start: offset, end: offset + rows.len(), bounds, children: None });
    if let Some(d) = split {
        let half = rows.len() / 2;
        let key = |r: &u32| points[[*r as usize, d]];
        rows.select_nth_unstable_by(half, |a, b| key(a).total_cmp(&key(b)).then(a.cmp(b)));
        let (low, high) = rows.split_at_mut(half);
        let a = build(points, low, offset, nodes);
        let b = build(points, high, offset + half, nodes);
        nodes[id].children = Some((a, b));
    }
    id
}

/// For every row of `points` (n × d) its `k` nearest rows, itself included and first unless others
/// lie on the same spot: their indices and Euclidean distances, both n × k. Equal distances are
/// ordered by index.
///
/// # Errors
/// [`Error::Parameter`] when `k` is 0 or above n; [`Error::Data`] when a coordinate is not finite.
pub fn knn(points: ArrayView2<f64>, k: usize) -> Result<(Array2<u32>, Array2<f64>)> {
    let n = points.nrows();
    if k == 0 || k > n {
        let reason = format!("must be between 1 and the number of points, {n}");
        return Err(Error::parameter("k", k, reason));
    }
    let tree = KdTree::new(points)?;
    let found: Vec<Vec<Neighbor>> = (0..n)
        .into_par_iter()
        .with_min_len(64)
        .map(|i| tree.nearest(&points.row(i).to_vec(), k))
        .collect();
    let index = Array2::from_shape_fn((n, k), |(i, j)| found[i][j].index as u32);
    let distance = Array2::from_shape_fn((n, k), |(i, j)| found[i][j].distance);
    Ok((index, distance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn brute(points: &Array2<f64>, i: usize) -> Vec<Candidate> {
        let square = |j: usize| {
            points.row(i).iter().zip(points.row(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()
        };
        let mut all: Vec<Candidate> =
            (0..points.nrows()).map(|j| Candidate { square: square(j), index: j as u32 }).collect();
        all.sort();
        all
    }

    fn agrees_with_brute_force(points: Array2<f64>) {
        let k = 7.min(points.nrows());
        let (index, distance) = knn(points.view(), k).unwrap();
        let tree = KdTree::new(points.view()).unwrap();
        for i in 0..points.nrows() {
            let expected = brute(&points, i);
            for j in 0..k {
                assert_eq!(index[[i, j]], expected[j].index, "row {i}");
                assert_eq!(distance[[i, j]], expected[j].square.sqrt());
            }
            let radius = distance[[i, k - 1]];
            let near = tree.within(&points.row(i).to_vec(), radius);
            let count = expected.iter().filter(|c| c.square.sqrt() <= radius).count();
            assert_eq!(near.len(), count);
        }
    }

    #[test]
    fn random_points_in_two_and_three_dimensions() {
        let mut rng = Rng::new(4);
        agrees_with_brute_force(Array2::from_shape_simple_fn((500, 2), || rng.normal()));
        agrees_with_brute_force(Array2::from_shape_simple_fn((300, 3), || rng.normal()));
    }

    #[test]
    fn grids_and_coinciding_points_are_ordered_by_index() {
        agrees_with_brute_force(Array2::from_shape_fn((400, 2), |(i, d)| {
            if d == 0 { (i % 20) as f64 } else { (i / 20) as f64 }
        }));
        agrees_with_brute_force(Array2::from_shape_fn((90, 2), |(i, _)| (i / 30) as f64));
        agrees_with_brute_force(Array2::zeros((3, 2)));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let mut points = Array2::zeros((3, 2));
        assert!(knn(points.view(), 4).unwrap_err().to_string().contains("number of points, 3"));
        points[[1, 0]] = f64::NAN;
        assert!(knn(points.view(), 2).unwrap_err().to_string().contains("row 1"));
    }
}
