//! Which models the cache holds: an entry for each, with its `model.json`, its files and its last use.
//!
//! A file stays as long as an entry names it. Entries are read and changed under one lock, which is held
//! for moments: whoever has it waits for no other.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x2i_core::config::FileRecord;

use super::locks::{Lock, Mode};
use super::store::Store;
use crate::failure::{Failure, Result};
use crate::js;

/// The name of the lock.
const LOCK: &str = "models";
/// The beginning of an entry's key.
const PREFIX: &str = "model-";

/// The files that `model.json` records, by their paths.
pub type Records = BTreeMap<String, FileRecord>;

/// A model of which something is kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Entry {
    /// What `Location::name` says.
    pub name: String,
    /// When it was last loaded, in milliseconds since 1970.
    pub used: f64,
    /// Its `model.json`, once all its files were there.
    pub config: String,
    /// Bytes of its files by their keys.
    pub files: BTreeMap<String, u64>,
}

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedModel {
    name: String,
    bytes: u64,
    last_used: f64,
}

/// The models of a store.
#[derive(Debug, Clone)]
pub struct Shelf(Store);

impl Shelf {
    /// The models of this store.
    pub fn of(store: Store) -> Self {
        Self(store)
    }

    /// The entry of a model.
    pub async fn entry(&self, name: &str) -> Option<Entry> {
        self.read(&key(name)).await
    }

    /// Names the files that a model will have, before they are downloaded. Those of its last version stay
    /// until the new one is complete.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`.
    pub async fn begin(&self, name: &str, records: &Records) -> Result<()> {
        let _lock = self.lock().await;
        let mut entry = self.entry(name).await.unwrap_or_default();
        name.clone_into(&mut entry.name);
        entry.used = js_sys::Date::now();
        entry.files.extend(files(records));
        self.write(&entry).await
    }

    /// Says that a model is complete, and removes what no model names any more.
    ///
    /// # Errors
    /// `quota` or `cache-unavailable`.
    pub async fn complete(&self, name: &str, config: &[u8], records: &Records) -> Result<()> {
        let _lock = self.lock().await;
        let entry = Entry {
            name: name.to_owned(),
            used: js_sys::Date::now(),
            config: String::from_utf8_lossy(config).into_owned(),
            files: files(records),
        };
        self.write(&entry).await?;
        self.remove_unused().await;
        Ok(())
    }

    /// Removes what a model's last version has left and the new one does not take. Returns whether there was
    /// anything.
    pub async fn forget_last_version(&self, name: &str, records: &Records) -> bool {
        let _lock = self.lock().await;
        let (entry, files) = (self.entry(name).await, files(records));
        match entry.filter(|entry| entry.files.keys().any(|file| !files.contains_key(file))) {
            None => false,
            Some(entry) => {
                let config = String::new();
                let entry = Entry {
                    files,
                    config,
                    ..entry
                };
                let written = self.write(&entry).await;
                self.remove_unused().await;
                written.is_ok()
            }
        }
    }

    /// Models that could go for another, the one that was used longest ago first.
    pub async fn others(&self, name: &str) -> Vec<CachedModel> {
        let mut others = self.list().await;
        others.retain(|model| model.name != name && model.bytes > 0);
        others.sort_by(|a, b| a.last_used.total_cmp(&b.last_used));
        others
    }

    /// Removes a model; its files stay as long as another model has them, or a tab reads or writes them.
    /// Returns whether it is gone.
    pub async fn evict(&self, name: &str) -> bool {
        let _lock = self.lock().await;
        let Some(entry) = self.entry(name).await else {
            return true;
        };
        let mut shared = BTreeSet::new();
        for other in self.entries().await {
            if other.name != name {
                shared.extend(other.files.into_keys());
            }
        }
        for file in entry.files.keys().filter(|file| !shared.contains(*file)) {
            if self.0.try_lock(file, Mode::Exclusive).await.is_none() {
                return false;
            }
        }
        let removed = self.0.remove(&key(name)).await;
        self.remove_unused().await;
        removed.is_ok()
    }

    /// Removes a model at its user's wish, though a pipeline may have loaded it.
    ///
    /// # Errors
    /// `cache-unavailable` while it is being downloaded.
    async fn delete(&self, name: &str) -> Result<()> {
        let _lock = self.lock().await;
        let Some(entry) = self.entry(name).await else {
            return Ok(());
        };
        let mut readers = Vec::new();
        for file in entry.files.keys() {
            let reader = self.0.try_lock(file, Mode::Shared).await;
            readers.push(reader.ok_or_else(|| {
                let reason = format!("{name} is being downloaded; stop that before you delete it");
                Failure::new("cache-unavailable", reason)
            })?);
        }
        self.0.remove(&key(name)).await?;
        let used = self.used().await;
        for file in entry.files.keys().filter(|file| !used.contains(*file)) {
            self.0.remove(file).await?;
        }
        Ok(())
    }

    async fn list(&self) -> Vec<CachedModel> {
        let mut models = Vec::new();
        for entry in self.entries().await {
            let mut bytes = 0;
            for file in entry.files.keys() {
                bytes += self.0.len(file).await;
            }
            models.push(CachedModel {
                name: entry.name,
                bytes,
                last_used: entry.used,
            });
        }
        models
    }

    /// Removes files that no model names and nobody holds.
    async fn remove_unused(&self) {
        let used = self.used().await;
        for key in self.0.keys().await {
            if key.starts_with(PREFIX) || used.contains(&key) {
                continue;
            }
            if let Some(_lock) = self.0.try_lock(&key, Mode::Exclusive).await {
                let _ = self.0.remove(&key).await;
            }
        }
    }

    async fn used(&self) -> BTreeSet<String> {
        let entries = self.entries().await.into_iter();
        entries.flat_map(|entry| entry.files.into_keys()).collect()
    }

    async fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for key in self.0.keys().await {
            if key.starts_with(PREFIX) {
                entries.extend(self.read(&key).await);
            }
        }
        entries
    }

    /// An entry that was cut by a crash is none: its model is looked for anew, its files are found again.
    async fn read(&self, key: &str) -> Option<Entry> {
        serde_json::from_slice(&self.0.get(key).await?).ok()
    }

    async fn write(&self, entry: &Entry) -> Result<()> {
        let json = serde_json::to_vec(entry);
        let json = json.map_err(|error| Failure::new("internal", error.to_string()))?;
        self.0.put(&key(&entry.name), &json).await
    }

    async fn lock(&self) -> Lock {
        self.0.lock(LOCK, Mode::Exclusive).await
    }
}

impl CachedModel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size and its last use, for people.
    pub fn describe(&self) -> String {
        let day = js_sys::Date::new(&self.last_used.into()).to_iso_string();
        let day: String = String::from(day).chars().take(10).collect();
        format!("{} ({}, last used {day})", self.name, megabytes(self.bytes))
    }
}

/// Bytes that the origin may still store; `None` where the browser does not tell.
pub async fn free() -> Option<u64> {
    let storage = js::global(&["navigator", "storage"]);
    let estimate = js::call_async(&storage, "estimate", &[]).await.ok()?;
    let number = |key| js::get(&estimate, key).as_f64();
    Some((number("quota")? - number("usage")?).max(0.0) as u64)
}

/// A size for people.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// All models in the cache.
pub async fn cached_models() -> Vec<CachedModel> {
    let mut models = Vec::new();
    for store in Store::all().await {
        models.extend(Shelf::of(store).list().await);
    }
    models
}

/// Removes a model from the cache.
///
/// # Errors
/// `cache-unavailable` while it is being downloaded.
pub async fn delete_cached_model(model: &str) -> Result<()> {
    for store in Store::all().await {
        Shelf::of(store).delete(model).await?;
    }
    Ok(())
}

fn files(records: &Records) -> BTreeMap<String, u64> {
    let files = records.values();
    files
        .map(|record| (record.sha256.clone(), record.bytes))
        .collect()
}

/// A name may be longer than a file's, and hold any character.
fn key(name: &str) -> String {
    format!("{PREFIX}{}", hex::encode(Sha256::digest(name)))
}
