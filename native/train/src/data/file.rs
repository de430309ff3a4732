//! Random access to the bytes of a data set's file, on this machine or at a URL.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use x2i_core::{Error, Result};
use x2i_engine::files::{io_error, open_regular};

use super::curl::Remote;

/// A file of a data set.
pub(super) enum DataFile {
    /// On this machine.
    Local {
        name: String,
        file: Mutex<File>,
        len: u64,
    },
    /// At a URL that the user named.
    Remote(Remote),
}

impl DataFile {
    /// Opens a path, or a URL with `http://` or `https://`.
    ///
    /// # Errors
    /// [`Error::MissingFile`], [`Error::Io`], or [`Error::Format`] for what is no file.
    pub(super) fn open(place: &str) -> Result<Self> {
        match is_url(place) {
            true => Remote::open(place).map(Self::Remote),
            false => Self::open_path(Path::new(place)),
        }
    }

    /// Opens a file of this machine.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn open_path(path: &Path) -> Result<Self> {
        let (name, file, len) = open_regular(path)?;
        Ok(Self::Local {
            name,
            file: Mutex::new(file),
            len,
        })
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Local { name, .. } => name,
            Self::Remote(remote) => remote.name(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Local { len, .. } => *len,
            Self::Remote(remote) => remote.len(),
        }
    }

    /// Whether it is read over a network.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// The bytes that are read at once when a file is gone through: headers stand between pictures, which
    /// are jumped over.
    fn stride(&self) -> u64 {
        match self {
            Self::Local { .. } => 1 << 13,
            Self::Remote(_) => super::curl::STRIDE,
        }
    }

    /// Reads `size` bytes from `at` on; the caller knows that they are there.
    ///
    /// # Errors
    /// [`Error::Io`] when the file is shorter by now, or can't be read.
    pub(super) fn read(&self, at: u64, size: u64) -> Result<Vec<u8>> {
        if at.checked_add(size).is_none_or(|end| end > self.len()) {
            let reason = format!(
                "ends at byte {}, {size} from {at} were asked for",
                self.len()
            );
            return Err(Error::format(self.name(), reason));
        }
        match self {
            Self::Local { name, file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = vec![0; size as usize];
                file.seek(SeekFrom::Start(at))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|error| io_error(name, error))?;
                Ok(bytes)
            }
            Self::Remote(remote) => remote.read(at, size),
        }
    }
}

/// True for what is downloaded.
pub(super) fn is_url(place: &str) -> bool {
    let begins = |scheme: &str| {
        place
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    begins("http://") || begins("https://")
}

/// Goes through a file in order, reading it in strides.
pub(super) struct Window<'a> {
    file: &'a DataFile,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn of(file: &'a DataFile) -> Self {
        Self {
            file,
            start: 0,
            bytes: vec![],
        }
    }

    /// The `size` bytes from `at` on.
    ///
    /// # Errors
    /// As [`DataFile::read`].
    pub(super) fn read(&mut self, at: u64, size: usize) -> Result<&[u8]> {
        let end = at.saturating_add(size as u64);
        if at < self.start || end > self.start + self.bytes.len() as u64 {
            let whole = self.file.stride().max(size as u64);
            let length = whole.min(self.file.len().saturating_sub(at));
            self.bytes = self.file.read(at, length.max(size as u64))?;
            self.start = at;
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..from + size])
    }
}
