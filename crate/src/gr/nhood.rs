//! [`nhood_enrichment`]: which clusters are neighbours more often than by chance.

use super::graph::{CONNECTIVITIES, categories, graph, labels};
use super::moments::known;
use crate::anndata::{AnnData, Map, Value, Values};
use crate::error::{Error, Result};
use crate::linalg::Csr;
use crate::progress::{Progress, check_interrupt};
use crate::rng::{self, Rng};
use rayon::prelude::*;
use std::sync::Mutex;

/// Options of [`nhood_enrichment`].
#[derive(Debug, Clone, PartialEq)]
pub struct NhoodEnrichment {
    cluster_key: String,
    library_key: Option<String>,
    connectivity_key: String,
    /// `None`: the exact mean and deviation instead of permutations.
    n_perms: Option<usize>,
    seed: u64,
}

impl NhoodEnrichment {
    /// Of the clusters in this column of `obs`.
    pub fn new(cluster_key: impl Into<String>) -> Self {
        NhoodEnrichment {
            cluster_key: cluster_key.into(),
            library_key: None,
            connectivity_key: CONNECTIVITIES.into(),
            n_perms: Some(1000),
            seed: 0,
        }
    }

    /// A column of `obs` with slices: clusters are shuffled within each. Default: over all spots.
    pub fn library_key(mut self, key: impl Into<String>) -> Self {
        self.library_key = Some(key.into());
        self
    }

    /// The graph in `obsp`. Default: `spatial_connectivities`.
    pub fn connectivity_key(mut self, key: impl Into<String>) -> Self {
        self.connectivity_key = key.into();
        self
    }

    /// Number of permutations, at least 2. Default: 1000.
    pub fn n_perms(mut self, n: usize) -> Self {
        self.n_perms = Some(n);
        self
    }

    /// Instead of permutations, the mean and the deviation over all of them, by formula: what
    /// z-scores tend to with more and more permutations, at once. For one slice.
    pub fn exact(mut self) -> Self {
        self.n_perms = None;
        self
    }

    /// Seed of the permutations. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// Compares the number of edges between each two clusters with that when clusters are shuffled over
/// the spots: z = (count − mean) / standard deviation.
///
/// Matches `squidpy.gr.nhood_enrichment` 1.8.2: counts are equal; z-scores are of our own
/// permutations, as far from squidpy's as two of its runs with different seeds are (with
/// 1000 permutations about 3 % of |z|, and 0.03). With [`exact`](NhoodEnrichment::exact) they have
/// no such noise.
///
/// Writes `uns["<cluster_key>_nhood_enrichment"]` with `zscore` and `count`, clusters × clusters in
/// the order of the categories (row: from, column: to). A z-score is NaN where shuffling changes
/// nothing, e.g. between a cluster without spots and another, within a cluster of one spot, or on a
/// complete graph.
///
/// # Errors
/// [`Error::MissingKey`] without the column; [`Error::Data`] without the graph, when a spot has no
/// cluster or no slice, with fewer than 2 clusters, or for exact moments of a graph with spots that
/// are their own neighbours; [`Error::Parameter`] for fewer than 2 permutations, or exact moments
/// by slice.
pub fn nhood_enrichment(adata: &mut AnnData, options: NhoodEnrichment) -> Result<()> {
    let key = &options.cluster_key;
    let (clusters, codes) = labels(adata, key)?;
    let k = clusters.categories.len();
    if k < 2 {
        let reason = format!("has {k} categories, needs at least 2");
        return Err(Error::data(format!("obs[\"{key}\"]"), reason));
    }
    let g = graph(adata, &options.connectivity_key)?;
    let slices = match &options.library_key {
        None => vec![(0..codes.len() as u32).collect()],
        Some(key) => slices(adata, key)?,
    };
    let mut count = vec![0u64; k * k];
    add_counts(&g, &codes, k, &mut count);
    let (mean, deviation) = match options.n_perms {
        Some(n @ 0..2) => {
            let reason = "must be at least 2, to have a deviation; for none, ask for the `exact` \
                          moments";
            return Err(Error::parameter("n_perms", n, reason));
        }
        Some(n) => permute(&g, &codes, k, &slices, n, options.seed)?,
        None if options.library_key.is_some() => {
            let reason = "exact moments are for one slice; take permutations";
            return Err(Error::parameter("exact", true, reason));
        }
        None => exact(&g, &codes, k)?,
    };
    // Without a deviation a mean that was rounded would make a z-score infinite.
    let z = |p: usize| (count[p] as f64 - mean[p]) / known(deviation[p]);
    let zscore: Vec<f64> = (0..k * k).map(z).collect();
    let count: Vec<u32> = count.into_iter().map(|c| c as u32).collect();
    let square = |values: Values| Value::Array { shape: vec![k, k], values };
    let mut result: Map<Value> = Map::new();
    result.insert("zscore".into(), square(zscore.into()));
    result.insert("count".into(), square(count.into()));
    adata.uns.insert(format!("{key}_nhood_enrichment"), result.into());
    Ok(())
}

/// The spots of each slice.
fn slices(adata: &AnnData, key: &str) -> Result<Vec<Vec<u32>>> {
    let c = categories(adata, key)?;
    let mut all = vec![Vec::new(); c.categories.len()];
    for (i, &code) in c.codes.iter().enumerate() {
        let Ok(slice) = usize::try_from(code) else {
            let reason = format!("observation {i} has no slice; drop such first");
            return Err(Error::data(format!("obs[\"{key}\"]"), reason));
        };
        all[slice].push(i as u32);
    }
    Ok(all)
}

fn add_counts(g: &Csr<f64>, codes: &[u32], k: usize, count: &mut [u64]) {
    for r in 0..g.nrows {
        let row = &mut count[codes[r] as usize * k..][..k];
        for &c in &g.indices[g.indptr[r]..g.indptr[r + 1]] {
            row[codes[c as usize] as usize] += 1;
        }
    }
}

/// Mean and standard deviation (ddof 0) of the counts over permutations. Sums are of whole numbers,
/// so that the order of the permutations does not matter.
fn permute(
    g: &Csr<f64>,
    codes: &[u32],
    k: usize,
    slices: &[Vec<u32>],
    n_perms: usize,
    seed: u64,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let progress = Progress::new("neighbourhood enrichment", n_perms as u64);
    let total = Mutex::new((vec![0u64; k * k], vec![0u128; k * k], progress));
    const AT_ONCE: usize = 8;
    let starts: Vec<usize> = (0..n_perms).step_by(AT_ONCE).collect();
    starts.par_iter().try_for_each(|&start| {
        let mut all = Vec::with_capacity(AT_ONCE);
        let mut shuffled = codes.to_vec();
        for p in start..n_perms.min(start + AT_ONCE) {
            check_interrupt()?;
            let mut rng = Rng::new(rng::at(seed, p as u64));
            // Each permutation starts from the clusters themselves, so that it does not matter
            // which others a thread did before.
            for spots in slices {
                let mut of: Vec<u32> = spots.iter().map(|&i| codes[i as usize]).collect();
                rng.shuffle(&mut of);
                spots.iter().zip(of).for_each(|(&i, c)| shuffled[i as usize] = c);
            }
            let mut count = vec![0u64; k * k];
            add_counts(g, &shuffled, k, &mut count);
            all.push(count);
        }
        let mut total = total.lock().unwrap_or_else(|e| e.into_inner());
        for count in &all {
            for (p, &c) in count.iter().enumerate() {
                total.0[p] += c;
                total.1[p] += u128::from(c) * u128::from(c);
            }
        }
        total.2.tick(all.len() as u64)
    })?;
    let (sum, square, progress) = total.into_inner().unwrap_or_else(|e| e.into_inner());
    progress.finish();
    let n = n_perms as f64;
    let mean = sum.iter().map(|&s| s as f64 / n).collect();
    // n² times the variance is a whole number.
    let spread = |(&s, &q): (&u64, &u128)| {
        let whole = n_perms as u128 * q - u128::from(s) * u128::from(s);
        (whole as f64).sqrt() / n
    };
    Ok((mean, sum.iter().zip(&square).map(spread).collect()))
}

/// Mean and standard deviation of the counts over all permutations (join counts under
/// non-free sampling; Cliff and Ord, 1981, for directed graphs).
///
/// E[count] is the number of edges times the chance that two different spots have the two clusters.
/// E[count²] adds up pairs of edges by the spots they share: the same edge, the edge and its
/// reverse, a common start, a common end, one's end the other's start, or none.
fn exact(g: &Csr<f64>, codes: &[u32], k: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let n = g.nrows;
    let t = g.transpose();
    let mut reverse = 0usize;
    for r in 0..n {
        let row = &g.indices[g.indptr[r]..g.indptr[r + 1]];
        if row.binary_search(&(r as u32)).is_ok() {
            let reason = "has spots that are their own neighbours; exact moments are for graphs \
                          made without `set_diag`";
            return Err(Error::data("graph", reason));
        }
        let back = &t.indices[t.indptr[r]..t.indptr[r + 1]];
        reverse += row.iter().filter(|c| back.binary_search(c).is_ok()).count();
    }
    let out = |r: usize| (g.indptr[r + 1] - g.indptr[r]) as f64;
    let into = |r: usize| (t.indptr[r + 1] - t.indptr[r]) as f64;
    let sum = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>();
    let (edges, reverse) = (g.indices.len() as f64, reverse as f64);
    let start = sum(&|r| out(r) * out(r)) - edges;
    let end = sum(&|r| into(r) * into(r)) - edges;
    // Ordered pairs in which one edge ends where the other starts, either of them first.
    let chain = 2.0 * (sum(&|r| out(r) * into(r)) - reverse);
    let apart = edges * edges - edges - reverse - start - end - chain;

    let mut size = vec![0.0f64; k];
    codes.iter().for_each(|&c| size[c as usize] += 1.0);
    // x (x − 1) … of so many factors; 0 when the spots do not suffice.
    let falling = |x: f64, factors: usize| (0..factors).map(|i| x - i as f64).product::<f64>();
    let all = n as f64;
    let chance = |ways: f64, spots: usize| {
        if n >= spots { ways / falling(all, spots) } else { 0.0 }
    };
    let (mut mean, mut deviation) = (vec![0.0; k * k], vec![0.0; k * k]);
    for a in 0..k {
        for b in 0..k {
            let (x, y) = (size[a], size[b]);
            let (m, square) = if a == b {
                let two = chance(falling(x, 2), 2);
                let three = chance(falling(x, 3), 3);
                let four = chance(falling(x, 4), 4);
                let shared = (start + end + chain) * three;
                (edges * two, (edges + reverse) * two + shared + apart * four)
            } else {
                let two = chance(x * y, 2);
                let starts = chance(x * falling(y, 2), 3);
                let ends = chance(falling(x, 2) * y, 3);
                let four = chance(falling(x, 2) * falling(y, 2), 4);
                (edges * two, edges * two + start * starts + end * ends + apart * four)
            };
            mean[a * k + b] = m;
            // What is left of two large numbers that are equal is rounding.
            let variance = square - m * m;
            let certain = variance <= 1e-12 * square;
            deviation[a * k + b] = if certain { 0.0 } else { variance.sqrt() };
        }
    }
    Ok((mean, deviation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gr::sample::slide;
    use crate::gr::{SpatialNeighbors, spatial_neighbors};
    use crate::parallel::same_with_any_threads;

    fn get(a: &AnnData, what: &str) -> Vec<f64> {
        match a.uns["cluster_nhood_enrichment"].at(&[what]) {
            Some(Value::Array { values, .. }) => values.to_f64().into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn permutations_tend_to_the_exact_moments() {
        for graph in [SpatialNeighbors::grid(4), SpatialNeighbors::knn(5)] {
            let mut a = slide(12, 7);
            spatial_neighbors(&mut a, graph).unwrap();
            nhood_enrichment(&mut a, NhoodEnrichment::new("cluster").exact()).unwrap();
            let (z, count) = (get(&a, "zscore"), get(&a, "count"));
            assert!(z[0] > 5.0 && z[2] < -5.0, "{z:?}");
            let run = || {
                let mut a = a.clone();
                nhood_enrichment(&mut a, NhoodEnrichment::new("cluster").n_perms(4000)).unwrap();
                get(&a, "zscore")
            };
            let sim = same_with_any_threads(run);
            assert_eq!(count, get(&a, "count"));
            // The mean is off by 1/√4000 of a deviation and the deviation by 1/√8000: five times that.
            for (s, z) in sim.iter().zip(&z) {
                assert!((s - z).abs() < 5.0 * (1.0 / 63.0 + z.abs() / 89.0), "{s} is not {z}");
            }
        }
    }

    #[test]
    fn slices_are_shuffled_apart() {
        let mut a = slide(12, 7);
        let side: Vec<Option<&str>> =
            (0..84).map(|i| Some(if i % 12 < 4 { "left" } else { "right" })).collect();
        a.obs.insert("side", crate::anndata::Categorical::from_labels(&side)).unwrap();
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4).library_key("side")).unwrap();
        let options = NhoodEnrichment::new("cluster").library_key("side").n_perms(50);
        nhood_enrichment(&mut a, options).unwrap();
        let z = get(&a, "zscore");
        // Cluster a is the whole left slice: shuffling within slices changes none of its edges.
        assert!(z[0].is_nan() && z[1].is_nan() && z[4] > 3.0, "{z:?}");
        let e =
            nhood_enrichment(&mut a, NhoodEnrichment::new("cluster").library_key("side").exact());
        assert!(e.unwrap_err().to_string().contains("one slice"));
    }

    #[test]
    fn small_and_empty_clusters_are_defined() {
        let mut a = slide(6, 4);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        let codes = (0..24).map(|i| i32::from(i > 0)).collect();
        let categories = ["one", "rest", "none"].map(String::from).to_vec();
        let c = crate::anndata::Categorical { codes, categories, typed: None, ordered: false };
        a.obs.insert("cluster", c).unwrap();
        for o in [NhoodEnrichment::new("cluster"), NhoodEnrichment::new("cluster").exact()] {
            nhood_enrichment(&mut a, o).unwrap();
            let z = get(&a, "zscore");
            assert!(z[0].is_nan() && z[1].is_finite() && z[8].is_nan(), "{z:?}");
        }
        // Where everybody is everybody's neighbour, it does not matter who is where.
        spatial_neighbors(&mut a, SpatialNeighbors::knn(23)).unwrap();
        for o in [NhoodEnrichment::new("cluster"), NhoodEnrichment::new("cluster").exact()] {
            nhood_enrichment(&mut a, o).unwrap();
            assert_eq!(get(&a, "count")[..5], [0.0, 23.0, 0.0, 23.0, 506.0]);
            assert!(get(&a, "zscore").iter().all(|z| z.is_nan()), "{:?}", get(&a, "zscore"));
        }
    }

    #[test]
    fn bad_input_is_named() {
        let mut a = slide(6, 4);
        let run = |a: &mut AnnData, o| nhood_enrichment(a, o).unwrap_err().to_string();
        let e = run(&mut a, NhoodEnrichment::new("cluster"));
        assert!(e.contains("Run `gr::spatial_neighbors` first"), "{e}");
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4).set_diag(true)).unwrap();
        assert!(run(&mut a, NhoodEnrichment::new("cluster").exact()).contains("set_diag"));
        for n in [0, 1] {
            let e = run(&mut a, NhoodEnrichment::new("cluster").n_perms(n));
            assert!(e.contains(&format!("n_perms = {n}")) && e.contains("at least 2"), "{e}");
        }
        assert!(run(&mut a, NhoodEnrichment::new("kind")).contains("obs has no column `kind`"));
        let e = run(&mut a, NhoodEnrichment::new("cluster").library_key("slice"));
        assert!(e.contains("obs has no column `slice`"), "{e}");
        let e = run(&mut a, NhoodEnrichment::new("cluster").library_key("partly"));
        assert!(e.contains("observation 0 has no slice"), "{e}");
        assert!(run(&mut a, NhoodEnrichment::new("partly")).contains("have no category"));
        a.obs.insert("all", vec!["x"; 24].iter().map(|_| true).collect::<Vec<bool>>()).unwrap();
        assert!(run(&mut a, NhoodEnrichment::new("all")).contains("at least 2"));
    }
}
