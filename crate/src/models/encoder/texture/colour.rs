//! Colour: how much of each stain there is, where in the patch, and how much is empty glass.

use super::list::{List, Usual, bin, histogram, moments, percentiles, shade, usual};
use super::plane::{Plane, Planes};

/// Of a channel or a stain, in parts of full light or in optical density.
const MOMENTS: [Usual; 3] = [usual(0.39, 0.07), usual(0.17, 0.05), usual(0.2, 0.4)];
const PERCENTILES: [(&str, Usual); 5] = [
    ("p5", usual(0.14, 0.06)),
    ("p25", usual(0.27, 0.07)),
    ("p50", usual(0.38, 0.07)),
    ("p75", usual(0.5, 0.09)),
    ("p95", usual(0.68, 0.12)),
];
const HUE: [[Usual; 2]; 2] =
    [[usual(-0.08, 0.05), usual(0.13, 0.025)], [usual(-0.26, 0.05), usual(0.13, 0.025)]];
/// Of the root of the part of the pixels in a bin.
const HISTOGRAM: Usual = usual(0.18, 0.065);
const JOINT: Usual = usual(0.05, 0.045);
const MIDDLE: [Usual; 3] = [usual(0.24, 0.1), usual(0.0, 0.08), usual(0.0, 0.055)];
const GAP_PART: Usual = usual(0.23, 0.13);
const GAP_LENGTH: Usual = usual(1.4, 0.5);

/// Moments, percentiles and histograms of the colours and stains.
pub(super) fn colour(planes: &Planes, list: &mut List) {
    let [haematoxylin, eosin, residual] = &planes.stains;
    let stains = [
        ("haematoxylin", haematoxylin),
        ("eosin", eosin),
        ("residual", residual),
        ("density", &planes.density),
    ];
    let [red, green, blue] = &planes.rgb;
    let colours = [
        ("red", red),
        ("green", green),
        ("blue", blue),
        ("saturation", &planes.saturation),
        ("value", &planes.value),
    ];
    for (name, plane) in colours.into_iter().chain(stains) {
        let of = ["mean", "sd", "skewness"].into_iter().zip(MOMENTS);
        for ((what, usual), value) in of.zip(moments(&plane.values)) {
            list.push(|| format!("{name} {what}"), value, usual);
        }
        for ((what, usual), value) in PERCENTILES.into_iter().zip(percentiles(&plane.values)) {
            list.push(|| format!("{name} {what}"), value, usual);
        }
    }
    for ((name, plane), usual) in ["hue cos", "hue sin"].iter().zip(&planes.hue).zip(HUE) {
        let [mean, sd, _] = moments(&plane.values);
        list.push(|| format!("{name} mean"), mean, usual[0]);
        list.push(|| format!("{name} sd"), sd, usual[1]);
    }
    for (name, plane) in stains {
        let counts = histogram(plane.values.iter().map(|&v| shade(v)), 16);
        list.parts(|k| format!("{name} histogram {k}"), &counts, HISTOGRAM);
    }
    let counts = histogram(planes.saturation.values.iter().copied(), 16);
    list.parts(|k| format!("saturation histogram {k}"), &counts, HISTOGRAM);

    // Both stains at once tell nuclei, cytoplasm, collagen and blood apart.
    const BINS: usize = 8;
    let mut counts = [0.0; BINS * BINS];
    for (&h, &e) in haematoxylin.values.iter().zip(&eosin.values) {
        counts[bin(shade(h), BINS) * BINS + bin(shade(e), BINS)] += 1.0;
    }
    let name = |k: usize| format!("haematoxylin {} with eosin {}", k / BINS, k % BINS);
    list.parts(name, &counts, JOINT);
}

/// What the middle of the patch, a disc of half its width, has and its surroundings have not.
pub(super) fn middle(name: &str, plane: &Plane, list: &mut List) {
    let (x0, y0) = ((plane.width as f32 - 1.0) / 2.0, (plane.height as f32 - 1.0) / 2.0);
    let radius = plane.width.min(plane.height) as f32 / 4.0;
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for y in 0..plane.height {
        for (x, &v) in plane.row(y).iter().enumerate() {
            let near = (x as f32 - x0).hypot(y as f32 - y0) <= radius;
            if near { inside.push(v) } else { outside.push(v) }
        }
    }
    let ([mean, sd, _], [mean_out, sd_out, _]) = (moments(&inside), moments(&outside));
    list.push(|| format!("{name} middle mean"), mean, MIDDLE[0]);
    list.push(|| format!("{name} middle - ring mean"), mean - mean_out, MIDDLE[1]);
    list.push(|| format!("{name} middle - ring sd"), sd - sd_out, MIDDLE[2]);
}

/// Empty glass: its part of the patch at several scales, since fat leaves wide gaps and loose
/// stroma narrow ones, and how far one goes on it along rows and columns.
pub(super) fn gaps(density: &[Plane], list: &mut List) {
    for limit in [0.04, 0.08, 0.14] {
        for (level, plane) in density.iter().enumerate() {
            let empty = plane.values.iter().filter(|v| **v < limit).count();
            let part = empty as f32 / plane.values.len().max(1) as f32;
            list.push(|| format!("gaps below {limit} level {level}"), part.sqrt(), GAP_PART);
        }
        let (plane, mut pixels, mut runs) = (&density[0], 0.0f32, 0.0f32);
        let mut along = |line: &mut dyn Iterator<Item = f32>| {
            let mut before = false;
            for v in line {
                let empty = v < limit;
                pixels += f32::from(empty);
                runs += f32::from(empty && !before);
                before = empty;
            }
        };
        for y in 0..plane.height {
            along(&mut plane.row(y).iter().copied());
        }
        for x in 0..plane.width {
            along(&mut plane.values.iter().skip(x).step_by(plane.width).copied());
        }
        let length = (1.0 + pixels / runs.max(1.0)).ln();
        list.push(|| format!("gaps below {limit} length"), length, GAP_LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_gaps_are_longer_than_narrow_ones_of_the_same_area() {
        let stripes = |wide: usize| {
            let value = |i: usize| if (i % 32 / wide).is_multiple_of(2) { 0.0 } else { 0.5 };
            let plane = Plane { width: 32, height: 32, values: (0..1024).map(value).collect() };
            let mut list = List::default();
            gaps(&[plane], &mut list);
            list.raw
        };
        let (narrow, wide) = (stripes(2), stripes(8));
        // Part of the area at the first limit, then the length.
        assert_eq!(narrow[0], 0.5f32.sqrt());
        assert_eq!(narrow[0], wide[0]);
        assert!(wide[1] > narrow[1] + 0.2, "{} {}", wide[1], narrow[1]);
    }

    #[test]
    fn the_middle_is_compared_with_what_surrounds_it() {
        let value = |i: usize| {
            let (x, y) = (i % 16, i / 16);
            if (5..11).contains(&x) && (5..11).contains(&y) { 1.0 } else { 0.0 }
        };
        let plane = Plane { width: 16, height: 16, values: (0..256).map(value).collect() };
        let mut list = List::default();
        middle("x", &plane, &mut list);
        assert!(list.raw[0] > 0.6 && list.raw[1] > 0.6, "{:?}", list.raw);
    }
}
