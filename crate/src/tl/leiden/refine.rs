//! The refinement that makes Leiden's communities connected: each is built again from single
//! nodes, within its own borders.

use super::level::{Graph, members};
use crate::rng::{Rng, at};
use rayon::prelude::*;

/// Splits the communities `label` (0..`communities`) into well connected parts: nodes start alone
/// and merge with the part in their community where the quality rises most, provided that both are
/// well connected with the rest of it. Communities are independent of each other, so they run in
/// parallel. Returns a part for each node; parts of different communities have different numbers
/// below the number of nodes.
pub(super) fn refine(
    graph: &Graph,
    label: &[u32],
    communities: usize,
    factor: f64,
    seed: u64,
) -> Vec<u32> {
    let (start, list) = members(label, communities);
    // Place of each node in its community.
    let mut place = vec![0u32; label.len()];
    for c in 0..communities {
        list[start[c]..start[c + 1]]
            .iter()
            .enumerate()
            .for_each(|(i, &v)| place[v as usize] = i as u32);
    }
    let refined: Vec<Vec<u32>> = (0..communities)
        .into_par_iter()
        .map(|c| {
            let nodes = &list[start[c]..start[c + 1]];
            one(graph, label, c as u32, nodes, &place, factor, at(seed, c as u64))
        })
        .collect();
    let mut out = vec![0u32; label.len()];
    for (c, part) in refined.iter().enumerate() {
        for (&v, p) in list[start[c]..start[c + 1]].iter().zip(part) {
            out[v as usize] = start[c] as u32 + p;
        }
    }
    out
}

fn one(
    graph: &Graph,
    label: &[u32],
    community: u32,
    nodes: &[u32],
    place: &[u32],
    factor: f64,
    seed: u64,
) -> Vec<u32> {
    let n = nodes.len();
    let mut part: Vec<u32> = (0..n as u32).collect();
    if n == 1 {
        return part;
    }
    let mut strength: Vec<[f64; 2]> = nodes.iter().map(|&v| graph.strength[v as usize]).collect();
    let total = strength.iter().fold([0.0; 2], |t, s| [t[0] + s[0], t[1] + s[1]]);
    // What a part would weigh with the rest of the community if edges fell at random.
    let by_chance = |[o, i]: [f64; 2]| factor * (o * (total[1] - i) + i * (total[0] - o));
    let inside =
        |v: u32| graph.row(v as usize).iter().filter(move |e| label[e.to as usize] == community);
    // Weight of the edges from each part to the rest of the community.
    let mut border: Vec<f64> =
        nodes.iter().map(|&v| inside(v).map(|e| f64::from(e.weight)).sum()).collect();
    let mut size = vec![1u32; n];
    let mut order: Vec<u32> = (0..n as u32).collect();
    Rng::new(seed).shuffle(&mut order);
    let mut weight = vec![0f64; n];
    let mut touched: Vec<u32> = Vec::new();
    for i in order {
        let i = i as usize;
        // Only a node that is still alone may move.
        if part[i] != i as u32 || size[i] != 1 || border[i] < by_chance(strength[i]) {
            continue;
        }
        for e in inside(nodes[i]) {
            let p = part[place[e.to as usize] as usize];
            let w = &mut weight[p as usize];
            if *w == 0.0 {
                touched.push(p);
            }
            *w += f64::from(e.weight);
        }
        let [out, into] = strength[i];
        let (mut best, mut best_gain, mut best_weight) = (i, 0.0, 0.0);
        for &p in &touched {
            let p = p as usize;
            let w = std::mem::take(&mut weight[p]);
            let [o, k] = strength[p];
            let gain = w - factor * (out * k + into * o);
            if gain > best_gain && border[p] >= by_chance(strength[p]) {
                (best, best_gain, best_weight) = (p, gain, w);
            }
        }
        touched.clear();
        if best != i {
            part[i] = best as u32;
            size[best] += 1;
            size[i] = 0;
            border[best] += border[i] - 2.0 * best_weight;
            strength[best] = [strength[best][0] + out, strength[best][1] + into];
            strength[i] = [0.0; 2];
        }
    }
    part
}
