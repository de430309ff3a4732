//! Room for a download: what the browser may still store, what could be removed for it, and what to say
//! when it is not enough.
//!
//! Browsers' estimates may be far too high (Chromium's always tells of 10 GiB), so that a download which
//! is refused asks here again.

use std::cell::{Cell, RefCell};

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

/// The room for one model.
pub struct Room<'a> {
    shelf: Shelf,
    name: &'a str,
    records: &'a Records,
    quota: Quota,
    events: &'a Events,
    /// Bytes that may be stored, as far as the browser tells.
    left: Cell<u64>,
    /// Models that no tab uses any more, or that are gone.
    tried: RefCell<Vec<String>>,
}

impl<'a> Room<'a> {
    /// Looks for room, and makes it as far as `quota` allows.
    pub async fn look(
        store: &Store,
        (name, records): (&'a str, &'a Records),
        quota: Quota,
        events: &'a Events,
    ) -> Self {
        let room = Self {
            shelf: Shelf::of(store.clone()),
            name,
            records,
            quota,
            events,
            left: Cell::new(u64::MAX),
            tried: RefCell::default(),
        };
        let mut need = 0;
        for record in records.values() {
            need += record.bytes.saturating_sub(store.len(&record.sha256).await);
        }
        while let Some(free) = free().await.filter(|&free| free < need) {
            if room.make().await {
                continue;
            }
            let short = format!(
                "the browser lets this site store {} more, the model needs {}",
                megabytes(free),
                megabytes(need)
            );
            room.tell(&short).await;
            room.left.set(free);
            break;
        }
        room
    }

    /// Takes room for so many bytes; false where there is not enough.
    pub fn take(&self, bytes: u64) -> bool {
        let left = self.left.get().checked_sub(bytes);
        if let Some(left) = left {
            self.left.set(left);
        }
        left.is_some()
    }

    /// Removes what may be removed: the files of the model's last version, then one other model. False
    /// when there is nothing.
    pub async fn make(&self) -> bool {
        if self
            .shelf
            .forget_last_version(self.name, self.records)
            .await
        {
            return true;
        }
        if self.quota == Quota::Warn {
            return false;
        }
        for other in self.shelf.others(self.name).await {
            if self
                .tried
                .borrow()
                .iter()
                .any(|tried| tried == other.name())
            {
                continue;
            }
            self.tried.borrow_mut().push(other.name().to_owned());
            if self.shelf.evict(other.name()).await {
                let message = format!(
                    "removed {} from the cache, to make room for {}",
                    other.describe(),
                    self.name
                );
                self.events.warning(&Failure::new("evicted", message));
                return true;
            }
        }
        false
    }

    /// Warns that there is no room, and says what would help.
    pub async fn tell(&self, short: &str) {
        let others = self.shelf.others(self.name).await;
        let list: Vec<String> = others.iter().map(CachedModel::describe).collect();
        let list = list.join(", ");
        let help = match (list.is_empty(), self.quota) {
            (true, _) => "free space on the disk, or leave the private window".to_owned(),
            (false, Quota::Warn) => {
                format!(
                    "`evict: true` may remove other models, or deleteCachedModel one of: {list}"
                )
            }
            (false, Quota::Evict) => format!("close the tabs that use other models: {list}"),
        };
        let message = format!(
            "{short}: what finds no room is held in memory, and downloaded again on the next visit; {help}"
        );
        self.events.warning(&Failure::new("quota", message));
    }
}
