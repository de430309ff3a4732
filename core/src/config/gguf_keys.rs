//! What the metadata of a GGUF language model means here, so that no key changes the mathematics unheard.
//!
//! Source: `gguf-py/gguf/constants.py` of llama.cpp. As in [`keys`](super::keys), a key is read, changes
//! nothing, or has to say what the graph does; of others a warning is made. Left out: the tokenizer's keys,
//! which `tokenizer/gguf.rs` reads.

use serde_json::Value;

use super::keys::{Key, Keys, check_keys};
use crate::error::{Error, Result};
use crate::weights::gguf::MetaValue;
use crate::weights::{WeightFile, Weights};

/// Keys after `qwen2vl.`.
const LANGUAGE: &[(&str, Key)] = &[
    ("block_count", Key::Read),
    ("context_length", Key::Read),
    ("embedding_length", Key::Read),
    ("feed_forward_length", Key::Read),
    ("attention.head_count", Key::Read),
    ("attention.head_count_kv", Key::Read),
    ("attention.layer_norm_rms_epsilon", Key::Read),
    ("rope.dimension_sections", Key::Read),
    ("rope.freq_base", Key::Read),
    // These two are compared with the width of a head.
    ("attention.key_length", Key::Read),
    ("attention.value_length", Key::Read),
    ("rope.dimension_count", Key::Read),
    ("vocab_size", Key::Idle),
    ("rope.scaling.original_context_length", Key::Idle),
    ("rope.scaling.finetuned", Key::Idle),
    (
        "rope.scaling.type",
        Key::Word(&["none", "mrope", "default"]),
    ),
    ("rope.scaling.factor", Key::Number(1.0)),
    ("rope.scaling.attn_factor", Key::Number(1.0)),
    ("rope.scale_linear", Key::Number(1.0)),
    ("attention.causal", Key::On),
    ("attention.clamp_kqv", Key::Off),
    ("attention.max_alibi_bias", Key::Off),
    ("attention.scale", Key::Off),
    ("attention.sliding_window", Key::Off),
    ("attn_logit_softcapping", Key::Off),
    ("final_logit_softcapping", Key::Off),
    ("embedding_scale", Key::Number(1.0)),
    ("residual_scale", Key::Number(1.0)),
    ("logit_scale", Key::Number(1.0)),
    ("expert_count", Key::Off),
    ("expert_used_count", Key::Off),
    ("n_deepstack_layers", Key::Off),
    ("pooling_type", Key::Idle),
    ("use_parallel_residual", Key::Off),
];

/// Keys after `general.`: what a file is. The others describe it.
const GENERAL: &[(&str, Key)] = &[(
    "type",
    Key::Word(&["model", "mmproj", "clip-vision", "projector"]),
)];

/// Checks the metadata of all files of a language model with its vision part.
///
/// # Errors
/// [`Error::Config`] naming the file and the key that says what is not computed here.
pub(super) fn check(weights: &Weights, warnings: &mut Vec<String>) -> Result<()> {
    for file in weights.files() {
        let keys: &Keys = &[LANGUAGE];
        check_keys(
            file.name(),
            "qwen2vl.",
            &under(file, "qwen2vl."),
            keys,
            warnings,
        )?;
        // Whatever else describes a file is no warning.
        let keys: &Keys = &[GENERAL];
        check_keys(
            file.name(),
            "general.",
            &under(file, "general."),
            keys,
            &mut vec![],
        )?;
        check_heads(file)?;
    }
    Ok(())
}

/// The values of the keys that begin so; lists are left out, since none of them has a meaning here.
fn under(file: &WeightFile, prefix: &str) -> Value {
    let values = file.metadata().iter().filter_map(|(key, value)| {
        let value = match value {
            MetaValue::Bool(on) => Value::from(*on),
            MetaValue::Array(..) => Value::Null,
            value => match (value.as_str(), value.as_f64()) {
                (Some(text), _) => Value::from(text),
                (None, number) => number.map_or(Value::Null, Value::from),
            },
        };
        Some((key.strip_prefix(prefix)?.to_owned(), value))
    });
    Value::Object(values.collect())
}

/// Heads that are as wide as the model divided by their number, and turn as a whole.
fn check_heads(file: &WeightFile) -> Result<()> {
    let number = |key: &str| {
        let value = file.metadata_value(&format!("qwen2vl.{key}"));
        value.and_then(MetaValue::as_u64)
    };
    let (Some(width), Some(heads)) = (number("embedding_length"), number("attention.head_count"))
    else {
        return Ok(());
    };
    for key in [
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
    ] {
        if let Some(said) = number(key)
            && said.checked_mul(heads) != Some(width)
        {
            let reason = format!(
                "qwen2vl.{key} {said} is not the width {width} divided by {heads} heads, which is not \
                 supported"
            );
            return Err(Error::config(file.name(), reason));
        }
    }
    Ok(())
}
