//! Outputs of images: checked before the long work, and written completely or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use x2i_core::{Error, Result};

use crate::files::folder_of;
use crate::format::Format;

/// The output of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Output {
    /// None: the caller keeps the image.
    #[default]
    None,
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Output {
    /// Checks, before the long work, that the file can be written. Leaves no file behind.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::MissingFile`] naming the folder.
    pub fn check(&self) -> Result<()> {
        let Self::File(path) = self else {
            return Ok(());
        };
        let metadata = path.metadata();
        if let Err(error) = &metadata
            && error.kind() == io::ErrorKind::InvalidFilename
        {
            return Err(failed(path, io::ErrorKind::InvalidFilename.into()));
        }
        if let Ok(metadata) = metadata {
            if metadata.is_dir() {
                return Err(failed(path, io::ErrorKind::IsADirectory.into()));
            }
            if metadata.permissions().readonly() {
                return Err(failed(path, io::ErrorKind::PermissionDenied.into()));
            }
            if !metadata.is_file() {
                return OpenOptions::new()
                    .write(true)
                    .open(path)
                    .map(drop)
                    .map_err(|error| failed(path, error));
            }
        }
        let folder = folder_of(path);
        temporary(folder)
            .map(drop)
            .map_err(|error| failed(folder, error))
    }

    /// Writes a file completely: to a temporary file in the same folder, which is then renamed. After an
    /// interruption or on a full disk, the old file is still there.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
                written.map_err(|error| failed(Path::new("standard output"), error))
            }
            Self::File(path) => write_file(path, bytes).map_err(|error| failed(path, error)),
        }
    }

    /// The format that the file's name asks for; PNG elsewhere.
    ///
    /// # Errors
    /// As [`Format::of`].
    pub fn format(&self) -> Result<Format> {
        match self {
            Self::File(path) => Format::of(path),
            Self::None | Self::Stdout => Ok(Format::Png),
        }
    }

    /// The path for messages; `-` for standard output.
    pub fn shown(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::Stdout => "-".into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Renaming would replace a link or a device (/dev/full) with a file.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return OpenOptions::new().write(true).open(&path)?.write_all(bytes);
    }
    let mut file = temporary(folder_of(&path))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(&path).map(drop).map_err(|error| error.error)
}

/// A temporary file in the folder, which is removed unless it is kept.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".x2i-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The permissions of any new file; the process's umask still applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    // tempfile's own error names its temporary file, which means nothing to the user.
    builder
        .tempfile_in(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::Other => error,
            kind => kind.into(),
        })
}

/// An error with a clear message instead of the system's terse one.
fn failed(path: &Path, error: io::Error) -> Error {
    let kind = error.kind();
    let words = match kind {
        io::ErrorKind::StorageFull => "the disk is full",
        io::ErrorKind::ReadOnlyFilesystem => "is on a read-only file system",
        io::ErrorKind::PermissionDenied => "can't be written (permission denied)",
        // in /proc and similar file systems
        io::ErrorKind::NotFound if path.exists() => "nothing can be written here",
        io::ErrorKind::NotFound => "folder not found",
        io::ErrorKind::NotADirectory => "is not a folder",
        io::ErrorKind::IsADirectory => "is a folder",
        io::ErrorKind::InvalidFilename => "the name is too long for the file system",
        _ => {
            return Error::Io {
                file: path.display().to_string(),
                source: error,
            };
        }
    };
    Error::Io {
        file: path.display().to_string(),
        source: io::Error::new(kind, words),
    }
}

/// Makes a folder and its parents.
///
/// # Errors
/// [`Error::Io`] naming it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| failed(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let output = Output::File(path.clone());
        output.check().unwrap();
        assert!(!path.exists());
        output.write(b"one").unwrap();
        output.write(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_can_not_be_written_is_said_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: PathBuf| Output::File(path).check().unwrap_err().to_string();
        assert!(message(folder.path().into()).ends_with("is a folder"));
        assert!(message(folder.path().join("none/a.png")).ends_with("folder not found"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(message(file.join("a.png")).ends_with("is not a folder"));
        let long = folder.path().join("a".repeat(256));
        assert!(message(long).ends_with("the name is too long for the file system"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_one_clear_sentence_and_a_device_is_not_replaced() {
        let full = Output::File("/dev/full".into());
        full.check().unwrap();
        assert_eq!(
            full.write(b"x").unwrap_err().to_string(),
            "/dev/full: the disk is full"
        );
        assert!(!Path::new("/dev/full").is_file());
    }
}
