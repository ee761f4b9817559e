//! Sparse propagation over a graph: P x, and relu(P x + b).

use super::super::linear::Dropout;
use super::super::sparse::Propagation;
use super::linear::{add_up, drop_elements};
use super::simd::{fma, vectorised};
use super::{elements, output, slice};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows that one task takes.
const ROWS: usize = 128;

/// P x.
#[derive(Debug, Clone)]
pub(crate) struct PropagateOp {
    /// The symmetric matrix.
    pub matrix: Arc<Propagation>,
}

/// relu(P x + b).
#[derive(Debug, Clone)]
pub(crate) struct PropagateReluOp {
    /// The symmetric matrix.
    pub matrix: Arc<Propagation>,
}

impl PropagateOp {
    /// The output as a tensor of the graph.
    pub fn apply(self, x: &Tensor) -> crate::Result<Tensor> {
        Ok(x.contiguous()?.apply_op1(self)?)
    }
}

impl PropagateReluOp {
    /// The output as a tensor of the graph.
    pub fn apply(self, x: &Tensor, bias: &Tensor) -> crate::Result<Tensor> {
        Ok(x.contiguous()?.apply_op2(&bias.contiguous()?, self)?)
    }
}

/// P x for a slice of rows of length `d`; also what P passes back, as it is symmetric.
pub(crate) fn propagate_rows(p: &Propagation, x: &[f32], d: usize) -> Vec<f32> {
    propagate(p, x, d, |_, _| {})
}

/// dropout(relu(P x + b)) for slices.
pub(crate) fn propagate_relu(
    p: &Propagation,
    x: &[f32],
    bias: &[f32],
    dropout: Option<Dropout>,
) -> Vec<f32> {
    propagate(p, x, bias.len(), |i, row| {
        for (y, &b) in row.iter_mut().zip(bias) {
            *y = (*y + b).max(0.0);
        }
        if let Some(dropout) = dropout {
            drop_elements(dropout, (i * bias.len()) as u64, row);
        }
    })
}

/// The gradients of x and b through dropout(relu(P x + b)), from the output y and its gradient.
pub(crate) fn propagate_relu_back(
    p: &Propagation,
    d: usize,
    y: &[f32],
    gradient: &[f32],
    dropout: Option<Dropout>,
) -> (Vec<f32>, Vec<f32>) {
    let scale = dropout.map_or(1.0, |d| d.scale());
    let mut g = vec![0f32; y.len()];
    let size = ROWS * d.max(1);
    let sums: Vec<Vec<f32>> = g
        .par_chunks_mut(size)
        .zip(y.par_chunks(size).zip(gradient.par_chunks(size)))
        .map(|(g, (y, gradient))| {
            let mut sum = vec![0f32; d];
            for (i, (g, (&y, &gradient))) in g.iter_mut().zip(y.iter().zip(gradient)).enumerate() {
                // An output above 0 was neither cut by ReLU nor dropped.
                *g = if y > 0.0 { gradient * scale } else { 0.0 };
                sum[i % d] += *g;
            }
            sum
        })
        .collect();
    (propagate_rows(p, &g, d), add_up(&sums, d))
}

/// P x, with a function applied to the number of each row and the finished row.
fn propagate(
    p: &Propagation,
    x: &[f32],
    d: usize,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0f32; p.len() * d];
    y.par_chunks_mut(ROWS * d.max(1)).enumerate().for_each(|(block, rows)| {
        for (r, row) in rows.chunks_exact_mut(d).enumerate() {
            let i = block * ROWS + r;
            let edges = p.indptr[i]..p.indptr[i + 1];
            gather(&p.indices[edges.clone()], &p.weights[edges], x, row);
            finish(i, row);
        }
    });
    y
}

vectorised! {
    fn gather(indices: &[u32], weights: &[f32], x: &[f32], row: &mut [f32]) {
        let d = row.len();
        for (&j, &w) in indices.iter().zip(weights) {
            let source = &x[j as usize * d..][..d];
            for (y, &s) in row.iter_mut().zip(source) {
                *y = fma::<FMA>(w, s, *y);
            }
        }
    }
}

impl CustomOp1 for PropagateOp {
    fn name(&self) -> &'static str {
        "propagate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, d) = layout.shape().dims2()?;
        Ok(output(propagate_rows(&self.matrix, slice(x, layout)?, d), (n, d)))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // P is symmetric.
        let (n, d) = gradient.dims2()?;
        elements!(g, gradient);
        let back = propagate_rows(&self.matrix, g, d);
        Ok(Some(Tensor::from_vec(back, (n, d), &Device::Cpu)?))
    }
}

impl CustomOp2 for PropagateReluOp {
    fn name(&self) -> &'static str {
        "propagate-relu"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, d) = x_layout.shape().dims2()?;
        let bias = slice(bias, bias_layout)?;
        if bias.len() != d {
            candle_core::bail!("propagate: {} biases for {d} columns", bias.len());
        }
        let y = propagate_relu(&self.matrix, slice(x, x_layout)?, bias, None);
        Ok(output(y, (n, d)))
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _bias: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (n, d) = y.dims2()?;
        elements!(y, y);
        elements!(gradient, gradient);
        let (back, bias) = propagate_relu_back(&self.matrix, d, y, gradient, None);
        let back = Tensor::from_vec(back, (n, d), &Device::Cpu)?;
        Ok((Some(back), Some(Tensor::from_vec(bias, d, &Device::Cpu)?)))
    }
}
