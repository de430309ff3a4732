//! The pickle machine: what the instructions of a state dict do.
//!
//! Every instruction adds at most as much data as its own bytes hold, so memory is bounded by the
//! pickle's length; there is no recursion. A global outside the allow-list is an error that names
//! it, before anything is done with it.

use std::collections::HashMap;

use crate::weights::cursor::{Cursor, Stop};

use super::globals::global;
use super::instructions::{Instruction, damaged};
use super::values::{Arena, Callable, Storage, Value};

/// The result of a pickle, and all values that it refers to.
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
        let instruction = Instruction::read(cursor)?;
        if let Some(root) = machine.run(instruction, at)? {
            return Ok(Loaded {
                arena: machine.arena,
                root,
            });
        }
    }
}

impl Machine {
    /// Runs the instruction at byte `at`; the pickle's result after its end.
    fn run(&mut self, instruction: Instruction<'_>, at: u64) -> Result<Option<Value>, Stop> {
        match instruction {
            Instruction::Nothing => {}
            Instruction::End => return self.pop(at).map(Some),
            Instruction::Mark => self.marks.push(self.stack.len()),
            Instruction::Pop => drop(self.pop(at)?),
            Instruction::Push(value) => self.stack.push(value),
            Instruction::Text(text) => {
                let text = self.arena.new_text(text);
                self.stack.push(text);
            }
            Instruction::EmptySequence => self.push_sequence(Vec::new()),
            Instruction::EmptyDict => {
                let dict = self.arena.new_dict(Vec::new());
                self.stack.push(dict);
            }
            Instruction::Join(count) => self.join(count, at)?,
            Instruction::JoinMarked => {
                let values = self.pop_to_mark(at)?;
                self.push_sequence(values);
            }
            Instruction::Append => {
                let value = self.pop(at)?;
                self.append(vec![value], at)?;
            }
            Instruction::AppendMarked => {
                let values = self.pop_to_mark(at)?;
                self.append(values, at)?;
            }
            Instruction::SetItem => {
                let (value, key) = (self.pop(at)?, self.pop(at)?);
                self.set_items(&[key, value], at)?;
            }
            Instruction::SetMarked => {
                let values = self.pop_to_mark(at)?;
                self.set_items(&values, at)?;
            }
            Instruction::Put(index) => self.put(index, at)?,
            Instruction::Memoize => self.put(self.memo.len() as u64, at)?,
            Instruction::Get(index) => self.get(index, at)?,
            Instruction::Global { module, name } => self.stack.push(global(module, name)?),
            Instruction::StackGlobal => self.stack_global(at)?,
            Instruction::Reduce => self.reduce(at)?,
            Instruction::Build => self.build(at)?,
            Instruction::PersistentId => self.persistent_id(at)?,
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

    fn push_sequence(&mut self, values: Vec<Value>) {
        let sequence = self.arena.new_sequence(values);
        self.stack.push(sequence);
    }

    /// Replaces so many values on top by one sequence of them.
    fn join(&mut self, count: usize, at: u64) -> Result<(), Stop> {
        let mut values = vec![Value::None; count];
        for value in values.iter_mut().rev() {
            *value = self.pop(at)?;
        }
        self.push_sequence(values);
        Ok(())
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

    fn stack_global(&mut self, at: u64) -> Result<(), Stop> {
        let (name, module) = (self.pop(at)?, self.pop(at)?);
        let names = (self.arena.text(module), self.arena.text(name));
        let (Some(module), Some(name)) = names else {
            return Err(damaged(at));
        };
        let value = global(module, name)?;
        self.stack.push(value);
        Ok(())
    }

    /// Only the state of a dictionary is read: a state dict's `_metadata`, which holds version
    /// numbers alone. It is dropped.
    fn build(&mut self, at: u64) -> Result<(), Stop> {
        self.pop(at)?;
        match self.stack.last() {
            Some(Value::Dict(_)) => Ok(()),
            _ => Err(Stop::bad(format!(
                "the pickle sets an object's state at byte {at}, which is not read"
            ))),
        }
    }

    fn reduce(&mut self, at: u64) -> Result<(), Stop> {
        let (arguments, callable) = (self.pop(at)?, self.pop(at)?);
        let value = self.call(callable, arguments, at)?;
        self.stack.push(value);
        Ok(())
    }

    fn persistent_id(&mut self, at: u64) -> Result<(), Stop> {
        let id = self.pop(at)?;
        let storage = self.storage(id)?;
        self.stack.push(storage);
        Ok(())
    }

    /// Makes the value that a function call would give, for the few functions that we know.
    fn call(&mut self, callable: Value, arguments: Value, at: u64) -> Result<Value, Stop> {
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
    fn storage(&mut self, id: Value) -> Result<Value, Stop> {
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
