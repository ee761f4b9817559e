//! A run from slide to gene map, whatever the network.

use super::super::encoder::Histology;
use super::super::state::{State, load_weights};
use super::blend::blend;
use super::chunks::Chunk;
use super::expression::Expression;
use super::grid;
use super::plan::{Plan, members};
use super::result::GeneMapFit;
use super::settings::Settings;
use super::training::{Lesson, train};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::nn::{Adam, Store};
use crate::progress::Progress;
use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A network in training.
pub(crate) trait Learner {
    /// Whether what a step does depends on the number of epochs.
    const SCHEDULED: bool;
    /// One step on a chunk; returns the loss before it.
    fn step(&mut self, chunk: &Chunk) -> Result<f64>;
    /// What the network makes of a chunk.
    fn predict(&self, chunk: &Chunk) -> Result<Predicted>;
    /// What the network is, for a training that goes on from a file.
    fn describe(&self) -> String;
    /// Whether published weights hold a tensor of this name that the network has no use for.
    fn is_unused(&self, name: &str) -> bool;
    /// The parameters.
    fn store(&self) -> &Store;
    /// The optimizer.
    fn adam(&self) -> &Adam;
    /// The optimizer, to go on from a saved state.
    fn adam_mut(&mut self) -> &mut Adam;
}

/// What a network makes of spots.
pub(crate) struct Predicted {
    /// Spots × genes.
    pub genes: Array2<f32>,
    /// Spots × width.
    pub hidden: Array2<f32>,
    /// Spots × scales, of a network that attends to scales.
    pub attention: Option<Array2<f32>>,
}

impl Predicted {
    fn join(parts: Vec<Predicted>) -> Result<Predicted> {
        let stack = |of: &dyn Fn(&Predicted) -> Option<ArrayView2<f32>>| {
            let views: Option<Vec<_>> = parts.iter().map(of).collect();
            views.filter(|v| !v.is_empty()).map(|v| concatenate(Axis(0), &v)).transpose()
        };
        let failed = |e: ndarray::ShapeError| Error::data("predictions", e.to_string());
        Ok(Predicted {
            genes: stack(&|p| Some(p.genes.view())).map_err(failed)?.unwrap_or_default(),
            hidden: stack(&|p| Some(p.hidden.view())).map_err(failed)?.unwrap_or_default(),
            attention: stack(&|p| p.attention.as_ref().map(|a| a.view())).map_err(failed)?,
        })
    }

    /// What several networks make of the same spots: the mean of what they say, and side by side what
    /// they have no common measure for, their hidden layers.
    fn mean(parts: Vec<Predicted>) -> Result<Predicted> {
        let share = 1.0 / parts.len() as f32;
        let hidden: Vec<_> = parts.iter().map(|p| p.hidden.view()).collect();
        let hidden = concatenate(Axis(1), &hidden)
            .map_err(|e| Error::data("hidden layers", e.to_string()))?;
        let sum = |a: Array2<f32>, b: Array2<f32>| a + b;
        let attention = parts.iter().filter_map(|p| p.attention.clone()).reduce(sum);
        let genes = parts.into_iter().map(|p| p.genes).reduce(sum).unwrap_or_default();
        Ok(Predicted { genes: genes * share, hidden, attention: attention.map(|a| a * share) })
    }
}

/// What a network is made for.
pub(crate) struct Sizes {
    /// Numbers of a feature.
    pub features: usize,
    pub genes: usize,
    /// Steps of an epoch.
    pub steps: usize,
    pub seed: u64,
}

/// Trains and predicts.
pub(crate) fn run<L: Learner>(
    method: &'static str,
    settings: &Settings,
    adata: &AnnData,
    histology: &Histology,
    learner: impl Fn(Sizes, &candle_core::Device) -> Result<L>,
) -> Result<GeneMapFit> {
    settings.check()?;
    let device = settings.device.open()?;
    let start = Instant::now();
    let centers = grid::centers(adata)?;
    let pixels = adata.spatial()?;
    let pixels = pixels.slice(ndarray::s![.., ..2]);
    let plan = Plan::new(settings, &centers, pixels)?;
    let expression = Expression::of(adata, settings.n_top_genes)?;

    // A spot's features are those of the point that it is.
    let features = features(settings, histology, plan.points.pixels.view())?;
    let spot_rows = features.select(Axis(0), &plan.training);
    let spot_centers: Vec<[f64; 2]> = plan.training.iter().map(|&i| centers[i]).collect();
    let target = expression.values.select(Axis(0), &plan.training);
    let encoded = start.elapsed().as_secs_f64();

    let cut = |some: &[usize]| {
        let centers: Vec<[f64; 2]> = some.iter().map(|&i| spot_centers[i]).collect();
        let (rows, target) = (spot_rows.select(Axis(0), some), target.select(Axis(0), some));
        Chunk::all(rows.view(), &centers, Some(target.view()), settings.chunk, &device)
    };
    let all = Chunk::all(features.view(), &plan.points.centers, None, settings.chunk, &device)?;
    let members = members(plan.training.len(), settings.folds, settings.seed)?;
    let mut bar = Progress::new(method, (settings.epochs * members.len()) as u64);
    let mut courses = Vec::new();
    let mut predicted = Vec::new();
    let mut unseen = Array2::zeros(target.dim());
    let mut training = 0.0;
    for (k, member) in members.iter().enumerate() {
        let begin = Instant::now();
        let lesson = Lesson { chunks: cut(&member.training)?, unseen: cut(&member.unseen)? };
        let sizes = Sizes {
            features: features.dim().2,
            genes: expression.genes.len(),
            steps: lesson.chunks.len(),
            seed: settings.seed.wrapping_add(k as u64),
        };
        let mut learner = learner(sizes, &device)?;
        if let Some(path) = &settings.weights {
            load_weights(learner.store(), path, |name| learner.is_unused(name))?;
        }
        let state = settings.checkpoint.as_ref().map(|path| {
            let what = format!("{method} {k} {}", learner.describe());
            let epochs = if L::SCHEDULED { settings.epochs } else { 0 };
            let mut hash = Sha256::new();
            hash.update(identity(&what, epochs, settings, histology));
            spot_centers.iter().flatten().for_each(|v| hash.update(v.to_le_bytes()));
            spot_rows.iter().chain(&target).for_each(|v| hash.update(v.to_le_bytes()));
            let identity = hash.finalize().into();
            State { path: beside(path, k), every: settings.checkpoint_every, identity }
        });
        let epochs = settings.epochs;
        courses.push(train(&mut learner, &lesson, epochs, state.as_ref(), &mut bar)?);
        training += begin.elapsed().as_secs_f64();
        let predict = |chunks: &[Chunk]| -> Result<Predicted> {
            Predicted::join(
                chunks.iter().map(|chunk| learner.predict(chunk)).collect::<Result<_>>()?,
            )
        };
        let genes = predict(&lesson.unseen)?.genes;
        for (&i, row) in member.unseen.iter().zip(genes.rows()) {
            unseen.row_mut(i).assign(&row);
        }
        predicted.push(predict(&all)?);
    }
    bar.finish();
    let mut predicted = Predicted::mean(predicted)?;
    let weights = match settings.with_interpolation {
        true => Some(blend(&mut predicted.genes, &unseen, target.view(), &plan, pixels)?),
        false => None,
    };
    let seconds = [encoded, training, start.elapsed().as_secs_f64() - encoded - training];
    GeneMapFit::new(
        method,
        settings,
        adata,
        plan.points,
        plan.training,
        expression,
        predicted,
        courses,
        weights,
        seconds,
    )
}

/// The file of the `k`-th network: `path`, and then `state-1.safetensors`, ….
fn beside(path: &Path, k: usize) -> PathBuf {
    if k == 0 {
        return path.to_owned();
    }
    let part = |s: Option<&std::ffi::OsStr>| s.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, end) = (part(path.file_stem()), part(path.extension()));
    let dot = if end.is_empty() { "" } else { "." };
    path.with_file_name(format!("{stem}-{k}{dot}{end}"))
}

/// Points × scales × width.
fn features(
    settings: &Settings,
    histology: &Histology,
    pixels: ArrayView2<f64>,
) -> Result<Array3<f32>> {
    let width = histology.encoder().width();
    let channels = settings.channels.unwrap_or_else(|| histology.encoder().published_channels());
    let mut all = Array3::zeros((pixels.nrows(), settings.patches.len(), width));
    for (k, &size) in settings.patches.iter().enumerate() {
        let features = histology.features(pixels, size, channels)?;
        if features.iter().any(|v| !v.is_finite()) {
            let reason = format!("holds features that are no numbers, of patches of {size} pixels");
            return Err(Error::data(histology.encoder().name(), reason));
        }
        all.index_axis_mut(Axis(1), k).assign(&features);
    }
    Ok(all)
}

/// What makes a run this one beside its data: `what` it trains and all settings that its result depends
/// on.
fn identity(what: &str, epochs: usize, settings: &Settings, histology: &Histology) -> String {
    // The device may change, and epochs be added where they are all alike.
    let of = Settings {
        epochs,
        checkpoint: None,
        checkpoint_every: 1,
        device: crate::nn::Device::Auto,
        ..settings.clone()
    };
    format!("{what} {of:?} {}", histology.encoder().fingerprint())
}
