//! What a run of STAMGC returns beside what it wrote.

use super::fit::components;
use super::losses::EpochLoss;
use crate::anndata::Frame;
use crate::error::{Error, Result};
use crate::io::write_safetensors;
use crate::nn::Adjacency;
use crate::notebook::shows_rows;
use crate::tl::{self, KMeans, Mclust};
use candle_core::{Device, Tensor};
use indexmap::IndexMap;
use ndarray::{Array2, ArrayD};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
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
    pub(super) fused: Array2<f32>,
    /// Smoothed and reconstructed, where they are kept.
    pub(super) expression: Option<[Array2<f32>; 2]>,
    pub(super) weights: IndexMap<String, ArrayD<f32>>,
    pub(super) genes: Vec<String>,
    pub(super) sigma: f64,
    pub(super) graph: Arc<Adjacency>,
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

    /// What the perceptrons make of the embedding, spots × `out`.
    pub fn fused(&self) -> &Array2<f32> {
        &self.fused
    }

    /// The network's parameters under the names of the published code.
    pub fn weights(&self) -> &IndexMap<String, ArrayD<f32>> {
        &self.weights
    }

    /// Writes the network's parameters into a safetensors file, for [`Stamgc::weights`](super::Stamgc::weights).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) when it cannot be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensor = |(name, values): (&String, &ArrayD<f32>)| -> Result<_> {
            let flat: Vec<f32> = values.iter().copied().collect();
            Ok((name.clone(), Tensor::from_vec(flat, values.shape(), &Device::Cpu)?))
        };
        let tensors: IndexMap<String, Tensor> =
            self.weights.iter().map(tensor).collect::<Result<_>>()?;
        write_safetensors(path, &tensors, &BTreeMap::new())
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

    /// The graph that was trained on, of the spots used.
    pub fn graph(&self) -> &Adjacency {
        &self.graph
    }

    /// Its edges.
    pub fn n_edges(&self) -> usize {
        self.graph.n_edges() / 2
    }

    /// Edges that pruning took from it.
    pub fn n_pruned(&self) -> usize {
        self.n_pruned
    }

    /// How well the embedding falls into so many domains, to choose their number by: `n_domains`, `silhouette`,
    /// `davies_bouldin`, `calinski_harabasz` of k-means, and `bic` of a mixture of Gaussians (mclust's EEE, larger
    /// is better; NaN where it degenerates). Ours, not published.
    ///
    /// The training knew one number of domains, that of its pseudo labels; train again with the one chosen.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) when the range is empty, begins below 2 or does not end
    /// below the number of spots.
    pub fn domain_scores(&self, range: RangeInclusive<usize>) -> Result<Frame> {
        let (first, last) = (*range.start(), *range.end());
        if first < 2 || last < first || last >= self.used.len() {
            let reason = format!("must rise within 2 and {}", self.used.len() - 1);
            return Err(Error::parameter("range", format!("{first}..={last}"), reason));
        }
        let scores = components(self.z.view(), self.seed)?;
        let mixtures =
            tl::mclust_bic(scores.view(), range.clone(), Mclust::new(first).seed(self.seed))?;
        let mut columns = [vec![], vec![], vec![]];
        for k in range {
            let labels = KMeans::new(k).seed(self.seed).fit(scores.view())?.labels;
            let z = self.z.view();
            columns[0].push(tl::silhouette(z, &labels)?);
            columns[1].push(tl::davies_bouldin(z, &labels)?);
            columns[2].push(tl::calinski_harabasz(z, &labels)?);
        }
        let mut table = Frame::with_len(columns[0].len());
        table.insert("n_domains", (first..=last).map(|k| k as i64).collect::<Vec<_>>())?;
        for (name, column) in
            ["silhouette", "davies_bouldin", "calinski_harabasz"].into_iter().zip(columns)
        {
            table.insert(name, column)?;
        }
        if let Some(bic) = mixtures.get("bic") {
            table.insert("bic", bic.clone())?;
        }
        Ok(table)
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
            ("edges", format!("{} ({} pruned)", self.n_edges(), self.n_pruned)),
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
