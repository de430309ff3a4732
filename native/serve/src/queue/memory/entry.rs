//! One job in the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::broadcast;

use crate::inputs::Inputs;
use crate::job::{Code, Event, Failure, JobId, JobState, Order, Output, Status, now};
use crate::queue::Watch;
use crate::studio::{News, Task};

/// Events that a slow watcher may be behind; then it misses the oldest. States are always the truth.
const EVENTS: usize = 64;

/// One job.
pub(super) struct Entry {
    pub state: JobState,
    pub order: Arc<Order>,
    /// How often jobs that came later were taken before it.
    pub passed: usize,
    inputs: Arc<Inputs>,
    cancelled: Arc<AtomicBool>,
    events: broadcast::Sender<Event>,
    /// An output that could not be kept.
    failed: Option<Failure>,
}

impl Entry {
    pub(super) fn new(id: JobId, order: Order, inputs: Arc<Inputs>) -> Self {
        Self {
            state: JobState::queued(id, order.model.clone().unwrap_or_default()),
            order: Arc::new(order),
            passed: 0,
            inputs,
            cancelled: Arc::default(),
            events: broadcast::channel(EVENTS).0,
            failed: None,
        }
    }

    /// As it stands, and what it tells from now on.
    pub(super) fn watch(&self, state: JobState) -> Watch {
        Watch {
            state,
            events: self.events.subscribe(),
        }
    }

    /// A device begins.
    pub(super) fn begin(&mut self, device: &str) -> Task {
        self.state.status = Status::Running;
        self.state.started_at = Some(now());
        self.state.device = Some(device.to_owned());
        self.send_status();
        Task {
            id: self.state.id,
            order: self.order.clone(),
            inputs: self.inputs.clone(),
            cancelled: self.cancelled.clone(),
        }
    }

    pub(super) fn tell(&mut self, news: News) {
        match news {
            News::Progress(progress) => {
                self.state.progress = Some(progress.clone());
                self.send(Event::Progress(progress));
            }
            News::Preview(preview) => self.send(Event::Preview(preview)),
            News::Answer(answer) => {
                if self.state.answer.is_none() {
                    self.state.answer = Some(answer.clone());
                    self.send(Event::Answer(answer));
                }
            }
            News::PromptTokens(tokens) => self.state.prompt_tokens = Some(tokens),
            News::Warning(warning) => self.state.warnings.push(warning),
        }
    }

    pub(super) fn output(&mut self, output: Output) {
        self.state.outputs.push(output.clone());
        self.send(Event::Output(output));
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.failed.get_or_insert(failure);
    }

    /// Asks a running job to end.
    pub(super) fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.state.status = Status::Canceling;
        self.send_status();
    }

    /// It is over; kept for so many milliseconds.
    pub(super) fn end(&mut self, outcome: Result<(), Failure>, keep: u64) {
        let outcome = self.failed.take().map_or(outcome, Err);
        // A job that was painted before it heard of its end is painted.
        self.state.status = match &outcome {
            Ok(()) => Status::Succeeded,
            Err(failure) if failure.code == Code::Canceled => Status::Canceled,
            Err(_) => Status::Failed,
        };
        self.state.error = outcome
            .err()
            .filter(|failure| failure.code != Code::Canceled);
        self.state.progress = match self.state.status {
            Status::Succeeded => self
                .state
                .progress
                .take()
                .map(|progress| crate::job::Progress {
                    value: 1.0,
                    ..progress
                }),
            _ => self.state.progress.take(),
        };
        let now = now();
        self.state.completed_at = Some(now);
        self.state.expires_at = Some(now.saturating_add(keep));
        self.state.queue_position = None;
        self.inputs
            .release(self.order.inputs().map(|input| &input.id));
        self.order = Arc::default(); // it may be large, and is not needed any more
        crate::measure::over(&self.state.model, self.state.status);
        self.send_status();
        // Whoever watches hears it to its end; the buffers of a thousand jobs would take 20 MB.
        self.events = broadcast::channel(1).0;
    }

    fn send_status(&self) {
        self.send(Event::Status(Arc::new(self.state.clone())));
    }

    fn send(&self, event: Event) {
        let _ = self.events.send(event); // nobody may watch
    }
}
