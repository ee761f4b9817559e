//! The notebooks of STAMGC, from top to bottom in the built kernel: on the built-in tissue, and on real slides
//! where there are some.

use spatialkit_tests::notebooks::{Run, succeeds};
use spatialkit_tests::{shared, thorough};

/// A notebook on the built-in tissue, with its defaults: enough figures, and domains that are the layers.
fn on_the_built_in_tissue(name: &str, notebook: &str, figures: usize, ari: f64) -> Option<Run> {
    let run = succeeds(name, notebook, &[])?;
    let found = run.of_type("image/png").len();
    assert!(found >= figures, "{notebook}: {found} figures");
    assert!(run.number("ari") >= ari, "{notebook}: {}", run.result());
    Some(run)
}

#[test]
fn the_tumour_notebook_finds_layers_markers_and_sets() {
    let name = "the_tumour_notebook_finds_layers_markers_and_sets";
    let run = on_the_built_in_tissue(name, "stamgc_breast_cancer.ipynb", 8, 0.6);
    let Some(run) = run else { return };
    // A gene that the tissue was made with, not one of those named GENE0001 and on.
    let best = run.result()["best_marker"].as_str().unwrap_or_default().to_string();
    assert!(!best.is_empty() && !best.starts_with("GENE"), "{best}");
    assert!(run.number("raised") > 5.0 && run.number("best_term_p") < 1e-3, "{}", run.result());
}

#[test]
fn notebooks_of_several_slices_find_the_layers_in_all() {
    let name = "notebooks_of_several_slices_find_the_layers_in_all";
    for (notebook, ari) in [
        ("stamgc_dlpfc_slices.ipynb", 0.5),
        ("stamgc_brain_halves.ipynb", 0.6),
        ("stamgc_axolotl_stages.ipynb", 0.2),
    ] {
        let Some(run) = on_the_built_in_tissue(name, notebook, 3, ari) else { return };
        assert_eq!(run.number("slices"), 2.0);
    }
}

#[test]
fn notebooks_of_beads_and_bins_find_the_layers() {
    let name = "notebooks_of_beads_and_bins_find_the_layers";
    for (notebook, ari) in
        [("stamgc_neocortex_beads.ipynb", 0.5), ("stamgc_olfactory_bulb.ipynb", 0.3)]
    {
        let Some(run) = on_the_built_in_tissue(name, notebook, 5, ari) else { return };
        assert!(run.number("ari_refined") >= run.number("ari") - 0.1, "{}", run.result());
    }
}

#[test]
fn two_sections_of_a_real_cortex_are_trained_together() {
    let name = "two_sections_of_a_real_cortex_are_trained_together";
    if !thorough(name, "200 epochs on two sections") {
        return;
    }
    let section = |number| shared(name, &format!("data/dlpfc/dlpfc_{number}_5000g.h5ad"));
    let (Some(a), Some(b)) = (section(151673), section(151675)) else { return };
    let data = format!("{},{}", a.display(), b.display());
    let parameters = [("data", data.as_str()), ("label", "layer_guess")];
    let Some(run) = succeeds(name, "stamgc_dlpfc_slices.ipynb", &parameters) else { return };
    assert!(run.number("ari") > 0.3, "{}", run.result());
}
