//! Layers over slices, forward and backward, for training steps that are written out by hand.

use super::{Activation, Gradient, Norm, column_sums, dense, dense_back, held};
use super::{layer_norm as norm_rows, layer_norm_back as norm_rows_back};
use crate::error::Result;
use crate::nn::{LayerNorm, Linear, Store};
use candle_core::Tensor;
use indexmap::IndexMap;
use std::collections::HashMap;

/// Gradients by the names of the parameters.
pub(crate) type Gradients = IndexMap<String, Gradient>;

/// The rows that a layer makes of rows of `x`.
pub(crate) fn linear(layer: &Linear, x: &[f32]) -> Result<Vec<f32>> {
    let (out, inner) = layer.weight.dims2()?;
    let n = x.len() / inner;
    let mut y = vec![0f32; n * out];
    let (w, b) = (held(&layer.weight)?, held(&layer.bias)?);
    let activation = if layer.has_relu() { Activation::Relu } else { Activation::None };
    dense((n, inner, out), x, &w, Some(&b), activation, &mut y);
    Ok(y)
}

/// Records the gradients of a layer called `name`, from that of its output before the activation and
/// from its input.
pub(crate) fn linear_gradients(
    gradients: &mut Gradients,
    name: &str,
    layer: &Linear,
    g: Vec<f32>,
    x: Vec<f32>,
) -> Result<()> {
    let out = layer.weight.dim(0)?;
    gradients.insert(format!("{name}.bias"), Gradient::Values(column_sums(&g, out)));
    let rows = g.len() / out;
    gradients.insert(format!("{name}.weight"), Gradient::Product { g, x, rows });
    Ok(())
}

/// As [`linear_gradients`]; returns the gradient of the input.
pub(crate) fn linear_back(
    gradients: &mut Gradients,
    name: &str,
    layer: &Linear,
    g: Vec<f32>,
    x: Vec<f32>,
) -> Result<Vec<f32>> {
    let (out, inner) = layer.weight.dims2()?;
    let n = g.len() / out;
    let mut dx = vec![0f32; n * inner];
    dense_back((n, inner, out), &g, &held(&layer.weight)?, &mut dx);
    linear_gradients(gradients, name, layer, g, x)?;
    Ok(dx)
}

/// The normalised rows of `x`.
pub(crate) fn normed(layer: &LayerNorm, x: &[f32]) -> Result<Vec<f32>> {
    let mut y = vec![0f32; x.len()];
    let (weight, bias) = (held(&layer.weight)?, held(&layer.bias)?);
    norm_rows(x, Norm { weight: &weight, bias: &bias, epsilon: layer.epsilon as f32 }, &mut y);
    Ok(y)
}

/// Records the gradients of a normalisation called `name`; returns that of its input `x`.
pub(crate) fn norm_back(
    gradients: &mut Gradients,
    name: &str,
    layer: &LayerNorm,
    x: &[f32],
    g: &[f32],
) -> Result<Vec<f32>> {
    let width = layer.weight.elem_count();
    let (mut dx, mut dw, mut db) = (vec![0f32; x.len()], vec![0f32; width], vec![0f32; width]);
    let (weight, bias) = (held(&layer.weight)?, held(&layer.bias)?);
    let norm = Norm { weight: &weight, bias: &bias, epsilon: layer.epsilon as f32 };
    norm_rows_back(x, norm, g, &mut dx, &mut dw, &mut db);
    gradients.insert(format!("{name}.weight"), Gradient::Values(dw));
    gradients.insert(format!("{name}.bias"), Gradient::Values(db));
    Ok(dx)
}

/// The mean squared error of what a last ReLU made, and its gradient before the ReLU.
pub(crate) fn squared_error_behind_relu(made: Vec<f32>, target: &[f32]) -> (f64, Vec<f32>) {
    let count = made.len() as f64;
    let (mut loss, mut g) = (0.0, made);
    for (g, &t) in g.iter_mut().zip(target) {
        let apart = *g - t;
        loss += f64::from(apart) * f64::from(apart);
        *g = if *g > 0.0 { (2.0 / count) as f32 * apart } else { 0.0 };
    }
    (loss / count, g)
}

/// All gradients, each in the shape of its parameter in `store`.
pub(crate) fn gradient_tensors(
    store: &Store,
    gradients: &Gradients,
) -> Result<HashMap<String, Tensor>> {
    let tensor = |(name, g): (&String, &Gradient)| -> Result<_> {
        Ok((name.clone(), g.to_tensor(store.get(name)?.dims())?))
    };
    gradients.iter().map(tensor).collect()
}

/// x += y.
pub(crate) fn add_to(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, &y)| *x += y);
}
