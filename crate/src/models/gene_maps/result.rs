//! What a run returns.

use super::expression::Expression;
use super::grid::Dense;
use super::run::Predicted;
use super::settings::{Settings, Task};
use super::training::Course;
use crate::anndata::{AnnData, Frame};
use crate::error::Result;
use crate::notebook::shows_rows;
use crate::progress;
use ndarray::{Array2, Axis};
use std::collections::HashMap;

/// A predicted gene map with how it was made. It shows itself as a short table.
#[derive(Debug, Clone)]
pub struct GeneMapFit {
    method: &'static str,
    task: Task,
    predicted: AnnData,
    training: Vec<usize>,
    losses: Vec<f64>,
    kept_epochs: Vec<usize>,
    weights: Option<[f64; 2]>,
    seconds: [f64; 3],
    epochs: usize,
    seed: u64,
    peak_memory_mb: f64,
}

impl GeneMapFit {
    #[expect(clippy::too_many_arguments, reason = "called once, with what a run has made")]
    pub(super) fn new(
        method: &'static str,
        settings: &Settings,
        adata: &AnnData,
        points: Dense,
        training: Vec<usize>,
        expression: Expression,
        predicted: Predicted,
        courses: Vec<Course>,
        weights: Option<[f64; 2]>,
        seconds: [f64; 3],
    ) -> Result<Self> {
        let mut measured = Array2::from_elem(predicted.genes.dim(), f32::NAN);
        for (p, mut row) in measured.rows_mut().into_iter().enumerate() {
            if points.is_spot[p] {
                row.assign(&expression.values.index_axis(Axis(0), points.source[p]));
            }
        }
        let mut trains = vec![false; adata.n_obs()];
        training.iter().for_each(|&i| trains[i] = true);
        let trains: Vec<bool> = points
            .source
            .iter()
            .zip(&points.is_spot)
            .map(|(&i, &spot)| spot && trains[i])
            .collect();

        let mut obs = match settings.task {
            Task::Recovery { .. } => adata.obs.clone(),
            Task::Generation { .. } => Frame::new(names(adata, &points)),
        };
        let column = |k: usize| -> Vec<f64> { points.centers.iter().map(|c| c[k]).collect() };
        obs.insert("array_col", column(0))?;
        obs.insert("array_row", column(1))?;
        obs.insert("is_spot", points.is_spot)?;
        obs.insert("training", trains)?;
        let mut out = AnnData::new(predicted.genes, obs, Frame::new(expression.genes))?;
        out.obsm.insert("spatial".into(), points.pixels.into());
        out.obsm.insert(format!("X_{}", method.to_lowercase()), predicted.hidden.into());
        if let Some(attention) = predicted.attention {
            out.obsm.insert("scale_attention".into(), attention.into());
        }
        out.layers.insert("measured".into(), measured.into());
        if let Some(spatial) = adata.uns.get("spatial") {
            out.uns.insert("spatial".into(), spatial.clone());
        }
        let longest = courses.iter().map(|c| c.losses.len()).max().unwrap_or(0);
        let mean = |epoch: usize| {
            let of: Vec<f64> =
                courses.iter().filter_map(|c| c.losses.get(epoch).copied()).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        Ok(GeneMapFit {
            method,
            task: settings.task,
            predicted: out,
            training,
            losses: (0..longest).map(mean).collect(),
            kept_epochs: courses.iter().map(Course::kept).collect(),
            weights,
            seconds,
            epochs: settings.epochs,
            seed: settings.seed,
            peak_memory_mb: progress::peak_memory_mb(),
        })
    }

    /// The predicted map: points × genes.
    ///
    /// | slot | content |
    /// |---|---|
    /// | `X` | predicted expression: ln(1 + x) of counts scaled to 10,000 a spot; `float32` |
    /// | `layers["measured"]` | the measured expression in the same unit; NaN for points that are no spots |
    /// | `obs["array_col"]`, `obs["array_row"]` | place in the array, with fractions between spots |
    /// | `obs["is_spot"]` | whether the point is a measured spot |
    /// | `obs["training"]` | whether its expression was used in training |
    /// | `obsm["spatial"]` | position on the image, in pixels at full resolution |
    /// | `obsm["X_histosge"]` or `obsm["X_spamcaf"]` | the network's last hidden layer |
    /// | `obsm["scale_attention"]` | SpaMCAF: the weight of each size of patch |
    /// | `uns["spatial"]` | that of the slide |
    ///
    /// After a recovery the rows are the slide's spots, with all of its `obs`.
    pub fn predicted(&self) -> &AnnData {
        &self.predicted
    }

    /// The predicted map, without the rest.
    pub fn into_predicted(self) -> AnnData {
        self.predicted
    }

    /// What was predicted from what.
    pub fn task(&self) -> Task {
        self.task
    }

    /// The spots that trained, rising.
    pub fn training(&self) -> &[usize] {
        &self.training
    }

    /// The mean squared error of each epoch, over the spots that trained, before each step; with folds, the
    /// mean over the networks that were still in training.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// The epochs behind each network that predicted: all of them, or with folds those until it predicted
    /// its own best.
    pub fn kept_epochs(&self) -> &[usize] {
        &self.kept_epochs
    }

    /// The weights of networks and of interpolation, where both predicted.
    pub fn weights(&self) -> Option<[f64; 2]> {
        self.weights
    }

    /// Seconds for features and expression, for training, and for prediction.
    pub fn seconds(&self) -> [f64; 3] {
        self.seconds
    }

    /// The most memory the process had held when the run ended, in MB.
    pub fn peak_memory_mb(&self) -> f64 {
        self.peak_memory_mb
    }

    /// The table as (name, value).
    fn rows(&self) -> Vec<(&'static str, String)> {
        let task = match self.task {
            Task::Recovery { .. } => {
                let n = self.predicted.n_obs();
                format!("recovery of {n} spots from {}", self.training.len())
            }
            Task::Generation { .. } => {
                let n = self.predicted.n_obs();
                format!("generation of {n} points from {} spots", self.training.len())
            }
        };
        let mut rows = vec![
            ("task", task),
            ("genes", self.predicted.n_vars().to_string()),
            ("epochs", self.epochs.to_string()),
        ];
        if let (Some(first), Some(last)) = (self.losses.first(), self.losses.last()) {
            rows.push(("loss", format!("{first:.4} → {last:.4}")));
        }
        if self.kept_epochs.len() > 1 {
            let kept: Vec<String> = self.kept_epochs.iter().map(usize::to_string).collect();
            rows.push(("kept", format!("after {} epochs", kept.join(", "))));
        }
        if let Some([network, interpolation]) = self.weights {
            let text = format!("networks {network:.2}, interpolation {interpolation:.2}");
            rows.push(("weights", text));
        }
        let [features, training, prediction] = self.seconds;
        let seconds = format!(
            "{:.1} (features {features:.1}, training {training:.1}, prediction {prediction:.1})",
            features + training + prediction
        );
        rows.push(("seconds", seconds));
        rows.push(("peak memory", format!("{:.0} MB", self.peak_memory_mb)));
        rows.push(("seed", self.seed.to_string()));
        rows
    }
}

/// A name for each point: that of its spot, and behind it a number for the points between spots.
fn names(adata: &AnnData, points: &Dense) -> Vec<String> {
    let mut seen: HashMap<usize, usize> = HashMap::new();
    let name = |(&i, &spot): (&usize, &bool)| {
        let name = &adata.obs.names()[i];
        if spot {
            return name.clone();
        }
        let count = seen.entry(i).or_default();
        *count += 1;
        format!("{name}+{count}")
    };
    points.source.iter().zip(&points.is_spot).map(name).collect()
}

shows_rows!(GeneMapFit, |fit| fit.method, 12);
