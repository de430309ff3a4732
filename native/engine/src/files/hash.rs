//! SHA-256 of files, as lower-case hex.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use x2i_core::Result;

use super::open::io_error;

/// Bytes of one read.
const CHUNK: usize = 1 << 20;

/// The SHA-256 of a file, as lower-case hex. Reads the whole file.
///
/// # Errors
/// [`x2i_core::Error::MissingFile`] or [`x2i_core::Error::Io`].
pub fn hash_file(path: &Path) -> Result<String> {
    let failed = |error: io::Error| io_error(&path.display().to_string(), error);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
