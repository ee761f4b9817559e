//! The repulsion between all pairs of points, by Barnes and Hut's tree (van der Maaten, 2014).
//!
//! Points are sorted along a Morton curve, so that every cell of the quadtree is a range of them.
//! Points that are neighbours on the curve walk through the tree together: a cell counts as one
//! point for the whole group if it is small compared with its distance from the group's box, which
//! is stricter than the usual criterion for single points. What a group collects is then summed
//! for each of its points in vector instructions.

use crate::nn::fused::simd::vectorised;
use rayon::prelude::*;

/// Points of the plane that walk through the tree together, and leaves of the tree, at most.
const GROUP: usize = 16;
/// Bits of each coordinate on the curve.
const BITS: u32 = 21;

/// A square of the quadtree with the points in it.
#[derive(Clone, Copy)]
struct Cell {
    start: u32,
    end: u32,
    /// The cell to go on with when this one is done with.
    skip: u32,
    leaf: bool,
    /// Centre of its points.
    x: f32,
    y: f32,
    /// Square of its side.
    side2: f32,
}

/// What repels each point, and the sum over all pairs of 1/(1 + d²).
pub(super) struct Repulsion {
    /// Σ (yᵢ − yⱼ)/(1 + d²)², for each point.
    pub force: Vec<[f32; 2]>,
    /// Σ over i ≠ j of 1/(1 + d²).
    pub total: f64,
}

/// The repulsion of `y`, cells counting as one point when their side is below `angle` times their
/// distance.
pub(super) fn repulsion(y: &[[f32; 2]], angle: f32) -> Repulsion {
    let n = y.len();
    let order = morton(y);
    let xs: Vec<f32> = order.par_iter().map(|o| y[o.1 as usize][0]).collect();
    let ys: Vec<f32> = order.par_iter().map(|o| y[o.1 as usize][1]).collect();
    let side = order.first().map_or(0.0, |_| extent(y).2);
    let cells = tree(&order, &xs, &ys, side);
    let groups = n.div_ceil(GROUP);
    let done: Vec<([[f32; 2]; GROUP], f64)> = (0..groups)
        .into_par_iter()
        .with_min_len(8)
        .map_init(
            || (Vec::new(), Vec::new(), Vec::new()),
            |scratch, g| {
                let range = g * GROUP..((g + 1) * GROUP).min(n);
                scratch.0.clear();
                scratch.1.clear();
                scratch.2.clear();
                collect(&cells, &xs, &ys, range.clone(), angle * angle, scratch);
                let mut out = ([[0f32; 2]; GROUP], 0.0);
                sum(&xs[range.clone()], &ys[range], &scratch.0, &scratch.1, &scratch.2, &mut out);
                out
            },
        )
        .collect();
    let mut force = vec![[0f32; 2]; n];
    let mut total = 0.0;
    for (g, (forces, sum)) in done.iter().enumerate() {
        total += sum;
        for (o, f) in order[g * GROUP..].iter().zip(forces) {
            force[o.1 as usize] = *f;
        }
    }
    // Every point met itself, at distance 0.
    Repulsion { force, total: total - n as f64 }
}

/// Lower corner and side of the square around all points.
fn extent(y: &[[f32; 2]]) -> (f32, f32, f32) {
    let start = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
    let [x0, y0, x1, y1] = y
        .iter()
        .fold(start, |m, p| [m[0].min(p[0]), m[1].min(p[1]), m[2].max(p[0]), m[3].max(p[1])]);
    (x0, y0, (x1 - x0).max(y1 - y0).max(f32::MIN_POSITIVE))
}

/// The points by their place on the curve: (place, index).
fn morton(y: &[[f32; 2]]) -> Vec<(u64, u32)> {
    let (x0, y0, side) = extent(y);
    let scale = f64::from((1u32 << BITS) - 1) / f64::from(side);
    let mut order: Vec<(u64, u32)> = y
        .par_iter()
        .enumerate()
        .map(|(i, p)| {
            let a = (f64::from(p[0] - x0) * scale) as u64;
            let b = (f64::from(p[1] - y0) * scale) as u64;
            (spread(a) | spread(b) << 1, i as u32)
        })
        .collect();
    order.par_sort_unstable();
    order
}

/// Puts a zero between every two bits.
fn spread(x: u64) -> u64 {
    let mut x = x & 0xffff_ffff;
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        x = (x | x << shift) & mask;
    }
    x
}

/// The cells in the order in which a walk meets them.
fn tree(order: &[(u64, u32)], xs: &[f32], ys: &[f32], side: f32) -> Vec<Cell> {
    let mut cells = Vec::with_capacity(order.len() / 4 + 1);
    if !order.is_empty() {
        add(&mut cells, order, xs, ys, 0..order.len(), side, 2 * BITS);
    }
    cells
}

/// Adds the cell of the points `range`, which agree in all but the lower `bits` of their places.
/// Returns the sums of their coordinates.
fn add(
    cells: &mut Vec<Cell>,
    order: &[(u64, u32)],
    xs: &[f32],
    ys: &[f32],
    range: std::ops::Range<usize>,
    side: f32,
    bits: u32,
) -> [f64; 2] {
    let here = cells.len();
    let leaf = range.len() <= GROUP / 2 || bits == 0;
    cells.push(Cell {
        start: range.start as u32,
        end: range.end as u32,
        skip: 0,
        leaf,
        x: 0.0,
        y: 0.0,
        side2: side * side,
    });
    let mut sum = [0f64; 2];
    if leaf {
        for i in range.clone() {
            sum = [sum[0] + f64::from(xs[i]), sum[1] + f64::from(ys[i])];
        }
    } else {
        let mut start = range.start;
        for quarter in 0..4 {
            let end = start
                + order[start..range.end].partition_point(|o| o.0 >> (bits - 2) & 3 <= quarter);
            if end > start {
                let s = add(cells, order, xs, ys, start..end, side / 2.0, bits - 2);
                sum = [sum[0] + s[0], sum[1] + s[1]];
            }
            start = end;
        }
    }
    let count = range.len() as f64;
    let skip = cells.len() as u32;
    let cell = &mut cells[here];
    (cell.x, cell.y) = ((sum[0] / count) as f32, (sum[1] / count) as f32);
    cell.skip = skip;
    sum
}

/// What repels the points `range`: centres, and how many points each stands for.
fn collect(
    cells: &[Cell],
    xs: &[f32],
    ys: &[f32],
    range: std::ops::Range<usize>,
    angle2: f32,
    (cx, cy, weight): &mut (Vec<f32>, Vec<f32>, Vec<f32>),
) {
    let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
    for i in range {
        low = [low[0].min(xs[i]), low[1].min(ys[i])];
        high = [high[0].max(xs[i]), high[1].max(ys[i])];
    }
    let mut at = 0;
    while at < cells.len() {
        let cell = &cells[at];
        let dx = (low[0] - cell.x).max(cell.x - high[0]).max(0.0);
        let dy = (low[1] - cell.y).max(cell.y - high[1]).max(0.0);
        if cell.side2 < angle2 * (dx * dx + dy * dy) {
            cx.push(cell.x);
            cy.push(cell.y);
            weight.push((cell.end - cell.start) as f32);
            at = cell.skip as usize;
        } else if cell.leaf {
            let points = cell.start as usize..cell.end as usize;
            cx.extend_from_slice(&xs[points.clone()]);
            cy.extend_from_slice(&ys[points.clone()]);
            weight.resize(weight.len() + points.len(), 1.0);
            at = cell.skip as usize;
        } else {
            at += 1;
        }
    }
    // Whole vectors: what is added weighs nothing.
    let whole = cx.len().next_multiple_of(LANES);
    cx.resize(whole, 0.0);
    cy.resize(whole, 0.0);
    weight.resize(whole, 0.0);
}

const LANES: usize = 16;

vectorised! {
    fn sum(
        xs: &[f32],
        ys: &[f32],
        cx: &[f32],
        cy: &[f32],
        weight: &[f32],
        out: &mut ([[f32; 2]; GROUP], f64),
    ) {
        let _ = FMA;
        for (i, (&x, &y)) in xs.iter().zip(ys).enumerate() {
            let (mut fx, mut fy, mut z) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
            let centers = cx.as_chunks::<LANES>().0.iter().zip(cy.as_chunks::<LANES>().0);
            for ((cx, cy), weight) in centers.zip(weight.as_chunks::<LANES>().0) {
                for l in 0..LANES {
                    let (dx, dy) = (x - cx[l], y - cy[l]);
                    let q = 1.0 / (1.0 + dx * dx + dy * dy);
                    let wq = weight[l] * q;
                    z[l] += wq;
                    fx[l] += wq * q * dx;
                    fy[l] += wq * q * dy;
                }
            }
            out.0[i] = [fx.iter().sum(), fy.iter().sum()];
            out.1 += z.iter().map(|&v| f64::from(v)).sum::<f64>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::same_with_any_threads;
    use crate::rng::Rng;

    fn plain(y: &[[f32; 2]]) -> (Vec<[f64; 2]>, f64) {
        let mut total = 0.0;
        let one = |p: &[f32; 2], total: &mut f64| {
            let mut f = [0f64; 2];
            for q in y {
                let d = [f64::from(p[0] - q[0]), f64::from(p[1] - q[1])];
                let w = 1.0 / (1.0 + d[0] * d[0] + d[1] * d[1]);
                *total += w;
                f = [f[0] + w * w * d[0], f[1] + w * w * d[1]];
            }
            f
        };
        let force = y.iter().map(|p| one(p, &mut total)).collect();
        (force, total - y.len() as f64)
    }

    #[test]
    fn forces_are_those_of_all_pairs() {
        let mut rng = Rng::new(3);
        let mut cloud = |n: usize, scale: f64| -> Vec<[f32; 2]> {
            (0..n)
                .map(|i| [0, 1].map(|_| (scale * (rng.normal() + (i % 3) as f64)) as f32))
                .collect()
        };
        for (y, angle, tolerance) in [
            (cloud(1000, 10.0), 0.0, 1e-4),
            (cloud(1000, 10.0), 0.5, 0.02),
            (cloud(1000, 1e-4), 0.5, 0.02),
            (cloud(5, 1.0), 0.5, 1e-5),
            (vec![[1.0, 2.0]; 40], 0.5, 1e-5),
            (vec![[1.0, 2.0]], 0.5, 1e-5),
        ] {
            let (force, total) = plain(&y);
            let got = same_with_any_threads(|| {
                let r = repulsion(&y, angle);
                (r.force, r.total)
            });
            assert!((got.1 - total).abs() <= tolerance * total + 1e-4, "{} {total}", got.1);
            let size = force.iter().flatten().fold(1e-6f64, |m, f| m.max(f.abs()));
            for (g, f) in got.0.iter().flatten().zip(force.iter().flatten()) {
                assert!((f64::from(*g) - f).abs() < tolerance * size, "{angle}: {g} {f}");
            }
        }
    }
}
