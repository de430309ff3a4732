//! From flags, or from a picture's metadata, to what stands beside the model: opened and hashed
//! before a weight of the model is read.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use x2i_core::Lora;
use x2i_core::png::{LoraRecord, Metadata, UsedFile};

use crate::cli::{AdapterArgs, Scaled};
use crate::hashes::hash_file;
use crate::job::Replay;
use crate::source::MappedFile;

/// All of it, and the records that repeat it.
#[derive(Debug, Default)]
pub struct Adapters {
    loras: Vec<(Rc<Lora>, LoraRecord)>,
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
        Ok(Self { loras })
    }

    /// The LoRAs, opened.
    pub fn loras(&self) -> Vec<Rc<Lora>> {
        self.loras.iter().map(|(lora, _)| lora.clone()).collect()
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
