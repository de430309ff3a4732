//! Opens files, and translates the system's errors.

use std::fs::File;
use std::path::Path;

use x2i_core::{Error, Result};

/// Opens a file that is neither a folder nor a device; opening a pipe would wait for its writer.
///
/// Returns its path as text, the open file, and its length in bytes.
///
/// # Errors
/// [`Error::MissingFile`] when there is none, [`Error::Format`] when it is not a regular file,
/// [`Error::Io`] when it can't be opened.
pub fn open_regular(path: &Path) -> Result<(String, File, u64)> {
    let name = path.display().to_string();
    let metadata = path.metadata().map_err(|error| io_error(&name, error))?;
    if !metadata.is_file() {
        return Err(Error::format(name, "is not a regular file"));
    }
    let file = File::open(path).map_err(|error| io_error(&name, error))?;
    Ok((name, file, metadata.len()))
}

/// [`Error::MissingFile`] when the file does not exist, [`Error::Io`] for any other failure.
pub fn io_error(file: &str, source: std::io::Error) -> Error {
    match source.kind() {
        // `NotADirectory`: the path leads through a file.
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::MissingFile {
            file: file.to_owned(),
        },
        _ => Error::Io {
            file: file.to_owned(),
            source,
        },
    }
}

/// The folder of a file; `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
