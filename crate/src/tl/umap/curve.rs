//! The curve 1 / (1 + a·x^(2b)) that says how similar two points of the embedding are.

/// The `a` and `b` whose curve is nearest, by least squares at 300 points up to 3·`spread`, to one
/// that is 1 up to `min_dist` and falls exponentially beyond.
pub(super) fn find_ab(spread: f64, min_dist: f64) -> (f64, f64) {
    const POINTS: usize = 300;
    let at = |i: usize| 3.0 * spread * i as f64 / (POINTS - 1) as f64;
    let wanted = |x: f64| if x < min_dist { 1.0 } else { (-(x - min_dist) / spread).exp() };
    // Each round is a step of Levenberg and Marquardt; a few dozen are enough.
    let cost = |a: f64, b: f64| -> f64 {
        let residual = |i| wanted(at(i)) - curve(at(i), a, b);
        (0..POINTS).map(|i| residual(i).powi(2)).sum()
    };
    let (mut a, mut b, mut damping) = (1.0, 1.0, 1e-3);
    let mut best = cost(a, b);
    for _ in 0..500 {
        let (mut jj, mut jr) = ([0f64; 3], [0f64; 2]);
        for i in 1..POINTS {
            let x = at(i);
            let y = curve(x, a, b);
            let power = x.powf(2.0 * b);
            let da = -power * y * y;
            let db = -2.0 * a * x.ln() * power * y * y;
            let r = wanted(x) - y;
            jj = [jj[0] + da * da, jj[1] + da * db, jj[2] + db * db];
            jr = [jr[0] + da * r, jr[1] + db * r];
        }
        let (p, q) = (jj[0] * (1.0 + damping), jj[2] * (1.0 + damping));
        let det = p * q - jj[1] * jj[1];
        let step_a = (q * jr[0] - jj[1] * jr[1]) / det;
        let step_b = (p * jr[1] - jj[1] * jr[0]) / det;
        let (new_a, new_b) = (a + step_a, b + step_b);
        let reached = cost(new_a, new_b);
        if reached.is_finite() && reached <= best && new_a > 0.0 && new_b > 0.0 {
            let still = step_a.abs() <= 1e-14 * a && step_b.abs() <= 1e-14 * b;
            (a, b, best) = (new_a, new_b, reached);
            damping = (damping * 0.1).max(1e-15);
            if still {
                break;
            }
        } else {
            damping *= 10.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    (a, b)
}

fn curve(x: f64, a: f64, b: f64) -> f64 {
    1.0 / (1.0 + a * x.powf(2.0 * b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_that_of_umap_learn() {
        // umap.umap_.find_ab_params(spread, min_dist), umap-learn 0.5.12.
        for (spread, min_dist, a, b) in [
            (1.0, 0.5, 0.583_030_020_341, 1.334_166_992_431),
            (1.0, 0.1, 1.576_943_460_270, 0.895_060_877_852),
            (2.0, 0.3, 0.379_494_688_631, 0.948_815_219_444),
            (0.5, 0.0, 5.782_483_389_711, 0.790_495_107_034),
        ] {
            // The last of them stopped 5e-7 short of its optimum.
            let got = find_ab(spread, min_dist);
            let near = |x: f64, y: f64| (x - y).abs() < 1e-6 * y.max(1.0);
            assert!(near(got.0, a) && near(got.1, b), "{got:?} {a} {b}");
        }
    }
}
