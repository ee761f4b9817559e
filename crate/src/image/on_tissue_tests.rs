//! Spots on a drawn slide, with the right scale and with wrong ones.

use super::*;
use ndarray::{Array2, array};

/// 400 × 300 pixels of glass with tissue from (200, 100) to (340, 250).
fn slide() -> Image {
    let pixel = |i: usize| {
        let (x, y) = (i % 400, i / 400);
        let stained = (200..340).contains(&x) && (100..250).contains(&y);
        if stained { [160, 90, 170] } else { [236, 232, 238] }
    };
    Image::new(400, 300, (0..120_000).flat_map(pixel).collect()).unwrap()
}

/// Spots 10 pixels apart all over that tissue, in coordinates of which `scale` pixels are one of the
/// slide.
fn spots(scale: f64) -> Array2<f64> {
    let at = |i: usize, c: usize| if c == 0 { 205 + 10 * (i % 14) } else { 105 + 10 * (i / 14) };
    Array2::from_shape_fn((14 * 15, 2), |(i, c)| at(i, c) as f64 / scale)
}

#[test]
fn spots_in_the_tissue_are_good() {
    let found = spots_on_tissue(&slide(), spots(1.0).view(), 4.0).unwrap();
    assert_eq!((found.fraction_inside, found.fraction_on_tissue), (1.0, 1.0));
    assert_eq!((found.worst, found.verdict), (None, Verdict::Good));
    assert_eq!(found.to_string(), "100 % of 210 spots on tissue, 100 % in the image");
}

#[test]
fn the_spot_farthest_off_is_the_worst() {
    let positions = array![[210.0, 110.0], [100.0, 100.0], [450.0, 110.0], [-90.0, 500.0]];
    let found = spots_on_tissue(&slide(), positions.view(), 4.0).unwrap();
    assert_eq!((found.fraction_inside, found.fraction_on_tissue), (0.5, 0.25));
    assert_eq!(found.inside, [true, true, false, false]);
    assert_eq!((found.worst, found.verdict), (Some(3), Verdict::Wrong));
    assert!(found.on_tissue(0) && !found.on_tissue(1) && !found.on_tissue(9));
    // At the edge half of a spot is tissue; one smaller than a pixel is or is not.
    let edge = array![[200.0, 170.0], [270.0, 170.0]];
    let found = spots_on_tissue(&slide(), edge.view(), 10.0).unwrap();
    assert!((found.coverage[0] - 0.5).abs() < 0.15, "{:?}", found.coverage);
    assert_eq!(spots_on_tissue(&slide(), edge.view(), 0.1).unwrap().coverage[1], 1.0);
}

#[test]
fn the_right_scale_passes_and_no_other_is_said_to_be_better() {
    for scale in [0.05, 0.3, 1.0] {
        let others = [("hires", 3.3 * scale), ("lowres", scale)];
        let check =
            check_scale(&slide(), spots(scale).view(), 8.0 / scale, scale, &others).unwrap();
        assert_eq!(check.better, None, "{check}");
        assert_eq!(check.require().unwrap().verdict, Verdict::Good);
    }
}

#[test]
fn a_scale_taken_from_another_image_is_found_and_named() {
    // The image is `lowres`, the scale that of `hires`, and the other way round.
    let others = [("hires", 0.15), ("lowres", 0.045)];
    for (right, name, wrong) in [(0.045, "`lowres`", 0.15), (0.15, "`hires`", 0.045)] {
        let spots = spots(right);
        let check = check_scale(&slide(), spots.view(), 8.0 / right, wrong, &others).unwrap();
        let better = check.better.clone().unwrap();
        assert_eq!((better.name.as_str(), better.scale, better.swapped), (name, right, false));
        let e = check.require().unwrap_err().to_string();
        assert!(e.contains(name) && e.contains("100 % would be"), "{e}");
    }
    // No scale at all: full-resolution coordinates on a small image.
    let check = check_scale(&slide(), spots(1.0).view(), 8.0, 0.2, &[]).unwrap();
    assert_eq!(check.better.unwrap().name, "the full resolution");
}

#[test]
fn a_scale_that_is_nobody_s_and_exchanged_axes_are_found() {
    let spots = spots(0.25);
    let check = check_scale(&slide(), spots.view(), 32.0, 0.4, &[]).unwrap();
    let better = check.better.unwrap();
    assert!(!better.swapped && (better.scale / 0.25 - 1.0).abs() < 0.1, "{better:?}");
    let mut exchanged = spots.clone();
    exchanged.invert_axis(ndarray::Axis(1));
    let check = check_scale(&slide(), exchanged.view(), 32.0, 0.25, &[]).unwrap();
    let better = check.better.clone().unwrap();
    assert!(better.swapped, "{better:?}");
    assert!(check.to_string().contains("x and y exchanged"), "{check}");
}

#[test]
fn positions_of_nothing_are_wrong_without_a_better_scale() {
    let blank = Image::new(50, 50, vec![240; 7500]).unwrap();
    let check = check_scale(&blank, spots(1.0).view(), 8.0, 1.0, &[("lowres", 0.1)]).unwrap();
    assert_eq!((check.on_tissue.verdict, &check.better), (Verdict::Wrong, &None));
    let e = check.require().unwrap_err().to_string();
    assert!(e.contains("no other scale"), "{e}");
}

#[test]
fn what_is_no_position_scale_or_radius_is_named() {
    let (image, good) = (slide(), spots(1.0));
    let of =
        |p: &Array2<f64>, r: f64| spots_on_tissue(&image, p.view(), r).unwrap_err().to_string();
    let mut bad = good.clone();
    bad[[7, 1]] = f64::NAN;
    assert!(of(&bad, 4.0).contains("row 7"));
    assert!(of(&Array2::zeros((0, 2)), 4.0).contains("no spots"));
    assert!(of(&Array2::zeros((3, 1)), 4.0).contains("2 (x and y)"));
    assert!(of(&good, 0.0).contains("radius = 0"));
    for scale in [0.0, f64::NAN, -1.0] {
        let e = check_scale(&image, good.view(), 8.0, scale, &[]).unwrap_err().to_string();
        assert!(e.contains("scale = "), "{e}");
    }
    let none = Image::new(0, 0, vec![]).unwrap();
    assert!(spots_on_tissue(&none, good.view(), 4.0).is_err());
}
