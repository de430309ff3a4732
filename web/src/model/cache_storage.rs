//! Keeps files in Cache Storage, for browsers without OPFS. A file is a sequence of entries of 2 MiB, so
//! that a broken download resumes after the last complete entry. An entry can only be read whole: a reader
//! keeps the last one for the next range.

use std::cell::RefCell;
use std::ops::Range;

use js_sys::{Array, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Cache, Request, Response};

use crate::js;

const CACHE: &str = "x2i-files";
/// What versions before 0.2 kept.
const OLD_CACHE: &str = "x2i-models";
const PIECE: u64 = 2 << 20;
/// Entries need URLs; this host does not exist, by RFC 2606.
const HOST: &str = "https://x2i.invalid/";

type JsResult<T> = Result<T, JsValue>;

/// The entries of all files.
#[derive(Debug, Clone)]
pub struct Bucket(SendWrapper<Cache>);

impl Bucket {
    /// Opens the cache.
    ///
    /// # Errors
    /// What the browser throws: no Cache Storage (not a secure context), storage blocked.
    pub async fn open() -> JsResult<Self> {
        let caches = js::global(&["caches"]);
        let _ = js::call_async(&caches, "delete", &[OLD_CACHE.into()]).await;
        let cache = js::call_async(&caches, "open", &[CACHE.into()]).await?;
        Ok(Self(SendWrapper::new(cache.unchecked_into())))
    }

    /// Bytes of a file, complete or not. All entries but the last are full, so that few are looked at.
    pub async fn len(&self, key: &str) -> u64 {
        let (mut there, mut absent) = (0, 1);
        while self.has(key, absent - 1).await {
            there = absent;
            absent *= 2;
        }
        // Of the entries before `there` all exist, the one before `absent` does not.
        while absent - there > 1 {
            let middle = there + (absent - there) / 2;
            match self.has(key, middle - 1).await {
                true => there = middle,
                false => absent = middle,
            }
        }
        let Some(last) = u64::checked_sub(there, 1) else {
            return 0;
        };
        let piece = self.piece(key, last).await;
        let bytes = piece.map_or(0, |piece| u64::from(piece.length()));
        last * PIECE + bytes
    }

    /// Opens a file for reading.
    pub fn reader(&self, key: &str) -> Reader {
        Reader {
            bucket: self.clone(),
            key: key.to_owned(),
            kept: SendWrapper::new(RefCell::default()),
        }
    }

    /// Resumes writing a file after its last complete entry.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn append(&self, key: &str) -> JsResult<Writer> {
        let length = self.len(key).await;
        let next = length / PIECE;
        let pending = Uint8Array::new_with_length(PIECE as u32);
        let filled = (length % PIECE) as u32;
        if filled > 0 {
            let kept = self.piece(key, next).await?;
            pending.set(&kept, 0);
        }
        Ok(Writer {
            bucket: self.clone(),
            key: key.to_owned(),
            next,
            pending,
            filled,
        })
    }

    /// Removes a file, its last entry first: what is left of a removal that was cut is a shorter file.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn remove(&self, key: &str) -> JsResult<()> {
        for index in (0..self.len(key).await.div_ceil(PIECE)).rev() {
            JsFuture::from(self.0.delete_with_str(&url(key, index))).await?;
        }
        Ok(())
    }

    /// The keys of all files.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn keys(&self) -> JsResult<Vec<String>> {
        let requests: Array = JsFuture::from(self.0.keys()).await?.unchecked_into();
        let keys = requests.iter().filter_map(|request| {
            let url = request.unchecked_into::<Request>().url();
            let key = url.strip_prefix(HOST)?.strip_suffix("/0")?;
            Some(key.to_owned())
        });
        Ok(keys.collect())
    }

    async fn has(&self, key: &str, index: u64) -> bool {
        let found = JsFuture::from(self.0.match_with_str(&url(key, index))).await;
        found.is_ok_and(|found| !found.is_undefined())
    }

    async fn piece(&self, key: &str, index: u64) -> JsResult<Uint8Array> {
        let found = JsFuture::from(self.0.match_with_str(&url(key, index))).await?;
        let response = found.dyn_into::<Response>();
        let response = response.map_err(|_| js_sys::Error::new("an entry is gone"))?;
        let buffer = JsFuture::from(response.array_buffer()?).await?;
        Ok(Uint8Array::new(&buffer))
    }
}

/// A file that is being read.
pub struct Reader {
    bucket: Bucket,
    key: String,
    /// The index of the last entry, and its bytes.
    kept: SendWrapper<RefCell<Option<(u64, Uint8Array)>>>,
}

impl Reader {
    /// A range of the file.
    ///
    /// # Errors
    /// What the browser throws, and an `Error` for an entry that is gone.
    pub async fn read(&self, range: Range<u64>) -> JsResult<Uint8Array> {
        let length = u32::try_from(range.end - range.start);
        let length = length.map_err(|_| js_sys::RangeError::new("a range of 4 GiB and more"))?;
        let bytes = Uint8Array::new_with_length(length);
        for index in range.start / PIECE..range.end.div_ceil(PIECE) {
            let piece = self.piece(index).await?;
            let first = index * PIECE;
            let (start, end) = (range.start.max(first), range.end.min(first + PIECE));
            let part = piece.subarray((start - first) as u32, (end - first) as u32); // at most 2 MiB
            if u64::from(part.length()) < end - start {
                return Err(js_sys::Error::new("an entry is too short").into());
            }
            bytes.set(&part, (start - range.start) as u32); // less than the length
        }
        Ok(bytes)
    }

    async fn piece(&self, index: u64) -> JsResult<Uint8Array> {
        if let Some((kept, piece)) = &*self.kept.borrow()
            && *kept == index
        {
            return Ok(piece.clone());
        }
        let piece = self.bucket.piece(&self.key, index).await?;
        self.kept.replace(Some((index, piece.clone())));
        Ok(piece)
    }
}

/// A file that is being written.
pub struct Writer {
    bucket: Bucket,
    key: String,
    next: u64,
    /// The entry that is being filled.
    pending: Uint8Array,
    filled: u32,
}

impl Writer {
    /// Writes at the end. Complete entries are stored at once.
    ///
    /// # Errors
    /// `QuotaExceededError` when the origin's share is full.
    pub async fn write(&mut self, bytes: &Uint8Array) -> JsResult<()> {
        let mut at = 0;
        while at < bytes.length() {
            let end = bytes.length().min(at + PIECE as u32 - self.filled);
            self.pending.set(&bytes.subarray(at, end), self.filled);
            self.filled += end - at;
            at = end;
            if u64::from(self.filled) == PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Stores the rest.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(mut self) -> JsResult<()> {
        match self.filled {
            0 => Ok(()),
            _ => self.flush().await,
        }
    }

    async fn flush(&mut self) -> JsResult<()> {
        let body = self.pending.subarray(0, self.filled);
        let response = Response::new_with_opt_buffer_source(Some(&body))?;
        let url = url(&self.key, self.next);
        JsFuture::from(self.bucket.0.put_with_str(&url, &response)).await?;
        self.next += 1;
        self.filled = 0;
        Ok(())
    }
}

fn url(key: &str, index: u64) -> String {
    format!("{HOST}{key}/{index}")
}
