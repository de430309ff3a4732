//! The body of a request for a completion.

use std::sync::Arc;

use serde::Deserialize;
use utoipa::ToSchema;
use x2i_core::Conditioning;

use super::messages::{Message, conversation};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extras::Extras;
use crate::http::jobs::{file, images};
use crate::http::openai::{FormatName, model, size};
use crate::job::{ImageFormat, Numbers, Order};

/// A conversation whose last message is answered. X2I's own fields stand beside these, or in an object `x2i`. What steers
/// a language model's words (`temperature`, `max_tokens`, `tools`, ...) is ignored.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatBody {
    /// The messages, oldest first; the last one is the user's.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
    /// The model's name; the server's first without one.
    model: Option<String>,
    /// Whether the answer comes in chunks.
    pub(super) stream: Option<bool>,
    /// What a stream has besides.
    stream_options: Option<StreamOptions>,
    /// How many images the answer has.
    #[schema(minimum = 1, maximum = 64)]
    n: Option<usize>,
    /// `auto`, or width and height in pixels, multiples of 16: `1024x768`.
    #[schema(pattern = "^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$")]
    size: Option<String>,
    /// `png`, `jpeg` or `webp`.
    #[schema(value_type = Option<FormatName>)]
    output_format: Option<ImageFormat>,
    /// JPEG's quality, from 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    output_compression: Option<u8>,
}

/// What a stream has besides.
#[derive(Debug, Deserialize, ToSchema)]
struct StreamOptions {
    /// Whether its last chunk has the tokens.
    include_usage: Option<bool>,
}

/// What steers a language model's words, or names its user.
pub const IGNORED: [&str; 36] = [
    "frequency_penalty",
    "function_call",
    "functions",
    "keep_alive",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "min_p",
    "modalities",
    "moderation",
    "options",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "response_format",
    "safety_identifier",
    "service_tier",
    "stop",
    "store",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

impl ChatBody {
    /// Whether a stream shall end with the tokens.
    pub(super) fn includes_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options.and_then(|options| options.include_usage) == Some(true)
    }

    /// The order, with its inputs kept. The LLM's answer conditions the image, unless the body says otherwise.
    ///
    /// # Errors
    /// For what can't be done, by its name.
    pub(super) async fn order(self, app: &Arc<App>, extras: Extras) -> Result<Order, ApiError> {
        if extras.turns.is_some() {
            return Err(ApiError::param(
                "turns",
                "turns: the earlier messages are the turns",
            ));
        }
        let (turns, parts) = conversation(app, self.messages).await?;
        let (width, height) = size(self.size.as_deref())?.unzip();
        let numbers = Numbers {
            width,
            height,
            conditioning: Some(Conditioning::Answer),
            ..Numbers::default()
        };
        let quality = self.output_compression.map(|quality| quality.max(1));
        let mut order = Order {
            model: model(app, self.model).await?,
            numbers,
            images: images(self.n)?,
            file: file(self.output_format, quality)?,
            ..Order::default()
        };
        extras.apply(app, &[], &mut order).await?;
        order.turns = turns;
        order.parts.extend(parts);
        Ok(order)
    }
}
