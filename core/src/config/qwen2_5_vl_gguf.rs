//! Qwen2.5-VL's configs from llama.cpp's GGUF files, in transformers' form.
//!
//! Numbers come from the metadata and the shapes of tensors; those that neither holds are the
//! published models' (`configs/qwen2.5-vl-gguf.json`), as are those of keys that older converters did
//! not write. Without a vision file (`mmproj`) the language model reads text alone. Source:
//! `convert_hf_to_gguf.py` of llama.cpp.

use serde::Deserialize;
use serde_json::{Value, json};

use super::checks::parse;
use super::gguf_keys;
use crate::error::{Error, Result};
use crate::weights::Weights;
use crate::weights::gguf::MetaValue;

/// `clip.projector_type` of Qwen2.5-VL.
const PROJECTOR: &str = "qwen2.5vl_merger";

/// Numbers that both published sizes share, for keys that are missing.
mod published {
    pub(super) const ROPE_THETA: f64 = 1e6;
    pub(super) const RMS_NORM_EPS: f64 = 1e-6;
    pub(super) const CONTEXT: u64 = 128_000;
    pub(super) const VISION_HEADS: u64 = 16;
    pub(super) const PATCH_SIZE: u64 = 14;
    /// Every eighth block looks at the whole frame.
    pub(super) const PATTERN: u64 = 8;
}

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
    /// Reads the language model's and the vision part's files, opened as one set. Keys that are not known
    /// go to `warnings`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key, [`Error::MissingTensor`] the tensor that is missing.
    pub fn read(weights: &Weights, warnings: &mut Vec<String>) -> Result<Self> {
        const FILE: &str = "qwen2.5-vl-gguf.json";
        let mut json: Self = parse(FILE, include_bytes!("../../configs/qwen2.5-vl-gguf.json"))?;
        gguf_keys::check(weights, warnings)?;
        let files = Files(weights);
        merge(&mut json.config, files.language_model()?);
        if weights.contains(PATCHES) {
            files.check_projector()?;
            merge(&mut json.config["vision_config"], files.vision()?);
            json.preprocessor = files.preprocessor()?;
        } else {
            let width = json.config["hidden_size"].clone();
            json.config["vision_config"]["out_hidden_size"] = width;
            json.preprocessor = json!({});
        }
        let eos = match files.optional("tokenizer.ggml.eos_token_id", Files::number)? {
            Some(eos) => eos,
            None => files.token("<|im_end|>")? as u64,
        };
        let pad = files.number("tokenizer.ggml.padding_token_id").ok();
        let ends = [Some(eos), pad].into_iter().flatten();
        merge(
            &mut json.generation,
            json!({"eos_token_id": ends.collect::<Vec<_>>(), "pad_token_id": pad}),
        );
        Ok(json)
    }
}

/// The tensor that every vision part has.
const PATCHES: &str = "visual.patch_embed.proj.weight";

/// Puts the keys of one object into another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// Of a head's pairs a quarter turns with time, three eighths each with height and width: 16, 24 and
/// 24 of the published heads of 128.
fn published_sections(hidden_size: u64, heads: u64) -> Vec<Value> {
    let pairs = hidden_size / heads.max(1) / 2;
    [pairs / 4, pairs * 3 / 8, pairs * 3 / 8]
        .map(Value::from)
        .into()
}

/// The metadata of all files, and the shapes of their tensors.
struct Files<'a>(&'a Weights);

impl Files<'_> {
    fn language_model(&self) -> Result<Value> {
        let [vocab_size, _] = self.matrix("model.embed_tokens.weight")?;
        let (hidden_size, heads) = (
            self.number("qwen2vl.embedding_length")?,
            self.number("qwen2vl.attention.head_count")?,
        );
        // A fourth, of zeros, is for other models.
        let sections = match self.optional("qwen2vl.rope.dimension_sections", Self::numbers)? {
            Some(sections) => sections.into_iter().take(3).collect(),
            None => published_sections(hidden_size, heads),
        };
        let real = |key, published| {
            let value = self.optional(key, Self::real)?;
            Ok::<f64, Error>(value.unwrap_or(published))
        };
        let context = self.optional("qwen2vl.context_length", Self::number)?;
        Ok(json!({
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "intermediate_size": self.number("qwen2vl.feed_forward_length")?,
            "num_hidden_layers": self.number("qwen2vl.block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": self.number("qwen2vl.attention.head_count_kv")?,
            "max_position_embeddings": context.unwrap_or(published::CONTEXT),
            "rms_norm_eps": real(
                "qwen2vl.attention.layer_norm_rms_epsilon",
                published::RMS_NORM_EPS,
            )?,
            "rope_theta": real("qwen2vl.rope.freq_base", published::ROPE_THETA)?,
            "rope_scaling": {"mrope_section": Value::Array(sections)},
            "tie_word_embeddings": !self.0.contains("lm_head.weight"),
            "image_token_id": self.token("<|image_pad|>")?,
            "video_token_id": self.token("<|video_pad|>")?,
            "vision_start_token_id": self.token("<|vision_start|>")?,
        }))
    }

    /// A file without the key was made by an older converter; Qwen2-VL, which it also knew, has no
    /// gates in its vision part.
    fn check_projector(&self) -> Result<()> {
        const KEY: &str = "clip.projector_type";
        const GATE: &str = "visual.blocks.0.mlp.gate_proj.weight";
        match self.optional(KEY, Self::value)?.map(MetaValue::as_str) {
            Some(Some(PROJECTOR)) => Ok(()),
            None if self.0.contains(GATE) => Ok(()),
            Some(Some(other)) => {
                let reason = format!("{KEY} is {other}, not {PROJECTOR}");
                Err(Error::config(self.0.label(), reason))
            }
            _ => Err(self.bad(KEY, "is missing, and this is no vision part of Qwen2.5-VL")),
        }
    }

    fn preprocessor(&self) -> Result<Value> {
        let mut preprocessor = json!({});
        for key in ["image_mean", "image_std"] {
            if let Some(values) = self.optional(&format!("clip.vision.{key}"), Self::numbers)? {
                preprocessor[key] = Value::Array(values);
            }
        }
        Ok(preprocessor)
    }

    /// The blocks of the vision part that look at the whole frame.
    fn whole_frame_blocks(&self, depth: u64) -> Result<Vec<Value>> {
        const LIST: &str = "clip.vision.fullatt_block_indexes";
        let pattern = self.optional("clip.vision.n_wa_pattern", Self::number)?;
        if let (None, Some(list)) = (pattern, self.optional(LIST, Self::numbers)?) {
            return Ok(list);
        }
        let pattern = pattern.unwrap_or(published::PATTERN).max(1);
        let whole = (1..=depth).filter(|block| block.is_multiple_of(pattern));
        Ok(whole.map(|block| (block - 1).into()).collect())
    }

    /// Sizes are those of tensors: some files have 0 in their metadata instead.
    fn vision(&self) -> Result<Value> {
        let [hidden_size, pixels] = self.matrix("visual.patch_embed.proj.weight")?;
        let [intermediate_size, _] = self.matrix("visual.blocks.0.mlp.up_proj.weight")?;
        let [out_hidden_size, _] = self.matrix("visual.merger.mlp.2.weight")?;
        let number = |key: &str, published| {
            let value = self.optional(&format!("clip.vision.{key}"), Self::number)?;
            Ok::<u64, Error>(value.unwrap_or(published))
        };
        let blocks = self.vision_blocks();
        let depth = number("block_count", blocks)?;
        if depth > blocks {
            let reason = format!("clip.vision.block_count is {depth}, there are {blocks} blocks");
            return Err(Error::config(self.0.label(), reason));
        }
        let patch_size = number("patch_size", published::PATCH_SIZE)?;
        // Red, green and blue of both frames.
        let (in_channels, temporal_patch_size) = (3, 2);
        let expected = patch_size
            .checked_mul(patch_size)
            .and_then(|pixels| pixels.checked_mul(in_channels * temporal_patch_size));
        if expected != Some(pixels as u64) {
            let reason = format!("patches of {patch_size} pixels can't have {pixels} numbers");
            return Err(Error::config(self.0.label(), reason));
        }
        let mut vision = json!({
            "depth": depth,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_heads": number("attention.head_count", published::VISION_HEADS)?,
            "in_channels": in_channels,
            "patch_size": patch_size,
            "temporal_patch_size": temporal_patch_size,
            "out_hidden_size": out_hidden_size,
            "fullatt_block_indexes": self.whole_frame_blocks(depth)?,
        });
        for key in ["spatial_merge_size", "window_size"] {
            if let Ok(size) = self.number(&format!("clip.vision.{key}")) {
                vision[key] = size.into();
            }
        }
        Ok(vision)
    }

    /// How many blocks the vision part has tensors of.
    fn vision_blocks(&self) -> u64 {
        let numbers = self.0.names().filter_map(|name| {
            let rest = name.strip_prefix("visual.blocks.")?;
            rest.split('.').next()?.parse::<u64>().ok()
        });
        numbers.max().map_or(0, |last| last.saturating_add(1))
    }

    /// What a key says where it is there.
    fn optional<'a, T>(
        &'a self,
        key: &str,
        read: impl Fn(&'a Self, &str) -> Result<T>,
    ) -> Result<Option<T>> {
        match self.value(key) {
            Ok(_) => read(self, key).map(Some),
            Err(_) => Ok(None),
        }
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
