//! [`Trainer`]: gradients, their accumulation and clipping, the optimizer's step, and the running
//! statistics of normalisations.

use super::super::config::SpatialFormerConfig;
use super::super::network::{SpatialFormer, fresh};
use super::super::plain::Training;
use super::super::sequences::Sequences;
use super::batch::{Hidden, TrainingBatch};
use super::losses::{Loss, Weights};
use super::lowrank::LowRank;
use super::schedule;
use crate::error::{Error, Result};
use crate::nn::{Adam, AdamConfig, Linear, Store};
use crate::rng::{Rng, hash};
use candle_core::{Device, Tensor};
use ndarray::Array2;
use std::collections::HashMap;

/// How far a batch moves the running statistics.
const MOMENTUM: f64 = 0.05;

/// The layer that tells classes of cells, where there is one.
const CLASS_WEIGHT: &str = "classes.weight";
const CLASS_BIAS: &str = "classes.bias";

/// What a step depends on beside the data; the defaults are the published ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The learning rate at its highest. 1e-3.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises. 1,000.
    pub warmup: usize,
    /// Steps after which the cosine of the learning rate would reach 0. 30,661,140.
    pub length: usize,
    /// Steps after which genes that lie together count no more. 400,000.
    pub total: usize,
    /// Batches whose gradients make one step. 4.
    pub accumulate: usize,
    /// The length to which gradients are cut. 1.
    pub clip: f64,
    /// AdamW's weight decay, of every parameter. 0.1.
    pub weight_decay: f64,
    /// The share of elements and branches that are dropped. 0.1.
    pub dropout: f64,
    /// The share of tokens that are hidden. 0.15.
    pub hidden: f64,
    /// How much a pair of neighbours counts beside a pair of others: others a neighbour. 2.
    pub neighbours: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            learning_rate: 1e-3,
            warmup: 1000,
            length: 30_661_140,
            total: 400_000,
            accumulate: 4,
            clip: 1.0,
            weight_decay: 0.1,
            dropout: 0.1,
            hidden: 0.15,
            neighbours: 2.0,
        }
    }
}

/// Which weights learn.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Trained {
    /// All that the released code trains: every weight but the table of kinds of tokens.
    #[default]
    All,
    /// The last layers, this many, and the heads.
    Last(usize),
    /// The heads alone.
    Heads,
    /// The heads, and beside every projection of an attention a product of two narrow matrices of this
    /// rank (Hu et al., 2022); the network's own weights stay.
    LowRank(usize),
}

/// The losses of a step: the means over its batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepLoss {
    /// The weighed sum.
    pub total: f64,
    /// Cross-entropy of hidden tokens.
    pub hidden: f64,
    /// Focal loss of genes that lie together; NaN where nothing is known of them.
    pub together: f64,
    /// Cross-entropy of pairs; NaN without pairs.
    pub pairs: f64,
}

/// A network that learns.
pub struct Trainer {
    config: SpatialFormerConfig,
    store: Store,
    adam: Adam,
    low_rank: Option<LowRank>,
    schedule: Schedule,
    seed: u64,
    separator: u32,
    /// Batches so far.
    batches: u64,
    /// The sum of the gradients of batches that have made no step yet.
    waiting: HashMap<String, Tensor>,
    waiting_batches: usize,
}

impl Trainer {
    /// A trainer of a fresh network, or of one that has learnt before.
    ///
    /// # Errors
    /// [`Error::Parameter`] for sizes or a schedule that cannot be; those of the device.
    pub fn new(
        start: Start,
        separator: u32,
        trained: Trained,
        schedule: Schedule,
        seed: u64,
    ) -> Result<Self> {
        Trainer::with(start, separator, trained, schedule, seed, None)
    }

    /// A trainer with a layer that tells classes of cells from the state of the first token.
    pub(super) fn with_classes(
        model: &SpatialFormer,
        separator: u32,
        trained: Trained,
        schedule: Schedule,
        seed: u64,
        classes: usize,
    ) -> Result<Self> {
        let start = Start::From(Box::new(model.clone()));
        Trainer::with(start, separator, trained, schedule, seed, Some(classes))
    }

    fn with(
        start: Start,
        separator: u32,
        trained: Trained,
        schedule: Schedule,
        seed: u64,
        classes: Option<usize>,
    ) -> Result<Self> {
        schedule.check()?;
        let (config, mut store) = match start {
            Start::Fresh(config, device) => {
                config.check()?;
                let store = fresh(&config, seed, &device)?;
                (config, store)
            }
            Start::From(model) => {
                let mut store = Store::new(seed, model.device());
                for weight in model.config().weights() {
                    store.insert(&weight.name, &model.weights()[&weight.name])?;
                }
                (model.config().clone(), store)
            }
        };
        let low_rank = match trained {
            Trained::LowRank(rank) => Some(LowRank::new(&config, rank, &mut store)?),
            _ => None,
        };
        if let Some(classes) = classes {
            let bound = (config.dim as f64).powf(-0.5);
            store.uniform(CLASS_WEIGHT, &[classes, config.dim], bound)?;
            store.zeros(CLASS_BIAS, &[classes])?;
        }
        let adam = AdamConfig {
            learning_rate: schedule.learning_rate,
            weight_decay: schedule.weight_decay,
            decoupled: true,
            ..AdamConfig::default()
        };
        let adam = Adam::of(&store, adam, |name| learns(&config, trained, name))?;
        Ok(Trainer {
            config,
            store,
            adam,
            low_rank,
            schedule,
            seed,
            separator,
            batches: 0,
            waiting: HashMap::new(),
            waiting_batches: 0,
        })
    }

    /// Replaces the table of where genes lie within cells.
    pub(super) fn set_spatial(&self, table: &Array2<f32>) -> Result<()> {
        let var = self.store.get("spatialembeds.emb.weight")?;
        if var.dims() != [table.nrows(), table.ncols()] {
            let (expected, found) = (format!("{:?}", var.dims()), format!("{:?}", table.shape()));
            return Err(Error::shape("the table of genes", expected, found));
        }
        let values: Vec<f32> = table.iter().copied().collect();
        Ok(var.set(&Tensor::from_vec(values, table.dim(), var.device())?)?)
    }

    /// The optimizer's steps so far.
    pub fn steps(&self) -> usize {
        self.adam.steps()
    }

    /// The network as it is now.
    ///
    /// # Errors
    /// Those of the device.
    pub fn network(&self) -> Result<SpatialFormer> {
        match &self.low_rank {
            Some(low_rank) => low_rank.network(self.config.clone(), &self.store),
            None => SpatialFormer::of_store(self.config.clone(), &self.store),
        }
    }

    /// The network with weights of its own, as it is now.
    ///
    /// # Errors
    /// Those of the device.
    pub fn finished(&self) -> Result<SpatialFormer> {
        let network = self.network()?;
        let copy = |(name, t): (&String, &Tensor)| Ok((name.clone(), t.copy()?.detach()));
        let weights: HashMap<String, Tensor> =
            network.weights().iter().map(copy).collect::<Result<_>>()?;
        SpatialFormer::new(self.config.clone(), &weights, self.store.device())
    }

    /// Every parameter by its name.
    #[cfg(test)]
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    #[cfg(test)]
    pub(super) fn moves(&self, name: &str) -> bool {
        self.adam.moves(name)
    }

    #[cfg(test)]
    pub(super) fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Learns from a batch; with the last of those that make a step, the weights move.
    ///
    /// # Errors
    /// [`Error::Data`] for a loss that is no number, naming the step; those of the device.
    pub fn learn(&mut self, batch: &TrainingBatch) -> Result<StepLoss> {
        let mut rng = Rng::new(crate::rng::at(self.seed ^ hash("hidden tokens"), self.batches));
        let hidden = batch.hide(self.schedule.hidden, self.separator, self.config.tokens, &mut rng);
        self.learn_hidden(batch, &hidden, self.adam.steps())
    }

    /// The same with these tokens hidden, and losses weighed as at `step`.
    pub(super) fn learn_hidden(
        &mut self,
        batch: &TrainingBatch,
        hidden: &Hidden,
        step: usize,
    ) -> Result<StepLoss> {
        let training = Training::new(self.seed, self.batches, self.schedule.dropout);
        let network = self.network()?;
        let weights = self.weights(step);
        let losses = network.losses(batch, hidden, weights, Some(&training))?;
        let found = StepLoss {
            total: number(&losses.total.value)?,
            hidden: number(&losses.hidden)?,
            together: losses.together.as_ref().map(number).transpose()?.unwrap_or(f64::NAN),
            pairs: losses.pairs.as_ref().map(number).transpose()?.unwrap_or(f64::NAN),
        };
        self.follow(losses.total, &training, found.total)?;
        Ok(found)
    }

    /// Learns the classes of sequences; returns their cross-entropy.
    pub(super) fn learn_classes(&mut self, sequences: Sequences, truth: &[u32]) -> Result<f64> {
        let training = Training::new(self.seed, self.batches, self.schedule.dropout);
        let network = self.network()?;
        let head = self.class_head()?;
        let loss = network.class_loss(sequences, truth, &head, &training)?;
        let found = number(&loss.value)?;
        self.follow(loss, &training, found)?;
        Ok(found)
    }

    /// The layer that tells classes.
    pub(super) fn class_head(&self) -> Result<Linear> {
        let tensor = |name| Ok::<_, Error>(self.store.get(name)?.as_tensor().clone());
        Ok(Linear::from_parts(tensor(CLASS_WEIGHT)?, tensor(CLASS_BIAS)?))
    }

    /// Collects the gradients of a loss of this value; with the last of those that make a step, the weights
    /// move.
    fn follow(&mut self, loss: Loss, training: &Training, value: f64) -> Result<()> {
        if !value.is_finite() {
            let step = self.adam.steps();
            let reason = format!("is {value} at step {step}; lower the learning rate");
            return Err(Error::data("the loss", reason));
        }
        let share = 1.0 / self.schedule.accumulate as f64;
        let gradients = loss.gradients(share, &self.store, &|name| self.adam.moves(name))?;
        for (name, gradient) in gradients {
            let sum = match self.waiting.remove(&name) {
                Some(before) => (before + gradient)?,
                None => gradient,
            };
            self.waiting.insert(name, sum);
        }
        for (name, mean, variance) in training.found.borrow_mut().drain(..) {
            self.move_statistics(&format!("{name}.running_mean"), &mean)?;
            self.move_statistics(&format!("{name}.running_var"), &variance)?;
        }
        self.batches += 1;
        self.waiting_batches += 1;
        if self.waiting_batches == self.schedule.accumulate {
            self.step()?;
        }
        Ok(())
    }

    fn weights(&self, step: usize) -> Weights {
        Weights {
            scale: schedule::scale(step, self.schedule.total),
            neighbours: self.schedule.neighbours,
        }
    }

    /// Moves running statistics towards those of a batch.
    fn move_statistics(&self, name: &str, found: &Tensor) -> Result<()> {
        let var = self.store.get(name)?;
        let old = var.as_detached_tensor();
        var.set(&((old * (1.0 - MOMENTUM))? + (found * MOMENTUM)?)?)?;
        Ok(())
    }

    /// One step of the optimizer.
    fn step(&mut self) -> Result<()> {
        let mut gradients = std::mem::take(&mut self.waiting);
        self.waiting_batches = 0;
        let mut squares = 0.0;
        for gradient in gradients.values() {
            let square = gradient.sqr()?.sum_all()?.to_dtype(candle_core::DType::F64)?;
            squares += square.to_scalar::<f64>()?;
        }
        // torch's: the length plus 1e-6, and never made longer.
        let factor = (self.schedule.clip / (squares.sqrt() + 1e-6)).min(1.0);
        if factor < 1.0 {
            for gradient in gradients.values_mut() {
                *gradient = (&*gradient * factor)?;
            }
        }
        let s = &self.schedule;
        self.adam.config.learning_rate =
            schedule::learning_rate(s.learning_rate, self.adam.steps(), s.warmup, s.length);
        self.adam.step_tensors(&gradients)
    }

    /// All that goes on from here: weights, moments, what waits.
    pub(super) fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut tensors = HashMap::new();
        for (name, var) in self.store.iter() {
            tensors.insert(format!("model.{name}"), var.as_detached_tensor());
        }
        let (steps, moments) = self.adam.state()?;
        tensors.extend(moments.into_iter().map(|(name, t)| (format!("adam.{name}"), t)));
        tensors.extend(self.waiting.iter().map(|(name, t)| (format!("waiting.{name}"), t.clone())));
        let numbers = [steps as i64, self.batches as i64, self.waiting_batches as i64];
        tensors.insert("numbers".into(), Tensor::new(&numbers, &Device::Cpu)?);
        Ok(tensors)
    }

    /// Goes on from a [`state`](Trainer::state).
    pub(super) fn load_state(&mut self, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let part = |prefix: &str| -> HashMap<String, Tensor> {
            let named = |(name, t): (&String, &Tensor)| {
                Some((name.strip_prefix(prefix)?.to_string(), t.clone()))
            };
            tensors.iter().filter_map(named).collect()
        };
        let numbers = tensors.get("numbers").map(|t| t.to_vec1::<i64>()).transpose()?;
        let Some([steps, batches, waiting]) = numbers.as_deref() else {
            return Err(Error::data("the state", "holds no numbers of steps"));
        };
        self.store.load_tensors(&part("model."))?;
        self.adam.load_state(*steps as usize, &part("adam."))?;
        self.waiting = part("waiting.");
        for gradient in self.waiting.values_mut() {
            *gradient = gradient.to_device(self.store.device())?;
        }
        (self.batches, self.waiting_batches) = (*batches as u64, *waiting as usize);
        Ok(())
    }
}

fn number(t: &Tensor) -> Result<f64> {
    Ok(f64::from(t.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?))
}

/// Where a training begins.
pub enum Start {
    /// With fresh weights.
    Fresh(SpatialFormerConfig, Device),
    /// With those of a network.
    From(Box<SpatialFormer>),
}

/// Whether a weight learns.
fn learns(config: &SpatialFormerConfig, trained: Trained, name: &str) -> bool {
    let fixed = SpatialFormerConfig::is_unused(name)
        || name.starts_with("token_type_embeddings.")
        || name.ends_with(".running_mean")
        || name.ends_with(".running_var");
    if fixed {
        return false;
    }
    let head = SpatialFormerConfig::is_head(name) || [CLASS_WEIGHT, CLASS_BIAS].contains(&name);
    match trained {
        Trained::All => true,
        Trained::Heads => head,
        Trained::LowRank(_) => head || LowRank::is_part(name),
        Trained::Last(n) => {
            let layer = name.strip_prefix("encoder.layers.").and_then(|r| r.split('.').next());
            let layer = layer.and_then(|i| i.parse::<usize>().ok());
            head || layer.is_some_and(|i| i + n >= config.layers)
        }
    }
}

impl Schedule {
    fn check(&self) -> Result<()> {
        let positive = [
            ("learning_rate", self.learning_rate),
            ("clip", self.clip),
            ("neighbours", self.neighbours),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::parameter(name, value, "must be above 0"));
            }
        }
        for (name, value) in [("dropout", self.dropout), ("hidden", self.hidden)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::parameter(name, value, "must be from 0 to below 1"));
            }
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(Error::parameter("weight_decay", self.weight_decay, "must be at least 0"));
        }
        for (name, value) in [("accumulate", self.accumulate), ("length", self.length)] {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        Ok(())
    }
}
