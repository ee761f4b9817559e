//! y = f(x Wᵀ + b) for slices, whatever the number of rows.
//!
//! Two ways lead to the product. With many rows, a matrix product that rearranges W into panels first
//! is best. With the few rows of a training step, rearranging would take longer than multiplying: there
//! W is read once as it lies, and every product is a dot product of two rows.

use super::dots::{TILE, Vectors, dots, vectors};
use super::math::{gelu, gelu_slope, sigmoid, tanh};
use super::simd::{fma, vectorised};
use super::{Threads, mat, matmul};
use rayon::prelude::*;

/// (rows, width of x, width of y).
pub(crate) type Sizes = (usize, usize, usize);

/// What follows the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// x Φ(x).
    Gelu,
}

/// Rows of W that one task takes.
const TASK: usize = 64;
/// Numbers that one task of an element-wise pass takes.
const CHUNK: usize = 16 * 1024;

/// Writes f(x Wᵀ + b) into `y`; `x` is n × inner, `w` out × inner, `y` n × out.
pub(crate) fn dense(
    (n, inner, out): Sizes,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
    y: &mut [f32],
) {
    if n == 0 || out == 0 {
        return;
    }
    match vectors().filter(|v| n <= v.few() && inner > 0) {
        Some(vectors) => few(vectors, (n, inner, out), x, w, y),
        None => {
            let (a, b) = (mat(x, inner, 1), mat(w, 1, inner));
            matmul((n, inner, out), y, (out, 1), false, a, b, Threads::Pool);
        }
    }
    if bias.is_none() && activation == Activation::None {
        return;
    }
    let finish = |row: &mut [f32]| {
        if let Some(bias) = bias {
            add(row, bias);
        }
        match activation {
            Activation::None => {}
            Activation::Relu => relu(row),
            Activation::Gelu => gelu_in_place(row),
        }
    };
    y.par_chunks_mut(out).with_min_len(8).for_each(finish);
}

/// The product for few rows: yᵀ in blocks of rows of W, then turned round.
fn few(vectors: Vectors, (n, inner, out): Sizes, x: &[f32], w: &[f32], y: &mut [f32]) {
    let mut turned = vec![0f32; out * n];
    turned.par_chunks_mut(TASK * n).zip(w.par_chunks(TASK * inner)).for_each(|(turned, w)| {
        for (turned, w) in turned.chunks_mut(TILE.0 * n).zip(w.chunks(TILE.0 * inner)) {
            dots(vectors, inner, w, x, turned, n);
        }
    });
    y.par_chunks_mut(out).with_min_len(8).enumerate().for_each(|(r, y)| {
        y.iter_mut().zip(turned.chunks_exact(n)).for_each(|(y, column)| *y = column[r]);
    });
}

vectorised! {
    fn add(row: &mut [f32], bias: &[f32]) {
        for (y, &b) in row.iter_mut().zip(bias) {
            *y += b;
        }
    }
}

vectorised! {
    /// max(x, 0) of every number.
    pub(crate) fn relu(row: &mut [f32]) {
        for y in row {
            // NaN stays NaN.
            *y = if *y < 0.0 { 0.0 } else { *y };
        }
    }
}

/// Takes a gradient to before [`relu`], from what that made.
pub(crate) fn relu_back(y: &[f32], gradient: &mut [f32]) {
    for (g, &y) in gradient.iter_mut().zip(y) {
        *g = if y > 0.0 { *g } else { 0.0 };
    }
}

vectorised! {
    fn gelu_in_place(row: &mut [f32]) {
        for y in row {
            *y = gelu::<FMA>(*y);
        }
    }
}

/// Writes g W, the gradient of the input of a layer, into `dx`, from that of the output before the
/// activation; `gradient` is n × out, `w` out × inner.
pub(crate) fn dense_back((n, inner, out): Sizes, gradient: &[f32], w: &[f32], dx: &mut [f32]) {
    let (a, b) = (mat(gradient, out, 1), mat(w, inner, 1));
    matmul((n, out, inner), dx, (inner, 1), false, a, b, Threads::Pool);
}

/// gᵀ x, the gradient of the weight of a layer, from that of the output before the activation and from the
/// input.
pub(crate) fn dense_weight((n, inner, out): Sizes, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    let mut weight = vec![0f32; out * inner];
    let (a, b) = (mat(gradient, 1, out), mat(x, inner, 1));
    matmul((out, n, inner), &mut weight, (inner, 1), false, a, b, Threads::Pool);
    weight
}

/// The sums of the columns of rows of `width` numbers: the gradient of a bias.
pub(crate) fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0f64; width];
    for row in rows.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(s, &v)| *s += f64::from(v));
    }
    sums.into_iter().map(|s| s as f32).collect()
}

/// Multiplies a gradient with the slope of GELU at `x`, element by element.
pub(crate) fn gelu_back(x: &[f32], gradient: &mut [f32]) {
    gradient.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(g, x)| gelu_chunk(x, g));
}

vectorised! {
    fn gelu_chunk(x: &[f32], gradient: &mut [f32]) {
        for (g, &x) in gradient.iter_mut().zip(x) {
            *g *= gelu_slope::<FMA>(x);
        }
    }
}

/// Writes SiLU(a) · b into rows of `hidden` numbers, from rows [a | b].
pub(crate) fn silu_times(pairs: &[f32], hidden: usize, y: &mut [f32]) {
    y.par_chunks_mut(hidden).zip(pairs.par_chunks(2 * hidden)).for_each(|(y, pair)| {
        let (a, b) = pair.split_at(hidden);
        silu_row(a, b, y);
    });
}

vectorised! {
    fn silu_row(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a * sigmoid::<FMA>(a) * b;
        }
    }
}

/// Writes (a + bias) · SiLU(b + bias) into rows of `hidden` numbers, from rows [a | b].
pub(crate) fn times_silu(pairs: &[f32], bias: &[f32], hidden: usize, y: &mut [f32]) {
    y.par_chunks_mut(hidden)
        .zip(pairs.par_chunks(2 * hidden))
        .with_min_len(8)
        .for_each(|(y, pair)| gate_row(pair, bias, y));
}

/// As [`times_silu`], for one row.
pub(super) fn gate_row(pair: &[f32], bias: &[f32], y: &mut [f32]) {
    let ((a, b), (bias_a, bias_b)) = (pair.split_at(y.len()), bias.split_at(y.len()));
    gate(a, b, bias_a, bias_b, y);
}

vectorised! {
    fn gate(a: &[f32], b: &[f32], bias_a: &[f32], bias_b: &[f32], y: &mut [f32]) {
        for ((((y, &a), &b), &bias_a), &bias_b) in
            y.iter_mut().zip(a).zip(b).zip(bias_a).zip(bias_b)
        {
            let gate = b + bias_b;
            *y = (a + bias_a) * gate * sigmoid::<FMA>(gate);
        }
    }
}

/// Writes a · SiLU(b) into rows of `hidden` numbers, from rows [a | b].
pub(crate) fn gated(pairs: &[f32], hidden: usize, y: &mut [f32]) {
    y.par_chunks_mut(hidden).zip(pairs.par_chunks(2 * hidden)).with_min_len(32).for_each(
        |(y, pair)| {
            let (a, b) = pair.split_at(hidden);
            silu_row(b, a, y);
        },
    );
}

/// The gradient of what [`gated`] took, from that of what it made.
pub(crate) fn gated_back(pairs: &[f32], hidden: usize, gradient: &[f32]) -> Vec<f32> {
    let mut back = vec![0f32; pairs.len()];
    back.par_chunks_mut(2 * hidden)
        .zip(pairs.par_chunks(2 * hidden))
        .zip(gradient.par_chunks(hidden))
        .with_min_len(32)
        .for_each(|((back, pair), g)| {
            let (a, b) = pair.split_at(hidden);
            let (d_a, d_b) = back.split_at_mut(hidden);
            gate_back_row(a, b, g, d_a, d_b);
        });
    back
}

vectorised! {
    fn gate_back_row(a: &[f32], b: &[f32], g: &[f32], d_a: &mut [f32], d_b: &mut [f32]) {
        for ((((d_a, d_b), &a), &b), &g) in d_a.iter_mut().zip(d_b).zip(a).zip(b).zip(g) {
            let s = sigmoid::<FMA>(b);
            *d_a = g * b * s;
            *d_b = g * a * s * fma::<FMA>(b, 1.0 - s, 1.0);
        }
    }
}

/// Multiplies a gradient with the slope of SiLU at `x`, element by element.
pub(crate) fn silu_back(x: &[f32], gradient: &mut [f32]) {
    gradient.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(g, x)| silu_slope(x, g));
}

vectorised! {
    fn silu_slope(x: &[f32], gradient: &mut [f32]) {
        for (g, &x) in gradient.iter_mut().zip(x) {
            let s = sigmoid::<FMA>(x);
            *g *= s * fma::<FMA>(x, 1.0 - s, 1.0);
        }
    }
}

/// SiLU of every number.
pub(crate) fn silu_of(x: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    y.par_chunks_mut(CHUNK).for_each(silu_in_place);
    y
}

vectorised! {
    fn silu_in_place(x: &mut [f32]) {
        for x in x {
            *x *= sigmoid::<FMA>(*x);
        }
    }
}

/// GELU of every number.
pub(crate) fn gelu_of(x: &[f32]) -> Vec<f32> {
    let mut y = x.to_vec();
    y.par_chunks_mut(CHUNK).for_each(gelu_in_place);
    y
}

/// The hyperbolic tangent of every number.
pub(crate) fn tanh_of(mut x: Vec<f32>) -> Vec<f32> {
    x.par_chunks_mut(CHUNK).for_each(tanh_in_place);
    x
}

/// The logistic function of every number.
pub(crate) fn sigmoid_of(mut x: Vec<f32>) -> Vec<f32> {
    x.par_chunks_mut(CHUNK).for_each(sigmoid_in_place);
    x
}

vectorised! {
    fn tanh_in_place(x: &mut [f32]) {
        for x in x {
            *x = tanh::<FMA>(*x);
        }
    }
}

vectorised! {
    fn sigmoid_in_place(x: &mut [f32]) {
        for x in x {
            *x = sigmoid::<FMA>(*x);
        }
    }
}
