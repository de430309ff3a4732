//! A prompt as Qwen2.5-VL reads it: token ids, mask, positions and patches.
//!
//! Text and images go through the chat template; an image's placeholder is repeated once for each
//! of its tokens. Then the ids are cut and padded as X2I's scripts do. Source: transformers 4.49's
//! `Qwen2_5_VLProcessor`.

use super::patches::Patches;
use super::positions::positions;
use crate::config::{PromptFormat, Qwen2_5VlConfig};
use crate::encoders::sequence::{PadWith, Padded, Sequence, expand, pad};
use crate::error::{Error, Result};
use crate::prompt::{self, Pictures};
use crate::request::{Part, Prompt, joined_text};
use crate::tokenizer::{Content, Message};

/// The input of the decoder and of the vision tower.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Ids, padding and positions.
    pub sequence: Sequence,
    /// Images in reading order.
    pub images: Vec<Patches>,
    /// Videos in reading order.
    pub videos: Vec<Patches>,
}

/// The conversation as the chat template takes it.
///
/// # Errors
/// [`Error::Modality`] for sounds.
pub(super) fn messages(prompt: &Prompt, format: PromptFormat) -> Result<Vec<Message>> {
    let mut messages = Vec::with_capacity(2 * prompt.earlier.len() + 1);
    for turn in &prompt.earlier {
        messages.push(Message::user(content(&turn.parts, format)?));
        messages.push(Message::assistant(&turn.answer));
    }
    messages.push(Message::user(content(&prompt.parts, format)?));
    Ok(messages)
}

/// The parts of one turn; the dict forms put all images and videos before one string.
fn content(parts: &[Part], format: PromptFormat) -> Result<Vec<Content>> {
    let content = parts.iter().map(|part| match part {
        Part::Text(text) => Ok(Content::Text { text: text.clone() }),
        Part::Image(_) => Ok(Content::Image),
        Part::Video(_) => Ok(Content::Video),
        Part::Audio(_) => Err(Error::Modality {
            model: "Qwen2.5-VL".into(),
            modality: "audio",
            alternatives: "MiniCPM-o 2.6",
        }),
    });
    let content: Vec<Content> = content.collect::<Result<_>>()?;
    Ok(match format {
        PromptFormat::Plain => content,
        PromptFormat::Comfy | PromptFormat::InternVl => {
            let is_shown = |part: &Content| !matches!(part, Content::Text { .. });
            let mut content: Vec<Content> = content.into_iter().filter(is_shown).collect();
            let pictures = if content.is_empty() {
                Pictures::None
            } else {
                Pictures::Some
            };
            let text = joined_text(parts);
            content.push(Content::Text {
                text: match format {
                    PromptFormat::InternVl => prompt::internvl(Some(&text)),
                    _ => prompt::comfy(&text, pictures),
                },
            });
            content
        }
    })
}

impl Inputs {
    /// Puts tokenized text and patches together.
    ///
    /// # Errors
    /// [`crate::Error::Request`] when placeholders and images disagree, when an image would be cut, or
    /// when the prompt is longer than the model allows.
    pub(super) fn new(
        ids: &[u32],
        images: Vec<Patches>,
        videos: Vec<Patches>,
        padding: Option<PadWith>,
        config: &Qwen2_5VlConfig,
    ) -> Result<Self> {
        let unit = config.vision_config.spatial_merge_size.pow(2);
        let counts = |visuals: &[Patches]| -> Vec<usize> {
            let tokens = visuals.iter().map(|visual| visual.grid.patches() / unit);
            tokens.collect()
        };
        let (image, video) = (config.image_token_id, config.video_token_id);
        let ids = expand("image", ids, image, &counts(&images))?;
        let ids = expand("video", &ids, video, &counts(&videos))?;
        let placeholders = [(image, &images), (video, &videos)];
        let placeholders = placeholders.iter().filter(|(_, shown)| !shown.is_empty());
        let placeholders: Vec<u32> = placeholders.map(|(id, _)| *id).collect();
        let Padded { ids, keep, tokens } = pad(
            ids,
            padding,
            &placeholders,
            config.decoder.max_position_embeddings,
        )?;
        let positions = positions(&ids, &keep, &images, &videos, config);
        Ok(Self {
            sequence: Sequence {
                ids,
                keep,
                positions,
                tokens,
            },
            images,
            videos,
        })
    }
}
