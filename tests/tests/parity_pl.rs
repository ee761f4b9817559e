//! Figures of what scanpy and squidpy themselves have computed and written, and the numbers in
//! figures beside theirs.

use serde_json::json;
use spatialkit::io;
use spatialkit::pl::{self, Figure, Plot};
use spatialkit_tests::{python, script, shared};

fn drawn<P: Plot>(name: &str, figure: Figure<P>) {
    let (png, width, height) = figure.render().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(png.len() > 1000 && width > 50 && height > 50, "{name}: {width} × {height}");
}

#[test]
fn figures_show_what_scanpy_and_squidpy_wrote() {
    let test = "parity_pl::figures_show_what_scanpy_and_squidpy_wrote";
    let Some(python) = python(test) else { return };
    let Some(slide) = shared(test, "data/dlpfc/dlpfc_151673_5000g.h5ad") else { return };
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made.h5ad");
    script(&python, "parity_pl.py", &["make".into(), slide, made.clone()]);
    let a = io::read_h5ad(&made).unwrap_or_else(|e| panic!("{e}"));

    drawn("spatial", pl::spatial(&a, ["layer_guess", "MBP"]));
    drawn("spatial_graph", pl::spatial_graph(&a, "layer_guess", "spatial_connectivities"));
    drawn("umap", pl::umap(&a, "layer_guess").legend_loc("on data").edges(&a, "connectivities"));
    drawn("pca", pl::pca(&a, "MBP").components(&a, ["1,2", "2,3"]));
    drawn("pca_variance_ratio", pl::pca_variance_ratio(&a));
    drawn("highly_variable_genes", pl::highly_variable_genes(&a).log(true));
    drawn("rank_genes_groups", pl::rank_genes_groups(&a));
    drawn("volcano", pl::volcano(&a, "WM"));
    drawn("co_occurrence", pl::co_occurrence(&a, "layer_guess"));
    drawn("nhood_enrichment", pl::nhood_enrichment(&a, "layer_guess").annotate(true));
    drawn("interaction_matrix", pl::interaction_matrix(&a, "layer_guess"));
    drawn("centrality_scores", pl::centrality_scores(&a, "layer_guess"));
    for mode in ["F", "G", "L"] {
        drawn(mode, pl::ripley(&a, "layer_guess", mode));
    }

    // Tests of every pair of layers for three genes; boxes of the highest genes.
    let layers = ["L1", "L2", "L3", "L4", "L5", "L6", "WM"];
    let pairs: Vec<(&str, &str)> =
        (0..7).flat_map(|i| (i + 1..7).map(move |j| (layers[i], layers[j]))).collect();
    let mut tests = Vec::new();
    for correction in ["bh", "bonferroni"] {
        let keys = ["MBP", "SNAP25", "total_counts"];
        let figure = pl::violin(&a, keys, "layer_guess").compare(pairs.clone());
        for c in figure.correction(correction).pvalues().unwrap() {
            tests.push(json!({"key": c.key, "first": c.first, "second": c.second, "p": c.p,
                "adjusted": c.adjusted, "correction": correction}));
        }
    }
    let boxes = pl::highest_expr_genes(&a, 20).layer(&a, "counts").boxes().unwrap();
    let numbers = dir.path().join("numbers.json");
    let all = json!({"tests": tests, "boxes": boxes});
    std::fs::write(&numbers, serde_json::to_vec(&all).unwrap()).unwrap();
    let said = script(&python, "parity_pl.py", &["compare".into(), made, numbers]);
    println!("{said}");
}
