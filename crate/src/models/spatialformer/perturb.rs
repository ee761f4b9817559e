//! [`perturb`]: which genes two neighbours are neighbours by.

#[cfg(target_arch = "x86_64")]
use super::deletions;
use super::embed::{Origin, origin_of};
use super::network::SpatialFormer;
use super::pairs::cells;
use super::sequences::{PREFIX, Sequences};
use crate::anndata::{AnnData, Column, Frame, Values};
use crate::error::{Error, Result};
#[cfg(target_arch = "x86_64")]
use crate::nn::fused::usable;
use crate::notebook::{Bundle, Rich, shows_itself};
use crate::progress::Progress;
use ndarray::ArrayView2;
use std::fmt;
use std::ops::Range;

/// Pairs without two genes that are computed together.
const TOGETHER: usize = 32;

/// How [`perturb`] works. A builder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Perturb {
    pub(super) origin: Origin,
    genes: Option<Vec<(String, String)>>,
}

origin_of!(Perturb);

impl Perturb {
    /// The pairs of genes to take away, of the left and of the right cell: ligands and receptors, say.
    /// Those that a cell does not express are left out. Default: every gene of the left with every gene of
    /// the right cell.
    pub fn genes<S: Into<String>>(mut self, pairs: impl IntoIterator<Item = (S, S)>) -> Self {
        self.genes = Some(pairs.into_iter().map(|(a, b)| (a.into(), b.into())).collect());
        self
    }
}

/// What [`perturb`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Perturbation {
    /// The names of the cells.
    pub cells: (String, String),
    /// P(neighbours) with all genes.
    pub probability: f32,
    /// The genes that were taken away, of the left and of the right cell.
    pub genes: Vec<(String, String)>,
    /// How P(neighbours) changed.
    pub change: Vec<f32>,
}

impl Perturbation {
    /// Columns `left`, `right`, `change`; what makes the cells less like neighbours first.
    pub fn to_frame(&self) -> Frame {
        let mut order: Vec<usize> = (0..self.genes.len()).collect();
        order.sort_by(|&a, &b| self.change[a].total_cmp(&self.change[b]));
        let text = |of: fn(&(String, String)) -> &String| {
            Column::Str(order.iter().map(|&i| Some(of(&self.genes[i]).clone())).collect())
        };
        let change = order.iter().map(|&i| self.change[i]).collect();
        let mut frame = Frame::with_len(order.len());
        for (name, column) in [
            ("left", text(|g| &g.0)),
            ("right", text(|g| &g.1)),
            ("change", Column::Values(Values::F32(change))),
        ] {
            // Each has one entry a pair.
            let inserted = frame.insert(name, column);
            debug_assert!(inserted.is_ok());
        }
        frame
    }
}

impl fmt::Display for Perturbation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = &self.cells;
        let n = self.genes.len();
        write!(f, "{left} and {right}: P(neighbours) {:.4}, {n} pairs of genes", self.probability)
    }
}

impl Rich for Perturbation {
    fn bundle(&self) -> Result<Bundle> {
        Ok(Bundle::new().text(self.to_string()).html(self.to_frame().to_html()))
    }
}
shows_itself!(Perturbation);

/// Takes a gene from one cell and a gene from another, pair by pair, and measures how the probability that
/// the cells are neighbours changes: the perturbation analysis of the paper.
///
/// Genes are taken away, not set to 0: those behind them move up. The released loop also takes separators
/// for genes; here they stay.
///
/// # Errors
/// [`Error::MissingKey`] for a cell that there is not; [`Error::Data`] when no pair of genes is left;
/// those of [`predict_pairs`](super::predict_pairs).
pub fn perturb(
    adata: &AnnData,
    model: &SpatialFormer,
    left: &str,
    right: &str,
    options: &Perturb,
) -> Result<Perturbation> {
    let vocabulary = model.vocabulary()?;
    let origin = options.origin.tokens(vocabulary)?;
    let tokenizer = options.origin.tokenizer(adata, vocabulary)?;
    let rows = cells(adata, &[left, right])?;
    let ranked = tokenizer.rank(&rows, options.origin.max_len)?;
    let (a, b) = (&ranked[0], &ranked[1]);
    let wanted: Vec<(u32, u32)> = match &options.genes {
        None => a.iter().flat_map(|&a| b.iter().map(move |&b| (a, b))).collect(),
        Some(pairs) => (pairs.iter())
            .filter_map(|(l, r)| Some((vocabulary.gene(l)?, vocabulary.gene(r)?)))
            .filter(|(l, r)| a.contains(l) && b.contains(r))
            .collect(),
    };
    if wanted.is_empty() {
        let reason =
            "the left cell expresses none of the left genes, or the right one none of the right";
        return Err(Error::data(format!("cells `{left}` and `{right}`"), reason));
    }
    let mut whole = Sequences::default();
    whole.push_pair(origin, [a, b], vocabulary.separator());
    let probability = probabilities(model, &whole)?[0];
    let mut progress = Progress::new("SpatialFormer perturbations", wanted.len() as u64);
    let changed = model.without_each(&whole, &wanted, &mut |pairs| progress.tick(pairs as u64))?;
    let change = changed.into_iter().map(|p| p - probability).collect();
    progress.finish();
    let name = |id: u32| vocabulary.name(id).unwrap_or_default().to_string();
    Ok(Perturbation {
        cells: (left.into(), right.into()),
        probability,
        genes: wanted.into_iter().map(|(l, r)| (name(l), name(r))).collect(),
        change,
    })
}

/// A pair of cells, and how it is without some of its tokens.
pub(super) struct Whole<'a> {
    pub tokens: &'a [u32],
    /// Where each cell's origin stands.
    pub origins: [usize; 2],
    /// Where the genes of each cell stand.
    pub genes: [Range<usize>; 2],
}

/// A token of the first cell and one of the second that are taken away; none where all stay.
pub(super) type Taken = [Option<u32>; 2];

impl Whole<'_> {
    fn stays(&self, place: usize, taken: Taken) -> bool {
        let gone = |(genes, token): (&Range<usize>, Option<u32>)| {
            genes.contains(&place) && token == Some(self.tokens[place])
        };
        !self.genes.iter().zip(taken).any(gone)
    }

    /// The places that stay.
    pub fn places(&self, taken: Taken) -> impl Iterator<Item = usize> + '_ {
        (0..self.tokens.len()).filter(move |&place| self.stays(place, taken))
    }

    /// Appends the pair without these tokens.
    pub fn push_without(&self, taken: Taken, batch: &mut Sequences) {
        let genes = |cell: usize| -> Vec<u32> {
            let stay = self.genes[cell].clone().filter(|&place| self.stays(place, taken));
            stay.map(|place| self.tokens[place]).collect()
        };
        let origin = |at: usize| std::array::from_fn(|i| self.tokens[at + i]);
        let separator = self.tokens[self.genes[0].end];
        batch.push_pair_of(self.origins.map(origin), [&genes(0), &genes(1)], separator);
    }
}

impl SpatialFormer {
    /// P(neighbours) of a pair of cells without each of some pairs of tokens, one taken from the first cell and
    /// one from the second, wherever they stand behind the prefixes.
    ///
    /// Many pairs of few tokens share what the tokens' deletions do alone; their probabilities are within 1e-5 of those
    /// of [`first_states`](SpatialFormer::first_states), those of others are the same.
    ///
    /// # Errors
    /// [`Error::Shape`] when `pair` is not one pair of cells; those of
    /// [`first_states`](SpatialFormer::first_states).
    pub fn without(&self, pair: &Sequences, tokens: &[(u32, u32)]) -> Result<Vec<f32>> {
        self.without_each(pair, tokens, &mut |_| Ok(()))
    }

    /// As [`without`](Self::without); `done` hears how many more pairs are done.
    fn without_each(
        &self,
        pair: &Sequences,
        tokens: &[(u32, u32)],
        done: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<f32>> {
        let &[[first, second]] = pair.segments() else {
            return Err(Error::shape("the pair", "1 sequence", pair.len()));
        };
        if second == 0 {
            return Err(Error::shape("the pair", "2 cells", 1));
        }
        self.check_tokens(pair)?;
        let genes = [PREFIX..first - 1, first + PREFIX - 1..first + second - 1];
        let whole = Whole { tokens: pair.tokens_of(0), origins: [1, first], genes };
        #[cfg(target_arch = "x86_64")]
        if usable(&self.embeddings) && deletions::worthwhile(tokens) {
            let states = deletions::first_states(self, &whole, tokens, done)?;
            let states = ArrayView2::from_shape((tokens.len(), self.config.dim), &states);
            let states = states.map_err(|e| Error::data("states", e.to_string()))?;
            return Ok(self.pair_probabilities(states)?.column(1).to_vec());
        }
        let mut probabilities = Vec::with_capacity(tokens.len());
        for some in tokens.chunks(TOGETHER) {
            let mut batch = Sequences::default();
            for &(l, r) in some {
                whole.push_without([Some(l), Some(r)], &mut batch);
            }
            probabilities.extend(self::probabilities(self, &batch)?);
            done(some.len())?;
        }
        Ok(probabilities)
    }
}

fn probabilities(model: &SpatialFormer, batch: &Sequences) -> Result<Vec<f32>> {
    let states = model.first_states(batch)?;
    Ok(model.pair_probabilities(states.view())?.column(1).to_vec())
}
