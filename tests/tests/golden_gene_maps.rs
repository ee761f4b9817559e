//! The networks of HisToSGE and SpaMCAF against the published code's own numbers.

use candle_core::{DType, Tensor};
use ndarray::{Array2, s};
use spatialkit::models::gene_maps::{Dense, chunk_sizes};
use spatialkit::models::{histosge, spamcaf};
use spatialkit::nn::Store;
use spatialkit_tests::{Golden, abs, compare, device, formula, golden, rel};
use std::collections::HashMap;

/// A tensor of a case, in `f32`.
fn tensor(g: &Golden, name: &str) -> Tensor {
    let a = g.f32(name);
    Tensor::from_iter(a.iter().copied(), &device()).unwrap().reshape(a.shape()).unwrap()
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The tensors of a case behind `prefix`, as far as `store` has such parameters.
fn weights(g: &Golden, prefix: &str, store: &Store) -> HashMap<String, Tensor> {
    store
        .iter()
        .map(|(name, _)| (name.to_string(), tensor(g, &format!("{prefix}{name}"))))
        .collect()
}

/// Spots of all sequences of a case.
fn batch(g: &Golden) -> histosge::Batch {
    let image = tensor(g, "in.image");
    let (sequences, length, width) = image.dims3().unwrap();
    let centers = g.vec("in.centers");
    let centers: Vec<[f64; 2]> = centers.chunks(2).map(|c| [c[0], c[1]]).collect();
    let features = image.reshape((sequences * length, width)).unwrap();
    histosge::Batch { length, ..histosge::Batch::new(features, &centers).unwrap() }
}

fn small() -> (Golden, histosge::Trainer, Tensor) {
    let g = golden("histosge/b1_small");
    let config = histosge::NetworkConfig { features: 32, genes: 20, ..Default::default() };
    let trainer = histosge::Trainer::new(config, 1e-3, 1, &device()).unwrap();
    trainer.store().load_tensors(&weights(&g, "w.", trainer.store())).unwrap();
    let target = tensor(&g, "in.exp").reshape((24, 20)).unwrap();
    (g, trainer, target)
}

#[test]
fn histosge_matches_b1_forward_loss_and_every_gradient() {
    let (g, trainer, target) = small();
    let batch = batch(&g);
    for output in [trainer.network().forward(&batch), trainer.network().plain(&batch)] {
        let output = output.unwrap();
        compare("h", flat(&output.hidden), g.vec("out.h"), abs(2e-5));
        compare("pred", flat(&output.genes), g.vec("out.pred"), abs(2e-5));
    }
    let (loss, gradients) = trainer.loss_and_gradients(&batch, &target).unwrap();
    compare("loss", [loss], g.vec("out.loss"), rel(1e-5));
    for (name, gradient) in &gradients {
        let stored = format!("grad.{name}");
        if name.ends_with("_embed.weight") {
            // Of the tables only the rows that were looked up are stored.
            let rows = g.ints(&format!("{stored}.rows"));
            let got: Vec<f64> =
                (rows.iter()).flat_map(|&r| flat(&gradient.get(r as usize).unwrap())).collect();
            compare(name, got, g.vec(&format!("{stored}.values")), abs(1e-5));
            let total: f64 = flat(gradient).iter().map(|v| v.abs()).sum();
            let stored: f64 = g.vec(&format!("{stored}.values")).iter().map(|v| v.abs()).sum();
            assert!((total - stored).abs() < 1e-3, "{name}: other rows have a gradient");
        } else {
            compare(name, flat(gradient), g.vec(&stored), abs(1e-5));
        }
    }
    let trained = trainer.store().iter().filter(|(n, _)| !n.starts_with("layer_norm.")).count();
    assert_eq!(gradients.len(), trained);
}

#[test]
fn histosge_trains_as_b2() {
    let (g, mut trainer, target) = small();
    let trained = golden("histosge/b2_training");
    let batch = batch(&g);
    let losses: Vec<f64> = (0..10).map(|_| trainer.step(&batch, &target).unwrap()).collect();
    compare("losses", losses, trained.vec("out.losses"), rel(5e-5));
    let output = trainer.network().forward(&batch).unwrap();
    compare("h", flat(&output.hidden), trained.vec("out.h"), abs(1e-3));
    compare("pred", flat(&output.genes), trained.vec("out.pred"), abs(1e-3));
}

#[test]
fn histosge_matches_b3_at_its_published_size() {
    for kind in ["sin", "splitmix"] {
        let g = golden(&format!("histosge/b3_real_{kind}"));
        let config = histosge::NetworkConfig::default();
        let trainer = histosge::Trainer::new(config, 1e-3, 1, &device()).unwrap();
        trainer.store().load_tensors(&formula(&g.meta(), kind, |_| true)).unwrap();
        let output = trainer.network().forward(&batch(&g)).unwrap();
        compare(&format!("h, {kind}"), flat(&output.hidden), g.vec("out.h"), abs(1e-4));
        compare(&format!("pred, {kind}"), flat(&output.genes), g.vec("out.pred"), abs(1e-4));
    }
}

#[test]
fn spamcaf_matches_c3_at_its_published_size() {
    for kind in ["sin", "splitmix"] {
        let g = golden(&format!("spamcaf/c3_real_{kind}"));
        let config = spamcaf::NetworkConfig::default();
        let trainer = spamcaf::Trainer::new(config, 1, &device()).unwrap();
        let used = |name: &str| trainer.store().get(name).is_ok();
        trainer.store().load_tensors(&formula(&g.meta(), kind, used)).unwrap();
        let features = tensor(&g, "in.image").squeeze(0).unwrap();
        let output = trainer.network().forward(&features).unwrap();
        compare(
            &format!("attention, {kind}"),
            flat(&output.attention),
            g.vec("mid.attn"),
            abs(1e-4),
        );
        compare(
            &format!("embedding, {kind}"),
            flat(&output.hidden),
            g.vec("out.wsi_emb"),
            abs(1e-4),
        );
        compare(&format!("pred, {kind}"), flat(&output.genes), g.vec("out.pred"), abs(1e-4));
    }
}

#[test]
fn spamcaf_trains_as_c5() {
    let g = golden("spamcaf/c5_small_training");
    let config = spamcaf::NetworkConfig {
        features: 32,
        genes: 20,
        hidden: 48,
        dropout: 0.0,
        gate_dropout: 0.0,
        ..Default::default()
    };
    let mut trainer = spamcaf::Trainer::new(config, 1, &device()).unwrap();
    trainer.store().load_tensors(&weights(&g, "w0.", trainer.store())).unwrap();
    let features = tensor(&g, "in.image").squeeze(0).unwrap();
    let target = tensor(&g, "in.exp").squeeze(0).unwrap();

    let output = trainer.network().forward(&features).unwrap();
    compare("embedding", flat(&output.hidden), g.vec("out.eval_emb"), abs(2e-5));
    compare("pred", flat(&output.genes), g.vec("out.eval_pred"), abs(2e-5));
    let (loss, gradients) = trainer.loss_and_gradients(&features, &target).unwrap();
    compare("loss", [loss], g.vec("out.train_loss"), rel(1e-4));
    for (name, gradient) in &gradients {
        compare(name, flat(gradient), g.vec(&format!("grad.{name}")), abs(1e-5));
    }
    let with_gradient = g.names().filter(|n| n.starts_with("grad.")).count();
    assert_eq!(gradients.len(), with_gradient);

    let mut losses = Vec::new();
    for step in 0..10 {
        losses.push(trainer.step(&features, &target, 1e-3).unwrap());
        if step == 0 {
            for layer in ["fc6", "fc7", "fc8"] {
                for kind in ["running_mean", "running_var"] {
                    let name = format!("feed.{layer}_bn.{kind}");
                    let got = flat(trainer.store().get(&name).unwrap());
                    compare(&name, got, g.vec(&format!("bn1.{name}")), abs(1e-5));
                }
            }
        }
    }
    compare("losses", losses, g.vec("out.losses"), rel(1e-4));
    let output = trainer.network().forward(&features).unwrap();
    compare("pred after training", flat(&output.genes), g.vec("out.final_pred"), abs(5e-3));
}

#[test]
fn summary_mixing_its_heads_and_its_transformer_match_c2() {
    let g = golden("spamcaf/c2_summary_mixing");
    let x = tensor(&g, "in.x");
    let (sequences, length, width) = x.dims3().unwrap();
    let x = x.reshape((sequences * length, width)).unwrap();
    // The names of the case begin with the names of the layers.
    let load = |store: &Store| store.load_tensors(&weights(&g, "", store)).unwrap();
    let stored = |prefix: &str| g.names().filter(|n| n.starts_with(prefix)).count();

    let mut store = Store::new(1, &device());
    let layer = spamcaf::SummaryMixing::new(&mut store, "sm.w", width, (12, 14, 16)).unwrap();
    load(&store);
    assert_eq!(store.iter().count(), stored("sm.w."));
    compare("sm", flat(&layer.forward(&x, length).unwrap()), g.vec("sm.out"), abs(1e-5));
    // Sequences are apart: the last alone is the same.
    let last = layer.forward(&x.narrow(0, 2 * length, length).unwrap(), length).unwrap();
    compare("its last", flat(&last), g.vec("sm.out").split_off(2 * length * 16), abs(1e-5));
    let e = layer.forward(&x, 10).unwrap_err().to_string();
    assert!(e.contains("multiple of 10"), "{e}");

    let mut store = Store::new(1, &device());
    let layer = spamcaf::SummaryHeads::new(&mut store, "mh.w", 3, width, (12, 12, 18), 20).unwrap();
    load(&store);
    assert_eq!(store.iter().count(), stored("mh.w."));
    compare("mh", flat(&layer.forward(&x, length).unwrap()), g.vec("mh.out"), abs(1e-5));

    let mut store = Store::new(1, &device());
    let sizes = spamcaf::Mixing { depth: 2, heads: 3, head_dim: 12, ..Default::default() };
    let layer = spamcaf::MixingTransformer::new(&mut store, "tr.w", width, sizes).unwrap();
    load(&store);
    assert_eq!(store.iter().count(), stored("tr.w."));
    compare("tr", flat(&layer.forward(&x, length).unwrap()), g.vec("tr.out"), abs(1e-5));
}

#[test]
fn spamcaf_with_positions_takes_the_published_parameters() {
    let g = golden("spamcaf/c3_real_splitmix");
    let config = spamcaf::NetworkConfig {
        mixing: Some(spamcaf::Mixing::default()),
        ..spamcaf::NetworkConfig::default()
    };
    let trainer = spamcaf::Trainer::new(config, 1, &device()).unwrap();
    let used = |name: &str| trainer.store().get(name).is_ok();
    let tensors = formula(&g.meta(), "splitmix", used);
    assert!(
        ["x_embed.weight", "trans.layers.0.1.fn.net.3.bias"]
            .iter()
            .all(|n| tensors.contains_key(*n))
    );
    trainer.store().load_tensors(&tensors).unwrap();
    let features = tensor(&g, "in.image").squeeze(0).unwrap();
    let centers = [[0.0, 511.0], [7.9, 3.0], [7.0, 3.5], [40.0, 2.0], [1.0, 1.0]];
    let output = trainer.network().forward((&features, &centers[..])).unwrap();
    compare("attention", flat(&output.attention), g.vec("mid.attn"), abs(1e-4));
    let released = g.vec("out.pred");
    let got = flat(&output.genes);
    assert_eq!(got.len(), released.len());
    assert!(got.iter().zip(&released).any(|(a, b)| (a - b).abs() > 1e-3));
}

#[test]
fn spamcafs_rates_match_c4() {
    let g = golden("spamcaf/c4_lr_schedule");
    for (epochs, steps_per_epoch) in [(60, 3), (70, 2), (1000, 1)] {
        let schedule = spamcaf::Schedule { learning_rate: 1e-3, epochs, steps_per_epoch };
        let name = format!("out.lr_E{epochs}_L{steps_per_epoch}");
        compare(&name, schedule.rates(), g.vec(&name), rel(1e-9));
    }
}

#[test]
fn chunks_match_b4() {
    let g = golden("histosge/b4_chunking");
    let expected: Vec<usize> = g.ints("out.sizes_137").iter().map(|&n| n as usize).collect();
    assert_eq!(chunk_sizes(137, 50), expected);
    let meta = g.meta();
    for (n, sizes) in meta["chunk_sizes"].as_object().expect("sizes by number of spots") {
        let sizes: Vec<usize> = sizes
            .as_array()
            .expect("a list")
            .iter()
            .map(|v| v.as_u64().unwrap() as usize)
            .collect();
        assert_eq!(chunk_sizes(n.parse().unwrap(), 50), sizes);
    }
}

/// The published grid around spots at `centers` and `pixels` against the stored one.
fn compare_grid(g: &Golden, centers: Array2<f64>, factor: usize) {
    let spots: Vec<[f64; 2]> = centers.outer_iter().map(|c| [c[0], c[1]]).collect();
    let pixels = g.matrix("in.spatial");
    let dense = Dense::published_pixels(&spots, pixels.view(), factor).unwrap();
    let got = dense.centers.iter().flatten().copied();
    compare("columns and rows", got, g.vec("out.fill_coord"), abs(0.0));
    compare("pixels", dense.pixels.iter().copied(), g.vec("out.fill_spatial"), abs(0.0));
}

#[test]
fn denser_grids_match_b5_and_c6() {
    // The published function for square grids adds in place, to the very array that was stored as the
    // input: its first copies in the other output are the input as it was.
    let g = golden("histosge/b5_generation_coords");
    let spots = g.matrix("out.fill_coord").slice(s![..6, ..]).to_owned();
    compare_grid(&g, spots, 4);
    let g = golden("spamcaf/c6_dataset");
    compare_grid(&g, g.matrix("in.coord"), 8);
}
