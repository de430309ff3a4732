//! SHA-256 of files, as lower-case hex.

use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};
use x2i_core::Result;

use super::open::{io_error, open_regular};

/// Bytes of one read.
const CHUNK: usize = 1 << 20;

/// The SHA-256 of a regular file, as lower-case hex. Reads the whole file: a device may have no end.
///
/// # Errors
/// As [`open_regular`].
pub fn hash_file(path: &Path) -> Result<String> {
    let (name, mut file, _) = open_regular(path)?;
    let failed = |error: io::Error| io_error(&name, error);
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
