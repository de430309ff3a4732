//! Conditioning as a safetensors file: `txt` `[1, tokens, width]` and `vec` `[1, width]`, in f32.
//!
//! Source: the format's specification, <https://github.com/huggingface/safetensors>.

use x2i_engine::{Array, Conditioned};

/// The media type of the file.
pub const MEDIA_TYPE: &str = "application/vnd.safetensors";

/// The file. The LLM's answer is in its metadata.
pub fn to_safetensors(conditioned: &Conditioned) -> Vec<u8> {
    let (txt, vec) = (&conditioned.txt, &conditioned.vec);
    let end = txt.values.len() * size_of::<f32>();
    let mut header = serde_json::json!({
        "txt": entry(txt, 0),
        "vec": entry(vec, end),
    });
    if let Some(answer) = &conditioned.answer {
        header["__metadata__"] = serde_json::json!({ "answer": answer });
    }
    let mut header = header.to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    for array in [txt, vec] {
        file.extend(array.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    file
}

fn entry(array: &Array, begin: usize) -> serde_json::Value {
    let end = begin + array.values.len() * size_of::<f32>();
    serde_json::json!({ "dtype": "F32", "shape": array.shape, "data_offsets": [begin, end] })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use x2i_core::weights::{MemorySource, WeightFile};

    use super::*;

    #[test]
    fn the_file_is_read_back_by_the_reader_of_weights() {
        let array = |shape: &[usize]| Array {
            shape: shape.to_vec(),
            values: (0..shape.iter().product::<usize>())
                .map(|n| n as f32)
                .collect(),
        };
        let conditioned = Conditioned {
            txt: array(&[1, 3, 5]),
            vec: array(&[1, 7]),
            answer: Some("a \"red\" apple 红".into()),
        };
        let bytes = to_safetensors(&conditioned);
        let file = WeightFile::open(Arc::new(MemorySource::new("c", bytes)));
        let file = pollster::block_on(file).unwrap();
        let names: Vec<_> = file.tensors().keys().cloned().collect();
        assert_eq!(names, ["txt", "vec"]);
    }
}
