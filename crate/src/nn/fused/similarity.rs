//! The two losses over the cosines of all pairs of rows, forward and backward in tiles: memory
//! grows with the number of rows, never with its square.
//!
//! Both find their gradient along with their value, which a training step needs anyway.

use super::super::losses::Pairs;
use super::super::sparse::Adjacency;
use super::moments::{contrast_linear, neighbour_linear};
use super::simd::{LANES, exp, sigmoid, softplus, vectorised};
use super::units::{Units, add_scaled, dot};
use super::{lock, output, slice};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::borrow::Cow;
use std::f64::consts::LN_2;
use std::sync::{Arc, Mutex};

/// The contrastive loss; see [`contrastive_loss`](crate::nn::contrastive_loss).
pub(crate) struct ContrastOp {
    graph: Arc<Adjacency>,
    labels: Arc<Vec<u32>>,
    pairs: Pairs,
    gradient: Mutex<Vec<f32>>,
}

/// The binary cross-entropy against the graph; see
/// [`neighbour_loss`](crate::nn::neighbour_loss).
pub(crate) struct NeighbourOp {
    graph: Arc<Adjacency>,
    pairs: Pairs,
    gradient: Mutex<Vec<f32>>,
}

impl ContrastOp {
    /// The loss of the rows of `z` as a tensor of the graph.
    pub fn apply(
        z: &Tensor,
        graph: &Arc<Adjacency>,
        labels: &Arc<Vec<u32>>,
        pairs: Pairs,
    ) -> crate::Result<Tensor> {
        let (graph, labels) = (graph.clone(), labels.clone());
        let op = ContrastOp { graph, labels, pairs, gradient: Mutex::default() };
        Ok(z.contiguous()?.apply_op1(op)?)
    }
}

impl NeighbourOp {
    /// The loss of the rows of `x` as a tensor of the graph.
    pub fn apply(x: &Tensor, graph: &Arc<Adjacency>, pairs: Pairs) -> crate::Result<Tensor> {
        let op = NeighbourOp { graph: graph.clone(), pairs, gradient: Mutex::default() };
        Ok(x.contiguous()?.apply_op1(op)?)
    }
}

impl CustomOp1 for ContrastOp {
    fn name(&self) -> &'static str {
        "contrastive-loss"
    }

    fn cpu_fwd(&self, z: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = layout.shape().dims2()?;
        if self.graph.len() != n || self.labels.len() != n {
            candle_core::bail!("contrastive loss: {n} rows for a graph of {}", self.graph.len());
        }
        let (loss, gradient) =
            contrast(slice(z, layout)?, n, d, &self.graph, &self.labels, self.pairs);
        *lock(&self.gradient) = gradient;
        Ok(output(vec![loss as f32], ()))
    }

    fn bwd(&self, z: &Tensor, _loss: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        scaled(&self.gradient, z, gradient).map(Some)
    }
}

impl CustomOp1 for NeighbourOp {
    fn name(&self) -> &'static str {
        "neighbour-loss"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = layout.shape().dims2()?;
        if self.graph.len() != n {
            candle_core::bail!("neighbour loss: {n} rows for a graph of {}", self.graph.len());
        }
        let (loss, gradient) = neighbour(slice(x, layout)?, n, d, &self.graph, self.pairs);
        *lock(&self.gradient) = gradient;
        Ok(output(vec![loss as f32], ()))
    }

    fn bwd(&self, x: &Tensor, _loss: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        scaled(&self.gradient, x, gradient).map(Some)
    }
}

/// The stored gradient times the gradient of the loss itself.
fn scaled(stored: &Mutex<Vec<f32>>, like: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    let factor = gradient.to_scalar::<f32>()?;
    let mut values = lock(stored).clone();
    values.iter_mut().for_each(|v| *v *= factor);
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

/// Loss and gradient of
/// mean_i [ ln Σ_{j: label_j ≠ label_i} exp(cos_ij) - ln Σ_{j ∈ N(i)} exp(cos_ij) ].
pub(crate) fn contrast(
    z: &[f32],
    n: usize,
    d: usize,
    graph: &Adjacency,
    labels: &[u32],
    pairs: Pairs,
) -> (f64, Vec<f32>) {
    if pairs == Pairs::Quadratic {
        return contrast_linear(z, n, d, graph, labels);
    }
    let units = Units::new(z, n, d);
    let t = units.block;
    let real: Vec<f32> = (0..units.count * t).map(|i| f32::from(i < n)).collect();
    let mut padded = labels.to_vec();
    padded.resize(units.count * t, 0);
    let range = |b: usize| b * t..(b + 1) * t;

    // The sums over spots of other labels.
    let others: Vec<Mutex<Vec<f64>>> =
        (0..units.count).map(|_| Mutex::new(vec![0f64; t])).collect();
    units.for_each_tile(|tile| {
        let (mut down, mut across) = (vec![0f32; t], vec![0f32; t]);
        let (i, j) = (range(tile.i), range(tile.j));
        let j_labels = &padded[j][..units.filled(tile.j)];
        sums(tile.values, &padded[i.clone()], &real[i], j_labels, &mut down, &mut across);
        add(&mut lock(&others[tile.i]), &down);
        if tile.i != tile.j {
            add(&mut lock(&others[tile.j]), &across);
        }
    });
    let others: Vec<f64> = others
        .into_iter()
        .flat_map(|m| m.into_inner().unwrap_or_else(|e| e.into_inner()))
        .collect();

    // The sums over neighbours, by edge.
    let near: Vec<Vec<f32>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let cosine = |&j: &u32| dot(units.row(i), units.row(j as usize)).exp();
            graph.neighbours(i).iter().map(cosine).collect()
        })
        .collect();
    let near_sum: Vec<f64> = near.iter().map(|v| v.iter().map(|&e| f64::from(e)).sum()).collect();

    // A spot without neighbours, or without a spot of another label, has no term.
    let counts = |i: usize| near_sum[i] > 0.0 && others[i] > 0.0;
    let term = |i: usize| if counts(i) { others[i].ln() - near_sum[i].ln() } else { 0.0 };
    let loss = (0..n).map(term).sum::<f64>() / n as f64;
    let share = |sum: &[f64], i: usize| {
        if i < n && counts(i) { (1.0 / (sum[i] * n as f64)) as f32 } else { 0.0 }
    };
    let pull: Vec<f32> = (0..n).map(|i| share(&near_sum, i)).collect();
    let push: Vec<f32> = (0..units.count * t).map(|i| share(&others, i)).collect();

    let gradients = units.gradients();
    units.for_each_tile(|tile| {
        let (i, j) = (range(tile.i), range(tile.j));
        let filled = units.filled(tile.j);
        let (j_labels, j_push) = (&padded[j.clone()][..filled], &push[j][..filled]);
        push_weights(tile.values, &padded[i.clone()], &push[i], j_labels, j_push);
        units.pass_back(&tile, &gradients);
    });
    let gradient = units.finish(gradients, |i, g| {
        for (&j, &e) in graph.neighbours(i).iter().zip(&near[i]) {
            let j = j as usize;
            add_scaled(-e * (pull[i] + pull[j]), units.row(j), g);
        }
    });
    (loss, gradient)
}

/// Loss and gradient of mean_ij [ ln(1 + exp(cos_ij)) - A_ij cos_ij ].
pub(crate) fn neighbour(
    x: &[f32],
    n: usize,
    d: usize,
    graph: &Adjacency,
    pairs: Pairs,
) -> (f64, Vec<f32>) {
    if pairs == Pairs::Quadratic {
        return neighbour_linear(x, n, d, graph);
    }
    // A row of zeros has a cosine of 0 with every other, and passes nothing back: where units have died, few are left.
    let left: Vec<usize> = (0..n).filter(|&i| x[i * d..][..d].iter().any(|&v| v != 0.0)).collect();
    let m = left.len();
    let mut place = vec![None; n];
    left.iter().enumerate().for_each(|(at, &i)| place[i] = Some(at));
    let rows: Cow<[f32]> = if m == n {
        x.into()
    } else {
        left.iter().flat_map(|&i| &x[i * d..][..d]).copied().collect()
    };
    let neighbours =
        |at: usize| graph.neighbours(left[at]).iter().filter_map(|&j| place[j as usize]);

    let units = Units::new(&rows, m, d);
    let t = units.block;
    let real: Vec<f32> = (0..units.count * t).map(|i| f32::from(i < m)).collect();
    let gradients = units.gradients();
    let parts = units.for_each_tile(|tile| {
        let real = &real[tile.i * t..][..t];
        let sum = cross_entropy(tile.values, real, units.filled(tile.j));
        units.pass_back(&tile, &gradients);
        if tile.i == tile.j { sum } else { 2.0 * sum }
    });
    let along: Vec<f64> = (0..m)
        .into_par_iter()
        .map(|i| neighbours(i).map(|j| f64::from(dot(units.row(i), units.row(j)))).sum::<f64>())
        .collect();
    let entries = n as f64 * n as f64;
    let of_zeros = (entries - m as f64 * m as f64) * LN_2;
    let loss = (parts.iter().sum::<f64>() + of_zeros - along.iter().sum::<f64>()) / entries;
    // Each pair stands twice in the sum, as (i, j) and as (j, i).
    let weight = (2.0 / entries) as f32;
    let gradient = units.finish(gradients, |i, g| {
        neighbours(i).for_each(|j| add_scaled(-1.0, units.row(j), g));
        g.iter_mut().for_each(|g| *g *= weight);
    });
    if m == n {
        return (loss, gradient);
    }
    let mut all = vec![0f32; n * d];
    for (row, &i) in gradient.chunks_exact(d).zip(&left) {
        all[i * d..][..d].copy_from_slice(row);
    }
    (loss, all)
}

fn add(sum: &mut [f64], part: &[f32]) {
    for (s, &p) in sum.iter_mut().zip(part) {
        *s += f64::from(p);
    }
}

vectorised! {
    /// Sums of exp over the entries of a tile whose labels differ, down and across.
    fn sums(
        cosines: &[f32],
        labels: &[u32],
        real: &[f32],
        across_labels: &[u32],
        down: &mut [f32],
        across: &mut [f32],
    ) {
        let t = down.len();
        for ((column, &label), across) in
            cosines.chunks_exact(t).zip(across_labels).zip(across.iter_mut())
        {
            let mut lanes = [0f32; LANES];
            let parts = column.chunks_exact(LANES).zip(labels.chunks_exact(LANES));
            let parts = parts.zip(real.chunks_exact(LANES)).zip(down.chunks_exact_mut(LANES));
            for (((c, l), r), down) in parts {
                for k in 0..LANES {
                    let e = exp::<FMA>(c[k]) * r[k];
                    let e = if l[k] != label { e } else { 0.0 };
                    down[k] += e;
                    lanes[k] += e;
                }
            }
            *across = lanes.iter().sum();
        }
    }
}

vectorised! {
    /// Turns the cosines of a tile into the weights of the gradient: exp(cos) (p_i + p_j) where
    /// the labels differ, else 0.
    fn push_weights(
        cosines: &mut [f32],
        labels: &[u32],
        push: &[f32],
        across_labels: &[u32],
        across_push: &[f32],
    ) {
        let t = labels.len();
        for ((column, &label), &other) in
            cosines.chunks_exact_mut(t).zip(across_labels).zip(across_push)
        {
            for ((c, &l), &p) in column.iter_mut().zip(labels).zip(push) {
                let w = exp::<FMA>(*c) * (p + other);
                *c = if l != label { w } else { 0.0 };
            }
        }
    }
}

vectorised! {
    /// Sums ln(1 + exp) over the real entries of a tile and turns the tile into their slopes.
    fn cross_entropy(cosines: &mut [f32], real: &[f32], columns: usize) -> f64 {
        let t = real.len();
        let mut sum = 0f64;
        for column in cosines.chunks_exact_mut(t).take(columns) {
            let mut lanes = [0f32; LANES];
            for (c, r) in column.chunks_exact_mut(LANES).zip(real.chunks_exact(LANES)) {
                for k in 0..LANES {
                    lanes[k] += softplus::<FMA>(c[k]) * r[k];
                    c[k] = sigmoid::<FMA>(c[k]);
                }
            }
            sum += f64::from(lanes.iter().sum::<f32>());
        }
        sum
    }
}
