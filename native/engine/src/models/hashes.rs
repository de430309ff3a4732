//! The SHA-256 of a model's files: compared with those that `model.json` records, and computed where it
//! records none. A thread does it during the work, since a full-size model takes a while, and a hash is
//! remembered for as long as its file does not change ([`Remembered`]).
//!
//! The embedded model is a part of the program, and is not hashed. A source of the caller's own has no
//! files on this machine: its recorded hashes are compared only with [`Verify::Always`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};
use x2i_core::model::ModelSource;
use x2i_core::{Error, ModelConfig, Result};

use super::files::ModelFiles;
use super::folder::Access;
use super::meter::Meter;
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
                Todo::of(&files, names, verify).compute(&recorded, &Meter::silent())
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

/// A comparison of a model's files with the recorded lengths and hashes, before it is made.
pub(super) struct Comparison {
    todo: Todo,
    recorded: Hashes,
}

impl Comparison {
    /// Looks at the lengths, and for hashes that are known.
    ///
    /// # Errors
    /// [`Error::Format`] for the first file of another length.
    pub fn begin(files: &ModelFiles, config: &ModelConfig, verify: Verify) -> Result<Self> {
        check_lengths(files, config)?;
        let recorded = match files {
            ModelFiles::Embedded(_) => Hashes::new(),
            _ => recorded(config),
        };
        let names = recorded.keys().cloned().collect();
        Ok(Self {
            todo: Todo::of(&unmapped(files.clone()), names, verify),
            recorded,
        })
    }

    /// Bytes that have to be read.
    pub fn bytes(&self) -> u64 {
        self.todo.bytes
    }

    /// Compares the hashes.
    ///
    /// # Errors
    /// [`Error::Format`] for the first file that is another one; [`Error::Io`] when one can't be read;
    /// [`Error::Cancelled`].
    pub fn run(self, meter: &Meter) -> Result<()> {
        self.todo.compute(&self.recorded, meter).map(drop)
    }
}

fn recorded(config: &ModelConfig) -> Hashes {
    let records = config.files.iter();
    records
        .map(|(file, record)| (file.clone(), record.sha256.to_ascii_lowercase()))
        .collect()
}

/// The same files, read instead of mapped: pages of a map count as the process's memory.
pub(super) fn unmapped(files: ModelFiles) -> ModelFiles {
    match files {
        ModelFiles::Folder(folder) => ModelFiles::Folder(folder.with_access(Access::Read)),
        others => others,
    }
}

/// A file to hash.
struct Named {
    name: String,
    /// Where there is one on this machine, its path and stamp.
    stamp: Option<(PathBuf, Stamp)>,
    known: Option<String>,
}

/// Files to hash.
struct Todo {
    files: ModelFiles,
    names: Vec<Named>,
    /// Bytes of those that are not known.
    bytes: u64,
    remembered: Remembered,
}

impl Todo {
    fn of(files: &ModelFiles, names: BTreeSet<String>, verify: Verify) -> Self {
        let remembered = Remembered::open();
        let mut bytes = 0;
        let mut look = |name: String| {
            let stamp = stamp_of(files, &name);
            let known = stamp.as_ref().and_then(|(_, stamp)| remembered.get(stamp));
            let known = known.filter(|_| verify == Verify::WhenNew);
            let known = known.map(ToOwned::to_owned);
            if known.is_none() {
                let file = pollster::block_on(files.open(&name));
                bytes += file.map_or(0, |file| file.len());
            }
            Named { name, stamp, known }
        };
        Self {
            names: names.into_iter().map(&mut look).collect(),
            files: files.clone(),
            bytes,
            remembered,
        }
    }

    /// The hashes, which are the `recorded` ones.
    fn compute(mut self, recorded: &Hashes, meter: &Meter) -> Result<Hashes> {
        let mut hashes = Hashes::new();
        for Named { name, stamp, known } in self.names {
            let is_new = known.is_none();
            let hash = match known {
                Some(known) => known,
                None => pollster::block_on(hash(&self.files, &name, meter))?,
            };
            if let (true, Some((path, stamp))) = (is_new, &stamp) {
                self.remembered.learn(path, stamp, &hash);
                // At once: whoever stops here has not read the file in vain.
                self.remembered.save();
            }
            match recorded.get(&name) {
                Some(expected) if *expected != hash => {
                    return Err(differs(&self.files, &name, &hash, expected));
                }
                _ => hashes.insert(name, hash),
            };
        }
        Ok(hashes)
    }
}

/// The path of a file of a folder, and its stamp.
pub(super) fn stamp_of(files: &ModelFiles, name: &str) -> Option<(PathBuf, Stamp)> {
    let ModelFiles::Folder(folder) = files else {
        return None;
    };
    let path = folder.path(name);
    let stamp = Stamp::of(&path)?;
    Some((path, stamp))
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

async fn hash(files: &ModelFiles, name: &str, meter: &Meter<'_>) -> Result<String> {
    let file = files.open(name).await?;
    let mut hasher = Sha256::new();
    let mut start = 0;
    while start < file.len() {
        let end = (start + CHUNK).min(file.len());
        hasher.update(file.read(start..end).await?);
        meter.read(end - start)?;
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
