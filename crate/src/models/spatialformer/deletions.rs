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
use super::perturb::{Taken, Whole};
use super::sequences::Sequences;
use crate::error::Result;
use crate::nn::Linear;
use crate::nn::fused::{Coarse, Known, Order, held};
use candle_core::Tensor;
use indexmap::IndexSet;
use rayon::prelude::*;
use std::mem::take;
use std::ops::Range;

/// Pairs whose states are held at the same time.
const PAIRS: usize = 4096;
/// Pairs of a batch: few enough for the last-level cache, and so many that a weight is worth reading for their few rows
/// that are far from what is known.
const BATCH: usize = 32;
/// Layers of a block.
const LAYERS: usize = 4;
/// Tokens of the first cell in a batch.
const SHARED: usize = 4;

/// A layer of a block, what it was given and what it made of it: rows of the whole pair, then of the pair without a
/// gene of the first cell, then of the pair without one of the second, less those of the whole pair.
#[derive(Default)]
struct Record {
    coarse: Option<Coarse>,
    x: Vec<f32>,
    y: Vec<f32>,
}

/// Exact products that are kept.
struct Recorder<'a> {
    records: &'a mut [Record],
    next: usize,
    /// Rows of a record.
    n: usize,
    /// The first of those of this pass.
    first: usize,
    /// Where the rows of this pass stand in the whole pair, if it is to be taken off.
    places: Option<&'a [usize]>,
}

impl Products for Recorder<'_> {
    fn product(
        &mut self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<()> {
        Exact.product(weight, bias, x, y)?;
        // Behind the last attention come first tokens only, of which nothing is kept.
        let Some(record) = self.records.get_mut(self.next) else { return Ok(()) };
        self.next += 1;
        let (out, inner) = weight.dims2()?;
        if self.first == 0 {
            record.coarse = Coarse::new(&held(weight)?, inner);
            record.x.resize(self.n * inner, 0.0);
            record.y.resize(self.n * out, 0.0);
        }
        keep(x, &mut record.x, inner, self.first, self.places);
        keep(y, &mut record.y, out, self.first, self.places);
        Ok(())
    }
}

/// Writes `rows` into a table, from row `first`.
fn keep(rows: &[f32], table: &mut [f32], width: usize, first: usize, places: Option<&[usize]>) {
    let (whole, table) = table.split_at_mut(first * width);
    let rows = table.par_chunks_mut(width).zip(rows.par_chunks(width)).with_min_len(64);
    match places {
        None => rows.for_each(|(to, row)| to.copy_from_slice(row)),
        Some(places) => rows.zip(places).for_each(|((to, row), place)| {
            let whole = &whole[place * width..][..width];
            to.iter_mut().zip(row).zip(whole).for_each(|((to, r), w)| *to = r - w);
        }),
    }
}

/// Products of rows that are nearly known.
struct Nearly<'a> {
    records: &'a [Record],
    next: usize,
    rows: &'a [[u32; 2]],
    order: &'a Order,
}

impl<'a> Nearly<'a> {
    /// The next layer, if it is among those whose rows are nearly known.
    fn next(&mut self) -> Option<(&'a Coarse, Known<'a>)> {
        let record = self.records.get(self.next)?;
        self.next += 1;
        let (x, y) = ([&record.x[..]; 2], [&record.y[..]; 2]);
        let known = Known { rows: self.rows, order: self.order, x, y };
        Some((record.coarse.as_ref()?, known))
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

/// The pair, or some pairs without one gene.
struct Single {
    spans: Vec<Range<usize>>,
    /// Where the tokens stand in the whole pair.
    places: Vec<usize>,
    x: Vec<f32>,
}

/// Some pairs without two genes.
struct Batch {
    spans: Vec<Range<usize>>,
    /// For each token, where it stands in the passes without a gene of the first and of the second cell.
    rows: Vec<[u32; 2]>,
    /// By where they stand in the whole pair.
    order: Order,
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
    let (lefts, rights) = unique(tokens);
    let left: Vec<Taken> = lefts.iter().map(|&l| [Some(l), None]).collect();
    let right: Vec<Taken> = rights.iter().map(|&r| [None, Some(r)]).collect();
    let (mut n, mut singles, mut rows_of) = (0, Vec::new(), Vec::new());
    let alone = [&[[None; 2]][..]].into_iter().chain(left.chunks(BATCH));
    for taken in alone.chain(right.chunks(BATCH)) {
        let (mut batch, mut places) = (Sequences::default(), Vec::new());
        for &taken in taken {
            let mut rows = vec![u32::MAX; whole.tokens.len()];
            for place in whole.places(taken) {
                rows[place] = (n + places.len()) as u32;
                places.push(place);
            }
            rows_of.push(rows);
            whole.push_without(taken, &mut batch);
        }
        n += places.len();
        singles.push(Single { spans: batch.spans(), places, x: embedded(model, &batch)? });
    }
    let rights_from = 1 + lefts.len().div_ceil(BATCH);
    let row_of = |set: &IndexSet<u32>, token: u32, before: usize, place: usize| {
        rows_of[before + set.get_index_of(&token).unwrap_or(0)][place]
    };
    let batch = |pairs: &[(u32, u32)]| -> Result<Batch> {
        let (mut batch, mut rows, mut places) = (Sequences::default(), Vec::new(), Vec::new());
        for &(l, r) in pairs {
            let taken = [Some(l), Some(r)];
            whole.push_without(taken, &mut batch);
            for place in whole.places(taken) {
                places.push(place);
                rows.push([
                    row_of(&lefts, l, 1, place),
                    row_of(&rights, r, 1 + lefts.len(), place),
                ]);
            }
        }
        let x = embedded(model, &batch)?;
        Ok(Batch { spans: batch.spans(), rows, order: Order::by(&places), x })
    };
    let mut batches: Vec<Batch> = tokens.chunks(BATCH).map(batch).collect::<Result<_>>()?;

    let mut records: Vec<Record> = (0..LAYERS).map(|_| Record::default()).collect();
    let mut room = Room::default();
    for block in 0..blocks(model) {
        if block + 1 == blocks(model) {
            records.truncate(1);
        }
        let mut first = 0;
        for (i, single) in singles.iter_mut().enumerate() {
            let places = (i >= rights_from).then_some(&single.places[..]);
            let products = Recorder { records: &mut records, next: 0, n, first, places };
            let x = take(&mut single.x);
            let mut pass = Pass::new(model, &single.spans, x, &mut room, products);
            pass.block(block, Keep::First)?;
            single.x = pass.x;
            first += single.places.len();
        }
        for batch in &mut batches {
            let products =
                Nearly { records: &records, next: 0, rows: &batch.rows, order: &batch.order };
            let x = take(&mut batch.x);
            let mut pass = Pass::new(model, &batch.spans, x, &mut room, products);
            pass.block(block, Keep::First)?;
            batch.x = pass.x;
            done(batch.spans.len())?;
        }
    }
    Ok(batches)
}
