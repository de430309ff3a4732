//! Qwen2.5-VL's `config.json`.
//!
//! Keys that `save_pretrained` omits take transformers' defaults; newer files that nest the
//! decoder's numbers under `text_config` are read too.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Qwen2Config;
use super::checks::{check, check_sizes, from_value};
use super::keys::{Key, check_keys, object};
use super::limits::{COUNT, HEADS, LAYERS, SIDE, WIDTH, check_limits};
use super::rope::read_rope;
use super::transformers::{ANY, DECODER, check_decoder};
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

/// Defaults of `Qwen2_5_VLConfig`, which `save_pretrained` omits; Qwen2's own are other numbers.
const LEFT_OUT: [(&str, f64); 2] = [("rms_norm_eps", 1e-5), ("rope_theta", 1_000_000.0)];

/// Keys of `config.json` beside the decoder's.
const KEYS: &[(&str, Key)] = &[
    ("text_config", Key::Read),
    ("vision_config", Key::Read),
    ("image_token_id", Key::Read),
    ("video_token_id", Key::Read),
    ("vision_start_token_id", Key::Read),
    ("vision_end_token_id", Key::Idle),
    ("vision_token_id", Key::Idle),
];

/// Keys of `vision_config`.
const VISION_KEYS: &[(&str, Key)] = &[
    ("depth", Key::Read),
    ("hidden_size", Key::Read),
    ("intermediate_size", Key::Read),
    ("num_heads", Key::Read),
    ("in_channels", Key::Read),
    ("in_chans", Key::Read),
    ("patch_size", Key::Read),
    ("spatial_merge_size", Key::Read),
    ("temporal_patch_size", Key::Read),
    ("window_size", Key::Read),
    ("out_hidden_size", Key::Read),
    ("fullatt_block_indexes", Key::Read),
    ("tokens_per_second", Key::Read),
    ("hidden_act", Key::Word(&["silu"])),
    ("spatial_patch_size", Key::Idle),
];

/// The key of [`RopeScaling`] that is read.
const SECTION: &str = "mrope_section";

/// Where transformers from 4.52 on nests the decoder's numbers, they are lifted to where 4.49 has them.
///
/// # Errors
/// [`crate::Error::Config`] for a number that is in both places and differs.
fn lift(file: &str, top: &mut Map<String, Value>, nested: Map<String, Value>) -> Result<()> {
    for (key, value) in nested {
        let read = DECODER.iter().any(|(name, _)| *name == key);
        match top.get(&key).filter(|above| !above.is_null()) {
            // The library ties weights by the key above.
            Some(above) if read && key != "tie_word_embeddings" => {
                let same = match (above.as_f64(), value.as_f64()) {
                    (Some(above), Some(value)) => above == value,
                    _ if key == "rope_scaling" => above.get(SECTION) == value.get(SECTION),
                    _ => *above == value || value.is_null(),
                };
                check(file, same, || {
                    format!("{key} {above} differs from text_config.{key} {value}")
                })?;
            }
            Some(_) => {}
            None => {
                top.insert(key, value);
            }
        }
    }
    Ok(())
}

/// Makes a published config's forms one: that of transformers 4.49.
fn normal(file: &str, json: &Value) -> Result<Value> {
    let mut top = object(json);
    let mut nested = object(&top.remove("text_config").unwrap_or_default());
    read_rope(file, "text_config.", &mut nested)?;
    read_rope(file, "", &mut top)?;
    lift(file, &mut top, nested)?;
    for (key, value) in LEFT_OUT {
        top.entry(key).or_insert(value.into());
    }
    // `save_pretrained` writes both; the class reads `in_channels`.
    if let Some(vision) = top.get_mut("vision_config").and_then(Value::as_object_mut)
        && vision.contains_key("in_channels")
    {
        vision.remove("in_chans");
    }
    Ok(top.into())
}

impl Qwen2_5VlConfig {
    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that is missing or can't be.
    pub fn from_json(file: &str, json: Value) -> Result<Self> {
        Self::read(file, json, &mut vec![])
    }

    /// The same; keys that are not known go to `warnings`.
    pub(super) fn read(file: &str, json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        check_keys(file, "", &json, &[KEYS, DECODER, ANY], warnings)?;
        let part = |key: &str| json.get(key).unwrap_or(&Value::Null);
        let text_keys = &[KEYS, DECODER, ANY];
        check_keys(
            file,
            "text_config.",
            part("text_config"),
            text_keys,
            warnings,
        )?;
        let vision_keys = &[VISION_KEYS, ANY];
        check_keys(
            file,
            "vision_config.",
            part("vision_config"),
            vision_keys,
            warnings,
        )?;
        let json = normal(file, &json)?;
        check_decoder(file, "", &json)?;
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
            section.len() == 3
                && section.iter().all(|&part| part <= WIDTH)
                && section.iter().sum::<usize>() * 2 == self.decoder.head_dim(),
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
        let limits = [
            ("depth", self.depth, LAYERS),
            ("hidden_size", self.hidden_size, WIDTH),
            ("intermediate_size", self.intermediate_size, WIDTH),
            ("num_heads", self.num_heads, HEADS),
            ("in_channels", self.in_channels, COUNT),
            ("patch_size", self.patch_size, COUNT),
            ("spatial_merge_size", self.spatial_merge_size, COUNT),
            ("temporal_patch_size", self.temporal_patch_size, COUNT),
            ("window_size", self.window_size, SIDE),
            ("out_hidden_size", self.out_hidden_size, WIDTH),
            (
                "fullatt_block_indexes: length",
                self.fullatt_block_indexes.len(),
                LAYERS,
            ),
            ("tokens_per_second", self.tokens_per_second, SIDE),
        ];
        check_limits(file, "vision_config.", &limits)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A config as transformers 4.49 writes it.
    fn older() -> Value {
        json!({
            "model_type": "qwen2_5_vl", "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "vocab_size": 728, "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6, "rope_theta": 500_000.0, "hidden_act": "silu",
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            "sliding_window": 512, "max_window_layers": 1, "use_sliding_window": false,
            "image_token_id": 712, "video_token_id": 713, "vision_start_token_id": 709,
            "vision_config": {"hidden_size": 32, "num_heads": 2, "out_hidden_size": 64, "in_chans": 3},
        })
    }

    fn read(json: Value) -> std::result::Result<Qwen2_5VlConfig, String> {
        let mut warnings = vec![];
        let config = Qwen2_5VlConfig::read("config.json", json, &mut warnings);
        assert!(warnings.is_empty(), "{warnings:?}");
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn transformers_5_says_the_same_in_other_words() {
        let mut newer = older();
        let top = newer.as_object_mut().unwrap();
        let mut text = Map::new();
        for (key, _) in DECODER {
            if let Some(value) = top.remove(*key) {
                text.insert((*key).to_owned(), value);
            }
        }
        text.remove("rope_theta");
        let sections = text.remove("rope_scaling").unwrap()["mrope_section"].take();
        text.insert(
            "rope_parameters".into(),
            json!({"rope_type": "default", "rope_theta": 500_000.0, "mrope_section": sections}),
        );
        text.insert("layer_types".into(), json!(vec!["full_attention"; 3]));
        text.insert("dtype".into(), json!("bfloat16"));
        top.insert("text_config".into(), text.into());
        top["vision_config"]["in_channels"] = json!(3);
        assert_eq!(read(newer), read(older()));
        assert_eq!(read(older()).unwrap().decoder.rope_theta, 500_000.0);
    }

    #[test]
    fn a_missing_theta_is_the_published_one() {
        let mut json = older();
        json.as_object_mut().unwrap().remove("rope_theta");
        assert_eq!(read(json).unwrap().decoder.rope_theta, 1_000_000.0);
    }

    #[test]
    fn what_turns_or_sees_otherwise_is_refused_by_its_key() {
        for (pointer, value, message) in [
            (
                "/rope_scaling/type",
                json!("yarn"),
                "rope_scaling.type `yarn`",
            ),
            ("/use_sliding_window", json!(true), "use_sliding_window"),
            ("/hidden_act", json!("gelu"), "hidden_act gelu"),
            (
                "/num_hidden_layers",
                json!(1_000_000_000),
                "num_hidden_layers 1000000000",
            ),
            ("/vocab_size", json!(u64::MAX), "vocab_size"),
            (
                "/vision_config/hidden_size",
                json!("NaN"),
                "vision_config.hidden_size: ",
            ),
        ] {
            let mut json = older();
            *json.pointer_mut(pointer).unwrap() = value;
            let error = read(json).unwrap_err();
            assert!(
                error.starts_with("config.json: ") && error.contains(message),
                "{error}"
            );
        }
        let mut json = older();
        json["text_config"] = json!({"hidden_size": 32});
        let error = read(json).unwrap_err();
        assert!(
            error.contains("hidden_size 64 differs from text_config.hidden_size 32"),
            "{error}"
        );
        let mut json = older();
        json["rope_parameters"] = json!({"rope_theta": 10_000.0});
        let error = read(json).unwrap_err();
        assert!(error.contains("rope_theta differs"), "{error}");
    }

    #[test]
    fn a_window_that_cuts_nothing_passes() {
        for (key, value) in [
            ("max_window_layers", json!(3)),
            ("sliding_window", json!(4096)),
        ] {
            let mut json = older();
            json["use_sliding_window"] = json!(true);
            json[key] = value;
            assert_eq!(read(json).map(drop), Ok(()), "{key}");
        }
    }
}
