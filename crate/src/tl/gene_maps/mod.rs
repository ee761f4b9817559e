//! Judging predicted gene maps: how well the expression that a model gives every spot agrees with
//! the measured one, and the simple predictions that a model must beat.
//!
//! ```text
//! measured spots ─┬─ interpolate_genes: nearest neighbour, inverse distances ─┐
//!                 └─ ridge_genes: features of the measured spots ─────────────┼─ predicted maps
//! a model ────────────────────────────────────────────────────────────────────┘
//! measured and predicted map, over a choice of spots ────> score_gene_map ────> GeneMapScores
//! measured and predicted maps, over all and hidden spots ─> compare_gene_maps ─> GeneMapComparison
//! ```
//! Maps are layers of one slide, or its X.
//!
//! * `scores`: correlation and errors by gene and by spot.
//! * `ssim`: structural similarity on the grid of the spots.
//! * `baselines`: predictions from measured spots.
//! * `compare`: several methods side by side.

mod baselines;
mod compare;
mod grid;
mod scores;
mod ssim;

pub use baselines::{Interpolate, interpolate_genes, ridge_genes};
pub use compare::{ComparedMap, GeneMapComparison, compare_gene_maps};
pub use grid::SpotGrid;
pub use scores::{GeneMapScores, ScoreGeneMap, score_gene_map};

use crate::anndata::{AnnData, Matrix, Select};
use crate::error::Result;

/// The layer of that name, or the main matrix: without a name, or for `X` where no layer is called so.
pub(in crate::tl) fn expression<'a>(adata: &'a AnnData, layer: Option<&str>) -> Result<&'a Matrix> {
    match layer {
        None => adata.x(),
        Some("X") if !adata.layers.contains_key("X") => adata.x(),
        Some(key) => adata.layer(key),
    }
}

/// For each observation whether it is chosen.
fn chosen(adata: &AnnData, spots: Select) -> Result<Vec<bool>> {
    let Some(positions) = spots.positions("obs", &adata.obs)? else {
        return Ok(vec![true; adata.n_obs()]);
    };
    let mut mask = vec![false; adata.n_obs()];
    positions.into_iter().for_each(|i| mask[i] = true);
    Ok(mask)
}
