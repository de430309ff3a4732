//! AlignNet's file, in whichever place and under whichever name it is.

use serde_json::Value;

use super::files::{file_names, open_weights, weight_files};
use super::source::{ModelSource, join, parent, read_json_or_default};
use super::weight_name::{kind, with_siblings};
use crate::config::{AlignNetConfig, EncoderConfig, GraphPart};
use crate::error::{Error, Result};
use crate::weights::Component;

/// The names of AlignNet's weight files: X2I's, and its ComfyUI node's.
const STEMS: [&str; 2] = ["diffusion_pytorch_model", "comfyui_proj"];
/// How X2I publishes it for ComfyUI: `qwen2.5-vl-7b_proj.pt`.
const ENDING: &str = "_proj";

/// Finds AlignNet at `place`, its folder or file. Of several that are named after their LLM, the one
/// that fits `encoder` is taken.
///
/// # Errors
/// [`Error::MissingFile`] when there is none, [`Error::Config`] when several or a config can't be read.
pub(super) async fn read(
    source: &dyn ModelSource,
    place: &str,
    encoder: Option<&EncoderConfig>,
) -> Result<GraphPart<Value>> {
    if kind(place).is_some() {
        return Ok(GraphPart {
            // The config of another part may lie beside a file that was named.
            config: Value::Null,
            weights: with_siblings(place),
        });
    }
    Ok(GraphPart {
        config: read_json_or_default::<Value>(source, &join(place, "config.json")).await?,
        weights: find(source, place, encoder).await?,
    })
}

async fn find(
    source: &dyn ModelSource,
    folder: &str,
    encoder: Option<&EncoderConfig>,
) -> Result<Vec<String>> {
    let missing = match weight_files(source, folder, &STEMS).await {
        Err(error @ Error::MissingFile { .. }) => error,
        found => return found,
    };
    // In the folder itself, or beside it.
    for place in [folder, parent(folder)] {
        let mut named = named_after_llm(source, place).await?;
        if let (Some(encoder), true) = (encoder, named.len() > 1) {
            let all = named.clone();
            named.clear();
            for file in all {
                if fits(source, &file, encoder).await {
                    named.push(file);
                }
            }
            if named.is_empty() {
                let reason = "none of its AlignNets (*_proj) fits the multimodal LLM";
                return Err(Error::config(folder, reason));
            }
        }
        if named.len() > 1 {
            let reason = format!(
                "has several AlignNets ({}); keep one, or name it as \"proj\" in x2i.json",
                named.join(", ")
            );
            return Err(Error::config(folder, reason));
        }
        if let Some(file) = named.pop() {
            return Ok(vec![file]);
        }
    }
    Err(missing)
}

/// The files of a folder that end as X2I's do.
async fn named_after_llm(source: &dyn ModelSource, folder: &str) -> Result<Vec<String>> {
    let names = file_names(source, folder).await?.into_iter();
    let ends = |name: &String| {
        let stem = name.rsplit_once('.').map_or("", |(stem, _)| stem);
        kind(name).is_some() && stem.to_ascii_lowercase().ends_with(ENDING)
    };
    Ok(names.filter(ends).map(|name| join(folder, &name)).collect())
}

/// Whether an AlignNet reads as many hidden states of such a width as the encoder gives.
async fn fits(source: &dyn ModelSource, file: &str, encoder: &EncoderConfig) -> bool {
    let files = [file.to_owned()];
    let Ok(weights) = open_weights(source, Component::AlignNet, &files).await else {
        return false;
    };
    let config = AlignNetConfig::from_shapes(file, None, |name| weights.shape(name));
    config.is_ok_and(|config| {
        let wanted = (encoder.hidden_states(), encoder.decoder().hidden_size);
        (config.in_channels, config.input_dim) == wanted
    })
}
