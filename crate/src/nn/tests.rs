//! The fused forms against the plain ones in `f64`, and against themselves with other numbers of
//! threads.

use super::*;
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor, Var};
use std::sync::Arc;

fn normal(rng: &mut Rng, shape: (usize, usize)) -> Tensor {
    let values: Vec<f32> = (0..shape.0 * shape.1).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A random graph; node 5 has no neighbour.
fn graph(rng: &mut Rng, n: usize) -> Arc<Adjacency> {
    let mut rows = vec![Vec::new(); n];
    for _ in 0..3 * n {
        let (i, j) = (rng.below(n), rng.below(n));
        if i != 5 && j != 5 {
            rows[i].push(j as u32);
        }
    }
    Arc::new(Adjacency::from_directed(&rows))
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Value and gradients of a loss of some inputs, in the given element type.
fn evaluate(
    inputs: &[&Tensor],
    dtype: DType,
    loss: impl Fn(&[Tensor]) -> crate::Result<Tensor>,
) -> Vec<Vec<f64>> {
    let vars: Vec<Var> =
        inputs.iter().map(|t| Var::from_tensor(&t.to_dtype(dtype).unwrap()).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let value = loss(&tensors).unwrap();
    let gradients = value.backward().unwrap();
    let mut all = vec![flat(&value)];
    all.extend(vars.iter().map(|v| flat(gradients.get(v).expect("no gradient"))));
    all
}

/// Asserts that `loss` in f32 equals `plain` in f64 within 1e-5 of the largest number of each
/// part, and that it has the same bits with 1, 2 and 3 threads.
fn compare(
    inputs: &[&Tensor],
    loss: impl Fn(&[Tensor]) -> crate::Result<Tensor> + Sync,
    plain: impl Fn(&[Tensor]) -> crate::Result<Tensor>,
) {
    let expected = evaluate(inputs, DType::F64, plain);
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| evaluate(inputs, DType::F32, &loss))
    };
    let got = with_threads(1);
    for (part, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let largest = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
        let apart = got.iter().zip(expected).fold(0f64, |a, (g, e)| a.max((g - e).abs()));
        assert!(largest > 0.0, "part {part} is zero");
        assert!(apart <= 1e-5 * largest, "part {part}: {apart:e} of {largest:e}");
    }
    for threads in [2, 3] {
        assert!(with_threads(threads) == got, "{threads} threads give other bits than 1");
    }
}

#[test]
fn fused_contrast_equals_plain() {
    // Below, at and above one block; more blocks, odd and even in number.
    for (n, d) in [(10, 3), (192, 8), (193, 16), (450, 24), (800, 64)] {
        let mut rng = Rng::new(n as u64);
        let (z, g) = (normal(&mut rng, (n, d)), graph(&mut rng, n));
        let labels = Arc::new((0..n).map(|_| rng.below(4) as u32).collect::<Vec<_>>());
        compare(
            &[&z],
            |t| contrastive_loss(&t[0], &g, &labels, Pairs::Exact),
            |t| contrastive_loss_plain(&t[0], &g, &labels),
        );
    }
}

#[test]
fn fused_neighbour_loss_equals_plain() {
    for (n, d) in [(10, 3), (192, 8), (193, 16), (450, 24), (800, 64)] {
        let mut rng = Rng::new(n as u64);
        let (x, g) = (normal(&mut rng, (n, d)), graph(&mut rng, n));
        compare(
            &[&x],
            |t| neighbour_loss(&t[0], &g, Pairs::Exact),
            |t| neighbour_loss_plain(&t[0], &g),
        );
    }
}

#[test]
fn rows_and_columns_of_zeros_are_left_out_without_a_difference() {
    for (n, d, rows, columns) in [(450, 24, 0.3, 0.5), (450, 24, 1.0, 0.2), (300, 8, 0.02, 0.3)] {
        let mut rng = Rng::new(n as u64);
        let mut mask = |count: usize, share: f64| -> Tensor {
            let kept = (0..count).map(|i| f32::from(i == 3 || rng.uniform() < share));
            Tensor::from_iter(kept, &Device::Cpu).unwrap()
        };
        let (rows, columns) = (mask(n, rows).unsqueeze(1).unwrap(), mask(d, columns));
        let z = normal(&mut rng, (n, d)).broadcast_mul(&rows).unwrap();
        let z = z.broadcast_mul(&columns).unwrap();
        let g = graph(&mut rng, n);
        let labels = Arc::new((0..n).map(|_| rng.below(4) as u32).collect::<Vec<_>>());
        compare(
            &[&z],
            |t| neighbour_loss(&t[0], &g, Pairs::Exact),
            |t| neighbour_loss_plain(&t[0], &g),
        );
        compare(
            &[&z],
            |t| contrastive_loss(&t[0], &g, &labels, Pairs::Exact),
            |t| contrastive_loss_plain(&t[0], &g, &labels),
        );
    }
    let g = graph(&mut Rng::new(1), 30);
    let zeros = Var::zeros((30, 4), DType::F32, &Device::Cpu).unwrap();
    let loss = neighbour_loss(&zeros, &g, Pairs::Exact).unwrap();
    assert!((flat(&loss)[0] - 2f64.ln()).abs() < 1e-7);
    assert_eq!(flat(loss.backward().unwrap().get(&zeros).unwrap()), [0.0; 120]);
}

#[test]
fn fused_reconstruction_equals_plain() {
    for (n, d, m) in [(10, 3, 7), (192, 16, 240), (300, 64, 500)] {
        let mut rng = Rng::new(n as u64);
        let (u, w, b) =
            (normal(&mut rng, (n, d)), normal(&mut rng, (m, d)), normal(&mut rng, (1, m)));
        let b = b.squeeze(0).unwrap();
        let x = normal(&mut rng, (n, m)).abs().unwrap();
        let layer = |t: &[Tensor]| Linear::from_parts(t[1].clone(), t[2].clone()).with_relu();
        compare(
            &[&u, &w, &b],
            |t| reconstruction_loss(&t[0], &layer(t), &x),
            |t| reconstruction_loss_plain(&t[0], &layer(t), &x.to_dtype(DType::F64)?),
        );
    }
}

#[test]
fn fused_layers_equal_plain() {
    for (n, inner, out) in [(10, 3, 5), (300, 64, 32), (260, 40, 128)] {
        let mut rng = Rng::new(n as u64);
        let x = normal(&mut rng, (n, inner));
        let w = normal(&mut rng, (out, inner));
        let b = normal(&mut rng, (1, out)).squeeze(0).unwrap();
        let weights = normal(&mut rng, (n, out));
        let p = Arc::new(graph(&mut rng, n).propagation());
        let dropout = Some(Dropout::new(0.3, 1, 2, "layer"));
        let sum = |y: Tensor| -> crate::Result<Tensor> {
            Ok((y.clone() * weights.to_dtype(y.dtype())?)?.sum_all()?)
        };
        let layer = |t: &[Tensor]| Linear::from_parts(t[1].clone(), t[2].clone());
        for dropout in [None, dropout] {
            compare(
                &[&x, &w, &b],
                |t| sum(layer(t).with_relu().forward(&t[0], dropout)?),
                |t| sum(layer(t).with_relu().plain(&t[0], dropout)?),
            );
            compare(
                &[&x, &w, &b],
                |t| sum(layer(t).forward(&t[0], dropout)?),
                |t| sum(layer(t).plain(&t[0], dropout)?),
            );
        }
        compare(
            &[&x, &w, &b],
            |t| sum(Gcn { weight: t[1].clone(), bias: t[2].clone() }.forward(&p, &t[0])?),
            |t| sum(layer(t).with_relu().plain(&p.plain(&t[0])?, None)?),
        );
    }
}

#[test]
fn rows_of_zeros_pass_nothing_back_and_stay_finite() {
    let mut rng = Rng::new(1);
    let g = graph(&mut rng, 20);
    let labels = Arc::new((0..20u32).map(|i| i % 3).collect::<Vec<_>>());
    let z = normal(&mut rng, (20, 4));
    let mask = Tensor::from_iter((0..20).map(|i| f32::from(i != 7)), &Device::Cpu).unwrap();
    let z = z.broadcast_mul(&mask.unsqueeze(1).unwrap()).unwrap();
    for pairs in [Pairs::Exact, Pairs::Quadratic] {
        for dtype in [DType::F32, DType::F64] {
            let a = evaluate(&[&z], dtype, |t| contrastive_loss(&t[0], &g, &labels, pairs));
            let b = evaluate(&[&z], dtype, |t| neighbour_loss(&t[0], &g, pairs));
            for parts in [a, b] {
                assert!(parts.iter().flatten().all(|x| x.is_finite()));
                assert!(parts[1][28..32].iter().all(|&x| x == 0.0));
            }
        }
    }
}

/// Two calls that should agree to rounding, in `f64`, which no kernel takes.
fn same_in_f64(
    x: &Tensor,
    a: impl Fn(&[Tensor]) -> crate::Result<Tensor>,
    b: impl Fn(&[Tensor]) -> crate::Result<Tensor>,
) {
    let (a, b) = (evaluate(&[x], DType::F64, a), evaluate(&[x], DType::F64, b));
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    }
}

#[test]
fn losses_in_blocks_equal_plain() {
    for (n, d) in [(10, 3), (193, 16)] {
        let mut rng = Rng::new(n as u64);
        let (z, g) = (normal(&mut rng, (n, d)), graph(&mut rng, n));
        let labels = Arc::new((0..n).map(|_| rng.below(4) as u32).collect::<Vec<_>>());
        same_in_f64(
            &z,
            |t| contrastive_loss(&t[0], &g, &labels, Pairs::Exact),
            |t| contrastive_loss_plain(&t[0], &g, &labels),
        );
        same_in_f64(
            &z,
            |t| neighbour_loss(&t[0], &g, Pairs::Exact),
            |t| neighbour_loss_plain(&t[0], &g),
        );
    }
}

#[test]
fn fused_moments_equal_those_of_tensors() {
    // More rows than one task takes; a label without rows; all rows of one label.
    for (n, d, labels) in [(10, 3, 4), (450, 24, 4), (5_000, 16, 2), (60, 8, 1)] {
        let mut rng = Rng::new(n as u64);
        let (z, g) = (normal(&mut rng, (n, d)).abs().unwrap(), graph(&mut rng, n));
        let labels = Arc::new((0..n).map(|_| 2 * rng.below(labels) as u32).collect::<Vec<_>>());
        if labels.iter().any(|&l| l != 0) {
            let loss = |t: &[Tensor]| contrastive_loss(&t[0], &g, &labels, Pairs::Quadratic);
            compare(&[&z], loss, loss);
        }
        let loss = |t: &[Tensor]| neighbour_loss(&t[0], &g, Pairs::Quadratic);
        compare(&[&z], loss, loss);
    }
}

#[test]
fn quadratics_stay_within_their_bounds() {
    use super::losses::{EXP, SOFTPLUS};
    for i in 0..=1000 {
        let c = f64::from(i) / 1000.0;
        let at = |q: [f64; 3]| q[0] + q[1] * c + q[2] * c * c;
        assert!((at(EXP) - c.exp()).abs() < 0.0088, "exp({c})");
        assert!((at(SOFTPLUS) - c.exp().ln_1p()).abs() < 0.0003, "softplus({c})");
    }
    let mut rng = Rng::new(3);
    let (n, d) = (400, 16);
    let (z, g) = (normal(&mut rng, (n, d)).relu().unwrap(), graph(&mut rng, n));
    let labels = Arc::new((0..n).map(|_| rng.below(4) as u32).collect::<Vec<_>>());
    let both = |pairs| {
        let a = evaluate(&[&z], DType::F32, |t| contrastive_loss(&t[0], &g, &labels, pairs));
        let b = evaluate(&[&z], DType::F32, |t| neighbour_loss(&t[0], &g, pairs));
        [a, b]
    };
    let parts = both(Pairs::Exact).into_iter().zip(both(Pairs::Quadratic)).zip([0.009, 0.0003]);
    for ((exact, near), bound) in parts {
        assert!((exact[0][0] - near[0][0]).abs() < bound);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (a, b) = (&exact[1], &near[1]);
        assert!(dot(a, b) > 0.99 * (dot(a, a) * dot(b, b)).sqrt(), "the gradient turns");
    }
}
