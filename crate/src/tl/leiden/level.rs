//! One level of the algorithm: a graph, moving its nodes between communities, and the coarser
//! graph of the next level.

use crate::error::Result;
use crate::linalg::Csr;
use crate::parallel::parts;
use crate::progress::check_interrupt;
use crate::rng::Rng;
use rayon::prelude::*;

/// An edge as its source sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub to: u32,
    pub weight: f32,
}

/// A symmetric weighted graph without loops; what loops weigh is part of the strengths.
#[derive(Debug)]
pub(super) struct Graph {
    pub indptr: Vec<usize>,
    pub edges: Vec<Edge>,
    /// Sums of the weights of outgoing and of incoming edges, loops included.
    pub strength: Vec<[f64; 2]>,
}

impl Graph {
    /// From the symmetric part of an adjacency matrix and the strengths of the matrix itself.
    pub fn new(symmetric: &Csr<f32>, strength: Vec<[f64; 2]>) -> Graph {
        let n = symmetric.nrows;
        let mut indptr = Vec::with_capacity(n + 1);
        indptr.push(0);
        let mut edges = Vec::with_capacity(symmetric.values.len());
        for v in 0..n {
            let row = symmetric.row(v).filter(|(to, _)| *to != v);
            edges.extend(row.map(|(to, weight)| Edge { to: to as u32, weight }));
            indptr.push(edges.len());
        }
        Graph { indptr, edges, strength }
    }

    pub fn len(&self) -> usize {
        self.strength.len()
    }

    #[inline]
    pub fn row(&self, v: usize) -> &[Edge] {
        &self.edges[self.indptr[v]..self.indptr[v + 1]]
    }

    /// The graph whose nodes are the groups 0..`groups` of nodes of this one.
    pub fn aggregate(&self, group: &[u32], groups: usize) -> Graph {
        let (start, members) = members(group, groups);
        let one = |range: std::ops::Range<usize>| {
            let mut weight = vec![0f64; groups];
            let mut touched: Vec<u32> = Vec::new();
            let (mut lengths, mut edges, mut strength) = (Vec::new(), Vec::new(), Vec::new());
            for g in range {
                let mut k = [0.0; 2];
                for &v in &members[start[g]..start[g + 1]] {
                    let [out, into] = self.strength[v as usize];
                    k = [k[0] + out, k[1] + into];
                    for e in self.row(v as usize) {
                        let to = group[e.to as usize];
                        let w = &mut weight[to as usize];
                        if *w == 0.0 {
                            touched.push(to);
                        }
                        *w += f64::from(e.weight);
                    }
                }
                let before = edges.len();
                for &to in &touched {
                    let weight = std::mem::take(&mut weight[to as usize]) as f32;
                    if to as usize != g {
                        edges.push(Edge { to, weight });
                    }
                }
                touched.clear();
                lengths.push(edges.len() - before);
                strength.push(k);
            }
            (lengths, edges, strength)
        };
        let pieces: Vec<_> = parts(groups, 512).into_par_iter().map(one).collect();
        let mut out = Graph { indptr: vec![0], edges: Vec::new(), strength: Vec::new() };
        for (lengths, edges, strength) in pieces {
            for length in lengths {
                out.indptr.push(out.indptr[out.indptr.len() - 1] + length);
            }
            out.edges.extend(edges);
            out.strength.extend(strength);
        }
        out
    }
}

/// Where the members of each of `groups` groups start in the list of all members.
pub(in crate::tl) fn members(group: &[u32], groups: usize) -> (Vec<usize>, Vec<u32>) {
    let mut start = vec![0usize; groups + 1];
    group.iter().for_each(|&g| start[g as usize + 1] += 1);
    (0..groups).for_each(|g| start[g + 1] += start[g]);
    let mut next = start.clone();
    let mut list = vec![0u32; group.len()];
    for (v, &g) in group.iter().enumerate() {
        list[next[g as usize]] = v as u32;
        next[g as usize] += 1;
    }
    (start, list)
}

/// Renumbers labels to 0..count in the order of their first use; returns the count.
pub(super) fn renumber(labels: &mut [u32]) -> usize {
    let most = labels.iter().max().map_or(0, |&m| m as usize + 1);
    let mut new = vec![u32::MAX; most];
    let mut count = 0;
    for l in labels {
        let slot = &mut new[*l as usize];
        if *slot == u32::MAX {
            *slot = count;
            count += 1;
        }
        *l = *slot;
    }
    count as usize
}

/// A gain below this part of a node's strength is rounding, and no reason to move it.
const LEAST_GAIN: f64 = 1e-10;

/// Moves nodes one by one to the community where the quality rises most, until none would move;
/// neighbours of a moved node are looked at again. `factor` is γ / 2m. Labels are below the number
/// of nodes. Says how often a node moved.
pub(super) fn move_nodes(
    graph: &Graph,
    label: &mut [u32],
    factor: f64,
    rng: &mut Rng,
) -> Result<usize> {
    let n = graph.len();
    let mut strength = vec![[0f64; 2]; n];
    let mut size = vec![0u32; n];
    for (v, &c) in label.iter().enumerate() {
        let [out, into] = graph.strength[v];
        let s = &mut strength[c as usize];
        *s = [s[0] + out, s[1] + into];
        size[c as usize] += 1;
    }
    let mut empty: Vec<u32> = (0..n as u32).rev().filter(|&c| size[c as usize] == 0).collect();
    let mut queue: Vec<u32> = (0..n as u32).collect();
    rng.shuffle(&mut queue);
    // A ring of n places: a node waits in it at most once.
    let (mut head, mut waiting) = (0, n);
    let mut waits = vec![true; n];
    let mut weight = vec![0f64; n];
    let mut touched: Vec<u32> = Vec::new();
    let (mut moves, mut looks) = (0, 0usize);
    while waiting > 0 {
        looks += 1;
        if looks.is_multiple_of(1 << 16) {
            check_interrupt()?;
        }
        let v = queue[head] as usize;
        head = if head + 1 == n { 0 } else { head + 1 };
        waiting -= 1;
        waits[v] = false;

        let row = graph.row(v);
        for e in row {
            let c = label[e.to as usize];
            let w = &mut weight[c as usize];
            if *w == 0.0 {
                touched.push(c);
            }
            *w += f64::from(e.weight);
        }
        let old = label[v];
        let [out, into] = graph.strength[v];
        let own = &mut strength[old as usize];
        *own = [own[0] - out, own[1] - into];
        let gain = |w: f64, [o, i]: [f64; 2]| w - factor * (out * i + into * o);
        let stay = gain(weight[old as usize], strength[old as usize]);
        let (mut best, mut best_gain) = (old, stay + LEAST_GAIN * (out + into));
        for &c in &touched {
            let w = std::mem::take(&mut weight[c as usize]);
            let g = gain(w, strength[c as usize]);
            if g > best_gain && c != old {
                (best, best_gain) = (c, g);
            }
        }
        touched.clear();
        if 0.0 > best_gain && size[old as usize] > 1 {
            best = *empty.last().expect("fewer communities than nodes");
        }
        let s = &mut strength[best as usize];
        *s = [s[0] + out, s[1] + into];
        if best == old {
            continue;
        }
        moves += 1;
        label[v] = best;
        size[best as usize] += 1;
        size[old as usize] -= 1;
        if size[best as usize] == 1 {
            empty.pop();
        }
        if size[old as usize] == 0 {
            strength[old as usize] = [0.0; 2];
            empty.push(old);
        }
        for e in row {
            let to = e.to as usize;
            if label[to] != best && !waits[to] {
                waits[to] = true;
                let tail = head + waiting;
                queue[if tail >= n { tail - n } else { tail }] = to as u32;
                waiting += 1;
            }
        }
    }
    Ok(moves)
}
