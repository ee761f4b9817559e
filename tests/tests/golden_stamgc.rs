//! STAMGC's core against the published code's own numbers.

use candle_core::{DType, Tensor};
use ndarray::{Array2, concatenate};
use spatialkit::models::stamgc::{
    LossWeights, Mode, NetworkConfig, TrainConfig, Trainer, TrainingData, gaussian_smooth,
    loss_terms, spot_graph,
};
use spatialkit::nn::{Adjacency, Pairs};
use spatialkit_tests::{Golden, Tol, abs, compare, device, golden, rel};
use std::collections::HashMap;

/// A graph as a dense 0/1 matrix.
fn dense(graph: &Adjacency) -> Vec<f64> {
    let n = graph.len();
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        graph.neighbours(i).iter().for_each(|&j| out[i * n + j as usize] = 1.0);
    }
    out
}

/// A graph from a dense 0/1 matrix.
fn sparse(matrix: &Array2<f64>) -> Adjacency {
    let row = |r: ndarray::ArrayView1<f64>| -> Vec<u32> {
        r.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(j, _)| j as u32).collect()
    };
    Adjacency::from_directed(&matrix.outer_iter().map(row).collect::<Vec<_>>())
}

#[test]
fn smoothing_and_graph_match_a1() {
    let g = golden("stamgc/a1_graph");
    let (x, f) = (g.matrix("in.spatial"), g.matrix_f32("in.gene_feat"));
    let smooth = gaussian_smooth(x.view(), f.view(), 2.0).unwrap();
    // Sums in f64, stored as f32.
    compare("smooth_gene", smooth.iter().copied(), g.vec("out.smooth_gene"), abs(1e-5));
    let one = spot_graph(x.view(), smooth.view(), 6, 1).unwrap();
    compare("graph_neigh_coor", dense(&one.spatial), g.vec("out.graph_neigh_coor"), abs(0.0));
    compare("graph_neigh", dense(&one.pruned), g.vec("out.graph_neigh"), abs(0.0));
    let gone = dense(&one.spatial).into_iter().zip(dense(&one.pruned)).map(|(a, b)| a - b);
    compare("negative_mask", gone, g.vec("out.negative_mask"), abs(0.0));
    let two = spot_graph(x.view(), smooth.view(), 6, 2).unwrap();
    compare(
        "graph_neigh, pruned twice",
        dense(&two.pruned),
        g.vec("out.graph_neigh_prune2"),
        abs(0.0),
    );

    let z = g.vec("in.z3d");
    let z = Array2::from_shape_vec((z.len(), 1), z).unwrap();
    let x3 = concatenate![ndarray::Axis(1), x, z];
    let smooth = gaussian_smooth(x3.view(), f.view(), 2.0).unwrap();
    compare("smooth_gene, 3-D", smooth.iter().copied(), g.vec("out.d3_smooth_gene"), abs(1e-5));
    let graph = spot_graph(x3.view(), smooth.view(), 6, 1).unwrap();
    compare("graph_neigh, 3-D", dense(&graph.pruned), g.vec("out.d3_graph_neigh"), abs(0.0));
}

#[test]
fn smoothing_and_graph_match_f7() {
    let g = golden("scanpy/f7_stamgc_preprocess");
    let (x, f) = (g.matrix("in.spatial"), g.matrix_f32("out.gene_feat"));
    let smooth = gaussian_smooth(x.view(), f.view(), 1.5).unwrap();
    compare("f7 smooth_gene", smooth.iter().copied(), g.vec("out.smooth_gene"), abs(1e-4));
    let graph = spot_graph(x.view(), smooth.view(), 4, 1).unwrap();
    compare("f7 graph_neigh", dense(&graph.pruned), g.vec("out.graph_neigh"), abs(0.0));
}

const WEIGHTS: LossWeights = LossWeights { alpha: 8.0, beta: 0.3, gamma: 0.7 };

/// The golden files' small network with the weights stored under `prefix`.
fn trainer(g: &Golden, prefix: &str) -> Trainer {
    let labels = g.ints("in.pseudo_labels").into_iter().map(|l| l as u32).collect();
    let graph = sparse(&g.matrix("in.graph_neigh"));
    let data = TrainingData::new(g.matrix_f32("in.features"), graph, labels, &device()).unwrap();
    let network = NetworkConfig {
        hidden: 16,
        out: 8,
        heads: 4,
        head_dim: 6,
        dropout: 0.0,
        hidden_dropout: 0.0,
        ..NetworkConfig::new(40)
    };
    let config = TrainConfig {
        weights: WEIGHTS,
        learning_rate: 1e-3,
        weight_decay: 5e-4,
        seed: 1,
        pairs: Pairs::Exact,
    };
    let trainer = Trainer::new(network, data, config).unwrap();
    let weights: HashMap<String, Tensor> = g
        .names()
        .filter_map(|n| n.strip_prefix(prefix))
        .map(|n| {
            let a = g.f32(&format!("{prefix}{n}"));
            let shape = a.shape().to_vec();
            let t = Tensor::from_vec(a.into_iter().collect::<Vec<_>>(), shape, &device());
            (n.to_string(), t.unwrap())
        })
        .collect();
    assert_eq!(weights.len(), 24);
    trainer.store().load_tensors(&weights).unwrap();
    trainer
}

fn flat(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn forward_losses_and_every_gradient_match_a2() {
    let g = golden("stamgc/a2_model");
    let t = trainer(&g, "w.");
    assert_eq!(t.store().count(), 1736);
    let data = t.data();

    let identity = Tensor::eye(60, DType::F32, &device()).unwrap();
    let p = data.propagation.apply(&identity).unwrap();
    compare("propagation", flat(&p), g.vec("out.gcn_propagation"), abs(2e-5));

    let e = t.network().forward(&data.propagation, &data.features, Mode::Eval).unwrap();
    compare("z", flat(&e.z), g.vec("out.z"), abs(2e-5));
    compare("mhp", flat(&e.fused), g.vec("out.mhp"), abs(2e-5));
    let h = t.network().reconstruct(&data.propagation, &e.z).unwrap();
    compare("h", flat(&h), g.vec("out.h"), abs(2e-5));

    let terms = loss_terms(t.network(), &e, data, &WEIGHTS, Pairs::Exact).unwrap();
    let loss = terms.values().unwrap();
    for (name, got) in [
        ("out.rec", loss.reconstruction),
        ("out.c1", loss.contrast),
        ("out.c2", loss.neighbours),
        ("out.total", loss.total),
    ] {
        compare(name, [got], [g.scalar(name)], rel(1e-5));
    }

    let gradients = terms.total.backward().unwrap();
    for (name, var) in t.store().iter() {
        let gradient = flat(gradients.get(var).unwrap_or_else(|| panic!("{name}: no gradient")));
        assert!(gradient.iter().any(|&x| x != 0.0), "{name}: the gradient is zero");
        let key = format!("grad.{name}");
        compare(&key, gradient, g.vec(&key), Tol { abs: 1e-5, rel: 1e-4 });
    }
}

#[test]
fn twenty_adam_steps_match_a3() {
    let g = golden("stamgc/a3_training");
    let mut t = trainer(&g, "w0.");
    let losses: Vec<_> = (0..20).map(|_| t.step().unwrap()).collect();
    for (key, values) in [
        ("out.total_loss", losses.iter().map(|l| l.total).collect::<Vec<_>>()),
        ("out.rec_loss", losses.iter().map(|l| l.reconstruction).collect()),
        ("out.contrast1", losses.iter().map(|l| l.contrast).collect()),
        ("out.contrast2_derived", losses.iter().map(|l| l.neighbours).collect()),
    ] {
        let expected = g.vec(key);
        compare(
            &format!("{key}, 10 steps"),
            values[..10].to_vec(),
            expected[..10].to_vec(),
            rel(2e-5),
        );
        compare(&format!("{key}, 20 steps"), values, expected, rel(1e-4));
    }
    // Elements whose gradient is all but 0 may differ more: 1 % of them, up to 2e-3.
    let (mut far, mut all) = (0, 0);
    for (name, var) in t.store().iter() {
        for (got, expected) in flat(var).into_iter().zip(g.vec(&format!("w1.{name}"))) {
            let apart = (f64::from(got) - expected).abs();
            assert!(apart <= 2e-3, "{name}: {got} is not {expected}");
            far += usize::from(apart > 5e-5);
            all += 1;
        }
    }
    println!("parameters after 20 steps: {far} of {all} differ by more than 5e-5 (1 % allowed)");
    assert!(far * 100 <= all);
    let e = t.embed().unwrap();
    let h = t.network().reconstruct(&t.data().propagation, &e.z).unwrap();
    for (key, got) in [("out.z", &e.z), ("out.mhp", &e.fused), ("out.h", &h)] {
        compare(&format!("{key}, 20 steps"), flat(got), g.vec(key), abs(2e-5));
    }
}
