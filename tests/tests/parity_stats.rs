//! Statistics and metrics on two real slides, compared with what scanpy, scikit-learn and scipy make
//! of the same file.

use serde_json::{Value as Json, json};
use spatialkit::anndata::{Map, Raw, Value};
use spatialkit::ndarray::{Array2, s};
use spatialkit::prelude::*;
use spatialkit::tl::{self, Covariance, FilterRankedGenes, Labels};
use spatialkit_tests::{python, script, shared};
use std::path::Path;

/// A slide with `raw` (all genes), X (the variable ones), a scaled layer, components and groups.
fn prepared(path: &Path, truth: Option<&str>) -> AnnData {
    let mut a = io::read(path).unwrap();
    a.var_names_make_unique();
    pp::filter_genes(&mut a, FilterGenes::default().min_cells(10)).unwrap();
    pp::highly_variable_genes(&mut a, Hvg::seurat_v3(1200)).unwrap();
    pp::normalize_total(&mut a, 1e4).unwrap();
    pp::log1p(&mut a).unwrap();
    let (varm, varm_frames) = (Map::new(), Map::new());
    let raw = Raw { x: a.x().unwrap().clone(), var: a.var.clone(), varm, varm_frames };
    a.raw = Some(Box::new(raw));
    pp::keep_highly_variable(&mut a).unwrap();
    pp::pca(&mut a, Pca::default().n_comps(30)).unwrap();
    let mut scaled = a.clone();
    pp::scale(&mut scaled, Scale::default().zero_center(false).max_value(10.0)).unwrap();
    a.layers.insert("scaled".into(), scaled.x.unwrap());
    tl::kmeans(&mut a, KMeans::new(9).seed(3).key_added("cluster")).unwrap();
    tl::kmeans(&mut a, KMeans::new(5).seed(5).key_added("other")).unwrap();
    let label = truth.unwrap_or("cluster");
    let column = a.obs_column(label).unwrap().clone();
    a.obs.insert("label", column).unwrap();
    // Batches that are no groups: the left and the right half.
    let place = a.spatial().unwrap();
    let middle = place.column(0).mean().unwrap();
    let half: Vec<usize> = place.column(0).iter().map(|&x| usize::from(x > middle)).collect();
    a.obs.insert("half", Categorical::from_numbers(&half)).unwrap();
    a.obsm.retain(|k, _| k == "X_pca" || k == "spatial");
    a.uns.retain(|k, _| k == "log1p");
    a
}

fn cases(groups: &[String]) -> Vec<(Json, RankGenes)> {
    use RankMethod::*;
    let new = || RankGenes::new("label");
    let (first, last) = (groups[0].clone(), groups[groups.len() - 1].clone());
    let some = [first.clone(), groups[1].clone()];
    vec![
        (json!({"pts": true}), new().pts(true)),
        (json!({"use_raw": false}), new().use_raw(false)),
        (json!({"method": "t-test_overestim_var"}), new().method(TTestOverestimVar)),
        (json!({"method": "wilcoxon", "pts": true}), new().method(Wilcoxon).pts(true)),
        (
            json!({"method": "wilcoxon", "tie_correct": true}),
            new().method(Wilcoxon).tie_correct(true),
        ),
        (
            json!({"method": "wilcoxon", "use_raw": false, "layer": "scaled"}),
            new().method(Wilcoxon).layer("scaled"),
        ),
        (json!({"use_raw": false, "layer": "scaled"}), new().layer("scaled")),
        (
            json!({"method": "wilcoxon", "tie_correct": true, "reference": last}),
            new().method(Wilcoxon).tie_correct(true).reference(last.clone()),
        ),
        (
            json!({"method": "wilcoxon", "reference": first, "pts": true}),
            new().method(Wilcoxon).reference(first.clone()).pts(true),
        ),
        (json!({"reference": last, "groups": some}), new().reference(last).groups(some.clone())),
        (
            json!({"method": "wilcoxon", "groups": some, "n_genes": 50, "rankby_abs": true,
                   "corr_method": "bonferroni"}),
            new()
                .method(Wilcoxon)
                .groups(some)
                .n_genes(50)
                .rankby_abs(true)
                .corr_method(CorrMethod::Bonferroni),
        ),
        (
            json!({"mask_var": "highly_variable", "use_raw": false}),
            new().mask_var("highly_variable").use_raw(false),
        ),
    ]
}

fn agreement(a: &AnnData) -> Json {
    let (x, y) = (a.obs_column("label").unwrap(), a.obs_column("other").unwrap());
    let v = tl::v_measure(x, y).unwrap();
    json!({
        "ari": tl::ari(x, y).unwrap(),
        "nmi": tl::nmi(x, y).unwrap(),
        "ami": tl::adjusted_mutual_info(x, y).unwrap(),
        "homogeneity": v.homogeneity,
        "completeness": v.completeness,
        "v_measure": v.v_measure,
        "fowlkes_mallows": tl::fowlkes_mallows(x, y).unwrap(),
        "purity": tl::purity(x, y).unwrap(),
    })
}

fn geometry(a: &AnnData, place: &Array2<f64>) -> Json {
    let x = a.obsm("X_pca").unwrap().to_array_f64();
    let (label, half) = (a.obs_column("label").unwrap(), a.obs_column("half").unwrap());
    json!({
        "silhouette": tl::silhouette(x.view(), label).unwrap(),
        "silhouette_samples": tl::silhouette_samples(x.view(), label).unwrap(),
        "davies_bouldin": tl::davies_bouldin(x.view(), label).unwrap(),
        "calinski_harabasz": tl::calinski_harabasz(x.view(), label).unwrap(),
        "silhouette_label": tl::silhouette_label(x.view(), label).unwrap(),
        "silhouette_batch": tl::silhouette_batch(x.view(), label, half).unwrap(),
        "lisi": tl::lisi(x.view(), half, 30.0).unwrap(),
        "ilisi": tl::ilisi(x.view(), half, 30.0).unwrap(),
        "chaos": tl::chaos(place.view(), label).unwrap(),
        "pas": tl::pas(place.view(), label).unwrap(),
        "clisi": tl::clisi(x.view(), label, 30.0).unwrap(),
    })
}

/// Clusters are named after the label that most of their cells have, to have predictions.
fn predictions(a: &mut AnnData) -> Json {
    let label = a.obs_column("label").unwrap().to_categorical();
    let cluster = a.obs_column("cluster").unwrap().groups();
    let k = label.categories.len();
    let mut counts = vec![vec![0usize; k]; 9];
    for (c, &l) in cluster.iter().zip(&label.codes) {
        if let (Some(c), Ok(l)) = (c, usize::try_from(l)) {
            counts[*c][l] += 1;
        }
    }
    let best = |c: usize| (0..k).max_by_key(|&l| (counts[c][l], k - l)).unwrap();
    let named: Vec<_> = cluster
        .iter()
        .map(|c| c.map(|c| label.categories[(best(c) + usize::from(c == 0)) % k].clone()))
        .collect();
    a.obs.insert("predicted", Categorical::from_labels(&named)).unwrap();
    let c = tl::classification(&label, a.obs_column("predicted").unwrap()).unwrap();
    let scores = a.obsm("X_pca").unwrap().to_array_f64();
    let known: Vec<usize> = (0..label.codes.len()).filter(|&i| label.codes[i] >= 0).collect();
    let is: Vec<bool> = known.iter().map(|&i| label.codes[i] == 0).collect();
    // Rounded, so that there are ties.
    let first: Vec<f64> = known.iter().map(|&i| scores[[i, 0]].round()).collect();
    let names: Vec<&str> = label.categories.iter().map(String::as_str).collect();
    let chances = scores.slice(s![.., ..k]).mapv(f64::exp);
    let chances = &chances
        / &chances.sum_axis(spatialkit::ndarray::Axis(1)).insert_axis(spatialkit::ndarray::Axis(1));
    let ovr = tl::roc_auc_ovr(&label, &names, chances.view()).unwrap();
    json!({
        "accuracy": c.accuracy(),
        "balanced_accuracy": c.balanced_accuracy(),
        "macro_f1": c.macro_f1(),
        "weighted_f1": c.weighted_f1(),
        "macro_precision": c.macro_precision(),
        "weighted_precision": c.weighted_precision(),
        "macro_recall": c.macro_recall(),
        "cohen_kappa": c.cohen_kappa(),
        "matthews": c.matthews(),
        "confusion": c.confusion.rows().into_iter().map(|r| r.to_vec()).collect::<Vec<_>>(),
        "classes": c.classes,
        "roc_auc": tl::roc_auc(&is, &first).unwrap(),
        "average_precision": tl::average_precision(&is, &first).unwrap(),
        "roc_auc_ovr": ovr,
    })
}

fn correlations(a: &AnnData) -> Json {
    let x = a.x().unwrap().to_array_f64();
    let scaled = a.layers["scaled"].to_array_f64();
    let shifted = Array2::from_shape_fn((x.nrows(), 20), |(i, j)| {
        scaled[[(i + 1) % x.nrows(), j]] + x[[i, j]]
    });
    let part = x.slice(s![.., ..20]);
    json!({
        "shifted": shifted.rows().into_iter().map(|r| r.to_vec()).collect::<Vec<_>>(),
        "pearson": tl::pearson_columns(part, shifted.view()).unwrap(),
        "spearman": tl::spearman_columns(part, shifted.view()).unwrap(),
    })
}

fn mixtures(a: &AnnData) -> Json {
    let x = a.obsm("X_pca").unwrap().to_array_f64().slice(s![.., ..6]).to_owned();
    let fits = [Covariance::Eee, Covariance::Vvv, Covariance::Vvi, Covariance::Vii].map(|model| {
        let options = Mclust::new(4).model(model.name()).tol(1e-12).subset(500);
        let fit = options.fit(x.view()).unwrap();
        let rows = |m: &Array2<f64>| m.rows().into_iter().map(|r| r.to_vec()).collect::<Vec<_>>();
        json!({
            "model": model.name(),
            "loglik": fit.log_likelihood,
            "bic": fit.bic,
            "classification": fit.classification,
            "means": rows(&fit.means),
            "covariances": fit.covariances.iter().map(rows).collect::<Vec<_>>(),
            "weights": fit.weights,
        })
    });
    json!({"columns": 6, "fits": fits})
}

fn enrichment(a: &AnnData) -> Json {
    let table =
        tl::rank_genes_groups_df(a, RankGenesDf::all().key("ours0").pval_cutoff(1e-6)).unwrap();
    let names = table.get("names").unwrap();
    let genes: Vec<String> = (0..table.len().min(400)).map(|i| names.text(i).unwrap()).collect();
    let all = &a.raw.as_ref().unwrap().var;
    let sets: Map<Vec<String>> = (0..60)
        .map(|i| {
            let members = (0..30 + i * 5).map(|j| (j * (2 * i + 7) + i * i * 31) % all.len());
            let members = members.map(|g| all.names()[g].clone()).collect();
            (format!("set {i}"), members)
        })
        .collect();
    let text = |t: &Frame, column: &str| -> Vec<String> {
        (0..t.len()).map(|i| t.get(column).unwrap().text(i).unwrap()).collect()
    };
    let numbers = |t: &Frame, column: &str| t.get(column).unwrap().to_f64().unwrap();
    let results = [
        ("sets", Enrich::default()),
        ("size", Enrich::default().background_size(20_000)),
        ("genes", Enrich::default().background(all.names().iter().step_by(2).cloned())),
    ]
    .map(|(background, options)| {
        let t = tl::enrich(&genes, &sets, options).unwrap();
        json!({
            "background": background,
            "term": text(&t, "Term"), "overlap": text(&t, "Overlap"), "genes": text(&t, "Genes"),
            "p": numbers(&t, "P-value"), "adjusted": numbers(&t, "Adjusted P-value"),
            "odds": numbers(&t, "Odds Ratio"), "combined": numbers(&t, "Combined Score"),
        })
    });
    let sets: serde_json::Map<String, Json> =
        sets.into_iter().map(|(name, genes)| (name, json!(genes))).collect();
    json!({"genes": genes, "sets": sets, "results": results})
}

fn scores(a: &mut AnnData) -> Json {
    let names = a.raw.as_ref().unwrap().var.names().to_vec();
    let list: Vec<String> = names.iter().step_by(97).take(30).cloned().collect();
    // Bins of fewer genes than may be drawn: nothing is left to chance.
    let all = || ScoreGenes::default().ctrl_size(1_000_000);
    tl::score_genes(a, &list, all().score_name("all")).unwrap();
    tl::score_genes(a, &list, all().score_name("no_ref").ctrl_as_ref(false).n_bins(40)).unwrap();
    let pool: Vec<String> = names
        .iter()
        .enumerate()
        .filter(|(i, _)| i % 97 == 0 || i % 3 == 0)
        .map(|(_, n)| n.clone())
        .collect();
    tl::score_genes(a, &list, all().score_name("pool").gene_pool(pool.clone())).unwrap();
    tl::score_genes(a, &list[..5], all().score_name("x").use_raw(false).ctrl_as_ref(false)).ok();
    let drawn = tl::score_genes(a, &list, ScoreGenes::default().score_name("drawn")).unwrap();
    let (s, g2m) = (&names[50..80], &names[200..260]);
    let [used_s, used_g2m] = tl::score_genes_cell_cycle(a, s, g2m, ScoreGenes::default()).unwrap();
    json!({"list": list, "pool": pool, "control": drawn.control_genes, "s": s, "g2m": g2m,
           "s_control": used_s.control_genes, "g2m_control": used_g2m.control_genes})
}

#[test]
fn real_slides_equal_the_references() {
    let test = "parity_stats";
    let Some(python) = python(test) else { return };
    let slides = [
        ("DLPFC 151673", "data/dlpfc/dlpfc_151673_5000g.h5ad", Some("layer_guess")),
        ("mouse placenta", "data/visium_mouse_placenta", None),
    ];
    for (slide, path, truth) in slides {
        let Some(path) = shared(test, path) else { continue };
        let mut a = prepared(&path, truth);
        let groups = a.obs_column("label").unwrap().to_categorical().categories;
        let mut rankings = Vec::new();
        for (i, (kwargs, options)) in cases(&groups).into_iter().enumerate() {
            let key = format!("ours{i}");
            tl::rank_genes_groups(&mut a, options.key_added(key.clone())).unwrap();
            rankings.push(json!({"key": key, "kwargs": kwargs}));
        }
        for (i, from) in [(0, "ours0"), (1, "ours4"), (2, "ours8")] {
            let options = FilterRankedGenes::default().min_fold_change(0.5).key(from);
            let options = options.key_added(format!("filtered{i}")).compare_abs(i == 1);
            tl::filter_rank_genes_groups(&mut a, options).unwrap();
        }
        let genes: Vec<String> = a.raw.as_ref().unwrap().var.names()[..40].to_vec();
        let tree = |key: &str| Dendrogram::new("label").key_added(key);
        tl::dendrogram(&mut a, "label").unwrap();
        tl::dendrogram(&mut a, tree("tree1").use_rep("X").linkage_method(Linkage::Average))
            .unwrap();
        let some = tree("tree2").var_names(genes.clone()).cor_method(Correlation::Spearman);
        tl::dendrogram(&mut a, some).unwrap();
        tl::dendrogram(&mut a, tree("tree3").n_pcs(7).linkage_method(Linkage::Single)).unwrap();
        let ours = json!({
            "slide": slide,
            "rankings": rankings,
            "filtered": [
                {"key": "filtered0", "from": "ours0"},
                {"key": "filtered1", "from": "ours4", "compare_abs": true},
                {"key": "filtered2", "from": "ours8"},
            ],
            "trees": [
                {"key": "dendrogram_label", "kwargs": {}},
                {"key": "tree1", "kwargs": {"use_rep": "X", "linkage_method": "average"}},
                {"key": "tree2", "kwargs": {"var_names": genes, "cor_method": "spearman",
                                            "use_raw": true}},
                {"key": "tree3", "kwargs": {"n_pcs": 7, "linkage_method": "single"}},
            ],
            "agreement": agreement(&a),
            "geometry": geometry(&a, &a.spatial().unwrap()),
            "classification": predictions(&mut a),
            "correlation": correlations(&a),
            "mixtures": mixtures(&a),
            "enrichment": enrichment(&a),
            "scores": scores(&mut a),
        });
        let dir = match std::env::var_os("SPATIALKIT_KEEP") {
            Some(dir) => std::path::PathBuf::from(dir).join(slide.replace(' ', "_")),
            None => tempfile::tempdir().unwrap().keep(),
        };
        std::fs::create_dir_all(&dir).unwrap();
        let (file, list) = (dir.join("ours.h5ad"), dir.join("ours.json"));
        assert!(matches!(a.uns["ours0"], Value::Map(_)));
        io::write_h5ad(&a, &file).unwrap();
        std::fs::write(&list, serde_json::to_vec(&ours).unwrap()).unwrap();
        script(&python, "parity_stats.py", &[file, list]);
        if std::env::var_os("SPATIALKIT_KEEP").is_none() {
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}

/// Every kind of linkage on random distances, trees included.
#[test]
fn linkages_equal_scipys() {
    let Some(python) = python("parity_stats linkages") else { return };
    let mut rng = spatialkit::rng::Rng::new(1);
    let mut cases = Vec::new();
    for (n, ties) in [(2, false), (9, false), (23, true), (60, false), (120, true)] {
        // Points of whole numbers have many equal distances.
        let mut number = || if ties { rng.below(6) as f64 } else { rng.normal() };
        let x = Array2::from_shape_simple_fn((n, 3), &mut number);
        let d = Array2::from_shape_fn((n, n), |(i, j)| {
            (&x.row(i) - &x.row(j)).mapv(|v| v * v).sum().sqrt()
        });
        use Linkage::*;
        for method in [Single, Complete, Average, Weighted, Ward, Centroid, Median] {
            // Which of equal distances comes first is left open for these two.
            if ties && matches!(method, Centroid | Median) {
                continue;
            }
            let links = tl::linkage(d.view(), method).unwrap();
            let t = tl::draw_tree(&links);
            let rows: Vec<_> =
                links.iter().map(|l| (l.left, l.right, l.distance, l.size)).collect();
            cases.push(json!({
                "method": method.name(), "distances": d.rows().into_iter().map(|r| r.to_vec()).collect::<Vec<_>>(),
                "links": rows, "icoord": t.icoord, "dcoord": t.dcoord, "leaves": t.leaves,
                "color_list": t.color_list, "leaves_color_list": t.leaves_color_list,
            }));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("linkages.json");
    std::fs::write(&list, serde_json::to_vec(&cases).unwrap()).unwrap();
    script(&python, "parity_stats.py", &[list]);
}
