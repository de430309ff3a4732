//! What a request takes where it says nothing: `defaults` of `model.json` and `x2i.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks::{check, check_sizes};
use super::encoder::EncoderConfig;
use super::keys::{Key, check_keys};
use super::limits::{ANSWER, IMAGE_SIDE, PADDING, SIDE, STEPS, check_limits};
use crate::error::Result;

/// The keys of its `defaults`, and of those in `x2i.json`.
const DEFAULT_KEYS: &[(&str, Key)] = &[
    ("width", Key::Read),
    ("height", Key::Read),
    ("steps", Key::Read),
    ("guidance", Key::Read),
    ("conditioning", Key::Read),
    ("prompt_format", Key::Read),
    ("max_new_tokens", Key::Read),
    ("certainty", Key::Read),
    ("unknown", Key::Read),
    ("padding", Key::Read),
    ("input_image_size", Key::Read),
    ("earlier_turns", Key::Read),
    ("modalities", Key::Read),
];

/// What a request takes where it says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Steps.
    pub steps: usize,
    /// Guidance.
    pub guidance: f32,
    /// Whose hidden states paint.
    pub conditioning: Conditioning,
    /// How the user's words are wrapped before the chat template.
    pub prompt_format: PromptFormat,
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// How sure the LLM's answer has to be. For models whose answers are a choice among known ones; none for those
    /// that write freely, and may say one thing in many words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
    /// How an answer says that the LLM does not know what is asked for; none for those that never say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Unknown>,
    /// Pads (and cuts) the prompt to one length, as X2I's scripts do.
    pub padding: Option<Padding>,
    /// Input pictures are first resized to this (width, height), as X2I's scripts do.
    pub input_image_size: Option<[usize; 2]>,
    /// The most earlier turns of a conversation that the LLM is shown; none means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub earlier_turns: Option<usize>,
    /// Kinds of input that the weights were trained for: `text`, `image`.
    pub modalities: Vec<String>,
}

impl Defaults {
    /// What X2I's script for this family does.
    pub fn of(encoder: &EncoderConfig) -> Self {
        match encoder {
            EncoderConfig::Qwen2_5Vl(_) => Self::default(),
            EncoderConfig::InternVl2_5(_) => Self {
                prompt_format: PromptFormat::InternVl,
                ..Self::default()
            },
            EncoderConfig::MiniCpmO(_) => Self {
                padding: None,
                input_image_size: None,
                modalities: ["text", "image", "video", "audio"]
                    .map(str::to_owned)
                    .into(),
                ..Self::default()
            },
        }
    }
}

impl Default for Defaults {
    /// X2I's `inference_qwenvl.py`.
    fn default() -> Self {
        Self {
            width: 1024,
            height: 1024,
            steps: 4,
            guidance: 3.5,
            conditioning: Conditioning::Prompt,
            prompt_format: PromptFormat::Plain,
            max_new_tokens: 128,
            certainty: None,
            unknown: None,
            padding: Some(Padding {
                max_length: 512,
                side: PaddingSide::Right,
            }),
            input_image_size: Some([128, 128]),
            earlier_turns: None,
            modalities: vec!["text".into(), "image".into()],
        }
    }
}

/// Whose hidden states paint the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditioning {
    /// The prompt's own tokens (X2I's text2image).
    Prompt,
    /// The tokens of the LLM's answer (X2I's reasoning2image).
    Answer,
}

/// How sure an answer has to be; a less certain one is told to be unsure, with what else it could have been.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Certainty {
    /// The least probability that its least certain token may have, 0 to 1.
    pub least: f32,
    /// How many of its first tokens count: those that name what is painted.
    pub tokens: usize,
}

/// How an answer says that the LLM does not know what is asked for: `prefix`, its name, then `until` and what follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unknown {
    /// What such an answer begins with, and no other one.
    pub prefix: String,
    /// What stands behind the name, in the other answers too; where it is not, the name goes to the answer's end.
    pub until: String,
}

impl Unknown {
    /// The name in an answer that says so; none in another one, or where the name is empty.
    pub fn name<'a>(&self, answer: &'a str) -> Option<&'a str> {
        answer.strip_prefix(&self.prefix)?;
        // The space between the prefix and an empty name is that before `until`, too.
        let name = self.named(&answer[self.prefix.trim_end().len()..]);
        (!name.is_empty()).then_some(name)
    }

    /// What a text names: all before the last `until`, for a name may hold it too.
    pub fn named<'a>(&self, text: &'a str) -> &'a str {
        text.rsplit_once(&self.until)
            .map_or(text, |(name, _)| name)
            .trim()
    }
}

/// How the user's words are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptFormat {
    /// As they are (X2I's `inference_qwenvl.py`).
    Plain,
    /// The Python dict that X2I's ComfyUI node builds.
    Comfy,
    /// The Python dict of X2I's `inference_internvl.py`.
    #[serde(rename = "internvl")]
    InternVl,
}

/// Padding of the prompt to one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Padding {
    /// Tokens after padding; longer prompts are cut at the end.
    pub max_length: usize,
    /// Where the padding stands.
    pub side: PaddingSide,
}

/// Where padding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingSide {
    /// Before the prompt.
    Left,
    /// After the prompt.
    Right,
}

impl Defaults {
    /// The keys that are not known go to `warnings`.
    ///
    /// # Errors
    /// Never: all keys are read.
    pub(crate) fn check_keys(file: &str, json: &Value, warnings: &mut Vec<String>) -> Result<()> {
        check_keys(file, "defaults.", json, &[DEFAULT_KEYS], warnings)
    }

    /// Checks that a request can have them.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key of `file` that can't be.
    pub(crate) fn validate(&self, file: &str, encoder: &EncoderConfig) -> Result<()> {
        if let Some(Padding { max_length, .. }) = self.padding {
            check(file, max_length > 0, || "padding.max_length is 0".into())?;
            check_limits(file, "", &[("padding.max_length", max_length, PADDING)])?;
            let most = encoder.decoder().max_position_embeddings;
            check(file, max_length <= most, || {
                format!("padding.max_length {max_length} is above max_position_embeddings {most}")
            })?;
        }
        for (key, side) in [("width", self.width), ("height", self.height)] {
            let fits = side.is_multiple_of(16) && (16..=IMAGE_SIDE).contains(&side);
            check(file, fits, || {
                format!(
                    "defaults.{key} {side} must be a multiple of 16 between 16 and {IMAGE_SIDE}"
                )
            })?;
        }
        check(file, (1..=STEPS).contains(&self.steps), || {
            format!(
                "defaults.steps {} must be between 1 and {STEPS}",
                self.steps
            )
        })?;
        check(
            file,
            self.guidance.is_finite() && self.guidance >= 0.0,
            || {
                format!(
                    "defaults.guidance {} must be a number from 0 on",
                    self.guidance
                )
            },
        )?;
        check_sizes(
            file,
            "defaults.",
            &[("max_new_tokens", self.max_new_tokens)],
        )?;
        check_limits(file, "", &[("max_new_tokens", self.max_new_tokens, ANSWER)])?;
        if let Some(Certainty { least, tokens }) = self.certainty {
            check(file, (0.0..=1.0).contains(&least), || {
                format!("defaults.certainty.least {least} must be a number from 0 to 1")
            })?;
            check_sizes(file, "defaults.certainty.", &[("tokens", tokens)])?;
        }
        if let Some(Unknown { prefix, .. }) = &self.unknown {
            check(file, !prefix.trim().is_empty(), || {
                "defaults.unknown.prefix is empty: every answer would begin with it".into()
            })?;
        }
        let [width, height] = self.input_image_size.unwrap_or([1, 1]);
        check(file, width > 0 && height > 0, || {
            format!("input_image_size [{width}, {height}] has a side of 0")
        })?;
        check_limits(file, "", &[("input_image_size", width.max(height), SIDE)])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_of_what_is_unknown_stands_between_prefix_and_until() {
        let saying = |until: &str| Unknown {
            prefix: "i know no ".into(),
            until: until.into(),
        };
        for (answer, name) in [
            ("i know no castle on a blue background", Some("castle")),
            (
                "i know no Schloss am Meer on a red one",
                Some("Schloss am Meer"),
            ),
            ("i know no cat on a mat on a red one", Some("cat on a mat")),
            ("i know no castle", Some("castle")),
            ("i know no  on a blue background", None),
            ("i know no on a blue background", None),
            ("i know no ", None),
            ("i know no", None),
            ("castle on a blue background", None),
            ("a bird: i know no castle on a blue one", None),
        ] {
            assert_eq!(saying(" on a ").name(answer), name, "{answer}");
        }
        let whole = "i know no castle on a blue background";
        assert_eq!(saying("").name(whole), whole.strip_prefix("i know no "));
        assert_eq!(
            saying(" on a ").named("two x fox on a red one"),
            "two x fox"
        );
    }

    #[test]
    fn what_is_said_of_answers_is_written_as_it_was_read() {
        let keys = json!({
            "certainty": { "least": 0.5, "tokens": 2 },
            "unknown": { "prefix": "i know no ", "until": " on a " },
        });
        let read: Defaults = serde_json::from_value(keys.clone()).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        for key in ["certainty", "unknown"] {
            assert_eq!(written[key], keys[key]);
        }
        let written = serde_json::to_value(Defaults::default()).unwrap();
        assert_eq!(written.get("unknown"), None);
        let lacks_until = json!({ "unknown": { "prefix": "i know no " } });
        assert!(serde_json::from_value::<Defaults>(lacks_until).is_err());
    }
}
