//! The iteration over levels.

use super::level::{Graph, members, move_nodes, renumber};
use super::refine::refine;
use crate::error::Result;
use crate::rng::{self, Rng};
use rayon::prelude::*;

/// Communities of the nodes of `graph` at resolution `gamma`, numbered by falling size (then by
/// their first node). `iterations` runs over all levels, or with `None` as many as still raise the
/// quality.
pub(super) fn optimise(
    graph: &Graph,
    gamma: f64,
    iterations: Option<usize>,
    seed: u64,
) -> Result<Vec<u32>> {
    let n = graph.len();
    let mut label: Vec<u32> = (0..n as u32).collect();
    let total: f64 = graph.strength.iter().map(|s| s[0]).sum();
    if total > 0.0 {
        let factor = gamma / (2.0 * total);
        let mut best = quality(graph, &label, gamma);
        for round in 0..iterations.unwrap_or(usize::MAX) {
            let new = iterate(graph, label.clone(), factor, rng::at(seed, round as u64))?;
            let reached = quality(graph, &new, gamma);
            let better = reached - best > 1e-10 * total;
            // Never a step back by rounding.
            if reached >= best {
                (label, best) = (new, reached);
            }
            if iterations.is_none() && !better {
                break;
            }
        }
    }
    Ok(by_size(&label))
}

/// Once through all levels, from the finest to that where every community is one node.
fn iterate(graph: &Graph, mut label: Vec<u32>, factor: f64, seed: u64) -> Result<Vec<u32>> {
    let mut coarse: Option<Graph> = None;
    // Node of the present level that each node of the finest one is part of.
    let mut node: Option<Vec<u32>> = None;
    for level in 0u64.. {
        let seed = rng::at(seed, level);
        let here = coarse.as_ref().unwrap_or(graph);
        move_nodes(here, &mut label, factor, &mut Rng::new(seed))?;
        let communities = renumber(&mut label);
        let mut part = match communities == here.len() {
            true => label.clone(),
            false => refine(here, &label, communities, factor, seed),
        };
        let parts = renumber(&mut part);
        if parts == here.len() {
            break;
        }
        let mut community = vec![0u32; parts];
        part.iter().zip(&label).for_each(|(&p, &l)| community[p as usize] = l);
        let next = here.aggregate(&part, parts);
        node = Some(match node {
            None => part,
            Some(node) => node.par_iter().map(|&v| part[v as usize]).collect(),
        });
        (coarse, label) = (Some(next), community);
    }
    Ok(match node {
        None => label,
        Some(node) => node.into_iter().map(|v| label[v as usize]).collect(),
    })
}

/// Σ over pairs of one community of A − γ·k·k/m; see [`super::LeidenFit::quality`]. Loops count.
pub(super) fn quality(graph: &Graph, label: &[u32], gamma: f64) -> f64 {
    let n = graph.len();
    // Each node's weight to its own community; loops are what strengths have beyond the edges.
    let inside: Vec<f64> = (0..n)
        .into_par_iter()
        .with_min_len(1024)
        .map(|v| {
            let mut other = 0.0;
            for e in graph.row(v) {
                if label[e.to as usize] != label[v] {
                    other += f64::from(e.weight);
                }
            }
            0.5 * (graph.strength[v][0] + graph.strength[v][1]) - other
        })
        .collect();
    let total: f64 = graph.strength.iter().map(|s| s[0]).sum();
    if total == 0.0 {
        return 0.0;
    }
    let most = label.iter().max().map_or(0, |&m| m as usize + 1);
    let mut sums = vec![[0f64; 2]; most];
    for (v, &c) in label.iter().enumerate() {
        let s = &mut sums[c as usize];
        *s = [s[0] + graph.strength[v][0], s[1] + graph.strength[v][1]];
    }
    let chance: f64 = sums.iter().map(|[o, i]| o * i).sum();
    inside.iter().sum::<f64>() - gamma * chance / total
}

/// Renumbers communities by falling size, equal ones by their first node.
fn by_size(label: &[u32]) -> Vec<u32> {
    let mut label = label.to_vec();
    let count = renumber(&mut label);
    let (start, _) = members(&label, count);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&c| std::cmp::Reverse(start[c + 1] - start[c]));
    let mut rank = vec![0u32; count];
    order.iter().enumerate().for_each(|(new, &old)| rank[old] = new as u32);
    label.iter().map(|&c| rank[c as usize]).collect()
}
