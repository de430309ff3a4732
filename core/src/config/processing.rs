//! How pictures become patches (`preprocessor_config.json`), and how the LLM answers
//! (`generation_config.json`).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::VisionConfig;
use super::checks::{check, from_value};
use super::keys::{Key, check_keys, object};
use super::limits::{LEAST_PIXELS, MOST_PIXELS, check_limits};
use crate::error::Result;

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

/// Keys of Qwen2.5-VL's `preprocessor_config.json`. Those of the other families' processors are not
/// looked at: X2I's scripts cut their pictures by code.
const QWEN_KEYS: &[(&str, Key)] = &[
    ("min_pixels", Key::Read),
    ("max_pixels", Key::Read),
    ("size", Key::Read),
    ("image_mean", Key::Read),
    ("image_std", Key::Read),
    ("do_resize", Key::On),
    ("do_rescale", Key::On),
    ("do_normalize", Key::On),
    ("do_convert_rgb", Key::Idle),
    ("do_center_crop", Key::Off),
    ("do_pad", Key::Off),
    ("crop_size", Key::Idle),
    ("default_to_square", Key::Idle),
    ("data_format", Key::Idle),
    ("input_data_format", Key::Idle),
    ("device", Key::Idle),
    ("disable_grouping", Key::Idle),
    ("return_tensors", Key::Idle),
    ("resample", Key::Number(3.0)),
    ("rescale_factor", Key::Read),
    ("patch_size", Key::Read),
    ("merge_size", Key::Read),
    ("temporal_patch_size", Key::Read),
    ("image_processor_type", Key::Idle),
    ("feature_extractor_type", Key::Idle),
    ("processor_class", Key::Idle),
    ("video_processor_type", Key::Idle),
];

impl PreprocessorConfig {
    /// Reads a published `preprocessor_config.json`, whose limits stand as `min_pixels` and
    /// `max_pixels` or, in newer files, as the edges of `size`. Nulls are defaults. `vision` is Qwen2.5-VL's
    /// tower; none for another family.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that can't be.
    pub(crate) fn read(
        file: &str,
        json: &Value,
        vision: Option<&VisionConfig>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut read = object(json);
        let size = object(&read.remove("size").unwrap_or_default());
        if let Some(vision) = vision {
            check_keys(file, "", json, &[QWEN_KEYS], warnings)?;
            // The class itself takes the older keys first.
            for (old, new) in [
                ("min_pixels", "shortest_edge"),
                ("max_pixels", "longest_edge"),
            ] {
                if read.get(old).is_none_or(Value::is_null)
                    && let Some(edge) = size.get(new)
                {
                    read.insert(old.into(), edge.clone());
                }
            }
            check_patches(file, &read, vision)?;
        }
        read.retain(|_, value| !value.is_null());
        let config: Self = from_value(file, read.into())?;
        config.validate(file)?;
        Ok(config)
    }

    pub(super) fn validate(&self, file: &str) -> Result<()> {
        let (least, most) = (self.min_pixels, self.max_pixels);
        check(file, least <= most, || {
            format!("min_pixels {least} is above max_pixels {most}")
        })?;
        let limits = [
            ("min_pixels", least, LEAST_PIXELS),
            ("max_pixels", most, MOST_PIXELS),
        ];
        check_limits(file, "", &limits)?;
        let finite = |values: &[f64; 3]| values.iter().all(|value| value.is_finite());
        check(
            file,
            finite(&self.image_mean) && finite(&self.image_std),
            || "image_mean and image_std must be numbers".into(),
        )?;
        check(file, self.image_std.iter().all(|&std| std > 0.0), || {
            format!("image_std {:?} must be above 0", self.image_std)
        })
    }
}

/// The patches that the processor cuts must be those that the tower reads.
fn check_patches(file: &str, read: &Map<String, Value>, vision: &VisionConfig) -> Result<()> {
    for (key, expected) in [
        ("patch_size", vision.patch_size),
        ("merge_size", vision.spatial_merge_size),
        ("temporal_patch_size", vision.temporal_patch_size),
    ] {
        let found = read.get(key).filter(|found| !found.is_null());
        let same = found.is_none_or(|found| found.as_u64() == Some(expected as u64));
        check(file, same, || {
            let found = found.cloned().unwrap_or_default();
            format!("{key} {found} differs from the vision tower's {expected}")
        })?;
    }
    let factor = read.get("rescale_factor").and_then(Value::as_f64);
    let scales = factor.is_none_or(|factor| (factor * 255.0 - 1.0).abs() < 1e-6);
    check(file, scales, || {
        "rescale_factor is not supported; only 1/255 is".into()
    })
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

impl GenerationConfig {
    /// Reads a published `generation_config.json`. Nulls are defaults.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that can't be.
    pub(crate) fn read(file: &str, json: &Value) -> Result<Self> {
        let mut read = object(json);
        read.retain(|_, value| !value.is_null());
        let config: Self = from_value(file, read.into())?;
        config.validate(file)?;
        Ok(config)
    }

    pub(super) fn validate(&self, file: &str) -> Result<()> {
        let (heat, top_p, penalty) = (self.temperature, self.top_p, self.repetition_penalty);
        let positive = |number: f64| number.is_finite() && number > 0.0;
        check(file, positive(heat) || !self.do_sample, || {
            format!("temperature {heat} must be above 0")
        })?;
        check(file, (0.0..=1.0).contains(&top_p), || {
            format!("top_p {top_p} must be between 0 and 1")
        })?;
        check(file, positive(penalty), || {
            format!("repetition_penalty {penalty} must be above 0")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pixels(vision: Option<&VisionConfig>, json: Value) -> Result<[usize; 2], String> {
        let config = PreprocessorConfig::read("p.json", &json, vision, &mut vec![]);
        config
            .map(|config| [config.min_pixels, config.max_pixels])
            .map_err(|error| error.to_string())
    }

    fn qwen(json: Value) -> Result<[usize; 2], String> {
        pixels(Some(&VisionConfig::default()), json)
    }

    #[test]
    fn limits_are_pixels_or_edges() {
        let [least, most] = [56 * 56, 28 * 28 * 16384];
        for (json, expected) in [
            (json!({}), [least, most]),
            (json!({"min_pixels": 100, "max_pixels": 200}), [100, 200]),
            (
                json!({"size": {"shortest_edge": 100, "longest_edge": 200}}),
                [100, 200],
            ),
            (
                json!({"max_pixels": null, "size": {"longest_edge": 9_999_999}}),
                [least, 9_999_999],
            ),
            (
                json!({"max_pixels": 5000, "size": {"longest_edge": 9_999_999}}),
                [least, 5000],
            ),
            (
                json!({"min_pixels": null, "max_pixels": null, "size": null}),
                [least, most],
            ),
        ] {
            assert_eq!(qwen(json.clone()), Ok(expected), "{json}");
        }
        // Another processor's `size` is of something else.
        let other = json!({"size": {"shortest_edge": 448, "longest_edge": 448}});
        assert_eq!(pixels(None, other), Ok([least, most]));
    }

    #[test]
    fn what_can_not_be_is_named() {
        for (json, message) in [
            (
                json!({"min_pixels": 300, "max_pixels": 200}),
                "min_pixels 300 is above max_pixels 200",
            ),
            (
                json!({"max_pixels": 1u64 << 40}),
                "max_pixels 1099511627776 is too large",
            ),
            (
                json!({"patch_size": 16}),
                "patch_size 16 differs from the vision tower's 14",
            ),
            (json!({"do_resize": false}), "do_resize false"),
            (json!({"resample": 2}), "resample 2"),
            (json!({"rescale_factor": 1.0}), "rescale_factor"),
            (json!({"image_std": [0.5, 0.0, 0.5]}), "image_std"),
            (json!({"image_mean": "Infinity"}), "image_mean: "),
        ] {
            let error = qwen(json).unwrap_err();
            assert!(
                error.starts_with("p.json: ") && error.contains(message),
                "{error}"
            );
        }
        let read = |json: Value| GenerationConfig::read("g.json", &json);
        assert_eq!(
            read(json!({"top_k": null})).unwrap(),
            GenerationConfig::default()
        );
        for (key, value) in [
            ("repetition_penalty", json!(0.0)),
            ("top_p", json!(1.5)),
            ("pad_token_id", json!(-1)),
        ] {
            let mut json = json!({});
            json[key] = value;
            let error = read(json).unwrap_err().to_string();
            assert!(
                error.starts_with("g.json: ") && error.contains(key),
                "{error}"
            );
        }
    }
}
