//! The state of a training of gene maps on disk.

use super::super::state::{State, Tensors};
use super::run::Learner;
use super::training::Course;
use crate::error::Result;
use candle_core::{Device, Tensor};

/// Writes the state, beside an earlier file and in its place.
pub(super) fn save(state: &State, learner: &impl Learner, course: &Course) -> Result<()> {
    let best = course.best.iter().map(|(name, t)| (format!("best.{name}"), t.clone()));
    let mut tensors: Tensors = best.collect();
    for (name, numbers) in [("losses", &course.losses), ("unseen", &course.unseen)] {
        tensors.insert(name.into(), Tensor::new(numbers.as_slice(), &Device::Cpu)?);
    }
    state.save(learner.store(), learner.adam(), tensors)
}

/// Brings a learner into the state of a file, if there is one; returns the course so far.
pub(super) fn load(state: &State, learner: &mut impl Learner) -> Result<Course> {
    let store = learner.store().clone();
    let Some(mut course) = state.load(&store, learner.adam_mut())? else {
        return Ok(Course::default());
    };
    let (losses, unseen) = (course.numbers("losses")?, course.numbers("unseen")?);
    Ok(Course { losses, unseen, best: course.part("best.") })
}
