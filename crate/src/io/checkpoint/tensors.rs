//! [`Tensors`]: named tensors of a checkpoint, read when they are asked for.

use super::data::{Data, Unread};
use super::element::ElementType;
use super::heap::View;
use super::walk::Entry;
use crate::error::{Error, Result};
use crate::io::bytes::{Plain, bytes_of, zeroed};
use crate::progress::{Progress, check_interrupt};
use candle_core::{DType, Device, Tensor, WithDType};
use indexmap::IndexMap;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;

/// From this size on, reading shows a bar.
const LONG: u64 = 256 << 20;

/// Less than this is read before another thread has woken up.
const WORTH_THREADS: u64 = 1 << 20;

/// Element type and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The type of its elements in the file.
    pub dtype: ElementType,
    /// Length of each axis; empty for a single number.
    pub shape: Vec<usize>,
}

/// Named tensors of a checkpoint. They are in the file until they are asked for.
///
/// Tensors come on the CPU, with the element type of the file; `bool` becomes `u8` (0 and 1), `int8`
/// `i16`, `uint16` `u32`. Complex and 8-bit floating-point numbers, `uint64` and quantised or sparse
/// tensors are refused by name when they are asked for, and are no hindrance before.
#[derive(Debug, Clone)]
pub struct Tensors {
    pub(super) data: Arc<Data>,
    pub(super) entries: IndexMap<String, Entry>,
}

impl Tensors {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names, in the order of the file.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Element type and shape of a tensor.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the names there are, those most alike first; [`Error::Format`]
    /// when the tensor is sparse, quantised or the like.
    pub fn info(&self, name: &str) -> Result<TensorInfo> {
        let view = self.view(name)?;
        Ok(TensorInfo { dtype: view.dtype, shape: view.shape.clone() })
    }

    /// The same tensors without `prefix` before their names (`module.` of `DataParallel`, `model.` of
    /// many Lightning modules). Names that do not start so stay as they are.
    ///
    /// # Errors
    /// [`Error::Parameter`] when no name starts so, [`Error::Data`] when two become the same.
    pub fn strip_prefix(self, prefix: &str) -> Result<Tensors> {
        self.renamed(prefix, |name| Some(name.strip_prefix(prefix).unwrap_or(name)))
    }

    /// The tensors whose names start with `prefix`, without it: one part of a model.
    ///
    /// # Errors
    /// [`Error::Parameter`] when no name starts so.
    pub fn under(self, prefix: &str) -> Result<Tensors> {
        self.renamed(prefix, |name| name.strip_prefix(prefix))
    }

    fn renamed(self, prefix: &str, to: impl Fn(&str) -> Option<&str>) -> Result<Tensors> {
        if !self.names().any(|n| n.starts_with(prefix)) {
            let some: Vec<&str> = self.names().take(5).collect();
            let reason = format!("no name starts so; there are: {}, …", some.join(", "));
            return Err(Error::parameter("prefix", format!("`{prefix}`"), reason));
        }
        let mut entries = IndexMap::with_capacity(self.len());
        for (name, entry) in &self.entries {
            let Some(new) = to(name) else { continue };
            if entries.insert(new.to_string(), entry.clone()).is_some() {
                let reason = format!("would be the name of two, without `{prefix}` before it");
                return Err(Error::data(format!("tensor `{new}`"), reason));
            }
        }
        Ok(Tensors { data: self.data, entries })
    }

    /// The tensors without those for whose names `unwanted` is true, e.g. heads that a model does
    /// not use.
    pub fn without(mut self, unwanted: impl Fn(&str) -> bool) -> Tensors {
        self.entries.retain(|name, _| !unwanted(name));
        self
    }

    /// Reads the tensor `name`, which must have this shape.
    ///
    /// # Errors
    /// [`Error::MissingKey`] listing the names there are, those most alike first; [`Error::Shape`];
    /// [`Error::Format`] naming the tensor when its bytes are damaged or its type has no counterpart.
    pub fn take(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let view = self.view(name)?;
        if view.shape != shape {
            let what = format!("tensor `{name}` of {}", self.data.path.display());
            return Err(Error::shape(what, format!("{shape:?}"), format!("{:?}", view.shape)));
        }
        self.read(name, view)
    }

    /// Reads all of them. What is the same view of the same storage (tied weights) is read once and
    /// shares its memory.
    ///
    /// # Errors
    /// [`Error::Format`] as [`take`](Tensors::take), and when they would take more than 8 times the
    /// size of the file, as those of a hostile one may: then each must be taken with the shape that
    /// it is to have.
    pub fn read_all(&self) -> Result<HashMap<String, Tensor>> {
        let views: Vec<(&str, &View)> =
            self.names().map(|n| Ok((n, self.view(n)?))).collect::<Result<_>>()?;
        let distinct: std::collections::HashSet<&View> = views.iter().map(|v| v.1).collect();
        let bytes = distinct.iter().map(|v| v.bytes()).fold(0, u64::saturating_add);
        if bytes > 8 * self.data.size + (32 << 20) {
            let reason = format!("its tensors would take {bytes} bytes");
            return Err(Error::format(&self.data.path, reason)
                .with_hint("Name those that are wanted, with their shapes: `into_exactly`"));
        }
        self.read_many(&views)
    }

    /// Reads tensors, many at a time.
    pub(super) fn read_many(&self, views: &[(&str, &View)]) -> Result<HashMap<String, Tensor>> {
        /// Between two looks at whether the user wants to stop.
        const AT_ONCE: usize = 32;
        let mut distinct: IndexMap<&View, &str> = IndexMap::new();
        for (name, view) in views {
            distinct.entry(view).or_insert(name);
        }
        let bytes = distinct.keys().map(|v| v.bytes()).fold(0, u64::saturating_add);
        let mut bar = (bytes > LONG).then(|| Progress::new("reading weights", bytes >> 20));
        let jobs: Vec<(&View, &str)> = distinct.into_iter().collect();
        let mut read: HashMap<&View, Tensor> = HashMap::with_capacity(jobs.len());
        let (mut done, mut shown) = (0, 0);
        for jobs in jobs.chunks(AT_ONCE) {
            check_interrupt()?;
            let read_one = |(view, name): &(&View, &str)| self.read(name, view);
            // Collected first, so that of several errors the first in the file is reported.
            let tensors: Vec<Result<Tensor>> = if bytes < WORTH_THREADS {
                jobs.iter().map(read_one).collect()
            } else {
                jobs.par_iter().map(read_one).collect()
            };
            for ((view, _), tensor) in jobs.iter().zip(tensors) {
                read.insert(view, tensor?);
                done += view.bytes();
            }
            if let Some(bar) = &mut bar {
                bar.tick((done >> 20) - shown)?;
                shown = done >> 20;
            }
        }
        if let Some(bar) = bar {
            bar.finish();
        }
        Ok(views.iter().map(|(name, view)| (name.to_string(), read[view].clone())).collect())
    }

    pub(super) fn view(&self, name: &str) -> Result<&View> {
        match self.entries.get(name) {
            Some(Entry::View(view)) => Ok(view),
            Some(Entry::Other(class)) => {
                let reason =
                    format!("tensor `{name}` is made by `{class}`, which is not supported");
                Err(Error::format(&self.data.path, reason).with_hint(
                    "Save it as an ordinary one: `.dequantize()`, `.to_dense()`, `.full_tensor()`",
                ))
            }
            None => Err(Error::missing_key("checkpoint", "tensor", name, self.alike(name))),
        }
    }

    /// All names, first those that share most of their start and end with `name`.
    fn alike(&self, name: &str) -> Vec<&str> {
        let shared = |other: &str| {
            let start = name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
            let end = name.bytes().rev().zip(other.bytes().rev()).take_while(|(a, b)| a == b);
            start + end.count()
        };
        let mut names: Vec<&str> = self.names().collect();
        names.sort_by_cached_key(|n| std::cmp::Reverse(shared(n)));
        names
    }

    fn read(&self, name: &str, view: &View) -> Result<Tensor> {
        let failed =
            |reason: String| Error::format(&self.data.path, format!("tensor `{name}`: {reason}"));
        let tensor = match view.dtype {
            ElementType::F64 => self.plain::<f64>(view),
            ElementType::F32 => self.plain::<f32>(view),
            ElementType::I64 => self.plain::<i64>(view),
            ElementType::I32 => self.plain::<i32>(view),
            ElementType::I16 => self.plain::<i16>(view),
            ElementType::U32 => self.plain::<u32>(view),
            ElementType::U8 => self.plain::<u8>(view),
            ElementType::Bool => self.cast(view, |x: u8| u8::from(x != 0)),
            ElementType::I8 => self.cast(view, |x: i8| i16::from(x)),
            ElementType::U16 => self.cast(view, |x: u16| u32::from(x)),
            ElementType::F16 => self.raw(view, DType::F16),
            ElementType::BF16 => self.raw(view, DType::BF16),
            other => {
                let reason = format!("its elements are {other}, which have no counterpart here");
                return Err(failed(reason).with_hint("Convert it in Python: `.float()`"));
            }
        };
        tensor.map_err(|e| match e {
            Unread::Damaged(reason) => failed(reason).with_hint("Copy or download it again"),
            Unread::Other(e) => e,
        })
    }

    fn plain<T: Plain + WithDType>(&self, view: &View) -> Result<Tensor, Unread> {
        let values = self.elements::<T>(view, 1)?;
        Ok(Tensor::from_vec(values, &view.shape[..], &Device::Cpu).map_err(Error::from)?)
    }

    fn cast<T: Plain, U: WithDType>(
        &self,
        view: &View,
        to: impl Fn(T) -> U,
    ) -> Result<Tensor, Unread> {
        let values: Vec<U> = self.elements::<T>(view, 1)?.into_iter().map(to).collect();
        Ok(Tensor::from_vec(values, &view.shape[..], &Device::Cpu).map_err(Error::from)?)
    }

    /// Types that only candle has.
    fn raw(&self, view: &View, dtype: DType) -> Result<Tensor, Unread> {
        let bytes = self.elements::<u8>(view, view.dtype.size() as usize)?;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &view.shape, &Device::Cpu);
        Ok(tensor.map_err(Error::from)?)
    }

    /// The elements in row-major order, each `width` values of `T`.
    fn elements<T: Plain>(&self, view: &View, width: usize) -> Result<Vec<T>, Unread> {
        check_interrupt()?;
        let n = view.count().and_then(|n| n.checked_mul(width));
        let mut values = zeroed::<T>(n.ok_or("it has too many elements")?)?;
        if values.is_empty() {
            return Ok(values);
        }
        // Both were looked at when the tensor got its name.
        let piece = self.data.pieces.get(&*view.key).ok_or("its storage is not in the file")?;
        let out = bytes_of(&mut values);
        if view.is_row_major() {
            self.data.read(piece, view.start, out)?;
        } else {
            let extent = view.extent().ok_or("it is out of reach")?;
            let mut stored = zeroed::<u8>(extent as usize)?;
            self.data.read(piece, view.start, &mut stored)?;
            gather(view, &stored, out);
        }
        Ok(values)
    }
}

impl View {
    /// Bytes of its elements.
    pub fn bytes(&self) -> u64 {
        (self.count().unwrap_or(usize::MAX) as u64).saturating_mul(self.dtype.size())
    }
}

/// Copies elements that lie apart (transposed, part of a larger tensor) next to one another.
fn gather(view: &View, stored: &[u8], out: &mut [u8]) {
    let width = view.dtype.size() as usize;
    let axes = view.shape.len();
    // A single number is row-major, so there is an axis.
    let (length, step) = (view.shape[axes - 1], view.strides[axes - 1] as usize * width);
    let mut index = vec![0usize; axes - 1];
    for row in out.chunks_exact_mut(length * width) {
        let at: usize = index.iter().zip(&view.strides).map(|(i, s)| i * *s as usize).sum();
        for (k, element) in row.chunks_exact_mut(width).enumerate() {
            element.copy_from_slice(&stored[at * width + k * step..][..width]);
        }
        // The next row: like the digits of a number.
        for axis in (0..axes - 1).rev() {
            index[axis] += 1;
            if index[axis] < view.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}
