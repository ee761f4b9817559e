//! Graphs over observations, and graph convolution without a dense matrix.

use super::fused;
use super::linear::relu;
use super::store::Store;
use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

/// A symmetric 0/1 graph without self loops: compressed rows with sorted neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjacency {
    indptr: Vec<usize>,
    indices: Vec<u32>,
}

impl Adjacency {
    /// The undirected graph that has an edge wherever one direction of `directed` is given; self
    /// loops are left out. `directed[i]` lists the nodes that node `i` points to.
    pub fn from_directed(directed: &[Vec<u32>]) -> Self {
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); directed.len()];
        for (i, targets) in directed.iter().enumerate() {
            for &j in targets.iter().filter(|&&j| j as usize != i) {
                rows[i].push(j);
                rows[j as usize].push(i as u32);
            }
        }
        let mut indptr = vec![0];
        let mut indices = Vec::new();
        for mut row in rows {
            row.sort_unstable();
            row.dedup();
            indices.extend(row);
            indptr.push(indices.len());
        }
        Adjacency { indptr, indices }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of edges, each direction counted.
    pub fn n_edges(&self) -> usize {
        self.indices.len()
    }

    /// The neighbours of node `i`, rising.
    pub fn neighbours(&self, i: usize) -> &[u32] {
        &self.indices[self.indptr[i]..self.indptr[i + 1]]
    }

    /// The graph as a dense 0/1 tensor `[n, n]`, for the plain forms and tests.
    ///
    /// # Errors
    /// Those of the device.
    pub fn to_dense(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let n = self.len();
        let mut dense = vec![0f32; n * n];
        for i in 0..n {
            for &j in self.neighbours(i) {
                dense[i * n + j as usize] = 1.0;
            }
        }
        Ok(Tensor::from_vec(dense, (n, n), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?)
    }

    /// Graph convolution's propagation D^-1/2 (A + I) D^-1/2 with D the row sums of A + I
    /// (Kipf and Welling, 2017), as PyTorch Geometric's `GCNConv`.
    pub fn propagation(&self) -> Propagation {
        let n = self.len();
        let scale: Vec<f32> =
            (0..n).map(|i| 1.0 / ((self.neighbours(i).len() + 1) as f32).sqrt()).collect();
        let mut p = Propagation {
            indptr: vec![0],
            indices: Vec::with_capacity(self.n_edges() + n),
            weights: Vec::with_capacity(self.n_edges() + n),
        };
        for i in 0..n {
            let row = self.neighbours(i);
            let at = row.partition_point(|&j| (j as usize) < i);
            for &j in row[..at].iter().chain([&(i as u32)]).chain(&row[at..]) {
                p.indices.push(j);
                p.weights.push(scale[i] * scale[j as usize]);
            }
            p.indptr.push(p.indices.len());
        }
        p
    }
}

/// A symmetric sparse matrix that spreads rows over a graph's edges.
#[derive(Debug, Clone, PartialEq)]
pub struct Propagation {
    pub(crate) indptr: Vec<usize>,
    pub(crate) indices: Vec<u32>,
    pub(crate) weights: Vec<f32>,
}

impl Propagation {
    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// P x.
    ///
    /// # Shapes
    /// `[n, d]` → `[n, d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when `x` has not one row per node; those of the device.
    pub fn apply(self: &Arc<Self>, x: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if fused::usable(x) {
            return fused::PropagateOp { matrix: self.clone() }.apply(x);
        }
        self.plain(x)
    }

    /// relu(P x + b).
    ///
    /// # Shapes
    /// `[n, d]`, `[d]` → `[n, d]`.
    ///
    /// # Errors
    /// As [`apply`](Propagation::apply).
    pub fn apply_bias_relu(self: &Arc<Self>, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        self.check(x)?;
        if fused::usable(x) {
            return fused::PropagateReluOp { matrix: self.clone() }.apply(x, bias);
        }
        relu(&self.plain(x)?.broadcast_add(bias)?)
    }

    /// [`apply`](Propagation::apply) in candle's own operations, over the list of edges.
    ///
    /// # Errors
    /// Those of the device.
    pub fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let device = x.device();
        let rows = (0..self.len())
            .flat_map(|i| std::iter::repeat_n(i as u32, self.indptr[i + 1] - self.indptr[i]));
        let rows = Tensor::from_iter(rows, device)?;
        let columns = Tensor::from_slice(&self.indices, self.indices.len(), device)?;
        let weights = Tensor::from_slice(&self.weights, (self.weights.len(), 1), device)?;
        let along = x.index_select(&columns, 0)?.broadcast_mul(&weights.to_dtype(x.dtype())?)?;
        Ok(x.zeros_like()?.index_add(&rows, &along, 0)?)
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let rows = x.dim(0)?;
        if rows != self.len() {
            return Err(Error::shape("rows to spread over the graph", self.len(), rows));
        }
        Ok(())
    }
}

/// relu(P X Wᵀ + b): a graph convolution with its activation (Kipf and Welling, 2017).
///
/// P is applied on the narrower side of the product, which is the same by associativity.
#[derive(Debug, Clone)]
pub struct Gcn {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`.
    pub bias: Tensor,
}

impl Gcn {
    /// A layer as PyTorch Geometric initialises it (Glorot weight, zero bias), with parameters
    /// `name.lin.weight` and `name.bias`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(store: &mut Store, name: &str, inner: usize, out: usize) -> Result<Self> {
        let bias = store.zeros(&format!("{name}.bias"), &[out])?;
        let weight = store.glorot(&format!("{name}.lin.weight"), out, inner)?;
        Ok(Gcn { weight, bias })
    }

    /// The layer's output.
    ///
    /// # Shapes
    /// `[n, in]` → `[n, out]`.
    ///
    /// # Errors
    /// Those of the device; shapes that do not fit.
    pub fn forward(&self, p: &Arc<Propagation>, x: &Tensor) -> Result<Tensor> {
        let (out, inner) = self.weight.dims2()?;
        if inner <= out {
            return self.dense().forward(&p.apply(x)?, None);
        }
        p.apply_bias_relu(&x.matmul(&self.weight.t()?)?, &self.bias)
    }

    /// The part of the layer after propagation: relu(· Wᵀ + b).
    pub fn dense(&self) -> super::Linear {
        super::Linear::from_parts(self.weight.clone(), self.bias.clone()).with_relu()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_exists_if_either_direction_does() {
        let a = Adjacency::from_directed(&[vec![0, 2], vec![2], vec![2]]);
        assert_eq!(a.neighbours(0), [2]);
        assert_eq!(a.neighbours(1), [2]);
        assert_eq!(a.neighbours(2), [0, 1]);
        let p = Arc::new(a.propagation());
        let x = Tensor::new(&[[1f32], [0.], [0.]], &Device::Cpu).unwrap();
        let y = p.apply(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = [0.5, 0.0, 1.0 / 6f32.sqrt()];
        assert!(y.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{y:?}");
        let wrong = Tensor::zeros((2, 1), DType::F32, &Device::Cpu).unwrap();
        assert!(p.apply(&wrong).is_err());
    }
}
