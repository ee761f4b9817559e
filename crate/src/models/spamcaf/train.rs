//! [`Trainer`]: the network with its optimizer.

use super::network::{Batch, Network, NetworkConfig, Step, is_trained};
use super::step::step;
use crate::error::{Error, Result};
use crate::nn::fused::{gradient_tensors, held, on_pool};
use crate::nn::{Adam, AdamConfig, Store};
use candle_core::{Device, Tensor};
use std::collections::HashMap;

/// A network in training, chunk by chunk of spots.
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    store: Store,
    adam: Adam,
    seed: u64,
}

impl Trainer {
    /// A freshly initialised network; the rate of Adam is set before each step.
    ///
    /// # Errors
    /// Those of [`Network::new`].
    pub fn new(config: NetworkConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut store = Store::new(seed, device);
        let network = Network::new(&mut store, config)?;
        let adam = Adam::of(&store, AdamConfig::default(), is_trained)?;
        Ok(Trainer { network, store, adam, seed })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters and the running statistics, to save or to replace.
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

    /// One step of Adam at `learning_rate` on a chunk of spots and their expression, `[spots, genes]`;
    /// returns the mean squared error before it.
    ///
    /// # Errors
    /// [`Error::Shape`] for tensors that do not fit, [`Error::Data`] for a single spot, of which no
    /// statistics can be made, for positions as in [`Network::forward`], or when the loss is not a
    /// number; those of the device.
    pub fn step<'a>(
        &mut self,
        batch: impl Into<Batch<'a>>,
        target: &Tensor,
        learning_rate: f64,
    ) -> Result<f64> {
        let batch: Batch<'_> = batch.into();
        let spots = self.check(batch.features, target)?;
        let at = Step { seed: self.seed, step: self.adam.steps() as u64 };
        self.adam.config.learning_rate = learning_rate;
        if self.network.is_fused(batch.features) {
            let target = target.contiguous()?;
            return on_pool(|| {
                let found = step(&self.network, batch.features, &held(&target)?, at)?;
                self.finite(found.loss)?;
                self.adam.step_blocks(&found.gradients)?;
                for ((_, norm), columns) in self.network.head.iter().zip(found.statistics) {
                    let tensor = |v: Vec<f32>| Tensor::new(v, &Device::Cpu);
                    let (mean, variance) = (tensor(columns.mean)?, tensor(columns.variance)?);
                    norm.update(&self.store, &mean, &variance, spots)?;
                }
                Ok(found.loss)
            });
        }
        let (output, statistics) = self.network.plain(batch, Some(at))?;
        let loss = (output.genes - target)?.sqr()?.mean_all()?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        self.finite(value)?;
        self.adam.step(&loss.backward()?)?;
        for ((_, norm), (mean, variance)) in self.network.head.iter().zip(statistics) {
            norm.update(&self.store, &mean, &variance, spots)?;
        }
        Ok(value)
    }

    /// The mean squared error of a chunk in training, without dropout, and the gradient of every
    /// parameter that is trained.
    ///
    /// # Errors
    /// As [`step`](Trainer::step).
    pub fn loss_and_gradients<'a>(
        &self,
        batch: impl Into<Batch<'a>>,
        target: &Tensor,
    ) -> Result<(f64, HashMap<String, Tensor>)> {
        let batch: Batch<'_> = batch.into();
        self.check(batch.features, target)?;
        let config = NetworkConfig { dropout: 0.0, gate_dropout: 0.0, ..*self.network.config() };
        let network = self.network.with_config(config);
        let at = Step { seed: self.seed, step: 0 };
        if network.is_fused(batch.features) {
            let target = target.contiguous()?;
            let found = step(&network, batch.features, &held(&target)?, at)?;
            return Ok((found.loss, gradient_tensors(&self.store, &found.gradients)?));
        }
        let loss = (network.plain(batch, Some(at))?.0.genes - target)?.sqr()?.mean_all()?;
        let found = loss.backward()?;
        let trained = self.store.iter().filter(|(name, _)| is_trained(name));
        let gradients =
            trained.filter_map(|(name, var)| Some((name.to_string(), found.get(var)?.clone())));
        let gradients = gradients.collect();
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }

    fn check(&self, features: &Tensor, target: &Tensor) -> Result<usize> {
        let (spots, _) = self.network.check(features)?;
        let genes = self.network.config().genes;
        if target.dims() != [spots, genes] {
            let expected = format!("{spots} × {genes}");
            return Err(Error::shape("expression", expected, format!("{:?}", target.dims())));
        }
        if spots < 2 {
            let reason = "has a single spot: batch normalisation needs at least 2";
            return Err(Error::data("a chunk", reason));
        }
        Ok(spots)
    }

    fn finite(&self, loss: f64) -> Result<()> {
        if loss.is_finite() {
            return Ok(());
        }
        let reason = format!(
            "is not a number in step {}; are features and expression finite?",
            self.adam.steps() + 1
        );
        Err(Error::data("the loss", reason))
    }
}
