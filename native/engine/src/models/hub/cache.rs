//! The layout of Hugging Face's cache: `models--OWNER--NAME/{refs, blobs, snapshots/COMMIT}`.
//!
//! A snapshot's files are links to blobs, which are named by their etag; `refs/main` names a commit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::reference::{Reference, is_name};

/// The folder that holds the repositories of the Hub on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache in this folder, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// This user's, as huggingface_hub finds it: `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, else the
    /// home folder's. `None` where there is none of these.
    pub fn of_user() -> Option<Self> {
        let root = set("HF_HUB_CACHE").or_else(|| Some(home_of_hub()?.join("hub")))?;
        Some(Self { root })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a repository, whether it is there or not.
    pub fn repository(&self, reference: &Reference) -> PathBuf {
        self.root.join(reference.folder())
    }

    /// The snapshot of the revision that is named, or of `main`; `None` when it is not there.
    pub fn find(&self, reference: &Reference) -> Option<PathBuf> {
        let repository = self.repository(reference);
        match reference.revision() {
            None => snapshot(&repository),
            Some(revision) => of_revision(&repository, revision),
        }
    }
}

/// The folder of Hugging Face's programs, which holds the cache and the token.
pub(super) fn home_of_hub() -> Option<PathBuf> {
    set("HF_HOME")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(home()?.join(".cache/huggingface")))
}

/// A path in an environment variable that is not empty.
pub(super) fn set(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The user's home folder.
pub(super) fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The snapshot of a branch, a tag or a commit.
fn of_revision(repository: &Path, revision: &str) -> Option<PathBuf> {
    let snapshots = repository.join("snapshots");
    let commit = fs::read_to_string(repository.join("refs").join(revision)).ok();
    let commit = commit.map(|commit| commit.trim().to_owned());
    let names = commit.into_iter().chain([revision.to_owned()]);
    let plain = names.filter(|name| !name.is_empty() && !name.contains(['/', '\\', '.']));
    plain
        .map(|name| snapshots.join(name))
        .find(|found| found.is_dir())
}

/// `OWNER/NAME` of a repository's folder, or of a folder inside of it; `None` for any other.
pub(crate) fn repository_name(path: &Path) -> Option<String> {
    path.ancestors().find_map(|folder| {
        let rest = folder.file_name()?.to_str()?.strip_prefix("models--")?;
        let (owner, name) = rest.split_once("--")?;
        (is_name(owner) && is_name(name)).then(|| format!("{owner}/{name}"))
    })
}

/// The snapshot of a cached repository that is meant by its folder.
pub(crate) fn snapshot(repository: &Path) -> Option<PathBuf> {
    let name = repository.file_name()?.to_str()?;
    if !name.starts_with("models--") {
        return None;
    }
    of_revision(repository, "main").or_else(|| newest(&repository.join("snapshots")))
}

/// The folder in it that was changed last.
fn newest(snapshots: &Path) -> Option<PathBuf> {
    let folders = snapshots.read_dir().ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let changed = path.metadata().ok()?.modified();
        let hidden = path.file_name()?.as_encoded_bytes().starts_with(b".");
        (path.is_dir() && !hidden).then(|| (changed.unwrap_or(SystemTime::UNIX_EPOCH), path))
    });
    folders.max().map(|(_, path)| path)
}
