//! Parity of `gr` with squidpy itself on two real slides: everything is computed here, written to a
//! file, and computed again by `tests/python/parity_gr.py`.

use spatialkit::anndata::{Value, Values};
use spatialkit::gr::Transform;
use spatialkit::prelude::*;
use spatialkit::{gr, io, pp, tl};
use spatialkit_tests::{python, script, shared};
use std::time::Instant;

/// Runs one function and says how long it took.
fn timed(what: &str, f: impl FnOnce() -> spatialkit::Result<()>) {
    let start = Instant::now();
    f().unwrap_or_else(|e| panic!("{what}: {e}"));
    println!("{what:<40} {:.3} s", start.elapsed().as_secs_f64());
}

/// The distance between neighbouring spots: the median of those to the nearest.
fn pitch(a: &AnnData) -> f64 {
    let mut a = a.clone();
    gr::spatial_neighbors(&mut a, SpatialNeighbors::knn(1)).unwrap();
    let mut d = a.obsp["spatial_distances"].values().to_f64().into_owned();
    d.sort_by(f64::total_cmp);
    d[d.len() / 2]
}

/// The genes that are found in the most spots: with those of a handful of spots a few permutations
/// decide everything.
fn most_found(a: &AnnData, n: usize) -> Vec<usize> {
    let columns = a.x().unwrap().to_csc();
    let mut genes: Vec<usize> = (0..a.n_vars()).collect();
    genes.sort_by_key(|&g| std::cmp::Reverse(columns.indptr[g + 1] - columns.indptr[g]));
    genes.truncate(n);
    genes
}

fn compute(a: &mut AnnData) {
    let reach = 2.1 * pitch(a);
    let grid = || SpatialNeighbors::grid(6);
    let radius = || SpatialNeighbors::radius(reach);
    for (key, options) in [
        ("grid", grid()),
        ("grid2", grid().n_rings(2)),
        ("spectral", grid().transform(Transform::Spectral)),
        ("cosine", grid().transform(Transform::Cosine)),
        ("own", grid().n_rings(2).set_diag(true)),
        ("knn", SpatialNeighbors::knn(10)),
        ("radius", radius()),
        ("ring", SpatialNeighbors::radius_between(reach / 2.0, reach)),
        ("short", radius().percentile(60.0)),
        ("slices", radius().library_key("cluster")),
        ("delaunay", SpatialNeighbors::delaunay()),
        ("pruned", SpatialNeighbors::delaunay().between(0.0, reach)),
        ("spatial", SpatialNeighbors::default()),
    ] {
        timed(key, || gr::spatial_neighbors(a, options.key_added(key)));
    }
    a.uns.insert("reach".into(), Value::float(reach));

    for (key, options) in
        [("moranI", SpatialAutocorr::moran()), ("gearyC", SpatialAutocorr::geary())]
    {
        let few = options.clone().genes(most_found(a, 10)).n_perms(400).seed(9);
        timed(&format!("{key}, 400 permutations"), || gr::spatial_autocorr(a, few));
        let perms = a.uns.shift_remove(key).unwrap();
        a.uns.insert(format!("{key}_perms"), perms);
        timed(key, || gr::spatial_autocorr(a, options));
    }
    timed("interaction_matrix", || {
        for (key, options) in [
            ("normalized", InteractionMatrix::new("cluster").normalized(true)),
            ("weights", InteractionMatrix::new("cluster").weights(true)),
            ("cluster", InteractionMatrix::new("cluster")),
        ] {
            gr::interaction_matrix(a, options)?;
            let matrix = a.uns["cluster_interactions"].clone();
            a.uns.insert(format!("{key}_interactions"), matrix);
        }
        Ok(())
    });
    timed("centrality_scores", || gr::centrality_scores(a, CentralityScores::new("cluster")));
    timed("nhood_enrichment, exact", || {
        gr::nhood_enrichment(a, NhoodEnrichment::new("cluster").exact())
    });
    let exact = a.uns.shift_remove("cluster_nhood_enrichment").unwrap();
    a.uns.insert("exact_nhood_enrichment".into(), exact);
    timed("nhood_enrichment, 1000 permutations", || {
        gr::nhood_enrichment(a, NhoodEnrichment::new("cluster").seed(4))
    });
    timed("co_occurrence", || gr::co_occurrence(a, CoOccurrence::new("cluster")));
    for (what, mode) in [("F", RipleyMode::F), ("G", RipleyMode::G), ("L", RipleyMode::L)] {
        timed(&format!("ripley {what}"), || gr::ripley(a, Ripley::new("cluster", mode).seed(2)));
    }
    let grid = Sepal::new(6).genes(0..8).connectivity_key("grid_connectivities");
    timed("sepal, 8 genes", || gr::sepal(a, grid));
}

fn compare(test: &str, name: &str, mut a: AnnData) {
    let Some(python) = python(test) else { return };
    pp::normalize_total(&mut a, 1e4).unwrap();
    pp::log1p(&mut a).unwrap();
    println!("--- {name}: {} × {}", a.n_obs(), a.n_vars());
    compute(&mut a);
    // Python has no use for the picture.
    a.uns.shift_remove("spatial");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.h5ad");
    io::write_h5ad(&a, &path).unwrap();
    script(&python, "parity_gr.py", &[name.into(), path.into_os_string()]);
}

#[test]
fn everything_on_a_brain_slide_is_what_squidpy_computes() {
    let test = "everything_on_a_brain_slide_is_what_squidpy_computes";
    let Some(path) = shared(test, "data/dlpfc/dlpfc_151673_5000g.h5ad") else { return };
    let mut a = io::read_h5ad(path).unwrap();
    let labelled: Vec<bool> = a.obs.mask("layer_guess", |_| true).unwrap();
    a.keep_obs(labelled).unwrap();
    let layers = a.obs_column("layer_guess").unwrap().to_categorical();
    a.obs.insert("cluster", layers).unwrap();
    compare(test, "dlpfc", a);
}

#[test]
fn everything_on_a_placenta_slide_is_what_squidpy_computes() {
    let test = "everything_on_a_placenta_slide_is_what_squidpy_computes";
    let Some(path) = shared(test, "data/visium_mouse_placenta") else { return };
    let mut a = io::read(path).unwrap();
    a.var_names_make_unique();
    // No labels come with it: clusters of the expression.
    let mut b = a.clone();
    pp::filter_genes(&mut b, FilterGenes::default().min_cells(50)).unwrap();
    pp::normalize_total(&mut b, 1e4).unwrap();
    pp::log1p(&mut b).unwrap();
    pp::pca(&mut b, Pca::default()).unwrap();
    tl::kmeans(&mut b, KMeans::new(6).n_init(1).seed(1)).unwrap();
    let labels = b.obs_column("kmeans").unwrap().to_categorical();
    assert!(matches!(a.x().unwrap().values(), Values::F32(_) | Values::I32(_) | Values::I64(_)));
    a.obs.insert("cluster", labels).unwrap();
    compare(test, "placenta", a);
}
