//! Unit rows in blocks, the products of two blocks, and the gradients that flow back to the rows.

use super::schedule::Schedule;
use super::simd::{LANES, fma, vectorised};
use super::{Threads, lock, mat, matmul, transpose, with_scratch};
use rayon::prelude::*;
use std::sync::Mutex;

/// Rows of a block at most: four panels of the AVX-512 product, and a tile of block × block that
/// fits in the second-level cache.
const BLOCK: usize = 192;
/// Rows that one task searches for columns that are alive.
const ALIVE_ROWS: usize = 512;

/// Rows divided by their length, cut into blocks, each stored both ways round so that no product
/// has to rearrange its operands. Columns that are 0 in every row, which units that have died
/// leave, add nothing to any product and receive no gradient: they are left out.
pub(super) struct Units {
    /// Number of rows.
    pub n: usize,
    /// Length of a row.
    pub d: usize,
    /// The columns of the data that are here, of `width` that it has.
    alive: Vec<usize>,
    width: usize,
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
    pub fn new(x: &[f32], n: usize, width: usize) -> Self {
        let alive = alive(x, width);
        let d = alive.len();
        let block = BLOCK.min(n.next_multiple_of(LANES)).max(LANES);
        let count = n.div_ceil(block);
        let mut rows = vec![0f32; count * block * d];
        let mut inverse = vec![0f32; n];
        let size = d.max(1);
        rows[..n * d]
            .par_chunks_mut(size)
            .zip(x.par_chunks(width.max(1)))
            .zip(&mut inverse)
            .with_min_len(64)
            .for_each(|((unit, x), inverse)| {
                unit.iter_mut().zip(&alive).for_each(|(u, &c)| *u = x[c]);
                *inverse = to_unit(unit);
            });
        let mut columns = vec![0f32; rows.len()];
        let size = (block * d).max(1);
        columns
            .par_chunks_mut(size)
            .zip(rows.par_chunks(size))
            .for_each(|(columns, rows)| transpose(rows, block, d, columns, block));
        Units { n, d, alive, width, block, count, rows, columns, inverse }
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

    /// Calls `f` with every tile on or above the diagonal, threaded; tiles in flight share no block.
    /// Returns what it returned, in the order of the [`Schedule`].
    pub fn for_each_tile<R: Send>(&self, f: impl Fn(Tile) -> R + Sync) -> Vec<R> {
        let (t, d) = (self.block, self.d);
        Schedule::tournament(self.count).run(|i, j| {
            with_scratch(t * t, |values| {
                let (a, b) = (mat(self.block_columns(i), 1, t), mat(self.block_rows(j), 1, d));
                matmul((t, d, t), values, (1, t), false, a, b, Threads::One);
                f(Tile { i, j, values })
            })
        })
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
        let (d, t, width) = (self.d, self.block, self.width);
        let mut out = vec![0f32; self.n * width];
        out.par_chunks_mut((t * width).max(1)).zip(gradients.blocks).enumerate().for_each(
            |(b, (out, received))| {
                let received = received.into_inner().unwrap_or_else(|e| e.into_inner());
                let mut g = vec![0f32; d];
                for (r, out) in out.chunks_exact_mut(width).enumerate() {
                    let i = b * t + r;
                    for (k, g) in g.iter_mut().enumerate() {
                        *g = received.rows[r * d + k] + received.columns[k * t + r];
                    }
                    edges(i, &mut g);
                    project(self.row(i), self.inverse[i], &mut g);
                    self.alive.iter().zip(&g).for_each(|(&c, &g)| out[c] = g);
                }
            },
        );
        out
    }
}

/// The columns in which some row is not 0, or the first where none is.
fn alive(x: &[f32], width: usize) -> Vec<usize> {
    let of_rows = |mut any: Vec<bool>, rows: &[f32]| {
        for row in rows.chunks_exact(width) {
            any.iter_mut().zip(row).for_each(|(any, &v)| *any |= v != 0.0);
        }
        any
    };
    let none = || vec![false; width];
    let any =
        x.par_chunks((ALIVE_ROWS * width).max(1)).fold(none, of_rows).reduce(none, |mut a, b| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
            a
        });
    let alive: Vec<usize> = (0..width).filter(|&c| any[c]).collect();
    if alive.is_empty() { (0..width.min(1)).collect() } else { alive }
}

/// Divides a row by its length and returns 1 / length; zeros for a row without length.
pub(super) fn to_unit(row: &mut [f32]) -> f32 {
    let length = row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length <= 1e-12 {
        row.fill(0.0);
        return 0.0;
    }
    row.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
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
