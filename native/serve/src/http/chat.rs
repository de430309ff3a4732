//! `/v1/chat/completions`: a conversation in which every turn is painted. Any chat client has multi-turn2image so.

mod answer;
mod body;
mod messages;
mod schema;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::app::App;
use super::error::ApiError;
use super::extras::split;
use super::intake::{self, Form, Intake};
use super::keep::{KeepHeader, keep};
use super::live::stream;
use super::sse::ServerEvent;
use answer::{Chunks, Completion, completion};
use body::{ChatBody, IGNORED};
use schema::ChatRequest;

/// A body without what is ignored.
fn without_ignored(mut fields: Map<String, Value>) -> Map<String, Value> {
    fields.retain(|name, _| !IGNORED.contains(&name.as_str()));
    // OpenAI's `audio` is the voice of an answer; X2I's is what the LLM hears.
    if fields
        .get("audio")
        .is_some_and(|audio| audio.get("voice").is_some())
    {
        fields.shift_remove("audio");
    }
    fields
}

/// The body is JSON alone.
const FORM: Form = Form {
    texts: &[],
    files: &[],
};

/// Answers the last message of a conversation: with the LLM's words, and an image of them.
///
/// The image is in `content` as Markdown with a data URL, after the words, and in `images` as a list of `image_url`.
/// Earlier messages are the conversation; images that earlier answers show are not read again. With `stream`, the words
/// come first, then the image, then `[DONE]`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "openai",
    request_body = ChatRequest,
    params(KeepHeader),
    responses(
        (status = 200, content((Completion = "application/json"), (ServerEvent = "text/event-stream"))),
        (status = "4XX", description = "refused; the error names the parameter"),
        (status = "5XX", description = "a device failed, the server stops, or the image took too long")
    )
)]
pub async fn create(
    State(app): State<Arc<App>>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let keep = keep(request.headers())?;
    let intake: Intake<Map<String, Value>> = intake::read(&app, request, FORM).await?;
    let (body, extras) = split::<ChatBody>(without_ignored(intake.value))?;
    let (is_stream, has_usage) = (body.stream == Some(true), body.includes_usage());
    let order = body.order(&app, extras).await?;
    if is_stream {
        return stream(&app, order, keep, Chunks::new(has_usage)).await;
    }
    let state = app.paint(order, keep).await?;
    Ok(Json(completion(&app, state).await?).into_response())
}
