//! The tests of one gene: every group against the rest, or against one other group.

use super::blocks::Entry;
use crate::stats::{normal_sf, student_t_two_sided};

/// What is asked of every gene. Groups are numbered from 0; cells of none of them have the number
/// `sizes.len() - 1`, so that `sizes` covers all cells.
pub(super) struct Plan {
    /// Cells of each group, and last those of none.
    pub sizes: Vec<usize>,
    /// Compare with this group rather than with all other cells.
    pub reference: Option<usize>,
    pub test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Test {
    Wilcoxon { tie_correct: bool },
    Welch { overestimate: bool },
}

/// What a gene tells about one group.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Outcome {
    pub score: f64,
    pub pval: f64,
    /// Mean in the group and in what it is compared with.
    pub means: [f64; 2],
    /// How many cells of the group, and of the others, are not zero.
    pub nonzero: [usize; 2],
}

/// Size, mean, sum of squares about the mean, and number of non-zeros of some cells.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    mean: f64,
    square: f64,
    nonzero: usize,
}

impl Moments {
    /// Those of both together (Chan, Golub and LeVeque, 1979): unlike differences of sums, exact
    /// where one side is constant.
    fn with(self, other: Moments) -> Moments {
        if self.n == 0.0 || other.n == 0.0 {
            return if self.n == 0.0 { other } else { self };
        }
        let n = self.n + other.n;
        let apart = other.mean - self.mean;
        Moments {
            n,
            mean: self.mean + apart * (other.n / n),
            square: self.square + other.square + apart * apart * self.n * other.n / n,
            nonzero: self.nonzero + other.nonzero,
        }
    }

    /// Variance with ddof 1; rounding about a constant counts as none.
    fn variance(self) -> f64 {
        let floor = 1e-24 * self.mean * self.mean * self.n;
        if self.square <= floor { 0.0 } else { self.square / (self.n - 1.0).max(1.0) }
    }
}

/// The outcome for every group (0 for the reference itself, which nothing is asked of).
pub(super) fn test_gene<E: Entry>(plan: &Plan, entries: &mut [E]) -> Vec<Outcome> {
    let groups = plan.sizes.len() - 1;
    let moments = moments(&plan.sizes, entries);
    let others = others(&moments, plan.reference);
    let mut out: Vec<Outcome> = (0..groups)
        .map(|g| Outcome {
            means: [moments[g].mean, others[g].mean],
            nonzero: [moments[g].nonzero, others[g].nonzero],
            ..Outcome::default()
        })
        .collect();
    match plan.test {
        Test::Welch { overestimate } => {
            for (g, o) in out.iter_mut().enumerate() {
                (o.score, o.pval) = welch(moments[g], others[g], overestimate);
            }
        }
        Test::Wilcoxon { tie_correct } => {
            entries.sort_unstable();
            let scores = match plan.reference {
                None => against_rest(&plan.sizes, entries, tie_correct),
                Some(r) => against_one(&plan.sizes, entries, r, tie_correct),
            };
            for (o, z) in out.iter_mut().zip(scores) {
                // Nothing varies: no evidence.
                o.score = if z.is_nan() { 0.0 } else { z };
                o.pval = 2.0 * normal_sf(o.score.abs());
            }
        }
    }
    out
}

fn moments<E: Entry>(sizes: &[usize], entries: &[E]) -> Vec<Moments> {
    let mut out: Vec<Moments> =
        sizes.iter().map(|&n| Moments { n: n as f64, ..Moments::default() }).collect();
    for e in entries {
        let m = &mut out[e.group()];
        m.mean += e.value();
        m.nonzero += 1;
    }
    for m in out.iter_mut().filter(|m| m.n > 0.0) {
        m.mean /= m.n;
        m.square = (m.n - m.nonzero as f64) * m.mean * m.mean;
    }
    for e in entries {
        let m = &mut out[e.group()];
        m.square += (e.value() - m.mean).powi(2);
    }
    out
}

/// What each group is compared with.
fn others(moments: &[Moments], reference: Option<usize>) -> Vec<Moments> {
    if let Some(r) = reference {
        return vec![moments[r]; moments.len() - 1];
    }
    // All before and all after it: sums of what belongs there, never differences.
    let mut after = vec![Moments::default(); moments.len() + 1];
    for g in (0..moments.len()).rev() {
        after[g] = moments[g].with(after[g + 1]);
    }
    let mut before = Moments::default();
    (0..moments.len() - 1)
        .map(|g| {
            let rest = before.with(after[g + 1]);
            before = before.with(moments[g]);
            rest
        })
        .collect()
}

/// Welch's t and its two-sided p-value, as scipy's `ttest_ind_from_stats`.
fn welch(a: Moments, b: Moments, overestimate: bool) -> (f64, f64) {
    let (va, vb) = (a.variance(), b.variance());
    let nb = if overestimate { a.n } else { b.n };
    let (ea, eb) = (va / a.n, vb / nb);
    let apart = a.mean - b.mean;
    let rounding = 1e-12 * a.mean.abs().max(b.mean.abs());
    if ea + eb == 0.0 && apart.abs() <= rounding {
        return (0.0, 1.0);
    }
    let df = (ea + eb).powi(2) / (ea * ea / (a.n - 1.0) + eb * eb / (nb - 1.0));
    let t = apart / (ea + eb).sqrt();
    (t, student_t_two_sided(t, if df.is_nan() { 1.0 } else { df }))
}

/// z of each group's rank sum among all cells. Zeros are one tie, between the negative and the
/// positive elements.
fn against_rest<E: Entry>(sizes: &[usize], sorted: &[E], tie_correct: bool) -> Vec<f64> {
    let n: usize = sizes.iter().sum();
    let zeros = n - sorted.len();
    let negative = sorted.partition_point(|e| e.value() < 0.0);
    let mut sums = vec![0f64; sizes.len()];
    let mut free = sizes.to_vec();
    let mut ties = cube(zeros);
    let mut at = 0;
    for tie in sorted.chunk_by(|a, b| a.value() == b.value()) {
        let below = at + if at >= negative { zeros } else { 0 };
        let rank = below as f64 + (tie.len() + 1) as f64 / 2.0;
        for e in tie {
            sums[e.group()] += rank;
            free[e.group()] -= 1;
        }
        ties += cube(tie.len());
        at += tie.len();
    }
    let zero_rank = negative as f64 + (zeros + 1) as f64 / 2.0;
    let z = |g: usize| {
        let sum = sums[g] + free[g] as f64 * zero_rank;
        score(sum, sizes[g], n - sizes[g], if tie_correct { ties } else { 0.0 })
    };
    (0..sizes.len() - 1).map(z).collect()
}

/// z of each group's rank sum among its cells and those of the reference.
fn against_one<E: Entry>(
    sizes: &[usize],
    sorted: &[E],
    reference: usize,
    tie_correct: bool,
) -> Vec<f64> {
    // The elements of each group, still in order.
    let mut starts = vec![0usize; sizes.len() + 1];
    sorted.iter().for_each(|e| starts[e.group() + 1] += 1);
    (0..sizes.len()).for_each(|g| starts[g + 1] += starts[g]);
    let mut next = starts.clone();
    let mut values = vec![0f64; sorted.len()];
    for e in sorted {
        values[next[e.group()]] = e.value();
        next[e.group()] += 1;
    }
    let of = |g: usize| &values[starts[g]..starts[g + 1]];
    let b = of(reference);
    let z = |g: usize| {
        let a = of(g);
        let zeros = [sizes[g] - a.len(), sizes[reference] - b.len()];
        // Steps through the distinct values of both, the zeros among them.
        let (mut i, mut j, mut below) = (0, 0, 0usize);
        let (mut sum, mut ties) = (0f64, 0f64);
        let mut pending = zeros[0] + zeros[1] > 0;
        loop {
            let ahead = |v: &[f64], i: usize| v.get(i).copied().unwrap_or(f64::INFINITY);
            let mut value = ahead(a, i).min(ahead(b, j));
            let (mut own, mut all) = (0, 0);
            if pending && value > 0.0 {
                (own, all, pending, value) = (zeros[0], zeros[0] + zeros[1], false, 0.0);
            } else if value == f64::INFINITY {
                break;
            }
            while i < a.len() && a[i] == value {
                (i, own, all) = (i + 1, own + 1, all + 1);
            }
            while j < b.len() && b[j] == value {
                (j, all) = (j + 1, all + 1);
            }
            sum += own as f64 * (below as f64 + (all + 1) as f64 / 2.0);
            ties += cube(all);
            below += all;
        }
        score(sum, sizes[g], sizes[reference], if tie_correct { ties } else { 0.0 })
    };
    (0..sizes.len() - 1).map(|g| if g == reference { 0.0 } else { z(g) }).collect()
}

/// Σ(t³ − t) is what ties of sizes t take from the variance of ranks.
fn cube(t: usize) -> f64 {
    (t as f64).powi(3) - t as f64
}

/// z of a rank sum over `n` of n + m cells, without correction for continuity.
fn score(sum: f64, n: usize, m: usize, ties: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let all = n + m;
    let coefficient = if ties == 0.0 { 1.0 } else { 1.0 - ties / (all.powi(3) - all) };
    let spread = (coefficient * n * m * (all + 1.0) / 12.0).sqrt();
    (sum - n * (all + 1.0) / 2.0) / spread
}

#[cfg(test)]
mod tests {
    use super::super::blocks::Wide;
    use super::*;
    use crate::rng::Rng;
    use crate::stats::average_ranks;

    /// Cells in 3 groups and outside, with negative numbers, zeros and ties.
    fn cells() -> (Vec<f64>, Vec<usize>) {
        let mut rng = Rng::new(5);
        let values = (0..200).map(|_| (rng.normal() * 2.0).round().max(-3.0)).collect();
        (values, (0..200).map(|_| rng.below(4)).collect())
    }

    fn run(values: &[f64], groups: &[usize], reference: Option<usize>, test: Test) -> Vec<Outcome> {
        let mut sizes = vec![0; 4];
        groups.iter().for_each(|&g| sizes[g] += 1);
        let all = values.iter().zip(groups).filter(|(v, _)| **v != 0.0);
        let mut entries: Vec<Wide> = all.map(|(&v, &g)| Wide::new(v, g as u32)).collect();
        test_gene(&Plan { sizes, reference, test }, &mut entries)
    }

    /// The same z from the ranks of all numbers.
    fn plain(values: &[f64], own: impl Fn(usize) -> bool, tie_correct: bool) -> f64 {
        let ranks = average_ranks(values);
        let n = (0..values.len()).filter(|&i| own(i)).count();
        let sum: f64 = (0..values.len()).filter(|&i| own(i)).map(|i| ranks[i]).sum();
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|t| cube(t.len())).sum();
        score(sum, n, values.len() - n, if tie_correct { ties } else { 0.0 })
    }

    #[test]
    fn ranks_without_zeros_equal_ranks_of_everything() {
        let (values, groups) = cells();
        for tie_correct in [false, true] {
            let test = Test::Wilcoxon { tie_correct };
            for (g, o) in run(&values, &groups, None, test).iter().enumerate() {
                let expected = plain(&values, |i| groups[i] == g, tie_correct);
                assert!((o.score - expected).abs() < 1e-12, "{} is not {expected}", o.score);
            }
            for (g, o) in run(&values, &groups, Some(1), test).iter().enumerate() {
                let pair: Vec<usize> =
                    (0..200).filter(|&i| groups[i] == g || groups[i] == 1).collect();
                let taken: Vec<f64> = pair.iter().map(|&i| values[i]).collect();
                let expected = plain(&taken, |i| groups[pair[i]] == g, tie_correct);
                let expected = if g == 1 { 0.0 } else { expected };
                assert!((o.score - expected).abs() < 1e-12, "{} is not {expected}", o.score);
            }
        }
    }

    #[test]
    fn genes_that_do_not_vary_are_no_evidence() {
        let groups = cells().1;
        let tests = [
            Test::Wilcoxon { tie_correct: true },
            Test::Wilcoxon { tie_correct: false },
            Test::Welch { overestimate: false },
            Test::Welch { overestimate: true },
        ];
        for value in [0.0, 3.3, -0.1] {
            for test in tests {
                for reference in [None, Some(2)] {
                    for o in run(&vec![value; 200], &groups, reference, test) {
                        assert_eq!((o.score, o.pval), (0.0, 1.0));
                        assert!((o.means[0] - value).abs() < 1e-14);
                    }
                }
            }
        }
    }

    #[test]
    fn a_group_that_alone_is_not_zero_leaves_a_rest_of_exactly_nothing() {
        let groups = cells().1;
        let values: Vec<f64> = groups.iter().map(|&g| if g == 1 { 0.1 } else { 0.0 }).collect();
        let o = run(&values, &groups, None, Test::Welch { overestimate: false });
        assert_eq!((o[1].means[1], o[1].nonzero[1], o[1].pval), (0.0, 0, 0.0));
        assert_eq!(o[1].score, f64::INFINITY);
    }
}
