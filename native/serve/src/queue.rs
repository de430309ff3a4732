//! The queue of jobs: in memory for one process, in NATS JetStream between machines. Routes know only this.

pub mod memory;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::inputs::Inputs;
use crate::job::{Event, Failure, InputId, JobId, JobState, Order};
use crate::models::ModelFacts;

/// A future of a queue.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A job that is handed to a queue.
pub struct Submission {
    /// Its name.
    pub id: JobId,
    /// What is ordered. Its model and its seed are given.
    pub order: Order,
    /// Where its inputs are.
    pub inputs: Arc<Inputs>,
}

/// A job as it stands now, and what it tells from now on.
pub struct Watch {
    /// As it stands.
    pub state: JobState,
    /// What it tells; nothing comes after the status of a job that is over.
    pub events: broadcast::Receiver<Event>,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// The most that may wait.
    pub limit: usize,
    /// Devices that work.
    pub devices: usize,
    /// Seconds of a device for a job, measured over the last ones; 0 before the first.
    pub seconds: f64,
}

impl Load {
    /// Seconds until a place in the queue is free.
    pub fn retry_after(&self) -> f64 {
        let each = if self.seconds > 0.0 {
            self.seconds
        } else {
            1.0
        };
        (each / self.devices.max(1) as f64).clamp(0.05, 600.0)
    }
}

/// A device that takes jobs.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Worker {
    /// Its name: the device's id, with the host's in front where there are several.
    pub name: String,
    /// The device's id.
    pub device: String,
    /// What the device is.
    pub description: String,
    /// Names of the models that it takes jobs for.
    pub models: Vec<String>,
    /// What each of them reads, and its defaults.
    #[serde(default)]
    pub facts: BTreeMap<String, ModelFacts>,
    /// Names of the models that are on it now.
    pub loaded: Vec<String>,
    /// Bytes of weights on it.
    pub memory: u64,
    /// Whether it works; one whose device was lost does not.
    pub up: bool,
    /// The version of its program.
    pub version: String,
}

/// The queue of jobs.
pub trait Queue: Send + Sync {
    /// Takes a job.
    ///
    /// Errors: [`crate::job::Code::QueueFull`] with the seconds to wait, [`crate::job::Code::Unavailable`].
    fn submit(&self, job: Submission) -> Answer<'_, Result<JobState, Failure>>;

    /// A job; `None` for one that is not there (any more).
    fn job(&self, id: JobId) -> Answer<'_, Result<Option<JobState>, Failure>>;

    /// The newest jobs, newest first.
    fn jobs(&self, most: usize) -> Answer<'_, Result<Vec<JobState>, Failure>>;

    /// A job as it stands, and what it tells from now on.
    fn watch(&self, id: JobId) -> Answer<'_, Result<Option<Watch>, Failure>>;

    /// Cancels a job: at once if it waits, within one block if it runs; one that is over stays as it is.
    fn cancel(&self, id: JobId) -> Answer<'_, Result<Option<JobState>, Failure>>;

    /// The file of an output.
    fn output(&self, id: JobId, index: usize) -> Answer<'_, Result<Option<Bytes>, Failure>>;

    /// Remembers for a day that a request of this key made a job; `digest` is that of the request. Where the key is
    /// known already, returns the job that it made, and the digest of its request.
    fn remember(
        &self,
        key: &str,
        digest: InputId,
        id: JobId,
    ) -> Answer<'_, Result<Option<(InputId, JobId)>, Failure>>;

    /// Forgets a key whose request made no job.
    fn forget(&self, key: &str) -> Answer<'_, Result<(), Failure>>;

    /// How full it is.
    fn load(&self) -> Answer<'_, Result<Load, Failure>>;

    /// The devices that take jobs.
    fn workers(&self) -> Answer<'_, Result<Vec<Worker>, Failure>>;

    /// Takes no more jobs, and returns when none runs and none waits, or when `limit` is over. Jobs that run then end
    /// cancelled (in memory) or go back to the queue (NATS).
    fn drain(&self, limit: std::time::Duration) -> Answer<'_, ()>;
}
