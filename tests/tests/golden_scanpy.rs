//! Parity of the preprocessing with scanpy 1.11.5 and with STAMGC's own.

use spatialkit::anndata::{AnnData, Frame, Matrix, Sparse};
use spatialkit::io;
use spatialkit::pp::{self, FilterCells, FilterGenes, Hvg, Neighbors, NormalizeTotal, Pca, Scale};
use spatialkit_tests::{Golden, abs, compare, golden, golden_dir, rel};

/// The counts of f1 in each form a matrix can have, read from the files that anndata wrote.
fn inputs() -> Vec<(&'static str, AnnData)> {
    [("csr", "counts.h5ad"), ("csc", "counts_csc.h5ad"), ("dense", "counts_dense_gzip.h5ad")]
        .into_iter()
        .map(|(form, file)| {
            let mut adata = io::read_h5ad(golden_dir().join("scanpy").join(file)).unwrap();
            pp::var_names_make_unique(&mut adata);
            (form, adata)
        })
        .collect()
}

#[test]
fn f1_files_hold_the_counts_in_the_form_they_were_written() {
    let g = golden("scanpy/f1_input");
    for (file, form) in
        [("counts.h5ad", "csr"), ("counts_csc.h5ad", "csc"), ("counts_dense_gzip.h5ad", "dense")]
    {
        let adata = io::read_h5ad(golden_dir().join("scanpy").join(file)).unwrap();
        assert_eq!(adata.var.names(), g.meta_strings("var_names_original"), "{file}");
        let x = adata.x().unwrap();
        let as_written = match x {
            Matrix::Csr(_) => "csr",
            Matrix::Csc(_) => "csc",
            Matrix::Dense(_) => "dense",
        };
        assert_eq!((as_written, x.values().dtype()), (form, "float32"), "{file}");
        assert_eq!(x.to_array_f64(), g.matrix("counts"), "{file}");
    }
}

/// After the gene filters that most cases start from.
fn filtered() -> Vec<(&'static str, AnnData)> {
    let mut all = inputs();
    for (_, adata) in &mut all {
        let both = FilterGenes::default().min_cells(3).min_counts(10);
        pp::filter_genes(adata, both).unwrap();
    }
    all
}

fn names_where(g: &Golden, mask: &str) -> Vec<String> {
    let names = golden("scanpy/f1_input").meta_strings("var_names_unique");
    names.into_iter().zip(g.mask(mask)).filter(|(_, keep)| *keep).map(|(n, _)| n).collect()
}

fn column(adata: &AnnData, name: &str) -> Vec<f64> {
    adata.var_column(name).unwrap().to_f64().unwrap()
}

#[test]
fn f1_names_and_gene_filters_are_exact() {
    let g = golden("scanpy/f1_input");
    for (form, input) in inputs() {
        assert_eq!(input.var.names(), g.meta_strings("var_names_unique"), "{form}");

        let mut a = input.clone();
        pp::filter_genes(&mut a, FilterGenes::default().min_cells(3)).unwrap();
        assert_eq!(a.var.names(), names_where(&g, "filter.min_cells3"), "{form}");

        let mut a = input.clone();
        pp::filter_genes(&mut a, FilterGenes::default().min_counts(10)).unwrap();
        assert_eq!(a.var.names(), names_where(&g, "filter.min_counts10"), "{form}");

        let mut a = input.clone();
        pp::filter_genes(&mut a, FilterGenes::default().min_cells(0).min_counts(0)).unwrap();
        let (cells, counts) = (g.vec("filter.n_cells"), g.vec("filter.n_counts"));
        compare(&format!("f1 n_cells ({form})"), column(&a, "n_cells"), cells, abs(0.0));
        compare(&format!("f1 n_counts ({form})"), column(&a, "n_counts"), counts, abs(0.0));

        let mut a = input.clone();
        pp::filter_genes(&mut a, FilterGenes::default().min_cells(3)).unwrap();
        pp::filter_genes(&mut a, FilterGenes::default().min_counts(10)).unwrap();
        assert_eq!(a.var.names(), names_where(&g, "filter.both"), "{form}");
        pp::drop_genes_by_prefix(&mut a, &["ERCC", "MT-"]).unwrap();
        assert_eq!(a.var.names(), names_where(&g, "filter.both_special"), "{form}");

        pp::filter_cells(&mut a, FilterCells::default().min_genes(1)).unwrap();
        assert_eq!(a.n_obs(), 300, "{form}");
    }
}

fn check_hvg(form: &str, which: &str, mut adata: AnnData) {
    let g = golden("scanpy/f2_hvg_seurat_v3");
    pp::highly_variable_genes(&mut adata, Hvg::seurat_v3(100)).unwrap();
    let name = |what: &str| format!("f2 {which} {what} ({form})");
    let expected = |what: &str| g.vec(&format!("{which}.{what}"));
    let check = |what: &str, tolerance: f64| {
        compare(&name(what), column(&adata, what), expected(what), rel(tolerance));
    };
    check("means", 1e-10);
    check("variances", 1e-10);
    check("variances_norm", 1e-9);
    let rank = column(&adata, "highly_variable_rank");
    let rank = rank.into_iter().map(|r| if r.is_nan() { -1.0 } else { r });
    compare(&name("rank"), rank, expected("rank"), abs(0.0));
    let mask = column(&adata, "highly_variable");
    compare(&name("highly_variable"), mask, expected("highly_variable"), abs(0.0));
}

#[test]
fn f2_variable_genes_have_the_same_ranks() {
    for (form, adata) in filtered() {
        let names = golden("scanpy/f2_hvg_seurat_v3").meta_strings("gene_names_filtered");
        assert_eq!(adata.var.names(), names);
        check_hvg(form, "filtered", adata);
    }
    for (form, adata) in inputs() {
        check_hvg(form, "unfiltered", adata);
    }
}

#[test]
fn f3_normalisation_logarithm_and_scaling() {
    let g = golden("scanpy/f3_normalize_scale");
    for (form, mut a) in filtered() {
        let name = |what: &str| format!("f3 {what} ({form})");
        let options = NormalizeTotal::from(1e4).key_added("total");
        pp::normalize_total(&mut a, options).unwrap();
        let total = a.obs_column("total").unwrap().to_f64().unwrap();
        compare(&name("totals before"), total, g.vec("size_factors"), abs(0.0));
        let x = a.x().unwrap().to_array_f32();
        let head = x.slice(spatialkit::ndarray::s![..40, ..]).to_owned();
        compare(&name("normalized"), head, g.f32("normalized_head"), abs(1e-5));
        pp::log1p(&mut a).unwrap();
        let x = a.x().unwrap().to_array_f32();
        compare(&name("log1p"), x, g.f32("log1p"), abs(1e-5));

        let mut plain = a.clone();
        pp::scale(&mut plain, Scale::default().zero_center(false).max_value(10.0)).unwrap();
        assert_eq!(plain.x().unwrap().is_sparse(), form != "dense");
        let x = plain.x().unwrap().to_array_f32();
        compare(&name("scaled, not centred"), x, g.f32("scaled_nocenter"), abs(1e-5));
        compare(&name("mean"), column(&plain, "mean"), g.vec("scale_mean"), abs(1e-5));
        compare(&name("std"), column(&plain, "std"), g.vec("scale_std"), abs(1e-5));

        pp::scale(&mut a, Scale::default().zero_center(true).max_value(10.0)).unwrap();
        let x = a.x().unwrap().to_array_f64();
        let head = x.slice(spatialkit::ndarray::s![..60, ..]).to_owned();
        compare(&name("scaled, centred"), head, g.f64("scaled_center_head"), abs(1e-5));
        for (i, row) in g.ints("scaled_center_clip_rows").into_iter().enumerate() {
            let expected = g.matrix("scaled_center_clip_values").row(i).to_vec();
            let what = name("rows with cut values");
            compare(&what, x.row(row as usize).to_vec(), expected, abs(1e-5));
        }
        let least = x.iter().copied().fold(f64::INFINITY, f64::min);
        let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let range = g.vec("scaled_center_min_max");
        compare(&name("smallest and largest"), [least, most], range, abs(1e-5));
    }
}

#[test]
fn f4_principal_components() {
    let g = golden("scanpy/f4_pca_neighbors");
    let x = g.matrix("in.X");
    let mut a = AnnData::new(x, Frame::with_len(300), Frame::with_len(100)).unwrap();
    pp::pca(&mut a, Pca::default().n_comps(20)).unwrap();
    let entry = |key: &str| match a.uns["pca"].at(&[key]) {
        Some(spatialkit::anndata::Value::Array { values, .. }) => values.to_f64().to_vec(),
        other => panic!("uns[pca][{key}] is {other:?}"),
    };
    compare("f4 variance", entry("variance"), g.vec("pca.variance"), rel(1e-8));
    compare("f4 variance ratio", entry("variance_ratio"), g.vec("pca.variance_ratio"), rel(1e-8));
    let loadings = a.varm["PCs"].to_array_f64().mapv(f64::abs);
    compare("f4 |loadings|", loadings, g.vec("pca.abs_loadings"), abs(1e-6));
    let scores = a.obsm["X_pca"].to_array_f64().mapv(f64::abs);
    let expected = g.f64("pca.X_pca").mapv(f64::abs);
    compare("f4 |scores|", scores, expected, abs(1e-4));
}

#[test]
fn f4_neighbours() {
    let g = golden("scanpy/f4_pca_neighbors");
    let x = g.matrix_f32("pca.X_pca");
    let mut a = AnnData::new(x, Frame::with_len(300), Frame::with_len(20)).unwrap();
    pp::neighbors(&mut a, Neighbors::default()).unwrap();
    for (what, tolerance) in [("distances", 1e-4), ("connectivities", 1e-3)] {
        // The reference keeps the neighbours of a row in no order of columns.
        let expected = Matrix::Csr(
            Sparse::new(
                (300, 300),
                true,
                g.ints(&format!("nn.{what}.indptr")).iter().map(|&i| i as usize).collect(),
                g.ints(&format!("nn.{what}.indices")).iter().map(|&i| i as u32).collect(),
                g.vec(&format!("nn.{what}.data")).into(),
            )
            .unwrap(),
        );
        let (got, expected) = (a.obsp[what].to_array_f64(), expected.to_array_f64());
        let pattern = got.iter().zip(&expected).all(|(g, e)| (*g != 0.0) == (*e != 0.0));
        assert!(pattern, "other pairs have {what}");
        compare(&format!("f4 {what}"), got, expected, abs(tolerance));
    }
    let params = a.uns["neighbors"].at(&["params"]).unwrap();
    assert_eq!(params.at(&["n_neighbors"]).unwrap().as_f64(), Some(15.0));
    assert_eq!(params.at(&["method"]).unwrap().as_str(), Some("umap"));
}

#[test]
fn f7_stamgc_features_of_variable_genes() {
    let g = golden("scanpy/f7_stamgc_preprocess");
    let names = golden("scanpy/f1_input").meta_strings("var_names_unique");
    for (form, mut a) in inputs() {
        pp::filter_genes(&mut a, FilterGenes::default().min_cells(3)).unwrap();
        pp::filter_genes(&mut a, FilterGenes::default().min_counts(10)).unwrap();
        pp::drop_genes_by_prefix(&mut a, &["ERCC", "MT-"]).unwrap();
        pp::highly_variable_genes(&mut a, Hvg::seurat_v3(100)).unwrap();
        pp::normalize_total(&mut a, 1e4).unwrap();
        pp::log1p(&mut a).unwrap();
        pp::scale(&mut a, Scale::default().zero_center(false).max_value(10.0)).unwrap();
        pp::keep_highly_variable(&mut a).unwrap();
        assert_eq!(a.var.names(), g.meta_strings("genes"), "{form}");
        let index = g.ints("out.gene_index");
        assert!(a.var.names().iter().zip(index).all(|(n, i)| *n == names[i as usize]));
        let features = a.x().unwrap().to_array_f32();
        compare(&format!("f7 gene_feat ({form})"), features, g.f32("out.gene_feat"), abs(1e-4));
    }
}
