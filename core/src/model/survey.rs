//! What a model folder holds, part by part, when something may be missing.
//!
//! [`read_config`](super::read_config) stops at the first thing that is not there; this goes on, so that
//! a user hears of all at once.

use super::files::open_weights;
use super::hints::{FolderHints, hints};
use super::source::{ModelSource, read_optional};
use super::tokenizer::read_tokenizer;
use super::{align_net, llm, painting};
use crate::config::{GraphPart, ModelConfig};
use crate::error::{Error, Result};
use crate::weights::{Component, Weights};

/// One part of a folder.
pub struct SurveyedPart {
    /// `encoder`, `align_net`, `flux` or `vae`.
    pub part: &'static str,
    /// What it is, in words.
    pub what: &'static str,
    /// Its opened files, or why it can't be used.
    pub found: Result<FoundPart>,
}

/// A part that is there.
pub struct FoundPart {
    /// How its tensors are named.
    pub component: Component,
    /// Its weight files.
    pub files: Vec<String>,
    /// Their headers.
    pub weights: Weights,
}

/// What a folder holds.
pub struct Survey {
    /// Its name.
    pub name: String,
    /// All four parts.
    pub parts: Vec<SurveyedPart>,
    /// Whether there is a tokenizer; none where the encoder's place is not known.
    pub tokenizer: Option<Result<()>>,
}

impl Survey {
    /// What is missing or broken, a sentence each.
    pub fn problems(&self) -> impl Iterator<Item = (&'static str, &Error)> {
        let parts = self.parts.iter();
        let parts = parts.filter_map(|part| Some((part.what, part.found.as_ref().err()?)));
        let tokenizer = self.tokenizer.as_ref().and_then(|read| read.as_ref().err());
        parts.chain(tokenizer.map(|error| ("the tokenizer", error)))
    }
}

/// Looks at every part of a folder.
///
/// # Errors
/// [`Error::Config`] for a `model.json` or `x2i.json` that can't be read: nothing is known then.
pub async fn survey(source: &dyn ModelSource) -> Result<Survey> {
    if let Some(json) = read_optional(source, "model.json").await? {
        let config = ModelConfig::from_json("model.json", &json)?;
        return Ok(survey_parts(source, config).await);
    }
    let hints = hints(source).await?;
    let FolderHints {
        flux,
        vae,
        mllm,
        proj,
        ..
    } = &hints;
    let encoder = llm::read_place(source, mllm).await;
    let tokenizer = match &encoder {
        Ok(encoder) => Some(read_tokenizer(source, encoder).await.map(drop)),
        Err(_) => None,
    };
    let known = encoder.as_ref().ok().map(|encoder| &encoder.config);
    let align_net = match align_net::read(source, proj, known).await {
        Ok(part) => open(source, Component::AlignNet, &part.weights).await,
        Err(error) => Err(error),
    };
    let encoder = match encoder {
        Ok(part) => open(source, part.config.component(), &part.weights).await,
        Err(error) => Err(error),
    };
    let (flux, vae) = match painting::read(source, flux, vae.as_deref()).await {
        Ok(parts) => {
            let files = |part: &GraphPart<_>| part.weights.clone();
            let flux = open(source, Component::Flux, &files(&parts.flux)).await;
            (flux, open(source, Component::Vae, &parts.vae.weights).await)
        }
        Err(error) => {
            let reason = "is not looked at before the transformer is there";
            let unknown = Error::config(vae.clone().unwrap_or_else(|| flux.clone()), reason);
            (Err(error), Err(unknown))
        }
    };
    let name = hints.name.unwrap_or_else(|| source.name().to_owned());
    Ok(Survey {
        name,
        parts: parts(encoder, align_net, flux, vae),
        tokenizer,
    })
}

/// The parts that a `model.json` names.
async fn survey_parts(source: &dyn ModelSource, config: ModelConfig) -> Survey {
    let encoder = &config.encoder;
    let tokenizer = read_tokenizer(source, encoder).await.map(drop);
    Survey {
        parts: parts(
            open(source, encoder.config.component(), &encoder.weights).await,
            open(source, Component::AlignNet, &config.align_net.weights).await,
            open(source, Component::Flux, &config.flux.weights).await,
            open(source, Component::Vae, &config.vae.weights).await,
        ),
        tokenizer: Some(tokenizer),
        name: config.name,
    }
}

fn parts(
    encoder: Result<FoundPart>,
    align_net: Result<FoundPart>,
    flux: Result<FoundPart>,
    vae: Result<FoundPart>,
) -> Vec<SurveyedPart> {
    let part = |part, what, found| SurveyedPart { part, what, found };
    vec![
        part("encoder", "the multimodal LLM", encoder),
        part("align_net", "AlignNet", align_net),
        part("flux", "the transformer", flux),
        part("vae", "the VAE", vae),
    ]
}

async fn open(
    source: &dyn ModelSource,
    component: Component,
    files: &[String],
) -> Result<FoundPart> {
    let weights = open_weights(source, component, files).await?;
    Ok(FoundPart {
        component,
        files: files.to_vec(),
        weights,
    })
}
