//! `/v1/images/generations` and `/v1/images/edits`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::answer::{ImagesAnswer, answer, base};
use super::body::{FORM, ImagesBody};
use super::events::ImageEvents;
use super::schema::{EditRequest, ImagesRequest};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extras::split;
use crate::http::intake::{self, Intake};
use crate::http::keep::{KeepHeader, keep};
use crate::http::live::stream;
use crate::http::sse::ServerEvent;

/// Paints images from a prompt. With `stream`, `image_generation.partial_image` and `image_generation.completed` come as
/// server-sent events.
#[utoipa::path(
    post, path = "/v1/images/generations", tag = "openai",
    request_body(content((ImagesRequest = "application/json"), (ImagesRequest = "multipart/form-data"))),
    params(KeepHeader),
    responses(
        (status = 200, content((ImagesAnswer = "application/json"), (ServerEvent = "text/event-stream"))),
        (status = "4XX", description = "refused; the error names the parameter"),
        (status = "5XX", description = "a device failed, the server stops, or the images took too long")
    )
)]
pub async fn generations(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    paint(&app, request, "image_generation").await
}

/// Paints images from a prompt and 1 to 16 images that the LLM is shown before it. With `strength`, the first image is the
/// one to begin with (img2img).
#[utoipa::path(
    post, path = "/v1/images/edits", tag = "openai",
    request_body(content((EditRequest = "application/json"), (EditRequest = "multipart/form-data"))),
    params(KeepHeader),
    responses(
        (status = 200, content((ImagesAnswer = "application/json"), (ServerEvent = "text/event-stream"))),
        (status = "4XX", description = "refused; the error names the parameter"),
        (status = "5XX", description = "a device failed, the server stops, or the images took too long")
    )
)]
pub async fn edits(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    paint(&app, request, "image_edit").await
}

async fn paint(
    app: &Arc<App>,
    request: Request<Body>,
    family: &'static str,
) -> Result<Response, ApiError> {
    let (keep, base) = (keep(request.headers())?, base(request.headers()));
    let intake: Intake<Map<String, Value>> = intake::read(app, request, FORM).await?;
    let (body, extras) = split::<ImagesBody>(intake.value)?;
    let (is_stream, partials) = (body.stream == Some(true), body.partial_images.unwrap_or(0));
    let format = body.response_format.unwrap_or_default();
    let has_image = body.image.is_some() || intake.files.iter().any(|(name, _)| name == "image");
    if family == "image_edit" && !has_image {
        return Err(ApiError::param(
            "image",
            "image: is missing; use /v1/images/generations without one",
        ));
    }
    let order = body.order(app, extras, &intake.files).await?;
    if is_stream {
        let events = ImageEvents::new(family, partials);
        return stream(app, order, keep, events).await.map_err(size_named);
    }
    let state = app.paint(order, keep).await.map_err(size_named)?;
    Ok(Json(answer(app, state, format, &base).await?).into_response())
}

/// The error of a side names the parameter that sets it.
fn size_named(mut error: ApiError) -> ApiError {
    if let Some("width" | "height") = error.failure.param.as_deref() {
        error.failure.param = Some("size".into());
    }
    error
}
