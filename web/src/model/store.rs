//! The cache of files between visits: OPFS in a worker, else Cache Storage.
//!
//! The key of a file is its SHA-256. An empty file `<key>.ok` marks it as complete and checked; without
//! it, a broken download is resumed.

use std::ops::Range;

use serde::Serialize;
use wasm_bindgen::JsValue;

use super::{cache_storage, opfs};
use crate::failure::{Failure, Result, name};

/// The cached files of one model.
#[derive(Debug, Clone)]
pub enum Store {
    /// The origin private file system.
    Opfs(opfs::Folder),
    /// Cache Storage.
    CacheStorage(cache_storage::Bucket),
}

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CachedModel {
    name: String,
    bytes: u64,
}

impl Store {
    /// Opens the best available store.
    ///
    /// # Errors
    /// `cache-unavailable` when the browser has none or blocks it (private windows, no secure context).
    pub async fn open(model: &str) -> Result<Self> {
        if let Ok(folder) = opfs::Folder::open(model).await {
            return Ok(Self::Opfs(folder));
        }
        match cache_storage::Bucket::open(model).await {
            Ok(bucket) => Ok(Self::CacheStorage(bucket)),
            Err(error) => Err(Failure::of_browser(
                "cache-unavailable",
                "files can't be kept for the next visit",
                &error,
            )),
        }
    }

    /// True for a file that is complete and checked.
    pub async fn is_complete(&self, key: &str, bytes: u64) -> bool {
        self.len(&mark(key)).await > 0 && self.len(key).await == bytes
    }

    /// Bytes of a file, complete or not.
    pub async fn len(&self, key: &str) -> u64 {
        match self {
            Self::Opfs(folder) => folder.len(key).await,
            Self::CacheStorage(bucket) => bucket.len(key).await,
        }
    }

    /// A range of a file.
    ///
    /// # Errors
    /// `cache-unavailable` when the browser can no longer read it.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Vec<u8>> {
        let read = match self {
            Self::Opfs(folder) => folder.read(key, range).await,
            Self::CacheStorage(bucket) => bucket.read(key, range).await,
        };
        read.map_err(|error| failed("reading the cache", &error))
    }

    /// Resumes writing a file at its end.
    ///
    /// # Errors
    /// `cache-unavailable`, for example while another tab writes it.
    pub async fn append(&self, key: &str) -> Result<Writer> {
        let writer = match self {
            Self::Opfs(folder) => folder.append(key).await.map(Writer::Opfs),
            Self::CacheStorage(bucket) => bucket.append(key).await.map(Writer::CacheStorage),
        };
        writer.map_err(|error| failed("writing to the cache", &error))
    }

    /// Marks a file as complete and checked.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`.
    pub async fn mark_complete(&self, key: &str) -> Result<()> {
        self.put(&mark(key), b"ok").await
    }

    /// Writes a small file, replacing an old one.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.remove(key).await;
        let mut writer = self.append(key).await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// Removes a file, complete or not.
    pub async fn remove(&self, key: &str) {
        for key in [mark(key), key.to_owned()] {
            match self {
                Self::Opfs(folder) => folder.remove(&key).await,
                Self::CacheStorage(bucket) => bucket.remove(&key).await,
            }
        }
    }
}

/// A file that is being written.
pub enum Writer {
    /// In OPFS.
    Opfs(opfs::Writer),
    /// In Cache Storage.
    CacheStorage(cache_storage::Writer),
}

impl Writer {
    /// Writes at the end.
    ///
    /// # Errors
    /// `quota` when the origin's share is full, else `cache-unavailable`.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match self {
            Self::Opfs(writer) => writer.write(bytes),
            Self::CacheStorage(writer) => writer.write(bytes).await,
        };
        written.map_err(|error| failed("writing to the cache", &error))
    }

    /// Closes the file.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(self) -> Result<()> {
        match self {
            Self::Opfs(_) => Ok(()), // closed by its drop
            Self::CacheStorage(writer) => writer
                .finish()
                .await
                .map_err(|error| failed("writing to the cache", &error)),
        }
    }
}

/// All models in the cache.
pub async fn cached_models() -> Vec<CachedModel> {
    // A store that the browser does not have is empty.
    let mut models = opfs::list().await.unwrap_or_default();
    models.extend(cache_storage::list().await.unwrap_or_default());
    let models = models.into_iter().filter(|(_, bytes)| *bytes > 0);
    models
        .map(|(name, bytes)| CachedModel { name, bytes })
        .collect()
}

/// Removes a model from the cache.
///
/// # Errors
/// `cache-unavailable` while it is in use.
pub async fn delete_cached_model(model: &str) -> Result<()> {
    let removed = opfs::remove(model).await;
    let removed = removed.and(cache_storage::remove(model).await);
    removed.map_err(|error| failed("emptying the cache", &error))
}

fn mark(key: &str) -> String {
    format!("{key}.ok")
}

fn failed(what: &str, error: &JsValue) -> Failure {
    let code = match name(error).as_str() {
        "QuotaExceededError" => "quota",
        _ => "cache-unavailable",
    };
    Failure::of_browser(code, what, error)
}
