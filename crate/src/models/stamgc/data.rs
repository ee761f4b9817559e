//! What the network is trained on, and the products with it.

use crate::anndata::stored_by_rows;
use crate::error::{Error, Result};
use crate::linalg::Csr;
use crate::nn::{Adjacency, Propagation, fused};
use candle_core::{Device, Tensor};
use ndarray::Array2;
use std::sync::Arc;

/// What the network is trained on.
#[derive(Debug, Clone)]
pub struct TrainingData {
    /// Expression, `[n, genes]`.
    pub features: Tensor,
    /// The pruned graph.
    pub graph: Arc<Adjacency>,
    /// Its propagation matrix P.
    pub propagation: Arc<Propagation>,
    /// A pseudo label for each spot.
    pub labels: Arc<Vec<u32>>,
    /// Expression by spots and by genes, where most of it is 0 and it is the CPU that computes.
    sparse: Option<Arc<[Csr<f32>; 2]>>,
}

impl TrainingData {
    /// From expression (spots × genes), the pruned graph and pseudo labels.
    ///
    /// # Errors
    /// [`Error::Shape`] when the numbers of spots differ; those of the device.
    pub fn new(
        features: Array2<f32>,
        graph: Adjacency,
        labels: Vec<u32>,
        device: &Device,
    ) -> Result<Self> {
        let (n, genes) = features.dim();
        for (what, found) in [("nodes of the graph", graph.len()), ("labels", labels.len())] {
            if found != n {
                return Err(Error::shape(what, n, found));
            }
        }
        let features = features.as_standard_layout().into_owned().into_raw_vec_and_offset().0;
        let sparse = if device.is_cpu() { both_ways(&features, (n, genes)) } else { None };
        Ok(TrainingData {
            features: Tensor::from_vec(features, (n, genes), device)?,
            propagation: Arc::new(graph.propagation()),
            graph: Arc::new(graph),
            labels: Arc::new(labels),
            sparse: sparse.map(Arc::new),
        })
    }

    /// x Wᵀ on the CPU, for a W of `out` rows.
    pub(super) fn product(&self, w: &[f32], out: usize) -> Result<Vec<f32>> {
        if let Some(both) = &self.sparse {
            return Ok(fused::sparse_dense(&both[0], w, out));
        }
        let (n, genes) = self.features.dims2()?;
        fused::elements!(x, self.features);
        let mut product = vec![0f32; n * out];
        fused::dense((n, genes, out), x, w, None, fused::Activation::None, &mut product);
        Ok(product)
    }

    /// gᵀ x on the CPU: the gradient of W, from that of the product.
    pub(super) fn weight_gradient(&self, g: &[f32], out: usize) -> Result<Vec<f32>> {
        if let Some(both) = &self.sparse {
            return Ok(fused::sparse_weight(&both[1], g, out));
        }
        let (n, genes) = self.features.dims2()?;
        fused::elements!(x, self.features);
        Ok(fused::dense_weight((n, genes, out), g, x))
    }
}

/// Expression by spots and by genes, where most of it is 0.
fn both_ways(x: &[f32], (nrows, ncols): (usize, usize)) -> Option<[Csr<f32>; 2]> {
    let stored = x.iter().filter(|&&v| v != 0.0).count();
    if stored as f64 > fused::DENSITY * x.len() as f64 {
        return None;
    }
    let (indptr, indices, values) = stored_by_rows(x, (nrows, ncols));
    let rows = Csr { nrows, ncols, indptr, indices, values };
    let columns = rows.transpose();
    Some([rows, columns])
}
