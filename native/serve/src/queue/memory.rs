//! The queue in memory: for one process with its own devices.
//!
//! Jobs and their outputs are lost with the process. Outputs are kept on disk for a while; the queue and the jobs
//! that are over are bounded.

mod entry;
mod keys;
mod table;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;

use super::{Answer, Load, Queue, Submission, Watch, Worker};
use crate::folders;
use crate::job::{Code, Failure, InputId, JobId, JobState, Output};
use crate::measure;
use crate::studio::{Desk, News, Task};
use entry::Entry;
use table::Table;

/// How large the queue is.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// The most jobs that wait.
    pub waiting: usize,
    /// The most jobs that are over and kept.
    pub kept: usize,
    /// How long a job that is over is kept, with its outputs.
    pub keep: Duration,
}

/// The queue in memory. Routes see it as a [`Queue`], studios as a [`Desk`].
pub struct MemoryQueue {
    limits: MemoryLimits,
    /// Finished files, `JOB-NUMBER` each.
    folder: TempDir,
    table: Mutex<Table>,
    /// Told when a job comes, when one is over, and at the end.
    changed: Condvar,
}

impl MemoryQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// When the folder for outputs can't be made.
    pub fn new(limits: MemoryLimits) -> std::io::Result<Self> {
        let folder = folders::private("outputs")?;
        let table = Mutex::new(Table::default());
        Ok(Self {
            limits,
            folder,
            table,
            changed: Condvar::new(),
        })
    }

    /// Ends all studios when they have finished their jobs.
    pub fn close(&self) {
        self.table().stop();
        self.changed.notify_all();
    }

    /// Drops jobs that are over and old.
    pub fn sweep(&self) {
        let dropped = self.table().sweep(self.limits.kept, self.limits.keep);
        for (id, outputs) in dropped {
            for index in 0..outputs {
                let _ = std::fs::remove_file(self.file(id, index)); // the folder goes with the server anyway
            }
        }
    }

    fn file(&self, id: JobId, index: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("{id}-{index}"))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit_now(&self, job: Submission) -> Result<JobState, Failure> {
        let Submission { id, order, inputs } = job;
        let mut table = self.table();
        if table.is_closed() {
            return Err(Failure::new(
                Code::Unavailable,
                "the server stops; ask again later",
            ));
        }
        let load = table.load(self.limits.waiting);
        if load.waiting >= load.limit {
            let seconds = load.retry_after();
            let message = format!(
                "the queue is full ({} jobs wait); ask again in {seconds:.1} s",
                load.waiting
            );
            return Err(Failure {
                retry_after: Some(seconds),
                ..Failure::new(Code::QueueFull, message)
            });
        }
        inputs.hold(order.inputs().map(|input| &input.id))?;
        let state = table.push(Entry::new(id, order, inputs));
        measure::queue(&table.load(self.limits.waiting));
        drop(table);
        self.changed.notify_one();
        Ok(state)
    }

    fn cancel_now(&self, id: JobId) -> Option<JobState> {
        let mut table = self.table();
        let cancelled = table.cancel(id, self.limits.keep);
        drop(table);
        self.changed.notify_all();
        cancelled
    }
}

impl Queue for MemoryQueue {
    fn submit(&self, job: Submission) -> Answer<'_, Result<JobState, Failure>> {
        let state = self.submit_now(job);
        Box::pin(async { state })
    }

    fn job(&self, id: JobId) -> Answer<'_, Result<Option<JobState>, Failure>> {
        let state = self.table().state(id);
        Box::pin(async { Ok(state) })
    }

    fn jobs(&self, most: usize) -> Answer<'_, Result<Vec<JobState>, Failure>> {
        let states = self.table().newest(most);
        Box::pin(async { Ok(states) })
    }

    fn watch(&self, id: JobId) -> Answer<'_, Result<Option<Watch>, Failure>> {
        let watch = self.table().watch(id);
        Box::pin(async { Ok(watch) })
    }

    fn cancel(&self, id: JobId) -> Answer<'_, Result<Option<JobState>, Failure>> {
        let state = self.cancel_now(id);
        Box::pin(async { Ok(state) })
    }

    fn output(&self, id: JobId, index: usize) -> Answer<'_, Result<Option<Bytes>, Failure>> {
        let there = self.table().state(id);
        let there =
            there.is_some_and(|state| state.outputs.iter().any(|output| output.index == index));
        let file = self.file(id, index);
        Box::pin(async move {
            match there {
                true => Ok(tokio::fs::read(file).await.ok().map(Bytes::from)),
                false => Ok(None),
            }
        })
    }

    fn remember(
        &self,
        key: &str,
        digest: InputId,
        id: JobId,
    ) -> Answer<'_, Result<Option<(InputId, JobId)>, Failure>> {
        let known = self.table().keys().remember(key, digest, id);
        Box::pin(async { Ok(known) })
    }

    fn forget(&self, key: &str) -> Answer<'_, Result<(), Failure>> {
        self.table().keys().forget(key);
        Box::pin(async { Ok(()) })
    }

    fn load(&self) -> Answer<'_, Result<Load, Failure>> {
        let load = self.table().load(self.limits.waiting);
        Box::pin(async move { Ok(load) })
    }

    fn workers(&self) -> Answer<'_, Result<Vec<Worker>, Failure>> {
        let workers = self.table().workers();
        Box::pin(async { Ok(workers) })
    }

    fn drain(&self, limit: Duration) -> Answer<'_, ()> {
        self.table().close();
        Box::pin(async move {
            let begun = Instant::now();
            while !self.table().is_idle() && begun.elapsed() < limit {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.table().cancel_all(self.limits.keep);
            // Within one block of each device.
            while !self.table().is_idle() && begun.elapsed() < limit + Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.close();
        })
    }
}

impl Desk for MemoryQueue {
    fn take(&self, worker: &Worker) -> Option<Task> {
        let mut table = self.table();
        loop {
            if let Some(task) = table.take(worker) {
                measure::queue(&table.load(self.limits.waiting));
                return Some(task);
            }
            if table.is_stopped() {
                return None;
            }
            let waited = self.changed.wait(table);
            table = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell(&self, job: JobId, news: News) {
        self.table().tell(job, news);
    }

    fn output(&self, job: JobId, output: Output, file: Vec<u8>) {
        let written = std::fs::write(self.file(job, output.index), file);
        let mut table = self.table();
        match written {
            Ok(()) => table.output(job, output),
            Err(error) => table.fail(
                job,
                Failure::new(Code::Internal, format!("the output can't be kept: {error}")),
            ),
        }
    }

    fn over(&self, job: JobId, outcome: Result<(), Failure>) {
        let mut table = self.table();
        table.over(job, outcome, self.limits.keep);
        measure::queue(&table.load(self.limits.waiting));
        drop(table);
        self.sweep();
    }

    fn worker(&self, worker: Worker) {
        measure::worker(&worker);
        self.table().set_worker(worker);
    }
}
