//! [`read`]: finds out what a file or folder is.

use super::{files, h5, h5ad, loom, mtx, spatialdata, store, tenx, visium, zarr};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

const KNOWN: &str = "an .h5ad file, a zarr store, a 10x .h5 file, a .loom file, a Visium folder (a matrix and spatial/) or a \
                     10x folder (matrix.mtx, barcodes.tsv, features.tsv)";

/// Reads whatever is at `path`: an `.h5ad` file, a 10x `.h5` file, a Visium folder, or a 10x folder
/// with `matrix.mtx`. The content decides, not the name.
///
/// # Errors
/// [`Error::Format`] saying what was looked for when it is none of these; otherwise the errors of
/// the reader it was given to.
pub fn read(path: impl AsRef<Path>) -> Result<AnnData> {
    read_path(path.as_ref())
}

fn read_path(path: &Path) -> Result<AnnData> {
    let meta = fs::metadata(path).map_err(|e| files::missing(path, e))?;
    if meta.is_dir() { read_folder(path) } else { read_file(path) }
}

fn read_file(path: &Path) -> Result<AnnData> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if matches!(name.as_str(), "matrix.mtx" | "matrix.mtx.gz")
        && let Some(folder) = path.parent()
    {
        return mtx::read_10x_mtx(folder);
    }
    if zarr::is_store(path) {
        return read_object(&zarr::open(path)?.into());
    }
    let is_hdf5_name = [".h5ad", ".h5", ".hdf5", ".h5mu"].iter().any(|e| name.ends_with(e));
    if !is_hdf5_name && !has_hdf5_signature(path) {
        files::check_file(path)?;
        let looks = files::describe_content(path);
        return Err(Error::format(path, format!("not recognised: {looks}"))
            .with_hint(format!("This reads {KNOWN}")));
    }
    let root = h5::open(path)?;
    if loom::is_loom(&root) {
        return loom::read_loom(path);
    }
    if root.contains("matrix") || (!root.contains("X") && !tenx::genomes(&root)?.is_empty()) {
        return tenx::read_10x_h5(path);
    }
    read_object(&root.into())
}

/// Reads the object that a file or store holds: an AnnData object, or a collection of just one.
fn read_object(root: &store::Group) -> Result<AnnData> {
    let options = h5ad::ReadOptions::default();
    if h5ad::is_mudata(root)? {
        return h5ad::read_elements(&h5ad::only_modality(root)?, &options);
    }
    if spatialdata::is_spatialdata(root) {
        return h5ad::read_elements(&spatialdata::only_table(root)?, &options);
    }
    h5ad::read_elements(root, &options)
}

fn read_folder(folder: &Path) -> Result<AnnData> {
    if zarr::is_store(folder) {
        return read_object(&zarr::open(folder)?.into());
    }
    if visium::is_visium_folder(folder) {
        return visium::read_visium(folder);
    }
    for inner in [folder.to_path_buf(), folder.join("filtered_feature_bc_matrix")] {
        if mtx::is_mtx_folder(&inner) {
            return mtx::read_10x_mtx(inner);
        }
    }
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(|e| Error::io(folder, e))?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let files: Vec<&String> =
        names.iter().filter(|n| n.ends_with(".h5ad") || n.ends_with(".h5")).collect();
    let hint = match files.first() {
        Some(file) => {
            format!("To read one of its files: `io::read(\"{}\")`", folder.join(file).display())
        }
        None => format!("This reads {KNOWN}"),
    };
    let holds = match names.len() {
        0 => "it is empty".to_string(),
        n => format!("it holds {} of {n}: {}", n.min(10), names[..n.min(10)].join(", ")),
    };
    let looked = "looked for spatial/, *filtered_feature_bc_matrix.h5 and matrix.mtx";
    Err(Error::format(folder, format!("folder not recognised: {looked}; {holds}")).with_hint(hint))
}

fn has_hdf5_signature(path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0u8; 8];
    fs::File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok()
        && head == *b"\x89HDF\r\n\x1a\n"
}
