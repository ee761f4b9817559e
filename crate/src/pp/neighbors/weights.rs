//! From distances to the weights of the graph.

use crate::linalg::{Csr, NearestRows, Real};
use rayon::prelude::*;

/// UMAP's weights: of each cell's neighbours exp(−(d − ρ)/σ), with ρ the distance of the nearest one
/// that is not a copy and σ such that the weights sum to log₂ k; of the two weights a and b of a
/// pair a + b − ab. Computed in `f32` as umap-learn does.
pub(super) fn umap(found: &NearestRows) -> Csr<f32> {
    let (n, k) = found.indices.dim();
    let flat: Vec<f32> = found.distances.iter().map(|&d| d as f32).collect();
    // With the cell itself at distance 0.
    let mean = flat.iter().map(|&d| f64::from(d)).sum::<f64>() / (n * (k + 1)) as f64;
    let mut weights = vec![0f32; n * k];
    weights.par_chunks_mut(k).zip(flat.par_chunks(k)).for_each(|(weights, distances)| {
        let rho = distances.iter().copied().find(|&d| d > 0.0).unwrap_or(0.0);
        let sigma = width(distances, rho, mean);
        for (w, &d) in weights.iter_mut().zip(distances) {
            *w = if d - rho <= 0.0 || sigma == 0.0 { 1.0 } else { (-((d - rho) / sigma)).exp() };
        }
    });
    merged(found, &weights, |a, b| (a + b) - a * b)
}

/// σ, by bisection; not below a thousandth of the mean distance.
fn width(distances: &[f32], rho: f32, mean_of_all: f64) -> f32 {
    const TOLERANCE: f64 = 1e-5;
    let k = distances.len() + 1;
    let target = (k as f64).log2();
    let (mut low, mut high, mut middle) = (0f32, f32::MAX, 1f32);
    for _ in 0..64 {
        let sum: f32 = distances
            .iter()
            .map(|&d| if d - rho > 0.0 { (-((d - rho) / middle)).exp() } else { 1.0 })
            .sum();
        if (f64::from(sum) - target).abs() < TOLERANCE {
            break;
        }
        if f64::from(sum) > target {
            high = middle;
            middle = (low + high) / 2.0;
        } else {
            low = middle;
            middle = if high == f32::MAX { middle * 2.0 } else { (low + high) / 2.0 };
        }
    }
    let own = distances.iter().map(|&d| f64::from(d)).sum::<f64>() / k as f64;
    let least = 1e-3 * if rho > 0.0 { own } else { mean_of_all };
    middle.max(least as f32)
}

/// A Gaussian kernel of the width σ_i² = the median squared distance of cell i's neighbours:
/// w_ij = √(2σ_iσ_j / (σ_i² + σ_j²)) exp(−d² / (σ_i² + σ_j²)), between cells of which one is a neighbour
/// of the other. Cells that coincide with their neighbours have the weight 1.
pub(super) fn gauss(found: &NearestRows) -> Csr<f64> {
    let k = found.indices.ncols();
    let squares = |row: ndarray::ArrayView1<f64>| {
        let middle = row[(k - 1) / 2].powi(2) + row[k / 2].powi(2);
        middle / 2.0
    };
    let sigma: Vec<f64> = found.distances.rows().into_iter().map(squares).collect();
    let weight = |i: usize, j: usize, d: f64| {
        let both = sigma[i] + sigma[j];
        if both == 0.0 {
            return 1.0;
        }
        (2.0 * (sigma[i] * sigma[j]).sqrt() / both).sqrt() * (-d * d / both).exp()
    };
    let pairs = found.indices.indexed_iter().zip(&found.distances);
    let weights: Vec<f64> = pairs.map(|(((i, _), &j), &d)| weight(i, j as usize, d)).collect();
    merged(found, &weights, f64::max)
}

/// The symmetric matrix that holds `union(w_ij, w_ji)` wherever one of the two is not 0; what is no
/// neighbour counts as 0.
fn merged<T: Real>(found: &NearestRows, weights: &[T], union: impl Fn(T, T) -> T + Sync) -> Csr<T> {
    let (n, k) = found.indices.dim();
    let flat: Vec<u32> = found.indices.iter().copied().collect();
    let mut rows = Csr {
        nrows: n,
        ncols: n,
        indptr: (0..=n).map(|i| i * k).collect(),
        indices: flat,
        values: weights.to_vec(),
    };
    let transposed = rows.transpose();
    // Of each row by column.
    let lists = rows.indices.par_chunks_mut(k).zip(rows.values.par_chunks_mut(k));
    lists.for_each(|(indices, values)| {
        let mut pairs: Vec<(u32, T)> =
            indices.iter().copied().zip(values.iter().copied()).collect();
        pairs.sort_unstable_by_key(|p| p.0);
        for (slot, (j, w)) in indices.iter_mut().zip(values.iter_mut()).zip(pairs) {
            (*slot.0, *slot.1) = (j, w);
        }
    });
    let merge = |i: usize| {
        let mut out: Vec<(u32, T)> = Vec::with_capacity(2 * k);
        let (mut a, mut b) = (rows.row(i).peekable(), transposed.row(i).peekable());
        loop {
            let (j, w) = match (a.peek().copied(), b.peek().copied()) {
                (None, None) => break,
                (Some((p, x)), Some((q, y))) if p == q => {
                    a.next();
                    b.next();
                    (p, union(x, y))
                }
                (Some((p, x)), q) if q.is_none_or(|(q, _)| p < q) => {
                    a.next();
                    (p, union(x, T::zero()))
                }
                (_, Some((q, y))) => {
                    b.next();
                    (q, union(T::zero(), y))
                }
                (Some(_), None) => unreachable!("the arm above takes it"),
            };
            if w != T::zero() {
                out.push((j as u32, w));
            }
        }
        out
    };
    let merged: Vec<Vec<(u32, T)>> = (0..n).into_par_iter().map(merge).collect();
    let mut indptr = vec![0usize; n + 1];
    for (i, row) in merged.iter().enumerate() {
        indptr[i + 1] = indptr[i] + row.len();
    }
    let mut out = Csr {
        nrows: n,
        ncols: n,
        indices: Vec::with_capacity(indptr[n]),
        values: Vec::with_capacity(indptr[n]),
        indptr,
    };
    for row in merged {
        out.indices.extend(row.iter().map(|e| e.0));
        out.values.extend(row.iter().map(|e| e.1));
    }
    out
}
