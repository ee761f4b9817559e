//! The pass in candle's own operations, on any device, with or without what training adds.

use super::config::{AttentionLayout, KERNEL};
use super::network::{Affine, AttentionBlock, ConvBlock, MaskedNorm, SpatialFormer, Tail};
use super::sequences::Padded;
use crate::error::Result;
use crate::nn::{Dropout, LayerNorm};
use crate::progress::check_interrupt;
use candle_core::{D, Device, Tensor};
use candle_nn::ops::{softmax, softmax_last_dim};
use std::cell::RefCell;

/// Added to the variance of a batch normalisation.
pub(super) const BATCH_EPSILON: f64 = 1e-5;

/// What a training step adds: dropout, and normalisation by the batch's own statistics.
pub(super) struct Training {
    pub seed: u64,
    pub step: u64,
    /// Of elements and of whole branches. Published: 0.1.
    pub dropout: f64,
    /// What batch normalisations found: the layer's name, mean and variance.
    pub found: RefCell<Vec<(String, Tensor, Tensor)>>,
}

impl Training {
    pub fn new(seed: u64, step: u64, dropout: f64) -> Self {
        Training { seed, step, dropout, found: RefCell::default() }
    }

    fn drop(&self, x: Tensor, layer: &str) -> Result<Tensor> {
        if self.dropout == 0.0 {
            return Ok(x);
        }
        Dropout::new(self.dropout, self.seed, self.step, layer).apply(&x)
    }

    /// Drops the branch of whole sequences.
    fn drop_path(&self, x: Tensor, layer: &str) -> Result<Tensor> {
        if self.dropout == 0.0 {
            return Ok(x);
        }
        let keep = Tensor::ones((x.dim(0)?, 1, 1), x.dtype(), x.device())?;
        let keep = Dropout::new(self.dropout, self.seed, self.step, layer).apply(&keep)?;
        Ok(x.broadcast_mul(&keep)?)
    }
}

/// Hidden states and, where asked for, the weights of every attention.
pub(super) struct Passed {
    /// After each layer, `[batch, length, dim]`.
    pub hidden: Vec<Tensor>,
    /// Of each layer, `[batch, heads, length, length]`.
    pub attention: Vec<Tensor>,
}

impl SpatialFormer {
    /// All layers, with `graph` so that gradients may be asked for.
    pub(super) fn plain(
        &self,
        batch: &Padded,
        graph: bool,
        training: Option<&Training>,
        attention: bool,
    ) -> Result<Passed> {
        let (b, length) = batch.tokens.dims2()?;
        let look_up = |table: &Tensor, at: &Tensor| -> Result<Tensor> {
            let rows = table.index_select(&at.flatten_all()?, 0)?;
            Ok(rows.reshape((b, length, self.config.dim))?)
        };
        let embedded =
            (look_up(&self.embeddings, &batch.tokens)? + look_up(&self.kinds, &batch.kinds)?)?;
        let embedded = (embedded + look_up(&self.spatial, &batch.tokens)?)?;
        let drop = |x: Tensor, layer: &str| match training {
            Some(t) => t.drop(x, layer),
            None => Ok(x),
        };
        let mask = Mask::new(self, &batch.mask, batch.even, graph)?;
        let mut x = mask.norm(&self.norm, &drop(embedded, "embedded")?)?;
        let (mut hidden, mut weights) = (Vec::new(), Vec::new());
        for (i, layer) in self.layers.iter().enumerate() {
            check_interrupt()?;
            x = layer.conv.plain(&x, &mask, training, &format!("{i}.conv"))?;
            let (y, p) = layer.attention.plain(
                &self.config,
                &x,
                &mask,
                training,
                &format!("{i}.attention"),
            )?;
            x = y;
            hidden.push(x.clone());
            if attention {
                weights.push(p);
            }
        }
        Ok(Passed { hidden, attention: weights })
    }

    /// What a token is, were it hidden: `[…, dim]` → `[…, tokens]`.
    pub(super) fn vocabulary_logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let shape = hidden.dims().to_vec();
        let rows = hidden.reshape(((), self.config.dim))?;
        let logits = self.vocabulary_head.plain(&rows, None)?;
        let shape = [&shape[..shape.len() - 1], &[self.config.tokens]].concat();
        Ok(logits.reshape(shape)?)
    }

    /// Whether two cells are neighbours, from the first token's hidden state: `[n, dim]` → `[n, 2]`, no
    /// and yes, before the softmax.
    pub(super) fn pair_logits(&self, first: &Tensor) -> Result<Tensor> {
        Ok(first.matmul(&self.pair_head.t()?)?)
    }

    /// Whether each two tokens of a cell lie together: `[n, dim]` → `[n, n]`, before the sigmoid.
    pub(super) fn co_occurrence_logits(&self, rows: &Tensor) -> Result<Tensor> {
        let [i, j] = &self.projections;
        Ok(rows.matmul(&i.t()?)?.matmul(&rows.matmul(&j.t()?)?.t()?)?)
    }
}

/// What every layer needs of the padding and of the distances.
pub(super) struct Mask {
    /// `[batch, length, 1]`: 1 where a token stands.
    tokens: Tensor,
    /// `[batch, 1, 1, length]`: 0, or what takes all weight from padding.
    keys: Tensor,
    /// `[heads, length, length]`: -slope · |i - j|.
    distances: Tensor,
    /// Whether there is no padding at all.
    even: bool,
    /// Whether gradients may be asked for; if not, normalisations and softmax are one kernel each.
    graph: bool,
}

impl Mask {
    pub(super) fn new(
        model: &SpatialFormer,
        mask: &Tensor,
        even: bool,
        graph: bool,
    ) -> Result<Mask> {
        let (b, length) = mask.dims2()?;
        let keys = ((mask - 1.0)? * 1e30)?.reshape((b, 1, 1, length))?;
        Ok(Mask {
            tokens: mask.unsqueeze(2)?,
            keys,
            distances: distances(&model.config.slopes(), length, mask.device())?,
            even,
            graph,
        })
    }

    /// With 0 in padding.
    fn tokens_of(&self, x: Tensor) -> Result<Tensor> {
        if self.even { Ok(x) } else { Ok(x.broadcast_mul(&self.tokens)?) }
    }

    fn norm(&self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
        if self.graph { norm.plain(x) } else { norm.forward_only(x) }
    }

    /// The weights of an attention from similarities `[batch, heads, length, length]`.
    fn weights(&self, similar: &Tensor) -> Result<Tensor> {
        let mut similar = similar.broadcast_add(&self.distances)?;
        if !self.even {
            similar = similar.broadcast_add(&self.keys)?;
        }
        Ok(if self.graph { softmax(&similar, D::Minus1)? } else { softmax_last_dim(&similar)? })
    }
}

/// -slope · |i - j| of each head.
pub(super) fn distances(slopes: &[f32], length: usize, device: &Device) -> Result<Tensor> {
    let mut values = Vec::with_capacity(slopes.len() * length * length);
    for &slope in slopes {
        for i in 0..length {
            values.extend((0..length).map(|j| -slope * i.abs_diff(j) as f32));
        }
    }
    Ok(Tensor::from_vec(values, (slopes.len(), length, length), device)?)
}

/// The first half of the last dimension times SiLU of the second.
fn gated(x: &Tensor) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (value, gate) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    Ok((value * gate.contiguous()?.silu()?)?)
}

impl Affine {
    fn plain(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_mul(&self.scale)?.broadcast_add(&self.bias)?)
    }
}

/// A layer over the last dimension of `[batch, length, width]`.
fn linear(layer: &crate::nn::Linear, x: &Tensor) -> Result<Tensor> {
    let (b, length, width) = x.dims3()?;
    let y = layer.plain(&x.contiguous()?.reshape((b * length, width))?, None)?;
    Ok(y.reshape((b, length, ()))?)
}

impl Tail {
    pub(super) fn plain(
        &self,
        x: &Tensor,
        update: Tensor,
        mask: &Mask,
        training: Option<&Training>,
        name: &str,
    ) -> Result<Tensor> {
        let drop_path = |x: Tensor, branch: &str| match training {
            Some(t) => t.drop_path(x, &format!("{name}.{branch}")),
            None => Ok(x),
        };
        let update = self.scale.plain(&drop_path(update, "branch")?)?;
        let x = mask.norm(&self.norm1, &(x + update)?)?;
        let mut wide = gated(&linear(&self.first, &x)?)?;
        if let Some(t) = training {
            wide = t.drop(wide, &format!("{name}.mlp"))?;
        }
        let update = drop_path(linear(&self.second, &wide)?, "mlp branch")?;
        mask.norm(&self.norm2, &(x + self.mlp_scale.plain(&update)?)?)
    }
}

impl ConvBlock {
    pub(super) fn plain(
        &self,
        x: &Tensor,
        mask: &Mask,
        training: Option<&Training>,
        name: &str,
    ) -> Result<Tensor> {
        let h = mask.tokens_of(gated(&linear(&self.expand, x)?)?)?;
        let h = convolved(&h, &self.kernel)?;
        let h = self.norm.plain(&h, mask, training)?.silu()?;
        let h = match training {
            Some(t) => t.drop(h, &format!("{name}.convolved"))?,
            None => h,
        };
        self.tail.plain(x, linear(&self.project, &h)?, mask, training, name)
    }
}

/// Each column along its rows with a kernel of its own, zeros beyond the ends.
pub(super) fn convolved(x: &Tensor, kernel: &Tensor) -> Result<Tensor> {
    let length = x.dim(1)?;
    let padded = x.pad_with_zeros(1, KERNEL / 2, KERNEL / 2)?;
    let mut sum: Option<Tensor> = None;
    for k in 0..KERNEL {
        let tap =
            padded.narrow(1, k, length)?.broadcast_mul(&kernel.narrow(1, k, 1)?.squeeze(1)?)?;
        sum = Some(match sum {
            Some(sum) => (sum + tap)?,
            None => tap,
        });
    }
    // There are 17 taps.
    Ok(sum.unwrap_or(padded))
}

impl MaskedNorm {
    /// By the running statistics, or in training by those of the tokens of the batch.
    fn plain(&self, x: &Tensor, mask: &Mask, training: Option<&Training>) -> Result<Tensor> {
        let (mean, variance) = match training {
            None => {
                let factor = (&self.weight / (&self.running_var + BATCH_EPSILON)?.sqrt()?)?;
                let shift = (&self.bias - (&self.running_mean * &factor)?)?;
                return Ok(x.broadcast_mul(&factor)?.broadcast_add(&shift)?);
            }
            Some(t) => {
                let count = mask.tokens.sum_all()?;
                let sum = |x: &Tensor| -> Result<Tensor> {
                    Ok(x.broadcast_mul(&mask.tokens)?.sum((0, 1))?.broadcast_div(&count)?)
                };
                let mean = sum(x)?;
                let variance = sum(&x.broadcast_sub(&mean)?.sqr()?)?;
                t.found.borrow_mut().push((self.name.clone(), mean.detach(), variance.detach()));
                (mean, variance)
            }
        };
        let unit = x.broadcast_sub(&mean)?.broadcast_div(&(variance + BATCH_EPSILON)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }
}

impl AttentionBlock {
    /// The block, and the weights of its attention.
    pub(super) fn plain(
        &self,
        config: &super::SpatialFormerConfig,
        x: &Tensor,
        mask: &Mask,
        training: Option<&Training>,
        name: &str,
    ) -> Result<(Tensor, Tensor)> {
        let (b, length, dim) = x.dims3()?;
        let (heads, width) = (config.heads, config.width());
        let qkv = linear(&self.qkv, x)?;
        // `[batch, heads, length, width]` each.
        let [q, k, v] = match config.attention {
            AttentionLayout::PerHead => {
                let all = qkv.reshape((b, length, heads, 3 * width))?.transpose(1, 2)?;
                [0, 1, 2].map(|i| all.narrow(3, i * width, width)?.contiguous())
            }
            AttentionLayout::Flash => {
                let all = qkv.reshape((b, length, 3, heads, width))?;
                [0, 1, 2].map(|i| all.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous())
            }
        };
        let (q, k, v) = (q?, k?, v?);
        // Scaled before the product, which is the larger of the two.
        let weights = mask.weights(&(q * config.scale())?.matmul(&k.t()?.contiguous()?)?)?;
        let dropped = match (training, config.attention) {
            (Some(t), AttentionLayout::PerHead) => {
                t.drop(weights.clone(), &format!("{name}.weights"))?
            }
            // The released call passes no dropout to the kernel.
            _ => weights.clone(),
        };
        let y = dropped.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((b, length, dim))?;
        let y = match config.attention {
            AttentionLayout::PerHead => y,
            AttentionLayout::Flash => mask.tokens_of(y)?,
        };
        let y = self.tail.plain(x, linear(&self.project, &y)?, mask, training, name)?;
        Ok((y, weights))
    }
}
