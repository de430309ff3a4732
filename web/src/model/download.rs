//! Downloads one file into the cache or into memory, and checks its SHA-256.
//!
//! When the cache refuses more bytes, the download goes on in memory: nothing is fetched twice.

use js_sys::Uint8Array;
use sha2::{Digest, Sha256};
use x2i_core::config::FileRecord;

use super::hash;
use super::http::RemoteFile;
use super::memory;
use super::room::Room;
use super::store::{Store, Writer};
use crate::events::Events;
use crate::failure::{Failure, Result};
use crate::js;

/// The most attempts to resume a connection without receiving a byte.
const RETRIES: u32 = 4;
/// Milliseconds before the first attempt; doubled each time.
const FIRST_PAUSE: f64 = 250.0;
/// Bytes of a cached file that are read at a time.
const PIECE: u64 = 4 << 20;

/// The download of one recorded file.
pub struct Download<'a> {
    /// Its path in the model folder.
    pub path: &'a str,
    /// Its length and hash.
    pub record: &'a FileRecord,
    /// The file on the network.
    pub remote: RemoteFile,
    /// Called with the number of bytes so far.
    pub on_bytes: &'a mut dyn FnMut(u64),
    /// Where more room for it may come from.
    pub room: Option<&'a Room<'a>>,
    /// Hears what went wrong and did not stop the download.
    pub events: &'a Events,
}

/// Where a downloaded file is.
pub enum Outcome {
    /// In the store, complete and checked.
    Kept,
    /// In memory, checked.
    Held(Uint8Array),
    /// Nowhere: the store refuses it, and it is too large for memory.
    Refused,
}

/// A download that is running.
struct Run<'a> {
    store: Option<&'a Store>,
    writer: Option<Writer>,
    /// The whole file's place, for a file that can be held.
    memory: Option<Uint8Array>,
    /// Of the bytes so far, where memory does not have them.
    hash: Sha256,
    at: u64,
}

/// Why a connection ended without an error.
enum Ended {
    /// The server closed it.
    Closed,
    /// The file goes on from `Run::at`: in memory, or in the store, which has got room.
    Elsewhere,
    Refused,
}

impl Download<'_> {
    /// Downloads the file: into the store, where there is one and it takes the file, else into memory.
    /// Goes on with what an earlier visit kept. Bytes that are not the recorded ones are removed, and
    /// downloaded once more past the browser's own cache.
    ///
    /// # Errors
    /// `integrity` when they are wrong again; those of the network.
    pub async fn run(&mut self, store: Option<&Store>) -> Result<Outcome> {
        match self.attempt(store).await {
            Err(failure) if failure.code == "integrity" => {
                let message = format!("{}; it is downloaded again", failure.message);
                self.events.warning(&Failure::new("damaged", message));
                self.remote = self.remote.clone().fresh();
                self.attempt(store).await
            }
            other => other,
        }
    }

    async fn attempt(&mut self, store: Option<&Store>) -> Result<Outcome> {
        let bytes = self.record.bytes;
        let held = store.is_none() || bytes <= hash::HELD;
        let mut run = Run {
            store,
            writer: None,
            memory: held.then(|| memory::place(bytes)).flatten(),
            hash: Sha256::new(),
            at: 0,
        };
        if held && run.memory.is_none() {
            return Ok(Outcome::Refused);
        }
        if let Err(failure) = self.resume(&mut run).await
            && !self.make_room(&mut run, &failure).await
            && !self.leave_store(&mut run, &failure).await
        {
            return Ok(Outcome::Refused);
        }
        loop {
            let streamed = self.stream(&mut run).await;
            let finished = match run.writer.take() {
                Some(writer) => writer.finish().await,
                None => Ok(()),
            };
            if let Ended::Refused = streamed? {
                return Ok(Outcome::Refused);
            }
            match finished {
                Ok(()) => return self.settle(run).await,
                Err(failure) => {
                    let has_room = self.make_room(&mut run, &failure).await;
                    if !has_room && !self.leave_store(&mut run, &failure).await {
                        return Ok(Outcome::Refused);
                    }
                }
            }
        }
    }

    /// Opens the file in the store, and takes what is there already.
    async fn resume(&mut self, run: &mut Run<'_>) -> Result<()> {
        (run.at, run.hash) = (0, Sha256::new());
        let (Some(store), key) = (run.store, &self.record.sha256) else {
            return Ok(());
        };
        store.unmark(key).await;
        // A complete file without its mark may be damaged.
        if store.len(key).await >= self.record.bytes {
            store.remove(key).await?;
        }
        let kept = store.len(key).await;
        if kept > 0 {
            let reader = store.reader(key).await?;
            match &run.memory {
                Some(memory) => {
                    let bytes = reader.read(0..kept).await?;
                    memory.set(&bytes, 0);
                }
                None => hash::update(&mut run.hash, &reader, kept, &mut *self.on_bytes).await?,
            }
            (self.on_bytes)(kept);
        }
        run.writer = Some(store.append(key).await?);
        run.at = kept;
        Ok(())
    }

    /// Goes on in the store after others made room there; false where they have none.
    async fn make_room(&mut self, run: &mut Run<'_>, failure: &Failure) -> bool {
        run.writer = None;
        let (full, at) = (failure.code == "quota", run.at);
        while let (true, Some(room)) = (full, self.room)
            && room.make().await
        {
            if self.resume(run).await.is_ok() {
                return true;
            }
        }
        run.at = at;
        false
    }

    /// Goes on in memory; false for a file that is too large for it.
    async fn leave_store(&self, run: &mut Run<'_>, failure: &Failure) -> bool {
        let path = self.path;
        match (failure.code, self.room) {
            ("quota", Some(room)) => {
                room.tell(&format!("the browser has no room for {path}"))
                    .await
            }
            (code, _) => {
                let message = format!("{path} is not kept for the next visit: {}", failure.message);
                self.events.warning(&Failure::new(code, message));
            }
        }
        run.writer = None;
        let Some(store) = run.store.take() else {
            return true;
        };
        let key = &self.record.sha256;
        if run.memory.is_none() {
            run.memory = memory::place(self.record.bytes);
            // What the store did not take after all is downloaded again.
            run.at = run.at.min(store.len(key).await);
            let moved = match &run.memory {
                Some(memory) => copy(store, key, run.at, memory).await,
                None => Err(Failure::aborted()),
            };
            run.at = if moved.is_ok() { run.at } else { 0 };
        }
        // An incomplete file is useless when the disk is full.
        let _ = store.remove(key).await;
        run.memory.is_some()
    }

    /// Streams to the end; resumes a broken connection.
    async fn stream(&mut self, run: &mut Run<'_>) -> Result<Ended> {
        let end = self.record.bytes;
        let mut failures = 0;
        while run.at < end {
            let before = run.at;
            match self.stream_once(run).await {
                Ok(Ended::Closed) if run.at >= end => break,
                Ok(Ended::Elsewhere) => {}
                Ok(Ended::Refused) => return Ok(Ended::Refused),
                Err(failure) if failure.code != "network" => return Err(failure),
                broken => {
                    failures = if run.at > before { 1 } else { failures + 1 };
                    if failures > RETRIES {
                        let url = self.remote.shown();
                        let ended = format!("{url}: the connection ended early");
                        let ended = Failure::new("network", ended);
                        return Err(broken.err().unwrap_or(ended));
                    }
                    js::pause(FIRST_PAUSE * f64::from(1 << (failures - 1))).await;
                }
            }
        }
        Ok(Ended::Closed)
    }

    async fn stream_once(&mut self, run: &mut Run<'_>) -> Result<Ended> {
        let end = self.record.bytes;
        let range = (run.at > 0).then_some(run.at..end);
        let mut body = self.remote.body(range).await?;
        while let Some(chunk) = body.next().await? {
            let length = u64::from(chunk.length());
            if length > end - run.at {
                body.cancel();
                return Err(self.differs(format!("is longer than the {end} bytes recorded")));
            }
            match &run.memory {
                Some(memory) => memory.set(&chunk, run.at as u32), // at most 1 GiB
                None => run.hash.update(chunk.to_vec()),
            }
            let was_held = run.memory.is_some();
            if let Some(writer) = &mut run.writer
                && let Err(failure) = writer.write(&chunk).await
            {
                let has_room = self.make_room(run, &failure).await;
                let goes_on = has_room || self.leave_store(run, &failure).await;
                if has_room || !was_held {
                    body.cancel();
                    return Ok(match goes_on {
                        true => Ended::Elsewhere,
                        false => Ended::Refused,
                    });
                }
            }
            run.at += length;
            (self.on_bytes)(run.at);
        }
        Ok(Ended::Closed)
    }

    /// Checks the hash, and marks a kept file as complete.
    async fn settle(&self, mut run: Run<'_>) -> Result<Outcome> {
        let found = match &run.memory {
            Some(memory) => hash::of_bytes(memory).await,
            None => hex::encode(std::mem::take(&mut run.hash).finalize()),
        };
        let recorded = &self.record.sha256;
        if found != *recorded {
            if let Some(store) = run.store {
                let _ = store.remove(recorded).await;
            }
            return Err(self.differs(format!(
                "has the SHA-256 {found}, model.json records {recorded}; the download is damaged \
                 or the server's file was changed"
            )));
        }
        if let Some(store) = run.store {
            let mut marked = store.mark_complete(recorded).await;
            // Chromium may take a whole file over the quota, and refuse the next byte.
            while let (Err(failure), Some(room)) = (&marked, self.room)
                && failure.code == "quota"
                && room.make().await
            {
                marked = store.mark_complete(recorded).await;
            }
            match marked {
                Ok(()) => return Ok(Outcome::Kept),
                Err(failure) => self.leave_store(&mut run, &failure).await,
            };
        }
        Ok(run.memory.map_or(Outcome::Refused, Outcome::Held))
    }

    fn differs(&self, reason: String) -> Failure {
        let (path, url) = (self.path, self.remote.shown());
        Failure::new("integrity", format!("{path} ({url}) {reason}"))
    }
}

/// Copies the first bytes of a stored file into memory.
async fn copy(store: &Store, key: &str, bytes: u64, memory: &Uint8Array) -> Result<()> {
    let reader = store.reader(key).await?;
    let mut at = 0;
    while at < bytes {
        let end = (at + PIECE).min(bytes);
        let bytes = reader.read(at..end).await?;
        memory.set(&bytes, at as u32); // at most 1 GiB
        at = end;
    }
    Ok(())
}
