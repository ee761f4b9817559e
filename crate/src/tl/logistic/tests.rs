//! Tests of the logistic regression as a whole.

use super::*;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use ndarray::{Axis, array};

/// 18 rows of 3 features, in 3 classes.
pub(super) fn sample() -> (Array2<f64>, Vec<usize>) {
    let class: Vec<usize> = (0..18).map(|i| i * i % 7 % 3).collect();
    let x = Array2::from_shape_fn((18, 3), |(i, j)| {
        let wave = (i as f64 * 1.3 + j as f64 * 2.1).sin() * (j + 1) as f64;
        wave + if class[i] == j { 1.0 } else { 0.0 }
    });
    (x, class)
}

pub(super) fn close<'a>(
    got: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
    tolerance: f64,
) {
    for (g, e) in got.into_iter().zip(expected) {
        assert!((g - e).abs() <= tolerance, "{g} is not {e}");
    }
}

#[test]
fn coefficients_and_chances_are_scikit_learns() {
    // scikit-learn 1.9: LogisticRegression(C=1 / (alpha * 18), tol=1e-14, solver="newton-cg").
    let (x, class) = sample();
    let exact = |alpha| LogisticRegression::new(alpha).tol(1e-13);
    let fit = exact(0.05).fit(x.view(), &class).unwrap();
    let coef = array![
        [1.053362170438952, 0.350588985496848, 0.113659125293160],
        [-0.345731189919143, 0.015478059600651, -0.112871766510394],
        [-0.707630980519810, -0.366067045097499, -0.000787358782766]
    ];
    close(&fit.coef, &coef, 1e-9);
    close(&fit.intercept, &[-1.065201840475537, 0.823138807751919, 0.242063032723618], 1e-9);
    let chance = fit.predict_proba(x.view()).unwrap();
    close(chance.row(0), &[0.344547674594650, 0.569782373666423, 0.085669951738927], 1e-9);
    assert!(fit.converged && fit.classes == ["0", "1", "2"]);

    let balanced = exact(0.01).balanced(true).fit(x.view(), &class).unwrap();
    let coef = array![
        [3.538064455368449, 1.59516124930667, 0.950433412058299],
        [-0.907206603776224, -0.253592773297205, -0.285569777273430],
        [-2.630857851592262, -1.341568476009471, -0.664863634784865]
    ];
    close(&balanced.coef, &coef, 1e-9);
}

#[test]
fn two_classes_share_one_penalty() {
    let (x, class) = sample();
    let two: Vec<bool> = class.iter().map(|&c| c > 0).collect();
    let fit = LogisticRegression::new(0.05).tol(1e-13).fit(x.view(), &two).unwrap();
    let w = &fit.coef.row(1) - &fit.coef.row(0);
    close(&w, &[-1.146629834356739, -0.287532662389268, -0.077887780897796], 1e-9);
    assert!((fit.intercept[1] - fit.intercept[0] - 2.170915677959032).abs() < 1e-9);
}

#[test]
fn badly_scaled_and_separable_rows_converge_with_the_same_bits_on_any_threads() {
    let mut rng = Rng::new(2);
    let class: Vec<usize> = (0..900).map(|i| i % 4).collect();
    let x = Array2::from_shape_fn((900, 12), |(i, j)| {
        let scale = 10f64.powi(j as i32 % 5 - 2);
        ((rng.normal() + if j % 4 == class[i] { 7.0 } else { 0.0 }) * scale + 3.0) as f32
    });
    let model = LogisticRegression::new(1e-4);
    let fit = same_with_any_threads(|| model.fit(x.view(), &class).unwrap());
    assert!(fit.converged && fit.n_iter < 40, "{} steps", fit.n_iter);
    let right = fit.predict(x.view()).unwrap();
    assert!(right.iter().zip(&class).all(|(p, c)| *p == c.to_string()));
    assert!(fit.coef.sum_axis(Axis(0)).iter().all(|s| s.abs() < 1e-3));
}

#[test]
fn rows_without_a_class_are_left_out() {
    let (x, class) = sample();
    let names: Vec<String> = class.iter().map(|c| c.to_string()).collect();
    let some: Vec<Option<&str>> = (0..18).map(|i| (i != 4).then_some(names[i].as_str())).collect();
    let rows: Vec<usize> = (0..18).filter(|&i| i != 4).collect();
    let rest: Vec<&String> = rows.iter().map(|&i| &names[i]).collect();
    let model = LogisticRegression::new(0.1);
    let all = model.fit(x.view(), &Categorical::from_labels(&some)).unwrap();
    assert_eq!(all, model.fit(x.select(Axis(0), &rows).view(), &rest).unwrap());
}

#[test]
fn bad_arguments_are_refused() {
    let (mut x, class) = sample();
    let said = |m: LogisticRegression| m.fit(x.view(), &class).unwrap_err().to_string();
    assert!(said(LogisticRegression::new(0.0)).contains("alpha = 0"));
    assert!(said(LogisticRegression::new(f64::NAN)).contains("alpha = NaN"));
    assert!(said(LogisticRegression::new(1.0).max_iter(0)).contains("max_iter"));
    let model = LogisticRegression::new(1.0);
    let e = model.fit(x.view(), &[1; 18]).unwrap_err().to_string();
    assert!(e.contains("at least 2 classes, found 1"), "{e}");
    assert!(model.fit(x.view(), &[1; 0]).is_err());
    assert!(model.fit(Array2::<f64>::zeros((0, 3)).view(), &[1; 0]).is_err());
    let fit = model.fit(x.view(), &class).unwrap();
    assert!(fit.predict(x.slice(s![.., ..2])).is_err());
    assert_eq!(fit.predict(x.slice(s![..0, ..])).unwrap().len(), 0);
    x[[7, 1]] = f64::INFINITY;
    let e = model.fit(x.view(), &class).unwrap_err().to_string();
    assert!(e.contains("row 7"), "{e}");
}

#[test]
fn without_features_the_chances_are_the_frequencies() {
    let x = Array2::<f64>::zeros((6, 0));
    let fit = LogisticRegression::new(1.0).fit(x.view(), &[0, 0, 0, 1, 1, 2]).unwrap();
    close(fit.predict_proba(x.view()).unwrap().row(0), &[0.5, 1.0 / 3.0, 1.0 / 6.0], 1e-7);
}
