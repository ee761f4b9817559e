//! Parity of the ranking of genes with scanpy, and of Gaussian mixtures with R's mclust, on stored
//! numbers.

use spatialkit::anndata::{AnnData, Categorical, Frame, Matrix};
use spatialkit::ndarray::s;
use spatialkit::tl::{self, Mclust, RankGenes, RankGenesDf, RankMethod};
use spatialkit_tests::{Tol, abs, compare, golden, rel};

#[test]
fn f5_rankings_equal_scanpys() {
    let g = golden("scanpy/f5_rank_genes_groups");
    let genes = g.meta_strings("var_names");
    let x = g.matrix_f32("in.log1p");
    let groups: Vec<usize> = g.ints("in.group").iter().map(|&i| i as usize).collect();
    let n = x.nrows();
    let new = || RankGenes::new("group");
    let cases = [
        ("wilcoxon_rest", new().method(RankMethod::Wilcoxon), vec![0, 1, 2]),
        ("wilcoxon_tie_rest", new().method(RankMethod::Wilcoxon).tie_correct(true), vec![0, 1, 2]),
        ("ttest_rest", new(), vec![0, 1, 2]),
        ("ttest_overestim_rest", new().method(RankMethod::TTestOverestimVar), vec![0, 1, 2]),
        (
            "wilcoxon_g0_vs_g1",
            new().method(RankMethod::Wilcoxon).groups(["0"]).reference("1"),
            vec![0],
        ),
        ("ttest_g0_vs_g1", new().groups(["0"]).reference("1"), vec![0]),
    ];
    for sparse in [false, true] {
        let mut a = AnnData::new(x.clone(), Frame::with_len(n), Frame::new(genes.clone())).unwrap();
        if sparse {
            a.x = Some(Matrix::Csr(a.x().unwrap().to_csr()));
        }
        a.obs.insert("group", Categorical::from_numbers(&groups)).unwrap();
        for (case, options, tested) in &cases {
            tl::rank_genes_groups(&mut a, options.clone()).unwrap();
            for group in tested {
                let table = tl::rank_genes_groups_df(&a, group.to_string()).unwrap();
                // By gene: ties are ordered differently.
                let position = |gene: String| genes.iter().position(|n| *n == gene).unwrap();
                let names = table.get("names").unwrap();
                let at: Vec<usize> =
                    (0..table.len()).map(|i| position(names.text(i).unwrap())).collect();
                let order = g.ints(&format!("{case}.g{group}.order"));
                let columns = [
                    ("scores", abs(1e-4)),
                    ("pvals", rel(1e-4)),
                    ("pvals_adj", rel(1e-4)),
                    ("logfoldchanges", Tol { abs: 1e-4, rel: 1e-5 }),
                ];
                for (column, tolerance) in columns {
                    let values = table.get(column).unwrap().to_f64().unwrap();
                    let mut ours = vec![f64::NAN; genes.len()];
                    at.iter().zip(values).for_each(|(&i, v)| ours[i] = v);
                    let mut theirs = vec![f64::NAN; genes.len()];
                    let stored = g.vec(&format!("{case}.g{group}.{column}"));
                    order.iter().zip(stored).for_each(|(&i, v)| theirs[i as usize] = v);
                    let form = if sparse { "sparse" } else { "dense" };
                    compare(&format!("f5 {case} {group} {column} {form}"), ours, theirs, tolerance);
                }
            }
        }
        let all = tl::rank_genes_groups_df(&a, RankGenesDf::all()).unwrap();
        assert_eq!(all.len(), genes.len());
    }
}

#[test]
fn g1_the_start_and_every_round_equal_mclusts() {
    let g = golden("mclust/g1_eee");
    let x = g.matrix("in.X");
    let (start, trace) = tl::mclust_trace(x.view(), &Mclust::new(3), 60).unwrap();
    let start: Vec<i64> = start.iter().map(|&l| l as i64 + 1).collect();
    assert_eq!(start, g.ints("init.hc_class"), "the partition of the tree");
    compare("g1 log-likelihood of 60 rounds", trace, g.vec("out.loglik_trace60"), abs(1e-7));
}

#[test]
fn g1_mixtures_equal_mclusts() {
    let g = golden("mclust/g1_eee");
    let x = g.matrix("in.X");
    let fit = Mclust::new(3).fit(x.view()).unwrap();
    let classes: Vec<i64> = fit.classification.iter().map(|&c| c as i64).collect();
    assert_eq!(classes, g.ints("out.classification"));
    assert_eq!((fit.n_iter, fit.df), (7, 32));
    compare("g1 probabilities", fit.z.iter().copied(), g.vec("out.z"), abs(1e-5));
    compare("g1 uncertainty", fit.uncertainty(), g.vec("out.uncertainty"), abs(1e-5));
    compare("g1 means", fit.means.iter().copied(), g.vec("out.means"), abs(1e-5));
    compare("g1 covariance", fit.covariances[0].iter().copied(), g.vec("out.Sigma"), abs(1e-5));
    compare("g1 weights", fit.weights.clone(), g.vec("out.pro"), abs(1e-5));
    let stored = g.vec("out.loglik_bic_icl_df");
    compare(
        "g1 log-likelihood, BIC",
        [fit.log_likelihood, fit.bic],
        stored[..2].to_vec(),
        abs(1e-6),
    );
    for n in [2, 4] {
        let fit = Mclust::new(n).fit(x.slice(s![.., ..])).unwrap();
        let classes: Vec<i64> = fit.classification.iter().map(|&c| c as i64).collect();
        assert_eq!(classes, g.ints(&format!("out.G{n}.classification")), "{n} components");
        let got = [fit.log_likelihood, fit.bic];
        compare(
            &format!("g1 {n} components"),
            got,
            g.vec(&format!("out.G{n}.loglik_bic")),
            abs(1e-6),
        );
    }
}
