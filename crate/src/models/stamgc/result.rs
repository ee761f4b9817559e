//! What a run of STAMGC returns beside what it wrote.

use super::losses::EpochLoss;
use crate::error::Result;
use crate::notebook::shows_rows;
use crate::tl;
use ndarray::Array2;
use std::time::{Duration, Instant};

/// How long each step took, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timings {
    steps: Vec<(&'static str, Duration)>,
}

impl Timings {
    pub(super) fn time<R>(&mut self, step: &'static str, f: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = f();
        self.steps.push((step, start.elapsed()));
        result
    }

    /// The steps with their seconds.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        self.steps.iter().map(|(name, d)| (*name, d.as_secs_f64()))
    }

    /// Seconds of a step; 0 for one that there is not.
    pub fn of(&self, step: &str) -> f64 {
        self.iter().filter(|(name, _)| *name == step).map(|(_, s)| s).sum()
    }

    /// Seconds of all steps together.
    pub fn total(&self) -> f64 {
        self.iter().map(|(_, s)| s).sum()
    }
}

/// The result of [`Stamgc::fit`](super::Stamgc::fit). It shows itself as a short table.
#[derive(Debug, Clone, PartialEq)]
pub struct StamgcFit {
    pub(super) history: Vec<EpochLoss>,
    pub(super) timings: Timings,
    pub(super) n_spots: usize,
    pub(super) used: Vec<usize>,
    pub(super) domains: Vec<usize>,
    pub(super) pseudo_labels: Vec<usize>,
    pub(super) z: Array2<f32>,
    pub(super) genes: Vec<String>,
    pub(super) sigma: f64,
    pub(super) n_edges: usize,
    pub(super) n_pruned: usize,
    pub(super) n_domains: usize,
    pub(super) seed: u64,
    pub(super) device: String,
    pub(super) peak_memory_mb: f64,
}

impl StamgcFit {
    /// The loss of each epoch, before its step.
    pub fn history(&self) -> &[EpochLoss] {
        &self.history
    }

    /// The loss and its three terms by epoch: `total`, `reconstruction`, `contrast` (pseudo
    /// labels), `neighbours`.
    pub fn losses(&self) -> Vec<(String, Vec<f64>)> {
        let curve = |f: fn(&EpochLoss) -> f64| self.history.iter().map(f).collect();
        vec![
            ("total".into(), curve(|l| l.total)),
            ("reconstruction".into(), curve(|l| l.reconstruction)),
            ("contrast".into(), curve(|l| l.contrast)),
            ("neighbours".into(), curve(|l| l.neighbours)),
        ]
    }

    /// How long each step took.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// Seconds from counts to domains.
    pub fn seconds(&self) -> f64 {
        self.timings.total()
    }

    /// The most memory the process had held when the run ended, in MB.
    pub fn peak_memory_mb(&self) -> f64 {
        self.peak_memory_mb
    }

    /// The rows of the slide that were used, rising. The accessors below have one entry for each.
    pub fn spots(&self) -> &[usize] {
        &self.used
    }

    /// The domain of each spot used, from 1.
    pub fn domains(&self) -> &[usize] {
        &self.domains
    }

    /// The pseudo label of each spot used, from 1.
    pub fn pseudo_labels(&self) -> &[usize] {
        &self.pseudo_labels
    }

    /// The embedding of each spot used, spots × `out`.
    pub fn z(&self) -> &Array2<f32> {
        &self.z
    }

    /// The genes that were used.
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// Mean silhouette of the domains in the embedding, from -1 to 1; higher is better separated.
    ///
    /// # Errors
    /// As [`tl::silhouette`].
    pub fn silhouette(&self) -> Result<f64> {
        tl::silhouette(self.z.view(), &self.domains)
    }

    /// Davies–Bouldin index of the domains in the embedding; lower is better separated.
    ///
    /// # Errors
    /// As [`tl::davies_bouldin`].
    pub fn davies_bouldin(&self) -> Result<f64> {
        tl::davies_bouldin(self.z.view(), &self.domains)
    }

    /// The table as (name, value).
    fn rows(&self) -> Vec<(&'static str, String)> {
        let left_out = self.n_spots - self.used.len();
        let spots = match left_out {
            0 => format!("{}", self.used.len()),
            n => format!("{} ({n} left out)", self.used.len()),
        };
        let steps: Vec<String> =
            self.timings.iter().map(|(name, s)| format!("{name} {s:.1}")).collect();
        let mut rows = vec![
            ("domains", self.n_domains.to_string()),
            ("spots", spots),
            ("genes", self.genes.len().to_string()),
            ("edges", format!("{} ({} pruned)", self.n_edges, self.n_pruned)),
            ("smoothing σ", format!("{:.4}", self.sigma)),
            ("epochs", self.history.len().to_string()),
        ];
        if let (Some(first), Some(last)) = (self.history.first(), self.history.last()) {
            rows.push(("loss", format!("{:.4} → {:.4}", first.total, last.total)));
        }
        rows.push(("seconds", format!("{:.1} ({})", self.seconds(), steps.join(", "))));
        rows.push(("peak memory", format!("{:.0} MB", self.peak_memory_mb)));
        rows.push(("seed", self.seed.to_string()));
        rows.push(("device", self.device.clone()));
        rows
    }
}

shows_rows!(StamgcFit, |_| "STAMGC", 12);

/// A device's name as [`Device`](crate::nn::Device) writes it.
pub(super) fn name(device: &candle_core::Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".into(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".into(),
    }
}
