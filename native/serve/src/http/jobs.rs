//! `/v1/x2i/jobs`: jobs that outlive their connection, after Comfy API v2.

mod body;
pub mod events;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

pub use body::{ControlBody, FORM, JobBody, LoraBody, TurnBody, file, images, turns};

use super::app::App;
use super::error::ApiError;
use super::intake::{self, Intake};
use super::view::JobView;
use crate::job::JobId;

/// The header that makes a request one that may be sent twice.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest of its values.
const LONGEST_KEY: usize = 255;
/// How many jobs a list has where its length is not given, and at most.
const LISTED: (usize, usize) = (50, 500);

/// Jobs, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobView>,
}

/// How much is listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// The most jobs, at most 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// Orders a job and returns at once. With an `Idempotency-Key`, the same request again returns the same job.
#[utoipa::path(
    post, path = "/v1/x2i/jobs", tag = "jobs", request_body(content(
        (JobBody = "application/json"), (JobBody = "multipart/form-data")
    )),
    params(("Idempotency-Key" = Option<String>, Header, description = "a key of the client's own, at most 255 characters")),
    responses(
        (status = 201, body = JobView, description = "ordered"), (status = 200, body = JobView, description = "ordered before by the same request"),
        (status = "4XX", description = "refused; the error names the parameter"), (status = 503, description = "the server stops")
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let key = key(&request)?;
    let Intake {
        value,
        files,
        digest,
        ..
    } = intake::read::<JobBody>(&app, request, FORM).await?;
    let order = value.order(&app, &files).await?;
    let id = JobId::new();
    if let Some(key) = &key
        && let Some((first, id)) = app.queue.remember(key, digest.clone(), id).await?
    {
        return again(&app, first == digest, id).await;
    }
    let submitted = app.submit(id, order).await;
    if let (Err(_), Some(key)) = (&submitted, &key) {
        app.queue.forget(key).await?; // it may be sent again
    }
    let view = JobView::from(submitted?);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, view.urls.this.clone())],
        Json(view),
    )
        .into_response())
}

fn key(request: &Request<Body>) -> Result<Option<String>, ApiError> {
    let Some(key) = request.headers().get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    match key.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= LONGEST_KEY => Ok(Some(key.to_owned())),
        _ => Err(ApiError::param(
            "Idempotency-Key",
            "Idempotency-Key: must have 1 to 255 ASCII characters",
        )),
    }
}

/// The answer to a request whose key is known.
async fn again(app: &App, same: bool, id: JobId) -> Result<Response, ApiError> {
    if !same {
        let message = "this Idempotency-Key belongs to another request";
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reuse",
            message,
        ));
    }
    match app.queue.job(id).await? {
        Some(state) => Ok(Json(JobView::from(state)).into_response()),
        None => {
            let message = "the job of this Idempotency-Key was refused, or is not kept any more";
            Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reuse",
                message,
            ))
        }
    }
}

/// The newest jobs, newest first.
#[utoipa::path(get, path = "/v1/x2i/jobs", tag = "jobs", params(ListQuery), responses((status = 200, body = JobList), (status = "4XX", description = "refused")))]
pub async fn list(
    State(app): State<Arc<App>>,
    query: Query<ListQuery>,
) -> Result<Json<JobList>, ApiError> {
    let most = query.limit.unwrap_or(LISTED.0);
    if most == 0 || most > LISTED.1 {
        return Err(ApiError::param(
            "limit",
            format!("limit: {most} must be between 1 and {}", LISTED.1),
        ));
    }
    let jobs = app.queue.jobs(most).await?;
    Ok(Json(JobList {
        jobs: jobs.into_iter().map(JobView::from).collect(),
    }))
}

/// A job.
#[utoipa::path(get, path = "/v1/x2i/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "the job's id")), responses((status = 200, body = JobView), (status = 404, description = "no such job")))]
pub async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let id = parsed(&id)?;
    let state = app.queue.job(id).await?;
    Ok(Json(state.ok_or_else(|| missing(&id))?.into()))
}

/// Cancels a job: at once where it waits, within one block of the model where it runs. One that is over stays.
#[utoipa::path(post, path = "/v1/x2i/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path, description = "the job's id")), responses((status = 200, body = JobView), (status = 404, description = "no such job")))]
pub async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<JobView>, ApiError> {
    let id = parsed(&id)?;
    let state = app.queue.cancel(id).await?;
    Ok(Json(state.ok_or_else(|| missing(&id))?.into()))
}

/// The file of an output.
#[utoipa::path(get, path = "/v1/x2i/jobs/{id}/outputs/{index}", tag = "jobs",
    params(("id" = String, Path, description = "the job's id"), ("index" = usize, Path, description = "the output's number, from 0")),
    responses((status = 200, content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"), (Vec<u8> = "application/vnd.safetensors"))), (status = 404, description = "no such output")))]
pub async fn output(
    State(app): State<Arc<App>>,
    Path((id, index)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let id = parsed(&id)?;
    let state = app.queue.job(id).await?.ok_or_else(|| missing(&id))?;
    let found = state
        .outputs
        .iter()
        .find(|output| output.index.to_string() == index);
    let output =
        found.ok_or_else(|| ApiError::not_found(format_args!("output {index} of job {id}")))?;
    let file = app.output(id, output.index).await?;
    let headers = [
        (header::CONTENT_TYPE, output.media_type.clone()),
        (header::ETAG, format!("\"{}\"", output.sha256)),
        (
            header::CACHE_CONTROL,
            "private, max-age=31536000, immutable".to_owned(),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, file).into_response())
}

fn parsed(id: &str) -> Result<JobId, ApiError> {
    id.parse().map_err(|()| missing(&id))
}

fn missing(id: &impl std::fmt::Display) -> ApiError {
    ApiError::not_found(format_args!("job {id} (any more)"))
}
