//! The text encoders of FLUX.1 and their tokenizers, in whichever files they are: diffusers' folders
//! (`text_encoder`, `text_encoder_2`, `tokenizer`, `tokenizer_2`), or ComfyUI's single files.

use serde_json::Value;

use super::files::{one_gguf, weight_files};
use super::quantization;
use super::source::{ModelSource, exists, join, parent, read, read_optional};
use super::weight_name::{Kind, kind, with_siblings};
use crate::config::{ClipTextConfig, GraphPart, T5Config, parse};
use crate::error::{Error, Result};
use crate::weights::Weights;

/// Where the parts are: folders, or files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeacherPlaces {
    /// T5's weights.
    pub t5: String,
    /// CLIP's weights.
    pub clip: String,
    /// T5's `tokenizer.json` or `spiece.model`, or their folder.
    pub t5_tokenizer: String,
    /// The folder of CLIP's `vocab.json` and `merges.txt`.
    pub clip_tokenizer: String,
}

impl TeacherPlaces {
    /// As diffusers lays out a folder of FLUX.1.
    pub fn of_flux(folder: &str) -> Self {
        Self {
            t5: join(folder, "text_encoder_2"),
            clip: join(folder, "text_encoder"),
            t5_tokenizer: join(folder, "tokenizer_2"),
            clip_tokenizer: join(folder, "tokenizer"),
        }
    }
}

/// The parts that were found.
#[derive(Debug, Clone, PartialEq)]
pub struct TeacherParts {
    /// T5's weights and its config, which is null where there is none.
    pub t5: GraphPart<Value>,
    /// CLIP's weights and its config, which is CLIP-L's where there is none.
    pub clip: GraphPart<ClipTextConfig>,
    /// What the configs say that is not known here and passed over, a sentence each.
    pub warnings: Vec<String>,
    places: TeacherPlaces,
    t5_config: String,
}

/// T5's tokenizer.
pub enum TokenizerFiles {
    /// `tokenizer.json`.
    Json {
        /// Its path.
        name: String,
        /// Its bytes.
        json: Vec<u8>,
    },
    /// `spiece.model`.
    SentencePiece {
        /// Its path.
        name: String,
        /// Its bytes.
        model: Vec<u8>,
        /// Those of `tokenizer_config.json`.
        config: Option<Vec<u8>>,
    },
    /// In the metadata of this weight file.
    Gguf(String),
}

/// CLIP's tokenizer.
pub struct ClipTokenizerFiles {
    /// Their folder, for messages.
    pub name: String,
    /// `vocab.json`.
    pub vocab: Vec<u8>,
    /// `merges.txt`.
    pub merges: Vec<u8>,
}

/// Usual names of T5's weights: transformers', then ComfyUI's.
const T5_STEMS: [&str; 6] = [
    "model",
    "pytorch_model",
    "t5xxl_fp16",
    "t5xxl_fp8_e4m3fn_scaled",
    "t5xxl_fp8_e4m3fn",
    "t5xxl",
];
/// And of CLIP's.
const CLIP_STEMS: [&str; 3] = ["model", "pytorch_model", "clip_l"];

/// Finds the weights of both encoders.
///
/// # Errors
/// [`Error::MissingFile`] naming the file that is looked for first, [`Error::Config`] for a config that
/// asks for what is not here.
pub async fn read_teacher(
    source: &dyn ModelSource,
    places: &TeacherPlaces,
) -> Result<TeacherParts> {
    let mut warnings = vec![];
    let (t5_config, t5) = part(source, &places.t5, &T5_STEMS).await?;
    let (clip_config, clip) = part(source, &places.clip, &CLIP_STEMS).await?;
    let config = match clip.config {
        Value::Null => ClipTextConfig::clip_l()?,
        json => ClipTextConfig::read(&clip_config, json, &mut warnings)?,
    };
    Ok(TeacherParts {
        t5,
        clip: GraphPart {
            config,
            weights: clip.weights,
        },
        warnings,
        places: places.clone(),
        t5_config,
    })
}

/// The weights at a place and the config beside them, with its path.
async fn part(
    source: &dyn ModelSource,
    place: &str,
    stems: &[&str],
) -> Result<(String, GraphPart<Value>)> {
    // The config of another part may lie beside a file that was named.
    if kind(place).is_some() {
        let weights = with_siblings(place);
        let config = Value::Null;
        return Ok((place.to_owned(), GraphPart { config, weights }));
    }
    let file = join(place, "config.json");
    let config = match read_optional(source, &file).await? {
        Some(json) => {
            quantization::check(&file, &json)?;
            parse(&file, &json)?
        }
        None => Value::Null,
    };
    let weights = match weight_files(source, place, stems).await {
        Err(error @ Error::MissingFile { .. }) => one_gguf(source, place).await?.ok_or(error)?,
        found => found?,
    };
    Ok((file, GraphPart { config, weights }))
}

impl TeacherParts {
    /// T5's sizes: those of its tensors.
    ///
    /// # Errors
    /// As [`T5Config::from_shapes`].
    pub fn t5_config(&self, weights: &Weights) -> Result<T5Config> {
        let json = Some((self.t5_config.as_str(), &self.t5.config));
        let json = json.filter(|(_, json)| !json.is_null());
        T5Config::from_shapes(weights.label(), json, |name| weights.shape(name))
    }

    /// The files of T5's tokenizer: `tokenizer.json` before `spiece.model`, then what a GGUF file holds.
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there is none.
    pub async fn t5_tokenizer(&self, source: &dyn ModelSource) -> Result<TokenizerFiles> {
        let place = &self.places.t5_tokenizer;
        let named = |ending: &str| place.to_ascii_lowercase().ends_with(ending);
        if named(".json") || named(".model") {
            let (name, bytes) = (place.clone(), read(source, place).await?);
            return match named(".json") {
                true => Ok(TokenizerFiles::Json { name, json: bytes }),
                false => sentencepiece(source, name, bytes).await,
            };
        }
        let name = join(place, "tokenizer.json");
        if let Some(json) = read_optional(source, &name).await? {
            return Ok(TokenizerFiles::Json { name, json });
        }
        let model = join(place, "spiece.model");
        if let Some(bytes) = read_optional(source, &model).await? {
            return sentencepiece(source, model, bytes).await;
        }
        let mut weights = self.t5.weights.iter();
        match weights.find(|file| kind(file) == Some(Kind::Gguf)) {
            Some(file) => Ok(TokenizerFiles::Gguf(file.clone())),
            None => Err(Error::MissingFile { file: name }),
        }
    }

    /// The files of CLIP's tokenizer: `vocab.json` and `merges.txt`, or the same in `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::MissingFile`] when there are none, [`Error::Config`] for a `tokenizer.json` of another
    /// kind.
    pub async fn clip_tokenizer(&self, source: &dyn ModelSource) -> Result<ClipTokenizerFiles> {
        let name = self.places.clip_tokenizer.clone();
        let json = join(&name, "tokenizer.json");
        let vocab = join(&name, "vocab.json");
        if !exists(source, &vocab).await? && exists(source, &json).await? {
            return from_json(name, &json, &read(source, &json).await?);
        }
        Ok(ClipTokenizerFiles {
            vocab: read(source, &vocab).await?,
            merges: read(source, &join(&name, "merges.txt")).await?,
            name,
        })
    }
}

async fn sentencepiece(
    source: &dyn ModelSource,
    name: String,
    model: Vec<u8>,
) -> Result<TokenizerFiles> {
    let config = join(parent(&name), "tokenizer_config.json");
    Ok(TokenizerFiles::SentencePiece {
        config: read_optional(source, &config).await?,
        name,
        model,
    })
}

/// The vocabulary and merges of a `tokenizer.json`; its cleaning is CLIP's own in any case.
fn from_json(name: String, file: &str, json: &[u8]) -> Result<ClipTokenizerFiles> {
    let json: Value = parse(file, json)?;
    let model = &json["model"];
    let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array())
    else {
        return Err(Error::config(
            file,
            "is no tokenizer of CLIP, which has merges",
        ));
    };
    let mut lines = String::new();
    for merge in merges {
        let pair: Option<Vec<&str>> = match merge {
            Value::String(pair) => Some(vec![pair]),
            Value::Array(pair) => pair.iter().map(Value::as_str).collect(),
            _ => None,
        };
        let pair = pair.ok_or_else(|| Error::config(file, "has a merge that is not two tokens"))?;
        lines.push_str(&pair.join(" "));
        lines.push('\n');
    }
    Ok(ClipTokenizerFiles {
        vocab: Value::Object(vocab.clone()).to_string().into_bytes(),
        merges: lines.into_bytes(),
        name,
    })
}
