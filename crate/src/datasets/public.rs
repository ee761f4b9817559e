//! The public data sets as functions, with [`Downloads`] as it is by default.

use super::Downloads;
use crate::anndata::AnnData;
use crate::error::Result;
use std::path::PathBuf;

/// Downloads a file into the cache, or finds it there; see [`Downloads::fetch`].
///
/// # Errors
/// As [`Downloads::fetch`].
pub fn fetch(url: &str, checksum: Option<&str>) -> Result<PathBuf> {
    Downloads::new().fetch(url, checksum)
}

/// A public Visium slide of 10x Genomics by the name it has there, e.g.
/// `V1_Breast_Cancer_Block_A_Section_1`, `V1_Human_Lymph_Node`,
/// `V1_Mouse_Brain_Sagittal_Anterior`, read as [`io::read_visium`](crate::io::read_visium) reads
/// it. The names are those of `scanpy.datasets.visium_sge` and more; [`list`](super::list) has
/// them all. About 20 to 100 MB, checked against the SHA-256 that squidpy publishes, from 10x or
/// else from the mirror of scverse.
///
/// # Errors
/// [`Error::MissingKey`](crate::Error::MissingKey) for another name, and those of
/// [`Downloads::fetch`].
pub fn visium_sge(sample_id: &str) -> Result<AnnData> {
    Downloads::new().visium_sge(sample_id)
}

/// A section of human dorsolateral prefrontal cortex (Maynard et al. 2021), `151507` to `151510`,
/// `151669` to `151676`, with all genes and both images, and the layers drawn by hand in
/// `obs["layer_guess"]` (`L1` … `L6`, `WM`; missing where none was given).
///
/// Counts and images come from the authors' server, which publishes no checksums: those of the
/// first download are recorded and hold from then on. Positions and layers are checked.
///
/// # Errors
/// As [`visium_sge`].
pub fn dlpfc(section: &str) -> Result<AnnData> {
    Downloads::new().dlpfc(section)
}

/// A section of HER2+ breast cancer (Andersson et al. 2021), `A1` to `H3`: counts, spots, clusters,
/// the pathologist's labels for one section of each tumour, and the image, read as
/// [`io::Her2st`](crate::io::Her2st) reads them. All but the images are checked against the
/// authors' repository at one commit; an image holds as it came at its first download.
///
/// # Errors
/// As [`visium_sge`].
pub fn her2st(section: &str) -> Result<AnnData> {
    Downloads::new().her2st(section)
}

/// A slide of STimage-1K4M (Chen et al. 2024) by its name in the collection's catalogue, e.g.
/// `Human_Breast_Andersson_10142021_ST_A1`: counts, coordinates and image, read as
/// [`io::StImage`](crate::io::StImage) reads them. The files have no published checksums: those of
/// the first download are recorded and hold from then on.
///
/// # Errors
/// [`Error::MissingKey`](crate::Error::MissingKey) for another name, with names that begin alike,
/// and those of [`Downloads::fetch`].
pub fn stimage(slide: &str) -> Result<AnnData> {
    Downloads::new().stimage(slide)
}

/// A published checkpoint of SpatialFormer (Wang, Huang and Winther, 2025), for
/// [`SpatialFormer::load`](crate::models::SpatialFormer::load): `single_input` (single cells of 62 slides),
/// `61slides` (pairs of 13 tissues), `lung_paired` (pairs of 25 slides of lung), `VUILD102LF` (pairs of one
/// slide). Some hundred MB each. Their size is what the server says; it publishes no SHA-256: that of the
/// first download is recorded and holds from then on.
///
/// # Errors
/// As [`visium_sge`].
pub fn spatialformer(checkpoint: &str) -> Result<PathBuf> {
    Downloads::new().spatialformer(checkpoint)
}
