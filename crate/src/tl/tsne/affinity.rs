//! How similar the points are before they are embedded: exact neighbours, and the width of a
//! Gaussian around each that makes the perplexity what is asked for.

use crate::error::{Error, Result};
use crate::linalg::{Csr, for_distance_tiles, knn};
use crate::progress::check_interrupt;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

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

/// The weights exp(-β·d²), adding up to 1, whose entropy is the logarithm of the perplexity; β by
/// bisection to 1e-5, as scikit-learn.
fn conditional(square: &[f64], perplexity: f64) -> Vec<f64> {
    let wanted = perplexity.ln();
    let nearest = square.iter().copied().fold(f64::INFINITY, f64::min);
    let (mut beta, mut low, mut high) = (1.0, f64::NEG_INFINITY, f64::INFINITY);
    let mut p = vec![0f64; square.len()];
    for _ in 0..100 {
        // The nearest distance cancels out, and without it nothing underflows.
        let mut sum = 0.0;
        for (p, &d) in p.iter_mut().zip(square) {
            *p = (-beta * (d - nearest)).exp();
            sum += *p;
        }
        let mut mean = 0.0;
        for (p, &d) in p.iter_mut().zip(square) {
            *p /= sum;
            mean += *p * (d - nearest);
        }
        let off = sum.ln() + beta * mean - wanted;
        if off.abs() <= 1e-5 {
            break;
        }
        if off > 0.0 {
            low = beta;
            beta = if high.is_infinite() { beta * 2.0 } else { (beta + high) / 2.0 };
        } else {
            high = beta;
            beta = if low.is_infinite() { beta / 2.0 } else { (beta + low) / 2.0 };
        }
    }
    p
}

/// Distances that a list of neighbours may still improve on are compared with their index, so that
/// equal ones come in order.
#[derive(Clone, Copy, PartialEq)]
struct Candidate(f64, u32);
impl Eq for Candidate {}
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
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
    let mean = x.mean_axis(Axis(0)).expect("there are rows");
    let x = &x - &mean;
    const ROWS: usize = 256;
    let blocks = index.axis_chunks_iter_mut(Axis(0), ROWS).into_par_iter();
    let blocks = blocks.zip(square.axis_chunks_iter_mut(Axis(0), ROWS));
    blocks.enumerate().try_for_each(|(b, (mut index, mut square))| {
        check_interrupt()?;
        let start = b * ROWS;
        let rows = start..start + index.nrows();
        let mut heaps = vec![BinaryHeap::<Candidate>::with_capacity(k + 1); rows.len()];
        for_distance_tiles(x.view(), rows, |columns, tile| {
            for (r, heap) in heaps.iter_mut().enumerate() {
                let mut worst = match heap.peek() {
                    Some(c) if heap.len() == k => c.0,
                    _ => f64::INFINITY,
                };
                for (c, &d) in tile.row(r).iter().enumerate() {
                    let j = columns.start + c;
                    // Columns come in order, so that an equal one later loses.
                    if d < worst && j != start + r {
                        if heap.len() == k {
                            heap.pop();
                        }
                        heap.push(Candidate(d, j as u32));
                        if heap.len() == k {
                            worst = heap.peek().map_or(f64::INFINITY, |c| c.0);
                        }
                    }
                }
            }
        });
        for (r, heap) in heaps.into_iter().enumerate() {
            for (to, Candidate(d, j)) in heap.into_sorted_vec().into_iter().enumerate() {
                index[[r, to]] = j;
                square[[r, to]] = d;
            }
        }
        Ok::<(), Error>(())
    })?;
    Ok((index, square))
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
