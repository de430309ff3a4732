//! A prompt as the decoder reads it: token ids, padding and positions.
//!
//! A placeholder is repeated once for every token of its image or sound; then the ids are cut and
//! padded as X2I's scripts do. Not here: which token is a family's placeholder (its `input`).

use crate::config::{Padding, PaddingSide};
use crate::encoders::qwen2::Position;
use crate::error::{Error, Field, Result};
use crate::request::PromptTokens;

/// What shortens a prompt that is too long for what it shows.
const LESS: &str = "give fewer, smaller or shorter ones";

/// What the decoder reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Token ids, padding included.
    pub ids: Vec<u32>,
    /// False for padding.
    pub keep: Vec<bool>,
    /// One for every token, and where the answer continues.
    pub positions: Positions,
    /// How much of the prompt they are.
    pub tokens: PromptTokens,
}

/// Positions of a prompt, and where the answer continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Positions {
    /// One of every token, padding included.
    pub tokens: Vec<Position>,
    /// The first answer token's position less the number of tokens before it.
    pub delta: i64,
}

impl Positions {
    /// 0, 1, 2 and so on, whatever is padding.
    pub fn counted(tokens: usize) -> Self {
        Self {
            tokens: (0..tokens as i64).map(|place| [place; 3]).collect(),
            delta: 0,
        }
    }
}

/// How a prompt's ids are made one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PadWith {
    /// The length, and where padding stands.
    pub padding: Padding,
    /// The token that fills.
    pub token: u32,
}

/// Ids of one length, and which of them are the prompt's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Padded {
    /// Token ids, padding included.
    pub ids: Vec<u32>,
    /// False for padding.
    pub keep: Vec<bool>,
    /// How much of the prompt they are.
    pub tokens: PromptTokens,
}

/// Cuts and pads `ids`; none of `placeholders` may be cut, and `most` tokens are the model's limit.
///
/// # Errors
/// [`Error::Request`] when an image or a sound would be cut, when nothing is there, or when the
/// prompt is longer than the model reads.
pub(super) fn pad(
    mut ids: Vec<u32>,
    padding: Option<PadWith>,
    placeholders: &[u32],
    most: usize,
) -> Result<Padded> {
    let mut keep = vec![true; ids.len()];
    let given = ids.len();
    if let Some(PadWith {
        padding: Padding { max_length, side },
        token,
    }) = padding
    {
        if ids.len() > max_length {
            if ids[max_length..].iter().any(|id| placeholders.contains(id)) {
                let reason = format!(
                    "has {given} tokens with its pictures; only {max_length} are read, which would cut a \
                     picture: {LESS}"
                );
                return Err(Error::request(Field::Prompt, reason));
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
        return Err(Error::request(Field::Prompt, "has no tokens"));
    }
    let read = keep.iter().filter(|&&keep| keep).count();
    if ids.len() > most {
        let shown = ids.iter().filter(|id| placeholders.contains(id)).count();
        let mut reason = format!("has {} tokens; the model reads at most {most}", ids.len());
        if shown > 0 {
            reason += &format!(" ({shown} are of what is shown or heard: {LESS})");
        }
        return Err(Error::request(Field::Prompt, reason));
    }
    let tokens = PromptTokens {
        read,
        left: given - read,
    };
    Ok(Padded { ids, keep, tokens })
}

/// Repeats each `placeholder` as often as `counts` says, in order.
///
/// # Errors
/// [`Error::Request`] when there are more or fewer placeholders than counts.
pub(super) fn expand(
    kind: &str,
    ids: &[u32],
    placeholder: u32,
    counts: &[usize],
) -> Result<Vec<u32>> {
    // With nothing to show a placeholder is a token like any other, as in transformers.
    if counts.is_empty() {
        return Ok(ids.to_vec());
    }
    let found = ids.iter().filter(|&&id| id == placeholder).count();
    if found != counts.len() {
        let reason = format!(
            "has {found} {kind} placeholders for {} {kind}s",
            counts.len()
        );
        return Err(Error::request(Field::Prompt, reason));
    }
    let mut counts = counts.iter();
    let repeated = ids.iter().flat_map(|&id| {
        let count = if id == placeholder {
            counts.next().copied().unwrap_or(1)
        } else {
            1
        };
        std::iter::repeat_n(id, count)
    });
    Ok(repeated.collect())
}
