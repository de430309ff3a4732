//! What is stored of a job: its state, and which worker has it. It is changed only by compare-and-set.

use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store, UpdateErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::refusal::unavailable;
use crate::job::{Code, Event, Failure, JobId, JobState, Output, Progress, Status, now};

/// What is stored of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What clients may know.
    pub state: JobState,
    /// The number of its message in the stream.
    #[serde(default)]
    pub sequence: u64,
    /// How often it was given to a worker.
    #[serde(default)]
    pub deliveries: u64,
    /// How often of these a worker gave it back because it stopped.
    #[serde(default)]
    pub returned: u64,
    /// The worker that has it, or had it last.
    #[serde(default)]
    pub worker: String,
    /// Why the last worker could not do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Failure>,
}

/// A record as it is stored now.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub record: Record,
    pub revision: u64,
}

impl Record {
    /// Of a job that begins to wait.
    pub(super) fn queued(state: JobState, sequence: u64) -> Self {
        Self {
            state,
            sequence,
            deliveries: 0,
            returned: 0,
            worker: String::new(),
            reason: None,
        }
    }

    /// A worker begins, from the start.
    pub(super) fn begin(&mut self, worker: &str, device: &str, deliveries: u64) {
        let state = &mut self.state;
        self.worker = worker.to_owned();
        self.deliveries = deliveries;
        state.status = Status::Running;
        state.started_at = Some(now());
        state.device = Some(device.to_owned());
        state.queue_position = None;
        self.forget();
    }

    /// It waits for another worker.
    pub(super) fn wait_again(&mut self, reason: Option<Failure>) {
        self.state.status = Status::Queued;
        self.state.started_at = None;
        self.state.device = None;
        self.reason = reason.or(self.reason.take());
        self.forget();
    }

    /// Drops what an unfinished run has left: the next one makes all of it again.
    fn forget(&mut self) {
        let state = &mut self.state;
        (state.progress, state.answer, state.prompt_tokens) = (None, None, None);
        state.outputs.clear();
        state.warnings.clear();
    }

    /// It is over; its outputs are kept for so many milliseconds.
    pub(super) fn end(&mut self, outcome: Result<(), Failure>, keep: u64) {
        let state = &mut self.state;
        state.status = match &outcome {
            Ok(()) => Status::Succeeded,
            Err(failure) if failure.code == Code::Canceled => Status::Canceled,
            Err(_) => Status::Failed,
        };
        state.error = outcome
            .err()
            .filter(|failure| failure.code != Code::Canceled);
        if state.status == Status::Succeeded {
            state.progress = state.progress.take().map(|progress| Progress {
                value: 1.0,
                ..progress
            });
        }
        let now = now();
        state.completed_at = Some(now);
        state.expires_at = Some(now.saturating_add(keep));
        state.queue_position = None;
    }
}

/// What an event changes in a state that a watcher has.
pub(super) fn apply(state: &mut JobState, event: &Event) {
    match event {
        Event::Status(new) => *state = (**new).clone(),
        Event::Progress(progress) => state.progress = Some(progress.clone()),
        Event::Answer(answer) => state.answer = Some(answer.clone()),
        Event::Output(output) => add(&mut state.outputs, output.clone()),
        Event::Preview(_) => {}
    }
}

/// Adds an output; one of its number is replaced.
pub(super) fn add(outputs: &mut Vec<Output>, output: Output) {
    outputs.retain(|other| other.index != output.index);
    outputs.push(output);
}

/// The record of a job.
///
/// # Errors
/// When the queue can't be reached, or the record can't be read.
pub(super) async fn read(states: &Store, id: JobId) -> Result<Option<Stored>, Failure> {
    let entry = states.entry(id.to_string()).await;
    let entry = entry.map_err(|error| unavailable("the state of a job", error))?;
    let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
        return Ok(None);
    };
    let record = serde_json::from_slice(&entry.value).map_err(|error| {
        Failure::new(
            Code::Internal,
            format!("the state of job {id} can't be read: {error}"),
        )
    })?;
    Ok(Some(Stored {
        record,
        revision: entry.revision,
    }))
}

/// Stores the first record of a job. `None` where there is one.
///
/// # Errors
/// When the queue can't be reached.
pub(super) async fn create(states: &Store, record: Record) -> Result<Option<Stored>, Failure> {
    match states
        .create(record.state.id.to_string(), json(&record)?)
        .await
    {
        Ok(revision) => Ok(Some(Stored { record, revision })),
        Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(unavailable("the state of a job", error)),
    }
}

/// Replaces a record. `None` where it is another one now.
///
/// # Errors
/// When the queue can't be reached.
pub(super) async fn replace(
    states: &Store,
    revision: u64,
    record: Record,
) -> Result<Option<Stored>, Failure> {
    match states
        .update(record.state.id.to_string(), json(&record)?, revision)
        .await
    {
        Ok(revision) => Ok(Some(Stored { record, revision })),
        Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(error) => Err(unavailable("the state of a job", error)),
    }
}

/// Changes a record until nobody else changes it meanwhile. `change` says whether it shall be stored. Returns the record
/// as it is stored then, and whether this call stored it; `None` for a job that has none.
///
/// # Errors
/// When the queue can't be reached.
pub(super) async fn change(
    states: &Store,
    id: JobId,
    mut change: impl FnMut(&mut Record) -> bool,
) -> Result<Option<(Stored, bool)>, Failure> {
    loop {
        let Some(stored) = read(states, id).await? else {
            return Ok(None);
        };
        let mut record = stored.record.clone();
        if !change(&mut record) {
            return Ok(Some((stored, false)));
        }
        if let Some(stored) = replace(states, stored.revision, record).await? {
            return Ok(Some((stored, true)));
        }
    }
}

fn json(record: &Record) -> Result<Bytes, Failure> {
    let json = serde_json::to_vec(record);
    json.map(Bytes::from)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_begins_again_has_nothing_of_its_first_run() {
        let mut record = Record::queued(JobState::queued(JobId::new(), "emoji"), 7);
        record.begin("a", "cpu", 1);
        record.state.answer = Some("an apple".into());
        record.state.warnings.push("long".into());
        record.begin("b", "cpu", 2);
        assert_eq!(
            (record.state.answer.as_deref(), record.state.warnings.len()),
            (None, 0)
        );
        assert_eq!((record.worker.as_str(), record.deliveries), ("b", 2));
        record.wait_again(Some(Failure::new(Code::Internal, "lost")));
        record.wait_again(None);
        assert_eq!(record.state.status, Status::Queued);
        assert_eq!(record.reason.as_ref().unwrap().message, "lost");
        record.end(Err(Failure::new(Code::Canceled, "")), 1000);
        assert_eq!(
            (record.state.status, record.state.error.is_some()),
            (Status::Canceled, false)
        );
        let json = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<Record>(&json).unwrap(), record);
    }
}
