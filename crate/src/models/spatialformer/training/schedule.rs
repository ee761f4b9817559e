//! The learning rate and the weight of the co-occurrence loss, step by step.

/// The least learning rate.
const LEAST: f64 = 1e-5;
/// Steps before the weight of the co-occurrence loss begins to fall.
const CONSTANT: usize = 100;

/// The learning rate of an optimizer's step, from 0: it rises over `warmup` steps and falls along a cosine
/// that would reach 0 after `length`; never below 1e-5.
pub(super) fn learning_rate(base: f64, step: usize, warmup: usize, length: usize) -> f64 {
    let mut factor = 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / length as f64).cos());
    if step <= warmup {
        factor *= step as f64 / warmup.max(1) as f64;
    }
    (base * factor).max(LEAST)
}

/// The weight of the co-occurrence loss: 1 for 100 steps, then falling to 0 at `total`.
pub(super) fn scale(step: usize, total: usize) -> f64 {
    if step < CONSTANT {
        return 1.0;
    }
    let (left, all) = (total as f64 - step as f64, total.saturating_sub(CONSTANT).max(1) as f64);
    (left / all).max(0.0)
}
