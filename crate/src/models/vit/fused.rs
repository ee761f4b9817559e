//! The pass through the blocks on the CPU, in slices that are used again from block to block.

use super::config::Mlp;
use super::network::{Block, Vit};
use crate::error::Result;
use crate::nn::LayerNorm;
use crate::nn::fused::{
    Activation, Heads, Norm, add_and_norm, dense, held, layer_norm, silu_times,
};
use crate::progress::check_interrupt;
use candle_core::{Device, Tensor};

/// The class token of each sequence of `length` rows of `x` after the last normalisation.
pub(super) fn class_tokens(vit: &Vit, x: &Tensor, length: usize) -> Result<Tensor> {
    let dim = vit.config.dim;
    let mut x = held(x)?.to_vec();
    let tokens = x.len() / dim;
    let mut buffers = Buffers {
        normed: vec![0f32; tokens * dim],
        wide: vec![0f32; tokens * (3 * dim).max(vit.config.mlp.first())],
        attended: vec![0f32; tokens * dim.max(vit.config.mlp.hidden())],
        update: vec![0f32; tokens * dim],
    };
    if let Some(first) = vit.blocks.first() {
        let (weight, bias) = (held(&first.norm1.weight)?, held(&first.norm1.bias)?);
        layer_norm(&x, norm(&first.norm1, &weight, &bias), &mut buffers.normed);
    }
    for (i, block) in vit.blocks.iter().enumerate() {
        check_interrupt()?;
        // Of the last block only the class token's row is wanted.
        let last = i + 1 == vit.blocks.len();
        let next = if last { &vit.norm } else { &vit.blocks[i + 1].norm1 };
        pass(vit, block, next, &mut x, &mut buffers, length, if last { 1 } else { length })?;
    }
    let batch = tokens / length;
    buffers.normed.truncate(batch * dim);
    Ok(Tensor::from_vec(buffers.normed, (batch, dim), &Device::Cpu)?)
}

/// Room for what a block computes.
struct Buffers {
    /// The normalised tokens.
    normed: Vec<f32>,
    /// q, k and v; then the first layer of the perceptron.
    wide: Vec<f32>,
    /// What attention returns; then what the second layer takes, where that is not `wide`.
    attended: Vec<f32>,
    /// What is added to the tokens.
    update: Vec<f32>,
}

/// One block: from tokens and their normalisation to the tokens behind it and the normalisation that
/// `next` makes of them. With `keep` below `length`, only so many tokens of each sequence go on.
fn pass(
    vit: &Vit,
    block: &Block,
    next: &LayerNorm,
    x: &mut Vec<f32>,
    buffers: &mut Buffers,
    length: usize,
    keep: usize,
) -> Result<()> {
    let (dim, mlp) = (vit.config.dim, vit.config.mlp);
    let Buffers { normed, wide, attended, update } = buffers;
    let tokens = x.len() / dim;
    let width = dim / vit.config.heads;
    let heads =
        Heads { length, heads: vit.config.heads, width, scale: 1.0 / (width as f32).sqrt() };

    let qkv = &mut wide[..tokens * 3 * dim];
    let (w, b) = (held(&block.qkv.weight)?, held(&block.qkv.bias)?);
    dense((tokens, dim, 3 * dim), normed, &w, Some(&b), Activation::None, qkv);
    if keep < length {
        let firsts = x.chunks_exact(length * dim).flat_map(|rows| &rows[..keep * dim]);
        *x = firsts.copied().collect();
    }
    let tokens = x.len() / dim;
    let attended_rows = &mut attended[..tokens * dim];
    heads.forward_first(keep, qkv, attended_rows);
    let update = &mut update[..tokens * dim];
    let normed = &mut normed[..tokens * dim];
    dense(
        (tokens, dim, dim),
        attended_rows,
        &held(&block.out.weight)?,
        None,
        Activation::None,
        update,
    );
    add(x, update, &block.out.bias, &block.gamma1, &block.norm2, normed)?;

    let first = &mut wide[..tokens * mlp.first()];
    let (w, b) = (held(&block.fc1.weight)?, held(&block.fc1.bias)?);
    let sizes = (tokens, dim, mlp.first());
    let hidden = match mlp {
        Mlp::Gelu { .. } => {
            dense(sizes, normed, &w, Some(&b), Activation::Gelu, first);
            &*first
        }
        Mlp::SwiGlu { hidden } => {
            dense(sizes, normed, &w, Some(&b), Activation::None, first);
            let product = &mut attended[..tokens * hidden];
            silu_times(first, hidden, product);
            &*product
        }
    };
    let w = held(&block.fc2.weight)?;
    dense((tokens, mlp.hidden(), dim), hidden, &w, None, Activation::None, update);
    add(x, update, &block.fc2.bias, &block.gamma2, next, normed)
}

/// Adds a branch to the tokens and normalises them.
fn add(
    x: &mut [f32],
    update: &[f32],
    bias: &Tensor,
    gamma: &Option<Tensor>,
    next: &LayerNorm,
    normed: &mut [f32],
) -> Result<()> {
    let gamma = gamma.as_ref().map(held).transpose()?;
    let (weight, next_bias) = (held(&next.weight)?, held(&next.bias)?);
    let norm = norm(next, &weight, &next_bias);
    add_and_norm(x, update, &held(bias)?, gamma.as_deref(), norm, normed);
    Ok(())
}

fn norm<'a>(layer: &LayerNorm, weight: &'a [f32], bias: &'a [f32]) -> Norm<'a> {
    Norm { weight, bias, epsilon: layer.epsilon as f32 }
}
