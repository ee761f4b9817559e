//! The pass on the CPU, in slices that are used again from block to block, over sequences without padding.

use super::network::{AttentionBlock, ConvBlock, SpatialFormer, Tail};
use super::plain::BATCH_EPSILON;
use super::sequences::Sequences;
use crate::error::Result;
use crate::nn::fused::{
    Activation, Convolution, Norm, add_then_norm, dense, held, layer_norm, times_silu, transposed,
};
use crate::nn::{LayerNorm, Linear};
use crate::progress::check_interrupt;
use candle_core::Tensor;
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

/// What multiplies the rows of a pass with the weights of its layers.
pub(super) trait Products {
    /// Writes x Wᵀ + bias into `y`.
    fn product(
        &mut self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()>;

    /// Writes (a + bias) · SiLU(b + bias) into `y`, where [a | b] is x Wᵀ; there is room for that in `wide`.
    fn gated(&mut self, layer: &Linear, x: &[f32], wide: &mut [f32], y: &mut [f32]) -> Result<()> {
        let (out, inner) = layer.weight.dims2()?;
        let wide = &mut wide[..x.len() / inner * out];
        self.product(&layer.weight, None, x, wide)?;
        times_silu(wide, &held(&layer.bias)?, out / 2, y);
        Ok(())
    }
}

/// Products of `f32`.
pub(super) struct Exact;

impl Products for Exact {
    fn product(
        &mut self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        let (out, inner) = weight.dims2()?;
        let (weight, bias) = (held(weight)?, bias.map(held).transpose()?);
        dense((x.len() / inner, inner, out), x, &weight, bias.as_deref(), Activation::None, y);
        Ok(())
    }
}

/// The hidden states after the last layer: rows of `dim` numbers.
pub(super) fn hidden(model: &SpatialFormer, batch: &Sequences, keep: Keep) -> Result<Vec<f32>> {
    let (spans, mut room) = (batch.spans(), Room::default());
    let mut pass = Pass::new(model, &spans, embedded(model, batch)?, &mut room, Exact);
    for block in 0..blocks(model) {
        pass.block(block, keep)?;
    }
    Ok(pass.x)
}

/// Number of blocks: two of each layer.
pub(super) fn blocks(model: &SpatialFormer) -> usize {
    2 * model.layers.len()
}

/// The normalised sums of the three embeddings.
pub(super) fn embedded(model: &SpatialFormer, batch: &Sequences) -> Result<Vec<f32>> {
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

/// Room for what a block computes, used again from block to block.
#[derive(Default)]
pub(super) struct Room {
    /// What a first layer makes.
    wide: Vec<f32>,
    /// What a last layer takes.
    half: Vec<f32>,
    /// What is added to the tokens.
    update: Vec<f32>,
}

/// The state between two blocks.
pub(super) struct Pass<'a, P> {
    model: &'a SpatialFormer,
    spans: &'a [Range<usize>],
    slopes: Vec<f32>,
    /// The tokens.
    pub x: Vec<f32>,
    room: &'a mut Room,
    products: P,
}

impl<'a, P: Products> Pass<'a, P> {
    /// A pass of the tokens `x` of the sequences at `spans`.
    pub fn new(
        model: &'a SpatialFormer,
        spans: &'a [Range<usize>],
        x: Vec<f32>,
        room: &'a mut Room,
        products: P,
    ) -> Self {
        for (part, width) in [(&mut room.wide, 4), (&mut room.half, 2), (&mut room.update, 1)] {
            if part.len() < width * x.len() {
                part.resize(width * x.len(), 0.0);
            }
        }
        Pass { model, spans, slopes: model.config.slopes(), x, room, products }
    }

    /// A block: the convolution of a layer or its attention. Of the last one the first token's row may be all that is
    /// wanted.
    pub fn block(&mut self, block: usize, keep: Keep) -> Result<()> {
        check_interrupt()?;
        let (layer, last) = (&self.model.layers[block / 2], block + 1 == blocks(self.model));
        match block % 2 {
            0 => self.conv(&layer.conv),
            _ => self.attention(&layer.attention, if last { keep } else { Keep::All }),
        }
    }

    fn conv(&mut self, block: &ConvBlock) -> Result<()> {
        let d = self.model.config.dim;
        let n = self.x.len() / d;
        let (gated, rest) = self.room.half.split_at_mut(n * d);
        self.products.gated(&block.expand, &self.x, &mut self.room.wide, gated)?;

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

        let update = &mut self.room.update[..n * d];
        self.products.product(&block.project.weight, None, convolved, update)?;
        self.tail(&block.tail, &block.project.bias)
    }

    fn attention(&mut self, block: &AttentionBlock, keep: Keep) -> Result<()> {
        let config = &self.model.config;
        let d = config.dim;
        let n = self.x.len() / d;
        let qkv = &mut self.room.wide[..n * 3 * d];
        self.products.product(&block.qkv.weight, Some(&block.qkv.bias), &self.x, qkv)?;
        let heads = config.distant_heads(&self.slopes);
        let (n, rows) = match keep {
            Keep::All => (n, usize::MAX),
            Keep::First => {
                let first = self.spans.iter().flat_map(|s| &self.x[s.start * d..(s.start + 1) * d]);
                self.x = first.copied().collect();
                (self.spans.len(), 1)
            }
        };
        let attended = &mut self.room.half[..n * d];
        heads.forward(self.spans, rows, qkv, attended);
        let update = &mut self.room.update[..n * d];
        self.products.product(&block.project.weight, None, attended, update)?;
        self.tail(&block.tail, &block.project.bias)
    }

    /// From what a block makes of the tokens to the tokens behind it.
    fn tail(&mut self, tail: &Tail, bias: &Tensor) -> Result<()> {
        let d = self.model.config.dim;
        let n = self.x.len() / d;
        self.add(n, &tail.scale, bias, &tail.norm1)?;
        let half = &mut self.room.half[..n * 2 * d];
        self.products.gated(&tail.first, &self.x, &mut self.room.wide, half)?;
        let update = &mut self.room.update[..n * d];
        self.products.product(&tail.second.weight, None, half, update)?;
        self.add(n, &tail.mlp_scale, &tail.second.bias, &tail.norm2)
    }

    /// x = norm(x + scale ∘ (update + bias) + shift).
    fn add(
        &mut self,
        n: usize,
        scale: &super::network::Affine,
        bias: &Tensor,
        layer: &LayerNorm,
    ) -> Result<()> {
        let d = self.model.config.dim;
        let (factor, shift, bias) = (held(&scale.scale)?, held(&scale.bias)?, held(bias)?);
        let shift: Vec<f32> = (0..d).map(|c| factor[c] * bias[c] + shift[c]).collect();
        let (weight, bias) = (held(&layer.weight)?, held(&layer.bias)?);
        let norm = norm(layer, &weight, &bias);
        add_then_norm(&mut self.x, &self.room.update[..n * d], &factor, &shift, norm);
        Ok(())
    }
}

fn norm<'a>(layer: &LayerNorm, weight: &'a [f32], bias: &'a [f32]) -> Norm<'a> {
    Norm { weight, bias, epsilon: layer.epsilon as f32 }
}
