//! Scores of gene maps, their baselines, and probes of embeddings on a real slide, compared with what
//! scikit-learn, scikit-image and scipy make of the same numbers.

use serde_json::{Value as Json, json};
use spatialkit::ndarray::{Array1, Array2};
use spatialkit::prelude::*;
use spatialkit::tl::{
    GeneMapScores, Interpolate, LinearProbe, LogisticRegression, Ridge, ScoreGeneMap, SpotGrid,
};
use spatialkit_tests::{python, script, shared};

const LABEL: &str = "layer_guess";

/// The slide with its most variable genes and their principal components.
fn prepared(path: &std::path::Path) -> AnnData {
    let mut a = io::read(path).unwrap();
    a.var_names_make_unique();
    pp::filter_genes(&mut a, FilterGenes::default().min_cells(10)).unwrap();
    pp::highly_variable_genes(&mut a, Hvg::seurat_v3(60)).unwrap();
    pp::normalize_total(&mut a, 1e4).unwrap();
    pp::log1p(&mut a).unwrap();
    pp::keep_highly_variable(&mut a).unwrap();
    pp::pca(&mut a, Pca::default().n_comps(20)).unwrap();
    a.obsm.retain(|k, _| k == "X_pca" || k == "spatial");
    a.uns.clear();
    a
}

fn rows(m: &Array2<f64>) -> Vec<Vec<f64>> {
    m.rows().into_iter().map(|r| r.to_vec()).collect()
}

fn scores(s: &GeneMapScores) -> Json {
    // NaN has no number in JSON: it becomes null.
    json!({"genes": s.genes, "pearson": s.pearson, "mse": s.mse, "mae": s.mae, "ssim": s.ssim,
           "spot_pearson": s.spot_pearson})
}

/// Baselines fill layers of the slide; their scores over all spots and over the hidden ones.
fn maps(a: &mut AnnData, hidden: &[usize]) -> Json {
    let ridge = || Ridge::default().alphas([0.1, 10.0, 1e3, 1e5]);
    tl::interpolate_genes(a, hidden, Interpolate::nearest()).unwrap();
    tl::interpolate_genes(a, hidden, Interpolate::inverse_distance()).unwrap();
    let own = tl::ridge_genes(a, hidden, ridge()).unwrap();
    let shared = ridge().alpha_per_target(false).key_added("ridge_shared");
    let shared = tl::ridge_genes(a, hidden, shared).unwrap();
    let layers = ["nearest", "idw", "ridge", "ridge_shared"];
    let table = tl::compare_gene_maps(a, layers, hidden, ScoreGeneMap::default()).unwrap();
    println!("{table}");
    let of = |m: &tl::ComparedMap| json!({"all": scores(&m.all), "hidden": scores(&m.hidden)});
    let scored = table.methods.iter().map(|m| (m.method.clone(), of(m)));
    json!({
        "hidden": hidden, "alphas": own.alphas, "alpha": own.alpha, "alpha_shared": shared.alpha[0],
        "errors": rows(&own.errors), "scores": scored.collect::<serde_json::Map<String, Json>>(),
    })
}

/// A grid without holes, for scikit-image.
fn full_grid() -> Json {
    let (height, width) = (20, 24);
    let mut rng = spatialkit::rng::Rng::new(3);
    let mut map = || Array2::from_shape_simple_fn((height * width, 5), || rng.normal());
    let (x, noise) = (map(), map());
    let y = &x + &(0.7 * &noise);
    let all = 0..(height * width) as i64;
    let (r, c): (Vec<i64>, Vec<i64>) = all.map(|i| (i / width as i64, i % width as i64)).unzip();
    let options = ScoreGeneMap::default().grid(SpotGrid::new(&r, &c).unwrap());
    let s = options.score(x.view(), y.view()).unwrap();
    json!({"shape": [height, width], "x": rows(&x), "y": rows(&y), "ssim": s.ssim})
}

/// Logistic regressions of the annotated layers, and of one layer against the rest.
fn regressions(a: &AnnData) -> Json {
    let x = a.obsm("X_pca").unwrap().to_array_f64();
    let label = a.obs_column(LABEL).unwrap().to_categorical();
    let white: Vec<Option<&str>> = (0..a.n_obs())
        .map(|i| label.label(i).map(|l| if l == "WM" { "WM" } else { "grey" }))
        .collect();
    let mut out = Vec::new();
    for (alpha, balanced, two) in [
        (1.0, false, false),
        (1e-2, true, false),
        (1e-4, false, false),
        (1e-4, true, false),
        (1e-2, false, true),
        (1e-3, true, true),
    ] {
        let model = LogisticRegression::new(alpha).balanced(balanced);
        let fit = match two {
            true => model.fit(x.view(), &Categorical::from_labels(&white)).unwrap(),
            false => model.fit(x.view(), &label).unwrap(),
        };
        assert!(fit.converged, "α {alpha}: gradient {}", fit.gradient);
        out.push(json!({
            "alpha": alpha, "balanced": balanced, "two": two, "classes": fit.classes,
            "coef": rows(&fit.coef), "intercept": fit.intercept.to_vec(),
            "chance": rows(&fit.predict_proba(x.view()).unwrap()),
        }));
    }
    json!(out)
}

fn probes(a: &AnnData) -> Json {
    let fit = tl::linear_probe(a, LABEL, LinearProbe::default()).unwrap();
    println!("{fit}");
    let e = tl::embedding_scores(a, LABEL, "X_pca", &[]).unwrap();
    // One half of the slide, and the other half with its genes in another order.
    let half: Vec<usize> = (0..a.n_obs()).filter(|i| i % 2 == 0).collect();
    let other: Vec<usize> = (0..a.n_obs()).filter(|i| i % 2 == 1).collect();
    let genes: Vec<usize> = (0..a.n_vars()).rev().filter(|j| j % 5 > 0).collect();
    let (first, second) = (a.take_obs(&half), a.take_obs(&other).take_vars(&genes));
    let ridge = tl::ridge_probe(&first, &second, Ridge::default().alphas([10.0])).unwrap();
    json!({
        "linear": {"macro_f1": fit.macro_f1().mean, "accuracy": fit.accuracy().mean,
                   "majority": fit.majority_accuracy().mean, "alphas": fit.alphas,
                   "classes": fit.classes, "n_used": fit.n_used},
        "embedding": {"silhouette": e.silhouette, "calinski_harabasz": e.calinski_harabasz,
                      "davies_bouldin": e.davies_bouldin},
        "ridge": scores(&ridge.scores),
    })
}

#[test]
fn a_real_slide_equals_the_references() {
    let test = "parity_probe";
    let Some(python) = python(test) else { return };
    let Some(path) = shared(test, "data/dlpfc/dlpfc_151673_5000g.h5ad") else { return };
    let mut a = prepared(&path);
    let hidden: Vec<usize> = (0..a.n_obs()).filter(|i| i * 7919 % 10 < 3).collect();
    let ours = json!({
        "maps": maps(&mut a, &hidden), "full_grid": full_grid(), "regressions": regressions(&a),
        "probes": probes(&a),
    });
    let dir = tempfile::tempdir().unwrap();
    let (file, list) = (dir.path().join("ours.h5ad"), dir.path().join("ours.json"));
    io::write_h5ad(&a, &file).unwrap();
    std::fs::write(&list, serde_json::to_vec(&ours).unwrap()).unwrap();
    script(&python, "parity_probe.py", &[file, list]);
}

/// The raster of irregular coordinates: near enough to every spot, and one spot in each place.
#[test]
fn scores_on_coordinates_follow_those_on_the_array() {
    let test = "parity_probe coordinates";
    let Some(path) = shared(test, "data/dlpfc/dlpfc_151673_5000g.h5ad") else { return };
    let mut a = prepared(&path);
    let hidden: Vec<usize> = (0..a.n_obs()).filter(|i| i % 4 == 0).collect();
    tl::interpolate_genes(&mut a, &hidden[..], Interpolate::inverse_distance()).unwrap();
    let score = |a: &AnnData| tl::score_gene_map(a, "idw", ScoreGeneMap::default()).unwrap();
    let array = score(&a);
    a.obs.remove("array_row");
    let raster = score(&a);
    assert_eq!(array.mse, raster.mse);
    let (x, y) = (Array1::from(array.ssim.unwrap()), Array1::from(raster.ssim.unwrap()));
    let apart = (&x - &y).mapv(f64::abs).mean().unwrap();
    assert!(apart < 0.1, "{apart}");
}
