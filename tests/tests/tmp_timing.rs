use spatialkit::prelude::*;
use spatialkit::tl;
use std::time::Instant;

#[test]
fn timing() {
    let Ok(list) = std::env::var("TIMING_FILES") else { return };
    for file in list.split(',') {
        let mut a = io::read_h5ad(file).unwrap();
        let before = spatialkit::progress::peak_memory_mb();
        if !file.contains("prepared") {
            pp::normalize_total(&mut a, 1e4).unwrap();
            pp::log1p(&mut a).unwrap();
        }
        println!("{file} {:?} at start {before:.0} MB", a.shape());
        let lap = |what: &str, f: &mut dyn FnMut()| {
            let t = Instant::now();
            f();
            println!("{what:<40} {:.3} s  peak {:.0} MB", t.elapsed().as_secs_f64(), spatialkit::progress::peak_memory_mb());
        };
        lap("t-test", &mut || tl::rank_genes_groups(&mut a, RankGenes::new("cluster")).unwrap());
        lap("wilcoxon", &mut || tl::rank_genes_groups(&mut a, RankGenes::new("cluster").method(RankMethod::Wilcoxon)).unwrap());
        lap("wilcoxon tie", &mut || tl::rank_genes_groups(&mut a, RankGenes::new("cluster").method(RankMethod::Wilcoxon).tie_correct(true)).unwrap());
        lap("wilcoxon ref", &mut || tl::rank_genes_groups(&mut a, RankGenes::new("cluster").method(RankMethod::Wilcoxon).reference("c0")).unwrap());
        let genes: Vec<String> = a.var.names()[..50].to_vec();
        lap("score_genes", &mut || { tl::score_genes(&mut a, &genes, ScoreGenes::default()).unwrap(); });
        if a.obsm.contains_key("X_pca") {
            lap("dendrogram", &mut || tl::dendrogram(&mut a, "cluster").unwrap());
            let x = a.obsm("X_pca").unwrap().to_array_f64();
            let x20 = x.slice(spatialkit::ndarray::s![.., ..20]).to_owned();
            lap("mclust 7, 20 columns", &mut || { let f = Mclust::new(7).fit(x20.view()).unwrap(); println!("rounds {}", f.n_iter); });
            if a.n_obs() < 20_000 {
                let label = a.obs_column("cluster").unwrap();
                lap("silhouette", &mut || { tl::silhouette(x.view(), label).unwrap(); });
                lap("ilisi", &mut || { tl::ilisi(x.view(), label, 30.0).unwrap(); });
            }
        }
    }
}
