//! The input of UNI and the texture features against torchvision's, scikit-image's and numpy's
//! numbers.

use spatialkit::image::{Channels, Filter, Image, Transform, glcm, log_fft};
use spatialkit_tests::{Golden, abs, compare, golden, rel};

fn image(g: &Golden, name: &str) -> Image {
    let a = g.f64(name);
    let [height, width, 3] = a.shape() else { panic!("{name} is no picture") };
    let pixels = a.iter().map(|&v| v as u8).collect();
    Image::new(*width, *height, pixels).unwrap()
}

/// Every `step`-th of rows of `len` values.
fn rows<T: Copy>(values: &[T], len: usize, step: usize) -> Vec<T> {
    values.chunks_exact(len).step_by(step).flatten().copied().collect()
}

#[test]
fn the_input_of_uni_matches_d1_bit_for_bit() {
    let g = golden("images/d1_transform");
    for (name, filter) in [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)] {
        let transform = Transform::uni().filter(filter);
        // 50 × 50 enlarged; 300 × 260 made smaller to 258 × 224 and cut.
        for picture in ["A", "B"] {
            let cut = transform.crop(&image(&g, &format!("in.{picture}"))).unwrap();
            let what = format!("{name} {picture}");
            let got = rows(&cut.pixels, 3 * 224, 8).into_iter().map(f64::from);
            compare(&what, got, g.vec(&format!("out.{name}.{picture}.u8")), abs(0.0));
        }
        let input = transform.apply(&image(&g, "in.A")).unwrap();
        let got = rows(&input.iter().copied().collect::<Vec<_>>(), 224, 32);
        compare(name, got, g.vec(&format!("out.{name}.A.f32")), abs(0.0));
    }
}

/// The 50 × 50 crops that the released code makes of the picture.
fn patches(g: &Golden) -> Vec<Image> {
    let picture = image(g, "in.image_rgb");
    let centres = g.ints("in.spatial");
    let crop = |c: &[i64]| picture.crop(c[0] as usize - 25, c[1] as usize - 25, 50, 50);
    centres.chunks_exact(2).map(crop).collect()
}

#[test]
fn co_occurrence_features_match_d5() {
    let g = golden("images/d5_glcm_fft");
    let features: Vec<f64> =
        patches(&g).iter().flat_map(|p| glcm(p, Channels::Bgr).unwrap().into_iter()).collect();
    compare("GLCM", features, g.vec("out.glcm"), rel(1e-9));
    let flat = Image::new(50, 50, vec![7; 7500]).unwrap();
    let channel = glcm(&flat, Channels::Rgb).unwrap().into_iter().take(24);
    compare("constant patch", channel, g.vec("out.constant_patch_props"), abs(1e-12));
}

#[test]
fn spectra_match_d5() {
    let g = golden("images/d5_glcm_fft");
    let spectrum = log_fft(&patches(&g)[0], Channels::Bgr).unwrap();
    compare("log FFT", spectrum.iter().copied(), g.vec("out.fft_logmag"), abs(1e-8));
}
