//! The network on the CPU: prediction, and loss and gradients of a training step, by the fused kernels.
//!
//! The same arithmetic as [`Network::plain`] and candle's `backward`, its oracle in the tests.

use super::network::{BEFORE, GATES, HEAD, LAST, Network, Output, Step};
use crate::error::Result;
use crate::nn::fused::{
    Columns, Gradient, Gradients, Norm, add_to, drop_elements, gelu_back, gelu_of, held, linear,
    linear_back, linear_gradients, norm_back, normed, relu, relu_back, sigmoid_of,
    squared_error_behind_relu, tanh_of,
};
use crate::nn::{BATCH_EPSILON, Dropout};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// What the forward pass keeps.
struct Trace {
    before: Vec<BeforeTrace>,
    /// Rows of spots × scales behind the layers before attention.
    seen: Vec<f32>,
    /// The gates before dropout, and their product behind it.
    tanh: Vec<f32>,
    sigmoid: Vec<f32>,
    gated: Vec<f32>,
    /// Spots × scales.
    attention: Vec<f32>,
    hidden: Vec<f32>,
    head: Vec<HeadTrace>,
    genes: Vec<f32>,
}

struct BeforeTrace {
    input: Vec<f32>,
    linear: Vec<f32>,
    normed: Vec<f32>,
}

struct HeadTrace {
    input: Vec<f32>,
    linear: Vec<f32>,
    columns: Columns,
}

/// Predicts by the running statistics.
pub(super) fn predict(network: &Network, features: &Tensor) -> Result<Output> {
    let (spots, scales) = network.check(features)?;
    let trace = forward(network, features, None)?;
    let config = network.config();
    let tensor = |values: Vec<f32>, width: usize| -> Result<Tensor> {
        Ok(Tensor::from_vec(values, (spots, width), &Device::Cpu)?)
    };
    Ok(Output {
        attention: tensor(trace.attention, scales)?,
        hidden: tensor(trace.hidden, config.features)?,
        genes: tensor(trace.genes, config.genes)?,
    })
}

/// What a training step finds.
pub(super) struct Found {
    /// The mean squared error.
    pub loss: f64,
    /// The gradient of every parameter that is trained.
    pub gradients: Gradients,
    /// Mean and variance of each layer of the head.
    pub statistics: Vec<Columns>,
}

/// Loss and gradients of a batch.
pub(super) fn step(
    network: &Network,
    features: &Tensor,
    target: &[f32],
    at: Step,
) -> Result<Found> {
    let (spots, scales) = network.check(features)?;
    let d = network.config().features;
    let mut trace = forward(network, features, Some(at))?;
    let mut gradients = Gradients::new();
    let (loss, g) = squared_error_behind_relu(std::mem::take(&mut trace.genes), target);

    // The head, from its end. `behind` is what each layer made.
    let mut statistics = Vec::new();
    let mut behind = trace.head.pop().map(|h| h.input).unwrap_or_default();
    let mut g = linear_back(&mut gradients, LAST, &network.last, g, behind.clone())?;
    for (((layer, norm), (name, norm_name)), trace) in
        network.head.iter().zip(HEAD).zip(trace.head).rev()
    {
        let (weight, bias) = (held(&norm.weight)?, held(&norm.bias)?);
        let rule = Norm { weight: &weight, bias: &bias, epsilon: BATCH_EPSILON as f32 };
        relu_back(&behind, &mut g);
        let (dw, db) = trace.columns.back(&trace.linear, rule, &mut g);
        gradients.insert(format!("{norm_name}.weight"), Gradient::Values(dw));
        gradients.insert(format!("{norm_name}.bias"), Gradient::Values(db));
        behind.clone_from(&trace.input);
        g = linear_back(&mut gradients, name, layer, g, trace.input)?;
        statistics.insert(0, trace.columns);
    }

    // Attention: the mean over scales, the weights, the gates.
    let seen = trace.seen;
    let mut d_seen = vec![0f32; seen.len()];
    let mut d_logits = vec![0f32; spots * scales];
    for s in 0..spots {
        let g = &g[s * d..][..d];
        let weights = &trace.attention[s * scales..][..scales];
        let rows = s * scales * d..(s + 1) * scales * d;
        let slopes: Vec<f32> = (seen[rows.clone()].chunks_exact(d))
            .map(|row| row.iter().zip(g).map(|(a, b)| a * b).sum())
            .collect();
        let mean: f32 = slopes.iter().zip(weights).map(|(a, w)| a * w).sum();
        for (k, d_row) in d_seen[rows].chunks_exact_mut(d).enumerate() {
            d_row.iter_mut().zip(g).for_each(|(t, &g)| *t = weights[k] * g);
            d_logits[s * scales + k] = weights[k] * (slopes[k] - mean);
        }
    }
    let [tanh_name, sigmoid_name, gate_name] = GATES;
    let d_gated = linear_back(&mut gradients, gate_name, &network.gate, d_logits, trace.gated)?;
    let [drop_tanh, drop_sigmoid] = gates_dropout(network, Some(at));
    let factor = |drop: &Option<Dropout>, i: usize| drop.map_or(1.0, |d| d.factor(i as u64));
    let both: Vec<(f32, f32)> = (0..d_gated.len())
        .into_par_iter()
        .with_min_len(4096)
        .map(|i| {
            let (t, s) = (trace.tanh[i], trace.sigmoid[i]);
            let g = d_gated[i] * factor(&drop_tanh, i) * factor(&drop_sigmoid, i);
            (g * s * (1.0 - t * t), g * t * s * (1.0 - s))
        })
        .collect();
    let (d_tanh, d_sigmoid): (Vec<f32>, Vec<f32>) = both.into_iter().unzip();
    for (name, layer, g) in
        [(tanh_name, &network.gate_tanh, d_tanh), (sigmoid_name, &network.gate_sigmoid, d_sigmoid)]
    {
        add_to(&mut d_seen, &linear_back(&mut gradients, name, layer, g, seen.clone())?);
    }

    // The layers before, from the last.
    let mut g = d_seen;
    for (i, trace) in trace.before.into_iter().enumerate().rev() {
        let ((layer, norm), (name, norm_name)) = (&network.before[i], BEFORE[i]);
        drop_in_place(&mut g, before_dropout(network, Some(at), i));
        gelu_back(&trace.normed, &mut g);
        let d_linear = norm_back(&mut gradients, norm_name, norm, &trace.linear, &g)?;
        if i == 0 {
            linear_gradients(&mut gradients, name, layer, d_linear, trace.input)?;
            break;
        }
        g = linear_back(&mut gradients, name, layer, d_linear, trace.input)?;
    }
    Ok(Found { loss, gradients, statistics })
}

fn forward(network: &Network, features: &Tensor, training: Option<Step>) -> Result<Trace> {
    let (spots, scales) = network.check(features)?;
    let d = network.config().features;
    let features = features.contiguous()?;
    let mut x = held(&features)?.to_vec();
    let mut before = Vec::new();
    for (i, (layer, norm)) in network.before.iter().enumerate() {
        let linear = linear(layer, &x)?;
        let normed = normed(norm, &linear)?;
        let mut next = gelu_of(&normed);
        drop_in_place(&mut next, before_dropout(network, training, i));
        before.push(BeforeTrace { input: std::mem::replace(&mut x, next), linear, normed });
    }
    let seen = x;
    let tanh = tanh_of(linear(&network.gate_tanh, &seen)?);
    let sigmoid = sigmoid_of(linear(&network.gate_sigmoid, &seen)?);
    let mut gated: Vec<f32> = tanh.iter().zip(&sigmoid).map(|(t, s)| t * s).collect();
    for dropout in gates_dropout(network, training) {
        drop_in_place(&mut gated, dropout);
    }
    let mut attention = linear(&network.gate, &gated)?;
    let mut hidden = vec![0f32; spots * d];
    for ((weights, hidden), rows) in attention
        .chunks_exact_mut(scales)
        .zip(hidden.chunks_exact_mut(d))
        .zip(seen.chunks_exact(scales * d))
    {
        softmax(weights);
        for (row, &w) in rows.chunks_exact(d).zip(weights.iter()) {
            hidden.iter_mut().zip(row).for_each(|(h, &v)| *h += w * v);
        }
    }
    let mut head = Vec::new();
    let mut x = hidden.clone();
    for (layer, norm) in &network.head {
        let linear = linear(layer, &x)?;
        let columns = if training.is_some() {
            Columns::of(&linear, spots)
        } else {
            let (mean, variance) = (held(&norm.running_mean)?, held(&norm.running_var)?);
            Columns { mean: mean.to_vec(), variance: variance.to_vec() }
        };
        let (weight, bias) = (held(&norm.weight)?, held(&norm.bias)?);
        let rule = Norm { weight: &weight, bias: &bias, epsilon: BATCH_EPSILON as f32 };
        let mut next = vec![0f32; linear.len()];
        columns.normalise(&linear, rule, &mut next);
        relu(&mut next);
        head.push(HeadTrace { input: std::mem::replace(&mut x, next), linear, columns });
    }
    let genes = linear(&network.last, &x)?;
    // What the last layer took ends the list, so that each layer's output is the next one's input.
    let nothing = Columns { mean: vec![], variance: vec![] };
    head.push(HeadTrace { input: x, linear: vec![], columns: nothing });
    Ok(Trace { before, seen, tanh, sigmoid, gated, attention, hidden, head, genes })
}

fn before_dropout(network: &Network, training: Option<Step>, i: usize) -> Option<Dropout> {
    training.and_then(|step| step.dropout(network.config().dropout, BEFORE[i].0))
}

fn gates_dropout(network: &Network, training: Option<Step>) -> [Option<Dropout>; 2] {
    let share = network.config().gate_dropout;
    [GATES[0], GATES[1]].map(|name| training.and_then(|step| step.dropout(share, name)))
}

fn drop_in_place(x: &mut [f32], dropout: Option<Dropout>) {
    let Some(dropout) = dropout else { return };
    const CHUNK: usize = 4096;
    x.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(i, x)| drop_elements(dropout, (i * CHUNK) as u64, x));
}

/// Numbers to weights that sum to 1.
fn softmax(x: &mut [f32]) {
    let largest = x.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    x.iter_mut().for_each(|v| *v = (*v - largest).exp());
    let sum: f32 = x.iter().sum();
    x.iter_mut().for_each(|v| *v /= sum);
}
