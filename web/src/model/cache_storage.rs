//! Keeps files in Cache Storage, for browsers without OPFS. A file is a sequence of entries of 8 MiB, so
//! that a broken download resumes after the last complete entry, and a range reads only its entries.

use std::ops::Range;

use js_sys::{Array, Promise, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Cache, Request, Response};

use crate::js;

const CACHE: &str = "x2i-models";
const PIECE: u64 = 8 << 20;
/// Entries need URLs; this host does not exist, by RFC 2606.
const HOST: &str = "https://x2i.invalid/";

type JsResult<T> = Result<T, JsValue>;

/// The entries of one model.
#[derive(Debug, Clone)]
pub struct Bucket {
    cache: SendWrapper<Cache>,
    prefix: String,
}

impl Bucket {
    /// Opens the cache.
    ///
    /// # Errors
    /// What the browser throws: no Cache Storage (not a secure context), storage blocked.
    pub async fn open(model: &str) -> JsResult<Self> {
        Ok(Self {
            cache: SendWrapper::new(open().await?),
            prefix: prefix(model),
        })
    }

    /// Bytes of a file, complete or not.
    pub async fn len(&self, key: &str) -> u64 {
        let mut length = 0;
        loop {
            match self.piece(key, length / PIECE).await {
                Ok(Some(piece)) => length += u64::from(piece.length()),
                _ => return length,
            }
            if !length.is_multiple_of(PIECE) {
                return length;
            }
        }
    }

    /// A range of a file.
    ///
    /// # Errors
    /// What the browser throws, and an `Error` for a piece that is gone.
    pub async fn read(&self, key: &str, range: Range<u64>) -> JsResult<Vec<u8>> {
        let mut bytes = Vec::new();
        for index in range.start / PIECE..range.end.div_ceil(PIECE) {
            let piece = self.piece(key, index).await?;
            let piece = piece.ok_or_else(|| js_sys::Error::new("a piece is gone"))?;
            let first = index * PIECE;
            let inside = |at: u64| (at.max(first) - first).min(PIECE) as u32; // at most 8 MiB
            bytes.extend(
                piece
                    .subarray(inside(range.start), inside(range.end))
                    .to_vec(),
            );
        }
        Ok(bytes)
    }

    /// Resumes writing a file after its last complete piece.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn append(&self, key: &str) -> JsResult<Writer> {
        let length = self.len(key).await;
        let next = length / PIECE;
        let mut pending = Vec::new();
        if !length.is_multiple_of(PIECE) {
            pending = self.read(key, next * PIECE..length).await?;
        }
        Ok(Writer {
            bucket: self.clone(),
            key: key.to_owned(),
            next,
            pending,
        })
    }

    /// Removes a file.
    pub async fn remove(&self, key: &str) {
        for index in 0.. {
            let removed = self.cache.delete_with_str(&self.url(key, index));
            match JsFuture::from(removed).await {
                Ok(found) if found.is_truthy() => {}
                _ => return,
            }
        }
    }

    async fn piece(&self, key: &str, index: u64) -> JsResult<Option<Uint8Array>> {
        let found = JsFuture::from(self.cache.match_with_str(&self.url(key, index))).await?;
        let Ok(response) = found.dyn_into::<Response>() else {
            return Ok(None);
        };
        let buffer = JsFuture::from(response.array_buffer()?).await?;
        Ok(Some(Uint8Array::new(&buffer)))
    }

    fn url(&self, key: &str, index: u64) -> String {
        format!("{}{key}/{index}", self.prefix)
    }
}

/// A file that is being written.
pub struct Writer {
    bucket: Bucket,
    key: String,
    next: u64,
    pending: Vec<u8>,
}

impl Writer {
    /// Writes at the end. Complete pieces are stored at once.
    ///
    /// # Errors
    /// `QuotaExceededError` when the origin's share is full.
    pub async fn write(&mut self, bytes: &[u8]) -> JsResult<()> {
        self.pending.extend_from_slice(bytes);
        while self.pending.len() as u64 >= PIECE {
            let rest = self.pending.split_off(PIECE as usize);
            self.flush().await?;
            self.pending = rest;
        }
        Ok(())
    }

    /// Stores the rest.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(mut self) -> JsResult<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> JsResult<()> {
        let body = Uint8Array::from(self.pending.as_slice());
        let response = Response::new_with_opt_buffer_source(Some(&body))?;
        let url = self.bucket.url(&self.key, self.next);
        JsFuture::from(self.bucket.cache.put_with_str(&url, &response)).await?;
        self.next += 1;
        self.pending.clear();
        Ok(())
    }
}

/// The models that have entries, and their bytes.
///
/// # Errors
/// What the browser throws.
pub async fn list() -> JsResult<Vec<(String, u64)>> {
    let cache = open().await?;
    let mut models = std::collections::BTreeMap::new();
    for url in urls(&cache).await? {
        let name = url
            .strip_prefix(HOST)
            .and_then(|rest| rest.split('/').next());
        let Some(name) = name.and_then(|name| js_sys::decode_uri_component(name).ok()) else {
            continue;
        };
        let found = JsFuture::from(cache.match_with_str(&url)).await?;
        if let Ok(response) = found.dyn_into::<Response>() {
            let buffer = JsFuture::from(response.array_buffer()?).await?;
            let length = u64::from(Uint8Array::new(&buffer).length());
            *models.entry(String::from(name)).or_insert(0) += length;
        }
    }
    Ok(models.into_iter().collect())
}

/// Removes all entries of a model.
///
/// # Errors
/// What the browser throws.
pub async fn remove(model: &str) -> JsResult<()> {
    let Ok(cache) = open().await else {
        return Ok(()); // no Cache Storage, nothing in it
    };
    let prefix = prefix(model);
    for url in urls(&cache).await? {
        if url.starts_with(&prefix) {
            JsFuture::from(cache.delete_with_str(&url)).await?;
        }
    }
    Ok(())
}

async fn open() -> JsResult<Cache> {
    let caches = js::get(&js_sys::global(), "caches");
    let opened: Promise = js::call(&caches, "open", &[CACHE.into()])?.dyn_into()?;
    Ok(JsFuture::from(opened).await?.unchecked_into())
}

async fn urls(cache: &Cache) -> JsResult<Vec<String>> {
    let requests: Array = JsFuture::from(cache.keys()).await?.unchecked_into();
    Ok(requests
        .iter()
        .map(|request| request.unchecked_into::<Request>().url())
        .collect())
}

fn prefix(model: &str) -> String {
    format!("{HOST}{}/", js_sys::encode_uri_component(model))
}
