//! [`SpatialFormer`]: the weights.

use super::config::{AttentionLayout, Fresh, SpatialFormerConfig, Weight};
use super::vocabulary::Vocabulary;
use crate::error::Result;
use crate::nn::{LayerNorm, Linear, Store, check_weights};
use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// The network. [`load`](SpatialFormer::load) takes a checkpoint of the authors' or of one's own,
/// [`random`](SpatialFormer::random) begins a fresh one.
#[derive(Debug, Clone)]
pub struct SpatialFormer {
    pub(super) config: SpatialFormerConfig,
    /// `[tokens, dim]`.
    pub(super) embeddings: Tensor,
    /// `[3, dim]`.
    pub(super) kinds: Tensor,
    /// `[tokens, dim]`: where genes lie within cells (GraphSAGE).
    pub(super) spatial: Tensor,
    pub(super) norm: LayerNorm,
    pub(super) layers: Vec<Layer>,
    /// `[tokens, dim]`: what a hidden token was.
    pub(super) vocabulary_head: Linear,
    /// `[2, dim]`: whether two cells are neighbours.
    pub(super) pair_head: Tensor,
    /// Twice `[128, dim]`: whether two genes lie together.
    pub(super) projections: [Tensor; 2],
    /// What weighs the losses in training: of co-occurrence, of hidden tokens, of pairs.
    pub(super) log_sigmas: [Tensor; 3],
    /// Every weight by its name.
    weights: HashMap<String, Tensor>,
    pub(super) vocabulary: Option<Arc<Vocabulary>>,
}

/// One layer.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub conv: ConvBlock,
    pub attention: AttentionBlock,
}

/// Convolution along the tokens.
#[derive(Debug, Clone)]
pub(super) struct ConvBlock {
    pub expand: Linear,
    /// `[dim, 17]`.
    pub kernel: Tensor,
    pub norm: MaskedNorm,
    pub project: Linear,
    pub tail: Tail,
}

/// Attention.
#[derive(Debug, Clone)]
pub(super) struct AttentionBlock {
    pub qkv: Linear,
    pub project: Linear,
    pub tail: Tail,
}

/// What follows in both: x = norm₁(x + scaled(update)); x = norm₂(x + scaled(mlp(x))).
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub scale: Affine,
    pub norm1: LayerNorm,
    pub first: Linear,
    pub second: Linear,
    pub mlp_scale: Affine,
    pub norm2: LayerNorm,
}

/// x ∘ scale + bias.
#[derive(Debug, Clone)]
pub(super) struct Affine {
    pub scale: Tensor,
    pub bias: Tensor,
}

/// Batch normalisation over the tokens that are no padding.
#[derive(Debug, Clone)]
pub(super) struct MaskedNorm {
    /// The name before `.running_mean`.
    pub name: String,
    pub weight: Tensor,
    pub bias: Tensor,
    pub running_mean: Tensor,
    pub running_var: Tensor,
}

impl SpatialFormer {
    /// A network from its weights by the names of the released code, all of them and no others.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::Data`] naming a tensor that is missing or that does not belong
    /// to a network of this size, [`Error::Shape`] for one of another shape; those of the device.
    pub fn new(
        config: SpatialFormerConfig,
        weights: &HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        let expected = config.weights();
        let expected = expected.iter().map(|w| (w.name.as_str(), &w.shape[..]));
        check_weights(weights, expected, "does not belong to a SpatialFormer of this size")?;
        SpatialFormer::build(config, |name| {
            Ok(weights[name].to_dtype(DType::F32)?.to_device(device)?.contiguous()?)
        })
    }

    /// A network with fresh weights, drawn as PyTorch draws them.
    ///
    /// # Errors
    /// [`Error::Parameter`] for sizes that do not fit each other; those of the device.
    pub fn random(config: SpatialFormerConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let store = fresh(&config, seed, device)?;
        SpatialFormer::of_store(config, &store)
    }

    /// A network whose weights are the variables of a store.
    pub(super) fn of_store(config: SpatialFormerConfig, store: &Store) -> Result<Self> {
        SpatialFormer::build(config, |name| Ok(store.get(name)?.as_tensor().clone()))
    }

    pub(super) fn build(
        config: SpatialFormerConfig,
        get: impl Fn(&str) -> Result<Tensor>,
    ) -> Result<SpatialFormer> {
        let names = config.weights().into_iter().map(|w| w.name);
        let weights: HashMap<String, Tensor> =
            names.map(|name| Ok((name.clone(), get(&name)?))).collect::<Result<_>>()?;
        let get = |name: &str| -> Result<Tensor> { Ok(weights[name].clone()) };
        let linear = |name: &str| -> Result<Linear> {
            Ok(Linear::from_parts(get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?))
        };
        let norm = |name: &str| -> Result<LayerNorm> {
            let (weight, bias) = (get(&format!("{name}.weight"))?, get(&format!("{name}.bias"))?);
            Ok(LayerNorm { weight, bias, epsilon: 1e-5 })
        };
        let affine = |name: &str| -> Result<Affine> {
            Ok(Affine {
                scale: get(&format!("{name}.scale"))?,
                bias: get(&format!("{name}.bias"))?,
            })
        };
        let tail = |block: &str, scale: &str| -> Result<Tail> {
            Ok(Tail {
                scale: affine(&format!("{block}.{scale}"))?,
                norm1: norm(&format!("{block}.norm1"))?,
                first: linear(&format!("{block}.mlp.ffn1"))?,
                second: linear(&format!("{block}.mlp.ffn2"))?,
                mlp_scale: affine(&format!("{block}.mlp_scale"))?,
                norm2: norm(&format!("{block}.norm2"))?,
            })
        };
        let layer = |i: usize| -> Result<Layer> {
            let conv = format!("encoder.layers.{i}.conv_blocks.0");
            let attention = format!("encoder.layers.{i}.attn_blocks.0");
            let name = format!("{conv}.conv_norm");
            Ok(Layer {
                conv: ConvBlock {
                    expand: linear(&format!("{conv}.expand_conv"))?,
                    kernel: get(&format!("{conv}.conv.conv.conv.weight"))?.squeeze(1)?,
                    norm: MaskedNorm {
                        weight: get(&format!("{name}.weight"))?,
                        bias: get(&format!("{name}.bias"))?,
                        running_mean: get(&format!("{name}.running_mean"))?,
                        running_var: get(&format!("{name}.running_var"))?,
                        name,
                    },
                    project: linear(&format!("{conv}.conv_proj"))?,
                    tail: tail(&conv, "conv_scale")?,
                },
                attention: AttentionBlock {
                    qkv: linear(&format!("{attention}.self_attn.qkv"))?,
                    project: linear(&format!("{attention}.self_attn.proj"))?,
                    tail: tail(&attention, "attn_scale")?,
                },
            })
        };
        Ok(SpatialFormer {
            embeddings: get("embeddings.weight")?,
            kinds: get("token_type_embeddings.weight")?,
            spatial: get("spatialembeds.emb.weight")?,
            norm: norm("encoder.norm")?,
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            vocabulary_head: linear("classifier_head")?,
            pair_head: get("pair_head.weight")?,
            projections: [
                get("adjprojector.project_i.weight")?,
                get("adjprojector.project_j.weight")?,
            ],
            log_sigmas: [get("log_sigma_class")?, get("log_sigma_reg1")?, get("log_sigma_reg2")?],
            config,
            weights,
            vocabulary: None,
        })
    }

    /// The same weights with the other arrangement of queries, keys and values.
    pub(super) fn with_layout(&self, attention: AttentionLayout) -> Self {
        let mut other = self.clone();
        other.config.attention = attention;
        other
    }

    /// Every weight by its name.
    pub(super) fn weights(&self) -> &HashMap<String, Tensor> {
        &self.weights
    }

    /// SHA-256 of sizes and weights in hexadecimal digits.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fingerprint(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}", self.config));
        for Weight { name, .. } in self.config.weights() {
            if SpatialFormerConfig::is_unused(&name) {
                continue;
            }
            let values = self.weights[&name].flatten_all()?.to_vec1::<f32>()?;
            for block in values.chunks(1 << 14) {
                let bytes: Vec<u8> = block.iter().flat_map(|v| v.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The sizes.
    pub fn config(&self) -> &SpatialFormerConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.embeddings.device()
    }
}

/// Every weight of a fresh network, drawn by its name.
pub(super) fn fresh(config: &SpatialFormerConfig, seed: u64, device: &Device) -> Result<Store> {
    let mut store = Store::new(seed, device);
    for Weight { name, shape, fresh } in config.weights() {
        match fresh {
            Fresh::Uniform(inner) => store.uniform(&name, &shape, (inner as f64).powf(-0.5))?,
            Fresh::Normal => store.normal(&name, &shape)?,
            Fresh::Ones => store.ones(&name, &shape)?,
            Fresh::Zeros => store.zeros(&name, &shape)?,
        };
    }
    // The embedding of padding begins as 0.
    let table = store.get("embeddings.weight")?.as_tensor().clone();
    let first = table.narrow(0, 0, 1)?.zeros_like()?;
    let rest = table.narrow(0, 1, config.tokens - 1)?;
    store.insert("embeddings.weight", &Tensor::cat(&[first, rest], 0)?)?;
    Ok(store)
}
