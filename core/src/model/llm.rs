//! A multimodal LLM's folder: as transformers writes it, or GGUF files as llama.cpp does, which
//! are the language model and its vision file (`mmproj`).

use serde::Deserialize;
use serde_json::Value;

use super::files::{gguf_files, weight_files};
use super::source::{ModelSource, exists, join, parent, read, read_json_or_default, read_optional};
use crate::config::{
    EncoderConfig, EncoderPart, GenerationConfig, PreprocessorConfig, Qwen2_5VlGguf, parse,
};
use crate::error::{Error, Result};
use crate::weights::gguf::MetaValue;
use crate::weights::{Component, WeightFile, Weights};

/// Where the LLM is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum LlmPlace {
    /// A folder.
    Folder(String),
    /// Two GGUF files.
    Files { model: String, mmproj: String },
}

/// Reads the LLM from wherever it is.
pub(super) async fn read_place(
    source: &dyn ModelSource,
    place: &LlmPlace,
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    match place {
        LlmPlace::Folder(folder) => read_folder(source, folder, warnings).await,
        LlmPlace::Files { model, mmproj } => {
            let folder = parent(model);
            read_gguf(
                source,
                folder,
                vec![model.clone(), mmproj.clone()],
                warnings,
            )
            .await
        }
    }
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
    let path = |name: &str| join(folder, name);
    let config = path("config.json");
    let ggufs = gguf_files(source, folder).await?;
    if !exists(source, &config).await? && !ggufs.is_empty() {
        return read_gguf(source, folder, ggufs, warnings).await;
    }
    let json = read(source, &config).await?;
    let weights = match weight_files(source, folder, &["model"]).await {
        Err(Error::MissingFile { .. }) if !ggufs.is_empty() => ggufs,
        found => found?,
    };
    let config = EncoderConfig::read(&config, parse(&config, &json)?, warnings)?;
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

/// The language model and its vision file among `paths`; configs beside them come first.
async fn read_gguf(
    source: &dyn ModelSource,
    folder: &str,
    paths: Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<EncoderPart> {
    let (mut models, mut vision) = (Vec::new(), Vec::new());
    for path in paths {
        let file = WeightFile::open(source.open(&path).await?).await?;
        match text(&file, "general.architecture") {
            Some("qwen2vl") => models.push((path, file)),
            Some("clip") => vision.push((path, file)),
            other => {
                let reason = format!(
                    "is a GGUF file of {}, neither of qwen2vl (Qwen2.5-VL) nor of its vision part (clip)",
                    other.unwrap_or("no architecture")
                );
                return Err(Error::config(path, reason));
            }
        }
    }
    let parts = models
        .first()
        .and_then(|(_, file)| file.metadata_value("split.count")?.as_u64());
    if parts.unwrap_or(1).max(1) != models.len() as u64 {
        return Err(not_one(folder, "the language model", &models));
    }
    if vision.len() != 1 {
        return Err(not_one(folder, "the vision part (mmproj)", &vision));
    }
    let opened = models.into_iter().chain(vision);
    let (weights, files): (Vec<String>, Vec<WeightFile>) = opened.unzip();
    let tensors = Weights::new(weights.join(", "), Component::Qwen2_5Vl, files)?;
    let json = Qwen2_5VlGguf::read(&tensors)?;
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
    })
}

fn text<'a>(file: &'a WeightFile, key: &str) -> Option<&'a str> {
    file.metadata_value(key).and_then(MetaValue::as_str)
}

/// There are none or several, and only the user knows which.
fn not_one(folder: &str, what: &str, files: &[(String, WeightFile)]) -> Error {
    let names: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let found = match names.is_empty() {
        true => "none is there".to_owned(),
        false => format!("there are {}", names.join(", ")),
    };
    let reason = format!(
        "one GGUF file of {what} is needed, {found}; name both in x2i.json: \"mllm\": {{\"model\": \
         \"..\", \"mmproj\": \"..\"}}"
    );
    Error::config(folder, reason)
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
