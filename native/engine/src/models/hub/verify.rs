//! The hash of a file, as the Hub records it: SHA-256 of large files, git's own of small ones.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use x2i_core::{Error, Result};

use super::meter::{Meter, Pulling};
use super::names::is_hex;
use crate::files::hex;

/// Bytes of one read.
const CHUNK: usize = 1 << 20;

/// A recorded hash, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hash {
    /// SHA-256 of the bytes.
    Sha256(String),
    /// SHA-1 of `blob LENGTH`, a zero and the bytes.
    Git(String),
}

impl Hash {
    /// The hash that an etag is; `None` for any other etag.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        match etag.len() {
            64 if is_hex(etag) => Some(Self::Sha256(etag.to_owned())),
            40 if is_hex(etag) => Some(Self::Git(etag.to_owned())),
            _ => None,
        }
    }

    /// Its kind, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::Git(_) => "git hash",
        }
    }

    /// The recorded digits.
    pub(super) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::Git(digits) => digits,
        }
    }

    /// The same hash of a file on disk.
    ///
    /// # Errors
    /// [`Error::Io`] when it can't be read, [`Error::Cancelled`].
    pub(super) fn of_file(&self, path: &Path, meter: &Meter) -> Result<String> {
        let failed = |source: io::Error| Error::Io {
            file: path.display().to_string(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        match self {
            Self::Sha256(_) => {
                digest(Sha256::new(), &mut file, meter).map_err(|error| error.of(failed))
            }
            Self::Git(_) => {
                let length = file.metadata().map_err(failed)?.len();
                let begun = Sha1::new().chain_update(format!("blob {length}\0"));
                digest(begun, &mut file, meter).map_err(|error| error.of(failed))
            }
        }
    }
}

/// Reading failed, or the caller wants no more.
enum Ended {
    Failed(io::Error),
    Stopped(Error),
}

impl Ended {
    fn of(self, failed: impl Fn(io::Error) -> Error) -> Error {
        match self {
            Self::Failed(error) => failed(error),
            Self::Stopped(error) => error,
        }
    }
}

fn digest<D: Digest>(mut digest: D, file: &mut File, meter: &Meter) -> Result<String, Ended> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer).map_err(Ended::Failed)? {
            0 => return Ok(hex(&digest.finalize())),
            n => digest.update(&buffer[..n]),
        }
        meter.ask(Pulling::Verify).map_err(Ended::Stopped)?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::ignore_pulled;
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object a`, `sha256sum a`
        for digits in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let hash = Hash::of_etag(digits).unwrap();
            let found = hash.of_file(&path, &Meter::new(0, &ignore_pulled));
            assert_eq!(found.unwrap(), digits);
        }
        for etag in ["ABC", &"g".repeat(40), &"a".repeat(41)] {
            assert_eq!(Hash::of_etag(etag), None);
        }
    }
}
