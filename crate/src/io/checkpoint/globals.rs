//! The classes and functions that a pickle names: those that make tensors, dictionaries and numbers
//! are known here and done by hand, those that run code are refused, all others stay what they are,
//! a name.

use super::element::ElementType;
use super::heap::{Heap, Object, Storage, Value, View};
use super::input::Input;
use super::numpy;
use crate::error::Result;
use std::path::Path;
use std::sync::Arc;

/// Modules of which nothing belongs into a checkpoint; of packages neither what is below them.
const CODE: [&str; 30] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "_posixsubprocess",
    "pty",
    "runpy",
    "sys",
    "shutil",
    "socket",
    "_socket",
    "ctypes",
    "_ctypes",
    "importlib",
    "imp",
    "code",
    "codeop",
    "commands",
    "popen2",
    "webbrowser",
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "multiprocessing",
    "bdb",
    "pdb",
    "timeit",
    "pip",
    "asyncio",
];
const PACKAGES: [&str; 6] = ["os", "ctypes", "importlib", "multiprocessing", "pip", "asyncio"];
/// The same of single functions.
const CODE_BY_NAME: [&str; 17] = [
    "builtins.eval",
    "builtins.exec",
    "builtins.execfile",
    "builtins.compile",
    "builtins.open",
    "builtins.file",
    "builtins.input",
    "builtins.apply",
    "builtins.breakpoint",
    "builtins.__import__",
    "io.open",
    "_io.open",
    "_io.FileIO",
    "types.CodeType",
    "types.FunctionType",
    "torch.load",
    "torch.hub.load",
];

/// The name of what would run code, or reach for files and processes, if it were called.
pub(super) fn runs_code(module: &str, name: &str) -> Option<String> {
    let full = full_name(module, name);
    let package = module.split('.').next().unwrap_or_default();
    let refused = CODE.contains(&module)
        || PACKAGES.contains(&package)
        || CODE_BY_NAME.contains(&full.as_str());
    // Protocol 4 allows dots in names: `os` by way of another module that imports it.
    let by_way = name.contains('.') && name.split('.').any(|part| CODE.contains(&part));
    (refused || by_way).then_some(full)
}

/// Module and name in one, the modules of Python 2 under their newer names.
pub(super) fn full_name(module: &str, name: &str) -> String {
    let module = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "numpy._core.multiarray" => "numpy.core.multiarray",
        other => other,
    };
    format!("{module}.{name}")
}

/// Functions and classes of tensors that cannot be read: such a tensor is an object without elements.
pub(super) fn is_other_tensor(class: &str) -> bool {
    class.starts_with("torch._utils._rebuild_")
        || class.starts_with("torch._tensor._rebuild_")
        || class.starts_with("safetensors.")
        || class.starts_with("torch.distributed.") && class.ends_with("Tensor")
}

/// What calling `callee` with the tuple `arguments` gives.
pub(super) fn call(
    heap: &mut Heap,
    callee: Value,
    arguments: Value,
    input: &Input,
) -> Result<Value> {
    let path = input.path();
    let class: Arc<str> = match heap.object(callee) {
        Some(Object::Class(name)) => name.clone(),
        // A method, or what a function gave.
        Some(Object::Instance(i)) => {
            let class = i.class.clone();
            return Ok(heap.instance(class, arguments));
        }
        _ => return Err(input.damaged("it calls what is no class")),
    };
    let Some(Object::Tuple(given)) = heap.object(arguments) else {
        return Err(input.damaged(&format!("`{class}` is called with what is no tuple")));
    };
    // Of more than a few arguments none of the functions below makes use.
    let mut args = [Value::None; 8];
    let n = given.len().min(args.len());
    args[..n].copy_from_slice(&given[..n]);
    let args = &args[..n];
    let first = args.first().copied();
    // What is copied is counted: one long list can be copied again and again.
    Ok(match &*class {
        "collections.OrderedDict" | "collections.Counter" | "builtins.dict" => {
            mapping(heap, first, path)?
        }
        "collections.defaultdict" => mapping(heap, args.get(1).copied(), path)?,
        "builtins.list" | "builtins.set" | "builtins.frozenset" => {
            let elements = elements(heap, first, path)?;
            heap.add(Object::List(elements))
        }
        "builtins.tuple" | "torch.Size" => {
            let elements = elements(heap, first, path)?;
            heap.add(Object::Tuple(elements))
        }
        "copyreg._reconstructor" => {
            let class = first.and_then(|a| heap.class(a)).cloned();
            let class = class.ok_or_else(|| input.damaged("an object without a class"))?;
            heap.instance(class, Value::None)
        }
        "_codecs.encode" => {
            let text = first.and_then(|a| heap.str(a));
            let bytes = latin1(text.ok_or_else(|| input.damaged("bytes without text"))?);
            heap.charge(bytes.len() / 16, path)?;
            heap.add(Object::Bytes(bytes.into()))
        }
        "numpy.core.multiarray.scalar" => match numpy::scalar(heap, args) {
            Some(numpy::Scalar::Number(value)) => value,
            Some(numpy::Scalar::Text(text)) => heap.text(&text),
            None => heap.instance(class, arguments),
        },
        "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
            first.ok_or_else(|| input.damaged("a parameter without a tensor"))?
        }
        "torch._utils._rebuild_tensor"
        | "torch._utils._rebuild_tensor_v2"
        | "torch._utils._rebuild_tensor_v3" => {
            match tensor(heap, &class, args).map_err(|reason| input.damaged(&reason))? {
                Some(view) => heap.add(Object::Tensor(view.into())),
                None => heap.instance(class, arguments),
            }
        }
        // A tensor with attributes: the function that makes the tensor, its class, the arguments.
        "torch._tensor._rebuild_from_type_v2" => match args {
            // Not of itself: a chain would be as deep as the file is long.
            [made_by, _, inner, ..] if heap.class(*made_by).is_some_and(|c| *c != class) => {
                return call(heap, *made_by, *inner, input);
            }
            _ => return Err(input.damaged("a tensor without what makes it")),
        },
        _ => heap.instance(class, arguments),
    })
}

/// A copy of the elements of a list or tuple.
fn elements(heap: &mut Heap, from: Option<Value>, path: &Path) -> Result<Vec<Value>> {
    let elements = from.and_then(|v| heap.elements(v)).unwrap_or_default().to_vec();
    heap.charge(elements.len(), path)?;
    Ok(elements)
}

/// A dictionary of pairs, or of the entries of another.
fn mapping(heap: &mut Heap, from: Option<Value>, path: &Path) -> Result<Value> {
    let pair = |v: &Value| match heap.elements(*v)? {
        &[key, value] => Some((key, value)),
        _ => None,
    };
    let others = from.and_then(|v| heap.entries(v)).map(<[_]>::to_vec);
    let pairs = from.and_then(|v| heap.elements(v)).unwrap_or_default();
    let entries = others.unwrap_or_else(|| pairs.iter().filter_map(pair).collect());
    heap.charge(entries.len(), path)?;
    Ok(heap.add(Object::Dict(entries)))
}

/// Characters as bytes, which is how Python writes bytes below protocol 3.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u32 as u8).collect()
}

/// The storage that an identity stands for, e.g. `("storage", FloatStorage, "17", "cpu", 300)`; of
/// `("module", class, …)`, in old files of whole models, the class.
pub(super) fn persistent(heap: &mut Heap, id: Value, input: &Input) -> Result<Value> {
    let Some(Object::Tuple(parts)) = heap.object(id) else {
        return Err(input.damaged("a storage is named by what is no tuple"));
    };
    let parts = match parts[..] {
        [kind, class, ..] if heap.str(kind) == Some("module") => return Ok(class),
        [kind, ref parts @ ..] if heap.str(kind) == Some("storage") => parts,
        _ => return Err(input.damaged("it refers to what is no storage")),
    };
    let &[class, key, _, Value::Int(n), ref part @ ..] = parts else {
        return Err(input.damaged("a storage without key or length"));
    };
    let class = heap.class(class).and_then(|c| c.rsplit('.').next()).unwrap_or_default();
    let dtype = ElementType::from_storage(class);
    if dtype.is_none() && !class.trim_start_matches('_').starts_with("UntypedStorage") {
        return Err(input.unknown(&format!("a storage of the class `{class}`")));
    }
    // Keys are numbers, with or without quotes; looking up a long one takes long.
    let key = heap.key(key).filter(|k| k.len() < 64);
    let key: Arc<str> = key.ok_or_else(|| input.damaged("a storage without a key"))?.into();
    let width = dtype.map_or(1, ElementType::size);
    let bytes = |n: i64| u64::try_from(n).ok().and_then(|n| n.checked_mul(width));
    let length = bytes(n).ok_or_else(|| input.damaged("a storage without a length"))?;
    // Part of another storage, in the oldest files: its key, the first element, how many.
    let part = part.first().and_then(|v| heap.elements(*v));
    let (start, length) = match part {
        Some(&[_, Value::Int(first), Value::Int(n)]) => bytes(first)
            .zip(bytes(n))
            .filter(|(first, n)| first.saturating_add(*n) <= length)
            .ok_or_else(|| input.damaged("a part of a storage that is not in it"))?,
        _ => (0, length),
    };
    Ok(heap.add(Object::Storage(Box::new(Storage { key, dtype, start, length }))))
}

/// A tensor of (storage, first element, shape, strides, …); `None` where its elements are of a type
/// that has no name here.
fn tensor(heap: &Heap, function: &str, args: &[Value]) -> Result<Option<View>, String> {
    /// More axes than any tensor has.
    const MOST: usize = 64;
    let [storage, Value::Int(first), shape, strides, ..] = *args else {
        return Err("a tensor without storage, shape or strides".into());
    };
    let Some(Object::Storage(storage)) = heap.object(storage) else {
        return Err("a tensor without a storage".into());
    };
    let dtype = if function.ends_with("_v3") {
        // (…, requires_grad, hooks, dtype)
        let name = args.get(6).and_then(|d| heap.class(*d)?.strip_prefix("torch."));
        name.and_then(ElementType::from_torch)
    } else {
        storage.dtype
    };
    let Some(dtype) = dtype else { return Ok(None) };
    let numbers = |v: Value| -> Option<Vec<u64>> {
        let elements = heap.elements(v)?;
        let number = |v: &Value| match v {
            Value::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        };
        (elements.len() <= MOST).then(|| elements.iter().map(number).collect())?
    };
    let (shape, strides) = numbers(shape)
        .zip(numbers(strides))
        .filter(|(shape, strides)| shape.len() == strides.len())
        .ok_or("a tensor whose shape or strides are no whole numbers")?;
    let shape = shape.into_iter().map(|n| n as usize).collect();
    let start = u64::try_from(first).ok().and_then(|n| n.checked_mul(dtype.size()));
    let start = start.and_then(|n| n.checked_add(storage.start)).ok_or("a tensor out of reach")?;
    let end = storage.start + storage.length;
    Ok(Some(View { key: storage.key.clone(), dtype, shape, strides, start, end }))
}
