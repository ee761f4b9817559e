//! Splitting work so that the result does not depend on the number of threads.

use rayon::prelude::*;
use std::convert::Infallible;
use std::ops::Range;

/// `0..n` cut into at most 64 ranges of nearly equal length, each of at least `min_len` elements
/// where there are that many. The cut depends on `n` and `min_len` only.
pub fn parts(n: usize, min_len: usize) -> Vec<Range<usize>> {
    let count = (n / min_len.max(1)).clamp(1, 64);
    (0..count).map(|p| p * n / count..(p + 1) * n / count).collect()
}

/// Adds up something over `0..n`: `add(range, sums)` adds what a range of elements contributes to
/// what `new` made, `join` puts the sums of two ranges together. Ranges run in parallel; they are
/// joined in order.
///
/// # Errors
/// What `add` returns.
pub fn fold_parts<S: Send, E: Send>(
    n: usize,
    min_len: usize,
    new: impl Fn() -> S + Sync,
    add: impl Fn(Range<usize>, &mut S) -> Result<(), E> + Sync,
    join: impl Fn(&mut S, S),
) -> Result<S, E> {
    let one = |range: Range<usize>| {
        let mut sums = new();
        add(range, &mut sums).map(|()| sums)
    };
    let partial: Vec<S> = parts(n, min_len).into_par_iter().map(one).collect::<Result<_, E>>()?;
    let mut partial = partial.into_iter();
    let mut total = partial.next().unwrap_or_else(&new);
    partial.for_each(|sums| join(&mut total, sums));
    Ok(total)
}

/// Sums a vector of `len` numbers over `0..n`: `add(range, sums)` adds what a range of elements
/// contributes. Ranges run in parallel; their sums are added in order.
pub fn sum_parts(
    n: usize,
    len: usize,
    min_len: usize,
    add: impl Fn(Range<usize>, &mut [f64]) + Sync,
) -> Vec<f64> {
    let add = |range: Range<usize>, sums: &mut Vec<f64>| -> Result<(), Infallible> {
        add(range, sums);
        Ok(())
    };
    let join = |total: &mut Vec<f64>, sums: Vec<f64>| {
        total.iter_mut().zip(&sums).for_each(|(t, s)| *t += s);
    };
    let Ok(total) = fold_parts(n, min_len, || vec![0f64; len], add, join);
    total
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Runs the same computation with 1 and with 2 threads and checks that the results are equal.
    pub(crate) fn same_with_any_threads<T: PartialEq + Send>(f: impl Fn() -> T + Sync + Send) -> T {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(&f)
        };
        let (one, two, three) = (run(1), run(2), run(3));
        assert!(one == two && two == three, "the result depends on the number of threads");
        one
    }

    #[test]
    fn parts_cover_everything_once() {
        for (n, min) in [(0, 5), (1, 5), (9, 5), (10, 5), (1_000, 1), (1_001, 10)] {
            let p = parts(n, min);
            assert_eq!(p[0].start, 0);
            assert_eq!(p.last().unwrap().end, n);
            assert!(p.windows(2).all(|w| w[0].end == w[1].start));
        }
    }

    #[test]
    fn sums_do_not_depend_on_threads() {
        let x: Vec<f64> = (0..10_000).map(|i| (i as f64 * 0.7).sin() * 1e3).collect();
        let total = same_with_any_threads(|| {
            sum_parts(x.len(), 1, 64, |r, s| s[0] += x[r].iter().sum::<f64>())
        });
        assert!((total[0] - x.iter().sum::<f64>()).abs() < 1e-8);
    }
}
