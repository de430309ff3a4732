//! Multimodal LLMs: they read a prompt and give the hidden states of all their layers.
//!
//! [`Encoder`] chooses the family by the config. Not here: how hidden states become conditioning
//! (`align_net`), and how weights are downloaded or mapped.

mod alternatives;
mod decoder_layer;
pub mod decoding;
mod doubt;
mod family;
pub mod internvl2_5;
mod layers;
pub mod llm;
pub mod minicpm_o;
mod options;
mod qwen2;
pub mod qwen2_5_vl;
pub mod sampling;
pub mod sequence;
mod told;

pub use family::Family;
pub use internvl2_5::InternVl2_5;
pub(crate) use layers::EncoderBytes;
pub use minicpm_o::MiniCpmO;
pub use options::{EncodeOptions, Encoded};
pub use qwen2_5_vl::Qwen2_5Vl;

use burn::tensor::Tensor;

use crate::config::{EncoderConfig, EncoderPart};
use crate::error::Result;
use crate::request::{OnProgress, Prompt};
use crate::tokenizer::Tokenizer;
use crate::weights::Scope;

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
            EncoderConfig::Qwen2_5Vl(config) => load(config, part, tokenizer, scope)
                .await
                .map(Self::Qwen2_5Vl),
            EncoderConfig::InternVl2_5(config) => load(config, part, tokenizer, scope)
                .await
                .map(Self::InternVl2_5),
            EncoderConfig::MiniCpmO(config) => load(config, part, tokenizer, scope)
                .await
                .map(Self::MiniCpmO),
        }
    }

    /// Takes a prompt of these words through the chat template and the tokenizer, without the device.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), without the device's; [`crate::Error::Config`] where words or control
    /// tokens get lost on the way.
    pub fn check(&self, words: &str, options: &EncodeOptions) -> Result<()> {
        match self {
            Self::Qwen2_5Vl(model) => model.check(words, options),
            Self::InternVl2_5(model) => model.check(words, options),
            Self::MiniCpmO(model) => model.check(words, options),
        }
    }

    /// Reads a prompt, answers it where `options` ask for the answer's states, and gives the
    /// hidden states. Progress counts the answer's tokens.
    ///
    /// # Errors
    /// [`crate::Error::Request`] for a prompt that is too long or an answer that is empty,
    /// [`crate::Error::Image`] for an image that can't be read, [`crate::Error::Device`] for a
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

    /// The hidden states `[1, layers + 1, tokens, hidden]` of answers that are known before, each beside its prompt's
    /// words: what [`encode`](Self::encode) gives where the model answers so. An answer is cut where `options` end it.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); [`crate::Error::Request`] for an answer without a token.
    pub async fn told(
        &self,
        pairs: &[(&str, &str)],
        options: &EncodeOptions,
    ) -> Result<Vec<Tensor<4>>> {
        match self {
            Self::Qwen2_5Vl(model) => model.told(pairs, options).await,
            Self::InternVl2_5(model) => model.told(pairs, options).await,
            Self::MiniCpmO(model) => model.told(pairs, options).await,
        }
    }
}

async fn load<F: Family>(
    config: &F::Config,
    part: &EncoderPart,
    tokenizer: Tokenizer,
    scope: &Scope<'_>,
) -> Result<Box<F>> {
    let model = Box::pin(F::load(config, part, tokenizer, scope)).await?;
    Ok(Box::new(model))
}

#[cfg(test)]
mod tests;
