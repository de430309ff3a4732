//! `model.json`: the parts of a model folder, their configs, and what a request defaults to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{check, check_sizes, from_value, parse};
use super::internvl_hf;
use super::keys::{Key, check_keys};
use super::limits::{ANSWER, IMAGE_SIDE, PADDING, SIDE, STEPS, check_limits};
use super::{
    FluxConfig, GenerationConfig, InternVl2_5Config, MiniCpmOConfig, PreprocessorConfig,
    Qwen2_5VlConfig, Qwen2Config, SchedulerConfig, VaeConfig, VisionConfig,
};
use crate::error::{Error, Result};
use crate::video::sampling::Sampling;
use crate::weights::Component;

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

    fn validate(&self, file: &str) -> Result<()> {
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

    /// Hidden states that it gives: the embedding and every layer.
    pub fn hidden_states(&self) -> usize {
        self.decoder().num_hidden_layers + 1
    }
}

/// What a request takes where it says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance.
    pub guidance: f32,
    /// Whose hidden states paint.
    pub conditioning: Conditioning,
    /// How the user's words are wrapped before the chat template.
    pub prompt_format: PromptFormat,
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// Pads (and cuts) the prompt to one length, as X2I's scripts do.
    pub padding: Option<Padding>,
    /// Input pictures are first resized to this (width, height), as X2I's scripts do.
    pub input_image_size: Option<[usize; 2]>,
    /// The most earlier turns of a conversation that the LLM is shown; none means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_turns: Option<usize>,
    /// Kinds of input that the weights were trained for: `text`, `image`.
    pub modalities: Vec<String>,
}

impl Defaults {
    /// What X2I's script for this family does.
    pub fn of(encoder: &EncoderConfig) -> Self {
        match encoder {
            EncoderConfig::Qwen2_5Vl(_) => Self::default(),
            EncoderConfig::InternVl2_5(_) => Self {
                prompt_format: PromptFormat::InternVl,
                ..Self::default()
            },
            EncoderConfig::MiniCpmO(_) => Self {
                padding: None,
                input_image_size: None,
                modalities: ["text", "image", "video", "audio"]
                    .map(str::to_owned)
                    .into(),
                ..Self::default()
            },
        }
    }
}

impl Default for Defaults {
    /// X2I's `inference_qwenvl.py`.
    fn default() -> Self {
        Self {
            width: 1024,
            height: 1024,
            steps: 4,
            guidance: 3.5,
            conditioning: Conditioning::Prompt,
            prompt_format: PromptFormat::Plain,
            max_new_tokens: 128,
            padding: Some(Padding {
                max_length: 512,
                side: PaddingSide::Right,
            }),
            input_image_size: Some([128, 128]),
            earlier_turns: None,
            modalities: vec!["text".into(), "image".into()],
        }
    }
}

/// Whose hidden states paint the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditioning {
    /// The prompt's own tokens (X2I's text2image).
    Prompt,
    /// The tokens of the LLM's answer (X2I's reasoning2image).
    Answer,
}

/// How the user's words are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptFormat {
    /// As they are (X2I's `inference_qwenvl.py`).
    Plain,
    /// The Python dict that X2I's ComfyUI node builds.
    Comfy,
    /// The Python dict of X2I's `inference_internvl.py`.
    #[serde(rename = "internvl")]
    InternVl,
}

/// Padding of the prompt to one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Padding {
    /// Tokens after padding; longer prompts are cut at the end.
    pub max_length: usize,
    /// Where the padding stands.
    pub side: PaddingSide,
}

/// Where padding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingSide {
    /// Before the prompt.
    Left,
    /// After the prompt.
    Right,
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

/// The keys of its `defaults`, and of those in `x2i.json`.
const DEFAULT_KEYS: &[(&str, Key)] = &[
    ("width", Key::Read),
    ("height", Key::Read),
    ("steps", Key::Read),
    ("guidance", Key::Read),
    ("conditioning", Key::Read),
    ("prompt_format", Key::Read),
    ("max_new_tokens", Key::Read),
    ("padding", Key::Read),
    ("input_image_size", Key::Read),
    ("earlier_turns", Key::Read),
    ("modalities", Key::Read),
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
        check_keys(file, "defaults.", defaults, &[DEFAULT_KEYS], warnings)?;
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

impl Defaults {
    /// The keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// Never: all keys are read.
    pub(crate) fn check_keys(file: &str, json: &Value, warnings: &mut Vec<String>) -> Result<()> {
        check_keys(file, "defaults.", json, &[DEFAULT_KEYS], warnings)
    }

    fn validate(&self, file: &str, encoder: &EncoderConfig) -> Result<()> {
        if let Some(Padding { max_length, .. }) = self.padding {
            check(file, max_length > 0, || "padding.max_length is 0".into())?;
            check_limits(file, "", &[("padding.max_length", max_length, PADDING)])?;
            let most = encoder.decoder().max_position_embeddings;
            check(file, max_length <= most, || {
                format!("padding.max_length {max_length} is above max_position_embeddings {most}")
            })?;
        }
        for (key, side) in [("width", self.width), ("height", self.height)] {
            let fits = side.is_multiple_of(16) && (16..=IMAGE_SIDE).contains(&side);
            check(file, fits, || {
                format!(
                    "defaults.{key} {side} must be a multiple of 16 between 16 and {IMAGE_SIDE}"
                )
            })?;
        }
        check(file, (1..=STEPS).contains(&self.steps), || {
            format!(
                "defaults.steps {} must be between 1 and {STEPS}",
                self.steps
            )
        })?;
        check(
            file,
            self.guidance.is_finite() && self.guidance >= 0.0,
            || {
                format!(
                    "defaults.guidance {} must be a number from 0 on",
                    self.guidance
                )
            },
        )?;
        check_sizes(
            file,
            "defaults.",
            &[("max_new_tokens", self.max_new_tokens)],
        )?;
        check_limits(file, "", &[("max_new_tokens", self.max_new_tokens, ANSWER)])?;
        let [width, height] = self.input_image_size.unwrap_or([1, 1]);
        check(file, width > 0 && height > 0, || {
            format!("input_image_size [{width}, {height}] has a side of 0")
        })?;
        check_limits(file, "", &[("input_image_size", width.max(height), SIDE)])
    }
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
