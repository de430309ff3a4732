//! What a model folder holds: our own (`model.json` and GGUF) or Hugging Face's parts side by side.
//!
//! A Hugging Face folder has `flux/` (diffusers: `transformer`, `vae`, `scheduler`), `mllm/`
//! (transformers) and `proj/` (X2I's AlignNet); `x2i.json` beside them may name the model, point
//! to the parts elsewhere and set [`Defaults`]. `flux/` may also hold BFL's two single files,
//! `flux1-dev.safetensors` or `flux1-schnell.safetensors` and `ae.safetensors`. In place of a
//! part's weights may stand the community's GGUF files: one of any name for the transformer, one of
//! the language model and one of its vision part (`mmproj`).

mod llm;
mod painting;
mod survey;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::{Defaults, EncoderConfig, EncoderPart, FORMAT, GraphPart, ModelConfig, parse};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
use crate::weights::{
    Component, LocalBoxFuture, WeightFile, WeightSource, Weights, read_range, safetensors,
};

use llm::LlmPlace;
pub use llm::read_encoder;
pub use survey::{FoundPart, Survey, SurveyedPart, survey};

/// Named files: a folder on disk, a web address, or the model in the binary.
pub trait ModelSource: Send + Sync {
    /// What messages call it.
    fn name(&self) -> &str;
    /// Opens a file by its path inside the folder (`/` between parts; `..` where the source allows it).
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there is none, [`Error::Io`] when it can't be read.
    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>>;
    /// The names of the files in a folder of it, sorted; none where the source can't tell.
    ///
    /// # Errors
    /// [`Error::Io`] when it can't be read.
    fn list<'a>(&'a self, folder: &'a str) -> LocalBoxFuture<'a, Result<Vec<String>>> {
        let _ = folder;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// `x2i.json`: what a Hugging Face folder can't say itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
struct FolderHints {
    name: Option<String>,
    license: Option<String>,
    /// Folder of the transformer, VAE and scheduler, or the transformer's one weight file.
    flux: String,
    /// The VAE's folder or weight file, when it is not beside the transformer.
    vae: Option<String>,
    /// Folder of the multimodal LLM, or its two GGUF files.
    mllm: LlmPlace,
    /// Folder of AlignNet.
    proj: String,
    /// Keys of [`Defaults`] that differ from those of the LLM's family.
    defaults: Map<String, Value>,
}

impl Default for FolderHints {
    fn default() -> Self {
        Self {
            name: None,
            license: None,
            flux: "flux".into(),
            vae: None,
            mllm: LlmPlace::Folder("mllm".into()),
            proj: "proj".into(),
            defaults: Map::new(),
        }
    }
}

/// Reads what a model folder holds: `model.json`, or Hugging Face's configs.
///
/// # Errors
/// [`Error::MissingFile`] naming the first file that is missing, [`Error::Config`] for what can't be.
pub async fn read_config(source: &dyn ModelSource) -> Result<ModelConfig> {
    match read_optional(source, "model.json").await? {
        Some(json) => ModelConfig::from_json("model.json", &json),
        None => read_hugging_face(source).await,
    }
}

async fn read_hugging_face(source: &dyn ModelSource) -> Result<ModelConfig> {
    let hints = hints(source).await?;
    let FolderHints {
        flux,
        vae,
        mllm,
        proj,
        ..
    } = &hints;
    let encoder = llm::read_place(source, mllm).await?;
    let align_net = GraphPart {
        config: read_json_or_default::<Value>(source, &format!("{proj}/config.json")).await?,
        weights: weight_files(source, proj, &PROJ_STEMS).await?,
    };
    let graph = painting::read(source, flux, vae.as_deref()).await?;
    let defaults = family_defaults(&encoder.config, hints.defaults)?;
    let config = ModelConfig {
        format: FORMAT,
        name: hints
            .name
            .clone()
            .unwrap_or_else(|| source.name().to_owned()),
        license: hints.license.clone(),
        encoder,
        align_net,
        flux: graph.flux,
        vae: graph.vae,
        scheduler: graph.scheduler,
        defaults,
        files: Default::default(),
    };
    config.validate(source.name())?;
    Ok(config)
}

/// The names of AlignNet's weight files: X2I's, and its ComfyUI node's.
const PROJ_STEMS: [&str; 2] = ["diffusion_pytorch_model", "comfyui_proj"];

async fn hints(source: &dyn ModelSource) -> Result<FolderHints> {
    match read_optional(source, "x2i.json").await? {
        Some(json) => parse("x2i.json", &json),
        None => Ok(FolderHints::default()),
    }
}

/// What `x2i.json` says, and for the rest what X2I's script for the family does.
fn family_defaults(encoder: &EncoderConfig, hints: Map<String, Value>) -> Result<Defaults> {
    let broken = |error: serde_json::Error| Error::config("x2i.json", error.to_string());
    let mut defaults = serde_json::to_value(Defaults::of(encoder)).map_err(broken)?;
    if let Some(defaults) = defaults.as_object_mut() {
        defaults.extend(hints);
    }
    serde_json::from_value(defaults).map_err(broken)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// The folder of a path.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Opens all weight files of one part.
///
/// # Errors
/// As [`WeightFile::open`].
pub async fn open_weights(
    source: &dyn ModelSource,
    component: Component,
    files: &[String],
) -> Result<Weights> {
    let mut opened = Vec::with_capacity(files.len());
    for file in files {
        opened.push(WeightFile::open(source.open(file).await?).await?);
    }
    Weights::new(files.join(", "), component, opened)
}

/// Reads the encoder's tokenizer: `tokenizer.json`, `vocab.json` and `merges.txt` beside it, or
/// that of a GGUF file of the weights.
///
/// # Errors
/// [`Error::MissingFile`] when none of them is there, [`Error::Config`] when it can't be read.
pub async fn read_tokenizer(source: &dyn ModelSource, part: &EncoderPart) -> Result<Tokenizer> {
    if let Some(json) = read_optional(source, &part.tokenizer).await? {
        return Tokenizer::from_json(&part.tokenizer, &json);
    }
    let folder = parent(&part.tokenizer);
    let Some(vocab) = read_optional(source, &join(folder, "vocab.json")).await? else {
        let files = part.weights.iter().filter(|file| file.ends_with(".gguf"));
        for file in files {
            let file = WeightFile::open(source.open(file).await?).await?;
            if let Some(tokenizer) = Tokenizer::from_gguf(&file)? {
                return Ok(tokenizer);
            }
        }
        return Err(Error::MissingFile {
            file: part.tokenizer.clone(),
        });
    };
    let merges = read(source, &join(folder, "merges.txt")).await?;
    let tokenizer_config = read_optional(source, &join(folder, "tokenizer_config.json")).await?;
    Tokenizer::from_vocab_and_merges(folder, &vocab, &merges, tokenizer_config.as_deref())
}

/// The bytes of the encoder's `tokenizer.json`, made from what else there is where it is missing.
///
/// # Errors
/// As [`read_tokenizer`].
pub async fn tokenizer_json(source: &dyn ModelSource, part: &EncoderPart) -> Result<Vec<u8>> {
    match read_optional(source, &part.tokenizer).await? {
        Some(json) => Ok(json),
        None => Ok(read_tokenizer(source, part).await?.to_json()?.into_bytes()),
    }
}

/// The files of one part: single safetensors, shards by their index, a pickle, or GGUF.
async fn weight_files(
    source: &dyn ModelSource,
    folder: &str,
    stems: &[&str],
) -> Result<Vec<String>> {
    for stem in stems {
        let index = join(folder, &format!("{stem}.safetensors.index.json"));
        if let Some(json) = read_optional(source, &index).await? {
            let shards = safetensors::shard_names(&json)?;
            return Ok(shards
                .into_iter()
                .map(|shard| join(folder, &shard))
                .collect());
        }
        for extension in ["safetensors", "gguf", "bin", "pt"] {
            let file = join(folder, &format!("{stem}.{extension}"));
            if exists(source, &file).await? {
                return Ok(vec![file]);
            }
        }
    }
    Err(Error::MissingFile {
        file: join(folder, &format!("{}.safetensors", stems[0])),
    })
}

/// The GGUF files of a folder, by their paths.
async fn gguf_files(source: &dyn ModelSource, folder: &str) -> Result<Vec<String>> {
    let names = source.list(folder).await?.into_iter();
    let ggufs = names.filter(|name| name.ends_with(".gguf"));
    Ok(ggufs.map(|name| join(folder, &name)).collect())
}

/// The one GGUF file of a folder, if there is any.
///
/// # Errors
/// [`Error::Config`] when there are several.
async fn one_gguf(source: &dyn ModelSource, folder: &str) -> Result<Option<String>> {
    let mut files = gguf_files(source, folder).await?;
    if files.len() > 1 {
        let reason = format!(
            "has several GGUF files ({}); keep one, or name it in x2i.json",
            files.join(", ")
        );
        return Err(Error::config(folder, reason));
    }
    Ok(files.pop())
}

/// All bytes of a file.
///
/// # Errors
/// [`Error::MissingFile`] or [`Error::Io`].
pub async fn read(source: &dyn ModelSource, file: &str) -> Result<Vec<u8>> {
    let opened = source.open(file).await?;
    let bytes = read_range(&*opened, 0..opened.len()).await?;
    Ok(bytes.into_owned())
}

async fn read_optional(source: &dyn ModelSource, file: &str) -> Result<Option<Vec<u8>>> {
    match read(source, file).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::MissingFile { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn exists(source: &dyn ModelSource, file: &str) -> Result<bool> {
    match source.open(file).await {
        Ok(_) => Ok(true),
        Err(Error::MissingFile { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn read_json<T: serde::de::DeserializeOwned>(
    source: &dyn ModelSource,
    file: &str,
) -> Result<T> {
    parse(file, &read(source, file).await?)
}

async fn read_json_or_default<T: serde::de::DeserializeOwned + Default>(
    source: &dyn ModelSource,
    file: &str,
) -> Result<T> {
    match read_optional(source, file).await? {
        Some(json) => parse(file, &json),
        None => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PromptFormat;
    use serde_json::json;

    fn intern() -> EncoderConfig {
        let json = include_bytes!("../configs/internvl2.5-1b.json");
        EncoderConfig::from_json("config.json", json).unwrap()
    }

    /// The defaults under an `x2i.json` with these.
    fn defaults(hints: Value) -> Result<Defaults> {
        let hints: FolderHints = serde_json::from_value(json!({ "defaults": hints })).unwrap();
        family_defaults(&intern(), hints.defaults)
    }

    #[test]
    fn a_folder_takes_the_defaults_of_its_family() {
        let script = defaults(json!({})).unwrap();
        assert_eq!(script, Defaults::of(&intern()));
        assert_eq!(script.prompt_format, PromptFormat::InternVl);
    }

    #[test]
    fn what_x2i_json_says_comes_first() {
        let said = defaults(json!({ "prompt_format": "plain", "padding": null, "steps": 9 }));
        let said = said.unwrap();
        assert_eq!(
            (said.prompt_format, said.padding, said.steps),
            (PromptFormat::Plain, None, 9)
        );
        assert_eq!(said.width, Defaults::of(&intern()).width);
        let broken = defaults(json!({ "steps": "many" }))
            .unwrap_err()
            .to_string();
        assert!(broken.starts_with("x2i.json: "), "{broken}");
    }
}
