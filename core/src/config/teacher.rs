//! The configs of FLUX.1's text encoders: T5 (`text_encoder_2/config.json`, transformers'
//! `T5EncoderModel`) and CLIP's text model (`text_encoder/config.json`).
//!
//! Single files come without a config. T5's numbers all show in the shapes of its tensors; of CLIP the
//! heads do not, so that such a file is read as the published CLIP-L.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::align_net::T5StackConfig;
use super::checks::{check, check_eps, check_heads, check_sizes, from_value, parse};
use super::keys::{Key, check_keys};
use super::limits::{HEADS, LAYERS, POSITIONS, VOCABULARY, WIDTH, check_limits};
use crate::error::{Error, Result};

/// Sizes of a T5 encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct T5Config {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of a token (`d_model`): 4096 for XXL.
    pub width: usize,
    /// Its blocks.
    pub stack: T5StackConfig,
}

/// What a published config says of the encoder.
#[derive(Deserialize)]
struct PublishedT5 {
    vocab_size: Option<usize>,
    d_model: Option<usize>,
    d_kv: Option<usize>,
    d_ff: Option<usize>,
    num_layers: Option<usize>,
    num_heads: Option<usize>,
    relative_attention_num_buckets: Option<usize>,
}

/// The keys of T5's config.
const T5_KEYS: &[(&str, Key)] = &[
    ("vocab_size", Key::Read),
    ("d_model", Key::Read),
    ("d_kv", Key::Read),
    ("d_ff", Key::Read),
    ("num_layers", Key::Read),
    ("num_heads", Key::Read),
    ("relative_attention_num_buckets", Key::Read),
    ("relative_attention_max_distance", Key::Number(128.0)),
    ("layer_norm_epsilon", Key::Number(1e-6)),
    ("feed_forward_proj", Key::Word(&["gated-gelu"])),
    ("dense_act_fn", Key::Word(&["gelu_new"])),
    ("is_gated_act", Key::On),
    ("model_type", Key::Word(&["t5"])),
    ("pad_token_id", Key::Number(0.0)),
    ("eos_token_id", Key::Number(1.0)),
    ("num_decoder_layers", Key::Idle),
    ("dropout_rate", Key::Idle),
    ("classifier_dropout", Key::Idle),
    ("decoder_start_token_id", Key::Idle),
    ("initializer_factor", Key::Idle),
    ("is_encoder_decoder", Key::Idle),
    ("tie_word_embeddings", Key::Idle),
    ("output_past", Key::Idle),
    ("use_cache", Key::Idle),
    ("architectures", Key::Idle),
    ("torch_dtype", Key::Idle),
    ("dtype", Key::Idle),
    ("transformers_version", Key::Idle),
    ("_name_or_path", Key::Idle),
    ("quantization_config", Key::Idle),
];

impl T5Config {
    /// Reads every number from the tensors' shapes; `shape` gives that of a named tensor, `file` names
    /// the weights in messages. `json` is the published config where there is one, with its name: it has
    /// to say the same.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Config`] when this is no T5 encoder of version 1.1.
    pub fn from_shapes(
        file: &str,
        json: Option<(&str, &Value)>,
        shape: impl Fn(&str) -> Option<Vec<usize>>,
    ) -> Result<Self> {
        let missing = |name: &str| Error::MissingTensor {
            file: file.to_owned(),
            name: name.to_owned(),
        };
        let Some(&[vocab_size, width]) = shape("shared.weight").as_deref() else {
            return Err(missing("shared.weight"));
        };
        let stack = T5StackConfig::from_shapes(file, "encoder", &shape)?.ok_or_else(|| {
            missing("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight")
        })?;
        let config = Self {
            vocab_size,
            width,
            stack,
        };
        config.validate(file)?;
        if let Some((name, json)) = json {
            config.check_published(name, json)?;
        }
        Ok(config)
    }

    fn validate(&self, file: &str) -> Result<()> {
        let stack = &self.stack;
        let numbers = [
            ("vocab_size", self.vocab_size, VOCABULARY),
            ("d_model", self.width, WIDTH),
            ("d_ff", stack.feed_forward_size, WIDTH),
            ("num_layers", stack.num_layers, LAYERS),
            ("num_heads", stack.num_heads, HEADS),
            ("relative_attention_num_buckets", stack.num_buckets, WIDTH),
        ];
        check_sizes(file, "", &numbers.map(|(key, number, _)| (key, number)))?;
        check_limits(file, "", &numbers)?;
        check(file, stack.num_buckets >= 4, || {
            format!("{} buckets are too few for two signs", stack.num_buckets)
        })
    }

    /// Fails where the config beside the tensors says another number than they have.
    fn check_published(&self, file: &str, json: &Value) -> Result<()> {
        check_keys(file, "", json, &[T5_KEYS], &mut vec![])?;
        let said: PublishedT5 = from_value(file, json.clone())?;
        let stack = &self.stack;
        for (key, said, found) in [
            ("vocab_size", said.vocab_size, self.vocab_size),
            ("d_model", said.d_model, self.width),
            ("d_kv", said.d_kv, stack.head_dim),
            ("d_ff", said.d_ff, stack.feed_forward_size),
            ("num_layers", said.num_layers, stack.num_layers),
            ("num_heads", said.num_heads, stack.num_heads),
            (
                "relative_attention_num_buckets",
                said.relative_attention_num_buckets,
                stack.num_buckets,
            ),
        ] {
            check(file, said.is_none_or(|said| said == found), || {
                let said = said.unwrap_or_default();
                format!("{key} is {said}, the tensors have {found}; the config is of another T5")
            })?;
        }
        Ok(())
    }
}

/// Sizes of CLIP's text model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClipTextConfig {
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of a token: 768 for CLIP-L.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Tokens of a prompt: 77.
    pub max_position_embeddings: usize,
    /// Epsilon of its LayerNorms.
    pub layer_norm_eps: f64,
    /// The token whose state is the pooled one; 2, as older configs say, means the largest id.
    #[serde(default = "legacy_eos")]
    pub eos_token_id: u32,
}

/// What configs from before transformers 4.31 say, FLUX.1's among them.
const LEGACY_EOS: u32 = 2;

fn legacy_eos() -> u32 {
    LEGACY_EOS
}

/// The keys of CLIP's config.
const CLIP_KEYS: &[(&str, Key)] = &[
    ("vocab_size", Key::Read),
    ("hidden_size", Key::Read),
    ("intermediate_size", Key::Read),
    ("num_hidden_layers", Key::Read),
    ("num_attention_heads", Key::Read),
    ("max_position_embeddings", Key::Read),
    ("layer_norm_eps", Key::Read),
    ("eos_token_id", Key::Read),
    ("hidden_act", Key::Word(&["quick_gelu"])),
    ("model_type", Key::Word(&["clip_text_model"])),
    ("attention_dropout", Key::Idle),
    ("dropout", Key::Idle),
    ("bos_token_id", Key::Idle),
    ("pad_token_id", Key::Idle),
    ("initializer_factor", Key::Idle),
    ("initializer_range", Key::Idle),
    ("projection_dim", Key::Idle),
    ("architectures", Key::Idle),
    ("torch_dtype", Key::Idle),
    ("dtype", Key::Idle),
    ("transformers_version", Key::Idle),
    ("_name_or_path", Key::Idle),
];

impl ClipTextConfig {
    /// Reads a published config; keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is not computed here, or the first number that can't be.
    pub fn read(file: &str, json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        check_keys(file, "", &json, &[CLIP_KEYS], warnings)?;
        let config: Self = from_value(file, json)?;
        config.validate(file)?;
        Ok(config)
    }

    /// CLIP-L, FLUX.1's: `clip_l.safetensors` comes without a config.
    ///
    /// # Errors
    /// None for the file in this crate.
    pub fn clip_l() -> Result<Self> {
        parse("clip-l.json", include_bytes!("../../configs/clip-l.json"))
    }

    /// The place of the pooled state in a row of ids: the first end-of-text, or 0 where there is none.
    pub fn pooled_at(&self, ids: &[u32]) -> usize {
        let wanted = match self.eos_token_id {
            LEGACY_EOS => ids.iter().copied().max(),
            eos => Some(eos),
        };
        let found = ids.iter().position(|&id| Some(id) == wanted);
        found.unwrap_or(0)
    }

    fn validate(&self, file: &str) -> Result<()> {
        let numbers = [
            ("vocab_size", self.vocab_size, VOCABULARY),
            ("hidden_size", self.hidden_size, WIDTH),
            ("intermediate_size", self.intermediate_size, WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, LAYERS),
            ("num_attention_heads", self.num_attention_heads, HEADS),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                POSITIONS,
            ),
        ];
        check_sizes(file, "", &numbers.map(|(key, number, _)| (key, number)))?;
        check_limits(file, "", &numbers)?;
        check_heads(
            file,
            "hidden_size",
            self.hidden_size,
            self.num_attention_heads,
        )?;
        check_eps(file, "layer_norm_eps", self.layer_norm_eps)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The shapes of a T5 encoder with two blocks.
    fn shape(name: &str) -> Option<Vec<usize>> {
        let name = name.replace("block.1.", "block.0.");
        Some(match name.as_str() {
            "shared.weight" => vec![110, 48],
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight" => vec![32, 4],
            "encoder.block.0.layer.0.SelfAttention.q.weight" => vec![32, 48],
            "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" => vec![80, 48],
            _ => return None,
        })
    }

    #[test]
    fn t5s_numbers_are_those_of_its_tensors_and_the_config_has_to_say_the_same() {
        let read = |json: &Value| T5Config::from_shapes("t5", Some(("config.json", json)), shape);
        let config = T5Config::from_shapes("t5", None, shape).unwrap();
        let stack = config.stack;
        assert_eq!((config.vocab_size, config.width), (110, 48));
        assert_eq!((stack.num_layers, stack.num_heads), (2, 4));
        assert_eq!((stack.head_dim, stack.feed_forward_size), (8, 80));
        let said = json!({"d_model": 48, "num_heads": 4, "feed_forward_proj": "gated-gelu"});
        assert_eq!(read(&said).unwrap(), config);
        for (said, message) in [
            (
                json!({"d_ff": 81}),
                "config.json: d_ff is 81, the tensors have 80",
            ),
            (
                json!({"feed_forward_proj": "relu"}),
                "feed_forward_proj relu is not supported",
            ),
            (json!({"layer_norm_epsilon": 1e-5}), "layer_norm_epsilon"),
        ] {
            let error = read(&said).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let none = T5Config::from_shapes("t5", None, |_| None).unwrap_err();
        assert_eq!(none.to_string(), "t5: tensor `shared.weight` is missing");
    }

    #[test]
    fn clip_l_is_the_published_one_and_others_are_refused_by_their_key() {
        let config = ClipTextConfig::clip_l().unwrap();
        assert_eq!((config.hidden_size, config.num_hidden_layers), (768, 12));
        let mut json = serde_json::to_value(&config).unwrap();
        json["hidden_act"] = "gelu".into();
        let error = ClipTextConfig::read("c.json", json, &mut vec![]).unwrap_err();
        assert!(error.to_string().contains("hidden_act gelu"), "{error}");
    }

    #[test]
    fn the_pooled_token_is_the_first_end_of_text() {
        let mut config = ClipTextConfig::clip_l().unwrap();
        assert_eq!(config.pooled_at(&[7, 3, 9, 9, 9]), 2);
        config.eos_token_id = 3;
        assert_eq!(config.pooled_at(&[7, 3, 9, 3]), 1);
        assert_eq!(config.pooled_at(&[7, 9]), 0);
        assert_eq!(config.pooled_at(&[]), 0);
    }
}
