//! What a model folder holds: our own (`model.json` and GGUF) or Hugging Face's parts side by side.
//!
//! A Hugging Face folder has `flux/` (diffusers: `transformer`, `vae`, `scheduler`), `mllm/`
//! (transformers) and `proj/` (X2I's AlignNet); `x2i.json` beside them may name the model, point
//! to the parts elsewhere and set [`Defaults`](crate::config::Defaults). `flux/` may also hold BFL's two single files,
//! `flux1-dev.safetensors` or `flux1-schnell.safetensors` and `ae.safetensors`. In place of a
//! part's weights may stand the community's GGUF files: one of any name for the transformer, one of
//! the language model and one of its vision part (`mmproj`).

mod files;
mod hints;
mod llm;
mod painting;
mod source;
mod survey;
mod tokenizer;

use serde_json::Value;

use crate::config::{FORMAT, GraphPart, ModelConfig};
use crate::error::Result;

pub use files::open_weights;
use files::{PROJ_STEMS, weight_files};
use hints::{FolderHints, family_defaults, hints};
pub use llm::read_encoder;
pub use source::{ModelSource, read};
use source::{read_json_or_default, read_optional};
pub use survey::{FoundPart, Survey, SurveyedPart, survey};
pub use tokenizer::{read_tokenizer, tokenizer_json};

/// Reads what a model folder holds: `model.json`, or Hugging Face's configs.
///
/// # Errors
/// [`MissingFile`](crate::Error::MissingFile) naming the first file that is missing,
/// [`Config`](crate::Error::Config) for what can't be.
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
    let mut warnings = vec![];
    let encoder = llm::read_place(source, mllm, &mut warnings).await?;
    let align_net = GraphPart {
        config: read_json_or_default::<Value>(source, &format!("{proj}/config.json")).await?,
        weights: weight_files(source, proj, &PROJ_STEMS).await?,
    };
    let graph = painting::read(source, flux, vae.as_deref(), &mut warnings).await?;
    let defaults = family_defaults(&encoder.config, hints.defaults, &mut warnings)?;
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
        warnings,
    };
    config.validate(source.name())?;
    Ok(config)
}
