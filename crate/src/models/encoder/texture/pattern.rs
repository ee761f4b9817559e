//! Texture of a stain at one scale: edges and their direction, patterns of the eight neighbours,
//! spots, and co-occurring shades.

use super::list::{List, Usual, histogram, moments, percentiles, shade, usual};
use super::plane::Plane;
use crate::image::{GLCM_PROPERTIES, Glcm, GlcmScratch, glcm_offsets};
use ndarray::ArrayView2;

const SPREAD: [(&str, Usual); 4] = [
    ("sd", usual(0.17, 0.05)),
    ("skewness", usual(0.2, 0.4)),
    ("p95 - p50", usual(0.35, 0.12)),
    ("p50 - p5", usual(0.17, 0.07)),
];
const EDGES: [Usual; 2] = [usual(0.29, 0.05), usual(0.26, 0.037)];
const EDGE_PART: Usual = usual(0.3, 0.085);
const COHERENCE: Usual = usual(0.34, 0.1);
const PATTERN: Usual = usual(0.285, 0.055);
const SPOTS: [Usual; 2] = [usual(0.28, 0.045), usual(0.32, 0.48)];
const PEAKS: Usual = usual(0.12, 0.04);
/// Of contrast and ASM the second and the fourth root; their order is that of the properties.
const GLCM: [Usual; 6] = [
    usual(3.3, 0.7),
    usual(2.4, 0.55),
    usual(0.47, 0.085),
    usual(0.23, 0.11),
    usual(0.5, 0.115),
    usual(0.45, 0.085),
];
const DIRECTED: Usual = usual(0.2, 0.08);

/// How values are spread.
pub(super) fn spread(name: &str, plane: &Plane, list: &mut List) {
    let [_, sd, skewness] = moments(&plane.values);
    let [low, _, median, _, high] = percentiles(&plane.values);
    for ((what, usual), v) in SPREAD.into_iter().zip([sd, skewness, high - median, median - low]) {
        list.push(|| format!("{name} {what}"), v, usual);
    }
}

/// Strength of edges, and how well they agree in direction (the coherence of the structure tensor;
/// Bigün and Granlund, 1987) in the whole patch and in blocks of it: fibres run side by side, nuclei
/// are round.
pub(super) fn edges(name: &str, plane: &Plane, list: &mut List) {
    let (width, height) = (plane.width, plane.height);
    let mut strength = Vec::with_capacity(width * height);
    let mut tensor: Vec<[f32; 3]> = Vec::with_capacity(width * height);
    for y in 0..height {
        let (above, row, below) =
            (plane.row(y.saturating_sub(1)), plane.row(y), plane.row((y + 1).min(height - 1)));
        for x in 0..width {
            let dx = 0.5 * (row[(x + 1).min(width - 1)] - row[x.saturating_sub(1)]);
            let dy = 0.5 * (below[x] - above[x]);
            strength.push((dx * dx + dy * dy).sqrt());
            tensor.push([dx * dx, dx * dy, dy * dy]);
        }
    }
    let [mean, sd, _] = moments(&strength);
    list.push(|| format!("{name} edge mean"), mean.sqrt(), EDGES[0]);
    list.push(|| format!("{name} edge sd"), sd.sqrt(), EDGES[1]);
    let counts = histogram(strength.iter().map(|&g| g / (g + 0.05)), 8);
    list.parts(|k| format!("{name} edge {k}"), &counts, EDGE_PART);
    for block in [4, 8, usize::MAX] {
        let (mut agreed, mut all) = (0.0, 0.0);
        for top in (0..height).step_by(block) {
            for left in (0..width).step_by(block) {
                let mut sum = [0.0; 3];
                for y in top..top.saturating_add(block).min(height) {
                    let line = &tensor
                        [y * width + left..y * width + left.saturating_add(block).min(width)];
                    line.iter().for_each(|t| (0..3).for_each(|k| sum[k] += t[k]));
                }
                let [xx, xy, yy] = sum;
                agreed += ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
                all += xx + yy;
            }
        }
        let coherence = if all > 1e-7 { agreed / all } else { 0.0 };
        let size = if block == usize::MAX { "all".into() } else { block.to_string() };
        list.push(|| format!("{name} coherence {size}"), coherence, COHERENCE);
    }
}

/// Local binary patterns of the eight neighbours (uniform and the same for every rotation; Ojala,
/// Pietikäinen and Mäenpää, 2002), and how far pixels stand out from them: the spread of that, and
/// the density of peaks, which at the scale of nuclei is that of nuclei.
pub(super) fn neighbourhoods(name: &str, plane: &Plane, list: &mut List) {
    /// Differences below this, in optical density, are noise.
    const NOISE: f32 = 0.01;
    const PEAK: [f32; 3] = [0.05, 0.1, 0.2];
    let (width, height) = (plane.width, plane.height);
    let mut counts = [0.0; 10];
    let mut outstanding = Vec::with_capacity(width * height);
    let mut peaks = [0.0f32; 3];
    for y in 1..height.max(2) - 1 {
        let (above, row, below) = (plane.row(y - 1), plane.row(y), plane.row(y + 1));
        for x in 1..width.max(2) - 1 {
            let (c, l, r) = (row[x], x - 1, x + 1);
            // In their order round the pixel.
            let ring = [row[r], below[r], below[x], below[l], row[l], above[l], above[x], above[r]];
            let bits = ring.iter().fold(0u8, |b, &v| b << 1 | u8::from(v >= c + NOISE));
            let changes = (bits ^ bits.rotate_left(1)).count_ones();
            counts[if changes <= 2 { bits.count_ones() as usize } else { 9 }] += 1.0;
            let above_mean = c - ring.iter().sum::<f32>() / 8.0;
            outstanding.push(above_mean);
            if above_mean > PEAK[0] && ring.iter().all(|&v| c > v) {
                (0..3).for_each(|k| peaks[k] += f32::from(above_mean > PEAK[k]));
            }
        }
    }
    list.parts(|k| format!("{name} pattern {k}"), &counts, PATTERN);
    let [_, sd, skewness] = moments(&outstanding);
    list.push(|| format!("{name} spots sd"), sd.sqrt(), SPOTS[0]);
    list.push(|| format!("{name} spots skewness"), skewness, SPOTS[1]);
    for (limit, n) in PEAK.into_iter().zip(peaks) {
        let part = n / outstanding.len().max(1) as f32;
        list.push(|| format!("{name} peaks above {limit}"), part.sqrt(), PEAKS);
    }
}

/// Co-occurrence of 32 shades at distances 1 and 3: the mean over four angles of each property,
/// which does not depend on how the tissue lies, and how much contrast depends on the angle.
pub(super) fn shades(name: &str, plane: &Plane, scratch: &mut GlcmScratch, list: &mut List) {
    let levels: Vec<u8> = plane.values.iter().map(|&v| (shade(v) * 32.0).min(31.0) as u8).collect();
    let Ok(view) = ArrayView2::from_shape((plane.height, plane.width), &levels) else { return };
    for distance in [1, 3] {
        let angles = glcm_offsets(distance).map(|offset| {
            let mut p = Glcm::new(view, offset, scratch).properties();
            p[0] = p[0].sqrt();
            p[5] = p[5].sqrt().sqrt();
            p.map(|v| v as f32)
        });
        for k in 0..6 {
            let mean = angles.iter().map(|p| p[k]).sum::<f32>() / 4.0;
            let of = GLCM_PROPERTIES[k];
            list.push(|| format!("{name} {of} at {distance}"), mean, GLCM[k]);
        }
        let contrast = || angles.iter().map(|p| p[0]);
        let (low, high) = (contrast().fold(f32::MAX, f32::min), contrast().fold(0.0, f32::max));
        let part = if high > 0.0 { (high - low) / high } else { 0.0 };
        list.push(|| format!("{name} directed contrast at {distance}"), part, DIRECTED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(side: usize, value: impl Fn(f32, f32) -> f32) -> Plane {
        let at = |i: usize| value((i % side) as f32, (i / side) as f32);
        Plane { width: side, height: side, values: (0..side * side).map(at).collect() }
    }

    fn named(f: impl Fn(&mut List), name: &str) -> f32 {
        let mut list = List { names: Some(Vec::new()), ..List::default() };
        f(&mut list);
        let at = list.names.as_ref().unwrap().iter().position(|n| n == name);
        list.raw[at.unwrap_or_else(|| panic!("no {name} in {:?}", list.names))]
    }

    #[test]
    fn fibres_are_coherent_and_round_things_are_not() {
        let fibres = plane(64, |x, y| 0.3 + 0.2 * (0.5 * x + 0.3 * y).sin());
        let dots = plane(64, |x, y| 0.3 + 0.2 * (0.5 * x).sin() * (0.5 * y).sin());
        let of = |p: &Plane| named(|l| edges("p", p, l), "p coherence all");
        assert!(of(&fibres) > 0.95 && of(&dots) < 0.1, "{} {}", of(&fibres), of(&dots));
    }

    #[test]
    fn peaks_count_spots() {
        // One spot in each 8 × 8 pixels of the inner 62 × 62.
        let spots = plane(64, |x, y| if x % 8.0 == 4.0 && y % 8.0 == 4.0 { 0.5 } else { 0.1 });
        let root = named(|l| neighbourhoods("p", &spots, l), "p peaks above 0.2");
        assert!((root * root - 64.0 / (62.0 * 62.0)).abs() < 1e-6, "{root}");
    }

    #[test]
    fn rotated_patches_have_the_same_patterns() {
        let upright =
            plane(40, |x, y| (x * 0.9).sin() * 0.2 + (y * 0.2 + x * 0.1).cos() * 0.3 + 0.4);
        let turned = Plane {
            values: (0..1600).map(|i| upright.values[(39 - i % 40) * 40 + i / 40]).collect(),
            ..upright
        };
        let of = |p: &Plane| {
            let mut list = List::default();
            neighbourhoods("p", p, &mut list);
            shades("p", p, &mut GlcmScratch::default(), &mut list);
            edges("p", p, &mut list);
            list.raw
        };
        let most =
            of(&upright).iter().zip(of(&turned)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(most < 1e-4, "{most}");
    }
}
