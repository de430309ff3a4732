//! Makes names survive a loss of power: a folder is written to the disk like a file.

use std::io;
use std::path::Path;

/// Writes a folder's names to the disk, where the system knows how.
///
/// # Errors
/// The system's, when the disk fails.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        // Some file systems have no such call, and a folder may be written but not read.
        Err(error) if is_refusal(error.kind()) => Ok(()),
        synced => synced,
    }
}

#[cfg(unix)]
fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(kind, InvalidInput | PermissionDenied | Unsupported)
}

/// Other systems write names by themselves.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
