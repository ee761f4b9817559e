//! The notebooks of SpatialFormer, from top to bottom in the built kernel on the built-in tissue.

use spatialkit_tests::notebooks::succeeds;
use spatialkit_tests::thorough;

#[test]
fn a_training_is_shown_and_judged_beside_a_control() {
    let name = "a_training_is_shown_and_judged_beside_a_control";
    let parameters = [("batches", "20"), ("dim", "32"), ("max_len", "32")];
    let Some(run) = succeeds(name, "spatialformer_train.ipynb", &parameters) else { return };
    for loss in ["hidden", "together"] {
        let (first, last) =
            (run.number(&format!("{loss}_first")), run.number(&format!("{loss}_last")));
        assert!(last < first, "{loss}: {first} → {last}");
    }
    // Some batches teach nothing of neighbours yet.
    for auroc in ["auroc", "control_auroc"] {
        assert!((0.0..=1.0).contains(&run.number(auroc)), "{}", run.result());
    }
    assert!(run.of_type("image/png").len() >= 2);
}

/// The notebook as it stands: minutes on two cores, twice.
#[test]
fn a_training_of_minutes_tells_neighbours_from_others() {
    let name = "a_training_of_minutes_tells_neighbours_from_others";
    if !thorough(name, "the notebook's own 800 batches, and as many of its control") {
        return;
    }
    let Some(run) = succeeds(name, "spatialformer_train.ipynb", &[]) else { return };
    println!("{}", run.result());
    assert!(run.number("auroc") >= 0.75, "{}", run.result());
    assert!((run.number("control_auroc") - 0.5).abs() < 0.06, "{}", run.result());
    assert!(run.number("seconds") < 600.0, "{}", run.result());
    for loss in ["hidden", "together", "pairs"] {
        let (first, last) =
            (run.number(&format!("{loss}_first")), run.number(&format!("{loss}_last")));
        assert!(last < first, "{loss}: {first} → {last}");
    }
}

#[test]
fn embeddings_tell_the_layers_of_the_built_in_tissue_apart() {
    let name = "embeddings_tell_the_layers_of_the_built_in_tissue_apart";
    let parameters = [("batches", "10")];
    let Some(run) = succeeds(name, "spatialformer_embed.ipynb", &parameters) else { return };
    for f1 in ["macro_f1", "tuned_macro_f1"] {
        assert!(run.number(f1) > run.number("majority_macro_f1"), "{}", run.result());
    }
    for score in ["avg_bio", "avg_batch"] {
        assert!((0.0..=1.0).contains(&run.number(score)), "{}", run.result());
    }
}

#[test]
fn pairs_and_the_genes_behind_them() {
    let parameters = [("batches", "5"), ("n_pairs", "60")];
    let name = "pairs_and_the_genes_behind_them";
    let Some(run) = succeeds(name, "spatialformer_pairs.ipynb", &parameters) else { return };
    assert!((0.0..=1.0).contains(&run.number("auroc")), "{}", run.result());
    assert_eq!(run.number("gene_pairs"), 225.0);
}

#[test]
fn genes_that_lie_together_are_found_in_unseen_cells() {
    let name = "genes_that_lie_together_are_found_in_unseen_cells";
    let Some(run) = succeeds(name, "spatialformer_genes.ipynb", &[("batches", "50")]) else {
        return;
    };
    assert!(run.number("auroc") > 0.55, "{}", run.result());
}
