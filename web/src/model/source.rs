//! A model's files as core reads them: each from the cache, memory or the network.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use serde::Serialize;
use web_sys::AbortSignal;
use x2i_core::config::{FileRecord, ModelConfig};
use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, MemorySource, WeightSource};
use x2i_core::{Error, Result as CoreResult};

use super::Location;
use super::download::Download;
use super::http::RemoteFile;
use super::store::Store;
use crate::events::Events;
use crate::failure::{Failure, Result};

const CONFIG: &str = "model.json";
/// Larger files are not held in wasm memory, which ends at 4 GiB.
const MEMORY_LIMIT: u64 = 1 << 30;
/// Small reads from the network are made as large as this, and what follows is kept.
const WINDOW: u64 = 2 << 20;

/// Whether files are kept for the next visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// In OPFS or Cache Storage.
    Keep,
    /// Not at all: ranges come from the network.
    Bypass,
}

/// A model whose files are at hand.
pub struct WebModel {
    location: Location,
    config: Option<Rc<MemorySource>>,
    places: BTreeMap<String, Place>,
    store: Option<Store>,
    signal: Option<AbortSignal>,
}

/// Where a file is.
enum Place {
    Stored { key: String, bytes: u64 },
    Memory(Rc<MemorySource>),
    Remote { bytes: u64 },
}

/// A model before it is downloaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Description {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    files: Vec<FileDescription>,
    bytes: u64,
    cached_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileDescription {
    path: String,
    bytes: u64,
    cached_bytes: u64,
}

impl WebModel {
    /// What would be downloaded.
    ///
    /// # Errors
    /// `missing-file`, `network`, or `config` for a `model.json` that can't be read.
    pub async fn describe(location: Location) -> Result<Description> {
        let store = Store::open(&location.name).await.ok();
        let mut model = Self::new(location, store, None);
        let config = model.read_config().await?;
        let mut files = Vec::new();
        for (path, record) in &config.files {
            let kept = match &model.store {
                Some(store) => store.len(&record.sha256).await.min(record.bytes),
                None => 0,
            };
            files.push(FileDescription {
                path: path.clone(),
                bytes: record.bytes,
                cached_bytes: kept,
            });
        }
        Ok(Description {
            name: config.name,
            license: config.license,
            bytes: files.iter().map(|file| file.bytes).sum(),
            cached_bytes: files.iter().map(|file| file.cached_bytes).sum(),
            files,
        })
    }

    /// Brings every recorded file to hand.
    ///
    /// # Errors
    /// `missing-file`, `network`, `aborted`, `integrity` naming the file, or `config`.
    pub async fn prepare(
        location: Location,
        policy: CachePolicy,
        signal: Option<AbortSignal>,
        events: &Events,
    ) -> Result<Self> {
        let store = match policy {
            CachePolicy::Bypass => None,
            CachePolicy::Keep => match Store::open(&location.name).await {
                Ok(store) => Some(store),
                Err(warning) => {
                    events.warning(&warning);
                    None
                }
            },
        };
        let mut model = Self::new(location, store, signal);
        match model.read_config().await {
            Ok(config) => model.fetch_all(&config.files, policy, events).await?,
            // A Hugging Face folder has none; core reads its configs itself.
            Err(failure) if failure.code == "missing-file" => {}
            Err(failure) => return Err(failure),
        }
        Ok(model)
    }

    fn new(location: Location, store: Option<Store>, signal: Option<AbortSignal>) -> Self {
        Self {
            location,
            config: None,
            places: BTreeMap::new(),
            store,
            signal,
        }
    }

    /// `model.json`: from the network, or what the last visit kept of it.
    async fn read_config(&mut self) -> Result<ModelConfig> {
        let fetched = match self.remote(CONFIG) {
            Ok(remote) => remote.read_all().await,
            Err(failure) => Err(failure),
        };
        let json = match (fetched, &self.store) {
            (Ok(json), _) => json,
            (Err(failure), Some(store)) if failure.code == "network" => {
                match store.len(CONFIG).await {
                    0 => return Err(failure),
                    length => store.read(CONFIG, 0..length).await?,
                }
            }
            (Err(failure), _) => return Err(failure),
        };
        let config = ModelConfig::from_json(CONFIG, &json)?;
        self.config = Some(Rc::new(MemorySource::new(CONFIG, json)));
        Ok(config)
    }

    async fn fetch_all(
        &mut self,
        records: &BTreeMap<String, FileRecord>,
        policy: CachePolicy,
        events: &Events,
    ) -> Result<()> {
        if let (Some(store), Some(config)) = (&self.store, &self.config) {
            let json = config.read(0..config.len()).await?;
            // Needed offline only.
            if let Err(warning) = store.put(CONFIG, &json).await {
                events.warning(&warning);
            }
        }
        let total = records.values().map(|record| record.bytes).sum();
        let mut before = 0;
        for (path, record) in records {
            let progress = Totals { before, total };
            let place = self.fetch(path, record, policy, &progress, events).await?;
            self.places.insert(path.clone(), place);
            before += record.bytes;
        }
        Ok(())
    }

    async fn fetch(
        &self,
        path: &str,
        record: &FileRecord,
        policy: CachePolicy,
        progress: &Totals,
        events: &Events,
    ) -> Result<Place> {
        let stored = Place::Stored {
            key: record.sha256.clone(),
            bytes: record.bytes,
        };
        if let Some(store) = &self.store
            && store.is_complete(&record.sha256, record.bytes).await
        {
            progress.tell(events, path, record.bytes, true);
            return Ok(stored);
        }
        let mut on_bytes = |done| progress.tell(events, path, done, false);
        let mut download = Download {
            path,
            record,
            remote: self.remote(path)?,
            on_bytes: &mut on_bytes,
        };
        if let Some(store) = &self.store {
            match download.keep(store).await {
                Ok(()) => return Ok(stored),
                Err(failure) if !matches!(failure.code, "quota" | "cache-unavailable") => {
                    return Err(failure);
                }
                Err(warning) => {
                    events.warning(&warning);
                    store.remove(&record.sha256).await; // half a file helps nobody when the disk is full
                }
            }
        }
        if policy == CachePolicy::Keep && record.bytes <= MEMORY_LIMIT {
            let bytes = download.hold().await?;
            return Ok(Place::Memory(Rc::new(MemorySource::new(path, bytes))));
        }
        events.warning(&Failure::new(
            "unverified",
            format!("{path} is read from the network range by range; its SHA-256 is not checked"),
        ));
        Ok(Place::Remote {
            bytes: record.bytes,
        })
    }

    fn remote(&self, path: &str) -> Result<RemoteFile> {
        let url = self.location.url(path).ok_or_else(|| {
            Failure::new(
                "missing-file",
                format!("{}/{path}: file not found", self.location.name),
            )
        })?;
        Ok(RemoteFile::new(url, self.signal.clone()))
    }

    async fn open_file(&self, path: &str) -> CoreResult<Rc<dyn WeightSource>> {
        if let (CONFIG, Some(config)) = (path, &self.config) {
            return Ok(config.clone());
        }
        let remote = |bytes| {
            let file = self
                .remote(path)
                .map_err(|failure| to_core(path, failure))?;
            Ok::<Rc<dyn WeightSource>, Error>(Rc::new(RangeFile {
                name: path.to_owned(),
                file,
                bytes,
                window: RefCell::default(),
            }))
        };
        match (self.places.get(path), &self.store) {
            (Some(Place::Memory(memory)), _) => Ok(memory.clone()),
            (Some(Place::Stored { key, bytes }), Some(store)) => Ok(Rc::new(StoredFile {
                name: path.to_owned(),
                store: store.clone(),
                key: key.clone(),
                bytes: *bytes,
            })),
            (Some(Place::Remote { bytes } | Place::Stored { bytes, .. }), _) => remote(*bytes),
            (None, _) => {
                let file = self
                    .remote(path)
                    .map_err(|failure| to_core(path, failure))?;
                let bytes = file.length().await;
                remote(bytes.map_err(|failure| to_core(path, failure))?)
            }
        }
    }
}

struct Totals {
    before: u64,
    total: u64,
}

impl Totals {
    fn tell(&self, events: &Events, path: &str, done: u64, cached: bool) {
        events.download(path, self.before + done, self.total, cached);
    }
}

impl ModelSource for WebModel {
    fn name(&self) -> &str {
        &self.location.name
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, CoreResult<Rc<dyn WeightSource>>> {
        Box::pin(self.open_file(path))
    }
}

/// A file in the cache.
struct StoredFile {
    name: String,
    store: Store,
    key: String,
    bytes: u64,
}

impl WeightSource for StoredFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, CoreResult<Cow<'_, [u8]>>> {
        Box::pin(async move {
            let read = self.store.read(&self.key, range).await;
            read.map(Cow::Owned)
                .map_err(|failure| to_core(&self.name, failure))
        })
    }
}

/// A file on the network, whose small neighbouring reads share a request.
struct RangeFile {
    name: String,
    file: RemoteFile,
    bytes: u64,
    /// Where the kept bytes begin, and they.
    window: RefCell<(u64, Vec<u8>)>,
}

impl RangeFile {
    async fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>> {
        if range.end > self.bytes || range.start > range.end {
            let Range { start, end } = range;
            return Err(Failure::new(
                "format",
                format!(
                    "bytes {start}..{end} lie outside of the file's {}",
                    self.bytes
                ),
            ));
        }
        if let Some(found) = self.in_window(&range) {
            return Ok(found);
        }
        if range.end - range.start >= WINDOW {
            return self.file.read(range).await;
        }
        let end = (range.start + WINDOW).min(self.bytes);
        let bytes = self.file.read(range.start..end).await?;
        *self.window.borrow_mut() = (range.start, bytes);
        Ok(self.in_window(&range).unwrap_or_default())
    }

    fn in_window(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let (first, bytes) = &*self.window.borrow();
        let inside = |at: u64| usize::try_from(at.checked_sub(*first)?).ok();
        Some(
            bytes
                .get(inside(range.start)?..inside(range.end)?)?
                .to_vec(),
        )
    }
}

impl WeightSource for RangeFile {
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
fn to_core(file: &str, failure: Failure) -> Error {
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
