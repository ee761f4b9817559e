//! Attention of several heads over sequences, with its gradient.
//!
//! Input are rows `[q | k | v]`, each of heads × width numbers, as one linear layer makes them; output
//! are rows of heads × width: softmax(q kᵀ · scale) v for each head. Queries are taken in blocks, so
//! that at most a block × length of similarities is held by a thread.

use super::math::exp;
use super::simd::{LANES, fma, vectorised};
use super::{Threads, mat, matmul, with_scratch};
use rayon::prelude::*;

/// Queries of a block at most.
const BLOCK: usize = 64;

/// The sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Heads {
    /// Tokens of a sequence.
    pub length: usize,
    /// Number of heads.
    pub heads: usize,
    /// Numbers of a head.
    pub width: usize,
    /// What similarities are multiplied with.
    pub scale: f32,
}

impl Heads {
    /// Numbers of an output row.
    fn out(&self) -> usize {
        self.heads * self.width
    }

    /// Queries of a block, for so many in all: as equal as can be.
    fn block(queries: usize) -> usize {
        queries.div_ceil(queries.div_ceil(BLOCK).max(1)).max(1)
    }

    /// Writes the attention of each sequence into `out`.
    pub fn forward(&self, qkv: &[f32], out: &mut [f32]) {
        self.forward_first(self.length, qkv, out);
    }

    /// The same for the first `queries` tokens of each sequence only; they see every token.
    pub fn forward_first(&self, queries: usize, qkv: &[f32], out: &mut [f32]) {
        let (row, width) = (3 * self.out(), self.out());
        let block = Heads::block(queries);
        // Sequences first: their blocks of output rows follow each other.
        let mut blocks = Vec::new();
        for (rows, sequence) in out.chunks_mut(queries * width).zip(qkv.chunks(self.length * row)) {
            let starts = (0..queries).step_by(block);
            let rows = rows.chunks_mut(block * width);
            blocks.extend(rows.zip(starts).map(|(rows, first)| (sequence, first, rows)));
        }
        blocks.into_par_iter().for_each(|(sequence, first, rows)| {
            let queries = rows.len() / width;
            with_scratch(queries * self.length, |p| {
                for h in 0..self.heads {
                    self.weights(sequence, h, first, queries, p);
                    let v = mat(&sequence[2 * width + h * self.width..], row, 1);
                    matmul(
                        (queries, self.length, self.width),
                        &mut rows[h * self.width..],
                        (width, 1),
                        false,
                        mat(p, self.length, 1),
                        v,
                        Threads::One,
                    );
                }
            });
        });
    }

    /// The weights with which some queries of head `h` see every token, queries × length.
    pub fn weights(&self, sequence: &[f32], h: usize, first: usize, queries: usize, p: &mut [f32]) {
        let (row, width) = (3 * self.out(), self.out());
        let q = mat(&sequence[first * row + h * self.width..], row, 1);
        let k = mat(&sequence[width + h * self.width..], 1, row);
        let sizes = (queries, self.width, self.length);
        matmul(sizes, p, (self.length, 1), false, q, k, Threads::One);
        for p in p[..queries * self.length].chunks_exact_mut(self.length) {
            softmax(p, self.scale);
        }
    }

    /// Writes the gradient of `qkv` into `d_qkv`, from that of the output. Sequences run in parallel.
    pub fn backward(&self, qkv: &[f32], gradient: &[f32], d_qkv: &mut [f32]) {
        let (row, width) = (3 * self.out(), self.out());
        let (n, d) = (self.length, self.width);
        d_qkv
            .par_chunks_mut(n * row)
            .zip(qkv.par_chunks(n * row))
            .zip(gradient.par_chunks(n * width))
            .for_each(|((d_rows, rows), g)| {
                let block = Heads::block(n);
                with_scratch(2 * block * n, |scratch| {
                    let (p, dp) = scratch.split_at_mut(block * n);
                    for h in 0..self.heads {
                        for first in (0..n).step_by(block) {
                            let queries = block.min(n - first);
                            let (p, dp) = (&mut p[..queries * n], &mut dp[..queries * n]);
                            let add = first > 0;
                            self.weights(rows, h, first, queries, p);
                            let g = &g[first * width + h * d..];
                            // dv += pᵀ g; dp = g vᵀ.
                            let d_v = &mut d_rows[2 * width + h * d..];
                            let (p_t, g_m) = (mat(p, 1, n), mat(g, width, 1));
                            matmul((n, queries, d), d_v, (row, 1), add, p_t, g_m, Threads::One);
                            let v_t = mat(&rows[2 * width + h * d..], 1, row);
                            matmul((queries, d, n), dp, (n, 1), false, g_m, v_t, Threads::One);
                            for (dp, p) in dp.chunks_exact_mut(n).zip(p.chunks_exact(n)) {
                                softmax_back(p, dp, self.scale);
                            }
                            // dq = ds k; dk += dsᵀ q.
                            let d_q = &mut d_rows[first * row + h * d..];
                            let k = mat(&rows[width + h * d..], row, 1);
                            let ds = mat(dp, n, 1);
                            matmul((queries, n, d), d_q, (row, 1), false, ds, k, Threads::One);
                            let d_k = &mut d_rows[width + h * d..];
                            let q = mat(&rows[first * row + h * d..], row, 1);
                            let ds_t = mat(dp, 1, n);
                            matmul((n, queries, d), d_k, (row, 1), add, ds_t, q, Threads::One);
                        }
                    }
                });
            });
    }
}

vectorised! {
    /// Similarities to weights that sum to 1.
    fn softmax(x: &mut [f32], scale: f32) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (blocks, rest) = x.as_chunks::<LANES>();
        for block in blocks {
            for (l, &v) in lanes.iter_mut().zip(block) {
                *l = if v > *l { v } else { *l };
            }
        }
        let largest = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let shift = -largest * scale;
        let mut lanes = [0f32; LANES];
        let (blocks, rest) = x.as_chunks_mut::<LANES>();
        for block in blocks {
            for (l, v) in lanes.iter_mut().zip(block) {
                *v = exp::<FMA>(fma::<FMA>(*v, scale, shift));
                *l += *v;
            }
        }
        for (l, v) in lanes.iter_mut().zip(rest) {
            *v = exp::<FMA>(fma::<FMA>(*v, scale, shift));
            *l += *v;
        }
        let inverse = 1.0 / lanes.iter().sum::<f32>();
        for v in x {
            *v *= inverse;
        }
    }
}

vectorised! {
    /// The gradient of weights to that of unscaled similarities: ds = p ∘ (dp - Σ p ∘ dp) · scale.
    fn softmax_back(p: &[f32], dp: &mut [f32], scale: f32) {
        let dot: f64 = p.iter().zip(dp.iter()).map(|(&p, &g)| f64::from(p) * f64::from(g)).sum();
        let dot = dot as f32;
        for (g, &p) in dp.iter_mut().zip(p) {
            *g = p * (*g - dot) * scale;
        }
    }
}
