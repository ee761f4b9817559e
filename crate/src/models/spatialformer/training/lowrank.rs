//! [`LowRank`]: beside each projection of an attention a product of two narrow matrices.
//!
//! W + B A · 2, with A of rank × in drawn as torch draws layers and B of out × rank beginning as 0, so that
//! the network begins as it was (LoRA; Hu et al., 2022, with α = 2 · rank).

use super::super::config::SpatialFormerConfig;
use super::super::network::SpatialFormer;
use crate::error::{Error, Result};
use crate::nn::Store;

/// What the product is multiplied with.
const SCALE: f64 = 2.0;
/// How the names of the narrow matrices begin.
const PREFIX: &str = "low_rank.";

/// The weights that have such a product.
pub(super) struct LowRank {
    names: Vec<String>,
}

impl LowRank {
    /// Adds the narrow matrices to a store.
    pub fn new(config: &SpatialFormerConfig, rank: usize, store: &mut Store) -> Result<Self> {
        if rank == 0 || rank > config.dim {
            let reason = format!("must be from 1 to dim = {}", config.dim);
            return Err(Error::parameter("rank", rank, reason));
        }
        let projections = ["self_attn.qkv.weight", "self_attn.proj.weight"];
        let weights = config.weights().into_iter();
        let wanted = weights.filter(|w| projections.iter().any(|p| w.name.ends_with(p)));
        let mut names = Vec::new();
        for weight in wanted {
            let (out, inner) = (weight.shape[0], weight.shape[1]);
            let bound = (inner as f64).powf(-0.5);
            store.uniform(&format!("{PREFIX}{}.a", weight.name), &[rank, inner], bound)?;
            store.zeros(&format!("{PREFIX}{}.b", weight.name), &[out, rank])?;
            names.push(weight.name);
        }
        Ok(LowRank { names })
    }

    /// Whether a parameter is a narrow matrix.
    pub fn is_part(name: &str) -> bool {
        name.starts_with(PREFIX)
    }

    /// The network with the products added.
    pub fn network(&self, config: SpatialFormerConfig, store: &Store) -> Result<SpatialFormer> {
        SpatialFormer::build(config, |name| {
            let weight = store.get(name)?.as_tensor().clone();
            if !self.names.iter().any(|n| n == name) {
                return Ok(weight);
            }
            let (a, b) = (format!("{PREFIX}{name}.a"), format!("{PREFIX}{name}.b"));
            let product = store.get(&b)?.matmul(store.get(&a)?.as_tensor())?;
            Ok((weight + (product * SCALE)?)?)
        })
    }
}
