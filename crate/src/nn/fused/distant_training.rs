//! [`DistantHeads`] in training: weights of which some are dropped, and the gradients.
//!
//! ```text
//! p = softmax_j(scale · qᵢ·kⱼ - slope · |i - j|)      w = p ∘ dropped      yᵢ = Σⱼ wᵢⱼ vⱼ
//! dv = wᵀ dy      dp = dropped ∘ (dy vᵀ)      ds = p ∘ (dp - Σⱼ p dp)      dq = scale · ds k      dk = scale · dsᵀ q
//! ```
//! Each query's weights are made again on the way back and live in the first-level cache: nothing of the
//! size length × length is kept. Columns of a head lie along its tokens, so that vector instructions take
//! keys whatever the width of a head.

use super::alibi::{DistantHeads, fall};
use super::math::exp;
use super::simd::{LANES, added, fma, vectorised};
use super::{drop_elements, parts, with_scratch};
use crate::nn::Dropout;
use rayon::prelude::*;
use std::ops::Range;

/// Which weights are dropped, of sequences that would be filled up to `length` tokens: the same as in a
/// tensor of `[sequences, heads, length, length]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DroppedWeights {
    pub dropout: Dropout,
    pub length: usize,
}

impl DroppedWeights {
    /// What the weights of a query are multiplied with.
    fn factors(&self, query: usize, factors: &mut [f32]) {
        factors.fill(1.0);
        drop_elements(self.dropout, (query * self.length) as u64, factors);
    }
}

/// Rows of q, k or v of a head, turned: `[column][token]`, zeros behind the last token.
struct Turned<'a> {
    values: &'a mut [f32],
    padded: usize,
}

impl Turned<'_> {
    fn gather(&mut self, rows: &[f32], stride: usize, at: usize) {
        self.values.fill(0.0);
        for (c, column) in self.values.chunks_exact_mut(self.padded).enumerate() {
            for (t, row) in column.iter_mut().zip(rows.chunks_exact(stride)) {
                *t = row[at + c];
            }
        }
    }

    fn scatter(&self, rows: &mut [f32], stride: usize, at: usize) {
        for (c, column) in self.values.chunks_exact(self.padded).enumerate() {
            for (&t, row) in column.iter().zip(rows.chunks_exact_mut(stride)) {
                row[at + c] = t;
            }
        }
    }
}

impl DistantHeads<'_> {
    /// As [`forward`](DistantHeads::forward) for all queries, with some weights dropped.
    pub fn forward_dropped(
        &self,
        spans: &[Range<usize>],
        dropped: DroppedWeights,
        qkv: &[f32],
        out: &mut [f32],
    ) {
        let width = self.out();
        let tasks = parts(spans.iter().map(Range::len), width, out)
            .enumerate()
            .zip(spans)
            .collect::<Vec<_>>();
        tasks.into_par_iter().for_each(|((sequence, out), span)| {
            let rows = &qkv[span.start * 3 * width..span.end * 3 * width];
            self.each_head(rows, |head, keys, values, ramp, [p, factors, ..]| {
                let [q_at, ..] = self.places(head);
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let q = &rows[i * 3 * width + q_at..][..self.width];
                    let ramp = &ramp[keys.padded - i..][..keys.padded];
                    weights(q, self.scale, keys.values, ramp, span.len(), p);
                    let query = (sequence * self.slopes.len() + head) * dropped.length + i;
                    dropped.factors(query, &mut factors[..span.len()]);
                    let out = &mut out[head * self.width..][..self.width];
                    weighed(p, factors, values.values, out);
                }
            });
        });
    }

    /// Writes the gradient of `qkv` into `back`, from that of the output.
    pub fn backward(
        &self,
        spans: &[Range<usize>],
        dropped: Option<DroppedWeights>,
        qkv: &[f32],
        gradient: &[f32],
        back: &mut [f32],
    ) {
        let width = self.out();
        let tasks = parts(spans.iter().map(Range::len), 3 * width, back)
            .enumerate()
            .zip(spans)
            .collect::<Vec<_>>();
        tasks.into_par_iter().for_each(|((sequence, back), span)| {
            let rows = &qkv[span.start * 3 * width..span.end * 3 * width];
            let gradient = &gradient[span.start * width..span.end * width];
            let padded = span.len().next_multiple_of(LANES);
            let size = self.width * padded;
            let mut sums = vec![0f32; 2 * size];
            self.each_head(rows, |head, keys, values, ramp, [p, factors, d_p]| {
                sums.fill(0.0);
                let (d_keys, d_values) = sums.split_at_mut(size);
                let [q_at, k_at, v_at] = self.places(head);
                factors.fill(1.0);
                for (i, g) in gradient.chunks_exact(width).enumerate() {
                    let q = &rows[i * 3 * width + q_at..][..self.width];
                    let g = &g[head * self.width..][..self.width];
                    let ramp = &ramp[padded - i..][..padded];
                    weights(q, self.scale, keys.values, ramp, span.len(), p);
                    if let Some(dropped) = dropped {
                        let query = (sequence * self.slopes.len() + head) * dropped.length + i;
                        dropped.factors(query, &mut factors[..span.len()]);
                    }
                    let d_q = &mut back[i * 3 * width + q_at..][..self.width];
                    let (keys, values) = (&*keys.values, &*values.values);
                    let at = Query { q, g, scale: self.scale, p, factors };
                    query_back(at, keys, values, d_p, d_q, d_keys, d_values);
                }
                Turned { values: d_keys, padded }.scatter(back, 3 * width, k_at);
                Turned { values: d_values, padded }.scatter(back, 3 * width, v_at);
            });
        });
    }

    /// Calls `f` with each head of a sequence: its number, keys and values turned, -slope · |distance| from
    /// -padded to padded, and room for three rows of numbers a key.
    fn each_head(
        &self,
        rows: &[f32],
        mut f: impl FnMut(usize, &Turned, &Turned, &[f32], [&mut [f32]; 3]),
    ) {
        let stride = 3 * self.out();
        let padded = (rows.len() / stride).next_multiple_of(LANES);
        let size = self.width * padded;
        with_scratch(2 * size + 5 * padded, |scratch| {
            let (keys, scratch) = scratch.split_at_mut(size);
            let (values, scratch) = scratch.split_at_mut(size);
            let (ramp, scratch) = scratch.split_at_mut(2 * padded);
            let (a, scratch) = scratch.split_at_mut(padded);
            let (b, c) = scratch.split_at_mut(padded);
            let (mut keys, mut values) =
                (Turned { values: keys, padded }, Turned { values, padded });
            for (head, &slope) in self.slopes.iter().enumerate() {
                let [_, k_at, v_at] = self.places(head);
                keys.gather(rows, stride, k_at);
                values.gather(rows, stride, v_at);
                fall(slope, ramp);
                f(head, &keys, &values, ramp, [&mut *a, &mut *b, &mut *c]);
            }
        });
    }
}

vectorised! {
    /// The weights of a query before any is dropped; 0 behind the last key.
    fn weights(q: &[f32], scale: f32, keys: &[f32], ramp: &[f32], length: usize, p: &mut [f32]) {
        let padded = p.len();
        p.copy_from_slice(ramp);
        for (&q, k) in q.iter().zip(keys.chunks_exact(padded)) {
            let q = q * scale;
            for (p, &k) in p.iter_mut().zip(k) {
                *p = fma::<FMA>(q, k, *p);
            }
        }
        p[length..].fill(f32::NEG_INFINITY);
        let mut largest = [f32::NEG_INFINITY; LANES];
        let (blocks, _) = p.as_chunks_mut::<LANES>();
        for b in blocks.iter() {
            for l in 0..LANES {
                largest[l] = if b[l] > largest[l] { b[l] } else { largest[l] };
            }
        }
        let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut total = [0f32; LANES];
        for b in blocks.iter_mut() {
            for l in 0..LANES {
                b[l] = exp::<FMA>(b[l] - largest);
                total[l] += b[l];
            }
        }
        let inverse = 1.0 / added(&total);
        for p in p.iter_mut() {
            *p *= inverse;
        }
        // exp takes what is far below for -87.
        p[length..].fill(0.0);
    }
}

vectorised! {
    /// The sum of the values, weighed.
    fn weighed(p: &mut [f32], factors: &[f32], values: &[f32], out: &mut [f32]) {
        for (p, &f) in p.iter_mut().zip(factors) {
            *p *= f;
        }
        for (o, v) in out.iter_mut().zip(values.chunks_exact(p.len())) {
            *o = dot::<FMA>(p, v);
        }
    }
}

/// A query on the way back: its vector, the gradient of its output, its weights, and what they are
/// multiplied with.
struct Query<'a> {
    q: &'a [f32],
    g: &'a [f32],
    scale: f32,
    p: &'a [f32],
    factors: &'a [f32],
}

vectorised! {
    /// Writes the gradient of a query, and adds to those of keys and values, which are turned.
    fn query_back(
        at: Query<'_>,
        keys: &[f32],
        values: &[f32],
        d_p: &mut [f32],
        d_q: &mut [f32],
        d_keys: &mut [f32],
        d_values: &mut [f32],
    ) {
        let Query { q, g, scale, p, factors } = at;
        let padded = p.len();
        d_p.fill(0.0);
        for ((&g, v), d_v) in
            g.iter().zip(values.chunks_exact(padded)).zip(d_values.chunks_exact_mut(padded))
        {
            for ((((s, &v), d_v), &p), &f) in
                d_p.iter_mut().zip(v).zip(d_v).zip(p).zip(factors)
            {
                *s = fma::<FMA>(g, v, *s);
                *d_v = fma::<FMA>(p * f, g, *d_v);
            }
        }
        for (s, &f) in d_p.iter_mut().zip(factors) {
            *s *= f;
        }
        let mean = dot::<FMA>(p, d_p);
        for (s, &p) in d_p.iter_mut().zip(p) {
            *s = p * (*s - mean);
        }
        for (((&q, d_q), k), d_k) in q
            .iter()
            .zip(d_q)
            .zip(keys.chunks_exact(padded))
            .zip(d_keys.chunks_exact_mut(padded))
        {
            *d_q = scale * dot::<FMA>(d_p, k);
            let q = scale * q;
            for (d_k, &s) in d_k.iter_mut().zip(d_p.iter()) {
                *d_k = fma::<FMA>(s, q, *d_k);
            }
        }
    }
}

/// Of as many whole blocks of lanes.
#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a, _), (b, _)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            lanes[l] = fma::<FMA>(a[l], b[l], lanes[l]);
        }
    }
    added(&lanes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The output of each token as written, in f64.
    fn reference(
        h: &DistantHeads,
        spans: &[Range<usize>],
        dropped: Option<DroppedWeights>,
        qkv: &[f64],
    ) -> Vec<f64> {
        let (w, out) = (h.width, h.out());
        let mut rows = Vec::new();
        for (sequence, span) in spans.iter().enumerate() {
            let at = |i: usize, place: usize| qkv[(span.start + i) * 3 * out + place];
            for i in 0..span.len() {
                for (head, &slope) in h.slopes.iter().enumerate() {
                    let [q, k, v] = h.places(head);
                    let similar = |j: usize| {
                        let dot: f64 = (0..w).map(|c| at(i, q + c) * at(j, k + c)).sum();
                        (dot * f64::from(h.scale) - f64::from(slope) * i.abs_diff(j) as f64).exp()
                    };
                    let p: Vec<f64> = (0..span.len()).map(similar).collect();
                    let total: f64 = p.iter().sum();
                    let factor = |j: usize| {
                        dropped.map_or(1.0, |d| {
                            let query = (sequence * h.slopes.len() + head) * d.length + i;
                            f64::from(d.dropout.factor((query * d.length + j) as u64))
                        })
                    };
                    for c in 0..w {
                        let sum = (0..span.len()).map(|j| p[j] * factor(j) * at(j, v + c));
                        rows.push(sum.sum::<f64>() / total);
                    }
                }
            }
        }
        rows
    }

    #[test]
    fn outputs_and_slopes_equal_f64() {
        let mut rng = Rng::new(6);
        for (width, slopes, per_head) in [(8, vec![0.5, 0.03], true), (5, vec![0.1], false)] {
            let h = DistantHeads { width, scale: 0.4, slopes: &slopes, per_head };
            let spans = [0..1, 1..17, 17..38];
            let qkv: Vec<f32> = (0..38 * 3 * h.out()).map(|_| rng.normal() as f32).collect();
            let exact: Vec<f64> = qkv.iter().map(|&v| f64::from(v)).collect();
            let g: Vec<f32> = (0..38 * h.out()).map(|_| rng.normal() as f32).collect();
            let some = DroppedWeights { dropout: Dropout::new(0.3, 1, 2, "x"), length: 40 };
            for dropped in [None, Some(some)] {
                if let Some(dropped) = dropped {
                    let mut out = vec![f32::NAN; 38 * h.out()];
                    h.forward_dropped(&spans, dropped, &qkv, &mut out);
                    for (a, b) in out.iter().zip(reference(&h, &spans, Some(dropped), &exact)) {
                        assert!((f64::from(*a) - b).abs() < 1e-5, "{a} {b}");
                    }
                }
                let mut back = vec![f32::NAN; qkv.len()];
                h.backward(&spans, dropped, &qkv, &g, &mut back);
                let loss = |x: &[f64]| -> f64 {
                    let y = reference(&h, &spans, dropped, x);
                    y.iter().zip(&g).map(|(y, &g)| y * f64::from(g)).sum()
                };
                for at in (0..qkv.len()).step_by(7) {
                    let mut moved = exact.clone();
                    moved[at] += 1e-5;
                    let up = loss(&moved);
                    moved[at] -= 2e-5;
                    let slope = (up - loss(&moved)) / 2e-5;
                    assert!((f64::from(back[at]) - slope).abs() < 1e-4, "{} {slope}", back[at]);
                }
            }
        }
    }
}
