//! [`centrality_scores`]: how central the spots of each cluster are in the graph.

use super::graph::{CONNECTIVITIES, categories, graph};
use crate::anndata::{AnnData, Frame, Value};
use crate::error::{Error, Result};
use crate::linalg::Csr;
use crate::parallel::map_range;
use crate::progress::check_interrupt;
use rayon::prelude::*;

/// Options of [`centrality_scores`].
#[derive(Debug, Clone, PartialEq)]
pub struct CentralityScores {
    cluster_key: String,
    connectivity_key: String,
}

impl CentralityScores {
    /// Of the clusters in this column of `obs`.
    pub fn new(cluster_key: impl Into<String>) -> Self {
        let (cluster_key, connectivity_key) = (cluster_key.into(), CONNECTIVITIES.into());
        CentralityScores { cluster_key, connectivity_key }
    }

    /// The graph in `obsp`. Default: `spatial_connectivities`.
    pub fn connectivity_key(mut self, key: impl Into<String>) -> Self {
        self.connectivity_key = key.into();
        self
    }
}

/// A graph without directions and weights: for each spot its neighbours, rising, itself left out.
struct Undirected {
    start: Vec<usize>,
    to: Vec<u32>,
}

impl Undirected {
    fn of(g: &Csr<f64>) -> Undirected {
        let t = g.transpose();
        let mut start = vec![0];
        let mut to = Vec::with_capacity(g.indices.len());
        let mut row: Vec<u32> = Vec::new();
        for r in 0..g.nrows {
            row.clear();
            row.extend(&g.indices[g.indptr[r]..g.indptr[r + 1]]);
            row.extend(&t.indices[t.indptr[r]..t.indptr[r + 1]]);
            row.sort_unstable();
            row.dedup();
            to.extend(row.iter().filter(|&&c| c as usize != r));
            start.push(to.len());
        }
        Undirected { start, to }
    }

    fn of_spot(&self, i: usize) -> &[u32] {
        &self.to[self.start[i]..self.start[i + 1]]
    }

    fn len(&self) -> usize {
        self.start.len() - 1
    }

    /// Of all pairs of neighbours of a spot the part that are neighbours themselves; 0 with fewer
    /// than two.
    fn clustering(&self, i: usize) -> f64 {
        let mine = self.of_spot(i);
        let common = |&j: &u32| {
            let theirs = self.of_spot(j as usize);
            mine.iter().filter(|c| theirs.binary_search(c).is_ok()).count()
        };
        // Each pair that is joined is found from both sides.
        let joined: usize = mine.iter().map(common).sum();
        let d = mine.len();
        if d < 2 { 0.0 } else { joined as f64 / (d * (d - 1)) as f64 }
    }

    /// How many spots outside a group neighbour it.
    fn around(&self, group: &[u32], inside: &[bool]) -> usize {
        let mut seen = inside.to_vec();
        let all = group.iter().flat_map(|&i| self.of_spot(i as usize));
        all.filter(|&&c| !std::mem::replace(&mut seen[c as usize], true)).count()
    }

    /// Sum of the steps from a group to every spot that can be reached.
    fn steps(&self, group: &[u32], inside: &[bool]) -> u64 {
        let mut seen = inside.to_vec();
        let (mut sum, mut depth) = (0, 0);
        let mut frontier = group.to_vec();
        while !frontier.is_empty() {
            depth += 1;
            let mut next = Vec::new();
            for &i in &frontier {
                let new = |c: &&u32| !std::mem::replace(&mut seen[**c as usize], true);
                next.extend(self.of_spot(i as usize).iter().filter(new));
            }
            sum += depth * next.len() as u64;
            frontier = next;
        }
        sum
    }
}

/// Measures how central each cluster is: its degree centrality (of the spots outside it the part
/// that neighbours it), average clustering (Watts and Strogatz, 1998), and closeness centrality
/// (spots outside it by the sum of their steps to it; those out of reach count as 0 steps, as in
/// networkx). Directions and weights of edges are not looked at.
///
/// Matches `squidpy.gr.centrality_scores` 1.8.2 within 1e-12.
///
/// Writes `uns["<cluster_key>_centrality_scores"]`, a table with a row for each category and the
/// columns `degree_centrality`, `average_clustering` and `closeness_centrality`. Closeness is 0
/// for a cluster from which nothing can be reached. Spots without a cluster belong to none.
///
/// # Errors
/// [`Error::MissingKey`] without the column; [`Error::Data`] without the graph, and when a category
/// has no spot or all of them.
pub fn centrality_scores(adata: &mut AnnData, options: CentralityScores) -> Result<()> {
    let key = &options.cluster_key;
    let clusters = categories(adata, key)?;
    let g = Undirected::of(&graph(adata, &options.connectivity_key)?);
    let n = g.len();
    let k = clusters.categories.len();
    let mut groups: Vec<Vec<u32>> = vec![Vec::new(); k];
    for (i, &code) in clusters.codes.iter().enumerate() {
        if let Ok(c) = usize::try_from(code) {
            groups[c].push(i as u32);
        }
    }
    let what = || format!("obs[\"{key}\"]");
    if let Some(empty) = groups.iter().position(Vec::is_empty) {
        let reason = format!(
            "category `{}` has no spot; drop it with `adata.remove_unused_categories()`",
            clusters.categories[empty]
        );
        return Err(Error::data(what(), reason));
    }
    if k == 0 || groups.iter().any(|group| group.len() == n) {
        let reason = "needs at least 2 categories; centrality is towards the other spots";
        return Err(Error::data(what(), reason));
    }
    let clustering: Vec<f64> =
        (0..n).into_par_iter().with_min_len(512).map(|i| g.clustering(i)).collect();
    let scores = |group: &Vec<u32>| -> Result<[f64; 3]> {
        check_interrupt()?;
        let mut inside = vec![false; n];
        group.iter().for_each(|&i| inside[i as usize] = true);
        let outside = (n - group.len()) as f64;
        let degree = g.around(group, &inside) as f64 / outside;
        let sum: f64 = group.iter().map(|&i| clustering[i as usize]).sum();
        let steps = g.steps(group, &inside);
        let closeness = if steps == 0 { 0.0 } else { outside / steps as f64 };
        Ok([degree, sum / group.len() as f64, closeness])
    };
    let all: Result<Vec<[f64; 3]>> =
        map_range(groups.len(), 1, |i| scores(&groups[i])).into_iter().collect();
    let all = all?;
    let mut table = Frame::new(clusters.categories.clone());
    let names = ["degree_centrality", "average_clustering", "closeness_centrality"];
    for (column, name) in names.into_iter().enumerate() {
        table.insert(name, all.iter().map(|s| s[column]).collect::<Vec<f64>>())?;
    }
    adata.uns.insert(format!("{key}_centrality_scores"), Value::Frame(table));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gr::sample::slide;
    use crate::gr::{SpatialNeighbors, spatial_neighbors};

    fn column(a: &AnnData, name: &str) -> Vec<f64> {
        match &a.uns["cluster_centrality_scores"] {
            Value::Frame(f) => f.get(name).unwrap().to_f64().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn thirds_of_a_square() {
        let mut a = slide(6, 4);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        centrality_scores(&mut a, CentralityScores::new("cluster")).unwrap();
        assert_eq!(column(&a, "degree_centrality"), [4. / 16., 8. / 16., 4. / 16.]);
        assert_eq!(column(&a, "average_clustering"), [0.0; 3]);
        // Columns of 4 spots 1 to 4 steps from the left third, 1 and 2 from the middle one.
        assert_eq!(column(&a, "closeness_centrality"), [16. / 40., 16. / 24., 16. / 40.]);
        spatial_neighbors(&mut a, SpatialNeighbors::delaunay()).unwrap();
        centrality_scores(&mut a, CentralityScores::new("cluster")).unwrap();
        assert!(column(&a, "average_clustering").iter().all(|&c| c > 0.3 && c < 0.8));
    }

    #[test]
    fn spots_without_a_cluster_and_clusters_of_one_are_defined() {
        let mut a = slide(6, 4);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        let mut scores = |codes: Vec<i32>, categories: &[&str]| {
            let categories = categories.iter().map(ToString::to_string).collect();
            let c = crate::anndata::Categorical { codes, categories, typed: None, ordered: false };
            a.obs.insert("cluster", c).unwrap();
            centrality_scores(&mut a, CentralityScores::new("cluster")).unwrap();
            ["degree_centrality", "closeness_centrality"].map(|name| column(&a, name))
        };
        // The corner belongs to none, so that it lies outside of the left third.
        let thirds = (0..24).map(|i| if i == 0 { -1 } else { i % 6 / 2 }).collect();
        let [degree, closeness] = scores(thirds, &["a", "b", "c"]);
        assert_eq!(degree, [5. / 17., 8. / 16., 4. / 16.]);
        assert_eq!(closeness, [17. / 41., 16. / 24., 16. / 40.]);
        let [degree, closeness] =
            scores((0..24).map(|i| i32::from(i > 0)).collect(), &["corner", "rest"]);
        assert_eq!(degree, [2. / 23., 1.]);
        assert_eq!(closeness, [23. / 96., 1.]);
    }

    #[test]
    fn parts_out_of_reach_and_bad_input_are_defined() {
        let mut a = slide(6, 4);
        let e = centrality_scores(&mut a, CentralityScores::new("cluster")).unwrap_err();
        assert!(e.to_string().contains("Run `gr::spatial_neighbors` first"), "{e}");
        let e = centrality_scores(&mut a, CentralityScores::new("kind")).unwrap_err();
        assert!(e.to_string().contains("obs has no column `kind`"), "{e}");
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4).library_key("cluster")).unwrap();
        centrality_scores(&mut a, CentralityScores::new("cluster")).unwrap();
        assert_eq!(column(&a, "closeness_centrality"), [0.0; 3]);
        let mut few = a.take_obs(&[0, 1, 6, 7]);
        let e = centrality_scores(&mut few, CentralityScores::new("cluster")).unwrap_err();
        assert!(e.to_string().contains("remove_unused_categories"), "{e}");
        few.remove_unused_categories();
        let e = centrality_scores(&mut few, CentralityScores::new("cluster")).unwrap_err();
        assert!(e.to_string().contains("at least 2"), "{e}");
    }
}
