//! Vector code chosen at run time, and functions of a cosine as polynomials.

// The coefficients stand as they were fitted, in f64.
#![allow(clippy::excessive_precision)]

/// Defines a function whose body is compiled for AVX-512, for AVX2 with FMA, and plainly, and
/// which runs the best that the machine has. In the body `FMA` says whether a fused
/// multiply-add is an instruction; see [`fma`].
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<const FMA: bool>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn wide($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn narrow($($arg: $ty),*) $(-> $ret)? { body::<true>($($arg),*) }

                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("fma")
                {
                    // SAFETY: the features were detected.
                    return unsafe { wide($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features were detected.
                    return unsafe { narrow($($arg),*) };
                }
            }
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Asks for numbers that will be read soon.
#[inline(always)]
pub(super) fn prefetch(numbers: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in numbers.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address does no harm.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = numbers;
}

/// Numbers that one vector instruction takes.
pub(super) const LANES: usize = 16;

/// a·b + c, in one rounding where the machine has that.
#[inline(always)]
pub(crate) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// The sum of the lanes, in halves.
#[inline(always)]
pub(super) fn added(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// A polynomial by Horner's rule, coefficients rising.
#[inline(always)]
pub(super) fn horner<const FMA: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut y = coefficients[N - 1];
    for k in (0..N - 1).rev() {
        y = fma::<FMA>(y, x, coefficients[k]);
    }
    y
}

// Chebyshev interpolants on [-1, 1], which hold a cosine of two vectors (a little more, for
// rounding). Their own errors, 1.2e-8, 3.4e-9 and 3.3e-9, are below f32's rounding.

/// exp(x) for |x| ≤ 1.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    horner::<FMA, 9>(
        x,
        [
            1.000_000_000_6,
            0.999_999_900_86,
            0.499_999_972_52,
            0.166_667_986_4,
            0.041_666_886_164,
            0.008_328_594_194_1,
            0.001_388_275_692_2,
            0.000_204_701_208_62,
            2.549_933_882e-5,
        ],
    )
}

/// ln(1 + exp(x)) for |x| ≤ 1: x/2 + ln(2 cosh(x/2)), of which the second part is even.
#[inline(always)]
pub(super) fn softplus<const FMA: bool>(x: f32) -> f32 {
    let even = horner::<FMA, 5>(
        x * x,
        [
            0.693_147_183_9,
            0.124_999_831_63,
            -0.005_206_968_165_3,
            0.000_343_312_307_33,
            -2.167_532_503_8e-5,
        ],
    );
    fma::<FMA>(x, 0.5, even)
}

/// 1 / (1 + exp(-x)) for |x| ≤ 1: 1/2 plus an odd function.
#[inline(always)]
pub(super) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    let odd = horner::<FMA, 5>(
        x * x,
        [
            0.249_999_996_76,
            -0.020_833_169_811,
            0.002_082_003_794_9,
            -0.000_206_987_849_72,
            1.673_878_453_6e-5,
        ],
    );
    fma::<FMA>(x, odd, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_equal_their_functions() {
        let grid = (-10_000..=10_000).map(|i| i as f32 / 10_000.0);
        for x in grid.chain([1.000_000_2, -1.000_000_2]) {
            let d = f64::from(x);
            for (got, expected) in [
                (exp::<true>(x), d.exp()),
                (exp::<false>(x), d.exp()),
                (softplus::<true>(x), d.exp().ln_1p()),
                (sigmoid::<true>(x), 1.0 / (1.0 + (-d).exp())),
            ] {
                assert!((f64::from(got) - expected).abs() < 3e-7 * expected.max(1.0), "{x}");
            }
        }
    }
}
