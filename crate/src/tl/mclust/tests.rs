use super::*;
use crate::parallel::same_with_any_threads;
use crate::tl;

const MODELS: [&str; 6] = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"];

fn clouds(n: usize) -> (Array2<f64>, Vec<usize>) {
    let mut rng = Rng::new(8);
    let truth: Vec<usize> = (0..n).map(|i| i % 3).collect();
    let x = Array2::from_shape_fn((n, 4), |(i, j)| {
        rng.normal() * (1.0 + j as f64) + if j == truth[i] { 14.0 } else { 0.0 }
    });
    (x, truth)
}

#[test]
fn clouds_are_found_by_every_model_with_the_same_bits_on_any_threads() {
    let (x, truth) = clouds(300);
    for model in MODELS {
        let fit = same_with_any_threads(|| Mclust::new(3).model(model).fit(x.view()).unwrap());
        let ari = tl::ari(&fit.classification, &truth).unwrap();
        assert!(ari > 0.95, "{model}: {ari}");
        assert!((fit.z.sum() - 300.0).abs() < 1e-9);
        assert!((fit.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(fit.uncertainty().iter().all(|u| (0.0..=0.67).contains(u)));
    }
}

#[test]
fn a_subset_starts_the_fit_of_many() {
    let (x, truth) = clouds(900);
    let run = |seed| {
        same_with_any_threads(|| Mclust::new(3).subset(150).seed(seed).fit(x.view()).unwrap())
    };
    for seed in 0..3 {
        assert!(tl::ari(&run(seed).classification, &truth).unwrap() > 0.95);
    }
}

#[test]
fn the_number_of_components_shows_in_the_criterion() {
    let (x, _) = clouds(240);
    let table = mclust_bic(x.view(), 1..=6, Mclust::new(1)).unwrap();
    let bic = table.get("bic").unwrap().to_f64().unwrap();
    let best = (0..6).max_by(|&a, &b| bic[a].total_cmp(&bic[b])).unwrap();
    assert_eq!(best + 1, 3, "{bic:?}");
    let three = Mclust::new(3).fit(x.view()).unwrap();
    assert_eq!(three.bic, bic[2]);
    // Of 25 components of 30 rows most have one row.
    let (x, _) = clouds(30);
    let table = mclust_bic(x.view(), 1..=25, Mclust::new(1).model("VVV")).unwrap();
    for name in ["bic", "loglik"] {
        let column = table.get(name).unwrap().to_f64().unwrap();
        assert!(column[0].is_finite() && column[24].is_nan(), "{column:?}");
    }
}

#[test]
fn a_slide_gets_a_column() {
    let (x, truth) = clouds(60);
    let mut a = AnnData { obs: Frame::with_len(60), ..AnnData::default() };
    let e = mclust(&mut a, Mclust::new(3)).unwrap_err().to_string();
    assert!(e.contains("no entry `X_pca`"), "{e}");
    a.obsm.insert("z".into(), x.into());
    mclust(&mut a, Mclust::new(3).use_rep("z").key_added("domain")).unwrap();
    assert!(tl::ari(a.obs_column("domain").unwrap(), &truth).unwrap() > 0.9);
    assert_eq!(a.uns["domain"].at(&["model"]).unwrap().as_str(), Some("EEE"));
}

#[test]
fn bad_arguments_and_singular_data_are_refused() {
    let (mut x, _) = clouds(30);
    for g in [0, 30] {
        let e = Mclust::new(g).fit(x.view()).unwrap_err().to_string();
        assert!(e.contains("below the number of observations, 30"), "{e}");
    }
    let e = Mclust::new(2).model("XXX").fit(x.view()).unwrap_err().to_string();
    assert!(e.contains("EII, VII"), "{e}");
    assert!(Mclust::new(2).tol(-1.0).fit(x.view()).is_err());
    assert!(Mclust::new(5).subset(3).fit(x.view()).is_err());
    assert!(mclust_bic(x.view(), RangeInclusive::new(3, 2), Mclust::new(1)).is_err());
    x.column_mut(1).fill(2.5);
    let e = Mclust::new(2).fit(x.view()).unwrap_err().to_string();
    assert!(e.contains("column 1 is constant"), "{e}");
    // Of 0.1 the mean is 0.1 but for rounding, and the variance not quite 0.
    for value in [2.5, 0.1] {
        x.column_mut(1).fill(value);
        for e in [
            Mclust::new(1).fit(x.view()).unwrap_err().to_string(),
            mclust_bic(x.view(), 1..=1, Mclust::new(1)).unwrap_err().to_string(),
        ] {
            assert!(e.contains("column 1 is constant"), "{e}");
        }
    }
    let dependent = Array2::from_shape_fn((4, 2), |(i, j)| [2.0, -2.0][i % 2] * [1.0, 2.0][j]);
    let e = Mclust::new(1).fit(dependent.view()).unwrap_err().to_string();
    assert!(e.contains("component 1 is singular"), "{e}");
    x[[4, 2]] = f64::NAN;
    assert!(Mclust::new(2).fit(x.view()).unwrap_err().to_string().contains("row 4"));
    let none = Array2::<f64>::zeros((5, 0));
    assert!(Mclust::new(2).fit(none.view()).is_err());
}

#[test]
fn one_dimension_works() {
    let x = Array2::from_shape_fn((40, 1), |(i, _)| (i % 20) as f64 * 0.1 + (i / 20) as f64 * 50.0);
    let fit = Mclust::new(2).fit(x.view()).unwrap();
    assert_eq!(fit.classification, [vec![1; 20], vec![2; 20]].concat());
}
