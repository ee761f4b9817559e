//! The pass of a training step on the CPU, forward and backward, over sequences without padding.
//!
//! The same arithmetic as [`SpatialFormer::plain`] and candle's `backward`, its oracle in the tests; the
//! same elements are dropped. What a gate, a normalisation or an attention makes is made again on the way
//! back from what went into it, instead of being kept.

use super::super::config::{AttentionLayout, KERNEL, SpatialFormerConfig};
use super::super::network::{Affine, AttentionBlock, ConvBlock, SpatialFormer, Tail};
use super::super::plain::{BATCH_EPSILON, Training};
use super::super::sequences::Sequences;
use crate::error::Result;
use crate::nn::fused::{
    Columns, DroppedWeights, Gradient, Gradients, Norm, add_to, column_sums, convolve,
    convolve_back, dense_back, dense_weight, drop_elements, gated, gated_back, held, linear,
    norm_back, normed, silu_back, silu_of, transposed,
};
use crate::nn::{Dropout, Linear};
use crate::progress::check_interrupt;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// A forward pass, with what the way back needs.
pub(super) struct Pass<'a> {
    model: &'a SpatialFormer,
    training: &'a Training,
    batch: Sequences,
    spans: Vec<Range<usize>>,
    /// Tokens of the longest sequence.
    length: usize,
    /// The number that each row would have if every sequence were as long as the longest.
    padded: Vec<usize>,
    slopes: Vec<f32>,
    /// The sums of the embeddings.
    embedded: Vec<f32>,
    layers: Vec<(ConvTrace, AttentionTrace)>,
    /// The hidden states after the last layer.
    states: Vec<f32>,
}

/// What a block keeps of its way to the tokens behind it; all in rows of so many times `dim` numbers.
struct TailTrace {
    /// What is added to the tokens, before its scale: 1.
    update: Vec<f32>,
    /// Before the first normalisation: 1.
    sum1: Vec<f32>,
    /// Value and gate: 4.
    wide: Vec<f32>,
    /// 1.
    update2: Vec<f32>,
    /// Before the second normalisation: 1.
    sum2: Vec<f32>,
}

struct ConvTrace {
    x: Vec<f32>,
    /// Value and gate: 2.
    expanded: Vec<f32>,
    convolved: Vec<f32>,
    columns: Columns,
    tail: TailTrace,
}

struct AttentionTrace {
    x: Vec<f32>,
    /// 3.
    qkv: Vec<f32>,
    attended: Vec<f32>,
    tail: TailTrace,
}

impl<'a> Pass<'a> {
    /// Forward.
    pub fn new(
        model: &'a SpatialFormer,
        training: &'a Training,
        batch: Sequences,
    ) -> Result<Pass<'a>> {
        let spans = batch.spans();
        let length = batch.lengths().max().unwrap_or(0);
        let padded = |(i, span): (usize, &Range<usize>)| i * length..i * length + span.len();
        let mut pass = Pass {
            model,
            training,
            length,
            padded: spans.iter().enumerate().flat_map(padded).collect(),
            slopes: model.config.slopes(),
            embedded: Vec::new(),
            layers: Vec::new(),
            states: Vec::new(),
            spans,
            batch,
        };
        pass.embedded = pass.embed()?;
        let mut x = pass.embedded.clone();
        pass.drop(&mut x, pass.dim(), "embedded");
        x = normed(&model.norm, &x)?;
        for (i, layer) in model.layers.iter().enumerate() {
            check_interrupt()?;
            let (y, conv) = pass.conv(&layer.conv, i, x)?;
            let (y, attention) = pass.attention(&layer.attention, i, y)?;
            pass.layers.push((conv, attention));
            x = y;
        }
        pass.states = x;
        Ok(pass)
    }

    /// The hidden states after the last layer, `[batch, length, dim]`, zeros in padding.
    pub fn states(&self) -> Result<Tensor> {
        let d = self.dim();
        let mut all = vec![0f32; self.spans.len() * self.length * d];
        for (row, &at) in self.states.chunks_exact(d).zip(&self.padded) {
            all[at * d..(at + 1) * d].copy_from_slice(row);
        }
        Ok(Tensor::from_vec(all, (self.spans.len(), self.length, d), &Device::Cpu)?)
    }

    /// The gradients of the weights that `learns` names, and perhaps of others, from that of
    /// [`states`](Pass::states).
    pub fn back(mut self, states: &Tensor, learns: &dyn Fn(&str) -> bool) -> Result<Gradients> {
        let d = self.dim();
        let states = states.contiguous()?;
        let states = held(&states)?;
        let rows = self.padded.iter().flat_map(|&at| &states[at * d..(at + 1) * d]);
        let mut g: Vec<f32> = rows.copied().collect();
        let mut back = Back { learns, gradients: Gradients::new() };
        let layers = std::mem::take(&mut self.layers);
        let lowest = self.lowest(learns);
        for (i, (conv, attention)) in layers.into_iter().enumerate().rev() {
            // Below the lowest weight that learns nothing is asked for.
            if lowest.is_none_or(|lowest| i + 1 < lowest) {
                return Ok(back.gradients);
            }
            check_interrupt()?;
            let layer = &self.model.layers[i];
            g = self.attention_back(&layer.attention, i, attention, g, &mut back)?;
            g = self.conv_back(&layer.conv, i, conv, g, &mut back)?;
        }
        let mut x = self.embedded.clone();
        self.drop(&mut x, d, "embedded");
        let mut g = norm_back(&mut back.gradients, "encoder.norm", &self.model.norm, &x, &g)?;
        self.drop(&mut g, d, "embedded");
        for name in ["embeddings.weight", "spatialembeds.emb.weight"] {
            if learns(name) {
                let index = self.batch.tokens.clone();
                back.gradients.insert(name.into(), Gradient::Rows { index, rows: g.clone() });
            }
        }
        Ok(back.gradients)
    }

    /// The lowest layer that learns, counted from 1; 0 are the embeddings.
    fn lowest(&self, learns: &dyn Fn(&str) -> bool) -> Option<usize> {
        let place = |name: &String| {
            let layer = name.strip_prefix("encoder.layers.").and_then(|r| r.split('.').next());
            layer.and_then(|i| i.parse::<usize>().ok()).map_or(0, |i| i + 1)
        };
        let names = self.model.weights().keys().filter(|n| !SpatialFormerConfig::is_head(n));
        names.filter(|n| learns(n)).map(place).min()
    }

    fn dim(&self) -> usize {
        self.model.config.dim
    }

    fn dropout(&self, layer: &str) -> Option<Dropout> {
        let Training { seed, step, dropout, .. } = *self.training;
        (dropout > 0.0).then(|| Dropout::new(dropout, seed, step, layer))
    }

    /// Drops elements of rows of `width` numbers: those that are dropped of the padded rectangle.
    fn drop(&self, x: &mut [f32], width: usize, layer: &str) {
        let Some(dropout) = self.dropout(layer) else { return };
        x.par_chunks_mut(width).zip(&self.padded).with_min_len(32).for_each(|(row, &at)| {
            drop_elements(dropout, (at * width) as u64, row);
        });
    }

    /// Drops the branch of whole sequences.
    fn drop_branch(&self, x: &mut [f32], layer: &str) {
        let Some(dropout) = self.dropout(layer) else { return };
        let d = self.dim();
        for (i, span) in self.spans.iter().enumerate() {
            let factor = dropout.factor(i as u64);
            x[span.start * d..span.end * d].iter_mut().for_each(|x| *x *= factor);
        }
    }

    /// The sums of the three embeddings.
    fn embed(&self) -> Result<Vec<f32>> {
        let d = self.dim();
        let tables = [&self.model.embeddings, &self.model.kinds, &self.model.spatial];
        let indices = [&self.batch.tokens, &self.batch.kinds, &self.batch.tokens];
        let mut sum = vec![0f32; self.batch.n_tokens() * d];
        for (table, indices) in tables.into_iter().zip(indices) {
            let table = held(table)?;
            for (row, &i) in sum.chunks_exact_mut(d).zip(indices) {
                add_to(row, &table[i as usize * d..(i as usize + 1) * d]);
            }
        }
        Ok(sum)
    }

    fn conv(&self, block: &ConvBlock, i: usize, x: Vec<f32>) -> Result<(Vec<f32>, ConvTrace)> {
        let d = self.dim();
        let expanded = linear(&block.expand, &x)?;
        let mut value = vec![0f32; x.len()];
        gated(&expanded, d, &mut value);
        let mut convolved = vec![0f32; x.len()];
        convolve(&transposed(&held(&block.kernel)?, d), d, &self.spans, &value, &mut convolved);
        let columns = Columns::of(&convolved, convolved.len() / d);
        let tensor = |v: &[f32]| Tensor::new(v, &Device::Cpu);
        let found = (tensor(&columns.mean)?, tensor(&columns.variance)?);
        self.training.found.borrow_mut().push((block.norm.name.clone(), found.0, found.1));
        let active = self.active(block, i, &convolved, &columns)?.1;
        let update = linear(&block.project, &active)?;
        let (y, tail) = self.tail(&block.tail, &format!("{i}.conv"), &x, update)?;
        Ok((y, ConvTrace { x, expanded, convolved, columns, tail }))
    }

    /// The normalised convolution, and its SiLU with elements dropped.
    fn active(
        &self,
        block: &ConvBlock,
        i: usize,
        convolved: &[f32],
        columns: &Columns,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let (weight, bias) = (held(&block.norm.weight)?, held(&block.norm.bias)?);
        let rule = Norm { weight: &weight, bias: &bias, epsilon: BATCH_EPSILON as f32 };
        let mut normal = vec![0f32; convolved.len()];
        columns.normalise(convolved, rule, &mut normal);
        let mut active = silu_of(&normal);
        self.drop(&mut active, self.dim(), &format!("{i}.conv.convolved"));
        Ok((normal, active))
    }

    fn conv_back(
        &self,
        block: &ConvBlock,
        i: usize,
        trace: ConvTrace,
        g: Vec<f32>,
        back: &mut Back,
    ) -> Result<Vec<f32>> {
        let d = self.dim();
        let name = format!("encoder.layers.{i}.conv_blocks.0");
        let at = Names { block: &name, scale: "conv_scale", layer: &format!("{i}.conv") };
        let (mut dx, g) = self.tail_back(&block.tail, at, trace.tail, g, back)?;
        let (normal, active) = self.active(block, i, &trace.convolved, &trace.columns)?;
        let mut g = back.linear(&format!("{name}.conv_proj"), &block.project, &g, &active)?;
        self.drop(&mut g, d, &format!("{i}.conv.convolved"));
        silu_back(&normal, &mut g);
        let (weight, bias) = (held(&block.norm.weight)?, held(&block.norm.bias)?);
        let rule = Norm { weight: &weight, bias: &bias, epsilon: BATCH_EPSILON as f32 };
        let (dw, db) = trace.columns.back(&trace.convolved, rule, &mut g);
        back.values(&block.norm.name, "weight", dw);
        back.values(&block.norm.name, "bias", db);
        let mut value = vec![0f32; g.len()];
        gated(&trace.expanded, d, &mut value);
        let kernel = transposed(&held(&block.kernel)?, d);
        let mut d_value = vec![0f32; g.len()];
        let d_kernel = convolve_back(&kernel, d, &self.spans, &value, &g, &mut d_value);
        back.values(&name, "conv.conv.conv.weight", transposed(&d_kernel, KERNEL));
        let g = gated_back(&trace.expanded, d, &d_value);
        add_to(&mut dx, &back.linear(&format!("{name}.expand_conv"), &block.expand, &g, &trace.x)?);
        Ok(dx)
    }

    /// Which weights of a layer's attention are dropped; the released call of the other arrangement drops
    /// none.
    fn dropped_weights(&self, i: usize) -> Option<DroppedWeights> {
        let per_head = self.model.config.attention == AttentionLayout::PerHead;
        let dropout = self.dropout(&format!("{i}.attention.weights")).filter(|_| per_head)?;
        Some(DroppedWeights { dropout, length: self.length })
    }

    fn attention(
        &self,
        block: &AttentionBlock,
        i: usize,
        x: Vec<f32>,
    ) -> Result<(Vec<f32>, AttentionTrace)> {
        let heads = self.model.config.distant_heads(&self.slopes);
        let qkv = linear(&block.qkv, &x)?;
        let mut attended = vec![0f32; x.len()];
        match self.dropped_weights(i) {
            Some(some) => heads.forward_dropped(&self.spans, some, &qkv, &mut attended),
            None => heads.forward(&self.spans, usize::MAX, &qkv, &mut attended),
        }
        let update = linear(&block.project, &attended)?;
        let (y, tail) = self.tail(&block.tail, &format!("{i}.attention"), &x, update)?;
        Ok((y, AttentionTrace { x, qkv, attended, tail }))
    }

    fn attention_back(
        &self,
        block: &AttentionBlock,
        i: usize,
        trace: AttentionTrace,
        g: Vec<f32>,
        back: &mut Back,
    ) -> Result<Vec<f32>> {
        let name = format!("encoder.layers.{i}.attn_blocks.0");
        let at = Names { block: &name, scale: "attn_scale", layer: &format!("{i}.attention") };
        let (mut dx, g) = self.tail_back(&block.tail, at, trace.tail, g, back)?;
        let g =
            back.linear(&format!("{name}.self_attn.proj"), &block.project, &g, &trace.attended)?;
        let heads = self.model.config.distant_heads(&self.slopes);
        let mut d_qkv = vec![0f32; trace.qkv.len()];
        heads.backward(&self.spans, self.dropped_weights(i), &trace.qkv, &g, &mut d_qkv);
        let g = back.linear(&format!("{name}.self_attn.qkv"), &block.qkv, &d_qkv, &trace.x)?;
        add_to(&mut dx, &g);
        Ok(dx)
    }

    /// From what a block makes of the tokens to the tokens behind it.
    fn tail(
        &self,
        tail: &Tail,
        name: &str,
        x: &[f32],
        mut update: Vec<f32>,
    ) -> Result<(Vec<f32>, TailTrace)> {
        self.drop_branch(&mut update, &format!("{name}.branch"));
        let sum1 = scaled_sum(x, &update, &tail.scale)?;
        let x = normed(&tail.norm1, &sum1)?;
        let wide = linear(&tail.first, &x)?;
        let half = self.gate(name, &wide);
        let mut update2 = linear(&tail.second, &half)?;
        self.drop_branch(&mut update2, &format!("{name}.mlp branch"));
        let sum2 = scaled_sum(&x, &update2, &tail.mlp_scale)?;
        let y = normed(&tail.norm2, &sum2)?;
        Ok((y, TailTrace { update, sum1, wide, update2, sum2 }))
    }

    /// What the second layer of a tail takes.
    fn gate(&self, name: &str, wide: &[f32]) -> Vec<f32> {
        let width = 2 * self.dim();
        let mut half = vec![0f32; wide.len() / 2];
        gated(wide, width, &mut half);
        self.drop(&mut half, width, &format!("{name}.mlp"));
        half
    }

    /// The gradients of the tokens before a block and of its update.
    fn tail_back(
        &self,
        tail: &Tail,
        at: Names,
        trace: TailTrace,
        g: Vec<f32>,
        back: &mut Back,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let Names { block, scale, layer } = at;
        let gradients = &mut back.gradients;
        let norm2 = format!("{block}.norm2");
        let mut dx = norm_back(gradients, &norm2, &tail.norm2, &trace.sum2, &g)?;
        let mut g =
            back.scaled(&format!("{block}.mlp_scale"), &tail.mlp_scale, &dx, &trace.update2)?;
        self.drop_branch(&mut g, &format!("{layer}.mlp branch"));
        let half = self.gate(layer, &trace.wide);
        let mut g = back.linear(&format!("{block}.mlp.ffn2"), &tail.second, &g, &half)?;
        self.drop(&mut g, 2 * self.dim(), &format!("{layer}.mlp"));
        let g = gated_back(&trace.wide, 2 * self.dim(), &g);
        let x = normed(&tail.norm1, &trace.sum1)?;
        add_to(&mut dx, &back.linear(&format!("{block}.mlp.ffn1"), &tail.first, &g, &x)?);
        let norm1 = format!("{block}.norm1");
        let dx = norm_back(&mut back.gradients, &norm1, &tail.norm1, &trace.sum1, &dx)?;
        let mut g = back.scaled(&format!("{block}.{scale}"), &tail.scale, &dx, &trace.update)?;
        self.drop_branch(&mut g, &format!("{layer}.branch"));
        Ok((dx, g))
    }
}

/// The names of a block: of its weights, of its first scale, and of what it drops.
struct Names<'a> {
    block: &'a str,
    scale: &'a str,
    layer: &'a str,
}

/// The gradients found so far.
struct Back<'a> {
    learns: &'a dyn Fn(&str) -> bool,
    gradients: Gradients,
}

impl Back<'_> {
    fn values(&mut self, name: &str, part: &str, values: Vec<f32>) {
        self.gradients.insert(format!("{name}.{part}"), Gradient::Values(values));
    }

    /// Of a layer, from that of its output and from its input; returns that of the input.
    fn linear(&mut self, name: &str, layer: &Linear, g: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let (out, inner) = layer.weight.dims2()?;
        let n = g.len() / out;
        if (self.learns)(&format!("{name}.weight")) {
            self.values(name, "weight", dense_weight((n, inner, out), g, x));
            self.values(name, "bias", column_sums(g, out));
        }
        let mut dx = vec![0f32; n * inner];
        dense_back((n, inner, out), g, &held(&layer.weight)?, &mut dx);
        Ok(dx)
    }

    /// Of x ∘ scale + bias, from that of the output and from x; returns that of x.
    fn scaled(&mut self, name: &str, layer: &Affine, g: &[f32], x: &[f32]) -> Result<Vec<f32>> {
        let factor = held(&layer.scale)?;
        let d = factor.len();
        let product: Vec<f32> = g.iter().zip(x).map(|(g, x)| g * x).collect();
        self.values(name, "scale", column_sums(&product, d));
        self.values(name, "bias", column_sums(g, d));
        let mut dx = g.to_vec();
        for row in dx.chunks_exact_mut(d) {
            row.iter_mut().zip(factor.iter()).for_each(|(x, f)| *x *= f);
        }
        Ok(dx)
    }
}

/// x + update ∘ scale + bias, row by row.
fn scaled_sum(x: &[f32], update: &[f32], layer: &Affine) -> Result<Vec<f32>> {
    let (factor, bias) = (held(&layer.scale)?, held(&layer.bias)?);
    let mut sum = x.to_vec();
    let d = factor.len();
    for (row, update) in sum.chunks_exact_mut(d).zip(update.chunks_exact(d)) {
        for (((s, &u), &f), &b) in row.iter_mut().zip(update).zip(factor.iter()).zip(bias.iter()) {
            *s += u * f + b;
        }
    }
    Ok(sum)
}
