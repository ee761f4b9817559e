//! Gaussian mixtures as the R package mclust fits them: [`Mclust`]. The hierarchical start is in
//! `hc`, expectation and maximisation in `em`.

mod em;
mod hc;

use crate::anndata::{AnnData, Categorical, Frame, Value};
use crate::error::{Error, Result};
use crate::linalg::Real;
use crate::rng::Rng;
use em::{Mixture, fit_em};
use hc::Tree;
use ndarray::{Array2, ArrayView2, Axis};
use std::ops::RangeInclusive;

/// What the covariances of the components of a mixture have in common; the names are mclust's
/// (Fraley and Raftery, 2002).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covariance {
    /// λI: equal spheres.
    Eii,
    /// λₖI: spheres.
    Vii,
    /// Equal ellipsoids along the axes.
    Eei,
    /// Ellipsoids along the axes.
    Vvi,
    /// Equal ellipsoids.
    Eee,
    /// Ellipsoids.
    Vvv,
}

impl Covariance {
    const ALL: [(&'static str, Covariance); 6] = [
        ("EII", Covariance::Eii),
        ("VII", Covariance::Vii),
        ("EEI", Covariance::Eei),
        ("VVI", Covariance::Vvi),
        ("EEE", Covariance::Eee),
        ("VVV", Covariance::Vvv),
    ];

    /// mclust's name.
    pub fn name(self) -> &'static str {
        Covariance::ALL.iter().find(|(_, c)| *c == self).expect("all are listed").0
    }

    fn parse(name: &str) -> Result<Covariance> {
        let found = Covariance::ALL.iter().find(|(n, _)| *n == name);
        found.map(|(_, c)| *c).ok_or_else(|| {
            let names = Covariance::ALL.map(|(n, _)| n).join(", ");
            Error::parameter("model", name, format!("is none of {names}"))
        })
    }

    /// Free parameters of the covariances.
    fn parameters(self, groups: usize, d: usize) -> usize {
        match self {
            Covariance::Eii => 1,
            Covariance::Vii => groups,
            Covariance::Eei => d,
            Covariance::Vvi => groups * d,
            Covariance::Eee => d * (d + 1) / 2,
            Covariance::Vvv => groups * d * (d + 1) / 2,
        }
    }
}

/// Options of Gaussian mixtures; [`Mclust::fit`] clusters an array, [`mclust`] an [`AnnData`].
///
/// As R's `Mclust(x, G, modelNames)`: the start is a tree of agglomerative clustering by the
/// likelihood of the model VVV, on the data standardised and turned by their singular value
/// decomposition; then expectation and maximisation until the likelihood moves by less than a part
/// of 1e-5. Matches mclust 6.0.0 (model EEE): classification equal, likelihood within 1e-7,
/// parameters within 1e-5. With more than 2,000 rows the tree is one of 2,000 of them, as in R; ours
/// are drawn by our own generator from `seed`, so that a fit equals R's only as far as both starts
/// lead to the same optimum. The same seed gives the same bits for any number of threads.
///
/// ```
/// use spatialkit::{ndarray::Array2, rng::Rng, tl::Mclust};
/// let mut rng = Rng::new(1);
/// let x = Array2::from_shape_fn((60, 2), |(i, _)| rng.normal() + if i < 30 { 0.0 } else { 9.0 });
/// let fit = Mclust::new(2).fit(x.view())?;
/// assert_eq!(fit.classification[0], 1);
/// assert_eq!(fit.classification[59], 2);
/// # Ok::<(), spatialkit::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Mclust {
    n_components: usize,
    model: String,
    tol: f64,
    max_iter: usize,
    subset: usize,
    seed: u64,
    use_rep: String,
    key_added: String,
}

/// A fitted mixture of G Gaussians in d dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct MclustFit {
    /// The most probable component of each row, from 1 as R counts.
    pub classification: Vec<usize>,
    /// The probability of each component (column) for each row, n × G.
    pub z: Array2<f64>,
    /// The weights of the components.
    pub weights: Vec<f64>,
    /// Their means, G × d.
    pub means: Array2<f64>,
    /// Their covariances, d × d each: one where all share it, else G.
    pub covariances: Vec<Array2<f64>>,
    /// The logarithm of the likelihood.
    pub log_likelihood: f64,
    /// 2 log-likelihood − df log n; larger is better.
    pub bic: f64,
    /// Free parameters.
    pub df: usize,
    /// Rounds of expectation and maximisation.
    pub n_iter: usize,
}

impl MclustFit {
    /// 1 minus the probability of the component that each row is put into.
    pub fn uncertainty(&self) -> Vec<f64> {
        let most = |r: ndarray::ArrayView1<f64>| r.iter().copied().fold(0.0, f64::max);
        self.z.rows().into_iter().map(|r| 1.0 - most(r)).collect()
    }
}

impl Mclust {
    /// A mixture of that many components, of the model EEE.
    pub fn new(n_components: usize) -> Self {
        Mclust {
            n_components,
            model: "EEE".into(),
            tol: 1e-5,
            max_iter: 10_000,
            subset: 2000,
            seed: 0,
            use_rep: "X_pca".into(),
            key_added: "mclust".into(),
        }
    }

    /// mclust's name of the model: `EII`, `VII`, `EEI`, `VVI`, `EEE`, `VVV`. Default: `EEE`.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// A fit ends when the log-likelihood ℓ moves by less than this part of 1 + |ℓ|. Default: 1e-5.
    pub fn tol(mut self, tol: f64) -> Self {
        self.tol = tol;
        self
    }

    /// Rounds of expectation and maximisation at most. Default: 10,000.
    pub fn max_iter(mut self, n: usize) -> Self {
        self.max_iter = n;
        self
    }

    /// Rows that the tree is made of at most; the memory it takes grows with their square. Default:
    /// 2,000 (16 MB), as in R.
    pub fn subset(mut self, n: usize) -> Self {
        self.subset = n;
        self
    }

    /// Seed of the choice of those rows. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// For [`mclust`]: which entry of `obsm` to cluster. Default: `X_pca`.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = key.into();
        self
    }

    /// For [`mclust`]: the column of `obs` to write. Default: `mclust`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// Clusters the rows of `x` (n × d). Computed in `f64`.
    ///
    /// # Errors
    /// [`Error::Parameter`] when the number of components is 0 or not below n, or another option is
    /// out of range; [`Error::Data`] when an element is not finite, or a covariance becomes singular
    /// (constant or dependent columns, fewer rows in a component than columns).
    pub fn fit<T: Real>(&self, x: ArrayView2<T>) -> Result<MclustFit> {
        let model = self.check(x.nrows(), self.n_components)?;
        let x = finite(x)?;
        let start = Start::new(self, &x, self.n_components)?;
        start.fit(self, &x, self.n_components, model)
    }

    fn check(&self, n: usize, groups: usize) -> Result<Covariance> {
        if groups == 0 || groups >= n {
            let reason = format!("must be at least 1 and below the number of observations, {n}");
            return Err(Error::parameter("n_components", groups, reason));
        }
        if self.tol.is_nan() || self.tol < 0.0 {
            return Err(Error::parameter("tol", self.tol, "must not be negative"));
        }
        if self.max_iter == 0 {
            return Err(Error::parameter("max_iter", 0, "must be at least 1"));
        }
        if self.subset.min(n) < groups {
            let reason = format!("must be at least the number of components, {groups}");
            return Err(Error::parameter("subset", self.subset, reason));
        }
        Covariance::parse(&self.model)
    }
}

fn finite<T: Real>(x: ArrayView2<T>) -> Result<Array2<f64>> {
    let x = Array2::from_shape_fn(x.dim(), |at| x[at].as_f64());
    if let Some(row) = x.rows().into_iter().position(|r| r.iter().any(|v| !v.is_finite())) {
        let reason = format!("row {row} holds NaN or infinity; drop such observations first");
        return Err(Error::data("data to cluster", reason));
    }
    if x.ncols() == 0 {
        return Err(Error::data("data to cluster", "have no columns"));
    }
    Ok(x)
}

/// The rows that the tree is made of, and the tree (none where one component needs none).
struct Start {
    rows: Vec<usize>,
    tree: Option<Tree>,
}

impl Start {
    fn new(options: &Mclust, x: &Array2<f64>, most: usize) -> Result<Start> {
        let n = x.nrows();
        let mut rows: Vec<usize> = (0..n).collect();
        if n > options.subset {
            Rng::stream(options.seed, "mclust subset").shuffle(&mut rows);
            rows.truncate(options.subset);
            rows.sort_unstable();
        }
        if most == 1 {
            hc::moments(x)?;
            return Ok(Start { rows, tree: None });
        }
        let chosen = x.select(Axis(0), &rows);
        let tree = Some(Tree::grow(hc::transform(chosen)?)?);
        Ok(Start { rows, tree })
    }

    fn fit(
        &self,
        options: &Mclust,
        x: &Array2<f64>,
        groups: usize,
        model: Covariance,
    ) -> Result<MclustFit> {
        let labels = match &self.tree {
            Some(tree) if groups > 1 => tree.cut(groups),
            _ => vec![0; self.rows.len()],
        };
        let mut z = Array2::zeros((self.rows.len(), groups));
        labels.iter().enumerate().for_each(|(i, &l)| z[[i, l]] = 1.0);
        // The components of the subset give the first probabilities of all rows.
        let first = if self.rows.len() < x.nrows() {
            Mixture::maximise(&x.select(Axis(0), &self.rows), &z, model)?.expect(x)?.0
        } else {
            z
        };
        let (mixture, z, log_likelihood, n_iter) =
            fit_em(x, first, model, options.tol, options.max_iter)?;
        let (n, d) = x.dim();
        let df = groups - 1 + groups * d + model.parameters(groups, d);
        let best = |r: ndarray::ArrayView1<f64>| {
            // The first of equals.
            let mut best = 0;
            (1..r.len()).for_each(|k| {
                if r[k] > r[best] {
                    best = k
                }
            });
            best + 1
        };
        Ok(MclustFit {
            classification: z.rows().into_iter().map(best).collect(),
            weights: mixture.weights,
            means: mixture.means,
            covariances: mixture.covariances,
            bic: 2.0 * log_likelihood - df as f64 * (n as f64).ln(),
            log_likelihood,
            df,
            n_iter,
            z,
        })
    }
}

/// Clusters the observations by a Gaussian mixture on `obsm[use_rep]`.
///
/// Writes `obs[key_added]`: categories `1`, `2`, …; and `uns[key_added]`: `model`, `n_components`,
/// `loglik`, `bic`, `df`.
///
/// # Errors
/// [`Error::MissingKey`] without the entry, and those of [`Mclust::fit`].
pub fn mclust(adata: &mut AnnData, options: Mclust) -> Result<MclustFit> {
    let fit = options.fit(adata.obsm(&options.use_rep)?.to_array_f64().view())?;
    adata.obs.insert(&options.key_added, Categorical::from_numbers(&fit.classification))?;
    let entry: crate::anndata::Map<Value> = [
        ("model".to_string(), Value::from(options.model)),
        ("n_components".to_string(), Value::int(options.n_components as i64)),
        ("loglik".to_string(), Value::float(fit.log_likelihood)),
        ("bic".to_string(), Value::float(fit.bic)),
        ("df".to_string(), Value::int(fit.df as i64)),
    ]
    .into();
    adata.uns.insert(options.key_added, entry.into());
    Ok(fit)
}

/// Fits mixtures of every number of components in `groups`, with the other options of `options`, from
/// one tree; the number with the largest BIC is the one to choose.
///
/// Columns of the table: `n_components`, `bic`, `loglik`, `df`. NaN where a covariance became
/// singular, as in R.
///
/// # Errors
/// As [`Mclust::fit`]; [`Error::Parameter`] for an empty range.
pub fn mclust_bic<T: Real>(
    x: ArrayView2<T>,
    groups: RangeInclusive<usize>,
    options: Mclust,
) -> Result<Frame> {
    let range = format!("{}..={}", groups.start(), groups.end());
    if groups.is_empty() {
        return Err(Error::parameter("groups", range, "is empty"));
    }
    options.check(x.nrows(), *groups.start())?;
    let model = options.check(x.nrows(), *groups.end())?;
    let x = finite(x)?;
    let start = Start::new(&options, &x, *groups.end())?;
    let (mut numbers, mut columns) = (Vec::new(), [vec![], vec![], vec![]]);
    for g in groups {
        let [bic, log_likelihood, df] = &mut columns;
        let d = x.ncols();
        numbers.push(g as i64);
        df.push((g - 1 + g * d + model.parameters(g, d)) as f64);
        let fit = match start.fit(&options, &x, g, model) {
            Ok(fit) => (fit.bic, fit.log_likelihood),
            Err(Error::Data { .. }) => (f64::NAN, f64::NAN),
            Err(e) => return Err(e),
        };
        bic.push(fit.0);
        log_likelihood.push(fit.1);
    }
    let mut table = Frame::with_len(numbers.len());
    table.insert("n_components", numbers)?;
    for (name, column) in ["bic", "loglik", "df"].into_iter().zip(columns) {
        table.insert(name, column)?;
    }
    Ok(table)
}

/// What the golden tests look at: the start of a fit and its likelihood after each round.
#[doc(hidden)]
pub fn mclust_trace(
    x: ArrayView2<f64>,
    options: &Mclust,
    rounds: usize,
) -> Result<(Vec<usize>, Vec<f64>)> {
    let model = options.check(x.nrows(), options.n_components)?;
    let x = finite(x)?;
    let start = Start::new(options, &x, options.n_components)?;
    let labels = start.tree.as_ref().map(|t| t.cut(options.n_components)).unwrap_or_default();
    let mut z = Array2::zeros((x.nrows(), options.n_components));
    labels.iter().enumerate().for_each(|(i, &l)| z[[i, l]] = 1.0);
    let mut trace = Vec::new();
    for _ in 0..rounds {
        let (next, log_likelihood) = Mixture::maximise(&x, &z, model)?.expect(&x)?;
        z = next;
        trace.push(log_likelihood);
    }
    Ok((labels, trace))
}

#[cfg(test)]
mod tests;
