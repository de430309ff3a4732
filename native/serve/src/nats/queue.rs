//! The queue as a gateway's routes see it. A gateway keeps nothing: any other answers the same.

mod submitting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::connection::Session;
use super::options::NatsSettings;
use super::record::Stored;
use super::refusal::unavailable;
use super::roster::Roster;
use super::stores::{Stores, Upkeep};
use super::wire::Told;
use super::{dead, names, objects, record, watching};
use crate::job::{Code, Failure, InputId, JobId, JobState, Status};
use crate::measure;
use crate::queue::{Answer, Load, Queue, Submission, Watch, Worker};

/// How long a count of jobs is used again.
const COUNTED: Duration = Duration::from_millis(500);
/// States that are read at once for a list.
const READS: usize = 32;

/// The queue over NATS JetStream.
pub struct NatsQueue {
    stores: Stores,
    roster: Roster,
    burier: AbortHandle,
    closed: AtomicBool,
    /// Cloned by everyone who watches a job.
    watched: Arc<()>,
    counted: Mutex<Option<(Instant, Load)>>,
}

impl NatsQueue {
    /// Opens the queue, and makes what is not there.
    ///
    /// # Errors
    /// As [`Stores::open`].
    pub async fn open(session: Session, settings: NatsSettings) -> Result<Self, Failure> {
        let stores = Stores::open(session, settings, Upkeep::Gateway).await?;
        let roster = Roster::start(stores.workers.clone(), stores.settings.keep_worker).await?;
        let burier = tokio::spawn(dead::bury_all(stores.clone())).abort_handle();
        Ok(Self {
            stores,
            roster,
            burier,
            closed: AtomicBool::new(false),
            watched: Arc::default(),
            counted: Mutex::default(),
        })
    }

    /// True while NATS is there.
    pub fn is_connected(&self) -> bool {
        self.stores.session.is_connected()
    }

    async fn counted(&self) -> Result<Load, Failure> {
        let mut counted = self.counted.lock().await;
        if let Some((at, load)) = *counted
            && at.elapsed() < COUNTED
        {
            return Ok(load);
        }
        self.stores.session.here(Duration::ZERO).await?;
        let info = self.stores.jobs.get_info().await;
        let info = info.map_err(|error| unavailable(names::JOBS, error))?;
        let all = usize::try_from(info.state.messages).unwrap_or(usize::MAX);
        let running = self.stores.running().await?.min(all);
        let workers = self.roster.workers();
        let up: Vec<_> = workers
            .iter()
            .filter(|announced| announced.worker.up)
            .collect();
        let measured = up
            .iter()
            .map(|announced| announced.seconds)
            .filter(|seconds| *seconds > 0.0);
        let (count, sum) = measured.fold((0_usize, 0.0), |(count, sum), seconds| {
            (count + 1, sum + seconds)
        });
        let load = Load {
            waiting: all - running,
            running,
            limit: usize::try_from(info.config.max_messages).unwrap_or(usize::MAX),
            devices: up.len(),
            seconds: sum / count.max(1) as f64,
        };
        *counted = Some((Instant::now(), load));
        Ok(load)
    }

    async fn state_now(&self, id: JobId) -> Result<Option<JobState>, Failure> {
        let Some(stored) = record::read(&self.stores.state, id).await? else {
            return Ok(None);
        };
        Ok(Some(self.placed(stored).await))
    }

    /// The state with how many jobs of its model were there before it: cancelled ones among them count.
    async fn placed(&self, stored: Stored) -> JobState {
        let mut state = stored.record.state;
        if state.status == Status::Queued {
            let consumer = self
                .stores
                .jobs
                .consumer_info(names::consumer(&state.model))
                .await;
            state.queue_position = consumer.ok().map(|info| {
                let behind = stored
                    .record
                    .sequence
                    .saturating_sub(info.delivered.stream_sequence);
                let most = info.num_pending.min(behind).saturating_sub(1);
                usize::try_from(most).unwrap_or(usize::MAX)
            });
        }
        state
    }

    async fn newest(&self, most: usize) -> Result<Vec<JobState>, Failure> {
        let refused = |error: &dyn std::fmt::Display| unavailable("the list of jobs", error);
        let keys = self
            .stores
            .state
            .keys()
            .await
            .map_err(|error| refused(&error))?;
        let keys: Vec<String> = keys.try_collect().await.map_err(|error| refused(&error))?;
        let mut ids: Vec<JobId> = keys.iter().filter_map(|key| key.parse().ok()).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a)); // names are in the order of time
        ids.truncate(most);
        let reads = ids
            .into_iter()
            .map(|id| record::read(&self.stores.state, id));
        let records: Vec<_> = futures_util::stream::iter(reads)
            .buffered(READS)
            .collect()
            .await;
        let mut readable = vec![];
        for record in records {
            match record {
                Ok(record) => readable.extend(record),
                // One that can't be read hides no other.
                Err(failure) if failure.code == Code::Internal => {
                    tracing::warn!(%failure, "left out")
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(readable
            .into_iter()
            .map(|stored| stored.record.state)
            .collect())
    }

    async fn cancel_now(&self, id: JobId) -> Result<Option<JobState>, Failure> {
        let keep = self.stores.settings.keep_results_ms();
        let changed = record::change(&self.stores.state, id, |record| match record.state.status {
            Status::Queued => {
                record.end(Err(Failure::new(Code::Canceled, "cancelled")), keep);
                true
            }
            Status::Running => {
                record.state.status = Status::Canceling;
                true
            }
            _ => false,
        });
        let Some((stored, changed)) = changed.await? else {
            return Ok(None);
        };
        let state = stored.record.state;
        if state.status == Status::Canceled && changed {
            measure::over(&state.model, state.status);
            let purged = self
                .stores
                .jobs
                .purge()
                .filter(names::job(&state.model, id))
                .await;
            if let Err(error) = purged {
                // A worker that gets it reads that it is over.
                tracing::warn!(job = %id, %error, "is cancelled, but still in the queue");
            }
        }
        let client = &self.stores.session.client;
        if changed {
            let told = Told::Status(Box::new(state.clone())).json();
            let _ = client.publish(names::progress(id), told).await; // watchers read the state too
        }
        if state.status == Status::Canceling {
            // Told again with every call: a worker reads the state once a second too.
            let _ = client.publish(names::cancel(id), Bytes::new()).await;
        }
        Ok(Some(state))
    }

    async fn output_now(&self, id: JobId, index: usize) -> Result<Option<Bytes>, Failure> {
        let Some(stored) = record::read(&self.stores.state, id).await? else {
            return Ok(None);
        };
        let outputs = &stored.record.state.outputs;
        let Some(output) = outputs.iter().find(|output| output.index == index) else {
            return Ok(None);
        };
        let name = names::output(id, &output.sha256);
        objects::whole(&self.stores.results, &name, output.bytes, &output.sha256).await
    }

    async fn remember_now(
        &self,
        key: String,
        digest: InputId,
        id: JobId,
    ) -> Result<Option<(InputId, JobId)>, Failure> {
        use async_nats::jetstream::kv::CreateErrorKind;
        let refused = |error: &dyn std::fmt::Display| unavailable("the keys of requests", error);
        let value = serde_json::to_vec(&(&digest, id));
        let value = value.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        match self.stores.keys.create(&key, value.into()).await {
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(&error)),
        }
        let known = self
            .stores
            .keys
            .get(&key)
            .await
            .map_err(|error| refused(&error))?;
        Ok(known.and_then(|known| serde_json::from_slice(&known).ok()))
    }

    async fn drain_now(&self, limit: Duration) {
        self.closed.store(true, Ordering::Relaxed);
        // Jobs are safe in the queue; only those who watch one here still need this process.
        let begun = Instant::now();
        while Arc::strong_count(&self.watched) > 1 && begun.elapsed() < limit {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = self.stores.session.flush().await; // nothing to do where the server is away
    }
}

impl Drop for NatsQueue {
    fn drop(&mut self) {
        self.burier.abort();
    }
}

impl Queue for NatsQueue {
    fn submit(&self, job: Submission) -> Answer<'_, Result<JobState, Failure>> {
        Box::pin(self.submit_now(job))
    }

    fn job(&self, id: JobId) -> Answer<'_, Result<Option<JobState>, Failure>> {
        Box::pin(self.state_now(id))
    }

    fn jobs(&self, most: usize) -> Answer<'_, Result<Vec<JobState>, Failure>> {
        Box::pin(self.newest(most))
    }

    fn watch(&self, id: JobId) -> Answer<'_, Result<Option<Watch>, Failure>> {
        Box::pin(watching::watch(&self.stores, id, self.watched.clone()))
    }

    fn cancel(&self, id: JobId) -> Answer<'_, Result<Option<JobState>, Failure>> {
        Box::pin(self.cancel_now(id))
    }

    fn output(&self, id: JobId, index: usize) -> Answer<'_, Result<Option<Bytes>, Failure>> {
        Box::pin(self.output_now(id, index))
    }

    fn remember(
        &self,
        key: &str,
        digest: InputId,
        id: JobId,
    ) -> Answer<'_, Result<Option<(InputId, JobId)>, Failure>> {
        // Any text is a key; its hash is a name.
        let key = InputId::of(key.as_bytes()).to_string();
        Box::pin(self.remember_now(key, digest, id))
    }

    fn forget(&self, key: &str) -> Answer<'_, Result<(), Failure>> {
        let key = InputId::of(key.as_bytes()).to_string();
        Box::pin(async move {
            let forgotten = self.stores.keys.purge(&key).await;
            forgotten.map_err(|error| unavailable("the keys of requests", error))
        })
    }

    fn load(&self) -> Answer<'_, Result<Load, Failure>> {
        measure::nats(self.is_connected());
        Box::pin(self.counted())
    }

    fn workers(&self) -> Answer<'_, Result<Vec<Worker>, Failure>> {
        let workers = self
            .roster
            .workers()
            .into_iter()
            .map(|announced| announced.worker)
            .collect();
        Box::pin(async { Ok(workers) })
    }

    fn drain(&self, limit: Duration) -> Answer<'_, ()> {
        Box::pin(self.drain_now(limit))
    }
}
