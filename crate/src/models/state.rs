//! The state of a training on disk: parameters, the optimizer's moments and what else the course needs, and
//! what the run is, so that another run never goes on from it.

use crate::error::{Error, Result};
use crate::io::write_safetensors;
use crate::nn::{Adam, Store};
use crate::progress::undisturbed;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Tensors by name.
pub(super) type Tensors = HashMap<String, Tensor>;

/// Writes the state, beside an earlier file and in its place. `run` says what is trained on what; names of
/// `course` have no prefix `model.` or `adam.`.
pub(super) fn save(
    path: &Path,
    run: &[u8],
    store: &Store,
    adam: &Adam,
    course: Tensors,
) -> Result<()> {
    let cpu = Device::Cpu;
    let mut tensors = course;
    for (name, var) in store.iter() {
        tensors.insert(format!("model.{name}"), var.as_detached_tensor());
    }
    let (steps, moments) = adam.state()?;
    tensors.extend(moments.into_iter().map(|(name, t)| (format!("adam.{name}"), t)));
    tensors.insert("steps".into(), Tensor::new(steps as i64, &cpu)?);
    tensors.insert("run".into(), Tensor::new(run, &cpu)?);
    // Also when an interrupt is why it is written.
    undisturbed(|| write_safetensors(path, &tensors, &BTreeMap::new()))
}

/// Brings a training into the state of a file and returns its course; `None` when there is no such file.
///
/// # Errors
/// [`Error::Format`] when the file is something else, or the state of another run.
pub(super) fn load<'a>(
    path: &'a Path,
    run: &[u8],
    store: &Store,
    adam: &mut Adam,
) -> Result<Option<Course<'a>>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
    drop(bytes);
    let mut course = Course { path, tensors: tensors.map_err(|e| bad(path, e))? };
    let (steps, of) = (course.take("steps")?, course.take("run")?);
    if of.to_vec1::<u8>().map_err(|e| bad(path, e))? != run {
        let reason = "is the state of another run: other data, features or settings";
        return Err(Error::format(path, reason).with_hint("Give another file, or remove this one"));
    }
    let steps = steps.to_scalar::<i64>().map_err(|e| bad(path, e))?;
    let steps = usize::try_from(steps).map_err(|e| bad(path, e))?;
    store.load_tensors(&course.part("model."))?;
    adam.load_state(steps, &course.part("adam."))?;
    Ok(Some(course))
}

/// What a file says of the course of a training.
pub(super) struct Course<'a> {
    path: &'a Path,
    tensors: Tensors,
}

impl Course<'_> {
    fn take(&mut self, name: &str) -> Result<Tensor> {
        self.tensors.remove(name).ok_or_else(|| bad(self.path, format!("no `{name}`")))
    }

    /// A row of numbers.
    pub fn numbers(&mut self, name: &str) -> Result<Vec<f64>> {
        self.take(name)?.to_vec1::<f64>().map_err(|e| bad(self.path, e))
    }

    /// The tensors whose names begin so, under the rest of their names.
    pub fn part(&self, prefix: &str) -> Tensors {
        let named = |(name, t): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_string(), t.clone()))
        };
        self.tensors.iter().filter_map(named).collect()
    }
}

fn bad(path: &Path, e: impl std::fmt::Display) -> Error {
    Error::format(path, format!("not the state of a training ({e})"))
}
