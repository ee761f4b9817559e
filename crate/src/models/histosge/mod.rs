//! HisToSGE: a denser gene map from the image and the measured spots.
//!
//! ```text
//! feature of a spot's patch + position of its column + position of its row
//!   ─ transformer over the spots of a chunk ─> hidden ─ linear, ReLU, norm, linear, ReLU ─> genes
//! ```
//! [`HisToSge`] does the whole on an [`AnnData`](crate::anndata::AnnData); [`Network`] is the network, [`Trainer`] trains it on chunks of spots, a [`Batch`] at a time.
//!
//! Matches the published code (PyTorch 2.15) with the same weights: hidden layer and predictions within
//! 2e-5 on a small network and 1e-4 at the published size, the loss within 1e-5 relative, every gradient
//! within 1e-5, and ten steps of training within 5e-5 relative on the loss.

mod fit;
mod network;
mod step;
mod train;

pub use fit::HisToSge;
pub use network::{Batch, Network, NetworkConfig, Output};
pub use train::Trainer;

#[cfg(test)]
mod tests;
