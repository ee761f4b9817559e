//! Vision transformers: UNI, UNI2-h and others with timm's layout of weights.
//!
//! ```text
//! image ─ patches ─ linear ─ + positions ─> [class | registers | patches] ─ blocks ─ norm ─> class token
//! block: x += γ₁ ∘ attention(norm(x));  x += γ₂ ∘ mlp(norm(x))
//! ```
//! [`VitConfig`] has the sizes, [`Vit`] the weights. What prepares images for it and keeps the results is
//! an [`encoder`](crate::models::encoder).
//!
//! On the CPU whole passes run in the kernels of [`nn::fused`](crate::nn::fused): the weights are read
//! once for all images of a batch, a branch's sum and the next normalisation are one pass, and in the last
//! block nothing is computed for tokens that nobody looks at. Elsewhere candle's operations compute the
//! same.
//!
//! Matches timm 1.0 on PyTorch 2.15: within 2e-5 on a small network, 2e-3 on ViT-L/16 (24 layers in
//! `f32`), and 1e-4 for images of other sizes, whose positions are interpolated.

mod config;
mod fused;
mod network;
mod position;

pub use config::{Mlp, VitConfig};
pub use network::Vit;

#[cfg(test)]
mod tests;
