//! From flags, or from a picture's metadata, to what stands beside the model: opened and hashed
//! before a weight of the model is read.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use x2i_core::png::{InitRecord, LoraRecord, Metadata, UsedFile};
use x2i_core::{Init, LoadOptions, Lora, Request};

use crate::cli::{AdapterArgs, Scaled};
use crate::hashes::hash_file;
use crate::job::Replay;
use crate::picture;
use crate::source::MappedFile;

/// How far a picture is left where nobody says it, as in diffusers.
const STRENGTH: f64 = 0.6;

/// All of it, and the records that repeat it.
#[derive(Debug, Default)]
pub struct Adapters {
    loras: Vec<(Rc<Lora>, LoraRecord)>,
    init: Option<(Init, InitRecord)>,
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
        Ok(Self { loras, init })
    }

    /// The options with their part of them.
    pub fn added_to_options(&self, options: LoadOptions) -> LoadOptions {
        LoadOptions {
            loras: self.loras.iter().map(|(lora, _)| lora.clone()).collect(),
            ..options
        }
    }

    /// The request with its part of them.
    pub fn added_to(&self, request: Request) -> Request {
        Request {
            init: self.init.as_ref().map(|(init, _)| init.clone()),
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
            ..metadata
        }
    }
}

fn open_lora(path: &Path, given: &Path, scale: f32) -> Result<(Rc<Lora>, LoraRecord)> {
    let source = Rc::new(MappedFile::open(path)?);
    let lora = pollster::block_on(Lora::open(source, scale))?;
    let weights = UsedFile {
        file: given.display().to_string(),
        sha256: hash_file(path)?,
    };
    Ok((Rc::new(lora), LoraRecord { weights, scale }))
}

fn open_init(path: &Path, given: &Path, strength: Option<f64>) -> Result<(Init, InitRecord)> {
    let picture::InputPicture { image, sha256 } = picture::read(path).context("--init")?;
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
