//! Hidden states of sequences: by the fused pass on the CPU, by candle's operations elsewhere.

use super::fused::{self, Keep};
use super::network::SpatialFormer;
use super::sequences::{PREFIX, Sequences};
use crate::error::{Error, Result};
use crate::nn::{fused::usable, to_array};
use candle_core::Tensor;
use candle_nn::ops::{sigmoid, softmax_last_dim};
use ndarray::{Array2, Array3, ArrayView2, Axis, s};

/// Sequences are taken together until they have so many tokens.
const TOKENS: usize = 4096;

impl SpatialFormer {
    /// The last hidden states of the first token of each sequence, sequences × dim.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a token that the network does not have; [`Error::Interrupted`]; those of
    /// the device.
    pub fn first_states(&self, batch: &Sequences) -> Result<Array2<f32>> {
        self.states(batch, Keep::First)
    }

    /// The last hidden states of every token, tokens × dim; [`Sequences::spans`] tells whose they are.
    ///
    /// # Errors
    /// As [`first_states`](SpatialFormer::first_states).
    pub fn all_states(&self, batch: &Sequences) -> Result<Array2<f32>> {
        self.states(batch, Keep::All)
    }

    fn states(&self, batch: &Sequences, keep: Keep) -> Result<Array2<f32>> {
        let dim = self.config.dim;
        self.check_tokens(batch)?;
        let mut rows = Vec::new();
        for part in parts(batch) {
            let part = batch.part(part);
            match usable(&self.embeddings) {
                true => rows.extend(fused::hidden(self, &part, keep)?),
                false => rows.extend(self.plain_states(&part, keep)?.iter()),
            }
        }
        let n = rows.len() / dim;
        Array2::from_shape_vec((n, dim), rows).map_err(|e| Error::data("states", e.to_string()))
    }

    pub(super) fn check_tokens(&self, batch: &Sequences) -> Result<()> {
        match batch.tokens.iter().find(|t| **t as usize >= self.config.tokens) {
            Some(token) => {
                let reason = format!("the network has {} tokens", self.config.tokens);
                Err(Error::parameter("token", token, reason))
            }
            None => Ok(()),
        }
    }

    /// The last hidden states by candle's operations.
    pub(super) fn plain_states(&self, batch: &Sequences, keep: Keep) -> Result<Array2<f32>> {
        let passed = self.plain(&batch.padded(self.device())?, false, None, false)?;
        match passed.hidden.last() {
            Some(last) => self.unpadded(last, batch, keep),
            None => Ok(Array2::zeros((0, self.config.dim))),
        }
    }

    /// Rows of what is no padding.
    fn unpadded(&self, padded: &Tensor, batch: &Sequences, keep: Keep) -> Result<Array2<f32>> {
        let mut rows = Vec::new();
        for (i, length) in batch.lengths().enumerate() {
            let keep = if keep == Keep::First { 1 } else { length };
            rows.push(padded.get(i)?.narrow(0, 0, keep)?);
        }
        to_array(&Tensor::cat(&rows, 0)?)
    }

    /// P(not neighbours) and P(neighbours) of pairs, from their first tokens' states: n × dim → n × 2.
    ///
    /// # Errors
    /// Those of the device; states of another width.
    pub fn pair_probabilities(&self, first: ArrayView2<f32>) -> Result<Array2<f32>> {
        let first = self.tensor(first)?;
        to_array(&softmax_last_dim(&self.pair_logits(&first)?)?)
    }

    /// P(together) of each two tokens of a cell, from their states: n × dim → n × n.
    ///
    /// # Errors
    /// Those of the device; states of another width.
    pub fn co_occurrence(&self, rows: ArrayView2<f32>) -> Result<Array2<f32>> {
        to_array(&sigmoid(&self.co_occurrence_logits(&self.tensor(rows)?)?)?)
    }

    /// What each token would be if it were hidden, before the softmax: n × dim → n × tokens.
    ///
    /// # Errors
    /// Those of the device; states of another width.
    pub fn masked_logits(&self, states: ArrayView2<f32>) -> Result<Array2<f32>> {
        to_array(&self.vocabulary_logits(&self.tensor(states)?)?)
    }

    /// The weights of one layer's attention, of each sequence: heads × length × length.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a layer that there is not; as [`first_states`](Self::first_states).
    pub fn attention(&self, batch: &Sequences, layer: usize) -> Result<Vec<Array3<f32>>> {
        if layer >= self.config.layers {
            let reason = format!("the network has layers 0 to {}", self.config.layers - 1);
            return Err(Error::parameter("layer", layer, reason));
        }
        self.check_tokens(batch)?;
        let passed = self.plain(&batch.padded(self.device())?, false, None, true)?;
        let weights = &passed.attention[layer];
        let mut all = Vec::new();
        for (i, n) in batch.lengths().enumerate() {
            let one = weights.get(i)?.narrow(1, 0, n)?.narrow(2, 0, n)?.flatten_all()?;
            let one = Array3::from_shape_vec((self.config.heads, n, n), one.to_vec1::<f32>()?);
            all.push(one.map_err(|e| Error::data("attention", e.to_string()))?);
        }
        Ok(all)
    }

    /// The hidden states after every layer by candle's operations, on any device: of each layer
    /// tokens × dim. [`all_states`](Self::all_states) gives the last of them faster.
    ///
    /// # Errors
    /// As [`first_states`](Self::first_states).
    pub fn layer_states(&self, batch: &Sequences) -> Result<Vec<Array2<f32>>> {
        self.check_tokens(batch)?;
        let passed = self.plain(&batch.padded(self.device())?, false, None, false)?;
        passed.hidden.iter().map(|layer| self.unpadded(layer, batch, Keep::All)).collect()
    }

    pub(super) fn tensor(&self, rows: ArrayView2<f32>) -> Result<Tensor> {
        let values: Vec<f32> = rows.iter().copied().collect();
        Ok(Tensor::from_vec(values, rows.dim(), self.device())?)
    }
}

/// Ranges of sequences that are taken together, of about as many tokens each.
fn parts(batch: &Sequences) -> Vec<std::ops::Range<usize>> {
    let total = batch.n_tokens();
    let aim = total.div_ceil(total.div_ceil(TOKENS).max(1));
    let mut parts = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (i, length) in batch.lengths().enumerate() {
        tokens += length;
        if tokens >= aim || i + 1 == batch.len() {
            parts.push(start..i + 1);
            (start, tokens) = (i + 1, 0);
        }
    }
    parts
}

/// The mean over what stands behind the first cell's prefix, in f64: genes and separators.
pub(super) fn gene_mean(states: ArrayView2<f32>) -> Vec<f64> {
    let rows = states.slice(s![PREFIX.min(states.nrows()).., ..]);
    let mean = rows.mapv(f64::from).mean_axis(Axis(0));
    mean.map_or_else(|| vec![f64::NAN; states.ncols()], |m| m.to_vec())
}
