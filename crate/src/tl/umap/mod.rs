//! UMAP of a neighbour graph (McInnes, Healy and Melville, 2018).
//!
//! The curve of the embedding's similarities is in `curve`, the start in `spectral`, the
//! optimisation in `layout`; here are the options and what is read and written.

mod curve;
mod layout;
mod spectral;

use super::graph::{choose, finite, representation, symmetrised, weights};
use crate::anndata::{AnnData, Map, Value};
use crate::error::{Error, Result};
use crate::linalg::{Csr, PcaSolver, knn, pca};
use crate::progress::Progress;
use crate::rng::Rng;
use layout::Setting;
use ndarray::{Array2, ArrayView2, s};

/// Where the points of an embedding start.
#[derive(Debug, Clone, PartialEq)]
pub enum InitPos {
    /// At the eigenvectors of the graph's Laplacian.
    Spectral,
    /// Anywhere between -10 and 10.
    Random,
    /// At the leading principal components of the representation that the graph was made of.
    Pca,
    /// At this entry of `obsm`.
    Obsm(String),
}

impl From<&str> for InitPos {
    /// scanpy's names: `spectral`, `random`, `pca`, or a key of `obsm`.
    fn from(name: &str) -> Self {
        match name {
            "spectral" => InitPos::Spectral,
            "random" => InitPos::Random,
            "pca" => InitPos::Pca,
            key => InitPos::Obsm(key.into()),
        }
    }
}

/// Options of [`umap`].
#[derive(Debug, Clone, PartialEq)]
pub struct Umap {
    min_dist: f64,
    spread: f64,
    n_components: usize,
    maxiter: Option<usize>,
    alpha: f64,
    gamma: f64,
    negative_sample_rate: usize,
    init_pos: InitPos,
    seed: u64,
    a: Option<f64>,
    b: Option<f64>,
    key_added: Option<String>,
    neighbors_key: Option<String>,
    obsp: Option<String>,
}

impl Default for Umap {
    fn default() -> Self {
        Umap {
            min_dist: 0.5,
            spread: 1.0,
            n_components: 2,
            maxiter: None,
            alpha: 1.0,
            gamma: 1.0,
            negative_sample_rate: 5,
            init_pos: InitPos::Spectral,
            seed: 0,
            a: None,
            b: None,
            key_added: None,
            neighbors_key: None,
            obsp: None,
        }
    }
}

impl Umap {
    /// How close points may come, relative to `spread`. Default: 0.5.
    pub fn min_dist(mut self, distance: f64) -> Self {
        self.min_dist = distance;
        self
    }

    /// The scale of the embedding. Default: 1.
    pub fn spread(mut self, spread: f64) -> Self {
        self.spread = spread;
        self
    }

    /// Dimensions of the embedding. Default: 2.
    pub fn n_components(mut self, n: usize) -> Self {
        self.n_components = n;
        self
    }

    /// Epochs of the optimisation. Default: 500 up to 10,000 cells, 200 above.
    pub fn maxiter(mut self, epochs: usize) -> Self {
        self.maxiter = Some(epochs);
        self
    }

    /// Learning rate at the start; it falls to 0. Default: 1.
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Weight of the repulsion of negative samples. Default: 1.
    pub fn gamma(mut self, gamma: f64) -> Self {
        self.gamma = gamma;
        self
    }

    /// Negative samples for each edge that is sampled. Default: 5.
    pub fn negative_sample_rate(mut self, rate: usize) -> Self {
        self.negative_sample_rate = rate;
        self
    }

    /// Where the points start: an [`InitPos`] or scanpy's name of it. Default: spectral.
    pub fn init_pos(mut self, init: impl Into<InitPos>) -> Self {
        self.init_pos = init.into();
        self
    }

    /// Seed of the start and of the samples. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The parameters of the curve themselves, instead of `min_dist` and `spread`.
    pub fn ab(mut self, a: f64, b: f64) -> Self {
        (self.a, self.b) = (Some(a), Some(b));
        self
    }

    /// Key of `obsm` and of `uns` to write. Default: `X_umap` and `umap`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = Some(key.into());
        self
    }

    /// The neighbour graph that this entry of `uns` describes. Default: `neighbors`.
    pub fn neighbors_key(mut self, key: impl Into<String>) -> Self {
        self.neighbors_key = Some(key.into());
        self
    }

    /// This entry of `obsp` as the graph.
    pub fn obsp(mut self, key: impl Into<String>) -> Self {
        self.obsp = Some(key.into());
        self
    }

    fn check(&self) -> Result<()> {
        let positive = [("spread", self.spread), ("alpha", self.alpha)];
        let a = self.a.map(|a| ("a", a));
        let b = self.b.map(|b| ("b", b));
        for (name, value) in positive.into_iter().chain(a).chain(b) {
            if !value.is_finite() || value <= 0.0 {
                return Err(Error::parameter(name, value, "must be above 0"));
            }
        }
        if !(0.0..=self.spread).contains(&self.min_dist) {
            let reason = format!("must be between 0 and the spread, {}", self.spread);
            return Err(Error::parameter("min_dist", self.min_dist, reason));
        }
        if !self.gamma.is_finite() || self.gamma < 0.0 {
            return Err(Error::parameter("gamma", self.gamma, "must be 0 or more"));
        }
        if !(1..=256).contains(&self.n_components) {
            let reason = "must be between 1 and 256";
            return Err(Error::parameter("n_components", self.n_components, reason));
        }
        if self.negative_sample_rate > 1000 {
            let reason = "must be at most 1000";
            return Err(Error::parameter(
                "negative_sample_rate",
                self.negative_sample_rate,
                reason,
            ));
        }
        Ok(())
    }
}

/// What [`umap`] used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UmapFit {
    /// Parameter of the curve.
    pub a: f64,
    /// Parameter of the curve.
    pub b: f64,
    /// Epochs that were run.
    pub n_epochs: usize,
}

/// Embeds the cells by UMAP of their neighbour graph.
///
/// The steps are those of `scanpy.tl.umap` 1.11.5 with umap-learn 0.5.12: `a` and `b` within 1e-6
/// (relative above 1), the same start (eigenvectors of the normalised Laplacian, components of the
/// graph apart), the same forces, rates and schedule. The points themselves depend on random samples
/// in either. Here the vertices of an epoch move in 16 batches, each on all threads; the same seed
/// gives the same bits for any number of threads. A graph that is not symmetric is used as
/// (A + Aᵀ)/2. A cell without neighbours stays where it starts.
///
/// Writes `obsm["X_umap"]` (n_obs × n_components, `f32`) and `uns["umap"]` with `params` (`a`, `b`,
/// and `random_state` unless it is 0).
///
/// # Errors
/// [`Error::Data`] when there is no neighbour graph, a weight is negative or not finite, or a start
/// is not finite; [`Error::MissingKey`] for a key that does not exist; [`Error::Parameter`] when an
/// option is out of range; [`Error::Interrupted`].
pub fn umap(adata: &mut AnnData, options: Umap) -> Result<UmapFit> {
    options.check()?;
    let n = adata.n_obs();
    let (neighbors_key, obsp) = (options.neighbors_key.as_deref(), options.obsp.as_deref());
    let (matrix, key) = choose(adata, neighbors_key, obsp)?;
    let mut graph = weights(matrix, &key, n)?;
    if let Some(symmetric) = symmetrised(&graph) {
        graph = symmetric;
    }
    let usual = if n <= 10_000 { 500 } else { 200 };
    let epochs = options.maxiter.unwrap_or(usual);
    drop_rare(&mut graph, if epochs > 10 { epochs } else { usual });
    let (a, b) = match (options.a, options.b) {
        (Some(a), Some(b)) => (a, b),
        _ => curve::find_ab(options.spread, options.min_dist),
    };
    let start = start(adata, &graph, &options)?;
    let setting = Setting {
        a,
        b,
        gamma: options.gamma,
        alpha: options.alpha,
        negatives: options.negative_sample_rate,
        epochs,
        seed: options.seed,
    };
    let progress = Progress::new("UMAP", epochs as u64);
    let embedding = layout::optimise(&graph, start, setting, progress)?;

    let (slot, name) = match &options.key_added {
        Some(key) => (key.clone(), key.clone()),
        None => ("X_umap".to_string(), "umap".to_string()),
    };
    let mut params: Map<Value> =
        [("a".to_string(), Value::float(a)), ("b".to_string(), Value::float(b))].into();
    if options.seed != 0 {
        params.insert("random_state".into(), Value::int(options.seed as i64));
    }
    adata.obsm.insert(slot, embedding.into());
    adata.uns.insert(name, Map::from([("params".to_string(), params.into())]).into());
    Ok(UmapFit { a, b, n_epochs: epochs })
}

/// Takes out the edges that would be sampled less than once.
fn drop_rare(graph: &mut Csr<f32>, epochs: usize) {
    let most = graph.values.iter().fold(0f32, |m, &v| m.max(v));
    let least = most / epochs as f32;
    graph.values.iter_mut().filter(|v| **v < least).for_each(|v| *v = 0.0);
    super::graph::compress(graph);
}

/// Where the points start, each coordinate between 0 and 10.
fn start(adata: &AnnData, graph: &Csr<f32>, options: &Umap) -> Result<Array2<f32>> {
    let (n, dim) = (adata.n_obs(), options.n_components);
    let mut rng = Rng::stream(options.seed, "umap start");
    let mut start = match &options.init_pos {
        InitPos::Random => {
            Array2::from_shape_simple_fn((n, dim), || rng.uniform_in(-10.0, 10.0) as f32)
        }
        InitPos::Spectral => {
            let data = made_of(adata, options).ok();
            let y = spectral::layout(graph, dim, data.as_ref().map(|x| x.view()), options.seed)?;
            scaled_with_noise(y, &mut rng)
        }
        InitPos::Pca => {
            let x = made_of(adata, options)?;
            if dim > x.ncols().min(n) || n < 2 {
                let reason = format!("the representation of {} × {} has not so many", n, x.ncols());
                return Err(Error::parameter("n_components", dim, reason));
            }
            let y = pca(x.view(), dim, PcaSolver::Auto, options.seed)?.scores;
            scaled_with_noise(y.mapv(|v| v as f32), &mut rng)
        }
        InitPos::Obsm(key) => {
            let y = finite(adata.obsm(key)?.to_array_f64(), &format!("obsm[\"{key}\"]"))?;
            if y.ncols() != dim {
                let what = format!("columns of obsm[\"{key}\"]");
                return Err(Error::shape(what, dim, y.ncols()));
            }
            apart(y.view(), &mut rng)?
        }
    };
    for mut column in start.columns_mut() {
        let (low, high) =
            column.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        let range = high - low;
        column.mapv_inplace(|v| if range > 0.0 { 10.0 * (v - low) / range } else { 0.0 });
    }
    Ok(start)
}

/// The representation that the neighbour graph was made of.
fn made_of(adata: &AnnData, options: &Umap) -> Result<Array2<f64>> {
    let entry = adata.uns.get(options.neighbors_key.as_deref().unwrap_or("neighbors"));
    let param = |name| entry.and_then(|v| v.at(&["params", name]));
    let n_pcs = param("n_pcs").and_then(Value::as_f64).map(|k| k as usize);
    representation(adata, param("use_rep").and_then(Value::as_str), n_pcs).map(|r| r.0)
}

/// Scaled to 10, with a little noise that keeps points from starting on the same spot.
fn scaled_with_noise(mut y: Array2<f32>, rng: &mut Rng) -> Array2<f32> {
    let most = y.iter().fold(0f32, |m, v| m.max(v.abs()));
    let scale = if most > 0.0 { 10.0 / most } else { 0.0 };
    y.mapv_inplace(|v| v * scale + 1e-4 * rng.normal() as f32);
    y
}

/// Points as they are, or with noise of a thousandth of the mean distance to the next where some
/// coincide.
fn apart(y: ArrayView2<f64>, rng: &mut Rng) -> Result<Array2<f32>> {
    let plain = y.mapv(|v| v as f32);
    if y.nrows() < 2 {
        return Ok(plain);
    }
    let (_, distance) = knn(y, 2)?;
    let to_next = distance.slice(s![.., 1]);
    if to_next.iter().all(|&d| d > 0.0) {
        return Ok(plain);
    }
    let mean = to_next.sum() / to_next.len() as f64;
    let scale = if mean > 0.0 { 1e-3 * mean } else { 1e-3 };
    Ok(plain.mapv(|v| v + (scale * rng.normal()) as f32))
}

#[cfg(test)]
mod tests;
