//! Parity of k-means, its principal components and the clustering metrics with scikit-learn.

use spatialkit::linalg::{PcaSolver, pca};
use spatialkit::tl::{self, KMeans};
use spatialkit_tests::{abs, compare, golden, rel};

#[test]
fn a4_principal_components_equal_scikit_learn() {
    let g = golden("stamgc/a4_pseudo_labels");
    let x = g.matrix("in.smooth_gene");
    let fit = pca(x.view(), 20, PcaSolver::Auto, 2025).unwrap();
    compare(
        "a4 singular values",
        fit.singular_values.to_vec(),
        g.vec("out.pca_singular_values"),
        rel(1e-8),
    );
    compare("a4 mean", fit.mean.to_vec(), g.vec("out.pca_mean"), rel(1e-12));
    compare(
        "a4 explained variance",
        fit.explained_variance.to_vec(),
        g.vec("out.pca_explained_variance"),
        rel(1e-8),
    );
    compare(
        "a4 explained variance ratio",
        fit.explained_variance_ratio.to_vec(),
        g.vec("out.pca_explained_variance_ratio"),
        rel(1e-8),
    );
    compare(
        "a4 |loadings|",
        fit.components.mapv(f64::abs),
        g.vec("out.pca_components_abs"),
        abs(1e-8),
    );
    // Signs included: both make the largest loading positive.
    compare("a4 scores, with signs", fit.scores, g.vec("out.pca_embedding"), abs(1e-8));
}

#[test]
fn a4_exact_and_randomized_solvers_reach_the_same_singular_values() {
    let g = golden("stamgc/a4_pseudo_labels");
    let x = g.matrix("in.smooth_gene");
    let fit = pca(x.view(), 20, PcaSolver::Exact, 0).unwrap();
    let expected = g.vec("out.pca_singular_values");
    compare("a4 exact solver", fit.singular_values.to_vec(), expected.clone(), rel(1e-8));
    let fit = pca(x.view(), 20, PcaSolver::Randomized, 0).unwrap();
    compare("a4 randomized solver", fit.singular_values.to_vec(), expected, rel(1e-2));
}

#[test]
fn a4_kmeans_finds_the_optimum_that_scikit_learn_finds() {
    let g = golden("stamgc/a4_pseudo_labels");
    let x = g.matrix("in.smooth_gene");
    let scores = g.matrix("out.pca_embedding");
    let best = g.scalar("out.kmeans_n_init10_inertia");
    let reference = g.ints("out.kmeans_n_init10_labels");
    // Which optimum a run finds depends on the random numbers: with as many starts as the reference
    // took it must be as good within 2 %; how often that is so is judged in the next test.
    for (seed, n_init) in [(2025, 10), (0, 100), (1, 100)] {
        let fit = KMeans::new(5).n_init(n_init).seed(seed).fit(scores.view()).unwrap();
        let ari = tl::ari(&fit.labels, &reference).unwrap();
        println!(
            "a4 k-means seed {seed}: inertia {} (scikit-learn {best}, at most × 1.02), \
             ARI of the labels {ari}",
            fit.inertia
        );
        assert!(fit.inertia <= 1.02 * best);
        if (fit.inertia - best).abs() < 1e-9 * best {
            assert_eq!(ari, 1.0);
        }
    }
    // The whole step as STAMGC calls it.
    let labels = tl::cluster_embedding(x.view(), 5, 2025).unwrap();
    assert_eq!((labels.iter().min(), labels.iter().max()), (Some(&1), Some(&5)));
    println!("a4 pseudo labels: ARI {}", tl::ari(&labels, &reference).unwrap());
}

#[test]
fn a4_single_runs_are_as_good_as_scikit_learns() {
    // Over 1,000 seeds, KMeans(5, n_init=1) of scikit-learn 1.9.1 on these scores has the lowest
    // inertia 279.3555, quantiles (10, 50, 90 %) 282.79, 299.03, 336.43 and the mean 306.5.
    let scores = golden("stamgc/a4_pseudo_labels").matrix("out.pca_embedding");
    let run = |seed| KMeans::new(5).n_init(1).seed(seed).fit(scores.view()).unwrap().inertia;
    let mut inertia: Vec<f64> = (0..1000).map(run).collect();
    inertia.sort_by(f64::total_cmp);
    compare("a4 lowest inertia of 1,000 runs", [inertia[0]], [279.35553483], rel(1e-8));
    let got = [inertia[100], inertia[500], inertia[900], inertia.iter().sum::<f64>() / 1000.0];
    let reference = [282.79, 299.03, 336.43, 306.53];
    compare("a4 quantiles and mean of inertia", got, reference, rel(0.02));
}

#[test]
fn a4_inertia_is_defined_as_in_scikit_learn() {
    let g = golden("stamgc/a4_pseudo_labels");
    let scores = g.matrix("out.pca_embedding");
    let labels: Vec<usize> = g.ints("out.pseudo_labels").iter().map(|&l| l as usize - 1).collect();
    let centers = g.matrix("out.kmeans_centers");
    let square = |i: usize| {
        let d = &scores.row(i) - &centers.row(labels[i]);
        d.dot(&d)
    };
    let inertia: f64 = (0..scores.nrows()).map(square).sum();
    compare("a4 inertia as we define it", [inertia], [g.scalar("out.kmeans_inertia")], rel(1e-10));
}

#[test]
fn a5_metrics_equal_scikit_learn() {
    let g = golden("stamgc/a5_metrics");
    let x = g.matrix("in.X");
    let truth = g.ints("in.truth");
    let expected = g.matrix("out.metrics");
    for i in 0..3 {
        let labels = g.ints(&format!("in.labels{i}"));
        let got = [
            tl::ari(&labels, &truth).unwrap(),
            tl::nmi(&labels, &truth).unwrap(),
            tl::silhouette(x.view(), &labels).unwrap(),
            tl::davies_bouldin(x.view(), &labels).unwrap(),
        ];
        let what = format!("a5 ARI, NMI, silhouette, DB of labeling {i}");
        compare(&what, got, expected.row(i).to_vec(), abs(1e-10));
    }
}
