//! Leiden, UMAP, t-SNE and trustworthiness on the real slides, beside scanpy's and scikit-learn's on
//! the same graph.

use spatialkit::anndata::AnnData;
use spatialkit::ndarray::s;
use spatialkit::serde_json::json;
use spatialkit::tl::{self, Leiden, Tsne, Umap};
use spatialkit::{Result, io};
use spatialkit_tests::{python, script, shared, thorough};
use std::path::Path;

/// `seeds` embeddings on either side; they differ by 0.001 to 0.002 from seed to seed.
fn ours(adata: &mut AnnData, slide: &str, seeds: u64) -> Result<spatialkit::serde_json::Value> {
    let mut out = json!({"slide": slide, "tsne_cells": 1200, "tsne_iterations": 500});
    for gamma in [0.5, 1.0, 2.0] {
        let key = format!("leiden_{gamma:.1}");
        let fit = tl::leiden(adata, Leiden::default().resolution(gamma).key_added(&key))?;
        out[&key] = fit.quality.into();
        if gamma == 1.0 {
            out["modularity"] = fit.modularity.into();
        }
    }
    let x = adata.obsm("X_pca")?.to_array_f64();
    let mut trust = Vec::new();
    for seed in (0..seeds).rev() {
        tl::umap(adata, Umap::default().seed(seed))?;
        let y = adata.obsm("X_umap")?.to_array_f64();
        trust.push(tl::trustworthiness(x.view(), y.view(), 15)?);
    }
    // That of seed 0 comes last and stays in `obsm`.
    out["trustworthiness"] = trust.into();
    let part = x.slice(s![..1200, ..]);
    let fit = Tsne::default().max_iter(500).fit(part)?;
    let y = fit.embedding.mapv(f64::from);
    out["kl"] = fit.kl_divergence.into();
    out["tsne_trustworthiness"] = tl::trustworthiness(part, y.view(), 15)?.into();
    Ok(out)
}

fn compare(test: &str, slide: &str, path: &str) {
    let (Some(python), Some(source)) = (python(test), shared(test, path)) else { return };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let mut counts = io::read(&source).unwrap_or_else(|e| panic!("{e}"));
    counts.var_names_make_unique();
    let plain = AnnData { x: counts.x, obs: counts.obs, var: counts.var, ..AnnData::default() };
    io::write_h5ad(&plain, file("counts.h5ad")).unwrap_or_else(|e| panic!("{e}"));
    let script = |args: &[String]| script(&python, "parity_embed.py", args);
    script(&["graph".into(), file("counts.h5ad"), file("graph.h5ad")]);
    let mut adata = io::read_h5ad(file("graph.h5ad")).unwrap_or_else(|e| panic!("{e}"));
    let seeds = if thorough(test, "seeds 3 to 5 of UMAP") { 6 } else { 3 };
    let numbers = ours(&mut adata, slide, seeds).unwrap_or_else(|e| panic!("{e}"));
    io::write_h5ad(&adata, file("ours.h5ad")).unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(Path::new(&file("ours.json")), numbers.to_string()).unwrap();
    script(&["compare".into(), file("ours.h5ad"), file("ours.json")]);
}

#[test]
fn clusters_and_embeddings_of_the_cortex_are_as_good_as_the_references() {
    let test = "clusters_and_embeddings_of_the_cortex_are_as_good_as_the_references";
    compare(test, "DLPFC", "data/dlpfc/dlpfc_151673_5000g.h5ad");
}

#[test]
fn clusters_and_embeddings_of_the_placenta_are_as_good_as_the_references() {
    let test = "clusters_and_embeddings_of_the_placenta_are_as_good_as_the_references";
    compare(test, "placenta", "data/visium_mouse_placenta");
}
