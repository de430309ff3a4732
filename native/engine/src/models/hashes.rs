//! The SHA-256 of a model's files: compared with those that `model.json` records, and computed where it
//! records none. A thread does it during the work, since a full-size model takes a while, and a hash is
//! remembered for as long as its file does not change ([`Remembered`]).
//!
//! The embedded model is a part of the program, and is not hashed. A source of the caller's own has no
//! files on this machine: its recorded hashes are compared only with [`Verify::Always`].

use std::collections::{BTreeMap, BTreeSet};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use x2i_core::model::ModelSource;
use x2i_core::{Error, ModelConfig, Result};

use super::files::ModelFiles;
use super::folder::Access;
use crate::files::{Remembered, Stamp, hex};

/// Bytes of one read.
const CHUNK: u64 = 1 << 20;

/// SHA-256 as lower-case hex, by file name inside the model folder.
pub type Hashes = BTreeMap<String, String>;

/// When a model's files are hashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verify {
    /// When a file is used for the first time, and after it changed.
    #[default]
    WhenNew,
    /// Always.
    Always,
}

/// Hashes that are known or being computed.
pub struct ModelHashes {
    state: State,
    /// Whether the thread compares with recorded hashes.
    compares: bool,
}

enum State {
    Known(Hashes),
    Computing(JoinHandle<Result<Hashes>>),
    /// The file and what is wrong with it: every later question gets the same answer.
    Failed(String, String),
}

impl ModelHashes {
    /// Starts to compute and to compare the hashes.
    ///
    /// # Errors
    /// [`Error::Format`] when a file does not have the recorded length.
    pub fn begin(files: &ModelFiles, config: &ModelConfig, verify: Verify) -> Result<Self> {
        check_lengths(files, config)?;
        let recorded = recorded(config);
        let trusted = match files {
            ModelFiles::Embedded(_) => true,
            ModelFiles::Custom(_) => verify == Verify::WhenNew,
            ModelFiles::Folder(_) => false,
        };
        let mut names: BTreeSet<String> = weight_files(config).map(str::to_owned).collect();
        let state = if trusted && names.iter().all(|name| recorded.contains_key(name)) {
            State::Known(recorded.clone())
        } else {
            names.extend(recorded.keys().cloned());
            let (files, recorded) = (unmapped(files.clone()), recorded.clone());
            State::Computing(std::thread::spawn(move || {
                compute(&files, names, &recorded, verify)
            }))
        };
        Ok(Self {
            state,
            compares: !recorded.is_empty(),
        })
    }

    /// Waits until all files are known to be the recorded ones. Where none are recorded, there is
    /// nothing to wait for.
    ///
    /// # Errors
    /// [`Error::Format`] for the first file that is another one; [`Error::Io`] when one can't be read.
    pub fn verified(&mut self) -> Result<()> {
        match self.compares {
            true => self.get().map(drop),
            false => Ok(()),
        }
    }

    /// The hashes. Waits if they are still being computed.
    ///
    /// # Errors
    /// As [`verified`](Self::verified).
    pub fn get(&mut self) -> Result<&Hashes> {
        let state = std::mem::replace(&mut self.state, State::Known(Hashes::new()));
        self.state = match state {
            State::Computing(thread) => match thread.join() {
                Ok(Ok(hashes)) => State::Known(hashes),
                Ok(Err(Error::Format { file, reason })) => State::Failed(file, reason.into()),
                Ok(Err(error)) => State::Failed("model".into(), error.to_string()),
                Err(_) => State::Failed("model".into(), "its files could not be hashed".into()),
            },
            state => state,
        };
        match &self.state {
            State::Failed(file, reason) => Err(Error::format(file, reason.clone())),
            State::Known(hashes) => Ok(hashes),
            State::Computing(_) => Err(Error::config("model", "its files could not be hashed")),
        }
    }
}

/// Compares a model's files with the recorded lengths and hashes.
///
/// # Errors
/// [`Error::Format`] for the first file that is another one; [`Error::Io`] when one can't be read.
pub fn verify(files: &ModelFiles, config: &ModelConfig, verify: Verify) -> Result<()> {
    check_lengths(files, config)?;
    let recorded = recorded(config);
    let names = recorded.keys().cloned().collect();
    match files {
        ModelFiles::Embedded(_) => Ok(()),
        _ => compute(&unmapped(files.clone()), names, &recorded, verify).map(drop),
    }
}

fn recorded(config: &ModelConfig) -> Hashes {
    let records = config.files.iter();
    records
        .map(|(file, record)| (file.clone(), record.sha256.to_ascii_lowercase()))
        .collect()
}

/// The same files, read instead of mapped: pages of a map count as the process's memory.
fn unmapped(files: ModelFiles) -> ModelFiles {
    match files {
        ModelFiles::Folder(folder) => ModelFiles::Folder(folder.with_access(Access::Read)),
        others => others,
    }
}

/// The hashes of all `names`, which are the `recorded` ones.
fn compute(
    files: &ModelFiles,
    names: BTreeSet<String>,
    recorded: &Hashes,
    verify: Verify,
) -> Result<Hashes> {
    let mut remembered = Remembered::open();
    let hashed: Result<Hashes> = names
        .into_iter()
        .map(|name| {
            let hash = hash_once(files, &name, verify, &mut remembered)?;
            match recorded.get(&name) {
                Some(expected) if *expected != hash => Err(differs(files, &name, &hash, expected)),
                _ => Ok((name, hash)),
            }
        })
        .collect();
    remembered.save();
    hashed
}

fn differs(files: &ModelFiles, name: &str, found: &str, expected: &str) -> Error {
    let file = pollster::block_on(files.open(name));
    let file = file.map_or_else(|_| name.to_owned(), |file| file.name().to_owned());
    let reason = format!(
        "its SHA-256 is {found}, model.json records {expected}: the file is damaged or another one; get \
         it again"
    );
    Error::format(file, reason)
}

/// The hash of a file; from earlier runs, where that counts.
fn hash_once(
    files: &ModelFiles,
    name: &str,
    verify: Verify,
    remembered: &mut Remembered,
) -> Result<String> {
    let path = match files {
        ModelFiles::Folder(folder) => Some(folder.path(name)),
        _ => None,
    };
    let stamp = path.as_deref().and_then(Stamp::of);
    if let (Verify::WhenNew, Some(stamp)) = (verify, &stamp)
        && let Some(hash) = remembered.get(stamp)
    {
        return Ok(hash.to_owned());
    }
    let hash = pollster::block_on(hash(files, name))?;
    if let (Some(path), Some(stamp)) = (&path, &stamp) {
        remembered.learn(path, stamp, &hash);
    }
    Ok(hash)
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
