//! A job's state as clients read it, after Comfy API v2: times by RFC 3339, URLs of what belongs to it.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use crate::job::{Code, JobState, Output, Progress, Status};

/// A job.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Job)]
pub struct JobView {
    /// Its name, a UUID.
    pub id: String,
    /// `queued`, `running`, `succeeded`, `canceling`, `canceled`, `failed` or `expired`.
    pub status: &'static str,
    /// The model's name.
    pub model: String,
    /// When it was taken (RFC 3339).
    pub created_at: String,
    /// When a device began.
    pub started_at: Option<String>,
    /// When it was over.
    pub completed_at: Option<String>,
    /// When its outputs are dropped.
    pub expires_at: Option<String>,
    /// How many jobs wait before it.
    pub queue_position: Option<usize>,
    /// How far it is.
    pub progress: Option<ProgressView>,
    /// Its finished outputs.
    pub outputs: Vec<OutputView>,
    /// What the LLM answered.
    pub answer: Option<String>,
    /// What its user should know.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<ErrorView>,
    /// How long it took.
    pub metrics: MetricsView,
    /// Where the rest is.
    pub urls: UrlsView,
}

/// How far a running job is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = JobProgress)]
pub struct ProgressView {
    /// The share of the work that is done, from 0 to 1.
    pub value: f64,
    /// Finished steps of the image that is painted now.
    pub step: usize,
    /// Its steps.
    pub steps: usize,
    /// The number of that image, from 0.
    pub image: usize,
    /// `load`, `encode`, `denoise` or `decode`.
    pub message: &'static str,
}

/// A finished output.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = JobOutput)]
pub struct OutputView {
    /// Its number, from 0.
    pub index: usize,
    /// The media type.
    pub media_type: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// The file's SHA-256.
    pub sha256: String,
    /// The seed of an image's noise.
    pub seed: Option<u64>,
    /// An image's width.
    pub width: Option<usize>,
    /// An image's height.
    pub height: Option<usize>,
    /// Where the file is.
    pub url: String,
}

/// Why a job failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = JobError)]
pub struct ErrorView {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// The parameter that was wrong.
    pub param: Option<String>,
}

/// How long a job took.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = JobMetrics)]
pub struct MetricsView {
    /// Milliseconds in the queue.
    pub queue_ms: u64,
    /// Milliseconds on a device.
    pub execution_ms: Option<u64>,
    /// Tokens of the prompt that the LLM read.
    pub prompt_tokens: Option<usize>,
    /// The device.
    pub device: Option<String>,
}

/// Where the rest of a job is.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = JobUrls)]
pub struct UrlsView {
    /// The job.
    #[serde(rename = "self")]
    pub this: String,
    /// Its events, as server-sent events.
    pub events: String,
    /// Posting there cancels it.
    pub cancel: String,
}

impl From<JobState> for JobView {
    fn from(state: JobState) -> Self {
        let this = format!("/v1/x2i/jobs/{}", state.id);
        // Its outputs are gone, whatever it was.
        let gone = state.expires_at.is_some_and(|at| at < crate::job::now())
            && state.status == Status::Succeeded;
        Self {
            metrics: MetricsView {
                queue_ms: state.queue_ms(),
                execution_ms: state.execution_ms(),
                prompt_tokens: state.prompt_tokens,
                device: state.device.clone(),
            },
            id: state.id.to_string(),
            status: if gone { Status::Expired } else { state.status }.name(),
            model: state.model,
            created_at: rfc3339(state.created_at),
            started_at: state.started_at.map(rfc3339),
            completed_at: state.completed_at.map(rfc3339),
            expires_at: state.expires_at.map(rfc3339),
            queue_position: state.queue_position,
            progress: state.progress.as_ref().map(ProgressView::from),
            outputs: state
                .outputs
                .iter()
                .map(|output| OutputView::of(output, &this))
                .collect(),
            answer: state.answer,
            warnings: state.warnings,
            error: state.error.map(|failure| ErrorView {
                code: failure.code,
                message: failure.message,
                param: failure.param,
            }),
            urls: UrlsView {
                events: format!("{this}/events"),
                cancel: format!("{this}/cancel"),
                this,
            },
        }
    }
}

impl From<&Progress> for ProgressView {
    fn from(progress: &Progress) -> Self {
        use crate::job::Stage;
        Self {
            value: progress.value,
            step: progress.step,
            steps: progress.steps,
            image: progress.image,
            message: match progress.stage {
                Stage::Load => "load",
                Stage::Encode => "encode",
                Stage::Denoise => "denoise",
                Stage::Decode => "decode",
            },
        }
    }
}

impl OutputView {
    /// An output of the job at a path.
    pub fn of(output: &Output, job: &str) -> Self {
        Self {
            index: output.index,
            media_type: output.media_type.clone(),
            bytes: output.bytes,
            sha256: output.sha256.clone(),
            seed: output.seed,
            width: output.width,
            height: output.height,
            url: format!("{job}/outputs/{}", output.index),
        }
    }
}

/// Milliseconds since 1970 as RFC 3339.
fn rfc3339(milliseconds: u64) -> String {
    let nanoseconds = i128::from(milliseconds) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
    }
}
