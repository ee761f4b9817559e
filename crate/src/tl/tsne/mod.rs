//! t-SNE (van der Maaten and Hinton, 2008) by Barnes and Hut's approximation.
//!
//! Similarities of the data are in `affinity`, the repulsion between all pairs in `repulsion`; here
//! are the descent, the options, and what is read and written.

mod affinity;
mod repulsion;

use super::graph::{finite, representation};
use crate::anndata::{AnnData, Map, Value};
use crate::error::{Error, Result};
use crate::linalg::{Csr, PcaSolver, pca};
use crate::progress::Progress;
use crate::rng::Rng;
use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use repulsion::repulsion;

/// Options of [`tsne`]; [`Tsne::fit`] embeds an array.
#[derive(Debug, Clone, PartialEq)]
pub struct Tsne {
    perplexity: f64,
    n_pcs: Option<usize>,
    use_rep: Option<String>,
    early_exaggeration: f64,
    learning_rate: Option<f64>,
    max_iter: usize,
    angle: f64,
    random_init: bool,
    seed: u64,
    key_added: Option<String>,
}

impl Default for Tsne {
    fn default() -> Self {
        Tsne {
            perplexity: 30.0,
            n_pcs: None,
            use_rep: None,
            early_exaggeration: 12.0,
            learning_rate: Some(1000.0),
            max_iter: 1000,
            angle: 0.5,
            random_init: false,
            seed: 0,
            key_added: None,
        }
    }
}

impl Tsne {
    /// How many neighbours count, softly; three times as many are looked at. Default: 30.
    pub fn perplexity(mut self, perplexity: f64) -> Self {
        self.perplexity = perplexity;
        self
    }

    /// How many columns of the representation to use. Default: all.
    pub fn n_pcs(mut self, n: usize) -> Self {
        self.n_pcs = Some(n);
        self
    }

    /// The representation: a key of `obsm`, or `X`. Default: X where it has at most 50 genes, else
    /// `X_pca`.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = Some(key.into());
        self
    }

    /// How much stronger the attraction is in the first 250 iterations. Default: 12.
    pub fn early_exaggeration(mut self, factor: f64) -> Self {
        self.early_exaggeration = factor;
        self
    }

    /// Step of the descent. Default: 1000, as scanpy.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.learning_rate = Some(rate);
        self
    }

    /// The learning rate n / early_exaggeration / 4, at least 50: scikit-learn's `auto`.
    pub fn auto_learning_rate(mut self) -> Self {
        self.learning_rate = None;
        self
    }

    /// Iterations, the 250 with exaggeration included. Default: 1000.
    pub fn max_iter(mut self, n: usize) -> Self {
        self.max_iter = n;
        self
    }

    /// A group of points counts as one when its width is below this part of its distance; 0
    /// computes all pairs. Default: 0.5.
    pub fn angle(mut self, angle: f64) -> Self {
        self.angle = angle;
        self
    }

    /// Start at random instead of at the first two principal components.
    pub fn random_init(mut self) -> Self {
        self.random_init = true;
        self
    }

    /// Seed of a random start. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Key of `obsm` and of `uns` to write. Default: `X_tsne` and `tsne`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }

    fn check(&self, n: usize) -> Result<()> {
        if n < 2 {
            let reason = format!("need at least 2 cells, found {n}");
            return Err(Error::data("t-SNE", reason));
        }
        if !(self.perplexity >= 1.0 && self.perplexity < n as f64) {
            let reason = format!("must be at least 1 and below the number of cells, {n}");
            return Err(Error::parameter("perplexity", self.perplexity, reason));
        }
        if !self.early_exaggeration.is_finite() || self.early_exaggeration < 1.0 {
            let reason = "must be at least 1";
            return Err(Error::parameter("early_exaggeration", self.early_exaggeration, reason));
        }
        match self.learning_rate {
            Some(rate) if !rate.is_finite() || rate <= 0.0 => {
                return Err(Error::parameter("learning_rate", rate, "must be above 0"));
            }
            _ => {}
        }
        if !(0.0..=1.0).contains(&self.angle) {
            return Err(Error::parameter("angle", self.angle, "must be between 0 and 1"));
        }
        if self.max_iter < EXPLORATION {
            let reason = format!("must be at least {EXPLORATION}");
            return Err(Error::parameter("max_iter", self.max_iter, reason));
        }
        Ok(())
    }

    /// Embeds the rows of `x` (n × d) in the plane.
    ///
    /// # Errors
    /// [`Error::Parameter`] when an option is out of range; [`Error::Data`] with fewer than two
    /// rows or an element that is not finite; [`Error::Interrupted`].
    pub fn fit(&self, x: ArrayView2<f64>) -> Result<TsneFit> {
        let n = x.nrows();
        self.check(n)?;
        let x = finite(x.to_owned(), "data to embed")?;
        let mut progress = Progress::new("t-SNE", self.max_iter as u64);
        progress.message("neighbours");
        let neighbours = (n - 1).min((3.0 * self.perplexity + 1.0) as usize);
        let p = affinity::joint(x.view(), neighbours, self.perplexity)?;
        progress.message("");
        let mut descent = Descent::new(self.start(x.view())?);
        drop(x);
        let auto = || (n as f64 / self.early_exaggeration / 4.0).max(50.0);
        let rate = self.learning_rate.unwrap_or_else(auto) as f32;
        let angle = self.angle as f32;
        let mut kl = f64::NAN;
        let (mut best, mut best_at) = (f64::INFINITY, 0);
        let mut iteration = 0;
        while iteration < self.max_iter {
            let exploring = iteration < EXPLORATION;
            if iteration == EXPLORATION {
                descent.rest();
                (best, best_at) = (f64::INFINITY, iteration);
            }
            let factor = if exploring { self.early_exaggeration } else { 1.0 };
            let momentum = if exploring { 0.5 } else { 0.8 };
            let look = (iteration + 1).is_multiple_of(CHECK) || iteration + 1 == self.max_iter;
            let (norm, cost) = descent.step(&p, factor, rate, momentum, angle, look);
            iteration += 1;
            progress.tick(1)?;
            if look {
                kl = cost;
                progress.metric("KL divergence", kl);
                if kl < best {
                    (best, best_at) = (kl, iteration);
                } else if !exploring && iteration - best_at > PATIENCE {
                    break;
                }
                if norm <= LEAST_GRADIENT {
                    if exploring {
                        iteration = EXPLORATION;
                        continue;
                    }
                    break;
                }
            }
        }
        progress.finish();
        let embedding = Array2::from_shape_fn((n, 2), |(i, d)| descent.y[i][d]);
        Ok(TsneFit { embedding, kl_divergence: kl, n_iter: iteration })
    }

    fn start(&self, x: ArrayView2<f64>) -> Result<Vec<[f32; 2]>> {
        let n = x.nrows();
        let mut rng = Rng::stream(self.seed, "tsne start");
        if self.random_init {
            return Ok((0..n).map(|_| [0, 1].map(|_| 1e-4 * rng.normal() as f32)).collect());
        }
        let components = 2.min(x.ncols()).min(n);
        let scores = pca(x, components, PcaSolver::Auto, self.seed)?.scores;
        let spread = scores.std_axis(Axis(0), 0.0)[0];
        // Points that are all equal have no components to start from.
        let noise = if spread > 0.0 { 0.0 } else { 1e-4 };
        let scale = if spread > 0.0 { 1e-4 / spread } else { 0.0 };
        let at = |i: usize, d: usize| if d < components { scale * scores[[i, d]] } else { 0.0 };
        Ok((0..n).map(|i| [0, 1].map(|d| (at(i, d) + noise * rng.normal()) as f32)).collect())
    }
}

/// Iterations with exaggeration.
const EXPLORATION: usize = 250;
/// How often the divergence is looked at.
const CHECK: usize = 50;
/// Iterations without progress after which the descent ends.
const PATIENCE: usize = 300;
/// Length of the gradient at which it ends.
const LEAST_GRADIENT: f64 = 1e-7;

/// What [`tsne`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct TsneFit {
    /// The points in the plane, n × 2.
    pub embedding: Array2<f32>,
    /// The Kullback–Leibler divergence that was reached.
    pub kl_divergence: f64,
    /// Iterations that were run.
    pub n_iter: usize,
}

/// Gradient descent with momentum and a gain for each coordinate.
struct Descent {
    y: Vec<[f32; 2]>,
    update: Vec<[f32; 2]>,
    gain: Vec<[f32; 2]>,
}

impl Descent {
    fn new(y: Vec<[f32; 2]>) -> Self {
        let n = y.len();
        Descent { y, update: vec![[0.0; 2]; n], gain: vec![[1.0; 2]; n] }
    }

    /// Forgets momentum and gains.
    fn rest(&mut self) {
        self.update.fill([0.0; 2]);
        self.gain.fill([1.0; 2]);
    }

    /// Moves all points; returns the length of the gradient and, if asked, the divergence (of the
    /// exaggerated probabilities, if they are).
    fn step(
        &mut self,
        p: &Csr<f32>,
        factor: f64,
        rate: f32,
        momentum: f32,
        angle: f32,
        look: bool,
    ) -> (f64, f64) {
        let repelled = repulsion(&self.y, angle);
        let z = repelled.total.max(f64::MIN_POSITIVE);
        let (pull, push) = (4.0 * factor as f32, (4.0 / z) as f32);
        let y = &self.y;
        let attraction: Vec<([f32; 2], f64)> = (0..y.len())
            .into_par_iter()
            .with_min_len(64)
            .map(|i| {
                let (mut f, mut cost) = ([0f32; 2], 0.0);
                let range = p.indptr[i]..p.indptr[i + 1];
                for (&j, &p) in p.indices[range.clone()].iter().zip(&p.values[range]) {
                    let other = y[j as usize];
                    let d = [y[i][0] - other[0], y[i][1] - other[1]];
                    let q = 1.0 / (1.0 + d[0] * d[0] + d[1] * d[1]);
                    f = [f[0] + p * q * d[0], f[1] + p * q * d[1]];
                    if look && p > 0.0 {
                        let p = factor * f64::from(p);
                        cost += p * (p / (f64::from(q) / z).max(f64::MIN_POSITIVE)).ln();
                    }
                }
                (f, cost)
            })
            .collect();
        let cost = attraction.iter().map(|a| a.1).sum();
        let rows = self.y.par_iter_mut().zip(&mut self.update).zip(&mut self.gain);
        let lengths: Vec<f64> = rows
            .zip(&attraction)
            .zip(&repelled.force)
            .with_min_len(1024)
            .map(|((((y, update), gain), (attract, _)), repel)| {
                let mut length = 0.0;
                for d in 0..2 {
                    let gradient = pull * attract[d] - push * repel[d];
                    // A gain grows as long as the step goes on downhill.
                    let downhill = update[d] * gradient < 0.0;
                    gain[d] = (if downhill { gain[d] + 0.2 } else { gain[d] * 0.8 }).max(0.01);
                    let gradient = gradient * gain[d];
                    length += f64::from(gradient).powi(2);
                    update[d] = momentum * update[d] - rate * gradient;
                    y[d] += update[d];
                }
                length
            })
            .collect();
        (lengths.iter().sum::<f64>().sqrt(), cost)
    }
}

/// Embeds the cells in the plane by t-SNE of a representation.
///
/// The steps are those of `scanpy.tl.tsne` 1.11.5 with scikit-learn 1.9: exact neighbours, the same
/// probabilities, start, schedule of descent and stopping; the divergence reached is within a few
/// percent of theirs, and the points themselves differ, since the descent multiplies every
/// rounding. Distances are Euclidean. The result has the same bits for any number of threads.
///
/// Writes `obsm["X_tsne"]` (n_obs × 2, `f32`) and `uns["tsne"]` with `params` (`perplexity`,
/// `early_exaggeration`, `learning_rate`, `metric`, and `use_rep` if it was given).
///
/// # Errors
/// [`Error::Parameter`] when an option is out of range (the perplexity must be below the number of
/// cells); [`Error::MissingKey`] or [`Error::Data`] without the representation, with fewer than two
/// cells, or when an element is not finite; [`Error::Interrupted`].
pub fn tsne(adata: &mut AnnData, options: Tsne) -> Result<TsneFit> {
    options.check(adata.n_obs())?;
    let (x, _) = representation(adata, options.use_rep.as_deref(), options.n_pcs)?;
    let fit = options.fit(x.view())?;
    let (slot, name) = match &options.key_added {
        Some(key) => (key.clone(), key.clone()),
        None => ("X_tsne".to_string(), "tsne".to_string()),
    };
    let mut params: Map<Value> = [
        ("perplexity".to_string(), Value::float(options.perplexity)),
        ("early_exaggeration".to_string(), Value::float(options.early_exaggeration)),
        ("learning_rate".to_string(), options.learning_rate.map_or("auto".into(), Value::float)),
        ("metric".to_string(), "euclidean".into()),
    ]
    .into();
    if let Some(rep) = &options.use_rep {
        params.insert("use_rep".into(), rep.as_str().into());
    }
    adata.obsm.insert(slot, fit.embedding.clone().into());
    adata.uns.insert(name, Map::from([("params".to_string(), params.into())]).into());
    Ok(fit)
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::clouds;
    use super::*;
    use crate::anndata::Frame;
    use crate::parallel::same_with_any_threads;
    use crate::tl::trustworthiness;

    fn object(x: Array2<f64>) -> AnnData {
        let mut a = AnnData { obs: Frame::with_len(x.nrows()), ..AnnData::default() };
        a.obsm.insert("X_pca".into(), x.into());
        a
    }

    #[test]
    fn neighbours_stay_neighbours_with_the_same_bits_on_any_threads() {
        let x = clouds(4, 75, 10, 4.0);
        let (fit, a) = same_with_any_threads(|| {
            let mut a = object(x.clone());
            (tsne(&mut a, Tsne::default().max_iter(400)).unwrap(), a)
        });
        let y = a.obsm["X_tsne"].to_array_f64();
        let t = trustworthiness(x.view(), y.view(), 15).unwrap();
        assert!(t > 0.9 && fit.kl_divergence < 1.2, "{t}, {}", fit.kl_divergence);
        assert_eq!(a.uns["tsne"].at(&["params", "perplexity"]).unwrap().as_f64(), Some(30.0));
        let random = Tsne::default().random_init().auto_learning_rate().seed(4).max_iter(400);
        let other = random.fit(x.view()).unwrap();
        assert!(
            trustworthiness(x.view(), other.embedding.mapv(f64::from).view(), 15).unwrap() > 0.9
        );
    }

    #[test]
    fn the_tree_reaches_what_all_pairs_reach() {
        let x = clouds(3, 60, 6, 4.0);
        let kl = |angle| {
            let fit = Tsne::default().auto_learning_rate().angle(angle).fit(x.view()).unwrap();
            fit.kl_divergence
        };
        let (tree, pairs) = (kl(0.5), kl(0.0));
        // Either ends in an optimum near by, and rounding decides in which.
        assert!((tree - pairs).abs() < 0.1 * pairs, "{tree} {pairs}");
    }

    #[test]
    fn few_points_and_equal_points_are_embedded() {
        for x in [clouds(1, 2, 3, 1.0), clouds(1, 5, 1, 1.0), Array2::ones((40, 12))] {
            let options = Tsne::default().perplexity(1.5).max_iter(300);
            let fit = options.fit(x.view()).unwrap();
            assert!(fit.embedding.iter().all(|v| v.is_finite()));
            assert!(fit.kl_divergence.is_finite());
        }
    }

    #[test]
    fn bad_input_is_refused_and_nothing_written() {
        let mut a = object(clouds(2, 30, 4, 3.0));
        let mut wrong = |o: Tsne| tsne(&mut a, o).unwrap_err().to_string();
        assert!(wrong(Tsne::default().perplexity(60.0)).contains("number of cells, 60"));
        assert!(wrong(Tsne::default().perplexity(f64::NAN)).contains("perplexity"));
        assert!(wrong(Tsne::default().learning_rate(0.0)).contains("learning_rate"));
        assert!(wrong(Tsne::default().early_exaggeration(0.5)).contains("early_exaggeration"));
        assert!(wrong(Tsne::default().angle(2.0)).contains("angle"));
        assert!(wrong(Tsne::default().max_iter(100)).contains("at least 250"));
        assert!(wrong(Tsne::default().n_pcs(9)).contains("4 columns"));
        assert!(wrong(Tsne::default().use_rep("absent")).contains("`absent`"));
        assert!(!a.obsm.contains_key("X_tsne"));
        for n in [0, 1] {
            let e = tsne(&mut object(Array2::zeros((n, 3))), Tsne::default()).unwrap_err();
            assert!(e.to_string().contains("at least 2 cells"), "{e}");
        }
        let mut x = clouds(2, 30, 4, 3.0);
        x[[8, 1]] = f64::NAN;
        let e = tsne(&mut object(x), Tsne::default()).unwrap_err().to_string();
        assert!(e.contains("X_pca: row 8"), "{e}");
        let mut bare = AnnData { obs: Frame::with_len(60), ..AnnData::default() };
        let e = tsne(&mut bare, Tsne::default()).unwrap_err().to_string();
        assert!(e.contains("run `pp::pca` first"), "{e}");
    }
}
