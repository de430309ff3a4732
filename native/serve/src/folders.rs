//! Folders among the system's temporary ones, which nobody else may read and which go with the process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

/// What the names of all folders begin with; the process's number follows.
const PREFIX: &str = "x2i-serve-";

/// The folders of this process.
static OWN: Mutex<Vec<PathBuf>> = Mutex::new(vec![]);

/// A new folder. Those of processes that are gone without removing theirs are removed first.
pub(crate) fn private(what: &str) -> io::Result<TempDir> {
    sweep(&std::env::temp_dir());
    let prefix = format!("{PREFIX}{}-{what}-", std::process::id());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    let builder = {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o700))
    };
    let folder = builder.prefix(&prefix).tempdir()?;
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.push(folder.path().to_owned());
    Ok(folder)
}

/// Removes all folders of this process: before it ends without dropping them.
pub(crate) fn remove_all() {
    let own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    for folder in own.iter() {
        let _ = std::fs::remove_dir_all(folder); // it may be gone already
    }
}

/// Removes folders of processes that are gone.
fn sweep(temporary: &Path) {
    for entry in temporary.read_dir().into_iter().flatten().flatten() {
        if process_of(&entry.file_name().to_string_lossy()).is_some_and(is_gone) {
            let _ = std::fs::remove_dir_all(entry.path()); // another user's stays
        }
    }
}

/// The number of the process in a folder's name.
fn process_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// True when there is no such process, where the system tells.
fn is_gone(process: u32) -> bool {
    cfg!(target_os = "linux") && !Path::new("/proc").join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_private_and_those_of_the_dead_are_removed() {
        let own = private("test").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                own.path().metadata().unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
        let temporary = tempfile::tempdir().unwrap();
        let folder = |name: String| {
            let path = temporary.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let living = folder(format!("{PREFIX}{}-outputs-a", std::process::id()));
        let dead = folder(format!("{PREFIX}4294967295-outputs-b"));
        let other = folder("x2i-something".into());
        sweep(temporary.path());
        assert!(living.exists() && other.exists());
        assert_eq!(dead.exists(), !cfg!(target_os = "linux"));
    }
}
