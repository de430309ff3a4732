//! What is computed once and kept on disk: latents, and the states of T5, CLIP and the multimodal LLM.
//!
//! An entry's name is a hash of everything that it follows from, so that no name of a data set is ever a
//! part of a path. A folder belongs to one set of models. A damaged entry is as good as none. When the
//! folder is full, nothing is removed: samples come round once an epoch, so that throwing out the oldest
//! would throw out every one just before it is needed.

mod entry;
mod key;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use x2i_core::{Error, Result};
use x2i_engine::Output;
use x2i_engine::files::{io_error, sweep};

pub use entry::{Array, Encoding};
pub use key::{Key, KeyMaker};

/// The file that says whose cache a folder is.
const IDENTITY: &str = "cache.json";
/// The version of entries.
const FORMAT: u32 = 1;
/// The largest entry, in bytes: all states of a 7B model at 512 tokens in f32 are 220 MB.
const MOST_ENTRY: u64 = 1 << 30;

/// A folder of entries.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
    used: AtomicU64,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is on disk.
    Kept,
    /// The cache has reached its limit.
    Full,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Identity {
    format: u32,
    models: BTreeMap<String, String>,
}

impl Cache {
    /// Opens a folder, or makes it. `models` are the models whose results it keeps, by part, with their
    /// hashes; `limit` is the most bytes of all entries.
    ///
    /// # Errors
    /// [`Error::Config`] when the folder is the cache of other models, or holds other files;
    /// [`Error::Io`].
    pub fn open(folder: &Path, models: &BTreeMap<String, String>, limit: u64) -> Result<Self> {
        let name = folder.display().to_string();
        let failed = |error| io_error(&name, error);
        fs::create_dir_all(folder).map_err(failed)?;
        let wanted = Identity {
            format: FORMAT,
            models: models.clone(),
        };
        let file = folder.join(IDENTITY);
        match fs::read(&file) {
            Ok(json) => check_identity(&file, &json, &wanted)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut entries = fs::read_dir(folder).map_err(failed)?;
                if entries.next().is_some() {
                    let reason = format!(
                        "holds files and no {IDENTITY}: it is no cache; take an empty folder"
                    );
                    return Err(Error::config(name, reason));
                }
                let json = serde_json::to_vec_pretty(&wanted)
                    .map_err(|error| Error::config(&name, error.to_string()))?;
                Output::File(file).write(&json)?;
            }
            Err(error) => return Err(failed(error)),
        }
        let used = size_of(folder).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            limit,
            used: AtomicU64::new(used),
        })
    }

    /// Bytes of all entries.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// An entry; none where there is none, or it is damaged.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk can't be read.
    pub fn get(&self, key: &Key) -> Result<Option<Vec<Array>>> {
        let path = self.path(key);
        let name = path.display().to_string();
        let bytes = match path.metadata() {
            Ok(found) if found.is_file() && found.len() <= MOST_ENTRY => fs::read(&path),
            Ok(_) => return Ok(None),
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => Ok(entry::decode(&name, &bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&name, error)),
        }
    }

    /// Puts an entry, which is then there whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk can't be written; [`Error::Format`] for arrays that can't be encoded.
    pub fn put(&self, key: &Key, arrays: &[Array], encoding: Encoding) -> Result<Put> {
        self.put_bytes(key, &entry::encode(arrays, encoding)?)
    }

    fn put_bytes(&self, key: &Key, bytes: &[u8]) -> Result<Put> {
        let length = bytes.len() as u64;
        let path = self.path(key);
        let old = path.metadata().map_or(0, |found| found.len());
        if length > MOST_ENTRY || self.used().saturating_sub(old) + length > self.limit {
            return Ok(Put::Full);
        }
        if let Some(folder) = path.parent() {
            let name = folder.display().to_string();
            fs::create_dir_all(folder).map_err(|error| io_error(&name, error))?;
        }
        Output::File(path).write(bytes)?;
        self.used.fetch_add(length, Ordering::Relaxed);
        self.used.fetch_sub(old.min(self.used()), Ordering::Relaxed);
        Ok(Put::Kept)
    }

    /// An entry, computed and put where it is not there. What is given back has been through the encoding in
    /// any case: a run's numbers do not depend on what an earlier run has kept.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`put`](Self::put), and what `compute` gives.
    pub fn through(
        &self,
        key: &Key,
        encoding: Encoding,
        compute: impl FnOnce() -> Result<Vec<Array>>,
    ) -> Result<Vec<Array>> {
        if let Some(found) = self.get(key)? {
            return Ok(found);
        }
        let arrays = compute()?;
        let bytes = entry::encode(&arrays, encoding)?;
        self.put_bytes(key, &bytes)?;
        let name = self.path(key).display().to_string();
        entry::decode(&name, &bytes)
            .ok_or_else(|| Error::format(name, "is an entry that can't be read back"))
    }

    /// `ab/abcd….x2i`: hexadecimal digits alone.
    fn path(&self, key: &Key) -> PathBuf {
        let name = key.as_hex();
        self.folder.join(&name[..2]).join(format!("{name}.x2i"))
    }
}

fn check_identity(file: &Path, json: &[u8], wanted: &Identity) -> Result<()> {
    let name = file.display().to_string();
    let found: Identity = serde_json::from_slice(json)
        .map_err(|error| Error::config(&name, format!("is no cache's: {error}")))?;
    if found == *wanted {
        return Ok(());
    }
    let other = wanted.models.iter().find(|(part, hash)| {
        let found = found.models.get(*part);
        found != Some(hash)
    });
    let reason = match other {
        Some((part, hash)) if found.format == FORMAT => {
            let of = found.models.get(part).map_or("none", |hash| short(hash));
            format!(
                "this is the cache of another model ({part} {of}, not {}); take another folder, or remove it",
                short(hash)
            )
        }
        _ => "this is the cache of other models or of another version; take another folder, or remove it".into(),
    };
    Err(Error::config(name, reason))
}

/// The beginning of a hash.
fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

/// Bytes of all entries; what killed runs have left is removed.
fn size_of(folder: &Path) -> io::Result<u64> {
    let mut size = 0;
    for part in fs::read_dir(folder)? {
        let part = part?;
        if !part.file_type()?.is_dir() {
            continue;
        }
        sweep(&part.path());
        for entry in fs::read_dir(part.path())? {
            // Another process may remove its own temporary file meanwhile.
            size += entry?.metadata().map_or(0, |found| found.len());
        }
    }
    Ok(size)
}
