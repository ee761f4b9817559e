//! Weights of the edges of a graph.

use super::build::Edges;
use crate::error::{Error, Result};

/// How the connectivities of a graph are made from its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transform {
    /// 1 for every edge.
    #[default]
    None,
    /// D^-½ A D^-½ with D the sums of the columns of A.
    Spectral,
    /// The cosine of the angle between two rows of A: how many neighbours two spots share. Spots
    /// two steps apart become neighbours, and every spot with one its own.
    Cosine,
}

impl Transform {
    /// squidpy's name.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Transform::None => None,
            Transform::Spectral => Some("spectral"),
            Transform::Cosine => Some("cosine"),
        }
    }
}

/// The weights of a graph with these edges, with or without its diagonal.
pub(super) fn connectivities(edges: &Edges, set_diag: bool, transform: Transform) -> Result<Edges> {
    let ones = ones(edges, set_diag);
    match transform {
        Transform::None => Ok(ones),
        Transform::Spectral => spectral(ones),
        Transform::Cosine => cosine(&ones),
    }
}

fn ones(edges: &Edges, set_diag: bool) -> Edges {
    if !set_diag {
        let values = vec![1.0; edges.values.len()];
        return Edges { values, ..edges.clone() };
    }
    let n = edges.n();
    let mut indptr = Vec::with_capacity(n + 1);
    let mut indices = Vec::with_capacity(edges.indices.len() + n);
    indptr.push(0);
    for r in 0..n {
        let row = &edges.indices[edges.indptr[r]..edges.indptr[r + 1]];
        let (before, after) = row.split_at(row.partition_point(|&c| (c as usize) < r));
        indices.extend_from_slice(before);
        indices.push(r as u32);
        indices.extend_from_slice(after);
        indptr.push(indices.len());
    }
    let values = vec![1.0; indices.len()];
    Edges { indptr, indices, values }
}

fn spectral(mut a: Edges) -> Result<Edges> {
    let n = a.n();
    let mut degree = vec![0.0f64; n];
    a.indices.iter().for_each(|&c| degree[c as usize] += 1.0);
    for r in 0..n {
        let range = a.indptr[r]..a.indptr[r + 1];
        if degree[r] == 0.0 && !range.is_empty() {
            let reason = format!(
                "spot {r} has neighbours and is nobody's neighbour, so that its weights would be \
                 infinite. Take a graph that is the same in both directions (`delaunay`, \
                 `radius`, `grid`) or add the diagonal with `.set_diag(true)`"
            );
            return Err(Error::data("spectral transform", reason));
        }
        for e in range {
            let c = a.indices[e] as usize;
            a.values[e] = (1.0 / degree[r]).sqrt() * (1.0 / degree[c]).sqrt();
        }
    }
    Ok(a)
}

fn cosine(a: &Edges) -> Result<Edges> {
    let n = a.n();
    // Who has a column: the transposed graph.
    let mut start = vec![0usize; n + 1];
    a.indices.iter().for_each(|&c| start[c as usize + 1] += 1);
    for c in 0..n {
        start[c + 1] += start[c];
    }
    let mut next = start.clone();
    let mut who = vec![0u32; a.indices.len()];
    for r in 0..n {
        for &c in &a.indices[a.indptr[r]..a.indptr[r + 1]] {
            who[next[c as usize]] = r as u32;
            next[c as usize] += 1;
        }
    }
    let length = |r: usize| ((a.indptr[r + 1] - a.indptr[r]) as f64).sqrt();
    Edges::from_rows(n, |r, row| {
        let mut shared: Vec<u32> = Vec::new();
        for &c in &a.indices[a.indptr[r]..a.indptr[r + 1]] {
            shared.extend_from_slice(&who[start[c as usize]..start[c as usize + 1]]);
        }
        shared.sort_unstable();
        for same in shared.chunk_by(|x, y| x == y) {
            let other = same[0] as usize;
            row.push((same[0], same.len() as f64 / (length(r) * length(other))));
        }
    })
}
