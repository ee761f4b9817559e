//! Where the tensors are in what a pickle made, and under which names.

use super::data::Data;
use super::globals::is_other_tensor;
use super::heap::{Heap, Instance, Object, Value, View};
use super::safetensors::row_major;
use crate::error::{Error, Result};
use indexmap::IndexMap;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// Objects within objects, of which Python itself writes no more.
pub(super) const DEEPEST: usize = 500;
/// Steps of a walk, each letter of a name being one. An object that is met on many ways has many
/// names, and a small file can have more of them than there is time for.
const STEPS: usize = 32 << 20;
/// What keeping a tensor counts beside its name: about the bytes it takes.
const KEPT: usize = 100;

/// Where people put the weights, in this order.
const USUAL: [&str; 6] = ["state_dict", "model_state_dict", "model", "net", "network", "module"];

/// A tensor by its name: how to read it, or what else it is.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    View(Arc<View>),
    /// Sparse, quantised, …: the class or function that Python would make it with.
    Other(Arc<str>),
}

/// The tensors in `value`, in the order of the file, with the path to each joined by dots.
///
/// Of a module they are those of its `state_dict()`.
pub(super) fn collect(heap: &Heap, data: &Data, value: Value) -> Result<IndexMap<String, Entry>> {
    let mut walk = Walk { heap, data, found: IndexMap::new(), open: Vec::new(), steps: 0 };
    walk.visit(value, "")?;
    Ok(walk.found)
}

/// The weights in `root`: itself, or what is in it under one of the usual keys.
pub(super) fn state_dict(heap: &Heap, data: &Data, root: Value) -> Result<IndexMap<String, Entry>> {
    let (mut at, mut found) = (root, None);
    'deeper: for _ in 0..8 {
        if matches!(heap.object(at), Some(Object::Instance(i)) if is_module(heap, i)) {
            break;
        }
        for key in USUAL {
            let Some(inner) = heap.get(at, key) else { continue };
            // A tensor of that name is a weight like others.
            if matches!(heap.object(inner), Some(Object::Tensor(_))) {
                continue;
            }
            let below = collect(heap, data, inner)?;
            if !below.is_empty() {
                (at, found) = (inner, Some(below));
                continue 'deeper;
            }
        }
        break;
    }
    let found = found.map_or_else(|| collect(heap, data, root), Ok)?;
    if found.is_empty() {
        let reason = format!("it holds no tensors: {}", describe(heap, root));
        return Err(Error::format(&data.path, reason).with_hint(
            "In Python, write the weights alone: `torch.save(model.state_dict(), path)`",
        ));
    }
    Ok(found)
}

/// Whether an object is a `torch.nn.Module`, by the attributes that each of them has.
fn is_module(heap: &Heap, instance: &Instance) -> bool {
    let has = |key: &str| heap.attributes(instance).iter().any(|(k, _)| heap.str(*k) == Some(key));
    has("_parameters") && has("_modules")
}

fn describe(heap: &Heap, value: Value) -> String {
    match heap.object(value) {
        Some(Object::Instance(i)) => format!("it is an object of the class `{}`", i.class),
        Some(Object::Dict(entries)) => {
            let keys: Vec<String> =
                entries.iter().take(12).filter_map(|(k, _)| Some(heap.key(*k)?.into())).collect();
            format!("it is a dictionary of {}: {}", entries.len(), keys.join(", "))
        }
        Some(Object::List(v) | Object::Tuple(v)) => format!("it is a list of {}", v.len()),
        _ => "it is a single value".into(),
    }
}

struct Walk<'a> {
    heap: &'a Heap,
    data: &'a Data,
    found: IndexMap<String, Entry>,
    /// The objects around the present one: in a circle the way ends where it began.
    open: Vec<Value>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: Value, name: &str) -> Result<()> {
        let heap = self.heap;
        let Some(object) = heap.object(value) else { return Ok(()) };
        self.count(name.len() + self.open.len(), name)?;
        if self.open.contains(&value) {
            return Ok(());
        }
        self.open.push(value);
        match object {
            Object::Tensor(view) => {
                self.check(view, name)?;
                self.count(name.len() + KEPT, name)?;
                self.found.insert(name.into(), Entry::View(view.clone()));
            }
            Object::Dict(entries) => self.entries(entries, name)?,
            Object::List(elements) | Object::Tuple(elements) => {
                self.count(elements.len(), name)?;
                for (i, element) in elements.iter().enumerate() {
                    if self.has_below(*element) {
                        self.below(*element, name, i.to_string().into())?;
                    }
                }
            }
            Object::Instance(i) if self.is_module(i, name)? => self.module(value, name)?,
            Object::Instance(i) if is_other_tensor(&i.class) => {
                self.count(name.len() + KEPT, name)?;
                self.found.insert(name.into(), Entry::Other(i.class.clone()));
            }
            // What `torch.jit.save` writes: parameters and modules are plain attributes.
            Object::Instance(i) if i.class.starts_with("__torch__.") => {
                self.entries(heap.attributes(i), name)?;
            }
            Object::Instance(i) => self.entries(&i.dict, name)?,
            Object::Str(_) | Object::Bytes(_) | Object::Class(_) | Object::Storage(_) => {}
        }
        self.open.pop();
        Ok(())
    }

    /// Counts `n` more steps; objects of which there is no end are refused.
    fn count(&mut self, n: usize, name: &str) -> Result<()> {
        self.steps = self.steps.saturating_add(n + 1);
        if self.steps <= STEPS && self.open.len() <= DEEPEST {
            return Ok(());
        }
        let reason = format!("objects within objects without end, around `{}`", short(name));
        Err(Error::format(&self.data.path, reason)
            .with_hint("Save the weights alone in Python: `torch.save(model.state_dict(), path)`"))
    }

    /// [`is_module`], which looks through the attributes.
    fn is_module(&mut self, instance: &Instance, name: &str) -> Result<bool> {
        self.count(self.heap.attributes(instance).len(), name)?;
        Ok(is_module(self.heap, instance))
    }

    /// Whether there may be tensors in a value.
    fn has_below(&self, value: Value) -> bool {
        let object = self.heap.object(value);
        object.is_some_and(|o| !matches!(o, Object::Str(_) | Object::Bytes(_) | Object::Class(_)))
    }

    fn entries(&mut self, entries: &'a [(Value, Value)], name: &str) -> Result<()> {
        self.count(entries.len(), name)?;
        for (key, value) in entries {
            if self.has_below(*value)
                && let Some(key) = self.heap.key(*key)
            {
                self.below(*value, name, key)?;
            }
        }
        Ok(())
    }

    /// `state_dict()` of a module: its parameters, its buffers that are to be kept, its modules'.
    fn module(&mut self, module: Value, name: &str) -> Result<()> {
        let heap = self.heap;
        let passing = heap.get(module, "_non_persistent_buffers_set");
        let passing = passing.and_then(|v| heap.elements(v)).unwrap_or_default();
        let passing: Vec<&str> = passing.iter().filter_map(|v| heap.str(*v)).collect();
        // Each is looked at as a whole.
        self.count(passing.iter().map(|p| p.len() + 1).sum(), name)?;
        let passing: HashSet<&str> = passing.into_iter().collect();
        for part in ["_parameters", "_buffers", "_modules"] {
            let entries = heap.get(module, part).and_then(|v| heap.entries(v)).unwrap_or_default();
            self.count(entries.len(), name)?;
            for (key, value) in entries {
                let Some(key) = heap.str(*key) else { continue };
                if part != "_buffers" || !passing.contains(key) {
                    self.below(*value, name, key.into())?;
                }
            }
        }
        Ok(())
    }

    fn below(&mut self, value: Value, name: &str, key: Cow<str>) -> Result<()> {
        if name.is_empty() {
            return self.visit(value, &key);
        }
        self.visit(value, &format!("{name}.{key}"))
    }

    /// A tensor lies in its storage, and the storage in the file.
    fn check(&self, view: &View, name: &str) -> Result<()> {
        let damaged = |reason: String| {
            let name = short(name);
            Error::format(&self.data.path, format!("tensor `{name}`: {reason}"))
                .with_hint("The file is damaged or incomplete: copy or download it again")
        };
        let Some(piece) = self.data.pieces.get(&*view.key) else {
            return Err(damaged(format!("its storage `{}` is not in the file", short(&view.key))));
        };
        let (end, size) = (view.end, piece.size);
        if end > size {
            return Err(damaged(format!("its storage claims {end} bytes and has {size}")));
        }
        let bytes = view.extent().and_then(|n| n.checked_add(view.start));
        if bytes.is_none_or(|n| n > end) {
            let shape = &view.shape;
            return Err(damaged(format!("its shape {shape:?} reaches beyond its storage")));
        }
        Ok(())
    }
}

/// A name that a damaged file may have made long.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(200)]
}

impl View {
    /// How many elements it has; `None` where that is no number.
    pub fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Bytes from its first element to behind its last.
    pub fn extent(&self) -> Option<u64> {
        if self.count()? == 0 {
            return Some(0);
        }
        let last =
            self.shape.iter().zip(&self.strides).try_fold(0u64, |at, (&n, &stride)| {
                at.checked_add(stride.checked_mul(n as u64 - 1)?)
            });
        last?.checked_add(1)?.checked_mul(self.dtype.size())
    }

    /// Whether its elements lie one after the other.
    pub fn is_row_major(&self) -> bool {
        let expected = row_major(&self.shape);
        let axes = self.shape.iter().zip(&self.strides).zip(&expected);
        self.count() == Some(0) || axes.into_iter().all(|((&n, a), b)| n == 1 || a == b)
    }
}
