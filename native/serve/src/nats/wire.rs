//! What a job tells, as messages that are not stored.

use std::sync::Arc;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::job::{Event, JobState, Output, Preview, Progress};

/// An event but for previews, whose bytes are a message's body.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Told {
    Status(Box<JobState>),
    Progress(Progress),
    Answer(String),
    Output(Output),
}

impl Told {
    pub(super) fn json(&self) -> Bytes {
        // Only maps with keys that are no strings can't be written.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The event of a message; `None` for one of another version.
    pub(super) fn read(message: &Message) -> Option<Event> {
        Some(match serde_json::from_slice(&message.payload).ok()? {
            Self::Status(state) => Event::Status(Arc::new(*state)),
            Self::Progress(progress) => Event::Progress(progress),
            Self::Answer(answer) => Event::Answer(answer),
            Self::Output(output) => Event::Output(output),
        })
    }
}

/// The headers of a preview.
pub(super) fn headers(preview: &Preview) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("image", preview.image.to_string());
    headers.insert("step", preview.step.to_string());
    headers.insert("steps", preview.steps.to_string());
    headers
}

/// The preview of a message.
pub(super) fn preview(message: Message) -> Option<Event> {
    let headers = message.headers.as_ref()?;
    let number = |name: &str| headers.get(name)?.as_str().parse().ok();
    Some(Event::Preview(Preview {
        image: number("image")?,
        step: number("step")?,
        steps: number("steps")?,
        png: message.payload,
    }))
}
