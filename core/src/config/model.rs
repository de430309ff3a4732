//! `model.json`: the parts of a model folder, and their configs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{check, from_value, parse};
use super::keys::{Key, check_keys};
use super::{
    Defaults, EncoderConfig, FluxConfig, GenerationConfig, PreprocessorConfig, SchedulerConfig,
    VaeConfig,
};
use crate::error::{Error, Result};

/// The version of `model.json` that we write.
pub const FORMAT: u32 = 1;

/// A whole model: what `model.json` says, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Version of this file's form.
    pub format: u32,
    /// What users call the model.
    pub name: String,
    /// Licence of the weights (an SPDX expression), where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// The multimodal LLM.
    pub encoder: EncoderPart,
    /// AlignNet; its sizes are those of its tensors.
    pub align_net: GraphPart<Value>,
    /// The transformer.
    pub flux: GraphPart<FluxConfig>,
    /// The autoencoder.
    pub vae: GraphPart<VaeConfig>,
    /// The sampler.
    pub scheduler: SchedulerConfig,
    /// What a request takes where it says nothing.
    #[serde(default)]
    pub defaults: Defaults,
    /// Size and hash of every file, by its path in the folder.
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
    /// What the configs say that is not known here and passed over, a sentence each.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// One part of the graph: its config and its weight files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraphPart<C> {
    /// The published config of the part.
    pub config: C,
    /// Its weight files, paths inside the folder.
    pub weights: Vec<String>,
}

/// The encoder's configs and files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderPart {
    /// The family and its sizes.
    pub config: EncoderConfig,
    /// Weight files, paths inside the folder.
    pub weights: Vec<String>,
    /// Hugging Face `tokenizer.json`.
    pub tokenizer: String,
    /// The chat template (Jinja); Qwen2.5-VL's own where the folder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// How pictures become patches.
    #[serde(default)]
    pub preprocessor: PreprocessorConfig,
    /// How the LLM answers.
    #[serde(default)]
    pub generation: GenerationConfig,
    /// Where its vision part is.
    #[serde(default, skip_serializing_if = "VisionPart::is_inside")]
    pub vision: VisionPart,
}

/// Where the vision part of an encoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisionPart {
    /// Among its weights.
    #[default]
    Inside,
    /// In a file that is not there: llama.cpp keeps it apart (`mmproj`). Text alone is read.
    Missing,
}

impl VisionPart {
    fn is_inside(&self) -> bool {
        *self == Self::Inside
    }
}

/// Size and hash of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// The keys of `model.json`.
const KEYS: &[(&str, Key)] = &[
    ("format", Key::Read),
    ("name", Key::Read),
    ("license", Key::Read),
    ("encoder", Key::Read),
    ("align_net", Key::Read),
    ("flux", Key::Read),
    ("vae", Key::Read),
    ("scheduler", Key::Read),
    ("defaults", Key::Read),
    ("files", Key::Read),
];

/// The keys of its `encoder`.
const ENCODER_KEYS: &[(&str, Key)] = &[
    ("config", Key::Read),
    ("weights", Key::Read),
    ("tokenizer", Key::Read),
    ("chat_template", Key::Read),
    ("preprocessor", Key::Read),
    ("generation", Key::Read),
    ("vision", Key::Read),
];

fn other_version(file: &str, format: u64) -> Error {
    let reason = format!("format {format} is not {FORMAT}; this file is from another version");
    Error::config(file, reason)
}

/// Reads the parts of a `model.json` by the rules of the published configs, and puts them back as our
/// structs write them.
fn read_parts(file: &str, mut json: Value, warnings: &mut Vec<String>) -> Result<Value> {
    let broken = |error: serde_json::Error| Error::config(file, error.to_string());
    let at = |json: &Value, pointer: &str| json.pointer(pointer).cloned();
    if let Some(encoder) = json.get("encoder") {
        check_keys(file, "encoder.", encoder, &[ENCODER_KEYS], warnings)?;
    }
    if let Some(defaults) = json.get("defaults") {
        Defaults::check_keys(file, defaults, warnings)?;
    }
    let named = |part: &str| format!("{file}: {part}");
    let mut read = Vec::new();
    if let Some(part) = at(&json, "/encoder/config") {
        let config = EncoderConfig::read(&named("encoder.config"), part, warnings)?;
        if let Some(part) = at(&json, "/encoder/preprocessor") {
            let name = named("encoder.preprocessor");
            let part = PreprocessorConfig::read(&name, &part, config.qwen_vision(), warnings)?;
            read.push(("/encoder/preprocessor", serde_json::to_value(part)));
        }
        read.push(("/encoder/config", serde_json::to_value(config)));
    }
    if let Some(part) = at(&json, "/encoder/generation") {
        let part = GenerationConfig::read(&named("encoder.generation"), &part)?;
        read.push(("/encoder/generation", serde_json::to_value(part)));
    }
    if let Some(part) = at(&json, "/flux/config") {
        let part = FluxConfig::read(&named("flux.config"), part, warnings)?;
        read.push(("/flux/config", serde_json::to_value(part)));
    }
    if let Some(part) = at(&json, "/vae/config") {
        let part = VaeConfig::read(&named("vae.config"), part, warnings)?;
        read.push(("/vae/config", serde_json::to_value(part)));
    }
    if let Some(part) = at(&json, "/scheduler") {
        let part = SchedulerConfig::read(&named("scheduler"), part, warnings)?;
        read.push(("/scheduler", serde_json::to_value(part)));
    }
    for (pointer, part) in read {
        if let Some(place) = json.pointer_mut(pointer) {
            *place = part.map_err(broken)?;
        }
    }
    Ok(json)
}

impl ModelConfig {
    /// Reads and checks `model.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming what can't be.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self> {
        let json: Value = parse(file, json)?;
        let format = json.get("format").and_then(Value::as_u64);
        if format.is_some_and(|format| format != u64::from(FORMAT)) {
            return Err(other_version(file, format.unwrap_or_default()));
        }
        let mut warnings = vec![];
        check_keys(file, "", &json, &[KEYS], &mut warnings)?;
        let mut config: Self = from_value(file, read_parts(file, json, &mut warnings)?)?;
        config.validate(file)?;
        config.warnings = warnings;
        Ok(config)
    }

    /// Checks the parts, and that they fit each other as far as configs tell.
    ///
    /// # Errors
    /// [`Error::Config`] naming what can't be.
    pub fn validate(&self, file: &str) -> Result<()> {
        if self.format != FORMAT {
            return Err(other_version(file, self.format.into()));
        }
        let weights = [
            ("encoder", &self.encoder.weights),
            ("align_net", &self.align_net.weights),
            ("flux", &self.flux.weights),
            ("vae", &self.vae.weights),
        ];
        for (part, weights) in weights {
            check(file, !weights.is_empty(), || {
                format!("{part}.weights is empty")
            })?;
        }
        self.encoder.config.validate(file)?;
        self.flux.config.validate(file)?;
        self.vae.config.validate(file)?;
        self.scheduler.validate(file)?;
        check(
            file,
            self.flux.config.in_channels == 4 * self.vae.config.latent_channels,
            || {
                format!(
                    "the transformer takes {} channels, 4 x the VAE's {} latent channels are {}",
                    self.flux.config.in_channels,
                    self.vae.config.latent_channels,
                    4 * self.vae.config.latent_channels
                )
            },
        )?;
        self.encoder.preprocessor.validate(file)?;
        self.encoder.generation.validate(file)?;
        self.defaults.validate(file, &self.encoder.config)
    }

    /// Refuses pictures and videos, which are shown as pictures, where the weights were trained
    /// without.
    ///
    /// # Errors
    /// [`Error::Modality`] naming the models that see.
    pub fn check_sees(&self) -> Result<()> {
        if self.encoder.vision == VisionPart::Missing {
            let files = self.encoder.weights.join(", ");
            return Err(Error::Modality {
                model: format!(
                    "model {} (the mmproj GGUF file of {files} is missing)",
                    self.name
                ),
                modality: "images or videos",
                alternatives: "the same one with its mmproj file beside the language model",
            });
        }
        match self.reads("image") {
            true => Ok(()),
            false => Err(Error::Modality {
                model: format!("model {}", self.name),
                modality: "images or videos",
                alternatives: "Qwen2.5-VL, InternVL2.5 and MiniCPM-o 2.6 with X2I's AlignNet",
            }),
        }
    }

    /// True when the weights were trained for this kind of input.
    pub fn reads(&self, modality: &str) -> bool {
        self.defaults
            .modalities
            .iter()
            .any(|known| known == modality)
    }
}
