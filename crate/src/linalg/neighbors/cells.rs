//! Cells of nearby rows (k-means), and a search of each row in the cells around it.

use super::tiles::{Rows, Smallest, search};
use crate::error::Result;
use crate::progress::Progress;
use crate::rng::Rng;
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use std::ops::Range;

/// Rows of a cell on average: its products fill a tile, and there is little else to a cell.
const ROWS: usize = 256;
/// A cell is cut when it holds more; only many copies of one row can make one so large.
const MOST: usize = 16 * ROWS;
/// Cells that each row is searched in.
const PROBES: usize = 10;
/// Rows a cell that the means are computed from, and rounds of that.
const SAMPLE: usize = 32;
const ROUNDS: usize = 5;
/// Rows that are searched together.
const QUERIES: usize = 128;

/// Rows sorted by cell.
pub(super) struct Cells {
    /// The row at each new position.
    pub order: Vec<u32>,
    /// New positions of each cell.
    ranges: Vec<Range<usize>>,
    /// The cells that belong to each mean: one, save where it was cut.
    of_mean: Vec<Range<usize>>,
    /// For each new position the means nearest to its row.
    probes: Vec<u32>,
    /// How many.
    n_probes: usize,
}

impl Cells {
    pub fn new(rows: &Rows, seed: u64) -> Result<Cells> {
        let n = rows.len();
        let means = means(rows, n.div_ceil(ROWS), seed)?;
        let count = means.len();
        let n_probes = PROBES.min(count);
        let nearest = nearest(rows, &means, n_probes)?;

        let home = |i: usize| nearest[i * n_probes] as usize;
        let mut starts = vec![0usize; count + 1];
        (0..n).for_each(|i| starts[home(i) + 1] += 1);
        (0..count).for_each(|c| starts[c + 1] += starts[c]);
        let mut next = starts.clone();
        let mut order = vec![0u32; n];
        for i in 0..n {
            order[next[home(i)]] = i as u32;
            next[home(i)] += 1;
        }
        let (mut ranges, mut of_mean) = (Vec::new(), Vec::new());
        for c in 0..count {
            let first = ranges.len();
            let whole = starts[c]..starts[c + 1];
            let pieces = whole.len().div_ceil(MOST);
            let at = |p: usize| whole.start + p * whole.len() / pieces;
            ranges.extend((0..pieces).map(|p| at(p)..at(p + 1)));
            of_mean.push(first..ranges.len());
        }
        let lists = order.iter().map(|&i| i as usize * n_probes);
        let probes = lists.flat_map(|at| nearest[at..at + n_probes].iter().copied()).collect();
        Ok(Cells { order, ranges, of_mean, probes, n_probes })
    }

    /// For each position the `kept` positions nearest in the cells that it is searched in, itself
    /// left out, nearest first; `u32::MAX` where those cells hold fewer. `rows` are in the new order.
    pub fn search(&self, rows: &Rows, kept: usize) -> Result<Vec<u32>> {
        let mut graph = vec![u32::MAX; rows.len() * kept];
        let mut tasks = Vec::new();
        let mut rest = graph.as_mut_slice();
        for (cell, range) in self.ranges.iter().enumerate() {
            for start in range.clone().step_by(QUERIES) {
                let block = start..(start + QUERIES).min(range.end);
                let (head, tail) = rest.split_at_mut(block.len() * kept);
                tasks.push((cell, block, head));
                rest = tail;
            }
        }
        let mut progress = Progress::new("nearest neighbours", rows.len() as u64);
        for group in tasks.chunks_mut(64) {
            group.par_iter_mut().for_each(|(cell, block, out)| {
                let smallest = self.search_block(rows, *cell, block.clone(), kept + 1);
                for (q, s) in smallest.into_iter().enumerate() {
                    let others = s.iter().filter(|f| f.1 as usize != block.start + q);
                    let slots = out[q * kept..(q + 1) * kept].iter_mut();
                    slots.zip(others).for_each(|(slot, f)| *slot = f.1);
                }
            });
            progress.tick(group.iter().map(|t| t.1.len() as u64).sum())?;
        }
        progress.finish();
        Ok(graph)
    }

    fn search_block(
        &self,
        rows: &Rows,
        home: usize,
        block: Range<usize>,
        wanted: usize,
    ) -> Vec<Vec<(f32, u32)>> {
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(block.len() * self.n_probes);
        for (q, i) in block.clone().enumerate() {
            for &mean in &self.probes[i * self.n_probes..(i + 1) * self.n_probes] {
                let cells = self.of_mean[mean as usize].clone();
                // The first piece stands for a mean that was cut.
                let cell = if cells.contains(&home) { home } else { cells.start };
                if !cells.is_empty() {
                    pairs.push((cell as u32, q as u32));
                }
            }
        }
        pairs.sort_unstable();
        let mut smallest: Vec<Smallest> = block.clone().map(|_| Smallest::new(wanted)).collect();
        let mut buffer = Vec::new();
        for same in pairs.chunk_by(|a, b| a.0 == b.0) {
            let queries = rows.queries(same.iter().map(|p| block.start + p.1 as usize));
            let range = self.ranges[same[0].0 as usize].clone();
            let which = |q: usize| same[q].1 as usize;
            search(queries.view(), rows, range, which, &mut smallest, &mut buffer);
        }
        smallest.into_iter().map(sorted).collect()
    }
}

fn sorted(mut s: Smallest) -> Vec<(f32, u32)> {
    s.cut();
    s.found.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    s.found
}

/// The `k` of `base` nearest to each of `rows`, nearest first.
fn nearest(rows: &Rows, base: &Rows, k: usize) -> Result<Vec<u32>> {
    let mut out = vec![0u32; rows.len() * k];
    for (group, out) in out.chunks_mut(64 * QUERIES * k).enumerate() {
        crate::progress::check_interrupt()?;
        out.par_chunks_mut(QUERIES * k).enumerate().for_each(|(block, out)| {
            let start = (group * 64 + block) * QUERIES;
            let count = out.len() / k;
            let mut smallest: Vec<Smallest> = (0..count).map(|_| Smallest::new(k)).collect();
            let queries = rows.queries(start..start + count);
            let mut buffer = Vec::new();
            search(queries.view(), base, 0..base.len(), |q| q, &mut smallest, &mut buffer);
            for (slots, s) in out.chunks_exact_mut(k).zip(smallest) {
                slots.iter_mut().zip(sorted(s)).for_each(|(slot, f)| *slot = f.1);
            }
        });
    }
    Ok(out)
}

/// `count` means by a few rounds of Lloyd's iteration over a sample.
fn means(rows: &Rows, count: usize, seed: u64) -> Result<Rows> {
    let n = rows.len();
    let mut drawn: Vec<usize> = (0..n).collect();
    Rng::stream(seed, "cells of neighbours").shuffle(&mut drawn);
    let width = rows.dim() + 1;
    let mut means = Rows(rows.0.select(Axis(0), &drawn[..count]));
    drawn.truncate((SAMPLE * count).min(n));
    drawn.sort_unstable();
    let sample = Rows(rows.0.select(Axis(0), &drawn));
    for _ in 0..ROUNDS {
        let label = nearest(&sample, &means, 1)?;
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); count];
        label.iter().enumerate().for_each(|(i, &l)| members[l as usize].push(i as u32));
        let mut next = Array2::<f32>::zeros((count, width));
        let flat = next.as_slice_mut().expect("a new array is contiguous");
        flat.par_chunks_mut(width).zip(&members).enumerate().for_each(|(c, (to, members))| {
            if members.is_empty() {
                to[..width - 1].copy_from_slice(means.row(c));
            } else {
                let mut sum = vec![0f64; width - 1];
                for &i in members {
                    sum.iter_mut()
                        .zip(sample.row(i as usize))
                        .for_each(|(s, &v)| *s += f64::from(v));
                }
                to.iter_mut().zip(&sum).for_each(|(to, s)| *to = (s / members.len() as f64) as f32);
            }
            to[width - 1] = to[..width - 1].iter().map(|v| v * v).sum();
        });
        means = Rows(next);
    }
    Ok(means)
}
