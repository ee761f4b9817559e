//! Attention that falls with the distance of two tokens, over sequences of any lengths, for narrow heads.
//!
//! ```text
//! softmax_j(scale · qᵢ·kⱼ - slope · |i - j|) v      for each head
//! ```
//! Keys and values of a head are rearranged into blocks of 16 tokens, so that one vector instruction
//! handles 16 keys whatever the width of a head; a query's similarities stay in the first-level cache.

use super::math::exp;
use super::simd::{LANES, added, fma, vectorised};
use super::with_scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Queries that one task takes.
const BLOCK: usize = 128;

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
            let (mut rows, after) = std::mem::take(&mut rest).split_at_mut(queries * width);
            rest = after;
            let rows_of = &qkv[span.start * 3 * width..span.end * 3 * width];
            let mut first = 0;
            while !rows.is_empty() {
                let n = BLOCK.min(queries - first);
                let (block, after) = rows.split_at_mut(n * width);
                tasks.push((rows_of, first, block));
                (rows, first) = (after, first + n);
            }
        }
        tasks.into_par_iter().for_each(|(rows, first, out)| self.block(rows, first, out));
    }

    /// Some queries of one sequence, all heads.
    fn block(&self, rows: &[f32], first: usize, out: &mut [f32]) {
        let (w, width) = (self.width, self.out());
        let length = rows.len() / (3 * width);
        let blocks = length.div_ceil(LANES);
        let padded = blocks * LANES;
        // Keys, values, distances (twice the length), similarities.
        with_scratch(2 * w * padded + 3 * padded, |scratch| {
            let (keys, scratch) = scratch.split_at_mut(w * padded);
            let (values, scratch) = scratch.split_at_mut(w * padded);
            let (ramp, similar) = scratch.split_at_mut(2 * padded);
            for (head, &slope) in self.slopes.iter().enumerate() {
                let [q_at, k_at, v_at] = self.places(head);
                gather(rows, 3 * width, k_at, w, keys);
                gather(rows, 3 * width, v_at, w, values);
                fall(slope, ramp);
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let i = first + i;
                    let q = &rows[i * 3 * width + q_at..][..w];
                    let ramp = &ramp[padded - i..][..padded];
                    let out = &mut out[head * w..][..w];
                    attend(q, self.scale, keys, values, ramp, length, similar, out);
                }
            }
        });
    }
}

/// Writes -slope · |distance| from -n to n into 2n numbers: entry n - i + j is for tokens i and j.
pub(super) fn fall(slope: f32, ramp: &mut [f32]) {
    let n = ramp.len() / 2;
    for (at, r) in ramp.iter_mut().enumerate() {
        *r = -slope * at.abs_diff(n) as f32;
    }
}

/// Columns `at..at + w` of the rows, in blocks of 16 rows: `[block][column][row]`; zeros behind the last.
fn gather(rows: &[f32], stride: usize, at: usize, w: usize, target: &mut [f32]) {
    for (block, rows) in target.chunks_exact_mut(w * LANES).zip(rows.chunks(LANES * stride)) {
        if rows.len() < LANES * stride {
            block.fill(0.0);
        }
        for (lane, row) in rows.chunks_exact(stride).enumerate() {
            for (c, &x) in row[at..at + w].iter().enumerate() {
                block[c * LANES + lane] = x;
            }
        }
    }
}

vectorised! {
    fn attend(
        q: &[f32],
        scale: f32,
        keys: &[f32],
        values: &[f32],
        ramp: &[f32],
        length: usize,
        similar: &mut [f32],
        out: &mut [f32],
    ) {
        match q.len() {
            4 => narrow::<FMA, 4>(q, scale, keys, values, ramp, length, similar, out),
            8 => narrow::<FMA, 8>(q, scale, keys, values, ramp, length, similar, out),
            16 => narrow::<FMA, 16>(q, scale, keys, values, ramp, length, similar, out),
            _ => wide::<FMA>(q, scale, keys, values, ramp, length, similar, out),
        }
    }
}

/// Similarities, and the largest of them.
#[inline(always)]
fn similarities<const FMA: bool>(
    ramp: &[f32],
    length: usize,
    similar: &mut [f32],
    product: impl Fn(usize) -> [f32; LANES],
) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    let (ramps, _) = ramp.as_chunks::<LANES>();
    let (blocks, _) = similar.as_chunks_mut::<LANES>();
    for (b, (s, ramp)) in blocks.iter_mut().zip(ramps).enumerate() {
        *s = product(b);
        for l in 0..LANES {
            s[l] += ramp[l];
        }
        if (b + 1) * LANES > length {
            s[length - b * LANES..].fill(f32::NEG_INFINITY);
        }
        for l in 0..LANES {
            largest[l] = if s[l] > largest[l] { s[l] } else { largest[l] };
        }
    }
    largest.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// With the width known, sums stay in registers.
#[inline(always)]
fn narrow<const FMA: bool, const W: usize>(
    q: &[f32],
    scale: f32,
    keys: &[f32],
    values: &[f32],
    ramp: &[f32],
    length: usize,
    similar: &mut [f32],
    out: &mut [f32],
) {
    let mut scaled = [0f32; W];
    for (s, &q) in scaled.iter_mut().zip(q) {
        *s = q * scale;
    }
    let (keys, _) = keys.as_chunks::<LANES>();
    let (keys, _) = keys.as_chunks::<W>();
    let (values, _) = values.as_chunks::<LANES>();
    let (values, _) = values.as_chunks::<W>();
    let largest = similarities::<FMA>(ramp, length, similar, |b| {
        let mut sum = [0f32; LANES];
        for (q, k) in scaled.iter().zip(&keys[b]) {
            for l in 0..LANES {
                sum[l] = fma::<FMA>(*q, k[l], sum[l]);
            }
        }
        sum
    });
    let mut total = [0f32; LANES];
    let mut sums = [[0f32; LANES]; W];
    let (blocks, _) = similar.as_chunks::<LANES>();
    for (s, v) in blocks.iter().zip(values) {
        let mut p = [0f32; LANES];
        for l in 0..LANES {
            p[l] = exp::<FMA>(s[l] - largest);
            total[l] += p[l];
        }
        for c in 0..W {
            for l in 0..LANES {
                sums[c][l] = fma::<FMA>(p[l], v[c][l], sums[c][l]);
            }
        }
    }
    let inverse = 1.0 / added(&total);
    for (o, sum) in out.iter_mut().zip(&sums) {
        *o = added(sum) * inverse;
    }
}

/// Any width.
#[inline(always)]
fn wide<const FMA: bool>(
    q: &[f32],
    scale: f32,
    keys: &[f32],
    values: &[f32],
    ramp: &[f32],
    length: usize,
    similar: &mut [f32],
    out: &mut [f32],
) {
    let w = q.len();
    let (keys, _) = keys.as_chunks::<LANES>();
    let (values, _) = values.as_chunks::<LANES>();
    let largest = similarities::<FMA>(ramp, length, similar, |b| {
        let mut sum = [0f32; LANES];
        for (&q, k) in q.iter().zip(&keys[b * w..(b + 1) * w]) {
            for l in 0..LANES {
                sum[l] = fma::<FMA>(q * scale, k[l], sum[l]);
            }
        }
        sum
    });
    let mut total = [0f32; LANES];
    let (blocks, _) = similar.as_chunks_mut::<LANES>();
    for s in blocks.iter_mut() {
        for l in 0..LANES {
            s[l] = exp::<FMA>(s[l] - largest);
            total[l] += s[l];
        }
    }
    let inverse = 1.0 / added(&total);
    for (c, o) in out.iter_mut().enumerate() {
        let mut sum = [0f32; LANES];
        for (s, v) in blocks.iter().zip(values[c..].iter().step_by(w)) {
            for l in 0..LANES {
                sum[l] = fma::<FMA>(s[l], v[l], sum[l]);
            }
        }
        *o = added(&sum) * inverse;
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
                let spans = [0..1, 1..17, 17..33, 33..300];
                let row = 3 * h.out();
                let qkv: Vec<f32> = (0..300 * row).map(|_| 3.0 * rng.normal() as f32).collect();
                for keep in [usize::MAX, 1] {
                    let kept: usize = spans.iter().map(|s| s.len().min(keep)).sum();
                    let mut out = vec![f32::NAN; kept * h.out()];
                    h.forward(&spans, keep, &qkv, &mut out);
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
