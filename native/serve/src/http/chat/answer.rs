//! The answer: words and images, at once or in chunks.

use std::sync::Arc;

use axum::response::sse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::live::Words;
use crate::http::openai::usage;
use crate::http::sse::data;
use crate::job::{Event, JobState, Output};

/// A completion.
#[derive(Debug, Serialize, ToSchema)]
pub struct Completion {
    /// Its name.
    id: String,
    /// `chat.completion`.
    object: &'static str,
    /// When, in seconds since 1970.
    created: u64,
    /// The model.
    model: String,
    /// One.
    choices: Vec<Choice>,
    /// Tokens.
    usage: ChatUsage,
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
struct Choice {
    /// 0.
    index: usize,
    /// The answer.
    message: Answer,
    /// `stop`.
    finish_reason: &'static str,
}

/// Words and images.
#[derive(Debug, Serialize, ToSchema)]
struct Answer {
    /// `assistant`.
    role: &'static str,
    /// The LLM's words, then the images as Markdown.
    content: String,
    /// The images again, for clients that know them.
    images: Vec<AnswerImage>,
}

/// An image of an answer.
#[derive(Debug, Serialize, ToSchema)]
struct AnswerImage {
    /// `image_url`.
    r#type: &'static str,
    /// The image.
    image_url: AnswerUrl,
    /// Its number, from 0.
    index: usize,
    /// The seed of its noise.
    seed: Option<u64>,
}

/// A data URL.
#[derive(Debug, Serialize, ToSchema)]
struct AnswerUrl {
    /// The data URL.
    url: String,
}

/// Tokens of a completion.
#[derive(Debug, Serialize, ToSchema)]
struct ChatUsage {
    /// Those that the LLM read.
    prompt_tokens: usize,
    /// Those of the images: 16 by 16 pixels each.
    completion_tokens: usize,
    /// Both.
    total_tokens: usize,
}

/// The completion of a job that succeeded.
///
/// # Errors
/// When its outputs are gone.
pub(super) async fn completion(app: &Arc<App>, state: JobState) -> Result<Completion, ApiError> {
    let mut content = state.answer.clone().unwrap_or_default();
    let mut images = vec![];
    for output in &state.outputs {
        let image = image(app, &state, output).await?;
        content.push_str(&markdown(&image, content.is_empty()));
        images.push(image);
    }
    let message = Answer {
        role: "assistant",
        content,
        images,
    };
    Ok(Completion {
        id: name(&state),
        object: "chat.completion",
        created: crate::job::now() / 1000,
        usage: tokens(&state),
        model: state.model,
        choices: vec![Choice {
            index: 0,
            message,
            finish_reason: "stop",
        }],
    })
}

fn name(state: &JobState) -> String {
    format!("chatcmpl-{}", state.id)
}

fn tokens(state: &JobState) -> ChatUsage {
    let usage = usage(state, &state.outputs);
    ChatUsage {
        prompt_tokens: usage.input_tokens,
        completion_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
    }
}

async fn image(app: &Arc<App>, state: &JobState, output: &Output) -> Result<AnswerImage, ApiError> {
    let file = app.output(state.id, output.index).await?;
    let url = format!(
        "data:{};base64,{}",
        output.media_type,
        STANDARD.encode(file)
    );
    Ok(AnswerImage {
        r#type: "image_url",
        image_url: AnswerUrl { url },
        index: output.index,
        seed: output.seed,
    })
}

/// The image as Markdown, in a paragraph of its own unless it is the first.
fn markdown(image: &AnswerImage, is_first: bool) -> String {
    let space = if is_first { "" } else { "\n\n" };
    format!("{space}![image]({})", image.image_url.url)
}

/// A completion in chunks: the words as the LLM finds them, then each image, then the end.
pub(super) struct Chunks {
    has_usage: bool,
    is_begun: bool,
    /// The words that were told.
    told: String,
    images: usize,
}

impl Chunks {
    /// The last chunk has the tokens if `has_usage`.
    pub(super) fn new(has_usage: bool) -> Self {
        Self {
            has_usage,
            is_begun: false,
            told: String::new(),
            images: 0,
        }
    }

    fn chunk(&mut self, state: &JobState, mut delta: Value, end: Option<&str>) -> sse::Event {
        if !self.is_begun {
            self.is_begun = true;
            delta["role"] = "assistant".into();
        }
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": end });
        data(&Self::frame(state, json!([choice])))
    }

    fn frame(state: &JobState, choices: Value) -> Value {
        json!({
            "id": name(state),
            "object": "chat.completion.chunk",
            "created": state.created_at / 1000,
            "model": state.model,
            "choices": choices,
        })
    }

    /// The words that are new.
    fn words(&mut self, state: &JobState, answer: &str) -> Vec<sse::Event> {
        let new = answer.strip_prefix(self.told.as_str()).unwrap_or_default();
        if new.is_empty() || self.images > 0 {
            return vec![];
        }
        let new = new.to_owned();
        self.told = answer.to_owned();
        vec![self.chunk(state, json!({ "content": new }), None)]
    }
}

impl Words for Chunks {
    async fn heard(
        &mut self,
        app: &Arc<App>,
        state: &JobState,
        heard: Event,
    ) -> Result<Vec<sse::Event>, ApiError> {
        match heard {
            Event::Answer(answer) => Ok(self.words(state, &answer)),
            Event::Output(output) => {
                let now = app.queue.job(state.id).await?;
                let answer = now.and_then(|now| now.answer).unwrap_or_default();
                let mut chunks = self.words(state, &answer);
                let image = image(app, state, &output).await?;
                let content = markdown(&image, self.told.is_empty() && self.images == 0);
                self.images += 1;
                let delta = json!({ "content": content, "images": [image] });
                chunks.push(self.chunk(state, delta, None));
                Ok(chunks)
            }
            Event::Status(_) | Event::Progress(_) | Event::Preview(_) => match self.is_begun {
                true => Ok(vec![]),
                // Clients show that someone answers.
                false => Ok(vec![self.chunk(state, json!({ "content": "" }), None)]),
            },
        }
    }

    fn end(&mut self, state: &JobState) -> Vec<sse::Event> {
        let mut chunks = vec![self.chunk(state, json!({}), Some("stop"))];
        if self.has_usage {
            let mut last = Self::frame(state, json!([]));
            last["usage"] = json!(tokens(state));
            chunks.push(data(&last));
        }
        chunks.push(sse::Event::default().data("[DONE]"));
        chunks
    }

    fn failed(&mut self, error: &ApiError) -> sse::Event {
        data(&error.body())
    }
}
