//! [`interaction_matrix`]: how many edges join each two clusters.

use super::graph::{CONNECTIVITIES, categories, graph};
use crate::anndata::{AnnData, Matrix, Value, Values};
use crate::error::{Error, Result};

/// Options of [`interaction_matrix`].
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionMatrix {
    cluster_key: String,
    connectivity_key: String,
    weights: bool,
    normalized: bool,
}

impl InteractionMatrix {
    /// Of the clusters in this column of `obs`.
    pub fn new(cluster_key: impl Into<String>) -> Self {
        InteractionMatrix {
            cluster_key: cluster_key.into(),
            connectivity_key: CONNECTIVITIES.into(),
            weights: false,
            normalized: false,
        }
    }

    /// The graph in `obsp`. Default: `spatial_connectivities`.
    pub fn connectivity_key(mut self, key: impl Into<String>) -> Self {
        self.connectivity_key = key.into();
        self
    }

    /// Whether weights are added rather than edges counted. Default: false.
    pub fn weights(mut self, yes: bool) -> Self {
        self.weights = yes;
        self
    }

    /// Whether each row is divided by its sum. Default: false.
    pub fn normalized(mut self, yes: bool) -> Self {
        self.normalized = yes;
        self
    }
}

/// Counts the edges (or adds their weights) from each cluster to each.
///
/// Matches `squidpy.gr.interaction_matrix` 1.8.2 within 1e-12 relative. Spots without a cluster and
/// their edges are left out, as there.
///
/// Writes `uns["<cluster_key>_interactions"]`, clusters × clusters in the order of the categories
/// (row: from, column: to). Normalized, the row of a cluster without edges is NaN.
///
/// # Errors
/// [`Error::MissingKey`] without the column; [`Error::Data`] without the graph or when no spot has
/// a cluster.
pub fn interaction_matrix(adata: &mut AnnData, options: InteractionMatrix) -> Result<()> {
    let clusters = categories(adata, &options.cluster_key)?;
    let g = graph(adata, &options.connectivity_key)?;
    if clusters.codes.iter().all(|&c| c < 0) {
        let reason = "no observation has a category";
        return Err(Error::data(format!("obs[\"{}\"]", options.cluster_key), reason));
    }
    let k = clusters.categories.len();
    let mut sums = vec![0.0f64; k * k];
    for r in 0..g.nrows {
        let Ok(from) = usize::try_from(clusters.codes[r]) else { continue };
        for (c, w) in g.row(r) {
            if let Ok(to) = usize::try_from(clusters.codes[c]) {
                sums[from * k + to] += if options.weights { w } else { 1.0 };
            }
        }
    }
    let stored = adata.obsp.get(&options.connectivity_key).map(Matrix::values);
    let whole = stored.is_some_and(|v| !v.is_float());
    let values: Values = if options.normalized {
        let row = |r: &[f64]| {
            let sum: f64 = r.iter().sum();
            r.iter().map(|x| x / sum).collect::<Vec<f64>>()
        };
        sums.chunks(k).flat_map(row).collect::<Vec<f64>>().into()
    } else if whole {
        sums.iter().map(|&x| x as i64).collect::<Vec<i64>>().into()
    } else {
        sums.into()
    };
    let key = format!("{}_interactions", options.cluster_key);
    adata.uns.insert(key, Value::Array { shape: vec![k, k], values });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gr::sample::slide;
    use crate::gr::{SpatialNeighbors, spatial_neighbors};

    fn matrix(a: &AnnData, column: &str) -> Vec<f64> {
        match &a.uns[&format!("{column}_interactions")] {
            Value::Array { shape, values } => {
                assert_eq!(shape, &[3, 3]);
                values.to_f64().into_owned()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn edges_are_counted_from_row_to_column() {
        let mut a = slide(6, 4);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        interaction_matrix(&mut a, InteractionMatrix::new("cluster")).unwrap();
        assert_eq!(matrix(&a, "cluster"), [20., 4., 0., 4., 20., 4., 0., 4., 20.]);
        interaction_matrix(&mut a, InteractionMatrix::new("cluster").normalized(true)).unwrap();
        assert_eq!(matrix(&a, "cluster")[3..6], [4. / 28., 20. / 28., 4. / 28.]);
        // The corner spot without a cluster takes its two edges along, in both directions.
        interaction_matrix(&mut a, InteractionMatrix::new("partly").weights(true)).unwrap();
        assert_eq!(matrix(&a, "partly")[0], 16.0);
    }

    #[test]
    fn a_category_without_spots_has_no_edges() {
        let mut a = slide(6, 4);
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        let categories = ["one", "rest", "none"].map(String::from).to_vec();
        let codes = (0..24).map(|i| i32::from(i > 0)).collect();
        let c = crate::anndata::Categorical { codes, categories, typed: None, ordered: false };
        a.obs.insert("few", c).unwrap();
        interaction_matrix(&mut a, InteractionMatrix::new("few")).unwrap();
        assert_eq!(matrix(&a, "few"), [0., 2., 0., 2., 72., 0., 0., 0., 0.]);
        interaction_matrix(&mut a, InteractionMatrix::new("few").normalized(true)).unwrap();
        let parts = matrix(&a, "few");
        assert_eq!(parts[..6], [0., 1., 0., 2. / 74., 72. / 74., 0.]);
        assert!(parts[6..].iter().all(|p| p.is_nan()), "{parts:?}");
    }

    #[test]
    fn bad_input_is_named() {
        let mut a = slide(6, 4);
        let e = interaction_matrix(&mut a, InteractionMatrix::new("cluster")).unwrap_err();
        assert!(e.to_string().contains("gr::spatial_neighbors"), "{e}");
        spatial_neighbors(&mut a, SpatialNeighbors::grid(4)).unwrap();
        a.obs.insert("area", vec![1.5; 24]).unwrap();
        let e = interaction_matrix(&mut a, InteractionMatrix::new("area")).unwrap_err();
        assert!(e.to_string().contains("not categories"), "{e}");
        let e = interaction_matrix(&mut a, InteractionMatrix::new("kind")).unwrap_err();
        assert!(e.to_string().contains("obs has no column `kind`"), "{e}");
        let void = crate::anndata::Categorical::from_labels::<&str>(&[None; 24]);
        a.obs.insert("void", void).unwrap();
        let e = interaction_matrix(&mut a, InteractionMatrix::new("void")).unwrap_err();
        assert!(e.to_string().contains("no observation has a category"), "{e}");
    }
}
