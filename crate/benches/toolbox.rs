//! One measurement of the toolbox: time around the call, peak memory of the whole process.
//! `cargo xtask bench pp|neighbors|umap|leiden|rank_genes|moran` runs it again and again, beside scanpy
//! and squidpy.
//!
//! ```text
//! bench-toolbox OPERATION PATH          prints `seconds peak_mb check version`
//! bench-toolbox growth PATH GROUP...    prints `step <tab> seconds` for each step
//! ```
//! `check` is a number that depends on everything found.

use spatialkit::Result;
use spatialkit::anndata::{Column, Value, Values};
use spatialkit::prelude::*;
use std::time::Instant;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.as_slice() {
        [growth, path, groups @ ..] if growth == "growth" => grow(path, groups),
        [operation, path] => measure(operation, path),
        _ => return eprintln!("usage: bench-toolbox OPERATION PATH"),
    };
    if let Err(e) = done {
        eprintln!("{e}");
        std::process::exit(1);
    }
}

fn measure(operation: &str, path: &str) -> Result<()> {
    let mut adata = io::read_h5ad(path)?;
    let start = Instant::now();
    run(operation, &mut adata)?;
    let seconds = start.elapsed().as_secs_f64();
    // Before the check, which takes memory of its own.
    let peak = progress::peak_memory_mb();
    let check = check(operation, &adata)?;
    println!("{seconds:.4} {peak:.1} {check} spatialkit {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}

/// What `toolbox.py` does under the same name.
fn run(operation: &str, adata: &mut AnnData) -> Result<()> {
    match operation {
        "pp" => preprocess(adata, &mut |_| {}),
        "neighbors" => pp::neighbors(adata, Neighbors::default().n_pcs(50)),
        "umap" => tl::umap(adata, Umap::default()).map(|_| ()),
        "leiden" => tl::leiden(adata, Leiden::default()).map(|_| ()),
        "leiden-2" => tl::leiden(adata, Leiden::default().n_iterations(2)).map(|_| ()),
        "wilcoxon" => {
            let options = RankGenes::new("cluster").method(RankMethod::Wilcoxon);
            tl::rank_genes_groups(adata, options)
        }
        "t-test" => tl::rank_genes_groups(adata, RankGenes::new("cluster")),
        "moran" => gr::spatial_autocorr(adata, SpatialAutocorr::moran()),
        "moran-100" => {
            let genes: Vec<usize> = (0..200).collect();
            let options = SpatialAutocorr::moran().genes(genes).n_perms(100);
            gr::spatial_autocorr(adata, options)
        }
        other => Err(Error::parameter("operation", other, "is not known")),
    }
}

fn preprocess(adata: &mut AnnData, lap: &mut dyn FnMut(&'static str)) -> Result<()> {
    pp::filter_cells(adata, FilterCells::default().min_counts(1))?;
    pp::filter_genes(adata, FilterGenes::default().min_cells(3))?;
    lap("filter");
    pp::highly_variable_genes(adata, Hvg::seurat_v3(adata.n_vars().min(2000)))?;
    lap("highly_variable_genes");
    pp::normalize_total(adata, 1e4)?;
    pp::log1p(adata)?;
    lap("normalize_total, log1p");
    pp::keep_highly_variable(adata)?;
    pp::scale(adata, Scale::default().max_value(10.0))?;
    lap("scale");
    pp::pca(adata, Pca::default().n_comps(50))?;
    lap("pca");
    Ok(())
}

/// The steps of an analysis on one slide, each with its time.
fn grow(path: &str, groups: &[String]) -> Result<()> {
    let mut adata = io::read_h5ad(path)?;
    let wanted = |group: &str| groups.is_empty() || groups.iter().any(|g| g == group);
    let mut start = Instant::now();
    let mut lap = |step: &'static str| {
        println!("{step}\t{:.3}", start.elapsed().as_secs_f64());
        start = Instant::now();
    };
    let mut logarithms = adata.clone();
    pp::normalize_total(&mut logarithms, 1e4)?;
    pp::log1p(&mut logarithms)?;
    if wanted("rank_genes") {
        lap("(preparing)");
        run("wilcoxon", &mut logarithms)?;
        lap("rank_genes_groups, Wilcoxon");
        run("t-test", &mut logarithms)?;
        lap("rank_genes_groups, t-test");
    }
    if wanted("moran") {
        gr::spatial_neighbors(&mut logarithms, SpatialNeighbors::knn(6))?;
        lap("spatial_neighbors");
        run("moran", &mut logarithms)?;
        lap("spatial_autocorr");
        run("moran-100", &mut logarithms)?;
        lap("spatial_autocorr, permutations");
    }
    drop(logarithms);
    if ["pp", "neighbors", "umap", "leiden"].into_iter().any(wanted) {
        lap("(preparing)");
        preprocess(&mut adata, &mut lap)?;
    }
    if ["neighbors", "umap", "leiden"].into_iter().any(wanted) {
        run("neighbors", &mut adata)?;
        lap("neighbors");
    }
    if wanted("leiden") {
        run("leiden-2", &mut adata)?;
        lap("leiden, 2 rounds");
        run("leiden", &mut adata)?;
        lap("leiden until stable");
    }
    if wanted("umap") {
        run("umap", &mut adata)?;
        lap("umap");
    }
    Ok(())
}

/// One number of what was found.
fn check(operation: &str, adata: &AnnData) -> Result<f64> {
    let at = |path: &[&str]| adata.uns.get(path[0]).and_then(|v| v.at(&path[1..]));
    Ok(match operation {
        "pp" => match at(&["pca", "variance"]) {
            Some(Value::Array { values, .. }) => values.to_f64().iter().sum(),
            _ => f64::NAN,
        },
        "neighbors" => adata.obsp["distances"].values().to_f64().iter().sum(),
        "leiden" | "leiden-2" => modularity(adata)?,
        "wilcoxon" | "t-test" => match at(&["rank_genes_groups", "scores"]) {
            Some(Value::Record(fields)) => fields.values().map(best_scores).sum(),
            _ => f64::NAN,
        },
        "moran" | "moran-100" => match at(&["moranI"]) {
            Some(Value::Frame(table)) => {
                let column = table.get("I").and_then(Column::to_f64).unwrap_or_default();
                column.iter().sum()
            }
            _ => f64::NAN,
        },
        _ => 0.0,
    })
}

fn best_scores(field: &Value) -> f64 {
    match field {
        Value::Array { values, .. } => values.to_f64().iter().take(100).sum(),
        _ => f64::NAN,
    }
}

/// Newman's modularity of the clusters on the neighbour graph, computed plainly.
fn modularity(adata: &AnnData) -> Result<f64> {
    let graph = adata.obsp["connectivities"].to_csr();
    let weights = match &graph.values {
        Values::F64(v) => v.clone(),
        other => other.to_f64().into_owned(),
    };
    let label = adata.obs_column("leiden")?.to_categorical();
    let (mut inside, mut degree) = (0.0, vec![0f64; label.categories.len()]);
    for row in 0..graph.nrows {
        for k in graph.indptr[row]..graph.indptr[row + 1] {
            degree[label.codes[row] as usize] += weights[k];
            if label.codes[row] == label.codes[graph.indices[k] as usize] {
                inside += weights[k];
            }
        }
    }
    let total: f64 = weights.iter().sum();
    Ok(inside / total - degree.iter().map(|d| (d / total).powi(2)).sum::<f64>())
}
