//! Decompositions of small dense matrices by faer, in `f64` and on one thread, so that their bits
//! are the same wherever they are called from.

use crate::error::{Error, Result};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::{evd, householder, qr::no_pivoting::factor as qr, svd as faer_svd};
use faer::{Conj, Mat, MatRef, Par, Spec};
use ndarray::{Array1, Array2, ArrayView2};

fn to_faer(a: ArrayView2<f64>) -> Mat<f64> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[[i, j]])
}

fn from_faer(a: MatRef<f64>) -> Array2<f64> {
    Array2::from_shape_fn((a.nrows(), a.ncols()), |(i, j)| a[(i, j)])
}

fn not_converged(what: &str) -> Error {
    Error::data(what, "the decomposition did not converge; are all numbers finite?")
}

/// An orthonormal basis, n × min(n, k), of the columns of `a` (n × k): the thin Q of its Householder
/// QR. Columns beyond the rank of `a` complete the basis arbitrarily.
pub fn orthonormalize(a: ArrayView2<f64>) -> Array2<f64> {
    let mut a = to_faer(a);
    let (m, n) = a.shape();
    let size = m.min(n);
    let mut q = Mat::<f64>::identity(m, size);
    if size == 0 {
        return from_faer(q.as_ref());
    }
    let block = qr::recommended_block_size::<f64>(m, n);
    let mut coeff = Mat::<f64>::zeros(block, size);
    let scratch = qr::qr_in_place_scratch::<f64>(m, n, block, Par::Seq, Spec::default()).or(
        householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f64>(
            m, block, size,
        ),
    );
    let mut buffer = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut buffer);
    qr::qr_in_place(a.as_mut(), coeff.as_mut(), Par::Seq, stack, Spec::default());
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        a.as_ref().subcols(0, size),
        coeff.as_ref(),
        Conj::No,
        q.as_mut(),
        Par::Seq,
        stack,
    );
    from_faer(q.as_ref())
}

/// The thin singular value decomposition `a = U · diag(s) · Vᵀ` of a matrix of m × n: U of m × r, s
/// falling, Vᵀ of r × n, r = min(m, n).
///
/// # Errors
/// [`Error::Data`] when it does not converge, which happens with numbers that are not finite.
pub fn svd(a: ArrayView2<f64>) -> Result<(Array2<f64>, Array1<f64>, Array2<f64>)> {
    let a = to_faer(a);
    let (m, n) = a.shape();
    let size = m.min(n);
    let (mut u, mut v) = (Mat::<f64>::zeros(m, size), Mat::<f64>::zeros(n, size));
    let mut s = faer::diag::Diag::<f64>::zeros(size);
    let thin = faer_svd::ComputeSvdVectors::Thin;
    let scratch = faer_svd::svd_scratch::<f64>(m, n, thin, thin, Par::Seq, Spec::default());
    let mut buffer = MemBuffer::new(scratch);
    faer_svd::svd(
        a.as_ref(),
        s.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        Par::Seq,
        MemStack::new(&mut buffer),
        Spec::default(),
    )
    .map_err(|_| not_converged("singular value decomposition"))?;
    let s = s.column_vector().iter().copied().collect();
    Ok((from_faer(u.as_ref()), s, from_faer(v.transpose())))
}

/// Eigenvalues, falling, and eigenvectors (one a column) of a symmetric matrix of n × n.
///
/// # Errors
/// [`Error::Data`] when it does not converge, which happens with numbers that are not finite.
pub fn eigh(a: ArrayView2<f64>) -> Result<(Array1<f64>, Array2<f64>)> {
    let a = to_faer(a);
    let n = a.nrows();
    let mut u = Mat::<f64>::zeros(n, n);
    let mut s = faer::diag::Diag::<f64>::zeros(n);
    let scratch = evd::self_adjoint_evd_scratch::<f64>(
        n,
        evd::ComputeEigenvectors::Yes,
        Par::Seq,
        Spec::default(),
    );
    let mut buffer = MemBuffer::new(scratch);
    evd::self_adjoint_evd(
        a.as_ref(),
        s.as_mut(),
        Some(u.as_mut()),
        Par::Seq,
        MemStack::new(&mut buffer),
        Spec::default(),
    )
    .map_err(|_| not_converged("eigenvalue decomposition"))?;
    // faer orders them rising.
    let values = s.column_vector().iter().rev().copied().collect();
    Ok((values, Array2::from_shape_fn((n, n), |(i, j)| u[(i, n - 1 - j)])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn random(m: usize, n: usize) -> Array2<f64> {
        let mut rng = Rng::new(11);
        Array2::from_shape_simple_fn((m, n), || rng.normal())
    }

    fn near(a: &Array2<f64>, b: &Array2<f64>) {
        assert_eq!(a.dim(), b.dim());
        assert!((a - b).iter().all(|d| d.abs() < 1e-11), "{a:?} is not {b:?}");
    }

    #[test]
    fn factors_multiply_to_the_matrix() {
        for (m, n) in [(40, 12), (12, 40), (1, 5), (5, 1)] {
            let a = random(m, n);
            let (u, s, vt) = svd(a.view()).unwrap();
            near(&(u * &s).dot(&vt), &a);
            assert!(s.windows(2).into_iter().all(|w| w[0] >= w[1]));
        }
        let b = random(30, 9);
        let (values, vectors) = eigh(b.t().dot(&b).view()).unwrap();
        near(&(&vectors * &values).dot(&vectors.t()), &b.t().dot(&b));
        assert!(values.windows(2).into_iter().all(|w| w[0] >= w[1]));
    }

    #[test]
    fn a_basis_is_orthonormal_and_spans_the_columns() {
        for (m, n) in [(50, 7), (5, 9), (3, 3)] {
            let a = random(m, n);
            let q = orthonormalize(a.view());
            near(&q.t().dot(&q), &Array2::eye(m.min(n)));
            near(&q.dot(&q.t().dot(&a)), &a);
        }
    }

    #[test]
    fn a_basis_of_dependent_columns_is_orthonormal_too() {
        let a = Array2::from_shape_fn((20, 4), |(i, _)| i as f64);
        let q = orthonormalize(a.view());
        near(&q.t().dot(&q), &Array2::eye(4));
    }

    #[test]
    fn not_a_number_is_an_error() {
        let mut a = random(6, 4);
        a[[2, 1]] = f64::NAN;
        assert!(svd(a.view()).is_err());
    }
}
