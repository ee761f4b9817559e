//! [`Adam`] with L2, as torch's.

use super::fused::{self, Gradient};
use super::store::Store;
use crate::error::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use indexmap::IndexMap;
use std::collections::HashMap;

/// Settings of [`Adam`]; the defaults are torch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Step size; 1e-3 by default.
    pub learning_rate: f64,
    /// Decay of the first moment; 0.9 by default.
    pub beta1: f64,
    /// Decay of the second moment; 0.999 by default.
    pub beta2: f64,
    /// Added to the root of the bias-corrected second moment; 1e-8 by default.
    pub epsilon: f64,
    /// Multiple of the parameter that is added to its gradient (L2), or with `decoupled` by which the
    /// parameter itself shrinks, times the learning rate; 0 by default.
    pub weight_decay: f64,
    /// Whether weight decay is apart from the gradient (AdamW; Loshchilov and Hutter, 2019); not by
    /// default.
    pub decoupled: bool,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
        }
    }
}

/// Adam (Kingma and Ba, 2015) with weight decay added to the gradient, as `torch.optim.Adam`:
///
/// g ← g + λp; m ← β₁m + (1-β₁)g; v ← β₂v + (1-β₂)g²;
/// p ← p - η/(1-β₁ᵗ) · m / (√v/√(1-β₂ᵗ) + ε)
///
/// With [`decoupled`](AdamConfig::decoupled) decay as `torch.optim.AdamW`: p ← (1 - ηλ)p comes first, and g
/// stays as it is.
#[derive(Debug)]
pub struct Adam {
    /// The settings; a schedule may change them between steps.
    pub config: AdamConfig,
    slots: Vec<Slot>,
    step: i32,
}

#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    moments: Moments,
}

/// The running means of the gradient and of its square.
#[derive(Debug)]
enum Moments {
    Slices(Vec<f32>, Vec<f32>),
    Tensors(Tensor, Tensor),
}

/// The numbers of one step that are the same for all parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub beta2: f32,
    /// 1 - β₁ and 1 - β₂, taken before they are rounded.
    pub rest1: f32,
    pub rest2: f32,
    /// The learning rate over 1 - β₁ᵗ, and ε, both times √(1 - β₂ᵗ): one division instead of two.
    pub step_size: f32,
    pub epsilon: f32,
    pub weight_decay: f32,
    /// What a parameter is multiplied with first.
    pub keep: f32,
}

impl Adam {
    /// An optimizer of every parameter of `store`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(store: &Store, config: AdamConfig) -> Result<Self> {
        Adam::of(store, config, |_| true)
    }

    /// An optimizer of those parameters of `store` that `trained` names; the others stay as they are.
    ///
    /// # Errors
    /// Those of the device.
    pub fn of(store: &Store, config: AdamConfig, trained: impl Fn(&str) -> bool) -> Result<Self> {
        let slot = |(name, var): (&str, &Var)| -> Result<Slot> {
            let moments = if fused::usable(var) {
                let zeros = vec![0f32; var.elem_count()];
                Moments::Slices(zeros.clone(), zeros)
            } else {
                Moments::Tensors(var.zeros_like()?, var.zeros_like()?)
            };
            Ok(Slot { name: name.to_string(), var: var.clone(), moments })
        };
        let slots = store.iter().filter(|(name, _)| trained(name)).map(slot);
        Ok(Adam { config, slots: slots.collect::<Result<_>>()?, step: 0 })
    }

    /// Number of steps made.
    pub fn steps(&self) -> usize {
        self.step as usize
    }

    /// Moves every parameter against its gradient.
    ///
    /// # Errors
    /// [`Error::Data`] naming a parameter that has no gradient: in a model that is trained whole,
    /// that is a mistake and must not pass silently.
    pub fn step(&mut self, gradients: &GradStore) -> Result<()> {
        let step = self.next();
        for slot in &mut self.slots {
            let gradient = gradients.get(slot.var.as_tensor()).ok_or_else(|| slot.missing())?;
            slot.follow(gradient, step, &self.config, self.step)?;
        }
        Ok(())
    }

    /// As [`step`](Adam::step) for gradients by the names of the parameters. A parameter without one stays
    /// as it is, as torch does it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step_tensors(&mut self, gradients: &HashMap<String, Tensor>) -> Result<()> {
        let step = self.next();
        for slot in &mut self.slots {
            let Some(gradient) = gradients.get(&slot.name) else { continue };
            slot.follow(gradient, step, &self.config, self.step)?;
        }
        Ok(())
    }

    /// Whether a parameter is among those that are moved.
    pub fn moves(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| slot.name == name)
    }

    /// As [`step`](Adam::step) for gradients found without candle's graph, by the names of the
    /// parameters; for `f32` on the CPU.
    ///
    /// # Errors
    /// As [`step`](Adam::step), and when a parameter lives elsewhere.
    pub fn step_slices(&mut self, gradients: &IndexMap<String, Vec<f32>>) -> Result<()> {
        let step = self.next();
        for slot in &mut self.slots {
            let gradient = gradients.get(&slot.name).ok_or_else(|| slot.missing())?;
            let (first, second) = slot.moments.slices(&slot.name)?;
            fused::adam(step, &slot.var, gradient, first, second)?;
        }
        Ok(())
    }

    /// As [`step_slices`](Adam::step_slices) for gradients that are made while they are used.
    pub(crate) fn step_blocks(&mut self, gradients: &IndexMap<String, Gradient>) -> Result<()> {
        let step = self.next();
        for slot in &mut self.slots {
            let gradient = gradients.get(&slot.name).ok_or_else(|| slot.missing())?;
            let (first, second) = slot.moments.slices(&slot.name)?;
            fused::adam_blocks(step, &slot.var, gradient, first, second)?;
        }
        Ok(())
    }

    /// The number of steps made and the moments of every parameter, to go on from later: tensors
    /// `first.NAME` and `second.NAME`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn state(&self) -> Result<(usize, HashMap<String, Tensor>)> {
        let mut tensors = HashMap::new();
        for slot in &self.slots {
            let shape = slot.var.shape();
            let (first, second) = match &slot.moments {
                Moments::Slices(first, second) => (
                    Tensor::from_slice(first, shape, &Device::Cpu)?,
                    Tensor::from_slice(second, shape, &Device::Cpu)?,
                ),
                Moments::Tensors(first, second) => (first.clone(), second.clone()),
            };
            tensors.insert(format!("first.{}", slot.name), first);
            tensors.insert(format!("second.{}", slot.name), second);
        }
        Ok((self.steps(), tensors))
    }

    /// Goes on from a [`state`](Adam::state).
    ///
    /// # Errors
    /// [`Error::MissingKey`] for a parameter without moments, [`Error::Shape`] when they have another
    /// shape; nothing is changed then.
    pub fn load_state(&mut self, steps: usize, tensors: &HashMap<String, Tensor>) -> Result<()> {
        let find = |slot: &Slot, kind: &str| -> Result<Tensor> {
            let name = format!("{kind}.{}", slot.name);
            let found = tensors.get(&name).ok_or_else(|| {
                Error::missing_key("the optimizer's state", "tensor", &name, tensors.keys())
            })?;
            if found.dims() != slot.var.dims() {
                let (expected, found) = (slot.var.dims(), found.dims());
                return Err(Error::shape(
                    format!("tensor `{name}`"),
                    format!("{expected:?}"),
                    format!("{found:?}"),
                ));
            }
            Ok(found.to_dtype(slot.var.dtype())?.to_device(slot.var.device())?)
        };
        let found = self.slots.iter().map(|s| Ok((find(s, "first")?, find(s, "second")?)));
        let found: Vec<(Tensor, Tensor)> = found.collect::<Result<_>>()?;
        for (slot, (first, second)) in self.slots.iter_mut().zip(found) {
            slot.moments = match slot.moments {
                Moments::Slices(..) => Moments::Slices(
                    first.flatten_all()?.to_vec1()?,
                    second.flatten_all()?.to_vec1()?,
                ),
                Moments::Tensors(..) => Moments::Tensors(first, second),
            };
        }
        let too_many = || Error::parameter("steps", steps, "is not a number of steps");
        self.step = i32::try_from(steps).map_err(|_| too_many())?;
        Ok(())
    }

    fn next(&mut self) -> AdamStep {
        self.step += 1;
        let c = &self.config;
        let correct = |beta: f64| 1.0 - beta.powi(self.step);
        let root = correct(c.beta2).sqrt();
        AdamStep {
            beta2: c.beta2 as f32,
            rest1: (1.0 - c.beta1) as f32,
            rest2: (1.0 - c.beta2) as f32,
            step_size: (c.learning_rate * root / correct(c.beta1)) as f32,
            epsilon: (c.epsilon * root) as f32,
            weight_decay: if c.decoupled { 0.0 } else { c.weight_decay as f32 },
            keep: if c.decoupled { (1.0 - c.learning_rate * c.weight_decay) as f32 } else { 1.0 },
        }
    }
}

impl Slot {
    /// Moves the parameter against a gradient, where it lives: `count` is the number of the step.
    fn follow(
        &mut self,
        gradient: &Tensor,
        step: AdamStep,
        config: &AdamConfig,
        count: i32,
    ) -> Result<()> {
        match &mut self.moments {
            Moments::Slices(first, second) => {
                fused::elements!(gradient, gradient);
                fused::adam(step, &self.var, gradient, first, second)?;
            }
            Moments::Tensors(first, second) => {
                plain(config, count, &self.var, gradient, first, second)?;
            }
        }
        Ok(())
    }

    fn missing(&self) -> Error {
        let reason = "no gradient reaches it; is it part of the loss?";
        Error::data(format!("parameter `{}`", self.name), reason)
    }
}

impl Moments {
    /// The moments of parameter `name`, if it is `f32` on the CPU.
    fn slices(&mut self, name: &str) -> Result<(&mut [f32], &mut [f32])> {
        match self {
            Moments::Slices(first, second) => Ok((first, second)),
            Moments::Tensors(..) => {
                Err(Error::data(format!("parameter `{name}`"), "is not f32 on the CPU"))
            }
        }
    }
}

/// One step of one parameter in candle's own operations.
fn plain(
    c: &AdamConfig,
    step: i32,
    var: &Var,
    gradient: &Tensor,
    first: &mut Tensor,
    second: &mut Tensor,
) -> Result<()> {
    let p = var.as_detached_tensor();
    let (p, g) = match c.decoupled {
        true => ((p * (1.0 - c.learning_rate * c.weight_decay))?, gradient.clone()),
        false => (p.clone(), (gradient + (&p * c.weight_decay)?)?),
    };
    *first = ((&*first * c.beta1)? + (&g * (1.0 - c.beta1))?)?.detach();
    *second = ((&*second * c.beta2)? + (g.sqr()? * (1.0 - c.beta2))?)?.detach();
    let root = (second.sqrt()? / (1.0 - c.beta2.powi(step)).sqrt())?;
    let change = (&*first / (root + c.epsilon)?)?;
    let size = c.learning_rate / (1.0 - c.beta1.powi(step));
    var.set(&(p - (change * size)?)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;

    fn run(dtype: DType, decoupled: bool) -> Vec<f64> {
        let mut store = Store::with_dtype(1, dtype, &Device::Cpu);
        let p = store.insert("p", &Tensor::new(&[1f64, -2., 0.5], &Device::Cpu).unwrap()).unwrap();
        let config =
            AdamConfig { learning_rate: 0.1, weight_decay: 0.01, decoupled, ..Default::default() };
        let mut adam = Adam::new(&store, config).unwrap();
        for _ in 0..3 {
            let loss = p.sqr().unwrap().sqr().unwrap().sum_all().unwrap();
            adam.step(&loss.backward().unwrap()).unwrap();
        }
        p.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn equals_torch() {
        // p = tensor([1., -2., .5], dtype=float64, requires_grad=True)
        // o = torch.optim.Adam([p], lr=.1, weight_decay=.01)
        // for _ in range(3): o.zero_grad(); (p**4).sum().backward(); o.step()
        // and the same with torch.optim.AdamW.
        for decoupled in [false, true] {
            let mut p = [1f64, -2., 0.5];
            let (mut m, mut v) = ([0f64; 3], [0f64; 3]);
            for t in 1..=3 {
                for i in 0..3 {
                    let decay = if decoupled { 0.0 } else { 0.01 * p[i] };
                    let g = 4.0 * p[i].powi(3) + decay;
                    p[i] *= if decoupled { 1.0 - 0.1 * 0.01 } else { 1.0 };
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let root = v[i].sqrt() / (1.0 - 0.999f64.powi(t)).sqrt() + 1e-8;
                    p[i] -= 0.1 / (1.0 - 0.9f64.powi(t)) * m[i] / root;
                }
            }
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
                let got = run(dtype, decoupled);
                assert!(got.iter().zip(p).all(|(a, b)| (a - b).abs() < tolerance), "{got:?} {p:?}");
            }
        }
    }

    #[test]
    fn a_weight_moves_tile_by_tile_as_it_does_at_once() {
        let mut rng = crate::rng::Rng::new(7);
        let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
        // Whole tiles and cut ones, few rows and more than are taken tile by tile.
        for (rows, out, inner) in [(1, 6, 16), (7, 13, 21), (50, 5, 40), (300, 9, 17)] {
            let product =
                Gradient::Product { g: random(rows * out), x: random(rows * inner), rows };
            let whole = product.to_tensor(&[out, inner]).unwrap();
            let config = AdamConfig { weight_decay: 0.01, ..Default::default() };
            let [mut tiles, mut once] = [(); 2].map(|()| {
                let mut store = Store::new(2, &Device::Cpu);
                store.normal("w", &[out, inner]).unwrap();
                let adam = Adam::new(&store, config).unwrap();
                (store, adam)
            });
            let gradients = IndexMap::from([("w".to_string(), product)]);
            for _ in 0..3 {
                tiles.1.step_blocks(&gradients).unwrap();
                once.1.step_tensors(&HashMap::from([("w".to_string(), whole.clone())])).unwrap();
            }
            let values = |store: &Store| -> Vec<f32> {
                store.get("w").unwrap().flatten_all().unwrap().to_vec1().unwrap()
            };
            for (a, b) in values(&tiles.0).iter().zip(values(&once.0)) {
                assert!((a - b).abs() < 1e-5, "{rows} {out} {inner}: {a} {b}");
            }
        }
    }

    #[test]
    fn a_parameter_without_gradient_is_an_error() {
        let mut store = Store::new(1, &Device::Cpu);
        let p = store.zeros("used", &[1]).unwrap();
        store.zeros("forgotten", &[1]).unwrap();
        let mut adam = Adam::new(&store, AdamConfig::default()).unwrap();
        let e = adam.step(&p.sum_all().unwrap().backward().unwrap()).unwrap_err().to_string();
        assert!(e.contains("`forgotten`"), "{e}");
    }
}
