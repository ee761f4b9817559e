//! [`Stamgc::fit`]: the whole method on a slide, or on several as one.

use super::super::state::{State, load_weights};
use super::data::TrainingData;
use super::graph::spot_graph;
use super::losses::EpochLoss;
use super::network::NetworkConfig;
use super::params::{Clustering, Smoothing, Stamgc};
use super::result::{StamgcFit, Timings};
use super::train::{TrainConfig, Trainer};
use crate::anndata::{AnnData, Categorical, Map, Matrix, Sparse, Value, Values};
use crate::error::{Error, Result};
use crate::linalg::{PcaSolver, Real, gaussian_smooth, pca};
use crate::nn::to_array;
use crate::progress::{self, Progress};
use crate::tl::{KMeans, Mclust};
use ndarray::{Array2, ArrayView2, Axis};
use sha2::{Digest, Sha256};

/// Principal components, at most, of what is clustered.
const COMPONENTS: usize = 20;

impl Stamgc {
    /// Finds the domains of a slide.
    ///
    /// Steps, as published: genes are filtered, the most variable selected (`seurat_v3`), counts
    /// normalised, logarithmised and scaled; expression is smoothed over neighbouring spots; the
    /// graph of nearest spots loses its least plausible edges; smoothed expression is clustered
    /// into pseudo labels; the network is trained; its embedding is clustered.
    ///
    /// Reads raw counts from `layers["counts"]`, or from X without such a layer, and
    /// `obsm["spatial"]`. Writes, once all has succeeded:
    ///
    /// | slot | content |
    /// |---|---|
    /// | `obs["domain"]` | categories `1` to `n_domains`; missing for spots that were left out |
    /// | `obsm["X_stamgc"]` | the embedding z, spots × `out`, `float32`; NaN for spots left out |
    /// | `obsm["X_stamgc_fused"]` | what the perceptrons make of it, likewise |
    /// | `obsp["stamgc_connectivities"]` | the graph it was trained on, spots × spots, ones |
    /// | `uns["stamgc"]` | `params`, the `losses` of each epoch, and `genes` |
    ///
    /// and with [`keep_expression`](Stamgc::keep_expression) `obsm["stamgc_smoothed"]` and
    /// `obsm["stamgc_reconstructed"]`, spots × genes.
    ///
    /// Coordinates may have three dimensions. With [`slices`](Stamgc::slices) smoothing goes over all spots,
    /// wherever [`join`](Stamgc::join) has put them, and each slice has a graph of its own.
    ///
    /// The counts stay as they are. The embedding has the same bits for the same seed on the same
    /// machine, whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::Parameter`](crate::Error::Parameter) for a parameter that cannot be or does not
    /// fit the number of spots; [`Error::Data`](crate::Error::Data) without raw counts, with
    /// coordinates that are not numbers, or without a fiducial diameter;
    /// [`Error::MissingKey`](crate::Error::MissingKey) without coordinates or the label column;
    /// [`Error::Device`](crate::Error::Device); [`Error::Interrupted`](crate::Error::Interrupted).
    /// The data are unchanged then.
    pub fn fit(&self, adata: &mut AnnData) -> Result<StamgcFit> {
        let fit = self.find(adata)?;
        self.write(adata, &fit)?;
        Ok(fit)
    }

    /// As [`fit`](Stamgc::fit), without writing.
    pub(super) fn find(&self, adata: &AnnData) -> Result<StamgcFit> {
        self.check()?;
        let device = self.device.open()?;
        let coordinates = adata.spatial()?;
        let used = self.used_spots(adata)?;
        let sigma = self.sigma_of(adata)?;
        let mut timings = Timings::default();
        let mut bar = Progress::new("STAMGC", self.epochs as u64);

        bar.message("selecting and scaling genes");
        let features = timings.time("genes", || self.features(adata, &used))?;
        progress::check_interrupt()?;
        let (values, genes) = (features.values, features.genes);
        let coordinates = coordinates.select(Axis(0), &used);

        bar.message("smoothing expression");
        let smooth = timings
            .time("smoothing", || gaussian_smooth(coordinates.view(), values.view(), sigma))?;
        progress::check_interrupt()?;
        bar.message("building the graph");
        let graph = timings.time("graph", || {
            let (k, pruning) = (self.n_neighbors, self.n_pruning);
            match self.slices_of(adata, &used)? {
                Some(slices) => slices.graph(coordinates.view(), smooth.view(), k, pruning),
                None => spot_graph(coordinates.view(), smooth.view(), k, pruning),
            }
        })?;
        let pseudo =
            timings.time("pseudo labels", || self.cluster(smooth.view(), Clustering::KMeans))?;
        let smooth = self.keep_expression.then_some(smooth);
        progress::check_interrupt()?;

        let n_pruned = (graph.spatial.n_edges() - graph.pruned.n_edges()) / 2;
        let labels = pseudo.iter().map(|&l| l as u32).collect();
        let network = NetworkConfig { genes: genes.len(), ..self.network };
        let config = TrainConfig {
            weights: self.weights,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            seed: self.seed,
            pairs: self.pairs,
        };
        bar.message("");
        let state = self.checkpoint.clone().map(|path| {
            let identity = self.identity(values.view(), coordinates.view(), &pseudo);
            State { path, every: self.checkpoint_every, identity }
        });
        let (trainer, history) = timings.time("training", || -> Result<_> {
            let data = TrainingData::new(values, graph.pruned, labels, &device)?;
            let mut trainer = Trainer::new(network, data, config)?;
            let history = self.train(&mut trainer, state.as_ref(), &mut bar)?;
            Ok((trainer, history))
        })?;
        let embeddings = trainer.embed()?;
        let z = to_array(&embeddings.z)?;
        let domains = timings.time("clustering", || self.cluster(z.view(), self.clustering))?;
        let expression = match smooth {
            Some(smooth) => Some([smooth, trainer.reconstruct(&embeddings.z)?]),
            None => None,
        };
        let weights = trainer.weights()?;
        bar.finish();

        Ok(StamgcFit {
            history,
            timings,
            n_spots: adata.n_obs(),
            used,
            domains,
            pseudo_labels: pseudo,
            z,
            fused: to_array(&embeddings.fused)?,
            expression,
            weights,
            genes,
            sigma,
            graph: trainer.data().graph.clone(),
            n_pruned,
            n_domains: self.n_domains,
            seed: self.seed,
            device: super::result::name(&device),
            peak_memory_mb: progress::peak_memory_mb(),
        })
    }

    /// Trains from where the checkpoint left off, or from the beginning, and returns the losses.
    fn train(
        &self,
        trainer: &mut Trainer,
        state: Option<&State>,
        bar: &mut Progress,
    ) -> Result<Vec<EpochLoss>> {
        if let Some(path) = &self.start {
            load_weights(trainer.store(), path, |_| false)?;
        }
        let mut history = match state {
            Some(state) => trainer.resume(state)?,
            None => Vec::new(),
        };
        if history.len() > self.epochs {
            let reason = format!("the checkpoint is of {} epochs already", history.len());
            return Err(Error::parameter("epochs", self.epochs, reason));
        }
        bar.tick(history.len() as u64)?;
        while history.len() < self.epochs {
            let loss = trainer.step()?;
            history.push(loss);
            bar.metric("loss", loss.total);
            let ticked = bar.tick(1);
            let done = history.len();
            if let Some(state) = state
                && (done == self.epochs || done.is_multiple_of(state.every) || ticked.is_err())
            {
                trainer.save(state, &history)?;
            }
            ticked?;
        }
        Ok(history)
    }

    /// What a training is a training of: its settings but the number of epochs, and its data.
    fn identity(
        &self,
        values: ArrayView2<f32>,
        coordinates: ArrayView2<f64>,
        pseudo: &[usize],
    ) -> [u8; 32] {
        let of = Stamgc {
            epochs: 0,
            device: crate::nn::Device::Auto,
            checkpoint: None,
            checkpoint_every: 1,
            clustering: Clustering::KMeans,
            domain_key: String::new(),
            keep_expression: false,
            ..self.clone()
        };
        let mut hash = Sha256::new();
        hash.update(format!("{of:?} {:?}", values.dim()));
        values.iter().for_each(|v| hash.update(v.to_le_bytes()));
        coordinates.iter().for_each(|v| hash.update(v.to_le_bytes()));
        pseudo.iter().for_each(|&l| hash.update((l as u64).to_le_bytes()));
        hash.finalize().into()
    }

    /// Principal components, then clusters from 1.
    fn cluster<T: Real>(&self, x: ArrayView2<T>, clustering: Clustering) -> Result<Vec<usize>> {
        let scores = components(x, self.seed)?;
        match clustering {
            Clustering::KMeans => {
                let kmeans = KMeans::new(self.n_domains).n_init(self.n_init).seed(self.seed);
                Ok(kmeans.fit(scores.view())?.labels.into_iter().map(|l| l + 1).collect())
            }
            Clustering::Mclust => {
                let mixture = Mclust::new(self.n_domains).seed(self.seed);
                Ok(mixture.fit(scores.view())?.classification)
            }
        }
    }

    pub(super) fn write(&self, adata: &mut AnnData, fit: &StamgcFit) -> Result<()> {
        let mut codes = vec![-1; fit.n_spots];
        for (&i, &domain) in fit.used.iter().zip(&fit.domains) {
            codes[i] = domain as i32 - 1;
        }
        let of_all = |used: &Array2<f32>| {
            let mut all = Array2::from_elem((fit.n_spots, used.ncols()), f32::NAN);
            for (&i, row) in fit.used.iter().zip(used.rows()) {
                all.row_mut(i).assign(&row);
            }
            all
        };
        let categories = (1..=self.n_domains).map(|d| d.to_string()).collect();
        let domains = Categorical { codes, categories, typed: None, ordered: false };
        adata.obs.insert(&self.domain_key, domains)?;
        adata.obsm.insert("X_stamgc".into(), of_all(&fit.z).into());
        adata.obsm.insert("X_stamgc_fused".into(), of_all(&fit.fused).into());
        if let Some([smoothed, reconstructed]) = &fit.expression {
            adata.obsm.insert("stamgc_smoothed".into(), of_all(smoothed).into());
            adata.obsm.insert("stamgc_reconstructed".into(), of_all(reconstructed).into());
        }
        adata.obsp.insert("stamgc_connectivities".into(), connectivities(fit));
        adata.uns.insert("stamgc".into(), self.record(fit).into());
        Ok(())
    }

    /// What goes into `uns`.
    fn record(&self, fit: &StamgcFit) -> Map<Value> {
        let int = |x: usize| Value::int(x as i64);
        let mut params: Map<Value> = Map::new();
        for (name, value) in [
            ("n_domains", int(self.n_domains)),
            ("seed", Value::int(self.seed as i64)),
            ("epochs", int(self.epochs)),
            ("min_cells", int(self.min_cells)),
            ("min_counts", int(self.min_counts)),
            ("n_genes", int(fit.genes.len())),
            ("sigma", Value::float(fit.sigma)),
            ("n_neighbors", int(self.n_neighbors)),
            ("n_pruning", int(self.n_pruning)),
            ("alpha", Value::float(self.weights.alpha)),
            ("beta", Value::float(self.weights.beta)),
            ("gamma", Value::float(self.weights.gamma)),
            ("learning_rate", Value::float(self.learning_rate)),
            ("weight_decay", Value::float(self.weight_decay)),
            ("hidden", int(self.network.hidden)),
            ("out", int(self.network.out)),
            ("heads", int(self.network.heads)),
            ("head_dim", int(self.network.head_dim)),
            ("dropout", Value::float(self.network.dropout)),
            ("n_init", int(self.n_init)),
            ("device", Value::from(fit.device.as_str())),
            ("pairs", Value::from(format!("{:?}", self.pairs).to_lowercase())),
            ("clustering", Value::from(format!("{:?}", self.clustering).to_lowercase())),
        ] {
            params.insert(name.into(), value);
        }
        if let Smoothing::Fiducials(diameters) = self.smoothing {
            params.insert("smooth_radius".into(), Value::float(diameters));
        }
        let array = |v: Vec<f64>| Value::Array { shape: vec![v.len()], values: Values::F64(v) };
        let losses: Map<Value> = fit.losses().into_iter().map(|(k, v)| (k, array(v))).collect();
        let genes = Value::strings(fit.genes.iter().cloned());
        let entries = [("params", params.into()), ("losses", losses.into()), ("genes", genes)];
        entries.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// The principal components that vary: at most 20, and fewer where units of the network are dead.
pub(super) fn components<T: Real>(x: ArrayView2<T>, seed: u64) -> Result<Array2<f64>> {
    let most = COMPONENTS.min(x.nrows()).min(x.ncols());
    let fit = pca(x, most, PcaSolver::Auto, seed)?;
    let vary = |&c: &usize| c == 0 || fit.explained_variance[c] > 1e-9 * fit.explained_variance[0];
    let kept: Vec<usize> = (0..most).filter(vary).collect();
    Ok(if kept.len() == most { fit.scores } else { fit.scores.select(Axis(1), &kept) })
}

/// The graph among all spots; those left out have no neighbour.
fn connectivities(fit: &StamgcFit) -> Matrix {
    let n = fit.n_spots;
    let (mut counts, mut indices) = (vec![0usize; n + 1], Vec::with_capacity(fit.graph.n_edges()));
    for (k, &i) in fit.used.iter().enumerate() {
        counts[i + 1] = fit.graph.neighbours(k).len();
        indices.extend(fit.graph.neighbours(k).iter().map(|&j| fit.used[j as usize] as u32));
    }
    (0..n).for_each(|i| counts[i + 1] += counts[i]);
    let values = Values::F32(vec![1.0; indices.len()]);
    Matrix::Csr(Sparse { nrows: n, ncols: n, indptr: counts, indices, values })
}
