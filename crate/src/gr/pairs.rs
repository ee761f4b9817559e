//! How many pairs of points lie within each of several distances, by the labels of both: exact,
//! without a matrix of distances.
//!
//! Points are sorted into square cells. Two cells whose boxes lie between two neighbouring limits
//! are counted at once by their labels; beyond the last limit they are not looked at; all other
//! pairs are measured. Counts are whole numbers, so that their order does not matter.

use crate::error::Result;
use crate::progress::{Progress, check_interrupt};
use rayon::prelude::*;
use std::sync::Mutex;

/// Points that a cell holds on average.
const PER_CELL: f64 = 48.0;

/// One cell: a run of the sorted points and the box around them.
struct Cell {
    start: usize,
    end: usize,
    low: [f64; 2],
    high: [f64; 2],
    /// How many points of each label.
    labels: Vec<(u32, u64)>,
}

/// Finds the first limit that a squared distance is not above, without a search: the distance says
/// about where.
struct Bins {
    limits: Vec<f64>,
    /// For each slice of distance the first limit that can hold.
    guess: Vec<u32>,
    scale: f64,
}

impl Bins {
    fn new(limits: &[f64]) -> Bins {
        let last = limits.last().copied().unwrap_or(0.0).max(0.0).sqrt();
        let slices = (limits.len() * 8).max(64);
        let scale = if last > 0.0 { slices as f64 / last } else { 0.0 };
        let mut guess: Vec<u32> = (0..=slices)
            .map(|s| {
                let from = s as f64 / scale.max(f64::MIN_POSITIVE);
                limits.partition_point(|&l| l < from * from) as u32
            })
            .collect();
        // A slice may begin one limit early through rounding; never late.
        guess.iter_mut().for_each(|g| *g = g.saturating_sub(1));
        Bins { limits: limits.to_vec(), guess, scale }
    }

    /// The position of the first limit that is at least `square`, which must not be above the last.
    #[inline]
    fn of(&self, square: f64) -> usize {
        let slice = (square.sqrt() * self.scale) as usize;
        let mut bin = self.guess[slice.min(self.guess.len() - 1)] as usize;
        while self.limits[bin] < square {
            bin += 1;
        }
        bin
    }
}

/// For each ordered pair of labels and each limit (on the squared distance, rising) the number of
/// ordered pairs of different points at most that far apart: `k × k × limits`, row-major. With a
/// title progress is shown.
pub(super) fn counts(
    points: &[[f64; 2]],
    labels: &[u32],
    k: usize,
    limits: &[f64],
    title: Option<&str>,
) -> Result<Vec<u64>> {
    let (n, bins) = (points.len(), limits.len());
    if n < 2 || bins == 0 || limits[bins - 1] < 0.0 {
        return Ok(vec![0; k * k * bins]);
    }
    let (cells, order) = cells(points, labels);
    let sorted: Vec<[f64; 2]> = order.iter().map(|&i| points[i as usize]).collect();
    let label: Vec<u32> = order.iter().map(|&i| labels[i as usize]).collect();
    let finder = Bins::new(limits);
    let furthest = limits[bins - 1];

    let progress = title.map(|title| Progress::new(title, cells.len() as u64));
    let total = Mutex::new((vec![0u64; k * k * bins], progress));
    let first = |counts: &mut [u64], c: usize| {
        let cell = &cells[c];
        for p in cell.start..cell.end {
            let row = label[p] as usize * k;
            measure(&sorted, &label, p, p + 1..cell.end, furthest, &finder, row, counts);
        }
        for other in &cells[c + 1..] {
            let (near, far) = between(cell, other);
            if near > furthest {
                continue;
            }
            if far <= furthest && finder.of(near) == finder.of(far) {
                let bin = finder.of(far);
                for &(a, x) in &cell.labels {
                    for &(b, y) in &other.labels {
                        counts[(a as usize * k + b as usize) * bins + bin] += x * y;
                    }
                }
                continue;
            }
            for p in cell.start..cell.end {
                let row = label[p] as usize * k;
                measure(&sorted, &label, p, other.start..other.end, furthest, &finder, row, counts);
            }
        }
    };
    // Cells in groups: the table of counts is added up once a group.
    let group = cells.len().div_ceil(256).max(1);
    let starts: Vec<usize> = (0..cells.len()).step_by(group).collect();
    starts.par_iter().try_for_each(|&start| {
        check_interrupt()?;
        let mut mine = vec![0u64; k * k * bins];
        let end = cells.len().min(start + group);
        (start..end).for_each(|c| first(&mut mine, c));
        let mut total = total.lock().unwrap_or_else(|e| e.into_inner());
        total.0.iter_mut().zip(&mine).for_each(|(t, m)| *t += m);
        total.1.as_mut().map_or(Ok(()), |bar| bar.tick((end - start) as u64))
    })?;
    let (once, progress) = total.into_inner().unwrap_or_else(|e| e.into_inner());
    if let Some(bar) = progress {
        bar.finish();
    }

    // Each pair was met once: count it from both ends, and up to each limit.
    let mut both = vec![0u64; k * k * bins];
    for a in 0..k {
        for b in 0..k {
            let mut sum = 0;
            for r in 0..bins {
                sum += once[(a * k + b) * bins + r] + once[(b * k + a) * bins + r];
                both[(a * k + b) * bins + r] = sum;
            }
        }
    }
    Ok(both)
}

/// Counts the pairs of point `p` with a run of points.
#[inline]
fn measure(
    points: &[[f64; 2]],
    label: &[u32],
    p: usize,
    others: std::ops::Range<usize>,
    furthest: f64,
    bins: &Bins,
    row: usize,
    counts: &mut [u64],
) {
    let [x, y] = points[p];
    let width = bins.limits.len();
    for (q, &b) in points[others.clone()].iter().zip(&label[others]) {
        let (dx, dy) = (x - q[0], y - q[1]);
        let square = dx * dx + dy * dy;
        if square <= furthest {
            counts[(row + b as usize) * width + bins.of(square)] += 1;
        }
    }
}

/// Least and greatest squared distance between the points of two boxes.
fn between(a: &Cell, b: &Cell) -> (f64, f64) {
    let (mut near, mut far) = (0.0, 0.0);
    for d in 0..2 {
        let gap = (b.low[d] - a.high[d]).max(a.low[d] - b.high[d]).max(0.0);
        let span = (b.high[d] - a.low[d]).max(a.high[d] - b.low[d]);
        near += gap * gap;
        far += span * span;
    }
    (near, far)
}

/// Sorts points into cells; returns the cells that are not empty and the order of the points.
fn cells(points: &[[f64; 2]], labels: &[u32]) -> (Vec<Cell>, Vec<u32>) {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for p in points {
        for d in 0..2 {
            low[d] = low[d].min(p[d]);
            high[d] = high[d].max(p[d]);
        }
    }
    let size = [high[0] - low[0], high[1] - low[1]];
    let wanted = (points.len() as f64 / PER_CELL).max(1.0);
    let longest = size[0].max(size[1]);
    // Square cells over the box; over a line when the box is one.
    let side = (size[0] * size[1] / wanted).sqrt().max(longest / wanted);
    let across = |d: usize| if side > 0.0 { (size[d] / side) as usize + 1 } else { 1 };
    let (columns, rows) = (across(0), across(1));
    let place = |p: &[f64; 2]| {
        let at = |d: usize, most: usize| {
            if side > 0.0 { (((p[d] - low[d]) / side) as usize).min(most - 1) } else { 0 }
        };
        at(1, rows) * columns + at(0, columns)
    };
    let mut order: Vec<(usize, u32)> =
        points.iter().enumerate().map(|(i, p)| (place(p), i as u32)).collect();
    order.sort_unstable();
    let mut all = Vec::new();
    let mut start = 0;
    for run in order.chunk_by(|a, b| a.0 == b.0) {
        let mut cell = Cell {
            start,
            end: start + run.len(),
            low: [f64::INFINITY; 2],
            high: [f64::NEG_INFINITY; 2],
            labels: Vec::new(),
        };
        for &(_, i) in run {
            for d in 0..2 {
                cell.low[d] = cell.low[d].min(points[i as usize][d]);
                cell.high[d] = cell.high[d].max(points[i as usize][d]);
            }
            match cell.labels.iter_mut().find(|(l, _)| *l == labels[i as usize]) {
                Some((_, count)) => *count += 1,
                None => cell.labels.push((labels[i as usize], 1)),
            }
        }
        start = cell.end;
        all.push(cell);
    }
    (all, order.into_iter().map(|(_, i)| i).collect())
}

/// The largest squared distance whose root is below `d` (−1 when there is none), so that counting
/// up to it counts the distances below `d`.
pub(super) fn below(d: f64) -> f64 {
    if d <= 0.0 {
        return -1.0;
    }
    let mut square = d * d;
    while square.sqrt() >= d {
        square = square.next_down();
    }
    while square.next_up().sqrt() < d {
        square = square.next_up();
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn brute(points: &[[f64; 2]], labels: &[u32], k: usize, limits: &[f64]) -> Vec<u64> {
        let mut out = vec![0; k * k * limits.len()];
        for i in 0..points.len() {
            for j in (0..points.len()).filter(|&j| j != i) {
                let d =
                    (points[i][0] - points[j][0]).powi(2) + (points[i][1] - points[j][1]).powi(2);
                let pair = (labels[i] as usize * k + labels[j] as usize) * limits.len();
                for (r, &limit) in limits.iter().enumerate() {
                    out[pair + r] += u64::from(d <= limit);
                }
            }
        }
        out
    }

    #[test]
    fn counts_are_those_of_all_pairs() {
        let mut rng = Rng::new(2);
        let cloud: Vec<[f64; 2]> = (0..700).map(|_| [rng.normal(), rng.normal()]).collect();
        let grid: Vec<[f64; 2]> = (0..900).map(|i| [(i % 30) as f64, (i / 30) as f64]).collect();
        let line: Vec<[f64; 2]> = (0..200).map(|i| [7.0, (i % 50) as f64]).collect();
        let spot = vec![[1.0, 2.0]; 70];
        for points in [cloud, grid, line, spot] {
            let labels: Vec<u32> = points.iter().map(|_| rng.below(4) as u32).collect();
            for limits in
                [vec![0.0, 1.0, 2.0, 9.0, 100.0], vec![0.5], vec![0.0], vec![4.0, 4.0, 1e9]]
            {
                let got =
                    same_with_any_threads(|| counts(&points, &labels, 5, &limits, None).unwrap());
                assert_eq!(got, brute(&points, &labels, 5, &limits), "{limits:?}");
            }
        }
        assert_eq!(counts(&[[0.0, 0.0]], &[0], 1, &[1.0], None).unwrap(), [0]);
    }

    #[test]
    fn below_is_the_last_square_below() {
        for d in [1.0, 0.1, 3.0, 1e-3, 7.3e5, 2f64.sqrt()] {
            let s = below(d);
            assert!(s.sqrt() < d && s.next_up().sqrt() >= d, "{d}");
        }
        assert_eq!(below(0.0), -1.0);
    }
}
