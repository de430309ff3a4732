//! The config of a language model of any family, by its `model_type`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::parse;
use super::internvl_hf;
use super::{InternVl2_5Config, MiniCpmOConfig, Qwen2_5VlConfig, Qwen2Config, VisionConfig};
use crate::error::{Error, Result};
use crate::video::sampling::Sampling;
use crate::weights::Component;

/// The encoder's family, told apart by the published `model_type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type")]
pub enum EncoderConfig {
    /// Qwen2.5-VL 3B and 7B.
    #[serde(rename = "qwen2_5_vl")]
    Qwen2_5Vl(Qwen2_5VlConfig),
    /// InternVL2.5 1B and 4B.
    #[serde(rename = "internvl_chat")]
    InternVl2_5(InternVl2_5Config),
    /// MiniCPM-o 2.6.
    #[serde(rename = "minicpmo")]
    MiniCpmO(MiniCpmOConfig),
}

impl EncoderConfig {
    /// Reads a published `config.json` and chooses the family.
    ///
    /// # Errors
    /// [`Error::Config`] for a family that we do not have, or numbers that can't be.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        Self::read(file, parse(file, json)?, &mut vec![])
    }

    /// The same; keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub(crate) fn read(file: &str, json: Value, warnings: &mut Vec<String>) -> Result<Self> {
        match json.get("model_type").and_then(Value::as_str) {
            Some("qwen2_5_vl") => Qwen2_5VlConfig::read(file, json, warnings).map(Self::Qwen2_5Vl),
            Some("internvl_chat") => {
                InternVl2_5Config::read(file, json, warnings).map(Self::InternVl2_5)
            }
            Some("minicpmo") => MiniCpmOConfig::read(file, json, warnings).map(Self::MiniCpmO),
            // As transformers itself writes it.
            Some("internvl") => internvl_hf::read(file, &json, warnings).map(Self::InternVl2_5),
            Some(other) => Err(Error::config(
                file,
                format!(
                    "model_type `{other}` is not supported; qwen2_5_vl, internvl_chat, internvl and minicpmo are"
                ),
            )),
            None => Err(Error::config(
                file,
                "has no model_type; expected a multimodal LLM's config.json",
            )),
        }
    }

    pub(super) fn validate(&self, file: &str) -> Result<()> {
        match self {
            Self::Qwen2_5Vl(config) => config.validate(file),
            Self::InternVl2_5(config) => config.validate(file),
            Self::MiniCpmO(config) => config.validate(file),
        }
    }

    /// Qwen2.5-VL's vision tower, whose processor's config is read.
    pub(crate) fn qwen_vision(&self) -> Option<&VisionConfig> {
        match self {
            Self::Qwen2_5Vl(config) => Some(&config.vision_config),
            Self::InternVl2_5(_) | Self::MiniCpmO(_) => None,
        }
    }

    /// What users call the family.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Qwen2_5Vl(_) => "Qwen2.5-VL",
            Self::InternVl2_5(_) => "InternVL2.5",
            Self::MiniCpmO(_) => "MiniCPM-o 2.6",
        }
    }

    /// Which frames of a video it looks at, as X2I's scripts have it.
    pub fn video_sampling(&self) -> Sampling {
        match self {
            Self::Qwen2_5Vl(_) => Sampling::Even { fps: 1.0 },
            // InternVL's script shows no videos; its demo's choice is made among these.
            Self::InternVl2_5(_) | Self::MiniCpmO(_) => Sampling::Stride { fps: 1.0, most: 64 },
        }
    }

    /// Whether it hears sounds.
    pub fn hears(&self) -> bool {
        match self {
            Self::Qwen2_5Vl(_) | Self::InternVl2_5(_) => false,
            Self::MiniCpmO(_) => true,
        }
    }

    /// Refuses sounds where the family can't hear.
    ///
    /// # Errors
    /// [`Error::Modality`] naming the models that can.
    pub fn check_hears(&self) -> Result<()> {
        match self.hears() {
            true => Ok(()),
            false => Err(Error::Modality {
                model: self.family().into(),
                modality: "audio",
                alternatives: "MiniCPM-o 2.6",
            }),
        }
    }

    /// How its tensors are named.
    pub fn component(&self) -> Component {
        match self {
            Self::Qwen2_5Vl(_) => Component::Qwen2_5Vl,
            Self::InternVl2_5(_) => Component::InternVl2_5,
            Self::MiniCpmO(_) => Component::MiniCpmO,
        }
    }

    /// Its decoder's sizes.
    pub fn decoder(&self) -> &Qwen2Config {
        match self {
            Self::Qwen2_5Vl(config) => &config.decoder,
            Self::InternVl2_5(config) => &config.llm_config.decoder,
            Self::MiniCpmO(config) => &config.decoder,
        }
    }

    /// What the names of its decoder's layers begin with, before their numbers.
    pub fn layers_prefix(&self) -> &'static str {
        match self {
            Self::Qwen2_5Vl(_) => "model.layers",
            Self::InternVl2_5(_) => "language_model.model.layers",
            Self::MiniCpmO(_) => "llm.model.layers",
        }
    }

    /// Hidden states that it gives: the embedding and every layer.
    pub fn hidden_states(&self) -> usize {
        self.decoder().num_hidden_layers + 1
    }
}
