//! Positions for images of another size: bicubic interpolation of the trained grid.

use super::config::VitConfig;
use crate::error::Result;
use candle_core::{Device, Tensor};

/// Keys' cubic with a = -0.5, as torch and Pillow use it where they smooth before they shrink.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * -0.5 + 2.0
    } else {
        0.0
    }
}

/// For each of `out` points the first of `size` points and the weights from there on.
fn weights(size: usize, out: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = size as f64 / out as f64;
    let stretch = scale.max(1.0);
    let point = |o: usize| {
        let center = (o as f64 + 0.5) * scale;
        let support = 2.0 * stretch;
        let first = (center - support + 0.5).max(0.0) as usize;
        let last = ((center + support + 0.5) as usize).min(size);
        let w = (first..last).map(|j| cubic((j as f64 - center + 0.5) / stretch));
        let w: Vec<f64> = w.collect();
        let sum: f64 = w.iter().sum();
        (first, w.iter().map(|v| v / sum).collect())
    };
    (0..out).map(point).collect()
}

/// The trained positions, `[positions, dim]`, for an image of `rows` × `columns` patches:
/// as torch's `interpolate(mode="bicubic", antialias=True, align_corners=False)` of those of the
/// patches; those of class and register tokens stay.
pub(super) fn resized(
    config: &VitConfig,
    trained: &Tensor,
    rows: usize,
    columns: usize,
) -> Result<Tensor> {
    let (grid, dim) = (config.grid(), config.dim);
    if (rows, columns) == (grid, grid) {
        return Ok(trained.clone());
    }
    let values: Vec<f32> = trained.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
    let prefix = config.positions() - grid * grid;
    let (head, patches) = values.split_at(prefix * dim);
    let (down, across) = (weights(grid, rows), weights(grid, columns));
    let mut wide = vec![0f64; grid * columns * dim];
    for (r, row) in wide.chunks_exact_mut(columns * dim).enumerate() {
        for (point, (first, w)) in row.chunks_exact_mut(dim).zip(&across) {
            for (k, w) in w.iter().enumerate() {
                let source = &patches[(r * grid + first + k) * dim..][..dim];
                point.iter_mut().zip(source).for_each(|(p, &v)| *p += w * f64::from(v));
            }
        }
    }
    let mut out: Vec<f32> = head.to_vec();
    for (first, w) in &down {
        let mut row = vec![0f64; columns * dim];
        for (k, w) in w.iter().enumerate() {
            let source = &wide[(first + k) * columns * dim..][..columns * dim];
            row.iter_mut().zip(source).for_each(|(p, &v)| *p += w * v);
        }
        out.extend(row.into_iter().map(|v| v as f32));
    }
    Ok(Tensor::from_vec(out, (prefix + rows * columns, dim), trained.device())?)
}
