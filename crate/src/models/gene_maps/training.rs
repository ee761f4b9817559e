//! The training of one network: epoch by epoch, its state on disk, and where some spots are kept from it
//! until the epoch that predicts these best.

use super::super::state::State;
use super::checkpoint;
use super::chunks::Chunk;
use super::run::Learner;
use crate::error::Result;
use crate::nn::{Store, to_array};
use crate::progress::Progress;
use candle_core::Tensor;
use std::collections::HashMap;

/// What a network learns from.
pub(super) struct Lesson {
    pub chunks: Vec<Chunk>,
    /// Spots that do not train: they say which epoch's network is kept.
    pub unseen: Vec<Chunk>,
}

/// What a training went through.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    /// The mean squared error of each epoch, before each step.
    pub losses: Vec<f64>,
    /// That of the unseen spots before the first epoch and behind each; none without such spots.
    pub unseen: Vec<f64>,
    /// The parameters that predicted unseen spots best so far.
    pub best: HashMap<String, Tensor>,
}

/// Epochs without a better prediction of unseen spots after which training ends.
const PATIENCE: usize = 25;

impl Course {
    /// The epochs behind the network that is kept.
    pub fn kept(&self) -> usize {
        let best = |a: usize, b: usize| if self.unseen[b] < self.unseen[a] { b } else { a };
        (0..self.unseen.len()).reduce(best).unwrap_or(self.losses.len())
    }

    fn is_over(&self, epochs: usize) -> bool {
        self.losses.len() >= epochs || self.losses.len() - self.kept() >= PATIENCE
    }

    /// Judges the network behind the epochs so far.
    fn judge(&mut self, learner: &impl Learner, unseen: &[Chunk]) -> Result<()> {
        if unseen.is_empty() {
            return Ok(());
        }
        self.unseen.push(error(learner, unseen)?);
        if self.kept() + 1 == self.unseen.len() {
            self.best = copy(learner.store())?;
        }
        Ok(())
    }
}

/// Trains for `epochs`, or until unseen spots are no longer predicted better; then the learner is the
/// network that is kept.
pub(super) fn train<L: Learner>(
    learner: &mut L,
    lesson: &Lesson,
    epochs: usize,
    state: Option<&State>,
    bar: &mut Progress,
) -> Result<Course> {
    let mut course = match state {
        Some(state) => checkpoint::load(state, learner)?,
        None => Course::default(),
    };
    bar.tick(course.losses.len().min(epochs) as u64)?;
    if course.losses.is_empty() {
        course = Course::default();
        course.judge(learner, &lesson.unseen)?;
    }
    let spots: usize = lesson.chunks.iter().map(|chunk| chunk.centers.len()).sum();
    while !course.is_over(epochs) {
        let mut sum = 0.0;
        for chunk in &lesson.chunks {
            sum += learner.step(chunk)? * chunk.centers.len() as f64;
        }
        course.losses.push(sum / spots as f64);
        course.judge(learner, &lesson.unseen)?;
        bar.metric("loss", sum / spots as f64);
        let done = course.losses.len();
        if let Some(state) = state
            && (course.is_over(epochs) || done.is_multiple_of(state.every))
        {
            checkpoint::save(state, learner, &course)?;
        }
        bar.tick(1)?;
    }
    bar.tick(epochs.saturating_sub(course.losses.len()) as u64)?;
    if !course.best.is_empty() {
        learner.store().load_tensors(&std::mem::take(&mut course.best))?;
    }
    Ok(course)
}

/// The mean squared error of predictions.
fn error(learner: &impl Learner, chunks: &[Chunk]) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for chunk in chunks {
        let (made, target) = (learner.predict(chunk)?.genes, to_array(chunk.target()?)?);
        sum += (&made - &target).iter().map(|d| f64::from(*d).powi(2)).sum::<f64>();
        count += made.len();
    }
    Ok(sum / count as f64)
}

/// The parameters as they are now, whatever a later step does to them.
fn copy(store: &Store) -> Result<HashMap<String, Tensor>> {
    store
        .iter()
        .map(|(name, var)| Ok((name.to_string(), var.as_tensor().copy()?.detach())))
        .collect()
}
