//! The pickle machine: the instructions that `torch.save` emits for state dicts, and no others.
//!
//! Every instruction adds at most as much data as its own bytes hold, so memory is bounded by the
//! pickle's length; there is no recursion. A global outside the allow-list is an error that names
//! it, before anything is done with it.

use std::collections::HashMap;

use crate::weights::cursor::{Cursor, Stop};

use super::globals::global;
use super::values::{Arena, Callable, Storage, Value};

/// The longest text or byte string; names and configs are far shorter.
const MAX_TEXT: u64 = 16 << 20;

/// What a pickle left on the stack, and everything that it refers to.
pub(super) struct Loaded {
    pub(super) arena: Arena,
    pub(super) root: Value,
}

#[derive(Default)]
struct Machine {
    arena: Arena,
    stack: Vec<Value>,
    /// The stack's heights at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    /// Storages by key: one that several tensors share is named by each.
    storages: HashMap<String, usize>,
}

/// Runs one pickle from the cursor's position up to its STOP.
pub(super) fn load(cursor: &mut Cursor<'_>) -> Result<Loaded, Stop> {
    let mut machine = Machine::default();
    loop {
        let at = cursor.position();
        if let Some(root) = machine.step(cursor, at)? {
            return Ok(Loaded {
                arena: machine.arena,
                root,
            });
        }
    }
}

impl Machine {
    /// One instruction; its result after STOP.
    fn step(&mut self, cursor: &mut Cursor<'_>, at: u64) -> Result<Option<Value>, Stop> {
        match cursor.u8()? {
            0x80 => {
                // PROTO
                let version = cursor.u8()?;
                if !(2..=5).contains(&version) {
                    return Err(Stop::bad(format!(
                        "pickle protocol {version} can't be read"
                    )));
                }
            }
            0x95 => {
                // FRAME: only a hint for buffering
                let length = cursor.u64()?;
                if length > cursor.remaining() {
                    return Err(Stop::bad(format!(
                        "the pickle's frame at byte {at} claims {length} bytes, more than the file"
                    )));
                }
            }
            b'.' => return self.pop(at).map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop(at)?),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => {
                let number = cursor.u8()?;
                self.stack.push(Value::Int(number.into()));
            }
            b'M' => {
                let number = cursor.u16()?;
                self.stack.push(Value::Int(number.into()));
            }
            b'J' => {
                let number = i32::from_le_bytes(cursor.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            0x8a => {
                // LONG1: little-endian two's complement
                let length = cursor.u8()?;
                let bytes = cursor.take(length.into())?;
                self.stack.push(long(bytes));
            }
            b'G' => {
                let number = f64::from_be_bytes(cursor.array()?);
                self.stack.push(Value::Float(number));
            }
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; BINSTRING and SHORT_BINSTRING of Python 2
            b'X' | b'T' => {
                let length = cursor.u32()?;
                self.push_text(cursor, length.into(), at)?;
            }
            0x8c | b'U' => {
                let length = cursor.u8()?;
                self.push_text(cursor, length.into(), at)?;
            }
            0x8d => {
                let length = cursor.u64()?;
                self.push_text(cursor, length, at)?;
            }
            // BINBYTES, SHORT_BINBYTES, BINBYTES8
            code @ (b'B' | b'C' | 0x8e) => {
                let length = match code {
                    b'B' => cursor.u32()?.into(),
                    b'C' => cursor.u8()?.into(),
                    _ => cursor.u64()?,
                };
                check_length(length, at)?;
                cursor.take(length)?;
                self.stack.push(Value::Opaque);
            }
            b')' => self.push_sequence(Vec::new()),
            b']' | 0x8f => self.push_sequence(Vec::new()),
            code @ 0x85..=0x87 => {
                // TUPLE1, TUPLE2, TUPLE3
                let mut values = vec![Value::None; usize::from(code - 0x84)];
                for value in values.iter_mut().rev() {
                    *value = self.pop(at)?;
                }
                self.push_sequence(values);
            }
            b't' | b'l' | 0x91 => {
                let values = self.pop_to_mark(at)?;
                self.push_sequence(values);
            }
            b'}' => {
                let dict = self.arena.new_dict(Vec::new());
                self.stack.push(dict);
            }
            b'a' => {
                let value = self.pop(at)?;
                self.append(vec![value], at)?;
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark(at)?;
                self.append(values, at)?;
            }
            b's' => {
                let value = self.pop(at)?;
                let key = self.pop(at)?;
                self.set_items(&[key, value], at)?;
            }
            b'u' => {
                let values = self.pop_to_mark(at)?;
                self.set_items(&values, at)?;
            }
            // BINPUT, LONG_BINPUT, MEMOIZE
            b'q' => {
                let index = cursor.u8()?;
                self.put(index.into(), at)?;
            }
            b'r' => {
                let index = cursor.u32()?;
                self.put(index.into(), at)?;
            }
            0x94 => self.put(self.memo.len() as u64, at)?,
            // BINGET, LONG_BINGET
            b'h' => {
                let index = cursor.u8()?;
                self.get(index.into(), at)?;
            }
            b'j' => {
                let index = cursor.u32()?;
                self.get(index.into(), at)?;
            }
            b'c' => {
                // GLOBAL: two lines
                let module = line(cursor)?;
                let name = line(cursor)?;
                self.stack.push(global(module, name)?);
            }
            0x93 => {
                // STACK_GLOBAL
                let (name, module) = (self.pop(at)?, self.pop(at)?);
                let names = (self.arena.text(module), self.arena.text(name));
                let (Some(module), Some(name)) = names else {
                    return Err(damaged(at));
                };
                let value = global(module, name)?;
                self.stack.push(value);
            }
            b'R' => {
                let (arguments, callable) = (self.pop(at)?, self.pop(at)?);
                let value = self.reduce(callable, arguments, at)?;
                self.stack.push(value);
            }
            b'b' => {
                // BUILD: a state dict's `_metadata`, which holds only version numbers
                self.pop(at)?;
                if !matches!(self.stack.last(), Some(Value::Dict(_))) {
                    return Err(Stop::bad(format!(
                        "the pickle sets an object's state at byte {at}, which is not read"
                    )));
                }
            }
            b'Q' => {
                let id = self.pop(at)?;
                let storage = self.persistent(id)?;
                self.stack.push(storage);
            }
            code => {
                return Err(Stop::bad(format!(
                    "the pickle's instruction {code:#04x} at byte {at} is none of a state dict's"
                )));
            }
        }
        Ok(None)
    }

    fn pop(&mut self, at: u64) -> Result<Value, Stop> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(damaged(at));
        }
        self.stack.pop().ok_or_else(|| damaged(at))
    }

    fn pop_to_mark(&mut self, at: u64) -> Result<Vec<Value>, Stop> {
        let mark = self.marks.pop().ok_or_else(|| damaged(at))?;
        Ok(self.stack.split_off(mark))
    }

    fn push_text(&mut self, cursor: &mut Cursor<'_>, length: u64, at: u64) -> Result<(), Stop> {
        check_length(length, at)?;
        let text = cursor.text(length, "pickle's text")?;
        let text = self.arena.new_text(text);
        self.stack.push(text);
        Ok(())
    }

    fn push_sequence(&mut self, values: Vec<Value>) {
        let sequence = self.arena.new_sequence(values);
        self.stack.push(sequence);
    }

    fn append(&mut self, values: Vec<Value>, at: u64) -> Result<(), Stop> {
        let Some(&Value::Sequence(list)) = self.stack.last() else {
            return Err(damaged(at));
        };
        self.arena.sequences[list].extend(values);
        Ok(())
    }

    fn set_items(&mut self, values: &[Value], at: u64) -> Result<(), Stop> {
        let (pairs, rest) = values.as_chunks::<2>();
        let (Some(&Value::Dict(dict)), []) = (self.stack.last(), rest) else {
            return Err(damaged(at));
        };
        self.arena.dicts[dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn put(&mut self, index: u64, at: u64) -> Result<(), Stop> {
        let value = *self.stack.last().ok_or_else(|| damaged(at))?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn get(&mut self, index: u64, at: u64) -> Result<(), Stop> {
        let value = *self.memo.get(&index).ok_or_else(|| damaged(at))?;
        self.stack.push(value);
        Ok(())
    }

    /// What would be a function call: building one of the few values that we know.
    fn reduce(&mut self, callable: Value, arguments: Value, at: u64) -> Result<Value, Stop> {
        let Some(arguments) = self.arena.sequence(arguments).map(<[_]>::to_vec) else {
            return Err(damaged(at));
        };
        let Value::Callable(callable) = callable else {
            return Err(Stop::bad(format!(
                "the pickle calls something at byte {at} that is no function"
            )));
        };
        let unexpected = || {
            let name = callable.name();
            Stop::bad(format!(
                "the pickle calls {name} at byte {at} with unexpected values"
            ))
        };
        match (callable, arguments.as_slice()) {
            (Callable::OrderedDict, []) => Ok(self.arena.new_dict(Vec::new())),
            (Callable::OrderedDict, [pairs]) => {
                // Python 2: a list of [key, value]
                let pairs = self.arena.sequence(*pairs).ok_or_else(unexpected)?;
                let pair = |pair: &Value| match self.arena.sequence(*pair) {
                    Some([key, value]) => Some((*key, *value)),
                    _ => None,
                };
                let pairs = pairs.iter().map(pair).collect::<Option<Vec<_>>>();
                let pairs = pairs.ok_or_else(unexpected)?;
                Ok(self.arena.new_dict(pairs))
            }
            (Callable::RebuildTensor, arguments) => {
                self.arena.new_tensor(arguments).map_err(Stop::bad)
            }
            (Callable::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(*tensor),
            (Callable::Size, [size @ Value::Sequence(_)]) => Ok(*size),
            _ => Err(unexpected()),
        }
    }

    /// A storage: ("storage", its type, its key, its device, its number of elements).
    fn persistent(&mut self, id: Value) -> Result<Value, Stop> {
        let unexpected = || Stop::bad("the pickle refers to something that is no storage");
        let parts = self.arena.sequence(id).ok_or_else(unexpected)?;
        let &[
            tag,
            Value::StorageType(stored),
            key,
            _,
            Value::Int(elements),
            ref rest @ ..,
        ] = parts
        else {
            return Err(unexpected());
        };
        let key = self.arena.text(key).ok_or_else(unexpected)?;
        let elements = u64::try_from(elements).map_err(|_| unexpected())?;
        if self.arena.text(tag) != Some("storage") {
            return Err(unexpected());
        }
        if !matches!(rest, [] | [Value::None]) {
            return Err(Stop::bad(format!(
                "storage {key} is a view of another one, which is not read; save it again"
            )));
        }
        let storage = Storage {
            key: key.to_owned(),
            stored,
            elements,
        };
        if let Some(&known) = self.storages.get(key) {
            if self.arena.storages[known] != storage {
                return Err(Stop::bad(format!("storage {key} is described in two ways")));
            }
            return Ok(Value::Storage(known));
        }
        let at = self.arena.storages.len();
        self.storages.insert(storage.key.clone(), at);
        self.arena.storages.push(storage);
        Ok(Value::Storage(at))
    }
}

fn damaged(at: u64) -> Stop {
    Stop::bad(format!("the pickle is damaged at byte {at}"))
}

fn check_length(length: u64, at: u64) -> Result<(), Stop> {
    if length > MAX_TEXT {
        return Err(Stop::bad(format!(
            "the pickle's text at byte {at} claims {length} bytes, the limit is {MAX_TEXT}"
        )));
    }
    Ok(())
}

/// An integer of up to 64 bits; longer ones are opaque.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Opaque;
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(whole))
}

/// A line of text up to its newline.
fn line<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Stop> {
    /// Far over any module's or function's name.
    const MAX_LINE: usize = 256;
    let mut ahead = cursor.clone();
    for length in 0..MAX_LINE {
        if ahead.u8()? == b'\n' {
            let text = cursor.text(length as u64, "pickle's global")?;
            cursor.u8()?;
            return Ok(text);
        }
    }
    Err(damaged(cursor.position()))
}
