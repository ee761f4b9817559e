//! The whole preprocessing on a real slide: the same bits for any number of threads, and how long
//! each step takes.

use spatialkit::linalg::PcaSolver;
use spatialkit::prelude::*;
use spatialkit::{io, tl};
use std::time::Instant;

struct Clock(Instant);

impl Clock {
    fn lap(&mut self, what: &str) {
        println!("{what:<36} {:.3} s", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

#[test]
fn a_real_slide_gives_the_same_bits_with_one_and_two_threads() {
    let file = "data/dlpfc/dlpfc_151673_5000g.h5ad";
    let Some(path) = spatialkit_tests::shared("real_preprocessing", file) else { return };
    let slide = io::read_h5ad(path).unwrap();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            println!("--- {threads} threads");
            let mut a = slide.clone();
            let start = Instant::now();
            let mut clock = Clock(start);
            pp::filter_genes(&mut a, FilterGenes::default().min_cells(50).min_counts(10)).unwrap();
            pp::drop_genes_by_prefix(&mut a, &["ERCC", "MT-"]).unwrap();
            clock.lap("filter");
            pp::highly_variable_genes(&mut a, Hvg::seurat_v3(3000)).unwrap();
            clock.lap("highly_variable_genes 3,000");
            pp::normalize_total(&mut a, 1e4).unwrap();
            clock.lap("normalize_total");
            pp::log1p(&mut a).unwrap();
            clock.lap("log1p");
            pp::scale(&mut a, Scale::default().zero_center(false).max_value(10.0)).unwrap();
            clock.lap("scale");
            pp::keep_highly_variable(&mut a).unwrap();
            clock.lap("keep the variable genes");
            println!("{:<36} {:.3} s", "all of these", start.elapsed().as_secs_f64());
            let features = a.x().unwrap().to_array_f32();
            clock.lap("to a dense array");
            let labels = tl::cluster_embedding(features.view(), 7, 2025).unwrap();
            clock.lap("PCA(20) randomized + k-means(7)");
            pp::pca(&mut a, Pca::default().solver(PcaSolver::Randomized)).unwrap();
            clock.lap("PCA(50) randomized, sparse");
            pp::pca(&mut a, Pca::default()).unwrap();
            clock.lap("PCA(50) exact, sparse");
            tl::kmeans(&mut a, KMeans::new(7).seed(1)).unwrap();
            clock.lap("k-means(7) on 50 components");
            let scores = a.obsm("X_pca").unwrap().to_array_f32();
            let silhouette = tl::silhouette(scores.view(), &labels).unwrap();
            clock.lap("silhouette");
            // NaN is unequal to itself.
            a.var.remove("highly_variable_rank");
            (a, labels, silhouette)
        })
    };
    let two = run(2);
    assert!(run(1) == two, "the result depends on the number of threads");
    let truth = two.0.obs_column("layer_guess").unwrap();
    println!("ARI of pseudo labels with the layers: {}", tl::ari(truth, &two.1).unwrap());
}
