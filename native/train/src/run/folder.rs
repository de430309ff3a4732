//! The folder of a run.
//!
//! ```text
//! run/
//!   config.toml                the settings as used
//!   log.jsonl                  a line for each update
//!   index.html                 curves and samples
//!   checkpoints/<update>/      model, optimizer, where the run is
//!   samples/<update>-<n>.png   samples; update 0 is untrained
//!   tensorboard/               events
//!   <the file that inference reads>
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;
use x2i_core::training::Parameters;
use x2i_core::training::optimizer::Rule;
use x2i_core::{Error, Result};
use x2i_engine::Output;
use x2i_engine::files::LockFile;
use x2i_engine::files::io_error;
use x2i_engine::output::create_folder;

use super::checkpoint::Checkpoint;
use super::settings::{Settings, What};

/// The settings.
const CONFIG: &str = "config.toml";
/// What the run trains, in the settings' first line.
const WHAT: &str = "# x2i train ";
/// The folder of checkpoints.
const CHECKPOINTS: &str = "checkpoints";
/// The file that a run locks.
const LOCK: &str = ".lock";

/// A run's folder, which no other process writes meanwhile.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
    _lock: LockFile,
}

impl RunFolder {
    /// Opens the folder of these settings, or makes it.
    ///
    /// # Errors
    /// [`Error::Config`] when another run has made it, or one is running there; [`Error::Io`].
    pub fn open(settings: &Settings, what: What) -> Result<Self> {
        let root = settings.out.clone();
        let name = root.display().to_string();
        let config = root.join(CONFIG);
        if !config.exists() && holds_something(&root)? {
            let reason = format!("holds files and no {CONFIG}: it is no run's folder");
            return Err(Error::config(name, reason));
        }
        create_folder(&root)?;
        let lock = LockFile::try_take(&root.join(LOCK)).map_err(|error| io_error(&name, error))?;
        let Some(lock) = lock else {
            return Err(Error::config(name, "another process trains there"));
        };
        match fs::read_to_string(&config) {
            // A run that has made nothing may begin with other settings.
            Ok(text) if root.join(CHECKPOINTS).is_dir() && !checkpoints(&root)?.is_empty() => {
                check_config(&config, &text, settings, what)?;
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(&config.display().to_string(), error)),
        }
        let text = format!("{WHAT}{what}\n{}", settings.of(what));
        Output::File(config).write(text.as_bytes())?;
        create_folder(&root.join(CHECKPOINTS))?;
        Ok(Self { root, _lock: lock })
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file in it.
    pub fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// The updates of all checkpoints, in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn checkpoints(&self) -> Result<Vec<u64>> {
        checkpoints(&self.root)
    }

    /// The place of the checkpoint after so many updates.
    pub fn checkpoint(&self, updates: u64) -> PathBuf {
        place(&self.root, updates)
    }

    /// Writes a checkpoint, then removes the oldest but `keep`.
    ///
    /// # Errors
    /// As [`Checkpoint::write`]; the older ones are all there then.
    pub fn save(
        &self,
        checkpoint: &Checkpoint,
        results: &[(String, Vec<u8>)],
        keep: usize,
    ) -> Result<PathBuf> {
        let place = self.checkpoint(checkpoint.position.updates);
        if !place.exists() {
            checkpoint.write(&place, results)?;
        }
        let all = self.checkpoints()?;
        for updates in &all[..all.len().saturating_sub(keep.max(1))] {
            let old = self.checkpoint(*updates);
            // First another name: a folder that is half removed is no checkpoint.
            let gone = old.with_file_name(format!(".{updates}.old"));
            let removed = fs::rename(&old, &gone).and_then(|()| fs::remove_dir_all(&gone));
            removed.map_err(|error| io_error(&old.display().to_string(), error))?;
        }
        Ok(place)
    }
}

fn place(root: &Path, updates: u64) -> PathBuf {
    root.join(CHECKPOINTS).join(updates.to_string())
}

fn checkpoints(root: &Path) -> Result<Vec<u64>> {
    let folder = root.join(CHECKPOINTS);
    let name = folder.display().to_string();
    let entries = fs::read_dir(&folder).map_err(|error| io_error(&name, error))?;
    let mut updates = vec![];
    for entry in entries {
        let entry = entry.map_err(|error| io_error(&name, error))?;
        // What a killed run was writing has another name.
        updates.extend(entry.file_name().to_string_lossy().parse::<u64>());
    }
    updates.sort_unstable();
    Ok(updates)
}

/// The last checkpoint of the run in a folder, which every process of it may read.
///
/// # Errors
/// As [`Checkpoint::read`].
pub(super) fn latest(root: &Path, like: &Parameters, rule: Rule) -> Result<Option<Checkpoint>> {
    match checkpoints(root)?.last() {
        Some(updates) => Checkpoint::read(&place(root, *updates), like, rule).map(Some),
        None => Ok(None),
    }
}

fn holds_something(folder: &Path) -> Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error(&folder.display().to_string(), error)),
    }
}

/// Refuses to go on with other numbers than a run had.
fn check_config(path: &Path, text: &str, settings: &Settings, what: What) -> Result<()> {
    let name = path.display().to_string();
    let first = text.lines().next().unwrap_or_default();
    if first.strip_prefix(WHAT) != Some(&what.to_string()) {
        let other = first.strip_prefix(WHAT).unwrap_or("something else");
        return Err(Error::config(
            name,
            format!("is of a run that trains {other}, not {what}"),
        ));
    }
    let then = Settings::read(what, &name, text, Table::new())?;
    match settings.differences(&then).into_iter().next() {
        Some((key, [then, now])) => {
            let reason = format!(
                "the run was begun with `{key}` {then}, now it is {now}; take another `out` for another run"
            );
            Err(Error::config(name, reason))
        }
        None => Ok(()),
    }
}
