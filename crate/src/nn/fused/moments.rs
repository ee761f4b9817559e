//! The two losses over all pairs of rows at a cost that grows with the number of rows, not with its square: a
//! quadratic stands for the function of the cosine, and a sum of quadratics over rows needs only their moments,
//! n = Σ w, s = Σ w u and M = Σ w u uᵀ.

use super::super::losses::{EXP, SOFTPLUS};
use super::super::sparse::Adjacency;
use super::units::{add_scaled, dot, project, to_unit};
use super::{Threads, mat, matmul, parts, with_scratch};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task takes.
const ROWS: usize = 2048;

/// Unit rows, one group (a label) after the other.
struct Groups {
    d: usize,
    units: Vec<f32>,
    /// 1 / length of each row.
    inverse: Vec<f32>,
    /// Which row of the data stands at each place, and the place of each row of the data.
    order: Vec<u32>,
    place: Vec<u32>,
    /// Pieces of the groups: the group, and the places.
    tasks: Vec<(usize, Range<usize>)>,
    count: usize,
}

/// The moments of a group of rows.
#[derive(Clone)]
struct Moments {
    weight: f64,
    first: Vec<f64>,
    /// d × d, symmetric.
    second: Vec<f64>,
}

impl Groups {
    /// From `n` rows of length `d` and their groups.
    fn new(x: &[f32], n: usize, d: usize, group: impl Fn(usize) -> u32) -> Self {
        let count = (0..n).map(|i| group(i) as usize + 1).max().unwrap_or(0);
        let mut starts = vec![0usize; count + 1];
        (0..n).for_each(|i| starts[group(i) as usize + 1] += 1);
        (0..count).for_each(|g| starts[g + 1] += starts[g]);
        let mut next = starts.clone();
        let (mut order, mut place) = (vec![0u32; n], vec![0u32; n]);
        for i in 0..n {
            let at = &mut next[group(i) as usize];
            (order[*at], place[i]) = (i as u32, *at as u32);
            *at += 1;
        }
        let mut units = vec![0f32; n * d];
        let mut inverse = vec![0f32; n];
        units.par_chunks_mut(d.max(1)).zip(&mut inverse).zip(&order).with_min_len(64).for_each(
            |((unit, inverse), &i)| {
                unit.copy_from_slice(&x[i as usize * d..][..d]);
                *inverse = to_unit(unit);
            },
        );
        let tasks = (0..count).flat_map(|g| {
            let (first, end) = (starts[g], starts[g + 1]);
            (first..end).step_by(ROWS).map(move |k| (g, k..end.min(k + ROWS)))
        });
        Groups { d, units, inverse, order, place, tasks: tasks.collect(), count }
    }

    /// The rows at some places.
    fn rows(&self, places: Range<usize>) -> &[f32] {
        &self.units[places.start * self.d..places.end * self.d]
    }

    fn row(&self, place: usize) -> &[f32] {
        self.rows(place..place + 1)
    }

    /// The places of the neighbours of the row at a place.
    fn neighbours<'a>(&'a self, graph: &'a Adjacency, place: usize) -> impl Iterator<Item = usize> {
        graph
            .neighbours(self.order[place] as usize)
            .iter()
            .map(|&j| self.place[j as usize] as usize)
    }

    /// f(cosine) of the row at each place and its neighbours.
    fn along_edges(&self, graph: &Adjacency, f: impl Fn(f32) -> f32 + Sync) -> Vec<Vec<f32>> {
        let of_row = |k: usize| -> Vec<f32> {
            self.neighbours(graph, k).map(|j| f(dot(self.row(k), self.row(j)))).collect()
        };
        (0..self.order.len()).into_par_iter().with_min_len(64).map(of_row).collect()
    }

    /// The moments of each group, with these weights of the rows by place, added up in a fixed order.
    fn moments(&self, weights: &[f32]) -> Vec<Moments> {
        let d = self.d;
        let part = |(_, places): &(usize, Range<usize>)| {
            let (rows, weights) = (self.rows(places.clone()), &weights[places.clone()]);
            let n = weights.len();
            let mut part = Moments::none(d);
            with_scratch(n * d + d * d, |memory| {
                let (weighted, second) = memory.split_at_mut(n * d);
                let each = weighted.chunks_exact_mut(d).zip(rows.chunks_exact(d)).zip(weights);
                for ((weighted, u), &w) in each {
                    part.weight += f64::from(w);
                    for ((v, &u), s) in weighted.iter_mut().zip(u).zip(&mut part.first) {
                        *v = w * u;
                        *s += f64::from(*v);
                    }
                }
                let (a, b) = (mat(weighted, 1, d), mat(rows, d, 1));
                matmul((d, n, d), second, (d, 1), false, a, b, Threads::One);
                part.second = second.iter().map(|&v| f64::from(v)).collect();
            });
            part
        };
        let parts: Vec<Moments> = self.tasks.par_iter().with_max_len(1).map(part).collect();
        let mut sums = vec![Moments::none(d); self.count];
        for ((group, _), part) in self.tasks.iter().zip(&parts) {
            sums[*group].add(part, 1.0);
        }
        sums
    }

    /// Calls `f` with each place, the moments of its group, M u, and its row of `out`, of `width` numbers.
    fn with_products(
        &self,
        moments: &[Moments],
        (width, out): (usize, &mut [f32]),
        f: impl Fn(usize, &Moments, &[f32], &mut [f32]) + Sync,
    ) {
        let d = self.d;
        let matrices: Vec<Vec<f32>> =
            moments.iter().map(|m| m.second.iter().map(|&v| v as f32).collect()).collect();
        let outs = parts(self.tasks.iter().map(|(_, places)| places.len()), width, out);
        let each: Vec<_> = self.tasks.iter().zip(outs).collect();
        each.into_par_iter().with_max_len(1).for_each(|((group, places), out)| {
            let n = places.len();
            with_scratch(n * d, |product| {
                let (a, b) = (mat(self.rows(places.clone()), d, 1), mat(&matrices[*group], d, 1));
                matmul((n, d, d), product, (d, 1), false, a, b, Threads::One);
                let each = product.chunks_exact(d).zip(out.chunks_exact_mut(width));
                for (k, (product, out)) in places.clone().zip(each) {
                    f(k, &moments[*group], product, out);
                }
            });
        });
    }

    /// The gradient of the data from that of the unit rows by place, to which `edges` adds first.
    fn finish(&self, of_units: &[f32], edges: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
        let d = self.d;
        let mut gradient = vec![0f32; of_units.len()];
        gradient.par_chunks_mut(d.max(1)).zip(&self.place).with_min_len(64).for_each(|(g, &k)| {
            let k = k as usize;
            g.copy_from_slice(&of_units[k * d..][..d]);
            edges(k, g);
            project(self.row(k), self.inverse[k], g);
        });
        gradient
    }
}

impl Moments {
    fn none(d: usize) -> Self {
        Moments { weight: 0.0, first: vec![0.0; d], second: vec![0.0; d * d] }
    }

    fn add(&mut self, other: &Moments, factor: f64) {
        self.weight += factor * other.weight;
        self.first.iter_mut().zip(&other.first).for_each(|(a, b)| *a += factor * b);
        self.second.iter_mut().zip(&other.second).for_each(|(a, b)| *a += factor * b);
    }

    /// For each group the moments of all others.
    fn of_others(groups: &[Moments], d: usize) -> Vec<Moments> {
        let mut all = Moments::none(d);
        groups.iter().for_each(|m| all.add(m, 1.0));
        let without = |m: &Moments| {
            let mut others = all.clone();
            others.add(m, -1.0);
            others
        };
        groups.iter().map(without).collect()
    }

    /// Σ w q(u·x), for the quadratic q and the M u of a row u.
    fn sum(&self, [q0, q1, q2]: [f64; 3], u: &[f32], product: &[f32]) -> f64 {
        let first: f64 = self.first.iter().zip(u).map(|(&s, &u)| s * f64::from(u)).sum();
        q0 * self.weight + q1 * first + q2 * f64::from(dot(u, product))
    }

    /// Adds the slope of [`sum`](Moments::sum) with respect to u, times `factor`.
    fn add_slope(&self, [_, q1, q2]: [f64; 3], product: &[f32], factor: f64, to: &mut [f32]) {
        for ((to, &s), &p) in to.iter_mut().zip(&self.first).zip(product) {
            *to += (factor * (q1 * s + 2.0 * q2 * f64::from(p))) as f32;
        }
    }
}

/// As [`contrast`](super::contrast), with [`EXP`] for the exponential in the sum over other labels.
pub(super) fn contrast_linear(
    z: &[f32],
    n: usize,
    d: usize,
    graph: &Adjacency,
    labels: &[u32],
) -> (f64, Vec<f32>) {
    let groups = Groups::new(z, n, d, |i| labels[i]);
    let others = Moments::of_others(&groups.moments(&vec![1.0; n]), d);
    let mut sums = vec![0f32; n];
    groups.with_products(&others, (1, &mut sums), |k, m, product, sum| {
        // Where all rows have one label, nothing but rounding is left.
        let real = m.weight > 0.5;
        sum[0] = if real { m.sum(EXP, groups.row(k), product) as f32 } else { 0.0 };
    });
    let near = groups.along_edges(graph, f32::exp);
    let near_sum: Vec<f32> = near.iter().map(|v| v.iter().sum()).collect();

    // A row without neighbours, or without a row of another label, has no term.
    let counts = |k: usize| near_sum[k] > 0.0 && sums[k] > 0.0;
    let ln = |x: f32| f64::from(x).ln();
    let term = |k: usize| if counts(k) { ln(sums[k]) - ln(near_sum[k]) } else { 0.0 };
    let loss = groups.place.iter().map(|&k| term(k as usize)).sum::<f64>() / n as f64;
    let share = |sum: &[f32], k: usize| {
        if counts(k) { (1.0 / (f64::from(sum[k]) * n as f64)) as f32 } else { 0.0 }
    };
    let push: Vec<f32> = (0..n).map(|k| share(&sums, k)).collect();
    let pull: Vec<f32> = (0..n).map(|k| share(&near_sum, k)).collect();

    // Each row is pushed by its own term, and by those of the rows of other labels.
    let mut of_units = vec![0f32; n * d];
    groups.with_products(&others, (d, &mut of_units), |k, m, product, to| {
        m.add_slope(EXP, product, f64::from(push[k]), to);
    });
    let pushing = Moments::of_others(&groups.moments(&push), d);
    groups.with_products(&pushing, (d, &mut of_units), |_, m, product, to| {
        m.add_slope(EXP, product, 1.0, to);
    });
    let gradient = groups.finish(&of_units, |k, g| {
        for (j, &e) in groups.neighbours(graph, k).zip(&near[k]) {
            add_scaled(-e * (pull[k] + pull[j]), groups.row(j), g);
        }
    });
    (loss, gradient)
}

/// As [`neighbour`](super::neighbour), with [`SOFTPLUS`] for ln(1 + exp).
pub(super) fn neighbour_linear(
    x: &[f32],
    n: usize,
    d: usize,
    graph: &Adjacency,
) -> (f64, Vec<f32>) {
    let groups = Groups::new(x, n, d, |_| 0);
    let moments = groups.moments(&vec![1.0; n]);
    let [q0, q1, q2] = SOFTPLUS;
    let square = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>();
    let all: f64 = moments.iter().map(|m| q1 * square(&m.first) + q2 * square(&m.second)).sum();
    let along = groups.along_edges(graph, |c| c);
    let along: f64 = along.iter().flatten().map(|&c| f64::from(c)).sum();
    let entries = n as f64 * n as f64;
    let loss = q0 + (all - along) / entries;
    let mut of_units = vec![0f32; n * d];
    groups.with_products(&moments, (d, &mut of_units), |_, m, product, to| {
        m.add_slope(SOFTPLUS, product, 1.0, to);
    });
    // Each pair stands twice in the sum, as (i, j) and as (j, i).
    let weight = (2.0 / entries) as f32;
    let gradient = groups.finish(&of_units, |k, g| {
        groups.neighbours(graph, k).for_each(|j| add_scaled(-1.0, groups.row(j), g));
        g.iter_mut().for_each(|g| *g *= weight);
    });
    (loss, gradient)
}
