//! The pass on the CPU, in slices that are used again from block to block, over sequences without padding.

use super::network::{AttentionBlock, ConvBlock, SpatialFormer, Tail};
use super::plain::BATCH_EPSILON;
use super::sequences::Sequences;
use crate::error::Result;
use crate::nn::LayerNorm;
use crate::nn::fused::{
    Activation, Convolution, Norm, add_then_norm, dense, held, layer_norm, times_silu, transposed,
};
use crate::progress::check_interrupt;
use rayon::prelude::*;
use std::ops::Range;

/// Which hidden states are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// That of the first token of each sequence.
    First,
    /// All.
    All,
}

/// The hidden states after the last layer: rows of `dim` numbers.
pub(super) fn hidden(model: &SpatialFormer, batch: &Sequences, keep: Keep) -> Result<Vec<f32>> {
    let dim = model.config.dim;
    let spans = batch.spans();
    let tokens = batch.n_tokens();
    let mut pass = Pass {
        model,
        spans: &spans,
        slopes: model.config.slopes(),
        x: embedded(model, batch)?,
        wide: vec![0f32; tokens * 4 * dim],
        half: vec![0f32; tokens * 2 * dim],
        update: vec![0f32; tokens * dim],
    };
    for (i, layer) in model.layers.iter().enumerate() {
        check_interrupt()?;
        pass.conv(&layer.conv)?;
        // Of the last block nothing but the first token's row is wanted.
        let last = i + 1 == model.layers.len();
        pass.attention(&layer.attention, if last { keep } else { Keep::All })?;
    }
    Ok(pass.x)
}

/// The normalised sums of the three embeddings.
fn embedded(model: &SpatialFormer, batch: &Sequences) -> Result<Vec<f32>> {
    let dim = model.config.dim;
    let mut sum = vec![0f32; batch.n_tokens() * dim];
    let (tokens, kinds) = (held(&model.embeddings)?, held(&model.kinds)?);
    let spatial = held(&model.spatial)?;
    sum.par_chunks_mut(dim).zip(&batch.tokens).zip(&batch.kinds).for_each(|((row, &t), &kind)| {
        let at = |table: &[f32], i: u32| -> Range<usize> {
            let start = i as usize * dim;
            debug_assert!(start + dim <= table.len());
            start..start + dim
        };
        let (a, b) = (&tokens[at(&tokens, t)], &kinds[at(&kinds, kind)]);
        let c = &spatial[at(&spatial, t)];
        for (((r, &a), &b), &c) in row.iter_mut().zip(a).zip(b).zip(c) {
            *r = a + b + c;
        }
    });
    let mut x = vec![0f32; sum.len()];
    let (weight, bias) = (held(&model.norm.weight)?, held(&model.norm.bias)?);
    layer_norm(&sum, norm(&model.norm, &weight, &bias), &mut x);
    Ok(x)
}

/// The state between two blocks, and room for what a block computes.
struct Pass<'a> {
    model: &'a SpatialFormer,
    spans: &'a [Range<usize>],
    slopes: Vec<f32>,
    /// The tokens.
    x: Vec<f32>,
    /// What a first layer makes.
    wide: Vec<f32>,
    /// What a last layer takes.
    half: Vec<f32>,
    /// What is added to the tokens.
    update: Vec<f32>,
}

impl Pass<'_> {
    fn conv(&mut self, block: &ConvBlock) -> Result<()> {
        let d = self.model.config.dim;
        let n = self.x.len() / d;
        let expand = held(&block.expand.weight)?;
        dense((n, d, 2 * d), &self.x, &expand, None, Activation::None, &mut self.wide[..n * 2 * d]);
        let (gated, rest) = self.half.split_at_mut(n * d);
        times_silu(&self.wide[..n * 2 * d], &held(&block.expand.bias)?, d, gated);

        // The normalisation by running statistics is part of the convolution.
        let (weight, bias) = (held(&block.norm.weight)?, held(&block.norm.bias)?);
        let (mean, variance) = (held(&block.norm.running_mean)?, held(&block.norm.running_var)?);
        let factor: Vec<f32> = (weight.iter().zip(variance.iter()))
            .map(|(&w, &v)| w / (v + BATCH_EPSILON as f32).sqrt())
            .collect();
        let shift: Vec<f32> = (0..d).map(|c| bias[c] - mean[c] * factor[c]).collect();
        let kernel = transposed(&held(&block.kernel)?, d);
        let conv = Convolution { kernel: &kernel, factor: &factor, shift: &shift };
        let convolved = &mut rest[..n * d];
        conv.forward(self.spans, gated, convolved);

        let project = held(&block.project.weight)?;
        dense((n, d, d), convolved, &project, None, Activation::None, &mut self.update[..n * d]);
        self.tail(&block.tail, &block.project.bias)
    }

    fn attention(&mut self, block: &AttentionBlock, keep: Keep) -> Result<()> {
        let config = &self.model.config;
        let d = config.dim;
        let n = self.x.len() / d;
        let (w, b) = (held(&block.qkv.weight)?, held(&block.qkv.bias)?);
        let qkv = &mut self.wide[..n * 3 * d];
        dense((n, d, 3 * d), &self.x, &w, Some(&b), Activation::None, qkv);
        let heads = config.distant_heads(&self.slopes);
        let (n, rows) = match keep {
            Keep::All => (n, usize::MAX),
            Keep::First => {
                let first = self.spans.iter().flat_map(|s| &self.x[s.start * d..(s.start + 1) * d]);
                self.x = first.copied().collect();
                (self.spans.len(), 1)
            }
        };
        let attended = &mut self.half[..n * d];
        heads.forward(self.spans, rows, qkv, attended);
        let project = held(&block.project.weight)?;
        dense((n, d, d), attended, &project, None, Activation::None, &mut self.update[..n * d]);
        self.tail(&block.tail, &block.project.bias)
    }

    /// From what a block makes of the tokens to the tokens behind it.
    fn tail(&mut self, tail: &Tail, bias: &candle_core::Tensor) -> Result<()> {
        let d = self.model.config.dim;
        let n = self.x.len() / d;
        self.add(n, &tail.scale, bias, &tail.norm1)?;
        let first = held(&tail.first.weight)?;
        let wide = &mut self.wide[..n * 4 * d];
        dense((n, d, 4 * d), &self.x, &first, None, Activation::None, wide);
        let half = &mut self.half[..n * 2 * d];
        times_silu(wide, &held(&tail.first.bias)?, 2 * d, half);
        let second = held(&tail.second.weight)?;
        dense((n, 2 * d, d), half, &second, None, Activation::None, &mut self.update[..n * d]);
        self.add(n, &tail.mlp_scale, &tail.second.bias, &tail.norm2)
    }

    /// x = norm(x + scale ∘ (update + bias) + shift).
    fn add(
        &mut self,
        n: usize,
        scale: &super::network::Affine,
        bias: &candle_core::Tensor,
        layer: &LayerNorm,
    ) -> Result<()> {
        let d = self.model.config.dim;
        let (factor, shift, bias) = (held(&scale.scale)?, held(&scale.bias)?, held(bias)?);
        let shift: Vec<f32> = (0..d).map(|c| factor[c] * bias[c] + shift[c]).collect();
        let (weight, bias) = (held(&layer.weight)?, held(&layer.bias)?);
        let norm = norm(layer, &weight, &bias);
        add_then_norm(&mut self.x, &self.update[..n * d], &factor, &shift, norm);
        Ok(())
    }
}

fn norm<'a>(layer: &LayerNorm, weight: &'a [f32], bias: &'a [f32]) -> Norm<'a> {
    Norm { weight, bias, epsilon: layer.epsilon as f32 }
}
