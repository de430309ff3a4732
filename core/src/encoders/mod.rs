//! Multimodal LLMs: what is shown or said becomes the hidden states of all layers.
//!
//! [`Encoder`] chooses the family by the config. Left out: what the states mean to the painter
//! (`align_net`), and downloading or mapping weights.

pub mod decoding;
pub mod internvl2_5;
pub mod llm;
pub mod minicpm_o;
pub mod qwen2;
pub mod qwen2_5_vl;
pub mod sampling;
pub mod sequence;

use burn::tensor::Tensor;

pub use internvl2_5::InternVl2_5;
pub use minicpm_o::MiniCpmO;
pub use qwen2_5_vl::Qwen2_5Vl;

use crate::config::{EncoderConfig, EncoderPart, Padding, PromptFormat};
use crate::error::Result;
use crate::request::{Conditioning, OnProgress, Prompt};
use crate::tokenizer::Tokenizer;
use crate::weights::Scope;

/// How a prompt is read and answered.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodeOptions {
    /// Whose hidden states are wanted.
    pub conditioning: Conditioning,
    /// How the user's words are wrapped before the chat template.
    pub prompt_format: PromptFormat,
    /// Pads (and cuts) the prompt to one length.
    pub padding: Option<Padding>,
    /// Input pictures are first resized to this (width, height).
    pub input_image_size: Option<[usize; 2]>,
    /// The most tokens of an answer.
    pub max_new_tokens: usize,
    /// Seed of a sampled answer.
    pub seed: u64,
}

/// What the painter's AlignNet reads.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[1, layers + 1, tokens, hidden]`: the embedding, every layer but the last, and the last one
    /// after the final norm; of the prompt's tokens (padding included) or of the answer's.
    pub hidden_states: Tensor<4>,
    /// Tokens of the prompt, padding included.
    pub prompt_tokens: usize,
    /// What the LLM answered, where it was asked to.
    pub answer: Option<String>,
}

/// A multimodal LLM on a device. Boxed, and so is the work of each family: all of them together would
/// take more stack than a thread of a browser has.
pub enum Encoder {
    /// Qwen2.5-VL 3B and 7B.
    Qwen2_5Vl(Box<Qwen2_5Vl>),
    /// InternVL2.5 1B and 4B.
    InternVl2_5(Box<InternVl2_5>),
    /// MiniCPM-o 2.6.
    MiniCpmO(Box<MiniCpmO>),
}

impl Encoder {
    /// Reads the LLM that `part` describes under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`], [`crate::Error::Shape`], or [`crate::Error::Config`] for a
    /// template that is no Jinja.
    pub async fn load(part: &EncoderPart, tokenizer: Tokenizer, scope: &Scope<'_>) -> Result<Self> {
        match &part.config {
            EncoderConfig::Qwen2_5Vl(config) => {
                let model = Box::pin(Qwen2_5Vl::load(config, part, tokenizer, scope)).await?;
                Ok(Self::Qwen2_5Vl(Box::new(model)))
            }
            EncoderConfig::InternVl2_5(config) => {
                let model = Box::pin(InternVl2_5::load(config, part, tokenizer, scope)).await?;
                Ok(Self::InternVl2_5(Box::new(model)))
            }
            EncoderConfig::MiniCpmO(config) => {
                let model = Box::pin(MiniCpmO::load(config, part, tokenizer, scope)).await?;
                Ok(Self::MiniCpmO(Box::new(model)))
            }
        }
    }

    /// Reads a prompt, answers it where `options` ask for the answer's states, and gives the
    /// hidden states. Progress counts the answer's tokens.
    ///
    /// # Errors
    /// [`crate::Error::Request`] for a prompt that is too long or an answer that is empty,
    /// [`crate::Error::Image`] for a picture that can't be read, [`crate::Error::Device`] for a
    /// lost device, [`crate::Error::Cancelled`] when `on_progress` breaks.
    pub async fn encode(
        &self,
        prompt: &Prompt,
        options: &EncodeOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<Encoded> {
        match self {
            Self::Qwen2_5Vl(model) => Box::pin(model.encode(prompt, options, on_progress)).await,
            Self::InternVl2_5(model) => Box::pin(model.encode(prompt, options, on_progress)).await,
            Self::MiniCpmO(model) => Box::pin(model.encode(prompt, options, on_progress)).await,
        }
    }
}
