//! STAMGC: spatial domains by a dual-contrastive graph network.
//!
//! [`Stamgc::fit`] does the whole on an [`AnnData`](crate::anndata::AnnData). Its parts take plain
//! arrays and can be used on their own: [`gaussian_smooth`], [`spot_graph`], [`Network`],
//! [`loss_terms`], [`Trainer`].
//!
//! The network: two graph convolutions with P = D^-1/2 (A + I) D^-1/2 give the embedding z; a third
//! reconstructs expression from it; parallel perceptrons fuse z for one of the losses. The loss:
//! reconstruction error, a contrast between spots of different pseudo labels (regional), and a
//! contrast between neighbours and all other spots (topological). Full batch, Adam.
//!
//! Where the published code holds n × n numbers, nothing here does: smoothing leaves out weights
//! that do not count, the graph is sparse, and both contrasts run over tiles. On the CPU the work
//! is done by the kernels of [`nn::fused`](crate::nn::fused); elsewhere by candle's operations, in blocks of
//! rows. Where even the time of n² cosines is too much, [`Pairs::Quadratic`](crate::nn::Pairs) needs n.
//!
//! Several slices are placed side by side by [`Stamgc::join`]; their graphs are separate, all else is shared.
//!
//! Matches the published code (PyTorch 2.15, PyTorch Geometric 2.8) with the same weights and
//! labels: embeddings within 2e-5, losses within 1e-5 relative, every gradient within 1e-5, and
//! 20 training steps within 2e-5 relative on the loss. Random draws are our own, so that runs
//! agree as two seeds of the published code do.

mod consensus;
mod data;
mod fit;
mod fused_step;
mod graph;
mod losses;
mod network;
mod params;
mod preprocess;
mod presets;
mod result;
mod slices;
mod train;

pub use crate::linalg::gaussian_smooth;
pub use consensus::Consensus;
pub use data::TrainingData;
pub use graph::{SpotGraph, spot_graph};
pub use losses::{EpochLoss, LossTerms, LossWeights, loss_terms};
pub use network::{Embeddings, Mode, Network, NetworkConfig};
pub use params::{Clustering, Stamgc};
pub use presets::Preset;
pub use result::{StamgcFit, Timings};
pub use train::{TrainConfig, Trainer};

#[cfg(test)]
mod tests;
