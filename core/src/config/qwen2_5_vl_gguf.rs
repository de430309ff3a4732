//! Qwen2.5-VL's configs from llama.cpp's GGUF files, in transformers' form.
//!
//! Numbers come from the metadata and the shapes of tensors; those that neither holds are the
//! published models' (`configs/qwen2.5-vl-gguf.json`). Source: `convert_hf_to_gguf.py` of
//! llama.cpp.

use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::parse;
use crate::error::{Error, Result};
use crate::weights::Weights;
use crate::weights::gguf::MetaValue;

/// `clip.projector_type` of Qwen2.5-VL.
const PROJECTOR: &str = "qwen2.5vl_merger";

/// `config.json`, `preprocessor_config.json` and `generation_config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Qwen2_5VlGguf {
    /// Sizes.
    pub config: Value,
    /// How images become patches.
    #[serde(default)]
    pub preprocessor: Value,
    /// How the LLM answers.
    pub generation: Value,
}

impl Qwen2_5VlGguf {
    /// Reads the language model's and the vision part's files, opened as one set.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key, [`Error::MissingTensor`] the tensor that is missing.
    pub fn read(weights: &Weights) -> Result<Self> {
        const FILE: &str = "qwen2.5-vl-gguf.json";
        let mut json: Self = parse(FILE, include_bytes!("../../configs/qwen2.5-vl-gguf.json"))?;
        let files = Files(weights);
        match files.value("clip.projector_type")?.as_str() {
            Some(PROJECTOR) => {}
            other => {
                let reason = format!("clip.projector_type is {other:?}, not {PROJECTOR}");
                return Err(Error::config(weights.label(), reason));
            }
        }
        merge(&mut json.config, files.language_model()?);
        merge(&mut json.config["vision_config"], files.vision()?);
        json.preprocessor = json!({
            "image_mean": files.numbers("clip.vision.image_mean")?,
            "image_std": files.numbers("clip.vision.image_std")?,
        });
        let eos = files.number("tokenizer.ggml.eos_token_id")?;
        let pad = files.number("tokenizer.ggml.padding_token_id").ok();
        let ends = [Some(eos), pad].into_iter().flatten();
        merge(
            &mut json.generation,
            json!({"eos_token_id": ends.collect::<Vec<_>>(), "pad_token_id": pad}),
        );
        Ok(json)
    }
}

/// Puts the keys of one object into another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// The metadata of all files, and the shapes of their tensors.
struct Files<'a>(&'a Weights);

impl Files<'_> {
    fn language_model(&self) -> Result<Value> {
        let sections = self.numbers("qwen2vl.rope.dimension_sections")?;
        let [vocab_size, _] = self.matrix("model.embed_tokens.weight")?;
        Ok(json!({
            "vocab_size": vocab_size,
            "hidden_size": self.number("qwen2vl.embedding_length")?,
            "intermediate_size": self.number("qwen2vl.feed_forward_length")?,
            "num_hidden_layers": self.number("qwen2vl.block_count")?,
            "num_attention_heads": self.number("qwen2vl.attention.head_count")?,
            "num_key_value_heads": self.number("qwen2vl.attention.head_count_kv")?,
            "max_position_embeddings": self.number("qwen2vl.context_length")?,
            "rms_norm_eps": self.real("qwen2vl.attention.layer_norm_rms_epsilon")?,
            "rope_theta": self.real("qwen2vl.rope.freq_base")?,
            // A fourth, of zeros, is for other models.
            "rope_scaling": {"mrope_section": sections.iter().take(3).collect::<Vec<_>>()},
            "tie_word_embeddings": !self.0.contains("lm_head.weight"),
            "image_token_id": self.token("<|image_pad|>")?,
            "video_token_id": self.token("<|video_pad|>")?,
            "vision_start_token_id": self.token("<|vision_start|>")?,
        }))
    }

    /// Sizes are those of tensors: some files have 0 in their metadata instead.
    fn vision(&self) -> Result<Value> {
        let [hidden_size, pixels] = self.matrix("visual.patch_embed.proj.weight")?;
        let [intermediate_size, _] = self.matrix("visual.blocks.0.mlp.up_proj.weight")?;
        let [out_hidden_size, _] = self.matrix("visual.merger.mlp.2.weight")?;
        let depth = self.number("clip.vision.block_count")?;
        let patch_size = self.number("clip.vision.patch_size")?;
        // Red, green and blue of both frames.
        let (in_channels, temporal_patch_size) = (3, 2);
        let expected = patch_size
            .checked_mul(patch_size)
            .and_then(|pixels| pixels.checked_mul(in_channels * temporal_patch_size));
        if expected != Some(pixels as u64) {
            let reason = format!("patches of {patch_size} pixels can't have {pixels} numbers");
            return Err(Error::config(self.0.label(), reason));
        }
        // Every so many blocks one looks at the whole frame.
        let pattern = self.number("clip.vision.n_wa_pattern")?.max(1);
        let whole: Vec<u64> = (1..=depth)
            .filter(|block| block.is_multiple_of(pattern))
            .map(|block| block - 1)
            .collect();
        let mut vision = json!({
            "depth": depth,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_heads": self.number("clip.vision.attention.head_count")?,
            "in_channels": in_channels,
            "patch_size": patch_size,
            "temporal_patch_size": temporal_patch_size,
            "out_hidden_size": out_hidden_size,
            "fullatt_block_indexes": whole,
        });
        for key in ["spatial_merge_size", "window_size"] {
            if let Ok(size) = self.number(&format!("clip.vision.{key}")) {
                vision[key] = size.into();
            }
        }
        Ok(vision)
    }

    fn value(&self, key: &str) -> Result<&MetaValue> {
        let mut files = self.0.files().iter();
        files
            .find_map(|file| file.metadata_value(key))
            .ok_or_else(|| self.bad(key, "is missing"))
    }

    fn bad(&self, key: &str, what: &str) -> Error {
        Error::config(self.0.label(), format!("the metadata key `{key}` {what}"))
    }

    fn number(&self, key: &str) -> Result<u64> {
        let number = self.value(key)?.as_u64();
        number.ok_or_else(|| self.bad(key, "is no whole number"))
    }

    fn real(&self, key: &str) -> Result<f64> {
        let number = self.value(key)?.as_f64();
        number.ok_or_else(|| self.bad(key, "is no number"))
    }

    fn numbers(&self, key: &str) -> Result<Vec<Value>> {
        let number = |value: &MetaValue| match value.as_u64() {
            Some(whole) => Some(Value::from(whole)),
            None => value.as_f64().map(Value::from),
        };
        let values = self.value(key)?.as_array().unwrap_or_default();
        let numbers: Option<Vec<Value>> = values.iter().map(number).collect();
        numbers.ok_or_else(|| self.bad(key, "is no list of numbers"))
    }

    /// The id of a token of the vocabulary.
    fn token(&self, token: &str) -> Result<usize> {
        const KEY: &str = "tokenizer.ggml.tokens";
        let tokens = self.value(KEY)?.as_array().unwrap_or_default();
        let mut texts = tokens.iter().map(MetaValue::as_str);
        let id = texts.position(|text| text == Some(token));
        id.ok_or_else(|| self.bad(KEY, &format!("has no {token}")))
    }

    fn matrix(&self, name: &str) -> Result<[usize; 2]> {
        let shape = self.0.shape(name).ok_or_else(|| Error::MissingTensor {
            file: self.0.label().to_owned(),
            name: name.to_owned(),
        })?;
        shape.try_into().map_err(|shape| {
            let reason = format!("tensor `{name}` of shape {shape:?} should be a matrix");
            Error::format(self.0.label(), reason)
        })
    }
}
