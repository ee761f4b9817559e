//! Parity of the spatial graphs and of spatial autocorrelation with squidpy 1.8.2.

use spatialkit::anndata::{AnnData, Frame, Value};
use spatialkit::gr::{self, SpatialAutocorr, SpatialNeighbors};
use spatialkit::ndarray::Array2;
use spatialkit_tests::{Golden, Tol, abs, compare, golden};

fn slide(coords: Array2<f64>) -> AnnData {
    let mut a = AnnData { obs: Frame::with_len(coords.nrows()), ..AnnData::default() };
    a.obsm.insert("spatial".into(), coords.into());
    a
}

/// Compares a graph with the stored one: the same edges, the same numbers.
fn check(g: &Golden, adata: &AnnData, key: &str, case: &str, part: &str, tolerance: Tol) {
    let m = adata.obsp[key].to_csr();
    let what = |of: &str| format!("f6 {case}.{part} {of}");
    let name = |of: &str| format!("{case}.{part}.{of}");
    assert_eq!(m.indptr, g.ints(&name("indptr")).iter().map(|&i| i as usize).collect::<Vec<_>>());
    compare(&what("indices"), m.indices, g.vec(&name("indices")), abs(0.0));
    compare(&what("data"), m.values.to_f64().to_vec(), g.vec(&name("data")), tolerance);
}

const CONN: &str = "spatial_connectivities";
const DIST: &str = "spatial_distances";

#[test]
fn f6_graphs_are_the_same_edge_by_edge() {
    let (f1, g) = (golden("scanpy/f1_input"), golden("scanpy/f6_squidpy"));
    let exact = abs(0.0);
    let make = |coords: Array2<f64>, options: SpatialNeighbors| {
        let mut a = slide(coords);
        gr::spatial_neighbors(&mut a, options).unwrap();
        a
    };
    let a = make(f1.matrix("spatial"), SpatialNeighbors::grid(4));
    check(&g, &a, CONN, "square4", "conn", exact);
    let a = make(f1.matrix("spatial_hex"), SpatialNeighbors::grid(6));
    check(&g, &a, CONN, "hex6", "conn", exact);
    let a = make(f1.matrix("spatial_hex"), SpatialNeighbors::grid(6).n_rings(2));
    check(&g, &a, CONN, "hex6_rings2", "conn", exact);
    check(&g, &a, DIST, "hex6_rings2", "dist", exact);
    let jitter = || g.matrix("in.spatial_jitter");
    let a = make(jitter(), SpatialNeighbors::knn(6));
    check(&g, &a, CONN, "knn6", "conn", exact);
    check(&g, &a, DIST, "knn6", "dist", abs(1e-12));
    let a = make(jitter(), SpatialNeighbors::radius(1.5));
    check(&g, &a, CONN, "radius1_5", "conn", exact);
    let a = make(jitter(), SpatialNeighbors::delaunay());
    check(&g, &a, CONN, "delaunay", "conn", exact);
}

#[test]
fn f6_moran_and_geary() {
    let (f1, g) = (golden("scanpy/f1_input"), golden("scanpy/f6_squidpy"));
    let x = g.matrix_f32("in.autocorr_X");
    let mut a = AnnData::new(x, Frame::with_len(300), Frame::with_len(60)).unwrap();
    a.obsm.insert("spatial".into(), f1.matrix("spatial").into());
    gr::spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
    gr::spatial_autocorr(&mut a, SpatialAutocorr::moran()).unwrap();
    gr::spatial_autocorr(&mut a, SpatialAutocorr::geary()).unwrap();
    for (key, case, stat) in [("moranI", "moran", "I"), ("gearyC", "geary", "C")] {
        let Value::Frame(table) = &a.uns[key] else { panic!("{key} is no table") };
        let rows: Vec<usize> = table.names().iter().map(|n| n.parse().unwrap()).collect();
        let in_order = |column: &str| {
            let sorted = table.get(column).unwrap().to_f64().unwrap();
            let mut values = vec![0.0; rows.len()];
            rows.iter().zip(sorted).for_each(|(&gene, v)| values[gene] = v);
            values
        };
        let p = Tol { abs: 1e-15, rel: 1e-3 };
        for (column, tolerance) in
            [(stat, abs(1e-5)), ("var_norm", p), ("pval_norm", p), ("pval_norm_fdr_bh", p)]
        {
            let expected = g.vec(&format!("{case}.{column}"));
            compare(&format!("f6 {case} {column}"), in_order(column), expected, tolerance);
        }
    }
}
