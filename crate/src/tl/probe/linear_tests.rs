//! Tests of the linear probe.

use super::*;
use crate::anndata::Frame;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;

/// 300 rows of 8 features; classes of 180, 90 and 30 lie `apart` from one another.
fn sample(apart: f64) -> (Array2<f32>, Vec<&'static str>) {
    let mut rng = Rng::new(6);
    let class = |i: usize| match i % 10 {
        0..6 => 0,
        6..9 => 1,
        _ => 2,
    };
    let x = Array2::from_shape_fn((300, 8), |(i, j)| {
        (rng.normal() + if j == class(i) { apart } else { 0.0 }) as f32
    });
    (x, (0..300).map(|i| ["big", "middle", "small"][class(i)]).collect())
}

#[test]
fn classes_that_lie_apart_are_read_and_others_are_not() {
    let (x, y) = sample(8.0);
    let fit = same_with_any_threads(|| LinearProbe::default().fit(x.view(), &y).unwrap());
    assert!(fit.macro_f1().mean > 0.98 && fit.accuracy().mean > 0.98, "{fit}");
    let sizes = |r: &ProbeRun| (r.n_train, r.n_validation, r.n_test);
    assert!(fit.runs.iter().all(|r| sizes(r) == (240, 30, 30) && r.converged));
    // 18 of 30 are right; F1 is 2·18/48 for that class and 0 for the others.
    assert!((fit.majority_accuracy().mean - 0.6).abs() < 1e-12);
    assert!((fit.majority_macro_f1().mean - 0.25).abs() < 1e-12);
    assert!(fit.majority_accuracy().sd < 1e-12);
    let (x, y) = sample(0.0);
    let none = LinearProbe::default().fit(x.view(), &y).unwrap();
    assert!(none.macro_f1().mean < 0.5, "{none}");
}

#[test]
fn the_strength_is_the_best_on_the_validation_parts() {
    let (x, y) = sample(1.0);
    let fit = LinearProbe::default().fit(x.view(), &y).unwrap();
    assert_eq!(fit.alphas, [1.0, 0.1, 0.01, 1e-3, 1e-4]);
    let best = fit.validation.iter().fold(0f64, |m, &v| m.max(v));
    let first = fit.validation.iter().position(|&v| v == best).unwrap();
    assert_eq!(fit.alpha, fit.alphas[first]);
    let mean = fit.runs.iter().map(|r| r.validation_macro_f1).sum::<f64>() / 5.0;
    assert!((mean - best).abs() < 1e-12);
    // That strength alone gives the same predictions, from another start.
    let alone = LinearProbe::default().alphas([fit.alpha]).fit(x.view(), &y).unwrap();
    assert_eq!(alone.macro_f1(), fit.macro_f1());
}

#[test]
fn the_regression_is_the_one_of_the_training_part() {
    let (x, y) = sample(1.0);
    let class: Vec<usize> =
        y.iter().map(|n| ["big", "middle", "small"].iter().position(|c| c == n).unwrap()).collect();
    let probe = LinearProbe::default().alphas([0.01]).seeds([3]).standardize(true);
    let fit = probe.fit(x.view(), &y).unwrap();
    let parts = split(&class, 3, 3);
    let mut all = x.mapv(f64::from);
    let train = all.select(Axis(0), &parts.train);
    all -= &train.mean_axis(Axis(0)).unwrap();
    all /= &train.std_axis(Axis(0), 0.0);
    let names = |part: &[usize]| part.iter().map(|&i| y[i]).collect::<Vec<_>>();
    let model = LogisticRegression::new(0.01).balanced(true).tol(1e-6);
    let model = model.fit(all.select(Axis(0), &parts.train).view(), &names(&parts.train)).unwrap();
    let got = model.predict(all.select(Axis(0), &parts.test).view()).unwrap();
    assert_eq!(fit.runs[0].test, classification(&names(&parts.test), &got).unwrap());
    assert!(fit.macro_f1().sd.is_nan() && !fit.to_string().contains('±'));
}

#[test]
fn missing_labels_and_small_classes_are_left_out_and_counted() {
    let (x, y) = sample(4.0);
    let mut labels: Vec<Option<&str>> = y.into_iter().map(Some).collect();
    labels[0] = None;
    labels[6] = Some("");
    labels[9] = Some("undetermined");
    (labels[10], labels[20]) = (Some("rare"), Some("rare"));
    let mut adata = AnnData::new(x.clone(), Frame::with_len(300), Frame::with_len(8)).unwrap();
    adata.obs.insert("class", Categorical::from_labels(&labels)).unwrap();
    adata.obsm.insert("emb".into(), x.into());
    let probe = LinearProbe::default().use_rep("emb").leave_out(["undetermined"]).seeds([0, 1]);
    let fit = linear_probe(&adata, "class", probe.clone()).unwrap();
    assert_eq!((fit.n_used, fit.n_missing), (295, 3));
    assert_eq!(fit.too_small, [("rare".to_string(), 2)]);
    assert_eq!(fit.classes, ["big", "middle", "small"]);
    let text = fit.to_string();
    assert!(text.contains("295 (3 without a label)") && text.contains("rare (2)"), "{text}");
    let table = fit.to_frame();
    assert_eq!((table.names(), table.columns().len()), (&["0".into(), "1".into()][..], 8));
    let e = linear_probe(&adata, "klass", probe).unwrap_err().to_string();
    assert!(e.contains("obs has no column `klass`; it has: class"), "{e}");
}

#[test]
fn bad_arguments_are_refused() {
    let (mut x, y) = sample(1.0);
    let said = |p: LinearProbe| p.fit(x.view(), &y).unwrap_err().to_string();
    let new = LinearProbe::default;
    assert!(said(new().alphas([])).contains("alphas = none"));
    assert!(said(new().alphas([0.1, -1.0])).contains("alpha = -1"));
    assert!(said(new().seeds([])).contains("seeds = none"));
    assert!(said(new().tol(0.0)).contains("tol = 0"));
    let e = said(new().leave_out(["middle", "small"]));
    assert!(e.contains("found 1 (120 of 300 observations have no label"), "{e}");
    assert!(new().fit(x.view(), &y[..9]).is_err());
    x[[17, 2]] = f32::NAN;
    let e = new().fit(x.view(), &y).unwrap_err().to_string();
    assert!(e.contains("features: row 17"), "{e}");
}
