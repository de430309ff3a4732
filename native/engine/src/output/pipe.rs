//! A named pipe as an output: opened before the work, since nobody may read it, and kept open until the
//! image is written. To close it between would end its reader.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a reader is waited for: a shell may start it after us.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The pipes that wait for their image.
static OPENED: Mutex<BTreeMap<PathBuf, File>> = Mutex::new(BTreeMap::new());

/// Opens a pipe for the image that comes later, unless that was done.
///
/// # Errors
/// The system's; `NotConnected` when nobody reads it.
pub(super) fn reserve(path: &Path) -> io::Result<()> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if !opened.contains_key(path) {
        opened.insert(path.to_owned(), open(path)?);
    }
    Ok(())
}

/// Writes an image to a pipe, and closes it.
///
/// # Errors
/// As [`reserve`]; `WriteZero` when its reader has gone.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    reserve(path)?;
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let file = opened.remove(path);
    drop(opened);
    let Some(mut file) = file else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    file.write_all(bytes).map_err(|error| match error.kind() {
        // Other than a closed standard output, it is worth a message.
        io::ErrorKind::BrokenPipe => io::ErrorKind::WriteZero.into(),
        _ => error,
    })
}

fn open(path: &Path) -> io::Result<File> {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(libc::O_NONBLOCK);
        match options.open(path) {
            Err(error) if error.raw_os_error() != Some(libc::ENXIO) => return Err(error),
            Err(_) if Instant::now() > end => return Err(io::ErrorKind::NotConnected.into()),
            Err(_) => sleep(PAUSE),
            Ok(file) => return waiting(file),
        }
    }
}

/// The file with writes that wait for the reader.
fn waiting(file: File) -> io::Result<File> {
    let number = file.as_raw_fd();
    // SAFETY: plain system calls on a descriptor that `file` keeps open.
    let set = unsafe {
        let flags = libc::fcntl(number, libc::F_GETFL);
        libc::fcntl(number, libc::F_SETFL, flags & !libc::O_NONBLOCK)
    };
    match set {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}
