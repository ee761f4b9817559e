//! Sizes of a SpatialFormer, the names of its weights, and what they say of the sizes.

use crate::error::{Error, Result};
use crate::nn::fused::DistantHeads;
use candle_core::Tensor;
use std::collections::HashMap;

/// Taps of the convolution along the tokens.
pub(super) const KERNEL: usize = 17;
/// Width of the two projections whose product is the co-occurrence of two tokens.
pub(super) const RANK: usize = 128;
/// Kinds of tokens: padding, those of the first cell, those of the second.
pub(super) const TYPES: usize = 3;

/// How the rows of the layer that makes queries, keys and values are arranged. The released code has
/// two models that share every name and shape of the weights, so a file loads into the wrong one without a
/// word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttentionLayout {
    /// `use_flash_attn = False`: rows `[q | k | v]` of each head follow each other, and similarities are
    /// divided by √dim.
    #[default]
    PerHead,
    /// `use_flash_attn = True`: first the queries of all heads, then keys, then values, and similarities
    /// are divided by √(dim / heads).
    Flash,
}

/// The sizes of a [`SpatialFormer`](super::SpatialFormer).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpatialFormerConfig {
    /// Width of a token's embedding. Published: 512.
    pub dim: usize,
    /// Heads of an attention. Published: 64.
    pub heads: usize,
    /// Layers, each a convolution block and an attention block. Published: 10.
    pub layers: usize,
    /// Tokens of the vocabulary. Published: 6,065; 1,950 before the panels of 5,000 genes.
    pub tokens: usize,
    /// The arrangement of queries, keys and values.
    pub attention: AttentionLayout,
}

impl Default for SpatialFormerConfig {
    /// The published size.
    fn default() -> Self {
        let attention = AttentionLayout::PerHead;
        SpatialFormerConfig { dim: 512, heads: 64, layers: 10, tokens: 6065, attention }
    }
}

/// What a fresh weight is drawn from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fresh {
    /// Uniform within ±1/√n, as torch draws layers of n inputs.
    Uniform(usize),
    /// The standard normal distribution, as torch draws tables.
    Normal,
    /// Ones.
    Ones,
    /// Zeros.
    Zeros,
}

/// A weight of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Its name in the released code.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it begins as.
    pub fresh: Fresh,
}

impl SpatialFormerConfig {
    /// Width of a head.
    pub(super) fn width(&self) -> usize {
        self.dim / self.heads.max(1)
    }

    /// What similarities of queries and keys are multiplied with.
    pub(super) fn scale(&self) -> f64 {
        match self.attention {
            AttentionLayout::PerHead => (self.dim as f64).powf(-0.5),
            AttentionLayout::Flash => (self.width() as f64).powf(-0.5),
        }
    }

    /// How fast attention of each head falls with the distance of two tokens (ALiBi; Press, Smith and
    /// Lewis, 2022): slopes of a geometric series; where heads are no power of two, that of the next
    /// lower power, then every other one of twice that power.
    pub(super) fn slopes(&self) -> Vec<f32> {
        let series = |n: usize| -> Vec<f64> {
            let start = 2f64.powf(-(2f64.powf(-((n as f64).log2() - 3.0))));
            (0..n).map(|h| start.powi(h as i32 + 1)).collect()
        };
        let lower = 1 << self.heads.max(1).ilog2();
        let mut slopes = series(lower);
        slopes.extend(series(2 * lower).into_iter().step_by(2).take(self.heads - lower));
        slopes.into_iter().map(|s| s as f32).collect()
    }

    /// The attention of these sizes on the CPU, for the heads' own [`slopes`](Self::slopes).
    pub(super) fn distant_heads<'a>(&self, slopes: &'a [f32]) -> DistantHeads<'a> {
        DistantHeads {
            width: self.width(),
            scale: self.scale() as f32,
            slopes,
            per_head: self.attention == AttentionLayout::PerHead,
        }
    }

    /// Whether a weight is part of a head, behind all layers, or weighs the losses of heads.
    pub(super) fn is_head(name: &str) -> bool {
        const HEADS: [&str; 4] = ["classifier_head.", "pair_head.", "adjprojector.", "log_sigma_"];
        HEADS.iter().any(|head| name.starts_with(head))
    }

    /// Whether the sizes fit each other.
    pub(super) fn check(&self) -> Result<()> {
        let sizes = [
            ("dim", self.dim),
            ("heads", self.heads),
            ("layers", self.layers),
            ("tokens", self.tokens),
        ];
        for (name, size) in sizes {
            if size == 0 {
                return Err(Error::parameter(name, size, "must be at least 1"));
            }
        }
        if !self.dim.is_multiple_of(self.heads) {
            let reason = format!("must divide dim = {}", self.dim);
            return Err(Error::parameter("heads", self.heads, reason));
        }
        Ok(())
    }

    /// Every weight of the released network in its order, those that it never uses included
    /// ([`is_unused`](Self::is_unused)).
    pub fn weights(&self) -> Vec<Weight> {
        let (d, n) = (self.dim, self.tokens);
        let mut all = Vec::new();
        let mut add = |name: &str, shape: &[usize], fresh: Fresh| {
            all.push(Weight { name: name.into(), shape: shape.into(), fresh });
        };
        for name in ["log_sigma_class", "log_sigma_reg1", "log_sigma_reg2"] {
            add(name, &[1], Fresh::Zeros);
        }
        let linear =
            |add: &mut dyn FnMut(&str, &[usize], Fresh), name: &str, out: usize, inner: usize| {
                add(&format!("{name}.weight"), &[out, inner], Fresh::Uniform(inner));
                add(&format!("{name}.bias"), &[out], Fresh::Uniform(inner));
            };
        let norm = |add: &mut dyn FnMut(&str, &[usize], Fresh), name: &str| {
            add(&format!("{name}.weight"), &[d], Fresh::Ones);
            add(&format!("{name}.bias"), &[d], Fresh::Zeros);
        };
        let scale = |add: &mut dyn FnMut(&str, &[usize], Fresh), name: &str| {
            add(&format!("{name}.scale"), &[d], Fresh::Ones);
            add(&format!("{name}.bias"), &[d], Fresh::Zeros);
        };
        linear(&mut add, "encoder.emb_proj", d, 5 * d);
        norm(&mut add, "encoder.norm");
        linear(&mut add, "encoder.bpp_feature_proj", d, 3);
        for (conv, out, inner) in [("conv1", 64, 1), ("conv2", self.heads, 64)] {
            let name = format!("encoder.bpp_convnet.{conv}.conv.conv");
            add(&format!("{name}.weight"), &[out, inner, 7, 7], Fresh::Uniform(inner * 49));
            add(&format!("{name}.bias"), &[out], Fresh::Uniform(inner * 49));
        }
        for i in 0..self.layers {
            let conv = |part: &str| format!("encoder.layers.{i}.conv_blocks.0.{part}");
            norm(&mut add, &conv("norm1"));
            norm(&mut add, &conv("norm2"));
            linear(&mut add, &conv("expand_conv"), 2 * d, d);
            add(&conv("conv.conv.conv.weight"), &[d, 1, KERNEL], Fresh::Uniform(KERNEL));
            norm(&mut add, &conv("conv_norm"));
            add(&conv("conv_norm.running_mean"), &[d], Fresh::Zeros);
            add(&conv("conv_norm.running_var"), &[d], Fresh::Ones);
            add(&conv("conv_norm.num_batches_tracked"), &[], Fresh::Zeros);
            linear(&mut add, &conv("conv_proj"), d, d);
            linear(&mut add, &conv("mlp.ffn1"), 4 * d, d);
            linear(&mut add, &conv("mlp.ffn2"), d, 2 * d);
            scale(&mut add, &conv("conv_scale"));
            scale(&mut add, &conv("mlp_scale"));
            let attn = |part: &str| format!("encoder.layers.{i}.attn_blocks.0.{part}");
            norm(&mut add, &attn("norm1"));
            linear(&mut add, &attn("self_attn.qkv"), 3 * d, d);
            linear(&mut add, &attn("self_attn.proj"), d, d);
            norm(&mut add, &attn("norm2"));
            linear(&mut add, &attn("mlp.ffn1"), 4 * d, d);
            linear(&mut add, &attn("mlp.ffn2"), d, 2 * d);
            scale(&mut add, &attn("attn_scale"));
            scale(&mut add, &attn("mlp_scale"));
        }
        add("classifier_head.weight", &[n, d], Fresh::Uniform(d));
        add("classifier_head.bias", &[n], Fresh::Zeros);
        for side in ["i", "j"] {
            let name = format!("adjprojector.project_{side}.weight");
            add(&name, &[RANK, d], Fresh::Uniform(d));
        }
        add("embeddings.weight", &[n, d], Fresh::Normal);
        add("token_type_embeddings.weight", &[TYPES, d], Fresh::Normal);
        add("spatialembeds.emb.weight", &[n, d], Fresh::Normal);
        add("pair_head.weight", &[2, d], Fresh::Uniform(d));
        all
    }

    /// Whether the released network has this weight but never uses it.
    pub fn is_unused(name: &str) -> bool {
        ["encoder.emb_proj.", "encoder.bpp_feature_proj.", "encoder.bpp_convnet."]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || name.ends_with(".num_batches_tracked")
    }

    /// The sizes of a file of weights. Nothing in it tells the arrangement of queries, keys and values.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::Data`] when the weights are not those of a SpatialFormer.
    pub fn of_weights(
        weights: &HashMap<String, Tensor>,
        attention: AttentionLayout,
    ) -> Result<Self> {
        let get = |name: &str| {
            let missing = || Error::missing_key("weights", "tensor", name, weights.keys());
            weights.get(name).ok_or_else(missing)
        };
        let table = get("embeddings.weight")?;
        let &[tokens, dim] = table.dims() else {
            let found = format!("{:?}", table.dims());
            return Err(Error::shape("tensor `embeddings.weight`", "[tokens, dim]", found));
        };
        // The last layer of a part that is never used has one channel for each head.
        let heads = get("encoder.bpp_convnet.conv2.conv.conv.bias")?.elem_count();
        let layer = |name: &String| -> Option<usize> {
            name.strip_prefix("encoder.layers.")?.split('.').next()?.parse().ok()
        };
        let layers = weights.keys().filter_map(layer).max().map_or(0, |last| last + 1);
        let config = SpatialFormerConfig { dim, heads, layers, tokens, attention };
        config.check()?;
        Ok(config)
    }
}
