//! What a model folder holds: our own (`model.json` and GGUF) or Hugging Face's parts side by side.
//!
//! A Hugging Face folder has `flux/` (diffusers: `transformer`, `vae`, `scheduler`), `mllm/`
//! (transformers) and `proj/` (X2I's AlignNet); `x2i.json` beside them may name the model, point
//! to the parts elsewhere and set [`Defaults`]. `flux/` may also hold BFL's two single files,
//! `flux1-dev.safetensors` or `flux1-schnell.safetensors` and `ae.safetensors`.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use crate::config::{
    Defaults, EncoderConfig, EncoderPart, FORMAT, FluxConfig, GraphPart, ModelConfig,
    SchedulerConfig, VaeConfig, parse,
};
use crate::error::{Error, Result};
use crate::tokenizer::Tokenizer;
use crate::weights::{
    Component, LocalBoxFuture, WeightFile, WeightSource, Weights, read_range, safetensors,
};

/// Named files: a folder on disk, a web address, or the model in the binary.
pub trait ModelSource {
    /// What messages call it.
    fn name(&self) -> &str;
    /// Opens a file by its path inside the folder (`/` between parts; `..` where the source allows it).
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there is none, [`Error::Io`] when it can't be read.
    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Rc<dyn WeightSource>>>;
}

/// `x2i.json`: what a Hugging Face folder can't say itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
struct FolderHints {
    name: Option<String>,
    license: Option<String>,
    /// Folder of the transformer, VAE and scheduler.
    flux: String,
    /// Folder of the multimodal LLM.
    mllm: String,
    /// Folder of AlignNet.
    proj: String,
    defaults: Defaults,
}

impl Default for FolderHints {
    fn default() -> Self {
        Self {
            name: None,
            license: None,
            flux: "flux".into(),
            mllm: "mllm".into(),
            proj: "proj".into(),
            defaults: Defaults::default(),
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
    let hints: FolderHints = match read_optional(source, "x2i.json").await? {
        Some(json) => parse("x2i.json", &json)?,
        None => FolderHints::default(),
    };
    let FolderHints {
        flux, mllm, proj, ..
    } = &hints;
    let encoder = read_encoder(source, mllm).await?;
    let align_net = GraphPart {
        config: read_json_or_default::<Value>(source, &format!("{proj}/config.json")).await?,
        weights: weight_files(source, proj, &["diffusion_pytorch_model", "comfyui_proj"]).await?,
    };
    let graph = match exists(source, &join(flux, "transformer/config.json")).await? {
        true => read_diffusers(source, flux).await?,
        false => read_bfl(source, flux).await?,
    };
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
        defaults: hints.defaults,
        files: Default::default(),
    };
    config.validate(source.name())?;
    Ok(config)
}

/// The painting half of a model.
struct PaintingParts {
    flux: GraphPart<FluxConfig>,
    vae: GraphPart<VaeConfig>,
    scheduler: SchedulerConfig,
}

async fn read_diffusers(source: &dyn ModelSource, folder: &str) -> Result<PaintingParts> {
    let (transformer, vae) = (join(folder, "transformer"), join(folder, "vae"));
    let stem = ["diffusion_pytorch_model"];
    Ok(PaintingParts {
        flux: GraphPart {
            config: read_json(source, &join(&transformer, "config.json")).await?,
            weights: weight_files(source, &transformer, &stem).await?,
        },
        vae: GraphPart {
            config: read_json(source, &join(&vae, "config.json")).await?,
            weights: weight_files(source, &vae, &stem).await?,
        },
        scheduler: read_json(source, &join(folder, "scheduler/scheduler_config.json")).await?,
    })
}

/// BFL's single files come without configs: the published numbers are ours to know.
const BFL_MODELS: [(&str, &str); 2] = [
    ("flux1-dev", include_str!("../configs/flux1-dev.json")),
    (
        "flux1-schnell",
        include_str!("../configs/flux1-schnell.json"),
    ),
];

/// A file of `core/configs`.
#[derive(Deserialize)]
struct BflConfig {
    transformer: FluxConfig,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
}

async fn read_bfl(source: &dyn ModelSource, folder: &str) -> Result<PaintingParts> {
    for (name, json) in BFL_MODELS {
        match weight_files(source, folder, &[name]).await {
            Ok(weights) => {
                let config: BflConfig = parse(name, json.as_bytes())?;
                return Ok(PaintingParts {
                    flux: GraphPart {
                        config: config.transformer,
                        weights,
                    },
                    vae: GraphPart {
                        config: config.vae,
                        weights: weight_files(source, folder, &["ae"]).await?,
                    },
                    scheduler: config.scheduler,
                });
            }
            Err(Error::MissingFile { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::MissingFile {
        file: join(folder, "transformer/config.json"),
    })
}

/// Reads a multimodal LLM's folder as transformers writes it.
///
/// # Errors
/// [`Error::MissingFile`] naming the first file that is missing, [`Error::Config`] for what can't be.
pub async fn read_encoder(source: &dyn ModelSource, folder: &str) -> Result<EncoderPart> {
    let path = |name: &str| join(folder, name);
    let config = path("config.json");
    Ok(EncoderPart {
        config: EncoderConfig::from_json(&config, &read(source, &config).await?)?,
        weights: weight_files(source, folder, &["model"]).await?,
        tokenizer: path("tokenizer.json"),
        chat_template: chat_template(source, folder).await?,
        preprocessor: read_json_or_default(source, &path("preprocessor_config.json")).await?,
        generation: read_json_or_default(source, &path("generation_config.json")).await?,
    })
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
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

/// Reads the encoder's tokenizer: `tokenizer.json`, or `vocab.json` and `merges.txt` beside it.
///
/// # Errors
/// [`Error::MissingFile`] when neither is there, [`Error::Config`] when it can't be read.
pub async fn read_tokenizer(source: &dyn ModelSource, part: &EncoderPart) -> Result<Tokenizer> {
    if let Some(json) = read_optional(source, &part.tokenizer).await? {
        return Tokenizer::from_json(&part.tokenizer, &json);
    }
    let folder = part
        .tokenizer
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let vocab = read(source, &join(folder, "vocab.json")).await?;
    let merges = read(source, &join(folder, "merges.txt")).await?;
    let tokenizer_config = read_optional(source, &join(folder, "tokenizer_config.json")).await?;
    Tokenizer::from_vocab_and_merges(folder, &vocab, &merges, tokenizer_config.as_deref())
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

/// The chat template from `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`.
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
