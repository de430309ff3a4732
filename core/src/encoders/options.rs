//! Options and result of an encoder.

use burn::tensor::Tensor;

use crate::config::{Certainty, Conditioning, Defaults, Padding, PromptFormat, Unknown};
use crate::error::Result;
use crate::image::Image;
use crate::image::resize::resize_bicubic;
use crate::request::{Answer, PromptTokens};

/// How a prompt is read and answered.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeOptions {
    /// Hidden states of the prompt, or of the answer.
    pub conditioning: Conditioning,
    /// How the user's words are wrapped before the chat template.
    pub prompt_format: PromptFormat,
    /// Pads (and cuts) the prompt to one length.
    pub padding: Option<Padding>,
    /// Input images are first resized to this (width, height), in pixels.
    pub input_image_size: Option<[usize; 2]>,
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// Seed of a sampled answer.
    pub seed: u64,
    /// How sure an answer has to be; a less certain one comes with alternatives.
    pub certainty: Option<Certainty>,
    /// How an answer says that the LLM does not know what is asked for; such a one comes with alternatives.
    pub unknown: Option<Unknown>,
}

impl EncodeOptions {
    /// A prompt of a single turn, as the model's defaults have it.
    pub fn of(defaults: &Defaults, conditioning: Conditioning, seed: u64) -> Self {
        Self {
            conditioning,
            prompt_format: defaults.prompt_format,
            padding: defaults.padding,
            input_image_size: defaults.input_image_size,
            max_new_tokens: defaults.max_new_tokens,
            seed,
            certainty: defaults.certainty,
            unknown: defaults.unknown.clone(),
        }
    }
}

/// Hidden states for AlignNet.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[1, layers + 1, tokens, hidden]`: the embedding, every layer but the last, and the last one
    /// after the final norm; of the prompt's tokens (padding included) or of the answer's.
    pub hidden_states: Tensor<4>,
    /// Tokens of the prompt, padding included.
    pub prompt_tokens: usize,
    /// How much of the prompt they are.
    pub tokens: PromptTokens,
    /// The LLM's answer, where one was asked for.
    pub answer: Option<Answer>,
}

/// An image in the given (width, height), or as it is without one.
///
/// # Errors
/// [`crate::Error::Image`] when a side is 0 or the result is too large.
pub(super) fn resized(image: &Image, size: Option<[usize; 2]>) -> Result<Image> {
    match size {
        Some([width, height]) => resize_bicubic(image, width, height),
        None => Ok(image.clone()),
    }
}
