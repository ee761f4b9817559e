//! What a training step takes: sequences with some tokens hidden, which genes lie together, and which
//! cells are neighbours.

use super::super::sequences::{PREFIX, Sequences};
use super::super::vocabulary::{CLS, MASK};
use crate::rng::Rng;
use std::ops::Range;

/// A cell as it is trained on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingCell {
    /// Its genes, the highest first.
    pub genes: Vec<u32>,
    /// Which of them lie together, as (row, column) of their places in `genes`; both (a, b) and (b, a).
    pub together: Vec<(u32, u32)>,
}

/// The sequences of a step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainingBatch {
    /// What the tokens really are.
    pub sequences: Sequences,
    /// Whether the cells of each pair are neighbours; empty for single cells.
    pub neighbours: Vec<bool>,
    /// Of each sequence which tokens lie together, as (row, column) of their places in it.
    pub together: Vec<Vec<(u32, u32)>>,
}

/// Tokens as the network sees them, and which it has to guess.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::models::spatialformer) struct Hidden {
    pub tokens: Vec<u32>,
    pub selected: Vec<bool>,
}

impl TrainingBatch {
    /// Appends a cell: `<CLS>`, the tokens of its origin and its genes, as the released code trains on
    /// single cells: without separator, and all tokens of kind 0.
    pub fn push_cell(&mut self, origin: [u32; 4], cell: &TrainingCell) {
        let length = PREFIX + cell.genes.len();
        let s = &mut self.sequences;
        s.tokens.push(CLS);
        s.tokens.extend(origin);
        s.tokens.extend(&cell.genes);
        s.kinds.resize(s.tokens.len(), 0);
        s.segments.push([length, 0]);
        self.together.push(shifted(&cell.together, PREFIX).collect());
    }

    /// Appends a pair of cells.
    pub fn push_pair(
        &mut self,
        origins: [[u32; 4]; 2],
        cells: [&TrainingCell; 2],
        separator: u32,
        neighbours: bool,
    ) {
        let [a, b] = cells;
        self.sequences.push_pair_of(origins, [&a.genes, &b.genes], separator);
        // CLS, the origin, the genes, the separator, the other's origin.
        let second = PREFIX + a.genes.len() + 1 + (PREFIX - 1);
        let together = shifted(&a.together, PREFIX).chain(shifted(&b.together, second));
        self.together.push(together.collect());
        self.neighbours.push(neighbours);
    }

    /// Hides tokens: each one with probability `p`, `<CLS>` and separators excepted. Of what is selected
    /// a tenth becomes any token from 10 on, of the rest a tenth stays, and the others become `<MASK>`
    /// (after Devlin et al., 2019, with the released code's proportions). At least one is selected.
    pub(in crate::models::spatialformer) fn hide(
        &self,
        p: f64,
        separator: u32,
        n_tokens: usize,
        rng: &mut Rng,
    ) -> Hidden {
        let mut tokens = self.sequences.tokens.clone();
        let mut selected = vec![false; tokens.len()];
        let may = |t: u32| t != CLS && t != separator;
        let mut hide = |i: usize, tokens: &mut Vec<u32>, rng: &mut Rng| {
            selected[i] = true;
            if rng.uniform() < 0.1 {
                // The released code draws up to four short of the vocabulary's end.
                tokens[i] = 10 + rng.below(n_tokens.saturating_sub(14).max(1)) as u32;
            } else if rng.uniform() >= 0.1 {
                tokens[i] = MASK;
            }
        };
        let mut any = false;
        for i in 0..tokens.len() {
            if may(tokens[i]) && rng.uniform() < p {
                hide(i, &mut tokens, rng);
                any = true;
            }
        }
        let candidates: Vec<usize> = (0..tokens.len()).filter(|&i| may(tokens[i])).collect();
        if !any && !candidates.is_empty() {
            hide(candidates[rng.below(candidates.len())], &mut tokens, rng);
        }
        Hidden { tokens, selected }
    }

    /// The tokens of each cell of each sequence: rows of the padded rectangle, and where in a sequence.
    pub(super) fn cells(&self) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        self.sequences.segments.iter().enumerate().flat_map(|(i, &[first, second])| {
            [(i, 0..first), (i, first..first + second)].into_iter().filter(|(_, r)| !r.is_empty())
        })
    }
}

fn shifted(together: &[(u32, u32)], by: usize) -> impl Iterator<Item = (u32, u32)> + '_ {
    together.iter().map(move |&(row, column)| (row + by as u32, column + by as u32))
}
