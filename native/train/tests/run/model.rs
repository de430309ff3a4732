//! A small model of every part that training reads, made of golden cases.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use x2i_core::weights::safetensors::{OutTensor, encode};
use x2i_core::weights::{MemorySource, WeightFile};

/// Tokens of both text encoders: more than the golden cases' encoders have rows for.
const TOKENS: usize = 1100;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A copy of an encoder whose embedding has [`TOKENS`] rows.
fn text_encoder(case: &str, embedding: &str, to: &Path) {
    let from = goldens().join(case);
    fs::create_dir_all(to).unwrap();
    let config = fs::read_to_string(from.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["vocab_size"] = TOKENS.into();
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    let bytes = fs::read(from.join("model.safetensors")).unwrap();
    let source = MemorySource::new("model.safetensors", bytes);
    let file = pollster::block_on(WeightFile::open(std::sync::Arc::new(source))).unwrap();
    let mut tensors = vec![];
    for (name, info) in file.tensors() {
        let values = pollster::block_on(file.read(name)).unwrap().to_f32();
        let mut shape = info.shape.clone();
        let values = match name.ends_with(embedding) {
            true => {
                let width = shape[1];
                shape[0] = TOKENS;
                let rows = values.chunks(width).cycle().take(TOKENS).enumerate();
                // Rows that differ: turned by their number.
                rows.flat_map(|(row, values)| {
                    let mut values = values.to_vec();
                    values.rotate_left(row % width);
                    values
                })
                .collect()
            }
            false => values,
        };
        tensors.push(OutTensor::floats(name, shape, &values));
    }
    fs::write(
        to.join("model.safetensors"),
        encode(tensors, &BTreeMap::new()),
    )
    .unwrap();
}

/// Writes the model into a folder.
pub fn make(folder: &Path) {
    let cases = goldens();
    copy(&cases.join("pipeline_tiny/flux"), &folder.join("flux"));
    copy(&cases.join("pipeline_tiny/proj"), &folder.join("proj"));
    copy(&cases.join("qwen2_5_vl_tiny"), &folder.join("mllm"));
    fs::remove_file(folder.join("proj/comfyui_proj.pt")).unwrap();
    fs::remove_file(folder.join("mllm/golden.safetensors")).unwrap();
    let flux = folder.join("flux");
    text_encoder("t5_tiny", "shared.weight", &flux.join("text_encoder_2"));
    text_encoder(
        "clip_tiny",
        "token_embedding.weight",
        &flux.join("text_encoder"),
    );
    let tokenizers = cases.join("teacher_tokenizers");
    copy(&tokenizers.join("t5"), &flux.join("tokenizer_2"));
    copy(&tokenizers.join("clip"), &flux.join("tokenizer"));
}

/// A file of captions, a JSON object a line.
pub fn captions(path: &Path, captions: &[&str]) {
    let lines = captions
        .iter()
        .map(|caption| serde_json::json!({"caption_en": caption}).to_string() + "\n");
    fs::write(path, lines.collect::<String>()).unwrap();
}
