//! SpaMCAF: a denser gene map from the image at two scales.
//!
//! ```text
//! features of a spot's patches, one a scale ─ 2 × (linear, norm, GELU) ─┬──────────────> weighted mean
//!                          tanh(linear) ∘ sigmoid(linear) ─ linear ─ softmax over scales ─┘      │
//!                            ┌─ with positions only: + column + row ─ SummaryMixing blocks ──────┤
//!                            │                                                                   │
//!                            └──────> genes <─ linear, ReLU <─ 3 × (linear, batch norm, ReLU) <──┘
//! ```
//! [`SpaMcaf`] does the whole on an [`AnnData`](crate::anndata::AnnData); [`Network`] is the network, [`Trainer`] trains it, [`Schedule`] is its learning rate.
//!
//! # As released
//! The default. A spot is seen alone, and where it lies is not. Matches the published code (PyTorch 2.15)
//! with the same weights: predictions within 1e-4 at the published size and 2e-5 on a small network, every
//! gradient within 1e-5, ten steps of training within 1e-4 relative on the loss.
//!
//! # With positions
//! The published class also makes tables of columns and rows, a transformer of [`SummaryMixing`] and a
//! second head; it looks positions up and drops them, and calls neither of the others. With [`Mixing`]
//! ([`SpaMcaf::with_positions`]) the network uses them: to the mean over the scales of each spot the vectors
//! of its column and its row are added, the spots of a chunk go through the transformer as one sequence, and
//! the head follows. Weights of the published code then have those parts loaded; since its training never
//! moved them, they are as they were drawn, and must be trained.
//!
//! The wiring is ours as far as the release leaves it open. The order is that of the constructor and of
//! the figure in the authors' repository (github.com/wenwenmin/SpaMCAF), where positions are added to image
//! features in front of an encoder of norm, linear attention, norm and perceptron, each with a way around.
//! Both heads take the encoder's width, so that shapes do not tell which follows: it is `feed`, which the
//! release calls and trains; `gene_head` and `layer_norm` stay unused. That figure draws more than was
//! released: nine patches around a spot as tokens of their own, the whole slide as a third branch, cross
//! attention between the branches, and four losses. None of that is here.
//!
//! [`SummaryMixing`], [`SummaryHeads`] and [`MixingTransformer`] match the published modules within 1e-5;
//! what they make within the network has nothing published to compare with.

mod fit;
mod mixing;
mod network;
mod schedule;
mod step;
mod train;

pub use fit::SpaMcaf;
pub use mixing::{Mixing, MixingTransformer, SummaryHeads, SummaryMixing};
pub use network::{Batch, Network, NetworkConfig, Output};
pub use schedule::Schedule;
pub use train::Trainer;

#[cfg(test)]
mod tests;
