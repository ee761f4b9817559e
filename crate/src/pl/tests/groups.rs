//! Figures of genes by groups of cells: numbers, refusals, survival, and looks.

use super::super::canvas::Shape;
use super::super::text::text_width;
use super::{compare, error};
use crate::anndata::{AnnData, Categorical, Column, Frame, Map, Value};
use crate::io;
use crate::pl::*;
use ndarray::Array2;
use std::path::Path;

/// `n` cells × `genes` genes of counts that depend on the cell's group, of `k`; genes 0 to 3 are
/// special: all zero, constant, negative, and with NaN.
pub(super) fn data(n: usize, genes: usize, k: usize) -> AnnData {
    let value = |(i, g): (usize, usize)| match g {
        0 => 0.0,
        1 => 2.0,
        2 => -1.0 - (i % k) as f32,
        3 if i % 5 == 0 => f32::NAN,
        _ => {
            let wave = ((i * 7919 + g * 104_729) % 97) as f32 / 20.0;
            let mine = if g % k == i % k { 3.0 } else { 0.0 };
            (wave + mine - 2.0).max(0.0)
        }
    };
    let names = (0..genes).map(|g| match g {
        0 => "ZERO".into(),
        1 => "CONST".into(),
        2 => "NEG".into(),
        3 => "NAN".into(),
        _ => format!("GENE{g}"),
    });
    let x = Array2::from_shape_fn((n, genes), value);
    let mut a = AnnData::new(x, Frame::with_len(n), Frame::new(names.collect())).unwrap();
    let labels: Vec<_> = (0..n).map(|i| Some(format!("group {}", i % k))).collect();
    a.obs.insert("group", Categorical::from_labels(&labels)).unwrap();
    let some = labels.iter().enumerate().map(|(i, l)| l.clone().filter(|_| i % 4 != 0));
    let mut some = Categorical::from_labels(&some.collect::<Vec<_>>());
    some.add(&["nobody"]).unwrap();
    a.obs.insert("partial", some).unwrap();
    a.obs.insert("age", (0..n).map(|i| i as f64).collect::<Vec<_>>()).unwrap();
    a
}

/// [`data`] with the dendrogram that `tl::dendrogram` would write: a chain of the groups.
fn with_tree(n: usize, genes: usize, k: usize) -> AnnData {
    let mut a = data(n, genes, k);
    let Some(Column::Categorical(c)) = a.obs.get("group") else { panic!() };
    let names = c.categories.clone();
    let mut linkage = Vec::new();
    for s in 0..k - 1 {
        let first = if s == 0 { 1 } else { k + s - 1 };
        let second = if s == 0 { 0 } else { s + 1 };
        linkage.extend([first as f64, second as f64, 0.1 + s as f64, s as f64 + 2.0]);
    }
    let array = |shape: Vec<usize>, v: Vec<f64>| Value::Array { shape, values: v.into() };
    let mut order = vec![1, 0];
    order.extend(2..k);
    let corr = (0..k * k).map(|i| 1.0 - 2.0 * ((i / k).abs_diff(i % k)) as f64 / k as f64);
    let map: Map<Value> = [
        ("linkage", array(vec![k - 1, 4], linkage)),
        ("groupby", Value::strings(["group"])),
        ("categories_ordered", Value::strings(order.iter().map(|&i| names[i].clone()))),
        ("categories_idx_ordered", array(vec![k], order.iter().map(|&i| i as f64).collect())),
        ("correlation_matrix", array(vec![k, k], corr.collect())),
    ]
    .into_iter()
    .map(|(name, v)| (name.to_string(), v))
    .collect();
    a.uns.insert("dendrogram_group".into(), Value::Map(map));
    a
}

fn ranked() -> AnnData {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/pl/ranked.h5ad");
    io::read_h5ad(Path::new(path)).unwrap()
}

const GENES: [&str; 6] = ["ZERO", "CONST", "NEG", "NAN", "GENE4", "GENE5"];

/// Every text lies on the sheet and touches no other.
fn check_texts<P: Plot>(what: &str, figure: &Figure<P>, width: f64) {
    let frame = crate::pl::Frame { width: Some(width), ..Default::default() };
    let (w, h) = figure.plot.size(&frame).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut canvas = Canvas::new(w.round(), h.round(), Theme::Light);
    figure.plot.draw(&mut canvas, &frame).unwrap();
    let mut boxes: Vec<(Rect, String)> = Vec::new();
    for mark in &canvas.marks {
        let Shape::Text { x, y, text, style } = &mark.shape else { continue };
        let (length, high) = (text_width(text, style.size, style.bold), 0.714 * style.size);
        let along = match style.align {
            Align::Start => 0.0,
            Align::Middle => -length / 2.0,
            Align::End => -length,
        };
        let across = match style.valign {
            VAlign::Top => 0.0,
            VAlign::Middle => -high / 2.0,
            VAlign::Baseline => -high,
        };
        let r = if style.upward {
            Rect { x0: x + across, x1: x + across + high, y0: y - along - length, y1: y - along }
        } else {
            Rect { x0: x + along, x1: x + along + length, y0: y + across, y1: y + across + high }
        };
        let inside = r.x0 >= -0.5 && r.y0 >= -0.5 && r.x1 <= w + 0.5 && r.y1 <= h + 0.5;
        assert!(inside, "{what} at {width}: `{text}` leaves the sheet: {r:?} of {w} × {h}");
        for (other, name) in &boxes {
            let (dx, dy) =
                (r.x1.min(other.x1) - r.x0.max(other.x0), r.y1.min(other.y1) - r.y0.max(other.y0));
            assert!(dx <= 0.3 || dy <= 0.3, "{what} at {width}: `{text}` lies on `{name}`");
        }
        boxes.push((r, text.clone()));
    }
    assert!(!boxes.is_empty(), "{what}");
}

#[test]
fn numbers_are_those_of_the_groups() {
    let a = data(12, 6, 3);
    let dots = dotplot(&a, GENES, "group");
    let (color, size) = (dots.dot_color_df().unwrap(), dots.dot_size_df().unwrap());
    assert_eq!(color.groups, ["group 0", "group 1", "group 2"]);
    assert_eq!(color.genes, GENES);
    let table = |t: &GroupTable, gene: &str| -> Vec<f64> {
        t.groups.iter().map(|g| t.get(g, gene)).collect()
    };
    assert_eq!(table(&color, "NEG"), [-1.0, -2.0, -3.0]);
    assert_eq!(table(&size, "NEG"), [0.0; 3]);
    assert_eq!(table(&size, "CONST"), [1.0; 3]);
    assert_eq!(table(&color, "ZERO"), [0.0; 3]);
    // Cells 0, 5 and 10 have no number: they count as cells, but not for the mean.
    let x = a.x().unwrap().column_f32(3);
    let of = |g: usize| (0..12).filter(move |i| i % 3 == g && i % 5 != 0);
    for g in 0..3 {
        let mean = of(g).map(|i| f64::from(x[i])).sum::<f64>() / of(g).count() as f64;
        assert!((table(&color, "NAN")[g] - mean).abs() < 1e-12);
        let above = of(g).filter(|&i| x[i] > 0.0).count() as f64;
        assert_eq!(table(&size, "NAN")[g], above / 4.0);
    }
    let cut = dots.clone().expression_cutoff(-2.5).mean_only_expressed(true);
    assert_eq!(table(&cut.dot_size_df().unwrap(), "NEG"), [1.0, 1.0, 0.0]);
    assert_eq!(table(&cut.dot_color_df().unwrap(), "NEG"), [-1.0, -2.0, 0.0]);
    let scaled = dots.clone().standard_scale("var").dot_color_df().unwrap();
    assert_eq!(table(&scaled, "NEG"), [1.0, 0.5, 0.0]);
    assert_eq!(table(&scaled, "CONST"), [0.0; 3]);
    let matrix = matrixplot(&a, GENES, "group").values_df().unwrap();
    assert_eq!(table(&matrix, "NEG"), table(&color, "NEG"));
    let medians = stacked_violin(&a, GENES, "group").medians_df().unwrap();
    assert_eq!(table(&medians, "NEG"), [-1.0, -2.0, -3.0]);
}

#[test]
fn groups_without_cells_are_left_out_and_the_rest_keep_their_order() {
    let a = data(12, 6, 3);
    let dots = dotplot(&a, "CONST", "partial");
    assert_eq!(dots.dot_size_df().unwrap().groups, ["group 0", "group 1", "group 2"]);
    let e = dots.describe();
    assert!(e.contains("3 of 12 cells have no label"), "{e}");
    let order = dots.categories_order(["group 2", "group 0", "group 1"]);
    assert_eq!(order.dot_size_df().unwrap().groups[0], "group 2");
    let both = dotplot(&a, "CONST", ["group", "partial"]).dot_size_df().unwrap();
    assert_eq!(both.groups[0], "group 0_group 0");
    let cut = dotplot(&a, "CONST", "age").num_categories(4).dot_size_df().unwrap();
    assert_eq!(cut.groups, ["(-0.011, 2.75]", "(2.75, 5.5]", "(5.5, 8.25]", "(8.25, 11.0]"]);
}

#[test]
fn a_dendrogram_orders_groups_and_the_genes_of_each() {
    let a = with_tree(12, 9, 3);
    let genes = [
        ("group 0", vec!["GENE6"]),
        ("group 1", vec!["GENE4", "GENE7"]),
        ("group 2", vec!["GENE5", "GENE8"]),
    ];
    let dots = dotplot(&a, genes.clone(), "group").dendrogram(true);
    let table = dots.dot_color_df().unwrap();
    assert_eq!(table.groups, ["group 1", "group 0", "group 2"]);
    assert_eq!(table.genes, ["GENE4", "GENE7", "GENE6", "GENE5", "GENE8"]);
    let other = [("some", vec!["GENE6"]), ("more", vec!["GENE4"])];
    let table = dotplot(&a, other, "group").dendrogram(true).dot_color_df().unwrap();
    assert_eq!(table.genes, ["GENE6", "GENE4"]);
    let e = error(dotplot(&a, "GENE4", "partial").dendrogram(true));
    assert!(e.contains("dendrogram_partial") && e.contains("dendrogram_group"), "{e}");
    let e = error(dotplot(&a, "GENE4", "partial").dendrogram_key("dendrogram_group"));
    assert!(e.contains("was made for group"), "{e}");
    let e = error(dotplot(&a, "GENE4", "group").dendrogram(true).add_totals("ascending"));
    assert!(e.contains("add_totals"), "{e}");
}

#[test]
fn what_cannot_be_drawn_is_one_clear_error() {
    let a = data(12, 6, 3);
    let dots = || dotplot(&a, GENES, "group");
    for (figure, part) in [
        (dotplot(&a, "gene4", "group"), "gene GENE4"),
        (dotplot(&a, "GENE4", "gruop"), "group"),
        (dotplot(&a, Genes::new::<&str>([]), "group"), "no genes"),
        (dotplot(&a, Genes::from("GENE4").layer("x"), "group"), "layer"),
        (dots().dot_max(1.5), "between 0 and 1"),
        (dots().dot_min(0.5).dot_max(0.5), "below dot_max"),
        (dots().smallest_dot(-1.0), "smallest_dot"),
        (dots().expression_cutoff(f64::NAN), "expression_cutoff"),
        (dots().standard_scale("gene"), "var, group nor obs"),
        (dots().categories_order(["group 0"]), "every group"),
        (dots().cmap("redz"), "viridis"),
        (dots().vmin(9).vmax(1), "vmax"),
        (dots().vcenter(1e9).vmax(1.0), "vcenter"),
        (dots().add_totals("up"), "ascending"),
        (dots().log(true), "below -1"),
        (dots().dendrogram(true), "tl::dendrogram"),
        (dotplot(&a, "CONST", "age").num_categories(0), "num_categories"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{e}");
    }
    assert!(error(stacked_violin(&a, GENES, "group").ylim(2.0, 1.0)).contains("ylim"));
    assert!(error(tracksplot(&a, GENES, ())).contains("groupby"));
    assert!(error(heatmap(&a.take_obs(&[]), GENES, "group")).contains("no cells"));
    assert!(error(clustermap(&a, ())).contains("NAN"));
    assert!(error(clustermap(&a.take_vars(&[0, 1]), "age")).contains("numbers"));
    assert!(error(clustermap(&a.take_vars(&[1]), ["group", "partial"])).contains("only one"));
    assert!(error(clustermap(&a.take_vars(&[1]), ()).z_score("x")).contains("z_score"));
    assert!(error(dendrogram(&a, "group")).contains("tl::dendrogram"));
    assert!(error(dendrogram(&with_tree(9, 4, 3), "group").orientation("up")).contains("left"));
    let mut no = with_tree(9, 4, 3);
    let Some(Value::Map(m)) = no.uns.get_mut("dendrogram_group") else { panic!() };
    m.shift_remove("correlation_matrix");
    assert!(error(correlation_matrix(&no, "group")).contains("correlation_matrix"));
}

#[test]
fn extreme_data_are_drawn() {
    let one = data(1, 6, 1);
    let each = data(5, 6, 5);
    let many = data(300, 80, 30);
    let sub = |a: &AnnData, g: &[usize]| a.take_vars(g);
    for a in [&one, &each, &many] {
        for key in ["group", "partial"] {
            if a.n_obs() == 1 && key == "partial" {
                continue;
            }
            for swap in [false, true] {
                dotplot(a, GENES, key).swap_axes(swap).add_totals(None).check().unwrap();
                matrixplot(a, GENES, key).swap_axes(swap).numbers(2).check().unwrap();
                let violins = stacked_violin(a, GENES, key).swap_axes(swap).stripplot(true);
                violins.check().unwrap();
                heatmap(a, GENES, key).swap_axes(swap).check().unwrap();
            }
            tracksplot(a, GENES, key).check().unwrap();
        }
        heatmap(a, GENES, ()).check().unwrap();
        clustermap(&sub(a, &[0, 1, 2, 4]), "group").check().unwrap();
    }
    dotplot(&one, "ZERO", "group").check().unwrap();
    dotplot(&one, "NAN", "group").check().unwrap();
    for scale in ["var", "group"] {
        dotplot(&many, GENES, "group").standard_scale(scale).check().unwrap();
        heatmap(&many, GENES, "group").standard_scale(scale).check().unwrap();
        stacked_violin(&many, GENES, "group").standard_scale(scale).check().unwrap();
    }
    for norm in [DensityNorm::Width, DensityNorm::Area, DensityNorm::Count] {
        stacked_violin(&many, GENES, "group").density_norm(norm).check().unwrap();
    }
    dotplot(&many, GENES, "group").size(80.0, 60.0).check().unwrap();
}

#[test]
fn texts_never_touch_or_leave_the_sheet() {
    let few = with_tree(60, 12, 5);
    let many = with_tree(400, 80, 30);
    let long: Vec<String> = many.var.names()[4..74].to_vec();
    let groups = [
        ("white matter and more", vec!["GENE4", "GENE5"]),
        ("L5", vec!["GENE6"]),
        ("a name that is far too long for the one gene below it", vec!["GENE7"]),
    ];
    for width in [420.0, 600.0, 900.0] {
        for a in [&few, &many] {
            let g = || groups.clone();
            for swap in [false, true] {
                let f = dotplot(a, g(), "group").swap_axes(swap).dendrogram(true);
                check_texts("dots", &f.add_totals(None), width);
                let f = matrixplot(a, g(), "group").swap_axes(swap).numbers(1);
                check_texts("matrix", &f, width);
                check_texts("violins", &stacked_violin(a, g(), "group").swap_axes(swap), width);
                let f = heatmap(a, g(), "group").swap_axes(swap).dendrogram(true);
                check_texts("heat map", &f, width);
            }
            check_texts("tracks", &tracksplot(a, g(), "group").dendrogram(true), width);
            check_texts("tree", &dendrogram(a, "group"), width);
            check_texts("tree left", &dendrogram(a, "group").orientation("left"), width);
            let f = correlation_matrix(a, "group").show_correlation_numbers(true);
            check_texts("correlations", &f, width);
        }
        for swap in [false, true] {
            check_texts("long", &dotplot(&many, long.clone(), "group").swap_axes(swap), width);
            let f = heatmap(&many, long[..45].to_vec(), "group").swap_axes(swap);
            check_texts("long heat map", &f, width);
        }
        check_texts("long tracks", &tracksplot(&many, long.clone(), "group"), width);
        let small = many.take_vars(&(4..50).collect::<Vec<_>>());
        check_texts("clusters", &clustermap(&small, "group"), width);
    }
}

#[test]
fn options_have_their_effect() {
    let a = with_tree(60, 12, 3);
    let dots = || dotplot(&a, GENES, "group");
    let plain = dots().to_png().unwrap();
    for (k, figure) in [
        dots().standard_scale("var"),
        dots().expression_cutoff(1.0),
        dots().mean_only_expressed(true),
        dots().dot_max(0.4),
        dots().dot_min(0.4),
        dots().smallest_dot(30.0),
        dots().largest_dot(60.0),
        dots().size_exponent(1.0),
        dots().color_on_square(true),
        dots().size_title("part"),
        dots().colorbar_title("mean"),
        dots().cmap("Blues"),
        dots().vmin(-1),
        dots().vmax("p80"),
        dots().vcenter(0.5),
        dots().symmetric(true),
        dots().swap_axes(true),
        dots().dendrogram(true),
        dots().add_totals(None),
        dots().categories_order(["group 2", "group 1", "group 0"]),
        dots().legend(false),
        dots().title("title"),
        dots().theme(Theme::Dark),
    ]
    .iter()
    .enumerate()
    {
        assert_ne!(figure.to_png().unwrap(), plain, "option {k}");
    }
    let violins = || stacked_violin(&a, ["GENE4", "GENE5"], "group");
    let plain = violins().to_png().unwrap();
    for (k, figure) in [
        violins().stripplot(true),
        violins().row_palette("colorblind"),
        violins().density_norm(DensityNorm::Count),
        violins().ylim(-3.0, 9.0),
        violins().log(true),
    ]
    .iter()
    .enumerate()
    {
        assert_ne!(figure.to_png().unwrap(), plain, "option {k}");
    }
    let points = |f: Figure<StackedViolin>| f.stripplot(true).to_png().unwrap();
    assert_ne!(points(violins()), points(violins().jitter(0.3)));
    assert_ne!(points(violins()), points(violins().jitter_size(3.0)));
    let cluster = || clustermap(&a.select_vars(["GENE4", "GENE5", "GENE6"]).unwrap(), "group");
    let plain = cluster().to_png().unwrap();
    for (k, figure) in [
        cluster().standard_scale("var"),
        cluster().z_score("obs"),
        cluster().row_cluster(false),
        cluster().col_cluster(false),
        cluster().cmap("magma"),
        cluster().vmax(1.0),
        cluster().vcenter(0.3),
        cluster().legend(false),
    ]
    .iter()
    .enumerate()
    {
        assert_ne!(figure.to_png().unwrap(), plain, "option {k}");
    }
}

#[test]
fn a_ranking_gives_the_genes_and_the_numbers() {
    let a = ranked();
    let dots = rank_genes_groups_dotplot(&a, 2);
    let table = dots.dot_color_df().unwrap();
    // The dendrogram is there: groups stand in its order, and their genes with them.
    assert_eq!(table.groups, ["b", "a", "c"]);
    assert_eq!(table.genes, ["g1", "g3", "g0", "g3", "g2", "g4"]);
    let last = rank_genes_groups_matrixplot(&a, -1).values_df().unwrap();
    assert_eq!(last.genes, ["g0", "g2", "g1"]);
    let folds = Ranking::from(1).values_to_plot("logfoldchanges");
    let table = rank_genes_groups_dotplot(&a, folds).dot_color_df().unwrap();
    assert!((table.get("a", "g0") - 1.898_712_4).abs() < 1e-6);
    let strong = Ranking::from(5).min_logfoldchange(1.0).groups(["a", "c"]);
    let table = rank_genes_groups_dotplot(&a, strong).dot_color_df().unwrap();
    assert_eq!(table.genes, ["g0", "g2"]);
    let p = Ranking::default().values_to_plot("log10_pvals_adj");
    let table = rank_genes_groups_matrixplot(&a, p).values_df().unwrap();
    assert!((table.get("b", "g1") - 4.134_277).abs() < 1e-4, "{}", table.get("b", "g1"));
    rank_genes_groups_stacked_violin(&a, 2).check().unwrap();
    rank_genes_groups_heatmap(&a, ()).check().unwrap();
    rank_genes_groups_tracksplot(&a, 2).check().unwrap();
    for (ranking, part) in [
        (Ranking::from(0), "n_genes"),
        (Ranking::default().key("nope"), "logreg"),
        (Ranking::default().groups(["z"]), "`z`"),
        (Ranking::default().values_to_plot("p"), "log10_pvals"),
        (Ranking::default().key("logreg").values_to_plot("pvals"), "logreg does not compute"),
        (Ranking::default().min_logfoldchange(1e9), "min_logfoldchange"),
        (Ranking::from(1).var_names(["g0"]), "n_genes"),
        (Ranking::default().groupby("grou"), "group"),
    ] {
        let e = error(rank_genes_groups_dotplot(&a, ranking));
        assert!(e.contains(part), "{e}");
    }
    let e = error(rank_genes_groups_heatmap(&a, Ranking::default().values_to_plot("scores")));
    assert!(e.contains("only dot plots"), "{e}");
}

#[test]
fn thousands_of_cells_are_one_bitmap() {
    let a = data(20_000, 12, 8);
    let svg = heatmap(&a, GENES, "group").to_svg().unwrap();
    assert!(svg.len() < 1_500_000 && svg.matches("<rect").count() < 60, "{}", svg.len());
    let svg = tracksplot(&a, GENES, "group").to_svg().unwrap();
    assert!(svg.len() < 600_000, "{}", svg.len());
}

#[test]
fn figures_look_as_they_did() {
    let a = with_tree(90, 12, 5);
    let groups = || [("white matter", vec!["GENE4", "GENE5"]), ("L5", vec!["GENE6", "CONST"])];
    let dots = dotplot(&a, groups(), "group").dendrogram(true).title("Dots");
    compare("groups_dots", dots.theme(Theme::Light).width(360));
    let matrix = matrixplot(&a, groups(), "group").numbers(1).swap_axes(true);
    compare("groups_matrix", matrix.add_totals(None).theme(Theme::Dark).width(400));
    let violins = stacked_violin(&a, groups(), "group");
    compare("groups_violins", violins.theme(Theme::Light).width(340));
    let heat = heatmap(&a, groups(), "group").dendrogram(true).standard_scale("var");
    compare("groups_heat", heat.theme(Theme::Light).size(340, 220));
    let tracks = tracksplot(&a, groups(), "group");
    compare("groups_tracks", tracks.width(340));
    let correlation = correlation_matrix(&a, "group");
    compare("groups_correlation", correlation.theme(Theme::Light).width(360));
    let few = a.take_vars(&(4..12).collect::<Vec<_>>());
    compare("groups_clusters", clustermap(&few, "group").theme(Theme::Dark).size(360, 260));
}
