//! The start of a mixture: agglomerative clustering by the likelihood of Gaussians of any
//! covariance, as mclust's `hc(modelName = "VVV", use = "SVD")` (Fraley, 1998).

use crate::error::{Error, Result};
use crate::linalg::svd;
use crate::progress::check_interrupt;
use ndarray::{Array1, Array2, ArrayView1, Axis};
use rayon::prelude::*;

/// The mean and the standard deviation of each column; one that does not vary is an error.
pub(super) fn moments(x: &Array2<f64>) -> Result<(Array1<f64>, Array1<f64>)> {
    let n = x.nrows();
    let mean = x.mean_axis(Axis(0)).expect("there are rows");
    let deviation = |(j, column): (usize, ArrayView1<f64>)| {
        let square: f64 = column.iter().map(|v| (v - mean[j]).powi(2)).sum();
        let sd = (square / (n as f64 - 1.0)).sqrt();
        if sd <= 1e-14 * mean[j].abs() {
            let reason = format!("column {j} is constant among the {n} rows looked at; drop it");
            return Err(Error::data("data to cluster", reason));
        }
        Ok(sd)
    };
    let sd = x.columns().into_iter().enumerate().map(deviation).collect::<Result<Array1<f64>>>()?;
    Ok((mean, sd))
}

/// Standardised columns, turned to their principal axes and divided by the root of the singular
/// values.
pub(super) fn transform(mut x: Array2<f64>) -> Result<Array2<f64>> {
    let (mean, sd) = moments(&x)?;
    x -= &mean;
    x /= &sd;
    let (_, s, vt) = svd(x.view())?;
    let mut z = x.dot(&vt.t());
    let negligible = s.iter().copied().fold(0.0, f64::max) * 1e-12;
    for (mut column, &s) in z.columns_mut().into_iter().zip(&s) {
        // A direction without extent tells nothing.
        column *= if s > negligible { 1.0 / s.sqrt() } else { 0.0 };
    }
    Ok(z)
}

/// The merges of an agglomerative clustering, the first one first: the second cluster goes into the
/// first, which is the one with the smaller first row.
pub(super) struct Tree {
    n: usize,
    merges: Vec<(u32, u32)>,
}

/// What is known of one cluster.
struct Cluster {
    size: f64,
    mean: Vec<f64>,
    /// Scatter within, the lower triangle row by row.
    scatter: Vec<f64>,
    trace: f64,
    /// size · log(det(scatter / size) + (trace + a) / size).
    term: f64,
}

/// The larger memory of the tree: the cost of merging each pair, below the diagonal row by row.
struct Costs {
    values: Vec<f64>,
}

fn start(i: usize) -> usize {
    i * i.saturating_sub(1) / 2
}

impl Costs {
    fn row(&self, i: usize) -> &[f64] {
        &self.values[start(i)..start(i) + i]
    }
    fn set(&mut self, i: usize, j: usize, cost: f64) {
        let (high, low) = (i.max(j), i.min(j));
        self.values[start(high) + low] = cost;
    }
}

impl Tree {
    /// Merges, as long as there are two clusters, the pair whose merging costs the least, the first
    /// of equals. Time grows with n², memory with n²/2 numbers.
    pub(super) fn grow(x: Array2<f64>) -> Result<Tree> {
        let (n, d) = x.dim();
        let mean = x.mean_axis(Axis(0)).expect("there are rows");
        let total: f64 = x.rows().into_iter().map(|r| (&r - &mean).mapv(|v| v * v).sum()).sum();
        let a = total / (n * d) as f64;
        let mut clusters: Vec<Option<Cluster>> = (0..n)
            .map(|i| {
                Some(Cluster {
                    size: 1.0,
                    mean: x.row(i).to_vec(),
                    scatter: vec![0.0; d * (d + 1) / 2],
                    trace: 0.0,
                    term: a.ln(),
                })
            })
            .collect();
        let pair = |i: &Option<Cluster>, j: &Option<Cluster>| match (i, j) {
            (Some(i), Some(j)) => cost(i, j, a),
            _ => f64::INFINITY,
        };
        let rows: Vec<Vec<f64>> = (0..n)
            .into_par_iter()
            .map(|i| (0..i).map(|j| pair(&clusters[i], &clusters[j])).collect())
            .collect();
        let mut costs = Costs { values: rows.concat() };
        // The cheapest partner of each cluster among those before it.
        let cheapest = |row: &[f64]| {
            let mut best = (f64::INFINITY, usize::MAX);
            for (j, &c) in row.iter().enumerate() {
                if c < best.0 {
                    best = (c, j);
                }
            }
            best
        };
        let mut best: Vec<(f64, usize)> = (0..n).map(|i| cheapest(costs.row(i))).collect();
        let mut merges = Vec::with_capacity(n.saturating_sub(1));
        for _ in 1..n {
            check_interrupt()?;
            let mut at = (f64::INFINITY, usize::MAX);
            for (i, b) in best.iter().enumerate() {
                if clusters[i].is_some() && b.0 < at.0 {
                    at = (b.0, i);
                }
            }
            let (_, from) = at;
            if from == usize::MAX {
                return Err(Error::data("data to cluster", "are too far apart to be compared"));
            }
            let into = best[from].1;
            merges.push((into as u32, from as u32));
            let (gone, kept) = (clusters[from].take(), clusters[into].take());
            let (Some(gone), Some(kept)) = (gone, kept) else { unreachable!("both are alive") };
            clusters[into] = Some(merged(&kept, &gone, a));
            let new: Vec<f64> = (0..n)
                .into_par_iter()
                .with_min_len(32)
                .map(
                    |i| if i == into { f64::INFINITY } else { pair(&clusters[i], &clusters[into]) },
                )
                .collect();
            for i in 0..n {
                if clusters[i].is_none() {
                    continue;
                }
                if i != into {
                    costs.set(i, into, new[i]);
                }
                if i > from {
                    costs.set(i, from, f64::INFINITY);
                }
                if i == into || (i > into && (best[i].1 == into || best[i].1 == from)) {
                    best[i] = cheapest(costs.row(i));
                } else if i > into && (new[i], into) < best[i] {
                    best[i] = (new[i], into);
                }
            }
        }
        Ok(Tree { n, merges })
    }

    /// The cluster of each row, numbered from 0 by first appearance, when `groups` are left.
    pub(super) fn cut(&self, groups: usize) -> Vec<usize> {
        let mut into: Vec<usize> = (0..self.n).collect();
        for &(kept, gone) in &self.merges[..self.n - groups] {
            into[gone as usize] = kept as usize;
        }
        let mut number = vec![usize::MAX; self.n];
        let mut next = 0;
        (0..self.n)
            .map(|i| {
                // A cluster is kept under its first row, so that all lead to smaller ones.
                let mut root = i;
                while into[root] != root {
                    root = into[root];
                }
                if number[root] == usize::MAX {
                    number[root] = next;
                    next += 1;
                }
                number[root]
            })
            .collect()
    }
}

/// Adds to a scatter what the distance of the means contributes when two clusters become one.
fn joint(i: &Cluster, j: &Cluster, out: &mut [f64]) -> f64 {
    let weight = i.size * j.size / (i.size + j.size);
    let d = i.mean.len();
    let mut square = 0.0;
    let mut at = 0;
    for a in 0..d {
        let away = i.mean[a] - j.mean[a];
        square += away * away;
        if !out.is_empty() {
            for b in 0..=a {
                out[at] = i.scatter[at] + j.scatter[at] + weight * away * (i.mean[b] - j.mean[b]);
                at += 1;
            }
        }
    }
    i.trace + j.trace + weight * square
}

/// n · log(det(W / n) + (tr W + a) / n), the determinant of too few rows being 0.
fn term(size: f64, d: usize, trace: f64, a: f64, scatter: &mut [f64]) -> f64 {
    let det = if size > d as f64 { determinant(scatter, d, size) } else { 0.0 };
    size * (det + (trace + a) / size).ln()
}

/// What merging two clusters adds to the criterion.
fn cost(i: &Cluster, j: &Cluster, a: f64) -> f64 {
    let d = i.mean.len();
    let size = i.size + j.size;
    let joined = if size > d as f64 {
        let mut scatter = vec![0.0; d * (d + 1) / 2];
        let trace = joint(i, j, &mut scatter);
        term(size, d, trace, a, &mut scatter)
    } else {
        term(size, d, joint(i, j, &mut []), a, &mut [])
    };
    joined - i.term - j.term
}

fn merged(i: &Cluster, j: &Cluster, a: f64) -> Cluster {
    let d = i.mean.len();
    let size = i.size + j.size;
    let mut scatter = vec![0.0; d * (d + 1) / 2];
    let trace = joint(i, j, &mut scatter);
    let mean = i.mean.iter().zip(&j.mean).map(|(p, q)| (i.size * p + j.size * q) / size).collect();
    let term = term(size, d, trace, a, &mut scatter.clone());
    Cluster { size, mean, scatter, trace, term }
}

/// Determinant of W / size by Cholesky's factor, in place; 0 where W is singular.
fn determinant(lower: &mut [f64], d: usize, size: f64) -> f64 {
    let at = |i: usize| i * (i + 1) / 2;
    let mut det = 1.0;
    for i in 0..d {
        for j in 0..=i {
            let (row_i, row_j) = (at(i), at(j));
            let dot: f64 = (0..j).map(|m| lower[row_i + m] * lower[row_j + m]).sum();
            let rest = lower[row_i + j] - dot;
            if i == j {
                if rest <= 0.0 {
                    return 0.0;
                }
                lower[row_i + i] = rest.sqrt();
                det *= rest / size;
            } else {
                lower[row_i + j] = rest / lower[row_j + j];
            }
        }
    }
    det
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The same merges with everything computed anew each time.
    fn plain(x: &Array2<f64>) -> Vec<(u32, u32)> {
        let (n, d) = x.dim();
        let a = {
            let mean = x.mean_axis(Axis(0)).unwrap();
            (x - &mean).mapv(|v| v * v).sum() / (n * d) as f64
        };
        let value = |rows: &[usize]| {
            let part = x.select(Axis(0), rows);
            let m = rows.len() as f64;
            let centred = &part - &part.mean_axis(Axis(0)).unwrap();
            let w = centred.t().dot(&centred);
            let det = if rows.len() > d {
                let (values, _) = crate::linalg::eigh((&w / m).view()).unwrap();
                values.iter().map(|v| v.max(0.0)).product()
            } else {
                0.0
            };
            m * (det + (w.diag().sum() + a) / m).ln()
        };
        let mut clusters: Vec<Vec<usize>> = (0..n).map(|i| vec![i]).collect();
        let mut merges = vec![];
        while clusters.len() > 1 {
            let mut best = (f64::INFINITY, 0, 0);
            for i in 0..clusters.len() {
                for j in 0..i {
                    let both = [clusters[i].as_slice(), &clusters[j]].concat();
                    let c = value(&both) - value(&clusters[i]) - value(&clusters[j]);
                    if c < best.0 {
                        best = (c, j, i);
                    }
                }
            }
            let (_, j, i) = best;
            let gone = clusters.remove(i);
            merges.push((clusters[j][0] as u32, gone[0] as u32));
            clusters[j].extend(gone);
        }
        merges
    }

    #[test]
    fn merges_equal_those_of_the_plain_definition() {
        let mut rng = Rng::new(11);
        for d in [1, 3, 6] {
            let x = Array2::from_shape_fn((32, d), |(i, _)| rng.normal() + (i % 2) as f64 * 4.0);
            assert_eq!(Tree::grow(x.clone()).unwrap().merges, plain(&x), "{d} columns");
        }
    }

    #[test]
    fn clusters_are_numbered_by_first_appearance() {
        let tree = Tree { n: 5, merges: vec![(1, 3), (0, 4), (0, 1), (0, 2)] };
        assert_eq!(tree.cut(3), [0, 1, 2, 1, 0]);
        assert_eq!(tree.cut(5), [0, 1, 2, 3, 4]);
        assert_eq!(tree.cut(1), [0; 5]);
    }
}
