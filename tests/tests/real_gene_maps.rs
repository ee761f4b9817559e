//! Gene maps of real breast cancer sections from their H&E images, half of the spots hidden, beside what
//! measured spots tell without an image.

use spatialkit::image::Image;
use spatialkit::models::gene_maps::GeneMapFit;
use spatialkit::ndarray::Array2;
use spatialkit::prelude::*;
use spatialkit_tests::{shared, thorough};
use std::ops::RangeInclusive;

/// A HER2ST section with its image, and pixels of the image per pixel of the coordinates.
fn section(test: &str, name: &str) -> Option<(AnnData, Histology)> {
    let root = shared(test, "data/her2st")?;
    let (image, scale) = match name {
        "A1" => ("A1_HE_image_dark.png", 2000.0 / 6954.0),
        _ => ("C2_5714_HE_BT_C2.jpg", 1.0),
    };
    let slide = io::Her2st::open(&root).unwrap().section(name).unwrap();
    let image = SlideImage::open(root.join("images").join(image)).unwrap();
    Some((slide, Histology::new(image, TextureEncoder::default()).scale(scale).without_cache()))
}

/// The mean colour of a patch.
struct MeanColour;

impl Encoder for MeanColour {
    fn name(&self) -> &str {
        "mean colour"
    }

    fn width(&self) -> usize {
        3
    }

    fn fingerprint(&self) -> String {
        "mean colour".into()
    }

    fn encode(&self, patches: &[Image]) -> Result<Array2<f32>> {
        let mean = |patch: usize, channel: usize| {
            let values = patches[patch].pixels.iter().skip(channel).step_by(3);
            values.map(|&v| f32::from(v)).sum::<f32>() / (patches[patch].pixels.len() / 3) as f32
        };
        Ok(Array2::from_shape_fn((patches.len(), 3), |(p, c)| mean(p, c)))
    }
}

/// As STimage-1K4M judges encoders: a linear probe of a pathologist's regions, five seeds.
#[test]
fn texture_tells_the_regions_of_a1_better_than_its_colour() {
    let test = "texture_tells_the_regions_of_a1_better_than_its_colour";
    let Some((mut slide, texture)) = section(test, "A1") else { return };
    let image = shared(test, "data/her2st/images/A1_HE_image_dark.png").unwrap();
    let colour =
        Histology::new(SlideImage::open(image).unwrap(), MeanColour).scale(2000.0 / 6954.0);
    let colour = colour.without_cache();
    let mut macro_f1 = |histology: &Histology, patch: usize| {
        let spots = slide.spatial().unwrap();
        let features = histology.features(spots.view(), patch, Channels::Rgb).unwrap();
        slide.obsm.insert("X_image".into(), features.into());
        let probe = LinearProbe::default().use_rep("X_image");
        let probe = tl::linear_probe(&slide, "label", probe).unwrap();
        println!("A1, {}, {patch} px\n{probe}", histology.encoder().name());
        (probe.macro_f1().mean, probe.majority_macro_f1().mean)
    };
    for patch in [224, 336] {
        let ((texture, majority), (colour, _)) =
            (macro_f1(&texture, patch), macro_f1(&colour, patch));
        assert!(texture > colour && texture > 2.0 * majority, "{texture} {colour} {majority}");
    }
}

/// Correlation over the hidden spots, the mean of the 200 genes that vary most: of the fitted map, and of
/// inverse distances.
fn hidden_correlations(fit: GeneMapFit) -> (f64, f64) {
    let map = fit.into_predicted();
    let measured = map.layers["measured"].to_array_f64();
    let variance = |g: usize| measured.column(g).var(0.0);
    let mut genes: Vec<usize> = (0..map.n_vars()).collect();
    genes.sort_by(|&a, &b| variance(b).total_cmp(&variance(a)));
    let mut map = map.take_vars(&genes[..200]);
    let hidden = map.obs.mask_by("training", |trained| trained == 0.0).unwrap();
    let idw = Interpolate::inverse_distance().layer("measured");
    tl::interpolate_genes(&mut map, &hidden, idw).unwrap();
    let options = ScoreGeneMap::default().layer("measured");
    let scores = tl::compare_gene_maps(&map, ["X", "idw"], &hidden, options).unwrap();
    println!("{scores}");
    (scores.methods[0].hidden.mean_pearson(), scores.methods[1].hidden.mean_pearson())
}

/// The methods as published fall behind inverse distances here: they see no neighbour, and 90 to 170 spots
/// are learnt by heart within some epochs. Stopped by unseen spots and together with interpolation they are
/// ahead.
fn both_methods_beat_inverse_distances(test: &str, name: &str, seeds: RangeInclusive<u64>) {
    let Some((slide, histology)) = section(test, name) else { return };
    let (epochs, rate, folds) = (100, 1e-4, 5);
    for seed in seeds {
        let histosge = HisToSge::recovery().patch(224).epochs(epochs).learning_rate(rate);
        let histosge = histosge.seed(seed).folds(folds).with_interpolation(true);
        let spamcaf = SpaMcaf::recovery().epochs(epochs).learning_rate(rate);
        let spamcaf = spamcaf.seed(seed).folds(folds).with_interpolation(true);
        for (method, fit) in [
            ("HisToSGE", histosge.fit(&slide, &histology).unwrap()),
            ("SpaMCAF", spamcaf.fit(&slide, &histology).unwrap()),
        ] {
            println!("{name} {fit}");
            let (found, idw) = hidden_correlations(fit);
            println!("{name} {method}, seed {seed}: {found:.4}, inverse distances {idw:.4}");
            assert!(found >= idw, "{method} on {name}, seed {seed}: {found} is below {idw}");
        }
    }
}

#[test]
fn both_methods_beat_inverse_distances_on_c2() {
    let test = "both_methods_beat_inverse_distances_on_c2";
    let seeds = if thorough(test, "seeds 2 and 3") { 1..=3 } else { 1..=1 };
    both_methods_beat_inverse_distances(test, "C2", seeds);
}

#[test]
fn both_methods_beat_inverse_distances_on_a1() {
    let test = "both_methods_beat_inverse_distances_on_a1";
    if thorough(test, "section A1") {
        both_methods_beat_inverse_distances(test, "A1", 1..=3);
    }
}
