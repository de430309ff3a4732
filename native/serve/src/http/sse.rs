//! Server-sent events: a comment every 10 seconds keeps proxies from cutting a stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

/// How often a stream that has nothing to say says so.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// An event of a stream, for the description.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the description")]
pub struct ServerEvent {
    /// Its name; chunks of a chat have none.
    event: Option<String>,
    /// JSON, or `[DONE]`.
    data: String,
}

/// A stream as an answer.
pub fn answer(stream: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("alive");
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Nginx would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An event with a name and JSON.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    let json = serde_json::to_string(data).unwrap_or_else(|_| "{}".into());
    Event::default().event(name).data(json)
}

/// An event of JSON alone.
pub fn data(data: &impl Serialize) -> Event {
    Event::default().data(serde_json::to_string(data).unwrap_or_else(|_| "{}".into()))
}
