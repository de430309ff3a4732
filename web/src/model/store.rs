//! The cache of files between visits: OPFS in a worker, else Cache Storage.
//!
//! The key of a file is its SHA-256, so that models which share a file share it here. A small file
//! `<key>.ok` marks it as complete and checked; without it, a broken download is resumed. Who may write
//! and remove is said by [`Lock`]s of the key's name.

use std::ops::Range;

use js_sys::Uint8Array;
use wasm_bindgen::JsValue;

use super::locks::{Lock, Mode};
use super::{cache_storage, opfs};
use crate::failure::{Failure, Result, name};

/// The most bytes of a part of a range that is read through the browser's heap.
const PIECE: usize = 4 << 20;

/// The end of a mark's key.
const MARK: &str = ".ok";

/// The cached files of the origin.
#[derive(Debug, Clone)]
pub enum Store {
    /// The origin private file system.
    Opfs(opfs::Folder),
    /// Cache Storage.
    CacheStorage(cache_storage::Bucket),
}

impl Store {
    /// Opens the best available store.
    ///
    /// # Errors
    /// `cache-unavailable` when the browser has none or blocks it (private windows, no secure context).
    pub async fn open() -> Result<Self> {
        if let Ok(folder) = opfs::Folder::open().await {
            return Ok(Self::Opfs(folder));
        }
        match cache_storage::Bucket::open().await {
            Ok(bucket) => Ok(Self::CacheStorage(bucket)),
            Err(error) => Err(Failure::of_browser(
                "cache-unavailable",
                "files can't be kept for the next visit",
                &error,
            )),
        }
    }

    /// All stores that this thread can open.
    pub async fn all() -> Vec<Self> {
        let opfs = opfs::Folder::open().await.map(Self::Opfs);
        let cache = cache_storage::Bucket::open().await.map(Self::CacheStorage);
        [opfs, cache].into_iter().flatten().collect()
    }

    /// Waits for the right to read a file, or to write it.
    pub async fn lock(&self, key: &str, mode: Mode) -> Lock {
        Lock::wait(&self.lock_name(key), mode).await
    }

    /// That right, if nobody is in the way.
    pub async fn try_lock(&self, key: &str, mode: Mode) -> Option<Lock> {
        Lock::try_now(&self.lock_name(key), mode).await
    }

    fn lock_name(&self, key: &str) -> String {
        match self {
            Self::Opfs(_) => format!("opfs:{key}"),
            Self::CacheStorage(_) => format!("cache:{key}"),
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

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `cache-unavailable` when it is not there.
    pub async fn reader(&self, key: &str) -> Result<Reader> {
        match self {
            Self::Opfs(folder) => {
                let reader = folder.reader(key).await.map(Reader::Opfs);
                reader.map_err(|error| failed(READING, &error))
            }
            Self::CacheStorage(bucket) => Ok(Reader::CacheStorage(bucket.reader(key))),
        }
    }

    /// All of a small file; `None` if there is none.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let length = self.len(key).await;
        let bytes = self.reader(key).await.ok()?.read(0..length).await.ok()?;
        Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty())
    }

    /// Resumes writing a file at its end.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`, for example while another tab of a browser without locks writes it.
    pub async fn append(&self, key: &str) -> Result<Writer> {
        let writer = match self {
            Self::Opfs(folder) => folder.append(key).await.map(Writer::Opfs),
            Self::CacheStorage(bucket) => bucket.append(key).await.map(Writer::CacheStorage),
        };
        writer.map_err(|error| failed(WRITING, &error))
    }

    /// Marks a file as complete and checked.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`.
    pub async fn mark_complete(&self, key: &str) -> Result<()> {
        self.put(&mark(key), b"ok").await
    }

    /// Takes the mark away: the file is no longer used, and goes when it is written again.
    pub async fn unmark(&self, key: &str) {
        let _ = self.remove_one(&mark(key)).await;
    }

    /// Writes a small file, replacing an old one.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let removed = self.remove_one(key).await;
        removed.map_err(|error| failed(WRITING, &error))?;
        let mut writer = self.append(key).await?;
        writer.write(&Uint8Array::from(bytes)).await?;
        writer.finish().await
    }

    /// Removes a file, complete or not.
    ///
    /// # Errors
    /// `cache-unavailable` while it is being written.
    pub async fn remove(&self, key: &str) -> Result<()> {
        self.unmark(key).await;
        let removed = self.remove_one(key).await;
        removed.map_err(|error| failed("emptying the cache", &error))
    }

    /// The keys of all files, without those of marks.
    pub async fn keys(&self) -> Vec<String> {
        let keys = match self {
            Self::Opfs(folder) => folder.keys().await,
            Self::CacheStorage(bucket) => bucket.keys().await,
        };
        let keys = keys.unwrap_or_default().into_iter();
        keys.filter(|key| !key.ends_with(MARK)).collect()
    }

    async fn remove_one(&self, key: &str) -> Result<(), JsValue> {
        match self {
            Self::Opfs(folder) => folder.remove(key).await,
            Self::CacheStorage(bucket) => bucket.remove(key).await,
        }
    }
}

/// A file that is being read.
pub enum Reader {
    /// In OPFS.
    Opfs(opfs::Reader),
    /// In Cache Storage.
    CacheStorage(cache_storage::Reader),
}

impl Reader {
    /// A range of the file, outside of wasm memory.
    ///
    /// # Errors
    /// `cache-unavailable` when the browser can no longer read it.
    pub async fn read(&self, range: Range<u64>) -> Result<Uint8Array> {
        let wanted = range.end - range.start;
        let read = match self {
            Self::Opfs(reader) => reader.read(range).await,
            Self::CacheStorage(reader) => reader.read(range).await,
        };
        let bytes = read.map_err(|error| failed(READING, &error))?;
        if u64::from(bytes.length()) != wanted {
            let reason = format!("{READING}: a file is shorter than it was");
            return Err(Failure::new("cache-unavailable", reason));
        }
        Ok(bytes)
    }

    /// A large range of the file, in wasm memory. In pieces where it goes through the browser's heap, whose garbage is
    /// large before it is collected.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_large(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(length).is_err() {
            let reason = format!("no memory for {length} bytes of a file");
            return Err(Failure::new("device-limit", reason));
        }
        bytes.resize(length, 0);
        if let Self::Opfs(reader) = self
            && reader.fill(range.start, &mut bytes).await.is_ok()
        {
            return Ok(bytes);
        }
        let mut at = range.start;
        for piece in bytes.chunks_mut(PIECE) {
            let end = at + piece.len() as u64;
            self.read(at..end).await?.copy_to(piece);
            at = end;
        }
        Ok(bytes)
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
    pub async fn write(&mut self, bytes: &Uint8Array) -> Result<()> {
        let written = match self {
            Self::Opfs(writer) => writer.write(bytes),
            Self::CacheStorage(writer) => writer.write(bytes).await,
        };
        written.map_err(|error| failed(WRITING, &error))
    }

    /// Closes the file.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(self) -> Result<()> {
        match self {
            Self::Opfs(_) => Ok(()), // closed by its drop
            Self::CacheStorage(writer) => {
                let finished = writer.finish().await;
                finished.map_err(|error| failed(WRITING, &error))
            }
        }
    }
}

const READING: &str = "reading the cache";
const WRITING: &str = "writing to the cache";

fn mark(key: &str) -> String {
    format!("{key}{MARK}")
}

fn failed(what: &str, error: &JsValue) -> Failure {
    let code = match name(error).as_str() {
        "QuotaExceededError" => "quota",
        _ => "cache-unavailable",
    };
    Failure::of_browser(code, what, error)
}
