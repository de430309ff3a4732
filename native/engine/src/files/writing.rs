//! Errors of writing, in words.

use std::io;
use std::path::Path;

use x2i_core::Error;

/// An error with a clear message instead of the system's terse one.
pub(crate) fn write_error(path: &Path, error: io::Error) -> Error {
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
        io::ErrorKind::AlreadyExists => "is there and is not a folder",
        io::ErrorKind::FileTooLarge => "is larger than a file may be here",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::InvalidFilename => "the name is too long for the file system",
        io::ErrorKind::NotConnected => "is a pipe that nobody reads; start its reader first",
        io::ErrorKind::WriteZero => "is a pipe whose reader has gone",
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
