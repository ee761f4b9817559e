//! STAMGC.
mod graph;
mod losses;
mod network;
mod smooth;
mod train;

pub use graph::{SpotGraph, spot_graph};
pub use losses::{EpochLoss, LossTerms, LossWeights, loss_terms};
pub use network::{Embeddings, Mode, Network, NetworkConfig};
pub use smooth::gaussian_smooth;
pub use train::{TrainConfig, Trainer, TrainingData};
