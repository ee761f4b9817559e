//! How well an embedding brings batches together and keeps cell types apart, as scIB scores it
//! (Luecken et al., 2022).

use super::metrics::{grouped, silhouette_of};
use super::{Labels, ari, clisi, ilisi, nmi, silhouette};
use crate::anndata::{AnnData, Frame, Matrix};
use crate::error::{Error, Result};
use crate::linalg::{Csr, Real};
use ndarray::{Array2, ArrayView2};

/// The mean silhouette of the cell types, scaled from 0 to 1: (s + 1) / 2. Rows without a label are
/// left out. `scib_metrics.silhouette_label`.
///
/// # Errors
/// As [`silhouette`].
pub fn silhouette_label<T: Real>(x: ArrayView2<T>, labels: &(impl Labels + ?Sized)) -> Result<f64> {
    Ok((silhouette(x, labels)? + 1.0) / 2.0)
}

/// How well batches are mixed within cell types, from 0 to 1: for each cell type the mean of
/// 1 − |silhouette of the batches|, averaged over the cell types. Cell types of a single batch, or
/// of as many batches as cells, do not count; rows without a label or a batch are left out.
/// `scib_metrics.silhouette_batch`.
///
/// # Errors
/// [`Error::Shape`] when there is not one label and batch a row; [`Error::Data`] when no cell type
/// counts, or coordinates are not finite.
pub fn silhouette_batch<T: Real>(
    x: ArrayView2<T>,
    labels: &(impl Labels + ?Sized),
    batches: &(impl Labels + ?Sized),
) -> Result<f64> {
    let (labels, batches) = (labels.groups(), batches.groups());
    for (what, found) in [("labels", labels.len()), ("batches", batches.len())] {
        if found != x.nrows() {
            return Err(Error::shape(what, x.nrows(), found));
        }
    }
    let types = labels.iter().flatten().max().map_or(0, |m| m + 1);
    let mut means = Vec::new();
    for t in 0..types {
        let of_type = |i: &usize| labels[*i] == Some(t) && batches[*i].is_some();
        let rows: Vec<usize> = (0..labels.len()).filter(of_type).collect();
        let batch: Vec<usize> = rows.iter().filter_map(|&i| batches[i]).collect();
        let mut distinct = batch.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() < 2 || distinct.len() >= rows.len() {
            continue;
        }
        let part =
            Array2::from_shape_fn((rows.len(), x.ncols()), |(i, j)| x[[rows[i], j]].as_f64());
        let scores = silhouette_of(&grouped(part.view(), &batch)?);
        means.push(scores.iter().map(|s| 1.0 - s.abs()).sum::<f64>() / scores.len() as f64);
    }
    if means.is_empty() {
        let reason = "no cell type has cells of several batches";
        return Err(Error::data("batches to score", reason));
    }
    Ok(means.iter().sum::<f64>() / means.len() as f64)
}

/// How well the cells of each type hang together in a graph (n × n, e.g.
/// `obsp["connectivities"]`): the part of them in the largest strongly connected component of the
/// type's own graph, averaged over the types. Cells without a label are left out. Entries of 0 are
/// no edges, all others are, below 0 too. Equals `scib_metrics.graph_connectivity` 0.5 on the same
/// graph.
///
/// # Errors
/// [`Error::Shape`] when the graph is not n × n for n labels, [`Error::Data`] when there is no label
/// at all or an entry is not finite.
pub fn graph_connectivity(graph: &Matrix, labels: &(impl Labels + ?Sized)) -> Result<f64> {
    let labels = labels.groups();
    let n = labels.len();
    if graph.shape() != (n, n) {
        let found = format!("{} × {}", graph.nrows(), graph.ncols());
        return Err(Error::shape("graph", format!("{n} × {n}"), found));
    }
    let types = labels.iter().flatten().max().map_or(0, |m| m + 1);
    if types == 0 {
        return Err(Error::data("labels", "no observation has one"));
    }
    let graph = Csr::<f64>::of(graph);
    if let Some(at) = graph.values.iter().position(|w| !w.is_finite()) {
        let row = graph.indptr.partition_point(|&start| start <= at) - 1;
        let reason = format!(
            "the entry of cells {row} and {} is {}; entries must be finite",
            graph.indices[at], graph.values[at]
        );
        return Err(Error::data("graph", reason));
    }
    let mut size = vec![0usize; types];
    labels.iter().flatten().for_each(|&t| size[t] += 1);
    let mut largest = vec![0usize; types];
    for (label, members) in components(&graph, &labels) {
        largest[label] = largest[label].max(members);
    }
    let parts = largest.iter().zip(&size).map(|(&l, &s)| l as f64 / s as f64);
    Ok(parts.sum::<f64>() / types as f64)
}

/// The strongly connected components of the graph without edges between labels, as (label, size):
/// Tarjan's algorithm (1972), on a stack of its own.
fn components(graph: &Csr<f64>, labels: &[Option<usize>]) -> Vec<(usize, usize)> {
    const NEW: usize = usize::MAX;
    let n = labels.len();
    let (mut order, mut low) = (vec![NEW; n], vec![0usize; n]);
    let mut open = vec![false; n];
    let (mut stack, mut calls): (Vec<usize>, Vec<(usize, usize)>) = (vec![], vec![]);
    let mut out = Vec::new();
    let mut next = 0;
    for root in 0..n {
        let Some(label) = labels[root] else { continue };
        if order[root] != NEW {
            continue;
        }
        calls.push((root, graph.indptr[root]));
        while let Some((node, edge)) = calls.pop() {
            if edge == graph.indptr[node] {
                (order[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
                open[node] = true;
            }
            let mut edge = edge;
            let mut child = None;
            while edge < graph.indptr[node + 1] {
                let (to, weight) = (graph.indices[edge] as usize, graph.values[edge]);
                edge += 1;
                if weight == 0.0 || labels[to] != Some(label) {
                    continue;
                }
                if order[to] == NEW {
                    child = Some(to);
                    break;
                }
                if open[to] {
                    low[node] = low[node].min(order[to]);
                }
            }
            if let Some(to) = child {
                calls.push((node, edge));
                calls.push((to, graph.indptr[to]));
                continue;
            }
            if low[node] == order[node] {
                let mut members = 0;
                while let Some(member) = stack.pop() {
                    open[member] = false;
                    members += 1;
                    if member == node {
                        break;
                    }
                }
                out.push((label, members));
            }
            if let Some(&(parent, _)) = calls.last() {
                low[parent] = low[parent].min(low[node]);
            }
        }
    }
    out
}

/// Options of [`integration_scores`].
#[derive(Debug, Clone, PartialEq)]
pub struct Integration {
    batch: String,
    label: String,
    cluster: Option<String>,
    use_rep: String,
    graph: Option<String>,
    perplexity: f64,
}

impl Integration {
    /// Score with the batches and cell types that these columns of `obs` hold.
    pub fn new(batch: impl Into<String>, label: impl Into<String>) -> Self {
        Integration {
            batch: batch.into(),
            label: label.into(),
            cluster: None,
            use_rep: "X_pca".into(),
            graph: None,
            perplexity: 30.0,
        }
    }

    /// The column of `obs` with clusters of the embedding, for NMI and ARI. Default: none.
    pub fn cluster(mut self, column: impl Into<String>) -> Self {
        self.cluster = Some(column.into());
        self
    }

    /// The entry of `obsm` to score. Default: `X_pca`.
    pub fn use_rep(mut self, key: impl Into<String>) -> Self {
        self.use_rep = key.into();
        self
    }

    /// The entry of `obsp` for the graph connectivity. Default: none.
    pub fn graph(mut self, key: impl Into<String>) -> Self {
        self.graph = Some(key.into());
        self
    }

    /// Perplexity of LISI. Default: 30.
    pub fn perplexity(mut self, perplexity: f64) -> Self {
        self.perplexity = perplexity;
        self
    }
}

/// What [`integration_scores`] found; all from 0 to 1 (ARI from below 0), higher is better. `None`
/// where clusters or a graph were not given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntegrationScores {
    /// Normalised mutual information of clusters and cell types.
    pub nmi: Option<f64>,
    /// Adjusted Rand index of clusters and cell types.
    pub ari: Option<f64>,
    /// [`silhouette_label`].
    pub asw_label: f64,
    /// [`silhouette_batch`].
    pub asw_batch: f64,
    /// [`graph_connectivity`].
    pub graph_connectivity: Option<f64>,
    /// [`ilisi`].
    pub ilisi: f64,
    /// [`clisi`].
    pub clisi: f64,
}

impl IntegrationScores {
    /// AvgBIO as scGPT defines it: the mean of ARI, NMI and the silhouette of cell types.
    pub fn avg_bio(&self) -> Option<f64> {
        Some((self.ari? + self.nmi? + self.asw_label) / 3.0)
    }

    /// AvgBATCH as scGPT defines it: the mean of the silhouette of batches and the graph
    /// connectivity.
    pub fn avg_batch(&self) -> Option<f64> {
        Some((self.asw_batch + self.graph_connectivity?) / 2.0)
    }

    /// All scores as a table of one column, `score`; NaN for those that are not there.
    pub fn to_frame(&self) -> Frame {
        let rows = [
            ("NMI", self.nmi),
            ("ARI", self.ari),
            ("ASW label", Some(self.asw_label)),
            ("cLISI", Some(self.clisi)),
            ("AvgBIO", self.avg_bio()),
            ("ASW batch", Some(self.asw_batch)),
            ("graph connectivity", self.graph_connectivity),
            ("iLISI", Some(self.ilisi)),
            ("AvgBATCH", self.avg_batch()),
        ];
        let mut table = Frame::new(rows.map(|(name, _)| name.to_string()).to_vec());
        let scores = rows.map(|(_, score)| score.unwrap_or(f64::NAN)).to_vec();
        table.insert("score", scores).expect("one score a row");
        table
    }
}

/// Scores how well the embedding `obsm[use_rep]` of several batches is integrated. Writes nothing.
///
/// # Errors
/// [`Error::MissingKey`] without a column, the embedding or the graph, and those of the single
/// scores.
pub fn integration_scores(adata: &AnnData, options: Integration) -> Result<IntegrationScores> {
    let (batch, label) = (adata.obs_column(&options.batch)?, adata.obs_column(&options.label)?);
    let cluster = options.cluster.as_deref().map(|c| adata.obs_column(c)).transpose()?;
    let graph = match &options.graph {
        Some(key) => {
            let names = || adata.obsp.keys();
            let graph = adata.obsp.get(key);
            Some(graph.ok_or_else(|| Error::missing_key("obsp", "entry", key, names()))?)
        }
        None => None,
    };
    let x = adata.obsm(&options.use_rep)?.to_array_f64();
    Ok(IntegrationScores {
        nmi: cluster.map(|c| nmi(c, label)).transpose()?,
        ari: cluster.map(|c| ari(c, label)).transpose()?,
        asw_label: silhouette_label(x.view(), label)?,
        asw_batch: silhouette_batch(x.view(), label, batch)?,
        graph_connectivity: graph.map(|g| graph_connectivity(g, label)).transpose()?,
        ilisi: ilisi(x.view(), batch, options.perplexity)?,
        clisi: clisi(x.view(), label, options.perplexity)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anndata::Categorical;
    use crate::rng::Rng;
    use ndarray::array;

    fn sample(batch_effect: f64) -> AnnData {
        let mut rng = Rng::new(1);
        let x = Array2::from_shape_fn((240, 3), |(i, j)| {
            let (kind, batch) = (i % 2, i / 120);
            rng.normal() + 12.0 * (kind * j) as f64 + batch_effect * batch as f64
        });
        let mut a = AnnData { obs: Frame::with_len(240), ..AnnData::default() };
        a.obs
            .insert("kind", Categorical::from_numbers(&(0..240).map(|i| i % 2).collect::<Vec<_>>()))
            .unwrap();
        a.obs
            .insert(
                "slide",
                Categorical::from_numbers(&(0..240).map(|i| i / 120).collect::<Vec<_>>()),
            )
            .unwrap();
        a.obsm.insert("X_pca".into(), x.into());
        a.obsp.insert("graph".into(), Array2::<f64>::eye(240).into());
        a
    }

    #[test]
    fn mixed_batches_score_better_than_separate_ones() {
        let options = || Integration::new("slide", "kind").cluster("kind").graph("graph");
        let good = integration_scores(&sample(0.0), options()).unwrap();
        let bad = integration_scores(&sample(9.0), options()).unwrap();
        assert!(good.asw_batch > 0.9 && bad.asw_batch < 0.5);
        assert!(good.ilisi > 0.7 && bad.ilisi < 0.1);
        assert!(good.asw_label > 0.8 && good.clisi > 0.99);
        assert_eq!((good.ari, good.graph_connectivity), (Some(1.0), Some(1.0 / 120.0)));
        let expected = (2.0 + good.asw_label) / 3.0;
        assert!((good.avg_bio().unwrap() - expected).abs() < 1e-12);
        assert_eq!(good.to_frame().len(), 9);
    }

    #[test]
    fn only_edges_within_a_type_and_both_ways_connect() {
        // 0 ⇄ 1, 1 → 2, all of type a; 3 and 4 of type b are connected through 0 only.
        let graph = Matrix::from(array![
            [0., 1., 0., 1., 1.],
            [1., 0., 1., 0., 0.],
            [0., 0., 0., 0., 0.],
            [1., 0., 0., 0., 0.],
            [1., 0., 0., 0., 0.]
        ]);
        let got = graph_connectivity(&graph, &["a", "a", "a", "b", "b"]).unwrap();
        assert!((got - (2.0 / 3.0 + 0.5) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn long_chains_need_no_deep_recursion() {
        let n = 100_000;
        let ring = Csr {
            nrows: n,
            ncols: n,
            indptr: (0..=n).collect(),
            indices: (0..n).map(|i| ((i + 1) % n) as u32).collect(),
            values: vec![1f64; n],
        };
        assert_eq!(graph_connectivity(&ring.into(), &vec![0; n]).unwrap(), 1.0);
    }

    #[test]
    fn what_cannot_be_scored_is_refused() {
        let a = sample(0.0);
        let x = a.obsm["X_pca"].to_array_f64();
        let labels: Vec<usize> = (0..240).map(|i| i % 2).collect();
        let e = silhouette_batch(x.view(), &labels, &vec![1; 240]).unwrap_err().to_string();
        assert!(e.contains("several batches"), "{e}");
        assert!(silhouette_batch(x.view(), &labels, &[1, 2]).is_err());
        assert!(silhouette_label(x.view(), &vec![1; 240]).is_err());
        assert!(graph_connectivity(&a.obsp["graph"], &[1, 2]).is_err());
        let e = integration_scores(&a, Integration::new("slide", "kind").graph("knn")).unwrap_err();
        assert!(e.to_string().contains("no entry `knn`; it has: graph"), "{e}");
        assert!(integration_scores(&a, Integration::new("x", "kind")).is_err());
    }

    #[test]
    fn an_entry_that_is_no_number_is_no_edge_but_an_error() {
        let graph = |w: f64| Matrix::from(array![[0., w, 0.], [w, 0., 1.], [0., 1., 0.]]);
        let of = |w: f64, labels: [&str; 3]| graph_connectivity(&graph(w), &labels);
        for (bad, word) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let e = of(bad, ["a", "a", "b"]).unwrap_err().to_string();
            assert!(e.contains(&format!("graph: the entry of cells 0 and 1 is {word};")), "{e}");
        }
        assert_eq!(of(0.0, ["a", "a", "b"]).unwrap(), 0.75);
        assert_eq!(of(-2.0, ["a", "a", "b"]).unwrap(), 1.0);
        let none = Categorical::from_labels(&[None::<&str>; 3]);
        let e = graph_connectivity(&graph(1.0), &none).unwrap_err().to_string();
        assert!(e.contains("no observation has one"), "{e}");
    }

    #[test]
    fn types_of_one_batch_do_not_count_and_coordinates_must_be_numbers() {
        let a = sample(0.0);
        let mut x = a.obsm["X_pca"].to_array_f64();
        let batches: Vec<usize> = (0..240).map(|i| if i % 2 == 0 { 0 } else { i / 120 }).collect();
        let kind: Vec<_> = (0..240).map(|i| Some(["alone", "mixed"][i % 2])).collect();
        let mixed: Vec<_> = kind.iter().map(|k| k.filter(|k| *k == "mixed")).collect();
        let all = silhouette_batch(x.view(), &Categorical::from_labels(&kind), &batches).unwrap();
        let some = silhouette_batch(x.view(), &Categorical::from_labels(&mixed), &batches).unwrap();
        assert_eq!(all, some);
        x[[1, 0]] = f64::NAN;
        let kind = Categorical::from_labels(&kind);
        for e in [silhouette_batch(x.view(), &kind, &batches), silhouette_label(x.view(), &kind)] {
            let e = e.unwrap_err().to_string();
            assert!(e.contains("hold NaN or infinity"), "{e}");
        }
    }
}
