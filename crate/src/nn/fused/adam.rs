//! Adam's pass over one parameter.
//!
//! The gradient of a weight, gᵀ x, is never stored: 6 × 16 numbers of it are summed in registers, and those
//! numbers of the weight move at once. Reading the weight and its moments from memory, which takes as long as
//! the product, then goes on beside it.

use super::super::adam::AdamStep;
use super::simd::{LANES, fma, vectorised};
use super::{Gradient, slice, with_scratch};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Var};
use rayon::prelude::*;
use std::sync::Mutex;

/// Elements that one task takes.
const CHUNK: usize = 16 * 1024;
/// Up to so many rows of x, which then fits the second-level cache, a weight moves tile by tile.
const FEW: usize = 192;
/// Rows of a tile; its columns are the lanes of a vector.
const TILE: usize = 6;

/// Moves `var` one step and updates its moments, in one pass.
pub(crate) fn adam(
    step: AdamStep,
    var: &Var,
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) -> Result<()> {
    if gradient.len() != first.len() {
        candle_core::bail!("Adam: {} gradients for {} numbers", gradient.len(), first.len());
    }
    let block = |p: &mut [f32], m: &mut [f32], v: &mut [f32], at: usize| {
        update(step, p, &gradient[at..at + p.len()], m, v);
    };
    var.inplace_op1(&Op { size: CHUNK, block, moments: Mutex::new((first, second)) })
}

/// As [`adam`], for a gradient that is made block by block.
pub(crate) fn adam_blocks(
    step: AdamStep,
    var: &Var,
    gradient: &Gradient,
    first: &mut [f32],
    second: &mut [f32],
) -> Result<()> {
    if let Gradient::Values(values) = gradient {
        return adam(step, var, values, first, second);
    }
    if !gradient.fits(first.len()) {
        candle_core::bail!("Adam: the gradient does not fit a parameter of {:?}", var.shape());
    }
    let width = gradient.width();
    if let Gradient::Product { g, x, rows } = gradient
        && *rows <= FEW
    {
        let (out, panels) = (g.len() / rows, panels(x, width));
        let block = |p: &mut [f32], m: &mut [f32], v: &mut [f32], at: usize| {
            with_scratch(rows * TILE, |turned| {
                turn(g, out, at / width, turned);
                strip(step, turned, &panels, width, p, m, v);
            });
        };
        let size = TILE * width;
        return var.inplace_op1(&Op { size, block, moments: Mutex::new((first, second)) });
    }
    // Whole rows, of which the gradient fits the second-level cache: a multiple of 48, which the
    // tiles of a product divide, where there are so many.
    let rows = (CHUNK * 3 / width).max(1);
    let rows = if rows > 48 { rows / 48 * 48 } else { rows };
    let size = rows * width;
    let block = |p: &mut [f32], m: &mut [f32], v: &mut [f32], at: usize| {
        with_scratch(p.len(), |g| {
            gradient.fill(at, g);
            update(step, p, g, m, v);
        });
    };
    var.inplace_op1(&Op { size, block, moments: Mutex::new((first, second)) })
}

/// Calls `block` with pieces of `size` numbers of a parameter and its moments, and where each starts.
struct Op<'a, F> {
    size: usize,
    block: F,
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
}

impl<F: Fn(&mut [f32], &mut [f32], &mut [f32], usize) + Sync> InplaceOp1 for Op<'_, F> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let count = slice(storage, layout)?.len();
        let start = layout.start_offset();
        let CpuStorage::F32(all) = storage else { candle_core::bail!("Adam: not f32") };
        let mut moments = super::lock(&self.moments);
        let (first, second) = &mut *moments;
        all[start..start + count]
            .par_chunks_mut(self.size)
            .zip(first.par_chunks_mut(self.size).zip(second.par_chunks_mut(self.size)))
            .enumerate()
            .for_each(|(i, (p, (m, v)))| (self.block)(p, m, v, i * self.size));
        Ok(())
    }
}

/// The columns of `x`, rows of `width` numbers, in panels of 16: `[panel][row][column]`, zeros behind the last.
fn panels(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.len() / width;
    let mut panels = vec![0f32; width.div_ceil(LANES) * rows * LANES];
    panels.par_chunks_mut(rows * LANES).enumerate().for_each(|(i, panel)| {
        let columns = i * LANES..width.min((i + 1) * LANES);
        for (panel, x) in panel.chunks_exact_mut(LANES).zip(x.chunks_exact(width)) {
            panel[..columns.len()].copy_from_slice(&x[columns.clone()]);
        }
    });
    panels
}

/// Columns `first..first + 6` of `g`, rows of `out` numbers: `[row][column]`, zeros behind the last.
fn turn(g: &[f32], out: usize, first: usize, turned: &mut [f32]) {
    let columns = first..out.min(first + TILE);
    for (turned, g) in turned.chunks_exact_mut(TILE).zip(g.chunks_exact(out)) {
        turned.fill(0.0);
        turned[..columns.len()].copy_from_slice(&g[columns.clone()]);
    }
}

vectorised! {
    /// Up to 6 rows of a weight of `width` columns, from what [`turn`] and [`panels`] made.
    fn strip(
        step: AdamStep,
        g: &[f32],
        panels: &[f32],
        width: usize,
        p: &mut [f32],
        m: &mut [f32],
        v: &mut [f32],
    ) {
        let (g, _) = g.as_chunks::<TILE>();
        let (panels, _) = panels.as_chunks::<LANES>();
        for (i, panel) in panels.chunks_exact(g.len()).enumerate() {
            let mut sums = [[0f32; LANES]; TILE];
            for (g, x) in g.iter().zip(panel) {
                for r in 0..TILE {
                    for l in 0..LANES {
                        sums[r][l] = fma::<FMA>(g[r], x[l], sums[r][l]);
                    }
                }
            }
            let first = i * LANES;
            let columns = LANES.min(width - first);
            let rows = p.chunks_exact_mut(width).zip(m.chunks_exact_mut(width)).zip(v.chunks_exact_mut(width));
            for (((p, m), v), sums) in rows.zip(&sums) {
                let (p, m, v) = (&mut p[first..], &mut m[first..], &mut v[first..]);
                match (p.first_chunk_mut(), m.first_chunk_mut(), v.first_chunk_mut()) {
                    (Some(p), Some(m), Some(v)) => {
                        let (p, m, v): (&mut [f32; LANES], &mut [f32; LANES], &mut [f32; LANES]) = (p, m, v);
                        for l in 0..LANES {
                            (p[l], m[l], v[l]) = moved::<FMA>(step, p[l], sums[l], m[l], v[l]);
                        }
                    }
                    _ => {
                        for l in 0..columns {
                            (p[l], m[l], v[l]) = moved::<FMA>(step, p[l], sums[l], m[l], v[l]);
                        }
                    }
                }
            }
        }
    }
}

vectorised! {
    fn update(step: AdamStep, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            (*p, *m, *v) = moved::<FMA>(step, *p, g, *m, *v);
        }
    }
}

/// A parameter and its moments after a step, from its gradient.
#[inline(always)]
fn moved<const FMA: bool>(step: AdamStep, p: f32, g: f32, m: f32, v: f32) -> (f32, f32, f32) {
    let g = fma::<FMA>(step.weight_decay, p, g);
    // torch's order: m + (g - m)(1 - β₁) and vβ₂ + (1 - β₂)g².
    let m = fma::<FMA>(g - m, step.rest1, m);
    let v = fma::<FMA>(step.rest2 * g, g, v * step.beta2);
    (p * step.keep - step.step_size * m / (v.sqrt() + step.epsilon), m, v)
}
