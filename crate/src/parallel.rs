//! Splitting work so that the result does not depend on the number of threads: it is cut by the size of the data,
//! never by the number of workers, and partial sums are added in a fixed order.
//!
//! What runs in parallel is called through a pointer: of a loop of rayon's own, some thirty functions are compiled for
//! each closure, and matrices have ten types of numbers in three forms.

use crate::error::Result;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Tasks that the elements of a list are put together to where each takes little time.
const TASKS: usize = 256;

/// `0..n` cut into at most 64 ranges of nearly equal length, each of at least `min_len` elements
/// where there are that many. The cut depends on `n` and `min_len` only.
pub fn parts(n: usize, min_len: usize) -> Vec<Range<usize>> {
    cut(n, min_len, 64)
}

fn cut(n: usize, min_len: usize, most: usize) -> Vec<Range<usize>> {
    let count = (n / min_len.max(1)).clamp(1, most);
    (0..count).map(|p| p * n / count..(p + 1) * n / count).collect()
}

/// What `f` makes of each item, in their order. Items run in parallel, each a task of its own.
pub fn map_items<I: Send, R: Send>(items: Vec<I>, f: impl Fn(I) -> R + Sync) -> Vec<R> {
    fn each(n: usize, f: &(dyn Fn(usize) + Sync)) {
        (0..n).into_par_iter().with_max_len(1).for_each(f);
    }
    let given: Vec<Mutex<Option<I>>> = items.into_iter().map(|i| Mutex::new(Some(i))).collect();
    let made: Vec<Mutex<Option<R>>> = given.iter().map(|_| Mutex::new(None)).collect();
    each(given.len(), &|i| {
        let item = given[i].lock().unwrap_or_else(PoisonError::into_inner).take();
        *made[i].lock().unwrap_or_else(PoisonError::into_inner) = item.map(&f);
    });
    made.into_iter()
        .filter_map(|m| m.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect()
}

/// What `f` makes of each of `0..n`, in order. At least `min_len` of them are one task.
pub fn map_range<R: Send>(n: usize, min_len: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
    fn all<R: Send>(n: usize, min_len: usize, f: &(dyn Fn(usize) -> R + Sync)) -> Vec<R> {
        let part = |range: Range<usize>| -> Vec<R> { range.map(f).collect() };
        map_items(cut(n, min_len, TASKS), part).into_iter().flatten().collect()
    }
    all(n, min_len, &f)
}

/// Calls `f` with the number of each chunk of `size` elements, of which the last may have fewer, and with the chunk.
/// At least `min_len` chunks are one task.
pub fn for_each_chunk<T: Send>(
    out: &mut [T],
    size: usize,
    min_len: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    fn all<T: Send>(
        mut out: &mut [T],
        size: usize,
        min_len: usize,
        f: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let mut tasks = Vec::new();
        for range in cut(out.len().div_ceil(size), min_len, TASKS) {
            let end = out.len().min(range.len() * size);
            let (head, tail) = out.split_at_mut(end);
            tasks.push((range.start, head));
            out = tail;
        }
        map_items(tasks, |(first, part)| {
            part.chunks_mut(size).enumerate().for_each(|(i, chunk)| f(first + i, chunk));
        });
    }
    all(out, size.max(1), min_len, &f);
}

/// Adds up something over `0..n`: `add(range, sums)` adds what a range of elements contributes to
/// what `new` made, `join` puts the sums of two ranges together. Ranges run in parallel; they are
/// joined in order.
///
/// # Errors
/// What `add` returns, of the first range that has an error.
pub fn fold_parts<S: Send>(
    n: usize,
    min_len: usize,
    new: impl Fn() -> S + Sync,
    add: impl Fn(Range<usize>, &mut S) -> Result<()> + Sync,
    join: impl Fn(&mut S, S),
) -> Result<S> {
    let one = |range: Range<usize>| {
        let mut sums = new();
        add(range, &mut sums).map(|()| sums)
    };
    let mut partial = map_items(parts(n, min_len), one).into_iter();
    let mut total = partial.next().unwrap_or_else(|| Ok(new()))?;
    for sums in partial {
        join(&mut total, sums?);
    }
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
    fn all(
        parts: Vec<Range<usize>>,
        len: usize,
        add: &(dyn Fn(Range<usize>, &mut [f64]) + Sync),
    ) -> Vec<f64> {
        let one = |range: Range<usize>| {
            let mut sums = vec![0f64; len];
            add(range, &mut sums);
            sums
        };
        let mut partial = map_items(parts, one).into_iter();
        let mut total = partial.next().unwrap_or_else(|| vec![0f64; len]);
        for sums in partial {
            total.iter_mut().zip(&sums).for_each(|(t, s)| *t += s);
        }
        total
    }
    all(parts(n, min_len), len, &add)
}

#[cfg(test)]
pub(crate) use tests::same_with_any_threads;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

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
    fn items_keep_their_order_and_every_chunk_is_written() {
        let squares = same_with_any_threads(|| map_range(1_000, 7, |i| i * i));
        assert!(squares.iter().enumerate().all(|(i, s)| *s == i * i) && squares.len() == 1_000);
        assert!(map_range(0, 7, |i| i).is_empty());
        for (n, size) in [(0, 3), (1, 3), (1_000, 3), (999, 3), (10, 100), (5_000, 1), (4, 0)] {
            let mut out = vec![0; n];
            for_each_chunk(&mut out, size, 2, |c, chunk| {
                chunk.iter_mut().enumerate().for_each(|(i, x)| *x += c * size.max(1) + i + 1);
            });
            assert!(out.iter().copied().eq(1..=n), "{n} {size}");
        }
    }

    #[test]
    fn the_error_is_that_of_the_first_part() {
        for _ in 0..20 {
            let fails = |range: Range<usize>, _: &mut ()| match range.start {
                0 => Ok(()),
                start => Err(Error::data("part", start.to_string())),
            };
            let e = fold_parts(1_000, 1, || (), fails, |(), ()| ()).unwrap_err().to_string();
            assert!(e.contains(&parts(1_000, 1)[1].start.to_string()), "{e}");
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
