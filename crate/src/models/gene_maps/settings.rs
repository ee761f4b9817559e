//! The settings that both methods have.

use super::grid::Grid;
use crate::error::{Error, Result};
use crate::image::Channels;
use crate::nn::Device;
use std::path::PathBuf;

/// What is predicted from what.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Task {
    /// A random share of the spots trains, every spot is predicted.
    Recovery {
        /// The share that trains.
        train: f64,
    },
    /// Every spot trains; a denser grid is predicted.
    Generation {
        /// How many times as many points; see [`Dense::new`](super::Dense::new).
        factor: usize,
        /// How spots lie; told from their columns and rows where this is `None`.
        grid: Option<Grid>,
        /// Whether points lie at the published distances in pixels instead of the slide's own.
        published_pixels: bool,
    },
}

/// What a run needs to know, whatever the network.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub task: Task,
    pub seed: u64,
    pub epochs: usize,
    pub learning_rate: f64,
    pub n_top_genes: usize,
    pub chunk: usize,
    pub patches: Vec<usize>,
    /// Where this is `None`, what the published code gives to the encoder.
    pub channels: Option<Channels>,
    pub device: Device,
    pub weights: Option<PathBuf>,
    pub checkpoint: Option<PathBuf>,
    pub checkpoint_every: usize,
    pub with_interpolation: bool,
    pub folds: usize,
}

impl Settings {
    /// The published settings, for patches of these sizes.
    pub fn new(patches: &[usize]) -> Settings {
        Settings {
            task: Task::Recovery { train: 0.5 },
            seed: 1234,
            epochs: 1000,
            learning_rate: 1e-3,
            n_top_genes: 1000,
            chunk: 50,
            patches: patches.to_vec(),
            channels: None,
            device: Device::Auto,
            weights: None,
            checkpoint: None,
            checkpoint_every: 50,
            with_interpolation: false,
            folds: 0,
        }
    }

    /// Checks what can be judged without data.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("n_top_genes", self.n_top_genes),
            ("chunk", self.chunk),
            ("checkpoint_every", self.checkpoint_every),
        ] {
            if value == 0 {
                return Err(Error::parameter(name, value, "must be at least 1"));
            }
        }
        if let Some(&size) = self.patches.iter().find(|&&size| size == 0) {
            return Err(Error::parameter("patches", size, "must be at least 1 pixel"));
        }
        if self.patches.is_empty() {
            return Err(Error::parameter("patches", "[]", "must name at least one size"));
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return Err(Error::parameter("learning_rate", self.learning_rate, "must be above 0"));
        }
        if self.with_interpolation && self.folds == 0 {
            let reason = "needs `folds`: weights are made on spots that a network does not see";
            return Err(Error::parameter("with_interpolation", true, reason));
        }
        match self.task {
            Task::Recovery { train } if !(train > 0.0 && train <= 1.0) => {
                Err(Error::parameter("train", train, "must be above 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }
}

/// The setters of a builder that has a field `settings`.
macro_rules! settings_of {
    ($builder:ident) => {
        impl $builder {
            /// Learns from half of the spots and predicts all of them. The default.
            pub fn recovery() -> Self {
                Self::default()
            }

            /// Learns from all spots and predicts a grid `factor` times as dense: 4 or 8 where rows are
            /// set off (Visium), 4 on a square grid.
            pub fn generation(factor: usize) -> Self {
                let task = $crate::models::gene_maps::Task::Generation {
                    factor,
                    grid: None,
                    published_pixels: false,
                };
                Self::default().task(task)
            }

            /// What is predicted from what.
            pub fn task(mut self, task: $crate::models::gene_maps::Task) -> Self {
                self.settings.task = task;
                self
            }

            /// Seed of the choice of spots, of initialisation and of dropout. The same seed gives the same
            /// bits on the same machine, whatever the number of threads. Default: 1234.
            pub fn seed(mut self, seed: u64) -> Self {
                self.settings.seed = seed;
                self
            }

            /// Rounds of training over all chunks. Default: 1,000.
            pub fn epochs(mut self, epochs: usize) -> Self {
                self.settings.epochs = epochs;
                self
            }

            /// Adam's step size. Default: 0.001.
            pub fn learning_rate(mut self, rate: f64) -> Self {
                self.settings.learning_rate = rate;
                self
            }

            /// Most variable genes to predict; all where there are fewer. Default: 1,000.
            pub fn n_top_genes(mut self, n: usize) -> Self {
                self.settings.n_top_genes = n;
                self
            }

            /// Spots that go through the network together, at most. Default: 50.
            pub fn chunk(mut self, spots: usize) -> Self {
                self.settings.chunk = spots;
                self
            }

            /// The order of colours that the encoder sees. Default: blue first for a vision transformer, as
            /// published (the image was read by OpenCV and never converted); red first for others.
            pub fn channels(mut self, channels: $crate::image::Channels) -> Self {
                self.settings.channels = Some(channels);
                self
            }

            /// Where to train. Default: [`Device::Auto`](crate::nn::Device::Auto).
            pub fn device(mut self, device: $crate::nn::Device) -> Self {
                self.settings.device = device;
                self
            }

            /// Begins with the weights of an earlier training: a state dict of the published code (`.pth`)
            /// or a safetensors file of the same names. With no epochs the network only predicts.
            pub fn weights(mut self, path: impl Into<std::path::PathBuf>) -> Self {
                self.settings.weights = Some(path.into());
                self
            }

            /// Trains so many networks, each without one of as many folds of the spots. Each is kept as it
            /// was when it predicted its fold best, and training ends when that was 25 epochs ago;
            /// predictions are the mean over the networks, and hidden layers stand side by side. Ours, not
            /// published, where one network is trained to the last epoch. Default: 0.
            pub fn folds(mut self, folds: usize) -> Self {
                self.settings.folds = folds;
                self
            }

            /// Whether networks and interpolation predict together: what networks make of a place and the
            /// mean of the nearest measured spots, weighted by inverse squared distance, are added up with
            /// the two weights that predict each training spot best from networks and spots that do not
            /// know it. Needs [`folds`](Self::folds). Ours, not published, where networks see the image
            /// alone. Default: false.
            pub fn with_interpolation(mut self, yes: bool) -> Self {
                self.settings.with_interpolation = yes;
                self
            }

            /// A file to which the state of training is written every 50 epochs and at its end. If it is
            /// there when training begins, training goes on from it, as if it had not stopped. With
            /// [`folds`](Self::folds), further networks have files beside it (`state-1.safetensors`, …).
            pub fn checkpoint(mut self, path: impl Into<std::path::PathBuf>) -> Self {
                self.settings.checkpoint = Some(path.into());
                self
            }

            /// Epochs between two writes of the checkpoint. Default: 50.
            pub fn checkpoint_every(mut self, epochs: usize) -> Self {
                self.settings.checkpoint_every = epochs;
                self
            }
        }
    };
}
pub(crate) use settings_of;
