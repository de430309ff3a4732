//! The workers that a gateway knows: what they announce, for as long as they repeat it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::kv::{Entry, Operation, Store};
use futures_util::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use super::refusal::unavailable;
use crate::job::Failure;
use crate::options::is_name;
use crate::queue::Worker;

/// Pause before the bucket is watched again after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// What a worker announces.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Announced {
    pub worker: Worker,
    /// Seconds that its last jobs took, in the mean; 0 before the first.
    pub seconds: f64,
}

type Heard = BTreeMap<String, (Announced, Instant)>;

/// The workers, kept up to date by a task.
pub(super) struct Roster {
    heard: Arc<Mutex<Heard>>,
    keep: Duration,
    task: AbortHandle,
}

impl Roster {
    /// Reads the bucket, and watches it from then on.
    ///
    /// # Errors
    /// When the queue can't be reached.
    pub(super) async fn start(store: Store, keep: Duration) -> Result<Self, Failure> {
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let keys = store
            .keys()
            .await
            .map_err(|error| unavailable("workers", error))?;
        let keys: Vec<_> = keys
            .try_collect()
            .await
            .map_err(|error| unavailable("workers", error))?;
        for key in keys {
            if let Ok(Some(entry)) = store.entry(key).await {
                hear(&mut lock(&heard), &entry);
            }
        }
        let task = tokio::spawn(watch(store, heard.clone())).abort_handle();
        Ok(Self { heard, keep, task })
    }

    /// Those that are there.
    pub(super) fn workers(&self) -> Vec<Announced> {
        let mut heard = lock(&self.heard);
        heard.retain(|_, (_, at)| at.elapsed() < self.keep);
        heard
            .values()
            .map(|(announced, _)| announced.clone())
            .collect()
    }
}

impl Drop for Roster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(store: Store, heard: Arc<Mutex<Heard>>) {
    loop {
        match store.watch_with_history(">").await {
            Ok(mut entries) => {
                while let Some(entry) = entries.next().await {
                    match entry {
                        Ok(entry) => hear(&mut lock(&heard), &entry),
                        Err(error) => tracing::debug!(%error, "watching workers"),
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "watching workers"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn hear(heard: &mut Heard, entry: &Entry) {
    match entry.operation {
        Operation::Put => {
            let announced = serde_json::from_slice::<Announced>(&entry.value);
            if let Ok(announced) = announced
                && announced.worker.models.iter().all(|name| is_name(name))
            {
                heard.insert(entry.key.clone(), (announced, Instant::now()));
            }
        }
        Operation::Delete | Operation::Purge => {
            heard.remove(&entry.key);
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
