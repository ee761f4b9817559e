use super::*;
use crate::parallel::same_with_any_threads;
use ndarray::Array2;

fn sample() -> AnnData {
    let mut rng = Rng::new(9);
    let x = Array2::from_shape_fn((300, 60), |(_, j)| rng.poisson(0.1 + j as f64 * 0.1) as f32);
    let names = (0..60).map(|j| format!("G{j}")).collect();
    AnnData::new(x, Frame::with_len(300), Frame::new(names)).unwrap()
}

fn scores(a: &AnnData, name: &str) -> Vec<f64> {
    a.obs_column(name).unwrap().to_f64().unwrap()
}

#[test]
fn a_score_is_the_difference_of_two_means_in_every_form() {
    let dense = sample();
    let x = dense.x().unwrap().to_array_f64();
    let mut all = Vec::new();
    for form in [
        dense.x().unwrap().clone(),
        Matrix::Csr(dense.x().unwrap().to_csr()),
        Matrix::Csc(dense.x().unwrap().to_csc()),
    ] {
        all.push(same_with_any_threads(|| {
            let mut a = dense.clone();
            a.x = Some(form.clone());
            let options = ScoreGenes::default().ctrl_size(3).n_bins(8);
            let used = score_genes(&mut a, &["G7", "G30", "none"], options).unwrap();
            (used, scores(&a, "score"))
        }));
    }
    assert!(all.iter().all(|a| *a == all[0]));
    let (used, got) = &all[0];
    assert_eq!((used.genes.len(), used.missing.as_slice()), (2, &["none".to_string()][..]));
    assert!((4..=6).contains(&used.control_genes.len()), "{used:?}");
    let at = |g: &String| g[1..].parse::<usize>().unwrap();
    let mean = |genes: &[String], i: usize| {
        genes.iter().map(|g| x[[i, at(g)]]).sum::<f64>() / genes.len() as f64
    };
    for i in 0..300 {
        let expected = mean(&used.genes, i) - mean(&used.control_genes, i);
        assert!((got[i] - expected).abs() < 1e-12);
    }
}

#[test]
fn controls_are_of_like_expression_and_follow_the_seed() {
    let mut a = sample();
    let run = |a: &mut AnnData, seed| {
        let options = ScoreGenes::default().ctrl_size(2).n_bins(7).seed(seed);
        score_genes(a, &["G50"], options.ctrl_as_ref(false)).unwrap().control_genes
    };
    let (one, again, other) = (run(&mut a, 1), run(&mut a, 1), run(&mut a, 2));
    assert_eq!((one.len(), &one), (2, &again));
    assert_ne!(one, other);
    assert!(one.iter().all(|g| g[1..].parse::<usize>().unwrap() > 35), "{one:?}");
}

#[test]
fn the_phase_follows_the_scores() {
    let mut a = sample();
    let mut x = a.x().unwrap().to_array_f32();
    x.row_mut(5).fill(0.0);
    a.x = Some(x.into());
    let options = || ScoreGenes::default().n_bins(8).ctrl_as_ref(false);
    let none: [&str; 0] = [];
    for (s, g2m, words) in
        [(&["G1"][..], &none[..], "G2/M"), (&none[..], &["G1"][..], "list of S genes")]
    {
        let e = score_genes_cell_cycle(&mut a, s, g2m, options()).unwrap_err().to_string();
        assert!(e.contains(words) && e.contains("is empty"), "{e}");
        assert_eq!(a.obs.columns().len(), 0);
    }
    let (s, g2m) = (["G1", "none", "G20"], ["G40", "G41", "G42"]);
    let used = score_genes_cell_cycle(&mut a, &s, &g2m, options()).unwrap();
    assert_eq!(used[0].missing, ["none"]);
    assert!(used[1].missing.is_empty());
    let (s, g) = (scores(&a, "S_score"), scores(&a, "G2M_score"));
    let phase = a.obs_column("phase").unwrap();
    assert_eq!((s[5], g[5], phase.text(5).unwrap().as_str()), (0.0, 0.0, "S"));
    for i in 0..300 {
        let expected = match (s[i], g[i]) {
            (s, g) if s < 0.0 && g < 0.0 => "G1",
            (s, g) if g > s => "G2M",
            _ => "S",
        };
        assert_eq!(phase.text(i).unwrap(), expected);
    }
}

#[test]
fn what_cannot_be_scored_is_refused() {
    let refuse = |genes: &[&str], options: ScoreGenes, words: &str| {
        let mut a = sample();
        let e = score_genes(&mut a, genes, options).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
        assert!(!a.obs.contains("score"));
    };
    let new = ScoreGenes::default;
    refuse(&["H1"], new(), "none of them is there");
    refuse(&[], new(), "the list is empty");
    refuse(&["G1"], new().gene_pool(["G2", "G3"]), "G1");
    refuse(&["G1"], new().n_bins(500), "too many bins for 60 genes");
    refuse(&["G1"], new().n_bins(1), "too small");
    refuse(&["G1"], new().ctrl_size(0), "too small");
    refuse(&["G1"], new().control_genes(["H"]), "no name `H`");
    refuse(&["G1"], new().gene_pool(["G1"]).n_bins(2), "no control gene is left");
    refuse(&["G1"], new().layer("none"), "no entry `none`");
    refuse(&["G1"], new().use_raw(true), "no `raw`");
    let mut a = sample();
    let mut x = a.x().unwrap().to_array_f32();
    x[[3, 1]] = f32::NAN;
    a.x = Some(x.into());
    let e = score_genes(&mut a, &["G1"], new()).unwrap_err().to_string();
    assert!(e.contains("gene `G1` holds NaN"), "{e}");
    let given = new().control_genes(["G2"]);
    let e = score_genes(&mut a, &["G1"], given.clone()).unwrap_err().to_string();
    assert!(e.contains("cell `3` (row 3) holds NaN"), "{e}");
    a.keep_obs(..0).unwrap();
    for options in [new(), given] {
        let e = score_genes(&mut a, &["G1"], options).unwrap_err().to_string();
        assert!(e.contains("there are no cells"), "{e}");
    }
}

#[test]
fn genes_that_tell_nothing_and_single_cells_have_a_score() {
    for value in [0.0, 2.0] {
        let mut a = sample();
        a.x = Some(Array2::from_elem((300, 60), value).into());
        let used = score_genes(&mut a, &["G7", "G30"], ScoreGenes::default()).unwrap();
        assert!((48..=50).contains(&used.control_genes.len()));
        assert!(scores(&a, "score").iter().all(|s| s.abs() < 1e-12));
    }
    let given = || ScoreGenes::default().control_genes(["1", "2"]);
    // With both other genes as controls, and with those of a mean alike.
    for (x, both, alike) in [
        (ndarray::array![[1., 2., 4.]], vec![-2.0], vec![-1.0]),
        (ndarray::array![[-1., 2., 0.], [3., -4., 2.]], vec![-2.0, 4.0], vec![-2.0, 4.0]),
    ] {
        let (n, m) = x.dim();
        let mut a = AnnData::new(x, Frame::with_len(n), Frame::with_len(m)).unwrap();
        score_genes(&mut a, &["0"], given()).unwrap();
        assert_eq!(scores(&a, "score"), both);
        let drawn = ScoreGenes::default().n_bins(2).score_name("drawn");
        score_genes(&mut a, &["0"], drawn).unwrap();
        assert_eq!(scores(&a, "drawn"), alike);
    }
}
