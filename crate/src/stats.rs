//! Distributions, ranks and corrections that tests of hypotheses need, on plain numbers.
//!
//! Tails are computed as tails (not as 1 − something), so that a p-value of 1e-200 is one. Special
//! functions come from `statrs`; each function names the one of scipy that it equals.

use statrs::function::beta::checked_beta_reg;
use statrs::function::erf::erfc;
use statrs::function::gamma::ln_gamma;

/// P(X > x) of the standard normal distribution: `scipy.stats.norm.sf`.
pub fn normal_sf(x: f64) -> f64 {
    0.5 * erfc(x * std::f64::consts::FRAC_1_SQRT_2)
}

/// P(|T| > |t|) of Student's t distribution with `df` degrees of freedom:
/// `2 * scipy.stats.t.sf(abs(t), df)`. NaN where `df` is not above 0.
pub fn student_t_two_sided(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    if df.is_infinite() {
        return 2.0 * normal_sf(t.abs());
    }
    checked_beta_reg(0.5 * df, 0.5, df / (df + t * t)).unwrap_or(f64::NAN)
}

/// P(X ≥ k) of the hypergeometric distribution, for `k` marked among `draws` out of `total` items of
/// which `marked` are marked: `scipy.stats.hypergeom.sf(k - 1, total, marked, draws)`.
pub fn hypergeometric_sf(k: u64, total: u64, marked: u64, draws: u64) -> f64 {
    let lowest = (marked + draws).saturating_sub(total);
    let highest = marked.min(draws);
    if k <= lowest {
        return 1.0;
    }
    if k > highest {
        return 0.0;
    }
    let ln_choose = |n: u64, k: u64| {
        ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0)
    };
    // The terms relative to the first one, each from the one before: no cancellation.
    let mut term = 1.0;
    let mut sum = 1.0;
    for i in k..highest {
        let up = (marked - i) as f64 * (draws - i) as f64;
        let down = (i + 1) as f64 * (total + i + 1 - marked - draws) as f64;
        term *= up / down;
        sum += term;
    }
    let first =
        ln_choose(marked, k) + ln_choose(total - marked, draws - k) - ln_choose(total, draws);
    (first.exp() * sum).min(1.0)
}

/// Benjamini–Hochberg adjusted p-values: `statsmodels`' `multipletests(method="fdr_bh")`. NaN stay
/// NaN and do not count.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|&i| !p[i].is_nan()).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let n = order.len() as f64;
    let mut adjusted = vec![f64::NAN; p.len()];
    let mut lowest = 1f64;
    for (from_top, &i) in order.iter().enumerate() {
        lowest = lowest.min(p[i] * n / (n - from_top as f64));
        adjusted[i] = lowest;
    }
    adjusted
}

/// Bonferroni's correction: p times the number of tests, at most 1. NaN stay NaN and do not count.
pub fn bonferroni(p: &[f64]) -> Vec<f64> {
    let tests = p.iter().filter(|p| !p.is_nan()).count() as f64;
    p.iter().map(|&p| if p.is_nan() { p } else { (p * tests).min(1.0) }).collect()
}

/// Ranks from 1, equal values sharing the mean of theirs: `scipy.stats.rankdata`. Values must not
/// be NaN.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    // `==` and not the order's own equality, so that 0 and −0 are a tie.
    for tie in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = start as f64 + (tie.len() + 1) as f64 / 2.0;
        tie.iter().for_each(|&i| ranks[i] = mean);
        start += tie.len();
    }
    ranks
}

/// The two-sided p-value of the Mann–Whitney test of two samples, by the normal approximation with
/// the correction for ties and for continuity:
/// `scipy.stats.mannwhitneyu(a, b, method="asymptotic").pvalue`. NaN when a sample is empty, 1 when
/// nothing varies.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len() as f64, b.len() as f64);
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    if a.is_empty() || b.is_empty() || all.iter().any(|x| x.is_nan()) {
        return f64::NAN;
    }
    let ranks = average_ranks(&all);
    let u = ranks[..a.len()].iter().sum::<f64>() - n * (n + 1.0) / 2.0;
    let mut sorted = ranks;
    sorted.sort_unstable_by(f64::total_cmp);
    let cube = |t: &[f64]| (t.len() as f64).powi(3) - t.len() as f64;
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(cube).sum();
    let total = n + m;
    let spread = (n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)))).sqrt();
    let distance = (u - n * m / 2.0).abs() - 0.5;
    let p = 2.0 * normal_sf(distance / spread);
    if p.is_nan() { p } else { p.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-10 * expected.abs(), "{got} is not {expected}");
    }

    #[test]
    fn tails_equal_scipys() {
        // scipy 1.17: norm.sf(x) and 2 * t.sf(t, df).
        close(normal_sf(0.0), 0.5);
        close(normal_sf(-1.0), 0.8413447460685429);
        close(normal_sf(5.0), 2.866515718791933e-7);
        close(normal_sf(30.0), 4.906713927147908e-198);
        close(student_t_two_sided(2.0, 7.3), 0.08394103933410313);
        close(student_t_two_sided(-45.0, 120.0), 5.482417119124866e-77);
        close(student_t_two_sided(0.0, 3.0), 1.0);
        assert!(student_t_two_sided(1.0, 0.0).is_nan());
        assert_eq!(student_t_two_sided(f64::INFINITY, 5.0), 0.0);
    }

    #[test]
    fn the_hypergeometric_tail_equals_scipys() {
        // scipy 1.17: hypergeom.sf(k - 1, total, marked, draws).
        close(hypergeometric_sf(5, 100, 20, 10), 0.025464546427043128);
        close(hypergeometric_sf(60, 20_000, 150, 300), 1.1257189029948746e-70);
        assert_eq!(hypergeometric_sf(0, 10, 3, 2), 1.0);
        assert_eq!(hypergeometric_sf(4, 10, 3, 5), 0.0);
    }

    #[test]
    fn corrections_and_ranks_equal_the_references() {
        let p = [0.01, 0.04, f64::NAN, 0.03, 0.5];
        let q = benjamini_hochberg(&p);
        for (got, expected) in q.iter().zip([0.04, 0.16 / 3.0, f64::NAN, 0.16 / 3.0, 0.5]) {
            assert!(got.is_nan() == expected.is_nan());
            assert!(got.is_nan() || (got - expected).abs() < 1e-15);
        }
        let b = bonferroni(&p);
        assert!(b[2].is_nan() && b[0] == 0.04 && b[4] == 1.0, "{b:?}");
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, -0.0, 0.0]), [4.5, 3.0, 4.5, 1.5, 1.5]);
        let (a, b) = ([1.0, 2.0, 2.0, 5.0, 7.0], [2.0, 6.0, 8.0, 9.0, 9.5, 10.0]);
        close(mann_whitney(&a, &b), 0.05302739120252687);
        assert!(mann_whitney(&[1.0], &[]).is_nan());
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0]), 1.0);
    }
}
