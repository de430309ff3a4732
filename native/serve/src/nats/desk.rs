//! The desk of a worker: studios take jobs from NATS and put what becomes of them there.
//!
//! Threads of studios call it and wait; all that talks to NATS runs on the runtime. Each job has a task (the keeper) that
//! alone changes its record, and one that tells the server that somebody works on it.

mod announcer;
mod answering;
mod beat;
mod claim;
mod keeper;
mod locking;
mod running;
mod shared;
mod taking;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::stores::Stores;
use super::{names, objects};
use crate::inputs::Inputs;
use crate::job::{Failure, JobId, Output};
use crate::measure;
use crate::queue::Worker;
use crate::studio::{Desk, News, Task};
use announcer::Announcer;
use running::{Heard, Running};
use shared::Shared;
use taking::Taking;

/// For how long a finished file is offered to a server that does not take it.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long jobs that are given back may take to end: within one block of each device.
const END: Duration = Duration::from_secs(10);

/// The desk over NATS JetStream.
pub struct NatsDesk {
    runtime: Handle,
    shared: Arc<Shared>,
    taking: Taking,
    announcer: Announcer,
}

impl NatsDesk {
    /// A desk for studios of this process, on the runtime that calls it.
    ///
    /// # Errors
    /// When the consumers of the models can't be made.
    pub async fn new(
        stores: Stores,
        inputs: Arc<Inputs>,
        models: impl Iterator<Item = &str>,
    ) -> Result<Self, Failure> {
        let mut consumers = HashMap::new();
        for model in models {
            consumers.insert(model.to_owned(), stores.consumer(model).await?);
        }
        let keep = stores.settings.keep_worker;
        let announcer = Announcer::start(stores.workers.clone(), keep);
        let taking = Taking::new(stores.session.clone(), consumers);
        let shared = Shared::new(stores, inputs);
        let (runtime, shared) = (Handle::current(), Arc::new(shared));
        Ok(Self {
            runtime,
            shared,
            taking,
            announcer,
        })
    }

    /// Takes no more jobs, and waits until none runs. Those that run when `limit` is over go back to the queue at once.
    pub async fn drain(&self, limit: Duration) {
        self.shared.stopped.send_replace(true);
        let begun = Instant::now();
        self.idle_within(begun + limit).await;
        for running in self.shared.running().values() {
            running.give_back();
        }
        self.idle_within(Instant::now() + END).await;
        self.announcer.leave().await;
        let _ = self.shared.stores.session.flush().await; // nothing to do where the server is away
    }

    /// How many jobs run here.
    pub fn running(&self) -> usize {
        self.shared.running().len() + self.shared.deciding.load(Ordering::Relaxed)
    }

    /// The devices of this process.
    pub fn workers(&self) -> Vec<Worker> {
        self.announcer.workers()
    }

    /// True when no more jobs are taken.
    pub fn is_stopped(&self) -> bool {
        *self.shared.stopped.borrow()
    }

    async fn idle_within(&self, until: Instant) {
        while self.running() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The next job; `None` at the end.
    async fn next(&self, worker: &Worker) -> Option<Task> {
        let mut stopped = self.shared.stopped.subscribe();
        while !self.is_stopped() {
            let taken = self.taking.next(worker, &mut stopped).await;
            let message = match taken {
                Ok(message) => message,
                Err(failure) => {
                    tracing::warn!(worker = worker.name, %failure, "no job can be taken now");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
            let Some(message) = message else { continue };
            let _deciding = Deciding::begin(&self.shared);
            if let Some(task) = claim::claim(&self.shared, message, worker).await {
                return Some(task);
            }
        }
        None
    }

    /// Tells a job's keeper what may not be lost; waits for it.
    fn hear(&self, job: JobId, heard: Heard) {
        let sender = self.shared.running().get(&job).map(Running::sender);
        if let Some(sender) = sender {
            let _ = self.runtime.block_on(sender.send(heard)); // the keeper is gone where the job was given back
        }
    }

    /// Stores a finished file; waits for a server that is away.
    async fn store(&self, job: JobId, output: &Output, file: &[u8]) -> Result<(), Failure> {
        let (results, name) = (
            &self.shared.stores.results,
            names::output(job, &output.sha256),
        );
        let fresh = self.shared.stores.settings.keep_results / 2;
        let begun = Instant::now();
        loop {
            let mut bytes = file;
            let Err(failure) = objects::put(results, &name, fresh, &mut bytes).await else {
                return Ok(());
            };
            let wanted = self.shared.running().get(&job).is_some_and(|running| {
                running.alive();
                !running.is_cancelled()
            });
            if !wanted || begun.elapsed() > PATIENCE {
                return Err(failure);
            }
            tracing::warn!(%job, %failure, "the output is offered again");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

impl Desk for NatsDesk {
    fn take(&self, worker: &Worker) -> Option<Task> {
        self.runtime.block_on(self.next(worker))
    }

    fn tell(&self, job: JobId, news: News) {
        match news {
            News::Progress(_) | News::Preview(_) => {
                if let Some(running) = self.shared.running().get(&job) {
                    running.offer(news);
                }
            }
            news => self.hear(job, Heard::News(news)),
        }
    }

    fn output(&self, job: JobId, output: Output, file: Vec<u8>) {
        let stored = self.runtime.block_on(self.store(job, &output, &file));
        self.hear(
            job,
            match stored {
                Ok(()) => Heard::Output(output),
                Err(failure) => Heard::Failed(failure),
            },
        );
    }

    fn over(&self, job: JobId, outcome: Result<(), Failure>) {
        self.hear(job, Heard::Over(outcome));
    }

    fn worker(&self, worker: Worker) {
        measure::worker(&worker);
        self.announcer.announce(worker, self.shared.seconds());
    }
}

/// A thread that decides what to do with a message.
struct Deciding<'a>(&'a Shared);

impl<'a> Deciding<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.deciding.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Deciding<'_> {
    fn drop(&mut self) {
        self.0.deciding.fetch_sub(1, Ordering::Relaxed);
    }
}
