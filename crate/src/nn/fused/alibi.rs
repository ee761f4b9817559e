//! Attention that falls with the distance of two tokens, over sequences of any lengths, for narrow heads.
//!
//! ```text
//! softmax_j(scale · qᵢ·kⱼ - slope · |i - j|) v      for each head
//! ```
//! A vector holds one number of as many queries as it has lanes, so that nothing is added up across lanes, whatever
//! the width of a head. Keys and values of a head are copied beside each other first; the similarities of a vector of
//! queries stay in the first-level cache. Keys so far away that all of them together are below rounding are left out:
//! half of the published network's heads see a part of a long sequence only.

use super::math::exp;
use super::simd::{fma, vectorised};
use super::with_scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Queries that one task takes at most.
const BLOCK: usize = 192;
/// Heads whose keys and values are copied together.
const HEADS: usize = 8;

/// The sizes of an attention, and where its parts lie in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DistantHeads<'a> {
    /// Numbers of a head.
    pub width: usize,
    /// What similarities are multiplied with.
    pub scale: f32,
    /// Of each head.
    pub slopes: &'a [f32],
    /// Whether a row is `[q | k | v]` head by head; otherwise all queries come first, then all keys.
    pub per_head: bool,
}

impl DistantHeads<'_> {
    pub(super) fn out(&self) -> usize {
        self.slopes.len() * self.width
    }

    /// Where q, k and v of a head begin in a row.
    pub(super) fn places(&self, head: usize) -> [usize; 3] {
        match self.per_head {
            true => [0, 1, 2].map(|part| (3 * head + part) * self.width),
            false => [0, 1, 2].map(|part| part * self.out() + head * self.width),
        }
    }

    /// Writes the attention of the sequences that lie at `spans` of the rows of `qkv` (3 × heads × width
    /// numbers each) into `out`, rows of heads × width numbers: of each sequence those of its first
    /// `keep` tokens, one sequence behind the other.
    pub fn forward(&self, spans: &[Range<usize>], keep: usize, qkv: &[f32], out: &mut [f32]) {
        let width = self.out();
        let mut tasks = Vec::new();
        let mut rest = out;
        for span in spans {
            let queries = keep.min(span.len());
            let (rows, after) = std::mem::take(&mut rest).split_at_mut(queries * width);
            rest = after;
            let rows_of = &qkv[span.start * 3 * width..span.end * 3 * width];
            let size = queries.div_ceil(queries.div_ceil(BLOCK).max(1)).max(1);
            let blocks = rows.chunks_mut(size * width).enumerate();
            tasks.extend(blocks.map(|(i, block)| (rows_of, i * size, block)));
        }
        let lanes = lanes();
        tasks.into_par_iter().for_each(|(rows, first, out)| self.block(lanes, rows, first, out));
    }

    /// Some queries of one sequence, all heads.
    fn block(&self, lanes: usize, rows: &[f32], first: usize, out: &mut [f32]) {
        let (w, width) = (self.width, self.out());
        let length = rows.len() / (3 * width);
        let reach = length + lanes;
        let one = 2 * w * length;
        let sizes = [HEADS * one, 2 * reach, lanes * length, 2 * lanes * w];
        with_scratch(sizes.iter().sum(), |scratch| {
            let (known, scratch) = scratch.split_at_mut(sizes[0]);
            let (ramp, scratch) = scratch.split_at_mut(sizes[1]);
            let (similar, room) = scratch.split_at_mut(sizes[2]);
            for (group, slopes) in self.slopes.chunks(HEADS).enumerate() {
                let places: [_; HEADS] = std::array::from_fn(|h| self.places(group * HEADS + h));
                let places = &places[..slopes.len()];
                match w {
                    // A copy of a known length is a move of a vector, another one a call.
                    8 => beside(places, w, rows, 3 * width, known.as_chunks_mut::<8>().0),
                    _ => beside(places, w, rows, 3 * width, known.as_chunks_mut::<1>().0),
                }
                let heads = slopes.iter().zip(known.chunks_exact(one)).zip(places);
                for (h, ((&slope, known), &[q_at, ..])) in heads.enumerate() {
                    let at = (group * HEADS + h) * w;
                    fall(slope, ramp);
                    let mut sight = sight(slope, 0.0, length);
                    if sight < length {
                        let count = out.len() / width;
                        let queries = rows[first * 3 * width..].chunks_exact(3 * width).take(count);
                        let queries = longest(queries.map(|row| &row[q_at..q_at + w]));
                        let keys = longest(known.chunks_exact(2 * w).map(|row| &row[..w]));
                        sight = self::sight(slope, queries * keys * self.scale.abs(), length);
                    }
                    for (i, out) in out.chunks_mut(lanes * width).enumerate() {
                        let i = first + i * lanes;
                        let queries = &rows[i * 3 * width + q_at..];
                        let keys = i.saturating_sub(sight)..(i + lanes + sight).min(length);
                        let ramp = &ramp[reach + i + 1 - keys.end..];
                        let similar = &mut similar[..lanes * keys.len()];
                        let known = &known[2 * w * keys.start..2 * w * keys.end];
                        let out = &mut out[at..];
                        let sizes = (w, width);
                        attend(lanes, sizes, queries, self.scale, known, ramp, similar, room, out);
                    }
                }
            }
        });
    }
}

/// The largest norm of some rows; no number where one holds such.
fn longest<'a>(rows: impl Iterator<Item = &'a [f32]>) -> f32 {
    let squares = rows.map(|row| row.iter().map(|v| v * v).sum::<f32>());
    squares.fold(0f32, |m, v| if v <= m { m } else { v }).sqrt()
}

/// The distance beyond which keys are left out where no product of a query and a key is above `most`. A key at distance
/// d has at most exp(2 most - slope d) of the weight that the query's own has, and those beyond D on both sides together
/// 2 exp(2 most - slope D) (1 + 1 / slope), which is below 2⁻²⁵ here.
fn sight(slope: f32, most: f32, length: usize) -> usize {
    let far = (2.0 * most + 18.1 + (1.0 + 1.0 / slope).ln()) / slope;
    // Also where it is no number.
    if far < length as f32 { far as usize + 1 } else { length }
}

/// Writes keys and values of some heads beside each other, head by head, rows of 2 `w` numbers, `N` numbers at a
/// time: a row is read once for all of these heads.
fn beside<const N: usize>(
    places: &[[usize; 3]],
    w: usize,
    rows: &[f32],
    width: usize,
    target: &mut [[f32; N]],
) {
    let size = rows.len() / width * 2 * w / N;
    for (t, row) in rows.chunks_exact(width).enumerate() {
        for (h, &[_, key, value]) in places.iter().enumerate() {
            let target = &mut target[h * size + t * 2 * w / N..][..2 * w / N];
            let (a, b) = target.split_at_mut(w / N);
            a.copy_from_slice(row[key..key + w].as_chunks().0);
            b.copy_from_slice(row[value..value + w].as_chunks().0);
        }
    }
}

/// Numbers that one vector of this machine holds.
fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return 16;
    }
    8
}

/// Writes -slope · |distance| from -n to n into 2n numbers: entry n - i + j is for tokens i and j.
pub(super) fn fall(slope: f32, ramp: &mut [f32]) {
    let n = ramp.len() / 2;
    for (at, r) in ramp.iter_mut().enumerate() {
        *r = -slope * at.abs_diff(n) as f32;
    }
}

vectorised! {
    /// The attention of as many queries as there are lanes, or of fewer at the end: `queries` begins with the
    /// first one's, rows of three times `width` numbers, and `out` where its numbers are to be, rows of `width`. `known` are
    /// rows [key | value], `ramp` begins with what the first query's similarity to the last key has added.
    fn attend(
        lanes: usize,
        sizes: (usize, usize),
        queries: &[f32],
        scale: f32,
        known: &[f32],
        ramp: &[f32],
        similar: &mut [f32],
        room: &mut [f32],
        out: &mut [f32],
    ) {
        let (w, width) = sizes;
        let (q, sums) = room.split_at_mut(room.len() / 2);
        let count = out.len().div_ceil(width);
        for l in 0..lanes {
            for c in 0..w {
                q[c * lanes + l] = if l < count { queries[l * 3 * width + c] * scale } else { 0.0 };
            }
        }
        match (lanes, w) {
            (8, 4) => narrow::<FMA, 8, 4>(q, known, ramp, similar, sums),
            (8, 8) => narrow::<FMA, 8, 8>(q, known, ramp, similar, sums),
            (8, _) => wide::<FMA, 8>(w, q, known, ramp, similar, sums),
            (_, 4) => narrow::<FMA, 16, 4>(q, known, ramp, similar, sums),
            (_, 8) => narrow::<FMA, 16, 8>(q, known, ramp, similar, sums),
            (_, 16) => narrow::<FMA, 16, 16>(q, known, ramp, similar, sums),
            _ => wide::<FMA, 16>(w, q, known, ramp, similar, sums),
        }
        for l in 0..count {
            for c in 0..w {
                out[l * width + c] = sums[c * lanes + l];
            }
        }
    }
}

/// Makes exp(x - largest) of every number; returns their sums. In a loop of its own, in which all that the exponential
/// needs stays in registers.
#[inline(always)]
fn exponents<const FMA: bool, const L: usize>(x: &mut [[f32; L]], largest: &[f32; L]) -> [f32; L] {
    let mut total = [0f32; L];
    for x in x {
        for l in 0..L {
            x[l] = exp::<FMA>(x[l] - largest[l]);
            total[l] += x[l];
        }
    }
    total
}

/// With the width known, sums stay in registers.
#[inline(always)]
fn narrow<const FMA: bool, const L: usize, const W: usize>(
    q: &[f32],
    known: &[f32],
    ramp: &[f32],
    similar: &mut [f32],
    sums: &mut [f32],
) {
    let known = known.as_chunks::<W>().0.as_chunks::<2>().0;
    let q: [[f32; L]; W] = std::array::from_fn(|c| q.as_chunks::<L>().0[c]);
    let (similar, sums) = (similar.as_chunks_mut::<L>().0, sums.as_chunks_mut::<L>().0);
    let mut largest = [f32::NEG_INFINITY; L];
    for (j, ([key, _], similar)) in known.iter().zip(similar.iter_mut()).enumerate() {
        let mut s = [0f32; L];
        s.copy_from_slice(&ramp[known.len() - 1 - j..][..L]);
        for c in 0..W {
            for l in 0..L {
                s[l] = fma::<FMA>(q[c][l], key[c], s[l]);
            }
        }
        for l in 0..L {
            largest[l] = if s[l] > largest[l] { s[l] } else { largest[l] };
        }
        *similar = s;
    }
    let total = exponents::<FMA, L>(similar, &largest);
    let mut made = [[0f32; L]; W];
    for ([_, value], p) in known.iter().zip(similar.iter()) {
        for c in 0..W {
            for l in 0..L {
                made[c][l] = fma::<FMA>(p[l], value[c], made[c][l]);
            }
        }
    }
    for (sums, made) in sums.iter_mut().zip(made) {
        for l in 0..L {
            sums[l] = made[l] / total[l];
        }
    }
}

/// Any width.
#[inline(always)]
fn wide<const FMA: bool, const L: usize>(
    w: usize,
    q: &[f32],
    known: &[f32],
    ramp: &[f32],
    similar: &mut [f32],
    sums: &mut [f32],
) {
    let (q, sums) = (q.as_chunks::<L>().0, sums.as_chunks_mut::<L>().0);
    let (similar, _) = similar.as_chunks_mut::<L>();
    let mut largest = [f32::NEG_INFINITY; L];
    for (j, (known_j, similar)) in known.chunks_exact(2 * w).zip(similar.iter_mut()).enumerate() {
        let mut s = [0f32; L];
        s.copy_from_slice(&ramp[known.len() / (2 * w) - 1 - j..][..L]);
        for (q, &key) in q.iter().zip(&known_j[..w]) {
            for l in 0..L {
                s[l] = fma::<FMA>(q[l], key, s[l]);
            }
        }
        for l in 0..L {
            largest[l] = if s[l] > largest[l] { s[l] } else { largest[l] };
        }
        *similar = s;
    }
    let total = exponents::<FMA, L>(similar, &largest);
    sums.fill([0.0; L]);
    for (known, p) in known.chunks_exact(2 * w).zip(similar.iter()) {
        for (sums, &value) in sums.iter_mut().zip(&known[w..]) {
            for l in 0..L {
                sums[l] = fma::<FMA>(p[l], value, sums[l]);
            }
        }
    }
    for sums in sums.iter_mut() {
        for l in 0..L {
            sums[l] /= total[l];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// As written, in f64.
    fn reference(h: &DistantHeads, span: Range<usize>, qkv: &[f32]) -> Vec<f64> {
        let (w, out) = (h.width, h.out());
        let at = |i: usize, place: usize| f64::from(qkv[(span.start + i) * 3 * out + place]);
        let mut rows = vec![0.0; span.len() * out];
        for (head, &slope) in h.slopes.iter().enumerate() {
            let [q, k, v] = h.places(head);
            for i in 0..span.len() {
                let similar: Vec<f64> = (0..span.len())
                    .map(|j| {
                        let dot: f64 = (0..w).map(|c| at(i, q + c) * at(j, k + c)).sum();
                        dot * f64::from(h.scale) - f64::from(slope) * i.abs_diff(j) as f64
                    })
                    .collect();
                let largest = similar.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let p: Vec<f64> = similar.iter().map(|s| (s - largest).exp()).collect();
                let total: f64 = p.iter().sum();
                for c in 0..w {
                    let sum: f64 = (0..span.len()).map(|j| p[j] * at(j, v + c)).sum();
                    rows[i * out + head * w + c] = sum / total;
                }
            }
        }
        rows
    }

    #[test]
    fn equals_f64_for_every_width_arrangement_and_length() {
        let mut rng = Rng::new(5);
        for (width, slopes) in [(8, vec![0.5, 0.03, 2.0]), (4, vec![0.1]), (5, vec![0.7, 0.0])] {
            for per_head in [true, false] {
                let h = DistantHeads { width, scale: 0.4, slopes: &slopes, per_head };
                let spans = [0..1, 1..17, 17..33, 33..339];
                let row = 3 * h.out();
                let qkv: Vec<f32> = (0..339 * row).map(|_| 3.0 * rng.normal() as f32).collect();
                for keep in [usize::MAX, 1] {
                    let kept: usize = spans.iter().map(|s| s.len().min(keep)).sum();
                    let mut out = vec![f32::NAN; kept * h.out()];
                    h.forward(&spans, keep, &qkv, &mut out);
                    for lanes in [8, 16] {
                        let mut last = vec![f32::NAN; 306 * h.out()];
                        h.block(lanes, &qkv[33 * row..], 0, &mut last);
                        let start = (kept - 306.min(keep)) * h.out();
                        let pairs = out[start..].iter().zip(&last);
                        assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 3e-5));
                    }
                    let mut at = 0;
                    for span in spans.clone() {
                        let rows = span.len().min(keep) * h.out();
                        let expected = reference(&h, span, &qkv);
                        for (a, b) in out[at..at + rows].iter().zip(&expected) {
                            assert!((f64::from(*a) - b).abs() < 3e-5, "{a} {b}");
                        }
                        at += rows;
                    }
                }
            }
        }
    }
}
