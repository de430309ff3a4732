//! What the cache holds, and its removal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use x2i_core::{Error, Result};

use super::cache::{Cache, repository_name};
use super::reference::Reference;

/// A repository in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedModel {
    /// `OWNER/NAME`.
    pub name: String,
    /// Its folder in the cache.
    pub folder: PathBuf,
    /// Bytes of all its files; those that revisions share are counted once.
    pub bytes: u64,
    /// Bytes of downloads that have not ended, of this program and others.
    pub incomplete: u64,
    /// Its revisions, in the order of their commits.
    pub revisions: Vec<CachedRevision>,
}

/// One revision of a repository in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedRevision {
    /// The name of the commit.
    pub commit: String,
    /// Branches and tags that name it here.
    pub refs: Vec<String>,
    /// The number of its files.
    pub files: usize,
    /// Bytes of its files.
    pub bytes: u64,
    /// The folder of its files.
    pub folder: PathBuf,
}

/// The models in the cache, by name; none where there is no cache.
///
/// # Errors
/// [`Error::Io`] when the cache can't be read.
pub fn list(cache: &Cache) -> Result<Vec<CachedModel>> {
    let mut models = Vec::new();
    for folder in folders(cache.root()).map_err(|error| failed(cache.root(), error))? {
        if let Some(name) = name_of(&folder) {
            models.push(model(name, folder.clone()).map_err(|error| failed(&folder, error))?);
        }
    }
    models.sort_by(|a: &CachedModel, b| a.name.cmp(&b.name));
    Ok(models)
}

/// Removes a revision of a model, with the files that no other revision has; without a revision, the whole
/// model. Returns the bytes that were freed.
///
/// # Errors
/// [`Error::Config`] when the cache has no such model or revision, or when its folder is not one of the
/// cache's own (a link); [`Error::Io`] when something can't be removed.
pub fn remove(cache: &Cache, reference: &Reference) -> Result<u64> {
    let folder = cache.repository(reference);
    let shown = reference.to_string();
    let found = folder.symlink_metadata();
    if found.as_ref().is_ok_and(|found| !found.is_dir()) {
        let reason = format!(
            "{} is a link or a file, not a folder of the cache",
            folder.display()
        );
        return Err(Error::config(shown, reason));
    }
    if found.is_err() || !folder.join("snapshots").is_dir() && !folder.join("blobs").is_dir() {
        let reason = format!("is not in the cache {}", cache.root().display());
        return Err(Error::config(shown, reason));
    }
    let model = model(reference.repository(), folder.clone());
    let model = model.map_err(|error| failed(&folder, error))?;
    let Some(revision) = reference.revision() else {
        remove_whole(&folder).map_err(|error| failed(&folder, error))?;
        return Ok(model.bytes + model.incomplete);
    };
    let named = |found: &&CachedRevision| {
        found.commit == revision || found.refs.iter().any(|name| name == revision)
    };
    let Some(revision) = model.revisions.iter().find(named) else {
        let known = model.revisions.iter().map(CachedRevision::shown);
        let known: Vec<String> = known.collect();
        let reason = format!(
            "is not in the cache; of this model it has {}",
            known.join(", ")
        );
        return Err(Error::config(shown, reason));
    };
    remove_revision(&model, revision).map_err(|error| failed(&folder, error))
}

impl CachedRevision {
    /// The name by which a user knows it: its branches and tags, else its commit.
    pub fn shown(&self) -> String {
        match self.refs.is_empty() {
            true => self.commit.clone(),
            false => self.refs.join(", "),
        }
    }
}

/// Folders, not links, in a folder; none where there is none.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// The name of the model whose folder it is.
fn name_of(folder: &Path) -> Option<String> {
    let own = folder.file_name()?;
    repository_name(Path::new(own))
}

fn model(name: String, folder: PathBuf) -> io::Result<CachedModel> {
    let refs = refs(&folder)?;
    let (mut bytes, mut incomplete) = (0, 0);
    for (path, length) in files(&folder.join("blobs"))? {
        match is_unfinished(&path) {
            true => incomplete += length,
            false => bytes += length,
        }
    }
    let mut revisions = Vec::new();
    for folder in folders(&folder.join("snapshots"))? {
        let commit = folder.file_name().unwrap_or_default().to_string_lossy();
        if commit.starts_with('.') {
            continue; // of a run that was killed
        }
        let commit = commit.into_owned();
        let held = Held::of(&folder)?;
        // Where the system has no links, a snapshot has the files themselves.
        bytes += held.own;
        revisions.push(CachedRevision {
            refs: refs.get(&commit).cloned().unwrap_or_default(),
            commit,
            files: held.files,
            bytes: held.bytes,
            folder,
        });
    }
    Ok(CachedModel {
        name,
        folder,
        bytes,
        incomplete,
        revisions,
    })
}

/// Whether it is a download that has not ended, or what belongs to one.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.contains(".incomplete") || name.contains(".x2i")
}

/// Branches and tags, by the commit that they name.
fn refs(folder: &Path) -> io::Result<BTreeMap<String, Vec<String>>> {
    let root = folder.join("refs");
    let mut refs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, _) in files(&root)? {
        let name = path.strip_prefix(&root).unwrap_or(&path);
        if name.to_string_lossy().starts_with(".x2i-") {
            continue; // of a run that was killed
        }
        let commit = fs::read_to_string(&path)?.trim().to_owned();
        let name = name.to_string_lossy().into_owned();
        refs.entry(commit).or_default().push(name);
    }
    Ok(refs)
}

/// All files below a folder, with their lengths; links are not followed, and counted as files.
fn files(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let (mut found, mut left) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = left.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => left.push(entry.path()),
                false => found.push((entry.path(), entry.metadata()?.len())),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What a snapshot holds.
struct Held {
    files: usize,
    bytes: u64,
    /// Bytes of files that are no links.
    own: u64,
    /// Names of the blobs that its links lead to.
    blobs: BTreeSet<String>,
}

impl Held {
    fn of(snapshot: &Path) -> io::Result<Self> {
        let mut held = Self {
            files: 0,
            bytes: 0,
            own: 0,
            blobs: BTreeSet::new(),
        };
        for (path, length) in files(snapshot)? {
            held.files += 1;
            match fs::read_link(&path) {
                Ok(target) => {
                    // A link whose blob is gone counts nothing.
                    held.bytes += path.metadata().map_or(0, |found| found.len());
                    let blob = target
                        .file_name()
                        .map(|name| name.to_string_lossy().into_owned());
                    held.blobs.extend(blob);
                }
                Err(_) => {
                    held.bytes += length;
                    held.own += length;
                }
            }
        }
        Ok(held)
    }
}

/// Removes the names first, so that nobody finds a part of it.
fn remove_whole(folder: &Path) -> io::Result<()> {
    for part in ["refs", "snapshots", "blobs"] {
        match fs::remove_dir_all(folder.join(part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir_all(folder)
}

fn remove_revision(model: &CachedModel, revision: &CachedRevision) -> io::Result<u64> {
    let blobs = model.folder.join("blobs");
    let held = Held::of(&revision.folder)?;
    let mut shared = BTreeSet::new();
    for other in model.revisions.iter().filter(|other| *other != revision) {
        shared.extend(Held::of(&other.folder)?.blobs);
    }
    for name in &revision.refs {
        fs::remove_file(model.folder.join("refs").join(name))?;
    }
    fs::remove_dir_all(&revision.folder)?;
    let mut freed = held.own;
    for blob in held.blobs.difference(&shared) {
        let path = blobs.join(blob);
        if let Ok(found) = path.symlink_metadata() {
            fs::remove_file(&path)?;
            freed += found.len();
        }
    }
    Ok(freed)
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Io {
        file: path.display().to_string(),
        source,
    }
}
