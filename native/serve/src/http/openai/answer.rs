//! The answer with finished images.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::ResponseFormat;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::job::{JobState, Output};

/// Pixels of a side that one token of the transformer stands for.
const TOKEN_SIDE: usize = 16;

/// Finished images.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Images)]
pub struct ImagesAnswer {
    /// When, in seconds since 1970.
    pub created: u64,
    /// The images.
    pub data: Vec<ImageData>,
    /// `opaque`.
    pub background: &'static str,
    /// `png`, `jpeg` or `webp`.
    pub output_format: String,
    /// Width and height.
    pub size: String,
    /// Tokens.
    pub usage: Usage,
    /// What OpenAI has no names for.
    pub x2i: OwnView,
}

/// A finished image.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImageData)]
pub struct ImageData {
    /// The file as base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b64_json: Option<String>,
    /// Where the file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The LLM's answer, where it conditioned the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revised_prompt: Option<String>,
    /// The seed of its noise.
    pub seed: Option<u64>,
}

/// Tokens of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Tokens of the prompt that the LLM read, images and sounds among them.
    pub input_tokens: usize,
    /// Tokens of the images: 16 by 16 pixels each.
    pub output_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

/// What OpenAI has no names for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OwnAnswer)]
pub struct OwnView {
    /// The job.
    pub job: String,
    /// The model that painted.
    pub model: String,
    /// What its user should know.
    pub warnings: Vec<String>,
}

/// The tokens of a job.
pub fn usage<'a>(state: &JobState, outputs: impl IntoIterator<Item = &'a Output>) -> Usage {
    let tokens = |side: Option<usize>| side.unwrap_or(0) / TOKEN_SIDE;
    let output = outputs.into_iter();
    let output_tokens = output
        .map(|output| tokens(output.width) * tokens(output.height))
        .sum();
    let input_tokens = state.prompt_tokens.unwrap_or(0);
    Usage {
        input_tokens,
        output_tokens,
        total_tokens: input_tokens + output_tokens,
    }
}

/// The address of this server as its client knows it.
pub(super) fn base(headers: &HeaderMap) -> String {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text(header::HeaderName::from_static("x-forwarded-proto"));
    let scheme = if forwarded == Some("https") {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{}", text(header::HOST).unwrap_or("127.0.0.1"))
}

/// The answer of a job that succeeded.
///
/// # Errors
/// When its outputs are gone.
pub(super) async fn answer(
    app: &Arc<App>,
    state: JobState,
    format: ResponseFormat,
    base: &str,
) -> Result<ImagesAnswer, ApiError> {
    let mut data = vec![];
    for output in &state.outputs {
        let (b64_json, url) = match format {
            ResponseFormat::Url => {
                let index = output.index;
                (
                    None,
                    Some(format!("{base}/v1/x2i/jobs/{}/outputs/{index}", state.id)),
                )
            }
            ResponseFormat::B64Json => {
                let file = app.output(state.id, output.index).await?;
                (Some(STANDARD.encode(file)), None)
            }
        };
        data.push(ImageData {
            b64_json,
            url,
            revised_prompt: state.answer.clone(),
            seed: output.seed,
        });
    }
    let first = state.outputs.first();
    Ok(ImagesAnswer {
        created: crate::job::now() / 1000,
        data,
        background: "opaque",
        output_format: first.map(format_name).unwrap_or_default(),
        size: first.map(size).unwrap_or_default(),
        usage: usage(&state, &state.outputs),
        x2i: OwnView {
            job: state.id.to_string(),
            model: state.model,
            warnings: state.warnings,
        },
    })
}

/// `png` of `image/png`.
pub(super) fn format_name(output: &Output) -> String {
    let name = output.media_type.rsplit('/').next();
    name.unwrap_or_default().to_owned()
}

/// `WxH`.
pub(super) fn size(output: &Output) -> String {
    format!(
        "{}x{}",
        output.width.unwrap_or(0),
        output.height.unwrap_or(0)
    )
}
