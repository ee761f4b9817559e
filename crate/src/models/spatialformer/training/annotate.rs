//! [`Annotate`]: fine-tuning a network to name the kind of each cell.
//!
//! ```text
//! cells of known kinds ─┬─ learnt from ─> state of <CLS> ─ linear ─ cross-entropy ─> Trainer
//!                       └─ kept back ──────────────────────────────> Classification
//! ```

use super::super::embed::{Origin, origin_of};
use super::super::network::SpatialFormer;
use super::super::sequences::Sequences;
use super::fit::check;
use super::trainer::{Schedule, Trained, Trainer};
use crate::anndata::{AnnData, Categorical};
use crate::error::{Error, Result};
use crate::nn::{Linear, to_array};
use crate::notebook::shows_rows;
use crate::progress::Progress;
use crate::rng::{Rng, hash};
use crate::tl::{Classification, classification};
use candle_nn::ops::softmax_last_dim;
use ndarray::{Array2, ArrayView1, s};
use std::time::Instant;

/// Fine-tuning to name the kind of each cell: a linear layer on the state of `<CLS>`, trained together with
/// as much of the network as [`trained`](Annotate::trained) says. A builder.
///
/// What fine-tuning adds is seen beside a probe of the frozen embeddings
/// ([`tl::linear_probe`](crate::tl::linear_probe) of `obsm["X_SpaF"]`).
#[derive(Debug, Clone, PartialEq)]
pub struct Annotate {
    origin: Origin,
    trained: Trained,
    epochs: usize,
    batch_size: usize,
    learning_rate: f64,
    dropout: f64,
    kept_back: f64,
    seed: u64,
}

impl Default for Annotate {
    fn default() -> Self {
        Annotate {
            origin: Origin::default(),
            trained: Trained::LowRank(8),
            epochs: 5,
            batch_size: 32,
            learning_rate: 1e-3,
            dropout: 0.1,
            kept_back: 0.2,
            seed: 0,
        }
    }
}

origin_of!(Annotate);

impl Annotate {
    /// Which weights learn beside the new layer. Default: narrow matrices of rank 8 beside the projections of
    /// attention, the network's own weights staying as they are.
    pub fn trained(mut self, trained: Trained) -> Self {
        self.trained = trained;
        self
    }

    /// How often each cell is seen. Default: 5.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Cells of a step. Default: 32.
    pub fn batch_size(mut self, cells: usize) -> Self {
        self.batch_size = cells;
        self
    }

    /// The learning rate at its highest; it rises over a tenth of the steps and then falls to 0. Default: 1e-3.
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.learning_rate = rate;
        self
    }

    /// The share of elements and branches that are dropped. Default: 0.1.
    pub fn dropout(mut self, share: f64) -> Self {
        self.dropout = share;
        self
    }

    /// The share of cells that are not learnt from and judge the result. Default: 0.2.
    pub fn kept_back(mut self, share: f64) -> Self {
        self.kept_back = share;
        self
    }

    /// Seed of everything random. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Trains on the cells of which `obs[label]` knows the kind.
    ///
    /// # Errors
    /// Those of [`embed`](super::super::embed); [`Error::MissingKey`] without the column; [`Error::Data`] when
    /// it has fewer than two kinds, or a kind of which every cell is kept back; [`Error::Parameter`] for a
    /// setting that cannot be; [`Error::Interrupted`].
    pub fn fit(&self, adata: &AnnData, label: &str, model: &SpatialFormer) -> Result<AnnotateFit> {
        let began = Instant::now();
        check(self.kept_back, [("batch_size", self.batch_size), ("epochs", self.epochs)])?;
        let column = adata.obs_column(label)?;
        let labels: Vec<_> = (0..column.len()).map(|i| column.text(i)).collect();
        // Kinds that no cell has are left out.
        let kinds = Categorical::from_labels(&labels);
        let classes = kinds.categories.clone();
        if classes.len() < 2 {
            let reason = format!("has {} kinds of cells; there must be two or more", classes.len());
            return Err(Error::data(format!("obs[\"{label}\"]"), reason));
        }
        let mut rng = Rng::new(self.seed ^ hash("kept back"));
        let known = (0..adata.n_obs()).filter(|&i| kinds.codes[i] >= 0);
        let (back, mut learnt): (Vec<usize>, Vec<usize>) =
            known.partition(|_| rng.uniform() < self.kept_back);
        let class = |i: usize| kinds.codes[i] as usize;
        if let Some(c) = (0..classes.len()).find(|&c| !learnt.iter().any(|&i| class(i) == c)) {
            let reason = format!("has no cell of kind `{}` to learn from", classes[c]);
            return Err(Error::data(format!("obs[\"{label}\"]"), reason));
        }
        let cells = Cells::of(&self.origin, adata, model)?;
        let separator = model.vocabulary()?.separator();
        let steps = self.epochs * learnt.len().div_ceil(self.batch_size);
        let schedule = Schedule {
            learning_rate: self.learning_rate,
            warmup: steps.div_ceil(10),
            length: steps,
            accumulate: 1,
            dropout: self.dropout,
            weight_decay: 0.01,
            ..Schedule::default()
        };
        let mut trainer = Trainer::with_classes(
            model,
            separator,
            self.trained,
            schedule,
            self.seed,
            classes.len(),
        )?;
        let mut history = Vec::new();
        let mut progress = Progress::new("SpatialFormer fine-tuning", steps as u64);
        let mut rng = Rng::new(self.seed ^ hash("order"));
        for _ in 0..self.epochs {
            rng.shuffle(&mut learnt);
            for some in learnt.chunks(self.batch_size) {
                let truth: Vec<u32> = some.iter().map(|&i| class(i) as u32).collect();
                let loss = trainer.learn_classes(cells.batch(some), &truth)?;
                history.push(loss);
                progress.metric("loss", loss);
                progress.tick(1)?;
            }
        }
        progress.finish();
        let network = trainer.finished()?.with_vocabulary(model.vocabulary()?.clone())?;
        let (origin, head) = (self.origin.clone(), trainer.class_head()?);
        let annotator = Annotator { model: network, origin, classes, head };
        let judged = match back.is_empty() {
            true => None,
            false => {
                let names = |codes: &mut dyn Iterator<Item = usize>| -> Vec<String> {
                    codes.map(|c| annotator.classes[c].clone()).collect()
                };
                let found = annotator.probabilities(&cells, &back)?;
                let truth = names(&mut back.iter().map(|&i| class(i)));
                Some(classification(&truth, &names(&mut found.rows().into_iter().map(likeliest)))?)
            }
        };
        let seconds = began.elapsed().as_secs_f64();
        Ok(AnnotateFit { annotator, history, learnt: learnt.len(), judged, seconds })
    }
}

/// The tokens of a slide's cells.
struct Cells {
    origin: [u32; 4],
    separator: u32,
    genes: Vec<Vec<u32>>,
}

impl Cells {
    fn of(origin: &Origin, adata: &AnnData, model: &SpatialFormer) -> Result<Cells> {
        let vocabulary = model.vocabulary()?;
        let rows: Vec<usize> = (0..adata.n_obs()).collect();
        let genes = origin.tokenizer(adata, vocabulary)?.rank(&rows, origin.max_len)?;
        let separator = vocabulary.separator();
        Ok(Cells { origin: origin.tokens(vocabulary)?, separator, genes })
    }

    fn batch(&self, cells: &[usize]) -> Sequences {
        let mut batch = Sequences::default();
        for &i in cells {
            batch.push_cell(self.origin, &self.genes[i], self.separator);
        }
        batch
    }
}

/// A network that names the kind of each cell.
#[derive(Debug, Clone)]
pub struct Annotator {
    /// The network, with its vocabulary.
    pub model: SpatialFormer,
    /// The kinds.
    pub classes: Vec<String>,
    origin: Origin,
    head: Linear,
}

impl Annotator {
    /// Names the kind of every cell of a slide: writes `obs[key]`, the likeliest kind, and
    /// `obs["{key}_probability"]`, how likely it is.
    ///
    /// # Errors
    /// Those of [`embed`](super::super::embed).
    pub fn annotate(&self, adata: &mut AnnData, key: &str) -> Result<()> {
        let cells = Cells::of(&self.origin, adata, &self.model)?;
        let all: Vec<usize> = (0..adata.n_obs()).collect();
        let p = self.probabilities(&cells, &all)?;
        let found: Vec<usize> = p.rows().into_iter().map(likeliest).collect();
        let likely: Vec<f64> =
            found.iter().enumerate().map(|(i, &c)| f64::from(p[(i, c)])).collect();
        let kinds = Categorical {
            codes: found.iter().map(|&c| c as i32).collect(),
            categories: self.classes.clone(),
            typed: None,
            ordered: false,
        };
        adata.obs.insert(key, kinds)?;
        adata.obs.insert(format!("{key}_probability"), likely)
    }

    /// The probability of each kind, cells × kinds.
    fn probabilities(&self, cells: &Cells, some: &[usize]) -> Result<Array2<f32>> {
        let mut all = Array2::zeros((some.len(), self.classes.len()));
        let mut progress = Progress::new("SpatialFormer cells", some.len() as u64);
        let mut first = 0;
        for part in some.chunks(64) {
            let states = self.model.tensor(self.model.first_states(&cells.batch(part))?.view())?;
            let p = to_array(&softmax_last_dim(&self.head.plain(&states, None)?)?)?;
            all.slice_mut(s![first..first + part.len(), ..]).assign(&p);
            first += part.len();
            progress.tick(part.len() as u64)?;
        }
        progress.finish();
        Ok(all)
    }
}

/// The position of the largest number.
fn likeliest(row: ArrayView1<f32>) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// What fine-tuning gave.
#[derive(Debug, Clone)]
pub struct AnnotateFit {
    /// Names the kinds of cells.
    pub annotator: Annotator,
    /// The cross-entropy of each batch, before its step.
    pub history: Vec<f64>,
    /// Cells that were learnt from.
    pub learnt: usize,
    /// The kinds of cells that were kept back, true and found; None where there are none.
    pub judged: Option<Classification>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl AnnotateFit {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("kinds", self.annotator.classes.join(", ")),
            ("cells", format!("{} learnt from", self.learnt)),
        ];
        if let (Some(first), Some(last)) = (self.history.first(), self.history.last()) {
            rows.push(("loss", format!("{first:.3} → {last:.3}")));
        }
        if let Some(judged) = &self.judged {
            let n: u64 = judged.support.iter().sum();
            let (f1, right) = (judged.macro_f1(), judged.accuracy());
            rows.push(("kept back", format!("{n} cells: macro-F1 {f1:.3}, accuracy {right:.3}")));
        }
        rows.push(("seconds", format!("{:.1}", self.seconds)));
        rows
    }
}

shows_rows!(AnnotateFit, |_| "SpatialFormer fine-tuning", 10);
