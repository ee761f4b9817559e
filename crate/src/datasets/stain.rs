//! The synthetic tissue under hematoxylin and eosin.
//!
//! Each pixel has an amount of each dye; light passes both by Beer and Lambert's law with the
//! absorption near to what Ruifrok and Johnston (2001) measured, so the colours are those of real
//! slides.

use super::anatomy::{Cortex, FIDUCIAL, LAYERS, Place, SIDE, fiducials, layer_at};
use super::noise;
use crate::image::Image;
use crate::rng;
use rayon::prelude::*;

const HEMATOXYLIN: [f64; 3] = [0.65, 0.70, 0.29];
const EOSIN: [f64; 3] = [0.06, 0.86, 0.40];
/// The light that passes glass.
const GLASS: [f64; 3] = [243.0, 242.0, 245.0];

/// The section on an image of `side` × `side` pixels.
pub(crate) fn hematoxylin_eosin(tissue: &Cortex, seed: u64, side: usize) -> Image {
    let seed = seed ^ rng::hash("stain");
    let unit = SIDE / side as f64;
    let ground = Ground::new(tissue, seed, side);
    let vessels = vessels(tissue, seed);
    let glass = GLASS.map(|v| v as u8);
    let mut pixels = vec![0u8; side * side * 3];
    pixels.par_chunks_mut(side * 3).enumerate().for_each(|(j, row)| {
        for (i, pixel) in row.chunks_exact_mut(3).enumerate() {
            let (place, cloud) = ground.at(i, j);
            if place.edge <= 0.0 {
                pixel.copy_from_slice(&glass);
                continue;
            }
            let (mut h, mut e) = dyes(&place, cloud, seed, (i as f64, j as f64), unit);
            let (x, y) = ((i as f64 + 0.5) * unit, (j as f64 + 0.5) * unit);
            for v in vessels.iter().filter(|v| (y - v.1).abs() < 200.0) {
                let d = (x - v.0).hypot((y - v.1) * v.3);
                let wall = 1.0 - ((d - v.2).abs() / (2.2 * unit)).min(1.0);
                let lumen = 1.0 - ((d - v.2) / unit + 0.5).clamp(0.0, 1.0);
                (h, e) = (h * (1.0 - lumen) + 0.25 * wall, e * (1.0 - lumen) + 0.3 * wall);
            }
            for c in 0..3 {
                let absorbed = (-(h * HEMATOXYLIN[c] + e * EOSIN[c])).exp();
                pixel[c] = (GLASS[c] * absorbed + 0.5) as u8;
            }
        }
    });
    let mut image = Image { width: side, height: side, pixels };
    frame(&mut image, unit);
    image
}

/// What changes slowly, worked out at every fourth pixel and interpolated between.
struct Ground {
    width: usize,
    /// Depth, along, edge and cloudiness.
    nodes: Vec<[f32; 4]>,
}

const STRIDE: usize = 4;

impl Ground {
    fn new(tissue: &Cortex, seed: u64, side: usize) -> Self {
        let unit = SIDE / side as f64;
        let width = side / STRIDE + 2;
        let node = |k: usize| {
            let at = |n: usize| ((n * STRIDE) as f64 + 0.5) * unit;
            let (x, y) = (at(k % width), at(k / width));
            let place = tissue.shape(x, y);
            let cloud = noise::fractal(seed, x / 900.0, y / 900.0, 4);
            [place.depth, place.along, place.edge, cloud].map(|v| v as f32)
        };
        Ground { width, nodes: (0..width * width).into_par_iter().map(node).collect() }
    }

    fn at(&self, i: usize, j: usize) -> (Place, f64) {
        let k = j / STRIDE * self.width + i / STRIDE;
        let part = |n: usize| (n % STRIDE) as f32 / STRIDE as f32;
        let (tx, ty) = (part(i), part(j));
        let corners = [k, k + 1, k + self.width, k + self.width + 1].map(|n| self.nodes[n]);
        let mix = |c: usize| {
            let top = corners[0][c] + tx * (corners[1][c] - corners[0][c]);
            let bottom = corners[2][c] + tx * (corners[3][c] - corners[2][c]);
            f64::from(top + ty * (bottom - top))
        };
        let (depth, along, edge) = (mix(0), mix(1), mix(2));
        (Place { layer: layer_at(depth), depth, along, edge }, mix(3))
    }
}

/// Amounts of hematoxylin and eosin at a place; `(i, j)` is its pixel.
fn dyes(place: &Place, cloud: f64, seed: u64, (i, j): (f64, f64), unit: f64) -> (f64, f64) {
    // Looks change gradually from one layer to the next: `t` of the neighbour's.
    let here = &LAYERS[place.layer];
    let start = if place.layer == 0 { 0.0 } else { LAYERS[place.layer - 1].end };
    let near = |distance: f64| 0.5 * (1.0 - distance / 0.02).max(0.0);
    let (below, above) = (near(here.end - place.depth), near(place.depth - start));
    let (other, t) = if below > 0.0 && place.layer + 1 < LAYERS.len() {
        (&LAYERS[place.layer + 1], below)
    } else if above > 0.0 && place.layer > 0 {
        (&LAYERS[place.layer - 1], above)
    } else {
        (here, 0.0)
    };
    let mixed = |a: f64, b: f64| a + t * (b - a);
    // Neuropil; in white matter fibres along the layers, above it a hint of columns across them.
    let white = ((place.depth - 0.80) / 0.04).clamp(0.0, 1.0);
    let fine = noise::fractal(seed ^ 1, i / 3.1, j / 3.1, 2);
    let mut streak = 0.0;
    if white > 0.0 {
        streak +=
            white * 0.24 * noise::fractal(seed ^ 2, place.along * 46.0, place.depth * 330.0, 2);
    }
    if white < 1.0 {
        streak += (1.0 - white)
            * 0.09
            * noise::fractal(seed ^ 3, place.along * 330.0, place.depth * 17.0, 2);
    }
    let mut e = mixed(here.eosin, other.eosin) * (1.0 + 0.16 * cloud + 0.13 * fine + streak);
    let mut h =
        mixed(here.hematoxylin, other.hematoxylin) * (1.0 + 0.30 * cloud + 0.22 * fine + streak);
    // The torn edge and the membrane over the surface take more dye.
    e += 0.16 * (-place.edge / (3.0 * unit)).exp();
    if place.depth < 0.02 {
        h += 0.30 * (1.0 - place.depth / 0.02) * (0.6 + 0.4 * fine);
        e += 0.18 * (1.0 - place.depth / 0.02);
    }
    let small = cells(seed ^ 4, (i, j), 3.0, mixed(here.nuclei, other.nuclei), (0.55, 1.05));
    let large = cells(seed ^ 5, (i, j), 7.0, mixed(here.large, other.large), (1.3, 2.1));
    h += 0.62 * small + 0.42 * large;
    e += 0.10 * large;
    let thin = (place.edge / (1.5 * unit)).min(1.0);
    ((h * thin).max(0.0), (e * thin).max(0.0))
}

/// How much of the pixel lies in a cell: on a grid of `step` pixels each square holds one with
/// probability `density`, somewhere in it.
fn cells(seed: u64, (i, j): (f64, f64), step: f64, density: f64, radii: (f64, f64)) -> f64 {
    if density <= 0.0 {
        return 0.0;
    }
    let (ci, cj) = ((i / step).floor() as i64, (j / step).floor() as i64);
    let mut cover: f64 = 0.0;
    for a in ci - 1..=ci + 1 {
        for b in cj - 1..=cj + 1 {
            if noise::lattice(seed, a, b) >= density {
                continue;
            }
            let bits = rng::at(seed ^ 77, (a as u64) << 32 | (b as u64 & 0xffff_ffff));
            let part = |k: u32| f64::from((bits >> (16 * k)) as u16) / 65_536.0;
            let (x, y) = ((a as f64 + part(0)) * step, (b as f64 + part(1)) * step);
            let radius = radii.0 + (radii.1 - radii.0) * part(2);
            let stretch = 0.8 + 0.5 * part(3);
            let d = (i + 0.5 - x).hypot((j + 0.5 - y) * stretch);
            cover = cover.max((radius + 0.5 - d).clamp(0.0, 1.0) * (0.65 + 0.35 * part(3)));
        }
    }
    cover
}

/// Cut blood vessels: x, y, radius and flatness.
fn vessels(tissue: &Cortex, seed: u64) -> Vec<(f64, f64, f64, f64)> {
    let mut rng = rng::Rng::stream(seed, "vessels");
    let mut found = Vec::new();
    for _ in 0..400 {
        let (x, y) = (rng.uniform_in(0.0, SIDE), rng.uniform_in(0.0, SIDE));
        let (radius, flat) = (rng.uniform_in(20.0, 62.0), rng.uniform_in(0.6, 1.5));
        if tissue.at(x, y).is_some_and(|p| p.edge > 250.0) && found.len() < 16 {
            found.push((x, y, radius, flat));
        }
    }
    found
}

/// The printed frame of circles around the array.
fn frame(image: &mut Image, unit: f64) {
    let radius = FIDUCIAL / 2.0 / unit;
    for (x, y) in fiducials() {
        let (x, y) = (x / unit, y / unit);
        let low = |v: f64| (v - radius - 1.0).floor().max(0.0) as usize;
        let high = |v: f64, n: usize| ((v + radius + 2.0).max(0.0) as usize).min(n);
        for j in low(y)..high(y, image.height) {
            for i in low(x)..high(x, image.width) {
                let d = (i as f64 + 0.5 - x).hypot(j as f64 + 0.5 - y);
                let ring = (1.0 - (d - radius + 1.0).abs() / 1.1).max(0.0);
                let inner = (radius - 1.5 - d).clamp(0.0, 1.0);
                let dark = 1.0 - 0.42 * ring - 0.10 * inner;
                let k = (j * image.width + i) * 3;
                for p in &mut image.pixels[k..k + 3] {
                    *p = (f64::from(*p) * dark) as u8;
                }
            }
        }
    }
}
