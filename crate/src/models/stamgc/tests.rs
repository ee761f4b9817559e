//! The whole method on a small slide of three stripes, and every way in which it can be refused.

use super::*;
use crate::anndata::{AnnData, Categorical, Frame, Map, Matrix, Value};
use crate::error::Error;
use crate::nn::Pairs;
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

    let graph = a.obsp["stamgc_connectivities"].to_csr();
    assert_eq!(graph.indptr[4], 0);
    assert_eq!(graph.indices.len(), 2 * fit.n_edges());

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
    let pairs = Pairs::Exact;
    let config = TrainConfig { weights, learning_rate: 1e-3, weight_decay: 0.0, seed: 1, pairs };
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

#[test]
fn stopped_at_half_and_resumed_gives_the_bits_of_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let whole = model().epochs(12).fit(&mut slide()).unwrap();
    let half = model().epochs(6).checkpoint(&path).fit(&mut slide()).unwrap();
    assert_eq!(half.history(), &whole.history()[..6]);
    let resumed = model().epochs(12).checkpoint(&path).fit(&mut slide()).unwrap();
    assert_eq!(resumed.history(), whole.history());
    assert_eq!((resumed.z(), resumed.domains()), (whole.z(), whole.domains()));
    // From the end there is nothing left to do; fewer epochs and other settings are refused.
    let again = model().epochs(12).checkpoint(&path).fit(&mut slide()).unwrap();
    assert_eq!(again.z(), whole.z());
    let e = model().epochs(6).checkpoint(&path).fit(&mut slide()).unwrap_err();
    assert!(e.to_string().contains("of 12 epochs already"), "{e}");
    let e = model().epochs(12).alpha(1.0).checkpoint(&path).fit(&mut slide()).unwrap_err();
    assert!(e.to_string().contains("another run"), "{e}");
}

#[test]
fn an_interrupt_leaves_a_state_to_go_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let whole = model().epochs(8).fit(&mut slide()).unwrap();
    // At every place where it is looked for, up to one within the training.
    for checks in 0.. {
        let run = || model().epochs(8).checkpoint(&path).fit(&mut slide());
        let stopped = crate::progress::interrupted_after(checks, run);
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stopped:?}");
        if path.exists() {
            break;
        }
    }
    let resumed = model().epochs(8).checkpoint(&path).fit(&mut slide()).unwrap();
    assert_eq!(resumed.z(), whole.z());
}

#[test]
fn weights_are_saved_and_embed_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let fit = model().epochs(5).fit(&mut slide()).unwrap();
    fit.save_weights(&path).unwrap();
    let again = model().epochs(0).weights(&path).seed(9).fit(&mut slide()).unwrap();
    assert_eq!((again.z(), again.fused()), (fit.z(), fit.fused()));
    let e = model().epochs(0).out(8).weights(&path).fit(&mut slide()).unwrap_err();
    assert!(matches!(e, Error::Format { .. }), "{e}");
}

#[test]
fn mixtures_and_expression_are_there_when_asked_for() {
    let mut a = slide();
    let model = model().epochs(100).learning_rate(0.01).clustering(Clustering::Mclust);
    let fit = model.keep_expression(true).fit(&mut a).unwrap();
    let ari = tl::ari(a.obs_column("stripe").unwrap(), a.obs_column("domain").unwrap()).unwrap();
    assert!(ari > 0.8, "ARI {ari}");
    for name in ["stamgc_smoothed", "stamgc_reconstructed"] {
        let x = a.obsm(name).unwrap().to_array_f32();
        assert!(x.dim() == (SIDE * SIDE, 60) && x.iter().all(|v| v.is_finite()), "{name}");
    }
    assert_eq!(a.obsm("X_stamgc_fused").unwrap().to_array_f32(), *fit.fused());
    assert!(matches!(&a.uns["stamgc"].at(&["genes"]), Some(Value::StrArray { values, .. })
        if values == fit.genes()));
}

#[test]
fn sums_from_moments_find_the_same_stripes() {
    let mut a = slide();
    let model = model().epochs(100).learning_rate(0.01);
    let exact = model.fit(&mut a).unwrap();
    let quick = model.clone().pairs(Pairs::Quadratic).fit(&mut a).unwrap();
    let ari = tl::ari(exact.domains(), quick.domains()).unwrap();
    assert!(ari >= 0.9, "ARI {ari}");
}

#[test]
fn slices_are_placed_side_by_side_and_share_no_edge() {
    let (a, b) = (slide(), slide());
    let joining = Stamgc::preset(Preset::Vertical);
    let both = joining.join([("one", &a), ("two", &b)]).unwrap();
    let n = a.n_obs();
    assert_eq!((both.n_obs(), both.n_vars()), (2 * n, GENES));
    assert!(both.obs.names()[0].ends_with("-one") && both.obs.names()[n].ends_with("-two"));
    let (one, xy) = (a.spatial().unwrap(), both.spatial().unwrap());
    // The first slice turned over, the second beside it: 10 widths of 2 · 70 pixels apart.
    assert_eq!([xy[[SIDE, 0]], xy[[SIDE, 1]]], [one[[SIDE, 0]], -one[[SIDE, 1]]]);
    let right = 100.0 * (SIDE - 1) as f64;
    assert_eq!(xy[[n, 0]], right + 10.0 * 140.0);
    assert_eq!(xy[[n, 1]], xy[[0, 1]]);
    let flat = Stamgc::preset(Preset::Horizontal).join([("one", &a), ("two", &b)]).unwrap();
    assert_eq!(flat.spatial().unwrap()[[n, 0]], right);

    let mut both = both;
    let model = model().epochs(100).learning_rate(0.01).slices("slice").labelled_by("stripe");
    let fit = model.fit(&mut both).unwrap();
    assert_eq!(fit.spots().len(), 2 * (n - 4));
    let known = both.obs_column("stripe").unwrap();
    let ari = tl::ari(known, both.obs_column("domain").unwrap()).unwrap();
    assert!(ari > 0.8, "ARI {ari}");

    // Spots without labels are left out before anything else if they are joined so.
    let labelled = model.join([("one", &a), ("two", &b)]).unwrap();
    assert_eq!(labelled.n_obs(), 2 * (n - 4));
    let again = model.fit(&mut labelled.clone()).unwrap();
    assert_eq!(again.genes(), fit.genes());

    let mut other = slide();
    other.var = Frame::new((0..GENES).map(|g| format!("other{g}")).collect::<Vec<_>>());
    let e = joining.join([("one", &a), ("two", &other)]).unwrap_err();
    assert!(e.to_string().contains("no gene in common"), "{e}");
    let e = model.clone().slices("slide").fit(&mut both).unwrap_err();
    assert!(e.to_string().contains("obs has no column `slide`"), "{e}");
    let few = both.take_obs(&(0..n + 8).collect::<Vec<_>>());
    let e = model.fit(&mut few.clone()).unwrap_err();
    assert!(e.to_string().contains("slice `two`: has 4 spots"), "{e}");
}

#[test]
fn every_preset_can_be() {
    use Preset::*;
    let all = [
        Visium,
        BreastCancer,
        StereoSeq,
        Merfish,
        OsmFish,
        SlideSeqV2,
        Other,
        Horizontal,
        Vertical,
        MerfishVertical,
        CrossStage,
    ];
    for preset in all {
        Stamgc::preset(preset).check().unwrap();
    }
    // The third dimension of coordinates counts.
    let mut a = slide();
    let xy = a.spatial().unwrap();
    let z = ndarray::Array2::from_shape_fn((xy.nrows(), 1), |(i, _)| 1e6 * (i % 2) as f64);
    let xyz = ndarray::concatenate![ndarray::Axis(1), xy, z];
    a.obsm.insert("spatial".into(), xyz.into());
    let deep = model().epochs(1).fit(&mut a).unwrap();
    assert!(deep.z() != model().epochs(1).fit(&mut slide()).unwrap().z());
}

#[test]
fn seeds_agree_on_the_stripes() {
    let mut a = slide();
    let model = model().epochs(100).learning_rate(0.01).labelled_by("stripe");
    let found = model.consensus(&mut a, 1..=3).unwrap();
    let known = a.obs_column("stripe").unwrap();
    assert!(tl::ari(known, a.obs_column("domain").unwrap()).unwrap() > 0.8);
    assert!(found.mean_ari() > 0.6 && found.agreement.iter().all(|a| (0.0..=1.0).contains(a)));
    let agreement = a.obs_column("domain_agreement").unwrap();
    assert!(agreement.text(0).is_none() && agreement.text(4).is_some());
    assert_eq!(
        a.obsm("X_stamgc").unwrap().to_array_f32().row(9),
        found.fits[found.medoid].z().row(5)
    );
    assert!(found.to_string().contains("seeds            1, 2, 3"), "{found}");
    assert!(model.consensus(&mut a, [1]).is_err());
}

#[test]
fn the_number_of_stripes_is_found() {
    let fit = model().epochs(100).learning_rate(0.01).fit(&mut slide()).unwrap();
    let scores = fit.domain_scores(2..=6).unwrap();
    let best = |name: &str| -> f64 {
        let number =
            |i: usize| scores.get(name).unwrap().text(i).unwrap().parse().unwrap_or(f64::MIN);
        let best: usize = (0..5).fold(0, |a, b| if number(b) > number(a) { b } else { a });
        best as f64 + 2.0
    };
    assert_eq!(best("silhouette"), 3.0, "{scores:?}");
    assert!(fit.domain_scores(1..=3).is_err() && fit.domain_scores(2..=900).is_err());
}
