//! Smooth noise in the plane, a function of seed and place only.

use crate::rng;

/// Value noise: random numbers in -1..1 on the integer grid, smoothly joined.
pub(crate) fn value(seed: u64, x: f64, y: f64) -> f64 {
    let (fx, fy) = (x.floor(), y.floor());
    let (i, j) = (fx as i64, fy as i64);
    let smooth = |t: f64| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (smooth(x - fx), smooth(y - fy));
    let corner = |i: i64, j: i64| 2.0 * lattice(seed, i, j) - 1.0;
    let top = corner(i, j) * (1.0 - tx) + corner(i + 1, j) * tx;
    let bottom = corner(i, j + 1) * (1.0 - tx) + corner(i + 1, j + 1) * tx;
    top * (1.0 - ty) + bottom * ty
}

/// Several octaves of [`value`], each twice as fine and half as strong; within -1..1.
pub(crate) fn fractal(seed: u64, x: f64, y: f64, octaves: u32) -> f64 {
    let (mut sum, mut norm, mut strength, mut scale) = (0.0, 0.0, 1.0, 1.0);
    for k in 0..octaves {
        sum += strength * value(seed.wrapping_add(u64::from(k)), x * scale, y * scale);
        norm += strength;
        strength *= 0.5;
        scale *= 2.03;
    }
    sum / norm
}

/// A random number in [0, 1) that belongs to a place of the integer grid.
#[inline]
pub(crate) fn lattice(seed: u64, i: i64, j: i64) -> f64 {
    rng::unit(rng::at(seed, (i as u64 & 0xffff_ffff) << 32 | (j as u64 & 0xffff_ffff)))
}
