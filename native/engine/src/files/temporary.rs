//! Temporary files and folders with an owner, and the removal of those whose owner is gone.
//!
//! Each is named `.x2i-…`. A file is locked by the process that writes it; a folder belongs to the
//! file of its name with `.tmp` at the end. A killed process leaves both; the next one that writes
//! into their folder removes them.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use super::lock::{abandoned, own};

/// Names of everything temporary begin so.
pub(super) const PREFIX: &str = ".x2i-";
/// Names of folders that are being made begin so.
pub(super) const FOLDER_PREFIX: &str = ".x2i-convert-";
/// Names of temporary files, and of the owners of folders, end so.
pub(super) const SUFFIX: &str = ".tmp";
/// Names of files that exist for their lock end so.
const LOCK_SUFFIX: &str = ".lock";
/// The folder of a finished conversion, which is being put in place: it is never abandoned.
pub(super) const FINISHED: &str = ".x2i-convert-finished";

/// How often a new file may be taken for an abandoned one before it is owned.
const TRIES: u32 = 100;

/// A temporary file in the folder, owned by this process. It is removed unless it is kept. `mode` has
/// the permissions of the file that it will replace; else they are those of any new file.
pub(crate) fn temporary(folder: &Path, mode: Option<u32>) -> io::Result<NamedTempFile> {
    owned(folder, PREFIX, mode)
}

pub(super) fn owned(folder: &Path, prefix: &str, mode: Option<u32>) -> io::Result<NamedTempFile> {
    for _ in 0..TRIES {
        let file = unowned(folder, prefix, mode)?;
        if own(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
    Err(io::Error::other("temporary files vanish"))
}

fn unowned(folder: &Path, prefix: &str, mode: Option<u32>) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(SUFFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's umask still applies.
        let mode = mode.unwrap_or(0o666);
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    // tempfile's own error names its temporary file, which means nothing to the user.
    builder
        .tempfile_in(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::Other => error,
            kind => kind.into(),
        })
}

/// Removes what killed runs of x2i have left in a folder: temporary files, locks, and folders of
/// `convert`. What can't be removed stays, and nothing of a running process is touched.
pub fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| name.starts_with(PREFIX)) {
        let path = folder.join(&name);
        if name.ends_with(SUFFIX) || name.ends_with(LOCK_SUFFIX) {
            if let Some(_lock) = abandoned(&path) {
                remove_folder(&path.with_extension(""));
                let _ = fs::remove_file(&path);
            }
        } else if !path.with_added_extension("tmp").exists() {
            remove_folder(&path);
        }
    }
}

/// Removes a folder that `convert` was making: the files that it makes, then the folder, which stays
/// if it holds anything else.
pub(super) fn remove_folder(path: &Path) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    if !is_folder || !name.starts_with(FOLDER_PREFIX) || name == FINISHED {
        return;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_of_convert(&entry.file_name().to_string_lossy())) {
        let _ = fs::remove_file(entry.path());
    }
    let _ = fs::remove_dir(path);
}

fn is_of_convert(name: &str) -> bool {
    name.ends_with(".gguf") || name == "tokenizer.json" || name == "model.json"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_owner_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mine = temporary(folder.path(), None).unwrap();
        let made = owned(folder.path(), FOLDER_PREFIX, None).unwrap();
        fs::create_dir(made.path().with_extension("")).unwrap();
        for file in [
            ".x2i-a.tmp",
            ".x2i-b.lock",
            ".x2i-convert-c.tmp",
            "notes.tmp",
        ] {
            fs::write(path(file), "x").unwrap();
        }
        for of in ["c", "old", "kept"] {
            fs::create_dir(path(&format!(".x2i-convert-{of}"))).unwrap();
            fs::write(path(&format!(".x2i-convert-{of}/flux.gguf")), "x").unwrap();
        }
        fs::write(path(".x2i-convert-kept/thesis.txt"), "x").unwrap();
        sweep(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let mut expected = vec![
            path(".x2i-convert-kept"),
            path("notes.tmp"),
            mine.path().into(),
            made.path().into(),
            made.path().with_extension(""),
        ];
        left.sort();
        expected.sort();
        assert_eq!(left, expected);
        assert!(path(".x2i-convert-kept/thesis.txt").exists());
    }
}
