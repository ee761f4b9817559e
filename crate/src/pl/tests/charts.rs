//! Charts: violins, volcano plots, ranked genes, figures of preprocessing and of neighbourhoods.

use super::*;
use crate::anndata::{Frame as Table, Matrix, Values};
use crate::stats::{benjamini_hochberg, mann_whitney};

/// 60 cells in groups a (30), b (20), c (9) and d (1), a gene that differs between them, a gene of
/// equal values, and numbers with NaN.
pub(super) fn cells() -> AnnData {
    let n = 60;
    let group = |i: usize| match i {
        0..30 => "a",
        30..50 => "b",
        50..59 => "c",
        _ => "d",
    };
    let shift = |i: usize| [0.0, 1.5, 4.0, 2.0][(group(i).as_bytes()[0] - b'a') as usize];
    let value = |i: usize, c: usize| match c {
        0 => (shift(i) + ((i * 37) % 23) as f64 / 10.0) as f32,
        _ => 2.0,
    };
    let genes = Frame::new(vec!["UP".into(), "FLAT".into()]);
    let x = Array2::from_shape_fn((n, 2), |(i, c)| value(i, c));
    let mut a = AnnData::new(x, Frame::with_len(n), genes).unwrap();
    let labels: Vec<_> = (0..n).map(|i| Some(group(i))).collect();
    a.obs.insert("group", Categorical::from_labels(&labels)).unwrap();
    let score = (0..n).map(|i| if i % 10 == 3 { f64::NAN } else { i as f64 - 20.0 });
    a.obs.insert("score", score.collect::<Vec<f64>>()).unwrap();
    a.obs.insert("nothing", vec![f64::NAN; n]).unwrap();
    a
}

pub(super) fn light<P: Plot>(f: Figure<P>) -> Figure<P> {
    f.theme(Theme::Light)
}

pub(super) fn numbers(shape: &[usize], values: Vec<f64>) -> Value {
    Value::Array { shape: shape.to_vec(), values: values.into() }
}

pub(super) fn map(entries: Vec<(&str, Value)>) -> Value {
    entries.into_iter().map(|(k, v)| (k.to_string(), v)).collect::<Map<Value>>().into()
}

#[test]
fn violins_are_tested_as_scipy_does() {
    let a = cells();
    let figure = violin(&a, "UP", "group").compare_neighbours();
    let got = figure.pvalues().unwrap();
    let pairs: Vec<_> = got.iter().map(|c| (c.first.as_str(), c.second.as_str())).collect();
    assert_eq!(pairs, [("a", "b"), ("b", "c"), ("c", "d")]);
    let column = a.x().unwrap().column_f32(0);
    let of = |range: std::ops::Range<usize>| -> Vec<f64> {
        column[range].iter().map(|&v| f64::from(v)).collect()
    };
    let p = [
        mann_whitney(&of(0..30), &of(30..50)),
        mann_whitney(&of(30..50), &of(50..59)),
        mann_whitney(&of(50..59), &of(59..60)),
    ];
    assert_eq!(got.iter().map(|c| c.p).collect::<Vec<_>>(), p);
    let adjusted: Vec<f64> = got.iter().map(|c| c.adjusted).collect();
    assert_eq!(adjusted, benjamini_hochberg(&p));
    let svg = light(figure).to_svg().unwrap();
    assert!(
        svg.contains(">****</text>") && svg.contains("Mann–Whitney test, two-sided, Benjamini")
    );
    let none = violin(&a, "UP", "group").compare([("a", "c")]).correction("none");
    assert_eq!(none.pvalues().unwrap()[0].p, none.pvalues().unwrap()[0].adjusted);
    let svg = none.pvalue_numbers(true).to_svg().unwrap();
    assert!(svg.contains(">p = ") && svg.contains("uncorrected"), "{svg}");
    // Nothing varies, so there is nothing to say of a difference.
    let flat = violin(&a, "FLAT", "group").compare([("a", "b")]);
    let p = flat.pvalues().unwrap()[0].p;
    assert!(p.is_nan() || p == 1.0, "{p}");
    flat.check().unwrap();
}

#[test]
fn violins_survive_extreme_groups() {
    let a = cells();
    for key in ["UP", "FLAT", "score"] {
        violin(&a, key, "group").check().unwrap_or_else(|e| panic!("{key}: {e}"));
        violin(&a, key, None).check().unwrap_or_else(|e| panic!("{key}: {e}"));
    }
    let one = a.take_obs(&[59]);
    violin(&one, "UP", "group").compare_neighbours().check().unwrap();
    violin(&a, ["UP", "score"], None).multi_panel(true).check().unwrap();
    // The categories of c and d are there but hold no cell.
    let few: Vec<usize> = (0..40).collect();
    let svg = violin(&a.take_obs(&few), "UP", "group").to_svg().unwrap();
    assert!(svg.contains(">b</text>") && !svg.contains(">c</text>"));
    // Asked for, an empty one has its place.
    let svg = violin(&a.take_obs(&few), "UP", "group").order(["a", "b"]).to_svg().unwrap();
    assert!(svg.contains(">a</text>"));
    let log = violin(&a, "score", "group").log(true);
    assert!(log.to_svg().unwrap().contains("at or below 0"), "a note says what is not shown");
}

#[test]
fn violins_that_cannot_be_drawn_say_why() {
    let a = cells();
    for (figure, part) in [
        (violin(&a, "group", "group"), "needs numbers"),
        (violin(&a, "DOWN", "group"), "DOWN"),
        (violin(&a, "UP", "cluster"), "group"),
        (violin(&a, (), "group"), "at least one"),
        (violin(&a, "nothing", "group"), "no finite value"),
        (violin(&a, "score", "group").order(["z"]), "a, b, c, d"),
        (violin(&a, "score", "group").rotation(45), "0 or 90"),
        (violin(&a, "score", "group").compare([("a", "z")]), "a, b, c, d"),
        (violin(&a, "score", "group").compare([("a", "a")]), "itself"),
        (violin(&a, "score", "group").compare_neighbours().correction("holm"), "bonferroni"),
        (violin(&a, "score", "group").jitter(-1.0), "jitter"),
        (violin(&a, "score", "group").bw_adjust(0.0), "positive"),
        (violin(&a, "score", "group").palette("nope"), "colorblind"),
        (violin(&a.take_obs(&[]), "UP", "group"), "no observation"),
        (violin(&a, "score", "group").size(60, 60), "too small"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{part}: {e}");
    }
}

#[test]
fn options_of_violins_have_their_effect() {
    let a = cells();
    let plain = || violin(&a, "UP", "group");
    let mut seen = vec![plain().to_png().unwrap()];
    assert_eq!(seen[0], plain().to_png().unwrap(), "the same seed gives the same picture");
    for (k, figure) in [
        plain().seed(1),
        plain().stripplot(false),
        plain().jitter(0.3),
        plain().point_size(4.0),
        plain().inner_box(false),
        plain().cut(2.0),
        plain().bw_adjust(0.5),
        plain().density_norm(DensityNorm::Area),
        plain().density_norm(DensityNorm::Count),
        plain().rotation(90),
        plain().order(["c", "a"]),
        plain().palette("colorblind"),
        plain().xlabel("x"),
        plain().ylabel("y"),
        plain().log(true),
        plain().compare_neighbours(),
    ]
    .into_iter()
    .enumerate()
    {
        let png = figure.to_png().unwrap();
        assert!(!seen.contains(&png), "option {k}");
        seen.push(png);
    }
}

pub(super) fn ranked() -> AnnData {
    crate::io::read_h5ad(golden().join("ranked.h5ad")).unwrap()
}

#[test]
fn volcano_plots_name_the_genes_beyond_the_thresholds() {
    let a = ranked();
    let svg = light(volcano(&a, "b").thresholds(0.5, 0.05)).to_svg().unwrap();
    assert!(svg.contains(">g1</text>") && !svg.contains(">g0</text>"), "{svg}");
    assert!(svg.contains("log2 fold change, b against rest"));
    let all = light(volcano(&a, "b").label_genes(["g0"])).to_svg().unwrap();
    assert!(all.contains(">g0</text>"));
    for (figure, part) in [
        (volcano(&a, "z"), "a, b, c"),
        (volcano(&cells(), "a"), "run `tl::rank_genes_groups`"),
        (volcano(&a, "b").key(&a, "other"), "rank_genes_groups"),
        (volcano(&a, "b").thresholds(-1.0, 0.05), "fold"),
        (volcano(&a, "b").thresholds(1.0, 0.0), "above 0"),
        (volcano(&a, "b").label_genes(["nope"]), "nope"),
        (volcano(&a, "b").xlim(1.0, -1.0), "xlim"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{part}: {e}");
    }
}

#[test]
fn p_values_of_zero_stand_at_the_upper_edge() {
    let mut a = ranked();
    let table = a.uns.get_mut("rank_genes_groups").unwrap().as_map_mut().unwrap();
    let Some(Value::Record(p)) = table.get_mut("pvals_adj") else { panic!() };
    p.insert("b".into(), numbers(&[5], vec![0.0, 1e-5, f64::NAN, 0.5, 1.0]));
    let svg = light(volcano(&a, "b")).to_svg().unwrap();
    assert!(svg.contains(">g1</text>") && svg.contains("1 genes without"), "{svg}");
    assert!(!svg.contains("inf") && !svg.contains("NaN"));
}

#[test]
fn ranked_genes_stand_along_their_curves() {
    let a = ranked();
    let svg = light(rank_genes_groups(&a).n_genes(2)).to_svg().unwrap();
    assert!(svg.contains(">a against the rest</text>") && svg.contains(">g1</text>"));
    assert_eq!(svg.matches("rotate(-90)").count(), 3 * 2 + 3, "two genes and a label a panel");
    for (figure, part) in [
        (rank_genes_groups(&a).n_genes(0), "at least 1"),
        (rank_genes_groups(&a).groups(["z"]), "a, b, c"),
        (rank_genes_groups(&a).fontsize(0.0), "fontsize"),
        (rank_genes_groups(&a).ncols(0), "ncols"),
        (rank_genes_groups(&cells()), "run `tl::rank_genes_groups`"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{part}: {e}");
    }
    assert_ne!(
        rank_genes_groups(&a).to_png().unwrap(),
        rank_genes_groups(&a).sharey(false).to_png().unwrap()
    );
}

#[test]
fn the_highest_genes_are_those_of_scanpy() {
    // Counts of 4 cells (the third is empty) and 3 genes; scanpy's normalize_total(target_sum=100)
    // gives means of 44.2, 12.0 and 18.8 %.
    let counts = [[5.0, 0.0, 5.0], [2.0, 1.0, 1.0], [0.0, 0.0, 0.0], [5.0, 1.5, 0.0]];
    let x = Array2::from_shape_fn((4, 3), |(i, j)| counts[i][j] as f32);
    let names = ["A", "B", "C"].map(String::from).to_vec();
    let dense = AnnData::new(x, Frame::with_len(4), Frame::new(names)).unwrap();
    let svg = light(highest_expr_genes(&dense, 2)).to_svg().unwrap();
    assert!(svg.contains(">A</text>") && svg.contains(">C</text>") && !svg.contains(">B</text>"));
    let matrix = dense.x().unwrap().clone();
    for x in [Matrix::Csr(matrix.to_csr()), Matrix::Csc(matrix.to_csc())] {
        let mut sparse = dense.clone();
        sparse.x = Some(x);
        assert_eq!(light(highest_expr_genes(&sparse, 2)).to_svg().unwrap(), svg);
    }
    let mut layered = dense.clone();
    layered.layers.insert("counts".into(), matrix.clone());
    assert_eq!(
        light(highest_expr_genes(&dense, 2).layer(&layered, "counts")).to_svg().unwrap(),
        svg
    );
    assert_ne!(light(highest_expr_genes(&dense, 2).log(true)).to_svg().unwrap(), svg);
    let with = |v: f32| {
        let mut a = dense.clone();
        let mut x = matrix.to_array_f32();
        x[[1, 1]] = v;
        a.x = Some(x.into());
        a
    };
    for (figure, part) in [
        (highest_expr_genes(&with(-1.0), 2), "gene `B` of cell 1"),
        (highest_expr_genes(&with(f32::NAN), 2), "NaN"),
        (highest_expr_genes(&dense, 0), "at least 1"),
        (highest_expr_genes(&dense.take_obs(&[]), 2), "no counts"),
        (highest_expr_genes(&dense, 2).layer(&dense, "raw"), "raw"),
        (highest_expr_genes(&dense.take_obs(&[2]), 2).log(true), "only zeros"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{part}: {e}");
    }
    // More genes than there are: all.
    highest_expr_genes(&dense, 99).check().unwrap();
}

#[test]
fn figures_of_preprocessing_read_what_scanpy_writes() {
    let mut a = cells();
    assert!(error(highly_variable_genes(&a)).contains("highly_variable"));
    a.var.insert("highly_variable", vec![true, false]).unwrap();
    a.var.insert("means", vec![1.0, 2.0]).unwrap();
    a.var.insert("dispersions", vec![0.5, f64::NAN]).unwrap();
    a.var.insert("dispersions_norm", vec![1.5, f64::NAN]).unwrap();
    let svg = light(highly_variable_genes(&a)).to_svg().unwrap();
    assert!(svg.contains("dispersions (normalized)") && svg.contains("highly variable (1)"));
    a.var.insert("variances", vec![0.5, 0.0]).unwrap();
    a.var.insert("variances_norm", vec![1.5, 0.1]).unwrap();
    assert!(light(highly_variable_genes(&a)).to_svg().unwrap().contains("variances (normalized)"));
    highly_variable_genes(&a).log(true).check().unwrap();
    a.var.insert("means", vec![f64::NAN; 2]).unwrap();
    assert!(error(highly_variable_genes(&a)).contains("no gene has finite"));

    assert!(error(pca_variance_ratio(&a)).contains("run `pp::pca`"));
    a.uns.insert("pca".into(), map(vec![("variance", numbers(&[1], vec![1.0]))]));
    assert!(error(pca_variance_ratio(&a)).contains("variance_ratio"));
    let ratio = numbers(&[3], vec![0.5, 0.25, 0.0]);
    a.uns.insert("pca".into(), map(vec![("variance_ratio", ratio)]));
    let svg = light(pca_variance_ratio(&a)).to_svg().unwrap();
    assert!(svg.contains("3 components explain 75.0 %"), "{svg}");
    assert!(light(pca_variance_ratio(&a).n_pcs(1)).to_svg().unwrap().contains("50.0 %"));
    pca_variance_ratio(&a).log(true).check().unwrap();
    assert!(error(pca_variance_ratio(&a).n_pcs(0)).contains("at least 1"));
}

/// [`cells`] with squidpy's statistics of their four groups.
pub(super) fn statistics() -> AnnData {
    let mut a = cells();
    let k = 4;
    let wave = |i: usize| 1.0 + (i as f64 * 0.9).sin();
    let occ = numbers(&[k, k, 5], (0..k * k * 5).map(wave).collect());
    let interval =
        Value::Array { shape: vec![6], values: Values::F32(vec![0., 1., 2., 3., 4., 5.]) };
    a.uns.insert("group_co_occurrence".into(), map(vec![("occ", occ), ("interval", interval)]));
    let square = |f: &dyn Fn(usize) -> f64| numbers(&[k, k], (0..k * k).map(f).collect());
    let zscore = square(&|i| if i % 5 == 0 { 6.0 - i as f64 / 3.0 } else { -(i as f64) / 4.0 });
    let count = square(&|i| (i * 3) as f64);
    let enrichment = map(vec![("zscore", zscore), ("count", count.clone())]);
    a.uns.insert("group_nhood_enrichment".into(), enrichment);
    a.uns.insert("group_interactions".into(), count);
    let mut scores = Table::new(["a", "b", "c", "d"].map(String::from).to_vec());
    scores.insert("degree_centrality", vec![0.1, 0.5, 0.2, 0.9]).unwrap();
    scores.insert("average_clustering", vec![0.3, 0.25, f64::NAN, 0.5]).unwrap();
    a.uns.insert("group_centrality_scores".into(), Value::Frame(scores));
    let long = |names: Vec<Option<String>>, per: usize, f: &dyn Fn(usize, f64) -> f64| {
        let n = names.len() * per;
        let mut table = Table::with_len(n);
        let bins: Vec<f64> = (0..n).map(|i| (i % per) as f64).collect();
        let stats: Vec<f64> = (0..n).map(|i| f(i / per, (i % per) as f64)).collect();
        let labels: Vec<_> = (0..n).map(|i| names[i / per].clone()).collect();
        table.insert("group", Categorical::from_labels(&labels)).unwrap();
        table.insert("bins", bins).unwrap();
        table.insert("stats", stats).unwrap();
        Value::Frame(table)
    };
    let groups = ["a", "b", "c", "d"].map(|g| Some(g.to_string())).to_vec();
    let stat = long(groups, 8, &|g, t| t * (1.0 + g as f64 / 4.0));
    let names = (0..6).map(|i| Some(i.to_string())).collect();
    let sims = long(names, 8, &|s, t| t * (0.9 + s as f64 / 25.0));
    a.uns.insert("group_ripley_L".into(), map(vec![("L_stat", stat), ("sims_stat", sims)]));
    a
}

#[test]
fn statistics_of_clusters_are_drawn_from_squidpys_entries() {
    let a = statistics();
    let svg = light(co_occurrence(&a, "group").clusters(["b"])).to_svg().unwrap();
    assert!(svg.contains("p(… | b) / p(…)") && !svg.contains("p(… | a)"));
    assert!(svg.matches("<polyline").count() >= 4);
    co_occurrence(&a, "group").check().unwrap();
    let svg = light(ripley(&a, "group", "L")).to_svg().unwrap();
    assert!(svg.contains("Ripley&apos;s L") || svg.contains("Ripley's L"));
    assert!(svg.contains("<polygon") && svg.contains(">random</text>"));
    let svg = light(ripley(&a, "group", "L").plot_sims(false)).to_svg().unwrap();
    assert!(!svg.contains("<polygon") && !svg.contains(">random</text>"));
    let svg = light(centrality_scores(&a, "group")).to_svg().unwrap();
    assert!(
        svg.contains(">Degree centrality</text>") && svg.contains(">Average clustering</text>")
    );
    let svg = light(centrality_scores(&a, "group").score(["degree_centrality"])).to_svg().unwrap();
    assert!(!svg.contains(">Average clustering</text>"));
    let svg = light(nhood_enrichment(&a, "group")).to_svg().unwrap();
    assert!(svg.contains("Neighborhood enrichment") && svg.contains("z-score"));
    let svg = light(nhood_enrichment(&a, "group").mode("count").annotate(true)).to_svg().unwrap();
    assert!(svg.contains(">45</text>"), "the last count is written into its cell");
    let svg = light(interaction_matrix(&a, "group").title("Edges")).to_svg().unwrap();
    assert!(svg.contains(">Edges</text>") && !svg.contains("Interaction matrix"));
}

#[test]
fn statistics_that_are_absent_say_what_to_run() {
    let a = statistics();
    let mut broken = a.clone();
    broken.uns.insert("group_interactions".into(), numbers(&[2, 2], vec![0.0; 4]));
    broken.uns.insert("group_nhood_enrichment".into(), map(vec![("zscore", Value::Null)]));
    broken.uns.insert("group_centrality_scores".into(), Value::Null);
    let occ = numbers(&[4, 4, 2], vec![0.0; 32]);
    let entry = map(vec![("occ", occ), ("interval", numbers(&[9], vec![0.0; 9]))]);
    broken.uns.insert("group_co_occurrence".into(), entry);
    let none = cells();
    let messages = [
        (error(co_occurrence(&none, "group")), "gr::co_occurrence"),
        (error(ripley(&none, "group", "L")), "gr::ripley"),
        (error(centrality_scores(&none, "group")), "gr::centrality_scores"),
        (error(nhood_enrichment(&none, "group")), "gr::nhood_enrichment"),
        (error(interaction_matrix(&none, "group")), "gr::interaction_matrix"),
        (error(co_occurrence(&a, "cluster")), "group"),
        (error(co_occurrence(&a, "group").clusters(["z"])), "a, b, c, d"),
        (error(co_occurrence(&a, "group").clusters([""; 0])), "at least one"),
        (error(ripley(&a, "group", "K")), "\"L\""),
        (error(centrality_scores(&a, "group").score(["z"])), "degree_centrality"),
        (error(nhood_enrichment(&a, "group").mode("z")), "zscore, count"),
        (error(nhood_enrichment(&a, "group").cmap("virids")), "viridis"),
        (error(interaction_matrix(&broken, "group")), "[4, 4]"),
        (error(nhood_enrichment(&broken, "group")), "no array of numbers"),
        (error(centrality_scores(&broken, "group")), "no table"),
        (error(co_occurrence(&broken, "group")), "[4, 4, 8]"),
    ];
    for (message, part) in messages {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn fifty_thousand_values_take_no_time() {
    let n = 50_000;
    let mut a = grid(n, 6);
    let values = (0..n).map(|i| ((i * 7919) % 1009) as f64 / 100.0);
    a.obs.insert("score", values.collect::<Vec<f64>>()).unwrap();
    let start = std::time::Instant::now();
    violin(&a, "score", "domain").compare_neighbours().to_png().unwrap();
    // Well under a second on an idle machine; the limit is for a busy one.
    assert!(start.elapsed().as_secs_f64() < 10.0, "{:?}", start.elapsed());
}

#[test]
fn charts_look_as_they_did() {
    let a = statistics();
    let tested = violin(&a, "UP", "group").compare([("a", "b"), ("b", "c"), ("a", "c")]);
    compare("violin", light(tested).size(300, 230));
    let dark = violin(&a, ["UP", "score"], "group").stripplot(false).theme(Theme::Dark);
    compare("violin_dark", dark.width(360));
    compare("volcano", light(volcano(&ranked(), "b").thresholds(0.5, 0.2)).size(340, 220));
    compare("ranks", light(rank_genes_groups(&ranked())).width(320));
    compare("highest", light(highest_expr_genes(&a, 2)).width(260));
    compare("co_occurrence", light(co_occurrence(&a, "group").clusters(["a", "c"])).width(380));
    compare("ripley", ripley(&a, "group", "L").theme(Theme::Dark).size(300, 190));
    compare("centrality", light(centrality_scores(&a, "group")).width(340));
    let diverging = nhood_enrichment(&a, "group").vcenter(0.0).cmap("coolwarm");
    compare("nhood", light(diverging.annotate(true)).width(260));
}
