//! The vocabulary in a GGUF file's metadata, as llama.cpp's converter writes Qwen2's.

use serde_json::{Map, Value, json};

use super::merges::two_tokens;
use crate::error::{Error, Result};
use crate::weights::WeightFile;
use crate::weights::gguf::MetaValue;

/// `tokenizer.ggml.token_type`: of the vocabulary, special, added by a user.
const NORMAL: u64 = 1;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// The parts of a tokenizer.
pub(super) struct Vocabulary {
    /// Ids by token.
    pub(super) vocab: Value,
    /// Pairs in the order of merging.
    pub(super) merges: Vec<[String; 2]>,
    /// Tokens outside of the vocabulary, as `tokenizer.json` has them, in the order of ids.
    pub(super) added_tokens: Vec<Value>,
}

/// Reads the vocabulary; `None` when the file has none. Tokens of other types fill rows of the
/// embedding that no text reaches.
///
/// # Errors
/// [`Error::Config`] for another kind of tokenizer, and lists that do not fit together.
pub(super) fn vocabulary(file: &WeightFile) -> Result<Option<Vocabulary>> {
    let text = |key: &str| file.metadata_value(key).and_then(MetaValue::as_str);
    let Some(model) = text("tokenizer.ggml.model") else {
        return Ok(None);
    };
    let bad = |reason: String| Error::config(file.name(), reason);
    let pre = text("tokenizer.ggml.pre").unwrap_or("none");
    if (model, pre) != ("gpt2", "qwen2") {
        return Err(bad(format!(
            "its tokenizer is {model} with the splitting rules {pre}, not gpt2 with qwen2; put a tokenizer.json beside it"
        )));
    }
    let list = |key: &str| {
        let values = file.metadata_value(key).and_then(MetaValue::as_array);
        values.ok_or_else(|| bad(format!("the metadata key `{key}` is no list")))
    };
    let tokens = list("tokenizer.ggml.tokens")?;
    let types = list("tokenizer.ggml.token_type")?;
    if tokens.len() != types.len() {
        return Err(bad(format!(
            "has {} tokens and {} types of tokens",
            tokens.len(),
            types.len()
        )));
    }
    let mut vocab = Map::new();
    let mut added_tokens = Vec::new();
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        let content = token
            .as_str()
            .ok_or_else(|| bad(format!("token {id} is no text")))?;
        match kind.as_u64() {
            Some(NORMAL) => {
                vocab.insert(content.to_owned(), id.into());
            }
            Some(kind @ (CONTROL | USER_DEFINED)) => added_tokens.push(json!({
                "id": id,
                "content": content,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": kind == CONTROL,
            })),
            _ => {}
        }
    }
    let merges = list("tokenizer.ggml.merges")?.iter().enumerate();
    let merges = merges
        .map(|(number, merge)| two_tokens(file.name(), number, merge.as_str().unwrap_or_default()));
    Ok(Some(Vocabulary {
        vocab: vocab.into(),
        merges: merges.collect::<Result<_>>()?,
        added_tokens,
    }))
}
