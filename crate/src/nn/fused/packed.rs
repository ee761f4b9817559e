//! Matrix products on the thread pool for machines with AVX2 and without AVX-512.
//!
//! A tile of 6 × 16 sums is held in registers; it reads 6 rows of `a` number by number and 16 columns of `b` vector
//! by vector. What several tasks read is first rearranged into the order in which tiles read it, panel by panel;
//! of what only one task reads, it takes `a` as it lies and rearranges a few panels of `b` at a time. Tasks share
//! nothing that they write. `gemm`, whose threads meet at every block, took 1.2 times as long with many rows and
//! 1.7 times as long with 50.

use super::{Mat, Target};
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::ops::Range;

/// Rows and columns of a tile: 12 of the 16 registers hold its sums.
const TILE: (usize, usize) = (6, 16);
/// Numbers along the sum that are taken together: so much of a panel of `b` fits the first-level cache.
const DEPTH: usize = 512;
/// Rows of `a` of one task: so many, `DEPTH` numbers each, fit the second-level cache.
const ROWS: usize = 144;
/// Columns of `b` of one task.
const COLUMNS: usize = 256;
/// Numbers that are not far from each other in memory.
const NEAR: usize = 256;
/// Panels that one task rearranges at a time, for others and for itself.
const GROUP: (usize, usize) = (8, 4);

thread_local! {
    /// What a product has rearranged; the calling thread keeps the memory.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// Panels of `b` of one task.
    static PANELS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Whether this is the way for products on this machine.
pub(super) fn usable() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && !is_x86_feature_detected!("avx512f")
}

/// Where the numbers of a panel of `a` lie: the first, and the distances across and along the sum.
#[derive(Clone, Copy)]
struct Panel {
    start: *const f32,
    across: usize,
    along: usize,
}

/// destination = (`add` ? destination : 0) + a · b, of sizes m × k and k × n, none of them 0; row i of the
/// destination starts at `i * row`.
///
/// # Safety
/// The slices hold every element that the sizes and strides reach, and the machine is [`usable`].
pub(super) unsafe fn product(
    (m, k, n): (usize, usize, usize),
    destination: &mut [f32],
    row: usize,
    add: bool,
    a: Mat,
    b: Mat,
) {
    let (panels_a, panels_b) = (m.div_ceil(TILE.0), n.div_ceil(TILE.1));
    // Pieces of the sum of one length: each element is added up in the same order whatever the tasks are.
    let depth = k.div_ceil(k.div_ceil(DEPTH)).next_multiple_of(8);
    let high = panels_a.div_ceil(m.div_ceil(ROWS));
    let (tasks_m, wide) = (panels_a.div_ceil(high), COLUMNS / TILE.1);
    let tasks_n = panels_b.div_ceil(wide);
    // Numbers across `a` that lie beside each other need no rearranging where the next ones are not far.
    let beside = a.row == 1 && a.column <= NEAR;
    let (shared_a, shared_b) = (tasks_n > 1 && !beside, tasks_m > 1);

    // A panel of `a` is written in vectors of 8, of which the last reaches 2 numbers beyond it.
    let panel_a = TILE.0 * k + 2;
    let size_a = if shared_a { panels_a * panel_a } else { 0 };
    let size_b = if shared_b { panels_b * TILE.1 * k } else { 0 };
    let mut memory = PACKED.with_borrow_mut(std::mem::take);
    let packed_b = Target(room(&mut memory, size_b + size_a));
    // SAFETY: `room` made the room for both.
    let packed_a = Target(unsafe { packed_b.at(size_b) });

    let pack_a = |i: usize| {
        let (from, rows) = (&a.values[i * TILE.0 * a.row..], TILE.0.min(m - i * TILE.0));
        // SAFETY: rows i · 6 … of `a` are in its slice (the caller's promise), panel i in `memory`.
        unsafe {
            pack::<{ TILE.0 }>(from, (a.row, a.column), rows, 0..k, packed_a.at(i * panel_a));
        }
    };
    let pack_b = |j: usize, range: Range<usize>, to: *mut f32| {
        let from = &b.values[j * TILE.1 * b.column..];
        // SAFETY: the rows in `range` of columns j · 16 … are in the slice of `b` (the caller's promise); both
        // callers below have room for as many rows of 16 at `to`.
        unsafe {
            pack::<{ TILE.1 }>(from, (b.column, b.row), TILE.1.min(n - j * TILE.1), range, to);
        }
    };
    let groups_a = if shared_a { panels_a.div_ceil(GROUP.0) } else { 0 };
    let groups_b = if shared_b { panels_b.div_ceil(GROUP.0) } else { 0 };
    let of_group = |g: usize, panels: usize| g * GROUP.0..panels.min((g + 1) * GROUP.0);
    (0..groups_a + groups_b).into_par_iter().with_max_len(1).for_each(|g| {
        if g < groups_a {
            of_group(g, panels_a).for_each(pack_a);
        } else {
            for j in of_group(g - groups_a, panels_b) {
                // SAFETY: panel j of `b` in `memory`.
                pack_b(j, 0..k, unsafe { packed_b.at(j * TILE.1 * k) });
            }
        }
    });

    let target = Target(destination.as_mut_ptr());
    let rows_of_a = |i: usize, first: usize| {
        if shared_a {
            // SAFETY: columns `first` … of panel i.
            let start = unsafe { packed_a.at(i * panel_a + first * TILE.0) };
            return Panel { start, across: 1, along: TILE.0 };
        }
        let start = a.values[i * TILE.0 * a.row + first * a.column..].as_ptr();
        Panel { start, across: a.row, along: a.column }
    };
    let task = |task: usize, own: *mut f32| {
        let (rows, columns) = (task % tasks_m * high, task / tasks_m * wide);
        let columns = columns..panels_b.min(columns + wide);
        for first in (0..k).step_by(depth) {
            let (add, end) = (add || first > 0, k.min(first + depth));
            for group in columns.clone().step_by(GROUP.1) {
                let group = group..columns.end.min(group + GROUP.1);
                // SAFETY: there is room for a group.
                let of = |j: usize| unsafe { own.add((j - group.start) * TILE.1 * depth) };
                if !shared_b {
                    group.clone().for_each(|j| pack_b(j, first..end, of(j)));
                }
                for j in group.clone() {
                    // SAFETY: rows `first` … of panel j.
                    let shared = || unsafe { packed_b.at((j * k + first) * TILE.1) };
                    let b = if shared_b { shared() } else { of(j) };
                    for i in rows..panels_a.min(rows + high) {
                        let size = (TILE.0.min(m - i * TILE.0), TILE.1.min(n - j * TILE.1));
                        // SAFETY: columns `first` … of panel i, rows `first` … of panel j, and a tile of the
                        // destination that no other task writes to and that its slice holds (the caller's
                        // promise).
                        unsafe {
                            let target = target.at(i * TILE.0 * row + j * TILE.1);
                            tile(size, end - first, rows_of_a(i, first), b, target, row, add);
                        }
                    }
                }
            }
        }
    };
    (0..tasks_m * tasks_n).into_par_iter().with_max_len(1).for_each(|i| {
        PANELS.with_borrow_mut(|panels| task(i, room(panels, GROUP.1 * TILE.1 * depth)));
    });
    PACKED.with_borrow_mut(|kept| *kept = memory);
}

/// The start of `n` numbers of `memory`, on the border of a cache line; their values are arbitrary.
fn room(memory: &mut Vec<f32>, n: usize) -> *mut f32 {
    const LINE: usize = 64;
    if memory.len() < n + LINE / 4 {
        memory.resize(n + LINE / 4, 0.0);
    }
    let start = memory.as_mut_ptr();
    // SAFETY: a border is fewer than 16 numbers away.
    unsafe { start.add(start.align_offset(LINE)) }
}

/// A tile of the destination, of `size` (rows, columns), from `depth` numbers of two panels.
///
/// # Safety
/// The panels hold so many rows, `b` of 16 numbers on the border of a vector; `size` is at most [`TILE`], and the
/// rows of the tile, `row` numbers apart, are the caller's to write. AVX2 and FMA are there.
unsafe fn tile(
    (rows, columns): (usize, usize),
    depth: usize,
    a: Panel,
    b: *const f32,
    target: *mut f32,
    row: usize,
    add: bool,
) {
    if columns < TILE.1 {
        let mut whole = [0f32; TILE.0 * TILE.1];
        // SAFETY: as the caller's, for a whole tile.
        unsafe { tile((rows, TILE.1), depth, a, b, whole.as_mut_ptr(), TILE.1, false) };
        for (r, sums) in whole.chunks_exact(TILE.1).take(rows).enumerate() {
            // SAFETY: the caller's.
            let target = unsafe { std::slice::from_raw_parts_mut(target.add(r * row), columns) };
            for (t, &sum) in target.iter_mut().zip(sums) {
                *t = if add { *t + sum } else { sum };
            }
        }
        return;
    }
    // SAFETY: the caller's.
    unsafe {
        match (rows, (a.across, a.along)) {
            (6, REARRANGED) => sums::<6, true>(depth, a, b, target, row, add),
            (1, _) => sums::<1, false>(depth, a, b, target, row, add),
            (2, _) => sums::<2, false>(depth, a, b, target, row, add),
            (3, _) => sums::<3, false>(depth, a, b, target, row, add),
            (4, _) => sums::<4, false>(depth, a, b, target, row, add),
            (5, _) => sums::<5, false>(depth, a, b, target, row, add),
            _ => sums::<6, false>(depth, a, b, target, row, add),
        }
    }
}

/// Distances across and along a panel of `a` that was rearranged.
const REARRANGED: (usize, usize) = (1, TILE.0);

/// `N` rows of a tile of 16 columns. Where `a` lies as it was rearranged, addresses are known beforehand, so that a
/// step is its 8 loads and its 12 products: instructions are what there are too many of.
///
/// # Safety
/// As for [`tile`].
#[target_feature(enable = "avx2,fma")]
unsafe fn sums<const N: usize, const KNOWN: bool>(
    depth: usize,
    a: Panel,
    b: *const f32,
    target: *mut f32,
    row: usize,
    add: bool,
) {
    // SAFETY: the caller's; the last steps leave the pointers behind what is read, and they are not used.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        for r in 0..N {
            _mm_prefetch::<_MM_HINT_T0>(target.add(r * row).cast());
            _mm_prefetch::<_MM_HINT_T0>(target.add(r * row + TILE.1 - 1).cast());
        }
        let (across, along) = if KNOWN { REARRANGED } else { (a.across, a.along) };
        let (mut from_a, mut from_b) = (a.start, b);
        let mut step = |from_a: *const f32, from_b: *const f32| {
            let columns = [_mm256_load_ps(from_b), _mm256_load_ps(from_b.add(8))];
            for r in 0..N {
                let x = _mm256_broadcast_ss(&*from_a.add(r * across));
                sums[r][0] = _mm256_fmadd_ps(x, columns[0], sums[r][0]);
                sums[r][1] = _mm256_fmadd_ps(x, columns[1], sums[r][1]);
            }
        };
        const STEPS: usize = 4;
        let whole = if KNOWN { depth / STEPS } else { 0 };
        for _ in 0..whole {
            for s in 0..STEPS {
                step(from_a.add(s * along), from_b.add(s * TILE.1));
            }
            from_a = from_a.wrapping_add(STEPS * along);
            from_b = from_b.wrapping_add(STEPS * TILE.1);
        }
        for _ in whole * STEPS..depth {
            step(from_a, from_b);
            (from_a, from_b) = (from_a.wrapping_add(along), from_b.wrapping_add(TILE.1));
        }
        for (r, sums) in sums.iter().enumerate() {
            for (half, &sum) in sums.iter().enumerate() {
                let target = target.add(r * row + half * 8);
                let sum = if add { _mm256_add_ps(_mm256_loadu_ps(target), sum) } else { sum };
                _mm256_storeu_ps(target, sum);
            }
        }
    }
}

/// Writes a panel: for each k of `range` the numbers `from[i * across + k * along]` of `rows` of the `W` i, and 0 for
/// the others.
///
/// # Safety
/// `from` holds what that reaches; at `to` is room for `W` numbers each, and 2 more where `W` is 6. AVX2 is
/// there.
#[target_feature(enable = "avx2")]
unsafe fn pack<const W: usize>(
    from: &[f32],
    (across, along): (usize, usize),
    rows: usize,
    range: Range<usize>,
    to: *mut f32,
) {
    let (from, depth) = (from[range.start * along..].as_ptr(), range.len());
    let mut k = 0;
    // SAFETY: the caller's: k + 8 ≤ depth wherever 8 numbers of a row are read, and the numbers beyond a row
    // of 6 are written over by the next.
    unsafe {
        if rows == W && along == 1 {
            while k + 8 <= depth {
                for first in (0..W).step_by(8) {
                    let turned = turn(std::array::from_fn(|i| match first + i {
                        i if i < W => _mm256_loadu_ps(from.add(i * across + k)),
                        _ => _mm256_setzero_ps(),
                    }));
                    for (i, vector) in turned.into_iter().enumerate() {
                        _mm256_storeu_ps(to.add((k + i) * W + first), vector);
                    }
                }
                k += 8;
            }
        } else if rows == W && across == 1 {
            while k < depth {
                std::ptr::copy_nonoverlapping(from.add(k * along), to.add(k * W), W);
                k += 1;
            }
        }
        while k < depth {
            for i in 0..W {
                *to.add(k * W + i) = if i < rows { *from.add(i * across + k * along) } else { 0.0 };
            }
            k += 1;
        }
    }
}

/// 8 × 8 numbers, transposed.
#[target_feature(enable = "avx2")]
fn turn(r: [__m256; 8]) -> [__m256; 8] {
    // In each half of 4: pairs of two rows, then fours of four rows; then the halves of rows 4 apart.
    let low = |a, b| _mm256_unpacklo_ps(a, b);
    let high = |a, b| _mm256_unpackhi_ps(a, b);
    let pairs = [low(r[0], r[1]), high(r[0], r[1]), low(r[2], r[3]), high(r[2], r[3])];
    let pairs_4 = [low(r[4], r[5]), high(r[4], r[5]), low(r[6], r[7]), high(r[6], r[7])];
    let fours = |p: [__m256; 4]| {
        [
            _mm256_shuffle_ps::<0x44>(p[0], p[2]),
            _mm256_shuffle_ps::<0xEE>(p[0], p[2]),
            _mm256_shuffle_ps::<0x44>(p[1], p[3]),
            _mm256_shuffle_ps::<0xEE>(p[1], p[3]),
        ]
    };
    let (upper, lower) = (fours(pairs), fours(pairs_4));
    std::array::from_fn(|i| match i {
        0..4 => _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]),
        _ => _mm256_permute2f128_ps::<0x31>(upper[i - 4], lower[i - 4]),
    })
}
