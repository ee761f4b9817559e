//! Neighbours of neighbours: what turns a good list into a nearly complete one (Dong, Moses and Li,
//! 2011).

use super::tiles::Rows;
use crate::error::Result;
use crate::parallel::parts;
use crate::progress::check_interrupt;
use rayon::prelude::*;

/// No neighbour.
const NONE: u32 = u32::MAX;

/// One round: each row looks at the first `k` neighbours of its own first `k` neighbours, and of rows
/// that it is a neighbour of, and keeps the `kept` nearest of all it has seen. Every row reads the
/// lists from before the round, so that nothing depends on the order.
pub(super) fn round(rows: &Rows, graph: &[u32], kept: usize, k: usize) -> Result<Vec<u32>> {
    check_interrupt()?;
    let n = rows.len();
    let reverse = reverse(graph, n, kept, k);
    let mut out = vec![NONE; graph.len()];
    let mut tasks = Vec::new();
    let mut rest = out.as_mut_slice();
    for part in parts(n, 1024) {
        let (head, tail) = rest.split_at_mut(part.len() * kept);
        tasks.push((part, head));
        rest = tail;
    }
    tasks.into_par_iter().try_for_each(|(part, out)| {
        // Which row has looked at each row last.
        let mut seen = vec![NONE; n];
        let mut best: Vec<(f32, u32)> = Vec::with_capacity(kept + 1);
        for (i, out) in part.zip(out.chunks_exact_mut(kept)) {
            if i % 4096 == 0 {
                check_interrupt()?;
            }
            let a = rows.row(i);
            seen[i] = i as u32;
            best.clear();
            let mut look = |j: u32| {
                if seen[j as usize] == i as u32 {
                    return;
                }
                seen[j as usize] = i as u32;
                let square = square(a, rows.row(j as usize));
                let at = best.partition_point(|b| (b.0, b.1) < (square, j));
                if at < kept {
                    best.truncate(kept - 1);
                    best.insert(at, (square, j));
                }
            };
            let own = list(graph, i, kept);
            own.for_each(&mut look);
            let near = list(graph, i, kept).take(k);
            for j in near.chain(reverse.of(i)) {
                look(j);
                list(graph, j as usize, kept).take(k).for_each(&mut look);
            }
            out.iter_mut().zip(&best).for_each(|(slot, b)| *slot = b.1);
        }
        Ok::<(), crate::Error>(())
    })?;
    Ok(out)
}

fn list(graph: &[u32], i: usize, kept: usize) -> impl Iterator<Item = u32> {
    graph[i * kept..(i + 1) * kept].iter().copied().take_while(|&j| j != NONE)
}

/// For each row the rows that have it among their first `k`, at most `k` of them.
struct Reverse {
    starts: Vec<usize>,
    rows: Vec<u32>,
}

impl Reverse {
    fn of(&self, i: usize) -> impl Iterator<Item = u32> {
        self.rows[self.starts[i]..self.starts[i + 1]].iter().copied()
    }
}

fn reverse(graph: &[u32], n: usize, kept: usize, k: usize) -> Reverse {
    let mut counts = vec![0usize; n];
    for i in 0..n {
        list(graph, i, kept).take(k).for_each(|j| counts[j as usize] += 1);
    }
    let mut starts = vec![0usize; n + 1];
    for i in 0..n {
        starts[i + 1] = starts[i] + counts[i].min(k);
    }
    let mut rows = vec![0u32; starts[n]];
    counts.fill(0);
    for i in 0..n {
        for j in list(graph, i, kept).take(k).map(|j| j as usize) {
            if starts[j] + counts[j] < starts[j + 1] {
                rows[starts[j] + counts[j]] = i as u32;
                counts[j] += 1;
            }
        }
    }
    Reverse { starts, rows }
}

/// In sixteen lanes, so that it is vectorised.
fn square(a: &[f32], b: &[f32]) -> f32 {
    let (a16, a_rest) = a.as_chunks::<16>();
    let (b16, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0f32; 16];
    for (x, y) in a16.iter().zip(b16) {
        for l in 0..16 {
            let d = x[l] - y[l];
            lanes[l] += d * d;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| (x - y) * (x - y)).sum();
    lanes.iter().sum::<f32>() + rest
}
