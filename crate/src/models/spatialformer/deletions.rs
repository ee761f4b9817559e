//! Pairs of cells without one gene of the first and one of the second cell, many of them in one pass.
//!
//! What two deletions do is nearly the sum of what each does alone,
//!
//! ```text
//! state(l, r) = state(l) + state(r) - state() + what they do to each other
//! ```
//! and what they do to each other is 1e-5 to 1e-4 of a state where they are not beside each other. So the passes go
//! block by block: the deletions of the first and of the second cell alone in `f32`, with every product's rows and
//! what was made of them kept; then the pairs, whose products multiply only what the deletions do to each other, in
//! small whole numbers where these suffice (see [`Coarse`]). Everything else is computed as ever, so that an error
//! is a few hundredths of what two deletions do to each other: a pair's probability is moved by less than 1e-5.

use super::fused::{Exact, Keep, Pass, Products, Room, blocks, embedded};
use super::network::SpatialFormer;
use super::perturb::Whole;
use super::sequences::Sequences;
use crate::error::Result;
use crate::nn::Linear;
use crate::nn::fused::{Coarse, Known, held};
use candle_core::Tensor;
use indexmap::IndexSet;
use rayon::prelude::*;
use std::ops::Range;

/// Pairs whose states are held at the same time.
const PAIRS: usize = 2048;
/// Pairs of a batch: what a block computes of them stays in the last-level cache.
const BATCH: usize = 8;
/// Tokens of the first cell in a batch.
const SHARED: usize = 4;

/// A layer of a block, the rows that it was given and what it made of them.
struct Record {
    weight: Tensor,
    x: Vec<f32>,
    y: Vec<f32>,
}

/// Exact products that are kept.
struct Recorder<'a>(&'a mut Vec<Record>);

impl Products for Recorder<'_> {
    fn product(
        &mut self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        Exact.product(weight, bias, x, y)?;
        self.0.push(Record { weight: weight.clone(), x: x.to_vec(), y: y.to_vec() });
        Ok(())
    }
}

/// Products of rows that are nearly known.
struct Nearly<'a> {
    layers: &'a [(Option<Coarse>, Record)],
    next: usize,
    rows: &'a [[u32; 2]],
}

impl<'a> Nearly<'a> {
    /// The next layer, if it is among those whose rows are nearly known.
    fn next(&mut self) -> Option<(&'a Coarse, Known<'a>)> {
        let (coarse, record) = self.layers.get(self.next)?;
        self.next += 1;
        let known = Known { rows: self.rows, x: [&record.x; 2], y: [&record.y; 2] };
        Some((coarse.as_ref()?, known))
    }
}

impl Products for Nearly<'_> {
    fn product(
        &mut self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        let Some((coarse, known)) = self.next() else {
            return Exact.product(weight, bias, x, y);
        };
        let (weight, bias) = (held(weight)?, bias.map(held).transpose()?);
        coarse.product(known, x, &weight, bias.as_deref(), y);
        Ok(())
    }

    fn gated(&mut self, layer: &Linear, x: &[f32], wide: &mut [f32], y: &mut [f32]) -> Result<()> {
        let Some((coarse, known)) = self.next() else {
            return Exact.gated(layer, x, wide, y);
        };
        coarse.gated(known, x, &held(&layer.weight)?, &held(&layer.bias)?, y);
        Ok(())
    }
}

/// Some pairs.
struct Batch {
    spans: Vec<Range<usize>>,
    /// For each token, where it stands in the passes without a gene of the first and of the second cell.
    rows: Vec<[u32; 2]>,
    x: Vec<f32>,
}

/// Whether so many pairs are worth the passes that they share.
pub(super) fn worthwhile(tokens: &[(u32, u32)]) -> bool {
    let (lefts, rights) = unique(tokens);
    tokens.len() > 3 * (lefts.len() + rights.len() + 1)
}

fn unique(tokens: &[(u32, u32)]) -> (IndexSet<u32>, IndexSet<u32>) {
    tokens.iter().copied().unzip()
}

/// The last hidden states of the first token of the pair without each two tokens. `done` hears how many more pairs'
/// worth of work was done.
pub(super) fn first_states(
    model: &SpatialFormer,
    whole: &Whole,
    tokens: &[(u32, u32)],
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<f32>> {
    let (parts, dim) = (tokens.len().div_ceil(PAIRS).max(1), model.config.dim);
    let mut states = vec![0f32; tokens.len() * dim];
    let (mut blocks_done, blocks) = (0, blocks(model));
    let mut done = |pairs: usize| {
        blocks_done += pairs;
        let pairs_done = blocks_done / blocks;
        blocks_done %= blocks;
        done(pairs_done)
    };
    let order = order(tokens);
    for part in order.chunks(tokens.len().div_ceil(parts).max(1)) {
        let pairs: Vec<(u32, u32)> = part.iter().map(|&i| tokens[i]).collect();
        let made = part_states(model, whole, &pairs, &mut done)?;
        let rows = made.iter().flat_map(|batch| batch.x.chunks_exact(dim));
        for (&i, row) in part.iter().zip(rows) {
            states[i * dim..(i + 1) * dim].copy_from_slice(row);
        }
    }
    Ok(states)
}

/// The pairs in such an order that those of a batch and of the ones behind it share a few tokens of the first cell
/// and fewer still of the second: what is known of these stays in the last-level cache.
fn order(tokens: &[(u32, u32)]) -> Vec<usize> {
    let (lefts, rights) = unique(tokens);
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by_key(|&i| {
        let left = lefts.get_index_of(&tokens[i].0).unwrap_or(0);
        (left / SHARED, rights.get_index_of(&tokens[i].1), left)
    });
    order
}

/// As [`first_states`], as batches and in their order, of no more than [`PAIRS`].
fn part_states(
    model: &SpatialFormer,
    whole: &Whole,
    tokens: &[(u32, u32)],
    done: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Batch>> {
    // Without a gene of the first cell, without one of the second, whole.
    let (lefts, rights) = unique(tokens);
    let taken = lefts.iter().map(|&l| [Some(l), None]);
    let taken = taken.chain(rights.iter().map(|&r| [None, Some(r)])).chain([[None; 2]]);
    let (mut singles, mut rows_of) = (Sequences::default(), Vec::new());
    for taken in taken {
        let mut rows = vec![u32::MAX; whole.tokens.len()];
        for (row, place) in whole.places(taken).enumerate() {
            rows[place] = (singles.n_tokens() + row) as u32;
        }
        rows_of.push(rows);
        whole.push_without(taken, &mut singles);
    }
    let row_of = |set: &IndexSet<u32>, token: u32, before: usize, place: usize| {
        rows_of[before + set.get_index_of(&token).unwrap_or(0)][place]
    };
    let batch = |pairs: &[(u32, u32)]| -> Result<Batch> {
        let (mut batch, mut rows) = (Sequences::default(), Vec::new());
        for &(l, r) in pairs {
            let taken = [Some(l), Some(r)];
            whole.push_without(taken, &mut batch);
            rows.extend(whole.places(taken).map(|place| {
                [row_of(&lefts, l, 0, place), row_of(&rights, r, lefts.len(), place)]
            }));
        }
        Ok(Batch { spans: batch.spans(), rows, x: embedded(model, &batch)? })
    };
    let mut batches: Vec<Batch> = tokens.chunks(BATCH).map(batch).collect::<Result<_>>()?;

    let spans = singles.spans();
    let (from, to) = (spans[lefts.len()].start, spans[spans.len() - 1].start);
    let places = rights.iter().flat_map(|&r| whole.places([None, Some(r)]));
    let places: Vec<usize> = places.collect();
    let mut x = embedded(model, &singles)?;
    let mut room = [Room::default(), Room::default()];
    for block in 0..blocks(model) {
        let mut records = Vec::new();
        let mut pass = Pass::new(model, &spans, x, &mut room[0], Recorder(&mut records));
        pass.block(block, Keep::First)?;
        x = pass.x;
        if block + 1 == blocks(model) {
            // Behind the first one there are rows of first tokens only.
            records.truncate(1);
        }
        let mut layers = Vec::new();
        for mut record in records {
            let (out, inner) = record.weight.dims2()?;
            for (table, width) in [(&mut record.x, inner), (&mut record.y, out)] {
                let (rows, whole) = table.split_at_mut(to * width);
                minus(&mut rows[from * width..], whole, width, &places);
            }
            let coarse = Coarse::new(&held(&record.weight)?, inner);
            layers.push((coarse, record));
        }
        for batch in &mut batches {
            let products = Nearly { layers: &layers, next: 0, rows: &batch.rows };
            let x = std::mem::take(&mut batch.x);
            let mut pass = Pass::new(model, &batch.spans, x, &mut room[1], products);
            pass.block(block, Keep::First)?;
            batch.x = pass.x;
            done(batch.spans.len())?;
        }
    }
    Ok(batches)
}

/// Takes the whole pair's row of each place off the rows.
fn minus(rows: &mut [f32], whole: &[f32], width: usize, places: &[usize]) {
    rows.par_chunks_mut(width).zip(places).for_each(|(row, place)| {
        row.iter_mut().zip(&whole[place * width..][..width]).for_each(|(r, w)| *r -= w);
    });
}
