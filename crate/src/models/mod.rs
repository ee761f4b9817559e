//! Published methods. A model never draws.

mod counts;
pub mod encoder;
pub mod gene_maps;
pub mod histosge;
mod kept;
pub mod spamcaf;
pub mod spatialformer;
pub mod stamgc;
mod state;
pub mod vit;

pub use gene_maps::GeneMapFit;
pub use histosge::HisToSge;
pub use spamcaf::SpaMcaf;
pub use spatialformer::SpatialFormer;
pub use stamgc::{Preset, Stamgc, StamgcFit};
pub use vit::{Vit, VitConfig};
