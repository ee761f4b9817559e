use super::*;
use crate::anndata::Matrix;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use ndarray::Array2;

/// 60 cells of three groups (and two of none) with 7 genes, one of them all zero.
fn sample() -> AnnData {
    let mut rng = Rng::new(3);
    let group = |i: usize| if i < 2 { None } else { Some(["a", "b", "c"][i % 3]) };
    let x = Array2::from_shape_fn((60, 7), |(i, j)| {
        let shift = if group(i) == Some("b") && j < 3 { 1.5 } else { 0.0 };
        if j == 6 || rng.uniform() < 0.4 { 0.0 } else { (rng.uniform() + shift) as f32 }
    });
    let names = (0..7).map(|j| format!("g{j}")).collect();
    let mut a = AnnData::new(x, Frame::with_len(60), Frame::new(names)).unwrap();
    let labels: Vec<_> = (0..60).map(group).collect();
    a.obs.insert("kind", Categorical::from_labels(&labels)).unwrap();
    a.layers.insert("sparse".into(), Matrix::Csr(a.x().unwrap().to_csr()));
    a.layers.insert("columns".into(), Matrix::Csc(a.x().unwrap().to_csc()));
    a.layers.insert("double".into(), a.x().unwrap().to_array_f64().into());
    a
}

fn every_method() -> Vec<RankGenes> {
    let new = || RankGenes::new("kind").pts(true);
    vec![
        new(),
        new().method(RankMethod::TTestOverestimVar).reference("a"),
        new().method(RankMethod::Wilcoxon),
        new().method(RankMethod::Wilcoxon).tie_correct(true).reference("c"),
    ]
}

fn entry(a: &AnnData) -> Map<Value> {
    let mut map = a.uns["rank_genes_groups"].as_map().unwrap().clone();
    map.shift_remove("params");
    map
}

#[test]
fn every_form_gives_the_same_bits_on_any_threads() {
    for options in every_method() {
        let mut all = Vec::new();
        for layer in [None, Some("sparse"), Some("columns"), Some("double")] {
            let mut options = options.clone();
            options.layer = layer.map(String::from);
            all.push(same_with_any_threads(|| {
                let mut a = sample();
                rank_genes_groups(&mut a, options.clone()).unwrap();
                entry(&a)
            }));
        }
        assert!(all.iter().all(|e| *e == all[0]));
    }
}

#[test]
fn equal_scores_keep_the_order_of_the_genes() {
    let mut a = sample();
    a.x = Some(Array2::<f32>::zeros((60, 7)).into());
    rank_genes_groups(&mut a, RankGenes::new("kind").n_genes(3)).unwrap();
    let table = rank_genes_groups_df(&a, RankGenesDf::all()).unwrap();
    let names: Vec<_> = (0..9).map(|i| table.get("names").unwrap().text(i).unwrap()).collect();
    assert_eq!(names, ["g0", "g1", "g2"].repeat(3));
    assert!(table.get("pvals_adj").unwrap().to_f64().unwrap().iter().all(|&p| p == 1.0));
    assert!(table.get("logfoldchanges").unwrap().to_f64().unwrap().iter().all(|&f| f == 0.0));
}

#[test]
fn a_marked_gene_comes_first_and_a_table_can_be_cut() {
    let mut a = sample();
    rank_genes_groups(&mut a, RankGenes::new("kind").pts(true)).unwrap();
    let table = rank_genes_groups_df(&a, "b").unwrap();
    let names: Vec<_> = table.columns().map(|(k, _)| k.to_string()).collect();
    let expected = ["names", "scores", "logfoldchanges", "pvals", "pvals_adj"];
    assert_eq!(names[..5], expected);
    assert_eq!(names[5..], ["pct_nz_group", "pct_nz_reference"]);
    let best: Vec<_> = (0..3).map(|i| table.get("names").unwrap().text(i).unwrap()).collect();
    assert!(best.iter().all(|n| ["g0", "g1", "g2"].contains(&n.as_str())), "{best:?}");
    let cut = RankGenesDf::of(["a", "b"]).pval_cutoff(1e-3).log2fc_min(0.0);
    let cut = rank_genes_groups_df(&a, cut).unwrap();
    assert!(cut.contains("group") && !cut.is_empty() && cut.len() <= 4);
    filter_rank_genes_groups(&mut a, FilterRankedGenes::default().max_out_group_fraction(0.9))
        .unwrap();
    let all = RankGenesDf::all().key("rank_genes_groups_filtered");
    let kept = rank_genes_groups_df(&a, all).unwrap();
    let left = (0..kept.len()).filter(|&i| kept.get("names").unwrap().text(i).unwrap() != "nan");
    assert!((1..=4).contains(&left.count()));
}

#[test]
fn a_mask_changes_what_is_tested_and_adjusted() {
    let mut a = sample();
    let mask: Vec<bool> = (0..7).map(|j| j < 2).collect();
    a.var.insert("some", Column::Values(Values::Bool(mask))).unwrap();
    let options = RankGenes::new("kind").mask_var("some").corr_method(CorrMethod::Bonferroni);
    rank_genes_groups(&mut a, options.clone()).unwrap();
    let t = rank_genes_groups_df(&a, "a").unwrap();
    assert_eq!(t.len(), 2);
    let values = Values::Bool(vec![true; 7]);
    let missing = (0..7).map(|j| j >= 2).collect();
    a.var.insert("some", Column::Nullable { values, missing }).unwrap();
    rank_genes_groups(&mut a, options).unwrap();
    assert_eq!(rank_genes_groups_df(&a, "a").unwrap(), t);
    let (p, q) = (t.get("pvals").unwrap().to_f64(), t.get("pvals_adj").unwrap().to_f64());
    assert!(p.unwrap().iter().zip(q.unwrap()).all(|(p, q)| q == (2.0 * p).min(1.0)));
}

#[test]
fn raw_is_taken_where_there_is_one_and_no_layer_is_asked_for() {
    let mut a = sample();
    let raw = crate::anndata::Raw {
        x: a.x.take().unwrap(),
        var: a.var.clone(),
        varm: Map::new(),
        varm_frames: Map::new(),
    };
    a.raw = Some(Box::new(raw));
    a.layers.clear();
    a.retain(None, Some(&[0]));
    a.x = Some(Array2::<f32>::zeros((60, 1)).into());
    rank_genes_groups(&mut a, RankGenes::new("kind")).unwrap();
    assert_eq!(rank_genes_groups_df(&a, "a").unwrap().len(), 7);
    rank_genes_groups(&mut a, RankGenes::new("kind").use_raw(false)).unwrap();
    assert_eq!(rank_genes_groups_df(&a, "a").unwrap().len(), 1);
}

#[test]
fn numbers_that_are_no_logarithms_still_give_finite_fold_changes() {
    let ln2 = std::f64::consts::LN_2;
    assert_eq!(fold_change([2000.0, 1000.0], None), 1000.0 / ln2);
    assert!((fold_change([800.0, 1.0], None) - 800.0 / ln2).abs() < 2.0);
    assert!((fold_change([3.0, 2.0], Some(2.0)) - (7f64 / 3.0).log2()).abs() < 1e-8);
    assert_eq!(fold_change([0.0, 0.0], None), 0.0);
    for means in [[-0.2, -0.1], [-0.2, 0.1], [0.1, -0.2], [-0.1, 0.0], [900.0, -1.0]] {
        assert!(fold_change(means, None).is_nan(), "{means:?}");
        assert!(fold_change(means, Some(2.0)).is_nan(), "{means:?}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_and_nothing_written() {
    let refuse = |change: &dyn Fn(&mut AnnData), options: RankGenes, words: &str| {
        let mut a = sample();
        change(&mut a);
        let before = a.uns.len();
        let e = rank_genes_groups(&mut a, options).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
        assert_eq!(a.uns.len(), before);
    };
    let new = || RankGenes::new("kind");
    let same = |_: &mut AnnData| ();
    refuse(&same, RankGenes::new("sort"), "it has: kind");
    refuse(&same, new().groups(["x"]), "no group `x`; it has: a, b, c");
    refuse(&same, new().groups(["a", "a"]), "given twice");
    refuse(&same, new().groups(Vec::<String>::new()), "at least two groups");
    refuse(&same, new().reference("z"), "no group `z`");
    refuse(&same, new().groups(["b"]).reference("b"), "at least two groups");
    refuse(&same, new().use_raw(true), "there is no `raw`");
    refuse(&same, new().layer("sparse").use_raw(true), "a layer has no raw");
    refuse(&same, new().layer("none"), "sparse");
    refuse(&same, new().n_genes(0), "at least 1");
    refuse(&same, new().mask_var("none"), "no column `none`");
    let labelled = |labels: Vec<Option<&'static str>>| {
        move |a: &mut AnnData| {
            a.obs.insert("kind", Categorical::from_labels(&labels)).unwrap();
        }
    };
    let one: Vec<_> = (0..60).map(|i| Some(if i == 9 { "solo" } else { "many" })).collect();
    refuse(&labelled(one.clone()), new(), "fewer than two cells are in solo");
    let rest = "only one cell is not in `many`";
    refuse(&labelled(one.clone()), new().groups(["many"]), rest);
    let unnamed = one.iter().map(|l| l.filter(|l| *l == "many")).collect();
    refuse(&labelled(unnamed), new().method(RankMethod::TTestOverestimVar), rest);
    let mut a = sample();
    labelled(one)(&mut a);
    rank_genes_groups(&mut a, new().groups(["many"]).method(RankMethod::Wilcoxon)).unwrap();
    refuse(&labelled(vec![Some("all"); 60]), new(), "at least two groups");
    refuse(&labelled(vec![None; 60]), new(), "at least two groups");
    let nan = |a: &mut AnnData| {
        let mut x = Array2::<f32>::zeros((60, 7));
        x[[8, 4]] = f32::NAN;
        a.x = Some(x.into());
    };
    refuse(&nan, new(), "gene `g4` (column 4): holds NaN");
    let numbers = |a: &mut AnnData| a.var.insert("some", vec![1.0; 7]).unwrap();
    refuse(&numbers, new().mask_var("some"), "is of type float64, not of true and false");
    let e = rank_genes_groups_df(&sample(), "a").unwrap_err().to_string();
    assert!(e.contains("no ranking `rank_genes_groups`"), "{e}");
}

/// Centred genes, the last one zero: of no other has a group a fold change against the rest.
fn scaled() -> AnnData {
    let mut a = sample();
    crate::pp::scale(&mut a, crate::pp::Scale::default()).unwrap();
    rank_genes_groups(&mut a, RankGenes::new("kind")).unwrap();
    a
}

fn names_of(a: &AnnData, options: RankGenesDf) -> Vec<String> {
    let table = rank_genes_groups_df(a, options).unwrap();
    (0..table.len()).map(|i| table.get("names").unwrap().text(i).unwrap()).collect()
}

#[test]
fn genes_without_a_fold_change_pass_no_limit() {
    let mut a = scaled();
    let table = rank_genes_groups_df(&a, "a").unwrap();
    let folds = table.get("logfoldchanges").unwrap().to_f64().unwrap();
    for (i, fold) in folds.iter().enumerate() {
        let zero = table.get("names").unwrap().text(i).unwrap() == "g6";
        assert!(if zero { *fold == 0.0 } else { fold.is_nan() }, "{i}: {fold}");
    }
    assert_eq!(names_of(&a, RankGenesDf::of(["a"]).log2fc_min(-99.0)), ["g6"]);
    assert_eq!(names_of(&a, RankGenesDf::of(["a"]).log2fc_max(99.0)), ["g6"]);
    let wide = || {
        let options = FilterRankedGenes::default().min_in_group_fraction(-1.0);
        options.max_out_group_fraction(2.0).min_fold_change(-99.0)
    };
    let left = |a: &AnnData| {
        let names = names_of(a, RankGenesDf::of(["a"]).key("rank_genes_groups_filtered"));
        names.into_iter().filter(|n| n != "nan").collect::<Vec<_>>()
    };
    filter_rank_genes_groups(&mut a, wide()).unwrap();
    assert_eq!(left(&a), ["g6"]);
    // No cell has it.
    filter_rank_genes_groups(&mut a, wide().min_in_group_fraction(0.0)).unwrap();
    assert!(left(&a).is_empty());
}

#[test]
fn a_ranking_can_be_filtered_again() {
    let mut a = sample();
    rank_genes_groups(&mut a, RankGenes::new("kind")).unwrap();
    let options = || FilterRankedGenes::default().max_out_group_fraction(0.9);
    filter_rank_genes_groups(&mut a, options().key_added("once")).unwrap();
    filter_rank_genes_groups(&mut a, options().key("once").key_added("twice")).unwrap();
    assert_eq!(a.uns["once"], a.uns["twice"]);
    let names = names_of(&a, RankGenesDf::of(["a", "b", "c"]).key("twice"));
    assert!((1..21).contains(&names.iter().filter(|n| *n == "nan").count()), "{names:?}");
    let e = filter_rank_genes_groups(&mut a, options().key("none")).unwrap_err().to_string();
    assert!(e.contains("no ranking `none`"), "{e}");
    a.var.set_names((0..7).map(|j| format!("h{j}")).collect()).unwrap();
    let e = filter_rank_genes_groups(&mut a, options()).unwrap_err().to_string();
    assert!(e.contains("X has not; run `tl::rank_genes_groups` again"), "{e}");
}

#[test]
fn what_a_table_cannot_be_made_of_is_said() {
    let mut a = sample();
    rank_genes_groups(&mut a, RankGenes::new("kind")).unwrap();
    let refuse = |a: &AnnData, options: RankGenesDf, words: &str| {
        let e = rank_genes_groups_df(a, options).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    };
    refuse(&a, "z".into(), "ranking has no group `z`; it has: a, b, c");
    refuse(&a, RankGenesDf::all().gene_symbols("symbol"), "no column `symbol`");
    refuse(&a, RankGenesDf::all().key("none"), "no ranking `none`");
    a.var.insert("symbol", Column::Str((0..7).map(|j| Some(format!("S{j}"))).collect())).unwrap();
    let table = rank_genes_groups_df(&a, RankGenesDf::of(["b"]).gene_symbols("symbol")).unwrap();
    let text = |column: &str, i: usize| table.get(column).unwrap().text(i).unwrap();
    assert!((0..7).all(|i| text("symbol", i)[1..] == text("names", i)[1..]));
    let mut damaged = entry(&a);
    damaged.shift_remove("pvals");
    a.uns.insert("rank_genes_groups".into(), damaged.into());
    refuse(&a, "a".into(), "[\"pvals\"]: is missing; run `tl::rank_genes_groups` again");
}
