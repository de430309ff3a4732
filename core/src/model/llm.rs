//! A multimodal LLM's folder: as transformers writes it, ComfyUI's single file beside its configs, or
//! GGUF files as llama.cpp does, which are the language model and its vision file (`mmproj`).

use serde::Deserialize;
use serde_json::Value;

use super::files::{file_sets, one_of, weight_files};
use super::llm_gguf::{Ggufs, choose, vision_beside};
use super::quantization;
use super::source::{ModelSource, exists, join, parent, read, read_json_or_default, read_optional};
use super::weight_name::{Kind, kind, with_siblings};
use crate::config::{
    EncoderConfig, EncoderPart, GenerationConfig, PreprocessorConfig, Qwen2_5VlGguf, VisionPart,
    parse,
};
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
pub(super) async fn read_place(
    source: &dyn ModelSource,
    place: &LlmPlace,
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    match place {
        LlmPlace::Place(file) if kind(file).is_some() => {
            read_file(source, file, (None, None), warnings).await
        }
        LlmPlace::Place(folder) => read_folder(source, folder, warnings).await,
        LlmPlace::Files {
            model,
            mmproj,
            config,
        } => {
            read_file(
                source,
                model,
                (mmproj.as_deref(), config.as_deref()),
                warnings,
            )
            .await
        }
    }
}

/// Reads an LLM whose file is named.
async fn read_file(
    source: &dyn ModelSource,
    model: &str,
    (mmproj, config): (Option<&str>, Option<&str>),
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    let folder = config.unwrap_or(parent(model));
    let mut sets = vec![with_siblings(model)];
    if kind(model) != Some(Kind::Gguf) {
        let weights = (sets.remove(0), VisionPart::Inside);
        return read_transformers(source, folder, weights, warnings).await;
    }
    match mmproj {
        Some(mmproj) => sets.push(with_siblings(mmproj)),
        None => sets.extend(vision_beside(source, parent(model)).await?),
    }
    read_ggufs(source, folder, sets, warnings).await
}

/// Reads a multimodal LLM's folder as transformers or llama.cpp writes it.
///
/// # Errors
/// [`Error::MissingFile`] naming the first file that is missing, [`Error::Config`] for what can't be.
pub async fn read_encoder(source: &dyn ModelSource, folder: &str) -> Result<EncoderPart> {
    read_folder(source, folder, &mut vec![]).await
}

/// The same; keys that are not known go to `warnings`.
async fn read_folder(
    source: &dyn ModelSource,
    folder: &str,
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    let ggufs = file_sets(source, folder, Kind::Gguf).await?;
    if !exists(source, &join(folder, "config.json")).await? && !ggufs.is_empty() {
        return read_ggufs(source, folder, ggufs, warnings).await;
    }
    let missing = match weight_files(source, folder, &STEMS).await {
        Ok(weights) => {
            let weights = (weights, VisionPart::Inside);
            return read_transformers(source, folder, weights, warnings).await;
        }
        Err(error @ Error::MissingFile { .. }) => error,
        Err(error) => return Err(error),
    };
    if !ggufs.is_empty() {
        return read_ggufs(source, folder, ggufs, warnings).await;
    }
    // ComfyUI's one file has the model's name.
    let sets = file_sets(source, folder, Kind::Safetensors).await?;
    match one_of(folder, sets, "safetensors")? {
        Some(weights) => {
            let weights = (weights, VisionPart::Inside);
            read_transformers(source, folder, weights, warnings).await
        }
        // What is missing is the config where nothing is there at all.
        None => match exists(source, &join(folder, "config.json")).await? {
            true => Err(missing),
            // The source's own error has the whole path.
            false => Err(read(source, &join(folder, "config.json"))
                .await
                .err()
                .unwrap_or(missing)),
        },
    }
}

/// Weights beside transformers' own configs.
async fn read_transformers(
    source: &dyn ModelSource,
    folder: &str,
    (weights, vision): (Vec<String>, VisionPart),
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    let path = |name: &str| join(folder, name);
    let config = path("config.json");
    let json = read(source, &config).await?;
    quantization::check(&config, &json)?;
    let values: Value = parse(&config, &json)?;
    let scaled = quantization::scales_fp8(&values);
    let config = EncoderConfig::read(&config, values, warnings)?;
    if scaled {
        quantization::check_scales(source, config.component(), &weights).await?;
    }
    let (file, preprocessor) = preprocessor(source, folder).await?;
    let generation = path("generation_config.json");
    let answers: Value = read_json_or_default(source, &generation).await?;
    Ok(EncoderPart {
        weights,
        tokenizer: path("tokenizer.json"),
        chat_template: chat_template(source, folder).await?,
        preprocessor: PreprocessorConfig::read(
            &file,
            &preprocessor,
            config.qwen_vision(),
            warnings,
        )?,
        generation: GenerationConfig::read(&generation, &answers)?,
        config,
        vision,
    })
}

/// `preprocessor_config.json`, or what transformers from 5 on writes in its place: the
/// `image_processor` of `processor_config.json`.
async fn preprocessor(source: &dyn ModelSource, folder: &str) -> Result<(String, Value)> {
    let file = join(folder, "preprocessor_config.json");
    if let Some(json) = read_optional(source, &file).await? {
        let json = parse(&file, &json)?;
        return Ok((file, json));
    }
    let file = join(folder, "processor_config.json");
    let mut json: Value = read_json_or_default(source, &file).await?;
    let inner = json.get_mut("image_processor").map(Value::take);
    Ok((file, inner.unwrap_or_default()))
}

/// The language model and its vision file among `sets`; configs in `folder` come first.
async fn read_ggufs(
    source: &dyn ModelSource,
    folder: &str,
    sets: Vec<Vec<String>>,
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    let Ggufs {
        paths: weights,
        files,
        vision,
    } = choose(source, folder, sets).await?;
    if exists(source, &join(folder, "config.json")).await? {
        return read_transformers(source, folder, (weights, vision), warnings).await;
    }
    check_split(&files)?;
    let tensors = Weights::new(weights.join(", "), Component::Qwen2_5Vl, files)?;
    let json = Qwen2_5VlGguf::read(&tensors, warnings)?;
    let or_json = async |name: &str, own: Value| match read_optional(source, name).await? {
        Some(json) => parse(name, &json),
        None => Ok(own),
    };
    let path = |name: &str| join(folder, name);
    let config = EncoderConfig::read(&weights.join(", "), json.config, warnings)?;
    let preprocessor = path("preprocessor_config.json");
    let generation = path("generation_config.json");
    let pictures = or_json(&preprocessor, json.preprocessor).await?;
    let answers = or_json(&generation, json.generation).await?;
    Ok(EncoderPart {
        tokenizer: path("tokenizer.json"),
        chat_template: chat_template(source, folder).await?,
        preprocessor: PreprocessorConfig::read(
            &preprocessor,
            &pictures,
            config.qwen_vision(),
            warnings,
        )?,
        generation: GenerationConfig::read(&generation, &answers)?,
        config,
        weights,
        vision,
    })
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
