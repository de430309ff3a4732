//! Advisory locks: they say which files belong to a process that still runs.
//!
//! The system frees a lock when its process ends, however it ends. A lock is on the file and not on
//! its name, so that whoever gets one looks whether the name still leads to the file. Not here: file
//! systems without locks, where nothing is held and nothing counts as abandoned.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often a lock is asked for: who tidies a folder holds the locks in it for a moment.
const TRIES: u32 = 20;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// A file that exists for its lock alone; it is removed when the lock is dropped.
#[derive(Debug)]
pub struct LockFile {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl LockFile {
    /// Takes the lock of `path`; makes the file if there is none. `None` when another process has it.
    ///
    /// # Errors
    /// The system's, when the file can't be made.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..TRIES {
            let file = open(path)?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => sleep(PAUSE),
                Ok(()) if !is_at(&file, path) => {}
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Some(Self::of(path, file))),
            }
        }
        Ok(None)
    }

    /// Waits for the lock of `path`.
    ///
    /// # Errors
    /// As [`try_take`](Self::try_take).
    pub fn wait(path: &Path) -> io::Result<Self> {
        loop {
            let file = open(path)?;
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(()) if !is_at(&file, path) => {}
                Ok(()) | Err(_) => return Ok(Self::of(path, file)),
            }
        }
    }

    fn of(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            _file: file,
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed before the lock is freed: the next owner makes a file of its own.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path)
}

/// Locks a new file, so that it counts as owned. False when it was taken for an abandoned one and
/// removed meanwhile.
pub(super) fn own(file: &File, path: &Path) -> bool {
    file.lock().is_err() || is_at(file, path)
}

/// The lock of a file whose owner is gone; `None` when it has an owner, or is no file of ours to
/// touch (a link, a pipe, one of another user).
pub(super) fn abandoned(path: &Path) -> Option<File> {
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    let file = is_file.then(|| OpenOptions::new().read(true).write(true).open(path));
    let file = file?.ok()?;
    file.try_lock().ok()?;
    is_at(&file, path).then_some(file)
}

/// Whether the name still leads to the open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(held), Ok(found)) = (file.metadata(), path.symlink_metadata()) else {
        return false;
    };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

/// Whether the name still leads to a file: other systems don't remove one that is open.
#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_owner_and_its_file_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let lock = LockFile::try_take(&path).unwrap();
        assert!(lock.is_some());
        assert!(LockFile::try_take(&path).unwrap().is_none());
        assert!(abandoned(&path).is_none());
        drop(lock);
        assert!(!path.exists());
        assert!(LockFile::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn of_many_that_wait_for_a_lock_one_at_a_time_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let count = folder.path().join("count");
        fs::write(&count, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _lock = LockFile::wait(&path).unwrap();
                        let before: u32 = fs::read_to_string(&count).unwrap().parse().unwrap();
                        fs::write(&count, (before + 1).to_string()).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&count).unwrap(), "160");
    }
}
