//! The notebooks of gene maps and image features, from top to bottom in the built kernel on the built-in
//! tissue.

use spatialkit_tests::notebooks::{self, Run, kernel, workspace};

fn run(test: &str, notebook: &str, parameters: &[(&str, &str)]) -> Option<Run> {
    let kernel = kernel(test)?;
    let path = workspace().join("notebooks").join(notebook);
    let run = notebooks::run(&kernel, &path, parameters, &[]);
    assert!(run.success, "{notebook} {parameters:?}: {:?}\n{}", run.errors(), run.log);
    println!("{notebook} {parameters:?}: {}", run.result());
    Some(run)
}

fn number(run: &Run, key: &str) -> f64 {
    run.result()[key].as_f64().unwrap_or_else(|| panic!("no {key} in {}", run.result()))
}

#[test]
fn histosge_predicts_hidden_spots_and_denser_maps() {
    let name = "histosge_predicts_hidden_spots_and_denser_maps";
    let parameters = [("epochs", "10"), ("folds", "2"), ("genes", "MBP, PLP1")];
    let Some(run) = run(name, "histosge.ipynb", &parameters) else { return };
    assert!(run.of_type("image/png").len() >= 7, "{} figures", run.of_type("image/png").len());
    // Most of the 1,000 genes have no pattern, and ten epochs are few.
    let (found, idw) = (number(&run, "hidden_r"), number(&run, "inverse_distance_r"));
    assert!(found > 0.9 * idw && idw > 0.03, "{}", run.result());
    assert_eq!(number(&run, "points"), 4.0 * number(&run, "spots"));
    assert!(number(&run, "ari") > 0.3, "{}", run.result());
}

#[test]
fn spamcaf_predicts_hidden_spots_and_denser_maps() {
    let name = "spamcaf_predicts_hidden_spots_and_denser_maps";
    let parameters = [("epochs", "10"), ("folds", "2"), ("genes", "MBP"), ("factor", "4")];
    let Some(run) = run(name, "spamcaf.ipynb", &parameters) else { return };
    assert!(run.of_type("image/png").len() >= 5, "{} figures", run.of_type("image/png").len());
    // Most of the 1,000 genes have no pattern, and ten epochs are few.
    let (found, idw) = (number(&run, "hidden_r"), number(&run, "inverse_distance_r"));
    assert!(found > 0.9 * idw && idw > 0.03, "{}", run.result());
    assert_eq!(number(&run, "points"), 4.0 * number(&run, "spots"));
}

#[test]
fn image_features_tell_the_regions_of_the_built_in_tissue_apart() {
    let name = "image_features_tell_the_regions_of_the_built_in_tissue_apart";
    let Some(run) = run(name, "uni_features.ipynb", &[]) else { return };
    assert!(run.of_type("image/png").len() >= 3, "{} figures", run.of_type("image/png").len());
    assert!(number(&run, "macro_f1") > 0.6, "{}", run.result());
    assert!(number(&run, "majority_macro_f1") < 0.2, "{}", run.result());
    assert!(number(&run, "ridge_r") > 0.1, "{}", run.result());
}
