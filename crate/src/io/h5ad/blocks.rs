//! Passes over a matrix that stays in its file: blocks of rows, and totals.

use super::stored::{BLOCK, Form, Stored};
use crate::anndata::{Matrix, with_values};
use crate::error::{Error, Result};
use crate::progress::{Progress, check_interrupt};
use std::ops::Range;

/// Elements of a matrix stored by columns that are turned into rows in one pass over the file.
const TURNED: usize = 8 << 20;

/// Consecutive rows of a matrix.
#[derive(Debug, Clone)]
pub struct Block {
    /// Which rows.
    pub rows: Range<usize>,
    /// Their elements: dense, or CSR.
    pub x: Matrix,
}

/// The rows of a matrix in a file, block after block. Only the current block is in memory.
pub struct XBlocks {
    stored: Stored,
    rows_per_block: usize,
    next: usize,
    /// Of a matrix stored by columns: elements in each row, and rows turned but not yet given out.
    counts: Option<Vec<u32>>,
    turned: Option<(Range<usize>, Matrix)>,
}

impl XBlocks {
    pub(super) fn new(stored: Stored, rows_per_block: usize) -> Result<XBlocks> {
        if rows_per_block == 0 {
            let reason = "a block has at least one row";
            return Err(Error::parameter("rows_per_block", rows_per_block, reason));
        }
        Ok(XBlocks { stored, rows_per_block, next: 0, counts: None, turned: None })
    }

    fn block(&mut self, rows: Range<usize>) -> Result<Matrix> {
        check_interrupt()?;
        if self.stored.by_rows() {
            return self.stored.range(rows);
        }
        if self.turned.as_ref().is_none_or(|(held, _)| rows.end > held.end) {
            self.turned = None;
            let until = self.turn_until(&rows)?;
            let keep: Vec<usize> = (rows.start..until).collect();
            let csr = Matrix::Csr(self.stored.take_rows(&keep)?.to_csr());
            self.turned = Some((rows.start..until, csr));
        }
        let Some((held, csr)) = &self.turned else { unreachable!("set above") };
        let keep: Vec<usize> = (rows.start - held.start..rows.end - held.start).collect();
        Ok(csr.take_rows(&keep))
    }

    /// How far one pass goes that starts with these rows: whole blocks.
    fn turn_until(&mut self, rows: &Range<usize>) -> Result<usize> {
        let counts = match self.counts.take() {
            Some(counts) => counts,
            None => count_rows(&self.stored)?,
        };
        let mut until = rows.end;
        let sum = |r: Range<usize>| counts[r].iter().map(|&c| c as usize).sum::<usize>();
        let mut held = sum(rows.clone());
        while until < self.stored.nrows {
            let end = (until + self.rows_per_block).min(self.stored.nrows);
            held += sum(until..end);
            if held > TURNED {
                break;
            }
            until = end;
        }
        self.counts = Some(counts);
        Ok(until)
    }
}

impl Iterator for XBlocks {
    type Item = Result<Block>;

    fn next(&mut self) -> Option<Result<Block>> {
        let start = self.next;
        let end = start.saturating_add(self.rows_per_block).min(self.stored.nrows);
        if start >= end {
            return None;
        }
        self.next = end;
        let block = self.block(start..end);
        if block.is_err() {
            // After an error there is nothing more to come.
            self.next = self.stored.nrows;
        }
        Some(block.map(|x| Block { rows: start..end, x }))
    }
}

/// Stored elements of each row of a matrix stored by columns.
fn count_rows(stored: &Stored) -> Result<Vec<u32>> {
    let mut counts = vec![0u32; stored.nrows];
    if let Form::Sparse { indices, .. } = &stored.form {
        for start in (0..stored.len()).step_by(BLOCK) {
            check_interrupt()?;
            let rows = indices.read_indices(start..(start + BLOCK).min(stored.len()))?;
            for row in rows {
                let count = counts.get_mut(row as usize);
                *count.ok_or_else(|| {
                    indices.data.error(format!("index {row} is outside {} rows", stored.nrows))
                })? += 1;
            }
        }
    }
    Ok(counts)
}

/// Sums and counts of a matrix by row and by column, as scanpy's `calculate_qc_metrics` names them.
/// NaN are counted and otherwise left out.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Totals {
    /// For each observation the sum of its row.
    pub total_counts: Vec<f64>,
    /// For each observation the number of elements that are not zero.
    pub n_genes_by_counts: Vec<u32>,
    /// For each variable the sum of its column.
    pub var_total_counts: Vec<f64>,
    /// For each variable the number of elements that are not zero.
    pub n_cells_by_counts: Vec<u32>,
    /// Elements that are not zero, NaN included.
    pub nonzero: u64,
    /// Elements that are NaN.
    pub nan: u64,
    /// The smallest element; zeros that are not stored count.
    pub min: f64,
    /// The largest element; zeros that are not stored count.
    pub max: f64,
    /// Whether all elements are whole numbers, as counts are.
    pub whole: bool,
}

impl Totals {
    pub(super) fn of(stored: &Stored) -> Result<Totals> {
        let mut t = Totals {
            total_counts: vec![0.0; stored.nrows],
            n_genes_by_counts: vec![0; stored.nrows],
            var_total_counts: vec![0.0; stored.ncols],
            n_cells_by_counts: vec![0; stored.ncols],
            nonzero: 0,
            nan: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            whole: true,
        };
        let blocks = stored.blocks(BLOCK);
        let mut progress = Progress::new("looking through the matrix", blocks.len() as u64);
        for majors in blocks {
            t.add(&stored.range(majors.clone())?, majors.start);
            progress.tick(1)?;
        }
        progress.finish();
        if stored.len() < stored.nrows.saturating_mul(stored.ncols) {
            (t.min, t.max) = (t.min.min(0.0), t.max.max(0.0));
        }
        Ok(t)
    }

    /// Adds a block whose first row (of CSC: column) is `first`.
    fn add(&mut self, block: &Matrix, first: usize) {
        with_values!(block.values(), v => match block {
            Matrix::Dense(m) => {
                for (r, row) in v.chunks(m.ncols.max(1)).enumerate() {
                    for (c, &x) in row.iter().enumerate() {
                        self.element(first + r, c, x as f64);
                    }
                }
            }
            Matrix::Csr(m) => {
                for r in 0..m.nrows {
                    for k in m.indptr[r]..m.indptr[r + 1] {
                        self.element(first + r, m.indices[k] as usize, v[k] as f64);
                    }
                }
            }
            Matrix::Csc(m) => {
                for c in 0..m.ncols {
                    for k in m.indptr[c]..m.indptr[c + 1] {
                        self.element(m.indices[k] as usize, first + c, v[k] as f64);
                    }
                }
            }
        });
    }

    #[inline]
    fn element(&mut self, row: usize, column: usize, x: f64) {
        // `min` and `max` pass NaN over.
        (self.min, self.max) = (self.min.min(x), self.max.max(x));
        if x == 0.0 {
            return;
        }
        self.nonzero += 1;
        if x.is_nan() {
            self.nan += 1;
            return;
        }
        self.total_counts[row] += x;
        self.n_genes_by_counts[row] += 1;
        self.var_total_counts[column] += x;
        self.n_cells_by_counts[column] += 1;
        self.whole &= x.fract() == 0.0;
    }
}
