use super::*;
use crate::gr::sample::slide;
use crate::linalg::Csr;
use crate::parallel::same_with_any_threads;

fn run(a: &AnnData, options: SpatialNeighbors) -> Result<AnnData> {
    let mut a = a.clone();
    spatial_neighbors(&mut a, options).map(|()| a)
}

fn conn(a: &AnnData) -> Csr<f64> {
    Csr::of(&a.obsp["spatial_connectivities"])
}

fn dist(a: &AnnData) -> Csr<f64> {
    Csr::of(&a.obsp["spatial_distances"])
}

fn row(g: &Csr<f64>, r: usize) -> Vec<(usize, f64)> {
    g.row(r).collect()
}

fn points(coords: &[[f64; 2]]) -> AnnData {
    let mut a =
        AnnData { obs: crate::anndata::Frame::with_len(coords.len()), ..AnnData::default() };
    let spatial = Array2::from_shape_fn((coords.len(), 2), |(i, d)| coords[i][d]);
    a.obsm.insert("spatial".into(), spatial.into());
    a
}

#[test]
fn a_square_grid_has_4_or_8_neighbours_and_rings() {
    let a = slide(5, 5);
    let four = conn(&run(&a, SpatialNeighbors::grid(4)).unwrap());
    assert_eq!(row(&four, 12), [(7, 1.), (11, 1.), (13, 1.), (17, 1.)]);
    assert_eq!(row(&four, 0).len(), 2);
    let eight = conn(&run(&a, SpatialNeighbors::grid(8)).unwrap());
    assert_eq!((row(&eight, 12).len(), row(&eight, 0).len(), row(&eight, 2).len()), (8, 3, 5));
    let rings = run(&a, SpatialNeighbors::grid(4).n_rings(3)).unwrap();
    let steps = row(&dist(&rings), 0);
    let expected: Vec<(usize, f64)> =
        (1..25).map(|i| (i, (i % 5 + i / 5) as f64)).filter(|p| p.1 <= 3.0).collect();
    assert_eq!(steps, expected);
    assert!(conn(&rings).values.iter().all(|&w| w == 1.0));
}

#[test]
fn without_a_word_the_grid_is_chosen_where_there_is_a_picture() {
    let mut a = slide(5, 5);
    let kind = |a: &AnnData| {
        let a = run(a, SpatialNeighbors::default()).unwrap();
        let params = a.uns["spatial_neighbors"].at(&["params", "coord_type"]).cloned();
        (params.unwrap().as_str().unwrap().to_string(), conn(&a).values.len())
    };
    assert_eq!(kind(&a), ("generic".into(), 150));
    a.uns.insert("spatial".into(), Map::new().into());
    assert_eq!(kind(&a).0, "grid");
}

#[test]
fn lengths_intervals_and_percentiles() {
    let a = slide(5, 5);
    let near = run(&a, SpatialNeighbors::radius(1.5)).unwrap();
    assert_eq!(row(&dist(&near), 0), [(1, 1.), (5, 1.), (6, 2f64.sqrt())]);
    let ring = run(&a, SpatialNeighbors::radius_between(1.2, 1.5)).unwrap();
    assert_eq!(row(&dist(&ring), 0), [(6, 2f64.sqrt())]);
    let mesh = run(&a, SpatialNeighbors::delaunay().between(0.0, 1.0)).unwrap();
    assert_eq!(conn(&mesh), conn(&run(&a, SpatialNeighbors::grid(4)).unwrap()));
    // 25 zeros of the diagonal, 80 sides, 32 diagonals: the 70th percentile is a side.
    let short = run(&a, SpatialNeighbors::delaunay().percentile(70.0)).unwrap();
    assert_eq!(conn(&short), conn(&mesh));
    let all = run(&a, SpatialNeighbors::delaunay().percentile(100.0)).unwrap();
    assert_eq!(conn(&all).values.len(), 112);
}

#[test]
fn slices_have_no_edges_between_them() {
    let a = slide(6, 4);
    let got = run(&a, SpatialNeighbors::radius(1.0).library_key("cluster")).unwrap();
    let (c, g) = (a.obs_column("cluster").unwrap().to_categorical(), conn(&got));
    for r in 0..24 {
        assert!(g.row(r).all(|(other, _)| c.codes[other] == c.codes[r]), "{r}");
        assert!(g.row(r).count() >= 2);
    }
    let e = run(&a, SpatialNeighbors::radius(1.0).library_key("partly")).unwrap_err();
    assert!(e.to_string().contains("row 0) has no slice"), "{e}");
    let e = run(&a, SpatialNeighbors::knn(8).library_key("cluster")).unwrap_err().to_string();
    assert!(e.contains("of slice `a`, 8"), "{e}");
}

#[test]
fn weights_are_transformed() {
    let a = slide(3, 1);
    let graph = |t| SpatialNeighbors::radius(1.0).transform(t);
    let spectral = conn(&run(&a, graph(Transform::Spectral)).unwrap());
    assert!((spectral.values[0] - 0.5f64.sqrt()).abs() < 1e-7);
    let cosine = conn(&run(&a, graph(Transform::Cosine)).unwrap());
    assert_eq!(row(&cosine, 0), [(0, 1.0), (2, 1.0)]);
    assert_eq!(row(&cosine, 1).iter().map(|p| p.0).collect::<Vec<_>>(), [1]);
    let own = conn(&run(&a, graph(Transform::None).set_diag(true)).unwrap());
    assert_eq!(row(&own, 1), [(0, 1.), (1, 1.), (2, 1.)]);
    // The last of these is nobody's nearest.
    let far = points(&[[0., 0.], [1., 0.], [5., 0.]]);
    let e = run(&far, SpatialNeighbors::knn(1).transform(Transform::Spectral)).unwrap_err();
    assert!(e.to_string().contains("nobody's neighbour"), "{e}");
}

#[test]
fn coinciding_isolated_and_single_spots_are_defined() {
    let a = points(&[[0., 0.], [0., 0.], [1., 0.], [0., 1.], [50., 50.]]);
    let near = run(&a, SpatialNeighbors::radius(1.0)).unwrap();
    assert_eq!(row(&conn(&near), 0), [(1, 1.), (2, 1.), (3, 1.)]);
    // A distance of 0 is not stored, as in scipy.
    assert_eq!(row(&dist(&near), 0), [(2, 1.), (3, 1.)]);
    assert!(row(&conn(&near), 4).is_empty());
    let mesh = conn(&run(&a, SpatialNeighbors::delaunay()).unwrap());
    assert!(row(&mesh, 1).is_empty() && row(&mesh, 0).len() == 2);
    let knn = conn(&run(&a, SpatialNeighbors::knn(1)).unwrap());
    assert_eq!((row(&knn, 0), row(&knn, 1)), (vec![(1, 1.)], vec![(0, 1.)]));
    let one = points(&[[3., 4.]]);
    assert!(conn(&run(&one, SpatialNeighbors::delaunay()).unwrap()).values.is_empty());
    assert!(conn(&run(&one, SpatialNeighbors::radius(1.0)).unwrap()).values.is_empty());
    let e = run(&one, SpatialNeighbors::knn(1)).unwrap_err().to_string();
    assert!(e.contains("below the number of spots, 1"), "{e}");
}

#[test]
fn a_grid_of_copies_is_measured_without_them() {
    // Three places in a row, with four spots at each: of 4 distances 3 are 0.
    let copies: Vec<[f64; 2]> = (0..12).map(|i| [(i / 4) as f64, 0.0]).collect();
    let a = run(&points(&copies), SpatialNeighbors::grid(4)).unwrap();
    assert_eq!(row(&conn(&a), 0), [(1, 1.), (2, 1.), (3, 1.), (4, 1.)]);
    assert_eq!(row(&conn(&a), 5), [(0, 1.), (4, 1.), (6, 1.), (7, 1.)]);
    assert_eq!(dist(&a).values, [1.0; 48]);
    // Two spots at each corner of a square: exactly half of the distances are 0.
    let twice: Vec<[f64; 2]> = (0..8).map(|i| [(i / 2 % 2) as f64, (i / 4) as f64]).collect();
    let a = run(&points(&twice), SpatialNeighbors::grid(2)).unwrap();
    assert_eq!(row(&conn(&a), 0), [(1, 1.), (2, 1.)]);
    let e = run(&points(&[[7., 7.]; 6]), SpatialNeighbors::grid(4)).unwrap_err().to_string();
    assert!(e.contains("at one place") && e.contains("drop the copies"), "{e}");
}

#[test]
fn bad_input_is_named() {
    let a = slide(5, 5);
    let e = |o: SpatialNeighbors| run(&a, o).unwrap_err().to_string();
    assert!(e(SpatialNeighbors::knn(0)).contains("n_neighs = 0"));
    assert!(e(SpatialNeighbors::knn(25)).contains("below the number of spots, 25"));
    assert!(e(SpatialNeighbors::radius(-1.0)).contains("radius = -1"));
    assert!(e(SpatialNeighbors::radius(f64::NAN)).contains("finite"));
    assert!(e(SpatialNeighbors::grid(4).percentile(50.0)).contains("no grid"));
    assert!(e(SpatialNeighbors::knn(4).percentile(101.0)).contains("between 0 and 100"));
    assert!(e(SpatialNeighbors::knn(4).n_rings(2)).contains("rings are for grids"));
    assert!(e(SpatialNeighbors::grid(4).n_rings(0)).contains("at least 1"));
    assert!(e(SpatialNeighbors::knn(4).between(0.0, 1.0)).contains("Delaunay and radius"));
    assert!(e(SpatialNeighbors::knn(4).spatial_key("xy")).contains("obsm has no entry `xy`"));
    assert!(e(SpatialNeighbors::knn(4).library_key("slide")).contains("obs has no column"));
    let mut bad = points(&[[0., 0.], [f64::NAN, 0.], [1., 1.]]);
    let e = run(&bad, SpatialNeighbors::knn(1)).unwrap_err().to_string();
    assert!(e.contains("1 of 3") && e.contains("row 1"), "{e}");
    bad.obsm.insert("spatial".into(), Array2::<f64>::zeros((3, 3)).into());
    let e = run(&bad, SpatialNeighbors::delaunay()).unwrap_err().to_string();
    assert!(e.contains("2 columns"), "{e}");
}

#[test]
fn threads_change_nothing() {
    let mut rng = crate::rng::Rng::new(5);
    let cloud: Vec<[f64; 2]> = (0..3000).map(|_| [rng.normal(), rng.normal()]).collect();
    let a = points(&cloud);
    for options in [
        SpatialNeighbors::knn(6),
        SpatialNeighbors::radius(0.1).transform(Transform::Cosine),
        SpatialNeighbors::delaunay().percentile(99.0),
        SpatialNeighbors::delaunay_grid().n_rings(3),
    ] {
        same_with_any_threads(|| {
            let got = run(&a, options.clone()).unwrap();
            (conn(&got), dist(&got))
        });
    }
}
