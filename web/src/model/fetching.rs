//! Gets the recorded files of a model, each by one tab: the others wait, and read what it stored.

use std::sync::Arc;

use futures_util::future::{Either, select};
use js_sys::Uint8Array;
use x2i_core::config::FileRecord;

use super::download::{Download, Outcome};
use super::http::RemoteFile;
use super::locks::{Lock, Mode};
use super::room::Room;
use super::store::Store;
use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::js;

/// Milliseconds between two looks at a file that another tab downloads.
const LOOK: f64 = 200.0;
/// Looks, a minute of them, in which such a file must grow; then we download it ourselves.
const PATIENCE: u32 = 300;

/// One recorded file that is wanted.
pub struct Wanted<'a> {
    /// Its path in the model folder.
    pub path: &'a str,
    /// Its length and hash.
    pub record: &'a FileRecord,
    /// The file on the network; none where the caller named no URL for it.
    pub remote: Result<RemoteFile>,
    /// Bytes of the files before it, and of all.
    pub totals: (u64, u64),
    /// Hears the progress.
    pub events: &'a Events,
}

/// Where a wanted file is.
pub enum Got {
    /// In the store; it stays as long as the lock is held.
    Stored(Arc<Lock>),
    /// In memory.
    Held(Uint8Array),
    /// On the network: too large for memory.
    Remote,
}

impl Wanted<'_> {
    /// Gets the file: from the store, or by a download into it, where there is room.
    ///
    /// # Errors
    /// Those of the download.
    pub async fn keep(&self, store: &Store, room: Option<&Room<'_>>) -> Result<Got> {
        let key = &self.record.sha256;
        loop {
            let Some(reading) = self.patiently(store, Mode::Shared).await else {
                return self.without_store().await;
            };
            if store.is_complete(key, self.record.bytes).await {
                self.tell(self.record.bytes, true);
                return Ok(Got::Stored(Arc::new(reading)));
            }
            drop(reading);
            let Some(writing) = self.patiently(store, Mode::Exclusive).await else {
                return self.without_store().await;
            };
            // The last one who had the lock may have stored it.
            if store.is_complete(key, self.record.bytes).await {
                continue;
            }
            let missing = self.record.bytes - store.len(key).await.min(self.record.bytes);
            if room.is_some_and(|room| !room.take(missing)) {
                let _ = store.remove(key).await;
                drop(writing);
                return self.hold().await;
            }
            let got = self.download(Some(store), room).await?;
            drop(writing);
            // A stored file is now read under a lock for readers, which may wait for the next writer.
            if !matches!(got, Got::Stored(_)) {
                return Ok(got);
            }
        }
    }

    /// Downloads the file into memory.
    ///
    /// # Errors
    /// Those of the download.
    pub async fn hold(&self) -> Result<Got> {
        self.download(None, None).await
    }

    async fn without_store(&self) -> Result<Got> {
        let path = self.path;
        let message = format!(
            "another tab holds {path} and its download does not move; it is downloaded here, and not \
             kept for the next visit"
        );
        self.events
            .warning(&Failure::new("cache-unavailable", message));
        self.hold().await
    }

    async fn download(&self, store: Option<&Store>, room: Option<&Room<'_>>) -> Result<Got> {
        self.tell(0, false);
        let mut on_bytes = |done| self.tell(done, false);
        let mut download = Download {
            path: self.path,
            record: self.record,
            remote: self.remote.clone()?,
            on_bytes: &mut on_bytes,
            room,
            events: self.events,
        };
        Ok(match download.run(store).await? {
            Outcome::Kept => Got::Stored(Arc::new(Lock::none())),
            Outcome::Held(bytes) => Got::Held(bytes),
            Outcome::Refused => Got::Remote,
        })
    }

    /// Waits for a lock as long as the file grows, and tells how far another tab is; `None` when it does
    /// not move.
    async fn patiently(&self, store: &Store, mode: Mode) -> Option<Lock> {
        let key = &self.record.sha256;
        let mut waiting = Box::pin(store.lock(key, mode));
        let (mut before, mut looks) = (0, 0);
        loop {
            waiting = match select(waiting, std::pin::pin!(js::pause(LOOK))).await {
                Either::Left((lock, _)) => return Some(lock),
                Either::Right(((), waiting)) => waiting,
            };
            let kept = store.len(key).await;
            if kept != before {
                (before, looks) = (kept, 0);
                self.tell(kept, false);
            } else if looks == PATIENCE {
                return None;
            }
            looks += 1;
        }
    }

    fn tell(&self, done: u64, cached: bool) {
        let (before, total) = self.totals;
        self.events
            .download(self.path, before + done, total, cached);
    }
}
