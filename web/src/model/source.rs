//! The model source for core: each file comes from the cache, memory or the network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use send_wrapper::SendWrapper;
use serde::Serialize;
use web_sys::AbortSignal;
use x2i_core::config::ModelConfig;
use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, MemorySource, WeightSource};
use x2i_core::{Error, Result as CoreResult};

use super::Location;
use super::fetching::{Got, Wanted};
use super::file::{Origin, WebFile, to_core};
use super::hash;
use super::http::RemoteFile;
use super::locks::{Lock, Mode};
use super::memory::HeldFile;
use super::room::{Quota, Room};
use super::shelf::{Records, Shelf};
use super::store::Store;
use crate::events::Events;
use crate::failure::{Failure, Result};

const CONFIG: &str = "model.json";

/// Whether files are cached for the next visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// In OPFS or Cache Storage; what may be removed where the browser has no room.
    Keep(Quota),
    /// Not cached: ranges come from the network.
    Bypass,
}

/// A model whose files are ready to be read.
pub struct WebModel {
    location: Location,
    config: Option<Arc<MemorySource>>,
    /// Why there is no `model.json`.
    absent: Option<Failure>,
    places: BTreeMap<String, FilePlace>,
    store: Option<Store>,
    signal: Option<SendWrapper<AbortSignal>>,
    /// What was said of the last file that was not there, which core has no place for.
    missing: Mutex<Option<Failure>>,
}

/// Where a model's bytes are while it paints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In OPFS.
    Opfs,
    /// In Cache Storage.
    CacheStorage,
    /// In the tab's memory.
    Memory,
    /// On the network.
    Network,
}

/// The place of a file.
enum FilePlace {
    Stored {
        key: String,
        bytes: u64,
        /// Taken away once the model is loaded; open files keep it.
        lock: Option<Arc<Lock>>,
    },
    Held(Arc<HeldFile>),
    Remote {
        bytes: u64,
    },
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
        let store = Store::open().await.ok();
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
            CachePolicy::Keep(_) => match Store::open().await {
                Ok(store) => Some(store),
                Err(warning) => {
                    events.warning(&warning);
                    None
                }
            },
        };
        let mut model = Self::new(location, store, signal);
        match model.read_config().await {
            Ok(config) => model.get_all(&config.files, policy, events).await?,
            // A Hugging Face folder has none; core reads its configs itself.
            Err(failure) if failure.code == "missing-file" => model.absent = Some(failure),
            Err(failure) => return Err(failure),
        }
        Ok(model)
    }

    fn new(location: Location, store: Option<Store>, signal: Option<AbortSignal>) -> Self {
        let signal = signal.map(SendWrapper::new);
        Self {
            location,
            config: None,
            absent: None,
            places: BTreeMap::new(),
            store,
            signal,
            missing: Mutex::default(),
        }
    }

    /// `model.json`: from the network, or else the one of the last complete download.
    async fn read_config(&mut self) -> Result<ModelConfig> {
        let remote = self.remote(CONFIG)?.fresh();
        let json = match (remote.read_all().await, &self.store) {
            (Ok(json), _) => json,
            (Err(failure), Some(store)) if failure.code == "network" => {
                let entry = Shelf::of(store.clone()).entry(&self.location.name).await;
                let config = entry.map(|entry| entry.config).unwrap_or_default();
                match config.is_empty() {
                    true => return Err(failure),
                    false => config.into_bytes(),
                }
            }
            (Err(failure), _) => return Err(failure),
        };
        let config = ModelConfig::from_json(remote.shown(), &json)?;
        self.config = Some(Arc::new(MemorySource::new(CONFIG, json)));
        Ok(config)
    }

    /// Gets the files; afterwards the cache has what this version of the model names, and nothing of the
    /// last one.
    async fn get_all(
        &mut self,
        records: &Records,
        policy: CachePolicy,
        events: &Events,
    ) -> Result<()> {
        let store = self.store.clone();
        let name = self.location.name.clone();
        let name = name.as_str();
        let mut room = None;
        if let (Some(store), CachePolicy::Keep(quota)) = (&store, policy)
            && !records.is_empty()
        {
            // Its entry is needed only offline, and to know what may be removed.
            if let Err(warning) = Shelf::of(store.clone()).begin(name, records).await {
                events.warning(&warning);
            }
            room = Some(Room::look(store, (name, records), quota, events).await);
        }
        let total = records.values().map(|record| record.bytes).sum();
        let mut before = 0;
        for (path, record) in records {
            let wanted = Wanted {
                path,
                record,
                remote: self.remote(path),
                totals: (before, total),
                events,
            };
            let got = match (&store, policy) {
                (Some(store), _) => wanted.keep(store, room.as_ref()).await?,
                (None, CachePolicy::Keep(_)) => wanted.hold().await?,
                (None, CachePolicy::Bypass) => Got::Remote,
            };
            self.places.insert(path.clone(), place(got, &wanted));
            before += record.bytes;
        }
        self.note_complete(records, events).await
    }

    async fn note_complete(&self, records: &Records, events: &Events) -> Result<()> {
        let kept = |place: &FilePlace| matches!(place, FilePlace::Stored { .. });
        let complete = !records.is_empty() && self.places.values().all(kept);
        if let (Some(store), Some(config), true) = (&self.store, &self.config, complete) {
            let json = config.read(0..config.len()).await?;
            let shelf = Shelf::of(store.clone());
            if let Err(warning) = shelf.complete(&self.location.name, &json, records).await {
                events.warning(&warning);
            }
        }
        Ok(())
    }

    /// Hashes the cached files again, after a failure that wrong bytes can cause. What is wrong is no
    /// longer used, and the next [`prepare`](Self::prepare) downloads it again. Returns whether there was any.
    pub async fn heal(&self, events: &Events) -> bool {
        let Some(store) = &self.store else {
            return false;
        };
        let mut damaged = Vec::new();
        for (path, place) in &self.places {
            if let FilePlace::Stored { key, bytes, .. } = place
                // Who writes it now has already noticed.
                && let Some(_reading) = store.try_lock(key, Mode::Shared).await
                && !hash::fits(store, key, *bytes).await
            {
                store.unmark(key).await;
                damaged.push(path.as_str());
            }
        }
        if damaged.is_empty() {
            return false;
        }
        let message = format!(
            "{} {} damaged in the cache; what is damaged is downloaded again",
            damaged.join(", "),
            if damaged.len() == 1 { "was" } else { "were" }
        );
        events.warning(&Failure::new("damaged", message));
        true
    }

    /// Where most of the bytes are.
    pub fn place(&self) -> Place {
        let largest = self.places.values().max_by_key(|place| match place {
            FilePlace::Stored { bytes, .. } | FilePlace::Remote { bytes } => *bytes,
            FilePlace::Held(file) => file.len(),
        });
        match (largest, &self.store) {
            (Some(FilePlace::Stored { .. }), Some(Store::Opfs(_))) => Place::Opfs,
            (Some(FilePlace::Stored { .. }), _) => Place::CacheStorage,
            (Some(FilePlace::Held(_)), _) => Place::Memory,
            (Some(FilePlace::Remote { .. }) | None, _) => Place::Network,
        }
    }

    /// Lets others remove the files that no part of a loaded model reads any more.
    pub fn release(&mut self) {
        for place in self.places.values_mut() {
            if let FilePlace::Stored { lock, .. } = place {
                *lock = None;
            }
        }
    }

    /// A file that core misses, with the address at which it is not.
    pub fn explain(&self, failure: Failure) -> Failure {
        if failure.code != "missing-file" {
            return failure;
        }
        let missing = self
            .missing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(absent) = &self.absent else {
            return missing.unwrap_or(failure);
        };
        let (name, reason) = (&self.location.name, &absent.message);
        let message = format!("{name} is no model folder, as `x2i convert` writes it: {reason}");
        Failure::new("missing-file", message)
    }

    fn remote(&self, path: &str) -> Result<RemoteFile> {
        let url = self.location.url(path).ok_or_else(|| {
            Failure::new(
                "missing-file",
                format!("{}: no URL of {path} is given", self.location.name),
            )
        })?;
        let network = self.location.network.clone();
        Ok(RemoteFile::new(url, network, self.signal.clone()))
    }

    async fn open_file(&self, path: &str) -> CoreResult<Arc<dyn WeightSource>> {
        if let (CONFIG, Some(config)) = (path, &self.config) {
            return Ok(config.clone());
        }
        let opened = self.open_place(path).await;
        opened.map_err(|failure| {
            if failure.code == "missing-file" {
                let missing = self.missing.lock();
                *missing.unwrap_or_else(PoisonError::into_inner) = Some(failure);
                // Core goes on without some files.
                return Error::MissingFile { file: path.into() };
            }
            to_core(path, failure)
        })
    }

    async fn open_place(&self, path: &str) -> Result<Arc<dyn WeightSource>> {
        let (bytes, origin) = match (self.places.get(path), &self.store) {
            (Some(FilePlace::Held(held)), _) => return Ok(held.clone()),
            (Some(FilePlace::Stored { key, bytes, lock }), Some(store)) => {
                let lock = match lock {
                    Some(lock) => lock.clone(),
                    None => Arc::new(store.lock(key, Mode::Shared).await),
                };
                let reader = store.reader(key).await?;
                let origin = Origin::Stored {
                    reader,
                    _reading: lock,
                };
                (*bytes, origin)
            }
            (Some(FilePlace::Remote { bytes } | FilePlace::Stored { bytes, .. }), _) => {
                (*bytes, Origin::Remote(self.remote(path)?))
            }
            (None, _) => {
                let remote = self.remote(path)?;
                (remote.length().await?, Origin::Remote(remote))
            }
        };
        Ok(Arc::new(WebFile::new(path, bytes, origin)))
    }
}

fn place(got: Got, wanted: &Wanted<'_>) -> FilePlace {
    let (path, record) = (wanted.path, wanted.record);
    match got {
        Got::Stored(lock) => FilePlace::Stored {
            key: record.sha256.clone(),
            bytes: record.bytes,
            lock: Some(lock),
        },
        Got::Held(bytes) => FilePlace::Held(Arc::new(HeldFile::new(path, bytes))),
        Got::Remote => {
            let reason = "is read from the network range by range; its SHA-256 is not checked";
            let warning = Failure::new("unverified", format!("{path} {reason}"));
            wanted.events.warning(&warning);
            FilePlace::Remote {
                bytes: record.bytes,
            }
        }
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
