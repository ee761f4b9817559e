//! The kernels that work on slices against plain arithmetic in `f64`.

use super::*;
use crate::linalg::Csr;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;

fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| rng.normal() as f32).collect()
}

fn close(got: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(g) - e).abs() <= tolerance * (1.0 + e.abs()), "{i}: {g} is not {e}");
    }
}

#[test]
fn dense_layers_equal_the_plain_sum_for_any_sizes_and_threads() {
    // Few rows and many, whole tiles and parts of them, widths below a vector.
    for (n, inner, out) in [
        (1, 1, 1),
        (5, 7, 3),
        (6, 64, 4),
        (50, 130, 77),
        (96, 40, 200),
        (97, 33, 130),
        (300, 64, 70),
    ] {
        let (x, w, b) = (random(n * inner, 1), random(out * inner, 2), random(out, 3));
        for (bias, activation) in [
            (None, Activation::None),
            (Some(&b[..]), Activation::None),
            (Some(&b[..]), Activation::Relu),
        ] {
            let got = same_with_any_threads(|| {
                let mut y = vec![f32::NAN; n * out];
                dense((n, inner, out), &x, &w, bias, activation, &mut y);
                y
            });
            let expected: Vec<f64> = (0..n * out)
                .map(|i| {
                    let (r, c) = (i / out, i % out);
                    let dot: f64 = (0..inner)
                        .map(|k| f64::from(x[r * inner + k]) * f64::from(w[c * inner + k]))
                        .sum();
                    let y = dot + bias.map_or(0.0, |b| f64::from(b[c]));
                    if activation == Activation::Relu { y.max(0.0) } else { y }
                })
                .collect();
            close(&got, &expected, 1e-5);
        }
        let g = random(n * out, 4);
        let mut dx = vec![f32::NAN; n * inner];
        dense_back((n, inner, out), &g, &w, &mut dx);
        let expected: Vec<f64> = (0..n * inner)
            .map(|i| {
                let (r, k) = (i / inner, i % inner);
                (0..out).map(|c| f64::from(g[r * out + c]) * f64::from(w[c * inner + k])).sum()
            })
            .collect();
        close(&dx, &expected, 1e-5);
    }
}

#[test]
fn sparse_products_equal_the_plain_sum_for_any_sizes_and_threads() {
    // Parts of panels and of tasks; every fifth row is empty.
    for (n, inner, out) in [(1, 1, 1), (5, 7, 3), (130, 40, 33), (300, 150, 128)] {
        let mut rng = Rng::new(n as u64);
        let stored = |i: usize, rng: &mut Rng| i / inner % 5 != 3 && rng.uniform() < 0.2;
        let x: Vec<f32> = (0..n * inner)
            .map(|i| if stored(i, &mut rng) { rng.normal() as f32 } else { 0.0 })
            .collect();
        let dense = ndarray::Array2::from_shape_vec((n, inner), x.clone()).unwrap();
        let csr = Csr::<f32>::of(&dense.into());
        let (w, g) = (random(out * inner, 2), random(n * out, 3));
        let expected: Vec<f64> = (0..n * out)
            .map(|i| {
                let (r, c) = (i / out, i % out);
                (0..inner).map(|k| f64::from(x[r * inner + k]) * f64::from(w[c * inner + k])).sum()
            })
            .collect();
        close(&same_with_any_threads(|| sparse_dense(&csr, &w, out)), &expected, 1e-5);
        let expected: Vec<f64> = (0..out * inner)
            .map(|i| {
                let (c, k) = (i / inner, i % inner);
                (0..n).map(|r| f64::from(x[r * inner + k]) * f64::from(g[r * out + c])).sum()
            })
            .collect();
        let turned = csr.transpose();
        close(&same_with_any_threads(|| sparse_weight(&turned, &g, out)), &expected, 1e-5);
    }
}

#[test]
fn gradients_made_in_blocks_equal_those_made_at_once() {
    let (rows, out, inner) = (7, 10, 12);
    let product = Gradient::Product { g: random(rows * out, 1), x: random(rows * inner, 2), rows };
    let table = Gradient::Rows { index: vec![3, 0, 3, 9, 3, 1, 9], rows: random(7 * inner, 3) };
    for gradient in [product, table] {
        assert!(gradient.fits(out * inner) && !gradient.fits(9 * inner));
        let whole = gradient.to_tensor(&[out, inner]).unwrap().flatten_all().unwrap();
        let whole: Vec<f32> = whole.to_vec1().unwrap();
        let mut blocks = vec![f32::NAN; out * inner];
        for (i, block) in blocks.chunks_mut(3 * inner).enumerate() {
            gradient.fill(i * 3 * inner, block);
        }
        for (a, b) in blocks.iter().zip(&whole) {
            assert!((a - b).abs() < 1e-6);
        }
        assert!(gradient.to_tensor(&[9, inner]).is_err());
    }
}

#[test]
fn columns_without_spread_pass_nothing_back() {
    let (n, d) = (5, 3);
    let x: Vec<f32> = (0..n * d).map(|i| if i % d == 1 { 2.0 } else { i as f32 }).collect();
    let columns = Columns::of(&x, n);
    assert_eq!((columns.mean[1], columns.variance[1]), (2.0, 0.0));
    let (weight, bias) = (vec![1f32; d], vec![0.5f32; d]);
    let norm = Norm { weight: &weight, bias: &bias, epsilon: 1e-5 };
    let mut y = vec![f32::NAN; n * d];
    columns.normalise(&x, norm, &mut y);
    assert!(y.chunks(d).all(|row| row[1] == 0.5));
    let mut g = vec![1f32; n * d];
    let (dw, db) = columns.back(&x, norm, &mut g);
    assert!(g.iter().chain(&dw).chain(&db).all(|v| v.is_finite()));
    assert!(g.chunks(d).all(|row| row[1].abs() < 1e-3));
}

#[test]
fn products_on_the_pool_equal_the_plain_sum_for_any_sizes_strides_and_threads() {
    // Parts of tiles, one task and several of rows and of columns, sums in one piece and in several.
    for (m, k, n) in
        [(1, 1, 1), (6, 8, 16), (7, 13, 17), (50, 1_030, 40), (149, 70, 530), (320, 520, 33)]
    {
        let (a, b, before) = (random(m * k, 1), random(k * n, 2), random(m * n, 3));
        let (a_t, b_t) = (transposed(&a, m), transposed(&b, k));
        for add in [false, true] {
            let expected: Vec<f64> = (0..m * n)
                .map(|i| {
                    let (r, c) = (i / n, i % n);
                    let terms = (0..k).map(|p| f64::from(a[r * k + p]) * f64::from(b[p * n + c]));
                    terms.sum::<f64>() + if add { f64::from(before[i]) } else { 0.0 }
                })
                .collect();
            for (a, b) in [
                (mat(&a, k, 1), mat(&b, n, 1)),
                (mat(&a, k, 1), mat(&b_t, 1, k)),
                (mat(&a_t, 1, m), mat(&b, n, 1)),
                (mat(&a_t, 1, m), mat(&b_t, 1, k)),
            ] {
                let got = same_with_any_threads(|| {
                    let mut got = if add { before.clone() } else { vec![f32::NAN; m * n] };
                    matmul((m, k, n), &mut got, (n, 1), add, a, b, Threads::Pool);
                    got
                });
                close(&got, &expected, 1e-4);
            }
        }
    }
    // A destination with room between its rows, and a sum of nothing.
    let mut wide = vec![7f32; 3 * 20];
    matmul(
        (3, 1, 18),
        &mut wide,
        (20, 1),
        false,
        mat(&[2f32; 3], 1, 1),
        mat(&[1f32; 18], 18, 1),
        Threads::Pool,
    );
    assert!(wide.chunks(20).all(|row| row[..18] == [2.0; 18] && row[18..] == [7.0; 2]));
    matmul((3, 0, 18), &mut wide, (20, 1), false, mat(&[], 1, 1), mat(&[], 18, 1), Threads::Pool);
    assert!(wide.chunks(20).all(|row| row[..18] == [0.0; 18]));
}
