//! Puts downloaded files where the cache has them: a link a file, then the name of the commit.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use x2i_core::{Error, Result};

use super::repository::Remote;
use crate::files::{LockFile, sync_folder, temporary, write_error};

/// The snapshot that is being made.
const STAGE: &str = ".x2i-place";

/// Links the files of a commit to their blobs, and says which commit the branch or tag is, which is the last
/// thing that a download does. Returns the snapshot's folder.
///
/// # Errors
/// As [`link`]; [`Error::Io`].
pub(super) fn place(
    repository: &Path,
    (commit, revision): (&str, Option<&str>),
    files: &[Remote],
) -> Result<PathBuf> {
    // One process at a time, so that what a killed one has left can be told from the work of another.
    let lock = LockFile::wait(&repository.join(".x2i-place.lock"));
    let _lock = lock.map_err(|error| write_error(repository, error))?;
    let snapshot = link(repository, commit, files)?;
    if let Some(revision) = revision {
        write_ref(repository, revision, commit)?;
    }
    Ok(snapshot)
}

/// Links the files of a commit to their blobs. Returns the snapshot's folder, which appears with all of them; into
/// one that is there, they come one by one.
///
/// # Errors
/// [`Error::Io`] when the disk refuses; [`Error::Config`] when a folder of the snapshot is a link, which
/// would lead out of it.
fn link(repository: &Path, commit: &str, files: &[Remote]) -> Result<PathBuf> {
    let snapshots = repository.join("snapshots");
    let (snapshot, stage) = (snapshots.join(commit), snapshots.join(STAGE));
    let _ = fs::remove_dir_all(&stage);
    if snapshot.symlink_metadata().is_ok() {
        link_into(&snapshot, repository, files)?;
    } else {
        link_into(&stage, repository, files)?;
        fs::rename(&stage, &snapshot).map_err(|error| write_error(&snapshot, error))?;
    }
    Ok(snapshot)
}

fn link_into(snapshot: &Path, repository: &Path, files: &[Remote]) -> Result<()> {
    let mut tidied = BTreeSet::new();
    for file in files {
        let place = snapshot.join(&file.path);
        let folder = folder(snapshot, &file.path)?;
        if tidied.insert(folder.clone()) {
            tidy(&folder);
        }
        let blob = repository.join("blobs").join(&file.etag);
        if fs::read_link(&place).is_ok_and(|to| to.file_name() == blob.file_name())
            && place.exists()
        {
            continue;
        }
        let depth = file.path.split('/').count() + 1;
        let mut target = PathBuf::from_iter(vec![".."; depth]);
        target.push("blobs");
        target.push(&file.etag);
        let named = temporary(&folder, None).and_then(|unused| {
            let name = unused.into_temp_path();
            fs::remove_file(&name)?;
            place_link(&target, &blob, &name)?;
            fs::rename(&name, &place)
        });
        named.map_err(|error| write_error(&place, error))?;
    }
    Ok(())
}

/// Makes the folder of a file, which must not lead out of the snapshot.
fn folder(snapshot: &Path, path: &str) -> Result<PathBuf> {
    let mut folder = snapshot.to_owned();
    fs::create_dir_all(&folder).map_err(|error| write_error(&folder, error))?;
    own(&folder)?;
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in parts {
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(write_error(&folder, error));
            }
            _ => own(&folder)?,
        }
    }
    Ok(folder)
}

/// Refuses a folder that is a link.
fn own(folder: &Path) -> Result<()> {
    match folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        true => Ok(()),
        false => {
            let reason = "is in the way: it is a link or a file, not a folder of this model";
            Err(Error::config(folder.display().to_string(), reason))
        }
    }
}

/// Removes what killed runs have left in a folder, links too.
fn tidy(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".x2i-") && name.ends_with(".tmp") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(unix)]
fn place_link(target: &Path, _: &Path, name: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, name)
}

/// Windows allows links to few: a second name of the file does as well, and a copy where there is none.
#[cfg(not(unix))]
fn place_link(_: &Path, blob: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(blob, name).or_else(|_| fs::copy(blob, name).map(|_| ()))
}

/// Says which commit a branch or tag is.
fn write_ref(repository: &Path, revision: &str, commit: &str) -> Result<()> {
    let path = repository.join("refs").join(revision);
    let folder = path.parent().unwrap_or(repository);
    let written = fs::create_dir_all(folder)
        .and_then(|()| {
            tidy(folder);
            temporary(folder, None)
        })
        .and_then(|mut file| {
            file.write_all(commit.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            sync_folder(folder)
        });
    written.map_err(|error| write_error(&path, error))
}
