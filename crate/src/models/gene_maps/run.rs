//! A run from slide to gene map, whatever the network.

use super::super::encoder::Histology;
use super::chunks::Chunk;
use super::expression::Expression;
use super::grid::{self, Dense, Grid};
use super::result::GeneMapFit;
use super::settings::{Settings, Task};
use super::{checkpoint, chunk_sizes};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::io::read_checkpoint;
use crate::nn::{Adam, Store};
use crate::progress::Progress;
use crate::rng::Rng;
use ndarray::{Array2, Array3, ArrayView2, Axis, concatenate};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::Instant;

/// A network in training.
pub(crate) trait Learner {
    /// Whether what a step does depends on the number of epochs.
    const SCHEDULED: bool;
    /// One step on a chunk; returns the loss before it.
    fn step(&mut self, chunk: &Chunk) -> Result<f64>;
    /// What the network makes of a chunk.
    fn predict(&self, chunk: &Chunk) -> Result<Predicted>;
    /// Whether published weights hold a tensor of this name that the network has no use for.
    fn is_unused(name: &str) -> bool;
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
}

/// What the spots and points of a run are.
struct Plan {
    /// The spots that train, rising.
    training: Vec<usize>,
    /// What is predicted.
    points: Dense,
}

impl Plan {
    fn new(settings: &Settings, centers: &[[f64; 2]], pixels: ArrayView2<f64>) -> Result<Plan> {
        let n = centers.len();
        match settings.task {
            Task::Recovery { train } => {
                let count = ((n as f64 * train) as usize).min(n);
                if count == 0 {
                    let reason = format!("leaves none of {n} spots to train on");
                    return Err(Error::parameter("train", train, reason));
                }
                let mut order: Vec<usize> = (0..n).collect();
                Rng::stream(settings.seed, "recovery").shuffle(&mut order);
                order.truncate(count);
                order.sort_unstable();
                let points = Dense {
                    centers: centers.to_vec(),
                    pixels: pixels.to_owned(),
                    source: (0..n).collect(),
                    is_spot: vec![true; n],
                };
                Ok(Plan { training: order, points })
            }
            Task::Generation { factor, grid, published_pixels } => {
                let points = if published_pixels {
                    Dense::published_pixels(centers, pixels, factor)?
                } else {
                    let grid = grid.unwrap_or_else(|| Grid::detect(centers));
                    Dense::new(centers, pixels, grid, factor)?
                };
                Ok(Plan { training: (0..n).collect(), points })
            }
        }
    }
}

/// Trains and predicts; `learner` makes the network for (numbers of a feature, genes, steps of an epoch).
pub(crate) fn run<L: Learner>(
    method: &'static str,
    settings: &Settings,
    adata: &AnnData,
    histology: &Histology,
    learner: impl FnOnce(usize, usize, usize, &candle_core::Device) -> Result<L>,
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

    let steps = chunk_sizes(plan.training.len(), settings.chunk).len();
    let mut learner = learner(features.dim().2, expression.genes.len(), steps, &device)?;
    if let Some(path) = &settings.weights {
        load_weights(learner.store(), path, L::is_unused)?;
    }
    // The file of the state, and what makes this run this one.
    let state = settings.checkpoint.as_ref().map(|path| {
        let epochs = if L::SCHEDULED { settings.epochs } else { 0 };
        let (features, target) = (spot_rows.view(), target.view());
        (path, identity(method, epochs, settings, histology, features, target))
    });
    let mut losses = match &state {
        Some((path, identity)) => checkpoint::load(path, identity, &mut learner)?,
        None => Vec::new(),
    };
    let chunks =
        Chunk::all(spot_rows.view(), &spot_centers, Some(target.view()), settings.chunk, &device)?;
    let mut bar = Progress::new(method, settings.epochs as u64);
    bar.tick(losses.len().min(settings.epochs) as u64)?;
    for epoch in losses.len()..settings.epochs {
        let mut sum = 0.0;
        for chunk in &chunks {
            sum += learner.step(chunk)? * chunk.centers.len() as f64;
        }
        losses.push(sum / spot_centers.len() as f64);
        bar.metric("loss", losses[epoch]);
        let last = epoch + 1 == settings.epochs;
        if let Some((path, identity)) = &state
            && (last || (epoch + 1).is_multiple_of(settings.checkpoint_every))
        {
            checkpoint::save(path, identity, &learner, &losses)?;
        }
        bar.tick(1)?;
    }
    bar.finish();
    drop(chunks);
    let trained = start.elapsed().as_secs_f64();

    let chunks = Chunk::all(features.view(), &plan.points.centers, None, settings.chunk, &device)?;
    let predicted = chunks.iter().map(|chunk| learner.predict(chunk)).collect::<Result<_>>()?;
    let predicted = Predicted::join(predicted)?;
    let seconds = [encoded, trained - encoded, start.elapsed().as_secs_f64() - trained];
    GeneMapFit::new(
        method,
        settings,
        adata,
        plan.points,
        plan.training,
        expression,
        predicted,
        losses,
        seconds,
    )
}

/// Sets every parameter of `store` from a file of weights.
fn load_weights(store: &Store, path: &Path, is_unused: impl Fn(&str) -> bool) -> Result<()> {
    let expected = store.iter().map(|(name, var)| (name, var.dims().to_vec()));
    let tensors = read_checkpoint(path)?.state_dict()?.without(is_unused);
    store.load_tensors(&tensors.into_exactly(&expected.collect::<Vec<_>>())?)
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

/// What makes a run this one: the method, all that its result depends on, and nothing else.
fn identity(
    method: &str,
    epochs: usize,
    settings: &Settings,
    histology: &Histology,
    features: ndarray::ArrayView3<f32>,
    target: ArrayView2<f32>,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    // The device may change, and epochs be added where they are all alike.
    let of = Settings {
        epochs,
        checkpoint: None,
        checkpoint_every: 1,
        device: crate::nn::Device::Auto,
        ..settings.clone()
    };
    hash.update(format!("{method} {of:?} {}", histology.encoder().fingerprint()));
    features.iter().chain(target.iter()).for_each(|v| hash.update(v.to_le_bytes()));
    hash.finalize().into()
}
