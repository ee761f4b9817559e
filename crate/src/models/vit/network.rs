//! [`Vit`]: the weights, and the pass in candle's own operations.

use super::config::{Mlp, VitConfig};
use super::{fused, position};
use crate::error::{Error, Result};
use crate::nn::{self, LayerNorm, Linear};
use crate::progress::check_interrupt;
use candle_core::{DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use std::collections::HashMap;

/// A vision transformer that makes of each image the class token of its last layer.
#[derive(Debug, Clone)]
pub struct Vit {
    pub(super) config: VitConfig,
    /// `[dim, 3 · patch²]`.
    pub(super) patches: Linear,
    /// Class and register tokens, `[prefix, dim]`, positions included where they have any.
    prefix: Tensor,
    /// `[positions, dim]`.
    positions: Tensor,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: LayerNorm,
}

/// One block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub norm1: LayerNorm,
    pub qkv: Linear,
    pub out: Linear,
    pub gamma1: Option<Tensor>,
    pub norm2: LayerNorm,
    pub fc1: Linear,
    pub fc2: Linear,
    pub gamma2: Option<Tensor>,
}

impl Vit {
    /// A transformer from its weights by timm's names, all of them and no others.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::Data`] naming a tensor that is missing or that does not belong
    /// to this architecture, [`Error::Shape`] for one of another shape; those of the device.
    pub fn new(
        config: VitConfig,
        weights: &HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let expected = config.weights();
        let expected = expected.iter().map(|(name, shape)| (name.as_str(), &shape[..]));
        let extra = "does not belong to a vision transformer of this architecture";
        nn::check_weights(weights, expected, extra)?;
        let get = |name: &str| -> Result<Tensor> {
            Ok(weights[name].to_dtype(DType::F32)?.to_device(device)?.contiguous()?)
        };
        let linear = |name: &str| -> Result<Linear> {
            let (weight, bias) = (get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?);
            Ok(Linear::from_parts(weight.flatten_from(1)?, bias))
        };
        let norm = |name: &str| -> Result<LayerNorm> {
            let (weight, bias) = (get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?);
            Ok(LayerNorm { weight, bias, epsilon: config.epsilon })
        };
        let gamma = |name: String| -> Result<Option<Tensor>> {
            config.layer_scale.then(|| get(&name)).transpose()
        };
        let mut prefix = get("cls_token")?.squeeze(0)?;
        if config.registers > 0 {
            prefix = Tensor::cat(&[prefix, get("reg_token")?.squeeze(0)?], 0)?;
        }
        let positions = get("pos_embed")?.squeeze(0)?;
        if config.embed_prefix {
            prefix = (prefix + positions.narrow(0, 0, config.prefix())?)?;
        }
        let block = |i: usize| -> Result<Block> {
            Ok(Block {
                norm1: norm(&format!("blocks.{i}.norm1"))?,
                qkv: linear(&format!("blocks.{i}.attn.qkv"))?,
                out: linear(&format!("blocks.{i}.attn.proj"))?,
                gamma1: gamma(format!("blocks.{i}.ls1.gamma"))?,
                norm2: norm(&format!("blocks.{i}.norm2"))?,
                fc1: linear(&format!("blocks.{i}.mlp.fc1"))?,
                fc2: linear(&format!("blocks.{i}.mlp.fc2"))?,
                gamma2: gamma(format!("blocks.{i}.ls2.gamma"))?,
            })
        };
        Ok(Vit {
            config,
            patches: linear("patch_embed.proj")?,
            prefix,
            positions,
            blocks: (0..config.depth).map(block).collect::<Result<_>>()?,
            norm: norm("norm")?,
        })
    }

    /// The sizes.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.prefix.device()
    }

    /// The class token of each image after the last normalisation.
    ///
    /// # Shapes
    /// `[batch, 3, height, width]`, sides being multiples of the patch size → `[batch, dim]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes; [`Error::Interrupted`]; those of the device.
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let (x, length) = self.tokens(images)?;
        if nn::fused::usable(&x) {
            return fused::class_tokens(self, &x, length);
        }
        self.plain(&x, length)
    }

    /// [`forward`](Vit::forward) in candle's own operations, on any device.
    ///
    /// # Errors
    /// As [`forward`](Vit::forward).
    pub fn forward_plain(&self, images: &Tensor) -> Result<Tensor> {
        let (x, length) = self.tokens(images)?;
        self.plain(&x, length)
    }

    /// Tokens with their positions, `[batch · length, dim]`, and the length of each image's sequence.
    fn tokens(&self, images: &Tensor) -> Result<(Tensor, usize)> {
        let p = self.config.patch_size;
        let bad = || {
            let expected = format!("batch × 3 × height × width, sides being multiples of {p}");
            Error::shape("images", expected, format!("{:?}", images.dims()))
        };
        let &[batch, 3, height, width] = images.dims() else { return Err(bad()) };
        let (rows, columns) = (height / p, width / p);
        if batch == 0 || rows == 0 || columns == 0 || (height, width) != (rows * p, columns * p) {
            return Err(bad());
        }
        // Each patch a row: channels, then its rows and columns, as the convolution's weight lies.
        let x = images
            .to_device(self.device())?
            .reshape(&[batch, 3, rows, p, columns, p][..])?
            .permute([0, 2, 4, 1, 3, 5])?
            .contiguous()?
            .reshape((batch * rows * columns, 3 * p * p))?;
        let x = self.patches.forward(&x, None)?;
        let x = x.reshape((batch, rows * columns, self.config.dim))?;
        let positions = position::resized(&self.config, &self.positions, rows, columns)?;
        let skip = positions.dim(0)? - rows * columns;
        let x = x.broadcast_add(&positions.narrow(0, skip, rows * columns)?)?;
        let prefix = self.prefix.unsqueeze(0)?.repeat((batch, 1, 1))?;
        let length = self.config.prefix() + rows * columns;
        let x = Tensor::cat(&[prefix, x], 1)?;
        Ok((x.reshape((batch * length, self.config.dim))?, length))
    }

    fn plain(&self, x: &Tensor, length: usize) -> Result<Tensor> {
        let (tokens, dim) = x.dims2()?;
        let (batch, heads) = (tokens / length, self.config.heads);
        let scaled = |y: Tensor, gamma: &Option<Tensor>| -> Result<Tensor> {
            Ok(match gamma {
                Some(gamma) => y.broadcast_mul(gamma)?,
                None => y,
            })
        };
        let mut x = x.clone();
        for block in &self.blocks {
            check_interrupt()?;
            let y = block.qkv.plain(&block.norm1.forward_only(&x)?, None)?;
            let y = y.reshape((batch, length, 3, heads, dim / heads))?.permute((2, 0, 3, 1, 4))?;
            let part = |i: usize| -> Result<Tensor> { Ok(y.get(i)?.contiguous()?) };
            let (q, k, v) = (part(0)?, part(1)?, part(2)?);
            let scale = 1.0 / ((dim / heads) as f64).sqrt();
            let weights = softmax_last_dim(&(q.matmul(&k.t()?.contiguous()?)? * scale)?)?;
            let y = weights.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((tokens, dim))?;
            x = (x + scaled(block.out.plain(&y, None)?, &block.gamma1)?)?;
            let y = block.fc1.plain(&block.norm2.forward_only(&x)?, None)?;
            let y = match self.config.mlp {
                Mlp::Gelu { .. } => y.gelu_erf()?,
                Mlp::SwiGlu { hidden } => {
                    (y.narrow(1, 0, hidden)?.silu()? * y.narrow(1, hidden, hidden)?)?
                }
            };
            x = (x + scaled(block.fc2.plain(&y, None)?, &block.gamma2)?)?;
        }
        let class = x.reshape((batch, length, dim))?.narrow(1, 0, 1)?.squeeze(1)?;
        self.norm.forward_only(&class.contiguous()?)
    }
}
