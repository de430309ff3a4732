//! `/v1/x2i/jobs/{id}/events`: what a job tells, from now on, after the state that it has now.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use axum::response::sse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::{missing, parsed};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::sse::{ServerEvent, answer, event};
use crate::http::view::{JobView, OutputView, ProgressView};
use crate::job::Event;
use crate::queue::Watch;

/// Server-sent events of a job: `status` first, then `progress`, `preview`, `answer`, `output`, and a last `status`.
/// What was told before is in the first `status`; the job itself is always the truth.
#[utoipa::path(get, path = "/v1/x2i/jobs/{id}/events", tag = "jobs", params(("id" = String, Path, description = "the job's id")), responses((status = 200, body = ServerEvent, content_type = "text/event-stream"), (status = 404, description = "no such job"), (status = 429, description = "too many streams")))]
pub async fn events(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let id = parsed(&id)?;
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_streams",
            "too many streams of events are open; poll the job",
        )
    })?;
    let watch = app.queue.watch(id).await?.ok_or_else(|| missing(&id))?;
    let over = watch.state.status.is_over();
    let stream = Stream {
        app,
        watch,
        next: if over { Next::Last } else { Next::First },
        _permit: permit,
    };
    Ok(answer(futures_util::stream::unfold(stream, Stream::step)))
}

/// Where a stream stands.
enum Next {
    /// The state at its beginning comes.
    First,
    /// The state of a job that is over comes, and nothing after it.
    Last,
    /// What the job tells.
    Heard,
    /// Nothing comes.
    End,
}

struct Stream {
    app: Arc<App>,
    watch: Watch,
    next: Next,
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    async fn step(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        let told = match self.next {
            Next::End => return None,
            Next::First | Next::Last => {
                self.next = if matches!(self.next, Next::First) {
                    Next::Heard
                } else {
                    Next::End
                };
                event("status", &JobView::from(self.watch.state.clone()))
            }
            Next::Heard => match self.app.next(&mut self.watch).await {
                Ok(Some(heard)) => self.told(heard),
                Ok(None) => return None,
                Err(error) => {
                    self.next = Next::End;
                    event("error", &error.body())
                }
            },
        };
        Some((Ok(told), self))
    }

    fn told(&mut self, heard: Event) -> sse::Event {
        let job = format!("/v1/x2i/jobs/{}", self.watch.state.id);
        match heard {
            Event::Status(state) => {
                if state.status.is_over() {
                    self.next = Next::End;
                }
                event("status", &JobView::from((*state).clone()))
            }
            Event::Progress(progress) => event("progress", &ProgressView::from(&progress)),
            Event::Preview(preview) => event("preview", &preview_json(&preview)),
            Event::Answer(answer) => event("answer", &json!({ "answer": answer })),
            Event::Output(output) => event("output", &OutputView::of(&output, &job)),
        }
    }
}

fn preview_json(preview: &crate::job::Preview) -> Value {
    json!({
        "image": preview.image,
        "step": preview.step,
        "steps": preview.steps,
        "media_type": "image/png",
        "b64_json": STANDARD.encode(&preview.png),
    })
}
