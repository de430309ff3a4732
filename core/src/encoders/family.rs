//! The interface of a family of multimodal LLMs, and the steps from a prompt to hidden states,
//! which are the same for all families.

use burn::tensor::Tensor;

use super::decoding::Decoding;
use super::llm::Llm;
use super::options::{EncodeOptions, Encoded};
use super::sequence::Sequence;
use super::told::Told;
use crate::config::EncoderPart;
use crate::error::{Error, Field, Result};
use crate::request::{OnProgress, Part, Phase, Prompt, report};
use crate::tokenizer::Tokenizer;
use crate::weights::Scope;

/// A multimodal LLM on a device: towers for what is shown and heard, before a language model.
#[allow(
    async_fn_in_trait,
    reason = "nobody sends these futures: a browser has one thread"
)]
pub trait Family: Sized {
    /// Sizes of the towers and of the language model.
    type Config;
    /// A prompt as the towers and the language model read it.
    type Inputs;

    /// Reads the model that `part` describes under `scope`.
    ///
    /// # Errors
    /// [`crate::Error::MissingTensor`], [`crate::Error::Shape`], or [`crate::Error::Config`] for a
    /// template or a tokenizer that is not the family's.
    async fn load(
        config: &Self::Config,
        part: &EncoderPart,
        tokenizer: Tokenizer,
        scope: &Scope<'_>,
    ) -> Result<Self>;

    /// The language model.
    fn llm(&self) -> &Llm;

    /// The tokens of a prompt.
    fn sequence(inputs: &Self::Inputs) -> &Sequence;

    /// A prompt through the chat template, the processors and the tokenizer.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), without the device's.
    fn prepare(&self, prompt: &Prompt, options: &EncodeOptions) -> Result<Self::Inputs>;

    /// A prompt of these words through the same, and whether all of it arrives.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare) and [`Tokenizer::check_conversation`].
    fn check(&self, words: &str, options: &EncodeOptions) -> Result<()> {
        let prompt = Prompt::text(words);
        self.prepare(&prompt, options)?;
        // Padding cuts a prompt too.
        let whole = EncodeOptions {
            padding: None,
            ..options.clone()
        };
        let inputs = self.prepare(&prompt, &whole)?;
        let ids = &Self::sequence(&inputs).ids;
        self.llm().tokenizer().check_conversation(ids, words)
    }

    /// Token vectors `[1, tokens, hidden]`, with the towers' in place of placeholders.
    ///
    /// # Errors
    /// [`crate::Error::Modality`] for input that the weights have no tower for, and the errors of
    /// `before_layer`, which is called before every layer of a tower, so that a caller can stop.
    async fn embed(
        &self,
        inputs: &Self::Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>>;

    /// Reads a prompt; gives a decoding that can go on, and the hidden states
    /// `[1, layers + 1, tokens, hidden]`.
    ///
    /// # Errors
    /// As [`embed`](Self::embed).
    async fn read(
        &self,
        inputs: &Self::Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<(Decoding<'_>, Tensor<4>)> {
        let embeddings = self.embed(inputs, before_layer).await?;
        let sequence = Self::sequence(inputs);
        self.llm().read(embeddings, sequence, before_layer).await
    }

    /// Reads a prompt, and answers it where `options` ask for the answer's states.
    ///
    /// # Errors
    /// As [`Encoder::encode`](super::Encoder::encode).
    async fn encode(
        &self,
        prompt: &Prompt,
        options: &EncodeOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<Encoded> {
        let inputs = self.prepare(prompt, options);
        let inputs = inputs.map_err(|error| with_remedy(error, prompt))?;
        let mut before_layer = async || report(on_progress, Phase::Encode, 0, 1).await;
        let embeddings = self.embed(&inputs, &mut before_layer).await?;
        let sequence = Self::sequence(&inputs);
        self.llm()
            .encode(embeddings, sequence, options, on_progress)
            .await
    }

    /// The states of answers that are known before.
    ///
    /// # Errors
    /// As [`Encoder::told`](super::Encoder::told).
    async fn told(
        &self,
        pairs: &[(&str, &str)],
        options: &EncodeOptions,
    ) -> Result<Vec<Tensor<4>>> {
        let rows = pairs.iter().map(|(words, answer)| {
            let inputs = self.prepare(&Prompt::text(*words), options)?;
            let mut answer = self.llm().tokenizer().encode(answer)?;
            // The last token that is chosen is never fed.
            answer.truncate(options.max_new_tokens.saturating_sub(1));
            Ok(Told {
                prompt: Self::sequence(&inputs).clone(),
                answer,
            })
        });
        self.llm().told(&rows.collect::<Result<Vec<_>>>()?).await
    }
}

/// A prompt that is too long for its video has fewer tokens at a lower rate of frames.
fn with_remedy(error: Error, prompt: &Prompt) -> Error {
    let has_video = prompt
        .all_parts()
        .any(|part| matches!(part, Part::Video(_)));
    match error {
        Error::Request {
            field: Field::Prompt,
            ..
        } if has_video => error.mended_by(Field::VideoFps),
        other => other,
    }
}
