//! SpaMCAF: a denser gene map from the image at two scales.
//!
//! ```text
//! features of a spot's patches, one a scale ─ 2 × (linear, norm, GELU) ─┬──────────────> weighted mean
//!                          tanh(linear) ∘ sigmoid(linear) ─ linear ─ softmax over scales ─┘      │
//!                                        genes <─ linear, ReLU <─ 3 × (linear, batch norm, ReLU) ┘
//! ```
//! [`SpaMcaf`] does the whole on an [`AnnData`](crate::anndata::AnnData); [`Network`] is the network, [`Trainer`] trains it, [`Schedule`] is its learning rate.
//!
//! Matches the published code (PyTorch 2.15) with the same weights: predictions within 1e-4 at the
//! published size and 2e-5 on a small network, every gradient within 1e-5, ten steps of training within
//! 1e-4 relative on the loss. The published network also holds tables of positions, a transformer and a
//! second head, whose results it throws away: they have no parameters here.

mod fit;
mod network;
mod schedule;
mod step;
mod train;

pub use fit::SpaMcaf;
pub use network::{Network, NetworkConfig, Output};
pub use schedule::Schedule;
pub use train::Trainer;

#[cfg(test)]
mod tests;
