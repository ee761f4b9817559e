use super::*;
use crate::anndata::{Dense, Frame, Matrix};
use crate::gr::sample::slide;
use crate::gr::{SpatialNeighbors, SpatiallyVariable, spatial_neighbors, spatially_variable_genes};
use crate::linalg::Csr;
use crate::parallel::same_with_any_threads;
use crate::rng::Rng;
use ndarray::Array2;

fn table(a: &AnnData, options: SpatialAutocorr) -> Frame {
    compute(a, &options).unwrap().0
}

fn column(t: &Frame, name: &str) -> Vec<f64> {
    t.get(name).unwrap_or_else(|| panic!("no column {name}")).to_f64().unwrap()
}

/// A slide with genes of every kind: sparse, dense, constant, empty, and a pattern.
fn sample() -> AnnData {
    let mut a = slide(15, 12);
    let mut rng = Rng::new(8);
    let x = Array2::from_shape_fn((180, 21), |(i, g)| match g {
        0 => 0.0,
        1 => 4.5,
        2 => (i % 15) as f64,
        g if g < 12 => rng.poisson(0.2) as f64,
        _ => 3.0 + rng.normal(),
    });
    let genes = Frame::new((0..21).map(|g| format!("g{g}")).collect());
    a = AnnData { x: Some(x.into()), var: genes, ..a };
    spatial_neighbors(&mut a, SpatialNeighbors::knn(5)).unwrap();
    a
}

/// The definitions, written down.
fn plain(w: &Csr<f64>, x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let square: f64 = x.iter().map(|v| (v - mean).powi(2)).sum();
    let (mut s0, mut moran, mut geary) = (0.0, 0.0, 0.0);
    for i in 0..x.len() {
        for (j, w) in w.row(i) {
            s0 += w;
            moran += w * (x[i] - mean) * (x[j] - mean);
            geary += w * (x[i] - x[j]).powi(2);
        }
    }
    (n / s0 * moran / square, (n - 1.0) * geary / (2.0 * s0 * square))
}

#[test]
fn both_statistics_are_their_definitions_in_every_form() {
    let a = sample();
    let dense = a.x().unwrap().to_array_f64();
    let m = Matrix::from(dense.clone());
    for form in [m.clone(), Matrix::Csr(m.to_csr()), Matrix::Csc(m.to_csc())] {
        let mut a = a.clone();
        a.x = Some(form);
        for normalize in [true, false] {
            let w = Weights::of(&a, CONNECTIVITIES, normalize).unwrap().w;
            for options in [SpatialAutocorr::moran(), SpatialAutocorr::geary()] {
                let moran = options.mode == Mode::Moran;
                let t = table(&a, options.transformation(normalize));
                let got = column(&t, if moran { "I" } else { "C" });
                assert!(got[19].is_nan() && got[20].is_nan() && got[18].is_finite());
                for (name, got) in t.names().iter().zip(&got).take(19) {
                    let g: usize = name[1..].parse().unwrap();
                    let (i, c) = plain(&w, &dense.column(g).to_vec());
                    let expected = if moran { i } else { c };
                    assert!((got - expected).abs() < 1e-12, "{name}: {got} is not {expected}");
                }
                assert_eq!(t.names()[0], "g2");
            }
        }
    }
}

#[test]
fn permutations_are_those_of_the_rows_of_the_weights() {
    let a = sample();
    for options in [SpatialAutocorr::moran(), SpatialAutocorr::geary()] {
        let t = table(&a, options.clone().n_perms(400).seed(3));
        let w = Weights::of(&a, CONNECTIVITIES, true).unwrap().w;
        let dense = a.x().unwrap().to_array_f64();
        let (var, p) = (column(&t, "var_sim"), column(&t, "pval_sim"));
        for (r, name) in t.names().iter().enumerate().take(19) {
            let x = dense.column(name[1..].parse().unwrap()).to_vec();
            let mut rng = Rng::new(77);
            let sims: Vec<f64> = (0..400)
                .map(|_| {
                    let mut order: Vec<usize> = (0..180).collect();
                    rng.shuffle(&mut order);
                    let mut s =
                        Csr { indptr: vec![0], indices: vec![], values: vec![], ..w.clone() };
                    for &o in &order {
                        let range = w.indptr[o]..w.indptr[o + 1];
                        s.indices.extend(&w.indices[range.clone()]);
                        s.values.extend(&w.values[range]);
                        s.indptr.push(s.indices.len());
                    }
                    let both = plain(&s, &x);
                    if options.mode == Mode::Moran { both.0 } else { both.1 }
                })
                .collect();
            let mean = sims.iter().sum::<f64>() / 400.0;
            let expected = sims.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 400.0;
            // Two variances of 400 draws each: their ratio is within 5 deviations of √(2·2/400).
            assert!((var[r] / expected).ln().abs() < 0.5, "{name}: {} {expected}", var[r]);
            assert!(p[r] > 0.0 && p[r] < 0.51);
        }
        assert!(var[19].is_nan() && p[19].is_nan());
        // The gradient is beyond all permutations.
        assert_eq!(p[0], 1.0 / 401.0);
        assert!(column(&t, "pval_z_sim")[0] < 1e-10);
        // One permutation tells how far it is away, but not how far others are.
        let one = table(&a, options.n_perms(1));
        assert!(column(&one, "pval_z_sim").iter().all(|p| p.is_nan()));
        assert_eq!((column(&one, "pval_sim")[0], column(&one, "var_sim")[0]), (0.5, 0.0));
    }
}

#[test]
fn a_complete_graph_has_no_p_value() {
    for n in 3..=15 {
        let mut a = slide(n, 1);
        spatial_neighbors(&mut a, SpatialNeighbors::knn(n - 1)).unwrap();
        for options in [SpatialAutocorr::moran(), SpatialAutocorr::geary()] {
            for normalize in [true, false] {
                let t = table(&a, options.clone().transformation(normalize).two_tailed(normalize));
                assert_eq!(column(&t, "var_norm"), [0.0; 3], "{n} spots, {:?}", options.mode);
                for p in ["pval_norm", "pval_norm_fdr_bh"] {
                    assert!(column(&t, p).iter().all(|p| p.is_nan()), "{n} spots: {p}");
                }
            }
        }
        spatially_variable_genes(&mut a, SpatiallyVariable::default().fdr(1.0)).unwrap();
        let marked = a.var_column("spatially_variable").unwrap().to_f64().unwrap();
        assert_eq!(marked, [0.0; 3], "{n} spots");
    }
    // With an edge less a spot there is something to tell apart.
    let mut a = slide(15, 1);
    spatial_neighbors(&mut a, SpatialNeighbors::knn(13)).unwrap();
    for options in [SpatialAutocorr::moran(), SpatialAutocorr::geary()] {
        let t = table(&a, options);
        let (variance, p) = (column(&t, "var_norm"), column(&t, "pval_norm"));
        assert!(variance[0] > 1e-9 && p[0] > 0.0 && p[0] < 1.0, "{variance:?} {p:?}");
    }
}

#[test]
fn threads_change_nothing_and_seeds_do() {
    let a = sample();
    let run = |seed| table(&a, SpatialAutocorr::moran().n_perms(30).seed(seed).genes(2..20));
    let one = same_with_any_threads(|| column(&run(1), "var_sim"));
    assert_ne!(one, column(&run(2), "var_sim"));
    assert_eq!(column(&run(1), "I"), column(&run(2), "I"));
}

#[test]
fn columns_and_tails_are_squidpys() {
    let a = sample();
    let t = table(&a, SpatialAutocorr::moran().n_perms(20));
    let names: Vec<&str> = t.columns().map(|(k, _)| k).collect();
    let expected = [
        "I",
        "pval_norm",
        "var_norm",
        "pval_z_sim",
        "pval_sim",
        "var_sim",
        "pval_norm_fdr_bh",
        "pval_z_sim_fdr_bh",
        "pval_sim_fdr_bh",
    ];
    assert_eq!(names, expected);
    let two = table(&a, SpatialAutocorr::moran().two_tailed(true).corr_method(Correction::None));
    assert_eq!(two.columns().len(), 3);
    let (one, two) = (column(&t, "pval_norm"), column(&two, "pval_norm"));
    assert!((0..19).all(|i| two[i] == 2.0 * one[i]));
    let b = table(&a, SpatialAutocorr::moran().corr_method(Correction::Bonferroni));
    let (p, q) = (column(&b, "pval_norm"), column(&b, "pval_norm_bonferroni"));
    assert!((0..19).all(|i| q[i] == (19.0 * p[i]).min(1.0)) && q[20].is_nan());
}

#[test]
fn genes_are_chosen_as_asked() {
    let mut a = sample();
    let names = |a: &AnnData, o: SpatialAutocorr| {
        let mut names = table(a, o).names().to_vec();
        names.sort();
        names
    };
    assert_eq!(names(&a, SpatialAutocorr::moran().genes(["g9", "g2"])), ["g2", "g9"]);
    let marked: Vec<bool> = (0..21).map(|g| g % 10 == 2).collect();
    a.var.insert("highly_variable", marked).unwrap();
    assert_eq!(names(&a, SpatialAutocorr::moran()), ["g12", "g2"]);
    assert_eq!(names(&a, SpatialAutocorr::moran().genes(..)).len(), 21);
    // From obs and obsm.
    a.obs.insert("x", (0..180).map(|i| (i % 15) as f64).collect::<Vec<f64>>()).unwrap();
    a.obs.insert("half", vec![true; 180]).unwrap();
    assert_eq!(names(&a, SpatialAutocorr::moran().all_obs()), ["x"]);
    let by_obs = column(&table(&a, SpatialAutocorr::moran().obs(["x"])), "I");
    let t = table(&a, SpatialAutocorr::moran().obsm("spatial"));
    assert_eq!(t.len(), 2);
    let one = table(&a, SpatialAutocorr::moran().obsm_columns("spatial", &[0]));
    assert_eq!(by_obs, column(&one, "I"));
    // From a layer and raw.
    let counts = Dense::new(180, 21, vec![1u16; 180 * 21]).unwrap();
    a.layers.insert("ones".into(), Matrix::Dense(counts));
    assert!(column(&table(&a, SpatialAutocorr::moran().layer("ones")), "I")[0].is_nan());
    a.raw = Some(Box::new(crate::anndata::Raw {
        x: a.x().unwrap().take_columns(&[12, 2, 3]),
        var: a.var.take(&[12, 2, 3]),
        varm: Default::default(),
        varm_frames: Default::default(),
    }));
    assert_eq!(names(&a, SpatialAutocorr::moran().use_raw(true)), ["g12", "g2"]);
    let e = compute(&a, &SpatialAutocorr::moran().use_raw(true).genes(["g5"])).unwrap_err();
    assert!(e.to_string().contains("raw.var has no name `g5`"), "{e}");
}

#[test]
fn bad_input_is_named() {
    let mut a = sample();
    let e = |a: &AnnData, o: SpatialAutocorr| compute(a, &o).unwrap_err().to_string();
    assert!(e(&a, SpatialAutocorr::moran().n_perms(0)).contains("at least 1"));
    assert!(e(&a, SpatialAutocorr::moran().genes("MBP")).contains("var has no name `MBP`"));
    assert!(e(&a, SpatialAutocorr::moran().genes(["g2", "g3", "g2"])).contains("twice"));
    assert!(e(&a, SpatialAutocorr::moran().genes(3..3)).contains("no feature is selected"));
    assert!(e(&a, SpatialAutocorr::moran().layer("counts")).contains("layers has no entry"));
    assert!(e(&a, SpatialAutocorr::moran().use_raw(true)).contains("no `raw`"));
    assert!(e(&a, SpatialAutocorr::moran().obs(["cluster"])).contains("not numbers"));
    assert!(e(&a, SpatialAutocorr::moran().obsm("X_pca")).contains("obsm has no entry"));
    assert!(e(&a, SpatialAutocorr::moran().obsm_columns("spatial", &[2])).contains("0 to 1"));
    let other = SpatialAutocorr::moran().connectivity_key("conn");
    assert!(e(&a, other).contains("Run `gr::spatial_neighbors` first"));
    let two = a.take_obs(&[0, 1]);
    assert!(e(&two, SpatialAutocorr::moran()).contains("needs 3 spots"));
    let apart = a.take_obs(&[0, 7, 90, 179]);
    assert!(e(&apart, SpatialAutocorr::moran()).contains("no edges"));
    let mut x = a.x().unwrap().to_array_f64();
    x[[5, 7]] = f64::NAN;
    a.x = Some(x.into());
    assert!(e(&a, SpatialAutocorr::geary()).contains("`g7`: holds values"));
    a.x = a.x.map(|x| Matrix::Csr(x.to_csr()));
    assert!(e(&a, SpatialAutocorr::geary()).contains("`g7`: holds values"));
    // Wherever the values come from.
    let x = a.x().unwrap().clone();
    a.layers.insert("bad".into(), x);
    a.obs.insert("bad", vec![f64::INFINITY; 180]).unwrap();
    a.obsm.insert("bad".into(), Array2::from_elem((180, 2), f64::NAN).into());
    assert!(e(&a, SpatialAutocorr::moran().layer("bad")).contains("`g7`: holds values"));
    assert!(e(&a, SpatialAutocorr::moran().obs(["bad"])).contains("`bad`: holds values"));
    assert!(e(&a, SpatialAutocorr::moran().obsm("bad")).contains("`0`: holds values"));
    // Negative values are as good as others.
    assert!(compute(&a, &SpatialAutocorr::moran().genes(["g2"])).is_ok());
}
