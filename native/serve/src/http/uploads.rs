//! Inputs that are sent before the jobs that need them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use futures_util::StreamExt;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::app::App;
use super::error::ApiError;
use super::intake::{self, Form};

/// An upload.
#[derive(Debug, Serialize, ToSchema)]
pub struct Upload {
    /// Its id, the SHA-256 of its bytes: jobs refer to it by this.
    pub id: String,
    /// Its length.
    pub bytes: u64,
}

/// Nothing but a file may be in the form of an upload.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Keeps a file for later jobs: the body itself, or the file `file` of a form.
#[utoipa::path(
    post, path = "/v1/x2i/uploads", tag = "jobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = Upload), (status = "4XX", description = "refused"), (status = 503, description = "no room"))
)]
pub async fn create(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<(StatusCode, Json<Upload>), ApiError> {
    let kind = request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let is_form =
        kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("multipart/form-data"));
    let upload = match is_form {
        true => of_form(&app, request).await?,
        false => of_body(&app, request).await?,
    };
    Ok((StatusCode::CREATED, Json(upload)))
}

async fn of_form(app: &Arc<App>, request: Request<Body>) -> Result<Upload, ApiError> {
    let form = Form {
        texts: &[],
        files: &["file"],
    };
    let intake: intake::Intake<Nothing> = intake::read(app, request, form).await?;
    let Nothing {} = intake.value;
    let [(_, file)] = &intake.files[..] else {
        return Err(ApiError::param("file", "the form must have one file"));
    };
    let path = app.inputs.path(&file.id);
    let metadata = path.and_then(|path| path.metadata().ok());
    Ok(Upload {
        id: file.id.to_string(),
        bytes: metadata.map_or(0, |metadata| metadata.len()),
    })
}

async fn of_body(app: &Arc<App>, request: Request<Body>) -> Result<Upload, ApiError> {
    let refused = |code, message: &str| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, code, message);
    let mut receiving = app.inputs.receive()?;
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk =
            chunk.map_err(|_| refused("body_unreadable", "the body is cut or too large"))?;
        if receiving.bytes() + chunk.len() as u64 > app.limits.body as u64 {
            return Err(refused("body_too_large", "the body is too large"));
        }
        receiving = intake::write(receiving, chunk).await?;
    }
    let bytes = receiving.bytes();
    if bytes == 0 {
        return Err(ApiError::param(
            "file",
            "the body is empty; send a file's bytes",
        ));
    }
    let id = app.inputs.finish(receiving)?;
    Ok(Upload {
        id: id.to_string(),
        bytes,
    })
}
