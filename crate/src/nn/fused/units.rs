//! Unit rows in blocks, the products of two blocks, and the gradients that flow back to the rows.

use super::schedule::tournament;
use super::simd::{LANES, fma, vectorised};
use super::{Threads, lock, mat, matmul, transpose, with_scratch};
use rayon::prelude::*;
use std::sync::Mutex;

/// Rows of a block at most: four panels of the AVX-512 product, and a tile of block × block that
/// fits in the second-level cache.
const BLOCK: usize = 192;

/// Rows divided by their length, cut into blocks, each stored both ways round so that no product
/// has to rearrange its operands.
pub(super) struct Units {
    /// Number of rows.
    pub n: usize,
    /// Length of a row.
    pub d: usize,
    /// Rows of a block; the last block is filled up with zeros.
    pub block: usize,
    /// Number of blocks.
    pub count: usize,
    /// Row-major, `count * block × d`.
    pub rows: Vec<f32>,
    /// Each block transposed, `d × block`.
    columns: Vec<f32>,
    /// 1 / length of each row; 0 for a row without length.
    inverse: Vec<f32>,
}

/// One over another: a tile of cosines of the rows of two blocks, column by column.
pub(super) struct Tile<'a> {
    /// The block whose rows run down the tile.
    pub i: usize,
    /// The block whose rows run across it.
    pub j: usize,
    /// Cosine of rows (a, b) at `b * block + a`.
    pub values: &'a mut [f32],
}

/// What two blocks receive, one of them transposed.
struct Received {
    columns: Vec<f32>,
    rows: Vec<f32>,
}

/// Gradients with respect to the unit rows.
pub(super) struct Gradients {
    blocks: Vec<Mutex<Received>>,
}

impl Units {
    /// From `n` rows of length `d`.
    pub fn new(x: &[f32], n: usize, d: usize) -> Self {
        let block = BLOCK.min(n.next_multiple_of(LANES)).max(LANES);
        let count = n.div_ceil(block);
        let mut rows = vec![0f32; count * block * d];
        let mut inverse = vec![0f32; n];
        let size = d.max(1);
        rows[..n * d]
            .par_chunks_mut(size)
            .zip(x.par_chunks(size))
            .zip(&mut inverse)
            .for_each(|((unit, x), inverse)| *inverse = unit_row(x, unit));
        let mut columns = vec![0f32; rows.len()];
        let size = (block * d).max(1);
        columns
            .par_chunks_mut(size)
            .zip(rows.par_chunks(size))
            .for_each(|(columns, rows)| transpose(rows, block, d, columns, block));
        Units { n, d, block, count, rows, columns, inverse }
    }

    /// How many rows of block `b` are real.
    pub fn filled(&self, b: usize) -> usize {
        self.block.min(self.n - b * self.block)
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.d..][..self.d]
    }

    fn block_rows(&self, b: usize) -> &[f32] {
        &self.rows[b * self.block * self.d..][..self.block * self.d]
    }

    fn block_columns(&self, b: usize) -> &[f32] {
        &self.columns[b * self.block * self.d..][..self.block * self.d]
    }

    /// Calls `f` with every tile on or above the diagonal, threaded, in such an order that tiles
    /// in flight share no block. Returns what it returned, in that order.
    pub fn for_each_tile<R: Send>(&self, f: impl Fn(Tile) -> R + Sync) -> Vec<R> {
        let mut all = Vec::with_capacity(self.count * (self.count + 1) / 2);
        let (t, d) = (self.block, self.d);
        for round in tournament(self.count) {
            let results = round.into_par_iter().with_max_len(1).map(|(i, j)| {
                with_scratch(t * t, |values| {
                    let (a, b) = (mat(self.block_columns(i), 1, t), mat(self.block_rows(j), 1, d));
                    matmul((t, d, t), values, (1, t), false, a, b, Threads::One);
                    f(Tile { i, j, values })
                })
            });
            all.par_extend(results);
        }
        all
    }

    /// No gradients yet.
    pub fn gradients(&self) -> Gradients {
        let size = self.block * self.d;
        let empty = || Received { columns: vec![0f32; size], rows: vec![0f32; size] };
        Gradients { blocks: (0..self.count).map(|_| Mutex::new(empty())).collect() }
    }

    /// Adds what a symmetric matrix, of which `tile` is a part, passes back: row a of block i
    /// receives Σ_b tile(a, b) · row b of block j, and the other way round.
    pub fn pass_back(&self, tile: &Tile, gradients: &Gradients) {
        let (t, d) = (self.block, self.d);
        {
            let mut to = lock(&gradients.blocks[tile.i]);
            let (a, b) = (mat(tile.values, 1, t), mat(self.block_columns(tile.j), 1, t));
            matmul((t, t, d), &mut to.columns, (1, t), true, a, b, Threads::One);
        }
        if tile.i != tile.j {
            let mut to = lock(&gradients.blocks[tile.j]);
            let (a, b) = (mat(self.block_rows(tile.i), 1, d), mat(tile.values, 1, t));
            matmul((d, t, t), &mut to.rows, (1, d), true, a, b, Threads::One);
        }
    }

    /// The gradient with respect to the rows before they were divided by their length.
    /// `edges(i, g)` adds to the gradient of unit row i what is not in tiles.
    pub fn finish(
        &self,
        gradients: Gradients,
        edges: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let (n, d, t) = (self.n, self.d, self.block);
        let mut out = vec![0f32; n * d];
        out.par_chunks_mut((t * d).max(1)).zip(gradients.blocks).enumerate().for_each(
            |(b, (out, received))| {
                let received = received.into_inner().unwrap_or_else(|e| e.into_inner());
                for (r, g) in out.chunks_exact_mut(d).enumerate() {
                    let i = b * t + r;
                    for (k, g) in g.iter_mut().enumerate() {
                        *g = received.rows[r * d + k] + received.columns[k * t + r];
                    }
                    edges(i, g);
                    project(self.row(i), self.inverse[i], g);
                }
            },
        );
        out
    }
}

/// Writes x / |x| and returns 1 / |x|; zeros for a row without length.
pub(super) fn unit_row(x: &[f32], unit: &mut [f32]) -> f32 {
    let length = x.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length <= 1e-12 {
        unit.fill(0.0);
        return 0.0;
    }
    for (u, &x) in unit.iter_mut().zip(x) {
        *u = (f64::from(x) / length) as f32;
    }
    (1.0 / length) as f32
}

vectorised! {
    /// The gradient through x / |x|: (g - u (u·g)) / |x|.
    pub(super) fn project(u: &[f32], inverse: f32, g: &mut [f32]) {
        let along = u.iter().zip(&*g).map(|(&u, &g)| u * g).sum::<f32>();
        for (g, &u) in g.iter_mut().zip(u) {
            *g = fma::<FMA>(-along, u, *g) * inverse;
        }
    }
}

vectorised! {
    /// g += w · u.
    pub(super) fn add_scaled(w: f32, u: &[f32], g: &mut [f32]) {
        for (g, &u) in g.iter_mut().zip(u) {
            *g = fma::<FMA>(w, u, *g);
        }
    }
}

/// The product of two rows.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}
