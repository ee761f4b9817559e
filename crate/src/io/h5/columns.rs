//! A matrix read the other way round: features × cells in the file, cells × features in memory.
//!
//! The columns of the file are taken in bands as wide as its chunks, several at a time on all
//! cores: of the matrix as it lies in the file there is never more than the bands in work.

use super::plan::{Plan, Scratch};
use crate::anndata::{Dense, Matrix, Sparse, Values};
use crate::error::Result;
use crate::io::bytes::{Plain, bytes_of};
use crate::io::h5::{Data, Dtype};
use crate::parallel::map_items;
use crate::progress::Progress;
use hdf5::sync::sync;
use hdf5_sys::h5d::{H5Dget_space, H5Dread};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_seloper_t, H5Sclose, H5Screate_simple, H5Sselect_hyperslab};
use std::ptr::null;

/// Bands between two looks at the interrupt and the progress bar.
const AT_ONCE: usize = 32;
/// Elements of a band where the file has no chunks to follow.
const BAND: usize = 1 << 18;

/// What to make of a matrix that is read transposed.
#[derive(Debug, Clone, Copy)]
pub(in crate::io) struct Transposed {
    /// CSR without zeros, or dense.
    pub sparse: bool,
    /// `float32` whatever the file holds, or the type of the file.
    pub single: bool,
}

impl Data {
    /// The transpose of a two-axis data set of numbers.
    ///
    /// # Errors
    /// When it has other axes or other elements, or claims more than the file can hold.
    pub fn transposed(&self, how: Transposed) -> Result<Matrix> {
        let &[rows, columns] = self.shape.as_slice() else {
            return Err(self.error(format!("expected a matrix, found shape {:?}", self.shape)));
        };
        let dtype = self.dtype()?;
        let n = self.len()?;
        // Without rows there is still one entry a column.
        let bytes = n.saturating_mul(dtype.size()).max(columns.saturating_mul(8 / rows.max(1)));
        self.check_size(bytes as u64)?;
        if rows > u32::MAX as usize {
            return Err(self.error(format!("an axis of {rows} cannot be held; at most 2^32 - 1")));
        }
        macro_rules! read_as {
            ($($variant:ident $t:ty),*) => {
                match &dtype {
                    $(Dtype::$variant => {
                        let bands = Bands::<$t>::new(self, rows, columns)?;
                        match how.single {
                            true => bands.matrix(how.sparse, |x| x as f32),
                            false => bands.matrix(how.sparse, |x| x),
                        }
                    })*
                    Dtype::Bool => {
                        let bands = Bands::<u8>::new(self, rows, columns)?;
                        bands.matrix(how.sparse, |x| x as f32)
                    }
                    Dtype::F16 => {
                        let bands = Bands::<f32>::new(self, rows, columns)?;
                        bands.matrix(how.sparse, |x| x)
                    }
                    _ => Err(self.error("expected a matrix of numbers")),
                }
            };
        }
        #[allow(clippy::unnecessary_cast)] // one of the types is `f32` already
        let matrix = read_as!(
            F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64
        );
        matrix
    }
}

/// A matrix in a file, to be read in bands of columns.
struct Bands<'a, T> {
    data: &'a Data,
    plan: Option<Plan>,
    memory: hdf5::Datatype,
    rows: usize,
    columns: usize,
    /// Columns of a band.
    width: usize,
    element: std::marker::PhantomData<T>,
}

impl<'a, T: Plain + Default + PartialEq> Bands<'a, T> {
    fn new(data: &'a Data, rows: usize, columns: usize) -> Result<Self>
    where
        T: hdf5::H5Type,
    {
        let fail = |e: hdf5::Error| data.error(crate::io::h5::cause(&e));
        let memory = hdf5::Datatype::from_type::<T>().map_err(fail)?;
        let same = data.inner.dtype().map_err(fail)?.is::<T>();
        let plan = if same { Plan::new(data, size_of::<T>()) } else { None };
        let width = match (&plan, data.inner.chunk().as_deref()) {
            (_, Some(&[_, width])) if width > 0 => width,
            _ => BAND.div_ceil(rows.max(1)),
        };
        let width = width.min(columns.max(1));
        Ok(Bands { data, plan, memory, rows, columns, width, element: Default::default() })
    }

    /// The whole matrix, transposed, each element passed through `convert`.
    fn matrix<U>(&self, sparse: bool, convert: impl Fn(T) -> U + Sync) -> Result<Matrix>
    where
        U: Copy + Default + Send + Sync,
        Values: From<Vec<U>>,
    {
        let label = format!("Reading {}", self.data.key);
        let mut progress = Progress::new(label, self.columns as u64);
        let (nrows, ncols) = (self.columns, self.rows);
        let out = if sparse {
            let (indptr, indices, values) = self.csr(&convert, &mut progress)?;
            let shape = (nrows, ncols);
            Matrix::Csr(Sparse::new(shape, true, indptr, indices, values.into())?)
        } else {
            let values = self.dense(&convert, &mut progress)?;
            Matrix::Dense(Dense::new(nrows, ncols, values)?)
        };
        progress.finish();
        Ok(out)
    }

    fn dense<U: Copy + Default + Send>(
        &self,
        convert: &(impl Fn(T) -> U + Sync),
        progress: &mut Progress,
    ) -> Result<Vec<U>> {
        let mut out = Vec::new();
        let n = self.rows * self.columns;
        out.try_reserve_exact(n)
            .map_err(|_| self.data.error(format!("{n} elements do not fit in memory")))?;
        out.resize(n, U::default());
        let band = (self.width * self.rows).max(1);
        for (group, part) in out.chunks_mut(band * AT_ONCE).enumerate() {
            let bands = part.chunks_mut(band).enumerate().collect();
            let read = |(i, target): (usize, &mut [U])| -> Result<()> {
                let block = self.read((group * AT_ONCE + i) * self.width)?;
                target.iter_mut().zip(block).for_each(|(t, x)| *t = convert(x));
                Ok(())
            };
            map_items(bands, read).into_iter().collect::<Result<()>>()?;
            progress.tick((part.len() / self.rows.max(1)) as u64)?;
        }
        Ok(out)
    }

    fn csr<U: Copy + Send>(
        &self,
        convert: &(impl Fn(T) -> U + Sync),
        progress: &mut Progress,
    ) -> Result<(Vec<usize>, Vec<u32>, Vec<U>)> {
        let (mut indptr, mut indices, mut values) = (vec![0usize], vec![], vec![]);
        let starts: Vec<usize> = (0..self.columns).step_by(self.width).collect();
        for group in starts.chunks(AT_ONCE) {
            type Band<U> = (Vec<usize>, Vec<u32>, Vec<U>);
            let read = |start: usize| -> Result<Band<U>> {
                let block = self.read(start)?;
                let (mut counts, mut indices, mut values) = (vec![], vec![], vec![]);
                let columns = self.width.min(self.columns - start);
                for column in 0..columns {
                    let before = indices.len();
                    let elements = &block[column * self.rows..(column + 1) * self.rows];
                    for (i, &x) in elements.iter().enumerate() {
                        if x != T::default() {
                            indices.push(i as u32);
                            values.push(convert(x));
                        }
                    }
                    counts.push(indices.len() - before);
                }
                Ok((counts, indices, values))
            };
            for band in map_items(group.to_vec(), read) {
                let (counts, i, v) = band?;
                for count in &counts {
                    indptr.push(indptr[indptr.len() - 1] + count);
                }
                indices.extend(i);
                values.extend(v);
                progress.tick(counts.len() as u64)?;
            }
        }
        Ok((indptr, indices, values))
    }

    /// The band of columns that starts at `start`, column after column.
    fn read(&self, start: usize) -> Result<Vec<T>> {
        let columns = self.width.min(self.columns - start);
        let mut out = vec![T::default(); columns * self.rows];
        if let Some(plan) = &self.plan {
            let bytes = bytes_of(&mut out);
            let copied = match size_of::<T>() {
                1 => columns_of::<1>(plan, self.rows, start, columns, bytes),
                2 => columns_of::<2>(plan, self.rows, start, columns, bytes),
                4 => columns_of::<4>(plan, self.rows, start, columns, bytes),
                _ => columns_of::<8>(plan, self.rows, start, columns, bytes),
            };
            if copied.is_some() {
                return Ok(out);
            }
        }
        let block = self.read_block(start, columns)?;
        for (row, elements) in block.chunks_exact(columns).enumerate() {
            for (column, &x) in elements.iter().enumerate() {
                out[column * self.rows + row] = x;
            }
        }
        Ok(out)
    }

    /// Some columns as they lie in the file, read by HDF5.
    fn read_block(&self, start: usize, columns: usize) -> Result<Vec<T>> {
        let mut block = vec![T::default(); columns * self.rows];
        if block.is_empty() {
            return Ok(block);
        }
        let (offset, count) = ([0, start as u64], [self.rows as u64, columns as u64]);
        let read = |file: hid_t, memory: hid_t| unsafe {
            let set = H5S_seloper_t::H5S_SELECT_SET;
            let (id, element) = (self.data.inner.id(), self.memory.id());
            H5Sselect_hyperslab(file, set, offset.as_ptr(), null(), count.as_ptr(), null()) >= 0
                && H5Dread(id, element, memory, file, H5P_DEFAULT, block.as_mut_ptr().cast()) >= 0
        };
        // HDF5 keeps the reason of a failure per thread: it is asked for under the same lock.
        sync(|| {
            let (file, memory) = unsafe {
                (
                    H5Dget_space(self.data.inner.id()),
                    H5Screate_simple(2, count.as_ptr(), std::ptr::null()),
                )
            };
            let mut read = read;
            let done = file >= 0 && memory >= 0 && read(file, memory);
            let reason = if done { None } else { hdf5::Error::query().ok() };
            unsafe {
                H5Sclose(file);
                H5Sclose(memory);
            }
            if done { Ok(()) } else { Err(reason) }
        })
        .map_err(|e| {
            let why = e.map_or_else(|| "unknown".into(), |e| crate::io::h5::cause(&e));
            self.data.unreadable(format!("cannot be read: {why}"))
        })?;
        Ok(block)
    }
}

/// Fills `out` with the columns from `start` (where a chunk begins), each of `rows` elements of `N`
/// bytes, column after column.
fn columns_of<const N: usize>(
    plan: &Plan,
    rows: usize,
    start: usize,
    columns: usize,
    out: &mut [u8],
) -> Option<()> {
    let &[height, width, size] = plan.chunk_shape()? else { return None };
    if size != N {
        return None;
    }
    let across = plan.chunks_across()?;
    let (out, _) = out.as_chunks_mut::<N>();
    let mut scratch = Scratch::new();
    for (band, first) in (0..rows).step_by(height).enumerate() {
        let chunk = plan.chunk(&mut scratch, band * across + start / width)?;
        let (from, _) = chunk.as_chunks::<N>();
        let height = height.min(rows - first);
        for column in 0..columns {
            let target = &mut out[column * rows + first..][..height];
            for (row, t) in target.iter_mut().enumerate() {
                *t = from[row * width + column];
            }
        }
    }
    Some(())
}
