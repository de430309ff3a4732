//! Where a job stands, with the names and statuses of Comfy API v2.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::id::JobId;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It waits.
    Queued,
    /// A device works on it.
    Running,
    /// All outputs are there.
    Succeeded,
    /// It was cancelled while it ran, and ends within one block.
    Canceling,
    /// It was cancelled.
    Canceled,
    /// It failed; the state has the reason.
    Failed,
    /// It is over, and its outputs are no longer kept.
    Expired,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Canceling,
        Self::Canceled,
        Self::Failed,
        Self::Expired,
    ];

    /// True when nothing more will happen.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::Canceling)
    }

    /// As clients name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Canceling => "canceling",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }
}

/// What a running job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The model's weights are read to the device.
    Load,
    /// The LLM reads, and answers.
    Encode,
    /// The transformer paints.
    Denoise,
    /// The VAE decodes.
    Decode,
}

/// How far a running job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The share of the work that is done, from 0 to 1, over all images.
    pub value: f64,
    /// Finished steps of the image that is painted now.
    pub step: usize,
    /// Its steps.
    pub steps: usize,
    /// The number of that image, from 0.
    pub image: usize,
    /// What is done now.
    pub stage: Stage,
}

/// A finished output of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its number, from 0.
    pub index: usize,
    /// The media type of the file.
    pub media_type: String,
    /// The file's length.
    pub bytes: u64,
    /// The file's SHA-256, as lower-case hex.
    pub sha256: String,
    /// The seed of an image's noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// An image's width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// An image's height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
}

/// Everything that a client may know of a job, but for the bytes of its outputs. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    /// Its name.
    pub id: JobId,
    /// Where it stands.
    pub status: Status,
    /// The model's name.
    pub model: String,
    /// When it was taken.
    pub created_at: u64,
    /// When a device began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<u64>,
    /// When its outputs are dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// How many jobs wait before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<usize>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Its finished outputs.
    pub outputs: Vec<Output>,
    /// What the LLM answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// What its user should know, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Tokens of the prompt that the LLM read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<usize>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The device that painted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

impl JobState {
    /// A job that begins to wait now.
    pub fn queued(id: JobId, model: impl Into<String>) -> Self {
        Self {
            id,
            status: Status::Queued,
            model: model.into(),
            created_at: now(),
            started_at: None,
            completed_at: None,
            expires_at: None,
            queue_position: None,
            progress: None,
            outputs: vec![],
            answer: None,
            warnings: vec![],
            prompt_tokens: None,
            error: None,
            device: None,
        }
    }

    /// Milliseconds that it waited, so far or until a device began.
    pub fn queue_ms(&self) -> u64 {
        let until = self.started_at.or(self.completed_at).unwrap_or_else(now);
        until.saturating_sub(self.created_at)
    }

    /// Milliseconds that a device worked on it, so far or in all.
    pub fn execution_ms(&self) -> Option<u64> {
        let until = self.completed_at.unwrap_or_else(now);
        Some(until.saturating_sub(self.started_at?))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
