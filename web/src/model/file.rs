//! One file of a model, read by ranges from the cache or from the network.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result as CoreResult};

use super::http::RemoteFile;
use super::store::Store;
use crate::failure::{Failure, Result};

/// Small reads from the network are made as large as this, and what follows is kept.
const WINDOW: u64 = 2 << 20;

/// A file of known length, and where its bytes come from.
pub struct WebFile {
    name: String,
    bytes: u64,
    origin: Origin,
}

/// Where kept bytes begin, and they.
type Window = (u64, Vec<u8>);

/// Where bytes come from.
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
    /// A file that the cache holds whole.
    pub fn stored(store: Store, key: String) -> Self {
        Self(Kind::Stored { store, key })
    }

    /// A file on the network, whose small neighbouring reads share a request.
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

/// No panic happens while it is held.
fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The range, where a window of bytes from `first` on holds all of it.
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

/// The way through core, whose errors know no network.
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
