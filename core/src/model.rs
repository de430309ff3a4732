//! What a model folder holds: our own (`model.json` and GGUF) or Hugging Face's parts side by side.
//!
//! A Hugging Face folder has `flux/` (diffusers: `transformer`, `vae`, `scheduler`), `mllm/`
//! (transformers) and `proj/` (X2I's AlignNet); `x2i.json` beside them may name the model, point
//! to the parts elsewhere and set [`Defaults`](crate::config::Defaults). `flux/` may also hold BFL's two single files,
//! `flux1-dev.safetensors` or `flux1-schnell.safetensors` and `ae.safetensors`. In place of a
//! part's weights may stand the community's GGUF files: one of any name for the transformer, one of
//! the language model and one of its vision part (`mmproj`).

mod align_net;
mod files;
mod hints;
mod llm;
mod llm_gguf;
mod painting;
mod quantization;
mod source;
mod survey;
mod teacher;
mod tokenizer;
mod weight_name;

use crate::config::{FORMAT, ModelConfig};
use crate::error::Result;

pub use files::open_weights;
use hints::{FolderHints, family_defaults, hints};
pub use llm::read_encoder;
use source::read_optional;
pub use source::{ModelSource, read};
pub use survey::{FoundPart, Survey, SurveyedPart, survey};
pub use teacher::{ClipTokenizerFiles, TeacherParts, TeacherPlaces, TokenizerFiles, read_teacher};
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

/// What a user may want to know of how the files of `config` were chosen, a sentence each: of two
/// vision parts one is taken.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when a folder can't be read.
pub async fn notices(source: &dyn ModelSource, config: &ModelConfig) -> Result<Vec<String>> {
    llm_gguf::left_out(source, &config.encoder).await
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
    let align_net = align_net::read(source, proj, Some(&encoder.config)).await?;
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
