//! Preprocessing of two real slides, compared with what scanpy itself makes of the same numbers.

use spatialkit::anndata::{AnnData, Categorical, Frame, Matrix};
use spatialkit::io;
use spatialkit::pp::{
    self, Connectivity, FilterCells, FilterGenes, GaussianSmooth, Hvg, Metric, Neighbors,
    NormalizeTotal, Pca, RegressOut, Scale,
};
use spatialkit_tests::{python, script, shared};
use std::path::Path;

const SLIDES: [(&str, &str); 2] =
    [("dlpfc", "data/dlpfc/dlpfc_151673_5000g.h5ad"), ("placenta", "data/visium_mouse_placenta")];

/// Logarithmised counts with the counts beside them, and three batches by position.
fn prepared(path: &Path) -> AnnData {
    let mut a = io::read(path).unwrap();
    a.var_names_make_unique();
    pp::filter_cells(&mut a, FilterCells::default().min_counts(1)).unwrap();
    pp::filter_genes(&mut a, FilterGenes::default().min_cells(10)).unwrap();
    a.uns.clear();
    let x = a.x.take().unwrap();
    let total: Vec<f64> = Matrix::Csr(x.to_csr())
        .to_array_f32()
        .rows()
        .into_iter()
        .map(|r| r.iter().map(|&v| f64::from(v)).sum())
        .collect();
    a.layers.clear();
    a.layers.insert("counts".into(), x.clone());
    a.x = Some(x);
    let (n, at) = (a.n_obs(), a.spatial().unwrap());
    let mut rank: Vec<usize> = (0..n).collect();
    rank.sort_by(|&i, &j| at[[i, 0]].total_cmp(&at[[j, 0]]));
    let mut batch = vec![0usize; n];
    rank.iter().enumerate().for_each(|(place, &i)| batch[i] = 3 * place / n);
    a.obs.insert("batch", Categorical::from_numbers(&batch)).unwrap();
    a.obs.insert("total", total).unwrap();
    a.obs.insert("left", at.column(0).to_vec()).unwrap();
    a.obs.insert("first", batch.iter().map(|&b| b == 0).collect::<Vec<bool>>()).unwrap();
    pp::normalize_total(&mut a, 1e4).unwrap();
    pp::log1p(&mut a).unwrap();
    a
}

/// What is known of the genes and nothing else, so that the files stay small.
fn genes_only(a: &AnnData) -> AnnData {
    AnnData { var: a.var.clone(), obs: Frame::with_len(0), ..AnnData::default() }
}

fn variable_genes(base: &AnnData, save: &dyn Fn(&str, &AnnData)) {
    let options = [
        ("seurat", Hvg::seurat()),
        ("seurat-top", Hvg::seurat().n_top_genes(1000)),
        ("cell_ranger", Hvg::cell_ranger()),
        ("cell_ranger-top", Hvg::cell_ranger().n_top_genes(1000)),
        ("seurat_v3-top", Hvg::seurat_v3(1000).layer("counts")),
        ("seurat_v3_paper-top", Hvg::seurat_v3_paper(1000).layer("counts")),
    ];
    for (name, options) in options {
        for (suffix, options) in [("", options.clone()), ("-batch", options.batch_key("batch"))] {
            let mut a = base.clone();
            pp::highly_variable_genes(&mut a, options).unwrap();
            save(&format!("hvg-{name}{suffix}"), &genes_only(&a));
        }
    }
}

fn values(base: &AnnData, save: &dyn Fn(&str, &AnnData)) {
    // Of the first genes, since scanpy takes minutes for the regression on categories of all.
    let few = base.select_vars(..300).unwrap();
    save("few", &few);
    let change = |name: &str, f: &dyn Fn(&mut AnnData)| {
        let mut a = few.clone();
        f(&mut a);
        save(name, &a);
    };
    change("regress_out-numbers", &|a| {
        pp::regress_out(a, RegressOut::new(["total", "left"])).unwrap();
    });
    change("regress_out-categories", &|a| pp::regress_out(a, "batch").unwrap());
    change("scale-centred", &|a| {
        pp::scale(a, Scale::default().zero_center(true).max_value(10.0)).unwrap();
    });
    change("scale-plain", &|a| {
        pp::scale(a, Scale::default().zero_center(false).max_value(10.0)).unwrap();
    });
    change("scale-mask", &|a| {
        pp::scale(a, Scale::default().zero_center(true).mask_obs("first")).unwrap();
    });
    change("scale-layer", &|a| {
        pp::scale(a, Scale::default().zero_center(false).layer("counts")).unwrap();
    });
    change("normalize_total-exclude", &|a| {
        // Without a target scanpy takes the median with cells without counts for sparse matrices,
        // and without them for dense ones.
        let options = NormalizeTotal::from(1e4).layer("counts").exclude_highly_expressed(0.02);
        pp::normalize_total(a, options).unwrap();
    });
    change("gaussian_smooth", &|a| {
        let at = a.spatial().unwrap();
        let wide = at.column(0).iter().copied().fold(f64::MIN, f64::max) / 60.0;
        a.obs.insert("sigma", vec![wide; a.n_obs()]).unwrap();
        pp::gaussian_smooth(a, GaussianSmooth::new(wide)).unwrap();
    });
}

fn components_and_neighbours(base: &AnnData, save: &dyn Fn(&str, &AnnData)) {
    let mut a = base.clone();
    pp::highly_variable_genes(&mut a, Hvg::seurat_v3(2000).layer("counts").subset(true)).unwrap();
    a.layers.clear();
    let mut sparse = a.clone();
    pp::pca(&mut sparse, Pca::default().key_added("of_sparse")).unwrap();
    pp::scale(&mut a, Scale::default().zero_center(true).max_value(10.0)).unwrap();
    pp::pca(&mut a, Pca::default()).unwrap();
    sparse.obsm.insert("X_pca".into(), a.obsm["X_pca"].clone());
    sparse.uns.insert("pca".into(), a.uns["pca"].clone());
    let kinds = [
        ("plain", Neighbors::default()),
        ("few", Neighbors::default().n_neighbors(6).n_pcs(20)),
        ("cosine", Neighbors::default().metric(Metric::Cosine)),
        ("gauss", Neighbors::default().method(Connectivity::Gauss)),
    ];
    for (name, options) in kinds {
        pp::neighbors(&mut sparse, options.clone().key_added(name)).unwrap();
    }
    // As a user would have them, for scanpy's tools to go on from.
    pp::neighbors(&mut sparse, Neighbors::default()).unwrap();
    save("components", &sparse);
}

#[test]
fn real_slides_give_the_numbers_of_scanpy() {
    let test = "real_slides_give_the_numbers_of_scanpy";
    let Some(python) = python(test) else { return };
    for (name, path) in SLIDES {
        let Some(path) = shared(test, path) else { continue };
        let dir = tempfile::tempdir().unwrap();
        let save = |name: &str, a: &AnnData| {
            let path = dir.path().join(format!("{name}.h5ad"));
            io::write_h5ad(a, &path).unwrap_or_else(|e| panic!("{name}: {e}"));
        };
        let base = prepared(&path);
        save("base", &base);
        variable_genes(&base, &save);
        values(&base, &save);
        components_and_neighbours(&base, &save);
        script(&python, "parity_pp.py", &[dir.path().as_os_str(), name.as_ref()]);
    }
}
