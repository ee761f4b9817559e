//! Training STAMGC's network on plain arrays, whatever they were made from.

use super::super::state::State;
use super::data::TrainingData;
use super::fused_step::fused_step;
use super::losses::{EpochLoss, LossWeights, loss_terms};
use super::network::{Embeddings, Mode, Network, NetworkConfig};
use crate::error::{Error, Result};
use crate::nn::{Adam, AdamConfig, Pairs, Store, fused, to_array};
use candle_core::{Device, Tensor, Var};
use indexmap::IndexMap;
use ndarray::{Array2, ArrayD};

/// How the network is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainConfig {
    /// Weights of the loss.
    pub weights: LossWeights,
    /// Adam's step size; 1e-3 by default.
    pub learning_rate: f64,
    /// L2 that is added to the gradient of every parameter; 5e-4 by default.
    pub weight_decay: f64,
    /// Seed of initialisation and dropout.
    pub seed: u64,
    /// How the sums over all pairs of spots are made.
    pub pairs: Pairs,
}

/// A network in training: full batch, one Adam step an epoch.
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    store: Store,
    adam: Adam,
    data: TrainingData,
    config: TrainConfig,
}

impl Trainer {
    /// A freshly initialised network.
    ///
    /// # Errors
    /// Those of [`Network::new`].
    pub fn new(network: NetworkConfig, data: TrainingData, config: TrainConfig) -> Result<Self> {
        let mut store = Store::new(config.seed, data.features.device());
        let network = Network::new(&mut store, network)?;
        let adam = Adam::new(
            &store,
            AdamConfig {
                learning_rate: config.learning_rate,
                weight_decay: config.weight_decay,
                ..AdamConfig::default()
            },
        )?;
        Ok(Trainer { network, store, adam, data, config })
    }

    /// The parameters, to save or to replace.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The parameters' values.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn weights(&self) -> Result<IndexMap<String, ArrayD<f32>>> {
        let values = |(name, var): (&str, &Var)| -> Result<_> {
            let flat: Vec<f32> = var.flatten_all()?.to_vec1()?;
            let values = ArrayD::from_shape_vec(var.dims(), flat);
            Ok((name.to_string(), values.map_err(|e| Error::data("tensor", e.to_string()))?))
        };
        self.store.iter().map(values).collect()
    }

    /// The data.
    pub fn data(&self) -> &TrainingData {
        &self.data
    }

    /// Writes the state of the training: parameters, moments and `history`.
    pub(super) fn save(&self, state: &State, history: &[EpochLoss]) -> Result<()> {
        let terms = |l: &EpochLoss| [l.total, l.reconstruction, l.contrast, l.neighbours];
        let losses: Vec<f64> = history.iter().flat_map(terms).collect();
        let losses = Tensor::new(losses.as_slice(), &Device::Cpu)?;
        state.save(&self.store, &self.adam, [("losses".to_string(), losses)].into())
    }

    /// Goes on from the state in a file, if there is one; returns the losses so far.
    pub(super) fn resume(&mut self, state: &State) -> Result<Vec<EpochLoss>> {
        let Some(mut course) = state.load(&self.store, &mut self.adam)? else {
            return Ok(Vec::new());
        };
        let losses = course.numbers("losses")?;
        let (losses, _) = losses.as_chunks::<4>();
        let epoch = |&[total, reconstruction, contrast, neighbours]: &[f64; 4]| EpochLoss {
            total,
            reconstruction,
            contrast,
            neighbours,
        };
        Ok(losses.iter().map(epoch).collect())
    }

    /// One epoch; returns the loss before the step.
    ///
    /// # Errors
    /// [`Error::Data`] when the loss is not a number; those of the device.
    pub fn step(&mut self) -> Result<EpochLoss> {
        let mode = Mode::Train { seed: self.config.seed, step: self.adam.steps() as u64 };
        let TrainConfig { weights, pairs, .. } = self.config;
        if fused::usable(&self.data.features) {
            return fused::on_pool(|| {
                let (network, data) = (&self.network, &self.data);
                let (loss, gradients) = fused_step(network, data, &weights, pairs, mode)?;
                self.check(&loss)?;
                self.adam.step_slices(&gradients)?;
                Ok(loss)
            });
        }
        let embeddings = self.network.forward(&self.data.propagation, &self.data.features, mode)?;
        let terms = loss_terms(&self.network, &embeddings, &self.data, &weights, pairs)?;
        let loss = terms.values()?;
        self.check(&loss)?;
        self.adam.step(&terms.total.backward()?)?;
        Ok(loss)
    }

    fn check(&self, loss: &EpochLoss) -> Result<()> {
        if loss.total.is_finite() {
            return Ok(());
        }
        let reason = format!(
            "is not a number in epoch {}; are the expression values finite and the learning rate \
             ({}) not too large?",
            self.adam.steps() + 1,
            self.config.learning_rate
        );
        Err(Error::data("the loss", reason))
    }

    /// The embeddings without dropout.
    ///
    /// # Errors
    /// Those of the device.
    pub fn embed(&self) -> Result<Embeddings> {
        self.network.forward(&self.data.propagation, &self.data.features, Mode::Eval)
    }

    /// The embedding z without dropout, spots × out.
    ///
    /// # Errors
    /// Those of the device.
    pub fn z(&self) -> Result<Array2<f32>> {
        to_array(&self.embed()?.z)
    }

    /// Expression reconstructed from an embedding z, spots × genes.
    ///
    /// # Errors
    /// Those of the device.
    pub fn reconstruct(&self, z: &Tensor) -> Result<Array2<f32>> {
        to_array(&self.network.reconstruct(&self.data.propagation, z)?)
    }
}
