//! `/v1/x2i/conditioning`: `txt` and `vec` for other samplers of FLUX, at once.

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, header};

use super::app::App;
use super::error::ApiError;
use super::intake::{self, Intake};
use super::jobs::{FORM, JobBody};
use super::keep::{KeepHeader, keep};
use crate::conditioning::MEDIA_TYPE;
use crate::job::Wanted;

/// Encodes a prompt and answers with `txt` `[1, tokens, width]` and `vec` `[1, width]` as safetensors in f32. The body is
/// that of a job; what concerns images alone is ignored. The LLM's answer, where it conditions, is in the file's metadata.
#[utoipa::path(
    post, path = "/v1/x2i/conditioning", tag = "jobs",
    request_body(content((JobBody = "application/json"), (JobBody = "multipart/form-data"))),
    params(KeepHeader),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/vnd.safetensors"),
        (status = "4XX", description = "refused; the error names the parameter"),
        (status = "5XX", description = "a device failed, the server stops, or it took too long")
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let keep = keep(request.headers())?;
    let Intake { value, files, .. } = intake::read::<JobBody>(&app, request, FORM).await?;
    let mut order = value.order(&app, &files).await?;
    order.wanted = Wanted::Conditioning;
    order.images = NonZeroUsize::MIN;
    order.previews = false;
    let state = app.paint(order, keep).await?;
    let file = app.output(state.id, 0).await?;
    let headers = [
        (header::CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (HeaderName::from_static("x-x2i-job"), state.id.to_string()),
    ];
    Ok((headers, file).into_response())
}
