//! Downloads one file into the cache or into memory, and checks its SHA-256.

use sha2::{Digest, Sha256};
use x2i_core::config::FileRecord;

use super::http::RemoteFile;
use super::store::{Store, Writer};
use crate::failure::{Failure, Result};
use crate::js;

/// The most attempts to resume a connection without receiving a byte.
const RETRIES: u32 = 4;
/// Milliseconds before the first attempt; doubled each time.
const FIRST_PAUSE: f64 = 250.0;
/// Bytes of a cached file that are hashed at a time.
const HASH_PIECE: u64 = 4 << 20;

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
}

impl Download<'_> {
    /// Downloads the file into the store; resumes a download of an earlier visit.
    ///
    /// # Errors
    /// `network`, `missing-file`, `aborted`; `integrity` when the bytes are not the recorded ones
    /// (they are removed); `quota` or `cache-unavailable` when the store fails.
    pub async fn keep(&mut self, store: &Store) -> Result<()> {
        let key = &self.record.sha256;
        if store.len(key).await > self.record.bytes {
            store.remove(key).await;
        }
        let mut hash = Sha256::new();
        let kept = self.hash_kept(store, &mut hash).await?;
        let mut writer = store.append(key).await?;
        let streamed = self
            .stream(kept, &mut hash, &mut Sink::Store(&mut writer))
            .await;
        writer.finish().await?;
        streamed?;
        if let Err(failure) = self.check(hash) {
            store.remove(key).await;
            return Err(failure);
        }
        store.mark_complete(key).await
    }

    /// Downloads the file into memory.
    ///
    /// # Errors
    /// As [`keep`](Self::keep), without those of the store.
    pub async fn hold(&mut self) -> Result<Vec<u8>> {
        let mut hash = Sha256::new();
        let mut bytes = Vec::new();
        self.stream(0, &mut hash, &mut Sink::Memory(&mut bytes))
            .await?;
        self.check(hash)?;
        Ok(bytes)
    }

    async fn hash_kept(&mut self, store: &Store, hash: &mut Sha256) -> Result<u64> {
        let kept = store.len(&self.record.sha256).await;
        let mut at = 0;
        while at < kept {
            let end = (at + HASH_PIECE).min(kept);
            hash.update(store.read(&self.record.sha256, at..end).await?);
            at = end;
            (self.on_bytes)(at);
        }
        Ok(kept)
    }

    /// Streams from `start` to the end; resumes a broken connection.
    async fn stream(&mut self, start: u64, hash: &mut Sha256, sink: &mut Sink<'_>) -> Result<()> {
        let (mut at, end) = (start, self.record.bytes);
        let mut failures = 0;
        while at < end {
            let before = at;
            match self.stream_once(&mut at, hash, sink).await {
                Ok(()) if at >= end => break,
                Err(failure) if failure.code != "network" => return Err(failure),
                broken => {
                    failures = if at > before { 1 } else { failures + 1 };
                    if failures > RETRIES {
                        let ended = Failure::new(
                            "network",
                            format!("{}: the connection ended early", self.remote.url()),
                        );
                        return Err(broken.err().unwrap_or(ended));
                    }
                    js::pause(FIRST_PAUSE * f64::from(1 << (failures - 1))).await;
                }
            }
        }
        Ok(())
    }

    async fn stream_once(
        &mut self,
        at: &mut u64,
        hash: &mut Sha256,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        let end = self.record.bytes;
        let range = (*at > 0).then_some(*at..end);
        let mut body = self.remote.body(range).await?;
        while let Some(chunk) = body.next().await? {
            let left = usize::try_from(end - *at).unwrap_or(usize::MAX);
            if chunk.len() > left {
                body.cancel();
                return Err(self.differs(format!("is longer than the {end} bytes recorded")));
            }
            hash.update(&chunk);
            sink.write(&chunk).await?;
            *at += chunk.len() as u64;
            (self.on_bytes)(*at);
        }
        Ok(())
    }

    fn check(&self, hash: Sha256) -> Result<()> {
        let found = hex::encode(hash.finalize());
        if found == self.record.sha256 {
            return Ok(());
        }
        let recorded = &self.record.sha256;
        Err(self.differs(format!(
            "has the SHA-256 {found}, model.json records {recorded}; the download is damaged or \
             the server's file was changed"
        )))
    }

    fn differs(&self, reason: String) -> Failure {
        Failure::new("integrity", format!("{}: {reason}", self.path))
    }
}

enum Sink<'a> {
    Store(&'a mut Writer),
    Memory(&'a mut Vec<u8>),
}

impl Sink<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Store(writer) => writer.write(bytes).await,
            Self::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}
