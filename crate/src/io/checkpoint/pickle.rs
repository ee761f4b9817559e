//! The machine that reads pickles, protocols 0 to 5, and never runs anything.
//!
//! A pickle is a program for a machine with a stack and a memory: "push the text `lr`, push the
//! number 0.1, put both into the dictionary below, …". In Python two of its instructions look
//! things up in modules and call them; here they only write down what was to be called
//! ([`globals`](super::globals) knows those that make tensors and dictionaries). How numbers and texts
//! are written is in [`literals`](super::literals).

use super::globals;
use super::heap::{Heap, Object, Value};
use super::input::Input;
use crate::error::{Error, Result};
use crate::progress::check_interrupt;
use std::collections::HashMap;

/// Reads one pickle, which starts where `input` stands; what it makes goes to `heap`.
pub(super) fn load(input: &mut Input, heap: &mut Heap) -> Result<Value> {
    let mut machine =
        Machine { input, heap, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let mut steps = 0u32;
    loop {
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(1 << 16) {
            check_interrupt()?;
        }
        if let Some(value) = machine.step()? {
            return Ok(value);
        }
    }
}

pub(super) struct Machine<'a, 'b> {
    pub input: &'a mut Input<'b>,
    pub heap: &'a mut Heap,
    pub stack: Vec<Value>,
    /// Heights of the stack at which an instruction left a mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl Machine<'_, '_> {
    pub fn damaged(&self, reason: &str) -> Error {
        self.input.damaged(reason)
    }

    /// One instruction; the value when it was the last.
    fn step(&mut self) -> Result<Option<Value>> {
        self.heap.charge(1, self.input.path())?;
        let op = self.input.u8()?;
        match op {
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            0x80 => {
                let protocol = self.input.u8()?;
                if protocol > 5 {
                    return Err(self.input.unknown(&format!("protocol {protocol}")));
                }
            }
            // The length of a frame is of no use: claims are checked one by one.
            0x95 => drop(self.input.number(8)?),

            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' | b'M' => {
                let n = self.input.number(if op == b'K' { 1 } else { 2 })?;
                self.stack.push(Value::Int(n as i64));
            }
            b'J' => {
                let n = self.input.number(4)?;
                self.stack.push(Value::Int(i64::from(n as u32 as i32)));
            }
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'G' => {
                let bits = self.input.take(8)?.try_into().map(u64::from_be_bytes);
                self.stack.push(Value::Float(bits.map_or(0.0, f64::from_bits)));
            }
            b'I' | b'L' | b'F' => self.number_in_words(op)?,

            b'S' => self.quoted()?,
            b'V' => self.escaped()?,
            b'U' => self.old_text(1)?,
            b'T' => self.old_text(4)?,
            0x8c => self.text(1)?,
            b'X' => self.text(4)?,
            0x8d => self.text(8)?,
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e | 0x96 => self.bytes(8)?,

            b']' | 0x8f => self.push(Object::List(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b'l' | 0x91 => {
                let elements = self.pop_mark()?;
                self.push(Object::List(elements));
            }
            b't' => {
                let elements = self.pop_mark()?;
                self.push(Object::Tuple(elements));
            }
            0x85..=0x87 => {
                let mut elements = Vec::new();
                for _ in 0..op - 0x84 {
                    elements.push(self.pop()?);
                }
                elements.reverse();
                self.push(Object::Tuple(elements));
            }
            b'd' => {
                let entries = self.pop_mark()?;
                let entries = self.pairs(&entries)?;
                self.push(Object::Dict(entries));
            }
            b'a' => {
                let element = self.pop()?;
                self.append(vec![element])?;
            }
            b'e' | 0x90 => {
                let elements = self.pop_mark()?;
                self.append(elements)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let entries = self.pop_mark()?;
                let entries = self.pairs(&entries)?;
                self.set(entries)?;
            }

            b'p' => {
                let at = self.place_in_words()?;
                self.put(at)?;
            }
            b'q' | b'r' => {
                let at = self.input.number(if op == b'q' { 1 } else { 4 })?;
                self.put(at as u32)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'g' => {
                let at = self.place_in_words()?;
                self.get(at)?;
            }
            b'h' | b'j' => {
                let at = self.input.number(if op == b'h' { 1 } else { 4 })?;
                self.get(at as u32)?;
            }

            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |v| self.heap.str(v).map(str::to_string);
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    return Err(self.damaged("the name of a class is not text"));
                };
                self.global(&module, &name)?;
            }
            b'R' | 0x81 => {
                let (arguments, class) = (self.pop()?, self.pop()?);
                self.call(class, arguments)?;
            }
            0x92 => {
                // Named arguments are of no use to what is not called.
                let (_, arguments, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, arguments)?;
            }
            b'o' => {
                let mut arguments = self.pop_mark()?;
                if arguments.is_empty() {
                    return Err(self.damaged("an object without a class"));
                }
                let class = arguments.remove(0);
                let arguments = self.heap.add(Object::Tuple(arguments));
                self.call(class, arguments)?;
            }
            b'i' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let arguments = self.pop_mark()?;
                self.global(&module, &name)?;
                let class = self.pop()?;
                let arguments = self.heap.add(Object::Tuple(arguments));
                self.call(class, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                match self.heap.object_mut(object) {
                    Some(Object::Instance(i)) => i.state = state,
                    // Attributes of dictionaries and tensors are no part of what is read here.
                    Some(_) => {}
                    None => return Err(self.damaged("attributes for what has none")),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let value = globals::persistent(self.heap, id, self.input)?;
                self.stack.push(value);
            }
            b'P' => return Err(self.input.unknown("storages are named in words")),
            0x82..=0x84 => return Err(self.input.unknown("a class is named by a number")),
            0x97 | 0x98 => return Err(self.input.unknown("its buffers lie outside of it")),
            other => return Err(self.damaged(&format!("{other:#04x} is no instruction"))),
        }
        Ok(None)
    }

    pub fn push(&mut self, object: Object) {
        let value = self.heap.add(object);
        self.stack.push(value);
    }

    fn top(&self) -> Result<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.damaged("nothing is on the stack"));
        }
        self.stack.last().copied().ok_or_else(|| self.damaged("nothing is on the stack"))
    }

    fn pop(&mut self) -> Result<Value> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// What lies above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value>> {
        let at = self.marks.pop().ok_or_else(|| self.damaged("a mark is missing"))?;
        Ok(self.stack.split_off(at))
    }

    fn pairs(&self, flat: &[Value]) -> Result<Vec<(Value, Value)>> {
        let (pairs, rest) = flat.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.damaged("a key without a value"));
        }
        Ok(pairs.iter().map(|&[k, v]| (k, v)).collect())
    }

    fn append(&mut self, elements: Vec<Value>) -> Result<()> {
        let list = self.top()?;
        match self.heap.object_mut(list) {
            Some(Object::List(l)) => l.extend(elements),
            Some(Object::Instance(i)) => i.list.extend(elements),
            _ => return Err(self.damaged("elements for what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, entries: Vec<(Value, Value)>) -> Result<()> {
        let dict = self.top()?;
        match self.heap.object_mut(dict) {
            Some(Object::Dict(d)) => d.extend(entries),
            Some(Object::Instance(i)) => i.dict.extend(entries),
            _ => return Err(self.damaged("entries for what is no dictionary")),
        }
        Ok(())
    }

    fn put(&mut self, at: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn get(&mut self, at: u32) -> Result<()> {
        let known = self.memo.get(&at).copied();
        self.stack.push(known.ok_or_else(|| self.damaged("it recalls what it did not keep"))?);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        if let Some(code) = globals::runs_code(module, name) {
            let reason = format!("the file would run `{code}`: it is not read");
            return Err(Error::format(self.input.path(), reason).with_hint(
                "A checkpoint has no need of that: do not load the file in Python either",
            ));
        }
        // One long name can be asked for again and again.
        let class = globals::full_name(module, name);
        self.heap.charge(class.len() / 16, self.input.path())?;
        self.push(Object::Class(class.into()));
        Ok(())
    }

    fn call(&mut self, class: Value, arguments: Value) -> Result<()> {
        let made = globals::call(self.heap, class, arguments, self.input)?;
        self.stack.push(made);
        Ok(())
    }
}
