//! InternVL's config as transformers itself writes it (`model_type: internvl`, the `-hf` folders), made
//! the original's.
//!
//! Source: transformers' `InternVLConfig` and its conversion script. What this form does not say (the
//! tiles, the conversation) is that of the published InternVL2.5-1B and -4B.

use serde_json::{Map, Value, json};

use super::checks::check;
use super::internvl2_5::{DECODER, InternVl2_5Config, TEMPLATE};
use super::keys::{Key, check_keys, object};
use super::transformers::ANY;
use crate::error::{Error, Result};

/// The most tiles of an image in the published models.
const TILES: usize = 12;

/// Keys of `config.json` beside its parts.
const KEYS: &[(&str, Key)] = &[
    ("text_config", Key::Read),
    ("vision_config", Key::Read),
    ("downsample_ratio", Key::Read),
    ("vision_feature_layer", Key::Number(-1.0)),
    ("vision_feature_select_strategy", Key::Word(&["default"])),
    ("projector_hidden_act", Key::Word(&["gelu"])),
    ("image_seq_length", Key::Idle),
    ("image_token_id", Key::Idle),
    ("image_token_index", Key::Idle),
    ("tie_word_embeddings", Key::Idle),
    ("video_token_id", Key::Idle),
];

/// Keys of `vision_config`.
const VISION_KEYS: &[(&str, Key)] = &[
    ("attention_bias", Key::Read),
    ("hidden_act", Key::Read),
    ("hidden_size", Key::Read),
    ("image_size", Key::Read),
    ("intermediate_size", Key::Read),
    ("layer_norm_eps", Key::Read),
    ("norm_type", Key::Read),
    ("num_attention_heads", Key::Read),
    ("num_channels", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("patch_size", Key::Read),
    ("use_qk_norm", Key::Read),
    ("hidden_dropout_prob", Key::Idle),
    ("layer_scale_init_value", Key::Idle),
    ("projection_dropout", Key::Idle),
    ("use_absolute_position_embeddings", Key::On),
    ("use_mask_token", Key::Off),
    // Without it, a norm follows the last layer.
    ("use_mean_pooling", Key::On),
];

/// Reads the config; keys that are not known go to `warnings`.
///
/// # Errors
/// [`Error::Config`] naming the key that is missing or can't be.
pub(super) fn read(
    file: &str,
    json: &Value,
    warnings: &mut Vec<String>,
) -> Result<InternVl2_5Config> {
    check_keys(file, "", json, &[KEYS, ANY], warnings)?;
    let part = |key: &str| json.get(key).unwrap_or(&Value::Null);
    let vision = part("vision_config");
    let vision_keys = &[VISION_KEYS, ANY];
    check_keys(file, "vision_config.", vision, vision_keys, warnings)?;
    let original = json!({
        "llm_config": decoder(file, part("text_config"))?,
        "vision_config": tower(file, vision)?,
        "downsample_ratio": json.get("downsample_ratio").unwrap_or(&json!(0.5)),
        "min_dynamic_patch": 1,
        "max_dynamic_patch": TILES,
        "use_thumbnail": true,
        "ps_version": "v2",
        "template": TEMPLATE,
    });
    let named = |error| match error {
        Error::Config { file, reason } => {
            Error::config(file, reason.replace("llm_config", "text_config"))
        }
        other => other,
    };
    let mut said = vec![];
    let config = InternVl2_5Config::read(file, original, &mut said).map_err(named)?;
    let said = said
        .iter()
        .map(|text| text.replace("llm_config", "text_config"));
    warnings.extend(said);
    Ok(config)
}

/// `llm_config`.
fn decoder(file: &str, text: &Value) -> Result<Map<String, Value>> {
    let mut decoder = object(text);
    let kind = decoder.get("model_type").and_then(Value::as_str);
    let kind = kind.unwrap_or("qwen2");
    check(file, kind == "qwen2", || {
        format!(
            "text_config.model_type `{kind}` is not qwen2; only InternVL2.5-1B and -4B are supported"
        )
    })?;
    decoder.insert("architectures".into(), json!([DECODER]));
    Ok(decoder)
}

/// `vision_config`, with the defaults of transformers' class.
fn tower(file: &str, vision: &Value) -> Result<Map<String, Value>> {
    const RENAMED: [(&str, &str); 2] = [
        ("attention_bias", "qkv_bias"),
        ("use_qk_norm", "qk_normalization"),
    ];
    let defaults = json!({
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "num_channels": 3,
        "image_size": 448,
        "patch_size": 14,
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "attention_bias": false,
        "use_qk_norm": false,
        "hidden_act": "gelu",
    });
    let mut tower = object(&defaults);
    for (key, value) in object(vision) {
        if tower.contains_key(&key) && !value.is_null() {
            tower.insert(key, value);
        }
    }
    for key in ["image_size", "patch_size"] {
        // One number, or height and width.
        let sides = tower.get(key).and_then(Value::as_array).cloned();
        if let Some(sides) = sides {
            check(file, sides.len() == 2 && sides[0] == sides[1], || {
                format!("vision_config.{key} must be a square")
            })?;
            tower.insert(key.into(), sides[0].clone());
        }
    }
    for (theirs, ours) in RENAMED {
        if let Some(value) = tower.remove(theirs) {
            tower.insert(ours.into(), value);
        }
    }
    Ok(tower)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> Value {
        json!({
            "model_type": "internvl",
            "architectures": ["InternVLForConditionalGeneration"],
            "downsample_ratio": 0.5,
            "image_seq_length": 256,
            "image_token_id": 151667,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "text_config": {
                "model_type": "qwen2",
                "hidden_size": 896,
                "intermediate_size": 4864,
                "num_attention_heads": 14,
                "num_hidden_layers": 24,
                "num_key_value_heads": 2,
                "rope_scaling": {"factor": 2.0, "rope_type": "dynamic"},
                "rope_theta": 1_000_000.0,
                "vocab_size": 151_674,
            },
            "vision_config": {
                "model_type": "internvl_vision",
                "attention_bias": true,
                "image_size": [448, 448],
                "patch_size": [14, 14],
                "use_mean_pooling": true,
                "use_qk_norm": false,
            },
        })
    }

    #[test]
    fn the_form_of_transformers_is_that_of_the_published_model() {
        let mut warnings = vec![];
        let config = read("config.json", &published(), &mut warnings).unwrap();
        assert_eq!(warnings, [""; 0]);
        let original = serde_json::from_str(include_str!("../../configs/internvl2.5-1b.json"));
        let original = InternVl2_5Config::from_json("config.json", original.unwrap()).unwrap();
        assert_eq!(config.vision_config, original.vision_config);
        assert_eq!(config.llm_config.decoder, original.llm_config.decoder);
        let tiles = |config: &InternVl2_5Config| {
            let most = config.max_dynamic_patch;
            (
                config.tile_size(),
                config.tile_tokens(),
                most,
                config.use_thumbnail,
            )
        };
        assert_eq!(tiles(&config), tiles(&original));
    }

    #[test]
    fn what_can_not_be_is_named_as_the_file_has_it() {
        let refused = |pointer: &str, value: Value| {
            let mut json = published();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            json.pointer_mut(parent).unwrap()[key] = value;
            read("config.json", &json, &mut vec![])
                .unwrap_err()
                .to_string()
        };
        for (pointer, value, said) in [
            (
                "/text_config/model_type",
                json!("llama"),
                "text_config.model_type `llama`",
            ),
            (
                "/text_config/num_attention_heads",
                json!(0),
                "text_config.num_attention_heads is 0",
            ),
            (
                "/text_config/rope_theta",
                json!(null),
                "text_config.rope_theta is missing",
            ),
            (
                "/vision_config/image_size",
                json!([448, 224]),
                "vision_config.image_size must be",
            ),
            (
                "/vision_config/use_mean_pooling",
                json!(false),
                "vision_config.use_mean_pooling false",
            ),
            (
                "/vision_feature_layer",
                json!(-2),
                "vision_feature_layer -2",
            ),
        ] {
            let message = refused(pointer, value);
            assert!(message.contains(said), "{message}");
        }
    }
}
