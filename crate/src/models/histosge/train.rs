//! [`Trainer`]: the network with its optimizer.

use super::network::{Batch, Network, NetworkConfig, is_trained};
use super::step::step;
use crate::error::{Error, Result};
use crate::nn::fused::{gradient_tensors, held};
use crate::nn::{Adam, AdamConfig, Store, fused};
use candle_core::{Device, Tensor};
use std::collections::HashMap;

/// A network in training, chunk by chunk of spots.
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    store: Store,
    adam: Adam,
}

impl Trainer {
    /// A freshly initialised network.
    ///
    /// # Errors
    /// Those of [`Network::new`].
    pub fn new(
        config: NetworkConfig,
        learning_rate: f64,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut store = Store::new(seed, device);
        let network = Network::new(&mut store, config)?;
        let settings = AdamConfig { learning_rate, ..AdamConfig::default() };
        let adam = Adam::of(&store, settings, is_trained)?;
        Ok(Trainer { network, store, adam })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters, to save or to replace.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The optimizer.
    pub fn adam(&self) -> &Adam {
        &self.adam
    }

    /// The optimizer, to go on from a saved state.
    pub fn adam_mut(&mut self) -> &mut Adam {
        &mut self.adam
    }

    /// One step of Adam on spots and their expression, `[spots, genes]`; returns the mean squared error
    /// before it.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Data`] for spots that do not fit, [`Error::Data`] when the loss is
    /// not a number; those of the device.
    pub fn step(&mut self, batch: &Batch, target: &Tensor) -> Result<f64> {
        self.check(batch, target)?;
        if fused::usable(&batch.features) {
            let target = target.contiguous()?;
            return fused::on_pool(|| {
                let (loss, gradients) = step(&self.network, batch, &held(&target)?)?;
                self.finite(loss)?;
                self.adam.step_blocks(&gradients)?;
                Ok(loss)
            });
        }
        let loss = self.network.plain_loss(batch, target)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        self.finite(value)?;
        self.adam.step(&loss.backward()?)?;
        Ok(value)
    }

    /// The mean squared error and the gradient of every parameter that is trained.
    ///
    /// # Errors
    /// As [`step`](Trainer::step).
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        target: &Tensor,
    ) -> Result<(f64, HashMap<String, Tensor>)> {
        self.check(batch, target)?;
        if fused::usable(&batch.features) {
            let target = target.contiguous()?;
            let (loss, gradients) = step(&self.network, batch, &held(&target)?)?;
            return Ok((loss, gradient_tensors(&self.store, &gradients)?));
        }
        let loss = self.network.plain_loss(batch, target)?;
        let found = loss.backward()?;
        let trained = self.store.iter().filter(|(name, _)| is_trained(name));
        let gradients =
            trained.filter_map(|(name, var)| Some((name.to_string(), found.get(var)?.clone())));
        let gradients = gradients.collect();
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }

    fn check(&self, batch: &Batch, target: &Tensor) -> Result<()> {
        self.network.check(batch)?;
        let expected = [batch.features.dim(0)?, self.network.config().genes];
        if target.dims() != expected {
            let (expected, found) = (format!("{expected:?}"), format!("{:?}", target.dims()));
            return Err(Error::shape("expression", expected, found));
        }
        Ok(())
    }

    fn finite(&self, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        let reason = format!(
            "is not a number in step {}; are features and expression finite, and the learning rate \
             ({}) not too large?",
            self.adam.steps() + 1,
            self.adam.config.learning_rate
        );
        Err(Error::data("the loss", reason))
    }
}
