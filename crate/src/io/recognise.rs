//! [`read`]: finds out what a file or folder is.

use super::{
    beads, cosmx, files, h5, h5ad, legacy_st, loom, mtx, spatial_tables, spatialdata, stereoseq,
    stimage, store, tenx, visium, visium_hd, vizgen, xenium, zarr,
};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

const KNOWN: &str = "an .h5ad file, a zarr store, a 10x .h5 file, a .loom file, a .gem file, counts \
                     of legacy ST (rows named 10x13), a slide of STimage-1K4M \
                     (gene_exp/*_count.csv), a folder of Visium (a matrix and spatial/), Visium HD, \
                     Xenium, CosMx, Vizgen or Slide-seq, a 10x folder (matrix.mtx, barcodes.tsv, \
                     features.tsv) or a folder of tables (counts, coordinates, metadata). \
                     `io::read_table` reads tables, `image::read_image` pictures";

/// Reads whatever is at `path`: an `.h5ad`, 10x `.h5` or `.loom` file, a zarr store, a `.gem` file,
/// counts of legacy ST (with what lies beside them in a HER2ST folder), counts of a slide of
/// STimage-1K4M, a folder of Visium, Visium HD, Xenium, CosMx, Vizgen or Slide-seq, a 10x folder with
/// `matrix.mtx`, or a folder of tables. The content decides, not the name.
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
        if let Some(slide) = stimage::recognise(path)? {
            return Ok(slide);
        }
        if let Some(slide) = legacy_st::recognise(path)? {
            return Ok(slide);
        }
        if stereoseq::is_gem(path) {
            return stereoseq::read_stereoseq(path);
        }
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
    if visium_hd::is_visium_hd_folder(folder) {
        return visium_hd::read_visium_hd(folder);
    }
    if xenium::is_xenium_folder(folder) {
        return xenium::read_xenium(folder);
    }
    if cosmx::is_cosmx_folder(folder) {
        return cosmx::read_cosmx(folder);
    }
    if vizgen::is_vizgen_folder(folder) {
        return vizgen::read_vizgen(folder);
    }
    if visium::is_visium_folder(folder) {
        return visium::read_visium(folder);
    }
    for inner in [folder.to_path_buf(), folder.join("filtered_feature_bc_matrix")] {
        if mtx::is_mtx_folder(&inner) {
            return mtx::read_10x_mtx(inner);
        }
    }
    if beads::is_slideseq_folder(folder) {
        return beads::read_slideseq(folder);
    }
    for recognise in [legacy_st::recognise, stimage::recognise, spatial_tables::recognise] {
        if let Some(adata) = recognise(folder)? {
            return Ok(adata);
        }
    }
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(|e| Error::io(folder, e))?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let files: Vec<&String> =
        names.iter().filter(|n| [".h5ad", ".h5", ".loom"].iter().any(|e| n.ends_with(e))).collect();
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
    let looked = "looked for spatial/, *filtered_feature_bc_matrix.h5 and matrix.mtx (Visium, 10x), \
                  binned_outputs/ (Visium HD), cells.parquet or cells.csv.gz (Xenium), \
                  *exprMat_file.csv (CosMx), *cell_by_gene.csv (Vizgen), *digital_expression.txt, \
                  MappedDGEForR.csv or counts.csv beside coordinates (Slide-seq, MERFISH)";
    Err(Error::format(folder, format!("folder not recognised: {looked}; {holds}")).with_hint(hint))
}

fn has_hdf5_signature(path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0u8; 8];
    files::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok()
        && head == *b"\x89HDF\r\n\x1a\n"
}
