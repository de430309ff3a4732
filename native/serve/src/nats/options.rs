//! How the queue is reached, and how large and patient it is.

use std::path::PathBuf;
use std::time::Duration;

/// How NATS is reached.
#[derive(Debug, Clone, Default)]
pub struct NatsOptions {
    /// `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]` or `tls://...`, several with commas.
    pub servers: String,
    /// A credentials file (JWT and seed).
    pub credentials: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey: Option<PathBuf>,
    /// A PEM file with certificates that servers may be signed by, beside the system's.
    pub root_certificate: Option<PathBuf>,
    /// PEM files of this client's certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name that the server shows for this connection.
    pub name: String,
}

/// How large and patient the queue is.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// The most jobs that wait and run.
    pub jobs: usize,
    /// Copies of everything in a cluster: 1, 3 or 5.
    pub replicas: usize,
    /// How long a worker may be silent before its job is given to another.
    pub ack_wait: Duration,
    /// How many workers get a job that is never finished.
    pub deliveries: usize,
    /// The most jobs of a model that run at once: above the number of its workers.
    pub running: usize,
    /// How long states and inputs are kept.
    pub keep_state: Duration,
    /// How long outputs are kept.
    pub keep_results: Duration,
    /// How long jobs that nobody could do are kept.
    pub keep_dead: Duration,
    /// How long the same message is known: a job that is published again within it is not stored twice.
    pub duplicates: Duration,
    /// How long a worker that says nothing counts as one.
    pub keep_worker: Duration,
}

impl Default for NatsSettings {
    fn default() -> Self {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        Self {
            jobs: 10_000,
            replicas: 1,
            ack_wait: minute / 2,
            deliveries: 3,
            running: 20_000,
            keep_state: hour * 24,
            keep_results: hour,
            keep_dead: hour * 24 * 7,
            duplicates: minute * 2,
            keep_worker: minute / 2,
        }
    }
}

impl NatsSettings {
    /// How long outputs are kept, in milliseconds.
    pub(super) fn keep_results_ms(&self) -> u64 {
        u64::try_from(self.keep_results.as_millis()).unwrap_or(u64::MAX)
    }
}
