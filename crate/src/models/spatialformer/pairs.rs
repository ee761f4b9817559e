//! [`predict_pairs`]: whether two cells are neighbours.

use super::embed::{Origin, origin_of};
use super::network::SpatialFormer;
use super::sequences::Sequences;
use super::tokens::Tokenizer;
use crate::anndata::{AnnData, Column, Frame, Values};
use crate::error::{Error, Result};
use crate::notebook::{Bundle, Rich, shows_itself};
use crate::progress::Progress;
use crate::rng::Rng;
use ndarray::{Array2, Axis};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

/// Which of two directions counts, where both are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reverse {
    /// Only left before right is computed.
    #[default]
    Off,
    /// Where both directions agree, their mean; otherwise the one that is surer of itself.
    Surer,
    /// As the released code does it (its documentation says otherwise): where both agree, one drawn at
    /// random with this seed; otherwise the one that says no.
    Released(u64),
}

/// How [`predict_pairs`] works. A builder with the released code's arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictPairs {
    pub(super) origin: Origin,
    reverse: Reverse,
    batch_size: usize,
}

impl Default for PredictPairs {
    fn default() -> Self {
        PredictPairs { origin: Origin::default(), reverse: Reverse::Off, batch_size: 32 }
    }
}

origin_of!(PredictPairs);

impl PredictPairs {
    /// Whether the other direction is computed too. Default: no.
    pub fn reverse(mut self, reverse: Reverse) -> Self {
        self.reverse = reverse;
        self
    }

    /// Pairs between two looks for an interrupt. Default: 32.
    pub fn batch_size(mut self, pairs: usize) -> Self {
        self.batch_size = pairs;
        self
    }
}

impl PredictPairs {
    /// The tokens of pairs of cells, by their names, as [`predict_pairs`] takes them.
    ///
    /// # Errors
    /// As [`predict_pairs`].
    pub fn tokens<S: AsRef<str>>(
        &self,
        adata: &AnnData,
        model: &SpatialFormer,
        left: &[S],
        right: &[S],
    ) -> Result<Sequences> {
        let pairs = Pairs::new(self, adata, model, left, right)?;
        pairs.tokens(0..left.len())
    }
}

/// Pairs of cells of a slide.
struct Pairs<'a> {
    origin: [u32; 4],
    separator: u32,
    max_len: Option<usize>,
    tokenizer: Tokenizer<'a>,
    rows: [Vec<usize>; 2],
}

impl<'a> Pairs<'a> {
    fn new<S: AsRef<str>>(
        options: &PredictPairs,
        adata: &'a AnnData,
        model: &SpatialFormer,
        left: &[S],
        right: &[S],
    ) -> Result<Self> {
        let vocabulary = model.vocabulary()?;
        if left.len() != right.len() {
            let expected = format!("{}, as left ones", left.len());
            return Err(Error::shape("right cells", expected, right.len()));
        }
        Ok(Pairs {
            origin: options.origin.tokens(vocabulary)?,
            separator: vocabulary.separator(),
            max_len: options.origin.max_len,
            tokenizer: options.origin.tokenizer(adata, vocabulary)?,
            rows: [cells(adata, left)?, cells(adata, right)?],
        })
    }

    fn tokens(&self, range: Range<usize>) -> Result<Sequences> {
        let rank = |side: usize| self.tokenizer.rank(&self.rows[side][range.clone()], self.max_len);
        let mut batch = Sequences::default();
        for (a, b) in rank(0)?.iter().zip(&rank(1)?) {
            batch.push_pair(self.origin, [a, b], self.separator);
        }
        Ok(batch)
    }
}

/// What [`predict_pairs`] found, pair by pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PairPredictions {
    /// The names of the cells.
    pub pairs: Vec<(String, String)>,
    /// The state of `<CLS>` of left before right, pairs × dim.
    pub embeddings: Array2<f32>,
    /// P(neighbours), of the direction that counts.
    pub probabilities: Vec<f32>,
    /// P(neighbours) of right before left, where it was computed.
    pub reversed: Option<Vec<f32>>,
}

impl PairPredictions {
    /// Columns `left`, `right`, `probability`, and `reversed` where it was computed.
    pub fn to_frame(&self) -> Frame {
        let mut frame = Frame::with_len(self.pairs.len());
        let texts = |pick: fn(&(String, String)) -> &String| {
            Column::Str(self.pairs.iter().map(|p| Some(pick(p).clone())).collect())
        };
        let mut columns = vec![
            ("left", texts(|p| &p.0)),
            ("right", texts(|p| &p.1)),
            ("probability", Column::Values(Values::F32(self.probabilities.clone()))),
        ];
        columns.extend(self.reversed.clone().map(|r| ("reversed", Column::Values(Values::F32(r)))));
        for (name, column) in columns {
            // Each has one entry a pair.
            let inserted = frame.insert(name, column);
            debug_assert!(inserted.is_ok());
        }
        frame
    }
}

impl fmt::Display for PairPredictions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = self.probabilities.iter().filter(|p| **p > 0.5).count();
        write!(f, "{} pairs of cells, {yes} of them neighbours by the network", self.pairs.len())
    }
}

impl Rich for PairPredictions {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_frame().to_html()))
    }
}
shows_itself!(PairPredictions);

/// Predicts for pairs of cells, by their names, whether they are neighbours:
/// `embed_data(…, mode="pair")` of the released code.
///
/// A pair may have cells of any number of genes. A cell without known genes is what it is: a prefix alone.
///
/// Matches `spatialformer` 0.1.8 on PyTorch 2.15: probabilities within 2e-5 on a small network.
///
/// # Errors
/// [`Error::Shape`] when there are more left cells than right ones or the other way round;
/// [`Error::MissingKey`] naming a cell that there is not; those of [`embed`](super::embed).
pub fn predict_pairs<S: AsRef<str>>(
    adata: &AnnData,
    model: &SpatialFormer,
    left: &[S],
    right: &[S],
    options: &PredictPairs,
) -> Result<PairPredictions> {
    if options.batch_size == 0 {
        return Err(Error::parameter("batch_size", 0, "must be at least 1"));
    }
    let pairs = Pairs::new(options, adata, model, left, right)?;
    let (n, dim) = (left.len(), model.config().dim);
    let mut embeddings = Array2::zeros((0, dim));
    let (mut forward, mut backward) = (Vec::new(), Vec::new());
    let mut progress = Progress::new("SpatialFormer pairs", n as u64);
    for first in (0..n).step_by(options.batch_size) {
        let here = first..n.min(first + options.batch_size);
        let batch = pairs.tokens(here.clone())?;
        let states = model.first_states(&batch)?;
        forward.extend(model.pair_probabilities(states.view())?.column(1).iter().copied());
        embeddings
            .append(Axis(0), states.view())
            .map_err(|e| Error::data("states", e.to_string()))?;
        if options.reverse != Reverse::Off {
            let states = model.first_states(&batch.swapped())?;
            backward.extend(model.pair_probabilities(states.view())?.column(1).iter().copied());
        }
        progress.tick(here.len() as u64)?;
    }
    progress.finish();
    let name = |row: &usize| adata.obs.names()[*row].clone();
    let [left, right] = &pairs.rows;
    Ok(PairPredictions {
        pairs: left.iter().map(name).zip(right.iter().map(name)).collect(),
        embeddings,
        probabilities: chosen(options.reverse, &forward, &backward),
        reversed: (options.reverse != Reverse::Off).then_some(backward),
    })
}

/// The rows of cells by their names.
pub(super) fn cells<S: AsRef<str>>(adata: &AnnData, names: &[S]) -> Result<Vec<usize>> {
    let all = adata.obs.names();
    let rows: HashMap<&str, usize> =
        all.iter().enumerate().rev().map(|(i, name)| (name.as_str(), i)).collect();
    let row = |name: &S| {
        let missing = || Error::missing_key("obs", "cell", name.as_ref(), all);
        rows.get(name.as_ref()).copied().ok_or_else(missing)
    };
    names.iter().map(row).collect()
}

/// P(neighbours) of the direction that counts.
pub(super) fn chosen(reverse: Reverse, forward: &[f32], backward: &[f32]) -> Vec<f32> {
    let mut rng = match reverse {
        Reverse::Released(seed) => Rng::new(seed),
        _ => Rng::new(0),
    };
    let choose = |(&a, &b): (&f32, &f32)| match reverse {
        Reverse::Off => a,
        Reverse::Surer if (a > 0.5) == (b > 0.5) => (a + b) / 2.0,
        Reverse::Surer => {
            if (a - 0.5).abs() >= (b - 0.5).abs() {
                a
            } else {
                b
            }
        }
        Reverse::Released(_) if (a > 0.5) == (b > 0.5) => {
            if rng.below(2) == 0 {
                a
            } else {
                b
            }
        }
        Reverse::Released(_) => a.min(b),
    };
    match reverse {
        Reverse::Off => forward.to_vec(),
        _ => forward.iter().zip(backward).map(choose).collect(),
    }
}
