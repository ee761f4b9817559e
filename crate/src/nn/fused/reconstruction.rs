//! mean (relu(u Wᵀ + b) - x)² with its gradients, tile by tile: the reconstruction, as large as x
//! itself, is never stored.

use super::schedule::Schedule;
use super::simd::{LANES, prefetch, vectorised};
use super::{Threads, elements, lock, mat, matmul, output, slice, transpose, with_scratch};
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Mutex;

/// Rows and columns of a tile.
const ROWS: usize = 192;
const COLUMNS: usize = 240;

/// Rows ahead of the one in work whose piece of x is asked for: the pieces lie far apart in memory.
const AHEAD: usize = 2;

/// The operation on (u, W, b); see [`reconstruction_loss`](crate::nn::reconstruction_loss).
pub(crate) struct ReconstructionOp {
    target: Tensor,
    gradients: Mutex<Option<ReconstructionGradients>>,
}

/// The gradients of u, W and b.
pub(crate) struct ReconstructionGradients {
    pub u: Vec<f32>,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl ReconstructionOp {
    /// The loss as a tensor of the graph.
    pub fn apply(
        u: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        target: &Tensor,
    ) -> crate::Result<Tensor> {
        let op = ReconstructionOp { target: target.contiguous()?, gradients: Mutex::default() };
        Ok(u.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)?)
    }
}

impl CustomOp3 for ReconstructionOp {
    fn name(&self) -> &'static str {
        "reconstruction-loss"
    }

    fn cpu_fwd(
        &self,
        u: &CpuStorage,
        u_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (n, k) = u_layout.shape().dims2()?;
        let (m, w_k) = w_layout.shape().dims2()?;
        if k != w_k || b_layout.dims() != [m] || self.target.dims() != [n, m] {
            candle_core::bail!(
                "reconstruction: {n} × {k} rows, {m} × {w_k} weight, another target"
            );
        }
        let (u, w, b) = (slice(u, u_layout)?, slice(w, w_layout)?, slice(b, b_layout)?);
        elements!(x, self.target);
        let (loss, gradients) = reconstruct((n, k, m), u, w, b, x);
        *lock(&self.gradients) = Some(gradients);
        Ok(output(vec![loss as f32], ()))
    }

    fn bwd(
        &self,
        u: &Tensor,
        w: &Tensor,
        b: &Tensor,
        _loss: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let factor = gradient.to_scalar::<f32>()?;
        let stored = lock(&self.gradients).take();
        let Some(g) = stored else { candle_core::bail!("reconstruction: a second backward pass") };
        let tensor = |mut values: Vec<f32>, like: &Tensor| {
            values.iter_mut().for_each(|v| *v *= factor);
            Tensor::from_vec(values, like.shape(), &Device::Cpu).map(Some)
        };
        Ok((tensor(g.u, u)?, tensor(g.weight, w)?, tensor(g.bias, b)?))
    }
}

/// What the tiles of one block of columns add to: the transposed weight and the bias.
struct Column {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

/// Loss and gradients for `n` rows of u of length `k` and `m` columns of x.
pub(crate) fn reconstruct(
    (n, k, m): (usize, usize, usize),
    u: &[f32],
    w: &[f32],
    b: &[f32],
    x: &[f32],
) -> (f64, ReconstructionGradients) {
    // Operands both ways round, so that no product has to rearrange them.
    let turned = |source: &[f32], block: usize| -> Vec<Vec<f32>> {
        let turn = |rows: &[f32]| {
            let mut t = vec![0f32; rows.len()];
            transpose(rows, rows.len() / k, k, &mut t, rows.len() / k);
            t
        };
        source.par_chunks(block * k).map(turn).collect()
    };
    let (u_t, w_t) = (turned(u, ROWS), turned(w, COLUMNS));
    let mut u_gradient = vec![0f32; n * k];
    let u_blocks: Vec<Mutex<&mut [f32]>> =
        u_gradient.chunks_mut(ROWS * k).map(Mutex::new).collect();
    let columns: Vec<Mutex<Column>> = w_t
        .iter()
        .map(|w| Column { weight: vec![0f32; w.len()], bias: vec![0f32; w.len() / k] })
        .map(Mutex::new)
        .collect();
    let scale = (2.0 / (n as f64 * m as f64)) as f32;

    let parts = Schedule::grid(u_blocks.len(), columns.len()).run(|i, j| {
        let (rows, cols) = (u_t[i].len() / k, w_t[j].len() / k);
        let u_rows = &u[i * ROWS * k..][..rows * k];
        let w_rows = &w[j * COLUMNS * k..][..cols * k];
        with_scratch(rows * cols, |h| {
            // h, and then its gradient, with a spot's genes side by side.
            let (a, c) = (mat(&w_t[j], 1, cols), mat(u_rows, 1, k));
            matmul((cols, k, rows), h, (1, cols), false, a, c, Threads::One);
            let mut column = lock(&columns[j]);
            let column = &mut *column;
            let mut sum = 0f64;
            let of_row = |r: usize| &x[(i * ROWS + r) * m + j * COLUMNS..][..cols];
            for (r, h) in h.chunks_exact_mut(cols).enumerate() {
                let x = of_row(r);
                prefetch(of_row((r + AHEAD).min(rows - 1)));
                let b = &b[j * COLUMNS..][..cols];
                sum += f64::from(errors(h, b, x, scale, &mut column.bias));
            }
            let (a, c) = (mat(h, 1, cols), mat(&u_t[i], 1, rows));
            matmul((cols, rows, k), &mut column.weight, (1, cols), true, a, c, Threads::One);
            let mut to = lock(&u_blocks[i]);
            let (a, c) = (mat(w_rows, 1, k), mat(h, 1, cols));
            matmul((k, cols, rows), &mut to, (1, k), true, a, c, Threads::One);
            sum
        })
    });
    let loss: f64 = parts.iter().sum();
    drop(u_blocks);

    let mut weight = vec![0f32; m * k];
    let mut bias = Vec::with_capacity(m);
    for (rows, column) in weight.chunks_mut(COLUMNS * k).zip(columns) {
        let column = column.into_inner().unwrap_or_else(|e| e.into_inner());
        transpose(&column.weight, k, rows.len() / k, rows, k);
        bias.extend(column.bias);
    }
    (loss / (n as f64 * m as f64), ReconstructionGradients { u: u_gradient, weight, bias })
}

vectorised! {
    /// Turns one spot's part of h into its gradient, adds that to the bias's, and returns the sum
    /// of squared errors.
    fn errors(h: &mut [f32], bias: &[f32], x: &[f32], scale: f32, total: &mut [f32]) -> f32 {
        let n = h.len();
        let (bias, x, total) = (&bias[..n], &x[..n], &mut total[..n]);
        let mut lanes = [0f32; LANES];
        let whole = n / LANES * LANES;
        let one = |h: &mut f32, b: f32, x: f32, total: &mut f32, sum: &mut f32| {
            let y = *h + b;
            let error = y.max(0.0) - x;
            *sum += error * error;
            *h = if y > 0.0 { scale * error } else { 0.0 };
            *total += *h;
        };
        for start in (0..whole).step_by(LANES) {
            for l in 0..LANES {
                let i = start + l;
                one(&mut h[i], bias[i], x[i], &mut total[i], &mut lanes[l]);
            }
        }
        let mut rest = 0f32;
        for i in whole..n {
            one(&mut h[i], bias[i], x[i], &mut total[i], &mut rest);
        }
        lanes.iter().sum::<f32>() + rest
    }
}
