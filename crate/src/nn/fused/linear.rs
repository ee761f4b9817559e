//! y = dropout(relu(x Wᵀ + b)) in one product and one pass.

use super::super::linear::Dropout;
use super::dense::{dense_back, dense_weight};
use super::simd::vectorised;
use super::{Threads, elements, mat, matmul, output, slice};
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Rows that one task of an element-wise pass takes.
const ROWS: usize = 128;

/// The operation on (x, W, b).
#[derive(Debug, Clone)]
pub(crate) struct LinearOp {
    /// Whether ReLU follows.
    pub relu: bool,
    /// What is dropped after it.
    pub dropout: Option<Dropout>,
}

impl LinearOp {
    /// The output as a tensor of the graph.
    pub fn apply(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> crate::Result<Tensor> {
        Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, self)?)
    }
}

/// What a layer passes back.
pub(crate) struct LinearGradients {
    /// Of x.
    pub input: Vec<f32>,
    /// Of W.
    pub weight: Vec<f32>,
    /// Of b.
    pub bias: Vec<f32>,
}

/// (rows, width of x, width of y).
pub(crate) type Sizes = (usize, usize, usize);

impl LinearOp {
    /// The output for slices.
    pub fn forward(&self, (n, inner, out): Sizes, x: &[f32], w: &[f32], b: &[f32]) -> Vec<f32> {
        let mut y = vec![0f32; n * out];
        let (a, b_t) = (mat(x, inner, 1), mat(w, 1, inner));
        matmul((n, inner, out), &mut y, (out, 1), false, a, b_t, Threads::Pool);
        let size = ROWS * out.max(1);
        y.par_chunks_mut(size).enumerate().for_each(|(block, rows)| {
            let mut index = (block * size) as u64;
            for row in rows.chunks_exact_mut(out) {
                for (y, &b) in row.iter_mut().zip(b) {
                    *y += b;
                    // NaN stays NaN.
                    if self.relu && *y < 0.0 {
                        *y = 0.0;
                    }
                }
                if let Some(dropout) = self.dropout {
                    drop_elements(dropout, index, row);
                }
                index += out as u64;
            }
        });
        y
    }

    /// The gradients for slices, from x, W, the output and the output's gradient.
    pub fn backward(
        &self,
        (n, inner, out): Sizes,
        x: &[f32],
        w: &[f32],
        y: &[f32],
        gradient: &[f32],
    ) -> LinearGradients {
        let scale = self.dropout.map_or(1.0, |d| d.scale());
        let mut g = vec![0f32; n * out];
        let size = ROWS * out.max(1);
        let sums: Vec<Vec<f32>> = g
            .par_chunks_mut(size)
            .enumerate()
            .map(|(block, g)| {
                let start = block * size;
                let mut sum = vec![0f32; out];
                for (r, row) in g.chunks_exact_mut(out).enumerate() {
                    let at = start + r * out;
                    for c in 0..out {
                        // An output above 0 was neither cut by ReLU nor dropped.
                        let passes = match (self.relu, &self.dropout) {
                            (true, _) => y[at + c] > 0.0,
                            (false, Some(d)) => d.keeps((at + c) as u64),
                            (false, None) => true,
                        };
                        row[c] = if passes { gradient[at + c] * scale } else { 0.0 };
                        sum[c] += row[c];
                    }
                }
                sum
            })
            .collect();
        let bias = add_up(&sums, out);
        let weight = dense_weight((n, inner, out), &g, x);
        let mut input = vec![0f32; n * inner];
        dense_back((n, inner, out), &g, w, &mut input);
        LinearGradients { input, weight, bias }
    }
}

impl CustomOp3 for LinearOp {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, inner) = x_layout.shape().dims2()?;
        let (out, w_inner) = w_layout.shape().dims2()?;
        if inner != w_inner || b_layout.dims() != [out] {
            candle_core::bail!("linear: {n} × {inner} rows do not fit a {out} × {w_inner} weight");
        }
        let (x, w, b) = (slice(x, x_layout)?, slice(w, w_layout)?, slice(b, b_layout)?);
        Ok(output(self.forward((n, inner, out), x, w, b), (n, out)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        y: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((n, inner), out) = (x.dims2()?, w.dim(0)?);
        elements!(x, x);
        elements!(w, w);
        elements!(y, y);
        elements!(gradient, gradient);
        let g = self.backward((n, inner, out), x, w, y, gradient);
        let input = Tensor::from_vec(g.input, (n, inner), &Device::Cpu)?;
        let weight = Tensor::from_vec(g.weight, (out, inner), &Device::Cpu)?;
        Ok((Some(input), Some(weight), Some(Tensor::from_vec(g.bias, out, &Device::Cpu)?)))
    }
}

vectorised! {
    /// Drops those of the elements from number `first` on that `dropout` names.
    pub(crate) fn drop_elements(dropout: Dropout, first: u64, x: &mut [f32]) {
        for (i, x) in x.iter_mut().enumerate() {
            *x *= dropout.factor(first + i as u64);
        }
    }
}

/// The sum of per-block sums, in the order of the blocks.
pub(super) fn add_up(sums: &[Vec<f32>], width: usize) -> Vec<f32> {
    (0..width).map(|c| sums.iter().map(|s| f64::from(s[c])).sum::<f64>() as f32).collect()
}
