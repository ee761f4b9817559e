//! Round trips through the Python packages themselves: what anndata reads from a file that we
//! rewrote is what it reads from the original.

use spatialkit::io::{self, WriteOptions};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of real files, or `None` with a line that says so.
fn shared(test: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let dir = match std::env::var_os("SPATIALKIT_SHARED") {
        Some(dir) => PathBuf::from(dir),
        None => root.join("../shared"),
    };
    if dir.join("data").is_dir() {
        return Some(dir.join("data"));
    }
    println!("SKIPPED: {test}: no real files in {} (set SPATIALKIT_SHARED)", dir.display());
    None
}

/// Runs a script of `tests/python`, or returns `None` with a line that says that there is no Python.
fn python(test: &str, script: &str, args: &[PathBuf]) -> Option<(bool, String)> {
    let Some(python) = std::env::var_os("SPATIALKIT_PYTHON") else {
        println!("SKIPPED: {test}: SPATIALKIT_PYTHON is not set");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let out = Command::new(python).arg(script).args(args).output().expect("python starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Some((out.status.success(), text + &String::from_utf8_lossy(&out.stderr)))
}

const H5AD: [&str; 12] = [
    "fixtures/anndata_archives/v0.5.0/adata.h5ad",
    "fixtures/anndata_archives/v0.7.0/adata.h5ad",
    "fixtures/anndata_archives/v0.7.8/adata.h5ad",
    "fixtures/anndata_archives/v0.11.4/adata.h5ad",
    "fixtures/anndataR/example.h5ad",
    "fixtures/anndata_rs/sample.h5ad",
    "fixtures/squidpy/test_data.h5ad",
    "fixtures/zellkonverter/example_anndata.h5ad",
    "fixtures/zellkonverter/krumsiek11.h5ad",
    "fixtures/zellkonverter/krumsiek11_augmented_v0-8.h5ad",
    "dlpfc/dlpfc_151673_5000g.h5ad",
    "dlpfc/dlpfc_151675_5000g.h5ad",
];

#[test]
fn rewritten_files_are_equal_to_anndatas_eye() {
    let Some(data) = shared("rewritten_files_are_equal_to_anndatas_eye") else { return };
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
    let Some((ok, text)) = python("rewritten_files", "io_roundtrip.py", &args) else { return };
    println!("{text}");
    assert!(ok, "{text}");
}

#[test]
fn slides_hold_what_scanpy_reads() {
    let Some(data) = shared("slides_hold_what_scanpy_reads") else { return };
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
    let Some((ok, text)) = python("slides", "io_platforms.py", &args) else { return };
    println!("{text}");
    assert!(ok, "{text}");
}
