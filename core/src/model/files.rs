//! Which files make a part of a model, and opening them.

use super::source::{ModelSource, exists, join, read_optional};
use crate::error::{Error, Result};
use crate::weights::{Component, WeightFile, Weights, safetensors};

/// The names of AlignNet's weight files: X2I's, and its ComfyUI node's.
pub(super) const PROJ_STEMS: [&str; 2] = ["diffusion_pytorch_model", "comfyui_proj"];

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

/// The files of one part: single safetensors, shards by their index, a pickle, or GGUF.
pub(super) async fn weight_files(
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
pub(super) async fn gguf_files(source: &dyn ModelSource, folder: &str) -> Result<Vec<String>> {
    let names = source.list(folder).await?.into_iter();
    let ggufs = names.filter(|name| name.ends_with(".gguf"));
    Ok(ggufs.map(|name| join(folder, &name)).collect())
}

/// The one GGUF file of a folder, if there is any.
///
/// # Errors
/// [`Error::Config`] when there are several.
pub(super) async fn one_gguf(source: &dyn ModelSource, folder: &str) -> Result<Option<String>> {
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
