//! The painting half of a folder of parts: FLUX, the VAE and the scheduler, as diffusers, BFL or
//! the community's GGUF files lay them out.
//!
//! A single file has no configs beside it. Sizes of a transformer are then those of its tensors;
//! what tensors do not tell (rotary axes, VAE, scheduler) is that of the published FLUX.1-dev where
//! there is a guidance embedder, and else of FLUX.1-schnell.

use serde::Deserialize;
use serde_json::Value;

use super::files::{file_sets, one_gguf, one_of, open_weights, weight_files};
use super::quantization;
use super::source::{ModelSource, exists, join, parent, read_json};
use super::weight_name::{Kind, kind, with_siblings};
use crate::config::{FluxConfig, GraphPart, SchedulerConfig, VaeConfig, parse};
use crate::error::{Error, Result};
use crate::weights::{Component, Weights};

/// The painting half of a model.
pub(super) struct PaintingParts {
    pub(super) flux: GraphPart<FluxConfig>,
    pub(super) vae: GraphPart<VaeConfig>,
    pub(super) scheduler: SchedulerConfig,
}

/// The published models whose files come without configs.
const PUBLISHED: [(&str, &str); 2] = [
    ("flux1-dev", include_str!("../../configs/flux1-dev.json")),
    (
        "flux1-schnell",
        include_str!("../../configs/flux1-schnell.json"),
    ),
];

/// A file of `core/configs`.
#[derive(Deserialize)]
struct Published {
    transformer: FluxConfig,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
}

impl Published {
    fn read((name, json): (&str, &str)) -> Result<Self> {
        parse(name, json.as_bytes())
    }
}

/// Finds all three at `flux`, a folder or one weight file; `vae` is where the VAE is if elsewhere.
///
/// # Errors
/// [`Error::MissingFile`] naming the first file that is missing, [`Error::Config`] for what can't be.
pub(super) async fn read(
    source: &dyn ModelSource,
    flux: &str,
    vae: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<PaintingParts> {
    let parts = find(source, flux, vae, warnings).await?;
    if let Some(file) = kontext(source, flux, &parts.flux.weights).await? {
        warnings.push(format!(
            "{file}: FLUX.1 Kontext paints from the prompt alone here, as FLUX.1-dev does; the pictures \
             of a prompt are read by the multimodal LLM, and the transformer is given none to edit"
        ));
    }
    Ok(parts)
}

/// What says that a transformer is FLUX.1 Kontext's: its file's name, its folder's, or the class in
/// diffusers' index. Its tensors are those of FLUX.1-dev.
async fn kontext(
    source: &dyn ModelSource,
    flux: &str,
    weights: &[String],
) -> Result<Option<String>> {
    let says = |text: &str| text.to_ascii_lowercase().contains("kontext");
    if let Some(file) = weights.iter().find(|file| says(file)) {
        return Ok(Some(file.clone()));
    }
    let index = join(flux, "model_index.json");
    if kind(flux).is_some() || !exists(source, &index).await? {
        return Ok(None);
    }
    let json: Value = read_json(source, &index).await?;
    let class = json.get("_class_name").and_then(Value::as_str);
    Ok(class.is_some_and(says).then_some(index))
}

async fn find(
    source: &dyn ModelSource,
    flux: &str,
    vae: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<PaintingParts> {
    if kind(flux).is_some() {
        let place = (vae, parent(flux));
        return read_single(source, with_siblings(flux), place, warnings).await;
    }
    let config = join(flux, "transformer/config.json");
    if exists(source, &config).await? {
        quantization::check(&config, &super::source::read(source, &config).await?)?;
        return read_diffusers(source, flux, vae, warnings).await;
    }
    for published in PUBLISHED {
        match weight_files(source, flux, &[published.0]).await {
            Ok(weights) => {
                let config = Published::read(published)?;
                return Ok(PaintingParts {
                    vae: find_vae(source, (vae, flux), &weights, config.vae, warnings).await?,
                    flux: GraphPart {
                        config: config.transformer,
                        weights,
                    },
                    scheduler: config.scheduler,
                });
            }
            Err(Error::MissingFile { file }) if file.contains("-of-") => {
                return Err(Error::MissingFile { file });
            }
            Err(Error::MissingFile { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let found = match one_gguf(source, flux).await? {
        None => one_transformer(source, flux).await?,
        found => found,
    };
    match found {
        Some(files) => read_single(source, files, (vae, flux), warnings).await,
        None => Err(Error::MissingFile { file: config }),
    }
}

/// The one safetensors file of a folder (or all its shards) that is not named as a VAE or as one of
/// FLUX's text encoders, which lie beside the transformer in many folders.
async fn one_transformer(source: &dyn ModelSource, folder: &str) -> Result<Option<Vec<String>>> {
    const OTHERS: [&str; 4] = ["ae.", "clip", "t5", "text_encoder"];
    let mut sets = file_sets(source, folder, Kind::Safetensors).await?;
    sets.retain(|set| {
        let name = set[0].rsplit('/').next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        !name.contains("vae") && !OTHERS.iter().any(|other| name.starts_with(other))
    });
    one_of(folder, sets, "safetensors")
}

/// diffusers' folders. The transformer may also be one GGUF file, there or in the folder above.
async fn read_diffusers(
    source: &dyn ModelSource,
    folder: &str,
    vae: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<PaintingParts> {
    let transformer = join(folder, "transformer");
    let weights = match weight_files(source, &transformer, &["diffusion_pytorch_model"]).await {
        Err(Error::MissingFile { file }) => {
            let inside = one_gguf(source, &transformer).await?;
            let found = match inside {
                None => one_gguf(source, folder).await?,
                inside => inside,
            };
            found.ok_or(Error::MissingFile { file })?
        }
        found => found?,
    };
    let vae = match vae {
        Some(elsewhere) => {
            let published = Published::read(PUBLISHED[0])?;
            read_vae(source, elsewhere, published.vae, warnings).await?
        }
        None => read_vae_folder(source, &join(folder, "vae"), warnings).await?,
    };
    let config = join(&transformer, "config.json");
    let scheduler = join(folder, "scheduler/scheduler_config.json");
    Ok(PaintingParts {
        flux: GraphPart {
            config: FluxConfig::read(&config, read_json(source, &config).await?, warnings)?,
            weights,
        },
        vae,
        scheduler: SchedulerConfig::read(
            &scheduler,
            read_json(source, &scheduler).await?,
            warnings,
        )?,
    })
}

/// One weight file of any name, or all its parts.
async fn read_single(
    source: &dyn ModelSource,
    files: Vec<String>,
    vae: (Option<&str>, &str),
    warnings: &mut Vec<String>,
) -> Result<PaintingParts> {
    let weights = open_weights(source, Component::Flux, &files).await?;
    let published = match weights.contains("guidance_in.in_layer.weight") {
        true => PUBLISHED[0],
        false => PUBLISHED[1],
    };
    let published = Published::read(published)?;
    Ok(PaintingParts {
        vae: find_vae(source, vae, &files, published.vae, warnings).await?,
        flux: GraphPart {
            config: sizes(&weights, published.transformer)?,
            weights: files,
        },
        scheduler: published.scheduler,
    })
}

/// The sizes of a transformer's tensors in place of the published ones.
fn sizes(weights: &Weights, published: FluxConfig) -> Result<FluxConfig> {
    let shape = |name: &str| {
        weights.shape(name).ok_or_else(|| Error::MissingTensor {
            file: weights.label().to_owned(),
            name: name.to_owned(),
        })
    };
    let columns = |name: &str| shape(name).map(|shape| shape.last().copied().unwrap_or(0));
    let blocks = |kind: &str| {
        let numbers = weights.names().filter_map(|name| {
            let rest = name.strip_prefix(kind)?.strip_prefix('.')?;
            rest.split('.').next()?.parse::<usize>().ok()
        });
        numbers.max().map_or(0, |last| last.saturating_add(1))
    };
    let width = shape("img_in.weight")?[0];
    let head = columns("single_blocks.0.norm.query_norm.scale")?;
    if head == 0 || !width.is_multiple_of(head) {
        let reason = format!("a width of {width} can't be split into heads of {head}");
        return Err(Error::format(weights.label(), reason));
    }
    let config = FluxConfig {
        in_channels: columns("img_in.weight")?,
        num_layers: blocks("double_blocks"),
        num_single_layers: blocks("single_blocks"),
        attention_head_dim: head,
        num_attention_heads: width / head,
        joint_attention_dim: columns("txt_in.weight")?,
        pooled_projection_dim: columns("vector_in.in_layer.weight")?,
        ..published
    };
    config.validate(weights.label())?;
    Ok(config)
}

/// The VAE where it was named, or in a folder, or among the transformer's own `files`: all-in-one
/// checkpoints hold it, too.
async fn find_vae(
    source: &dyn ModelSource,
    (named, folder): (Option<&str>, &str),
    files: &[String],
    published: VaeConfig,
    warnings: &mut Vec<String>,
) -> Result<GraphPart<VaeConfig>> {
    let elsewhere = read_vae(source, named.unwrap_or(folder), published.clone(), warnings).await;
    if !matches!(elsewhere, Err(Error::MissingFile { .. })) || named.is_some() {
        return elsewhere;
    }
    match open_weights(source, Component::Vae, files).await {
        Ok(inside) if inside.contains("decoder.conv_in.weight") => Ok(GraphPart {
            config: published,
            weights: files.to_vec(),
        }),
        _ => elsewhere,
    }
}

/// BFL's `ae` beside the transformer, a file of its own, or diffusers' folder.
async fn read_vae(
    source: &dyn ModelSource,
    place: &str,
    published: VaeConfig,
    warnings: &mut Vec<String>,
) -> Result<GraphPart<VaeConfig>> {
    if kind(place).is_some() {
        return Ok(GraphPart {
            config: published,
            weights: with_siblings(place),
        });
    }
    for folder in [place.to_owned(), join(place, "vae")] {
        if exists(source, &join(&folder, "config.json")).await? {
            return read_vae_folder(source, &folder, warnings).await;
        }
    }
    Ok(GraphPart {
        config: published,
        weights: weight_files(source, place, &["ae", "vae", "flux_vae"]).await?,
    })
}

async fn read_vae_folder(
    source: &dyn ModelSource,
    folder: &str,
    warnings: &mut Vec<String>,
) -> Result<GraphPart<VaeConfig>> {
    let config = join(folder, "config.json");
    Ok(GraphPart {
        config: VaeConfig::read(&config, read_json(source, &config).await?, warnings)?,
        weights: weight_files(source, folder, &["diffusion_pytorch_model"]).await?,
    })
}
