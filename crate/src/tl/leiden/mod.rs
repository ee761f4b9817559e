//! Leiden clustering of a neighbour graph (Traag, Waltman and van Eck, 2019).
//!
//! Moving nodes of a level and building the next one is in `level`, the refinement in `refine`, the
//! iteration over levels in `optimise`; here are the options and what is read and written.

mod level;
mod optimise;
mod refine;

use super::graph::{choose, subgraph, symmetrised, weights};
use crate::anndata::{AnnData, Categorical, Column, Map, Value};
use crate::error::{Error, Result};
use crate::linalg::Csr;
use crate::notebook::{Bundle, Rich, shows_itself};
use level::Graph;
pub(super) use level::members;

/// Options of [`leiden`].
#[derive(Debug, Clone, PartialEq)]
pub struct Leiden {
    resolution: f64,
    n_iterations: i64,
    seed: u64,
    key_added: String,
    use_weights: bool,
    restrict_to: Option<(String, Vec<String>)>,
    neighbors_key: Option<String>,
    obsp: Option<String>,
}

impl Default for Leiden {
    fn default() -> Self {
        Leiden {
            resolution: 1.0,
            n_iterations: -1,
            seed: 0,
            key_added: "leiden".into(),
            use_weights: true,
            restrict_to: None,
            neighbors_key: None,
            obsp: None,
        }
    }
}

impl Leiden {
    /// γ: higher values give more clusters. Default: 1.
    pub fn resolution(mut self, gamma: f64) -> Self {
        self.resolution = gamma;
        self
    }

    /// How often to run over all levels, each time from the clusters found before; -1 until a run
    /// raises the quality no more. Default: -1, as scanpy; 2 is what igraph uses.
    pub fn n_iterations(mut self, n: i64) -> Self {
        self.n_iterations = n;
        self
    }

    /// Seed of the order in which nodes are looked at. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The column of `obs` and the entry of `uns` to write. Default: `leiden`.
    pub fn key_added(mut self, key: impl Into<String>) -> Self {
        self.key_added = key.into();
        self
    }

    /// Whether edges count by their weights; otherwise every stored edge counts 1. Default: true.
    pub fn use_weights(mut self, yes: bool) -> Self {
        self.use_weights = yes;
        self
    }

    /// Cluster only the cells of some categories of a column of `obs`. The others keep their
    /// labels; the new ones are called after the categories, e.g. `2-5,0`. With the default key the
    /// result goes to `leiden_R`.
    pub fn restrict_to<S: Into<String>>(
        mut self,
        column: impl Into<String>,
        categories: impl IntoIterator<Item = S>,
    ) -> Self {
        let categories = categories.into_iter().map(Into::into).collect();
        self.restrict_to = Some((column.into(), categories));
        self
    }

    /// The neighbour graph that this entry of `uns` describes. Default: `neighbors`.
    pub fn neighbors_key(mut self, key: impl Into<String>) -> Self {
        self.neighbors_key = Some(key.into());
        self
    }

    /// This entry of `obsp` as the graph, e.g. `spatial_connectivities`.
    pub fn obsp(mut self, key: impl Into<String>) -> Self {
        self.obsp = Some(key.into());
        self
    }

    /// Clusters the rows of a weighted adjacency matrix, without an [`AnnData`].
    ///
    /// # Errors
    /// [`Error::Parameter`] when an option is out of range; [`Error::Shape`] when the matrix is not
    /// square; [`Error::Data`] when a weight is negative or not finite.
    pub fn fit(&self, adjacency: &crate::anndata::Matrix) -> Result<LeidenFit> {
        self.check()?;
        self.cluster(weights(adjacency, "adjacency", adjacency.nrows())?)
    }

    fn check(&self) -> Result<()> {
        if !self.resolution.is_finite() || self.resolution < 0.0 {
            return Err(Error::parameter("resolution", self.resolution, "must be 0 or more"));
        }
        if self.n_iterations == 0 || self.n_iterations < -1 {
            let reason = "must be at least 1, or -1 to go on until nothing improves";
            return Err(Error::parameter("n_iterations", self.n_iterations, reason));
        }
        Ok(())
    }

    fn cluster(&self, mut graph: Csr<f32>) -> Result<LeidenFit> {
        if !self.use_weights {
            graph.values.fill(1.0);
        }
        let mut strength = vec![[0f64; 2]; graph.nrows];
        for v in 0..graph.nrows {
            for (to, w) in graph.row(v) {
                strength[v][0] += f64::from(w);
                strength[to][1] += f64::from(w);
            }
        }
        if let Some(symmetric) = symmetrised(&graph) {
            graph = symmetric;
        }
        let graph = {
            let built = Graph::new(&graph, strength);
            drop(graph);
            built
        };
        let iterations = usize::try_from(self.n_iterations).ok();
        let label = optimise::optimise(&graph, self.resolution, iterations, self.seed)?;
        let total: f64 = graph.strength.iter().map(|s| s[0]).sum();
        let modularity = optimise::quality(&graph, &label, 1.0);
        Ok(LeidenFit {
            n_clusters: label.iter().max().map_or(0, |&m| m as usize + 1),
            quality: optimise::quality(&graph, &label, self.resolution),
            modularity: if total > 0.0 { modularity / total } else { 0.0 },
            labels: label.into_iter().map(|l| l as usize).collect(),
        })
    }
}

/// What [`leiden`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct LeidenFit {
    /// The cluster of each cell that was clustered, from 0, which is the largest.
    pub labels: Vec<usize>,
    /// Number of clusters.
    pub n_clusters: usize,
    /// Σ over pairs of cells of one cluster of A − γ·k_out·k_in/m: the quality of leidenalg's
    /// `RBConfigurationVertexPartition` on the same matrix.
    pub quality: f64,
    /// The same at resolution 1 as a part of all weight: Newman's modularity.
    pub modularity: f64,
}

impl std::fmt::Display for LeidenFit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leiden: {} clusters of {} cells", self.n_clusters, self.labels.len())?;
        write!(f, ", modularity {:.4}", self.modularity)
    }
}

impl Rich for LeidenFit {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()))
    }
}
shows_itself!(LeidenFit);

/// Clusters the cells by the Leiden algorithm on their neighbour graph.
///
/// The quality is that of leidenalg's `RBConfigurationVertexPartition`, which is also igraph's
/// generalised modularity; a matrix that is not symmetric is taken as a directed graph. The graph
/// may be any of `obsp`, spatial ones too. Weights are taken as `f32`. Labels depend on the
/// seed and never on the number of threads; no two implementations of Leiden give equal labels, but
/// the quality is within 0.5 % of that of `scanpy.tl.leiden` 1.11.5 with either flavour. A cell
/// without neighbours is a cluster of its own.
///
/// Writes `obs[key_added]`, categories `0`, `1`, … by falling size, and `uns[key_added]` with
/// `params` (`resolution`, `random_state`, `n_iterations`).
///
/// # Errors
/// [`Error::Data`] when there is no neighbour graph or a weight is negative or not finite;
/// [`Error::MissingKey`] for an entry, column or category that does not exist;
/// [`Error::Parameter`] when an option is out of range; [`Error::Interrupted`].
pub fn leiden(adata: &mut AnnData, options: Leiden) -> Result<LeidenFit> {
    options.check()?;
    let (neighbors_key, obsp) = (options.neighbors_key.as_deref(), options.obsp.as_deref());
    let (matrix, key) = choose(adata, neighbors_key, obsp)?;
    let graph = weights(matrix, &key, adata.n_obs())?;
    let mut name = options.key_added.clone();
    let (fit, column) = match &options.restrict_to {
        None => {
            let fit = options.cluster(graph)?;
            let column = Categorical {
                codes: fit.labels.iter().map(|&l| l as i32).collect(),
                categories: (0..fit.n_clusters).map(|c| c.to_string()).collect(),
                typed: None,
                ordered: false,
            };
            (fit, column)
        }
        Some((column, chosen)) => {
            if name == "leiden" {
                name.push_str("_R");
            }
            let old = restriction(adata, column, chosen)?;
            let inside = |i: &usize| old.label(*i).is_some_and(|l| chosen.iter().any(|c| c == l));
            let keep: Vec<usize> = (0..adata.n_obs()).filter(inside).collect();
            if keep.is_empty() {
                let reason = format!("no cell of obs[\"{column}\"] is of these categories");
                return Err(Error::parameter("restrict_to", chosen.join(", "), reason));
            }
            let fit = options.cluster(subgraph(&graph, &keep))?;
            let mut labels: Vec<Option<String>> =
                (0..adata.n_obs()).map(|i| old.label(i).map(str::to_string)).collect();
            let prefix = chosen.join("-");
            for (&i, l) in keep.iter().zip(&fit.labels) {
                labels[i] = Some(format!("{prefix},{l}"));
            }
            (fit, Categorical::from_labels(&labels))
        }
    };
    let params: Map<Value> = [
        ("resolution".to_string(), Value::float(options.resolution)),
        ("random_state".to_string(), Value::int(options.seed as i64)),
        ("n_iterations".to_string(), Value::int(options.n_iterations)),
    ]
    .into();
    adata.obs.insert(&name, column)?;
    adata.uns.insert(name, Map::from([("params".to_string(), params.into())]).into());
    Ok(fit)
}

/// The column to restrict by, its categories checked.
fn restriction(adata: &AnnData, column: &str, chosen: &[String]) -> Result<Categorical> {
    let found = match adata.obs_column(column)? {
        Column::Categorical(c) => c.clone(),
        Column::Str(s) => Categorical::from_labels(s),
        other => {
            let reason = format!("is of type {}; categories or texts are needed", other.dtype());
            return Err(Error::data(format!("obs[\"{column}\"]"), reason));
        }
    };
    if chosen.is_empty() {
        let reason = "name at least one category";
        return Err(Error::parameter("restrict_to", "[]", reason));
    }
    match chosen.iter().find(|c| !found.categories.contains(c)) {
        Some(absent) => Err(Error::missing_key("obs", "category", absent, &found.categories)),
        None => Ok(found),
    }
}

#[cfg(test)]
mod tests;
