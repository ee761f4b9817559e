//! Losses over all pairs of rows, and the reconstruction error of a last layer.
//!
//! Each has the fused form for the CPU and a plain one in candle's operations, which stores n × n
//! numbers.

use super::fused;
use super::linear::{Linear, unit_rows};
use super::sparse::Adjacency;
use crate::error::{Error, Result};
use candle_core::{D, Tensor};
use std::sync::Arc;

/// Pulls neighbours together and pushes rows of other labels apart:
///
/// mean_i \[ ln Σ_{j: label_j ≠ label_i} exp(cos(z_i, z_j)) - ln Σ_{j ∈ N(i)} exp(cos(z_i, z_j)) \]
///
/// A row without neighbours, or with no row of another label, has no term.
///
/// # Shapes
/// `[n, d]` → scalar.
///
/// # Errors
/// [`Error::Shape`] when rows, nodes and labels differ in number; those of the device.
pub fn contrastive_loss(
    z: &Tensor,
    graph: &Arc<Adjacency>,
    labels: &Arc<Vec<u32>>,
) -> Result<Tensor> {
    let n = check(z, graph)?;
    if labels.len() != n {
        return Err(Error::shape("labels", n, labels.len()));
    }
    if fused::usable(z) {
        return fused::ContrastOp::apply(z, graph, labels);
    }
    contrastive_loss_plain(z, graph, labels)
}

/// [`contrastive_loss`] in candle's own operations.
///
/// # Errors
/// Those of the device.
pub fn contrastive_loss_plain(z: &Tensor, graph: &Adjacency, labels: &[u32]) -> Result<Tensor> {
    let (n, device, dtype) = (graph.len(), z.device(), z.dtype());
    let u = unit_rows(z)?;
    let e = u.matmul(&u.t()?)?.exp()?;
    let near = (&e * graph.to_dense(dtype, device)?)?.sum(D::Minus1)?;
    let labels = Tensor::from_slice(labels, n, device)?;
    let differ = labels.unsqueeze(1)?.broadcast_ne(&labels.unsqueeze(0)?)?.to_dtype(dtype)?;
    let others = (&e * differ)?.sum(D::Minus1)?;
    // Empty sums become 1, whose logarithm is 0, and their rows are left out.
    let has = (near.gt(0f64)?.to_dtype(dtype)? * others.gt(0f64)?.to_dtype(dtype)?)?;
    let filled =
        |sum: &Tensor| -> Result<Tensor> { Ok((sum + sum.eq(0f64)?.to_dtype(dtype)?)?.log()?) };
    let terms = ((filled(&others)? - filled(&near)?)? * has)?;
    Ok(terms.mean_all()?)
}

/// Binary cross-entropy of the cosines of all pairs of rows, as logits, against the graph:
///
/// mean_ij \[ ln(1 + exp(cos(x_i, x_j))) - A_ij cos(x_i, x_j) \]
///
/// The diagonal takes part; its target is 0.
///
/// # Shapes
/// `[n, d]` → scalar.
///
/// # Errors
/// [`Error::Shape`] when rows and nodes differ in number; those of the device.
pub fn neighbour_loss(x: &Tensor, graph: &Arc<Adjacency>) -> Result<Tensor> {
    check(x, graph)?;
    if fused::usable(x) {
        return fused::NeighbourOp::apply(x, graph);
    }
    neighbour_loss_plain(x, graph)
}

/// [`neighbour_loss`] in candle's own operations.
///
/// # Errors
/// Those of the device.
pub fn neighbour_loss_plain(x: &Tensor, graph: &Adjacency) -> Result<Tensor> {
    let u = unit_rows(x)?;
    let c = u.matmul(&u.t()?)?;
    // |cos| ≤ 1: no overflow to guard against.
    let all = (c.exp()? + 1.0)?.log()?;
    let near = (c * graph.to_dense(x.dtype(), x.device())?)?;
    Ok((all - near)?.mean_all()?)
}

/// mean (layer(u) - x)², for a last layer with ReLU.
///
/// # Shapes
/// u `[n, d]`, layer d → m, x `[n, m]` → scalar.
///
/// # Errors
/// Those of the device; shapes that do not fit.
pub fn reconstruction_loss(u: &Tensor, layer: &Linear, x: &Tensor) -> Result<Tensor> {
    if fused::usable(u) && fused::usable(x) && layer.has_relu() {
        return fused::ReconstructionOp::apply(u, &layer.weight, &layer.bias, x);
    }
    reconstruction_loss_plain(u, layer, x)
}

/// [`reconstruction_loss`] in candle's own operations.
///
/// # Errors
/// Those of the device.
pub fn reconstruction_loss_plain(u: &Tensor, layer: &Linear, x: &Tensor) -> Result<Tensor> {
    Ok((layer.plain(u, None)? - x)?.sqr()?.mean_all()?)
}

fn check(x: &Tensor, graph: &Adjacency) -> Result<usize> {
    let n = x.dim(0)?;
    if graph.len() != n {
        return Err(Error::shape("rows of the embedding", graph.len(), n));
    }
    Ok(n)
}
