//! One measurement of graph clustering or an embedding: time around the call, peak memory of the
//! whole process. `tests/python/bench_embed.py` runs it beside scanpy.
//!
//! ```text
//! bench-embed leiden|umap|tsne PATH [OPTION=VALUE…] [OUT]
//! ```
//! reads an h5ad with a neighbour graph, prints a line of JSON, and with OUT writes the result.

use spatialkit::io;
use spatialkit::serde_json::json;
use spatialkit::tl::{self, InitPos, Leiden, Tsne, Umap};
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (operation, path) = match args.as_slice() {
        [operation, path, ..] => (operation.as_str(), path.as_str()),
        _ => return eprintln!("usage: bench-embed OPERATION PATH [OPTION=VALUE…] [OUT]"),
    };
    let option = |name: &str| {
        let named = |a: &String| a.strip_prefix(name)?.strip_prefix('=').map(str::to_string);
        args.iter().find_map(named)
    };
    let number = |name: &str, default: f64| {
        option(name).map_or(default, |v| v.parse().expect("OPTION is a number"))
    };
    let mut adata = io::read_h5ad(path).unwrap_or_else(|e| panic!("{e}"));
    let before = spatialkit::progress::peak_memory_mb();
    let start = Instant::now();
    let mut out = match operation {
        "leiden" => {
            let options = Leiden::default()
                .resolution(number("resolution", 1.0))
                .n_iterations(number("n_iterations", -1.0) as i64)
                .seed(number("seed", 0.0) as u64);
            let fit = tl::leiden(&mut adata, options).unwrap_or_else(|e| panic!("{e}"));
            json!({"quality": fit.quality, "modularity": fit.modularity, "clusters": fit.n_clusters})
        }
        "umap" => {
            let mut options = Umap::default()
                .seed(number("seed", 0.0) as u64)
                .n_components(number("n_components", 2.0) as usize);
            if let Some(epochs) = option("maxiter") {
                options = options.maxiter(epochs.parse().expect("a number"));
            }
            if option("init").as_deref() == Some("random") {
                options = options.init_pos(InitPos::Random);
            }
            tl::umap(&mut adata, options).unwrap_or_else(|e| panic!("{e}"));
            json!({})
        }
        "tsne" => {
            let mut options = Tsne::default().seed(number("seed", 0.0) as u64).use_rep("X_pca");
            if let Some(n) = option("max_iter") {
                options = options.max_iter(n.parse().expect("a number"));
            }
            let fit = tl::tsne(&mut adata, options).unwrap_or_else(|e| panic!("{e}"));
            json!({"kl": fit.kl_divergence})
        }
        "trustworthiness" => {
            let x = adata.obsm("X_pca").expect("X_pca").to_array_f64();
            let y = adata.obsm("X_umap").expect("X_umap").to_array_f64();
            let t = tl::trustworthiness(x.view(), y.view(), 15).unwrap_or_else(|e| panic!("{e}"));
            json!({"trustworthiness": t})
        }
        other => return eprintln!("there is no operation `{other}`"),
    };
    out["seconds"] = start.elapsed().as_secs_f64().into();
    out["peak_mb"] = spatialkit::progress::peak_memory_mb().into();
    out["peak_mb_before"] = before.into();
    println!("{out}");
    if let Some(to) = args[2..].iter().find(|a| a.ends_with(".h5ad")) {
        io::write_h5ad(&adata, to).unwrap_or_else(|e| panic!("{e}"));
    }
}
