//! Writing safetensors: the header's bytes, after which the tensors' bytes follow in its order.
//!
//! As the reference implementation orders them: by the width of their numbers, widest first, then by name; the header is
//! filled up with spaces to a multiple of 8, so that numbers lie where they can be read in place.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::weights::StoredType;

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct OutTensor {
    /// Its key.
    pub name: String,
    /// The type of its numbers, which no block type is.
    pub stored: StoredType,
    /// Its axes.
    pub shape: Vec<usize>,
    /// Its numbers, little-endian.
    pub bytes: Vec<u8>,
}

impl OutTensor {
    /// A tensor of f32.
    pub fn floats(name: impl Into<String>, shape: Vec<usize>, values: &[f32]) -> Self {
        Self {
            name: name.into(),
            stored: StoredType::F32,
            shape,
            bytes: bytemuck::cast_slice(values).to_vec(),
        }
    }
}

/// The bytes of a file of these tensors and this metadata.
///
/// # Panics
/// For a type that safetensors has not.
pub fn encode(mut tensors: Vec<OutTensor>, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    sort(&mut tensors);
    let mut bytes = header(&tensors, metadata);
    for tensor in tensors {
        bytes.extend(tensor.bytes);
    }
    bytes
}

/// Puts tensors in the order of a file.
pub fn sort(tensors: &mut [OutTensor]) {
    tensors.sort_by(|a, b| {
        let widths = [a, b].map(|tensor| tensor.stored.block_bytes());
        widths[1].cmp(&widths[0]).then_with(|| a.name.cmp(&b.name))
    });
}

/// The bytes before the tensors, which are in the order of [`sort`].
///
/// # Panics
/// As [`encode`].
pub fn header(tensors: &[OutTensor], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut json = Map::new();
    if !metadata.is_empty() {
        json.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes.len();
        let entry = json!({
            "dtype": dtype(tensor.stored),
            "shape": tensor.shape,
            "data_offsets": [start, end],
        });
        json.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(json).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes
}

fn dtype(stored: StoredType) -> &'static str {
    match stored {
        StoredType::F64 => "F64",
        StoredType::F32 => "F32",
        StoredType::F16 => "F16",
        StoredType::BF16 => "BF16",
        StoredType::I64 => "I64",
        StoredType::I32 => "I32",
        StoredType::U8 => "U8",
        other => panic!("safetensors has no {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{MemorySource, WeightFile};

    #[test]
    fn what_is_written_is_read() {
        let bytes = OutTensor {
            name: "a".into(),
            stored: StoredType::U8,
            shape: vec![3],
            bytes: vec![1, 2, 3],
        };
        let floats = OutTensor::floats("b", vec![1, 2], &[0.5, -2.0]);
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let file = encode(vec![bytes, floats], &metadata);
        let source = std::sync::Arc::new(MemorySource::new("file", file));
        let file = pollster::block_on(WeightFile::open(source)).expect("it is well formed");
        let read = |name| pollster::block_on(file.read(name)).expect("it is there");
        assert_eq!(read("b").to_f32(), [0.5, -2.0]);
        assert_eq!(
            (read("a").bytes.as_ref(), read("b").shape),
            (&[1, 2, 3][..], vec![1, 2])
        );
    }
}
