//! HisToSGE's network: positions added to image features, a transformer over the spots of a chunk, and
//! two layers to genes.

use super::step;
use crate::error::{Error, Result};
use crate::models::gene_maps::{check_places, whole_places};
use crate::nn::{LayerNorm, Linear, Store, fused};
use candle_core::Tensor;

/// Sizes of the network; the defaults are the published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Numbers of an image feature; 1024 by default.
    pub features: usize,
    /// Genes predicted; 1,000 by default.
    pub genes: usize,
    /// Transformer blocks; 1 by default.
    pub depth: usize,
    /// Heads of an attention; 4 by default.
    pub heads: usize,
    /// Numbers of a head; 64 by default.
    pub head_dim: usize,
    /// Width between the two layers to genes; 2048 by default.
    pub hidden: usize,
    /// Rows and columns of the array that have a position; 512 by default.
    pub positions: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig {
            features: 1024,
            genes: 1000,
            depth: 1,
            heads: 4,
            head_dim: 64,
            hidden: 2048,
            positions: 512,
        }
    }
}

impl NetworkConfig {
    /// Checks every size.
    ///
    /// # Errors
    /// [`Error::Parameter`] naming the first that cannot be.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("features", self.features),
            ("genes", self.genes),
            ("heads", self.heads),
            ("head_dim", self.head_dim),
            ("hidden", self.hidden),
            ("positions", self.positions),
        ] {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// Spots that go through the network together: sequences of `length` spots each, one after the other.
/// Attention does not leave a sequence.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Image features, `[spots, features]`.
    pub features: Tensor,
    /// The column of the array at which each spot lies.
    pub columns: Vec<u32>,
    /// Its row.
    pub rows: Vec<u32>,
    /// Spots of a sequence.
    pub length: usize,
}

impl Batch {
    /// One sequence of spots at `centers` (column, row), which are cut to whole numbers towards zero as
    /// the published code does.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not as many positions as features; [`Error::Data`] for a position
    /// that is negative or no number.
    pub fn new(features: Tensor, centers: &[[f64; 2]]) -> Result<Batch> {
        let length = features.dim(0)?;
        let [columns, rows] = whole_places(centers, length)?;
        Ok(Batch { features, columns, rows, length })
    }
}

/// What the network makes of spots.
#[derive(Debug, Clone)]
pub struct Output {
    /// The last hidden layer, `[spots, features]`.
    pub hidden: Tensor,
    /// Predicted expression, `[spots, genes]`, not negative.
    pub genes: Tensor,
}

/// One block of the transformer.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub norm1: LayerNorm,
    /// `[3 · heads · head_dim, features]`, without bias.
    pub qkv: Tensor,
    pub out: Linear,
    pub norm2: LayerNorm,
    pub fc1: Linear,
    pub fc2: Linear,
}

/// The network. Its parameters have the names of the published code: `x_embed.weight`,
/// `trans.layers.0.0.fn.to_qkv.weight`, `gene_head.3.bias`, ….
#[derive(Debug, Clone)]
pub struct Network {
    config: NetworkConfig,
    pub(super) columns: Tensor,
    pub(super) rows: Tensor,
    pub(super) blocks: Vec<Block>,
    pub(super) head1: Linear,
    pub(super) head_norm: LayerNorm,
    pub(super) head2: Linear,
}

/// Whether training changes the parameter `name`; `layer_norm`, which published weights hold, is never
/// used.
pub(super) fn is_trained(name: &str) -> bool {
    !name.starts_with("layer_norm.")
}

impl Network {
    /// A network with its parameters drawn in `store` as torch draws them.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a size of 0; those of the device.
    pub fn new(store: &mut Store, config: NetworkConfig) -> Result<Self> {
        config.check()?;
        let NetworkConfig { features, genes, hidden, positions, .. } = config;
        let inner = config.heads * config.head_dim;
        let columns = store.normal("x_embed.weight", &[positions, features])?;
        let rows = store.normal("y_embed.weight", &[positions, features])?;
        let mut blocks = Vec::with_capacity(config.depth);
        for i in 0..config.depth {
            let attention = format!("trans.layers.{i}.0");
            let perceptron = format!("trans.layers.{i}.1");
            let bound = 1.0 / (features as f64).sqrt();
            let qkv = format!("{attention}.fn.to_qkv.weight");
            blocks.push(Block {
                norm1: LayerNorm::new(store, &format!("{attention}.norm"), features)?,
                qkv: store.uniform(&qkv, &[3 * inner, features], bound)?,
                out: Linear::new(store, &format!("{attention}.fn.to_out.0"), inner, features)?,
                norm2: LayerNorm::new(store, &format!("{perceptron}.norm"), features)?,
                fc1: Linear::new(store, &format!("{perceptron}.fn.net.0"), features, features)?,
                fc2: Linear::new(store, &format!("{perceptron}.fn.net.3"), features, features)?,
            });
        }
        let head1 = Linear::new(store, "gene_head.0", features, hidden)?.with_relu();
        let head_norm = LayerNorm::new(store, "gene_head.2", hidden)?;
        let head2 = Linear::new(store, "gene_head.3", hidden, genes)?.with_relu();
        LayerNorm::new(store, "layer_norm", features)?;
        Ok(Network { config, columns, rows, blocks, head1, head_norm, head2 })
    }

    /// The sizes.
    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Checks that the network can take a batch.
    pub(super) fn check(&self, batch: &Batch) -> Result<()> {
        let (spots, features) = batch.features.dims2()?;
        if features != self.config.features {
            return Err(Error::shape("features of a spot", self.config.features, features));
        }
        if batch.length == 0 || spots % batch.length != 0 {
            return Err(Error::shape("spots", format!("a multiple of {}", batch.length), spots));
        }
        check_places(&batch.columns, &batch.rows, self.config.positions)
    }

    /// Predicts the expression of spots.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Data`] for a batch that does not fit; those of the device.
    pub fn forward(&self, batch: &Batch) -> Result<Output> {
        self.check(batch)?;
        if fused::usable(&batch.features) {
            return step::predict(self, batch);
        }
        self.plain(batch)
    }

    /// [`forward`](Network::forward) in candle's own operations, with gradients.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn plain(&self, batch: &Batch) -> Result<Output> {
        self.check(batch)?;
        let (spots, features) = batch.features.dims2()?;
        let (length, sequences) = (batch.length, spots / batch.length);
        let NetworkConfig { heads, head_dim, .. } = self.config;
        let index = |of: &[u32]| Tensor::new(of, batch.features.device());
        let x = (&batch.features + self.columns.index_select(&index(&batch.columns)?, 0)?)?;
        let mut x = (x + self.rows.index_select(&index(&batch.rows)?, 0)?)?;
        for block in &self.blocks {
            let y = block.norm1.plain(&x)?.matmul(&block.qkv.t()?)?;
            let y = y.reshape((sequences, length, 3, heads, head_dim))?.permute((2, 0, 3, 1, 4))?;
            let part = |i: usize| -> Result<Tensor> { Ok(y.get(i)?.contiguous()?) };
            let scale = 1.0 / (head_dim as f64).sqrt();
            let alike = (part(0)?.matmul(&part(1)?.t()?.contiguous()?)? * scale)?;
            let weights = candle_nn::ops::softmax(&alike, candle_core::D::Minus1)?;
            let y = weights.matmul(&part(2)?)?.transpose(1, 2)?.contiguous()?;
            x = (x + block.out.plain(&y.reshape((spots, heads * head_dim))?, None)?)?;
            let y = block.fc1.plain(&block.norm2.plain(&x)?, None)?.gelu_erf()?;
            x = (x + block.fc2.plain(&y, None)?)?;
        }
        debug_assert_eq!(x.dims(), [spots, features]);
        let y = self.head_norm.plain(&self.head1.plain(&x, None)?)?;
        let genes = self.head2.plain(&y, None)?;
        Ok(Output { hidden: x, genes })
    }

    /// The mean squared error over all entries, in candle's own operations.
    ///
    /// # Errors
    /// As [`forward`](Network::forward).
    pub fn plain_loss(&self, batch: &Batch, target: &Tensor) -> Result<Tensor> {
        Ok((self.plain(batch)?.genes - target)?.sqr()?.mean_all()?)
    }
}
