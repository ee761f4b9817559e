//! Where spots lie, and SummaryMixing, by which the spots of a chunk learn of each other.
//!
//! SummaryMixing (Parcollet, van Dalen, Zhang and Bhattacharya, arXiv 2307.07421) stands where
//! self-attention would: each token sees itself and one summary of all, so that its cost is linear in
//! the number of tokens.

use crate::error::{Error, Result};
use crate::models::gene_maps::{check_places, whole_places};
use crate::nn::{LayerNorm, Linear, Store};
use candle_core::Tensor;

/// Sizes of the tables of positions and of the transformer behind them; the defaults are the published
/// ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixing {
    /// Rows and columns of the array that have a position; 512 by default.
    pub positions: usize,
    /// Transformer blocks; 1 by default.
    pub depth: usize,
    /// SummaryMixings of a block, side by side; 4 by default.
    pub heads: usize,
    /// Width of what a head says of a spot, and of its summary of all; 64 by default.
    pub head_dim: usize,
}

impl Default for Mixing {
    fn default() -> Self {
        Mixing { positions: 512, depth: 1, heads: 4, head_dim: 64 }
    }
}

impl Mixing {
    /// Checks every size; without blocks, positions alone are added.
    pub(super) fn check(&self) -> Result<()> {
        for (name, value) in
            [("positions", self.positions), ("heads", self.heads), ("head_dim", self.head_dim)]
        {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        Ok(())
    }
}

/// What a token says and what all say on average, put together:
///
/// local = gelu(LN(F x)); summary = gelu(LN(mean over tokens of S x)); y = gelu(C \[local | summary\]).
///
/// In candle's own operations, with gradients, on every device. Matches the published code (PyTorch
/// 2.15) within 1e-5.
#[derive(Debug, Clone)]
pub struct SummaryMixing {
    local: Linear,
    local_norm: LayerNorm,
    summary: Linear,
    summary_norm: LayerNorm,
    both: Linear,
}

impl SummaryMixing {
    /// A layer from tokens of `inner` numbers to `out`, with `width` numbers for what a token says and
    /// `summary` for what all say. Its parameters are `name.f`, `name.local_norm`, `name.s`,
    /// `name.summary_norm` and `name.c`, drawn as torch draws them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        store: &mut Store,
        name: &str,
        inner: usize,
        (width, summary, out): (usize, usize, usize),
    ) -> Result<Self> {
        Ok(SummaryMixing {
            local: Linear::new(store, &format!("{name}.f"), inner, width)?,
            local_norm: LayerNorm::new(store, &format!("{name}.local_norm"), width)?,
            summary: Linear::new(store, &format!("{name}.s"), inner, summary)?,
            summary_norm: LayerNorm::new(store, &format!("{name}.summary_norm"), summary)?,
            both: Linear::new(store, &format!("{name}.c"), width + summary, out)?,
        })
    }

    /// Mixes sequences of `length` tokens each, which lie one after the other.
    ///
    /// # Shapes
    /// `[tokens, inner]` → `[tokens, out]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the tokens are not whole sequences; those of the device.
    pub fn forward(&self, x: &Tensor, length: usize) -> Result<Tensor> {
        let (tokens, _) = x.dims2()?;
        if length == 0 || tokens % length != 0 {
            return Err(Error::shape("tokens", format!("a multiple of {length}"), tokens));
        }
        let local = self.local_norm.plain(&self.local.plain(x, None)?)?.gelu_erf()?;
        let said = self.summary.plain(x, None)?;
        let width = said.dim(1)?;
        let mean = said.reshape((tokens / length, length, width))?.mean(1)?;
        let summary = self.summary_norm.plain(&mean)?.gelu_erf()?.unsqueeze(1)?;
        let summary = summary.broadcast_as((tokens / length, length, width))?;
        let summary = summary.contiguous()?.reshape((tokens, width))?;
        Ok(self.both.plain(&Tensor::cat(&[&local, &summary], 1)?, None)?.gelu_erf()?)
    }
}

/// [`SummaryMixing`]s of the same tokens side by side, and a linear layer over what they say.
#[derive(Debug, Clone)]
pub struct SummaryHeads {
    heads: Vec<SummaryMixing>,
    projection: Linear,
}

impl SummaryHeads {
    /// As many [`SummaryMixing::new`]s as `heads`, named `name.mixers.0`, …, and `name.projection` to
    /// `out` numbers.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        store: &mut Store,
        name: &str,
        heads: usize,
        inner: usize,
        widths: (usize, usize, usize),
        out: usize,
    ) -> Result<Self> {
        let mixer = |i| SummaryMixing::new(store, &format!("{name}.mixers.{i}"), inner, widths);
        let mixers = (0..heads).map(mixer).collect::<Result<_>>()?;
        let projection = Linear::new(store, &format!("{name}.projection"), heads * widths.2, out)?;
        Ok(SummaryHeads { heads: mixers, projection })
    }

    /// As [`SummaryMixing::forward`].
    ///
    /// # Errors
    /// As [`SummaryMixing::forward`].
    pub fn forward(&self, x: &Tensor, length: usize) -> Result<Tensor> {
        let said = self.heads.iter().map(|head| head.forward(x, length));
        let said = Tensor::cat(&said.collect::<Result<Vec<_>>>()?, 1)?;
        self.projection.plain(&said, None)
    }
}

/// A transformer with [`SummaryHeads`] in the place of attention, without dropout: in each block
/// x += heads(LN x), and then x += linear(gelu(linear(LN x))).
#[derive(Debug, Clone)]
pub struct MixingTransformer {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
struct Block {
    norm1: LayerNorm,
    heads: SummaryHeads,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl MixingTransformer {
    /// Blocks for tokens of `width` numbers, with the published names behind `name`:
    /// `name.layers.0.0.fn.mixers.0.f.weight`, `name.layers.0.1.fn.net.3.bias`, ….
    ///
    /// # Errors
    /// [`Error::Parameter`] for a size of 0; those of the device.
    pub fn new(store: &mut Store, name: &str, width: usize, sizes: Mixing) -> Result<Self> {
        sizes.check()?;
        let Mixing { depth, heads, head_dim, .. } = sizes;
        let mut blocks = Vec::with_capacity(depth);
        for i in 0..depth {
            let (mixing, perceptron) =
                (format!("{name}.layers.{i}.0"), format!("{name}.layers.{i}.1"));
            let widths = (head_dim, head_dim, width);
            blocks.push(Block {
                norm1: LayerNorm::new(store, &format!("{mixing}.norm"), width)?,
                heads: SummaryHeads::new(
                    store,
                    &format!("{mixing}.fn"),
                    heads,
                    width,
                    widths,
                    width,
                )?,
                norm2: LayerNorm::new(store, &format!("{perceptron}.norm"), width)?,
                fc1: Linear::new(store, &format!("{perceptron}.fn.net.0"), width, width)?,
                fc2: Linear::new(store, &format!("{perceptron}.fn.net.3"), width, width)?,
            });
        }
        Ok(MixingTransformer { blocks })
    }

    /// As [`SummaryMixing::forward`]; the width stays.
    ///
    /// # Errors
    /// As [`SummaryMixing::forward`].
    pub fn forward(&self, x: &Tensor, length: usize) -> Result<Tensor> {
        let mut x = x.clone();
        for block in &self.blocks {
            x = (&x + block.heads.forward(&block.norm1.plain(&x)?, length)?)?;
            let inner = block.fc1.plain(&block.norm2.plain(&x)?, None)?.gelu_erf()?;
            x = (&x + block.fc2.plain(&inner, None)?)?;
        }
        Ok(x)
    }
}

/// The tables of positions with the transformer behind them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    columns: Tensor,
    rows: Tensor,
    transformer: MixingTransformer,
}

impl Places {
    pub fn new(store: &mut Store, features: usize, sizes: Mixing) -> Result<Self> {
        Ok(Places {
            columns: store.normal("x_embed.weight", &[sizes.positions, features])?,
            rows: store.normal("y_embed.weight", &[sizes.positions, features])?,
            transformer: MixingTransformer::new(store, "trans", features, sizes)?,
        })
    }

    /// Column and row of each of as many `spots`, cut to whole numbers towards zero as the published
    /// code does, if the tables have them.
    pub fn of(&self, centers: Option<&[[f64; 2]]>, spots: usize) -> Result<[Vec<u32>; 2]> {
        let centers = centers.ok_or_else(|| {
            let reason =
                "are missing: a network with positions needs the column and the row of each spot";
            Error::data("positions of spots", reason)
        })?;
        let [columns, rows] = whole_places(centers, spots)?;
        check_places(&columns, &rows, self.columns.dim(0)?)?;
        Ok([columns, rows])
    }

    /// Adds the positions, and lets the spots, one sequence, mix.
    pub fn forward(&self, x: &Tensor, [columns, rows]: &[Vec<u32>; 2]) -> Result<Tensor> {
        let index = |of: &[u32]| Tensor::new(of, x.device());
        let x = (x + self.columns.index_select(&index(columns)?, 0)?)?;
        let x = (x + self.rows.index_select(&index(rows)?, 0)?)?;
        self.transformer.forward(&x, columns.len())
    }
}
