//! MiniCPM-o 2.6's configs (`config.json`, `preprocessor_config.json`).
//!
//! The decoder's numbers are Qwen2's, at the top level; the towers have objects of their own.
//! Missing keys take the defaults of the published `configuration_minicpm.py` and of transformers
//! 4.49. Not read: `tts_config` (speech output), and switches for streaming.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Qwen2Config;
use super::checks::{check, check_eps, check_heads, check_sizes, from_value};
use super::keys::{Key, check_keys};
use super::limits::{COUNT, HEADS, LAYERS, POSITIONS, SIDE, WIDTH, check_limits};
use super::rope::{needs_theta, read_rope};
use super::transformers::{ANY, DECODER, check_decoder};
use crate::error::Result;

/// Channels of one head of the resampler; the published code has it in words.
pub const RESAMPLER_HEAD_DIM: usize = 128;
/// Seconds of a block of sound; clips have 30.
const LONGEST_CHUNK: f64 = 3600.0;

/// Sizes of the multimodal LLM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MiniCpmOConfig {
    /// The decoder, whose numbers stand beside these; its width is a multiple of 128, the width of
    /// the resampler's heads.
    #[serde(flatten)]
    pub decoder: Qwen2Config,
    /// Tokens of one view of an image.
    #[serde(default = "default_query_num")]
    pub query_num: usize,
    /// True when the vision tower's last layer is not run.
    #[serde(default = "default_drop")]
    pub drop_vision_last_layer: bool,
    /// The most views that run at once.
    #[serde(default = "default_vision_batch")]
    pub vision_batch_size: usize,
    /// Frames of the audio tower that become one token.
    #[serde(default = "default_pool_step")]
    pub audio_pool_step: usize,
    /// Seconds that a frame of sound hears ahead, in blocks; all of the clip where it is not above 0.
    #[serde(default = "default_chunk_length")]
    pub audio_chunk_length: f64,
    /// How images are sliced.
    #[serde(default = "unsliced")]
    pub slice_config: SliceConfig,
    /// The vision tower.
    #[serde(default = "so400m")]
    pub vision_config: SiglipConfig,
    /// The audio tower.
    #[serde(default)]
    pub audio_config: WhisperConfig,
}

/// How a large image becomes several views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SliceConfig {
    /// The most slices beside the whole image.
    pub max_slice_nums: usize,
    /// A view has about this many pixels squared.
    pub scale_resolution: usize,
}

impl Default for SliceConfig {
    fn default() -> Self {
        Self {
            max_slice_nums: 9,
            scale_resolution: 448,
        }
    }
}

/// Sizes of the vision tower (SigLIP, with positions for images of any shape).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SiglipConfig {
    /// Width.
    pub hidden_size: usize,
    /// Width inside an MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Colour channels.
    pub num_channels: usize,
    /// Pixels of the side whose patches have positions of their own.
    pub image_size: usize,
    /// Pixels of a patch's side.
    pub patch_size: usize,
    /// Epsilon of every LayerNorm.
    pub layer_norm_eps: f64,
}

impl Default for SiglipConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 16,
            layer_norm_eps: 1e-6,
        }
    }
}

impl SiglipConfig {
    /// Positions along one side.
    pub fn positions(&self) -> usize {
        self.image_size / self.patch_size
    }
}

/// Sizes of the audio tower (Whisper's encoder).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhisperConfig {
    /// Width.
    pub d_model: usize,
    /// Layers.
    pub encoder_layers: usize,
    /// Heads.
    pub encoder_attention_heads: usize,
    /// Width inside an MLP; four times `d_model`.
    pub encoder_ffn_dim: usize,
    /// Bins of the mel spectrogram.
    pub num_mel_bins: usize,
    /// Frames that have positions, 50 a second; longer sounds are heard in clips.
    pub max_source_positions: usize,
}

impl Default for WhisperConfig {
    fn default() -> Self {
        Self {
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            num_mel_bins: 80,
            max_source_positions: 1500,
        }
    }
}

fn default_query_num() -> usize {
    64
}

fn default_drop() -> bool {
    true
}

fn default_vision_batch() -> usize {
    16
}

fn default_pool_step() -> usize {
    2
}

fn default_chunk_length() -> f64 {
    1.0
}

fn unsliced() -> SliceConfig {
    SliceConfig {
        max_slice_nums: 1,
        ..SliceConfig::default()
    }
}

/// SigLIP-SO400M at 980 pixels: what a config without a `vision_config` means.
fn so400m() -> SiglipConfig {
    SiglipConfig {
        hidden_size: 1152,
        intermediate_size: 4304,
        num_hidden_layers: 27,
        num_attention_heads: 16,
        image_size: 980,
        patch_size: 14,
        ..SiglipConfig::default()
    }
}

/// Keys of `config.json` beside the decoder's.
const KEYS: &[(&str, Key)] = &[
    ("query_num", Key::Read),
    ("drop_vision_last_layer", Key::Read),
    ("vision_batch_size", Key::Read),
    ("audio_pool_step", Key::Read),
    ("audio_chunk_length", Key::Read),
    ("slice_config", Key::Read),
    ("vision_config", Key::Read),
    ("audio_config", Key::Read),
    // X2I's script shows one view, with the ids that its training had.
    ("batch_vision_input", Key::Idle),
    ("chunk_input", Key::Idle),
    ("image_size", Key::Idle),
    ("patch_size", Key::Idle),
    ("slice_mode", Key::Idle),
    ("stream_input", Key::Idle),
    ("use_image_id", Key::Idle),
    // Which parts the published code loads; here the tensors tell.
    ("init_audio", Key::Idle),
    ("init_tts", Key::Idle),
    ("init_vision", Key::Idle),
    ("listen_speak_type", Key::Idle),
    ("tts_config", Key::Idle),
    ("version", Key::Idle),
];

/// Keys of `slice_config`.
const SLICE_KEYS: &[(&str, Key)] = &[
    ("max_slice_nums", Key::Read),
    ("scale_resolution", Key::Read),
    ("patch_size", Key::Idle),
];

/// Keys of `vision_config`.
const VISION_KEYS: &[(&str, Key)] = &[
    ("hidden_size", Key::Read),
    ("intermediate_size", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_channels", Key::Read),
    ("image_size", Key::Read),
    ("patch_size", Key::Read),
    ("layer_norm_eps", Key::Read),
    ("hidden_act", Key::Word(&["gelu_pytorch_tanh"])),
    ("vision_use_head", Key::Idle),
];

/// Keys of `audio_config`. Whisper's decoder is not there.
const AUDIO_KEYS: &[(&str, Key)] = &[
    ("d_model", Key::Read),
    ("encoder_layers", Key::Read),
    ("encoder_attention_heads", Key::Read),
    ("encoder_ffn_dim", Key::Read),
    ("num_mel_bins", Key::Read),
    ("max_source_positions", Key::Read),
    ("activation_function", Key::Word(&["gelu"])),
    ("scale_embedding", Key::Off),
    ("activation_dropout", Key::Idle),
    ("apply_spec_augment", Key::Idle),
    ("classifier_proj_size", Key::Idle),
    ("decoder_attention_heads", Key::Idle),
    ("decoder_ffn_dim", Key::Idle),
    ("decoder_layerdrop", Key::Idle),
    ("decoder_layers", Key::Idle),
    ("encoder_layerdrop", Key::Idle),
    ("init_std", Key::Idle),
    ("mask_feature_length", Key::Idle),
    ("mask_feature_min_masks", Key::Idle),
    ("mask_feature_prob", Key::Idle),
    ("mask_time_length", Key::Idle),
    ("mask_time_min_masks", Key::Idle),
    ("mask_time_prob", Key::Idle),
    ("max_target_positions", Key::Idle),
    ("median_filter_width", Key::Idle),
    ("num_hidden_layers", Key::Idle),
    ("use_weighted_layer_sum", Key::Idle),
    ("vocab_size", Key::Idle),
];

impl MiniCpmOConfig {
    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that is missing or can't be.
    pub fn from_json(file: &str, json: Value) -> Result<Self> {
        Self::read(file, json, &mut vec![])
    }

    /// The same; keys that are not known go to `warnings`.
    pub(super) fn read(file: &str, mut json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        check_keys(file, "", &json, &[KEYS, DECODER, ANY], warnings)?;
        for (key, keys) in [
            ("slice_config", SLICE_KEYS),
            ("vision_config", VISION_KEYS),
            ("audio_config", AUDIO_KEYS),
        ] {
            let part = json.get(key).unwrap_or(&Value::Null);
            check_keys(file, &format!("{key}."), part, &[keys, ANY], warnings)?;
        }
        if let Some(config) = json.as_object_mut() {
            read_rope(file, "", config)?;
        }
        check_decoder(file, "", &json)?;
        needs_theta(file, "", &json)?;
        let config: Self = from_value(file, json)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Layers of the vision tower that run.
    pub fn vision_layers(&self) -> usize {
        self.vision_config.num_hidden_layers - usize::from(self.drop_vision_last_layer)
    }

    /// Frames of the audio tower in a block; none where a frame hears its whole clip.
    pub fn audio_chunk_frames(&self) -> Option<usize> {
        let frames = (self.audio_chunk_length * 50.0) as usize;
        (frames > 0).then_some(frames)
    }

    pub(super) fn validate(&self, file: &str) -> Result<()> {
        self.decoder.validate(file, "")?;
        let sizes = [
            ("query_num", self.query_num),
            ("vision_batch_size", self.vision_batch_size),
            ("audio_pool_step", self.audio_pool_step),
            (
                "slice_config.max_slice_nums",
                self.slice_config.max_slice_nums,
            ),
            (
                "slice_config.scale_resolution",
                self.slice_config.scale_resolution,
            ),
        ];
        check_sizes(file, "", &sizes)?;
        let limits = [
            ("query_num", self.query_num, SIDE),
            ("vision_batch_size", self.vision_batch_size, COUNT),
            ("audio_pool_step", self.audio_pool_step, COUNT),
            (
                "slice_config.max_slice_nums",
                self.slice_config.max_slice_nums,
                COUNT,
            ),
            (
                "slice_config.scale_resolution",
                self.slice_config.scale_resolution,
                SIDE,
            ),
        ];
        check_limits(file, "", &limits)?;
        let last = usize::from(self.drop_vision_last_layer);
        check(file, self.vision_config.num_hidden_layers >= last, || {
            "drop_vision_last_layer is true, but vision_config.num_hidden_layers is 0".into()
        })?;
        let width = self.decoder.hidden_size;
        check(file, width.is_multiple_of(RESAMPLER_HEAD_DIM), || {
            format!(
                "hidden_size {width} is no multiple of the resampler's head of {RESAMPLER_HEAD_DIM}"
            )
        })?;
        let seconds = self.audio_chunk_length;
        check(
            file,
            seconds.is_finite() && seconds <= LONGEST_CHUNK,
            || format!("audio_chunk_length {seconds} must be a number of at most {LONGEST_CHUNK}"),
        )?;
        self.vision_config.validate(file)?;
        self.audio_config.validate(file)
    }
}

impl SiglipConfig {
    fn validate(&self, file: &str) -> Result<()> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("patch_size", self.patch_size),
        ];
        check_sizes(file, "vision_config.", &sizes)?;
        let limits = [
            ("hidden_size", self.hidden_size, WIDTH),
            ("intermediate_size", self.intermediate_size, WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, LAYERS),
            ("num_attention_heads", self.num_attention_heads, HEADS),
            ("image_size", self.image_size, SIDE),
            ("patch_size", self.patch_size, COUNT),
        ];
        check_limits(file, "vision_config.", &limits)?;
        check(file, self.num_channels == 3, || {
            format!(
                "vision_config.num_channels {} must be 3: pictures are RGB",
                self.num_channels
            )
        })?;
        check_eps(file, "vision_config.layer_norm_eps", self.layer_norm_eps)?;
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        check_heads(file, "vision_config.hidden_size", width, heads)?;
        check(file, self.positions() > 0, || {
            format!(
                "vision_config.image_size {} is smaller than a patch",
                self.image_size
            )
        })
    }
}

impl WhisperConfig {
    fn validate(&self, file: &str) -> Result<()> {
        let sizes = [
            ("d_model", self.d_model),
            ("encoder_layers", self.encoder_layers),
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("num_mel_bins", self.num_mel_bins),
            ("max_source_positions", self.max_source_positions),
        ];
        check_sizes(file, "audio_config.", &sizes)?;
        let limits = [
            ("d_model", self.d_model, WIDTH),
            ("encoder_layers", self.encoder_layers, LAYERS),
            (
                "encoder_attention_heads",
                self.encoder_attention_heads,
                HEADS,
            ),
            ("num_mel_bins", self.num_mel_bins, COUNT),
            ("max_source_positions", self.max_source_positions, POSITIONS),
        ];
        check_limits(file, "audio_config.", &limits)?;
        let (width, heads) = (self.d_model, self.encoder_attention_heads);
        check_heads(file, "audio_config.d_model", width, heads)?;
        // The published projection takes a quarter of the MLP's width for the tower's.
        let inner = self.encoder_ffn_dim;
        check(file, width.checked_mul(4) == Some(inner), || {
            format!("audio_config.encoder_ffn_dim {inner} is not 4 x d_model {width}")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The numbers of MiniCPM-o 2.6, as its published code (the SigLIP) and other runtimes of it name
    /// them. The published `config.json` could not be read: `drop_vision_last_layer`, `rms_norm_eps`
    /// and `slice_config` are those of its siblings.
    const PUBLISHED: &str = include_str!("../../configs/minicpm-o-2.6.json");

    fn published() -> Value {
        serde_json::from_str(PUBLISHED).unwrap()
    }

    #[test]
    fn the_published_numbers_are_read() {
        let config = MiniCpmOConfig::from_json("minicpm-o-2.6.json", published()).unwrap();
        assert_eq!(
            (config.decoder.head_dim(), config.decoder.num_hidden_layers),
            (128, 28)
        );
        assert_eq!(
            (config.vision_config.positions(), config.vision_layers()),
            (70, 27)
        );
        assert_eq!(config.vision_config, so400m());
        assert_eq!(config.audio_config.d_model, 1024);
        assert_eq!(config.audio_chunk_frames(), Some(50));
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(MiniCpmOConfig::from_json("again", again).unwrap(), config);
    }

    #[test]
    fn numbers_that_can_not_be_are_named() {
        let broken = |key: &str, value: Value| {
            let mut json = published();
            match key.split_once('.') {
                Some((object, key)) => json[object][key] = value,
                None => json[key] = value,
            }
            let error = MiniCpmOConfig::from_json("m/config.json", json).unwrap_err();
            error.to_string()
        };
        for (key, value, message) in [
            ("hidden_size", json!(3600), "hidden_size 3600"),
            ("query_num", json!(0), "query_num is 0"),
            (
                "num_key_value_heads",
                json!(5),
                "num_attention_heads 28 can't share 5 key/value heads",
            ),
            (
                "use_sliding_window",
                json!(true),
                "use_sliding_window is not supported",
            ),
            (
                "rope_scaling",
                json!({ "type": "yarn" }),
                "rope_scaling.type `yarn` is not supported",
            ),
            (
                "vision_config.num_attention_heads",
                json!(7),
                "vision_config.hidden_size 1152",
            ),
            (
                "vision_config.num_channels",
                json!(1),
                "vision_config.num_channels 1 must be 3",
            ),
            (
                "audio_config.encoder_ffn_dim",
                json!(1024),
                "audio_config.encoder_ffn_dim 1024",
            ),
            (
                "audio_config.max_source_positions",
                json!(0),
                "audio_config.max_source_positions is 0",
            ),
        ] {
            let error = broken(key, value);
            assert!(
                error.starts_with(&format!("m/config.json: {message}")),
                "{error}"
            );
        }
    }
}
