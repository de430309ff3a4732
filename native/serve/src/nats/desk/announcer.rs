//! The workers of this process announce themselves, and repeat it while they live.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::kv::Store;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::locking::lock;
use crate::nats::names;
use crate::nats::roster::Announced;
use crate::queue::Worker;

/// The task that announces.
pub(super) struct Announcer {
    store: Store,
    told: Arc<Told>,
    task: AbortHandle,
}

#[derive(Default)]
struct Told {
    workers: Mutex<BTreeMap<String, Announced>>,
    changed: Notify,
}

impl Announcer {
    /// Begins; what is announced is kept for `keep`.
    pub(super) fn start(store: Store, keep: Duration) -> Self {
        let told: Arc<Told> = Arc::default();
        let task = tokio::spawn(repeat(store.clone(), told.clone(), keep / 3)).abort_handle();
        Self { store, told, task }
    }

    /// Announces a worker, now and from now on.
    pub(super) fn announce(&self, worker: Worker, seconds: f64) {
        let key = names::token(&worker.name);
        lock(&self.told.workers).insert(key, Announced { worker, seconds });
        self.told.changed.notify_one();
    }

    /// Those that were announced.
    pub(super) fn workers(&self) -> Vec<Worker> {
        lock(&self.told.workers)
            .values()
            .map(|announced| announced.worker.clone())
            .collect()
    }

    /// All of them leave.
    pub(super) async fn leave(&self) {
        self.task.abort();
        let keys: Vec<_> = lock(&self.told.workers).keys().cloned().collect();
        for key in keys {
            if let Err(error) = self.store.delete(&key).await {
                tracing::debug!(%error, "a worker could not say that it leaves");
            }
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn repeat(store: Store, told: Arc<Told>, pause: Duration) {
    loop {
        let all = lock(&told.workers).clone();
        for (key, announced) in all {
            let json = serde_json::to_vec(&announced).unwrap_or_default();
            if let Err(error) = store.put(&key, json.into()).await {
                tracing::debug!(%error, "a worker could not announce itself");
            }
        }
        let _ = tokio::time::timeout(pause, told.changed.notified()).await; // either is a reason to repeat it
    }
}
