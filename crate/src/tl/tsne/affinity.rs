//! How similar the points are before they are embedded: exact neighbours, and the width of a
//! Gaussian around each that makes the perplexity what is asked for.

use super::super::perplexity::conditional;
use crate::error::Result;
use crate::linalg::{Csr, knn, nearest_rows};
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// The joint probabilities of neighbours, symmetric, all of them adding up to 1: of each point the
/// `k` nearest others count, with the weights of a Gaussian of the given perplexity.
pub(super) fn joint(x: ArrayView2<f64>, k: usize, perplexity: f64) -> Result<Csr<f32>> {
    let n = x.nrows();
    let (index, square) = nearest(x, k)?;
    let rows: Vec<Vec<f64>> = square
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|row| conditional(row.as_slice().expect("rows lie together"), perplexity))
        .collect();
    // P + Pᵀ: each point's own list and those it is on, merged.
    let mut arriving = vec![0usize; n + 1];
    index.iter().for_each(|&j| arriving[j as usize + 1] += 1);
    (0..n).for_each(|i| arriving[i + 1] += arriving[i]);
    let mut next = arriving.clone();
    let mut from = vec![(0u32, 0f64); n * k];
    for (i, row) in rows.iter().enumerate() {
        for (&j, &p) in index.row(i).iter().zip(row) {
            from[next[j as usize]] = (i as u32, p);
            next[j as usize] += 1;
        }
    }
    let total: f64 = 2.0 * rows.iter().flatten().sum::<f64>();
    let merged: Vec<Vec<(u32, f32)>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let own = index.row(i).iter().zip(&rows[i]).map(|(&j, &p)| (j, p)).collect::<Vec<_>>();
            let mut all = [own.as_slice(), &from[arriving[i]..arriving[i + 1]]].concat();
            all.sort_by_key(|e| e.0);
            let mut out: Vec<(u32, f32)> = Vec::with_capacity(all.len());
            let mut at = 0;
            while at < all.len() {
                let (j, mut p) = all[at];
                at += 1;
                if at < all.len() && all[at].0 == j {
                    p += all[at].1;
                    at += 1;
                }
                out.push((j, (p / total) as f32));
            }
            out
        })
        .collect();
    let mut p = Csr { nrows: n, ncols: n, indptr: vec![0], indices: vec![], values: vec![] };
    for row in merged {
        p.indices.extend(row.iter().map(|e| e.0));
        p.values.extend(row.iter().map(|e| e.1));
        p.indptr.push(p.indices.len());
    }
    Ok(p)
}

/// The `k` nearest other points of each and their squared distances, nearest first.
fn nearest(x: ArrayView2<f64>, k: usize) -> Result<(Array2<u32>, Array2<f64>)> {
    let n = x.nrows();
    let (mut index, mut square) = (Array2::<u32>::zeros((n, k)), Array2::<f64>::zeros((n, k)));
    if k == 0 {
        return Ok((index, square));
    }
    if x.ncols() <= 8 {
        // A tree beats comparing all with all.
        let (near, distance) = knn(x, k + 1)?;
        for i in 0..n {
            let others = (0..=k).filter(|&j| near[[i, j]] as usize != i).take(k);
            for (to, j) in others.enumerate() {
                index[[i, to]] = near[[i, j]];
                square[[i, to]] = distance[[i, j]].powi(2);
            }
        }
        return Ok((index, square));
    }
    let found = nearest_rows(x, k)?;
    Ok((found.indices, found.distances.mapv(|d| d * d)))
}

#[cfg(test)]
mod tests {
    use super::super::super::graph::tests::clouds;
    use super::*;

    #[test]
    fn the_perplexity_is_met_and_probabilities_are_symmetric() {
        let x = clouds(2, 60, 12, 3.0);
        let (index, square) = nearest(x.view(), 31).unwrap();
        for i in 0..120 {
            let p = conditional(square.row(i).as_slice().unwrap(), 10.0);
            let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
            assert!((entropy.exp() - 10.0).abs() < 1e-3);
            assert!(!index.row(i).iter().any(|&j| j == i as u32));
        }
        let p = joint(x.view(), 31, 10.0).unwrap();
        assert_eq!(p.transpose(), p);
        assert!((p.values.iter().map(|&v| f64::from(v)).sum::<f64>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn tiles_and_tree_find_the_same_neighbours() {
        let x = clouds(2, 200, 9, 3.0);
        let (index, square) = nearest(x.view(), 7).unwrap();
        let (near, distance) = knn(x.view(), 8).unwrap();
        assert_eq!(index, near.slice(ndarray::s![.., 1..]));
        let d = distance.slice(ndarray::s![.., 1..]).mapv(|v| v * v);
        assert!((&square - &d).iter().all(|e| e.abs() < 1e-9));
    }
}
