//! The notebooks of gene maps and image features, from top to bottom in the built kernel on the built-in
//! tissue.

use spatialkit_tests::notebooks::succeeds;

#[test]
fn histosge_predicts_hidden_spots_and_denser_maps() {
    let name = "histosge_predicts_hidden_spots_and_denser_maps";
    let parameters = [("epochs", "10"), ("folds", "2"), ("genes", "MBP, PLP1")];
    let Some(run) = succeeds(name, "histosge.ipynb", &parameters) else { return };
    assert!(run.of_type("image/png").len() >= 7, "{} figures", run.of_type("image/png").len());
    // Most of the 1,000 genes have no pattern, and ten epochs are few.
    let (found, idw) = (run.number("hidden_r"), run.number("inverse_distance_r"));
    assert!(found > 0.9 * idw && idw > 0.03, "{}", run.result());
    assert_eq!(run.number("points"), 4.0 * run.number("spots"));
    assert!(run.number("ari") > 0.3, "{}", run.result());
}

#[test]
fn spamcaf_predicts_hidden_spots_and_denser_maps() {
    let name = "spamcaf_predicts_hidden_spots_and_denser_maps";
    let parameters = [("epochs", "10"), ("folds", "2"), ("genes", "MBP"), ("factor", "4")];
    let Some(run) = succeeds(name, "spamcaf.ipynb", &parameters) else { return };
    assert!(run.of_type("image/png").len() >= 5, "{} figures", run.of_type("image/png").len());
    // Most of the 1,000 genes have no pattern, and ten epochs are few.
    let (found, idw) = (run.number("hidden_r"), run.number("inverse_distance_r"));
    assert!(found > 0.9 * idw && idw > 0.03, "{}", run.result());
    assert_eq!(run.number("points"), 4.0 * run.number("spots"));
}

#[test]
fn image_features_tell_the_regions_of_the_built_in_tissue_apart() {
    let name = "image_features_tell_the_regions_of_the_built_in_tissue_apart";
    let Some(run) = succeeds(name, "uni_features.ipynb", &[]) else { return };
    assert!(run.of_type("image/png").len() >= 3, "{} figures", run.of_type("image/png").len());
    assert!(run.number("macro_f1") > 0.6, "{}", run.result());
    assert!(run.number("majority_macro_f1") < 0.2, "{}", run.result());
    assert!(run.number("ridge_r") > 0.1, "{}", run.result());
}
