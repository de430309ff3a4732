//! The SHA-256 of a model's files: from `model.json` where it records them, else counted beside the
//! work, since a full-size model takes a while.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use x2i_core::{Error, ModelConfig, Result};

use crate::media::hex;
use crate::source::{FolderSource, Model, io_error};

/// Hashes by file name inside the model folder.
pub type Hashes = BTreeMap<String, String>;

/// Hashes that are known or on their way.
pub struct ModelHashes {
    known: Hashes,
    counting: Option<JoinHandle<Result<Hashes>>>,
}

impl ModelHashes {
    /// Takes the recorded hashes, or begins to count.
    ///
    /// # Errors
    /// [`Error::Format`] when a file has not the recorded length: it is not the recorded file.
    pub fn begin(model: &Model, config: &ModelConfig) -> Result<Self> {
        let known = config
            .files
            .iter()
            .map(|(file, record)| (file.clone(), record.sha256.clone()))
            .collect();
        let Model::Folder(folder) = model else {
            return Ok(Self {
                known,
                counting: None,
            });
        };
        check_lengths(folder, config)?;
        if !config.files.is_empty() {
            return Ok(Self {
                known,
                counting: None,
            });
        }
        let files: Vec<(String, PathBuf)> = weight_files(config)
            .map(|file| (file.to_owned(), folder.path(file)))
            .collect();
        let count = || {
            files
                .into_iter()
                .map(|(file, path)| Ok((file, hash_file(&path)?)))
                .collect()
        };
        Ok(Self {
            known,
            counting: Some(std::thread::spawn(count)),
        })
    }

    /// The hashes; waits where they are still being counted.
    ///
    /// # Errors
    /// [`Error::Io`] when a file could not be read.
    pub fn get(&mut self) -> Result<&Hashes> {
        if let Some(thread) = self.counting.take() {
            let counted = thread.join();
            self.known = counted
                .unwrap_or_else(|_| Err(Error::config("model", "its files could not be hashed")))?;
        }
        Ok(&self.known)
    }
}

/// A file of another length than recorded is not that file; its hash would be a lie.
fn check_lengths(folder: &FolderSource, config: &ModelConfig) -> Result<()> {
    for (file, record) in &config.files {
        let path = folder.path(file);
        let shown = path.display().to_string();
        let length = path
            .metadata()
            .map_err(|error| io_error(&shown, error))?
            .len();
        if length != record.bytes {
            let reason = format!(
                "has {length} bytes, model.json says {}; get the file again",
                record.bytes
            );
            return Err(Error::format(shown, reason));
        }
    }
    Ok(())
}

/// The weight files of all parts.
pub fn weight_files(config: &ModelConfig) -> impl Iterator<Item = &str> {
    let parts = [
        &config.encoder.weights,
        &config.align_net.weights,
        &config.flux.weights,
        &config.vae.weights,
    ];
    parts.into_iter().flatten().map(String::as_str)
}

/// The SHA-256 of a file, in hex.
///
/// # Errors
/// [`Error::Io`] or [`Error::MissingFile`].
pub fn hash_file(path: &Path) -> Result<String> {
    let failed = |error: io::Error| io_error(&path.display().to_string(), error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}
