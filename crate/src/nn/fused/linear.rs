//! y = dropout(relu(x Wᵀ + b)) in one product and one pass.

use super::super::linear::Dropout;
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
    /// Whether the gradient of x is wanted.
    pub input_gradient: bool,
}

impl LinearOp {
    /// The output as a tensor of the graph.
    pub fn apply(self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> crate::Result<Tensor> {
        Ok(x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, self)?)
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
        let mut y = vec![0f32; n * out];
        let (a, b_t) = (mat(x, inner, 1), mat(w, 1, inner));
        matmul((n, inner, out), &mut y, (out, 1), false, a, b_t, Threads::Pool);
        y.par_chunks_mut(ROWS * out.max(1)).enumerate().for_each(|(block, rows)| {
            let mut index = (block * ROWS * out) as u64;
            for row in rows.chunks_exact_mut(out) {
                for (y, &b) in row.iter_mut().zip(b) {
                    *y += b;
                    if self.relu {
                        *y = y.max(0.0);
                    }
                }
                if let Some(dropout) = &self.dropout {
                    for (i, y) in row.iter_mut().enumerate() {
                        *y *= dropout.factor(index + i as u64);
                    }
                }
                index += out as u64;
            }
        });
        Ok(output(y, (n, out)))
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
        let mut weight = vec![0f32; out * inner];
        let (a, b) = (mat(&g, 1, out), mat(x, inner, 1));
        matmul((out, n, inner), &mut weight, (inner, 1), false, a, b, Threads::Pool);
        let input = if self.input_gradient {
            let mut input = vec![0f32; n * inner];
            let (a, b) = (mat(&g, out, 1), mat(w, inner, 1));
            matmul((n, out, inner), &mut input, (inner, 1), false, a, b, Threads::Pool);
            Some(Tensor::from_vec(input, (n, inner), &Device::Cpu)?)
        } else {
            None
        };
        let weight = Tensor::from_vec(weight, (out, inner), &Device::Cpu)?;
        Ok((input, Some(weight), Some(Tensor::from_vec(bias, out, &Device::Cpu)?)))
    }
}

/// The sum of per-block sums, in the order of the blocks.
pub(super) fn add_up(sums: &[Vec<f32>], width: usize) -> Vec<f32> {
    (0..width).map(|c| sums.iter().map(|s| f64::from(s[c])).sum::<f64>() as f32).collect()
}
