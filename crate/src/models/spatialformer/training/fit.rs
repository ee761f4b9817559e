//! [`Train`]: a whole training on slides, with pairs kept back to judge it by.

use super::super::config::SpatialFormerConfig;
use super::super::network::SpatialFormer;
use super::super::sequences::Sequences;
use super::super::vocabulary::Vocabulary;
use super::batch::TrainingBatch;
use super::neighbours::{CellPair, PairRule};
use super::slide::TrainingSlide;
use super::trainer::{Schedule, Start, StepLoss, Trained, Trainer};
use crate::error::{Error, Result};
use crate::io::write_safetensors;
use crate::notebook::shows_rows;
use crate::progress::Progress;
use crate::rng::{Rng, hash};
use crate::tl::roc_auc;
use candle_core::Tensor;
use ndarray::Array2;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A training of a [`SpatialFormer`] on pairs of cells. A builder; the defaults are the published ones
/// but for the number of batches.
#[derive(Debug, Clone)]
pub struct Train {
    config: SpatialFormerConfig,
    start: Option<SpatialFormer>,
    schedule: Schedule,
    trained: Trained,
    rule: PairRule,
    spatial: Option<Array2<f32>>,
    batches: usize,
    batch_size: usize,
    kept_back: f64,
    seed: u64,
    device: crate::nn::Device,
    checkpoint: Option<(PathBuf, usize)>,
}

impl Train {
    /// A fresh network of this size; the number of tokens becomes the vocabulary's.
    pub fn new(config: SpatialFormerConfig) -> Self {
        Train {
            config,
            start: None,
            schedule: Schedule::default(),
            trained: Trained::All,
            rule: PairRule::default(),
            spatial: None,
            batches: 1000,
            batch_size: 8,
            kept_back: 0.1,
            seed: 0,
            device: crate::nn::Device::default(),
            checkpoint: None,
        }
    }

    /// Goes on from a network.
    pub fn from(model: SpatialFormer) -> Self {
        Train { start: Some(model.clone()), ..Train::new(model.config().clone()) }
    }

    /// What a step depends on beside the data.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Which weights learn. Default: all.
    pub fn trained(mut self, trained: Trained) -> Self {
        self.trained = trained;
        self
    }

    /// Which cells are neighbours, and which others are set beside them.
    pub fn pairs(mut self, rule: PairRule) -> Self {
        self.rule = rule;
        self
    }

    /// The table of where genes lie within cells that a fresh network begins with, tokens × dim, of
    /// [`Sage`](super::Sage). Default: drawn at random.
    pub fn spatial_embedding(mut self, table: Array2<f32>) -> Self {
        self.spatial = Some(table);
        self
    }

    /// Number of batches. Default: 1,000.
    pub fn batches(mut self, batches: usize) -> Self {
        self.batches = batches;
        self
    }

    /// Pairs of neighbours of a batch, each with its others. Default: 8.
    pub fn batch_size(mut self, pairs: usize) -> Self {
        self.batch_size = pairs;
        self
    }

    /// The share of cells of which no pair is trained on: the pairs among them judge the network.
    /// Default: 0.1.
    pub fn kept_back(mut self, share: f64) -> Self {
        self.kept_back = share;
        self
    }

    /// Seed of everything random. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where the network computes. Default: as [`Device`](crate::nn::Device).
    pub fn device(mut self, device: crate::nn::Device) -> Self {
        self.device = device;
        self
    }

    /// Writes the state every so many batches, and goes on from there if the file is that of the same
    /// training: a stopped training ends as one that was not stopped, bit by bit. Default: never.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>, every: usize) -> Self {
        self.checkpoint = Some((path.into(), every));
        self
    }

    /// Trains on slides.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a setting that cannot be, [`Error::Data`] when no two cells are neighbours
    /// or a loss is no number; [`Error::Format`] when the checkpoint is another training's; those of
    /// reading slides and of the device; [`Error::Interrupted`]: with a
    /// [`checkpoint`](Train::checkpoint) the next run goes on.
    pub fn fit(&self, slides: &[TrainingSlide], vocabulary: &Vocabulary) -> Result<TrainFit> {
        let began = Instant::now();
        self.check(slides)?;
        let (train, test) = self.split(slides)?;
        let config = SpatialFormerConfig { tokens: vocabulary.len(), ..self.config.clone() };
        let start = match &self.start {
            Some(model) => {
                Start::From(Box::new(model.clone().with_vocabulary(vocabulary.clone())?))
            }
            None => Start::Fresh(config, self.device.open()?),
        };
        let separator = vocabulary.separator();
        let mut trainer =
            Trainer::new(start, separator, self.trained, self.schedule.clone(), self.seed)?;
        if let Some(table) = self.spatial.as_ref().filter(|_| self.start.is_none()) {
            trainer.set_spatial(table)?;
        }
        // Only a checkpoint asks what makes this training this one.
        let identity = match &self.checkpoint {
            Some(_) => self.identity(slides, vocabulary)?,
            None => Vec::new(),
        };
        let mut history = match &self.checkpoint {
            Some((path, _)) => load(path, &identity, &mut trainer)?,
            None => Vec::new(),
        };
        let mut progress = Progress::new("SpatialFormer training", self.batches as u64);
        progress.tick(history.len() as u64)?;
        while history.len() < self.batches {
            let batch = self.batch(slides, &train, history.len(), separator)?;
            let loss = trainer.learn(&batch)?;
            history.push(loss);
            for (name, value) in
                [("hidden", loss.hidden), ("together", loss.together), ("pairs", loss.pairs)]
            {
                if value.is_finite() {
                    progress.metric(name, value);
                }
            }
            if let Some((path, every)) = &self.checkpoint
                && (history.len().is_multiple_of(*every) || history.len() == self.batches)
            {
                save(path, &identity, &trainer, &history)?;
            }
            progress.tick(1)?;
        }
        progress.finish();
        let model = trainer.finished()?.with_vocabulary(vocabulary.clone())?;
        let auroc = match test.is_empty() {
            true => f64::NAN,
            false => pair_auroc(&model, slides, &test, separator)?,
        };
        let seconds = began.elapsed().as_secs_f64();
        Ok(TrainFit { model, history, auroc, judged: test.len(), seconds })
    }

    fn check(&self, slides: &[TrainingSlide]) -> Result<()> {
        if slides.iter().all(TrainingSlide::is_empty) {
            return Err(Error::data("slides", "there is no cell to train on"));
        }
        let every = self.checkpoint.as_ref().map_or(1, |c| c.1);
        check(self.kept_back, [("batch_size", self.batch_size), ("checkpoint", every)])
    }

    /// Pairs to train on, in groups of one pair of neighbours and its others, and pairs to judge by.
    fn split(&self, slides: &[TrainingSlide]) -> Result<(Vec<Vec<SlidePair>>, Vec<SlidePair>)> {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (i, slide) in slides.iter().enumerate() {
            if slide.is_empty() {
                continue;
            }
            let seed = crate::rng::at(self.seed ^ hash("pairs"), i as u64);
            let mut rng = Rng::new(crate::rng::at(self.seed ^ hash("kept back"), i as u64));
            let back: Vec<bool> =
                (0..slide.len()).map(|_| rng.uniform() < self.kept_back).collect();
            // A group that has a cell of the other side loses that pair.
            for group in grouped(self.rule.pairs(slide.places.view(), seed)?) {
                let side = |judged: bool| -> Vec<SlidePair> {
                    let of = |p: &&CellPair| {
                        back[p.anchor as usize] == judged && back[p.other as usize] == judged
                    };
                    group.iter().filter(of).map(|&pair| SlidePair { slide: i, pair }).collect()
                };
                let learnt = side(false);
                if learnt.first().is_some_and(|p| p.pair.neighbours) {
                    train.push(learnt);
                }
                test.extend(side(true));
            }
        }
        if train.is_empty() {
            let reason = "no pair of neighbours is left to train on; keep fewer cells back";
            return Err(Error::data("slides", reason));
        }
        Rng::new(self.seed ^ hash("order")).shuffle(&mut train);
        Ok((train, balanced(test, self.seed)))
    }

    /// The batch of this number: the groups in order, again and again.
    fn batch(
        &self,
        slides: &[TrainingSlide],
        groups: &[Vec<SlidePair>],
        number: usize,
        separator: u32,
    ) -> Result<TrainingBatch> {
        let mut batch = TrainingBatch::default();
        let first = number * self.batch_size;
        for group in (first..first + self.batch_size).map(|i| &groups[i % groups.len()]) {
            for p in group {
                let slide = &slides[p.slide];
                let anchor = slide.cell(p.pair.anchor as usize)?;
                let other = slide.cell(p.pair.other as usize)?;
                let origins = [slide.origin; 2];
                batch.push_pair(origins, [&anchor, &other], separator, p.pair.neighbours);
            }
        }
        Ok(batch)
    }

    /// What makes this training this one.
    fn identity(&self, slides: &[TrainingSlide], vocabulary: &Vocabulary) -> Result<Vec<u8>> {
        let mut hash = Sha256::new();
        let start = self.start.as_ref().map(SpatialFormer::fingerprint).transpose()?;
        let Train { config, schedule, trained, rule, batch_size, kept_back, seed, .. } = self;
        hash.update(format!(
            "{config:?} {start:?} {schedule:?} {trained:?} {rule:?} {batch_size} {kept_back} {seed}"
        ));
        for x in self.spatial.iter().flatten() {
            hash.update(x.to_le_bytes());
        }
        for name in vocabulary.names() {
            hash.update(name.as_bytes());
            hash.update([0]);
        }
        for slide in slides {
            hash.update(format!("{:?}", slide.origin));
            for x in &slide.places {
                hash.update(x.to_le_bytes());
            }
        }
        Ok(hash.finalize().to_vec())
    }
}

/// Whether a share can be kept back, and whether numbers, by their names, are at least 1.
pub(super) fn check(kept_back: f64, numbers: [(&'static str, usize); 2]) -> Result<()> {
    if !(0.0..1.0).contains(&kept_back) {
        let reason = "must be a share from 0 to below 1";
        return Err(Error::parameter("kept_back", kept_back, reason));
    }
    match numbers.into_iter().find(|(_, n)| *n == 0) {
        Some((name, n)) => Err(Error::parameter(name, n, "must be at least 1")),
        None => Ok(()),
    }
}

/// A pair of a slide.
#[derive(Debug, Clone, Copy)]
struct SlidePair {
    slide: usize,
    pair: CellPair,
}

/// Each pair of neighbours with the others that follow it.
fn grouped(pairs: Vec<CellPair>) -> Vec<Vec<CellPair>> {
    let mut groups: Vec<Vec<CellPair>> = Vec::new();
    for pair in pairs {
        match groups.last_mut() {
            Some(group) if !pair.neighbours => group.push(pair),
            _ => groups.push(vec![pair]),
        }
    }
    groups
}

/// As many neighbours as others, at most 2,000 of each.
fn balanced(pairs: Vec<SlidePair>, seed: u64) -> Vec<SlidePair> {
    let (mut yes, mut no): (Vec<SlidePair>, Vec<SlidePair>) =
        pairs.into_iter().partition(|p| p.pair.neighbours);
    let mut rng = Rng::new(seed ^ hash("judged"));
    rng.shuffle(&mut yes);
    rng.shuffle(&mut no);
    let n = yes.len().min(no.len()).min(2000);
    yes.truncate(n);
    no.truncate(n);
    yes.extend(no);
    yes
}

/// How often a pair of neighbours is more likely to be one than a pair of others.
fn pair_auroc(
    model: &SpatialFormer,
    slides: &[TrainingSlide],
    pairs: &[SlidePair],
    separator: u32,
) -> Result<f64> {
    let (mut truth, mut scores) = (Vec::new(), Vec::new());
    for some in pairs.chunks(64) {
        let mut batch = Sequences::default();
        for p in some {
            let slide = &slides[p.slide];
            let anchor = slide.cell(p.pair.anchor as usize)?;
            let other = slide.cell(p.pair.other as usize)?;
            batch.push_pair(slide.origin, [&anchor.genes, &other.genes], separator);
            truth.push(p.pair.neighbours);
        }
        let states = model.first_states(&batch)?;
        let p = model.pair_probabilities(states.view())?;
        scores.extend(p.column(1).iter().map(|&p| f64::from(p)));
    }
    roc_auc(&truth, &scores)
}

/// What a training gave.
#[derive(Debug, Clone)]
pub struct TrainFit {
    /// The network, with its vocabulary.
    pub model: SpatialFormer,
    /// The losses of each batch, before its step.
    pub history: Vec<StepLoss>,
    /// Area under the ROC curve of pairs among cells that were kept back; NaN without such pairs.
    pub auroc: f64,
    /// Number of these pairs.
    pub judged: usize,
    /// Seconds that it took.
    pub seconds: f64,
}

impl TrainFit {
    /// The losses by batch: `total`, `hidden`, `together`, `pairs`.
    pub fn losses(&self) -> Vec<(String, Vec<f64>)> {
        let curve = |f: fn(&StepLoss) -> f64| self.history.iter().map(f).collect();
        vec![
            ("total".into(), curve(|l| l.total)),
            ("hidden".into(), curve(|l| l.hidden)),
            ("together".into(), curve(|l| l.together)),
            ("pairs".into(), curve(|l| l.pairs)),
        ]
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![("batches", self.history.len().to_string())];
        if let (Some(first), Some(last)) = (self.history.first(), self.history.last()) {
            rows.push(("hidden", format!("{:.3} → {:.3}", first.hidden, last.hidden)));
            rows.push(("together", format!("{:.4} → {:.4}", first.together, last.together)));
            rows.push(("pairs", format!("{:.3} → {:.3}", first.pairs, last.pairs)));
        }
        rows.push(("AUROC", format!("{:.3} ({} pairs kept back)", self.auroc, self.judged)));
        rows.push(("seconds", format!("{:.1}", self.seconds)));
        rows
    }
}

shows_rows!(TrainFit, |_| "SpatialFormer training", 10);

/// Writes the state of a training.
fn save(path: &Path, identity: &[u8], trainer: &Trainer, history: &[StepLoss]) -> Result<()> {
    let cpu = candle_core::Device::Cpu;
    let mut tensors = trainer.state()?;
    let losses: Vec<f64> =
        history.iter().flat_map(|l| [l.total, l.hidden, l.together, l.pairs]).collect();
    tensors.insert("losses".into(), Tensor::new(losses.as_slice(), &cpu)?);
    tensors.insert("run".into(), Tensor::new(identity, &cpu)?);
    write_safetensors(path, &tensors, &BTreeMap::new())
}

/// Brings a trainer into the state of a file, if there is one; returns the losses so far.
fn load(path: &Path, identity: &[u8], trainer: &mut Trainer) -> Result<Vec<StepLoss>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bad = |e: String| Error::format(path, format!("not the state of a training ({e})"));
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &candle_core::Device::Cpu)
        .map_err(|e| bad(e.to_string()))?;
    let get = |name: &str| tensors.get(name).ok_or_else(|| bad(format!("no `{name}`")));
    if get("run")?.to_vec1::<u8>().map_err(|e| bad(e.to_string()))? != identity {
        let reason = "is the state of another training: other slides or settings";
        return Err(Error::format(path, reason).with_hint("Give another file, or remove this one"));
    }
    trainer.load_state(&tensors)?;
    let losses = get("losses")?.to_vec1::<f64>().map_err(|e| bad(e.to_string()))?;
    let step =
        |&[total, hidden, together, pairs]: &[f64; 4]| StepLoss { total, hidden, together, pairs };
    Ok(losses.as_chunks::<4>().0.iter().map(step).collect())
}
