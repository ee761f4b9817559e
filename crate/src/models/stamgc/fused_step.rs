//! Loss and gradients of a training step on the CPU, by the fused kernels alone.
//!
//! The same arithmetic as [`loss_terms`](super::loss_terms) and candle's `backward`, which is its
//! oracle in the tests. candle's graph clears and adds a tensor for every gradient, serially or
//! in a pool of threads that spin while they wait; here gradients are used where they arise.

use super::data::TrainingData;
use super::losses::{EpochLoss, LossWeights};
use super::network::{Mode, Network};
use crate::error::Result;
use crate::nn::fused::{
    Activation, LinearGradients, LinearOp, contrast, dense, dense_back, dense_weight, elements,
    neighbour, propagate_relu, propagate_relu_back, propagate_rows, reconstruct,
};
use crate::nn::{Dropout, Linear, Pairs};
use indexmap::IndexMap;
use rayon::prelude::*;

/// Gradients by the names of the parameters.
type Gradients = IndexMap<String, Vec<f32>>;

/// The loss and the gradient of its total with respect to every parameter.
pub(super) fn fused_step(
    network: &Network,
    data: &TrainingData,
    weights: &LossWeights,
    pairs: Pairs,
    mode: Mode,
) -> Result<(EpochLoss, Gradients)> {
    let n = data.graph.len();
    let config = network.config();
    let (hidden, out, head_dim) = (config.hidden, config.out, config.head_dim);
    let p = &data.propagation;
    elements!(x, data.features);

    // Forward.
    let hidden_dropout = network.hidden_dropout(mode);
    elements!(conv1_weight, network.conv1.weight);
    elements!(conv1_bias, network.conv1.bias);
    let h = propagate_relu(p, &data.product(conv1_weight, hidden)?, conv1_bias, hidden_dropout);
    elements!(conv2_weight, network.conv2.weight);
    elements!(conv2_bias, network.conv2.bias);
    let mut product = vec![0f32; n * out];
    dense((n, hidden, out), &h, conv2_weight, None, Activation::None, &mut product);
    let z = propagate_relu(p, &product, conv2_bias, None);
    let mut heads = Vec::with_capacity(config.heads);
    let mut joined = vec![0f32; n * config.heads * head_dim];
    for (i, [first, second]) in network.heads.iter().enumerate() {
        let first = Layer::new(first.clone(), network.head_dropout(i, mode));
        let second = Layer::new(second.clone(), None);
        let inner = first.forward(n, &z)?;
        put(&second.forward(n, &inner)?, &mut joined, head_dim, i, config.heads);
        heads.push((first, second, inner));
    }
    let merge = network.merge.clone().map(|layer| Layer::new(layer, None));
    let merged = merge.as_ref().map(|layer| layer.forward(n, &joined)).transpose()?;
    let fused = merged.as_ref().unwrap_or(&joined);

    // Losses, each with the gradient of its input.
    let spread_z = propagate_rows(p, &z, out);
    let decoder = network.decoder();
    elements!(decoder_weight, decoder.weight);
    elements!(decoder_bias, decoder.bias);
    let sizes = (n, out, config.genes);
    let (rec, from_rec) = reconstruct(sizes, &spread_z, decoder_weight, decoder_bias, x);
    let (con, from_con) = contrast(&z, n, out, &data.graph, &data.labels, pairs);
    let (nei, from_nei) = neighbour(fused, n, fused.len() / n, &data.graph, pairs);
    let loss = EpochLoss {
        total: weights.alpha * rec + weights.beta * con + weights.gamma * nei,
        reconstruction: rec,
        contrast: con,
        neighbours: nei,
    };
    let (alpha, beta, gamma) = (weights.alpha as f32, weights.beta as f32, weights.gamma as f32);

    // Backward.
    let mut gradients = Gradients::new();
    let mut record = |name: &str, kind: &str, weight: Vec<f32>, bias: Vec<f32>| {
        gradients.insert(format!("{name}.{kind}"), weight);
        gradients.insert(format!("{name}.bias"), bias);
    };
    let (weight, bias) = (scaled(from_rec.weight, alpha), scaled(from_rec.bias, alpha));
    record("decoder", "lin.weight", weight, bias);
    let mut of_fused = scaled(from_nei, gamma);
    if let (Some(layer), Some(y)) = (&merge, &merged) {
        let back = layer.backward(n, &joined, y, &of_fused)?;
        record("mhp.WO.0", "weight", back.weight, back.bias);
        of_fused = back.input;
    }
    let mut of_z = scaled(from_con, beta);
    add(&mut of_z, alpha, &propagate_rows(p, &from_rec.u, out));
    for (i, (first, second, inner)) in heads.iter().enumerate() {
        let of_outer = part(&of_fused, n, head_dim, i, config.heads);
        let outer = part(&joined, n, head_dim, i, config.heads);
        let back = second.backward(n, inner, &outer, &of_outer)?;
        record(&format!("mhp.heads.{i}.3"), "weight", back.weight, back.bias);
        let back = first.backward(n, &z, inner, &back.input)?;
        record(&format!("mhp.heads.{i}.0"), "weight", back.weight, back.bias);
        add(&mut of_z, 1.0, &back.input);
    }
    let (of_product, bias) = propagate_relu_back(p, out, &z, &of_z, None);
    record("conv2", "lin.weight", dense_weight((n, hidden, out), &of_product, &h), bias);
    let mut of_h = vec![0f32; n * hidden];
    dense_back((n, hidden, out), &of_product, conv2_weight, &mut of_h);
    let (of_product, bias) = propagate_relu_back(p, hidden, &h, &of_h, hidden_dropout);
    record("conv1", "lin.weight", data.weight_gradient(&of_product, hidden)?, bias);
    Ok((loss, gradients))
}

/// A layer with the operation that it is.
struct Layer {
    layer: Linear,
    op: LinearOp,
}

impl Layer {
    fn new(layer: Linear, dropout: Option<Dropout>) -> Self {
        let op = LinearOp { relu: layer.has_relu(), dropout };
        Layer { layer, op }
    }

    fn forward(&self, n: usize, x: &[f32]) -> Result<Vec<f32>> {
        let (out, inner) = self.layer.weight.dims2()?;
        elements!(w, self.layer.weight);
        elements!(b, self.layer.bias);
        Ok(self.op.forward((n, inner, out), x, w, b))
    }

    /// From input, output and the output's gradient.
    fn backward(&self, n: usize, x: &[f32], y: &[f32], g: &[f32]) -> Result<LinearGradients> {
        let (out, inner) = self.layer.weight.dims2()?;
        elements!(w, self.layer.weight);
        Ok(self.op.backward((n, inner, out), x, w, y, g))
    }
}

/// Puts a matrix of rows of length `d` at the `i`-th place of `count` side by side.
fn put(values: &[f32], all: &mut [f32], d: usize, i: usize, count: usize) {
    all.par_chunks_mut(d * count)
        .zip(values.par_chunks(d))
        .with_min_len(256)
        .for_each(|(row, values)| row[i * d..][..d].copy_from_slice(values));
}

/// The `i`-th of `count` matrices side by side.
fn part(all: &[f32], n: usize, d: usize, i: usize, count: usize) -> Vec<f32> {
    let mut values = vec![0f32; n * d];
    values
        .par_chunks_mut(d)
        .zip(all.par_chunks(d * count))
        .with_min_len(256)
        .for_each(|(values, row)| values.copy_from_slice(&row[i * d..][..d]));
    values
}

fn scaled(mut values: Vec<f32>, factor: f32) -> Vec<f32> {
    values.par_chunks_mut(1 << 14).for_each(|c| c.iter_mut().for_each(|v| *v *= factor));
    values
}

/// sum += factor · values.
fn add(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.par_chunks_mut(1 << 14).zip(values.par_chunks(1 << 14)).for_each(|(sum, values)| {
        sum.iter_mut().zip(values).for_each(|(s, v)| *s += factor * v);
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Network, NetworkConfig, TrainingData, loss_terms, spot_graph};
    use super::*;
    use crate::nn::Store;
    use crate::rng::Rng;
    use candle_core::{DType, Device};
    use ndarray::{Array2, ArrayView2};

    #[test]
    fn loss_and_every_gradient_equal_candles_in_f64() {
        let mut rng = Rng::new(1);
        let n = 230;
        let xy = Array2::from_shape_simple_fn((n, 2), || rng.uniform());
        let dense = Array2::from_shape_simple_fn((n, 250), || rng.uniform() as f32);
        // As it is, and where most of it is 0.
        for f in [dense.clone(), dense.mapv(|v| if v < 0.15 { 10.0 * v } else { 0.0 })] {
            steps_agree(xy.view(), f);
        }
    }

    fn steps_agree(xy: ArrayView2<f64>, f: Array2<f32>) {
        let n = f.nrows();
        let graph = spot_graph(xy, f.view(), 5, 1).unwrap().pruned;
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 4).collect();
        let data = TrainingData::new(f, graph, labels, &Device::Cpu).unwrap();
        let mut exact = data.clone();
        exact.features = data.features.to_dtype(DType::F64).unwrap();
        let weights = LossWeights { alpha: 8.0, beta: 0.3, gamma: 0.7 };
        let mode = Mode::Train { seed: 5, step: 2 };
        // With a merging layer and without.
        for (heads, head_dim) in [(3, 8), (2, 8)] {
            let config =
                NetworkConfig { hidden: 32, out: 16, heads, head_dim, ..NetworkConfig::new(250) };
            let mut store = Store::new(3, &Device::Cpu);
            let network = Network::new(&mut store, config).unwrap();
            let step = fused_step(&network, &data, &weights, Pairs::Exact, mode);
            let (loss, gradients) = step.unwrap();

            let mut store64 = Store::with_dtype(3, DType::F64, &Device::Cpu);
            let network64 = Network::new(&mut store64, config).unwrap();
            let e = network64.forward(&exact.propagation, &exact.features, mode).unwrap();
            let terms = loss_terms(&network64, &e, &exact, &weights, Pairs::Exact).unwrap();
            let expected = terms.values().unwrap();
            assert!((loss.total - expected.total).abs() < 1e-6 * expected.total);
            let backward = terms.total.backward().unwrap();
            assert_eq!(gradients.len(), store.iter().len());
            for (name, var) in store64.iter() {
                let expected: Vec<f64> =
                    backward.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let largest = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
                let got = gradients[name].iter().map(|&g| f64::from(g));
                let apart = got.zip(&expected).fold(0f64, |a, (g, e)| a.max((g - e).abs()));
                assert!(largest > 0.0 && apart <= 1e-5 * largest, "{name}: {apart:e} {largest:e}");
            }
        }
    }
}
