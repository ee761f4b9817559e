//! More ways to say how well two labelings agree, beside [`ari`](super::ari) and
//! [`nmi`](super::nmi).
//!
//! All match scikit-learn 1.9 within 1e-10. Observations whose label is missing on either side are
//! left out. All fail with [`Error::Shape`](crate::Error::Shape) when the lengths differ and
//! [`Error::Data`](crate::Error::Data) when no observation is labelled on both sides.

use super::Labels;
use super::metrics::{Contingency, contingency};
use crate::error::Result;
use std::collections::BTreeMap;

/// Homogeneity, completeness and V-measure of a clustering (Rosenberg and Hirschberg, 2007).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VMeasure {
    /// 1 when each cluster holds members of one class only.
    pub homogeneity: f64,
    /// 1 when all members of a class are in the same cluster.
    pub completeness: f64,
    /// The harmonic mean of both; equals [`nmi`](super::nmi).
    pub v_measure: f64,
}

/// Homogeneity, completeness and V-measure of a clustering, given the true classes.
/// `sklearn.metrics.homogeneity_completeness_v_measure`.
///
/// # Errors
/// As this module says: other lengths, nothing labelled on both sides.
pub fn v_measure(
    truth: &(impl Labels + ?Sized),
    clusters: &(impl Labels + ?Sized),
) -> Result<VMeasure> {
    let t = contingency(truth, clusters)?;
    let information = t.information();
    let over = |entropy: f64| if entropy == 0.0 { 1.0 } else { information / entropy };
    let homogeneity = over(t.entropy(&t.rows));
    let completeness = over(t.entropy(&t.columns));
    let sum = homogeneity + completeness;
    let v_measure = if sum == 0.0 { 0.0 } else { 2.0 * homogeneity * completeness / sum };
    Ok(VMeasure { homogeneity, completeness, v_measure })
}

/// Fowlkes–Mallows index (1983): the geometric mean of precision and recall of the pairs that are
/// together. `sklearn.metrics.fowlkes_mallows_score`.
///
/// # Errors
/// As this module says: other lengths, nothing labelled on both sides.
pub fn fowlkes_mallows(a: &(impl Labels + ?Sized), b: &(impl Labels + ?Sized)) -> Result<f64> {
    let t = contingency(a, b)?;
    let pairs = |v: &mut dyn Iterator<Item = u64>| {
        v.map(|x| i128::from(x).pow(2)).sum::<i128>() - i128::from(t.n)
    };
    let together = pairs(&mut t.pairs.values().copied()) as f64;
    let rows = pairs(&mut t.rows.iter().copied()) as f64;
    let columns = pairs(&mut t.columns.iter().copied()) as f64;
    Ok(if together == 0.0 { 0.0 } else { (together / rows).sqrt() * (together / columns).sqrt() })
}

/// Purity of a clustering: the part of the observations whose class is the most frequent one of
/// their cluster.
///
/// # Errors
/// As this module says: other lengths, nothing labelled on both sides.
pub fn purity(truth: &(impl Labels + ?Sized), clusters: &(impl Labels + ?Sized)) -> Result<f64> {
    let t = contingency(truth, clusters)?;
    let mut most = vec![0u64; t.columns.len()];
    for (&(_, cluster), &count) in &t.pairs {
        most[cluster] = most[cluster].max(count);
    }
    Ok(most.iter().sum::<u64>() as f64 / t.n as f64)
}

/// Mutual information adjusted for chance (Vinh, Epps and Bailey, 2010): 1 for the same partition,
/// 0 on average for unrelated ones of these sizes. `sklearn.metrics.adjusted_mutual_info_score`.
///
/// # Errors
/// As this module says: other lengths, nothing labelled on both sides.
pub fn adjusted_mutual_info(a: &(impl Labels + ?Sized), b: &(impl Labels + ?Sized)) -> Result<f64> {
    let t = contingency(a, b)?;
    let count = |totals: &[u64]| totals.iter().filter(|&&x| x > 0).count();
    match (count(&t.rows), count(&t.columns)) {
        (1, 1) => return Ok(1.0),
        (1, _) | (_, 1) => return Ok(0.0),
        _ => {}
    }
    let expected = expected_information(&t);
    let mean = (t.entropy(&t.rows) + t.entropy(&t.columns)) / 2.0;
    let away_from_zero = |x: f64| if x < 0.0 { x.min(-f64::EPSILON) } else { x.max(f64::EPSILON) };
    Ok(away_from_zero(t.information() - expected) / away_from_zero(mean - expected))
}

/// The mutual information that two random partitions with groups of these sizes have on average.
/// Groups of one size are counted together, so that the work is bounded by the distinct sizes.
fn expected_information(t: &Contingency) -> f64 {
    let n = t.n as usize;
    let mut ln_factorial = vec![0f64; n + 1];
    for i in 1..=n {
        ln_factorial[i] = ln_factorial[i - 1] + (i as f64).ln();
    }
    let sizes = |totals: &[u64]| {
        let mut map = BTreeMap::<usize, f64>::new();
        totals.iter().filter(|&&x| x > 0).for_each(|&x| *map.entry(x as usize).or_default() += 1.0);
        map
    };
    let (rows, columns) = (sizes(&t.rows), sizes(&t.columns));
    let f = |i: usize| ln_factorial[i];
    let mut total = 0.0;
    for (&a, &times_a) in &rows {
        for (&b, &times_b) in &columns {
            let fixed = f(a) + f(b) + f(n - a) + f(n - b) - f(n);
            let first = 1.max((a + b).saturating_sub(n));
            let mut sum = 0.0;
            for both in first..=a.min(b) {
                let ways = f(both) + f(a - both) + f(b - both) + f(n + both - a - b);
                let ratio = (n as f64 * both as f64 / (a as f64 * b as f64)).ln();
                sum += both as f64 / n as f64 * ratio * (fixed - ways).exp();
            }
            total += times_a * times_b * sum;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;
    use crate::tl;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 1e-12, "{got} is not {expected}");
    }

    #[test]
    fn known_values() {
        // scikit-learn 1.9 on ([0,0,1,1,2,2,2], [0,0,1,2,2,2,1]).
        let (a, b) = ([0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 2, 2, 2, 1]);
        let v = v_measure(&a, &b).unwrap();
        close(v.v_measure, tl::nmi(&a, &b).unwrap());
        close(v.homogeneity, 0.5636355530993448);
        close(adjusted_mutual_info(&a, &b).unwrap(), 0.25815114147024704);
        close(fowlkes_mallows(&a, &b).unwrap(), 0.4);
        close(purity(&a, &b).unwrap(), 5.0 / 7.0);
    }

    #[test]
    fn the_same_partition_scores_one_and_a_single_group_nothing() {
        let (a, b, one) = ([0, 0, 1, 1], ["x", "x", "y", "y"], [7; 4]);
        close(adjusted_mutual_info(&a, &b).unwrap(), 1.0);
        close(fowlkes_mallows(&a, &b).unwrap(), 1.0);
        close(v_measure(&a, &b).unwrap().homogeneity, 1.0);
        assert_eq!(adjusted_mutual_info(&one, &one).unwrap(), 1.0);
        assert_eq!(adjusted_mutual_info(&a, &one).unwrap(), 0.0);
        let v = v_measure(&a, &one).unwrap();
        assert_eq!((v.homogeneity, v.completeness, v.v_measure), (0.0, 1.0, 0.0));
        assert_eq!(fowlkes_mallows(&[0, 1, 2], &[0, 0, 0]).unwrap(), 0.0);
    }

    #[test]
    fn all_different_labels_cost_no_square_of_their_number() {
        let different: Vec<usize> = (0..20_000).collect();
        let halves: Vec<usize> = different.iter().map(|i| i % 2).collect();
        assert!(adjusted_mutual_info(&different, &halves).unwrap().abs() < 1e-9);
    }

    #[test]
    fn missing_labels_are_left_out() {
        let a = Categorical::from_labels(&[Some("a"), None, Some("b"), Some("b")]);
        assert_eq!(purity(&a, &[0, 1, 1, 1]).unwrap(), 1.0);
        assert!(v_measure(&a, &[0, 1]).is_err());
        assert!(purity(&Categorical::from_labels(&[None::<&str>; 2]), &[1, 2]).is_err());
    }

    #[test]
    fn one_observation_agrees_with_itself() {
        let v = v_measure(&[3], &["x"]).unwrap();
        assert_eq!((v.homogeneity, v.completeness, v.v_measure), (1.0, 1.0, 1.0));
        assert_eq!((tl::ari(&[3], &["x"]).unwrap(), tl::nmi(&[3], &["x"]).unwrap()), (1.0, 1.0));
        assert_eq!(adjusted_mutual_info(&[3], &["x"]).unwrap(), 1.0);
        assert_eq!(purity(&[3], &["x"]).unwrap(), 1.0);
        // It makes no pair.
        assert_eq!(fowlkes_mallows(&[3], &["x"]).unwrap(), 0.0);
    }
}
