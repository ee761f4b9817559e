//! Losses over all pairs of rows, and the reconstruction error of a last layer.
//!
//! Each loss over pairs has four forms. Exactly: the kernel for the CPU, in tiles; candle's operations in
//! blocks of rows for other devices, whose gradient is found beside the value; and the plain formula, which
//! stores n × n numbers and is the others' oracle. With [`Pairs::Quadratic`]: moments of the rows instead of
//! pairs, as a kernel and in candle's operations.

use super::fused;
use super::linear::{Linear, unit_rows};
use super::sparse::Adjacency;
use crate::error::{Error, Result};
use candle_core::{D, DType, Device, Tensor};
use std::sync::Arc;

/// How a sum over all pairs of rows is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pairs {
    /// Pair by pair; the work grows with the square of the number of rows, memory does not.
    #[default]
    Exact,
    /// From the moments of the rows; the work grows with their number. A quadratic stands for the function of
    /// the cosine: it is at most 0.0088 off exp(c), which is at least 1, and 0.0003 off ln(1 + exp(c)), so that
    /// the losses are off by less than 0.009 and 0.0003. This holds for cosines from 0 to 1, those of rows
    /// behind ReLU.
    Quadratic,
}

/// q₀ + q₁ c + q₂ c² closest to exp(c) for 0 ≤ c ≤ 1, with the largest error smallest.
pub(crate) const EXP: [f64; 3] = [1.008_756_02, 0.854_742_57, 0.846_027_21];
/// The same for ln(1 + exp(c)).
pub(crate) const SOFTPLUS: [f64; 3] = [0.692_852_52, 0.504_435_96, 0.116_267_86];

/// Numbers of a block of cosines on a device; few in tests, which have several blocks then.
const BLOCK: usize = if cfg!(test) { 1 << 12 } else { 1 << 24 };

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
    pairs: Pairs,
) -> Result<Tensor> {
    let n = check(z, graph)?;
    if labels.len() != n {
        return Err(Error::shape("labels", n, labels.len()));
    }
    match (fused::usable(z), pairs) {
        (true, _) => fused::ContrastOp::apply(z, graph, labels, pairs),
        (false, Pairs::Exact) => contrast_in_blocks(z, graph, labels),
        (false, Pairs::Quadratic) => contrast_by_moments(z, graph, labels),
    }
}

/// [`contrastive_loss`] in candle's own operations, with n × n numbers.
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
    Ok(ratio(&others, &near)?.0.mean_all()?)
}

/// ln(others / near) where both are above 0, else 0, and where that is.
fn ratio(others: &Tensor, near: &Tensor) -> Result<(Tensor, Tensor)> {
    let dtype = near.dtype();
    let has = (near.gt(0f64)?.to_dtype(dtype)? * others.gt(0f64)?.to_dtype(dtype)?)?;
    let terms = ((filled(others, &has)?.log()? - filled(near, &has)?.log()?)? * &has)?;
    Ok((terms, has))
}

/// `sum` where `has` is 1, and 1 where it is 0.
fn filled(sum: &Tensor, has: &Tensor) -> Result<Tensor> {
    Ok(((sum * has)? + (1.0 - has)?)?)
}

/// The edges of a graph on a device.
struct Edges {
    from: Tensor,
    to: Tensor,
}

impl Edges {
    fn new(graph: &Adjacency, device: &Device) -> Result<Self> {
        let (from, to): (Vec<u32>, Vec<u32>) = (0..graph.len())
            .flat_map(|i| graph.neighbours(i).iter().map(move |&j| (i as u32, j)))
            .unzip();
        let count = from.len();
        let (from, to) =
            (Tensor::from_vec(from, count, device)?, Tensor::from_vec(to, count, device)?);
        Ok(Edges { from, to })
    }

    /// The cosine along each.
    fn cosines(&self, u: &Tensor) -> Result<Tensor> {
        Ok((u.index_select(&self.from, 0)? * u.index_select(&self.to, 0)?)?.sum(D::Minus1)?)
    }

    /// Their sums by node.
    fn sums(&self, values: &Tensor, n: usize) -> Result<Tensor> {
        let zeros = Tensor::zeros(n, values.dtype(), values.device())?;
        Ok(zeros.index_add(&self.from, values, 0)?)
    }

    /// Σ_{j ∈ N(i)} w_ij u_j.
    fn spread(&self, weights: &Tensor, u: &Tensor) -> Result<Tensor> {
        let along = u.index_select(&self.to, 0)?.broadcast_mul(&weights.unsqueeze(1)?)?;
        Ok(u.zeros_like()?.index_add(&self.from, &along, 0)?)
    }
}

/// Blocks of rows (first, count) of n × n numbers.
fn blocks(n: usize) -> impl Iterator<Item = (usize, usize)> {
    let rows = (BLOCK / n.max(1)).max(1);
    (0..n).step_by(rows).map(move |first| (first, rows.min(n - first)))
}

/// A scalar of this value whose gradient with respect to the unit rows `u` is `gradient`.
fn with_gradient(u: &Tensor, gradient: &Tensor, value: f64) -> Result<Tensor> {
    let carrier = (u * gradient.detach())?.sum_all()?;
    Ok(((&carrier - carrier.detach())? + value)?)
}

fn number(t: &Tensor) -> Result<f64> {
    Ok(t.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

fn contrast_in_blocks(z: &Tensor, graph: &Adjacency, labels: &[u32]) -> Result<Tensor> {
    let (n, dtype) = (graph.len(), z.dtype());
    let unit = unit_rows(z)?;
    let u = unit.detach();
    let u_t = u.t()?.contiguous()?;
    let labels = Tensor::from_slice(labels, n, z.device())?;
    // exp(cosine) where the labels differ.
    let block = |first: usize, count: usize| -> Result<Tensor> {
        let own = labels.narrow(0, first, count)?.unsqueeze(1)?;
        let differ = own.broadcast_ne(&labels.unsqueeze(0)?)?.to_dtype(dtype)?;
        Ok((u.narrow(0, first, count)?.matmul(&u_t)?.exp()? * differ)?)
    };
    let others: Vec<Tensor> = blocks(n)
        .map(|(first, count)| Ok(block(first, count)?.sum(D::Minus1)?))
        .collect::<Result<_>>()?;
    let others = Tensor::cat(&others, 0)?;
    let edges = Edges::new(graph, z.device())?;
    let e = edges.cosines(&u)?.exp()?;
    let near = edges.sums(&e, n)?;
    let (terms, has) = ratio(&others, &near)?;

    // 1 / sum, over n: what each pair weighs.
    let share =
        |sum: &Tensor| -> Result<Tensor> { Ok(((&has / filled(sum, &has)?)? * (1.0 / n as f64))?) };
    let (push, pull) = (share(&others)?, share(&near)?);
    let rows: Vec<Tensor> = blocks(n)
        .map(|(first, count)| {
            let own = push.narrow(0, first, count)?.unsqueeze(1)?;
            let weights = own.broadcast_add(&push.unsqueeze(0)?)?;
            Ok((block(first, count)? * weights)?.matmul(&u)?)
        })
        .collect::<Result<_>>()?;
    let both = (pull.index_select(&edges.from, 0)? + pull.index_select(&edges.to, 0)?)?;
    let gradient = (Tensor::cat(&rows, 0)? - edges.spread(&(e * both)?, &u)?)?;
    with_gradient(&unit, &gradient, number(&terms)? / n as f64)
}

/// Σ w q(u_i·u_j) over the rows u_j of `others`, for each row u_i of `u`.
fn quadratic(u: &Tensor, others: &Tensor, [q0, q1, q2]: [f64; 3]) -> Result<Tensor> {
    let first = u.broadcast_mul(&others.sum_keepdim(0)?)?.sum(D::Minus1)?;
    let second = (u.matmul(&others.t()?.matmul(others)?)? * u)?.sum(D::Minus1)?;
    Ok((((first * q1)? + (second * q2)?)? + q0 * others.dim(0)? as f64)?)
}

fn contrast_by_moments(z: &Tensor, graph: &Adjacency, labels: &[u32]) -> Result<Tensor> {
    let (n, device) = (graph.len(), z.device());
    let u = unit_rows(z)?;
    let edges = Edges::new(graph, device)?;
    let near = edges.sums(&edges.cosines(&u)?.exp()?, n)?;
    // Of all rows, less those of the same label.
    let mut others = quadratic(&u, &u, EXP)?;
    let count = labels.iter().max().map_or(0, |&l| l + 1);
    for label in 0..count {
        let rows: Vec<u32> = (0..n as u32).filter(|&i| labels[i as usize] == label).collect();
        if rows.is_empty() {
            continue;
        }
        if rows.len() == n {
            others = others.zeros_like()?;
            break;
        }
        let rows = Tensor::new(rows, device)?;
        let group = u.index_select(&rows, 0)?;
        others = others.index_add(&rows, &quadratic(&group, &group, EXP)?.neg()?, 0)?;
    }
    Ok(ratio(&others, &near)?.0.mean_all()?)
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
pub fn neighbour_loss(x: &Tensor, graph: &Arc<Adjacency>, pairs: Pairs) -> Result<Tensor> {
    check(x, graph)?;
    match (fused::usable(x), pairs) {
        (true, _) => fused::NeighbourOp::apply(x, graph, pairs),
        (false, Pairs::Exact) => neighbour_in_blocks(x, graph),
        (false, Pairs::Quadratic) => neighbour_by_moments(x, graph),
    }
}

/// [`neighbour_loss`] in candle's own operations, with n × n numbers.
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

fn neighbour_in_blocks(x: &Tensor, graph: &Adjacency) -> Result<Tensor> {
    let n = graph.len();
    let entries = n as f64 * n as f64;
    let unit = unit_rows(x)?;
    let u = unit.detach();
    let u_t = u.t()?.contiguous()?;
    let (mut sum, mut rows) = (0.0, Vec::new());
    for (first, count) in blocks(n) {
        let e = u.narrow(0, first, count)?.matmul(&u_t)?.exp()?;
        let all = (&e + 1.0)?;
        sum += number(&all.log()?)?;
        rows.push((e / all)?.matmul(&u)?);
    }
    let edges = Edges::new(graph, x.device())?;
    let cosines = edges.cosines(&u)?;
    let along = edges.spread(&cosines.ones_like()?, &u)?;
    let gradient = ((Tensor::cat(&rows, 0)? - along)? * (2.0 / entries))?;
    with_gradient(&unit, &gradient, (sum - number(&cosines)?) / entries)
}

fn neighbour_by_moments(x: &Tensor, graph: &Adjacency) -> Result<Tensor> {
    let n = graph.len();
    let u = unit_rows(x)?;
    let all = quadratic(&u, &u, SOFTPLUS)?.sum_all()?;
    let near = Edges::new(graph, x.device())?.cosines(&u)?.sum_all()?;
    Ok(((all - near)? * (1.0 / (n as f64 * n as f64)))?)
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
