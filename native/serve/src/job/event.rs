//! What a job tells while it runs.

use std::sync::Arc;

use bytes::Bytes;

use super::state::{JobState, Output, Progress};

/// What a job tells. The state is always the truth: an event that is missed is not told again.
#[derive(Debug, Clone)]
pub enum Event {
    /// Its status changed. The last event of a job is one of these.
    Status(Arc<JobState>),
    /// It is further.
    Progress(Progress),
    /// The image as it looks so far.
    Preview(Preview),
    /// What the LLM answered.
    Answer(String),
    /// An output is finished.
    Output(Output),
}

/// An image as it looks after a step.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The number of the image, from 0.
    pub image: usize,
    /// Finished steps.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// A PNG of at most 512 pixels a side.
    pub png: Bytes,
}
