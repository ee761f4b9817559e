//! What a pickle makes: values that refer to one another, all in one arena.
//!
//! An object is met again under its number wherever the pickle refers to it, so that a list that
//! holds itself is a number like any other, and nothing is copied that the file holds once.

use super::element::ElementType;
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// A value: small ones themselves, all others by their number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Ref(u32),
}

/// What a number stands for.
#[derive(Debug)]
pub(super) enum Object {
    Str(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Lists, sets, and what extends them.
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    /// A class or function by its full name. It is never looked up.
    Class(Arc<str>),
    Instance(Box<Instance>),
    Storage(Box<Storage>),
    Tensor(Arc<View>),
}

/// What Python would have made by calling a class.
#[derive(Debug)]
pub(super) struct Instance {
    pub class: Arc<str>,
    /// The tuple it would have been called with.
    pub arguments: Value,
    /// What `__setstate__` would have been given: mostly the dictionary of attributes.
    pub state: Value,
    /// Entries, of classes that extend lists and dictionaries.
    pub list: Vec<Value>,
    pub dict: Vec<(Value, Value)>,
}

/// The bytes that tensors are views of, wherever they lie in the file.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub key: Arc<str>,
    /// Nothing for bytes whose type the tensors say.
    pub dtype: Option<ElementType>,
    /// Where it starts in the piece of that key, and how long it claims to be; in bytes.
    pub start: u64,
    pub length: u64,
}

/// A tensor that has not been read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub key: Arc<str>,
    pub dtype: ElementType,
    pub shape: Vec<usize>,
    /// Elements from one index to the next, for each axis.
    pub strides: Vec<u64>,
    /// Where its first element is in the piece, and where the storage ends; in bytes.
    pub start: u64,
    pub end: u64,
}

/// The arena.
#[derive(Debug)]
pub(super) struct Heap {
    objects: Vec<Object>,
    /// How much more may be made.
    left: u64,
}

impl Heap {
    /// An arena for a file of `size` bytes. A pickle can ask for a hundred times its own size;
    /// honest ones are small beside the tensors.
    pub fn new(size: u64) -> Heap {
        Heap { objects: Vec::new(), left: ((4 << 20) + size / 8).min(1 << 30) }
    }

    /// Counts `n` more elements.
    pub fn charge(&mut self, n: usize, path: &Path) -> Result<()> {
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            Error::format(path, "its pickle makes more objects than a checkpoint of this size has")
                .with_hint("Save the weights alone: `torch.save(model.state_dict(), path)`")
        })?;
        Ok(())
    }

    pub fn add(&mut self, object: Object) -> Value {
        self.objects.push(object);
        // Fewer than there may be, see `charge`.
        Value::Ref((self.objects.len() - 1) as u32)
    }

    pub fn text(&mut self, text: &str) -> Value {
        self.add(Object::Str(text.into()))
    }

    pub fn instance(&mut self, class: Arc<str>, arguments: Value) -> Value {
        let (state, list, dict) = (Value::None, Vec::new(), Vec::new());
        self.add(Object::Instance(Box::new(Instance { class, arguments, state, list, dict })))
    }

    pub fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Ref(id) => self.objects.get(id as usize),
            _ => None,
        }
    }

    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter()
    }

    pub fn object_mut(&mut self, value: Value) -> Option<&mut Object> {
        match value {
            Value::Ref(id) => self.objects.get_mut(id as usize),
            _ => None,
        }
    }

    pub fn str(&self, value: Value) -> Option<&str> {
        match self.object(value)? {
            Object::Str(text) => Some(text),
            _ => None,
        }
    }

    pub fn class(&self, value: Value) -> Option<&Arc<str>> {
        match self.object(value)? {
            Object::Class(name) => Some(name),
            _ => None,
        }
    }

    /// The elements of a list or tuple.
    pub fn elements(&self, value: Value) -> Option<&[Value]> {
        match self.object(value)? {
            Object::List(v) | Object::Tuple(v) => Some(v),
            Object::Instance(i) if !i.list.is_empty() => Some(&i.list),
            _ => None,
        }
    }

    /// The entries of a dictionary, or of what extends one.
    pub fn entries(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.object(value)? {
            Object::Dict(v) => Some(v),
            Object::Instance(i) if !i.dict.is_empty() => Some(&i.dict),
            _ => None,
        }
    }

    /// The attributes of an object: its state, where that is a dictionary, or a pair of one and the
    /// values of slots.
    pub fn attributes(&self, instance: &Instance) -> &[(Value, Value)] {
        let state = match self.object(instance.state) {
            Some(Object::Tuple(pair)) => {
                pair.iter().copied().find(|v| self.entries(*v).is_some()).unwrap_or(Value::None)
            }
            _ => instance.state,
        };
        self.entries(state).unwrap_or_default()
    }

    /// The entry or attribute `key`. Of a key that is set twice the later counts, as in Python.
    pub fn get(&self, value: Value, key: &str) -> Option<Value> {
        let find = |entries: &[(Value, Value)]| {
            entries.iter().rev().find(|(k, _)| self.is_key(*k, key)).map(|(_, v)| *v)
        };
        if let Some(elements) = self.elements(value) {
            return elements.get(key.parse::<usize>().ok()?).copied();
        }
        match self.object(value)? {
            Object::Instance(i) => find(&i.dict).or_else(|| find(self.attributes(i))),
            _ => find(self.entries(value)?),
        }
    }

    fn is_key(&self, value: Value, key: &str) -> bool {
        match value {
            Value::Int(i) => key.parse() == Ok(i),
            _ => self.str(value) == Some(key),
        }
    }

    /// A key as part of a name.
    pub fn key(&self, value: Value) -> Option<std::borrow::Cow<'_, str>> {
        match value {
            Value::Int(i) => Some(i.to_string().into()),
            _ => self.str(value).map(Into::into),
        }
    }
}
