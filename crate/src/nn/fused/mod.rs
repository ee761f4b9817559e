//! Kernels for `f32` tensors on the CPU that candle's operations would do serially, with copies,
//! or with an n × n matrix.
//!
//! Each computes the same numbers for any number of threads: the work is cut into tiles whose
//! size depends on the data alone, and what several tiles add to is added in a fixed order (see
//! [`schedule`]). Vector code is chosen at run time (AVX-512, AVX2, plain), so two machines may
//! differ in the last bit; two runs on one machine do not.

mod adam;
mod alibi;
mod attention;
mod conv;
mod dense;
mod distant_training;
mod dots;
mod gradient;
mod layers;
mod linear;
mod math;
mod moments;
#[cfg(target_arch = "x86_64")]
mod nearly;
mod norm;
#[cfg(target_arch = "x86_64")]
mod packed;
mod propagate;
mod reconstruction;
pub mod schedule;
pub(crate) mod simd;
mod similarity;
mod sparse;
mod units;

pub(crate) use adam::{adam, adam_blocks};
pub(crate) use alibi::DistantHeads;
pub(crate) use attention::Heads;
pub(crate) use conv::{Convolution, convolve, convolve_back};
pub(crate) use dense::{
    Activation, column_sums, dense, dense_back, dense_weight, gated, gated_back, gelu_back,
    gelu_of, relu, relu_back, sigmoid_of, silu_back, silu_of, silu_times, tanh_of, times_silu,
};
pub(crate) use distant_training::DroppedWeights;
pub(crate) use gradient::Gradient;
pub(crate) use layers::{
    Gradients, add_to, gradient_tensors, linear, linear_back, linear_gradients, norm_back, normed,
    squared_error_behind_relu,
};
pub(crate) use linear::{LinearGradients, LinearOp, drop_elements};
#[cfg(target_arch = "x86_64")]
pub(crate) use nearly::{Coarse, Known, Order};
pub(crate) use norm::{Columns, Norm, add_and_norm, add_then_norm, layer_norm, layer_norm_back};
pub(crate) use propagate::{
    PropagateOp, PropagateReluOp, propagate_relu, propagate_relu_back, propagate_rows,
};
pub(crate) use reconstruction::{ReconstructionOp, reconstruct};
pub(crate) use similarity::{ContrastOp, NeighbourOp, contrast, neighbour};
pub(crate) use sparse::{DENSITY, sparse_dense, sparse_weight};

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor};
use rayon::prelude::*;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether the kernels here can work on `x`.
pub fn usable(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// Does a piece of work on a thread of the pool. From a thread outside of it, every parallel loop in the work would
/// wake the pool's threads and sleep until they are done.
pub(crate) fn on_pool<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

/// The elements of a contiguous `f32` storage.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all: &[f32] = storage.as_slice()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!("a fused kernel was given a tensor that is not contiguous"),
    }
}

/// As [`slice`], for a tensor's storage.
pub(crate) fn view<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match storage {
        Storage::Cpu(cpu) => slice(cpu, layout),
        _ => candle_core::bail!("a fused kernel was given a tensor that is not on the CPU"),
    }
}

/// Binds the elements of a CPU tensor to a name for the rest of the scope.
macro_rules! elements {
    ($name:ident, $tensor:expr) => {
        let contiguous = $tensor.contiguous()?;
        let (storage, layout) = contiguous.storage_and_layout();
        let $name = crate::nn::fused::view(&storage, layout)?;
    };
}
pub(crate) use elements;

/// A storage that nobody writes to while this lives, and where the elements of a tensor lie in it.
struct Held<'a, G> {
    storage: G,
    layout: &'a Layout,
}

impl<G: Deref<Target = Storage>> Deref for Held<'_, G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // It was looked at when this was made.
        view(&self.storage, self.layout).unwrap_or_default()
    }
}

/// The elements of a contiguous CPU tensor of `f32`.
pub(crate) fn held(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (storage, layout) = tensor.storage_and_layout();
    view(&storage, layout)?;
    Ok(Held { storage, layout })
}

/// A storage and the shape of what it holds, as custom operations return them.
fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// Locks a block that no other task of the same round touches; a panic elsewhere does not matter.
fn lock<T>(block: &Mutex<T>) -> MutexGuard<'_, T> {
    block.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A matrix in a slice: its elements and the distance between rows and between columns.
#[derive(Clone, Copy)]
struct Mat<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

/// A matrix whose element (i, j) is `values[i * row + j * column]`.
fn mat(values: &[f32], row: usize, column: usize) -> Mat<'_> {
    Mat { values, row, column }
}

/// Whether a product may use the thread pool.
#[derive(Clone, Copy, PartialEq)]
enum Threads {
    /// No: the caller is one of many tasks.
    One,
    /// Yes. The bits are the same: every element of the product is summed by one thread, in an
    /// order that depends on the sizes alone.
    Pool,
}

/// Up to so many rows a product is cut into strips of columns, each one task: `gemm` itself cuts rows, and
/// its threads wait for each other where there are few.
const FEW_ROWS: usize = 192;
/// Columns of a strip.
const STRIP: usize = 256;

/// destination = (`add` ? destination : 0) + a · b, of sizes m × k and k × n; `destination` has
/// the strides (row, column).
fn matmul(
    (m, k, n): (usize, usize, usize),
    destination: &mut [f32],
    (row, column): (usize, usize),
    add: bool,
    a: Mat,
    b: Mat,
    threads: Threads,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, columns: usize, row: usize, column: usize| {
        if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
    };
    assert!(destination.len() >= last(m, n, row, column));
    assert!(a.values.len() >= last(m, k, a.row, a.column));
    assert!(b.values.len() >= last(k, n, b.row, b.column));
    #[cfg(target_arch = "x86_64")]
    if threads == Threads::Pool && column == 1 && k > 0 && packed::usable() {
        // SAFETY: the assertions above.
        unsafe { packed::product((m, k, n), destination, row, add, a, b) };
        return;
    }
    let target = Target(destination.as_mut_ptr());
    let strip = |first: usize, n: usize, parallelism: gemm::Parallelism| {
        // SAFETY: the assertions above hold every address that the strides reach within its slice;
        // `destination` is borrowed mutably, so it overlaps neither operand, and strips that run
        // at the same time have different columns of it.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                target.at(first * column),
                column as isize,
                row as isize,
                add,
                a.values.as_ptr(),
                a.column as isize,
                a.row as isize,
                b.values.as_ptr().add(first * b.column),
                b.column as isize,
                b.row as isize,
                1.0f32,
                1.0f32,
                false,
                false,
                false,
                parallelism,
            );
        }
    };
    match threads {
        Threads::One => strip(0, n, gemm::Parallelism::None),
        Threads::Pool if m <= FEW_ROWS && n >= 2 * STRIP => {
            (0..n.div_ceil(STRIP)).into_par_iter().for_each(|i| {
                strip(i * STRIP, STRIP.min(n - i * STRIP), gemm::Parallelism::None);
            });
        }
        Threads::Pool => strip(0, n, gemm::Parallelism::Rayon(0)),
    }
}

/// What several tasks write into, each into elements of its own.
#[derive(Clone, Copy)]
struct Target(*mut f32);

// SAFETY: a product makes one, and its tasks write to different elements.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// The address of an element.
    ///
    /// # Safety
    /// `i` lies within the slice.
    unsafe fn at(self, i: usize) -> *mut f32 {
        // SAFETY: the caller's.
        unsafe { self.0.add(i) }
    }
}

/// `source`, `rows × columns` in row-major order, transposed into `target`.
fn transpose(source: &[f32], rows: usize, columns: usize, target: &mut [f32], stride: usize) {
    for r in 0..rows {
        for c in 0..columns {
            target[c * stride + r] = source[r * columns + c];
        }
    }
}

/// A matrix of `rows` rows, transposed.
pub(crate) fn transposed(matrix: &[f32], rows: usize) -> Vec<f32> {
    let mut target = vec![0f32; matrix.len()];
    transpose(matrix, rows, matrix.len() / rows, &mut target, rows);
    target
}

/// Rows of `width` numbers, cut into parts of so many rows.
fn parts(
    counts: impl Iterator<Item = usize>,
    width: usize,
    mut rows: &mut [f32],
) -> impl Iterator<Item = &mut [f32]> {
    counts.map(move |count| {
        let (part, rest) = std::mem::take(&mut rows).split_at_mut(count * width);
        rows = rest;
        part
    })
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Calls `f` with `n` numbers of memory that the thread keeps; their values are arbitrary.
fn with_scratch<R>(n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|memory| {
        if memory.len() < n {
            memory.resize(n, 0.0);
        }
        f(&mut memory[..n])
    })
}

#[cfg(test)]
mod tests;
