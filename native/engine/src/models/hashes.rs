//! The SHA-256 of a model's files: from `model.json` if it records them, else computed on a thread
//! during the work, since a full-size model takes a while.

use std::collections::BTreeMap;
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use x2i_core::model::ModelSource;
use x2i_core::{Error, ModelConfig, Result};

use super::files::ModelFiles;
use super::folder::Access;
use crate::files::hex;

/// Bytes of one read.
const CHUNK: u64 = 1 << 20;

/// SHA-256 as lower-case hex, by file name inside the model folder.
pub type Hashes = BTreeMap<String, String>;

/// Hashes that are known or being computed.
pub struct ModelHashes {
    known: Hashes,
    computing: Option<JoinHandle<Result<Hashes>>>,
}

impl ModelHashes {
    /// Takes the recorded hashes, or starts to compute the hashes.
    ///
    /// # Errors
    /// [`Error::Format`] when a file does not have the recorded length.
    pub fn begin(files: &ModelFiles, config: &ModelConfig) -> Result<Self> {
        check_lengths(files, config)?;
        let known: Hashes = config
            .files
            .iter()
            .map(|(file, record)| (file.clone(), record.sha256.clone()))
            .collect();
        let computing = known.is_empty().then(|| {
            let files = unmapped(files.clone());
            let names: Vec<String> = weight_files(config).map(str::to_owned).collect();
            std::thread::spawn(move || compute(&files, names))
        });
        Ok(Self { known, computing })
    }

    /// The hashes. Waits if they are still being computed.
    ///
    /// # Errors
    /// [`Error::Io`] when a file could not be read.
    pub fn get(&mut self) -> Result<&Hashes> {
        if let Some(thread) = self.computing.take() {
            let computed = thread.join();
            self.known = computed
                .unwrap_or_else(|_| Err(Error::config("model", "its files could not be hashed")))?;
        }
        Ok(&self.known)
    }
}

/// The same files, read instead of mapped: pages of a map count as the process's memory.
fn unmapped(files: ModelFiles) -> ModelFiles {
    match files {
        ModelFiles::Folder(folder) => ModelFiles::Folder(folder.with_access(Access::Read)),
        others => others,
    }
}

fn compute(files: &ModelFiles, names: Vec<String>) -> Result<Hashes> {
    let hashed = names.into_iter().map(|name| {
        let hash = pollster::block_on(hash(files, &name))?;
        Ok((name, hash))
    });
    hashed.collect()
}

async fn hash(files: &ModelFiles, name: &str) -> Result<String> {
    let file = files.open(name).await?;
    let mut hasher = Sha256::new();
    let mut start = 0;
    while start < file.len() {
        let end = (start + CHUNK).min(file.len());
        hasher.update(file.read(start..end).await?);
        start = end;
    }
    Ok(hex(&hasher.finalize()))
}

/// Checks the recorded lengths: a file of another length can't have the recorded hash.
fn check_lengths(files: &ModelFiles, config: &ModelConfig) -> Result<()> {
    for (name, record) in &config.files {
        let file = pollster::block_on(files.open(name))?;
        let length = file.len();
        if length != record.bytes {
            let reason = format!(
                "has {length} bytes, model.json says {}; get the file again",
                record.bytes
            );
            return Err(Error::format(file.name(), reason));
        }
    }
    Ok(())
}

/// The weight files of all components.
fn weight_files(config: &ModelConfig) -> impl Iterator<Item = &str> {
    let parts = [
        &config.encoder.weights,
        &config.align_net.weights,
        &config.flux.weights,
        &config.vae.weights,
    ];
    parts.into_iter().flatten().map(String::as_str)
}
