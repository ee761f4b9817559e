//! Gaussian smoothing of features over space.

use super::matmul::write_product;
use super::{Csr, Real};
use crate::error::{Error, Result};
use crate::progress::Progress;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;

/// Rows that share one list of sources.
const LEAF: usize = 64;

/// Columns that are multiplied at a time.
const COLUMNS: usize = 256;

/// Leaves between two looks for an interrupt; their results are held beside the whole.
const GROUP: usize = 32;

/// What all the weights left out may add up to, beside a row's own weight of 1.
const LEFT_OUT: f64 = 1e-9;

/// What is smoothed: one row for each point.
#[derive(Debug, Clone, Copy)]
pub enum Features<'a, T: Real> {
    /// Every element stored.
    Dense(ArrayView2<'a, T>),
    /// Compressed rows; indices may come in any order.
    Sparse(&'a Csr<T>),
}

/// Replaces each row of `features` by the mean of all rows, weighted by
/// w_ij = exp(-d_ij² / 2σ²) with d the distance in `coordinates` (2-D or 3-D) and σ = `sigma` in
/// the same unit.
///
/// Pairs beyond σ √(2 ln(n · 10⁹)) are left out (7.6 σ for 3,600 rows): each result differs by less
/// than 10⁻⁹ of the largest feature from the mean over all pairs, which STAMGC's published code makes.
/// Sums are made in `f64`. Matches that code within 1e-5 (rounding of the result to `f32`).
///
/// # Shapes
/// `[n, 2 or 3]`, `[n, m]` → `[n, m]`.
///
/// # Errors
/// [`Error::Shape`] when the numbers of rows differ; [`Error::Parameter`] when `sigma` is not
/// above 0; [`Error::Interrupted`].
pub fn gaussian_smooth(
    coordinates: ArrayView2<f64>,
    features: ArrayView2<f32>,
    sigma: f64,
) -> Result<Array2<f32>> {
    gaussian_smooth_of(coordinates, Features::Dense(features), sigma, LEFT_OUT)
}

/// The same for dense or sparse features of either number type. `left_out` bounds what the weights of
/// the pairs left out may add up to, beside a row's own weight of 1: pairs beyond
/// σ √(2 ln(n / `left_out`)) are, and each result differs by less than `left_out` of the largest
/// feature.
///
/// # Errors
/// As [`gaussian_smooth`]; [`Error::Parameter`] when `left_out` is not between 0 and 1, both excluded.
pub fn gaussian_smooth_of<T: Real>(
    coordinates: ArrayView2<f64>,
    features: Features<T>,
    sigma: f64,
    left_out: f64,
) -> Result<Array2<T>> {
    let (n, m) = match features {
        Features::Dense(x) => x.dim(),
        Features::Sparse(x) => (x.nrows, x.ncols),
    };
    if coordinates.nrows() != n {
        return Err(Error::shape("rows of the coordinates", n, coordinates.nrows()));
    }
    if !(sigma > 0.0 && sigma.is_finite()) {
        return Err(Error::parameter("sigma", sigma, "must be above 0"));
    }
    if !(left_out > 0.0 && left_out < 1.0) {
        return Err(Error::parameter("left_out", left_out, "must be above 0 and below 1"));
    }
    let sorted = match features {
        Features::Sparse(x) if (0..n).any(|r| !x.indices_of(r).is_sorted()) => {
            Some(x.transpose().transpose())
        }
        _ => None,
    };
    // Both lifetimes shrink to that of this function.
    let features: Features<T> = match (&sorted, features) {
        (Some(x), _) => Features::Sparse(x),
        (None, Features::Sparse(x)) => Features::Sparse(x),
        (None, Features::Dense(x)) => Features::Dense(x),
    };
    let reach = sigma * (2.0 * (n as f64 / left_out).ln()).sqrt();
    let mut order: Vec<usize> = (0..n).collect();
    let mut leaves = Vec::new();
    split(coordinates, &mut order, 0, &mut leaves);
    let leaves: Vec<Leaf> = leaves.into_iter().map(|r| Leaf::new(coordinates, &order[r])).collect();

    let mut out = Array2::<T>::zeros((n, m));
    let mut progress = Progress::new("smoothing", n as u64);
    for group in leaves.chunks(GROUP) {
        let smooth = |leaf: &Leaf| {
            let sources = leaf.sources(coordinates, &leaves, reach);
            let weights = weights(coordinates, leaf.rows, &sources, sigma);
            weighted(&weights, features, &sources, m)
        };
        let done: Vec<Array2<T>> = group.par_iter().map(smooth).collect();
        for (leaf, values) in group.iter().zip(&done) {
            for (&i, row) in leaf.rows.iter().zip(values.rows()) {
                out.row_mut(i).assign(&row);
            }
            progress.tick(leaf.rows.len() as u64)?;
        }
    }
    progress.finish();
    Ok(out)
}

/// Nearby rows and the box around them.
struct Leaf<'a> {
    rows: &'a [usize],
    low: Vec<f64>,
    high: Vec<f64>,
}

impl<'a> Leaf<'a> {
    fn new(x: ArrayView2<f64>, rows: &'a [usize]) -> Self {
        let (low, high) = bounds(x, rows);
        Leaf { rows, low, high }
    }

    /// The rows at most `reach` away from the box, rising.
    fn sources(&self, x: ArrayView2<f64>, leaves: &[Leaf], reach: f64) -> Vec<usize> {
        let gap = |k: usize, low: f64, high: f64| {
            (self.low[k] - high).max(low - self.high[k]).max(0.0).powi(2)
        };
        let dims = 0..x.ncols();
        let close = |leaf: &&Leaf| {
            let square: f64 = dims.clone().map(|k| gap(k, leaf.low[k], leaf.high[k])).sum();
            square <= reach * reach
        };
        let near = |j: &usize| {
            let square: f64 = dims.clone().map(|k| gap(k, x[[*j, k]], x[[*j, k]])).sum();
            square <= reach * reach
        };
        let rows = leaves.iter().filter(close).flat_map(|leaf| leaf.rows);
        let mut sources: Vec<usize> = rows.copied().filter(near).collect();
        sources.sort_unstable();
        sources
    }
}

/// Sorts `order` into groups of nearby points, by halving along the wider direction.
fn split(
    x: ArrayView2<f64>,
    order: &mut [usize],
    start: usize,
    leaves: &mut Vec<std::ops::Range<usize>>,
) {
    if order.len() <= LEAF {
        if !order.is_empty() {
            leaves.push(start..start + order.len());
        }
        return;
    }
    let (low, high) = bounds(x, order);
    let widest = (0..x.ncols())
        .max_by(|&a, &b| (high[a] - low[a]).total_cmp(&(high[b] - low[b])))
        .unwrap_or(0);
    let middle = order.len() / 2;
    order.select_nth_unstable_by(middle, |&a, &b| {
        x[[a, widest]].total_cmp(&x[[b, widest]]).then(a.cmp(&b))
    });
    let (left, right) = order.split_at_mut(middle);
    split(x, left, start, leaves);
    split(x, right, start + middle, leaves);
}

fn bounds(x: ArrayView2<f64>, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let mut low = vec![f64::INFINITY; x.ncols()];
    let mut high = vec![f64::NEG_INFINITY; x.ncols()];
    for &i in rows {
        for (k, &v) in x.row(i).iter().enumerate() {
            low[k] = low[k].min(v);
            high[k] = high[k].max(v);
        }
    }
    (low, high)
}

/// The weights of `sources` for each of `rows`; each row sums to 1.
fn weights(x: ArrayView2<f64>, rows: &[usize], sources: &[usize], sigma: f64) -> Array2<f64> {
    let scale = -1.0 / (2.0 * sigma * sigma);
    let mut w = Array2::from_shape_fn((rows.len(), sources.len()), |(a, b)| {
        let (p, q) = (x.row(rows[a]), x.row(sources[b]));
        let squared = p.iter().zip(q).map(|(p, q)| (p - q).powi(2)).sum::<f64>();
        (scale * squared).exp()
    });
    for mut row in w.axis_iter_mut(Axis(0)) {
        let sum = row.sum();
        row /= sum;
    }
    w
}

/// `weights` times the rows `sources` of `features`, summed in `f64`.
fn weighted<T: Real>(
    weights: &Array2<f64>,
    features: Features<T>,
    sources: &[usize],
    m: usize,
) -> Array2<T> {
    let mut out = Array2::<T>::zeros((weights.nrows(), m));
    let mut from = Array2::<f64>::zeros((sources.len(), COLUMNS.min(m)));
    let mut to = Array2::<f64>::zeros((weights.nrows(), COLUMNS.min(m)));
    // Of each source the first stored element that has not been seen.
    let mut next: Vec<usize> = match features {
        Features::Dense(_) => Vec::new(),
        Features::Sparse(x) => sources.iter().map(|&j| x.indptr[j]).collect(),
    };
    for start in (0..m).step_by(COLUMNS) {
        let end = (start + COLUMNS).min(m);
        let mut from = from.slice_mut(s![.., ..end - start]);
        let mut to = to.slice_mut(s![.., ..end - start]);
        match features {
            Features::Dense(x) => {
                for (mut row, &j) in from.rows_mut().into_iter().zip(sources) {
                    row.zip_mut_with(&x.slice(s![j, start..end]), |a, b| *a = b.as_f64());
                }
            }
            Features::Sparse(x) => fill(from.view_mut(), x, sources, &mut next, start..end),
        }
        write_product(to.view_mut(), weights.view(), from.view());
        out.slice_mut(s![.., start..end]).zip_mut_with(&to, |a, &b| *a = T::from_f64(b));
    }
    out
}

fn fill<T: Real>(
    mut out: ArrayViewMut2<f64>,
    x: &Csr<T>,
    sources: &[usize],
    next: &mut [usize],
    columns: std::ops::Range<usize>,
) {
    for ((mut row, &j), next) in out.axis_iter_mut(Axis(0)).zip(sources).zip(next) {
        row.fill(0.0);
        while *next < x.indptr[j + 1] && (x.indices[*next] as usize) < columns.end {
            row[x.indices[*next] as usize - columns.start] += x.values[*next].as_f64();
            *next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    /// Points of a field 40 σ wide, so that most pairs are left out, and features most of which are 0.
    fn field(n: usize, dims: usize, m: usize) -> (Array2<f64>, Array2<f32>, Csr<f32>) {
        let mut rng = Rng::new(1);
        let x = Array2::from_shape_simple_fn((n, dims), || rng.uniform_in(0.0, 40.0));
        let f = Array2::from_shape_simple_fn((n, m), || {
            if rng.uniform() < 0.2 { rng.uniform() as f32 } else { 0.0 }
        });
        let mut sparse =
            Csr { nrows: n, ncols: m, indptr: vec![0], indices: vec![], values: vec![] };
        for row in f.rows() {
            // From right to left: indices need not be sorted.
            for (c, &v) in row.iter().enumerate().rev().filter(|(_, v)| **v != 0.0) {
                sparse.indices.push(c as u32);
                sparse.values.push(v);
            }
            sparse.indptr.push(sparse.indices.len());
        }
        (x, f, sparse)
    }

    #[test]
    fn equals_the_sum_over_all_pairs() {
        for dims in [2, 3] {
            let (x, f, sparse) = field(400, dims, 300);
            let got = same_with_any_threads(|| gaussian_smooth(x.view(), f.view(), 1.0).unwrap());
            let all: Vec<usize> = (0..400).collect();
            let w = weights(x.view(), &all, &all, 1.0);
            let expected = w.dot(&f.mapv(f64::from));
            let apart = got.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
            assert!(apart.fold(0.0, f64::max) < 1e-7);
            let features = Features::Sparse(&sparse);
            assert_eq!(gaussian_smooth_of(x.view(), features, 1.0, LEFT_OUT).unwrap(), got);
        }
    }

    #[test]
    fn what_is_left_out_keeps_to_its_bound() {
        let (x, f, _) = field(500, 2, 30);
        let f = f.mapv(f64::from);
        let smooth = |part| gaussian_smooth_of(x.view(), Features::Dense(f.view()), 3.0, part);
        let exact = smooth(1e-15).unwrap();
        for part in [1e-3, 1e-6] {
            let apart = (&smooth(part).unwrap() - &exact).mapv(f64::abs);
            assert!(apart.iter().all(|&d| d < part));
        }
        assert!(smooth(0.0).is_err() && smooth(1.0).is_err());
    }

    #[test]
    fn a_wrong_sigma_is_refused() {
        let (x, f) = (Array2::zeros((2, 2)), Array2::zeros((2, 1)));
        assert!(gaussian_smooth(x.view(), f.view(), 0.0).is_err());
        assert!(gaussian_smooth(x.view(), f.view(), f64::NAN).is_err());
        assert!(gaussian_smooth(x.slice(s![..1, ..]), f.view(), 1.0).is_err());
    }
}
