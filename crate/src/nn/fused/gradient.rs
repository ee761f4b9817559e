//! [`Gradient`]: the gradient of a parameter, or what it is made of.

use super::{Threads, mat, matmul};
use candle_core::{Device, Result, Tensor};

/// The gradient of a parameter. That of a large weight is not kept: the optimizer makes it block by
/// block and uses each block while it is in the cache.
pub(crate) enum Gradient {
    /// Number by number.
    Values(Vec<f32>),
    /// gᵀ x, of a weight of out × inner, for `g` of n × out and `x` of n × inner.
    Product {
        /// The gradient of the layer's output.
        g: Vec<f32>,
        /// The layer's input.
        x: Vec<f32>,
        /// n.
        rows: usize,
    },
    /// Of a table of which some rows were taken: the sum of the gradients of each row.
    Rows {
        /// The row of the table that each was.
        index: Vec<u32>,
        /// Its gradient.
        rows: Vec<f32>,
    },
}

impl Gradient {
    /// Numbers of a row of the parameter, as far as the gradient has rows.
    pub fn width(&self) -> usize {
        match self {
            Gradient::Values(_) => 1,
            Gradient::Product { x, rows, .. } => x.len() / (*rows).max(1),
            Gradient::Rows { index, rows } => rows.len() / index.len().max(1),
        }
        .max(1)
    }

    /// Whether it fits a parameter of so many numbers.
    pub fn fits(&self, count: usize) -> bool {
        match self {
            Gradient::Values(v) => v.len() == count,
            Gradient::Product { g, x, rows } => {
                let rows = (*rows).max(1);
                g.len() / rows * (x.len() / rows) == count
            }
            Gradient::Rows { index, .. } => {
                let rows = count / self.width();
                index.iter().all(|&i| (i as usize) < rows)
            }
        }
    }

    /// Writes the numbers from `first`, the start of a row, on.
    pub fn fill(&self, first: usize, block: &mut [f32]) {
        let width = self.width();
        match self {
            Gradient::Values(v) => block.copy_from_slice(&v[first..first + block.len()]),
            Gradient::Product { g, x, rows } => {
                let (at, out) = (first / width, g.len() / rows);
                let sizes = (block.len() / width, *rows, width);
                let (a, b) = (mat(&g[at..], 1, out), mat(x, width, 1));
                matmul(sizes, block, (width, 1), false, a, b, Threads::One);
            }
            Gradient::Rows { index, rows } => {
                block.fill(0.0);
                let at = (first / width) as u32;
                let last = at + (block.len() / width) as u32;
                for (&i, row) in index.iter().zip(rows.chunks_exact(width)) {
                    if (at..last).contains(&i) {
                        let target = &mut block[(i - at) as usize * width..][..width];
                        target.iter_mut().zip(row).for_each(|(t, &v)| *t += v);
                    }
                }
            }
        }
    }

    /// All of it, in the shape of its parameter.
    pub fn to_tensor(&self, shape: &[usize]) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        if !self.fits(count) {
            candle_core::bail!("the gradient does not fit a parameter of shape {shape:?}");
        }
        let mut values = vec![0f32; count];
        self.fill(0, &mut values);
        Tensor::from_vec(values, shape, &Device::Cpu)
    }
}
