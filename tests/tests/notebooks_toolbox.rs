//! The notebooks of the toolbox, from top to bottom in the built kernel: on the built-in tissue and on
//! real slides, with known regions and without.

use spatialkit_tests::notebooks::{self, Run, kernel, workspace};
use spatialkit_tests::shared;
use std::path::Path;

fn run(kernel: &Path, notebook: &str, parameters: &[(&str, &str)]) -> Run {
    let run =
        notebooks::run(kernel, &workspace().join("notebooks").join(notebook), parameters, &[]);
    assert!(run.success, "{notebook} {parameters:?}: {:?}\n{}", run.errors(), run.log);
    println!("{notebook} {parameters:?}: {}", run.result());
    run
}

/// Slides to run on: parameters, and the regions' name where they are known.
fn slides(test: &str) -> Vec<[(&'static str, String); 2]> {
    let slide = |path: &str, label: &str| {
        let path = shared(test, path)?.to_str().expect("a path in UTF-8").to_string();
        Some([("data", path), ("label", label.to_string())])
    };
    let all = [
        slide("data/dlpfc/dlpfc_151673_5000g.h5ad", "layer_guess"),
        slide("data/visium_mouse_placenta", ""),
    ];
    all.into_iter().flatten().collect()
}

fn texts<'a>(parameters: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    parameters.iter().map(|(k, v)| (*k, v.as_str())).collect()
}

#[test]
fn first_steps_find_the_layers_of_the_built_in_tissue_and_their_markers() {
    let name = "first_steps_find_the_layers_of_the_built_in_tissue_and_their_markers";
    let Some(kernel) = kernel(name) else { return };
    let run = run(&kernel, "first_steps.ipynb", &[]);
    assert!(run.of_type("image/png").len() >= 12, "{} figures", run.of_type("image/png").len());
    assert!(run.number("ari") > 0.2, "{}", run.result());
    assert!((4.0..=20.0).contains(&run.number("n_clusters")), "{}", run.result());
    // The genes that the tissue was made with, not the ones named GENE0001 and on.
    let best = run.result()["best_marker"].as_str().unwrap_or_default().to_string();
    assert!(!best.is_empty() && !best.starts_with("GENE"), "{best}");
}

#[test]
fn first_steps_run_on_real_slides() {
    let name = "first_steps_run_on_real_slides";
    let Some(kernel) = kernel(name) else { return };
    for parameters in slides(name) {
        let run = run(&kernel, "first_steps.ipynb", &texts(&parameters));
        assert!(run.number("n_clusters") >= 4.0, "{}", run.result());
        assert!(run.number("modularity") > 0.3, "{}", run.result());
        if !parameters[1].1.is_empty() {
            assert!(run.number("ari") > 0.15, "{}", run.result());
        }
    }
}

#[test]
fn spatial_statistics_find_the_patterns_of_the_built_in_tissue() {
    let name = "spatial_statistics_find_the_patterns_of_the_built_in_tissue";
    let Some(kernel) = kernel(name) else { return };
    let run = run(&kernel, "spatial_statistics.ipynb", &[("n_perms", "100")]);
    assert!(run.of_type("image/png").len() >= 10, "{} figures", run.of_type("image/png").len());
    assert!(run.number("top_moran_i") > 0.5, "{}", run.result());
    let (found, genes) = (run.number("genes_with_pattern"), run.number("genes"));
    // Layers differ in many genes; most of the others have no pattern.
    assert!(found > 30.0 && found < genes, "{}", run.result());
}

#[test]
fn spatial_statistics_run_on_real_slides() {
    let name = "spatial_statistics_run_on_real_slides";
    let Some(kernel) = kernel(name) else { return };
    for parameters in slides(name) {
        let mut parameters = texts(&parameters);
        parameters.push(("n_perms", "100"));
        let run = run(&kernel, "spatial_statistics.ipynb", &parameters);
        assert!(run.number("top_moran_i") > 0.5, "{}", run.result());
    }
}
