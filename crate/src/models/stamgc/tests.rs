//! The whole method on a small slide of three stripes, and every way in which it can be refused.

use super::*;
use crate::anndata::{AnnData, Categorical, Frame, Map, Matrix, Value};
use crate::error::Error;
use crate::rng::Rng;
use crate::tl;
use ndarray::Array2;

const SIDE: usize = 15;
const GENES: usize = 90;

/// Three stripes of a square grid, each with genes of its own; the truth is in `obs["stripe"]`,
/// missing for the first four spots.
fn slide() -> AnnData {
    let mut rng = Rng::new(3);
    let n = SIDE * SIDE;
    let stripe = |i: usize| (i % SIDE) * 3 / SIDE;
    let counts = Array2::from_shape_fn((n, GENES), |(i, g)| {
        let raised = g % 3 == stripe(i) && g < 60;
        rng.poisson(if raised { 6.0 } else { 1.5 } * (1.0 + (g % 7) as f64)) as f32
    });
    let mut a = AnnData::new(counts, Frame::with_len(n), Frame::with_len(GENES)).unwrap();
    let xy = Array2::from_shape_fn((n, 2), |(i, k)| {
        100.0 * if k == 0 { i % SIDE } else { i / SIDE } as f64
    });
    a.obsm.insert("spatial".into(), xy.into());
    let labels: Vec<_> = (0..n).map(|i| (i >= 4).then(|| format!("S{}", stripe(i)))).collect();
    a.obs.insert("stripe", Categorical::from_labels(&labels)).unwrap();
    let map = |key: &str, value: Value| -> Value {
        [(key.to_string(), value)].into_iter().collect::<Map<Value>>().into()
    };
    let factors = map("fiducial_diameter_fullres", Value::float(70.6));
    a.uns.insert("spatial".into(), map("slide", map("scalefactors", factors)));
    a
}

fn model() -> Stamgc {
    Stamgc::preset(Preset::Visium)
        .n_domains(3)
        .epochs(40)
        .min_cells(3)
        .n_top_genes(60)
        .hidden(32)
        .out(16)
        .head_dim(8)
        .device(crate::nn::Device::Cpu)
}

#[test]
fn stripes_are_found_and_written() {
    let mut a = slide();
    let counts = a.x.clone();
    let model = model().epochs(100).learning_rate(0.01).labelled_by("stripe");
    let fit = model.fit(&mut a).unwrap();
    a.check().unwrap();
    assert_eq!(a.x, counts);
    assert_eq!(fit.spots().len(), SIDE * SIDE - 4);
    assert_eq!(fit.genes().len(), 60);

    let (known, found) = (a.obs_column("stripe").unwrap(), a.obs_column("domain").unwrap());
    let ari = tl::ari(known, found).unwrap();
    assert!(ari > 0.8, "ARI {ari}");
    let domains = found.to_categorical();
    assert_eq!(domains.categories, ["1", "2", "3"]);
    assert_eq!(domains.codes[..4], [-1; 4]);
    assert!(domains.codes[4..].iter().all(|&c| c >= 0));
    let z = a.obsm("X_stamgc").unwrap().to_array_f32();
    assert_eq!(z.dim(), (SIDE * SIDE, 16));
    assert!(z.row(0).iter().all(|x| x.is_nan()) && z.row(4).iter().all(|x| x.is_finite()));

    let run = &a.uns["stamgc"];
    assert_eq!(run.at(&["params", "sigma"]).unwrap().as_f64(), Some(140.0));
    assert_eq!(run.at(&["params", "n_domains"]).unwrap().as_f64(), Some(3.0));
    assert!(
        matches!(run.at(&["losses", "total"]), Some(Value::Array { shape, .. }) if shape == &[100])
    );
    let losses = fit.losses();
    assert!(losses[0].1.last() < losses[0].1.first());
    assert!(fit.to_string().contains("221 (4 left out)"), "{fit}");
    assert!(fit.silhouette().unwrap() > 0.0 && fit.davies_bouldin().unwrap() > 0.0);
}

#[test]
fn the_same_seed_gives_the_same_bits_whatever_the_threads() {
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut a = slide();
            let fit = model().seed(seed).epochs(10).fit(&mut a).unwrap();
            (fit.z().clone(), fit.history().to_vec(), fit.domains().to_vec(), a.uns)
        })
    };
    let one = run(1, 1);
    assert!(run(1, 1) == one, "a second run differs");
    assert!(run(2, 1) == one, "two threads differ from one");
    assert!(run(1, 2).0 != one.0);
}

#[test]
fn a_mask_chooses_spots() {
    let mut a = slide();
    let mask = (0..a.n_obs()).map(|i| i % 2 == 0).collect();
    let fit = model().epochs(1).only(mask).key_added("half").fit(&mut a).unwrap();
    assert!(fit.spots().iter().all(|i| i % 2 == 0));
    assert!(a.obs.contains("half") && !a.obs.contains("domain"));
}

#[test]
fn every_variable_is_trained() {
    let mut rng = Rng::new(1);
    let n = 60;
    let xy = Array2::from_shape_simple_fn((n, 2), || rng.uniform());
    let f = Array2::from_shape_simple_fn((n, 30), || rng.uniform() as f32);
    let graph = spot_graph(xy.view(), f.view(), 5, 1).unwrap().pruned;
    let labels = (0..n as u32).map(|i| i % 4).collect();
    let data = TrainingData::new(f, graph, labels, &candle_core::Device::Cpu).unwrap();
    let network = NetworkConfig { hidden: 32, out: 16, head_dim: 8, ..NetworkConfig::new(30) };
    let weights = LossWeights { alpha: 8.0, beta: 0.3, gamma: 0.7 };
    let config = TrainConfig { weights, learning_rate: 1e-3, weight_decay: 0.0, seed: 1 };
    let mut trainer = Trainer::new(network, data, config).unwrap();
    let values = |t: &Trainer| -> Vec<(String, Vec<f32>)> {
        let flat = |v: &candle_core::Var| v.flatten_all().unwrap().to_vec1().unwrap();
        t.store().iter().map(|(k, v)| (k.to_string(), flat(v))).collect()
    };
    let before = values(&trainer);
    trainer.step().unwrap();
    // Without weight decay only a gradient moves a parameter.
    for ((name, before), (_, after)) in before.iter().zip(&values(&trainer)) {
        assert!(before != after, "{name} did not move");
    }
}

#[test]
fn each_mistake_has_one_error_and_leaves_the_slide_alone() {
    type Change = fn(&mut AnnData);
    let nothing: Change = |_| {};
    let cases: Vec<(Stamgc, Change, &str)> = vec![
        (model().n_domains(0), nothing, "n_domains = 0: must be at least 2"),
        (model().n_domains(400), nothing, "n_domains = 400: must be below the number of spots"),
        (model().n_neighbors(300), nothing, "n_neighbors = 300: must be below the number of spots"),
        (model().labelled_by("layer"), nothing, "obs has no column `layer`; it has: stripe"),
        (model().only(vec![true]), nothing, "mask given to `only`: expected 225, found 1"),
        (model().min_cells(1000), nothing, "none of 90 genes passes"),
        (
            model(),
            |a| {
                let mut xy = a.obsm["spatial"].to_array_f64();
                xy[[7, 0]] = f64::NAN;
                a.obsm.insert("spatial".into(), xy.into());
            },
            "a coordinate that is not a number",
        ),
        (model(), |a| drop(a.obsm.shift_remove("spatial")), "obsm has no entry `spatial`"),
        (model(), |a| drop(a.uns.shift_remove("spatial")), "`.sigma(…)`"),
        (model(), |a| a.x = None, "AnnData has no matrix `X`"),
        (
            model(),
            |a| a.x = Some(Matrix::from(Array2::<f32>::zeros((SIDE * SIDE, GENES)))),
            "X: holds no counts",
        ),
        (
            model(),
            |a| a.x = Some(Matrix::from(Array2::from_elem((SIDE * SIDE, GENES), 0.5f32))),
            "X: must hold raw counts",
        ),
    ];
    for (model, change, message) in cases {
        let mut a = slide();
        change(&mut a);
        let before = a.obs.clone();
        let e = model.fit(&mut a).unwrap_err();
        assert!(e.to_string().contains(message), "{e}\nis not: {message}");
        assert!(!matches!(e, Error::Tensor(_)), "{e}");
        assert_eq!(a.obs, before);
    }
    if !candle_core::utils::cuda_is_available() {
        let e = model().device(crate::nn::Device::Cuda(0)).fit(&mut slide()).unwrap_err();
        assert!(matches!(e, Error::Device { .. }), "{e}");
    }
}

#[test]
fn spots_without_counts_and_coordinates_that_coincide_stay_finite() {
    let mut a = slide();
    let mut x = a.x().unwrap().to_array_f32();
    x.row_mut(10).fill(0.0);
    a.x = Some(x.into());
    let mut xy = a.obsm["spatial"].to_array_f64();
    for i in 20..30 {
        xy[[i, 0]] = 500.0;
        xy[[i, 1]] = 500.0;
    }
    a.obsm.insert("spatial".into(), xy.into());
    let fit = model().epochs(5).fit(&mut a).unwrap();
    assert!(fit.z().iter().all(|v| v.is_finite()));
    assert!(fit.history().iter().all(|l| l.total.is_finite()));
}
