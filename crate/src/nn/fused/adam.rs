//! Adam's pass over one parameter.

use super::super::adam::AdamStep;
use super::simd::{fma, vectorised};
use super::slice;
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
    var.inplace_op1(&Op { step, gradient, moments: Mutex::new((first, second)) })
}

struct Op<'a> {
    step: AdamStep,
    gradient: &'a [f32],
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
}

impl InplaceOp1 for Op<'_> {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        slice(storage, layout)?;
        let start = layout.start_offset();
        let CpuStorage::F32(all) = storage else { candle_core::bail!("Adam: not f32") };
        let parameter = &mut all[start..start + self.gradient.len()];
        let mut moments = super::lock(&self.moments);
        let (first, second) = &mut *moments;
        parameter
            .par_chunks_mut(CHUNK)
            .zip(self.gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
            .for_each(|((p, g), (m, v))| update(self.step, p, g, m, v));
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
            *p -= step.step_size * *m / (v.sqrt() / step.root_correction + step.epsilon);
        }
    }
}
