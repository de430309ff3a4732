//! Qwen2.5-VL's configs (`config.json`, `preprocessor_config.json`, `generation_config.json`).
//!
//! Keys that `save_pretrained` omits take transformers' defaults; newer files that nest the
//! decoder's numbers under `text_config` are read too.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Qwen2Config;
use super::checks::{check, check_sizes, from_value};
use crate::error::Result;

/// Sizes of the multimodal LLM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Qwen2_5VlConfig {
    /// The decoder, whose numbers stand beside these.
    #[serde(flatten)]
    pub decoder: Qwen2Config,
    /// Frequencies turned by temporal, row and column ids.
    pub rope_scaling: RopeScaling,
    /// Placeholder of an image's tokens.
    pub image_token_id: u32,
    /// Placeholder of a video's tokens.
    pub video_token_id: u32,
    /// Opens an image or a video.
    pub vision_start_token_id: u32,
    /// The vision tower.
    pub vision_config: VisionConfig,
}

/// The part of `rope_scaling` that matters here; its `type` says `mrope` or `default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RopeScaling {
    /// Frequencies of the temporal, row and column ids; half a head in all.
    pub mrope_section: Vec<usize>,
}

/// Sizes of the vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Blocks.
    pub depth: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width inside an MLP.
    pub intermediate_size: usize,
    /// Heads.
    pub num_heads: usize,
    /// Colour channels; published files say `in_chans`.
    #[serde(alias = "in_chans")]
    pub in_channels: usize,
    /// Pixels of a patch's side.
    pub patch_size: usize,
    /// Patches of a side that the merger makes one token.
    pub spatial_merge_size: usize,
    /// Frames of one patch.
    pub temporal_patch_size: usize,
    /// Pixels of a window's side.
    pub window_size: usize,
    /// Width of the decoder.
    pub out_hidden_size: usize,
    /// Blocks that look at the whole frame.
    pub fullatt_block_indexes: Vec<usize>,
    /// Temporal ids of one second of video.
    pub tokens_per_second: usize,
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            depth: 32,
            hidden_size: 3584,
            intermediate_size: 3420,
            num_heads: 16,
            in_channels: 3,
            patch_size: 14,
            spatial_merge_size: 2,
            temporal_patch_size: 2,
            window_size: 112,
            out_hidden_size: 3584,
            fullatt_block_indexes: vec![7, 15, 23, 31],
            tokens_per_second: 4,
        }
    }
}

/// How images become patches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PreprocessorConfig {
    /// The fewest pixels after resizing.
    pub min_pixels: usize,
    /// The most pixels after resizing.
    pub max_pixels: usize,
    /// Subtracted from each channel in 0..1; MiniCPM-o's files say `norm_mean`.
    #[serde(alias = "norm_mean")]
    pub image_mean: [f64; 3],
    /// Each channel is divided by this; MiniCPM-o's files say `norm_std`.
    #[serde(alias = "norm_std")]
    pub image_std: [f64; 3],
}

impl Default for PreprocessorConfig {
    fn default() -> Self {
        Self {
            min_pixels: 56 * 56,
            max_pixels: 28 * 28 * 16384,
            image_mean: [0.48145466, 0.4578275, 0.40821073],
            image_std: [0.26862954, 0.26130258, 0.27577711],
        }
    }
}

/// How the LLM answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationConfig {
    /// Sample instead of taking the likeliest token.
    pub do_sample: bool,
    /// Divides the logits.
    pub temperature: f64,
    /// Keeps the likeliest tokens up to this probability.
    pub top_p: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Divides (or multiplies) the logits of tokens seen before.
    pub repetition_penalty: f64,
    /// Tokens that end the answer.
    #[serde(deserialize_with = "one_or_many")]
    pub eos_token_id: Vec<u32>,
    /// Token that fills short sequences.
    pub pad_token_id: Option<u32>,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            do_sample: false,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 50,
            repetition_penalty: 1.0,
            eos_token_id: vec![],
            pad_token_id: None,
        }
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(u32),
        Many(Vec<u32>),
    }
    Ok(match Option::<OneOrMany>::deserialize(deserializer)? {
        None => vec![],
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
    })
}

/// Defaults of `Qwen2_5_VLConfig`, which `save_pretrained` omits; Qwen2's own are other numbers.
const LEFT_OUT: [(&str, f64); 2] = [("rms_norm_eps", 1e-5), ("rope_theta", 1_000_000.0)];

impl Qwen2_5VlConfig {
    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that is missing or can't be.
    pub fn from_json(file: &str, mut json: Value) -> Result<Self> {
        // transformers >= 4.52 nests the decoder's numbers; lift them to where 4.49 has them.
        let nested = json.get("text_config").and_then(Value::as_object).cloned();
        if let Some(top) = json.as_object_mut() {
            let left_out = LEFT_OUT.map(|(key, value)| (key.to_owned(), value.into()));
            for (key, value) in nested.into_iter().flatten().chain(left_out) {
                top.entry(key).or_insert(value);
            }
        }
        let config: Self = from_value(file, json)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that can't be.
    pub(super) fn validate(&self, file: &str) -> Result<()> {
        self.decoder.validate(file, "")?;
        let section = &self.rope_scaling.mrope_section;
        check(
            file,
            section.len() == 3 && section.iter().sum::<usize>() * 2 == self.decoder.head_dim(),
            || {
                format!(
                    "mrope_section {section:?} must be three numbers that add up to half of the head's {}",
                    self.decoder.head_dim()
                )
            },
        )?;
        self.vision_config.validate(file, self.decoder.hidden_size)
    }
}

impl VisionConfig {
    fn validate(&self, file: &str, decoder_width: usize) -> Result<()> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_heads", self.num_heads),
            ("in_channels", self.in_channels),
            ("patch_size", self.patch_size),
            ("spatial_merge_size", self.spatial_merge_size),
            ("temporal_patch_size", self.temporal_patch_size),
        ];
        check_sizes(file, "vision_config.", &sizes)?;
        check(
            file,
            self.hidden_size.is_multiple_of(self.num_heads * 4),
            || {
                format!(
                    "vision_config.hidden_size {} can't be split into {} heads of a multiple of 4",
                    self.hidden_size, self.num_heads
                )
            },
        )?;
        check(
            file,
            self.window_size >= self.patch_size * self.spatial_merge_size,
            || {
                format!(
                    "vision_config.window_size {} is smaller than one merged patch",
                    self.window_size
                )
            },
        )?;
        check(file, self.out_hidden_size == decoder_width, || {
            format!(
                "vision_config.out_hidden_size {} differs from hidden_size {decoder_width}",
                self.out_hidden_size
            )
        })
    }
}
