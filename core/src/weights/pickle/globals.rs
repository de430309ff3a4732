//! The allow-list of names that a pickle may ask for.
//!
//! A pickle's instructions can name any function of any Python package; a state dict names these.
//! Refused on purpose: `torch.storage._load_from_bytes`, which starts another unpickler.

use crate::weights::cursor::Stop;
use crate::weights::stored::StoredType;

use super::values::{Callable, Value};

/// The value of a name.
///
/// # Errors
/// For any other name.
pub(super) fn global(module: &str, name: &str) -> Result<Value, Stop> {
    let callable = |callable| Ok(Value::Callable(callable));
    match (module, name) {
        ("collections", "OrderedDict") => return callable(Callable::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2") => return callable(Callable::RebuildTensor),
        ("torch._utils", "_rebuild_parameter") => return callable(Callable::RebuildParameter),
        ("torch", "Size") => return callable(Callable::Size),
        _ => {}
    }
    let stored = match name {
        "DoubleStorage" => Some(StoredType::F64),
        "FloatStorage" => Some(StoredType::F32),
        "HalfStorage" => Some(StoredType::F16),
        "BFloat16Storage" => Some(StoredType::BF16),
        "LongStorage" => Some(StoredType::I64),
        "IntStorage" => Some(StoredType::I32),
        "ShortStorage" => Some(StoredType::I16),
        "CharStorage" => Some(StoredType::I8),
        "ByteStorage" => Some(StoredType::U8),
        "BoolStorage" => Some(StoredType::Bool),
        _ => None,
    };
    const DTYPES: [&str; 10] = [
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
        "bool",
    ];
    match (module, stored) {
        ("torch" | "torch.cuda", Some(stored)) => Ok(Value::StorageType(stored)),
        ("torch", None) if DTYPES.contains(&name) => Ok(Value::Opaque),
        _ => Err(Stop::bad(format!(
            "the pickle asks for `{module}.{name}`, which a state dict does not need; nothing was \
             executed; save the tensors as safetensors"
        ))),
    }
}
