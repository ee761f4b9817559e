//! The leading singular triples of a large matrix that is only ever multiplied with.

use super::{eigh, matmul, orthonormalize, svd};
use crate::error::Result;
use crate::progress::check_interrupt;
use crate::rng::Rng;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

/// A matrix of m × n known by its products.
pub trait Operator {
    /// (m, n).
    fn dim(&self) -> (usize, usize);
    /// `self · b`, for `b` of n × k.
    fn apply(&self, b: ArrayView2<f64>) -> Array2<f64>;
    /// `selfᵀ · b`, for `b` of m × k.
    fn apply_t(&self, b: ArrayView2<f64>) -> Array2<f64>;
}

impl Operator for Array2<f64> {
    fn dim(&self) -> (usize, usize) {
        self.dim()
    }
    fn apply(&self, b: ArrayView2<f64>) -> Array2<f64> {
        matmul(self.view(), b)
    }
    fn apply_t(&self, b: ArrayView2<f64>) -> Array2<f64> {
        matmul(self.t(), b)
    }
}

/// The transposed operator.
struct Transposed<'a>(&'a dyn Operator);

impl Operator for Transposed<'_> {
    fn dim(&self) -> (usize, usize) {
        let (m, n) = self.0.dim();
        (n, m)
    }
    fn apply(&self, b: ArrayView2<f64>) -> Array2<f64> {
        self.0.apply_t(b)
    }
    fn apply_t(&self, b: ArrayView2<f64>) -> Array2<f64> {
        self.0.apply(b)
    }
}

/// The leading singular triples of a matrix of m × n: `a ≈ u · diag(s) · vt`.
#[derive(Debug, Clone, PartialEq)]
pub struct Svd {
    /// Left singular vectors, m × k, one a column.
    pub u: Array2<f64>,
    /// Singular values, falling.
    pub s: Array1<f64>,
    /// Right singular vectors, k × n, one a row.
    pub vt: Array2<f64>,
}

impl Svd {
    fn transposed(self) -> Svd {
        let standard = |a: Array2<f64>| a.reversed_axes().as_standard_layout().into_owned();
        Svd { u: standard(self.vt), s: self.s, vt: standard(self.u) }
    }

    /// Only the first `k` triples.
    pub fn truncated(self, k: usize) -> Svd {
        Svd {
            u: self.u.slice(s![.., ..k]).to_owned(),
            s: self.s.slice(s![..k]).to_owned(),
            vt: self.vt.slice(s![..k, ..]).to_owned(),
        }
    }
}

/// Fixes the signs of singular vectors as scikit-learn's PCA (≥ 1.5) does: in each row of `vt` the
/// element of the largest absolute value becomes positive.
pub fn svd_flip(u: &mut Array2<f64>, vt: &mut Array2<f64>) {
    for (mut left, mut right) in u.columns_mut().into_iter().zip(vt.rows_mut()) {
        let largest = right.iter().fold(0f64, |m, &x| if x.abs() > m.abs() { x } else { m });
        if largest < 0.0 {
            left.mapv_inplace(|x| -x);
            right.mapv_inplace(|x| -x);
        }
    }
}

fn gaussian(rows: usize, cols: usize, seed: u64, name: &str) -> Array2<f64> {
    let mut rng = Rng::stream(seed, name);
    Array2::from_shape_simple_fn((rows, cols), || rng.normal())
}

/// The first `k` singular triples by random projection with power iterations (Halko, Martinsson
/// and Tropp, 2011), with scikit-learn's settings: 10 extra directions, 7 power iterations where
/// k < min(m, n) / 10 and 4 otherwise, a new basis after every product. The random directions are
/// our own, so single numbers agree with scikit-learn's to the accuracy of the method only.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) when the matrix holds numbers that are not finite.
pub fn randomized_svd(a: &dyn Operator, k: usize, seed: u64) -> Result<Svd> {
    let (m, n) = a.dim();
    if m < n {
        return Ok(randomized_svd(&Transposed(a), k, seed)?.transposed());
    }
    let k = k.min(n);
    let iterations = if 10 * k < n { 7 } else { 4 };
    let mut q = gaussian(n, (k + 10).min(n), seed, "randomized_svd");
    for _ in 0..iterations {
        q = orthonormalize(a.apply(q.view()).view());
        q = orthonormalize(a.apply_t(q.view()).view());
    }
    let q = orthonormalize(a.apply(q.view()).view());
    let (v, s, ut) = svd(a.apply_t(q.view()).view())?;
    let u = matmul(q.view(), ut.t());
    Ok(Svd { u, s, vt: v.reversed_axes() }.truncated(k))
}

/// The first `k` singular triples to the accuracy of the arithmetic, by a block Lanczos iteration
/// with full reorthogonalisation and thick restarts (Wu and Simon, 2000) on `a · aᵀ` (or `aᵀ · a`,
/// whichever is smaller): it never holds more than some 6 · max(k, 32) directions.
///
/// It ends when every one of the k eigenpairs (λ, x) has ‖a·aᵀ·x − λ·x‖ ≤ `tolerance` · λ: the
/// criterion of ARPACK, which scanpy's default solver uses (with a tolerance of 1e-7 for `float32`
/// data). `seed` gives the starting block; the result depends on it within the tolerance only.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) when the matrix holds numbers that are not finite;
/// [`Error::Interrupted`](crate::Error::Interrupted).
pub fn krylov_svd(a: &dyn Operator, k: usize, tolerance: f64, seed: u64) -> Result<Svd> {
    let (m, n) = a.dim();
    if m > n {
        return Ok(krylov_svd(&Transposed(a), k, tolerance, seed)?.transposed());
    }
    let image = |b: ArrayView2<f64>| a.apply(a.apply_t(b).view());
    finish(a, krylov_eigenvectors(&image, m, k.min(m), tolerance, seed)?)
}

/// The first `k` singular triples of `a` of m × n by way of the n × n matrix `gram` = `aᵀ · a`, for
/// many more rows than columns. As the vectors are rotated once more by products with `a` itself, the
/// singular values are accurate to rounding, not to its square root.
///
/// # Errors
/// As [`krylov_svd`].
pub(super) fn gram_svd(a: &dyn Operator, gram: &Array2<f64>, k: usize, seed: u64) -> Result<Svd> {
    let n = gram.nrows();
    // A Krylov space takes six times k directions; with fewer left, all eigenvectors at once.
    let v = if 6 * k >= n || n <= 256 {
        eigh(gram.view())?.1.slice(s![.., ..k]).to_owned()
    } else {
        krylov_eigenvectors(&|b| matmul(gram.view(), b), n, k, 1e-8, seed)?
    };
    Ok(finish(&Transposed(a), v)?.transposed())
}

/// The first `k` eigenvectors of a symmetric matrix of m × m without negative eigenvalues, known by
/// its products. A basis of `capacity` directions is full: it restarts from a third of them, the best
/// approximations of eigenvectors that it holds.
fn krylov_eigenvectors(
    image_of: &dyn Fn(ArrayView2<f64>) -> Array2<f64>,
    m: usize,
    k: usize,
    tolerance: f64,
    seed: u64,
) -> Result<Array2<f64>> {
    let width = 32.min(m);
    let capacity = 6 * k.max(width);
    let mut block = orthonormalize(gaussian(m, width, seed, "krylov_svd").view());
    // Row-major with one basis vector a row, so that it grows by appending.
    let mut basis = Array2::<f64>::zeros((0, m));
    // The projection of the matrix on the basis, block column by block column.
    let mut columns: Vec<Array2<f64>> = Vec::new();
    let mut next_check = 2 * k;
    loop {
        check_interrupt()?;
        basis.append(Axis(0), block.t()).expect("rows of length m");
        let image = image_of(block.view());
        let size = basis.nrows();
        let (inside, rest) = split(&basis, &image);
        columns.push(inside);
        // Never more directions than the space has left.
        let left = m - size;
        let next = if left == 0 {
            None
        } else {
            // Once more, as rounding leaves something of the basis, which a small remainder magnifies.
            let q = orthonormalize(rest.slice(s![.., ..width.min(left)]));
            Some(orthonormalize(split(&basis, &q).1.view()))
        };
        if size >= next_check || next.is_none() {
            let (values, vectors) = eigh(projection(&columns, size).view())?;
            let y = vectors.slice(s![.., ..k]);
            let last = y.slice(s![size - block.ncols().., ..]);
            let residual = matmul(rest.view(), last);
            // What rounding leaves is no reason to go on, e.g. beyond the rank.
            let floor = 1e-14 * values[0].max(0.0);
            let mut pairs = residual.columns().into_iter().zip(&values);
            let converged =
                pairs.all(|(r, &value)| r.dot(&r).sqrt() <= (tolerance * value).max(floor));
            if converged || next.is_none() {
                return Ok(matmul(basis.t(), y));
            }
            next_check = capacity.min(size + size / 2);
            if size >= capacity {
                // The next block stays orthogonal to these, and its image is projected on them too.
                let kept = capacity / 3;
                basis = matmul(vectors.slice(s![.., ..kept]).t(), basis.view());
                columns = vec![Array2::from_diag(&values.slice(s![..kept]))];
            }
        }
        block = next.expect("the loop ends where there is no next block");
    }
}

/// The coordinates of `x` in the basis, and what is left of it.
fn split(basis: &Array2<f64>, x: &Array2<f64>) -> (Array2<f64>, Array2<f64>) {
    let inside = matmul(basis.view(), x.view());
    let rest = x - &matmul(basis.t(), inside.view());
    (inside, rest)
}

/// The symmetric matrix of which block columns are known down to their diagonal.
fn projection(columns: &[Array2<f64>], size: usize) -> Array2<f64> {
    let mut t = Array2::<f64>::zeros((size, size));
    let mut start = 0;
    for column in columns {
        let (rows, width) = column.dim();
        t.slice_mut(s![..rows, start..start + width]).assign(column);
        t.slice_mut(s![start..start + width, ..rows]).assign(&column.t());
        start += width;
    }
    t
}

/// From the left vectors to singular triples.
fn finish(a: &dyn Operator, u: Array2<f64>) -> Result<Svd> {
    let (v, s, rotation) = svd(a.apply_t(u.view()).view())?;
    let u = matmul(u.view(), rotation.t());
    Ok(Svd { u, s, vt: v.reversed_axes().as_standard_layout().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;

    /// A matrix with known singular values that fall slowly.
    fn sample(m: usize, n: usize) -> (Array2<f64>, Vec<f64>) {
        let r = m.min(n);
        let u = orthonormalize(gaussian(m, r, 1, "u").view());
        let v = orthonormalize(gaussian(n, r, 2, "v").view());
        let s: Vec<f64> = (0..r).map(|i| 100.0 / (1.0 + i as f64).sqrt()).collect();
        let us = &u * &Array1::from(s.clone());
        (matmul(us.view(), v.t()), s)
    }

    fn check(got: &Svd, a: &Array2<f64>, s: &[f64], tolerance: f64) {
        for (g, e) in got.s.iter().zip(s) {
            assert!((g - e).abs() <= tolerance * e, "{g} is not {e}");
        }
        let left = a.dot(&got.vt.t());
        let error = (&left - &(&got.u * &got.s)).mapv(f64::abs);
        assert!(error.iter().all(|&e| e < 10.0 * tolerance.sqrt()), "a·v is not u·s");
    }

    #[test]
    fn krylov_is_exact_in_both_orientations() {
        for (m, n) in [(300, 120), (120, 300)] {
            let (a, s) = sample(m, n);
            let got = same_with_any_threads(|| krylov_svd(&a, 20, 1e-10, 0).unwrap());
            assert_eq!((got.u.dim(), got.vt.dim()), ((m, 20), (20, n)));
            check(&got, &a, &s, 1e-12);
        }
    }

    #[test]
    fn krylov_is_exact_after_restarts() {
        // Slowly falling: 192 directions do not hold the first 20 of 600.
        let (a, s) = sample(700, 600);
        let got = same_with_any_threads(|| krylov_svd(&a, 20, 1e-10, 0).unwrap());
        check(&got, &a, &s, 1e-12);
    }

    #[test]
    fn krylov_handles_a_rank_below_k_and_a_full_basis() {
        let (a, s) = sample(40, 6);
        check(&krylov_svd(&a, 6, 1e-10, 0).unwrap(), &a, &s, 1e-12);
        let low = matmul(a.view(), gaussian(6, 50, 3, "w").view());
        let got = krylov_svd(&low, 10, 1e-10, 0).unwrap();
        assert!(got.s.iter().skip(6).all(|&x| x < 1e-9), "{:?}", got.s);
    }

    #[test]
    fn randomized_comes_near_and_repeats() {
        let (a, s) = sample(300, 150);
        let got = same_with_any_threads(|| randomized_svd(&a, 10, 7).unwrap());
        check(&got, &a, &s, 0.05);
        assert_ne!(got, randomized_svd(&a, 10, 8).unwrap());
    }

    #[test]
    fn signs_follow_the_largest_loading() {
        let (mut u, mut vt) = (Array2::ones((2, 1)), Array2::from_elem((1, 3), 1.0));
        vt[[0, 1]] = -5.0;
        svd_flip(&mut u, &mut vt);
        assert_eq!((u[[0, 0]], vt[[0, 0]], vt[[0, 1]]), (-1.0, -1.0, 5.0));
    }
}
