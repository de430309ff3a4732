//! T5's encoder: a token embedding before the stack.
//!
//! Source: transformers' `T5EncoderModel` of version 1.1. Every size from tiny to XXL runs the same
//! lines. Left out: the decoder, and attention masks.

use burn::tensor::{Device, Tensor};

use super::ids::ids_tensor;
use crate::config::T5Config;
use crate::error::Result;
use crate::nn::Embedding;
use crate::nn::t5::T5Stack;
use crate::weights::Scope;

/// The encoder; fields are the checkpoint's names.
#[derive(Debug)]
pub struct T5Encoder {
    shared: Embedding,
    encoder: T5Stack,
    device: Device,
}

impl T5Encoder {
    /// Reads all weights under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`] or [`crate::Error::Shape`].
    pub async fn load(config: &T5Config, scope: &Scope<'_>) -> Result<Self> {
        let &T5Config {
            vocab_size,
            width,
            ref stack,
        } = config;
        Ok(Self {
            shared: Embedding::load(&scope.child("shared"), vocab_size, width).await?,
            encoder: T5Stack::load(&scope.child("encoder"), width, stack).await?,
            device: scope.device().clone(),
        })
    }

    /// The last hidden state after the final norm, `[batch, tokens, width]`. All rows of `ids` have one
    /// length; padding takes part.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Tensor<3> {
        self.forward_with(ids, |_| {})
    }

    /// [`forward`](Self::forward), which shows the embedding and what every block gives, before the final
    /// norm.
    pub fn forward_with(
        &self,
        ids: &[Vec<u32>],
        mut on_state: impl FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let embedded = self.shared.forward(ids_tensor(ids, &self.device));
        on_state(&embedded);
        self.encoder.forward_with(embedded, on_state)
    }
}
