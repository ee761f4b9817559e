//! The notebooks of STAMGC, from top to bottom in the built kernel: on the built-in tissue, and on real slides
//! where there are some.

use spatialkit_tests::notebooks::{self, Run, kernel, workspace};
use spatialkit_tests::{shared, thorough};
use std::path::Path;

fn run(kernel: &Path, notebook: &str, parameters: &[(&str, &str)]) -> Run {
    let run =
        notebooks::run(kernel, &workspace().join("notebooks").join(notebook), parameters, &[]);
    assert!(run.success, "{notebook} {parameters:?}: {:?}\n{}", run.errors(), run.log);
    println!("{notebook} {parameters:?}: {}", run.result());
    run
}

fn number(run: &Run, key: &str) -> f64 {
    run.result()[key].as_f64().unwrap_or_else(|| panic!("no {key} in {}", run.result()))
}

/// A notebook on the built-in tissue, with its defaults: enough figures, and domains that are the layers.
fn on_the_built_in_tissue(kernel: &Path, notebook: &str, figures: usize, ari: f64) -> Run {
    let run = run(kernel, notebook, &[]);
    let found = run.of_type("image/png").len();
    assert!(found >= figures, "{notebook}: {found} figures");
    assert!(number(&run, "ari") >= ari, "{notebook}: {}", run.result());
    run
}

#[test]
fn the_tumour_notebook_finds_layers_markers_and_sets() {
    let Some(kernel) = kernel("the_tumour_notebook_finds_layers_markers_and_sets") else { return };
    let run = on_the_built_in_tissue(&kernel, "stamgc_breast_cancer.ipynb", 8, 0.6);
    // A gene that the tissue was made with, not one of those named GENE0001 and on.
    let best = run.result()["best_marker"].as_str().unwrap_or_default().to_string();
    assert!(!best.is_empty() && !best.starts_with("GENE"), "{best}");
    assert!(number(&run, "raised") > 5.0 && number(&run, "best_term_p") < 1e-3, "{}", run.result());
}

#[test]
fn notebooks_of_several_slices_find_the_layers_in_all() {
    let Some(kernel) = kernel("notebooks_of_several_slices_find_the_layers_in_all") else { return };
    for (notebook, ari) in [
        ("stamgc_dlpfc_slices.ipynb", 0.5),
        ("stamgc_brain_halves.ipynb", 0.6),
        ("stamgc_axolotl_stages.ipynb", 0.2),
    ] {
        let run = on_the_built_in_tissue(&kernel, notebook, 3, ari);
        assert_eq!(number(&run, "slices"), 2.0);
    }
}

#[test]
fn notebooks_of_beads_and_bins_find_the_layers() {
    let Some(kernel) = kernel("notebooks_of_beads_and_bins_find_the_layers") else { return };
    for (notebook, ari) in
        [("stamgc_neocortex_beads.ipynb", 0.5), ("stamgc_olfactory_bulb.ipynb", 0.3)]
    {
        let run = on_the_built_in_tissue(&kernel, notebook, 5, ari);
        assert!(number(&run, "ari_refined") >= number(&run, "ari") - 0.1, "{}", run.result());
    }
}

#[test]
fn two_sections_of_a_real_cortex_are_trained_together() {
    let name = "two_sections_of_a_real_cortex_are_trained_together";
    let Some(kernel) = kernel(name) else { return };
    if !thorough(name, "200 epochs on two sections") {
        return;
    }
    let section = |number| shared(name, &format!("data/dlpfc/dlpfc_{number}_5000g.h5ad"));
    let (Some(a), Some(b)) = (section(151673), section(151675)) else { return };
    let data = format!("{},{}", a.display(), b.display());
    let parameters = [("data", data.as_str()), ("label", "layer_guess")];
    let run = run(&kernel, "stamgc_dlpfc_slices.ipynb", &parameters);
    assert!(number(&run, "ari") > 0.3, "{}", run.result());
}
