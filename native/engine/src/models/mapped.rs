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

use super::cut::{Watch, cut_error};
use crate::files::{io_error, open_regular};

/// A memory-mapped file, read-only.
pub struct MappedFile {
    name: String,
    /// Shared with the weights that are read in place; `None` for an empty file, which some systems
    /// can't map.
    map: Option<Arc<Watched>>,
}

/// A map, and the watch over it.
struct Watched {
    map: Mmap,
    watch: Option<Watch>,
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
            // SAFETY: the map is read-only. If another program cuts the file meanwhile, the watch puts
            // zeros in place of the lost pages, and the engine reports it.
            let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error(&name, error))?;
            let watch = Watch::over(&name, &map);
            Some(Arc::new(Watched { map, watch }))
        };
        Ok(Self { name, map })
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().map_or(&[], |watched| &watched.map)
    }

    /// True when another program cut the file, and its lost pages were read.
    fn is_cut(&self) -> bool {
        let watch = self.map.as_ref().and_then(|watched| watched.watch.as_ref());
        watch.is_some_and(Watch::is_cut)
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
        if self.is_cut() {
            return Box::pin(std::future::ready(Err(cut_error(&self.name))));
        }
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
        let watched = self.map.clone()?;
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        let range = start.ok()?..end.ok()?;
        watched.map.get(range.clone())?;
        Some(Bytes::from_owner(MappedRange { watched, range }))
    }

    fn release(&self, range: Range<u64>) {
        if let (Some(watched), Ok(start), Ok(end)) =
            (&self.map, range.start.try_into(), range.end.try_into())
        {
            give_back(&watched.map, start..end);
        }
    }
}

/// A range of the map in use. When its last user drops it, the system gets the pages back.
struct MappedRange {
    watched: Arc<Watched>,
    /// The bytes of the map.
    range: Range<usize>,
}

impl AsRef<[u8]> for MappedRange {
    fn as_ref(&self) -> &[u8] {
        &self.watched.map[self.range.clone()]
    }
}

impl Drop for MappedRange {
    fn drop(&mut self) {
        give_back(&self.watched.map, self.range.clone());
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

#[cfg(all(test, unix))]
mod tests {
    use super::super::cut::check_uncut;
    use super::*;

    #[test]
    fn a_file_that_is_cut_while_it_is_mapped_is_an_error() -> Result<(), Box<dyn std::error::Error>>
    {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("weights.gguf");
        std::fs::write(&path, vec![7; 1 << 20])?;
        let mapped = MappedFile::open(&path)?;
        let shared = mapped.share(0..1 << 20).expect("a map shares its bytes");
        assert!(check_uncut().is_ok());
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)?
            .set_len(100)?;
        assert_eq!((shared[0], shared[99]), (7, 7));
        assert_eq!(shared[(1 << 20) - 1], 0, "no SIGBUS, but zeros");
        let read = pollster::block_on(mapped.read(0..1)).map(Cow::into_owned);
        for error in [read.unwrap_err(), check_uncut().unwrap_err()] {
            let message = error.to_string();
            assert!(message.contains("weights.gguf: was cut while"), "{message}");
        }
        drop((mapped, shared));
        assert!(check_uncut().is_ok(), "a map that is gone is forgotten");
        Ok(())
    }
}
