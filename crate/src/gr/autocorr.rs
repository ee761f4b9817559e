//! [`spatial_autocorr`]: Moran's I and Geary's C with their p-values.

use super::features::{Features, Source};
use super::graph::CONNECTIVITIES;
use super::moments::{Weights, known};
use super::permute::simulate;
use super::statistic::{Mode, scores};
use crate::anndata::{AnnData, Frame, Select, Value};
use crate::error::{Error, Result};
use crate::stats::{benjamini_hochberg, bonferroni, normal_sf};

/// How p-values are corrected for the number of features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Correction {
    /// Benjamini and Hochberg's false discovery rate (`fdr_bh`).
    #[default]
    FdrBh,
    /// The number of features times the p-value, at most 1 (`bonferroni`).
    Bonferroni,
    /// Not at all; no column is written.
    None,
}

impl Correction {
    /// The end of the column's name and the corrected values.
    fn apply(self, p: &[f64]) -> Option<(&'static str, Vec<f64>)> {
        match self {
            Correction::FdrBh => Some(("fdr_bh", benjamini_hochberg(p))),
            Correction::Bonferroni => Some(("bonferroni", bonferroni(p))),
            Correction::None => None,
        }
    }
}

/// Options of [`spatial_autocorr`].
#[derive(Debug, Clone, PartialEq)]
pub struct SpatialAutocorr {
    mode: Mode,
    source: Source,
    transformation: bool,
    n_perms: Option<usize>,
    two_tailed: bool,
    corr_method: Correction,
    connectivity_key: String,
    seed: u64,
}

impl SpatialAutocorr {
    fn new(mode: Mode) -> Self {
        SpatialAutocorr {
            mode,
            source: Source::Genes { genes: None, layer: None, use_raw: false },
            transformation: true,
            n_perms: None,
            two_tailed: false,
            corr_method: Correction::FdrBh,
            connectivity_key: CONNECTIVITIES.into(),
            seed: 0,
        }
    }

    /// Moran's I = n/S0 · Σ_ij w_ij z_i z_j / Σ_i z_i², z being the value minus its mean; near 1
    /// where neighbours are alike, −1/(n − 1) without a pattern.
    pub fn moran() -> Self {
        SpatialAutocorr::new(Mode::Moran)
    }

    /// Geary's C = (n − 1) Σ_ij w_ij (x_i − x_j)² / (2 S0 Σ_i z_i²); near 0 where neighbours are
    /// alike, 1 without a pattern.
    pub fn geary() -> Self {
        SpatialAutocorr::new(Mode::Geary)
    }

    /// Which genes. Default: those marked in `var["highly_variable"]` if there is such a column,
    /// else all.
    pub fn genes(mut self, genes: impl Into<Select>) -> Self {
        let (layer, use_raw) = match self.source {
            Source::Genes { layer, use_raw, .. } => (layer, use_raw),
            _ => (None, false),
        };
        self.source = Source::Genes { genes: Some(genes.into()), layer, use_raw };
        self
    }

    /// Take the genes' values from this layer. Default: from X.
    pub fn layer(mut self, key: impl Into<String>) -> Self {
        if let Source::Genes { layer, .. } = &mut self.source {
            *layer = Some(key.into());
        }
        self
    }

    /// Take the genes from `raw`. Default: false.
    pub fn use_raw(mut self, yes: bool) -> Self {
        if let Source::Genes { use_raw, .. } = &mut self.source {
            *use_raw = yes;
        }
        self
    }

    /// Columns of `obs` instead of genes (`attr="obs"`).
    pub fn obs<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.source = Source::Obs(Some(columns.into_iter().map(Into::into).collect()));
        self
    }

    /// All columns of `obs` that hold numbers, instead of genes.
    pub fn all_obs(mut self) -> Self {
        self.source = Source::Obs(None);
        self
    }

    /// All columns of an entry of `obsm` instead of genes (`attr="obsm"`).
    pub fn obsm(mut self, key: impl Into<String>) -> Self {
        self.source = Source::Obsm(key.into(), None);
        self
    }

    /// Some columns of an entry of `obsm` instead of genes.
    pub fn obsm_columns(mut self, key: impl Into<String>, columns: &[usize]) -> Self {
        self.source = Source::Obsm(key.into(), Some(columns.to_vec()));
        self
    }

    /// Whether the weights of each spot are divided by their sum. Default: true.
    pub fn transformation(mut self, yes: bool) -> Self {
        self.transformation = yes;
        self
    }

    /// Also compute p-values by so many permutations. Default: none.
    pub fn n_perms(mut self, n: usize) -> Self {
        self.n_perms = Some(n);
        self
    }

    /// Whether the p-value of the normal approximation is two-tailed. Default: false.
    pub fn two_tailed(mut self, yes: bool) -> Self {
        self.two_tailed = yes;
        self
    }

    /// How p-values are corrected. Default: [`Correction::FdrBh`].
    pub fn corr_method(mut self, method: Correction) -> Self {
        self.corr_method = method;
        self
    }

    /// The graph in `obsp`. Default: `spatial_connectivities`.
    pub fn connectivity_key(mut self, key: impl Into<String>) -> Self {
        self.connectivity_key = key.into();
        self
    }

    /// Seed of the permutations. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// Measures which genes (or other values) form a pattern in space: Moran's I (Moran, 1950) or
/// Geary's C (Geary, 1954).
///
/// Matches `squidpy.gr.spatial_autocorr` 1.8.2: statistics and variances within 1e-10 of it on
/// `float64` data, 1e-6 on `float32` data, which squidpy sums in that type in part; p-values within
/// 1e-9, and tails are not cut to 0 below 1e-16. Permutations are squidpy's kind,
/// which shuffles the rows of the weights and not the values, drawn from our own generator;
/// those with the observed statistic itself count half (squidpy leaves them to rounding).
///
/// Writes `uns["moranI"]` or `uns["gearyC"]`, a table with one row a feature, sorted so that the
/// clearest pattern is first: `I` or `C`, `pval_norm` and `var_norm` (under normality); with
/// permutations `pval_z_sim` (NaN of a single one), `pval_sim`, `var_sim`; and each p-value
/// corrected, e.g. `pval_norm_fdr_bh`. A feature that is constant has NaN throughout, comes last,
/// and does not count in corrections. On a complete graph of equal weights (every spot is
/// everybody's neighbour) I is −1/(n − 1) and C is 1 for every feature: there `var_norm` is 0 and
/// `pval_norm` NaN.
///
/// ```
/// use spatialkit::{datasets::{self, Synthetic}, gr::{self, SpatialAutocorr, SpatialNeighbors}};
/// let mut slide = datasets::synthetic(&Synthetic::default().n_genes(40).image(false))?;
/// gr::spatial_neighbors(&mut slide, SpatialNeighbors::grid(6))?;
/// gr::spatial_autocorr(&mut slide, SpatialAutocorr::moran().genes(0..20).n_perms(50))?;
/// assert!(slide.uns.contains_key("moranI"));
/// # Ok::<(), spatialkit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Data`] without the graph or when it has no edges, with fewer than 3 observations, and
/// when a value is missing or not finite; [`Error::MissingKey`] for a gene, column, layer or entry
/// that does not exist; [`Error::Parameter`] for an empty choice, a feature given twice, and 0
/// permutations.
pub fn spatial_autocorr(adata: &mut AnnData, options: SpatialAutocorr) -> Result<()> {
    let (table, _) = compute(adata, &options)?;
    let key = match options.mode {
        Mode::Moran => "moranI",
        Mode::Geary => "gearyC",
    };
    adata.uns.insert(key.into(), Value::Frame(table));
    Ok(())
}

/// The table that [`spatial_autocorr`] writes, and for each row which of the features it is of.
pub(super) fn compute(adata: &AnnData, options: &SpatialAutocorr) -> Result<(Frame, Vec<usize>)> {
    if options.n_perms == Some(0) {
        let reason = "must be at least 1; leave it out for p-values without permutations";
        return Err(Error::parameter("n_perms", 0, reason));
    }
    let n = adata.n_obs();
    if n < 3 {
        return Err(Error::data("spatial autocorrelation", format!("needs 3 spots, found {n}")));
    }
    let weights = Weights::of(adata, &options.connectivity_key, options.transformation)?;
    let features = options.source.read(adata)?;
    let mode = options.mode;
    let score = scores(&features, &weights, mode)?;
    let (expected, variance) = match mode {
        Mode::Moran => (-1.0 / (n as f64 - 1.0), weights.moran_variance()),
        Mode::Geary => (1.0, weights.geary_variance()),
    };
    let tails = if options.two_tailed { 2.0 } else { 1.0 };
    // Where every feature has the same statistic, there is nothing that a p-value could say.
    let deviation = known(variance).sqrt();
    let normal = |s: &f64| tails * normal_sf(((s - expected) / deviation).abs());
    let stat = if mode == Mode::Moran { "I" } else { "C" };
    let mut columns: Vec<(String, Vec<f64>)> = vec![
        (stat.into(), score.clone()),
        ("pval_norm".into(), score.iter().map(normal).collect()),
        ("var_norm".into(), vec![variance; score.len()]),
    ];
    if let Some(n_perms) = options.n_perms {
        columns.extend(by_permutation(
            &features,
            &weights,
            mode,
            &score,
            expected,
            n_perms,
            options.seed,
        )?);
    }
    let corrected: Vec<(String, Vec<f64>)> = columns
        .iter()
        .filter(|(name, _)| name.starts_with("pval"))
        .filter_map(|(name, p)| {
            let (end, q) = options.corr_method.apply(p)?;
            Some((format!("{name}_{end}"), q))
        })
        .collect();
    columns.extend(corrected);

    let mut order: Vec<usize> = (0..score.len()).collect();
    order.sort_by(|&a, &b| {
        let by_value = match mode {
            Mode::Moran => score[b].total_cmp(&score[a]),
            Mode::Geary => score[a].total_cmp(&score[b]),
        };
        score[a].is_nan().cmp(&score[b].is_nan()).then(by_value)
    });
    let mut table = features.names.take(&order);
    for (name, values) in columns {
        table.insert(name, order.iter().map(|&f| values[f]).collect::<Vec<f64>>())?;
    }
    Ok((table, order))
}

fn by_permutation(
    features: &Features,
    weights: &Weights,
    mode: Mode,
    score: &[f64],
    expected: f64,
    n_perms: usize,
    seed: u64,
) -> Result<Vec<(String, Vec<f64>)>> {
    let sim = simulate(features, weights, mode, score, expected, n_perms, seed)?;
    let all = 0..score.len();
    // A single permutation has no deviation, and a z-score would be infinite.
    let z = |f: usize| (score[f] - sim.mean[f]) / known(sim.variance[f]).sqrt();
    let rank = |f: usize| {
        let above = sim.above[f].min(n_perms as f64 - sim.above[f]);
        let p = (above + 1.0) / (n_perms as f64 + 1.0);
        if score[f].is_nan() { f64::NAN } else { p }
    };
    Ok(vec![
        ("pval_z_sim".into(), all.clone().map(|f| normal_sf(z(f).abs())).collect()),
        ("pval_sim".into(), all.map(rank).collect()),
        ("var_sim".into(), sim.variance.clone()),
    ])
}

#[cfg(test)]
#[path = "autocorr_tests.rs"]
mod tests;
