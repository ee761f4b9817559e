use super::super::graph::tests::{clouds, graph, neighbours, with_graph};
use super::*;
use crate::parallel::same_with_any_threads;
use crate::tl::trustworthiness;

fn embedded(x: &Array2<f64>, options: Umap) -> AnnData {
    let mut a = with_graph(neighbours(x, 12));
    a.obsm.insert("X_pca".into(), x.clone().into());
    umap(&mut a, options).unwrap();
    a
}

#[test]
fn neighbours_stay_neighbours_with_the_same_bits_on_any_threads() {
    let x = clouds(5, 120, 6, 6.0);
    let starts = ["spectral", "random", "pca"];
    for (init, dim) in starts.into_iter().zip([2, 3, 6]).chain([("spectral", 1), ("random", 9)]) {
        let options = Umap::default().init_pos(init).n_components(dim).maxiter(60).seed(2);
        let a = same_with_any_threads(|| embedded(&x, options.clone()).obsm);
        let y = a["X_umap"].to_array_f64();
        assert_eq!(y.dim(), (600, dim));
        assert!(y.iter().all(|v| v.is_finite()));
        let t = trustworthiness(x.view(), y.view(), 15).unwrap();
        assert!(t > if dim == 1 { 0.85 } else { 0.9 }, "{init} {dim}: {t}");
    }
    let again = embedded(&x, Umap::default().maxiter(60).init_pos("X_pca").n_components(6));
    assert!(again.obsm.contains_key("X_umap"));
}

#[test]
fn what_is_written_is_what_scanpy_writes() {
    let x = clouds(3, 50, 4, 6.0);
    let a = embedded(&x, Umap::default().seed(7).maxiter(20));
    assert_eq!(a.obsm["X_umap"].values().dtype(), "float32");
    let param = |k| a.uns["umap"].at(&["params", k]).and_then(Value::as_f64);
    assert!((param("a").unwrap() - 0.583_030_02).abs() < 1e-6);
    assert_eq!(param("random_state"), Some(7.0));
    let a = embedded(&x, Umap::default().maxiter(20).key_added("mine").ab(1.0, 0.9));
    assert_eq!(a.uns["mine"].at(&["params", "b"]).and_then(Value::as_f64), Some(0.9));
    assert!(a.uns["mine"].at(&["params", "random_state"]).is_none());
    assert_eq!(a.obsm["mine"].shape(), (150, 2));
}

#[test]
fn graphs_in_pieces_and_few_cells_are_embedded() {
    for (n, edges) in [
        (0, vec![]),
        (1, vec![]),
        (2, vec![]),
        (2, vec![(0, 1, 1.0)]),
        (3, vec![(0, 1, 0.4), (1, 2, 0.3)]),
        (12, (0..11).map(|i| (i, i + 1, 1.0)).filter(|e| e.0 != 5).collect()),
        (40, (0..20).map(|i| (2 * i, 2 * i + 1, 0.1 + i as f32)).collect()),
        (6, (0..6).flat_map(|i| (0..i).map(move |j| (j, i, 1.0))).collect()),
    ] {
        let mut a = with_graph(graph(n, &edges));
        umap(&mut a, Umap::default()).unwrap();
        let y = a.obsm["X_umap"].to_array_f64();
        assert_eq!(y.dim(), (n, 2));
        assert!(y.iter().all(|v| v.is_finite()), "{n} cells: {y}");
    }
}

#[test]
fn points_that_are_all_equal_are_spread_out() {
    let x = Array2::<f64>::ones((60, 3));
    let mut a = embedded(&x, Umap::default().maxiter(50));
    let y = a.obsm["X_umap"].to_array_f64();
    assert!(y.iter().all(|v| v.is_finite()));
    a.obsm.insert("flat".into(), Array2::<f64>::zeros((60, 2)).into());
    umap(&mut a, Umap::default().init_pos("flat")).unwrap();
    let y = a.obsm["X_umap"].to_array_f64();
    assert!(y.iter().all(|v| v.is_finite()) && y.std_axis(ndarray::Axis(0), 0.0).sum() > 0.1);
}

#[test]
fn bad_input_is_refused_and_nothing_written() {
    let x = clouds(2, 30, 4, 6.0);
    let mut a = with_graph(neighbours(&x, 8));
    let mut broken = Array2::<f64>::zeros((60, 2));
    broken[[9, 1]] = f64::NAN;
    a.obsm.insert("broken".into(), broken.into());
    a.obsm.insert("wide".into(), x.clone().into());
    let mut wrong = |o: Umap| umap(&mut a, o).unwrap_err().to_string();
    assert!(wrong(Umap::default().init_pos("broken")).contains("row 9 holds NaN"));
    assert!(wrong(Umap::default().init_pos("wide")).contains("expected 2, found 4"));
    assert!(wrong(Umap::default().init_pos("absent")).contains("`absent`"));
    assert!(wrong(Umap::default().init_pos("pca")).contains("run `pp::pca` first"));
    assert!(wrong(Umap::default().obsp("distances")).contains("`distances`"));
    assert!(wrong(Umap::default().min_dist(2.0)).contains("between 0 and the spread, 1"));
    assert!(wrong(Umap::default().spread(0.0)).contains("spread"));
    assert!(wrong(Umap::default().alpha(f64::NAN)).contains("alpha"));
    assert!(wrong(Umap::default().gamma(-1.0)).contains("gamma"));
    assert!(wrong(Umap::default().n_components(0)).contains("n_components"));
    assert!(wrong(Umap::default().ab(0.0, 1.0)).contains("a = 0"));
    assert!(!a.obsm.contains_key("X_umap"));
    let e = umap(&mut AnnData::default(), Umap::default()).unwrap_err().to_string();
    assert!(e.contains("run `pp::neighbors` first"), "{e}");
}
