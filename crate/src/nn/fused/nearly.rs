//! Products of rows that are nearly known: y = x Wᵀ + bias, where x = a + b + d, what the layer makes of a + b is
//! known, and d is small.
//!
//! Only d is multiplied, in whole numbers of -31 to 31 with a factor for each row, and W in such numbers with a factor
//! for each output: 32 products an instruction instead of 8, summed up exactly, twice as fast as in `f32`. Rounding d
//! and W leaves an error of a few hundredths of d Wᵀ. So a row comes this way only where its d is below [`NEAR`] of its
//! x, which makes that some 1e-5 of y at most; others are multiplied in `f32` as they are. Where d is below rounding in
//! `f32`, nothing is multiplied.
//!
//! Numbers of d are kept as bytes with 32 added, as the instruction wants them, and 32 times the sum of an output's
//! weights is taken off again.

use super::Target;
use super::dense::{Activation, dense, gate_row};
use super::simd::{LANES, fma, vectorised};
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::cell::RefCell;

/// The largest whole number, of d as of W.
const LARGEST: f32 = 31.0;
/// What bytes of d have added.
const ZERO: i32 = 32;
/// Outputs that are summed up together, in 4 vectors of 16 bits and 4 of 32: a step is one number that is loaded, 4
/// products with what lies in memory and 4 sums. Fewer instructions a product count where two threads share a core.
const PANEL: usize = 32;
/// Inputs that one lane of 32 bits takes.
const QUAD: usize = 4;
/// Quads that are summed up in 16 bits at most.
const STEPS: usize = 16;
/// Quads that are always few enough: 2 · 8 products of at most 63 · 31 stay below 2¹⁵.
const FEW: usize = 8;
/// Quads of a panel that are taken together: so many stay in the first-level cache.
const DEPTH: usize = 128;
/// Rows that one task takes: their bytes stay in the first-level cache too, their sums in the second.
const TASK: usize = 24;
/// d below this part of x is multiplied in whole numbers.
const NEAR: f32 = 1.0 / 4096.0;
/// d below this part of x is what rounding left.
const NOTHING: f32 = 1.0 / 4_194_304.0;

/// A quad of each output of a panel.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([i8; PANEL * QUAD]);

/// A weight in whole numbers.
pub(crate) struct Coarse {
    inner: usize,
    /// Quads of inputs, up to a multiple of [`STEPS`].
    quads: usize,
    /// Panel by panel, quad by quad.
    lines: Vec<Line>,
    /// Of each panel, whether its sums of [`STEPS`] quads stay below 2¹⁵ whatever d is.
    small: Vec<bool>,
    /// The factor of each output.
    factors: Vec<f32>,
    /// 32 times the sum of each output's whole numbers.
    shifts: Vec<i32>,
}

/// An order of rows, in which those come together that what is known of is in the same places: it stays in the caches.
pub(crate) struct Order(Vec<u32>);

impl Order {
    /// By a number of each row.
    pub fn by(numbers: &[usize]) -> Order {
        // Each row comes once: others may write beside it.
        let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
        order.sort_by_key(|&r| numbers[r as usize]);
        Order(order)
    }
}

/// What is known of rows and of what a layer makes of them.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    /// For each row of x, the rows of the two tables whose sum is nearly x.
    pub rows: &'a [[u32; 2]],
    /// The order in which rows are multiplied.
    pub order: &'a Order,
    /// The tables of a and b.
    pub x: [&'a [f32]; 2],
    /// What the layer makes of their rows; in the sum, the bias stands once.
    pub y: [&'a [f32]; 2],
}

/// A row that is multiplied in whole numbers.
struct Row<'a> {
    /// What its numbers are multiplied with.
    factor: f32,
    /// What is known of y.
    known: [&'a [f32]; 2],
    y: &'a mut [f32],
}

/// Lets numbers be brought near while others are multiplied.
fn fetch(numbers: &[f32]) {
    for line in numbers.chunks(16) {
        // SAFETY: whatever the address, nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// Sums of a row's outputs of a panel.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Sums([i32; PANEL]);

/// What a task needs room for.
#[derive(Default)]
struct Room {
    /// The whole numbers of its rows.
    bytes: Vec<u8>,
    /// Row by row, panel by panel.
    sums: Vec<Sums>,
    /// A row before its gate.
    row: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

impl Coarse {
    /// A weight of rows of `inner` numbers, one for each output. Nothing where this way is closed: the machine
    /// lacks AVX2, the outputs are no multiple of 32, or a weight is not finite.
    pub fn new(weight: &[f32], inner: usize) -> Option<Coarse> {
        let out = weight.len() / inner;
        let able = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if !able || !out.is_multiple_of(PANEL) || weight.iter().any(|w| !w.is_finite()) {
            return None;
        }
        let quads = inner.div_ceil(QUAD).next_multiple_of(STEPS);
        let mut lines = vec![Line([0; PANEL * QUAD]); out / PANEL * quads];
        let mut outputs = vec![(0f32, 0i32, false); out];
        let panels = lines.par_chunks_mut(quads).zip(outputs.par_chunks_mut(PANEL));
        panels.zip(weight.par_chunks(PANEL * inner)).for_each(|((lines, outputs), rows)| {
            let mut whole = vec![0i32; inner];
            for (o, (row, output)) in rows.chunks_exact(inner).zip(outputs).enumerate() {
                let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
                // 0 where all are 0: what is no number becomes 0.
                let numbers = whole.iter_mut().zip(row);
                numbers.for_each(|(n, w)| *n = (w / largest * LARGEST).round() as i32);
                for (i, n) in whole.iter().enumerate() {
                    lines[i / QUAD].0[o * QUAD + i % QUAD] = *n as i8;
                }
                *output = (largest / LARGEST, ZERO * whole.iter().sum::<i32>(), small(&whole));
            }
        });
        let small = outputs.chunks(PANEL).map(|panel| panel.iter().all(|o| o.2)).collect();
        let (factors, shifts) = outputs.into_iter().map(|o| (o.0, o.1)).unzip();
        Some(Coarse { inner, quads, lines, small, factors, shifts })
    }

    /// Writes what the layer makes of the rows of `x` into `y`; `weight` and `bias` are the layer as it is.
    pub fn product(
        &self,
        known: Known,
        x: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
        y: &mut [f32],
    ) {
        self.rows(known, x, (weight, bias), None, y);
    }

    /// Writes (a + bias) · SiLU(b + bias) into the rows of `y`, where [a | b] is what a layer without a bias makes of
    /// the rows of `x`.
    pub fn gated(&self, known: Known, x: &[f32], weight: &[f32], bias: &[f32], y: &mut [f32]) {
        self.rows(known, x, (weight, None), Some(bias), y);
    }

    fn rows(
        &self,
        known: Known,
        x: &[f32],
        (weight, bias): (&[f32], Option<&[f32]>),
        gate: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let (inner, out) = (self.inner, self.factors.len());
        let width = if gate.is_some() { out / 2 } else { out };
        let n = known.rows.len();
        assert!(known.order.0.len() == n && x.len() == n * inner && y.len() == n * width);
        let target = Target(y.as_mut_ptr());
        let tasks = known.order.0.par_chunks(TASK);
        let far: Vec<Vec<usize>> =
            tasks.map(|rows| self.task(known, rows, x, gate, target)).collect();
        let far = far.concat();
        if far.is_empty() {
            return;
        }
        let from: Vec<f32> =
            far.iter().flat_map(|r| &x[r * inner..(r + 1) * inner]).copied().collect();
        let mut made = vec![0f32; far.len() * out];
        dense((far.len(), inner, out), &from, weight, bias, Activation::None, &mut made);
        for (r, made) in far.iter().zip(made.chunks_exact(out)) {
            let y = &mut y[r * width..(r + 1) * width];
            match gate {
                Some(bias) => gate_row(made, bias, y),
                None => y.copy_from_slice(made),
            }
        }
    }

    /// Some rows; returns those that are too far from what is known.
    fn task(
        &self,
        known: Known,
        rows: &[u32],
        x: &[f32],
        gate: Option<&[f32]>,
        target: Target,
    ) -> Vec<usize> {
        let (inner, out, stride) = (self.inner, self.factors.len(), self.quads * QUAD);
        let width = if gate.is_some() { out / 2 } else { out };
        // One more than there are: rows lie in different sets of the first-level cache.
        let across = out / PANEL + 1;
        let (mut far, mut near) = (Vec::new(), Vec::new());
        ROOM.with_borrow_mut(|Room { bytes, sums, row: room }| {
            bytes.resize(TASK * stride, 0);
            sums.resize(TASK * across, Sums([0; PANEL]));
            room.resize(out, 0.0);
            let mut write = |y: &mut [f32], make: &dyn Fn(&mut [f32])| match gate {
                Some(bias) => {
                    make(room);
                    gate_row(room, bias, y);
                }
                None => make(y),
            };
            for (i, r) in rows.iter().map(|&r| r as usize).enumerate() {
                if let Some(&next) = rows.get(i + 1) {
                    let [a, b] = known.rows[next as usize];
                    fetch(row(x, inner, next));
                    fetch(row(known.x[0], inner, a));
                    fetch(row(known.x[1], inner, b));
                }
                let (x, [a, b]) = (&x[r * inner..(r + 1) * inner], known.rows[r]);
                // SAFETY: `y` has this row (the assertion in `rows`), and an order has it once.
                let y = unsafe { std::slice::from_raw_parts_mut(target.at(r * width), width) };
                let (a_x, b_x) = (row(known.x[0], inner, a), row(known.x[1], inner, b));
                let (a_y, b_y) = (row(known.y[0], out, a), row(known.y[1], out, b));
                let (apart, largest) = distance(x, a_x, b_x);
                if apart <= largest * NOTHING {
                    write(y, &|y| sum(a_y, b_y, y));
                } else if apart <= largest * NEAR {
                    let bytes = &mut bytes[near.len() * stride..][..inner];
                    round(x, a_x, b_x, LARGEST / apart, bytes);
                    near.push(Row { factor: apart / LARGEST, known: [a_y, b_y], y });
                } else {
                    // Also what is no number.
                    far.push(r);
                }
            }
            for (p, (lines, &small)) in
                self.lines.chunks_exact(self.quads).zip(&self.small).enumerate()
            {
                let add_up = if small { add_up::<STEPS> } else { add_up::<FEW> };
                for (part, lines) in lines.chunks(DEPTH).enumerate() {
                    let bytes = &bytes[part * DEPTH * QUAD..];
                    let rows = bytes.chunks(stride).zip(sums.chunks_exact_mut(across));
                    for ((bytes, sums), row) in rows.zip(&near) {
                        if part == 0 {
                            sums[p] = Sums([0; PANEL]);
                            let panel = p * PANEL..(p + 1) * PANEL;
                            row.known.iter().for_each(|known| fetch(&known[panel.clone()]));
                        }
                        // SAFETY: the machine has AVX2, or there would be no `Coarse`.
                        unsafe { add_up(lines, &bytes[..lines.len() * QUAD], &mut sums[p]) };
                    }
                }
            }
            for (r, Row { factor, known: [a, b], y }) in near.into_iter().enumerate() {
                let sums = &sums[r * across..][..across];
                write(y, &|y| add(sums, &self.shifts, &self.factors, factor, a, b, y));
            }
        });
        far
    }
}

/// A row of a table.
fn row(table: &[f32], width: usize, r: u32) -> &[f32] {
    &table[r as usize * width..][..width]
}

vectorised! {
    /// The largest number of |x - (a + b)| and of |x|; no number where x holds such.
    fn distance(x: &[f32], a: &[f32], b: &[f32]) -> (f32, f32) {
        let larger = |m: f32, v: f32| if v <= m { m } else { v };
        let (mut apart, mut largest) = ([0f32; LANES], [0f32; LANES]);
        let rest = x.len() / LANES * LANES;
        for ((x, a), b) in x.chunks_exact(LANES).zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES)) {
            for l in 0..LANES {
                apart[l] = larger(apart[l], (x[l] - (a[l] + b[l])).abs());
                largest[l] = larger(largest[l], x[l].abs());
            }
        }
        for i in rest..x.len() {
            apart[0] = larger(apart[0], (x[i] - (a[i] + b[i])).abs());
            largest[0] = larger(largest[0], x[i].abs());
        }
        (apart.into_iter().fold(0.0, larger), largest.into_iter().fold(0.0, larger))
    }
}

vectorised! {
    /// Writes x - (a + b), multiplied with `factor` and rounded, with 32 added.
    fn round(x: &[f32], a: &[f32], b: &[f32], factor: f32, bytes: &mut [u8]) {
        // Behind this number there is no room for fractions: its last byte is the whole number.
        const SHIFT: f32 = 12_582_912.0 + ZERO as f32;
        for (((q, &x), &a), &b) in bytes.iter_mut().zip(x).zip(a).zip(b) {
            *q = fma::<FMA>(x - (a + b), factor, SHIFT).to_bits() as u8;
        }
    }
}

vectorised! {
    fn sum(a: &[f32], b: &[f32], y: &mut [f32]) {
        for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }
}

vectorised! {
    /// Writes a + b + (sums - shifts) · factors · factor.
    fn add(
        sums: &[Sums],
        shifts: &[i32],
        factors: &[f32],
        factor: f32,
        a: &[f32],
        b: &[f32],
        y: &mut [f32],
    ) {
        let known = a.as_chunks::<PANEL>().0.iter().zip(b.as_chunks::<PANEL>().0);
        let outputs = shifts.as_chunks::<PANEL>().0.iter().zip(factors.as_chunks::<PANEL>().0);
        let panels = y.as_chunks_mut::<PANEL>().0.iter_mut().zip(sums);
        for (((y, Sums(sums)), (a, b)), (shifts, factors)) in panels.zip(known).zip(outputs) {
            for o in 0..PANEL {
                let sum = (sums[o] - shifts[o]) as f32;
                y[o] = fma::<FMA>(sum, factors[o] * factor, a[o] + b[o]);
            }
        }
    }
}

/// Whether [`STEPS`] quads of these weights stay within 16 bits with every d: in the lanes of the first two numbers of
/// each quad and in those of the others.
fn small(weights: &[i32]) -> bool {
    // Of the bytes of d.
    const LEAST: i32 = ZERO - LARGEST as i32;
    const MOST: i32 = ZERO + LARGEST as i32;
    let fits = |group: &[i32], half: usize| {
        let (mut highest, mut lowest) = (0, 0);
        for pair in group.chunks(QUAD / 2).skip(half).step_by(2) {
            for &w in pair {
                highest += (LEAST * w).max(MOST * w);
                lowest += (LEAST * w).min(MOST * w);
            }
        }
        highest <= i16::MAX.into() && lowest >= i16::MIN.into()
    };
    weights.chunks(STEPS * QUAD).all(|group| fits(group, 0) && fits(group, 1))
}

/// Adds the products of a row's bytes with a panel to its sums, `N` quads at a time in 16 bits.
#[target_feature(enable = "avx2")]
fn add_up<const N: usize>(lines: &[Line], bytes: &[u8], sums: &mut Sums) {
    const VECTORS: usize = PANEL / 8;
    assert!(lines.len().is_multiple_of(N) && bytes.len() == lines.len() * QUAD);
    let ones = _mm256_set1_epi16(1);
    let sums = sums.0.as_mut_ptr().cast::<__m256i>();
    let (mut line, mut quad) = (lines.as_ptr().cast::<__m256i>(), bytes.as_ptr());
    // SAFETY: sums and lines are 4 vectors each on the border of a cache line, and there is a quad for each line (the
    // assertion above).
    unsafe {
        let mut long: [_; VECTORS] = std::array::from_fn(|v| _mm256_load_si256(sums.add(v)));
        for _ in 0..lines.len() / N {
            let mut short = [_mm256_setzero_si256(); VECTORS];
            for _ in 0..N {
                let d = _mm256_set1_epi32(quad.cast::<i32>().read_unaligned());
                for (v, short) in short.iter_mut().enumerate() {
                    let products = _mm256_maddubs_epi16(d, _mm256_load_si256(line.add(v)));
                    *short = _mm256_add_epi16(*short, products);
                }
                (line, quad) = (line.add(VECTORS), quad.add(QUAD));
            }
            for (long, short) in long.iter_mut().zip(short) {
                *long = _mm256_add_epi32(*long, _mm256_madd_epi16(short, ones));
            }
        }
        for (v, long) in long.into_iter().enumerate() {
            _mm256_store_si256(sums.add(v), long);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Rows near what is known of them, far from it, equal to it, and without numbers.
    #[test]
    fn equals_the_product_as_written_however_far_rows_are() {
        let mut rng = Rng::new(1);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
        for (n, inner, out) in [(61, 64, 96), (7, 40, 32), (24, 512, 64), (30, 1100, 64)] {
            let (weight, bias) = (draw(out * inner), draw(out));
            let (a, b) = (draw(9 * inner), draw(5 * inner));
            let layer = |x: &[f32], bias: &[f32]| -> Vec<f64> {
                let of = |x: &[f32], o: usize| -> f64 {
                    let w = &weight[o * inner..(o + 1) * inner];
                    let sum = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
                    sum.sum::<f64>() + f64::from(bias[o])
                };
                x.chunks_exact(inner).flat_map(|x| (0..out).map(move |o| of(x, o))).collect()
            };
            let single = |v: Vec<f64>| -> Vec<f32> { v.into_iter().map(|v| v as f32).collect() };
            let (y_a, y_b) = (single(layer(&a, &bias)), single(layer(&b, &vec![0.0; out])));
            let rows: Vec<[u32; 2]> = (0..n as u32).map(|r| [r % 9, r * 3 % 5]).collect();
            let apart = |r: usize| [0.0, 1e-4, 1e-6, 0.1, 2e-5][r % 5];
            let mut x = Vec::new();
            for (r, &[i, j]) in rows.iter().enumerate() {
                let d = draw(inner);
                let known = row(&a, inner, i).iter().zip(row(&b, inner, j));
                x.extend(known.zip(&d).map(|((a, b), d)| a + b + apart(r) * d));
            }
            let expected = layer(&x, &bias);
            let coarse = Coarse::new(&weight, inner).unwrap();
            let order = Order::by(&(0..n).map(|r| r % 7).collect::<Vec<_>>());
            let known = Known { rows: &rows, order: &order, x: [&a, &b], y: [&y_a, &y_b] };
            let mut y = vec![f32::NAN; n * out];
            coarse.product(known, &x, &weight, Some(&bias), &mut y);
            let (mut gated, mut expected_gated) =
                (vec![f32::NAN; n * out / 2], vec![0f32; n * out / 2]);
            let bare = Known { y: [&single(layer(&a, &vec![0.0; out])), &y_b], ..known };
            coarse.gated(bare, &x, &weight, &bias, &mut gated);
            let rows = y.chunks_exact(out).zip(expected_gated.chunks_exact_mut(out / 2));
            rows.for_each(|(y, gated)| gate_row(y, &vec![0.0; out], gated));
            let pairs = gated.iter().zip(&expected_gated);
            for (g, e) in pairs {
                assert!((g - e).abs() <= 2e-4 * e.abs().max(1.0), "{g} {e}");
            }
            for (i, (y, expected)) in y.iter().zip(&expected).enumerate() {
                let (r, scale) = (i / out, (inner as f32).sqrt());
                let within = if apart(r) == 0.1 { 5e-6 } else { 5e-6 + 0.15 * apart(r) } * scale;
                assert!(
                    (f64::from(*y) - expected).abs() < f64::from(within),
                    "{r}: {y} {expected}"
                );
            }
            // What d has done is seen, not only what is known.
            let moved = (0..out).filter(|o| {
                let known = f64::from(row(&y_a, out, 1)[*o] + row(&y_b, out, 3)[*o]);
                (expected[out + o] - known).abs()
                    > 10.0 * (f64::from(y[out + o]) - expected[out + o]).abs()
            });
            assert!(moved.count() > out / 2);
            x[..inner].fill(f32::NAN);
            coarse.product(known, &x, &weight, Some(&bias), &mut y);
            assert!(y[..out].iter().all(|y| y.is_nan()));
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let (inner, out) = (512, 32);
        let weight = vec![1f32; inner * out];
        let coarse = Coarse::new(&weight, inner).unwrap();
        let (a, b, zeros) = (vec![1f32; inner], vec![0f32; inner], vec![0f32; out]);
        let y_a = vec![inner as f32; out];
        for d in [2e-4f32, -2e-4] {
            let x = vec![1.0 + d; inner];
            let known =
                Known { rows: &[[0, 0]], order: &Order::by(&[0]), x: [&a, &b], y: [&y_a, &zeros] };
            let mut y = vec![0f32; out];
            coarse.product(known, &x, &weight, None, &mut y);
            assert!(y.iter().all(|y| (y - 512.0 - 512.0 * d).abs() < 1e-4), "{y:?}");
        }
    }

    #[test]
    fn weights_that_cannot_be_whole_numbers_are_refused() {
        assert!(Coarse::new(&[f32::NAN; 128], 4).is_none());
        assert!(Coarse::new(&[1.0; 60], 4).is_none());
        let zeros = Coarse::new(&[0.0; 128], 4).unwrap();
        let known = Known {
            rows: &[[0, 0]],
            order: &Order::by(&[0]),
            x: [&[1.0; 4], &[0.0; 4]],
            y: [&[2.0; 32], &[1.0; 32]],
        };
        let mut y = [0f32; 32];
        zeros.product(known, &[1.0001; 4], &[0.0; 128], None, &mut y);
        assert_eq!(y, [3.0; 32]);
    }
}
