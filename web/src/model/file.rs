//! A file of a model, read by ranges from the cache or from the network.
//!
//! A read costs a round trip to another process or machine, and most tensors are small: bytes around the
//! wanted ones are read with them and kept for the next read, outside of wasm memory.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use js_sys::Uint8Array;
use send_wrapper::SendWrapper;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_core::{Error, Result as CoreResult};

use super::http::RemoteFile;
use super::locks::Lock;
use super::store::Reader;
use crate::failure::{Failure, Result};

/// The least bytes of a read.
const WINDOW: u64 = 2 << 20;
/// The largest stored file that is read as one: graphs ask for tensors in another order than files have.
const WHOLE: u64 = 16 << 20;

/// A file of known length, and the origin of its bytes.
pub struct WebFile {
    name: String,
    bytes: u64,
    origin: Origin,
    window: Mutex<Option<Window>>,
}

/// Bytes that were read, and where they begin.
struct Window {
    start: u64,
    bytes: SendWrapper<Uint8Array>,
}

/// The origin of bytes.
pub enum Origin {
    /// A complete file in the cache.
    Stored {
        /// Its bytes.
        reader: Reader,
        /// Nobody removes the file while this is held.
        _reading: Arc<Lock>,
    },
    /// A file on the network.
    Remote(RemoteFile),
}

impl WebFile {
    /// A file called `name` in messages.
    pub fn new(name: &str, bytes: u64, origin: Origin) -> Self {
        Self {
            name: name.to_owned(),
            bytes,
            origin,
            window: Mutex::default(),
        }
    }

    async fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let (length, Range { start, end }) = (self.bytes, range.clone());
        if start > end || end > length {
            let name = &self.name;
            let reason = format!("{name}: bytes {start}..{end} lie outside of the file's {length}");
            return Err(Failure::new("format", reason));
        }
        if let Some(found) = lock(&self.window)
            .as_ref()
            .and_then(|kept| kept.part(&range))
        {
            return Ok(found.to_vec());
        }
        let span = self.span(&range);
        if let Origin::Stored { reader, .. } = &self.origin
            && span == range
        {
            return reader.read_large(range).await;
        }
        let bytes = match &self.origin {
            Origin::Stored { reader, .. } => reader.read(span.clone()).await?,
            Origin::Remote(file) => file.read(span.clone()).await?,
        };
        let read = Window {
            start: span.start,
            bytes: SendWrapper::new(bytes),
        };
        let found = read.part(&range).map(|found| found.to_vec());
        if span != range {
            *lock(&self.window) = Some(read);
        }
        Ok(found.unwrap_or_default())
    }

    /// What is read for a range.
    fn span(&self, range: &Range<u64>) -> Range<u64> {
        let wanted = range.end - range.start;
        match &self.origin {
            Origin::Stored { .. } if self.bytes <= WHOLE => 0..self.bytes,
            _ if wanted >= WINDOW => range.clone(),
            _ => range.start..(range.start + WINDOW).min(self.bytes),
        }
    }
}

impl Window {
    /// The bytes of a range, if all of it is here.
    fn part(&self, range: &Range<u64>) -> Option<Uint8Array> {
        let at = |position: u64| u32::try_from(position.checked_sub(self.start)?).ok();
        let (start, end) = (at(range.start)?, at(range.end)?);
        (end <= self.bytes.length()).then(|| self.bytes.subarray(start, end))
    }
}

/// Locks the window. It can't be poisoned: no code panics while it is locked.
fn lock(window: &Mutex<Option<Window>>) -> MutexGuard<'_, Option<Window>> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
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
        _ => Error::Io {
            file: file.into(),
            source: std::io::Error::other(failure),
        },
    }
}
