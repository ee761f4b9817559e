//! [`Sequences`]: the tokens of cells or pairs of cells as the network takes them.
//!
//! ```text
//! one cell   CLS condition tissue species assay genes SEP                       kind 1
//! a pair     CLS condition tissue species assay genes SEP                       kind 1
//!                condition tissue species assay genes SEP                       kind 2
//! ```
//! Sequences lie one behind the other without padding, each as long as it is: what padding would add is
//! never computed. [`padded`](Sequences::padded) gives the rectangle that the released code makes.

use super::vocabulary::{CLS, PAD};
use candle_core::{Device, Result, Tensor};

/// Tokens before the genes of the first cell of a sequence.
pub(super) const PREFIX: usize = 5;

/// Sequences of tokens.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sequences {
    /// All tokens.
    pub(super) tokens: Vec<u32>,
    /// 1 for tokens of the first cell, 2 for those of the second.
    pub(super) kinds: Vec<u32>,
    /// Tokens of each cell of each sequence; the second is 0 for single cells.
    pub(super) segments: Vec<[usize; 2]>,
}

/// A rectangle of sequences, filled up with padding.
pub(super) struct Padded {
    /// `[batch, length]`.
    pub tokens: Tensor,
    /// `[batch, length]`: 0 where padding stands; in single cells 1 everywhere, as released.
    pub kinds: Tensor,
    /// `[batch, length]`: 1 where a token stands, 0 where padding does; `f32`.
    pub mask: Tensor,
    /// Whether a token stands everywhere.
    pub even: bool,
}

impl Sequences {
    /// Appends a cell: the tokens of where it comes from (condition, tissue, species, assay), those of its
    /// genes, the highest first, and the vocabulary's separator.
    pub fn push_cell(&mut self, origin: [u32; 4], genes: &[u32], separator: u32) {
        let before = self.tokens.len();
        self.tokens.push(CLS);
        self.push_segment(origin, genes, separator);
        self.kinds.resize(self.tokens.len(), 1);
        self.segments.push([self.tokens.len() - before, 0]);
    }

    /// Appends a pair of cells; see [`push_cell`](Sequences::push_cell).
    pub fn push_pair(&mut self, origin: [u32; 4], genes: [&[u32]; 2], separator: u32) {
        self.push_pair_of([origin, origin], genes, separator);
    }

    /// Appends a pair of cells of two slides.
    pub(super) fn push_pair_of(
        &mut self,
        origins: [[u32; 4]; 2],
        [left, right]: [&[u32]; 2],
        separator: u32,
    ) {
        self.push_cell(origins[0], left, separator);
        let before = self.tokens.len();
        self.push_segment(origins[1], right, separator);
        self.kinds.resize(self.tokens.len(), 2);
        if let Some(segments) = self.segments.last_mut() {
            segments[1] = self.tokens.len() - before;
        }
    }

    fn push_segment(&mut self, origin: [u32; 4], genes: &[u32], separator: u32) {
        self.tokens.extend(origin);
        self.tokens.extend(genes);
        self.tokens.push(separator);
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Number of tokens in all.
    pub fn n_tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens of each sequence.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.segments.iter().map(|[first, second]| first + second)
    }

    /// Which rows of the hidden states are those of each sequence.
    pub fn spans(&self) -> Vec<std::ops::Range<usize>> {
        let mut end = 0;
        let span = |length| {
            end += length;
            end - length..end
        };
        self.lengths().map(span).collect()
    }

    /// Tokens of each cell of each sequence; the second is 0 for single cells.
    pub fn segments(&self) -> &[[usize; 2]] {
        &self.segments
    }

    /// 1 for tokens of a sequence's first cell, 2 for those of its second; one sequence behind the other.
    pub fn kinds(&self) -> &[u32] {
        &self.kinds
    }

    /// The tokens of a sequence.
    pub fn tokens_of(&self, i: usize) -> &[u32] {
        self.spans().get(i).map_or(&[], |span| &self.tokens[span.clone()])
    }

    /// Pairs with the cells in the other order.
    pub fn swapped(&self) -> Sequences {
        let mut out = Sequences::default();
        for (span, &[first, second]) in self.spans().into_iter().zip(&self.segments) {
            let tokens = &self.tokens[span];
            out.tokens.push(CLS);
            out.tokens.extend(&tokens[first..]);
            out.tokens.extend(&tokens[1..first]);
            out.segments.push([second + 1, first - 1]);
            out.kinds.extend(std::iter::repeat_n(1, second + 1));
            out.kinds.extend(std::iter::repeat_n(2, first - 1));
        }
        out
    }

    /// The sequences from `start` to `end`, of each only its own tokens.
    pub(super) fn part(&self, range: std::ops::Range<usize>) -> Sequences {
        let before: usize = self.lengths().take(range.start).sum();
        let length: usize = self.lengths().skip(range.start).take(range.len()).sum();
        Sequences {
            tokens: self.tokens[before..before + length].to_vec(),
            kinds: self.kinds[before..before + length].to_vec(),
            segments: self.segments[range].to_vec(),
        }
    }

    /// The rectangle that the released code makes.
    pub(super) fn padded(&self, device: &Device) -> Result<Padded> {
        let longest = self.lengths().max().unwrap_or(0);
        let size = self.len() * longest;
        let (mut tokens, mut kinds) = (Vec::with_capacity(size), Vec::with_capacity(size));
        let mut mask = Vec::with_capacity(size);
        for (span, segments) in self.spans().into_iter().zip(&self.segments) {
            let rest = longest - span.len();
            mask.extend(std::iter::repeat_n(1f32, span.len()));
            mask.extend(std::iter::repeat_n(0f32, rest));
            tokens.extend_from_slice(&self.tokens[span.clone()]);
            tokens.extend(std::iter::repeat_n(PAD, rest));
            kinds.extend_from_slice(&self.kinds[span]);
            kinds.extend(std::iter::repeat_n(u32::from(segments[1] == 0), rest));
        }
        let shape = (self.len(), longest);
        Ok(Padded {
            tokens: Tensor::from_vec(tokens, shape, device)?,
            kinds: Tensor::from_vec(kinds, shape, device)?,
            mask: Tensor::from_vec(mask, shape, device)?,
            even: self.n_tokens() == size,
        })
    }
}
