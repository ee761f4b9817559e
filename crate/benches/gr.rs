//! One measurement of a spatial statistic: time around the call, peak memory of the whole process.
//! `benches/python/gr.py` does the same with squidpy on the same file (and makes such files).
//!
//! ```text
//! bench-gr OPERATION PATH
//! ```
//! prints `seconds peak_mb`; the file is read, and the graph made, before the clock starts.

use spatialkit::anndata::{AnnData, Select};
use spatialkit::gr::{self, *};
use spatialkit::{io, progress};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [operation, path] = args.as_slice() else {
        return eprintln!("usage: bench-gr OPERATION PATH");
    };
    let mut a = io::read_h5ad(path).unwrap_or_else(|e| panic!("{e}"));
    let graph = !operation.starts_with("neighbors");
    if graph {
        gr::spatial_neighbors(&mut a, SpatialNeighbors::knn(6)).expect("a graph");
    }
    let genes = |n: usize| Select::Run(0, Some(n));
    let call = |a: &mut AnnData| match operation.as_str() {
        "neighbors-knn" => gr::spatial_neighbors(a, SpatialNeighbors::knn(6)),
        "neighbors-grid2" => gr::spatial_neighbors(a, SpatialNeighbors::grid(6).n_rings(2)),
        "neighbors-radius" => gr::spatial_neighbors(a, SpatialNeighbors::radius(2.1)),
        "neighbors-delaunay" => gr::spatial_neighbors(a, SpatialNeighbors::delaunay()),
        "moran" => gr::spatial_autocorr(a, SpatialAutocorr::moran()),
        "geary" => gr::spatial_autocorr(a, SpatialAutocorr::geary()),
        "moran-perms" => {
            gr::spatial_autocorr(a, SpatialAutocorr::moran().genes(genes(100)).n_perms(100))
        }
        "nhood" => gr::nhood_enrichment(a, NhoodEnrichment::new("cluster").n_perms(1000)),
        "interaction" => gr::interaction_matrix(a, InteractionMatrix::new("cluster")),
        "centrality" => gr::centrality_scores(a, CentralityScores::new("cluster")),
        "cooccurrence" => gr::co_occurrence(a, CoOccurrence::new("cluster")),
        "ripley-g" => gr::ripley(a, Ripley::new("cluster", RipleyMode::G)),
        "ripley-l" => gr::ripley(a, Ripley::new("cluster", RipleyMode::L)),
        "sepal" => {
            gr::spatial_neighbors(a, SpatialNeighbors::grid(6))?;
            gr::sepal(a, Sepal::new(6).genes(genes(16)))
        }
        other => panic!("there is no operation `{other}`"),
    };
    let start = Instant::now();
    call(&mut a).unwrap_or_else(|e| panic!("{e}"));
    println!("{:.4} {:.1}", start.elapsed().as_secs_f64(), progress::peak_memory_mb());
}
