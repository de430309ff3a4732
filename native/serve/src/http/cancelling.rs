//! A job that is cancelled when its caller goes away: the future that waits for it is dropped then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::job::JobId;
use crate::queue::Queue;

/// Cancels a job when it is dropped, unless the job is done.
pub struct Cancelling {
    queue: Arc<dyn Queue>,
    id: JobId,
    done: AtomicBool,
}

impl Cancelling {
    /// For this job; one that shall be kept is never cancelled.
    pub(super) fn new(queue: Arc<dyn Queue>, id: JobId, keep: bool) -> Self {
        Self {
            queue,
            id,
            done: AtomicBool::new(keep),
        }
    }

    /// There is no such job.
    pub(super) fn nothing_to_cancel(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// The job is over.
    pub fn done(self) {
        self.nothing_to_cancel();
    }
}

impl Drop for Cancelling {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        let (false, Ok(runtime)) = (self.done.load(Ordering::Relaxed), runtime) else {
            return;
        };
        let (queue, id) = (self.queue.clone(), self.id);
        runtime.spawn(async move {
            tracing::info!(job = %id, "its caller went away: cancelled");
            if let Err(failure) = queue.cancel(id).await {
                tracing::warn!(job = %id, %failure, "could not be cancelled");
            }
        });
    }
}
