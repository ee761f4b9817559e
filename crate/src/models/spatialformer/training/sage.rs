//! [`Sage`]: a table of genes by where their molecules lie, which a network begins with.
//!
//! ```text
//! molecules ─ joined within 3 units ─ two layers of GraphSAGE ─> a vector each ─ mean over each gene ─> table
//! ```
//! Trained so that the product of two vectors tells joined molecules from others (Hamilton, Ying and
//! Leskovec, 2017). The released code draws neighbours; here each batch is all molecules of some cells, with
//! all their neighbours. What it does with the table is the same: padding is 0, tokens without molecules are
//! uniform between 0 and 1.

use super::super::vocabulary::{PAD, Vocabulary};
use super::losses::softplus;
use super::together::{Transcripts, joined};
use crate::anndata::AnnData;
use crate::error::{Error, Result};
use crate::nn::{Adam, AdamConfig, Device, Propagation, Store};
use crate::progress::Progress;
use crate::rng::{Rng, hash};
use candle_core::Tensor;
use ndarray::Array2;
use std::sync::Arc;

/// How the table is made. A builder; the defaults are the released ones but for the width of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Sage {
    radius: f32,
    hidden: usize,
    dim: usize,
    batches: usize,
    molecules: usize,
    learning_rate: f64,
    seed: u64,
    device: Device,
}

impl Default for Sage {
    fn default() -> Self {
        Sage {
            radius: 3.0,
            hidden: 64,
            dim: 512,
            batches: 500,
            molecules: 4096,
            learning_rate: 1e-3,
            seed: 0,
            device: Device::default(),
        }
    }
}

impl Sage {
    /// Up to which distance two molecules are joined. Default: 3.
    pub fn radius(mut self, radius: f32) -> Self {
        self.radius = radius;
        self
    }

    /// Width of the table: the network's `dim`. Default: 512.
    pub fn dim(mut self, dim: usize) -> Self {
        self.dim = dim;
        self
    }

    /// Number of batches, and molecules of each at least (whole cells). Default: 500 of 4,096.
    pub fn batches(mut self, batches: usize, molecules: usize) -> Self {
        (self.batches, self.molecules) = (batches, molecules);
        self
    }

    /// Step size of AdamW. Default: 1e-3.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.learning_rate = rate;
        self
    }

    /// Seed of everything random. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where it computes. Default: as [`Device`].
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// The table, tokens × dim, from the molecules of a slide.
    ///
    /// # Errors
    /// [`Error::Data`] when no two molecules are joined; [`Error::Parameter`] for a setting that cannot be;
    /// those of [`Transcripts`]; [`Error::Interrupted`].
    pub fn fit(
        &self,
        adata: &AnnData,
        vocabulary: &Vocabulary,
        transcripts: &Transcripts,
    ) -> Result<Array2<f32>> {
        transcripts.check(adata)?;
        for (name, n) in
            [("dim", self.dim), ("batches", self.batches), ("molecules", self.molecules)]
        {
            if n == 0 {
                return Err(Error::parameter(name, n, "must be at least 1"));
            }
        }
        if !(self.radius > 0.0 && self.radius.is_finite()) {
            return Err(Error::parameter("radius", self.radius, "must be above 0"));
        }
        let device = self.device.open()?;
        let mut cells = transcripts.by_cell(adata.n_obs());
        cells.retain(|cell| !cell.is_empty());
        let layers = Layers::new(self, adata.n_vars(), &device)?;
        let config = AdamConfig {
            learning_rate: self.learning_rate,
            weight_decay: 0.1,
            decoupled: true,
            ..AdamConfig::default()
        };
        let mut adam = Adam::new(&layers.store, config)?;
        let mut rng = Rng::new(self.seed ^ hash("sage"));
        let mut progress = Progress::new("GraphSAGE", self.batches as u64);
        let mut any = false;
        // Each cell once before any comes again.
        let mut order: Vec<usize> = Vec::new();
        for _ in 0..self.batches {
            if order.is_empty() {
                order = (0..cells.len()).collect();
                rng.shuffle(&mut order);
            }
            let mut some = Vec::new();
            while some.len() < self.molecules {
                let Some(cell) = order.pop() else { break };
                some.extend_from_slice(&cells[cell]);
            }
            let graph = Graph::new(&some, transcripts, self.radius, &device)?;
            if !graph.edges.is_empty() {
                let loss = layers.loss(&graph, &mut rng)?;
                adam.step(&loss.backward()?)?;
                progress.metric("loss", f64::from(loss.to_scalar::<f32>()?));
                any = true;
            }
            progress.tick(1)?;
        }
        progress.finish();
        if !any {
            let reason = format!("no two are within {} of each other in a cell", self.radius);
            return Err(Error::data("the molecules", reason));
        }
        self.table(&layers, adata, vocabulary, transcripts, &cells, &device)
    }

    /// The mean vector of the molecules of each gene.
    fn table(
        &self,
        layers: &Layers,
        adata: &AnnData,
        vocabulary: &Vocabulary,
        transcripts: &Transcripts,
        cells: &[Vec<usize>],
        device: &candle_core::Device,
    ) -> Result<Array2<f32>> {
        let mut sums = Array2::<f64>::zeros((adata.n_vars(), self.dim));
        let mut counts = vec![0usize; adata.n_vars()];
        let mut some: Vec<usize> = Vec::new();
        for (i, cell) in cells.iter().enumerate() {
            some.extend_from_slice(cell);
            if some.len() < self.molecules && i + 1 < cells.len() {
                continue;
            }
            let graph = Graph::new(&some, transcripts, self.radius, device)?;
            let vectors = layers.forward(&graph)?.to_vec2::<f32>()?;
            for (&molecule, vector) in some.iter().zip(&vectors) {
                let gene = transcripts.gene[molecule] as usize;
                counts[gene] += 1;
                sums.row_mut(gene).iter_mut().zip(vector).for_each(|(s, &v)| *s += f64::from(v));
            }
            some.clear();
        }
        let mut rng = Rng::new(self.seed ^ hash("unseen tokens"));
        let size = (vocabulary.len(), self.dim);
        let mut table = Array2::from_shape_simple_fn(size, || rng.uniform() as f32);
        table.row_mut(PAD as usize).fill(0.0);
        for (gene, name) in adata.var.names().iter().enumerate() {
            if let (Some(token), n @ 1..) = (vocabulary.gene(name), counts[gene]) {
                let mean = sums.row(gene).mapv(|s| (s / n as f64) as f32);
                table.row_mut(token as usize).assign(&mean);
            }
        }
        Ok(table)
    }
}

/// Molecules and which of them are joined. Cells never are: their molecules are joined one cell at a time.
struct Graph {
    genes: Tensor,
    sum: Arc<Propagation>,
    /// 1 / the number of neighbours, or 0: `[n, 1]`.
    share: Tensor,
    edges: Vec<(u32, u32)>,
}

impl Graph {
    fn new(
        molecules: &[usize],
        transcripts: &Transcripts,
        radius: f32,
        device: &candle_core::Device,
    ) -> Result<Graph> {
        let n = molecules.len();
        let (mut indptr, mut indices, mut edges) = (vec![0], Vec::new(), Vec::new());
        let cell = |&m: &usize| transcripts.cell[m];
        for part in molecules.chunk_by(|a, b| cell(a) == cell(b)) {
            let first = indptr.len() - 1;
            let graph = joined(part, &transcripts.place, radius);
            for i in 0..part.len() {
                for &j in &graph.indices[graph.indptr[i]..graph.indptr[i + 1]] {
                    indices.push(first as u32 + j);
                    edges.push(((first + i) as u32, first as u32 + j));
                }
                indptr.push(indices.len());
            }
        }
        let share =
            indptr.windows(2).map(|w| if w[1] > w[0] { 1.0 / (w[1] - w[0]) as f32 } else { 0.0 });
        let share: Vec<f32> = share.collect();
        let genes: Vec<u32> = molecules.iter().map(|&m| transcripts.gene[m]).collect();
        let weights = vec![1.0; indices.len()];
        Ok(Graph {
            genes: Tensor::from_vec(genes, n, device)?,
            sum: Arc::new(Propagation { indptr, indices, weights }),
            share: Tensor::from_vec(share, (n, 1), device)?,
            edges,
        })
    }

    /// The mean over the neighbours.
    fn mean(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.sum.apply(x)?.broadcast_mul(&self.share)?)
    }
}

/// Two layers: y = mean over neighbours · Wₗ + bias + x · Wᵣ. In the first x says which gene a molecule is,
/// so that its weights are tables.
struct Layers {
    store: Store,
}

impl Layers {
    fn new(sage: &Sage, genes: usize, device: &candle_core::Device) -> Result<Layers> {
        let mut store = Store::new(sage.seed, device);
        for (layer, inner, out) in [(1, genes, sage.hidden), (2, sage.hidden, sage.dim)] {
            let bound = (inner as f64).powf(-0.5);
            store.uniform(&format!("conv{layer}.lin_l.weight"), &[inner, out], bound)?;
            store.uniform(&format!("conv{layer}.lin_l.bias"), &[out], bound)?;
            store.uniform(&format!("conv{layer}.lin_r.weight"), &[inner, out], bound)?;
        }
        Ok(Layers { store })
    }

    fn forward(&self, graph: &Graph) -> Result<Tensor> {
        let get = |name: &str| -> Result<Tensor> { Ok(self.store.get(name)?.as_tensor().clone()) };
        let rows = |name: &str| -> Result<Tensor> { Ok(get(name)?.index_select(&graph.genes, 0)?) };
        let from = graph.mean(&rows("conv1.lin_l.weight")?)?;
        let own = rows("conv1.lin_r.weight")?;
        let x = from.broadcast_add(&get("conv1.lin_l.bias")?)?.add(&own)?;
        let x = crate::nn::relu(&x)?;
        let from = graph.mean(&x)?.matmul(&get("conv2.lin_l.weight")?)?;
        let own = x.matmul(&get("conv2.lin_r.weight")?)?;
        Ok(from.broadcast_add(&get("conv2.lin_l.bias")?)?.add(&own)?)
    }

    /// Binary cross-entropy of joined molecules and as many others.
    fn loss(&self, graph: &Graph, rng: &mut Rng) -> Result<Tensor> {
        let vectors = self.forward(graph)?;
        let (n, device) = (vectors.dim(0)?, vectors.device());
        let others = graph.edges.iter().map(|_| (rng.below(n) as u32, rng.below(n) as u32));
        let pairs: Vec<(u32, u32)> = graph.edges.iter().copied().chain(others).collect();
        let side = |of: fn(&(u32, u32)) -> u32| -> Result<Tensor> {
            let index = Tensor::from_iter(pairs.iter().map(of), device)?;
            Ok(vectors.index_select(&index, 0)?)
        };
        let products = (side(|p| p.0)? * side(|p| p.1)?)?.sum(1)?;
        // Cross-entropy is softplus(z) - z t.
        let positive = softplus(&products)?;
        let joined = products.narrow(0, 0, graph.edges.len())?.sum_all()?;
        Ok(((positive.sum_all()? - joined)? / pairs.len() as f64)?)
    }
}
