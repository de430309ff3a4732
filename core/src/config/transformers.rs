//! The keys of transformers' configs that all families share, and what a decoder makes of them.

use serde_json::Value;

use super::checks::check;
use super::keys::{Key, is_off};
use crate::error::Result;

/// Keys of every config that change nothing: names, versions, training, generation, outputs.
pub(super) const ANY: &[(&str, Key)] = &[
    ("_attn_implementation_autoset", Key::Idle),
    ("_commit_hash", Key::Idle),
    ("_from_model_config", Key::Idle),
    ("_name_or_path", Key::Idle),
    ("add_cross_attention", Key::Off),
    ("architectures", Key::Idle),
    ("attention_dropout", Key::Idle),
    ("attn_implementation", Key::Idle),
    ("_attn_implementation", Key::Idle),
    ("auto_map", Key::Idle),
    ("bad_words_ids", Key::Idle),
    ("begin_suppress_tokens", Key::Idle),
    ("bos_token_id", Key::Idle),
    ("cache_implementation", Key::Idle),
    ("chunk_size_feed_forward", Key::Idle),
    ("cross_attention_hidden_size", Key::Idle),
    ("decoder_start_token_id", Key::Idle),
    ("diversity_penalty", Key::Idle),
    ("do_sample", Key::Idle),
    ("dropout", Key::Idle),
    ("dtype", Key::Idle),
    ("early_stopping", Key::Idle),
    ("encoder_no_repeat_ngram_size", Key::Idle),
    ("eos_token_id", Key::Idle),
    ("exponential_decay_length_penalty", Key::Idle),
    ("finetuning_task", Key::Idle),
    ("forced_bos_token_id", Key::Idle),
    ("forced_eos_token_id", Key::Idle),
    ("id2label", Key::Idle),
    ("initializer_factor", Key::Idle),
    ("initializer_range", Key::Idle),
    ("is_decoder", Key::Idle),
    ("is_encoder_decoder", Key::Off),
    ("label2id", Key::Idle),
    ("length_penalty", Key::Idle),
    ("max_length", Key::Idle),
    ("min_length", Key::Idle),
    ("model_type", Key::Idle),
    ("no_repeat_ngram_size", Key::Idle),
    ("num_beam_groups", Key::Idle),
    ("num_beams", Key::Idle),
    ("num_return_sequences", Key::Idle),
    ("output_attentions", Key::Idle),
    ("output_hidden_states", Key::Idle),
    ("output_scores", Key::Idle),
    ("pad_token_id", Key::Idle),
    ("prefix", Key::Idle),
    ("problem_type", Key::Idle),
    ("pruned_heads", Key::Off),
    // The tensors themselves tell: weights that can't be read are refused by their names.
    ("quantization_config", Key::Idle),
    ("remove_invalid_values", Key::Idle),
    ("repetition_penalty", Key::Idle),
    ("return_dict", Key::Idle),
    ("return_dict_in_generate", Key::Idle),
    ("sep_token_id", Key::Idle),
    ("suppress_tokens", Key::Idle),
    ("task_specific_params", Key::Idle),
    ("temperature", Key::Idle),
    ("tf_legacy_loss", Key::Idle),
    ("tie_encoder_decoder", Key::Off),
    // Of a tower; a decoder reads its own.
    ("tie_word_embeddings", Key::Idle),
    ("tokenizer_class", Key::Idle),
    ("top_k", Key::Idle),
    ("top_p", Key::Idle),
    ("torch_dtype", Key::Idle),
    ("torchscript", Key::Idle),
    ("transformers_version", Key::Idle),
    ("typical_p", Key::Idle),
    ("unsloth_fixed", Key::Idle),
    ("unsloth_version", Key::Idle),
    ("use_bfloat16", Key::Idle),
    ("use_cache", Key::Idle),
    ("use_flash_attn", Key::Idle),
];

/// Keys of Qwen2's decoder.
pub(super) const DECODER: &[(&str, Key)] = &[
    ("vocab_size", Key::Read),
    ("hidden_size", Key::Read),
    ("intermediate_size", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_key_value_heads", Key::Read),
    ("max_position_embeddings", Key::Read),
    ("rms_norm_eps", Key::Read),
    ("rope_theta", Key::Read),
    ("rope_scaling", Key::Read),
    ("rope_parameters", Key::Read),
    ("partial_rotary_factor", Key::Read),
    ("tie_word_embeddings", Key::Read),
    ("use_sliding_window", Key::Read),
    ("sliding_window", Key::Read),
    ("max_window_layers", Key::Read),
    ("layer_types", Key::Read),
    ("head_dim", Key::Read),
    ("hidden_act", Key::Word(&["silu"])),
    ("attention_bias", Key::On),
    ("mlp_bias", Key::Off),
    ("qkv_bias", Key::On),
    ("use_mrope", Key::Idle),
    ("pretraining_tp", Key::Number(1.0)),
];

/// Tokens of a window where Qwen2's config says none.
const DEFAULT_WINDOW: u64 = 4096;

/// Refuses windows that slide where they would cut something, and heads of another width than the
/// decoder's divided by their number.
///
/// # Errors
/// [`crate::Error::Config`] naming the key.
pub(super) fn check_decoder(file: &str, prefix: &str, config: &Value) -> Result<()> {
    let number = |key: &str| config.get(key).and_then(Value::as_u64);
    // As transformers 4.49 decides; a window as long as the longest sequence cuts nothing.
    let switched = config
        .get("use_sliding_window")
        .is_some_and(|on| !is_off(on));
    let layers =
        number("max_window_layers").unwrap_or(0) < number("num_hidden_layers").unwrap_or(0);
    let longest = number("max_position_embeddings").unwrap_or(u64::MAX);
    // A window that is not said is the class's own; null is none.
    let cuts = match config.get("sliding_window") {
        None => DEFAULT_WINDOW < longest,
        Some(window) => window.as_u64().is_some_and(|window| window < longest),
    };
    check(file, !(switched && layers && cuts), || {
        format!("{prefix}use_sliding_window is not supported; the published models have it off")
    })?;
    let kinds = config.get("layer_types").and_then(Value::as_array);
    let slides = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind != "full_attention"));
    check(file, !(slides && cuts), || {
        format!("{prefix}layer_types has windows that slide, which is not supported")
    })?;
    let width = number("hidden_size").zip(number("num_attention_heads"));
    let (Some((width, heads)), Some(head)) = (width, number("head_dim")) else {
        return Ok(());
    };
    check(file, head.checked_mul(heads) == Some(width), || {
        format!("{prefix}head_dim {head} is not hidden_size {width} divided by {heads} heads")
    })
}
