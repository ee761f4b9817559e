//! [`Linear`] with its activation and [`Dropout`], and row normalisation.

use super::fused;
use super::store::Store;
use crate::error::Result;
use crate::rng;
use candle_core::{D, Tensor};

/// Dropout of one layer at one training step.
///
/// Which elements are dropped depends on the key and the element's position only, never on the
/// number of threads, the device, or the order in which layers are called.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    key: u64,
    probability: f64,
}

impl Dropout {
    /// Drops elements with `probability` (0 ≤ p < 1) and scales the others by 1 / (1 - p).
    pub fn new(probability: f64, seed: u64, step: u64, layer: &str) -> Self {
        let key = rng::at(seed ^ rng::hash(layer), step);
        Dropout { key, probability }
    }

    /// What element `i` is multiplied with: 0 or 1 / (1 - p).
    #[inline]
    pub fn factor(&self, i: u64) -> f32 {
        if self.keeps(i) { self.scale() } else { 0.0 }
    }

    /// Whether element `i` is kept.
    #[inline]
    pub(crate) fn keeps(&self, i: u64) -> bool {
        // The upper 32 bits against p scaled to them.
        (rng::at(self.key, i) >> 32) as u32 >= (self.probability * 4294967296.0) as u32
    }

    /// 1 / (1 - p).
    #[inline]
    pub(crate) fn scale(&self) -> f32 {
        (1.0 / (1.0 - self.probability)) as f32
    }

    /// `x` with elements dropped, in the plain form.
    ///
    /// # Errors
    /// Those of the device.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let mask: Vec<f32> = (0..x.elem_count() as u64).map(|i| self.factor(i)).collect();
        let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
        Ok((x * mask)?)
    }
}

/// max(x, 0), whose gradient at 0 is 0 as PyTorch's (candle's is 1).
///
/// # Errors
/// Those of the device.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    let positive = x.gt(0f64)?.to_dtype(x.dtype())?.detach();
    Ok((x * positive)?)
}

/// Rows divided by their Euclidean length, or by 1e-12 where that is smaller, as torch's
/// `F.normalize`. A row of zeros stays zero and passes no gradient back.
///
/// # Shapes
/// `[n, d]` → `[n, d]`.
///
/// # Errors
/// Those of the device.
pub fn unit_rows(x: &Tensor) -> Result<Tensor> {
    // The square root has no slope at 0: give empty rows a length of 1 before it is taken.
    let squares = x.sqr()?.sum_keepdim(D::Minus1)?;
    let empty = squares.le(1e-24)?.to_dtype(x.dtype())?.detach();
    let length = (squares + &empty)?.sqrt()?;
    let share = ((1.0 - empty)? / length)?;
    Ok(x.broadcast_mul(&share)?)
}

/// y = x Wᵀ + b, optionally with ReLU.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
    relu: bool,
}

impl Linear {
    /// A layer with torch's default initialisation, weight and bias uniform within ±1/√in, whose
    /// parameters are `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(store: &mut Store, name: &str, inner: usize, out: usize) -> Result<Self> {
        let bound = 1.0 / (inner as f64).sqrt();
        let weight = store.uniform(&format!("{name}.weight"), &[out, inner], bound)?;
        let bias = store.uniform(&format!("{name}.bias"), &[out], bound)?;
        Ok(Linear { weight, bias, relu: false })
    }

    /// A layer from its parameters.
    pub fn from_parts(weight: Tensor, bias: Tensor) -> Self {
        Linear { weight, bias, relu: false }
    }

    /// The same layer followed by ReLU.
    pub fn with_relu(mut self) -> Self {
        self.relu = true;
        self
    }

    /// Whether ReLU follows.
    pub fn has_relu(&self) -> bool {
        self.relu
    }

    /// The layer's output, with dropout after the activation if there is any.
    ///
    /// # Shapes
    /// `[n, in]` → `[n, out]`.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn forward(&self, x: &Tensor, dropout: Option<Dropout>) -> Result<Tensor> {
        if fused::usable(x) {
            let op = fused::LinearOp { relu: self.relu, dropout };
            return op.apply(x, &self.weight, &self.bias);
        }
        self.plain(x, dropout)
    }

    /// [`forward`](Linear::forward) in candle's own operations.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn plain(&self, x: &Tensor, dropout: Option<Dropout>) -> Result<Tensor> {
        let mut y = x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?;
        if self.relu {
            y = relu(&y)?;
        }
        match dropout {
            Some(d) => d.apply(&y),
            None => Ok(y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn dropout_drops_its_share_and_depends_on_every_part_of_its_key() {
        let d = Dropout::new(0.1, 2025, 3, "conv1");
        let n = 100_000u64;
        let dropped = (0..n).filter(|&i| d.factor(i) == 0.0).count();
        assert!((9_500..10_500).contains(&dropped), "{dropped}");
        assert!((d.factor((0..n).find(|&i| d.keeps(i)).unwrap()) - 1.0 / 0.9).abs() < 1e-6);
        for other in [(2024, 3, "conv1"), (2025, 4, "conv1"), (2025, 3, "conv2")] {
            let o = Dropout::new(0.1, other.0, other.1, other.2);
            let both = (0..n).filter(|&i| !d.keeps(i) && !o.keeps(i)).count();
            assert!((700..1_300).contains(&both), "{both}");
        }
    }

    #[test]
    fn relu_and_unit_rows_have_torchs_gradients_at_zero() {
        // x = tensor([[0., 3., 4.], [0., 0., 0.]], requires_grad=True)
        // (F.normalize(F.relu(x)) * tensor([1., 2., 3.])).sum().backward()
        let x = Var::new(&[[0f64, 3., 4.], [0., 0., 0.]], &Device::Cpu).unwrap();
        let w = Tensor::new(&[1f64, 2., 3.], &Device::Cpu).unwrap();
        let u = unit_rows(&relu(x.as_tensor()).unwrap()).unwrap();
        let loss = u.broadcast_mul(&w).unwrap().sum_all().unwrap();
        let g = loss.backward().unwrap().get(&x).unwrap().to_vec2::<f64>().unwrap();
        // d/dx_k = (w_k - u_k (u·w)) / |x|; u·w = 3.6
        assert_eq!(g[0][0], 0.0);
        assert!((g[0][1] - (2.0 - 0.6 * 3.6) / 5.0).abs() < 1e-12);
        assert!((g[0][2] - (3.0 - 0.8 * 3.6) / 5.0).abs() < 1e-12);
        assert_eq!(g[1], [0.0, 0.0, 0.0]);
    }
}
