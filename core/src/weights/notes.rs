//! Small tensors that describe a weight: texts and numbers that a quantizer keeps beside it.
//!
//! They are read with the header, since the weight's shape may stand there.

use std::collections::BTreeMap;

use crate::error::Result;

use super::stored::{StoredType, TensorInfo};
use super::{WeightSource, read_range};

/// Longer than any that is written.
const MOST: u64 = 4096;

/// True for notes: bitsandbytes' state, layout and map, ComfyUI's format, and the shape of packed
/// numbers.
fn is_note(name: &str, stored: StoredType) -> bool {
    use StoredType::{F32, I32, I64, U8};
    match stored {
        F32 => name.ends_with(".quant_map"),
        U8 | I32 | I64 => is_text(name),
        _ => false,
    }
}

fn is_text(name: &str) -> bool {
    name.contains(".quant_state.bitsandbytes__")
        || [".comfy_quant", ".weight_format", ".weight_shape"]
            .iter()
            .any(|ending| name.ends_with(ending))
}

/// The notes of a header, by their tensors' names. One of another type, or a long one, is none.
pub(super) async fn read(
    source: &dyn WeightSource,
    tensors: &BTreeMap<String, TensorInfo>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut notes = BTreeMap::new();
    for (name, info) in tensors {
        let length = info.byte_len();
        let whole = info.strides.is_none() && length <= MOST;
        if whole && is_note(name, info.stored) {
            let bytes = read_range(source, info.offset..info.offset + length).await?;
            notes.insert(name.clone(), bytes.into_owned());
        }
    }
    Ok(notes)
}
