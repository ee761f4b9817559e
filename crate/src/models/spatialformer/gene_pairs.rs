//! [`gene_pairs`]: which genes lie together within cells.

use super::embed::{Origin, origin_of};
use super::network::SpatialFormer;
use super::sequences::{PREFIX, Sequences};
use super::vocabulary::Vocabulary;
use crate::anndata::{AnnData, Column, Frame, Values};
use crate::error::{Error, Result};
use crate::notebook::{Bundle, Rich, shows_itself};
use crate::progress::Progress;
use ndarray::{ArrayView2, s};
use std::collections::HashMap;
use std::fmt;

/// How [`gene_pairs`] works. A builder.
#[derive(Debug, Clone, PartialEq)]
pub struct GenePairs {
    pub(super) origin: Origin,
    threshold: f32,
    released_positions: bool,
    batch_size: usize,
}

impl Default for GenePairs {
    fn default() -> Self {
        GenePairs {
            origin: Origin::default(),
            threshold: 0.8,
            released_positions: false,
            batch_size: 32,
        }
    }
}

origin_of!(GenePairs);

impl GenePairs {
    /// The probability above which two genes count as lying together. Default: 0.8.
    pub fn threshold(mut self, probability: f32) -> Self {
        self.threshold = probability;
        self
    }

    /// Takes the names of genes five tokens too far, as the released code does by mistake; only to
    /// compare with what it printed. Default: no.
    pub fn released_positions(mut self, on: bool) -> Self {
        self.released_positions = on;
        self
    }

    /// Cells between two looks for an interrupt. Default: 32.
    pub fn batch_size(mut self, cells: usize) -> Self {
        self.batch_size = cells;
        self
    }
}

/// Two genes over all cells.
#[derive(Debug, Clone, PartialEq)]
pub struct GenePair {
    /// The one.
    pub first: String,
    /// The other; later in the alphabet.
    pub second: String,
    /// Cells that express both.
    pub cells: usize,
    /// Cells in which they lie together with a probability above the threshold.
    pub together: usize,
    /// The mean probability over the cells that express both.
    pub probability: f64,
}

/// What [`gene_pairs`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct GenePairTable {
    /// Every pair that lies together in a cell: by the number of such cells, then by probability.
    pub pairs: Vec<GenePair>,
    /// Of each cell the pairs above the threshold, the higher gene first, with their probabilities.
    pub cells: Vec<Vec<(String, String, f32)>>,
    threshold: f32,
}

impl GenePairTable {
    /// Columns `first`, `second`, `cells`, `together`, `fraction`, `probability`.
    pub fn to_frame(&self) -> Frame {
        let mut frame = Frame::with_len(self.pairs.len());
        let text = |of: fn(&GenePair) -> &String| {
            Column::Str(self.pairs.iter().map(|p| Some(of(p).clone())).collect())
        };
        let number = |of: &dyn Fn(&GenePair) -> f64| {
            Column::Values(Values::F64(self.pairs.iter().map(of).collect()))
        };
        let count = |of: fn(&GenePair) -> usize| {
            Column::Values(Values::I64(self.pairs.iter().map(|p| of(p) as i64).collect()))
        };
        for (name, column) in [
            ("first", text(|p| &p.first)),
            ("second", text(|p| &p.second)),
            ("cells", count(|p| p.cells)),
            ("together", count(|p| p.together)),
            ("fraction", number(&|p| p.together as f64 / p.cells as f64)),
            ("probability", number(&|p| p.probability)),
        ] {
            // Each has one entry a pair.
            let inserted = frame.insert(name, column);
            debug_assert!(inserted.is_ok());
        }
        frame
    }
}

impl fmt::Display for GenePairTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pairs, cells) = (self.pairs.len(), self.cells.len());
        write!(f, "{pairs} pairs of genes lie together (above {}) in {cells} cells", self.threshold)
    }
}

impl Rich for GenePairTable {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_frame().to_html()))
    }
}
shows_itself!(GenePairTable);

/// The count of a pair so far.
#[derive(Default)]
struct Count {
    cells: usize,
    together: usize,
    sum: f64,
}

/// Finds which genes lie together within cells, by the network's own head for it: of every two genes of a
/// cell the probability that their transcripts share a compartment.
///
/// Matches `reveal_gene_pairs` of `spatialformer` 0.1.8, whose pairs carry the names of genes five ranks
/// further on ([`released_positions`](GenePairs::released_positions) repeats that).
///
/// # Errors
/// [`Error::Parameter`] for a threshold that is no probability; those of [`embed`](super::embed).
pub fn gene_pairs(
    adata: &AnnData,
    model: &SpatialFormer,
    options: &GenePairs,
) -> Result<GenePairTable> {
    let vocabulary = model.vocabulary()?;
    let threshold = options.threshold;
    if !(0.0..1.0).contains(&threshold) {
        let reason = "must be a probability, from 0 to below 1";
        return Err(Error::parameter("threshold", threshold, reason));
    }
    if options.batch_size == 0 {
        return Err(Error::parameter("batch_size", 0, "must be at least 1"));
    }
    let origin = options.origin.tokens(vocabulary)?;
    let tokenizer = options.origin.tokenizer(adata, vocabulary)?;
    let n = adata.n_obs();
    let mut counts: HashMap<(u32, u32), Count> = HashMap::new();
    let mut cells = Vec::with_capacity(n);
    let mut progress = Progress::new("SpatialFormer gene pairs", n as u64);
    for first in (0..n).step_by(options.batch_size) {
        let here: Vec<usize> = (first..n.min(first + options.batch_size)).collect();
        let mut batch = Sequences::default();
        for genes in tokenizer.rank(&here, options.origin.max_len)? {
            batch.push_cell(origin, &genes, vocabulary.separator());
        }
        let states = model.all_states(&batch)?;
        for span in batch.spans() {
            let tokens = &batch.tokens[span.clone()];
            let p = model.co_occurrence(states.slice(s![span, ..]))?;
            let found = match options.released_positions {
                true => released(tokens, p.view()),
                false => genes(tokens, p.view(), vocabulary),
            };
            let mut above = Vec::new();
            for (a, b, p) in found {
                let count = counts.entry((a.min(b), a.max(b))).or_default();
                count.cells += 1;
                count.sum += f64::from(p);
                if p > threshold {
                    count.together += 1;
                    let name = |id| vocabulary.name(id).unwrap_or_default().to_string();
                    above.push((name(a), name(b), p));
                }
            }
            cells.push(above);
        }
        progress.tick(here.len() as u64)?;
    }
    progress.finish();
    let pair = |((a, b), count): ((u32, u32), Count)| {
        let name = |id| vocabulary.name(id).unwrap_or_default().to_string();
        let (a, b) = (name(a), name(b));
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        let probability = count.sum / count.cells as f64;
        GenePair { first, second, cells: count.cells, together: count.together, probability }
    };
    let mut pairs: Vec<GenePair> =
        counts.into_iter().filter(|(_, c)| c.together > 0).map(pair).collect();
    pairs.sort_by(|x, y| {
        (y.together.cmp(&x.together))
            .then(y.probability.total_cmp(&x.probability))
            .then_with(|| (&x.first, &x.second).cmp(&(&y.first, &y.second)))
    });
    Ok(GenePairTable { pairs, cells, threshold })
}

/// Every two genes of a cell, the higher one first.
fn genes(tokens: &[u32], p: ArrayView2<f32>, vocabulary: &Vocabulary) -> Vec<(u32, u32, f32)> {
    let last = tokens.len();
    let gene = |i: &usize| vocabulary.is_gene(tokens[*i]);
    let mut all = Vec::new();
    for i in (PREFIX.min(last)..last).filter(gene) {
        all.extend((i + 1..last).filter(gene).map(|j| (tokens[i], tokens[j], p[(i, j)])));
    }
    all
}

/// What the released code takes for genes: five tokens on, from token 10 on, separators included.
fn released(tokens: &[u32], p: ArrayView2<f32>) -> Vec<(u32, u32, f32)> {
    let token = |i: usize| tokens.get(i + PREFIX).copied().filter(|t| *t >= 10);
    let mut all = Vec::new();
    for i in 0..tokens.len() {
        let Some(a) = token(i) else { continue };
        all.extend((i + 1..tokens.len()).filter_map(|j| Some((a, token(j)?, p[(i, j)]))));
    }
    all
}
