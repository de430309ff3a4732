//! `progress`, `interrupt` and `skip`: of the jobs that came by `/sdapi` alone.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::tasks::{Task, Tasks};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::job::{JobState, Status};

/// Which job, and how much of it.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ProgressQuery {
    /// The client's name of its job (`force_task_id`); the job that runs now without one.
    id_task: Option<String>,
    /// Whether the image is left out.
    skip_current_image: Option<bool>,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
pub struct TaskQuery {
    /// The client's name of its job (`force_task_id`); all jobs that came by `/sdapi` without one.
    id_task: Option<String>,
}

/// How far a job is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = A1111Progress)]
pub struct ProgressView {
    /// The share of the work that is done, from 0 to 1; 0 when nothing runs.
    progress: f64,
    /// Seconds that are left.
    eta_relative: f64,
    /// What it does.
    state: TaskState,
    /// The image as it looks so far, as base64.
    current_image: Option<String>,
    /// What it does, for people.
    textinfo: Option<String>,
    /// The client's name of the job.
    current_task: Option<String>,
}

/// What a job does.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = A1111State)]
struct TaskState {
    skipped: bool,
    interrupted: bool,
    stopping_generation: bool,
    job: String,
    job_count: usize,
    job_timestamp: String,
    job_no: usize,
    sampling_step: usize,
    sampling_steps: usize,
}

/// How far a job that came by `/sdapi` is.
#[utoipa::path(get, path = "/sdapi/v1/progress", tag = "a1111", params(ProgressQuery), responses((status = 200, body = ProgressView), (status = "4XX", description = "refused"), (status = 503, description = "the queue can't be reached")))]
pub async fn progress(
    State(app): State<Arc<App>>,
    Extension(tasks): Extension<Arc<Tasks>>,
    Query(query): Query<ProgressQuery>,
) -> Result<Json<ProgressView>, ApiError> {
    let found = tasks.find(query.id_task.as_deref());
    let mut waiting = None;
    for task in &found {
        match app.queue.job(task.job).await? {
            Some(state) if matches!(state.status, Status::Running | Status::Canceling) => {
                return Ok(Json(view(task, &state, found.len(), &query)));
            }
            Some(state) if state.status == Status::Queued => {
                waiting.get_or_insert((task, state));
            }
            _ => {}
        }
    }
    Ok(Json(match waiting {
        Some((task, state)) => view(task, &state, found.len(), &query),
        None => ProgressView {
            progress: 0.0,
            eta_relative: 0.0,
            state: TaskState {
                job_timestamp: timestamp(crate::job::now()),
                ..TaskState::default()
            },
            current_image: None,
            textinfo: None,
            current_task: None,
        },
    }))
}

fn view(task: &Task, state: &JobState, jobs: usize, query: &ProgressQuery) -> ProgressView {
    let progress = state.progress.as_ref();
    // Clients take 0 for "nothing runs".
    let value = progress
        .map_or(0.0, |progress| progress.value)
        .clamp(0.001, 1.0);
    let seconds = state.execution_ms().unwrap_or(0) as f64 / 1000.0;
    let shown = task
        .preview
        .as_ref()
        .filter(|_| query.skip_current_image != Some(true));
    let interrupted = state.status == Status::Canceling;
    ProgressView {
        progress: value,
        eta_relative: seconds * (1.0 - value) / value,
        state: TaskState {
            interrupted,
            stopping_generation: interrupted,
            job: state.id.to_string(),
            job_count: jobs,
            job_timestamp: timestamp(state.created_at),
            job_no: progress.map_or(0, |progress| progress.image),
            sampling_step: progress.map_or(0, |progress| progress.step),
            sampling_steps: progress.map_or(0, |progress| progress.steps),
            ..TaskState::default()
        },
        current_image: shown.map(|png| STANDARD.encode(png)),
        textinfo: (state.status == Status::Queued).then(|| "waits".into()),
        current_task: task.name.clone(),
    }
}

/// Cancels the jobs that came by `/sdapi`, within one block of the model; jobs of other routes are left alone.
#[utoipa::path(post, path = "/sdapi/v1/interrupt", tag = "a1111", params(TaskQuery), responses((status = 200, body = Object), (status = "4XX", description = "refused"), (status = 503, description = "the queue can't be reached")))]
pub async fn interrupt(
    State(app): State<Arc<App>>,
    Extension(tasks): Extension<Arc<Tasks>>,
    Query(query): Query<TaskQuery>,
) -> Result<Json<Value>, ApiError> {
    for task in tasks.find(query.id_task.as_deref()) {
        app.queue.cancel(task.job).await?;
    }
    Ok(Json(json!({})))
}

/// The same as `interrupt`: a job's images have no order that one of them could leave.
#[utoipa::path(post, path = "/sdapi/v1/skip", tag = "a1111", params(TaskQuery), responses((status = 200, body = Object), (status = "4XX", description = "refused"), (status = 503, description = "the queue can't be reached")))]
pub async fn skip(
    app: State<Arc<App>>,
    tasks: Extension<Arc<Tasks>>,
    query: Query<TaskQuery>,
) -> Result<Json<Value>, ApiError> {
    interrupt(app, tasks, query).await
}

/// Milliseconds since 1970 as the web UI writes them: `20231114221320`.
pub(super) fn timestamp(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    format!(
        "{year:04}{:02}{day:02}{hour:02}{minute:02}{second:02}",
        u8::from(month)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_web_uis() {
        assert_eq!(timestamp(1_700_000_000_123), "20231114221320");
    }
}
