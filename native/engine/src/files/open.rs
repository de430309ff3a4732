//! Opens files, and translates the system's errors.

use std::fs::File;
use std::io;
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

/// Opens a file that is read once, from its beginning to its end: a regular one, the standard input, or a
/// pipe that a shell has opened.
///
/// # Errors
/// The system's. Another pipe or a device, which might never give a byte, is refused.
pub fn open_stream(path: &Path) -> io::Result<File> {
    let metadata = path.metadata()?;
    // A shell's pipe is there already. Opening another one waits for its writer.
    let shells = ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"];
    let text = path.to_string_lossy();
    let shells = shells.iter().any(|start| text.starts_with(start));
    let device = !metadata.is_file() && !metadata.is_dir();
    match device && !(shells && is_pipe(&metadata)) {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file",
        )),
        false => File::open(path),
    }
}

/// Whether it is a named pipe, or one of a shell.
#[cfg(unix)]
pub(crate) fn is_pipe(metadata: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&metadata.file_type())
}

/// Other systems have none among their files.
#[cfg(not(unix))]
pub(crate) fn is_pipe(_: &std::fs::Metadata) -> bool {
    false
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
