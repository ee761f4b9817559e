//! A data set read in stretches of its first axis, so that one larger than memory can be looked at.
//! Where its chunks lie is found out once.

use super::plan::{self, Plan};
use super::{Data, Dtype, Elements, read};
use crate::anndata::Values;
use crate::error::Result;
use hdf5::{Dataspace, Datatype};
use hdf5_sys::h5d::H5Dread;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::{H5S_seloper_t, H5Sselect_hyperslab};
use std::ops::Range;

/// Elements are converted or looked through about so many at a time.
const PIECE: usize = 1 << 20;

/// A data set of numbers, ready to be read in stretches.
pub(in crate::io) struct Slabs {
    pub data: Data,
    pub dtype: Dtype,
    memory: Datatype,
    plan: Option<Plan>,
}

impl Data {
    /// This data set, ready to be read in stretches of its first axis.
    pub fn slabs(&self) -> Result<Slabs> {
        let file_type = self.inner.dtype().map_err(|e| self.error(super::cause(&e)))?;
        let (memory, dtype) = read::native(&file_type).map_err(|reason| self.error(reason))?;
        let plan = plan::plain_size(&file_type).and_then(|size| Plan::new(self, size));
        Ok(Slabs { data: self.clone(), dtype, memory, plan })
    }

    /// Bytes that the elements take in the file.
    pub fn stored(&self) -> u64 {
        self.inner.storage_size()
    }

    /// How the elements are compressed, e.g. `gzip`; empty if they are not.
    pub fn compression(&self) -> String {
        use hdf5::filters::Filter;
        let names = self.inner.filters().into_iter().map(|filter| match filter {
            Filter::Deflate(_) => "gzip".to_string(),
            Filter::Shuffle => "shuffle".to_string(),
            Filter::LZF => "lzf".to_string(),
            Filter::User(id, _) => plugin(id),
            other => format!("filter {}", other.id()),
        });
        names.collect::<Vec<_>>().join(" + ")
    }
}

/// A filter that HDF5 has only with a plugin, by its registered number.
pub(super) fn plugin(id: i32) -> String {
    match id {
        307 => "bzip2".into(),
        32001 => "blosc".into(),
        32004 => "lz4".into(),
        32008 => "bitshuffle".into(),
        32015 => "zstd".into(),
        32026 => "blosc2".into(),
        id => format!("filter {id}"),
    }
}

impl Slabs {
    /// Elements of one row.
    fn row(&self) -> usize {
        self.data.shape.get(1..).unwrap_or_default().iter().product()
    }

    /// Rows that are decompressed together; a stretch that starts and ends at a multiple of it
    /// costs nothing in vain.
    pub fn band(&self) -> usize {
        self.plan.as_ref().map_or(1, Plan::band).max(1)
    }

    /// Elements of a list for a piece of a size that is good to work on.
    pub fn piece(&self) -> usize {
        PIECE.next_multiple_of(self.band() * rayon::current_num_threads())
    }

    /// Checks that the file can hold so many rows, before memory is taken.
    pub fn check(&self, rows: usize) -> Result<()> {
        let bytes = rows as u64;
        let bytes =
            bytes.saturating_mul(self.row() as u64).saturating_mul(self.dtype.size() as u64);
        self.data.check_size(bytes)
    }

    /// The elements of `rows` of a list as `u32`.
    pub fn read_indices(&self, rows: Range<usize>) -> Result<Vec<u32>> {
        self.data.as_indices(self.read(rows)?)
    }

    /// The elements of `rows`, which must be numbers or booleans.
    pub fn read(&self, rows: Range<usize>) -> Result<Values> {
        let data = &self.data;
        let all = data.shape.first().copied().unwrap_or(0);
        if data.shape.is_empty() || rows.start > rows.end || rows.end > all {
            return Err(data.error(format!("rows {rows:?} of {all} were asked for")));
        }
        self.check(rows.len())?;
        let n = rows.len() * self.row();
        if n > 0
            && let Some(plan) = &self.plan
            && let Some(values) = plan::read(plan, rows.clone(), &self.dtype)
        {
            return Ok(values);
        }
        let fail = |e: hdf5::Error| data.error(super::cause(&e));
        let from = data.inner.space().map_err(fail)?;
        let to = Dataspace::try_new(n).map_err(fail)?;
        let mut start = vec![0u64; data.shape.len()];
        let mut count: Vec<u64> = data.shape.iter().map(|&d| d as u64).collect();
        (start[0], count[0]) = (rows.start as u64, rows.len() as u64);
        let elements =
            read::elements(&self.memory, &self.dtype, n, to.id(), |memory, buffer| unsafe {
                let set = H5S_seloper_t::H5S_SELECT_SET;
                let null = std::ptr::null();
                if H5Sselect_hyperslab(from.id(), set, start.as_ptr(), null, count.as_ptr(), null)
                    < 0
                {
                    return -1;
                }
                H5Dread(data.inner.id(), memory, to.id(), from.id(), H5P_DEFAULT, buffer)
            });
        elements.and_then(Elements::into_values).map_err(|reason| data.unreadable(reason))
    }
}
