//! A memory-mapped file: nothing is copied, and the system gets the pages back after use.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result};

use crate::files::{io_error, open_regular};

/// A memory-mapped file, read-only.
pub struct MappedFile {
    name: String,
    /// Shared with the weights that are read in place; `None` for an empty file, which some systems
    /// can't map.
    map: Option<Arc<Mmap>>,
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// [`Error::MissingFile`] or [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let (name, file, len) = open_regular(path)?;
        let map = if len == 0 {
            None
        } else {
            // SAFETY: the map is read-only. If another program truncates the file meanwhile, this
            // process ends with SIGBUS, like any program that maps its weights.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error(&name, error))?;
            Some(Arc::new(map))
        };
        Ok(Self { name, map })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().map_or(&[], |map| map)
    }
}

impl WeightSource for MappedFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let bounds = usize::try_from(range.start)
            .ok()
            .zip(usize::try_from(range.end).ok());
        let found = bounds
            .and_then(|(start, end)| self.bytes().get(start..end))
            .map(Cow::Borrowed);
        let len = self.len();
        Box::pin(std::future::ready(found.ok_or_else(|| {
            Error::format(
                &self.name,
                format!(
                    "bytes {}..{} lie outside of the file's {len}",
                    range.start, range.end
                ),
            )
        })))
    }

    fn share(&self, range: Range<u64>) -> Option<Bytes> {
        let map = self.map.clone()?;
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        let range = start.ok()?..end.ok()?;
        map.get(range.clone())?;
        Some(Bytes::from_owner(MappedRange { map, range }))
    }

    fn release(&self, range: Range<u64>) {
        if let (Some(map), Ok(start), Ok(end)) =
            (&self.map, range.start.try_into(), range.end.try_into())
        {
            give_back(map, start..end);
        }
    }
}

/// A range of the map in use. When its last user drops it, the system gets the pages back.
struct MappedRange {
    map: Arc<Mmap>,
    /// The bytes of the map.
    range: Range<usize>,
}

impl AsRef<[u8]> for MappedRange {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl Drop for MappedRange {
    fn drop(&mut self) {
        give_back(&self.map, self.range.clone());
    }
}

/// Returns the pages of a range to the system; they no longer count as the process's memory.
fn give_back(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    if range.start < range.end && range.end <= map.len() {
        let (start, length) = (range.start, range.end - range.start);
        // SAFETY: the map is read-only and of a file, so that later reads get the same bytes from
        // the file again. If the system refuses, the pages stay: nothing is lost.
        let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, length) };
    }
    #[cfg(not(unix))]
    let _ = (map, range);
}
