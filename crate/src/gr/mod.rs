//! Graphs of neighbouring spots and statistics on them, as squidpy's `gr`: the same names, the same
//! results.
//!
//! [`spatial_neighbors`] makes the graph and everything else reads it: [`spatial_autocorr`] and
//! [`spatially_variable_genes`] (which genes form patterns), [`sepal`] (the same by diffusion),
//! [`nhood_enrichment`], [`interaction_matrix`] and [`centrality_scores`] (how clusters lie to each
//! other). [`co_occurrence`] and [`ripley`] need the coordinates only. Keys in `uns` are squidpy's,
//! so that `squidpy.pl` draws from the written file.

mod autocorr;
mod build;
mod centrality;
mod cooccurrence;
mod delaunay;
mod features;
mod graph;
mod hull;
mod interaction;
mod moments;
mod neighbors;
mod nhood;
mod pairs;
mod permute;
mod ripley;
#[cfg(test)]
mod sample;
mod sepal;
mod statistic;
mod transform;
mod variable;

pub use autocorr::{Correction, SpatialAutocorr, spatial_autocorr};
pub use centrality::{CentralityScores, centrality_scores};
pub use cooccurrence::{CoOccurrence, co_occurrence};
pub use interaction::{InteractionMatrix, interaction_matrix};
pub use neighbors::{SpatialNeighbors, spatial_neighbors};
pub use nhood::{NhoodEnrichment, nhood_enrichment};
pub use ripley::{Ripley, RipleyMode, ripley};
pub use sepal::{Sepal, sepal};
pub use transform::Transform;
pub use variable::{SpatiallyVariable, spatially_variable_genes};
