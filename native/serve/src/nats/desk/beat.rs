//! Tells the server that somebody works on a job, while that is so.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::message::Acker;
use tokio::task::AbortHandle;

use super::locking::lock;
use crate::job::JobId;
use crate::nats::connection::Session;

/// A device that tells nothing for so long hangs; no block and no piece of a file takes as long.
const HANGS: Duration = Duration::from_secs(15 * 60);

/// Signs of life of the thread that works on a job.
#[derive(Clone)]
pub(super) struct Life {
    thread: Weak<()>,
    heard: Arc<Mutex<Instant>>,
}

thread_local! {
    /// Dropped with its thread.
    static THREAD: OnceCell<Arc<()>> = const { OnceCell::new() };
}

impl Life {
    /// Of the thread that calls it.
    pub(super) fn of_this_thread() -> Self {
        let thread = THREAD.with(|thread| Arc::downgrade(thread.get_or_init(Arc::default)));
        Self {
            thread,
            heard: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// It did something.
    pub(super) fn sign(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// Whether it works. A thread that ended may have left a file to the encoder: that tells something soon.
    fn is_there(&self, patience: Duration) -> bool {
        let silent = lock(&self.heard).elapsed();
        silent < patience || (self.thread.strong_count() > 0 && silent < HANGS)
    }
}

/// Beats until it is dropped.
pub(super) struct Beat(AbortHandle);

impl Beat {
    pub(super) fn start(
        job: JobId,
        (acker, session): (Arc<Acker>, Session),
        life: Life,
        ack_wait: Duration,
    ) -> Self {
        let beats = async move {
            loop {
                tokio::time::sleep(ack_wait / 3).await;
                if !life.is_there(ack_wait) {
                    tracing::error!(%job, "the thread of the device is gone or hangs: another worker gets the job");
                    return;
                }
                if session.is_connected()
                    && let Err(error) = acker.ack_with(AckKind::Progress).await
                {
                    tracing::debug!(%job, %error, "a sign of life was not sent");
                }
            }
        };
        Self(tokio::spawn(beats).abort_handle())
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_there_until_it_ends_and_its_last_sign_is_old() {
        let soon = Duration::from_millis(30);
        let (life, ended) = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let life = Life::of_this_thread();
                std::thread::sleep(soon * 2);
                assert!(life.is_there(soon)); // it lives
                life.sign();
                (life, Instant::now())
            });
            thread.join().unwrap()
        });
        if ended.elapsed() < soon / 2 {
            assert!(life.is_there(soon)); // its sign is new
        }
        std::thread::sleep(soon * 2);
        assert!(!life.is_there(soon));
    }
}
