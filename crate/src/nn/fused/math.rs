//! exp, erf and their kin over the whole range of `f32`, in a form that compilers turn into vectors.

// The coefficients stand as they were fitted, in f64.
#![allow(clippy::excessive_precision)]

use super::simd::{fma, horner};

/// exp(x), for x between -87 and 88; what lies beyond is taken to lie there.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    // exp(x) = 2^n · exp(r) with |r| ≤ ln(2)/2. Adding 1.5 · 2^23 rounds to a whole number, which
    // then stands in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = fma::<FMA>(x, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    // ln(2) in two parts, the first of few bits, so that n times it is exact.
    let r = fma::<FMA>(n, 2.121_944_4e-4, fma::<FMA>(n, -0.693_359_375, x));
    let two_to_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    two_to_n
        * horner::<FMA, 7>(
            r,
            [
                1.0,
                1.000_000_037_727_449,
                0.500_000_010_774_935_6,
                0.166_664_154_772_378_06,
                0.041_666_218_274_411_76,
                0.008_375_128_890_296_174,
                0.001_394_858_081_829_479_3,
            ],
        )
}

/// The error function.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    // Near 0 an odd polynomial; further out 1 - exp(-p(|x|)), which is 1 in f32 from 4 on.
    let t = x.abs().min(4.0);
    let near = horner::<FMA, 6>(
        t * t,
        [
            1.128_379_127_392_746_8,
            -0.376_123_497_845_414_77,
            0.112_803_644_080_332_67,
            -0.026_716_385_096_655_366,
            0.004_923_277_665_238_403,
            -0.000_565_410_585_983_341_4,
        ],
    ) * t;
    let far = 1.0
        - exp::<FMA>(-horner::<FMA, 8>(
            t,
            [
                0.000_756_968_621_120_179_8,
                1.125_925_949_338_091_8,
                0.639_093_319_480_478_5,
                0.103_318_980_049_139_28,
                -0.022_621_985_930_810_114,
                0.003_436_867_599_293_941,
                -0.000_317_572_034_791_400_03,
                1.330_939_040_043_552_8e-5,
            ],
        ));
    (if t < 1.0 { near } else { far }).copysign(x)
}

/// x Φ(x), Φ being the normal distribution: GELU in its exact form.
#[inline(always)]
pub(crate) fn gelu<const FMA: bool>(x: f32) -> f32 {
    0.5 * x * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The slope of [`gelu`]: Φ(x) + x φ(x).
#[inline(always)]
pub(crate) fn gelu_slope<const FMA: bool>(x: f32) -> f32 {
    let density = 0.398_942_28 * exp::<FMA>(-0.5 * x * x);
    fma::<FMA>(x, density, 0.5 * (1.0 + erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2)))
}

/// 1 / (1 + exp(-x)).
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<const FMA: bool>(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp::<FMA>(2.0 * x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf by its series, which converges for every x though it loses digits from 3 on; there 1 is
    /// near enough.
    fn erf_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn functions_equal_f64_over_their_range() {
        for i in -40_000..=40_000 {
            let x = i as f32 / 1_000.0;
            let d = f64::from(x);
            let e = f64::from(exp::<true>(x));
            assert!((e / d.exp() - 1.0).abs() < 2e-7, "exp({x})");
            assert!((f64::from(exp::<false>(x)) / d.exp() - 1.0).abs() < 1e-6, "exp({x})");
            let logistic = 1.0 / (1.0 + (-d).exp());
            assert!((f64::from(sigmoid::<true>(x)) - logistic).abs() < 2e-7, "sigmoid({x})");
            assert!((f64::from(tanh::<true>(x)) - d.tanh()).abs() < 2e-7, "tanh({x})");
            if d.abs() <= 4.0 {
                assert!((f64::from(erf::<true>(x)) - erf_series(d)).abs() < 2e-7, "erf({x})");
                let cdf = 0.5 * (1.0 + erf_series(d / 2f64.sqrt()));
                assert!((f64::from(gelu::<true>(x)) - d * cdf).abs() < 5e-7, "gelu({x})");
                let slope = cdf + d * (-0.5 * d * d).exp() / std::f64::consts::TAU.sqrt();
                assert!((f64::from(gelu_slope::<true>(x)) - slope).abs() < 5e-7, "slope({x})");
            }
        }
    }

    #[test]
    fn extremes_stay_finite() {
        for x in [-1e30f32, -90.0, -0.0, 0.0, 90.0, 1e30] {
            assert!(exp::<true>(x).is_finite() && exp::<true>(x) >= 0.0);
            assert!(gelu::<true>(x).is_finite() && (-0.2..=x.max(0.0)).contains(&gelu::<true>(x)));
            assert!(gelu_slope::<true>(x).is_finite());
            assert!((0.0..=1.0).contains(&sigmoid::<true>(x)));
            assert!((-1.0..=1.0).contains(&tanh::<true>(x)));
        }
        assert_eq!((erf::<true>(9.0), erf::<true>(-9.0), erf::<true>(0.0)), (1.0, -1.0, 0.0));
    }
}
