//! Edge cases: names that several genes have, numbers that are infinite or missing, results with
//! gaps, options without sense.

use super::charts::{cells, light, map, numbers, ranked, statistics};
use super::groups::data;
use super::*;
use crate::anndata::Values;

/// The numbers of `uns[key][field]`.
fn stored<'a>(a: &'a mut AnnData, key: &str, field: &str) -> &'a mut Vec<f64> {
    match a.uns[key].as_map_mut().and_then(|m| m.get_mut(field)) {
        Some(Value::Array { values: Values::F64(v), .. }) => v,
        other => panic!("{other:?}"),
    }
}

/// How many dots and how many lines a figure has.
fn marks<P: Plot>(figure: Figure<P>) -> (usize, usize) {
    let svg = light(figure).to_svg().unwrap();
    (svg.matches("<circle").count(), svg.matches("<polyline").count())
}

#[test]
fn a_name_that_several_genes_have_is_refused_with_the_way_out() {
    let mut a = data(12, 6, 3);
    a.set_var_names(["A", "B", "A", "C", "A", "D"].map(String::from).to_vec()).unwrap();
    let both = |a: &AnnData, key: Key, genes: Genes| {
        [error(violin(a, key, "group")), error(dotplot(a, genes, "group"))]
    };
    for e in both(&a, "A".into(), "A".into()) {
        assert!(
            e.contains("`A`: 3 rows of var have") && e.contains("var_names_make_unique"),
            "{e}"
        );
    }
    violin(&a, "B", "group").check().unwrap();
    dotplot(&a, ["B", "D"], "group").check().unwrap();
    // `raw` keeps the names that it had.
    a.set_raw().unwrap();
    a.var_names_make_unique();
    for e in both(&a, "A".into(), "A".into()) {
        assert!(e.contains("`A`: 3 rows of raw.var have"), "{e}");
    }
    violin(&a, Key::new("A").use_raw(false), "group").check().unwrap();
    dotplot(&a, Genes::from("A").use_raw(false), "group").check().unwrap();
    a.raw = None;
    let symbols = ["s", "t", "s", "u", "v", "w"].map(|s| Some(s.to_string())).to_vec();
    a.var.insert("symbol", Column::Str(symbols)).unwrap();
    let (key, genes) = (Key::new("s"), Genes::from("s"));
    for e in both(&a, key.gene_symbols("symbol"), genes.gene_symbols("symbol")) {
        assert!(e.contains("several genes have that symbol"), "{e}");
    }
}

#[test]
fn maps_of_zeros_negative_and_infinite_numbers_are_drawn() {
    let a = grid(16, 2);
    let viridis = Cmap::named("viridis").unwrap();
    // The pixels of that colour.
    let shown = |v: &[f64], at: f64| {
        let figure = spatial(&a, values("v", v.to_vec())).legend(false);
        let c = viridis.at(at);
        count(&pixels(&light(figure)), [c.r, c.g, c.b])
    };
    assert!(shown(&[0.0; 16], 0.0) > 500 && shown(&[0.0; 16], 1.0) == 0);
    let falling: Vec<f64> = (0..16).map(|i| -f64::from(i)).collect();
    assert!(shown(&falling, 0.0) > 50 && shown(&falling, 1.0) > 50);
    // Two more spots at the ends of the scale, which stay where they were.
    let mut infinite = falling.clone();
    (infinite[3], infinite[5]) = (f64::INFINITY, f64::NEG_INFINITY);
    for end in [0.0, 1.0] {
        assert!(2 * shown(&infinite, end) > 3 * shown(&falling, end), "{end}");
    }
}

#[test]
fn spots_without_a_library_are_not_drawn() {
    let mut a = grid(16, 2);
    let e = error(spatial_library(&a, "domain", "one"));
    assert!(e.contains("obs has no column `library_id`"), "{e}");
    let library = |i: usize| (!i.is_multiple_of(4)).then(|| ["one", "two"][i / 8].to_string());
    a.obs.insert("library_id", Column::Str((0..16).map(library).collect())).unwrap();
    for (figure, n) in [
        (spatial_library(&a, "domain", "one"), 6),
        (spatial_libraries(&a, "domain", "library_id"), 12),
    ] {
        assert_eq!(figure.describe(), format!("spatial map of {n} points coloured by domain"));
        figure.check().unwrap();
    }
}

#[test]
fn infinite_means_have_the_colour_of_the_end() {
    let mut a = data(12, 6, 3);
    let mut x = a.x().unwrap().to_array_f64();
    // Cells 0, 1 and 4 belong to groups 0, 1 and 1.
    (x[[0, 4]], x[[1, 5]], x[[4, 5]]) = (f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY);
    a.x = Some(x.into());
    let genes = ["GENE4", "GENE5"];
    let table = dotplot(&a, genes, "group").dot_color_df().unwrap();
    assert_eq!(table.get("group 0", "GENE4"), f64::INFINITY);
    assert!(table.get("group 1", "GENE5").is_nan() && table.get("group 2", "GENE5").is_finite());
    // The highest of the others has that colour, too; what is no number is grey.
    let matrix = light(matrixplot(&a, genes, "group").cmap("viridis").legend(false));
    let svg = matrix.to_svg().unwrap();
    let fills = |c: Color| svg.matches(&format!("fill=\"{}\"", c.hex())).count();
    assert_eq!(fills(Cmap::named("viridis").unwrap().at(1.0)), 2);
    assert_eq!(fills(Theme::Light.ink().missing), 1);
    dotplot(&a, genes, "group").check().unwrap();
    stacked_violin(&a, genes, "group").stripplot(true).check().unwrap();
    heatmap(&a, genes, "group").check().unwrap();
    tracksplot(&a, genes, "group").check().unwrap();
}

#[test]
fn cluster_maps_say_what_they_need() {
    let mut a = data(12, 6, 3).take_vars(&[0, 1, 4, 5]);
    let e = error(clustermap(&a, "grp"));
    assert!(e.contains("`grp`") && e.contains("obs[\"group\"]"), "{e}");
    assert!(error(clustermap(&a.take_obs(&[]), ())).contains("nothing to show in 0 × 4"));
    assert!(error(clustermap(&a.take_vars(&[]), ())).contains("nothing to show in 12 × 0"));
    // The one reads `raw`, the other `X`.
    a.set_raw().unwrap();
    a.x = Some(Array2::from_elem((12, 4), f64::NAN).into());
    clustermap(&a, "group").check().unwrap();
    let e = error(clustermap_of_x(&a, "group"));
    assert!(e.contains("gene ZERO: is NaN in cell 0"), "{e}");
}

#[test]
fn rankings_with_gaps_are_shown_without_them() {
    let set = |a: &mut AnnData, field: &str, group: &str, value: Value| {
        let table = a.uns["rank_genes_groups"].as_map_mut().and_then(|m| m.get_mut(field));
        let Some(Value::Record(groups)) = table else { panic!("{field}") };
        groups.insert(group.into(), value);
    };
    let genes = |a: &AnnData, ranking: Ranking| {
        rank_genes_groups_dotplot(a, ranking.groups(["b"])).dot_color_df().unwrap().genes
    };
    let first =
        |a: &AnnData| light(rank_genes_groups(a).groups(["b"]).n_genes(1)).to_svg().unwrap();
    // Group b: g1, g3, g4, g2, g0.
    let mut a = ranked();
    set(&mut a, "logfoldchanges", "b", numbers(&[5], vec![f64::NAN, 2.0, 0.0, 0.0, 0.0]));
    assert_eq!(genes(&a, Ranking::from(5).min_logfoldchange(0.5)), ["g3"]);
    let folds = Ranking::from(1).values_to_plot("logfoldchanges");
    let table = rank_genes_groups_dotplot(&a, folds).dot_color_df().unwrap();
    assert_eq!(table.get("b", "g1"), 1.0, "as scanpy shows NaN");
    // What a filter took out, and what has no score.
    set(&mut a, "names", "b", Value::strings(["nan", "g3", "g4", "g2", "g0"]));
    assert_eq!(genes(&a, Ranking::from(1)), ["g3"]);
    assert!(first(&a).contains(">g3</text>"));
    set(&mut a, "scores", "b", numbers(&[5], vec![5.0, f64::NAN, 3.0, 2.0, 1.0]));
    assert!(first(&a).contains(">g4</text>") && !first(&a).contains(">g3</text>"));
    for group in ["a", "b", "c"] {
        set(&mut a, "names", group, Value::strings(["nan"; 5]));
    }
    assert!(error(rank_genes_groups(&a)).contains("no gene has a score"));
    let e = error(rank_genes_groups_dotplot(&a, 2));
    assert!(e.contains("a filter took them out") && !e.contains("min_logfoldchange"), "{e}");
    // Without a symbol the next gene takes the place.
    let mut a = ranked();
    let symbols = [Some("S0"), None, Some("S2"), Some("S3"), Some("S4")];
    let symbols = symbols.map(|s| s.map(String::from)).to_vec();
    a.var.insert("symbol", Column::Str(symbols)).unwrap();
    let one = || Ranking::from(1).gene_symbols("symbol");
    assert_eq!(genes(&a, one()), ["S3"]);
    a.var.insert("symbol", Column::Str(vec![None; 5])).unwrap();
    let e = error(rank_genes_groups_dotplot(&a, one()));
    assert!(e.contains("no gene of any group has a symbol"), "{e}");
}

#[test]
fn a_point_alone_on_its_curve_is_a_dot() {
    let figure = |a: &AnnData| marks(co_occurrence(a, "group").clusters(["a"]));
    let (dots, lines) = figure(&statistics());
    // Five distances a curve: a gap before its last one, and one in the middle.
    for (gap, expected) in [(3, (dots + 1, lines)), (7, (dots, lines + 1))] {
        let mut a = statistics();
        stored(&mut a, "group_co_occurrence", "occ")[gap] = f64::NAN;
        assert_eq!(figure(&a), expected, "{gap}");
    }
    // Of two distances the first has no value.
    let mut a = statistics();
    let (occ, interval) = (numbers(&[4, 4, 1], vec![1.5; 16]), numbers(&[2], vec![0.0, 1.0]));
    a.uns.insert("group_co_occurrence".into(), map(vec![("occ", occ), ("interval", interval)]));
    assert_eq!(figure(&a).0, dots + 4);
}

#[test]
fn statistics_of_clusters_with_gaps_are_drawn() {
    let mut a = statistics();
    let heat = |a: &AnnData| light(nhood_enrichment(a, "group").annotate(true)).to_svg().unwrap();
    let grey = format!("fill=\"{}\"", Theme::Light.ink().missing.hex());
    let before = heat(&a).matches(&grey).count();
    stored(&mut a, "group_nhood_enrichment", "zscore")[5] = f64::NAN;
    let svg = heat(&a);
    assert!(svg.matches(&grey).count() == before + 1 && !svg.contains("NaN"));

    let (dots, lines) = marks(ripley(&a, "group", "L"));
    let table = a.uns["group_ripley_L"].as_map_mut().and_then(|m| m.get_mut("L_stat"));
    let Some(Value::Frame(table)) = table else { panic!("no table") };
    let mut stats = table.get("stats").unwrap().to_f64().unwrap();
    // The rows of group a.
    stats[..8].fill(f64::NAN);
    table.insert("stats", stats).unwrap();
    let mut damaged = table.clone();
    damaged.remove("stats");
    assert_eq!(marks(ripley(&a, "group", "L")), (dots, lines - 1));
    let entry = a.uns["group_ripley_L"].as_map_mut().unwrap();
    entry.insert("L_stat".into(), Value::Frame(damaged));
    let e = error(ripley(&a, "group", "L"));
    assert!(e.contains("no column of numbers `stats`; it has: group, bins"), "{e}");

    let score = |a: &AnnData, name: &str| centrality_scores(a, "group").score([name]);
    assert_eq!(marks(score(&a, "degree_centrality")).0, 4);
    let mut few = Frame::new(["a", "b", "d"].map(String::from).to_vec());
    few.insert("degree_centrality", vec![0.1, 0.5, 0.9]).unwrap();
    few.insert("nothing", vec![f64::NAN; 3]).unwrap();
    a.uns.insert("group_centrality_scores".into(), Value::Frame(few));
    assert_eq!(marks(score(&a, "degree_centrality")).0, 3);
    assert!(error(score(&a, "nothing")).contains("`nothing`: holds no finite numbers"));
}

#[test]
fn genes_that_are_not_drawn_are_counted_in_a_note() {
    let mut a = data(4, 5, 2);
    let nan = f64::NAN;
    a.var.insert("highly_variable", vec![true, true, false, false, false]).unwrap();
    a.var.insert("means", vec![1.0, 2.0, 0.0, 3.0, 1.0]).unwrap();
    a.var.insert("dispersions", vec![0.5, nan, 0.2, 0.0, 0.3]).unwrap();
    a.var.insert("dispersions_norm", vec![1.5, nan, nan, -0.5, 0.1]).unwrap();
    let svg = |a: &AnnData, log| light(highly_variable_genes(a).log(log)).to_svg().unwrap();
    for (log, others, note) in [
        (false, 3, "finite numbers: 2 genes (normalized), 1 genes (not normalized)"),
        (true, 1, "finite numbers above 0: 3 genes (normalized), 3 genes (not normalized)"),
    ] {
        let svg = svg(&a, log);
        assert!(svg.contains("highly variable (1)"), "{svg}");
        assert!(svg.contains(&format!("other ({others})")) && svg.contains(note), "{svg}");
    }
    for name in ["dispersions", "dispersions_norm"] {
        a.var.insert(name, vec![0.5; 5]).unwrap();
    }
    let svg = svg(&a, false);
    assert!(svg.contains("highly variable (2)") && !svg.contains("not drawn"), "{svg}");
}

#[test]
fn figures_of_preprocessing_survive_zeros_and_gaps() {
    let x = Array2::from_shape_fn((1, 3), |(_, g)| [4.0f32, 0.0, 4.0][g]);
    let names = ["A", "B", "C"].map(String::from).to_vec();
    let one = AnnData::new(x, Frame::with_len(1), Frame::new(names)).unwrap();
    let figure = highest_expr_genes(&one, 3);
    let boxes = figure.boxes().unwrap();
    let boxes: Vec<_> = boxes.iter().map(|(name, b)| (name.as_str(), *b)).collect();
    assert_eq!(boxes, [("C", [50.0; 5]), ("A", [50.0; 5]), ("B", [0.0; 5])]);
    figure.check().unwrap();
    figure.log(true).check().unwrap();

    let explained = |ratio: [f64; 3]| {
        let mut a = cells();
        let ratio = numbers(&[3], ratio.to_vec());
        a.uns.insert("pca".into(), map(vec![("variance_ratio", ratio)]));
        light(pca_variance_ratio(&a))
    };
    let svg = explained([0.5, f64::NAN, 0.25]).to_svg().unwrap();
    assert!(svg.contains("2 components explain 75.0 %"), "{svg}");
    assert!(error(explained([f64::NAN; 3])).contains("no number that can be drawn"));
}

#[test]
fn options_without_sense_are_refused_or_defined() {
    let two = || line([("a", vec![1.0, 2.0])]);
    for (e, part) in [
        (error(bar(Vec::<(&str, f64)>::new())), "no finite values"),
        (error(bar([("a", f64::NAN), ("b", f64::INFINITY)])), "no finite values"),
        (error(two().line_width(f64::NAN)), "line_width = NaN"),
        (error(two().line_width(0.0)), "line_width = 0"),
        (error(custom(200, 100, |_| Err("out of ink".into()))), "out of ink"),
        (
            error(violin(&cells(), "UP", "group").order(["a", "b", "a"])),
            "order = a: is named twice",
        ),
    ] {
        assert!(e.contains(part), "{part}: {e}");
    }
    assert_eq!(histogram(&[1.0, 2.0], 0).describe(), "1 bars");
    // What is at or below 0 is not on a logarithmic axis.
    let log = line([("a", vec![-1.0, 0.0, 2.0, 3.0])]).log_y(true).markers(true);
    assert_eq!(marks(log).0, 2);
    // A height that is no number has a name and no bar.
    let svg = |height: f64| light(bar([("a", height), ("b", 1.0)])).to_svg().unwrap();
    let rectangles = |svg: &str| svg.matches("<rect").count();
    assert_eq!(rectangles(&svg(f64::NAN)) + 1, rectangles(&svg(0.5)));
    assert!(svg(f64::NAN).contains(">a</text>"));
}
