use super::*;
use crate::gr::sample::slide;
use crate::parallel::same_with_any_threads;

fn result(a: &AnnData, mode: &str, what: &str) -> Vec<f64> {
    match a.uns[&format!("cluster_ripley_{mode}")].at(&[what]) {
        Some(Value::Array { values, .. }) => values.to_f64().into_owned(),
        Some(Value::Frame(f)) => f.get("stats").unwrap().to_f64().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn run(mode: RipleyMode) -> AnnData {
    let mut a = slide(12, 9);
    let options = Ripley::new("cluster", mode).n_simulations(20).n_observations(200).n_steps(11);
    ripley(&mut a, options).unwrap();
    a
}

#[test]
fn l_counts_the_pairs_of_a_cluster() {
    let a = run(RipleyMode::L);
    let (l, bins) = (result(&a, "L", "L_stat"), result(&a, "L", "bins"));
    // The hull of 12 × 9 spots is 11 × 8.
    let area = 88.0;
    assert!((bins[10] - (area / 2.0f64).sqrt()).abs() < 1e-12 && bins[0] == 0.0);
    let inside: Vec<usize> = (0..108).filter(|i| i % 12 < 4).collect();
    let d = |i: usize, j: usize| {
        let (x, y) = ((i % 12) as f64 - (j % 12) as f64, (i / 12) as f64 - (j / 12) as f64);
        (x * x + y * y).sqrt()
    };
    for (t, l) in bins.iter().zip(&l) {
        let near = |i: &usize| inside.iter().filter(|&&j| j != *i && d(*i, j) < *t).count();
        let pairs: usize = inside.iter().map(near).sum();
        let k = pairs as f64 / 108.0 / (108.0 / area);
        assert!((l - (k / std::f64::consts::PI).sqrt()).abs() < 1e-12);
    }
}

#[test]
fn every_mode_is_a_rising_share_with_p_values() {
    for (mode, name) in [(RipleyMode::F, "F"), (RipleyMode::G, "G"), (RipleyMode::L, "L")] {
        let a = same_with_any_threads(|| run(mode));
        let stat = result(&a, name, &format!("{name}_stat"));
        assert_eq!(stat.len(), 33);
        for cluster in stat.chunks(11) {
            assert!(cluster[0] == 0.0 && cluster.windows(2).all(|w| w[0] <= w[1]), "{cluster:?}");
            assert!(name == "L" || cluster[10] == 1.0);
        }
        assert_eq!(result(&a, name, "sims_stat").len(), 20 * 11);
        let p = result(&a, name, "pvalues");
        assert!(p.len() == 33 && p.iter().all(|&p| (0.0..=0.5).contains(&p)));
    }
    // Simulations differ from each other.
    let a = run(RipleyMode::G);
    let sims = result(&a, "G", "sims_stat");
    assert_ne!(sims[..11], sims[11..22]);
}

#[test]
fn clusters_of_one_spot_or_none_are_defined() {
    let mut a = slide(12, 9);
    let codes = (0..108).map(|i| i32::from(i > 0)).collect();
    let categories = ["one", "rest", "none"].map(String::from).to_vec();
    a.obs
        .insert("cluster", Categorical { codes, categories, typed: None, ordered: false })
        .unwrap();
    let options = |mode| Ripley::new("cluster", mode).n_simulations(5).n_steps(11);
    ripley(&mut a, options(RipleyMode::L)).unwrap();
    // A spot without another of its kind has no pair; the category without spots has no rows.
    let l = result(&a, "L", "L_stat");
    assert!(l.len() == 22 && l[..11] == [0.0; 11] && l[21] > 0.0, "{l:?}");
    let e = ripley(&mut a, options(RipleyMode::G)).unwrap_err().to_string();
    assert!(e.contains("`one` has 1 spots, n_neigh asks for 2"), "{e}");
}

#[test]
fn bad_input_is_named() {
    let mut a = slide(12, 9);
    let mut e = |o: Ripley| ripley(&mut a, o).unwrap_err().to_string();
    assert!(e(Ripley::new("partly", RipleyMode::F)).contains("have no category"));
    assert!(e(Ripley::new("cluster", RipleyMode::F).n_neigh(0)).contains("at least 1"));
    assert!(e(Ripley::new("cluster", RipleyMode::F).n_neigh(37)).contains("has 36 spots"));
    assert!(e(Ripley::new("cluster", RipleyMode::G).max_dist(1e-6)).contains("within the largest"));
    assert!(e(Ripley::new("cluster", RipleyMode::L).max_dist(-1.0)).contains("above 0"));
    assert!(e(Ripley::new("cluster", RipleyMode::L).n_steps(1)).contains("at least 2"));
    assert!(e(Ripley::new("kind", RipleyMode::L)).contains("obs has no column `kind`"));
    let absent = Ripley::new("cluster", RipleyMode::L).spatial_key("xy");
    assert!(e(absent).contains("obsm has no entry `xy`"));
    a.obsm.insert("spatial".into(), Array2::from_elem((108, 2), f64::NAN).into());
    let e = ripley(&mut a, Ripley::new("cluster", RipleyMode::L)).unwrap_err();
    assert!(e.to_string().contains("108 of 108 observations have a coordinate"), "{e}");
    let mut line = slide(12, 1);
    let e = ripley(&mut line, Ripley::new("cluster", RipleyMode::L)).unwrap_err();
    assert!(e.to_string().contains("one line"), "{e}");
    let mut one = slide(12, 9);
    one.obs.insert("cluster", crate::anndata::Categorical::from_numbers(&[1; 108])).unwrap();
    let e = ripley(&mut one, Ripley::new("cluster", RipleyMode::G)).unwrap_err();
    assert!(e.to_string().contains("second cluster"), "{e}");
}
