//! The fused step against candle's graph in training, and training itself.

use super::*;
use crate::linalg::same_with_any_threads;
use crate::rng::Rng;
use candle_core::{Device, Tensor};

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = Rng::new(seed);
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn small() -> NetworkConfig {
    NetworkConfig { features: 20, genes: 9, hidden: 33, ..NetworkConfig::default() }
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn fused_training_equals_candles_graph_with_dropout() {
    let (features, target) = (random(&[13, 3, 20], 1), random(&[13, 9], 2).abs().unwrap());
    let trainer = Trainer::new(small(), 5, &Device::Cpu).unwrap();
    let at = network::Step { seed: 5, step: 3 };
    let values = flat(&target);
    let found = step::step(trainer.network(), &features, &values, at).unwrap();
    let (output, statistics) = trainer.network().plain(&features, Some(at)).unwrap();
    let loss = (output.genes - &target).unwrap().sqr().unwrap().mean_all().unwrap();
    assert!((found.loss - f64::from(loss.to_scalar::<f32>().unwrap())).abs() < 1e-6);
    let graph = loss.backward().unwrap();
    let mut compared = 0;
    for (name, var) in trainer.store().iter().filter(|(name, _)| network::is_trained(name)) {
        let expected = flat(graph.get(var).expect(name));
        let got = flat(&found.gradients[name].to_tensor(var.dims()).unwrap());
        let apart = got.iter().zip(&expected).fold(0f32, |a, (g, e)| a.max((g - e).abs()));
        assert!(apart < 2e-6, "{name}: {apart}");
        // The bias before batch normalisation, and of softmax, have no gradient but rounding.
        let idle = name.ends_with("attention_c.bias")
            || name.starts_with("feed.fc")
                && name.ends_with(".bias")
                && !name.contains("_bn")
                && !name.contains("fc9");
        assert!(idle || expected.iter().any(|&g| g.abs() > 1e-6), "{name} has no gradient");
        compared += 1;
    }
    assert_eq!(compared, found.gradients.len());
    for (columns, (mean, variance)) in found.statistics.iter().zip(&statistics) {
        for (a, b) in [(&columns.mean, flat(mean)), (&columns.variance, flat(variance))] {
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}

#[test]
fn training_learns_and_has_the_same_bits_for_any_threads() {
    let (features, target) = (random(&[30, 2, 20], 1), random(&[30, 9], 2).abs().unwrap());
    let run = || {
        let mut trainer = Trainer::new(small(), 5, &Device::Cpu).unwrap();
        let losses: Vec<f64> =
            (0..60).map(|_| trainer.step(&features, &target, 3e-3).unwrap()).collect();
        let output = trainer.network().forward(&features).unwrap();
        (losses, flat(&output.genes), flat(&output.attention))
    };
    let (losses, genes, attention) = same_with_any_threads(run);
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    assert!(genes.iter().all(|&g| g >= 0.0));
    assert!(attention.chunks(2).all(|w| (w[0] + w[1] - 1.0).abs() < 1e-6));
}

#[test]
fn prediction_equals_candles_operations() {
    let features = random(&[130, 2, 20], 3);
    let mut trainer = Trainer::new(small(), 5, &Device::Cpu).unwrap();
    let target = random(&[130, 9], 4).abs().unwrap();
    for _ in 0..3 {
        trainer.step(&features, &target, 1e-2).unwrap();
    }
    let got = trainer.network().forward(&features).unwrap();
    let expected = trainer.network().plain(&features, None).unwrap().0;
    for (a, b) in [(got.genes, expected.genes), (got.hidden, expected.hidden)] {
        assert!(flat(&a).iter().zip(flat(&b)).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let mut trainer = Trainer::new(small(), 5, &Device::Cpu).unwrap();
    let target = random(&[4, 9], 1);
    let e = trainer.step(&random(&[4, 2, 21], 1), &target, 1e-3).unwrap_err().to_string();
    assert!(e.contains("spots × scales × 20"), "{e}");
    let e = trainer.step(&random(&[5, 2, 20], 1), &target, 1e-3).unwrap_err().to_string();
    assert!(e.contains("expression") && e.contains("5 × 9"), "{e}");
    let e = trainer.step(&random(&[1, 2, 20], 1), &random(&[1, 9], 1), 1e-3);
    assert!(e.unwrap_err().to_string().contains("single spot"));
    let bad = (random(&[4, 2, 20], 1) * f64::NAN).unwrap();
    let e = trainer.step(&bad, &target, 1e-3).unwrap_err().to_string();
    assert!(e.contains("not a number"), "{e}");
    assert!(NetworkConfig { dropout: 1.0, ..small() }.check().is_err());
    assert!(NetworkConfig { genes: 0, ..small() }.check().is_err());
}
