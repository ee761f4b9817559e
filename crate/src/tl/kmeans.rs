//! k-means clustering.

use super::lloyd::{Run, lloyd, plus_plus};
use crate::anndata::{AnnData, Categorical};
use crate::error::{Error, Result};
use crate::linalg::{PcaSolver, Real, pca};
use crate::rng::Rng;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

/// Options of k-means; [`KMeans::fit`] clusters an array, [`kmeans`] an [`AnnData`].
///
/// The algorithm is that of `sklearn.cluster.KMeans`: greedy k-means++ starts, Lloyd's iteration,
/// the best of several runs. The starts are drawn from our own generator, so that labels agree with
/// scikit-learn's as far as both find the same optimum. The same seed gives the same bits,
/// whatever the number of threads.
///
/// ```
/// use spatialkit::{ndarray::array, tl::KMeans};
/// let x = array![[0.0, 0.1], [0.2, 0.0], [9.0, 9.1], [9.2, 9.0]];
/// let fit = KMeans::new(2).seed(1).fit(x.view())?;
/// assert_eq!(fit.labels[0], fit.labels[1]);
/// assert_ne!(fit.labels[0], fit.labels[2]);
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    n_clusters: usize,
    n_init: usize,
    max_iter: usize,
    tol: f64,
    seed: u64,
    use_rep: String,
    key_added: String,
}

/// What k-means found.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeansFit {
    /// The cluster of each row, from 0. Fewer clusters occur than were asked for where fewer rows
    /// are distinct.
    pub labels: Vec<usize>,
    /// The centres of the clusters, n_clusters × d; that of a cluster without rows is the one of
    /// the largest.
    pub centers: Array2<f64>,
    /// Sum of the squared distances of the rows to their centres.
    pub inertia: f64,
    /// Rounds of Lloyd's iteration in the best run.
    pub n_iter: usize,
}

impl KMeans {
    /// k-means with `n_clusters` clusters.
    pub fn new(n_clusters: usize) -> Self {
        KMeans {
            n_clusters,
            n_init: 10,
            max_iter: 300,
            tol: 1e-4,
            seed: 0,
            use_rep: "X_pca".into(),
            key_added: "kmeans".into(),
        }
    }

    /// Runs from different starts, of which the one of the lowest inertia is kept. Default: 10, as
    /// in scikit-learn before 1.4.
    pub fn n_init(mut self, n: usize) -> Self {
        self.n_init = n;
        self
    }

    /// Rounds of Lloyd's iteration at most. Default: 300.
    pub fn max_iter(mut self, n: usize) -> Self {
        self.max_iter = n;
        self
    }

    /// A run ends when the centres move by less than this part of the mean variance of the columns
    /// (in total squared distance). Default: 1e-4.
    pub fn tol(mut self, tol: f64) -> Self {
        self.tol = tol;
        self
    }

    /// Seed of the starts. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// For [`kmeans`]: which entry of `obsm` to cluster. Default: `X_pca`.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = key.into();
        self
    }

    /// For [`kmeans`]: the column of `obs` to write. Default: `kmeans`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// Clusters the rows of `x` (n × d). Computed in `f64`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when `n_clusters` is 0 or above n, or another option is out of range;
    /// [`Error::Data`] when an element is not finite.
    pub fn fit<T: Real>(&self, x: ArrayView2<T>) -> Result<KMeansFit> {
        let (n, k) = (x.nrows(), self.n_clusters);
        if k == 0 || k > n {
            let reason = format!("must be between 1 and the number of observations, {n}");
            return Err(Error::parameter("n_clusters", k, reason));
        }
        if self.n_init == 0 || self.max_iter == 0 {
            let name = if self.n_init == 0 { "n_init" } else { "max_iter" };
            return Err(Error::parameter(name, 0, "must be at least 1"));
        }
        if self.tol.is_nan() || self.tol < 0.0 {
            return Err(Error::parameter("tol", self.tol, "must not be negative"));
        }
        let mut x = Array2::from_shape_fn(x.dim(), |at| x[at].as_f64());
        if let Some(row) = x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
            let reason = format!("row {row} holds NaN or infinity; drop such observations first");
            return Err(Error::data("data to cluster", reason));
        }
        let mean = x.mean_axis(Axis(0)).expect("there are rows");
        x -= &mean;
        let variance = x.iter().map(|v| v * v).sum::<f64>() / x.len().max(1) as f64;
        let one = |run: usize| {
            let mut rng = Rng::stream(self.seed, &format!("kmeans {run}"));
            let centers = plus_plus(x.view(), k, &mut rng);
            lloyd(x.view(), centers, self.max_iter, self.tol * variance)
        };
        let runs: Vec<Run> = (0..self.n_init).into_par_iter().map(one).collect();
        let best = runs.into_iter().reduce(|a, b| if b.inertia < a.inertia { b } else { a });
        let Run { labels, mut centers, inertia, n_iter } = best.expect("there is a run");
        centers += &mean;
        Ok(KMeansFit { labels, centers, inertia, n_iter })
    }
}

/// Clusters the observations by k-means on `obsm[use_rep]`.
///
/// Writes `obs[key_added]`: categories `0`, `1`, ….
///
/// # Errors
/// [`Error::MissingKey`] without the entry, and those of [`KMeans::fit`].
pub fn kmeans(adata: &mut AnnData, options: KMeans) -> Result<KMeansFit> {
    let x = adata.obsm(&options.use_rep)?.to_array_f64();
    let fit = options.fit(x.view())?;
    adata.obs.insert(&options.key_added, Categorical::from_numbers(&fit.labels))?;
    Ok(fit)
}

/// Clusters the rows of an embedding (n × d) as STAMGC does: principal components, at most 20 of
/// them, then k-means. Labels run from 1 to `n_clusters`; some of them do not occur where fewer
/// rows are distinct.
///
/// # Errors
/// [`Error::Parameter`] when `n_clusters` is 0 or above n, [`Error::Data`] with fewer than two rows
/// or an element that is not finite.
pub fn cluster_embedding<T: Real>(
    x: ArrayView2<T>,
    n_clusters: usize,
    seed: u64,
) -> Result<Vec<usize>> {
    let components = 20.min(x.nrows()).min(x.ncols());
    let scores = pca(x, components, PcaSolver::Auto, seed)?.scores;
    let fit = KMeans::new(n_clusters).seed(seed).fit(scores.view())?;
    Ok(fit.labels.into_iter().map(|l| l + 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Frame;
    use crate::parallel::same_with_any_threads;
    use crate::tl;

    /// Three clouds of `n` points.
    fn clouds(n: usize) -> (Array2<f32>, Vec<usize>) {
        let mut rng = Rng::new(1);
        let truth: Vec<usize> = (0..3 * n).map(|i| i % 3).collect();
        let x = Array2::from_shape_fn((3 * n, 5), |(i, j)| {
            (rng.normal() + if j == truth[i] { 9.0 } else { 0.0 }) as f32
        });
        (x, truth)
    }

    #[test]
    fn clouds_are_found_with_the_same_bits_on_any_threads() {
        let (x, truth) = clouds(700);
        let fit = same_with_any_threads(|| KMeans::new(3).seed(5).fit(x.view()).unwrap());
        assert_eq!(tl::ari(&fit.labels, &truth).unwrap(), 1.0);
        let centers = fit.centers.mapv(|v| v.round() as i64);
        assert!(centers.rows().into_iter().all(|r| r.sum() == 9));
        let labels = same_with_any_threads(|| cluster_embedding(x.view(), 3, 5).unwrap());
        assert_eq!(tl::ari(&labels, &truth).unwrap(), 1.0);
        assert_eq!(labels.iter().min(), Some(&1));
    }

    #[test]
    fn labels_are_written_as_categories() {
        let (x, truth) = clouds(10);
        let mut adata = AnnData::new(x.clone(), Frame::with_len(30), Frame::with_len(5)).unwrap();
        let e = kmeans(&mut adata, KMeans::new(3)).unwrap_err().to_string();
        assert!(e.contains("obsm has no entry `X_pca`"), "{e}");
        adata.obsm.insert("X_pca".into(), x.into());
        kmeans(&mut adata, KMeans::new(3).key_added("domain")).unwrap();
        let found = adata.obs_column("domain").unwrap();
        assert_eq!(tl::ari(found, &truth).unwrap(), 1.0);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let (mut x, _) = clouds(2);
        for k in [0, 7] {
            let e = KMeans::new(k).fit(x.view()).unwrap_err().to_string();
            assert!(e.contains("between 1 and the number of observations, 6"), "{e}");
        }
        assert!(KMeans::new(2).n_init(0).fit(x.view()).is_err());
        assert!(KMeans::new(2).tol(f64::NAN).fit(x.view()).is_err());
        x[[3, 1]] = f32::INFINITY;
        assert!(KMeans::new(2).fit(x.view()).unwrap_err().to_string().contains("row 3"));
        assert!(cluster_embedding(x.view(), 2, 0).is_err());
    }

    #[test]
    fn one_cluster_as_many_as_rows_and_more_than_distinct_rows() {
        let (x, _) = clouds(2);
        assert!(KMeans::new(1).fit(x.view()).unwrap().labels.iter().all(|&l| l == 0));
        assert!(KMeans::new(6).fit(x.view()).unwrap().inertia < 1e-9);
        // Two distinct rows are no three clusters; each centre is one of the rows.
        let x = ndarray::array![[1.0, 5.0], [1.0, 5.0], [2.0, 7.0]];
        let fit = KMeans::new(3).fit(x.view()).unwrap();
        assert!(fit.labels[0] == fit.labels[1] && fit.labels[0] != fit.labels[2]);
        let is = |c: ndarray::ArrayView1<f64>, i: usize| {
            (&c - &x.row(i)).iter().all(|d| d.abs() < 1e-12)
        };
        assert!(fit.centers.rows().into_iter().all(|c| is(c, 0) || is(c, 2)), "{}", fit.centers);
        let same = Array2::<f32>::from_elem((4, 3), 3.0);
        assert_eq!(cluster_embedding(same.view(), 2, 0).unwrap(), [1; 4]);
    }
}
