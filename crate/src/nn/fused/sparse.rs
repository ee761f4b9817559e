//! Products of a matrix of mostly zeros and a dense one.
//!
//! A panel of columns of the dense matrix, row by row, stays in a cache of the core; a row of the product is summed
//! in registers over the stored elements, in their order. An element costs somewhat more than one of a dense product,
//! so that this pays below [`DENSITY`].

use super::simd::{fma, vectorised};
use super::{Mat, mat};
use crate::linalg::Csr;
use rayon::prelude::*;

/// The share of elements up to which a matrix is worth being stored sparsely.
pub(crate) const DENSITY: f64 = 0.25;
/// Columns of a panel.
const COLUMNS: usize = 32;
/// Rows of the product of one task.
const ROWS: usize = 128;

/// x Wᵀ, n × out, for a sparse x and a W of `out` rows.
pub(crate) fn sparse_dense(x: &Csr<f32>, w: &[f32], out: usize) -> Vec<f32> {
    product(x, mat(w, 1, x.ncols), out)
}

/// gᵀ x, out × inner: the gradient of W, from that of the product and from xᵀ.
pub(crate) fn sparse_weight(x_t: &Csr<f32>, g: &[f32], out: usize) -> Vec<f32> {
    let inner = x_t.nrows;
    let turned = product(x_t, mat(g, out, 1), out);
    let mut weight = vec![0f32; out * inner];
    weight.par_chunks_mut(inner.max(1)).enumerate().for_each(|(r, row)| {
        row.iter_mut().zip(turned.chunks_exact(out)).for_each(|(w, t)| *w = t[r]);
    });
    weight
}

/// a · b for a `b` of `width` columns, row by row.
fn product(a: &Csr<f32>, b: Mat, width: usize) -> Vec<f32> {
    let mut y = vec![0f32; a.nrows * width];
    if y.is_empty() || a.ncols == 0 {
        return y;
    }
    let mut panels = vec![0f32; width.div_ceil(COLUMNS) * a.ncols * COLUMNS];
    panels.par_chunks_mut(ROWS * COLUMNS).enumerate().for_each(|(chunk, panel)| {
        for (k, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
            let k = chunk * ROWS + k;
            let (first, from) = (k / a.ncols * COLUMNS, &b.values[k % a.ncols * b.row..]);
            for (c, v) in row.iter_mut().enumerate().take(width - first) {
                *v = from[(first + c) * b.column];
            }
        }
    });
    y.par_chunks_mut(ROWS * width).enumerate().for_each(|(task, y)| {
        let first = task * ROWS;
        let rows = &a.indptr[first..=first + y.len() / width];
        for (p, panel) in panels.chunks_exact(a.ncols * COLUMNS).enumerate() {
            sums(rows, &a.indices, &a.values, panel, p * COLUMNS, width, y);
        }
    });
    y
}

vectorised! {
    /// Writes columns `first` … of the rows that `indptr` bounds into rows of `width` numbers.
    fn sums(
        indptr: &[usize],
        indices: &[u32],
        values: &[f32],
        panel: &[f32],
        first: usize,
        width: usize,
        y: &mut [f32],
    ) {
        let end = width.min(first + COLUMNS);
        let (panel, _) = panel.as_chunks::<COLUMNS>();
        for (row, y) in indptr.windows(2).zip(y.chunks_exact_mut(width)) {
            let mut sums = [0f32; COLUMNS];
            let elements = row[0]..row[1];
            for (&k, &v) in indices[elements.clone()].iter().zip(&values[elements]) {
                let b = &panel[k as usize];
                for c in 0..COLUMNS {
                    sums[c] = fma::<FMA>(v, b[c], sums[c]);
                }
            }
            y[first..end].copy_from_slice(&sums[..end - first]);
        }
    }
}
