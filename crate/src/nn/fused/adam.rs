//! Adam's pass over one parameter.

use super::super::adam::AdamStep;
use super::simd::{fma, vectorised};
use super::{Gradient, slice, with_scratch};
use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Var};
use rayon::prelude::*;
use std::sync::Mutex;

/// Elements that one task takes.
const CHUNK: usize = 16 * 1024;

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
    // Whole rows, of which the gradient fits the second-level cache: a multiple of 48, which the
    // tiles of a product divide, where there are so many.
    let rows = (CHUNK * 3 / gradient.width()).max(1);
    let rows = if rows > 48 { rows / 48 * 48 } else { rows };
    let size = rows * gradient.width();
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

vectorised! {
    fn update(step: AdamStep, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            let g = fma::<FMA>(step.weight_decay, *p, g);
            // torch's order: m + (g - m)(1 - β₁) and vβ₂ + (1 - β₂)g².
            *m = fma::<FMA>(g - *m, step.rest1, *m);
            *v = fma::<FMA>(step.rest2 * g, g, *v * step.beta2);
            let change = step.step_size * *m / (v.sqrt() / step.root_correction + step.epsilon);
            *p = *p * step.keep - change;
        }
    }
}
