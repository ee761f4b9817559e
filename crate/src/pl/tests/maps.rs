//! Maps of points: slices side by side, graphs, legends, colour scales, components.

use super::*;
use crate::anndata::Matrix;

/// A [`slide`] whose spots are joined to the next, with an embedding of three components.
fn joined(n: usize) -> AnnData {
    let mut a = slide(n, 3);
    let next = |i: usize, j: usize| if i + 1 == j || j + 1 == i { 1.0f32 } else { 0.0 };
    let graph = Matrix::from(Array2::from_shape_fn((n, n), |(i, j)| next(i, j)));
    a.obsp.insert("spatial_connectivities".into(), Matrix::Csr(graph.to_csr()));
    let pcs = Array2::from_shape_fn((n, 3), |(i, c)| ((i * (c + 2)) % 11) as f64);
    a.obsm.insert("X_pca".into(), pcs.into());
    a
}

/// [`joined`] as two slices, each over a picture of its own.
fn slices() -> AnnData {
    let mut a = joined(36);
    let Some(Value::Map(m)) = a.uns.get_mut("spatial") else { panic!() };
    let entry = m.shift_remove("slide").unwrap();
    m.insert("one".into(), entry.clone());
    m.insert("two".into(), entry);
    let names = (0..36).map(|i| Some(if i < 18 { "one" } else { "two" }.to_string()));
    a.obs.insert("slice", Column::Str(names.collect())).unwrap();
    a
}

fn light<P: Plot>(f: Figure<P>) -> Figure<P> {
    f.theme(Theme::Light)
}

#[test]
fn slices_stand_side_by_side_over_their_own_pictures() {
    let a = slices();
    let both = spatial_libraries(&a, ["domain", "MBP"], "slice");
    assert_eq!(both.describe(), "spatial map of 36 points coloured by domain, MBP");
    let (w, h) = both.dimensions().unwrap();
    let (one_w, one_h) = spatial_libraries(&a, "domain", "slice").dimensions().unwrap();
    assert!(h > one_h && w.abs_diff(one_w) < w / 2, "two rows of two: {w} × {h}");
    let png = |f: Figure<PointMap>| f.to_png().unwrap();
    assert_ne!(png(both.clone()), png(both.clone().library_first(false)));
    assert_ne!(png(both.clone()), png(both.clone().image(false)));
    assert_ne!(png(both.clone()), png(both.shared_scale(true).vmax(9)));
    spatial_libraries(&a, (), "slice").check().unwrap();
    let e = error(spatial_libraries(&a, "domain", "sample"));
    assert!(e.contains("`sample`") && e.contains("slice"), "{e}");
    let mut none = a.clone();
    none.obs.insert("slice", Column::Str(vec![None; 36])).unwrap();
    let e = error(spatial_libraries(&none, "domain", "slice"));
    assert!(e.contains("no spot belongs to a library"), "{e}");
}

#[test]
fn a_slice_without_a_picture_is_drawn_without_it() {
    let mut a = slices();
    let Some(Value::Map(m)) = a.uns.get_mut("spatial") else { panic!() };
    m.shift_remove("two");
    spatial_libraries(&a, "domain", "slice").check().unwrap();
    let e = error(spatial_libraries(&a, "domain", "slice").img_res_key("hires"));
    assert!(e.contains("hires"), "asked for by name it is an error: {e}");
}

#[test]
fn edges_join_the_spots_that_the_graph_joins() {
    let a = joined(9);
    let red = [255, 0, 0];
    let map = || light(spatial(&a, "domain").image(false).legend(false).spot_size(2.0));
    let graph = |f: Figure<PointMap>| {
        f.edges(&a, "spatial_connectivities").edges_color("red").edges_width(3.0)
    };
    assert_eq!(count(&pixels(&map()), red), 0);
    let drawn = pixels(&graph(map()));
    // Six steps along the rows of three, and two back to the start of the next row.
    let spot = (pixels(&map()).width as f64) / 10.0;
    assert!(count(&drawn, red) as f64 > 6.0 * spot, "{}", count(&drawn, red));
    assert_eq!(
        spatial_graph(&a, "domain", "spatial_connectivities").to_png().unwrap(),
        spatial(&a, "domain").connectivity_key(&a, "spatial_connectivities").to_png().unwrap()
    );
    let e = error(spatial_graph(&a, "domain", "connectivities"));
    assert!(e.contains("obsp") && e.contains("spatial_connectivities"), "{e}");
    let e = error(spatial(&a, "domain").edges(&joined(16), "spatial_connectivities"));
    assert!(e.contains("9 × 9") && e.contains("16"), "{e}");
    let e = error(graph(map()).edges_color("reddish"));
    assert!(e.contains("edges_color"), "{e}");
    // Between slices there is no edge.
    let two = slices();
    let figure = spatial_libraries(&two, "domain", "slice").edges(&two, "spatial_connectivities");
    let edges = &figure.plot.data.as_ref().unwrap().views[1].edges;
    assert_eq!(edges.as_ref().unwrap().len(), 17);
    assert_eq!(edges.as_ref().unwrap()[0], [0, 1]);
}

#[test]
fn edges_are_vectors_while_they_are_few() {
    let a = joined(36);
    let svg = spatial_graph(&a, "domain", "spatial_connectivities").to_svg().unwrap();
    assert_eq!(svg.matches("<path d=\"M").count(), 1);
}

#[test]
fn legends_stand_where_they_are_wanted() {
    let a = joined(36);
    let map = || spatial(&a, ["domain", "score"]);
    let size = |f: Figure<PointMap>| f.dimensions().unwrap();
    let right = size(map());
    let below = size(map().legend_loc("bottom").colorbar_loc("bottom"));
    assert!(below.0 < right.0 && below.1 > right.1, "{right:?} {below:?}");
    assert_eq!(
        size(map().legend_loc("none").colorbar(false)),
        size(map().legend(false)),
        "without either it takes no room"
    );
    let names = light(umap(&a, "domain")).legend_loc("on data").to_svg().unwrap();
    assert!(names.matches(">type 1</text>").count() >= 2, "a name with its rim");
    let e = error(map().legend_loc("north"));
    assert!(e.contains("legend_loc") && e.contains("on data"), "{e}");
    let bar = light(spatial(&a, "score")).colorbar_label("log counts").to_svg().unwrap();
    assert!(bar.contains("log counts"));
    assert!(light(spatial(&a, "partial")).to_svg().unwrap().contains(">NA</text>"));
    assert!(!light(spatial(&a, "partial")).na_in_legend(false).to_svg().unwrap().contains(">NA<"));
}

#[test]
fn each_panel_may_have_its_own_limits() {
    let a = joined(36);
    let map = || light(spatial(&a, ["score", "MBP"]));
    assert_eq!(map().vmax(3).to_png().unwrap(), map().vmax([3, 3]).to_png().unwrap());
    assert_ne!(map().vmax(3).to_png().unwrap(), map().vmax([3, 2]).to_png().unwrap());
    assert_ne!(map().vcenter(1.0).to_png().unwrap(), map().to_png().unwrap());
    assert_ne!(map().log_norm(true).to_png().unwrap(), map().to_png().unwrap());
    let e = error(map().vmax([1, 2, 3]));
    assert!(e.contains("3 limits") && e.contains("2 panels"), "{e}");
    let e = error(map().vmin("p5").vcenter(-1.0));
    assert!(e.contains("vcenter"), "{e}");
    let e = error(map().vcenter("middle"));
    assert!(e.contains("p50"), "{e}");
}

#[test]
fn what_is_missing_has_the_colour_that_was_asked_for() {
    let a = joined(36);
    let blue = [0, 0, 255];
    let map = |key: &str| light(spatial(&a, key).image(false).na_color("#0000ff"));
    assert!(count(&pixels(&map("partial")), blue) > 500);
    assert!(count(&pixels(&map("score")), blue) > 50, "the one that is NaN");
    let masked = map("domain").mask_obs((0..36).map(|i| i % 2 == 0));
    assert!(count(&pixels(&masked), blue) > 1000);
    assert!(error(map("domain").mask_obs([true])).contains("36 (one a spot)"));
    assert!(error(map("domain").na_color("bluish")).contains("na_color"));
}

#[test]
fn components_of_an_embedding_are_counted_from_one() {
    let a = joined(36);
    let three = pca(&a, "domain").components(&a, ["1,2", "3, 1"]);
    let svg = three.to_svg().unwrap();
    assert!(svg.contains(">PC3</text>") && svg.contains(">PC2</text>"));
    let zero = pca(&a, "domain").dimensions_of(&a, [(0, 1), (2, 0)]);
    assert_eq!(three.to_png().unwrap(), zero.to_png().unwrap());
    assert_eq!(
        pca(&a, "domain").to_png().unwrap(),
        pca(&a, "domain").components(&a, ["1,2"]).to_png().unwrap()
    );
    for (text, part) in [("0,1", "from 1"), ("1", "1,2"), ("1,9", "at least 9")] {
        let e = error(pca(&a, "domain").components(&a, [text]));
        assert!(e.contains(part), "{e}");
    }
    let e = error(spatial(&a, "domain").components(&a, ["1,2"]));
    assert!(e.contains("only embeddings"), "{e}");
    let mut known = a.clone();
    let ratio = Value::Array { shape: vec![2], values: vec![0.25, 0.125].into() };
    known.uns.insert("pca".into(), Value::Map([("variance_ratio".into(), ratio)].into()));
    assert!(pca(&known, "domain").to_svg().unwrap().contains("PC1 (25.0 %)"));
}

#[test]
fn one_quantity_is_drawn_against_another() {
    let a = joined(36);
    let figure = scatter_xy(&a, "score", "MBP", "domain");
    assert_eq!(figure.describe(), "scatter plot of 36 points coloured by domain");
    let svg = figure.to_svg().unwrap();
    assert!(svg.contains(">score</text>") && svg.contains(">MBP</text>"));
    scatter_xy(&a, "score", "flat", ()).check().unwrap();
    assert!(error(scatter_xy(&a, "domain", "MBP", ())).contains("holds categories"));
    assert!(error(scatter_xy(&a, "nothing", "MBP", ())).contains("no points"));
    assert!(error(scatter_xy(&a, "score", "MBP", ()).log(false, true)).contains("at or below 0"));
    let e = error(scatter_xy(&a, "score", "MBQ", ()));
    assert!(e.contains("gene MBP"), "{e}");
}

#[test]
fn colours_are_written_where_scanpy_finds_them() {
    let mut a = joined(9);
    set_colors(&mut a, "domain", "colorblind").unwrap();
    let Some(Value::StrArray { values, .. }) = a.uns.get("domain_colors") else { panic!() };
    let expected: Vec<String> = colorblind_colors(3).iter().map(Color::hex).collect();
    assert_eq!(*values, expected);
    let first = colorblind_colors(1)[0];
    let image = pixels(&light(spatial(&a, "domain")));
    assert!(count(&image, [first.r, first.g, first.b]) > 500);
    let wrong = set_colors(&mut a, "domain", [("type 0", "red")]).unwrap_err().to_string();
    assert!(wrong.contains("type 1"), "{wrong}");
    assert!(set_colors(&mut a, "score", "tab10").unwrap_err().to_string().contains("numbers"));
    assert!(set_colors(&mut a, "dome", "tab10").unwrap_err().to_string().contains("domain"));
}

#[test]
fn genes_are_found_by_their_symbols() {
    let mut a = joined(9);
    a.var.insert("symbol", Column::Str(vec![Some("Mbp".into())])).unwrap();
    let by_symbol = spatial(&a, [Key::new("Mbp").gene_symbols("symbol")]).title("");
    assert_eq!(by_symbol.to_png().unwrap(), spatial(&a, "MBP").title("").to_png().unwrap());
    let e = error(spatial(&a, [Key::new("MBQ").gene_symbols("symbol")]));
    assert!(e.contains("Mbp"), "{e}");
}

#[test]
fn more_options_have_their_effect() {
    let a = joined(36);
    let map = || spatial(&a, "domain");
    let plain = map().to_png().unwrap();
    let changed = [
        map().add_outline(true),
        map().add_outline(true).outline_width(0.5, 0.1),
        map().add_outline(true).outline_color("red", "yellow"),
        map().shape(SpotShape::Hexagon),
        map().scalebar(0.5, "µm"),
        map().legend_fontsize(15.0),
        map().crop_coord(10.0, 50.0, 10.0, 50.0),
        map().bw(true),
        map().frameon(true),
    ];
    let mut seen = vec![plain];
    for (k, figure) in changed.iter().enumerate() {
        let png = figure.to_png().unwrap();
        assert!(!seen.contains(&png), "option {k}");
        seen.push(png);
    }
    let two = || spatial(&a, ["domain", "score"]);
    assert!(two().wspace(0.5).dimensions().unwrap().0 > two().dimensions().unwrap().0);
    let down = || two().ncols(1);
    assert!(down().hspace(0.5).dimensions().unwrap().1 > down().dimensions().unwrap().1);
    for (figure, part) in [
        (umap(&a, "domain").scalebar(0.5, "µm"), "scalebar"),
        (map().scalebar(0.0, "µm"), "positive"),
        (map().wspace(-1.0), "wspace"),
        (map().img_res_key("fullres"), "hires"),
        (map().add_outline(true).outline_color("redd", "white"), "outline_color"),
    ] {
        let e = error(figure);
        assert!(e.contains(part), "{e}");
    }
    let order = |on: bool| umap(&a, "score").sort_order(on).to_png().unwrap();
    assert_ne!(order(true), order(false));
}

#[test]
fn a_hundred_thousand_edges_take_no_time() {
    let n = 50_000;
    let mut a = grid(n, 12);
    let ring = (0..n).flat_map(|i| [(i + 1) % n, (i + 7) % n]).map(|j| j as u32).collect();
    let indptr = (0..=n).map(|i| 2 * i).collect();
    let graph = crate::anndata::Sparse::new((n, n), true, indptr, ring, vec![1f32; 2 * n].into());
    let graph = graph.unwrap();
    a.obsp.insert("g".into(), Matrix::Csr(graph));
    let start = std::time::Instant::now();
    spatial_graph(&a, "domain", "g").to_png().unwrap();
    // Under a second on an idle machine; the limit is for a busy one.
    assert!(start.elapsed().as_secs_f64() < 10.0, "{:?}", start.elapsed());
}

#[test]
fn maps_look_as_they_did() {
    let a = slices();
    compare("slices", light(spatial_libraries(&a, ["domain", "MBP"], "slice")).width(420));
    let whole = joined(36);
    let graph = spatial_graph(&whole, "domain", "spatial_connectivities").spot_scale(0.5);
    compare("graph", light(graph.scalebar(0.5, "µm").legend_loc("bottom")).width(240));
    let named = umap(&grid(200, 5), "domain").add_outline(true).legend_loc("on data");
    compare("on_data", named.theme(Theme::Dark).width(250));
    let numbers = scatter_xy(&whole, "score", "MBP", "score").vcenter(2).cmap("RdBu_r");
    compare("scatter_xy", light(numbers).width(280));
}
