//! Puts downloaded files where the cache has them: a link a file, then the name of the commit.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use x2i_core::{Error, Result};

use super::parts::failed;
use super::repository::Remote;
use crate::files::{sync_folder, temporary};

/// Links the files of a commit to their blobs. Returns the snapshot's folder.
///
/// # Errors
/// [`Error::Io`] when the disk refuses; [`Error::Config`] when a folder of the snapshot is a link, which
/// would lead out of it.
pub(super) fn link(repository: &Path, commit: &str, files: &[Remote]) -> Result<PathBuf> {
    let snapshot = repository.join("snapshots").join(commit);
    for file in files {
        let place = snapshot.join(&file.path);
        let folder = folder(&snapshot, &file.path)?;
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
        named.map_err(|error| failed(&place, error))?;
    }
    Ok(snapshot)
}

/// Makes the folder of a file, which must not lead out of the snapshot.
fn folder(snapshot: &Path, path: &str) -> Result<PathBuf> {
    let mut folder = snapshot.to_owned();
    fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in parts {
        folder.push(part);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(&folder, error));
            }
            _ => {}
        }
        if !folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            let reason = "is in the way: it is a link or a file, not a folder of this model";
            return Err(Error::config(folder.display().to_string(), reason));
        }
    }
    Ok(folder)
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

/// Says which commit a branch or tag is: the last thing that a download does.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write_ref(repository: &Path, revision: &str, commit: &str) -> Result<()> {
    let path = repository.join("refs").join(revision);
    let folder = path.parent().unwrap_or(repository);
    let written = fs::create_dir_all(folder)
        .and_then(|()| temporary(folder, None))
        .and_then(|mut file| {
            file.write_all(commit.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            sync_folder(folder)
        });
    written.map_err(|error| failed(&path, error))
}
