//! Messages as a conversation: what the user showed and said in each turn, and what the LLM answered.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use x2i_engine::Kind;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::reference;
use crate::job::{PartOrder, TurnOrder};

/// A message. Other fields of it are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Message {
    /// Whose it is. Messages of the system and of tools are not read: X2I has no instructions.
    role: Role,
    /// A text, or parts in reading order.
    #[serde(default)]
    #[schema(value_type = Option<ContentSchema>)]
    content: Content,
}

/// Whose a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

/// What a message says.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
enum Content {
    /// A text.
    Text(String),
    /// Parts in reading order.
    Parts(Vec<ContentPart>),
    /// Nothing.
    #[default]
    Nothing,
}

/// What a message says, for the description.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = MessageContent)]
#[expect(dead_code, reason = "only for the description")]
enum ContentSchema {
    /// A text.
    Text(String),
    /// Parts in reading order.
    Parts(Vec<ContentPart>),
}

impl TryFrom<Value> for Content {
    type Error = String;

    /// An untagged enum would not say what is wrong.
    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Self::Nothing),
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(_) => serde_json::from_value(value)
                .map(Self::Parts)
                .map_err(|error| error.to_string()),
            _ => Err("must be a text or a list of parts".into()),
        }
    }
}

/// A part of a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image.
    ImageUrl {
        /// The image.
        image_url: Address,
    },
    /// A video.
    VideoUrl {
        /// The video.
        video_url: Address,
    },
    /// A sound.
    InputAudio {
        /// The sound.
        input_audio: Sound,
    },
    /// Why the assistant did not answer; it is not read.
    Refusal {
        /// The reason.
        #[serde(rename = "refusal")]
        _refusal: String,
    },
}

/// Where an image or a video is: a data URL or an upload's id.
#[derive(Debug, Deserialize, ToSchema)]
struct Address {
    /// The data URL.
    url: String,
}

/// A sound as base64.
#[derive(Debug, Deserialize, ToSchema)]
struct Sound {
    /// The file.
    data: String,
}

/// The earlier turns, and the parts of the last one.
///
/// # Errors
/// For a conversation that does not end with the user's words, and for inputs that can't be read.
pub(super) async fn conversation(
    app: &Arc<App>,
    messages: Vec<Message>,
) -> Result<(Vec<TurnOrder>, Vec<PartOrder>), ApiError> {
    let mut turns: Vec<TurnOrder> = vec![];
    let mut said = vec![];
    let mut is_answered = false;
    for (index, message) in messages.into_iter().enumerate() {
        match message.role {
            Role::User => {
                said.extend(parts(app, message.content, index).await?);
                is_answered = false;
            }
            Role::Assistant => {
                let answer = words(message.content);
                match (said.is_empty(), turns.last_mut()) {
                    (false, _) => turns.push(TurnOrder {
                        parts: std::mem::take(&mut said),
                        answer,
                    }),
                    // It went on.
                    (true, Some(turn)) => turn.answer.push_str(&answer),
                    // A greeting answers nothing.
                    (true, None) => {}
                }
                is_answered = true;
            }
            Role::System | Role::Developer | Role::Tool | Role::Function => {}
        }
    }
    match said.is_empty() || is_answered {
        true => Err(ApiError::param(
            "messages",
            "messages: the last one must be the user's, and say or show something",
        )),
        false => Ok((turns, said)),
    }
}

/// What the user showed and said.
async fn parts(
    app: &Arc<App>,
    content: Content,
    message: usize,
) -> Result<Vec<PartOrder>, ApiError> {
    let given = match content {
        Content::Nothing => vec![],
        Content::Text(text) => vec![ContentPart::Text { text }],
        Content::Parts(parts) => parts,
    };
    let mut parts = vec![];
    for (index, part) in given.into_iter().enumerate() {
        let param = format!("messages[{message}].content[{index}]");
        let (kind, text) = match part {
            ContentPart::Text { text } => {
                let text = without_pictures(&text, |url| url.starts_with("data:"));
                if !text.trim().is_empty() {
                    parts.push(PartOrder::Text(text));
                }
                continue;
            }
            ContentPart::ImageUrl { image_url } => (Kind::Image, image_url.url),
            ContentPart::VideoUrl { video_url } => (Kind::Video, video_url.url),
            ContentPart::InputAudio { input_audio } => {
                let is_url = input_audio.data.starts_with("data:");
                let prefix = if is_url { "" } else { "data:;base64," };
                (Kind::Audio, format!("{prefix}{}", input_audio.data))
            }
            ContentPart::Refusal { .. } => continue,
        };
        let mut input = reference::input(app, &text, &param, &[]).await?;
        input.name = file_name(kind).to_owned();
        parts.push(PartOrder::of(kind, input));
    }
    Ok(parts)
}

/// The name of a file in records: messages have none.
fn file_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Image => "image",
        Kind::Video => "video",
        Kind::Audio => "audio",
    }
}

/// The words of an answer; the pictures that it showed are not words.
fn words(content: Content) -> String {
    let text = match content {
        Content::Nothing => String::new(),
        Content::Text(text) => text,
        Content::Parts(parts) => {
            let texts = parts.into_iter().filter_map(|part| match part {
                ContentPart::Text { text } => Some(text),
                _ => None,
            });
            texts.collect()
        }
    };
    without_pictures(&text, |_| true)
}

/// A text without the Markdown pictures whose addresses are `dropped`.
fn without_pictures(text: &str, dropped: impl Fn(&str) -> bool) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("![") {
        let (before, picture) = rest.split_at(at);
        kept.push_str(before);
        rest = match address(picture) {
            Some((url, after)) if dropped(url) => after,
            _ => {
                kept.push_str("![");
                &picture[2..]
            }
        };
    }
    kept.push_str(rest);
    kept.trim().to_owned()
}

/// The address of the Markdown picture that a text begins with, and the text after it.
fn address(picture: &str) -> Option<(&str, &str)> {
    let (words, rest) = picture.split_once("](")?;
    let (url, after) = rest.split_once(')')?;
    (!words.contains(['\n', ']'])).then_some((url.trim(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_of_answers_are_not_words() {
        let drop_all = |text: &str| without_pictures(text, |_| true);
        assert_eq!(
            drop_all("a red apple\n\n![image](data:image/png;base64,AAAA)"),
            "a red apple"
        );
        assert_eq!(drop_all("![a](data:x)![b](https://c/d.png) words"), "words");
        assert_eq!(drop_all("wow![ not a picture"), "wow![ not a picture");
        assert_eq!(drop_all("![a](data:cut"), "![a](data:cut");
        let drop_data = |text: &str| without_pictures(text, |url| url.starts_with("data:"));
        assert_eq!(
            drop_data("see ![a](https://b) ![c](data:d)"),
            "see ![a](https://b)"
        );
    }
}
