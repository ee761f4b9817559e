//! [`Stamgc::fit`]: the whole method on one slide.

use super::graph::spot_graph;
use super::network::NetworkConfig;
use super::params::{Smoothing, Stamgc};
use super::result::{StamgcFit, Timings};
use super::train::{TrainConfig, Trainer, TrainingData};
use crate::anndata::{AnnData, Categorical, Map, Value, Values};
use crate::error::Result;
use crate::linalg::gaussian_smooth;
use crate::linalg::{PcaSolver, Real, pca};
use crate::progress::{self, Progress};
use crate::tl::KMeans;
use ndarray::{Array2, ArrayView2, Axis};

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
    /// | `obsm["X_stamgc"]` | the embedding, spots × `out`, `float32`; NaN for spots left out |
    /// | `uns["stamgc"]` | `params`, and the `losses` of each epoch |
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
        self.check()?;
        let device = self.device.open()?;
        let coordinates = adata.spatial()?;
        let used = self.used_spots(adata)?;
        let sigma = self.sigma_of(adata)?;
        let mut timings = Timings::default();
        let mut bar = Progress::new("STAMGC", self.epochs as u64);

        bar.message("selecting and scaling genes");
        let features = timings.time("genes", || self.features(adata))?;
        progress::check_interrupt()?;
        let genes = features.genes;
        // Scaled over all spots; only those used go on.
        let values = if used.len() == adata.n_obs() {
            features.values
        } else {
            features.values.select(Axis(0), &used)
        };
        let coordinates = coordinates.select(Axis(0), &used);

        bar.message("smoothing expression");
        let smooth = timings
            .time("smoothing", || gaussian_smooth(coordinates.view(), values.view(), sigma))?;
        progress::check_interrupt()?;
        bar.message("building the graph");
        let graph = timings.time("graph", || {
            spot_graph(coordinates.view(), smooth.view(), self.n_neighbors, self.n_pruning)
        })?;
        let pseudo = timings.time("pseudo labels", || self.cluster(smooth.view()))?;
        drop(smooth);
        progress::check_interrupt()?;

        let (n_edges, n_pruned) =
            (graph.pruned.n_edges() / 2, (graph.spatial.n_edges() - graph.pruned.n_edges()) / 2);
        let labels = pseudo.iter().map(|&l| l as u32).collect();
        let network = NetworkConfig { genes: genes.len(), ..self.network };
        let config = TrainConfig {
            weights: self.weights,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            seed: self.seed,
        };
        bar.message("");
        let (z, history) = timings.time("training", || -> Result<_> {
            let data = TrainingData::new(values, graph.pruned, labels, &device)?;
            let mut trainer = Trainer::new(network, data, config)?;
            let mut history = Vec::with_capacity(self.epochs);
            for _ in 0..self.epochs {
                let loss = trainer.step()?;
                bar.metric("loss", loss.total);
                bar.tick(1)?;
                history.push(loss);
            }
            Ok((trainer.z()?, history))
        })?;
        let domains = timings.time("clustering", || self.cluster(z.view()))?;
        bar.finish();

        let fit = StamgcFit {
            history,
            timings,
            n_spots: adata.n_obs(),
            used,
            domains,
            pseudo_labels: pseudo,
            z,
            genes,
            sigma,
            n_edges,
            n_pruned,
            n_domains: self.n_domains,
            seed: self.seed,
            device: super::result::name(&device),
            peak_memory_mb: progress::peak_memory_mb(),
        };
        self.write(adata, &fit)?;
        Ok(fit)
    }

    /// Principal components, then k-means; clusters from 1.
    fn cluster<T: Real>(&self, x: ArrayView2<T>) -> Result<Vec<usize>> {
        let components = COMPONENTS.min(x.nrows()).min(x.ncols());
        let scores = pca(x, components, PcaSolver::Auto, self.seed)?.scores;
        let kmeans = KMeans::new(self.n_domains).n_init(self.n_init).seed(self.seed);
        Ok(kmeans.fit(scores.view())?.labels.into_iter().map(|l| l + 1).collect())
    }

    fn write(&self, adata: &mut AnnData, fit: &StamgcFit) -> Result<()> {
        let mut codes = vec![-1; fit.n_spots];
        let mut z = Array2::from_elem((fit.n_spots, fit.z.ncols()), f32::NAN);
        for ((&i, &domain), row) in fit.used.iter().zip(&fit.domains).zip(fit.z.rows()) {
            codes[i] = domain as i32 - 1;
            z.row_mut(i).assign(&row);
        }
        let categories = (1..=self.n_domains).map(|d| d.to_string()).collect();
        let domains = Categorical { codes, categories, typed: None, ordered: false };
        adata.obs.insert(&self.domain_key, domains)?;
        adata.obsm.insert("X_stamgc".into(), z.into());
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
        ] {
            params.insert(name.into(), value);
        }
        if let Smoothing::Fiducials(diameters) = self.smoothing {
            params.insert("smooth_radius".into(), Value::float(diameters));
        }
        let array = |v: Vec<f64>| Value::Array { shape: vec![v.len()], values: Values::F64(v) };
        let losses: Map<Value> = fit.losses().into_iter().map(|(k, v)| (k, array(v))).collect();
        [("params".to_string(), params.into()), ("losses".to_string(), losses.into())]
            .into_iter()
            .collect()
    }
}
