//! A multimodal LLM's folder: as transformers writes it, ComfyUI's single file beside its configs, or
//! GGUF files as llama.cpp does, which are the language model and its vision file (`mmproj`).

use serde::Deserialize;
use serde_json::Value;

use super::files::{file_sets, one_of, weight_files};
use super::llm_gguf::{Ggufs, choose, vision_beside};
use super::source::{ModelSource, exists, join, parent, read, read_json_or_default, read_optional};
use super::weight_name::{Kind, kind, with_siblings};
use crate::config::{EncoderConfig, EncoderPart, Qwen2_5VlGguf, VisionPart, parse};
use crate::error::{Error, Result};
use crate::weights::{Component, Weights, check_split};

/// The usual names of weights, transformers' own and before safetensors.
const STEMS: [&str; 2] = ["model", "pytorch_model"];

/// Where the LLM is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum LlmPlace {
    /// A folder, or the language model's file with its other files beside it.
    Place(String),
    /// Files by their names.
    Files {
        /// The language model.
        model: String,
        /// The vision part of a GGUF file; one beside it if there is no name.
        mmproj: Option<String>,
        /// The folder of `config.json` and the tokenizer; the model's own if there is no name.
        config: Option<String>,
    },
}

/// Reads the LLM from wherever it is.
pub(super) async fn read_place(source: &dyn ModelSource, place: &LlmPlace) -> Result<EncoderPart> {
    match place {
        LlmPlace::Place(file) if kind(file).is_some() => read_file(source, file, None, None).await,
        LlmPlace::Place(folder) => read_encoder(source, folder).await,
        LlmPlace::Files {
            model,
            mmproj,
            config,
        } => read_file(source, model, mmproj.as_deref(), config.as_deref()).await,
    }
}

/// Reads an LLM whose file is named.
async fn read_file(
    source: &dyn ModelSource,
    model: &str,
    mmproj: Option<&str>,
    config: Option<&str>,
) -> Result<EncoderPart> {
    let folder = config.unwrap_or(parent(model));
    let mut sets = vec![with_siblings(model)];
    if kind(model) != Some(Kind::Gguf) {
        return read_transformers(source, folder, sets.remove(0), VisionPart::Inside).await;
    }
    match mmproj {
        Some(mmproj) => sets.push(with_siblings(mmproj)),
        None => sets.extend(vision_beside(source, parent(model)).await?),
    }
    read_ggufs(source, folder, sets).await
}

/// Reads a multimodal LLM's folder as transformers or llama.cpp writes it.
///
/// # Errors
/// [`Error::MissingFile`] naming the first file that is missing, [`Error::Config`] for what can't be.
pub async fn read_encoder(source: &dyn ModelSource, folder: &str) -> Result<EncoderPart> {
    let ggufs = file_sets(source, folder, Kind::Gguf).await?;
    if !exists(source, &join(folder, "config.json")).await? && !ggufs.is_empty() {
        return read_ggufs(source, folder, ggufs).await;
    }
    let missing = match weight_files(source, folder, &STEMS).await {
        Ok(weights) => {
            return read_transformers(source, folder, weights, VisionPart::Inside).await;
        }
        Err(error @ Error::MissingFile { .. }) => error,
        Err(error) => return Err(error),
    };
    if !ggufs.is_empty() {
        return read_ggufs(source, folder, ggufs).await;
    }
    // ComfyUI's one file has the model's name.
    let sets = file_sets(source, folder, Kind::Safetensors).await?;
    match one_of(folder, sets, "safetensors")? {
        Some(weights) => read_transformers(source, folder, weights, VisionPart::Inside).await,
        // What is missing is the config where nothing is there at all.
        None => match exists(source, &join(folder, "config.json")).await? {
            true => Err(missing),
            false => Err(Error::MissingFile {
                file: join(folder, "config.json"),
            }),
        },
    }
}

/// Weights beside transformers' own configs.
async fn read_transformers(
    source: &dyn ModelSource,
    folder: &str,
    weights: Vec<String>,
    vision: VisionPart,
) -> Result<EncoderPart> {
    let path = |name: &str| join(folder, name);
    let config = path("config.json");
    let json = read(source, &config).await?;
    Ok(EncoderPart {
        config: EncoderConfig::from_json(&config, &json)?,
        weights,
        tokenizer: path("tokenizer.json"),
        chat_template: chat_template(source, folder).await?,
        preprocessor: read_json_or_default(source, &path("preprocessor_config.json")).await?,
        generation: read_json_or_default(source, &path("generation_config.json")).await?,
        vision,
    })
}

/// The language model and its vision file among `sets`; configs in `folder` come first.
async fn read_ggufs(
    source: &dyn ModelSource,
    folder: &str,
    sets: Vec<Vec<String>>,
) -> Result<EncoderPart> {
    let Ggufs {
        paths: weights,
        files,
        vision,
    } = choose(source, folder, sets).await?;
    if exists(source, &join(folder, "config.json")).await? {
        return read_transformers(source, folder, weights, vision).await;
    }
    check_split(&files)?;
    let tensors = Weights::new(weights.join(", "), Component::Qwen2_5Vl, files)?;
    let json = Qwen2_5VlGguf::read(&tensors)?;
    let or_json = async |name: &str, own: Value| match read_optional(source, name).await? {
        Some(json) => parse(name, &json),
        None => Ok(own),
    };
    let path = |name: &str| join(folder, name);
    let config = json.config.to_string();
    let preprocessor = path("preprocessor_config.json");
    let generation = path("generation_config.json");
    Ok(EncoderPart {
        config: EncoderConfig::from_json(&weights.join(", "), config.as_bytes())?,
        tokenizer: path("tokenizer.json"),
        chat_template: chat_template(source, folder).await?,
        preprocessor: from_value(
            &preprocessor,
            or_json(&preprocessor, json.preprocessor).await?,
        )?,
        generation: from_value(&generation, or_json(&generation, json.generation).await?)?,
        weights,
        vision,
    })
}

fn from_value<T: serde::de::DeserializeOwned>(file: &str, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| Error::config(file, error.to_string()))
}

/// The chat template from `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`.
/// That of a GGUF file is not taken: many were changed for llama.cpp.
async fn chat_template(source: &dyn ModelSource, folder: &str) -> Result<Option<String>> {
    if let Some(jinja) = read_optional(source, &join(folder, "chat_template.jinja")).await? {
        return String::from_utf8(jinja)
            .map(Some)
            .map_err(|_| Error::config("chat_template.jinja", "is not UTF-8"));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let file = join(folder, name);
        if let Some(json) = read_optional(source, &file).await? {
            let json: Value = parse(&file, &json)?;
            if let Some(template) = json.get("chat_template").and_then(Value::as_str) {
                return Ok(Some(template.to_owned()));
            }
        }
    }
    Ok(None)
}
