//! The state of a training on disk: parameters, the optimizer's moments, the course so far, and what the
//! run is, so that another run never goes on from it.

use super::run::Learner;
use super::training::Course;
use crate::error::{Error, Result};
use crate::io::write_safetensors;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Writes the state, beside an earlier file and in its place.
pub(super) fn save(path: &Path, run: &[u8], learner: &impl Learner, course: &Course) -> Result<()> {
    let cpu = Device::Cpu;
    let mut tensors: HashMap<String, Tensor> = HashMap::new();
    for (name, var) in learner.store().iter() {
        tensors.insert(format!("model.{name}"), var.as_detached_tensor());
    }
    let (steps, moments) = learner.adam().state()?;
    tensors.extend(moments.into_iter().map(|(name, t)| (format!("adam.{name}"), t)));
    tensors.insert("steps".into(), Tensor::new(steps as i64, &cpu)?);
    tensors.extend(course.best.iter().map(|(name, t)| (format!("best.{name}"), t.clone())));
    tensors.insert("losses".into(), Tensor::new(course.losses.as_slice(), &cpu)?);
    tensors.insert("unseen".into(), Tensor::new(course.unseen.as_slice(), &cpu)?);
    tensors.insert("run".into(), Tensor::new(run, &cpu)?);
    write_safetensors(path, &tensors, &BTreeMap::new())
}

/// Brings a learner into the state of a file, if there is one; returns the course so far.
pub(super) fn load(path: &Path, run: &[u8], learner: &mut impl Learner) -> Result<Course> {
    if !path.exists() {
        return Ok(Course::default());
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let bad = |e: String| Error::format(path, format!("not the state of a training ({e})"));
    let mut tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
        .map_err(|e| bad(e.to_string()))?;
    drop(bytes);
    let mut take = |name: &str| tensors.remove(name).ok_or_else(|| bad(format!("no `{name}`")));
    let (steps, of) = (take("steps")?, take("run")?);
    let (losses, unseen) = (take("losses")?, take("unseen")?);
    if of.to_vec1::<u8>().map_err(|e| bad(e.to_string()))? != run {
        let reason = "is the state of another run: other data, features or settings";
        return Err(Error::format(path, reason).with_hint("Give another file, or remove this one"));
    }
    let steps = steps.to_scalar::<i64>().map_err(|e| bad(e.to_string()))?;
    let numbers = |t: Tensor| t.to_vec1::<f64>().map_err(|e| bad(e.to_string()));
    let (losses, unseen) = (numbers(losses)?, numbers(unseen)?);
    let part = |prefix: &str| -> HashMap<String, Tensor> {
        let named = |(name, t): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_string(), t.clone()))
        };
        tensors.iter().filter_map(named).collect()
    };
    let steps = usize::try_from(steps).map_err(|e| bad(e.to_string()))?;
    learner.store().load_tensors(&part("model."))?;
    learner.adam_mut().load_state(steps, &part("adam."))?;
    Ok(Course { losses, unseen, best: part("best.") })
}
