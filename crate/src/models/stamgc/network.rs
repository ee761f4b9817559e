//! STAMGC's network: two graph convolutions to the embedding z, parallel perceptrons that fuse it,
//! and a graph convolution back to expression.

use crate::error::{Error, Result};
use crate::nn::{Dropout, Gcn, Linear, Propagation, Store};
use candle_core::Tensor;
use std::sync::Arc;

/// Sizes of the network and its dropout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetworkConfig {
    /// Genes, the width of the input and of the reconstruction.
    pub genes: usize,
    /// Width of the first convolution; 128 by default.
    pub hidden: usize,
    /// Width of the embedding z; 64 by default.
    pub out: usize,
    /// Number of perceptrons; 4 by default.
    pub heads: usize,
    /// Width of each; 32 by default.
    pub head_dim: usize,
    /// Share of the perceptrons' hidden units that training drops; 0.1 by default.
    pub dropout: f64,
    /// Share of the first convolution's outputs that training drops; 0.1, fixed in the published
    /// code.
    pub hidden_dropout: f64,
}

impl NetworkConfig {
    /// The published sizes, for so many genes.
    pub fn new(genes: usize) -> Self {
        NetworkConfig {
            genes,
            hidden: 128,
            out: 64,
            heads: 4,
            head_dim: 32,
            dropout: 0.1,
            hidden_dropout: 0.1,
        }
    }
}

/// Whether units are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No dropout.
    Eval,
    /// Dropout, decided by a seed and the number of the training step.
    Train {
        /// The seed of the run.
        seed: u64,
        /// The step, from 0.
        step: u64,
    },
}

impl Mode {
    fn dropout(self, probability: f64, layer: &str) -> Option<Dropout> {
        match self {
            Mode::Train { seed, step } if probability > 0.0 => {
                Some(Dropout::new(probability, seed, step, layer))
            }
            _ => None,
        }
    }
}

/// What the network makes of the spots.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// The embedding that is clustered, `[n, out]`.
    pub z: Tensor,
    /// Its fusion by the perceptrons, `[n, out]`.
    pub fused: Tensor,
}

/// The network. Its parameters have the names of the published code:
/// `conv1.lin.weight`, `mhp.heads.0.3.bias`, `mhp.WO.0.weight`, ….
#[derive(Debug, Clone)]
pub struct Network {
    config: NetworkConfig,
    pub(super) conv1: Gcn,
    pub(super) conv2: Gcn,
    pub(super) decoder: Gcn,
    pub(super) heads: Vec<[Linear; 2]>,
    /// Absent where the heads side by side have the right width already.
    pub(super) merge: Option<Linear>,
}

impl Network {
    /// A network with its parameters drawn in `store`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when a size is 0 or a dropout outside [0, 1); those of the device.
    pub fn new(store: &mut Store, config: NetworkConfig) -> Result<Self> {
        config.check()?;
        let NetworkConfig { genes, hidden, out, head_dim, .. } = config;
        let conv1 = Gcn::new(store, "conv1", genes, hidden)?;
        let conv2 = Gcn::new(store, "conv2", hidden, out)?;
        let decoder = Gcn::new(store, "decoder", out, genes)?;
        let mut heads = Vec::with_capacity(config.heads);
        for h in 0..config.heads {
            let first = Linear::new(store, &format!("mhp.heads.{h}.0"), out, head_dim)?;
            let second = Linear::new(store, &format!("mhp.heads.{h}.3"), head_dim, head_dim)?;
            heads.push([first.with_relu(), second.with_relu()]);
        }
        let width = config.heads * head_dim;
        let merge = if width == out {
            None
        } else {
            Some(Linear::new(store, "mhp.WO.0", width, out)?.with_relu())
        };
        Ok(Network { config, conv1, conv2, decoder, heads, merge })
    }

    /// The sizes.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// The embeddings of expression `x`.
    ///
    /// # Shapes
    /// `[n, genes]` → twice `[n, out]`.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn forward(&self, p: &Arc<Propagation>, x: &Tensor, mode: Mode) -> Result<Embeddings> {
        let mut hidden = self.conv1.forward(p, x)?;
        if let Some(dropout) = self.hidden_dropout(mode) {
            hidden = dropout.apply(&hidden)?;
        }
        let z = self.conv2.forward(p, &hidden)?;
        let mut parts = Vec::with_capacity(self.heads.len());
        for (h, [first, second]) in self.heads.iter().enumerate() {
            let hidden = first.forward(&z, self.head_dropout(h, mode))?;
            parts.push(second.forward(&hidden, None)?);
        }
        let side_by_side = Tensor::cat(&parts, 1)?;
        let fused = match &self.merge {
            Some(layer) => layer.forward(&side_by_side, None)?,
            None => side_by_side,
        };
        Ok(Embeddings { z, fused })
    }

    /// Dropout after the first convolution.
    pub(super) fn hidden_dropout(&self, mode: Mode) -> Option<Dropout> {
        mode.dropout(self.config.hidden_dropout, "conv1")
    }

    /// Dropout between the layers of head `h`.
    pub(super) fn head_dropout(&self, h: usize, mode: Mode) -> Option<Dropout> {
        mode.dropout(self.config.dropout, &format!("mhp.heads.{h}"))
    }

    /// The last layer after propagation, as the reconstruction loss takes it.
    pub fn decoder(&self) -> Linear {
        self.decoder.dense()
    }

    /// Expression reconstructed from the embedding z.
    ///
    /// # Shapes
    /// `[n, out]` → `[n, genes]`.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn reconstruct(&self, p: &Arc<Propagation>, z: &Tensor) -> Result<Tensor> {
        self.decoder.forward(p, z)
    }
}

impl NetworkConfig {
    /// Checks every size.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that cannot be.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("n_top_genes", self.genes),
            ("hidden", self.hidden),
            ("out", self.out),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
        ] {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        for (name, value) in [("dropout", self.dropout), ("hidden_dropout", self.hidden_dropout)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::parameter(name, value, "must be at least 0 and below 1"));
            }
        }
        Ok(())
    }
}
