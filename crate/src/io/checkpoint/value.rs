//! [`PyValue`]: what a checkpoint holds besides tensors.

use super::element::ElementType;
use super::heap::{Heap, Object, Value};
use super::tensors::TensorInfo;
use super::walk::DEEPEST;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A value of Python: hyper-parameters, epochs, the state of an optimizer.
///
/// Parts that several values share are shared here too. Objects of classes stay what the file says of
/// them: a name, arguments and attributes; nothing of them is ever run.
#[derive(Clone)]
#[non_exhaustive]
pub enum PyValue {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// A whole number of up to 64 bits. A larger one is an object of the class `builtins.int`.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Str(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list, tuple or set.
    List(Arc<[PyValue]>),
    /// A dictionary, in its order.
    Dict(Arc<[(PyValue, PyValue)]>),
    /// A tensor; its elements are read by [`Tensors`](super::Tensors).
    Tensor(Arc<TensorInfo>),
    /// An object of any other class.
    Object(Arc<PyObject>),
    /// Something that this value is itself a part of.
    Cycle,
}

/// An object of a class, which is not known here.
#[derive(Clone)]
pub struct PyObject {
    /// The class or function, e.g. `torch.device`.
    pub class: Arc<str>,
    /// What it is called with.
    pub arguments: PyValue,
    /// Its attributes, mostly a dictionary.
    pub state: PyValue,
    /// Its entries, if it is a kind of list or dictionary.
    pub entries: PyValue,
}

impl PyValue {
    /// Whether it is `None`.
    pub fn is_none(&self) -> bool {
        matches!(self, PyValue::None)
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            PyValue::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            PyValue::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The number, whole or not.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            PyValue::Int(n) => Some(*n as f64),
            PyValue::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            PyValue::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list, tuple or set.
    pub fn as_list(&self) -> Option<&[PyValue]> {
        match self {
            PyValue::List(elements) => Some(elements),
            PyValue::Object(o) => o.entries.as_list(),
            _ => None,
        }
    }

    /// The entries of a dictionary, or the attributes of an object.
    pub fn as_dict(&self) -> Option<&[(PyValue, PyValue)]> {
        match self {
            PyValue::Dict(entries) => Some(entries),
            PyValue::Object(o) => o.entries.as_dict().or_else(|| o.state.as_dict()),
            _ => None,
        }
    }

    /// The entry or attribute `key`.
    pub fn get(&self, key: &str) -> Option<&PyValue> {
        // Of a key that is set twice the later counts, as in Python.
        let named = |(k, _): &&(PyValue, PyValue)| k.as_str() == Some(key);
        self.as_dict()?.iter().rev().find(named).map(|(_, value)| value)
    }

    /// The keys of a dictionary, or the names of attributes, that are text.
    pub fn keys(&self) -> Vec<&str> {
        self.as_dict().unwrap_or_default().iter().filter_map(|(k, _)| k.as_str()).collect()
    }
}

/// As Python would write it, shortened where it is long.
impl fmt::Display for PyValue {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut text = String::new();
        write(self, &mut text, 0);
        f.write_str(&text)
    }
}

/// As it is displayed: a value that is shared in many places may be endless when it is written out.
impl fmt::Debug for PyValue {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for PyObject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(&PyValue::Object(Arc::new(self.clone())), f)
    }
}

/// Characters after which only ends are written.
const LONG: usize = 400;

fn write(value: &PyValue, out: &mut String, depth: usize) {
    if out.len() > LONG || depth > 6 {
        return out.push('…');
    }
    let list = |out: &mut String, items: &mut dyn Iterator<Item = &PyValue>| {
        for (i, item) in items.enumerate() {
            out.push_str(if i == 0 { "" } else { ", " });
            if out.len() > LONG {
                return out.push('…');
            }
            write(item, out, depth + 1);
        }
    };
    match value {
        PyValue::None => out.push_str("None"),
        PyValue::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
        PyValue::Int(n) => out.push_str(&n.to_string()),
        PyValue::Float(x) => out.push_str(&format!("{x:?}")),
        PyValue::Str(text) => {
            let more = if short(text).len() < text.len() { "…" } else { "" };
            out.push_str(&format!("'{}{more}'", short(text)));
        }
        PyValue::Bytes(bytes) => out.push_str(&format!("{} bytes", bytes.len())),
        PyValue::List(elements) => {
            out.push('[');
            list(out, &mut elements.iter());
            out.push(']');
        }
        PyValue::Dict(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                if out.len() > LONG {
                    out.push('…');
                    break;
                }
                write(key, out, depth + 1);
                out.push_str(": ");
                write(value, out, depth + 1);
            }
            out.push('}');
        }
        PyValue::Tensor(t) => out.push_str(&format!("tensor {} {:?}", t.dtype, t.shape)),
        PyValue::Object(object) => {
            out.push_str(short(&object.class));
            out.push('(');
            if let PyValue::List(arguments) = &object.arguments {
                list(out, &mut arguments.iter());
            }
            out.push(')');
        }
        PyValue::Cycle => out.push('…'),
    }
}

/// The start of a text.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(60)]
}

/// A value out of the arena.
pub(super) fn from_heap(heap: &Heap, value: Value, path: &Path) -> Result<PyValue> {
    Copy { heap, path, known: HashMap::new() }.value(value, 0).map(|(value, _)| value)
}

struct Copy<'a> {
    heap: &'a Heap,
    path: &'a Path,
    /// Values by their number, with their height; `None` while they are being copied.
    known: HashMap<u32, Option<(PyValue, usize)>>,
}

impl Copy<'_> {
    /// The value, and how deep the deepest in it lies.
    fn value(&mut self, value: Value, depth: usize) -> Result<(PyValue, usize)> {
        let id = match value {
            Value::None => return Ok((PyValue::None, 0)),
            Value::Bool(b) => return Ok((PyValue::Bool(b), 0)),
            Value::Int(n) => return Ok((PyValue::Int(n), 0)),
            Value::Float(x) => return Ok((PyValue::Float(x), 0)),
            Value::Ref(id) => id,
        };
        let (made, height) = match self.known.get(&id) {
            Some(Some(known)) => known.clone(),
            Some(None) => (PyValue::Cycle, 0),
            None => {
                self.known.insert(id, None);
                let made = self.object(value, depth)?;
                self.known.insert(id, Some(made.clone()));
                made
            }
        };
        // What is dropped, or looked through, is so by functions that call themselves.
        if depth + height > DEEPEST {
            return Err(Error::format(self.path, "values within values, too deep to be followed"));
        }
        Ok((made, height))
    }

    fn object(&mut self, value: Value, depth: usize) -> Result<(PyValue, usize)> {
        if depth > DEEPEST {
            return Err(Error::format(self.path, "values within values, too deep to be followed"));
        }
        let heap = self.heap;
        Ok(match heap.object(value) {
            None => (PyValue::None, 0),
            Some(Object::Str(text)) => (PyValue::Str(text.clone()), 0),
            Some(Object::Bytes(bytes)) => (PyValue::Bytes(bytes.clone()), 0),
            Some(Object::List(elements) | Object::Tuple(elements)) => self.list(elements, depth)?,
            Some(Object::Dict(entries)) => self.dict(entries, depth)?,
            Some(Object::Tensor(view)) => {
                let (dtype, shape) = (view.dtype, view.shape.clone());
                (PyValue::Tensor(TensorInfo { dtype, shape }.into()), 0)
            }
            Some(Object::Storage(s)) => {
                let dtype = s.dtype.unwrap_or(ElementType::U8);
                let shape = vec![(s.length / dtype.size()) as usize];
                (PyValue::Tensor(TensorInfo { dtype, shape }.into()), 0)
            }
            // A class on its own is an object without arguments.
            Some(Object::Class(name)) => {
                let (none, class) = (PyValue::None, name.clone());
                let (arguments, state, entries) = (none.clone(), none.clone(), none);
                (PyValue::Object(PyObject { class, arguments, state, entries }.into()), 0)
            }
            Some(Object::Instance(i)) => {
                let (arguments, a) = self.value(i.arguments, depth + 1)?;
                let (state, s) = self.value(i.state, depth + 1)?;
                let (entries, e) = match (&i.list[..], &i.dict[..]) {
                    ([], []) => (PyValue::None, 0),
                    (list, []) => self.list(list, depth + 1)?,
                    (_, dict) => self.dict(dict, depth + 1)?,
                };
                let class = i.class.clone();
                let object = PyObject { class, arguments, state, entries };
                (PyValue::Object(object.into()), 1 + a.max(s).max(e))
            }
        })
    }

    fn list(&mut self, elements: &[Value], depth: usize) -> Result<(PyValue, usize)> {
        let (mut out, mut height) = (Vec::with_capacity(elements.len()), 0);
        for element in elements {
            let (value, below) = self.value(*element, depth + 1)?;
            out.push(value);
            height = height.max(below);
        }
        Ok((PyValue::List(out.into()), height + 1))
    }

    fn dict(&mut self, entries: &[(Value, Value)], depth: usize) -> Result<(PyValue, usize)> {
        let (mut out, mut height) = (Vec::with_capacity(entries.len()), 0);
        for (key, value) in entries {
            let (key, k) = self.value(*key, depth + 1)?;
            let (value, v) = self.value(*value, depth + 1)?;
            out.push((key, value));
            height = height.max(k).max(v);
        }
        Ok((PyValue::Dict(out.into()), height + 1))
    }
}
