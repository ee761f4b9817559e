//! Weights of neighbours whose perplexity is the one asked for: t-SNE's affinities and the surroundings
//! of LISI.

/// The weights exp(-β·d) of distances d (squared ones for a Gaussian), adding up to 1, whose entropy is
/// the logarithm of the perplexity; β by bisection to 1e-5, as in scikit-learn and harmonypy.
pub(super) fn conditional(distances: &[f64], perplexity: f64) -> Vec<f64> {
    let wanted = perplexity.ln();
    let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
    let (mut beta, mut low, mut high) = (1.0, f64::NEG_INFINITY, f64::INFINITY);
    let mut p = vec![0f64; distances.len()];
    for _ in 0..100 {
        // The nearest distance cancels out, and without it nothing underflows.
        let mut sum = 0.0;
        for (p, &d) in p.iter_mut().zip(distances) {
            *p = (-beta * (d - nearest)).exp();
            sum += *p;
        }
        let mut mean = 0.0;
        for (p, &d) in p.iter_mut().zip(distances) {
            *p /= sum;
            mean += *p * (d - nearest);
        }
        let off = sum.ln() + beta * mean - wanted;
        if off.abs() <= 1e-5 {
            break;
        }
        if off > 0.0 {
            low = beta;
            beta = if high.is_infinite() { beta * 2.0 } else { (beta + high) / 2.0 };
        } else {
            high = beta;
            beta = if low.is_infinite() { beta / 2.0 } else { (beta + low) / 2.0 };
        }
    }
    p
}
