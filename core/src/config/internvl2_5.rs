//! InternVL2.5's config (`config.json`): the tiles, the vision tower and the Qwen2 decoder.
//!
//! Missing keys take the defaults of InternVL's and transformers' config classes. Not supported:
//! the decoders of other sizes (InternLM2, Llama), which X2I has no aligners for.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Qwen2Config;
use super::checks::{check, check_eps, check_heads, check_sizes, from_value};
use super::keys::{Key, check_keys};
use super::limits::{COUNT, HEADS, LAYERS, SIDE, WIDTH, check_limits};
use super::rope::{needs_theta, read_rope};
use super::transformers::{ANY, DECODER as DECODER_KEYS, check_decoder};
use crate::error::Result;

/// The decoder of InternVL2.5-1B and -4B, as `llm_config.architectures` names it.
pub(super) const DECODER: &str = "Qwen2ForCausalLM";
/// The conversation that the model was trained on.
pub(super) const TEMPLATE: &str = "internvl2_5";
/// Up to this many tiles of one image, the choice of a grid was shown not to depend on the order
/// of a Python set (a test of the tiles). Published models stop at 12.
pub const MOST_TILES: usize = 40;

/// Sizes of the multimodal LLM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InternVl2_5Config {
    /// The decoder.
    pub llm_config: InternLlmConfig,
    /// The vision tower.
    pub vision_config: InternVitConfig,
    /// Pixels of a tile's side, where they differ from the vision tower's own.
    #[serde(default)]
    pub force_image_size: Option<usize>,
    /// One over the patches of a side that become one token.
    #[serde(default = "half")]
    pub downsample_ratio: f64,
    /// The fewest tiles of an image; 1.
    #[serde(default = "one")]
    pub min_dynamic_patch: usize,
    /// The most tiles of an image, its thumbnail aside.
    #[serde(default = "six")]
    pub max_dynamic_patch: usize,
    /// Whether an image of several tiles is also shown as a whole.
    #[serde(default)]
    pub use_thumbnail: bool,
    /// The order of channels in merged patches: `v2`.
    #[serde(default = "first_version")]
    pub ps_version: String,
    /// The layer of the vision tower whose output is read: the last, -1.
    #[serde(default = "last")]
    pub select_layer: i64,
    /// The conversation's form: `internvl2_5`.
    #[serde(default)]
    pub template: Option<String>,
}

/// Sizes of the decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InternLlmConfig {
    /// The classes that transformers knows it by.
    pub architectures: Vec<String>,
    /// Its sizes.
    #[serde(flatten)]
    pub decoder: Qwen2Config,
    /// Scaling of the frequencies for long sequences. `dynamic` changes nothing up to
    /// `max_position_embeddings`, where we stop.
    #[serde(default)]
    pub rope_scaling: Option<Map<String, Value>>,
}

/// Sizes of the vision tower, InternViT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InternVitConfig {
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
    /// Pixels of the side that the position embedding is for.
    pub image_size: usize,
    /// Pixels of a patch's side.
    pub patch_size: usize,
    /// The norm before attention and MLP.
    pub norm_type: NormType,
    /// Epsilon of every norm.
    pub layer_norm_eps: f64,
    /// Whether q, k and v have biases.
    pub qkv_bias: bool,
    /// Whether q and k pass an RMSNorm of their own.
    pub qk_normalization: bool,
    /// The MLP's activation: `gelu`.
    pub hidden_act: String,
}

/// The two norms of InternViT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormType {
    /// LayerNorm with weight and bias (InternViT-300M).
    LayerNorm,
    /// RMSNorm (InternViT-6B).
    RmsNorm,
}

impl Default for InternVitConfig {
    /// InternViT-6B, as `InternVisionConfig`'s defaults.
    fn default() -> Self {
        Self {
            hidden_size: 3200,
            intermediate_size: 12800,
            num_hidden_layers: 48,
            num_attention_heads: 25,
            num_channels: 3,
            image_size: 224,
            patch_size: 14,
            norm_type: NormType::RmsNorm,
            layer_norm_eps: 1e-6,
            qkv_bias: false,
            qk_normalization: true,
            hidden_act: "gelu".into(),
        }
    }
}

/// Keys of `config.json` beside its parts. Tiles are cut as X2I's script does, whatever the model's
/// training did.
const KEYS: &[(&str, Key)] = &[
    ("llm_config", Key::Read),
    ("vision_config", Key::Read),
    ("force_image_size", Key::Read),
    ("downsample_ratio", Key::Read),
    ("min_dynamic_patch", Key::Read),
    ("max_dynamic_patch", Key::Read),
    ("use_thumbnail", Key::Read),
    ("ps_version", Key::Read),
    ("select_layer", Key::Read),
    ("template", Key::Read),
    ("dynamic_image_size", Key::Idle),
    ("hidden_size", Key::Idle),
    ("image_fold", Key::Off),
    ("pad2square", Key::Off),
    ("system_message", Key::Idle),
    ("tie_word_embeddings", Key::Idle),
    ("use_backbone_lora", Key::Off),
    ("use_llm_lora", Key::Off),
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
    ("norm_type", Key::Read),
    ("layer_norm_eps", Key::Read),
    ("qkv_bias", Key::Read),
    ("qk_normalization", Key::Read),
    ("hidden_act", Key::Read),
    ("drop_path_rate", Key::Idle),
    ("use_moe", Key::Off),
    ("capacity_factor", Key::Idle),
    ("ep_size", Key::Idle),
    ("eval_capacity_factor", Key::Idle),
    ("laux_allreduce", Key::Idle),
    ("moe_coeff_ratio", Key::Idle),
    ("moe_intermediate_size", Key::Idle),
    ("moe_output_scale", Key::Idle),
    ("noisy_gate_policy", Key::Idle),
    ("num_experts", Key::Idle),
    ("num_routed_experts", Key::Idle),
    ("num_shared_experts", Key::Idle),
    ("shared_expert_intermediate_size", Key::Idle),
    ("use_residual", Key::Idle),
    ("use_rts", Key::Idle),
    ("use_weighted_residual", Key::Idle),
];

fn half() -> f64 {
    0.5
}

fn one() -> usize {
    1
}

fn six() -> usize {
    6
}

fn first_version() -> String {
    "v1".into()
}

fn last() -> i64 {
    -1
}

impl InternVl2_5Config {
    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that is missing or can't be.
    pub fn from_json(file: &str, json: Value) -> Result<Self> {
        Self::read(file, json, &mut vec![])
    }

    /// The same; keys that are not known go to `warnings`.
    pub(super) fn read(file: &str, mut json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        check_keys(file, "", &json, &[KEYS, ANY], warnings)?;
        let part = |key: &str| json.get(key).unwrap_or(&Value::Null);
        check_keys(
            file,
            "llm_config.",
            part("llm_config"),
            &[DECODER_KEYS, ANY],
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
        if let Some(decoder) = json.get_mut("llm_config").and_then(Value::as_object_mut) {
            read_rope(file, "llm_config.", decoder)?;
        }
        if let Some(decoder) = json.get("llm_config") {
            check_decoder(file, "llm_config.", decoder)?;
            needs_theta(file, "llm_config.", decoder)?;
        }
        let config: Self = from_value(file, json)?;
        config.validate(file)?;
        Ok(config)
    }

    /// Pixels of a tile's side.
    pub fn tile_size(&self) -> usize {
        self.force_image_size
            .unwrap_or(self.vision_config.image_size)
    }

    /// Patches of a tile's side.
    pub fn grid(&self) -> usize {
        self.tile_size() / self.vision_config.patch_size
    }

    /// Patches of a side that become one token.
    pub fn merge(&self) -> usize {
        (1.0 / self.downsample_ratio).round() as usize
    }

    /// Tokens of one tile.
    pub fn tile_tokens(&self) -> usize {
        (self.grid() / self.merge()).pow(2)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`crate::Error::Config`] naming the key that can't be.
    pub(super) fn validate(&self, file: &str) -> Result<()> {
        self.llm_config.validate(file)?;
        self.vision_config.validate(file)?;
        let ratio = self.downsample_ratio;
        check(
            file,
            ratio > 0.0 && self.merge() > 0 && ratio * self.merge() as f64 == 1.0,
            || format!("downsample_ratio {ratio} is not one over a whole number"),
        )?;
        let limits = [
            ("force_image_size", self.tile_size(), SIDE),
            ("downsample_ratio: patches of a token", self.merge(), COUNT),
        ];
        check_limits(file, "", &limits)?;
        let (size, patch) = (self.tile_size(), self.vision_config.patch_size);
        check(
            file,
            size > 0 && size.is_multiple_of(patch * self.merge()),
            || {
                format!(
                    "a tile of {size} pixels can't be split into patches of {patch}, {} by {} a token",
                    self.merge(),
                    self.merge()
                )
            },
        )?;
        let (least, most) = (self.min_dynamic_patch, self.max_dynamic_patch);
        check(file, least == 1 && (1..=MOST_TILES).contains(&most), || {
            format!(
                "min_dynamic_patch {least} and max_dynamic_patch {most} must be 1 and 1 to {MOST_TILES}"
            )
        })?;
        check(file, self.ps_version == "v2", || {
            format!("ps_version `{}` is not v2", self.ps_version)
        })?;
        check(file, self.select_layer == -1, || {
            format!(
                "select_layer {} is not -1, the vision tower's last layer",
                self.select_layer
            )
        })?;
        let template = self.template.as_deref().unwrap_or("none");
        check(file, template == TEMPLATE, || {
            format!("template `{template}` is not {TEMPLATE}")
        })
    }
}

impl InternLlmConfig {
    fn validate(&self, file: &str) -> Result<()> {
        let decoder = self.architectures.first().map_or("none", String::as_str);
        check(file, decoder == DECODER, || {
            format!(
                "llm_config is a {decoder}; only {DECODER} (InternVL2.5-1B and -4B) is supported"
            )
        })?;
        self.decoder.validate(file, "llm_config.")?;
        // Files say either or both, by the age of the library that wrote them.
        for key in ["type", "rope_type"] {
            let kind = self
                .rope_scaling
                .as_ref()
                .and_then(|scaling| scaling.get(key));
            let kind = kind.and_then(Value::as_str).unwrap_or("default");
            check(file, ["dynamic", "default"].contains(&kind), || {
                format!("llm_config.rope_scaling.{key} `{kind}` is not dynamic")
            })?;
        }
        Ok(())
    }
}

impl InternVitConfig {
    fn validate(&self, file: &str) -> Result<()> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
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
        check_eps(file, "vision_config.layer_norm_eps", self.layer_norm_eps)?;
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        check_heads(file, "vision_config.hidden_size", width, heads)?;
        check(file, self.num_channels == 3, || {
            format!("vision_config.num_channels {} is not 3", self.num_channels)
        })?;
        check(file, self.image_size >= self.patch_size, || {
            format!(
                "vision_config.image_size {} is smaller than one patch",
                self.image_size
            )
        })?;
        check(file, self.hidden_act == "gelu", || {
            format!("vision_config.hidden_act `{}` is not gelu", self.hidden_act)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A published config after `change`.
    fn changed(change: impl FnOnce(&mut Value)) -> Result<InternVl2_5Config> {
        let mut json: Value =
            serde_json::from_str(include_str!("../../configs/internvl2.5-1b.json")).unwrap();
        change(&mut json);
        InternVl2_5Config::from_json("config.json", json)
    }

    #[test]
    fn the_published_models_have_their_published_sizes() {
        let published = [
            (
                include_str!("../../configs/internvl2.5-1b.json"),
                [896, 24, 64],
            ),
            (
                include_str!("../../configs/internvl2.5-4b.json"),
                [2048, 36, 128],
            ),
        ];
        for (json, [width, layers, head]) in published {
            let json = serde_json::from_str(json).unwrap();
            let config = InternVl2_5Config::from_json("config.json", json).unwrap();
            let llm = &config.llm_config.decoder;
            assert_eq!(
                [llm.hidden_size, llm.num_hidden_layers, llm.head_dim()],
                [width, layers, head]
            );
            assert_eq!(
                (config.tile_size(), config.grid(), config.tile_tokens()),
                (448, 32, 256)
            );
            assert_eq!(config.max_dynamic_patch, 12);
        }
    }

    #[test]
    fn a_tile_may_be_larger_than_the_position_embedding() {
        let config = changed(|json| json["force_image_size"] = json!(896)).unwrap();
        assert_eq!((config.grid(), config.tile_tokens()), (64, 1024));
        let own = changed(|json| json["force_image_size"] = json!(null)).unwrap();
        assert_eq!(own.tile_size(), 448);
    }

    #[test]
    fn dynamic_scaling_is_read_in_either_spelling() {
        for scaling in [
            json!(null),
            json!({ "rope_type": "dynamic", "factor": 2.0 }),
            json!({ "rope_type": "dynamic", "type": "dynamic", "factor": 2.0 }),
        ] {
            assert!(changed(|json| json["llm_config"]["rope_scaling"] = scaling).is_ok());
        }
    }

    #[test]
    fn what_can_not_be_is_named() {
        let refuse = |pointer: &str, value: Value| {
            let outcome = changed(|json| *json.pointer_mut(pointer).unwrap() = value);
            outcome.unwrap_err().to_string()
        };
        let other = refuse("/llm_config/architectures", json!(["InternLM2ForCausalLM"]));
        assert!(
            other.starts_with("config.json: llm_config is a InternLM2ForCausalLM"),
            "{other}"
        );
        for (pointer, value, key) in [
            ("/downsample_ratio", json!(0.4), "downsample_ratio 0.4"),
            ("/downsample_ratio", json!(0.0), "downsample_ratio 0"),
            ("/force_image_size", json!(450), "a tile of 450 pixels"),
            ("/max_dynamic_patch", json!(41), "max_dynamic_patch 41"),
            ("/min_dynamic_patch", json!(2), "min_dynamic_patch 2"),
            ("/ps_version", json!("v1"), "ps_version `v1`"),
            ("/select_layer", json!(-4), "select_layer -4"),
            (
                "/template",
                json!("internlm2-chat"),
                "template `internlm2-chat`",
            ),
            (
                "/llm_config/num_attention_heads",
                json!(0),
                "llm_config.num_attention_heads is 0",
            ),
            (
                "/llm_config/num_key_value_heads",
                json!(3),
                "llm_config.num_attention_heads 14 can't share 3",
            ),
            (
                "/llm_config/rope_scaling",
                json!({ "type": "yarn" }),
                "rope_scaling.type `yarn`",
            ),
            (
                "/vision_config/num_attention_heads",
                json!(7),
                "into 7 heads",
            ),
            (
                "/vision_config/norm_type",
                json!("batch_norm"),
                "batch_norm",
            ),
            (
                "/vision_config/hidden_act",
                json!("relu"),
                "hidden_act `relu`",
            ),
        ] {
            let message = refuse(pointer, value);
            assert!(message.contains(key), "{message}");
        }
    }
}
