//! The network on the CPU: prediction, and loss and gradients of a training step, by the fused kernels.
//!
//! The same arithmetic as [`Network::plain`] and candle's `backward`, its oracle in the tests. A chunk
//! has few spots and the network eight million parameters, so a step is mostly Adam's passes over them:
//! gradients of weights are left as products that the optimizer makes while it uses them.

use super::network::{Batch, Block, Network, Output};
use crate::error::Result;
use crate::nn::fused::{
    Activation, Gradient, Gradients, Heads, add_to, dense, dense_back, gelu_back, gelu_of, held,
    linear, linear_back, norm_back, normed, squared_error_behind_relu,
};
use candle_core::{Device, Tensor};

/// What the forward pass keeps.
struct Trace {
    blocks: Vec<BlockTrace>,
    hidden: Vec<f32>,
    /// Behind the first layer of the head, and its normalisation.
    wide: Vec<f32>,
    normed: Vec<f32>,
    genes: Vec<f32>,
}

/// What a block keeps; `x` is its input, `y` what stands between its two halves.
struct BlockTrace {
    x: Vec<f32>,
    x_normed: Vec<f32>,
    qkv: Vec<f32>,
    attended: Vec<f32>,
    y: Vec<f32>,
    y_normed: Vec<f32>,
    /// Before and behind GELU.
    inner: Vec<f32>,
    active: Vec<f32>,
}

/// Predicts without keeping more than a block.
pub(super) fn predict(network: &Network, batch: &Batch) -> Result<Output> {
    let trace = forward(network, batch)?;
    let spots = batch.features.dim(0)?;
    let config = network.config();
    Ok(Output {
        hidden: Tensor::from_vec(trace.hidden, (spots, config.features), &Device::Cpu)?,
        genes: Tensor::from_vec(trace.genes, (spots, config.genes), &Device::Cpu)?,
    })
}

/// The mean squared error of a batch and the gradient of every parameter that is trained.
pub(super) fn step(network: &Network, batch: &Batch, target: &[f32]) -> Result<(f64, Gradients)> {
    let mut trace = forward(network, batch)?;
    let mut gradients = Gradients::new();
    let (loss, g) = squared_error_behind_relu(std::mem::take(&mut trace.genes), target);

    let d_normed = linear_back(&mut gradients, "gene_head.3", &network.head2, g, trace.normed)?;
    let mut d_wide =
        norm_back(&mut gradients, "gene_head.2", &network.head_norm, &trace.wide, &d_normed)?;
    d_wide.iter_mut().zip(&trace.wide).filter(|(_, x)| **x <= 0.0).for_each(|(g, _)| *g = 0.0);
    let mut g = linear_back(&mut gradients, "gene_head.0", &network.head1, d_wide, trace.hidden)?;
    for (i, (block, trace)) in network.blocks.iter().zip(trace.blocks).enumerate().rev() {
        g = block_back(network, block, i, batch.length, trace, g, &mut gradients)?;
    }
    let rows = |index: &[u32]| Gradient::Rows { index: index.to_vec(), rows: g.clone() };
    gradients.insert("x_embed.weight".into(), rows(&batch.columns));
    gradients.insert("y_embed.weight".into(), rows(&batch.rows));
    Ok((loss, gradients))
}

fn forward(network: &Network, batch: &Batch) -> Result<Trace> {
    let config = network.config();
    let (d, genes) = (config.features, config.genes);
    let features = batch.features.contiguous()?;
    let mut x = held(&features)?.to_vec();
    let n = x.len() / d;
    for (table, index) in [(&network.columns, &batch.columns), (&network.rows, &batch.rows)] {
        let table = held(table)?;
        for (x, &i) in x.chunks_exact_mut(d).zip(index) {
            x.iter_mut().zip(&table[i as usize * d..]).for_each(|(x, &t)| *x += t);
        }
    }
    let heads = heads(network, batch.length);
    let mut blocks = Vec::with_capacity(network.blocks.len());
    for block in &network.blocks {
        let x_normed = normed(&block.norm1, &x)?;
        let inner = config.heads * config.head_dim;
        let mut qkv = vec![0f32; n * 3 * inner];
        dense((n, d, 3 * inner), &x_normed, &held(&block.qkv)?, None, Activation::None, &mut qkv);
        let mut attended = vec![0f32; n * inner];
        heads.forward(&qkv, &mut attended);
        let mut y = linear(&block.out, &attended)?;
        add_to(&mut y, &x);
        let y_normed = normed(&block.norm2, &y)?;
        let inner = linear(&block.fc1, &y_normed)?;
        let active = gelu_of(&inner);
        let mut next = linear(&block.fc2, &active)?;
        add_to(&mut next, &y);
        blocks.push(BlockTrace { x, x_normed, qkv, attended, y, y_normed, inner, active });
        x = next;
    }
    let wide = linear(&network.head1, &x)?;
    let normed = normed(&network.head_norm, &wide)?;
    let predicted = linear(&network.head2, &normed)?;
    debug_assert_eq!(predicted.len(), n * genes);
    Ok(Trace { blocks, hidden: x, wide, normed, genes: predicted })
}

/// From the gradient behind a block to that before it.
fn block_back(
    network: &Network,
    block: &Block,
    i: usize,
    length: usize,
    trace: BlockTrace,
    g: Vec<f32>,
    gradients: &mut Gradients,
) -> Result<Vec<f32>> {
    let (attention, perceptron) = (format!("trans.layers.{i}.0"), format!("trans.layers.{i}.1"));
    let name = format!("{perceptron}.fn.net.3");
    let mut inner = linear_back(gradients, &name, &block.fc2, g.clone(), trace.active)?;
    gelu_back(&trace.inner, &mut inner);
    let name = format!("{perceptron}.fn.net.0");
    let d_normed = linear_back(gradients, &name, &block.fc1, inner, trace.y_normed)?;
    let name = format!("{perceptron}.norm");
    let mut d_y = norm_back(gradients, &name, &block.norm2, &trace.y, &d_normed)?;
    add_to(&mut d_y, &g);

    let name = format!("{attention}.fn.to_out.0");
    let d_attended = linear_back(gradients, &name, &block.out, d_y.clone(), trace.attended)?;
    let mut d_qkv = vec![0f32; trace.qkv.len()];
    heads(network, length).backward(&trace.qkv, &d_attended, &mut d_qkv);
    let (out, d) = block.qkv.dims2()?;
    let rows = d_qkv.len() / out;
    let mut d_normed = vec![0f32; rows * d];
    dense_back((rows, d, out), &d_qkv, &held(&block.qkv)?, &mut d_normed);
    let name = format!("{attention}.fn.to_qkv.weight");
    gradients.insert(name, Gradient::Product { g: d_qkv, x: trace.x_normed, rows });
    let name = format!("{attention}.norm");
    let mut d_x = norm_back(gradients, &name, &block.norm1, &trace.x, &d_normed)?;
    add_to(&mut d_x, &d_y);
    Ok(d_x)
}

fn heads(network: &Network, length: usize) -> Heads {
    let config = network.config();
    let scale = 1.0 / (config.head_dim as f32).sqrt();
    Heads { length, heads: config.heads, width: config.head_dim, scale }
}
