//! The values of a pickle: plain data in an arena.
//!
//! Values are small handles into [`Arena`]. A pickle that nests a million lists, or puts a list
//! into itself, therefore neither overflows the stack when it is dropped nor leaks.

use crate::weights::stored::{StoredType, element_count};

/// The most axes that a tensor may have.
const MAX_DIMS: usize = 8;

/// A value on the machine's stack; numbers are places in the arena.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(usize),
    /// A tuple, a list or a set.
    Sequence(usize),
    Dict(usize),
    Callable(Callable),
    StorageType(StoredType),
    Storage(usize),
    Tensor(usize),
    /// A dtype, bytes, or an integer of more than 64 bits: allowed, of no use here.
    Opaque,
}

/// The functions that a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
}

impl Callable {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OrderedDict => "collections.OrderedDict",
            Self::RebuildTensor => "torch._utils._rebuild_tensor_v2",
            Self::RebuildParameter => "torch._utils._rebuild_parameter",
            Self::Size => "torch.Size",
        }
    }
}

/// A run of numbers in the file that tensors are views of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) stored: StoredType,
    pub(super) elements: u64,
}

/// A view of a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorView {
    pub(super) storage: usize,
    /// The first element's place in the storage.
    pub(super) start: u64,
    pub(super) shape: Vec<usize>,
    /// `None` when contiguous.
    pub(super) strides: Option<Vec<usize>>,
}

/// Everything that a pickle made.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) texts: Vec<String>,
    pub(super) sequences: Vec<Vec<Value>>,
    pub(super) dicts: Vec<Vec<(Value, Value)>>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<TensorView>,
}

impl Arena {
    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match value {
            Value::Text(at) => Some(&self.texts[at]),
            _ => None,
        }
    }

    pub(super) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::Sequence(at) => Some(&self.sequences[at]),
            _ => None,
        }
    }

    pub(super) fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Dict(at) => Some(&self.dicts[at]),
            _ => None,
        }
    }

    pub(super) fn new_text(&mut self, text: &str) -> Value {
        self.texts.push(text.to_owned());
        Value::Text(self.texts.len() - 1)
    }

    pub(super) fn new_sequence(&mut self, values: Vec<Value>) -> Value {
        self.sequences.push(values);
        Value::Sequence(self.sequences.len() - 1)
    }

    pub(super) fn new_dict(&mut self, pairs: Vec<(Value, Value)>) -> Value {
        self.dicts.push(pairs);
        Value::Dict(self.dicts.len() - 1)
    }

    /// The arguments of `_rebuild_tensor_v2`: storage, offset, size, stride, then what gradients
    /// need. Checked against the storage.
    pub(super) fn new_tensor(&mut self, arguments: &[Value]) -> Result<Value, String> {
        let [Value::Storage(at), Value::Int(start), size, stride, ..] = *arguments else {
            return Err("a tensor is rebuilt from unexpected values".to_owned());
        };
        let storage = &self.storages[at];
        let key = &storage.key;
        let sizes = |value| {
            let values = self.sequence(value)?.iter();
            let sizes = values.map(|value| match value {
                Value::Int(size) => usize::try_from(*size).ok(),
                _ => None,
            });
            sizes.collect::<Option<Vec<usize>>>()
        };
        let (Some(shape), Some(strides), Ok(start)) =
            (sizes(size), sizes(stride), u64::try_from(start))
        else {
            return Err(format!(
                "a tensor in storage {key} has a size, stride or offset that is no number from 0"
            ));
        };
        if shape.len() != strides.len() || shape.len() > MAX_DIMS {
            return Err(format!(
                "a tensor in storage {key} has {} sizes and {} strides",
                shape.len(),
                strides.len()
            ));
        }
        let (elements, last) = (element_count(&shape), last_element(&shape, &strides));
        let (Some(elements), Some(last)) = (elements, last) else {
            return Err(format!(
                "the shape {shape:?} of a tensor in storage {key} overflows"
            ));
        };
        let end = last.checked_add(start).and_then(|last| last.checked_add(1));
        let inside = end.is_some_and(|end| end <= storage.elements);
        // A view that repeats elements would let a few bytes claim any amount of memory.
        if elements > 0 && (!inside || elements > storage.elements) {
            return Err(format!(
                "a tensor of shape {shape:?} leaves its storage {key} of {} elements",
                storage.elements
            ));
        }
        let strides = (elements > 0 && !is_contiguous(&shape, &strides)).then_some(strides);
        self.tensors.push(TensorView {
            storage: at,
            start: if elements > 0 { start } else { 0 },
            shape,
            strides,
        });
        Ok(Value::Tensor(self.tensors.len() - 1))
    }
}

/// The place of a view's last element after its first; `None` when that overflows.
fn last_element(shape: &[usize], strides: &[usize]) -> Option<u64> {
    let mut axes = shape.iter().zip(strides);
    axes.try_fold(0u64, |last, (&size, &stride)| {
        let steps = (size as u64).saturating_sub(1).checked_mul(stride as u64)?;
        // Reading adds the steps up as usize.
        last.checked_add(steps)
            .filter(|&last| usize::try_from(last).is_ok())
    })
}

fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1; // at most the number of elements, which was counted
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 && stride as u64 != expected {
            return false;
        }
        expected *= size as u64;
    }
    true
}
