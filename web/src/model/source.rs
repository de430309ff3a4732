//! The model source for core: each file comes from the cache, memory or the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use send_wrapper::SendWrapper;
use serde::Serialize;
use web_sys::AbortSignal;
use x2i_core::Result as CoreResult;
use x2i_core::config::{FileRecord, ModelConfig};
use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, MemorySource, WeightSource};

use super::Location;
use super::download::Download;
use super::file::{Origin, WebFile, to_core};
use super::http::RemoteFile;
use super::store::Store;
use crate::events::Events;
use crate::failure::{Failure, Result};

const CONFIG: &str = "model.json";
/// The most bytes of files that are held in wasm memory together. The limit of wasm memory is 4 GiB.
const MEMORY_LIMIT: u64 = 1 << 30;

/// Whether files are cached for the next visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// In OPFS or Cache Storage.
    Keep,
    /// Not cached: ranges come from the network.
    Bypass,
}

/// Where a model's bytes are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The origin private file system.
    Opfs,
    /// Cache Storage.
    CacheStorage,
    /// Wasm's memory.
    Memory,
    /// The network, range by range.
    Network,
}

/// A model whose files are ready to be read.
pub struct WebModel {
    location: Location,
    config: Option<Arc<MemorySource>>,
    places: BTreeMap<String, FilePlace>,
    store: Option<Store>,
    signal: Option<SendWrapper<AbortSignal>>,
}

/// The place of a file, and its bytes.
enum FilePlace {
    Stored { key: String, bytes: u64 },
    Memory(Arc<MemorySource>),
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
    /// Describes the download.
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

    /// Makes every recorded file ready to be read.
    ///
    /// # Errors
    /// `missing-file`, `network`, `aborted`, `config`, or `integrity`, which names the file.
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
        let signal = signal.map(SendWrapper::new);
        Self {
            location,
            config: None,
            places: BTreeMap::new(),
            store,
            signal,
        }
    }

    /// `model.json`: from the network, or else the cached one.
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
        self.config = Some(Arc::new(MemorySource::new(CONFIG, json)));
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
            // It is needed only offline.
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
    ) -> Result<FilePlace> {
        let stored = FilePlace::Stored {
            key: record.sha256.clone(),
            bytes: record.bytes,
        };
        if let Some(store) = &self.store
            && store.is_complete(&record.sha256, record.bytes).await
        {
            progress.tell(events, path, record.bytes, true);
            return Ok(stored);
        }
        progress.tell(events, path, 0, false);
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
                    store.remove(&record.sha256).await; // an incomplete file is useless when the disk is full
                }
            }
        }
        if policy == CachePolicy::Keep && self.held() + record.bytes <= MEMORY_LIMIT {
            let bytes = download.hold().await?;
            return Ok(FilePlace::Memory(Arc::new(MemorySource::new(path, bytes))));
        }
        events.warning(&Failure::new(
            "unverified",
            format!("{path} is read from the network range by range; its SHA-256 is not checked"),
        ));
        Ok(FilePlace::Remote {
            bytes: record.bytes,
        })
    }

    /// Bytes of files in memory.
    fn held(&self) -> u64 {
        let held = self.places.values().map(|place| match place {
            FilePlace::Memory(file) => file.len(),
            FilePlace::Stored { .. } | FilePlace::Remote { .. } => 0,
        });
        held.sum()
    }

    /// Where most of the bytes are.
    pub fn place(&self) -> Place {
        let largest = self.places.values().max_by_key(|place| match place {
            FilePlace::Stored { bytes, .. } | FilePlace::Remote { bytes } => *bytes,
            FilePlace::Memory(file) => file.len(),
        });
        match (largest, &self.store) {
            (Some(FilePlace::Stored { .. }), Some(Store::Opfs(_))) => Place::Opfs,
            (Some(FilePlace::Stored { .. }), _) => Place::CacheStorage,
            (Some(FilePlace::Memory(_)), _) => Place::Memory,
            (Some(FilePlace::Remote { .. }) | None, _) => Place::Network,
        }
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

    async fn open_file(&self, path: &str) -> CoreResult<Arc<dyn WeightSource>> {
        if let (CONFIG, Some(config)) = (path, &self.config) {
            return Ok(config.clone());
        }
        let failed = |failure| to_core(path, failure);
        let (bytes, origin) = match (self.places.get(path), &self.store) {
            (Some(FilePlace::Memory(memory)), _) => return Ok(memory.clone()),
            (Some(FilePlace::Stored { key, bytes }), Some(store)) => {
                (*bytes, Origin::stored(store.clone(), key.clone()))
            }
            (Some(FilePlace::Remote { bytes } | FilePlace::Stored { bytes, .. }), _) => {
                (*bytes, Origin::remote(self.remote(path).map_err(failed)?))
            }
            (None, _) => {
                let remote = self.remote(path).map_err(failed)?;
                (
                    remote.length().await.map_err(failed)?,
                    Origin::remote(remote),
                )
            }
        };
        Ok(Arc::new(WebFile::new(path, bytes, origin)))
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

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, CoreResult<Arc<dyn WeightSource>>> {
        Box::pin(self.open_file(path))
    }
}
