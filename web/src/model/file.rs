//! A file of a model, read by ranges from the cache or from the network.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result as CoreResult};

use super::http::RemoteFile;
use super::store::Store;
use crate::failure::{Failure, Result};

/// The least bytes of a request; bytes after the wanted range are kept for the next read.
const WINDOW: u64 = 2 << 20;

/// A file of known length, and the origin of its bytes.
pub struct WebFile {
    name: String,
    bytes: u64,
    origin: Origin,
}

/// The position of kept bytes, and the bytes.
type Window = (u64, Vec<u8>);

/// The origin of bytes.
pub struct Origin(Kind);

enum Kind {
    Stored {
        store: Store,
        key: String,
    },
    Remote {
        file: RemoteFile,
        window: Mutex<Window>,
    },
}

impl Origin {
    /// A complete file in the cache.
    pub fn stored(store: Store, key: String) -> Self {
        Self(Kind::Stored { store, key })
    }

    /// A file on the network. Small reads next to each other share a request.
    pub fn remote(file: RemoteFile) -> Self {
        let window = Mutex::default();
        Self(Kind::Remote { file, window })
    }
}

impl WebFile {
    /// A file called `name` in messages.
    pub fn new(name: &str, bytes: u64, origin: Origin) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            origin,
        }
    }

    async fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (length, Range { start, end }) = (self.bytes, range.clone());
        if start > end || end > length {
            let reason = format!("bytes {start}..{end} lie outside of the file's {length}");
            return Err(Failure::new("format", reason));
        }
        match &self.origin.0 {
            Kind::Stored { store, key } => store.read(key, range).await,
            Kind::Remote { file, window } => {
                if let Some(found) = inside(&lock(window), &range) {
                    return Ok(found);
                }
                if end - start >= WINDOW {
                    return file.read(range).await;
                }
                let bytes = file.read(start..(start + WINDOW).min(length)).await?;
                let kept = (start, bytes);
                let found = inside(&kept, &range).unwrap_or_default();
                *lock(window) = kept;
                Ok(found)
            }
        }
    }
}

/// Locks the window. It can't be poisoned: no code panics while it is locked.
fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of the range, if the window holds all of it.
fn inside((first, bytes): &Window, range: &Range<u64>) -> Option<Vec<u8>> {
    let at = |position: u64| usize::try_from(position.checked_sub(*first)?).ok();
    let found = bytes.get(at(range.start)?..at(range.end)?)?;
    Some(found.to_vec())
}

impl WeightSource for WebFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, CoreResult<Cow<'_, [u8]>>> {
        Box::pin(async move {
            let read = self.read_range(range).await;
            read.map(Cow::Owned)
                .map_err(|failure| to_core(&self.name, failure))
        })
    }
}

/// A failure as an error of core, which has no network errors.
pub fn to_core(file: &str, failure: Failure) -> Error {
    match failure.code {
        "aborted" => Error::Cancelled,
        "missing-file" => Error::MissingFile { file: file.into() },
        "format" => Error::format(file, failure.message),
        _ => Error::Io {
            file: file.into(),
            source: std::io::Error::other(failure.message),
        },
    }
}
