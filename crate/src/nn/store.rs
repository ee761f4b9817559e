//! [`Store`]: the trainable parameters of a model under the names its checkpoints use.

use crate::error::{Error, Result};
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor, Var};
use indexmap::IndexMap;
use ndarray::Array2;
use std::collections::HashMap;
use std::path::Path;

/// Trainable parameters by name, in the order in which they were made.
///
/// Each parameter is drawn from a generator of its own, made of the store's seed and the
/// parameter's name, so that adding a layer does not change the numbers of another.
#[derive(Debug, Clone)]
pub struct Store {
    vars: IndexMap<String, Var>,
    seed: u64,
    dtype: DType,
    device: Device,
}

impl Store {
    /// An empty store whose parameters will be `f32` on `device`.
    pub fn new(seed: u64, device: &Device) -> Self {
        Store::with_dtype(seed, DType::F32, device)
    }

    /// An empty store of another element type (`f64` for reference computations).
    pub fn with_dtype(seed: u64, dtype: DType, device: &Device) -> Self {
        Store { vars: IndexMap::new(), seed, dtype, device: device.clone() }
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The element type of the parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// A parameter drawn uniformly from [-bound, bound).
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device refuses.
    pub fn uniform(&mut self, name: &str, shape: &[usize], bound: f64) -> Result<Tensor> {
        let mut rng = Rng::stream(self.seed, name);
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| rng.uniform_in(-bound, bound) as f32).collect();
        self.insert(name, &Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// A weight `[out, in]` drawn as Glorot and Bengio (2010): uniform within
    /// ±√(6 / (in + out)), as PyTorch Geometric's `GCNConv` does.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device refuses.
    pub fn glorot(&mut self, name: &str, out: usize, inner: usize) -> Result<Tensor> {
        self.uniform(name, &[out, inner], (6.0 / (inner + out) as f64).sqrt())
    }

    /// A parameter of zeros.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device refuses.
    pub fn zeros(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.insert(name, &Tensor::zeros(shape, DType::F32, &Device::Cpu)?)
    }

    /// A parameter of ones.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device refuses.
    pub fn ones(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.insert(name, &Tensor::ones(shape, DType::F32, &Device::Cpu)?)
    }

    /// A parameter drawn from the standard normal distribution, as torch's `Embedding`.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device refuses.
    pub fn normal(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut rng = Rng::stream(self.seed, name);
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
        self.insert(name, &Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// A parameter with given values; replaces one of the same name.
    ///
    /// # Errors
    /// [`Error::Tensor`] when the device refuses.
    pub fn insert(&mut self, name: &str, values: &Tensor) -> Result<Tensor> {
        let values = values.to_dtype(self.dtype)?.to_device(&self.device)?;
        let var = Var::from_tensor(&values)?;
        let tensor = var.as_tensor().clone();
        self.vars.insert(name.to_string(), var);
        Ok(tensor)
    }

    /// The parameters with their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The parameter `name`.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing those there are.
    pub fn get(&self, name: &str) -> Result<&Var> {
        let missing = || Error::missing_key("model", "parameter", name, self.vars.keys());
        self.vars.get(name).ok_or_else(missing)
    }

    /// How many numbers the parameters hold together.
    pub fn count(&self) -> usize {
        self.vars.values().map(|v| v.elem_count()).sum()
    }

    /// Sets every parameter from `values`, which must have exactly the same names and shapes.
    ///
    /// # Errors
    /// [`Error::MissingKey`] for a parameter without values, [`Error::Data`] for values without a
    /// parameter, [`Error::Shape`] when a shape differs. Nothing is changed then.
    pub fn load_tensors(&self, values: &HashMap<String, Tensor>) -> Result<()> {
        let expected = self.vars.iter().map(|(name, var)| (name.as_str(), var.dims()));
        check_weights(values, expected, "is not a parameter of this model")?;
        for (name, var) in &self.vars {
            var.set(&values[name].to_dtype(self.dtype)?.to_device(&self.device)?)?;
        }
        Ok(())
    }

    /// Sets every parameter from a safetensors file.
    ///
    /// # Errors
    /// [`Error::Format`] when it is not such a file, and those of
    /// [`load_tensors`](Store::load_tensors).
    pub fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|e| Error::format(&path, format!("not a safetensors file ({e})")))?;
        self.load_tensors(&tensors)
    }

    /// Writes the parameters into a safetensors file. It is written beside and renamed, so that
    /// an earlier file stays whole if this fails.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let tensors: HashMap<String, Tensor> =
            self.vars.iter().map(|(k, v)| (k.clone(), v.as_detached_tensor())).collect();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let beside =
            tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(io)?;
        candle_core::safetensors::save(&tensors, beside.path())?;
        beside.persist(path).map_err(|e| io(e.error))?;
        Ok(())
    }
}

/// Holds weights against the names and shapes that a model has: all of them and no others.
///
/// # Errors
/// [`Error::Data`] for an extra one, with the reason `extra`; [`Error::MissingKey`], [`Error::Shape`].
pub(crate) fn check_weights<'a>(
    weights: &HashMap<String, Tensor>,
    expected: impl Iterator<Item = (&'a str, &'a [usize])>,
    extra: &str,
) -> Result<()> {
    let expected: IndexMap<&str, &[usize]> = expected.collect();
    if let Some(name) = weights.keys().filter(|k| !expected.contains_key(k.as_str())).min() {
        return Err(Error::data(format!("tensor `{name}`"), extra));
    }
    for (name, shape) in expected {
        let missing = || Error::missing_key("weights", "tensor", name, weights.keys());
        let dims = weights.get(name).ok_or_else(missing)?.dims();
        if dims != shape {
            let (expected, found) = (format!("{shape:?}"), format!("{dims:?}"));
            return Err(Error::shape(format!("tensor `{name}`"), expected, found));
        }
    }
    Ok(())
}

/// A matrix brought back from its device.
pub(crate) fn to_array(t: &Tensor) -> Result<Array2<f32>> {
    let (n, d) = t.dims2()?;
    let values = t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    Array2::from_shape_vec((n, d), values).map_err(|e| Error::data("tensor", e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(seed: u64) -> Store {
        let mut s = Store::new(seed, &Device::Cpu);
        s.glorot("a.weight", 20, 30).unwrap();
        s.zeros("a.bias", &[20]).unwrap();
        s
    }

    fn values(s: &Store, name: &str) -> Vec<f32> {
        s.get(name).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_seed_and_the_name_decide_the_numbers() {
        assert_eq!(values(&store(1), "a.weight"), values(&store(1), "a.weight"));
        assert_ne!(values(&store(1), "a.weight"), values(&store(2), "a.weight"));
        let bound = (6.0f32 / 50.0).sqrt();
        let w = values(&store(1), "a.weight");
        assert!(w.iter().all(|x| x.abs() <= bound) && w.iter().any(|x| x.abs() > 0.95 * bound));
    }

    #[test]
    fn saved_parameters_come_back_and_wrong_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let (a, b) = (store(1), store(2));
        a.save(&path).unwrap();
        b.load(&path).unwrap();
        assert_eq!(values(&a, "a.weight"), values(&b, "a.weight"));

        let mut other = store(3);
        other.zeros("b", &[1]).unwrap();
        let e = other.load(&path).unwrap_err().to_string();
        assert!(e.contains("`b`"), "{e}");
        std::fs::write(&path, b"text").unwrap();
        assert!(matches!(a.load(&path), Err(Error::Format { .. })));
    }
}
