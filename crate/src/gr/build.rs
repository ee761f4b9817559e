//! Edges between points: nearest neighbours, radius, grid and its rings, triangulation.

use super::delaunay;
use crate::error::{Error, Result};
use crate::linalg::{KdTree, Neighbor};
use crate::parallel::{map_items, parts};
use crate::progress::check_interrupt;
use ndarray::Array2;

/// The kinds of graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Grid,
    DelaunayGrid,
    Knn,
    Radius(f64),
    Delaunay,
}

/// A sparse square matrix of lengths (or weights), columns rising within each row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Edges {
    pub indptr: Vec<usize>,
    pub indices: Vec<u32>,
    pub values: Vec<f64>,
}

/// Rows that one task takes at least.
const ROWS: usize = 256;

impl Edges {
    /// From a function that adds the edges of a row, in any order.
    pub fn from_rows(n: usize, row: impl Fn(usize, &mut Vec<(u32, f64)>) + Sync) -> Result<Edges> {
        let part = |range: std::ops::Range<usize>| {
            let mut lengths = Vec::with_capacity(range.len());
            let (mut indices, mut values) = (Vec::new(), Vec::new());
            let mut found = Vec::new();
            for (done, i) in range.enumerate() {
                if done % 1024 == 0 {
                    check_interrupt()?;
                }
                found.clear();
                row(i, &mut found);
                found.sort_unstable_by_key(|&(j, _)| j);
                lengths.push(found.len());
                indices.extend(found.iter().map(|&(j, _)| j));
                values.extend(found.iter().map(|&(_, d)| d));
            }
            Ok((lengths, indices, values))
        };
        type Part = (Vec<usize>, Vec<u32>, Vec<f64>);
        let all: Result<Vec<Part>> = map_items(parts(n, ROWS), part).into_iter().collect();
        let all = all?;
        let total = all.iter().map(|p| p.1.len()).sum();
        let mut edges = Edges {
            indptr: Vec::with_capacity(n + 1),
            indices: Vec::with_capacity(total),
            values: Vec::with_capacity(total),
        };
        edges.indptr.push(0);
        let mut end = 0;
        for (lengths, indices, values) in all {
            for length in lengths {
                end += length;
                edges.indptr.push(end);
            }
            edges.indices.extend(indices);
            edges.values.extend(values);
        }
        Ok(edges)
    }

    /// Number of rows.
    pub fn n(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Drops the edges whose value does not fulfil a condition.
    pub fn keep(&mut self, condition: impl Fn(f64) -> bool) {
        let (mut kept, mut start) = (0, 0);
        for r in 0..self.n() {
            let end = self.indptr[r + 1];
            for e in start..end {
                if condition(self.values[e]) {
                    self.values[kept] = self.values[e];
                    self.indices[kept] = self.indices[e];
                    kept += 1;
                }
            }
            start = end;
            self.indptr[r + 1] = kept;
        }
        self.values.truncate(kept);
        self.indices.truncate(kept);
    }

    /// The same without edges of length 0.
    pub fn without_zeros(mut self) -> Edges {
        if self.values.contains(&0.0) {
            self.keep(|d| d != 0.0);
        }
        self
    }
}

/// The `k` nearest of each point, itself left out.
pub(super) fn knn(coords: &Array2<f64>, k: usize) -> Result<Edges> {
    let tree = KdTree::new(coords.view())?;
    Edges::from_rows(coords.nrows(), |i, row| {
        let near = tree.nearest(&coords.row(i).to_vec(), k + 1);
        let others = near.iter().filter(|n| n.index != i).take(k);
        row.extend(others.map(|n| (n.index as u32, n.distance)));
    })
}

/// All points at most `radius` away.
pub(super) fn within(coords: &Array2<f64>, radius: f64) -> Result<Edges> {
    let tree = KdTree::new(coords.view())?;
    Edges::from_rows(coords.nrows(), |i, row| {
        let near = tree.within(&coords.row(i).to_vec(), radius);
        let edge = |n: &Neighbor| (n.index as u32, n.distance);
        row.extend(near.iter().filter(|n| n.index != i).map(edge));
    })
}

/// The Delaunay triangulation with the lengths of its edges.
pub(super) fn delaunay(coords: &Array2<f64>) -> Result<Edges> {
    if coords.ncols() != 2 {
        let what = "coordinates of a Delaunay triangulation";
        return Err(Error::shape(what, "2 columns", coords.ncols()));
    }
    let points: Vec<[f64; 2]> = coords.rows().into_iter().map(|p| [p[0], p[1]]).collect();
    let pairs = delaunay::edges(&points)?;
    let mut indptr = vec![0usize; points.len() + 1];
    for &(i, _) in &pairs {
        indptr[i as usize + 1] += 1;
    }
    for i in 0..points.len() {
        indptr[i + 1] += indptr[i];
    }
    let length = |&(i, j): &(u32, u32)| {
        let (p, q) = (points[i as usize], points[j as usize]);
        ((p[0] - q[0]).powi(2) + (p[1] - q[1]).powi(2)).sqrt()
    };
    let values = pairs.iter().map(length).collect();
    Ok(Edges { indptr, indices: pairs.iter().map(|&(_, j)| j).collect(), values })
}

/// The first ring of a grid: of the `k` nearest those nearer than 1.3 times the median, each one
/// step away.
pub(super) fn grid(coords: &Array2<f64>, k: usize) -> Result<Edges> {
    let mut edges = knn(coords, k)?;
    let Some(length) = usual(&edges.values) else {
        let reason = format!(
            "every spot lies at one place with its {k} nearest, so that a grid has no length; \
             drop the copies, or ask for more neighbours"
        );
        return Err(Error::data("coordinates", reason));
    };
    edges.keep(|d| d < 1.3 * length);
    Ok(steps(edges))
}

/// The median distance: where half of them or more are 0 (spots that were recorded several times)
/// that of the others. `None` where there are no others.
fn usual(distances: &[f64]) -> Option<f64> {
    let apart: Vec<f64> = distances.iter().copied().filter(|&d| d > 0.0).collect();
    let copies = 2 * apart.len() <= distances.len();
    (!apart.is_empty()).then(|| median(if copies { &apart } else { distances }))
}

/// Every edge of length 1.
pub(super) fn steps(mut edges: Edges) -> Edges {
    edges.values.fill(1.0);
    edges
}

/// All points within `rings` steps along the edges, the number of steps being the length.
pub(super) fn rings(first: Edges, rings: usize) -> Result<Edges> {
    if rings == 1 {
        return Ok(first);
    }
    Edges::from_rows(first.n(), |i, row| {
        // Sorted lists: rings of a grid are small, and a table of all spots for each is not.
        let mut seen = vec![i as u32];
        let mut frontier = vec![i as u32];
        for ring in 1..=rings {
            let mut next: Vec<u32> = Vec::with_capacity(6 * frontier.len());
            for &p in &frontier {
                let range = first.indptr[p as usize]..first.indptr[p as usize + 1];
                next.extend_from_slice(&first.indices[range]);
            }
            next.sort_unstable();
            next.dedup();
            next.retain(|q| seen.binary_search(q).is_err());
            if next.is_empty() {
                break;
            }
            row.extend(next.iter().map(|&q| (q, ring as f64)));
            seen.extend_from_slice(&next);
            seen.sort_unstable();
            frontier = next;
        }
    })
}

fn median(values: &[f64]) -> f64 {
    let mut v = values.to_vec();
    let half = v.len() / 2;
    if v.is_empty() {
        return f64::NAN;
    }
    let (below, &mut upper, _) = v.select_nth_unstable_by(half, f64::total_cmp);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
}

/// The percentile `p` of `values` and `zeros` zeros, by numpy's linear interpolation.
pub(super) fn percentile(values: &[f64], zeros: usize, p: f64) -> f64 {
    let mut v = values.to_vec();
    v.resize(values.len() + zeros, 0.0);
    if v.is_empty() {
        return f64::INFINITY;
    }
    let place = p / 100.0 * (v.len() - 1) as f64;
    let (low, t) = (place.floor() as usize, place.fract());
    let (_, &mut a, above) = v.select_nth_unstable_by(low, f64::total_cmp);
    let b = above.iter().copied().reduce(f64::min).unwrap_or(a);
    if t < 0.5 { a + (b - a) * t } else { b - (b - a) * (1.0 - t) }
}
