//! From flags, or from a picture's metadata, to what stands beside the model: opened and hashed
//! before a weight of the model is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use x2i_core::png::{ControlRecord, InitRecord, LoraRecord, Metadata, UsedFile};
use x2i_core::weights::{Component, Weights};
use x2i_core::{Control, Init, LoadOptions, Lora, Request};

use crate::flags::{AdapterArgs, Scaled};
use x2i_engine::models::hashes::hash_file;
use crate::job::Replay;
use x2i_engine::media::{self, Input};
use x2i_engine::models::MappedFile;

/// How far a picture is left where nobody says it, as in diffusers.
const STRENGTH: f64 = 0.6;

/// A control, its weights, and the record of both.
#[derive(Debug)]
struct Steering {
    control: Control,
    weights: Arc<Weights>,
    record: ControlRecord,
}

/// All of it, and the records that repeat it.
#[derive(Debug, Default)]
pub struct Adapters {
    loras: Vec<(Arc<Lora>, LoraRecord)>,
    init: Option<(Init, InitRecord)>,
    control: Option<Steering>,
}

impl Adapters {
    /// Opens what the flags name, and what a replayed picture was made with where they are silent.
    ///
    /// # Errors
    /// A file that is not there, is broken, or is not the recorded one.
    pub fn open(args: &AdapterArgs, replay: Option<&Replay>) -> Result<Self> {
        let mut loras = Vec::new();
        for Scaled { file, scale } in &args.loras {
            loras.push(open_lora(file, file, *scale).context("--lora")?);
        }
        if let (true, Some(replay)) = (args.loras.is_empty(), replay) {
            for LoraRecord { weights, scale } in &replay.metadata.loras {
                let found = find(replay, weights, "--lora")?;
                loras.push(open_lora(&found, Path::new(&weights.file), *scale)?);
            }
        }
        let init = match (&args.init, replay) {
            (Some(file), _) => Some(open_init(file, file, args.strength)?),
            (None, Some(replay)) => match &replay.metadata.init {
                Some(InitRecord { picture, strength }) => {
                    let found = find(replay, picture, "--init")?;
                    let strength = args.strength.or(Some(*strength));
                    Some(open_init(&found, Path::new(&picture.file), strength)?)
                }
                None => None,
            },
            (None, None) => None,
        };
        if args.strength.is_some() && init.is_none() {
            bail!("--strength: says how far to leave a picture; give that with --init");
        }
        Ok(Self {
            loras,
            init,
            control: steering(args, replay)?,
        })
    }

    /// The options with their part of them.
    pub fn added_to_options(&self, options: LoadOptions) -> LoadOptions {
        let control = self.control.as_ref();
        LoadOptions {
            loras: self.loras.iter().map(|(lora, _)| lora.clone()).collect(),
            control: control.map(|steering| steering.weights.clone()),
            ..options
        }
    }

    /// The request with its part of them.
    pub fn added_to(&self, request: Request) -> Request {
        Request {
            init: self.init.as_ref().map(|(init, _)| init.clone()),
            control: self.control.as_ref().map(|c| c.control.clone()),
            ..request
        }
    }

    /// What the user should know of them.
    pub fn warnings(&self) -> Vec<String> {
        let partly = self.loras.iter().filter_map(|(lora, _)| {
            let count = lora.text_encoder_keys().len();
            (count > 0).then(|| {
                format!(
                    "{}: {count} keys change the text encoders CLIP and T5, which X2I does without; they are left out",
                    lora.name()
                )
            })
        });
        partly.collect()
    }

    /// The metadata of a picture that they had a part in.
    pub fn recorded_in(&self, metadata: Metadata) -> Metadata {
        Metadata {
            loras: self.loras.iter().map(|(_, lora)| lora.clone()).collect(),
            init: self.init.as_ref().map(|(_, init)| init.clone()),
            control: self.control.as_ref().map(|c| c.record.clone()),
            ..metadata
        }
    }
}

fn open_lora(path: &Path, given: &Path, scale: f32) -> Result<(Arc<Lora>, LoraRecord)> {
    let source = Arc::new(MappedFile::open(path)?);
    let lora = pollster::block_on(Lora::open(source, scale))?;
    let weights = UsedFile {
        file: given.display().to_string(),
        sha256: hash_file(path)?,
    };
    Ok((Arc::new(lora), LoraRecord { weights, scale }))
}

/// The control of the flags, where they are silent that of the replayed picture.
fn steering(args: &AdapterArgs, replay: Option<&Replay>) -> Result<Option<Steering>> {
    let recorded = replay.and_then(|replay| Some((replay, replay.metadata.control.as_ref()?)));
    let picture = match (&args.control, recorded) {
        (Some(Scaled { file, scale }), _) => (file.clone(), file.clone(), *scale),
        (None, Some((replay, record))) => {
            let found = find(replay, &record.picture, "--control")?;
            (found, record.picture.file.clone().into(), record.scale)
        }
        (None, None) if args.control_weights.is_some() => {
            bail!("--control-weights: steer by a picture; give that with --control")
        }
        (None, None) => return Ok(None),
    };
    let weights = match (&args.control_weights, recorded) {
        (Some(file), _) => (file.clone(), file.clone()),
        (None, Some((replay, record))) => {
            let found = find(replay, &record.weights, "--control-weights")?;
            (found, record.weights.file.clone().into())
        }
        (None, None) => {
            bail!("--control: needs LightControl's weights; give them with --control-weights")
        }
    };
    open_control(picture, weights).map(Some)
}

/// Opens a picture (path, as given, scale) and the weights (path, as given).
fn open_control(
    (picture, picture_given, scale): (PathBuf, PathBuf, f32),
    (path, given): (PathBuf, PathBuf),
) -> Result<Steering> {
    let Input {
        value: image,
        sha256,
    } = media::image::read(&picture).context("--control")?;
    let source = MappedFile::open(&path).context("--control-weights")?;
    let label = given.display().to_string();
    let weights = Weights::open(
        label.clone(),
        Component::LightControl,
        vec![Arc::new(source)],
    );
    let weights = pollster::block_on(weights).context("--control-weights")?;
    let record = ControlRecord {
        picture: UsedFile {
            file: picture_given.display().to_string(),
            sha256,
        },
        weights: UsedFile {
            file: label,
            sha256: hash_file(&path)?,
        },
        scale,
    };
    Ok(Steering {
        control: Control { image, scale },
        weights: Arc::new(weights),
        record,
    })
}

fn open_init(path: &Path, given: &Path, strength: Option<f64>) -> Result<(Init, InitRecord)> {
    let Input {
        value: image,
        sha256,
    } = media::image::read(path).context("--init")?;
    let strength = strength.unwrap_or(STRENGTH);
    let picture = UsedFile {
        file: given.display().to_string(),
        sha256,
    };
    Ok((Init { image, strength }, InitRecord { picture, strength }))
}

/// A file that a replayed picture was made with: where it was, or beside the PNG; it must be the
/// same one.
fn find(replay: &Replay, used: &UsedFile, flag: &str) -> Result<PathBuf> {
    let here = PathBuf::from(&used.file);
    let path = if here.exists() {
        here
    } else {
        replay.folder.join(&used.file)
    };
    let hash = hash_file(&path)
        .with_context(|| format!("--from: {} was made with a file", replay.name))?;
    if hash != used.sha256 {
        bail!(
            "--from: {} is not the file that {} was made with (its SHA-256 differs); give it with {flag}",
            used.file,
            replay.name
        );
    }
    Ok(path)
}
