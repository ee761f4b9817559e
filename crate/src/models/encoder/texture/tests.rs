//! What the encoder promises, on patches drawn here.

use super::*;
use crate::parallel::same_with_any_threads;
use crate::rng::{at, unit};

/// `n` nuclei, drawn at random places in pale eosin, with some noise.
fn tissue(width: usize, height: usize, n: usize, seed: u64) -> Image {
    let mut rng = Rng::new(seed);
    let nuclei: Vec<[f64; 2]> =
        (0..n).map(|_| [rng.uniform() * width as f64, rng.uniform() * height as f64]).collect();
    let pixel = |i: usize| {
        let (x, y) = ((i % width) as f64, (i / width) as f64);
        let inside = nuclei.iter().any(|c| (c[0] - x).hypot(c[1] - y) < 4.0);
        let noise = (20.0 * unit(at(seed, i as u64))) as u8;
        let colour = if inside { [90, 60, 140] } else { [225, 170, 205] };
        colour.map(|v: u8| v + noise)
    };
    let pixels = (0..width * height).flat_map(pixel).collect();
    Image::new(width, height, pixels).unwrap()
}

fn distance(a: &Array2<f32>, i: usize, j: usize) -> f64 {
    let squares = a.row(i).into_iter().zip(a.row(j)).map(|(x, y)| f64::from(x - y).powi(2));
    squares.sum::<f64>().sqrt()
}

#[test]
fn distances_of_embeddings_are_those_of_features() {
    let patches: Vec<Image> = (0..6).map(|k| tissue(48, 48, 8 * k, k as u64)).collect();
    let n = TextureEncoder::feature_names().len();
    assert!(n <= 1024, "{n} features do not fit");
    let scaled = rows(&patches, n, |list, mut row| {
        row.iter_mut().zip(&list.scaled).for_each(|(o, &v)| *o = v);
    })
    .unwrap();
    let encoder = TextureEncoder::new();
    let (whole, part) =
        (encoder.encode(&patches).unwrap(), encoder.with_width(256).encode(&patches).unwrap());
    assert_eq!((whole.ncols(), part.ncols()), (1024, 256));
    for (i, j) in [(0, 1), (1, 4), (2, 5), (0, 5)] {
        let d = distance(&scaled, i, j);
        assert!((distance(&whole, i, j) / d - 1.0).abs() < 1e-4);
        assert!((distance(&part, i, j) / d - 1.0).abs() < 0.25);
    }
}

#[test]
fn more_nuclei_mean_more_haematoxylin_and_more_peaks() {
    let patches = [5, 15, 40].map(|n| tissue(96, 96, n, 3));
    let features = TextureEncoder::new().raw_features(&patches).unwrap();
    let names = TextureEncoder::feature_names();
    for name in ["haematoxylin mean", "haematoxylin level 3 peaks above 0.05", "density p75"] {
        let k = names.iter().position(|n| n == name).unwrap();
        let of = |i: usize| features[[i, k]];
        assert!(of(0) < of(1) && of(1) < of(2), "{name}: {:?}", features.column(k));
    }
}

#[test]
fn tissues_of_one_kind_lie_nearer_to_each_other_than_to_another() {
    let patches: Vec<Image> =
        (0..6).map(|k| tissue(64, 64, if k < 3 { 6 } else { 30 }, k as u64)).collect();
    let x = TextureEncoder::new().encode(&patches).unwrap();
    let within = distance(&x, 0, 1).max(distance(&x, 3, 4)).max(distance(&x, 1, 2));
    let between = distance(&x, 0, 3).min(distance(&x, 1, 4)).min(distance(&x, 2, 5));
    assert!(between > 1.2 * within, "{between} {within}");
}

#[test]
fn patches_of_any_size_and_colour_have_finite_features() {
    let flat = |w: usize, h: usize, v: u8| Image::new(w, h, vec![v; w * h * 3]).unwrap();
    let mut patches = Vec::new();
    for (w, h) in [(1, 1), (2, 3), (8, 8), (50, 3), (3, 50), (17, 112), (101, 97)] {
        patches.extend([flat(w, h, 0), flat(w, h, 7), flat(w, h, 255), tissue(w, h, 9, 1)]);
    }
    let encoder = TextureEncoder::new();
    let raw = encoder.raw_features(&patches).unwrap();
    assert_eq!(raw.ncols(), TextureEncoder::feature_names().len());
    assert!(raw.iter().all(|v| v.is_finite()));
    let x = encoder.encode(&patches).unwrap();
    assert!(x.iter().all(|v| v.is_finite()));
    // Black is what masks leave, and counts as white.
    assert_eq!(x.row(8), x.row(10));
    assert_ne!(x.row(8), x.row(9));
}

#[test]
fn names_are_distinct() {
    let mut names = TextureEncoder::feature_names().to_vec();
    let n = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n);
}

#[test]
fn a_patch_has_the_same_bits_in_any_batch_and_on_any_threads() {
    let patches: Vec<Image> = (0..9).map(|k| tissue(40 + k, 40, 10, k as u64)).collect();
    let encoder = TextureEncoder::new();
    let all = same_with_any_threads(|| encoder.encode(&patches).unwrap());
    let one = TextureEncoder::new().encode(&patches[4..5]).unwrap();
    assert_eq!(all.row(4), one.row(0));
}

#[test]
fn the_fingerprint_tells_encoders_apart() {
    let a = TextureEncoder::new();
    assert_eq!(a.fingerprint(), TextureEncoder::default().fingerprint());
    assert_ne!(a.fingerprint(), a.clone().seed(1).fingerprint());
    assert_ne!(a.fingerprint(), a.clone().with_width(512).fingerprint());
    let patch = [tissue(30, 30, 5, 1)];
    assert_ne!(a.encode(&patch).unwrap(), a.clone().seed(1).encode(&patch).unwrap());
}

#[test]
fn an_empty_patch_and_a_width_of_0_are_refused() {
    let patches = [tissue(20, 20, 3, 1), Image::new(0, 20, vec![]).unwrap()];
    let encoder = TextureEncoder::new();
    let e = encoder.encode(&patches).unwrap_err().to_string();
    assert!(e.contains("patch 1") && e.contains("0 × 20 pixels"), "{e}");
    assert!(encoder.raw_features(&patches).is_err());
    let e = encoder.clone().with_width(0).encode(&patches[..1]).unwrap_err().to_string();
    assert!(e.contains("width = 0"), "{e}");
    assert_eq!(encoder.encode(&[]).unwrap().dim(), (0, 1024));
}
