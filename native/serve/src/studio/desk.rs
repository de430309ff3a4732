//! The desk: where a studio takes jobs, and where it puts what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::inputs::Inputs;
use crate::job::{Failure, JobId, Order, Output, Preview, Progress};
use crate::queue::Worker;

/// A job that a studio works on.
#[derive(Clone)]
pub struct Task {
    /// Its name.
    pub id: JobId,
    /// What is ordered.
    pub order: Arc<Order>,
    /// Where its inputs are, all of them.
    pub inputs: Arc<Inputs>,
    /// Set when it shall end; the studio looks between two blocks.
    pub cancelled: Arc<AtomicBool>,
}

impl Task {
    /// True when it shall end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What a studio tells of a job while it works on it.
#[derive(Debug, Clone)]
pub enum News {
    /// It is further.
    Progress(Progress),
    /// The image as it looks so far.
    Preview(Preview),
    /// What the LLM answered.
    Answer(String),
    /// Tokens of the prompt that the LLM reads.
    PromptTokens(usize),
    /// What its user should know, in one sentence.
    Warning(String),
}

/// Where a studio takes jobs, and where it puts what becomes of them. Threads of several studios call it.
pub trait Desk: Send + Sync {
    /// Waits for the next job; `None` ends the studio. `worker` is the one that asks: its loaded models save time.
    fn take(&self, worker: &Worker) -> Option<Task>;

    /// Hears of a job.
    fn tell(&self, job: JobId, news: News);

    /// Takes a finished file.
    fn output(&self, job: JobId, output: Output, file: Vec<u8>);

    /// Hears that a job is over; all of its outputs came before.
    fn over(&self, job: JobId, outcome: Result<(), Failure>);

    /// Hears what a worker is and has.
    fn worker(&self, worker: Worker);
}
