//! The spectral layout that UMAP starts from.
//!
//! Its coordinates are the eigenvectors of the normalised Laplacian 1 − D^-½·W·D^-½ with the
//! smallest eigenvalues above 0, found by Lanczos' method with restarts that keep the best vectors
//! (Wu and Simon, 2000). Vectors are `f32`: a start needs no more.

use super::super::graph::{components, subgraph};
use crate::error::Result;
use crate::linalg::{Csr, KdTree, PcaSolver, eigh, pca};
use crate::parallel::parts;
use crate::progress::check_interrupt;
use crate::rng::{self, Rng};
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

/// Coordinates (n × dim) for the vertices of a symmetric graph. Connected components are laid out
/// on their own and placed around the centroids of `data`, if it is given, else on a spiral.
pub(super) fn layout(
    graph: &Csr<f32>,
    dim: usize,
    data: Option<ArrayView2<f64>>,
    seed: u64,
) -> Result<Array2<f32>> {
    let (label, count) = components(graph);
    if count == 1 && graph.nrows > dim + 1 && graph.nrows >= 2 * dim {
        return eigenvectors(graph, dim, seed);
    }
    let place = positions(&label, count, dim, data)?;
    let (start, list) = super::super::leiden::members(&label, count);
    let tree = KdTree::new(place.view())?;
    let mut out = Array2::<f32>::zeros((graph.nrows, dim));
    for c in 0..count {
        let members: Vec<usize> =
            list[start[c]..start[c + 1]].iter().map(|&v| v as usize).collect();
        let here = place.row(c).to_vec();
        // Half the way to the nearest other component.
        let nearest = tree.nearest(&here, count.min(2)).into_iter().map(|n| n.distance);
        let reach = match nearest.fold(0.0, f64::max) {
            gap if gap > 0.0 => gap / 2.0,
            _ => 1.0 / count as f64,
        };
        let seed = rng::at(seed, c as u64);
        let mut inner = if members.len() > dim + 1 && members.len() >= 2 * dim {
            eigenvectors(&subgraph(graph, &members), dim, seed)?
        } else {
            let mut rng = Rng::new(seed);
            Array2::from_shape_simple_fn((members.len(), dim), || rng.uniform_in(-1.0, 1.0) as f32)
        };
        let most = inner.iter().fold(0f32, |m, v| m.max(v.abs())).max(f32::MIN_POSITIVE);
        inner.mapv_inplace(|v| v * (reach as f32 / most));
        for (i, &v) in members.iter().enumerate() {
            for d in 0..dim {
                out[[v, d]] = inner[[i, d]] + here[d] as f32;
            }
        }
    }
    Ok(out)
}

/// Where the components go: coordinates of absolute value up to 1.
fn positions(
    label: &[u32],
    count: usize,
    dim: usize,
    data: Option<ArrayView2<f64>>,
) -> Result<Array2<f64>> {
    let mut place = Array2::<f64>::zeros((count, dim));
    if count <= 2 * dim {
        // Opposite ends of the axes, as umap-learn.
        let half = count.div_ceil(2);
        for c in 0..count {
            place[[c, c % half]] = if c < half { 1.0 } else { -1.0 };
        }
        return Ok(place);
    }
    let mut size = vec![0f64; count];
    label.iter().for_each(|&l| size[l as usize] += 1.0);
    if let Some(x) = data.filter(|x| x.ncols() > 0) {
        let mut centroids = Array2::<f64>::zeros((count, x.ncols()));
        for (row, &l) in x.rows().into_iter().zip(label) {
            centroids.row_mut(l as usize).scaled_add(1.0 / size[l as usize], &row);
        }
        let k = dim.min(x.ncols()).min(count);
        let scores = pca(centroids.view(), k, PcaSolver::Auto, 0)?.scores;
        place.slice_mut(s![.., ..k]).assign(&scores);
        let most = place.iter().fold(0f64, |m, v| m.max(v.abs()));
        if most > 0.0 {
            place /= most;
            return Ok(place);
        }
    }
    // A sunflower's spiral, the largest component in the middle.
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| size[b].total_cmp(&size[a]));
    for (i, &c) in order.iter().enumerate() {
        let radius = (i as f64 / count as f64).sqrt();
        let angle = i as f64 * std::f64::consts::PI * (3.0 - 5f64.sqrt());
        place[[c, 0]] = radius * if dim > 1 { angle.cos() } else { (-1f64).powi(i as i32) };
        if dim > 1 {
            place[[c, 1]] = radius * angle.sin();
        }
    }
    Ok(place)
}

/// Columns that a basis of Lanczos' method has at most beyond those that are kept.
const BASIS: usize = 40;
/// Residuals at which a vector counts as found; ARPACK is given the same.
const TOLERANCE: f64 = 1e-4;
/// Products with the matrix at most; what is found by then has to do.
const PRODUCTS: usize = 1500;

/// The `k` eigenvectors (n × k) of the normalised Laplacian of a connected graph that follow the
/// constant one.
fn eigenvectors(graph: &Csr<f32>, k: usize, seed: u64) -> Result<Array2<f32>> {
    let n = graph.nrows;
    let degree: Vec<f64> = (0..n)
        .into_par_iter()
        .with_min_len(1024)
        .map(|v| graph.row(v).map(|(_, w)| f64::from(w)).sum::<f64>())
        .collect();
    let scale: Vec<f32> = degree.iter().map(|d| (1.0 / d.sqrt()) as f32).collect();
    let total: f64 = degree.iter().sum();
    let m = (k + 8 + BASIS).min(n - 1);
    let mut basis = Basis::new(n, m + 2);
    // Column 0 is the eigenvector of eigenvalue 1, which is known and not wanted.
    let known: Vec<f32> = degree.iter().map(|d| (d / total).sqrt() as f32).collect();
    basis.set(0, &known);
    let mut v: Vec<f32> = (0..n as u64).map(|i| rng::unit(rng::at(seed, i)) as f32 - 0.5).collect();
    basis.orthogonalise(&mut v, 1);
    normalise(&mut v);
    basis.set(1, &v);
    // Columns 1..=filled are the basis, `h` the matrix projected on the first of them.
    let mut h = Array2::<f64>::zeros((m + 1, m + 1));
    let (mut filled, mut products) = (1, 0);
    loop {
        let mut last = 0.0;
        while filled <= m {
            check_interrupt()?;
            let mut w = product(graph, &scale, &v);
            products += 1;
            let dots = basis.orthogonalise(&mut w, filled + 1);
            for i in 0..filled {
                h[[i, filled - 1]] = dots[i + 1];
                h[[filled - 1, i]] = dots[i + 1];
            }
            last = normalise(&mut w);
            basis.set(filled + 1, &w);
            v = w;
            filled += 1;
            if last < 1e-6 {
                break;
            }
        }
        let size = filled - 1;
        let (_, vectors) = eigh(h.slice(s![..size, ..size]))?;
        let found = k.min(size);
        let worst = (0..found).map(|j| (last * vectors[[size - 1, j]]).abs()).fold(0.0, f64::max);
        if worst < TOLERANCE || products >= PRODUCTS || last < 1e-6 || size + 1 >= n {
            let found = basis.combine(&vectors, found);
            let mut out = Array2::zeros((n, k));
            for (v, row) in found.chunks_exact(found.len() / n).enumerate() {
                row.iter().enumerate().for_each(|(j, &x)| out[[v, j]] = x);
            }
            return Ok(out);
        }
        let keep = (k + 8).min(size - 1);
        let kept = basis.combine(&vectors, keep);
        basis.replace(&kept, keep, &v);
        let values = {
            let projected = vectors.t().dot(&h.slice(s![..size, ..size])).dot(&vectors);
            projected.diag().to_owned()
        };
        h.fill(0.0);
        (0..keep).for_each(|j| h[[j, j]] = values[j]);
        filled = keep + 1;
    }
}

/// D^-½·W·D^-½ · v.
fn product(graph: &Csr<f32>, scale: &[f32], v: &[f32]) -> Vec<f32> {
    let scaled: Vec<f32> = v.par_iter().with_min_len(4096).zip(scale).map(|(x, s)| x * s).collect();
    let row = |r: usize| {
        let range = graph.indptr[r]..graph.indptr[r + 1];
        let mut sum = 0f32;
        for (&c, &w) in graph.indices[range.clone()].iter().zip(&graph.values[range]) {
            sum += w * scaled[c as usize];
        }
        sum * scale[r]
    };
    (0..graph.nrows).into_par_iter().with_min_len(512).map(row).collect()
}

/// Divides by the length, which it returns.
fn normalise(v: &mut [f32]) -> f64 {
    let partial: Vec<f64> =
        v.par_chunks(4096).map(|c| c.iter().map(|&x| f64::from(x) * f64::from(x)).sum()).collect();
    let length = partial.iter().sum::<f64>().sqrt();
    if length > 0.0 {
        let factor = (1.0 / length) as f32;
        v.par_chunks_mut(4096).for_each(|c| c.iter_mut().for_each(|x| *x *= factor));
    }
    length
}

/// Orthonormal vectors, one a column; stored by rows, of which each lies together.
struct Basis {
    width: usize,
    values: Vec<f32>,
}

/// Rows whose products are summed in `f32` before they go to `f64`.
const ROWS: usize = 128;

impl Basis {
    fn new(n: usize, width: usize) -> Basis {
        Basis { width, values: vec![0.0; n * width] }
    }

    fn set(&mut self, column: usize, v: &[f32]) {
        let rows = self.values.par_chunks_mut(self.width).with_min_len(4096);
        rows.zip(v).for_each(|(row, &x)| row[column] = x);
    }

    /// Takes the first `count` columns out of `w`, twice for the sake of rounding; returns what
    /// `w` had of each.
    fn orthogonalise(&self, w: &mut [f32], count: usize) -> Vec<f64> {
        let mut total = vec![0f64; count];
        for _ in 0..2 {
            let dots = self.dots(w, count);
            let factors: Vec<f32> = dots.iter().map(|&d| d as f32).collect();
            w.par_chunks_mut(ROWS).zip(self.values.par_chunks(ROWS * self.width)).for_each(
                |(w, rows)| {
                    for (x, row) in w.iter_mut().zip(rows.chunks_exact(self.width)) {
                        *x -= dot(&row[..count], &factors);
                    }
                },
            );
            total.iter_mut().zip(&dots).for_each(|(t, d)| *t += d);
        }
        total
    }

    fn dots(&self, w: &[f32], count: usize) -> Vec<f64> {
        let one = |range: std::ops::Range<usize>| {
            let mut sums = vec![0f64; count];
            let mut short = vec![0f32; count];
            for start in range.clone().step_by(ROWS) {
                let rows = start..(start + ROWS).min(range.end);
                short.fill(0.0);
                for r in rows {
                    let row = &self.values[r * self.width..r * self.width + count];
                    let x = w[r];
                    short.iter_mut().zip(row).for_each(|(s, v)| *s += v * x);
                }
                sums.iter_mut().zip(&short).for_each(|(s, &v)| *s += f64::from(v));
            }
            sums
        };
        let partial: Vec<Vec<f64>> = parts(w.len(), 8 * ROWS).into_par_iter().map(one).collect();
        let mut total = vec![0f64; count];
        for sums in partial {
            total.iter_mut().zip(&sums).for_each(|(t, s)| *t += s);
        }
        total
    }

    /// The first `count` columns of (columns 1.. · `vectors`), by rows.
    fn combine(&self, vectors: &Array2<f64>, count: usize) -> Vec<f32> {
        let size = vectors.nrows();
        let factors: Vec<f32> = (0..count)
            .flat_map(|j| vectors.column(j).iter().map(|&x| x as f32).collect::<Vec<_>>())
            .collect();
        let n = self.values.len() / self.width;
        let mut out = vec![0f32; n * count];
        out.par_chunks_mut(count.max(1))
            .zip(self.values.par_chunks(self.width))
            .with_min_len(512)
            .for_each(|(out, row)| {
                for (o, f) in out.iter_mut().zip(factors.chunks_exact(size)) {
                    *o = dot(&row[1..=size], f);
                }
            });
        out
    }

    /// Columns 1..=`keep` become those of `kept`, the one after them `next`.
    fn replace(&mut self, kept: &[f32], keep: usize, next: &[f32]) {
        let rows = self.values.par_chunks_mut(self.width).with_min_len(512);
        rows.zip(kept.par_chunks(keep)).zip(next).for_each(|((row, kept), &x)| {
            row[1..=keep].copy_from_slice(kept);
            row[keep + 1] = x;
        });
    }
}

/// Scalar product, summed in eight lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut lanes = [0f32; 8];
    for (x, y) in a8.iter().zip(b8) {
        for l in 0..8 {
            lanes[l] += x[l] * y[l];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::super::super::graph::tests::{clouds, graph, neighbours};
    use super::*;
    use crate::anndata::Matrix;
    use crate::parallel::same_with_any_threads;

    /// Eigenvectors of the dense normalised matrix, largest eigenvalues first.
    fn dense(g: &Csr<f32>) -> (ndarray::Array1<f64>, Array2<f64>) {
        let mut a = Matrix::from(g.clone()).to_array_f64();
        let d = a.sum_axis(ndarray::Axis(1)).mapv(|x| 1.0 / x.sqrt());
        a.indexed_iter_mut().for_each(|((i, j), x)| *x *= d[i] * d[j]);
        eigh(a.view()).unwrap()
    }

    #[test]
    fn vectors_are_those_of_the_dense_matrix() {
        // A ribbon, whose eigenvalues lie close together.
        let x = Array2::from_shape_fn(
            (700, 2),
            |(i, d)| if d == 0 { i as f64 } else { (i % 5) as f64 },
        );
        for (g, tolerance) in
            [(neighbours(&x, 12), 1e-2), (neighbours(&clouds(1, 400, 4, 1.0), 10), 1e-3)]
        {
            assert_eq!(components(&g).1, 1);
            let (_, expected) = dense(&g);
            let got = same_with_any_threads(|| eigenvectors(&g, 3, 1).unwrap());
            for j in 0..3 {
                let cos: f64 =
                    (0..g.nrows).map(|v| f64::from(got[[v, j]]) * expected[[v, j + 1]]).sum();
                assert!(1.0 - cos.abs() < tolerance, "vector {j}: {cos}");
            }
        }
    }

    #[test]
    fn components_are_laid_out_apart() {
        for clusters in [2, 3, 9] {
            let x = clouds(clusters, 40, 3, 1000.0);
            let g = neighbours(&x, 6);
            assert_eq!(components(&g).1, clusters);
            for data in [None, Some(x.view())] {
                let y = layout(&g, 2, data, 0).unwrap();
                assert!(y.iter().all(|v| v.is_finite()));
                let center = |c: usize| {
                    let rows: Vec<_> = (0..40).map(|i| y.row(i * clusters + c)).collect();
                    [0, 1].map(|d| rows.iter().map(|r| r[d]).sum::<f32>() / 40.0)
                };
                for (a, b) in (0..clusters).flat_map(|a| (0..a).map(move |b| (a, b))) {
                    let (p, q) = (center(a), center(b));
                    assert!((p[0] - q[0]).hypot(p[1] - q[1]) > 1e-3, "{a} on {b}");
                }
            }
        }
        let lonely = layout(&graph(30, &[(0, 1, 1.0)]), 2, None, 0).unwrap();
        assert!(lonely.iter().all(|v| v.is_finite()));
        assert_eq!(layout(&graph(1, &[]), 2, None, 0).unwrap().dim(), (1, 2));
    }
}
