//! A file that is read range by range, so that its pages do not count as the process's memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};

use crate::files::{io_error, open_regular};

/// A file that is read range by range.
pub struct UnmappedFile {
    name: String,
    len: u64,
    /// Every read sets its position.
    file: Mutex<File>,
}

impl UnmappedFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`Error::MissingFile`] or [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let (name, file, len) = open_regular(path)?;
        let file = Mutex::new(file);
        Ok(Self { name, len, file })
    }

    fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        if range.start > range.end || range.end > self.len {
            let (start, end, len) = (range.start, range.end, self.len);
            let reason = format!("bytes {start}..{end} lie outside of the file's {len}");
            return Err(Error::format(&self.name, reason));
        }
        let length = usize::try_from(range.end - range.start)
            .map_err(|_| Error::format(&self.name, "a range is larger than memory"))?;
        let mut bytes = vec![0; length];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(range.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| io_error(&self.name, error))?;
        Ok(bytes)
    }
}

impl WeightSource for UnmappedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        Box::pin(std::future::ready(self.read_range(range).map(Cow::Owned)))
    }
}
