//! Dense matrix products.

use super::Real;
use gemm::Parallelism;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

/// `a · b` for `a` of m × k and `b` of k × n, of any strides: pass `x.t()` for a transposed factor.
///
/// Uses all threads of the current rayon pool. The products along k are added in blocks whose size
/// depends on the shapes only, so the bits are the same for any number of threads.
///
/// # Panics
/// When the inner sizes differ.
pub fn matmul<T: Real>(a: ArrayView2<T>, b: ArrayView2<T>) -> Array2<T> {
    let mut out = Array2::zeros((a.nrows(), b.ncols()));
    add_product(&mut out, a, b, Parallelism::Rayon(0));
    out
}

/// `out += a · b`, for callers that have threads of their own to share the work between.
pub(super) fn add_product<T: Real>(
    out: &mut Array2<T>,
    a: ArrayView2<T>,
    b: ArrayView2<T>,
    threads: Parallelism,
) {
    product(out.view_mut(), a, b, true, threads);
}

/// `out = a · b` on this thread; what `out` held does not matter.
pub(super) fn write_product<T: Real>(out: ArrayViewMut2<T>, a: ArrayView2<T>, b: ArrayView2<T>) {
    product(out, a, b, false, Parallelism::None);
}

fn product<T: Real>(
    mut out: ArrayViewMut2<T>,
    a: ArrayView2<T>,
    b: ArrayView2<T>,
    add: bool,
    threads: Parallelism,
) {
    let ((m, k), (k2, n)) = (a.dim(), b.dim());
    assert_eq!(k, k2, "product of {m} × {k} and {k2} × {n}");
    assert_eq!(out.dim(), (m, n), "shape of the product");
    let (dst, a_s, b_s) = (out.strides().to_vec(), a.strides(), b.strides());
    // SAFETY: the pointers and strides are those of live arrays of the shapes checked above, and
    // `out` is not aliased.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            dst[1],
            dst[0],
            add,
            a.as_ptr(),
            a_s[1],
            a_s[0],
            b.as_ptr(),
            b_s[1],
            b_s[0],
            if add { T::one() } else { T::zero() },
            T::one(),
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn random<T: Real>(m: usize, n: usize, seed: u64) -> Array2<T> {
        let mut rng = Rng::new(seed);
        Array2::from_shape_simple_fn((m, n), || T::from_f64(rng.normal()))
    }

    #[test]
    fn equals_the_plain_product_for_any_strides() {
        let (a, b) = (random::<f64>(33, 17, 1), random::<f64>(17, 21, 2));
        let expected = a.dot(&b);
        let at = a.t().as_standard_layout().into_owned();
        let bt = b.t().as_standard_layout().into_owned();
        for got in [
            matmul(a.view(), b.view()),
            matmul(at.t(), b.view()),
            matmul(a.view(), bt.t()),
            matmul(at.t(), bt.t()),
        ] {
            assert!((&got - &expected).iter().all(|d| d.abs() < 1e-12));
        }
        assert_eq!(matmul(a.slice(ndarray::s![..0, ..]), b.view()).dim(), (0, 21));
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        for (m, k, n) in [(300, 2_000, 30), (2_000, 300, 30), (30, 3_000, 30), (257, 1_031, 129)] {
            let (a, b) = (random::<f32>(m, k, 3), random::<f32>(k, n, 4));
            same_with_any_threads(|| matmul(a.view(), b.view()));
            same_with_any_threads(|| matmul(b.t(), a.t()));
            let (a, b) = (random::<f64>(m, k, 5), random::<f64>(k, n, 6));
            same_with_any_threads(|| matmul(a.view(), b.view()));
            same_with_any_threads(|| matmul(b.t(), a.t()));
        }
    }
}
