//! Tests of ridge regression.

use super::*;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;

fn wave(n: usize, d: usize, s: f64) -> Array2<f64> {
    Array2::from_shape_fn((n, d), |(i, j)| {
        let (i, j) = (i as f64, j as f64);
        (i * 1.7 * s + j * j * 0.9 + s).sin() * (j + 1.0) + j
    })
}

fn sample(n: usize, d: usize) -> (Array2<f64>, Array2<f64>) {
    let x = wave(n, d, 1.0);
    let y = wave(n, 3, 2.3) + 2.0 * &x.slice(s![.., ..3]);
    (x, y)
}

fn close(got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * e.abs().max(1.0), "{g} is not {e}");
    }
}

#[test]
fn errors_and_predictions_are_scikit_learns() {
    // scikit-learn 1.9: make_pipeline(StandardScaler(), RidgeCV([.1, 1, 10, 100],
    // store_cv_results=True)).fit(x, y), cv_results_.mean((0, 1)), predict(wave(2, d, 0.7)).
    let cases = [
        (
            (12, 4),
            [3.9676931481731836, 3.9146675804960984, 4.532733411246445, 11.342417817865796],
            [1.5346654170220484, 7.061927867417718, 0.0460560082409307],
        ),
        (
            (6, 9),
            [6.309093213788517, 6.065624851814042, 6.504433382233376, 15.416437707995849],
            [1.7437469776230592, 7.59549783631578, -0.7483060621628335],
        ),
    ];
    for ((n, d), errors, first) in cases {
        let (x, y) = sample(n, d);
        let ridge = Ridge::default().alphas([100.0, 10.0, 1.0, 0.1]).alpha_per_target(false);
        let fit = ridge.fit(x.view(), y.view()).unwrap();
        assert_eq!(fit.alphas, [0.1, 1.0, 10.0, 100.0]);
        assert_eq!(fit.alpha, [1.0; 3]);
        close(&fit.errors.mean_axis(Axis(1)).unwrap().to_vec(), &errors, 1e-9);
        let p = fit.predict(wave(2, d, 0.7).view()).unwrap();
        close(&p.row(0).to_vec(), &first, 1e-9);
    }
}

#[test]
fn each_target_has_its_own_strength() {
    // The same with alpha_per_target=True, for a target that the features give, one that they do
    // not, and one between.
    let firsts = [
        ((12, 4), [3.214923136680184, 1.1087605222067363, 0.0460560082409307]),
        ((6, 9), [3.219037605145287, 1.1373373710390533, -0.7483060621628335]),
    ];
    for ((n, d), first) in firsts {
        let (x, mut y) = sample(n, d);
        y.column_mut(0).assign(&(5.0 * &x.column(0)));
        y.column_mut(1).assign(&wave(n, 3, 2.3).column(1));
        let fit = Ridge::default().alphas([0.1, 1.0, 10.0, 100.0]);
        let fit = fit.fit(x.view(), y.view()).unwrap();
        assert_eq!(fit.alpha, [0.1, 100.0, 1.0]);
        let p = fit.predict(wave(2, d, 0.7).view()).unwrap();
        close(&p.row(0).to_vec(), &first, 1e-9);
    }
}

/// The coefficients by the normal equations in their plain form, and one row left out at a time.
#[test]
fn every_row_is_predicted_from_the_others() {
    let (mut x, y) = sample(12, 4);
    let fit = Ridge::default().alphas([3.0]).fit(x.view(), y.view()).unwrap();
    standardise(&mut x);
    let mut total = Array1::zeros(3);
    for out in 0..12 {
        let rest: Vec<usize> = (0..12).filter(|&i| i != out).collect();
        let (mut a, mut b) = (x.select(Axis(0), &rest), y.select(Axis(0), &rest));
        let (ma, mb) = (a.mean_axis(Axis(0)).unwrap(), b.mean_axis(Axis(0)).unwrap());
        a -= &ma;
        b -= &mb;
        let normal: Array2<f64> = a.t().dot(&a) + 3.0 * Array2::<f64>::eye(4);
        let (values, v) = eigh(normal.view()).unwrap();
        let coef = (&v / &values).dot(&v.t()).dot(&a.t()).dot(&b);
        let error = (&x.row(out) - &ma).dot(&coef) + &mb - y.row(out);
        total += &error.mapv(|e| e * e / 12.0);
    }
    close(&fit.errors.row(0).to_vec(), &total.to_vec(), 1e-10);
}

#[test]
fn rows_and_features_lead_to_the_same_regression() {
    let (mut x, y) = sample(9, 9);
    standardise(&mut x);
    let (by_rows, by_features) = (Basis::new(&x, 9).unwrap(), Basis::new(&x, 8).unwrap());
    assert!(by_rows.v.is_none() && by_features.v.is_some());
    let y = &y - &y.mean_axis(Axis(0)).unwrap();
    for alpha in [0.01, 1.0, 50.0] {
        let of = |b: &Basis| {
            b.coefficients(&x, &y, &Array1::from_elem(3, alpha)).into_iter().collect::<Vec<_>>()
        };
        close(&of(&by_rows), &of(&by_features), 1e-9);
        let of = |b: &Basis| b.left_out(alpha).to_vec();
        close(&of(&by_rows), &of(&by_features), 1e-9);
    }
}

#[test]
fn bits_do_not_depend_on_threads_and_blocks_of_targets_not_on_each_other() {
    let mut rng = Rng::new(1);
    let x = Array2::from_shape_simple_fn((300, 40), || rng.normal() as f32);
    let y = Array2::from_shape_fn((300, TARGETS + 3), |(i, j)| {
        f64::from(x[[i, j % 40]]) + 0.1 * rng.normal()
    });
    let all = same_with_any_threads(|| Ridge::default().fit(x.view(), y.view()).unwrap());
    let last = Ridge::default();
    let last = last.fit(x.view(), y.slice(s![.., TARGETS..])).unwrap();
    let got = all.predict(x.view()).unwrap().slice(s![.., TARGETS..]).to_owned();
    let expected = last.predict(x.view()).unwrap();
    assert!((&got - &expected).iter().all(|d| d.abs() < 1e-10));
}

#[test]
fn constant_features_and_targets_do_no_harm() {
    let x = Array2::<f64>::from_elem((5, 2), 0.1);
    let y = ndarray::array![[1.0, 4.0], [2.0, 4.0], [3.0, 4.0], [4.0, 4.0], [5.0, 4.0]];
    let fit = Ridge::default().fit(x.view(), y.view()).unwrap();
    // All strengths are equal: the largest is taken.
    assert_eq!(fit.alpha, [1e6; 2]);
    assert_eq!(fit.predict(x.view()).unwrap().row(2).to_vec(), [3.0, 4.0]);
    let none = Ridge::default().fit(x.view(), y.slice(s![.., ..0])).unwrap();
    assert_eq!(none.predict(x.view()).unwrap().dim(), (5, 0));
}

#[test]
fn bad_arguments_are_refused() {
    let (x, mut y) = sample(6, 4);
    let said = |alphas: &[f64]| {
        let ridge = Ridge::default().alphas(alphas.to_vec());
        ridge.fit(x.view(), y.view()).unwrap_err().to_string()
    };
    assert!(said(&[]).contains("at least one"));
    assert!(said(&[1.0, 0.0]).contains("alphas = 0: must be numbers above 0"));
    assert!(said(&[f64::INFINITY]).contains("inf"));
    let ridge = Ridge::default();
    assert!(ridge.fit(x.view(), y.slice(s![..5, ..])).is_err());
    assert!(ridge.fit(x.slice(s![..1, ..]), y.slice(s![..1, ..])).is_err());
    let fit = ridge.fit(x.view(), y.view()).unwrap();
    let e = fit.predict(x.slice(s![.., ..3])).unwrap_err().to_string();
    assert!(e.contains("expected 4, found 3"), "{e}");
    y[[3, 1]] = f64::NAN;
    let e = ridge.fit(x.view(), y.view()).unwrap_err().to_string();
    assert!(e.contains("targets: row 3"), "{e}");
}
