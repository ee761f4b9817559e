//! The Fourier spectra of two stains: at which distances structures repeat, and whether they have
//! a direction.

use super::list::{List, Usual, moments, usual};
use super::plane::Plane;
use crate::image::fft2;
use ndarray::Array2;
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use std::f32::consts::{PI, TAU};

/// Half octaves from one wave in 64 pixels to two pixels a wave and beyond.
const RINGS: usize = 10;
const RING: Usual = usual(-5.0, 0.8);
const DIRECTION: Usual = usual(0.17, 0.11);

/// The logarithm of the mean power in each half octave, and the anisotropy of the gradient's power.
pub(super) fn spectrum(named: [(&str, &Plane); 2], planner: &mut FftPlanner<f32>, list: &mut List) {
    let [a, b] = named.map(|(_, plane)| plane);
    let (width, height) = (a.width, a.height);
    let (mean_a, mean_b) = (moments(&a.values)[0], moments(&b.values)[0]);
    // Hann's window: without it the jump between opposite borders is in every frequency.
    let window = |i: usize, n: usize| 0.5 - 0.5 * (TAU * (i as f32 + 0.5) / n as f32).cos();
    // One transform serves two real planes, as real and imaginary part.
    let mut f = Array2::from_shape_fn((height, width), |(y, x)| {
        let (w, i) = (window(y, height) * window(x, width), y * width + x);
        Complex::new((a.values[i] - mean_a) * w, (b.values[i] - mean_b) * w)
    });
    fft2(&mut f, planner);

    let mut rings = [[0.0f32; RINGS]; 2];
    let mut sizes = [0.0f32; RINGS];
    let mut direction = [[0.0f32; 3]; 2];
    for ((y, x), &at) in f.indexed_iter() {
        if (y, x) == (0, 0) {
            continue;
        }
        // The transform of a real plane at -k is the conjugate of that at k.
        let opposite = f[[(height - y) % height, (width - x) % width]].conj();
        let power = [(at + opposite).norm_sqr() / 4.0, (at - opposite).norm_sqr() / 4.0];
        let (fy, fx) = (frequency(y, height), frequency(x, width));
        let radius = fx.hypot(fy);
        let ring = ((2.0 * (64.0 * radius).log2()).max(0.0) as usize).min(RINGS - 1);
        sizes[ring] += 1.0;
        // A direction and its opposite are one: angles count twice.
        let (sin, cos) = (2.0 * fy.atan2(fx).rem_euclid(PI)).sin_cos();
        for k in 0..2 {
            rings[k][ring] += power[k];
            let gradient = power[k] * radius * radius;
            direction[k][0] += gradient * cos;
            direction[k][1] += gradient * sin;
            direction[k][2] += gradient;
        }
    }
    for (k, (name, _)) in named.iter().enumerate() {
        for ring in 0..RINGS {
            let mean = rings[k][ring] / sizes[ring].max(1.0) / (width * height) as f32;
            // Below this is noise; a small patch has no long waves at all.
            list.push(|| format!("{name} spectrum {ring}"), (mean + 1e-5).ln(), RING);
        }
        let [cos, sin, all] = direction[k];
        let part = if all > 1e-7 { cos.hypot(sin) / all } else { 0.0 };
        list.push(|| format!("{name} spectrum direction"), part, DIRECTION);
    }
}

/// Waves per pixel of the `i`-th of `n` frequencies.
fn frequency(i: usize, n: usize) -> f32 {
    let i = if i > n / 2 { i as f32 - n as f32 } else { i as f32 };
    i / n as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stain_s_waves_are_found_in_its_own_ring() {
        let wave = |step: f32| {
            let value = |i: usize| 0.5 + 0.3 * (TAU * (i % 64) as f32 / step).sin();
            Plane { width: 64, height: 64, values: (0..4096).map(value).collect() }
        };
        let mut list = List::default();
        // 4 and 16 waves in 64 pixels: 2 and 4 octaves up.
        let (slow, fast) = (wave(16.0), wave(4.0));
        spectrum([("slow", &slow), ("fast", &fast)], &mut FftPlanner::new(), &mut list);
        let highest = |v: &[f32]| (0..RINGS).max_by(|&a, &b| v[a].total_cmp(&v[b])).unwrap();
        assert_eq!(highest(&list.raw[..RINGS]), 4);
        assert_eq!(highest(&list.raw[RINGS + 1..]), 8);
        assert!(list.raw[RINGS] > 0.95 && list.raw[2 * RINGS + 1] > 0.95, "{:?}", list.raw);
    }
}
