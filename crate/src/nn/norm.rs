//! [`LayerNorm`] and [`BatchNorm`] in candle's own operations, whose gradients are whole.

use super::store::Store;
use crate::error::Result;
use candle_core::{D, Tensor};

/// y = (x - mean) / √(variance + ε) · w + b over the last dimension, with the variance of the sample
/// (divided by n); Ba, Kiros and Hinton, 2016.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    /// `[width]`.
    pub weight: Tensor,
    /// `[width]`.
    pub bias: Tensor,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LayerNorm {
    /// A layer whose parameters are `name.weight`, ones, and `name.bias`, zeros; ε is 1e-5, torch's.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(store: &mut Store, name: &str, width: usize) -> Result<Self> {
        let weight = store.ones(&format!("{name}.weight"), &[width])?;
        let bias = store.zeros(&format!("{name}.bias"), &[width])?;
        Ok(LayerNorm { weight, bias, epsilon: 1e-5 })
    }

    /// The normalised rows.
    ///
    /// # Shapes
    /// `[…, width]` → the same.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
        let unit = centred.broadcast_div(&(variance + self.epsilon)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }

    /// The same in one kernel, which has no gradient.
    ///
    /// # Errors
    /// As [`plain`](LayerNorm::plain).
    pub fn forward_only(&self, x: &Tensor) -> Result<Tensor> {
        let epsilon = self.epsilon as f32;
        Ok(candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, epsilon)?)
    }
}

/// The same over the rows of a batch, column by column; Ioffe and Szegedy, 2015. Training uses the
/// batch's own mean and variance and moves the running ones towards them by a tenth (the variance
/// divided by n - 1), as torch's `BatchNorm1d`.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// The name before `.weight`, `.bias`, `.running_mean` and `.running_var` in the store.
    pub name: String,
    /// `[width]`.
    pub weight: Tensor,
    /// `[width]`.
    pub bias: Tensor,
    /// Running mean, `[width]`.
    pub running_mean: Tensor,
    /// Running variance, `[width]`.
    pub running_var: Tensor,
}

/// The share by which a batch moves the running statistics.
const MOMENTUM: f64 = 0.1;
/// Added to the variance of a column.
pub const BATCH_EPSILON: f64 = 1e-5;

impl BatchNorm {
    /// A layer whose parameters are named after it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(store: &mut Store, name: &str, width: usize) -> Result<Self> {
        Ok(BatchNorm {
            name: name.into(),
            weight: store.ones(&format!("{name}.weight"), &[width])?,
            bias: store.zeros(&format!("{name}.bias"), &[width])?,
            running_mean: store.zeros(&format!("{name}.running_mean"), &[width])?,
            running_var: store.ones(&format!("{name}.running_var"), &[width])?,
        })
    }

    /// The rows by the running statistics.
    ///
    /// # Shapes
    /// `[n, width]` → the same.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn plain_eval(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&self.running_mean)?;
        self.scale(&centred, &self.running_var)
    }

    /// The rows by their own statistics, and these: mean and variance, divided by n.
    ///
    /// # Shapes
    /// `[n, width]` → the same, and twice `[width]`.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn plain_train(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
        let mean = x.mean(0)?;
        let centred = x.broadcast_sub(&mean)?;
        let variance = centred.sqr()?.mean(0)?;
        Ok((self.scale(&centred, &variance)?, mean, variance))
    }

    fn scale(&self, centred: &Tensor, variance: &Tensor) -> Result<Tensor> {
        let unit = centred.broadcast_div(&(variance + BATCH_EPSILON)?.sqrt()?)?;
        Ok(unit.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)?)
    }

    /// Moves the running statistics towards those of a batch of `n` rows.
    ///
    /// # Errors
    /// Those of the device.
    pub fn update(&self, store: &Store, mean: &Tensor, variance: &Tensor, n: usize) -> Result<()> {
        let unbiased = (variance * (n as f64 / (n.max(2) - 1) as f64))?;
        for (kind, batch) in [("running_mean", mean.clone()), ("running_var", unbiased)] {
            let var = store.get(&format!("{}.{kind}", self.name))?;
            let old = var.as_detached_tensor();
            var.set(&((old * (1.0 - MOMENTUM))? + (batch.detach() * MOMENTUM)?)?)?;
        }
        Ok(())
    }
}
