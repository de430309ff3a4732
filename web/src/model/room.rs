//! Whether the browser has room for a download, before it begins: what it may still store, what could be
//! removed for it, and what to say when it is not enough.

use super::shelf::{CachedModel, Records, Shelf, free, megabytes};
use super::store::Store;
use crate::events::Events;
use crate::failure::Failure;

/// What may be removed for a model that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Nothing: the caller is warned.
    Warn,
    /// Other models of this package, the one that was used longest ago first.
    Evict,
}

/// Makes room for the missing files of a model, as far as `quota` allows. Returns the bytes that may be
/// stored; `u64::MAX` where the browser does not tell.
pub async fn make_room(
    store: &Store,
    (name, records): (&str, &Records),
    quota: Quota,
    events: &Events,
) -> u64 {
    let mut need = 0;
    for record in records.values() {
        need += record.bytes.saturating_sub(store.len(&record.sha256).await);
    }
    let short = async || free().await.filter(|free| *free < need);
    let (shelf, mut removed) = (Shelf::of(store.clone()), Vec::new());
    if need == 0 || short().await.is_none() {
        return u64::MAX;
    }
    shelf.forget_last_version(name, records).await;
    let mut others = shelf.others(name).await;
    if quota == Quota::Evict {
        let mut left = Vec::new();
        for other in others {
            match short().await.is_some() && shelf.evict(other.name()).await {
                true => removed.push(other),
                false => left.push(other),
            }
        }
        others = left;
    }
    if !removed.is_empty() {
        let message = format!(
            "removed {} from the cache, to make room for {name}; it is downloaded again when it is \
             next used",
            join(&removed)
        );
        events.warning(&Failure::new("evicted", message));
    }
    let Some(free) = short().await else {
        return u64::MAX;
    };
    events.warning(&Failure::new("quota", sentence(need, free, &others, quota)));
    free
}

/// What is short, and what would help.
fn sentence(need: u64, free: u64, others: &[CachedModel], quota: Quota) -> String {
    let (need, free) = (megabytes(need), megabytes(free));
    let short = format!(
        "the browser lets this site store {free} more, the model needs {need}: what finds no room is \
         held in memory, and downloaded again on the next visit"
    );
    match (others.is_empty(), quota) {
        (true, _) => format!("{short}; free space on the disk, or leave the private window"),
        (false, Quota::Warn) => format!(
            "{short}; `evict: true` may remove other models, or delete one by deleteCachedModel: {}",
            join(others)
        ),
        (false, Quota::Evict) => format!(
            "{short}; other tabs use {}: close them, and load again",
            join(others)
        ),
    }
}

fn join(models: &[CachedModel]) -> String {
    let models: Vec<String> = models.iter().map(CachedModel::describe).collect();
    models.join(", ")
}
