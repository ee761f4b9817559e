//! The state of a training on disk: parameters, the optimizer's moments and what else the course needs, and
//! what the run is, so that another run never goes on from it; and weights to begin with.

use crate::error::{Error, Result};
use crate::io::{read_checkpoint, write_safetensors};
use crate::nn::{Adam, Store};
use crate::progress::undisturbed;
use candle_core::{Device, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Tensors by name.
pub(super) type Tensors = HashMap<String, Tensor>;

/// Where the state of a training is written.
pub(super) struct State {
    pub path: PathBuf,
    /// Epochs between two writes.
    pub every: usize,
    /// What makes the training this one.
    pub identity: [u8; 32],
}

impl State {
    /// Writes the state, beside an earlier file and in its place. Names of `course` have no prefix `model.` or
    /// `adam.`.
    pub fn save(&self, store: &Store, adam: &Adam, course: Tensors) -> Result<()> {
        let cpu = Device::Cpu;
        let mut tensors = course;
        for (name, var) in store.iter() {
            tensors.insert(format!("model.{name}"), var.as_detached_tensor());
        }
        let (steps, moments) = adam.state()?;
        tensors.extend(moments.into_iter().map(|(name, t)| (format!("adam.{name}"), t)));
        tensors.insert("steps".into(), Tensor::new(steps as i64, &cpu)?);
        tensors.insert("run".into(), Tensor::new(self.identity.as_slice(), &cpu)?);
        // Also when an interrupt is why it is written.
        undisturbed(|| write_safetensors(&self.path, &tensors, &BTreeMap::new()))
    }

    /// Brings a training into the state of the file and returns its course; `None` when there is no file.
    ///
    /// # Errors
    /// [`Error::Format`] when the file is something else, or the state of another run.
    pub fn load(&self, store: &Store, adam: &mut Adam) -> Result<Option<Course<'_>>> {
        let path = self.path.as_path();
        if !path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu);
        drop(bytes);
        let mut course = Course { path, tensors: tensors.map_err(|e| bad(path, e))? };
        let (steps, of) = (course.take("steps")?, course.take("run")?);
        if of.to_vec1::<u8>().map_err(|e| bad(path, e))? != self.identity {
            let reason = "is the state of another run: other data, features or settings";
            let hint = "Give another file, or remove this one";
            return Err(Error::format(path, reason).with_hint(hint));
        }
        let steps = steps.to_scalar::<i64>().map_err(|e| bad(path, e))?;
        let steps = usize::try_from(steps).map_err(|e| bad(path, e))?;
        store.load_tensors(&course.part("model."))?;
        adam.load_state(steps, &course.part("adam."))?;
        Ok(Some(course))
    }
}

/// Sets every parameter from a file of weights, in which what `unused` names may stand beside.
pub(super) fn load_weights(
    store: &Store,
    path: &Path,
    unused: impl Fn(&str) -> bool,
) -> Result<()> {
    let expected = store.iter().map(|(name, var)| (name, var.dims().to_vec()));
    let tensors = read_checkpoint(path)?.state_dict()?.without(unused);
    store.load_tensors(&tensors.into_exactly(&expected.collect::<Vec<_>>())?)
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
