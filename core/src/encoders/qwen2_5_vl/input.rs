//! A prompt as the model takes it: token ids, mask, positions and patches.
//!
//! Text and pictures go through the chat template; each picture's placeholder becomes as many
//! tokens as the vision tower will give. Then the ids are cut and padded as X2I's scripts do.
//! Source: transformers 4.49's `Qwen2_5_VLProcessor`.

use super::patches::Patches;
use super::positions::{Positions, positions};
use crate::config::{Padding, PaddingSide, PromptFormat, Qwen2_5VlConfig};
use crate::error::{Error, Result};
use crate::prompt::{self, Pictures};
use crate::request::{Part, Prompt};
use crate::tokenizer::Content;

/// What the decoder and the vision tower read.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// Token ids, padding included.
    pub ids: Vec<u32>,
    /// False for padding.
    pub keep: Vec<bool>,
    /// One for every token, and where the answer continues.
    pub positions: Positions,
    /// Pictures in reading order.
    pub images: Vec<Patches>,
    /// Videos in reading order.
    pub videos: Vec<Patches>,
}

/// The parts of the user's turn; ComfyUI's form puts all pictures before one string.
pub fn message(prompt: &Prompt, format: PromptFormat) -> Vec<Content> {
    match format {
        PromptFormat::Plain => {
            let part = |part: &Part| match part {
                Part::Text(text) => Content::Text { text: text.clone() },
                Part::Image(_) => Content::Image,
            };
            prompt.parts.iter().map(part).collect()
        }
        PromptFormat::Comfy => {
            let mut content: Vec<Content> = prompt.images().map(|_| Content::Image).collect();
            let pictures = if content.is_empty() {
                Pictures::None
            } else {
                Pictures::Some
            };
            content.push(Content::Text {
                text: prompt::comfy(&prompt.joined_text(), pictures),
            });
            content
        }
    }
}

/// How a prompt's ids are made one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PadWith {
    /// The length, and where padding stands.
    pub padding: Padding,
    /// The token that fills.
    pub token: u32,
}

impl Inputs {
    /// Puts tokenized text and patches together.
    ///
    /// # Errors
    /// [`Error::Request`] when placeholders and pictures disagree, when a picture would be cut, or
    /// when the prompt is longer than the model allows.
    pub fn new(
        ids: &[u32],
        images: Vec<Patches>,
        videos: Vec<Patches>,
        padding: Option<PadWith>,
        config: &Qwen2_5VlConfig,
    ) -> Result<Self> {
        let unit = config.vision_config.spatial_merge_size.pow(2);
        let ids = expand("image", ids, config.image_token_id, &images, unit)?;
        let mut ids = expand("video", &ids, config.video_token_id, &videos, unit)?;
        let mut keep = vec![true; ids.len()];
        if let Some(PadWith {
            padding: Padding { max_length, side },
            token,
        }) = padding
        {
            if ids.len() > max_length {
                let cut = [config.image_token_id, config.video_token_id];
                let visual = !(images.is_empty() && videos.is_empty());
                if visual && ids[max_length..].iter().any(|id| cut.contains(id)) {
                    let reason = format!(
                        "has {} tokens with its pictures; only {max_length} are read, which would cut a picture",
                        ids.len()
                    );
                    return Err(Error::request("prompt", reason));
                }
                ids.truncate(max_length);
                keep.truncate(max_length);
            }
            let missing = max_length - ids.len();
            let at = if side == PaddingSide::Left {
                0
            } else {
                ids.len()
            };
            ids.splice(at..at, std::iter::repeat_n(token, missing));
            keep.splice(at..at, std::iter::repeat_n(false, missing));
        }
        if ids.is_empty() {
            return Err(Error::request("prompt", "has no tokens"));
        }
        if ids.len() > config.max_position_embeddings {
            let reason = format!(
                "has {} tokens; the model reads at most {}",
                ids.len(),
                config.max_position_embeddings
            );
            return Err(Error::request("prompt", reason));
        }
        let positions = positions(&ids, &keep, &images, &videos, config);
        Ok(Self {
            ids,
            keep,
            positions,
            images,
            videos,
        })
    }
}

/// Repeats each placeholder as often as its picture has tokens (`unit` patches make one).
fn expand(
    kind: &str,
    ids: &[u32],
    placeholder: u32,
    visuals: &[Patches],
    unit: usize,
) -> Result<Vec<u32>> {
    // Without pictures a placeholder is a token like any other, as in transformers.
    if visuals.is_empty() {
        return Ok(ids.to_vec());
    }
    let found = ids.iter().filter(|&&id| id == placeholder).count();
    if found != visuals.len() {
        let reason = format!(
            "has {found} {kind} placeholders for {} {kind}s; leave the placeholder token out of the text",
            visuals.len()
        );
        return Err(Error::request("prompt", reason));
    }
    let mut counts = visuals.iter().map(|visual| visual.grid.patches() / unit);
    let repeated = ids.iter().flat_map(|&id| {
        let count = if id == placeholder {
            counts.next().unwrap_or(1)
        } else {
            1
        };
        std::iter::repeat_n(id, count)
    });
    Ok(repeated.collect())
}
