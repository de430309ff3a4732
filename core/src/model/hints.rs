//! `x2i.json`: what a Hugging Face folder can't say itself.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::llm::LlmPlace;
use super::source::{ModelSource, read_optional};
use crate::config::{Defaults, EncoderConfig, from_value, parse};
use crate::error::{Error, Result};

/// `x2i.json`: what a Hugging Face folder can't say itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct FolderHints {
    pub(super) name: Option<String>,
    pub(super) license: Option<String>,
    /// Folder of the transformer, VAE and scheduler, or the transformer's one weight file.
    pub(super) flux: String,
    /// The VAE's folder or weight file, when it is not beside the transformer.
    pub(super) vae: Option<String>,
    /// Folder of the multimodal LLM, or its files.
    pub(super) mllm: LlmPlace,
    /// Folder of AlignNet, or its file.
    pub(super) proj: String,
    /// Keys of [`Defaults`] that differ from those of the LLM's family.
    pub(super) defaults: Map<String, Value>,
}

impl Default for FolderHints {
    fn default() -> Self {
        Self {
            name: None,
            license: None,
            flux: "flux".into(),
            vae: None,
            mllm: LlmPlace::Place("mllm".into()),
            proj: "proj".into(),
            defaults: Map::new(),
        }
    }
}

pub(super) async fn hints(source: &dyn ModelSource) -> Result<FolderHints> {
    match read_optional(source, "x2i.json").await? {
        Some(json) => parse("x2i.json", &json),
        None => Ok(FolderHints::default()),
    }
}

/// What `x2i.json` says, and for the rest what X2I's script for the family does.
pub(super) fn family_defaults(
    encoder: &EncoderConfig,
    hints: Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<Defaults> {
    Defaults::check_keys("x2i.json", &hints.clone().into(), warnings)?;
    let broken = |error: serde_json::Error| Error::config("x2i.json", error.to_string());
    let mut defaults = serde_json::to_value(Defaults::of(encoder)).map_err(broken)?;
    if let Some(defaults) = defaults.as_object_mut() {
        defaults.extend(hints);
    }
    let defaults: Defaults = from_value("x2i.json", defaults)?;
    defaults.validate("x2i.json", encoder)?;
    Ok(defaults)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PromptFormat;
    use serde_json::json;

    fn intern() -> EncoderConfig {
        let json = include_bytes!("../../configs/internvl2.5-1b.json");
        EncoderConfig::from_json("config.json", json).unwrap()
    }

    /// The defaults under an `x2i.json` with these.
    fn defaults(hints: Value) -> Result<Defaults> {
        let hints: FolderHints = serde_json::from_value(json!({ "defaults": hints })).unwrap();
        family_defaults(&intern(), hints.defaults, &mut vec![])
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
