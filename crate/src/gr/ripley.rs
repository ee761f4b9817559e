//! [`ripley`]: whether the spots of a cluster lie together, apart, or at random.

use super::graph::{labels, points};
use super::hull::Hull;
use super::pairs;
use crate::anndata::{AnnData, Categorical, Frame, Map, Value, Values};
use crate::error::{Error, Result};
use crate::linalg::KdTree;
use crate::progress::check_interrupt;
use crate::rng::{self, Rng};
use ndarray::Array2;
use rayon::prelude::*;

/// Which of Ripley's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RipleyMode {
    /// Distances from random points to the spots of a cluster.
    F,
    /// Distances from all other spots to the spots of a cluster.
    G,
    /// Distances between the spots of a cluster: the square root of K(t)/π.
    L,
}

impl RipleyMode {
    fn name(self) -> &'static str {
        match self {
            RipleyMode::F => "F",
            RipleyMode::G => "G",
            RipleyMode::L => "L",
        }
    }
}

/// Options of [`ripley`].
#[derive(Debug, Clone, PartialEq)]
pub struct Ripley {
    cluster_key: String,
    mode: RipleyMode,
    spatial_key: String,
    n_neigh: usize,
    n_simulations: usize,
    n_observations: usize,
    max_dist: Option<f64>,
    n_steps: usize,
    seed: u64,
}

impl Ripley {
    /// Of the clusters in this column of `obs`.
    pub fn new(cluster_key: impl Into<String>, mode: RipleyMode) -> Self {
        Ripley {
            cluster_key: cluster_key.into(),
            mode,
            spatial_key: "spatial".into(),
            n_neigh: 2,
            n_simulations: 100,
            n_observations: 1000,
            max_dist: None,
            n_steps: 50,
            seed: 0,
        }
    }

    /// The entry of `obsm` with the coordinates. Default: `spatial`.
    pub fn spatial_key(mut self, key: impl Into<String>) -> Self {
        self.spatial_key = key.into();
        self
    }

    /// For F and G: distances to so many nearest spots are counted. Default: 2.
    pub fn n_neigh(mut self, n: usize) -> Self {
        self.n_neigh = n;
        self
    }

    /// Random patterns that p-values come from. Default: 100.
    pub fn n_simulations(mut self, n: usize) -> Self {
        self.n_simulations = n;
        self
    }

    /// Points of a random pattern. Default: 1000.
    pub fn n_observations(mut self, n: usize) -> Self {
        self.n_observations = n;
        self
    }

    /// Largest distance. Default: the square root of half the area of the convex hull.
    pub fn max_dist(mut self, distance: f64) -> Self {
        self.max_dist = Some(distance);
        self
    }

    /// How many distances from 0 to the largest. Default: 50.
    pub fn n_steps(mut self, n: usize) -> Self {
        self.n_steps = n;
        self
    }

    /// Seed of the random patterns. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    fn check(&self) -> Result<()> {
        for (name, value, least) in [
            ("n_neigh", self.n_neigh, 1),
            ("n_simulations", self.n_simulations, 1),
            ("n_observations", self.n_observations, 2),
            ("n_steps", self.n_steps, 2),
        ] {
            if value < least {
                return Err(Error::parameter(name, value, format!("must be at least {least}")));
            }
        }
        match self.max_dist {
            Some(d) if !(d > 0.0 && d.is_finite()) => {
                Err(Error::parameter("max_dist", d, "must be a finite distance above 0"))
            }
            _ => Ok(()),
        }
    }
}

/// The part of all distances up to each step: squidpy's histogram, summed. NaN when no distance is
/// within the largest.
fn fractions(distances: impl Iterator<Item = f64>, support: &[f64]) -> Vec<f64> {
    let steps = support.len();
    let mut counts = vec![0u64; steps];
    for d in distances {
        // Bins are closed on the left, the last on both sides.
        let bin = support.partition_point(|&s| s <= d);
        match bin {
            0 => {}
            b if b < steps => counts[b] += 1,
            _ if d == support[steps - 1] => counts[steps - 1] += 1,
            _ => {}
        }
    }
    let total: u64 = counts.iter().sum();
    let mut sum = 0;
    let mut fraction = |c: u64| {
        sum += c;
        sum as f64 / total as f64
    };
    let mut out: Vec<f64> = counts.into_iter().map(&mut fraction).collect();
    out[0] = 0.0;
    out
}

fn tree(points: &[[f64; 2]]) -> Result<KdTree> {
    KdTree::new(Array2::from_shape_fn((points.len(), 2), |(i, d)| points[i][d]).view())
}

/// Distances from each of `from` to its `k` nearest in the tree.
fn nearest(tree: &KdTree, from: &[[f64; 2]], k: usize) -> Vec<f64> {
    let one = |p: &[f64; 2]| tree.nearest(p, k).into_iter().map(|n| n.distance);
    from.par_iter().with_min_len(128).flat_map_iter(one).collect()
}

/// What is the same for all clusters and simulations.
struct Setting<'a> {
    options: &'a Ripley,
    points: Vec<[f64; 2]>,
    support: Vec<f64>,
    hull: Hull,
}

impl Setting<'_> {
    /// L(t) of some points: (K/π)^½ with K = 2 · pairs nearer than t / (n · n/area), n being the
    /// number of all spots, as squidpy has it.
    fn l(&self, points: &[[f64; 2]]) -> Result<Vec<f64>> {
        let limits: Vec<f64> = self.support.iter().map(|&t| pairs::below(t)).collect();
        let one = vec![0; points.len()];
        let ordered = pairs::counts(points, &one, 1, &limits, None)?;
        let n = self.points.len() as f64;
        let density = n / self.hull.area();
        let l = |pairs: u64| (pairs as f64 / n / density / std::f64::consts::PI).sqrt();
        Ok(ordered.into_iter().map(l).collect())
    }

    fn random(&self, stream: u64) -> Vec<[f64; 2]> {
        let seed = rng::at(self.options.seed, stream);
        self.hull.random(self.options.n_observations, &mut Rng::new(seed))
    }
}

/// Compares how the spots of each cluster lie with points at random in the convex hull of all spots
/// (Ripley, 1976).
///
/// Matches `squidpy.gr.ripley` 1.8.2 with Euclidean distances: G and L of the clusters within 1e-9;
/// F and the simulations are of random points, where agreement is one of distributions. squidpy's
/// definitions are kept, among them that `n_neigh` distances of each point are counted for
/// clusters and one for simulations, and that L is scaled by the number of all spots. One thing
/// differs: with a seed squidpy's simulations are all the same, here each is its own.
///
/// Writes `uns["<cluster_key>_ripley_<mode>"]` with `<mode>_stat` and `sims_stat` (tables of
/// `bins`, the cluster or simulation, and `stats`), `bins` (the distances) and `pvalues` (clusters ×
/// distances, the clusters in the order of their names).
///
/// # Errors
/// [`Error::MissingKey`] without the column or the coordinates; [`Error::Data`] when a spot has no
/// cluster, a coordinate is not finite, all spots lie on a line, for F and G when a cluster
/// has fewer than `n_neigh` spots or no distance is within the largest, and for G when there is
/// only one cluster; [`Error::Parameter`] for options out of range.
pub fn ripley(adata: &mut AnnData, options: Ripley) -> Result<()> {
    options.check()?;
    let (clusters, codes) = labels(adata, &options.cluster_key)?;
    let points = points(adata, &options.spatial_key)?;
    let hull = Hull::of(&points)?;
    let largest = options.max_dist.unwrap_or_else(|| (hull.area() / 2.0).sqrt());
    let step = largest / (options.n_steps - 1) as f64;
    let mut support: Vec<f64> = (0..options.n_steps).map(|i| i as f64 * step).collect();
    support[options.n_steps - 1] = largest;
    let set = Setting { options: &options, points, support, hull };
    let order = by_name(&clusters, &codes);

    // Where F measures from; the same points for every cluster and simulation.
    let (mode, k) = (options.mode, options.n_neigh);
    let from = if mode == RipleyMode::F { set.random(u64::MAX) } else { Vec::new() };
    let mut observed = Vec::with_capacity(order.len());
    for &c in &order {
        let name = &clusters.categories[c as usize];
        let of = |yes: bool| {
            let chosen = set.points.iter().zip(&codes).filter(move |(_, l)| (**l == c) == yes);
            chosen.map(|(p, _)| *p).collect::<Vec<[f64; 2]>>()
        };
        let inside = of(true);
        let stats = match mode {
            RipleyMode::L => set.l(&inside)?,
            RipleyMode::F | RipleyMode::G => {
                if inside.len() < k {
                    let reason = format!(
                        "category `{name}` has {} spots, n_neigh asks for {k}; lower it or drop \
                         the category",
                        inside.len()
                    );
                    let what = format!("obs[\"{}\"]", options.cluster_key);
                    return Err(Error::data(what, reason));
                }
                let outside = if mode == RipleyMode::G { of(false) } else { Vec::new() };
                let from = if mode == RipleyMode::G { &outside } else { &from };
                let distances = nearest(&tree(&inside)?, from, k);
                let stats = fractions(distances.into_iter(), &set.support);
                if stats.iter().any(|s| s.is_nan()) {
                    let reason = format!(
                        "no distance to category `{name}` is within the largest, {largest}; \
                         there must be other spots (a second cluster, for G) that near"
                    );
                    return Err(Error::data("Ripley's statistic", reason));
                }
                stats
            }
        };
        observed.push(stats);
    }

    let simulate = |i: usize| -> Result<Vec<f64>> {
        check_interrupt()?;
        let random = set.random(i as u64);
        if mode == RipleyMode::L {
            return set.l(&random);
        }
        let from = if mode == RipleyMode::G { &set.points } else { &from };
        let tree = tree(&random)?;
        let one = from.iter().flat_map(|p| tree.nearest(p, 1)).map(|n| n.distance);
        let stats = fractions(one, &set.support);
        if stats.iter().any(|s| s.is_nan()) {
            let reason = "no distance to a random point is within it; take a larger one, or more \
                          random points with `.n_observations(…)`";
            return Err(Error::parameter("max_dist", largest, reason));
        }
        Ok(stats)
    };
    let sims: Result<Vec<Vec<f64>>> =
        (0..options.n_simulations).into_par_iter().map(simulate).collect();
    let sims = sims?;
    let total = options.n_simulations as f64 + 1.0;
    let p = |(t, &stat): (usize, &f64)| {
        let above = sims.iter().filter(|s| s[t] >= stat).count();
        let p = (above as f64 + 1.0) / total;
        p.min(1.0 - p)
    };
    let pvalues: Vec<f64> = observed.iter().flat_map(|o| o.iter().enumerate().map(p)).collect();

    let names = order.iter().map(|&c| clusters.categories[c as usize].clone()).collect();
    let key = options.cluster_key.as_str();
    let typed = clusters
        .typed
        .as_ref()
        .map(|t| t.take(&order.iter().map(|&c| c as usize).collect::<Vec<usize>>()));
    let stat = long(key, names, typed, &observed, &set.support)?;
    let names = (0..sims.len()).map(|i| i.to_string()).collect();
    let numbers = Values::I64((0..sims.len() as i64).collect());
    let simulated = long("simulations", names, Some(numbers), &sims, &set.support)?;
    let (rows, steps) = (order.len(), set.support.len());
    let mut result: Map<Value> = Map::new();
    result.insert(format!("{}_stat", mode.name()), Value::Frame(stat));
    result.insert("sims_stat".into(), Value::Frame(simulated));
    let bins = Value::Array { shape: vec![steps], values: set.support.into() };
    result.insert("bins".into(), bins);
    let pvalues = Value::Array { shape: vec![rows, steps], values: pvalues.into() };
    result.insert("pvalues".into(), pvalues);
    adata.uns.insert(format!("{key}_ripley_{}", mode.name()), result.into());
    Ok(())
}

/// The clusters that have spots, ordered by name (or number), as scikit-learn's encoder does.
fn by_name(clusters: &Categorical, codes: &[u32]) -> Vec<u32> {
    let mut used = vec![false; clusters.categories.len()];
    codes.iter().for_each(|&c| used[c as usize] = true);
    let mut order: Vec<u32> = (0..used.len() as u32).filter(|&c| used[c as usize]).collect();
    match &clusters.typed {
        Some(t) => order.sort_by(|&a, &b| t.get_f64(a as usize).total_cmp(&t.get_f64(b as usize))),
        None => order.sort_by_key(|&c| &clusters.categories[c as usize]),
    }
    order
}

/// A table with a row for each series and step, series after series.
fn long(
    key: &str,
    names: Vec<String>,
    typed: Option<Values>,
    series: &[Vec<f64>],
    support: &[f64],
) -> Result<Frame> {
    let n = series.len() * support.len();
    let mut table = Frame::with_len(n);
    table.insert("bins", (0..n).map(|i| support[i % support.len()]).collect::<Vec<f64>>())?;
    let codes = (0..n).map(|i| (i / support.len()) as i32).collect();
    table.insert(key, Categorical { codes, categories: names, typed, ordered: false })?;
    table.insert("stats", series.concat())?;
    Ok(table)
}

#[cfg(test)]
#[path = "ripley_tests.rs"]
mod tests;
