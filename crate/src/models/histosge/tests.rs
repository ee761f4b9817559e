//! The fused step against candle's graph, and training itself.

use super::*;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use candle_core::{Device, Tensor};

fn random(shape: (usize, usize), seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let values: Vec<f32> = (0..shape.0 * shape.1).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn small(depth: usize) -> NetworkConfig {
    NetworkConfig {
        features: 20,
        genes: 9,
        depth,
        heads: 3,
        head_dim: 8,
        hidden: 33,
        positions: 16,
    }
}

/// `sequences` of `length` spots; some lie in the same rows and columns.
fn batch(sequences: usize, length: usize) -> Batch {
    let n = sequences * length;
    let centers: Vec<[f64; 2]> =
        (0..n).map(|i| [(i * 7 % 16) as f64 + 0.5, (i * i % 13) as f64 - 0.5]).collect();
    Batch { length, ..Batch::new(random((n, 20), 1), &centers).unwrap() }
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn fused_gradients_equal_candles_graph() {
    // One sequence, several, and sequences longer than a block of queries.
    for (depth, sequences, length) in [(1, 1, 14), (2, 3, 5), (0, 1, 6), (1, 2, 150)] {
        let batch = batch(sequences, length);
        let target = random((sequences * length, 9), 2).abs().unwrap();
        let trainer = Trainer::new(small(depth), 1e-3, 4, &Device::Cpu).unwrap();
        let (loss, gradients) = trainer.loss_and_gradients(&batch, &target).unwrap();
        let expected = trainer.network().plain_loss(&batch, &target).unwrap();
        assert!((loss - f64::from(expected.to_scalar::<f32>().unwrap())).abs() < 1e-6);
        let graph = expected.backward().unwrap();
        for (name, var) in trainer.store().iter().filter(|(name, _)| network::is_trained(name)) {
            let expected = flat(graph.get(var).expect(name));
            let got = flat(&gradients[name]);
            let apart = got.iter().zip(&expected).fold(0f32, |a, (g, e)| a.max((g - e).abs()));
            assert!(apart < 2e-6, "{name}: {apart}");
            assert!(expected.iter().any(|&g| g.abs() > 1e-6), "{name} has no gradient");
        }
    }
}

#[test]
fn training_learns_and_has_the_same_bits_for_any_threads() {
    let (batch, target) = (batch(2, 15), random((30, 9), 2).abs().unwrap());
    let run = || {
        let mut trainer = Trainer::new(small(1), 3e-3, 4, &Device::Cpu).unwrap();
        let losses: Vec<f64> = (0..60).map(|_| trainer.step(&batch, &target).unwrap()).collect();
        (losses, flat(&trainer.network().forward(&batch).unwrap().genes))
    };
    let (losses, genes) = same_with_any_threads(run);
    assert!(losses[59] < 0.3 * losses[0], "{losses:?}");
    assert!(genes.iter().all(|&g| g >= 0.0));
}

#[test]
fn prediction_equals_candles_operations() {
    let trainer = Trainer::new(small(2), 1e-3, 4, &Device::Cpu).unwrap();
    let batch = batch(2, 110);
    let got = trainer.network().forward(&batch).unwrap();
    let expected = trainer.network().plain(&batch).unwrap();
    for (a, b) in [(got.genes, expected.genes), (got.hidden, expected.hidden)] {
        assert!(flat(&a).iter().zip(flat(&b)).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn training_goes_on_from_a_saved_state_as_if_it_had_not_stopped() {
    let (batch, target) = (batch(1, 15), random((15, 9), 2).abs().unwrap());
    let mut whole = Trainer::new(small(1), 1e-3, 4, &Device::Cpu).unwrap();
    for _ in 0..4 {
        whole.step(&batch, &target).unwrap();
    }
    let weights = whole.store().iter().map(|(k, v)| (k.to_string(), v.as_tensor().copy().unwrap()));
    let weights = weights.collect();
    let (steps, state) = whole.adam().state().unwrap();
    let mut other = Trainer::new(small(1), 1e-3, 99, &Device::Cpu).unwrap();
    other.store().load_tensors(&weights).unwrap();
    other.adam_mut().load_state(steps, &state).unwrap();
    for _ in 0..3 {
        assert_eq!(whole.step(&batch, &target).unwrap(), other.step(&batch, &target).unwrap());
    }
    let e = other.adam_mut().load_state(1, &Default::default()).unwrap_err().to_string();
    assert!(e.contains("first."), "{e}");
}

#[test]
fn what_does_not_fit_is_named() {
    let trainer = Trainer::new(small(1), 1e-3, 4, &Device::Cpu).unwrap();
    let features = random((2, 20), 1);
    let error = |centers: &[[f64; 2]]| {
        Batch::new(features.clone(), centers)
            .and_then(|b| trainer.network().forward(&b))
            .unwrap_err()
            .to_string()
    };
    assert!(error(&[[0.0, 0.0]]).contains("positions of spots"));
    assert!(error(&[[0.0, 0.0], [-1.0, 0.0]]).contains("-1 cannot be a column"));
    assert!(error(&[[0.0, 0.0], [f64::NAN, 0.0]]).contains("NaN"));
    assert!(error(&[[0.0, 0.0], [3.0, 16.0]]).contains("0 to 15"));
    // Half a step outside is cut to the first row.
    let batch = Batch::new(features, &[[-0.5, 0.0], [0.0, 15.9]]).unwrap();
    assert_eq!((batch.columns[0], batch.rows[1]), (0, 15));
    assert_eq!(trainer.network().forward(&batch).unwrap().genes.dims(), [2, 9]);
    let e = trainer.loss_and_gradients(&batch, &random((2, 8), 1)).unwrap_err().to_string();
    assert!(e.contains("[2, 9]"), "{e}");
    assert!(NetworkConfig { heads: 0, ..small(1) }.check().is_err());
}
