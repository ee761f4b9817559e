//! Gene maps of real breast cancer sections from their H&E images, half of the spots hidden, beside what
//! measured spots tell without an image.

use spatialkit::models::gene_maps::GeneMapFit;
use spatialkit::prelude::*;
use spatialkit_tests::{shared, thorough};

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
fn both_methods_beat_inverse_distances(test: &str, name: &str) {
    let Some((slide, histology)) = section(test, name) else { return };
    let (epochs, rate, folds) = (100, 1e-4, 5);
    let histosge = HisToSge::recovery().patch(224).epochs(epochs).learning_rate(rate).seed(1);
    let histosge = histosge.folds(folds).with_interpolation(true).fit(&slide, &histology).unwrap();
    let spamcaf = SpaMcaf::recovery().epochs(epochs).learning_rate(rate).seed(1);
    let spamcaf = spamcaf.folds(folds).with_interpolation(true).fit(&slide, &histology).unwrap();
    for (method, fit) in [("HisToSGE", histosge), ("SpaMCAF", spamcaf)] {
        println!("{name} {fit}");
        let (found, idw) = hidden_correlations(fit);
        println!("{name} {method}: {found:.4}, inverse distances {idw:.4}");
        assert!(found >= idw, "{method} on {name}: {found} is below {idw}");
    }
}

#[test]
fn both_methods_beat_inverse_distances_on_c2() {
    both_methods_beat_inverse_distances("both_methods_beat_inverse_distances_on_c2", "C2");
}

#[test]
fn both_methods_beat_inverse_distances_on_a1() {
    let test = "both_methods_beat_inverse_distances_on_a1";
    if thorough(test, "section A1") {
        both_methods_beat_inverse_distances(test, "A1");
    }
}
