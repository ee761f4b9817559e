//! Round trips through the Python packages themselves: what anndata reads from a file that we
//! rewrote is what it reads from the original.

use spatialkit::io::{self, WriteOptions};
use spatialkit_tests::{H5AD, python, script, shared};
use std::path::PathBuf;

#[test]
fn rewritten_files_are_equal_to_anndatas_eye() {
    let test = "rewritten_files_are_equal_to_anndatas_eye";
    let Some(data) = shared(test, "data") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut args = Vec::new();
    for (i, file) in H5AD.iter().enumerate() {
        let path = data.join(file);
        if !path.is_file() {
            println!("SKIPPED: {file} is not there");
            continue;
        }
        let adata = io::read_h5ad(&path).unwrap_or_else(|e| panic!("{e}"));
        let out = dir.path().join(format!("{i}.h5ad"));
        // Every other file compressed, so that both ways are tried.
        let options = WriteOptions::default();
        let options = if i % 2 == 0 { options.gzip(4) } else { options };
        io::write_h5ad_with(&adata, &out, &options).unwrap_or_else(|e| panic!("{file}: {e}"));
        let again = io::read_h5ad(&out).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(again.shape(), adata.shape());
        args.extend([path, out]);
    }
    let Some(python) = python(test) else { return };
    script(&python, "io_roundtrip.py", &args);
}

#[test]
fn slides_hold_what_scanpy_reads() {
    let test = "slides_hold_what_scanpy_reads";
    let Some(data) = shared(test, "data") else { return };
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("h5", "dlpfc/151673_spaceranger/filtered_feature_bc_matrix.h5"),
        ("h5", "visium_mouse_placenta/filtered_feature_bc_matrix.h5"),
        ("h5", "xenium_mouse_brain/cell_feature_matrix.h5"),
        ("h5-all", "xenium_mouse_brain/cell_feature_matrix.h5"),
        ("h5", "fixtures/scanpy_10x_data/1.2.0/filtered_gene_bc_matrices_h5.h5"),
        ("h5", "fixtures/scanpy_10x_data/3.0.0/filtered_feature_bc_matrix.h5"),
        ("h5-all", "fixtures/scanpy_10x_data/3.0.0/filtered_feature_bc_matrix.h5"),
        ("h5", "fixtures/scanpy_visium_data/2.1.0/raw_probe_bc_matrix.h5"),
        ("h5", "fixtures/sfe_xenium_toy/cell_feature_matrix.h5"),
        ("mtx", "visium_mouse_placenta/filtered_feature_bc_matrix"),
        ("mtx", "fixtures/scanpy_10x_data/1.2.0/filtered_gene_bc_matrices/hg19_chr21"),
        ("mtx", "fixtures/scanpy_10x_data/3.0.0/filtered_feature_bc_matrix"),
        ("mtx", "fixtures/scanpy_10x_data/int-ids"),
        ("visium", "dlpfc/151673_spaceranger"),
        ("visium", "visium_mouse_placenta"),
        ("visium", "fixtures/scanpy_visium_data/1.0.0"),
        ("visium", "fixtures/seurat_visium"),
        ("visium", "fixtures/sfe_visium_toy/outs"),
    ];
    let mut args = Vec::new();
    for (i, (kind, file)) in cases.into_iter().enumerate() {
        let path = data.join(file);
        if !path.exists() {
            println!("SKIPPED: {file} is not there");
            continue;
        }
        let read = match kind {
            "h5-all" => io::TenxH5::default().gex_only(false).read(&path),
            _ => io::read(&path),
        };
        let adata = read.unwrap_or_else(|e| panic!("{kind} {e}"));
        let out = dir.path().join(format!("{i}.h5ad"));
        io::write_h5ad(&adata, &out).unwrap_or_else(|e| panic!("{file}: {e}"));
        args.extend([PathBuf::from(kind), path, out]);
    }
    let Some(python) = python(test) else { return };
    script(&python, "io_platforms.py", &args);
}
