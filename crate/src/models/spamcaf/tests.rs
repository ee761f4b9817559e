//! The fused step against candle's graph in training, and training itself.

use super::*;
use crate::anndata::{AnnData, Frame};
use crate::error::Result;
use crate::image::{Image, SlideImage};
use crate::models::GeneMapFit;
use crate::models::encoder::{Encoder, Histology};
use crate::models::gene_maps::Task;
use crate::nn::{Device as Where, Store};
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use std::collections::HashMap;

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
    let (output, statistics) = trainer.network().plain((&features).into(), Some(at)).unwrap();
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
    let expected = trainer.network().plain((&features).into(), None).unwrap().0;
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

/// A small network with positions.
fn placed() -> NetworkConfig {
    let mixing = Mixing { positions: 12, depth: 2, heads: 2, head_dim: 8 };
    NetworkConfig { mixing: Some(mixing), ..small() }
}

/// Eight columns and five rows of spots.
fn grid() -> Vec<[f64; 2]> {
    (0..40).map(|i| [f64::from(i % 8), f64::from(i / 8)]).collect()
}

#[test]
fn every_parameter_of_a_network_with_positions_has_a_gradient() {
    let (features, target) = (random(&[40, 2, 20], 1), random(&[40, 9], 2).abs().unwrap());
    let trainer = Trainer::new(placed(), 5, &Device::Cpu).unwrap();
    let centers = grid();
    let (_, gradients) = trainer.loss_and_gradients((&features, &centers[..]), &target).unwrap();
    for (name, _) in trainer.store().iter().filter(|(name, _)| network::is_trained(name)) {
        let largest = flat(&gradients[name]).iter().fold(0f32, |a, g| a.max(g.abs()));
        // Biases before batch normalisation and softmax: what they add is taken away again.
        let idle = ["attention_c.bias", "trans.layers.1.1.fn.net.3.bias"];
        let idle = idle.iter().any(|end| name.ends_with(end))
            || ["feed.fc6.bias", "feed.fc7.bias", "feed.fc8.bias"].contains(&name);
        assert!(idle || largest > 1e-6, "{name} has no gradient");
    }
    // Of the tables only the rows of columns and rows that there are.
    for (name, seen) in [("x_embed.weight", 8), ("y_embed.weight", 5)] {
        let rows = gradients[name].to_vec2::<f32>().unwrap();
        assert!((0..12).all(|i| rows[i].iter().any(|&g| g != 0.0) == (i < seen)), "{name}");
    }
}

#[test]
fn the_mixing_transformers_gradients_are_differences() {
    let mut store = Store::with_dtype(3, DType::F64, &Device::Cpu);
    let sizes = Mixing { positions: 1, depth: 1, heads: 2, head_dim: 4 };
    let layer = MixingTransformer::new(&mut store, "t", 6, sizes).unwrap();
    let [x, weight] = [1, 2].map(|seed| random(&[8, 6], seed).to_dtype(DType::F64).unwrap());
    let loss = || (layer.forward(&x, 4).unwrap() * &weight).unwrap().sum_all().unwrap();
    let found = loss().backward().unwrap();
    let value = || loss().to_scalar::<f64>().unwrap();
    for (name, var) in store.iter() {
        let before = var.as_detached_tensor().copy().unwrap();
        let direction = random(before.dims(), 7).to_dtype(DType::F64).unwrap();
        let slope = (found.get(var).expect(name) * &direction).unwrap().sum_all().unwrap();
        let at = |step: f64| {
            var.set(&(&before + (&direction * step).unwrap()).unwrap()).unwrap();
            value()
        };
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        at(0.0);
        let slope = slope.to_scalar::<f64>().unwrap();
        assert!(
            (slope - difference).abs() < 1e-5 * slope.abs().max(1.0),
            "{name}: {slope} {difference}"
        );
    }
}

#[test]
fn where_spots_lie_is_learned_with_positions_alone() {
    let centers = grid();
    let features = Tensor::zeros((40, 2, 20), DType::F32, &Device::Cpu).unwrap();
    let expression = |i: usize, g: usize| {
        let [column, row] = centers[i];
        if g.is_multiple_of(2) { 1.0 + (column * 0.8 + g as f64).sin() } else { row / 2.0 }
    };
    let values: Vec<f32> = (0..360).map(|i| expression(i / 9, i % 9) as f32).collect();
    let target = Tensor::from_vec(values, (40, 9), &Device::Cpu).unwrap();
    let spread = target.broadcast_sub(&target.mean_keepdim(0).unwrap()).unwrap();
    let variance = f64::from(spread.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap());
    let run = |config: NetworkConfig, steps: usize| {
        let mut trainer = Trainer::new(config, 5, &Device::Cpu).unwrap();
        let batch = || Batch { features: &features, centers: Some(&centers) };
        let mut last = f64::NAN;
        for _ in 0..steps {
            last = trainer.step(batch(), &target, 3e-3).unwrap();
        }
        let output = trainer.network().forward(batch()).unwrap();
        (last, flat(&output.genes), flat(&output.hidden), trainer)
    };
    let (released, ..) = run(small(), 150);
    assert!(released > 0.9 * variance, "{released} of {variance}");
    let (loss, genes, hidden) = same_with_any_threads(|| {
        let (loss, genes, hidden, _) = run(placed(), 150);
        (loss, genes, hidden)
    });
    assert!(loss < 0.3 * variance, "{loss} of {variance}");
    let values = flat(&target);
    let apart: f32 = genes.iter().zip(&values).map(|(a, b)| (a - b).powi(2)).sum::<f32>() / 360.0;
    assert!(f64::from(apart) < 0.3 * variance, "{apart} of {variance}");
    assert_eq!(hidden.len(), 40 * 20);

    // Half of the steps, another trainer in the state of the first, and the other half.
    let (.., first) = run(placed(), 75);
    let mut second = Trainer::new(placed(), 5, &Device::Cpu).unwrap();
    let parameters = first.store().iter().map(|(n, v)| (n.to_string(), v.as_detached_tensor()));
    second.store().load_tensors(&parameters.collect::<HashMap<_, _>>()).unwrap();
    let (steps, moments) = first.adam().state().unwrap();
    second.adam_mut().load_state(steps, &moments).unwrap();
    let mut rest = f64::NAN;
    for _ in 0..75 {
        rest = second.step((&features, &centers[..]), &target, 3e-3).unwrap();
    }
    assert_eq!(rest, loss);
    let output = second.network().forward((&features, &centers[..])).unwrap();
    assert_eq!(flat(&output.genes), genes);
}

#[test]
fn positions_that_cannot_be_are_named() {
    let mut trainer = Trainer::new(placed(), 5, &Device::Cpu).unwrap();
    let (features, target) = (random(&[4, 2, 20], 1), random(&[4, 9], 2));
    let good = [[0.0, 1.0], [-0.5, 2.9], [11.9, 3.0], [4.0, 11.0]];
    trainer.step((&features, &good[..]), &target, 1e-3).unwrap();
    let output = |centers: &[[f64; 2]]| trainer.network().forward((&features, centers));
    // Cut towards zero.
    let cut = [[0.0, 1.0], [0.0, 2.0], [11.0, 3.0], [4.0, 11.0]];
    assert_eq!(flat(&output(&good).unwrap().genes), flat(&output(&cut).unwrap().genes));
    let error = |centers: &[[f64; 2]]| output(centers).unwrap_err().to_string();
    assert!(error(&good[..3]).contains("positions of spots"), "{}", error(&good[..3]));
    let with = |k: usize, v: f64| {
        let mut centers = good;
        centers[2][k] = v;
        error(&centers)
    };
    assert!(with(0, 12.0).contains("column 12") && with(0, 12.0).contains("0 to 11"));
    assert!(with(1, -1.0).contains("-1 cannot be"), "{}", with(1, -1.0));
    assert!(with(1, f64::NAN).contains("NaN cannot be"), "{}", with(1, f64::NAN));
    let e = trainer.network().forward(&features).unwrap_err().to_string();
    assert!(e.contains("are missing"), "{e}");
    assert!(trainer.step(&features, &target, 1e-3).is_err());
    let none = Mixing { heads: 0, ..Mixing::default() };
    let e = NetworkConfig { mixing: Some(none), ..small() }.check().unwrap_err().to_string();
    assert!(e.contains("heads = 0"), "{e}");
}

/// Sees the same in every patch.
struct Blind;

impl Encoder for Blind {
    fn name(&self) -> &str {
        "blind"
    }
    fn width(&self) -> usize {
        6
    }
    fn fingerprint(&self) -> String {
        "blind".into()
    }
    fn encode(&self, patches: &[Image]) -> Result<Array2<f32>> {
        Ok(Array2::ones((patches.len(), 6)))
    }
}

/// 48 spots whose counts depend on their column and their row.
fn slide() -> (AnnData, Histology) {
    let mut rng = Rng::new(5);
    let (mut counts, mut columns, mut rows, mut xy) = (vec![], vec![], vec![], vec![]);
    for r in 0..6 {
        for c in 0..8 {
            let rate = |g: usize| [40.0 - 5.0 * c as f64, 2.0 + 8.0 * r as f64, 10.0][g % 3];
            counts.extend((0..12).map(|g| rng.poisson(rate(g)) as f32));
            columns.push(c as f64);
            rows.push(r as f64);
            xy.extend([10.0 + 10.0 * c as f64, 10.0 + 10.0 * r as f64]);
        }
    }
    let mut obs = Frame::new((0..48).map(|i| format!("spot{i}")).collect());
    obs.insert("array_col", columns).unwrap();
    obs.insert("array_row", rows).unwrap();
    let var = Frame::new((0..12).map(|i| format!("gene{i}")).collect());
    let counts = Array2::from_shape_vec((48, 12), counts).unwrap();
    let mut adata = AnnData::new(counts, obs, var).unwrap();
    let xy = Array2::from_shape_vec((48, 2), xy).unwrap();
    adata.obsm.insert("spatial".into(), xy.into());
    let image = Image::new(100, 100, vec![90; 30_000]).unwrap();
    (adata, Histology::new(SlideImage::from_image(image), Blind).without_cache())
}

fn model() -> SpaMcaf {
    SpaMcaf::recovery()
        .task(Task::Recovery { train: 1.0 })
        .patches(&[8, 16])
        .chunk(16)
        .epochs(30)
        .learning_rate(3e-3)
        .device(Where::Cpu)
}

fn x(fit: &GeneMapFit) -> Array2<f32> {
    fit.predicted().x().unwrap().to_array_f32()
}

#[test]
fn a_run_with_positions_learns_goes_on_and_takes_weights() {
    let (adata, histology) = slide();
    let folder = tempfile::tempdir().unwrap();
    let [state, weights] =
        ["state", "weights"].map(|f| folder.path().join(f).with_extension("safetensors"));
    let run = |model: SpaMcaf| model.fit(&adata, &histology);
    let placed = || model().mixing(Mixing { positions: 16, ..Mixing::default() });
    let fit = run(placed().checkpoint(&state)).unwrap();
    let blind = run(model()).unwrap();
    let (last, never) = (fit.losses()[29], blind.losses()[29]);
    assert!(last < 0.5 * never, "{last} {never}");
    assert_eq!(fit.predicted().obsm["X_spamcaf"].shape(), (48, 6));

    // The state holds the whole network: a run that goes on from its end trains no more.
    let again = run(placed().checkpoint(&state)).unwrap();
    assert_eq!((again.losses(), x(&again)), (fit.losses(), x(&fit)));
    assert!(run(model().checkpoint(&state)).is_err());

    // The parameters alone, and what published files hold beside them.
    let all = candle_core::safetensors::load(&state, &Device::Cpu).unwrap();
    let mut published: HashMap<String, Tensor> = (all.into_iter())
        .filter_map(|(name, t)| Some((name.strip_prefix("model.")?.to_string(), t)))
        .collect();
    let some = published["feed.fc6.bias"].clone();
    for name in ["gene_head.0.bias", "layer_norm.weight", "feed.fc6_bn.num_batches_tracked"] {
        published.insert(name.into(), some.clone());
    }
    candle_core::safetensors::save(&published, &weights).unwrap();
    let only = run(placed().weights(&weights).epochs(0)).unwrap();
    assert_eq!(x(&only), x(&fit));
    // Without positions the same file loads, and the rest of it says something else.
    let released = run(model().weights(&weights).epochs(0)).unwrap();
    assert_ne!(x(&released), x(&fit));
    published.remove("trans.layers.0.0.fn.projection.bias");
    candle_core::safetensors::save(&published, &weights).unwrap();
    let e = run(placed().weights(&weights).epochs(0)).unwrap_err().to_string();
    assert!(e.contains("trans.layers.0.0.fn.projection.bias"), "{e}");

    let few = model().mixing(Mixing { positions: 7, ..Mixing::default() }).epochs(1);
    let e = run(few).unwrap_err().to_string();
    assert!(e.contains("column 7") && e.contains("0 to 6"), "{e}");
}
