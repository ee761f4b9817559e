//! SpatialFormer: embeddings of single cells and of pairs of cells, from the ranks of their genes.
//!
//! ```text
//! expression ─ Tokenizer ─> ranked genes ─ Sequences ─> tokens ─ SpatialFormer ─> hidden states
//!                                                                                  │
//!   <CLS>, or the mean over genes ─> obsm["X_SpaF"] (embed) <──────────────────────┤
//!   <CLS> of a pair ─> P(neighbours) (predict_pairs, perturb) <────────────────────┤
//!   states of two genes ─> P(together in the cell) (co_occurrence) <───────────────┘
//!
//! layer: x += scaled(project(SiLU(norm(convolve(gated(x))))));  norm; x += scaled(mlp(x)); norm
//!        x += scaled(project(attention(x, falling with distance))); norm; x += scaled(mlp(x)); norm
//! ```
//! On the CPU sequences of any lengths lie one behind the other and whole passes run in the kernels of
//! [`nn::fused`](crate::nn::fused); elsewhere candle's operations compute the same on padded rectangles.
//!
//! Matches the Python package `spatialformer` 0.1.8 on PyTorch 2.15: hidden states within 5e-5 on a small
//! network and 1e-3 at the published size; tokens exactly.

mod check;
mod config;
#[cfg(target_arch = "x86_64")]
mod deletions;
mod embed;
mod fused;
mod gene_pairs;
mod load;
mod network;
mod numpy_order;
mod pairs;
mod perturb;
mod plain;
mod sequences;
mod states;
mod tokens;
pub mod training;
mod vocabulary;

pub use check::{LayoutCheck, check_layout};
pub use config::{AttentionLayout, Fresh, SpatialFormerConfig, Weight};
pub use embed::{Embed, Embedded, Pooling, embed};
pub use gene_pairs::{GenePair, GenePairTable, GenePairs, gene_pairs};
pub use load::Load;
pub use network::SpatialFormer;
pub use pairs::{PairPredictions, PredictPairs, Reverse, predict_pairs};
pub use perturb::{Perturb, Perturbation, perturb};
pub use sequences::Sequences;
pub use tokens::{Cpu, TieOrder};
pub use vocabulary::Vocabulary;

#[cfg(test)]
mod tests;
