//! All jobs of the queue in memory: who waits, who runs, who is over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::entry::Entry;
use super::keys::Keys;
use crate::job::{Code, Failure, JobId, JobState, Output, Status, now};
use crate::measure;
use crate::queue::{Load, Watch, Worker};
use crate::studio::{News, Task};

/// How many jobs of a loaded model may be taken before an older one of another model.
const PASSED: usize = 8;
/// How much a new job counts in the mean of seconds.
const NEWEST: f64 = 0.2;

#[derive(Default)]
pub(super) struct Table {
    jobs: HashMap<JobId, Entry>,
    /// The oldest first.
    waiting: VecDeque<JobId>,
    /// In the order in which they ended.
    over: VecDeque<JobId>,
    running: usize,
    workers: BTreeMap<String, Worker>,
    /// The mean of the last jobs' seconds on a device.
    seconds: f64,
    keys: Keys,
    /// No more jobs are taken in.
    closed: bool,
    /// Studios end.
    stopped: bool,
}

impl Table {
    pub(super) fn push(&mut self, entry: Entry) -> JobState {
        let id = entry.state.id;
        self.waiting.push_back(id);
        self.jobs.insert(id, entry);
        self.state(id).expect("it was inserted")
    }

    /// The next job for a worker: the oldest, or one of a model that it has loaded, within limits.
    pub(super) fn take(&mut self, worker: &Worker) -> Option<Task> {
        let at = self.next(worker)?;
        for id in self.waiting.iter().take(at) {
            if let Some(entry) = self.jobs.get_mut(id) {
                entry.passed += 1;
            }
        }
        let id = self.waiting.remove(at)?;
        let entry = self.jobs.get_mut(&id)?;
        self.running += 1;
        let task = entry.begin(&worker.device);
        measure::waited(entry.state.queue_ms());
        Some(task)
    }

    fn next(&self, worker: &Worker) -> Option<usize> {
        let oldest = self.jobs.get(self.waiting.front()?)?;
        if worker.loaded.is_empty() || oldest.passed >= PASSED {
            return Some(0);
        }
        let loaded = |id: &JobId| {
            let model = self.jobs.get(id).map(|entry| &entry.state.model);
            model.is_some_and(|model| worker.loaded.contains(model))
        };
        Some(self.waiting.iter().position(loaded).unwrap_or(0))
    }

    pub(super) fn tell(&mut self, id: JobId, news: News) {
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.tell(news);
        }
    }

    pub(super) fn output(&mut self, id: JobId, output: Output) {
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.output(output);
        }
    }

    pub(super) fn fail(&mut self, id: JobId, failure: Failure) {
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.fail(failure);
        }
    }

    pub(super) fn over(&mut self, id: JobId, outcome: Result<(), Failure>, keep: Duration) {
        let Some(entry) = self.jobs.get_mut(&id) else {
            return;
        };
        entry.end(outcome, milliseconds(keep));
        self.running = self.running.saturating_sub(1);
        let state = &entry.state;
        if let (Status::Succeeded, Some(took)) = (state.status, state.execution_ms()) {
            let took = took as f64 / 1000.0;
            self.seconds = match self.seconds {
                0.0 => took,
                mean => mean + (took - mean) * NEWEST,
            };
        }
        self.over.push_back(id);
    }

    pub(super) fn cancel(&mut self, id: JobId, keep: Duration) -> Option<JobState> {
        let entry = self.jobs.get_mut(&id)?;
        match entry.state.status {
            Status::Queued => {
                self.waiting.retain(|other| *other != id);
                entry.end(
                    Err(Failure::new(Code::Canceled, "cancelled")),
                    milliseconds(keep),
                );
                self.over.push_back(id);
            }
            Status::Running => entry.cancel(),
            _ => {}
        }
        self.state(id)
    }

    pub(super) fn cancel_all(&mut self, keep: Duration) {
        let unfinished = self
            .jobs
            .values()
            .filter(|entry| !entry.state.status.is_over());
        let ids: Vec<_> = unfinished.map(|entry| entry.state.id).collect();
        for id in ids {
            self.cancel(id, keep);
        }
    }

    pub(super) fn state(&self, id: JobId) -> Option<JobState> {
        let mut state = self.jobs.get(&id)?.state.clone();
        if state.status == Status::Queued {
            state.queue_position = self.waiting.iter().position(|other| *other == id);
        }
        Some(state)
    }

    pub(super) fn watch(&self, id: JobId) -> Option<Watch> {
        let state = self.state(id)?;
        Some(self.jobs.get(&id)?.watch(state))
    }

    pub(super) fn newest(&self, most: usize) -> Vec<JobState> {
        let mut ids: Vec<_> = self.jobs.keys().copied().collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter()
            .take(most)
            .filter_map(|id| self.state(id))
            .collect()
    }

    /// Drops jobs that are over: the oldest above `kept`, and those older than `keep`. Returns them with the number of
    /// their outputs.
    pub(super) fn sweep(&mut self, kept: usize, keep: Duration) -> Vec<(JobId, usize)> {
        let now = now();
        let keep = milliseconds(keep);
        let mut dropped = vec![];
        while let Some(id) = self.over.front() {
            let ended = self.jobs.get(id).and_then(|entry| entry.state.completed_at);
            let old = ended.is_none_or(|ended| now.saturating_sub(ended) > keep);
            if !old && self.over.len() <= kept {
                break;
            }
            let outputs = self
                .jobs
                .remove(id)
                .map_or(0, |entry| entry.state.outputs.len());
            dropped.push((*id, outputs));
            self.over.pop_front();
        }
        dropped
    }

    pub(super) fn load(&self, limit: usize) -> Load {
        Load {
            waiting: self.waiting.len(),
            running: self.running,
            limit,
            devices: self.workers.values().filter(|worker| worker.up).count(),
            seconds: self.seconds,
        }
    }

    pub(super) fn keys(&mut self) -> &mut Keys {
        &mut self.keys
    }

    pub(super) fn workers(&self) -> Vec<Worker> {
        self.workers.values().cloned().collect()
    }

    pub(super) fn set_worker(&mut self, worker: Worker) {
        self.workers.insert(worker.name.clone(), worker);
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn stop(&mut self) {
        (self.closed, self.stopped) = (true, true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
