//! InternVL2.5: text, pictures and frames of video in, hidden states of all layers and an answer out.
//!
//! `input` makes the conversation's text, `tiles` cuts its pictures, `vision` and `projector` make
//! tokens of tiles, the shared language model reads them and answers. Source: X2I's
//! `model_internvl/internvl/modeling_internvl_chat.py` and `infer/inference_internvl.py`. Left out:
//! the sizes whose decoder is InternLM2, which X2I has no aligners for, and batches of prompts.

pub mod input;
mod positions;
pub mod projector;
pub mod tiles;
pub mod vision;

#[cfg(test)]
mod tests;

use burn::tensor::{Tensor, TensorData};

use self::input::{CONTEXT, Conversation, Inputs, Viewer};
use self::projector::Projector;
use self::tiles::{Tiler, Tiles};
use self::vision::InternVit;
use super::decoding::Decoding;
use super::llm::Llm;
use super::sequence::{PadWith, Padded, Positions, Sequence, pad};
use super::{EncodeOptions, Encoded};
use crate::config::{EncoderPart, InternVl2_5Config, Padding};
use crate::error::{Error, Field, Result};
use crate::request::{Conditioning, OnProgress, Phase, Prompt, report};
use crate::tokenizer::Tokenizer;
use crate::weights::Scope;

/// InternVL2.5 on a device.
pub struct InternVl2_5 {
    config: InternVl2_5Config,
    vision_model: InternVit,
    /// `mlp1`
    projector: Projector,
    /// `language_model`
    llm: Llm,
    /// The id of [`CONTEXT`].
    context: u32,
}

impl InternVl2_5 {
    /// Reads the vision tower, the projector, the decoder and its head.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], or [`Error::Config`] for a tokenizer without the
    /// token that stands for a picture's.
    pub async fn load(
        config: &InternVl2_5Config,
        part: &EncoderPart,
        tokenizer: Tokenizer,
        scope: &Scope<'_>,
    ) -> Result<Self> {
        let context = tokenizer.token_to_id(CONTEXT).ok_or_else(|| {
            Error::config(&part.tokenizer, format!("has no {CONTEXT}, InternVL's own"))
        })?;
        let (decoder, generation) = (&config.llm_config.decoder, part.generation.clone());
        let (sections, language_model) = ([decoder.head_dim() / 2], scope.child("language_model"));
        let llm = Llm::load(decoder, &sections, tokenizer, generation, &language_model).await?;
        let (grid, vision_model) = (config.grid(), scope.child("vision_model"));
        Ok(Self {
            vision_model: InternVit::load(&config.vision_config, grid, &vision_model).await?,
            projector: Projector::load(config, &scope.child("mlp1")).await?,
            llm,
            context,
            config: config.clone(),
        })
    }

    /// The vision tower.
    pub fn vision_model(&self) -> &InternVit {
        &self.vision_model
    }

    /// From the vision tower to the decoder.
    pub fn projector(&self) -> &Projector {
        &self.projector
    }

    /// See [`Encoder::encode`](super::Encoder::encode).
    ///
    /// # Errors
    /// As there.
    pub async fn encode(
        &self,
        prompt: &Prompt,
        options: &EncodeOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<Encoded> {
        let inputs = self.prepare(prompt, options)?;
        let mut before_layer = async || report(on_progress, Phase::Encode, 0, 1).await;
        let embeddings = self.embed(&inputs, &mut before_layer).await?;
        self.llm
            .encode(embeddings, &inputs.sequence, options, on_progress)
            .await
    }

    /// A prompt through the conversation's template, the tiler and the tokenizer. Where an answer is
    /// asked for there is no padding: the model goes on from its last token.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), short of the device's.
    pub fn prepare(&self, prompt: &Prompt, options: &EncodeOptions) -> Result<Inputs> {
        let viewer = Viewer {
            tiler: Tiler::new(&self.config),
            tile_tokens: self.config.tile_tokens(),
            input_image_size: options.input_image_size,
        };
        let shown = Conversation::new(prompt, options.prompt_format, viewer)?;
        let padding = match options.conditioning {
            Conditioning::Prompt => options.padding,
            Conditioning::Answer => None,
        };
        self.assemble(&shown.text, shown.tiles, padding)
    }

    /// The same from a rendered text and tiles. Text is cut to the padding's length; what is shown is
    /// not, and a prompt whose pictures reach beyond it is read whole.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn assemble(
        &self,
        text: &str,
        tiles: Vec<Tiles>,
        padding: Option<Padding>,
    ) -> Result<Inputs> {
        let ids = self.llm.tokenizer().encode(text)?;
        let placeholders = match tiles.is_empty() {
            true => vec![],
            false => vec![self.context],
        };
        self.check_context(&ids, &tiles)?;
        let reaches_beyond = |padding: &Padding| {
            let last = ids.iter().rposition(|id| placeholders.contains(id));
            last.is_some_and(|last| last >= padding.max_length)
        };
        let padding = match padding.filter(|padding| !reaches_beyond(padding)) {
            Some(padding) => Some(PadWith {
                padding,
                token: self.llm.pad_token()?,
            }),
            None => None,
        };
        let Padded { ids, keep } = pad(ids, padding, &placeholders, self.llm.max_positions())?;
        Ok(Inputs {
            sequence: Sequence {
                positions: Positions::counted(ids.len()),
                ids,
                keep,
            },
            tiles,
        })
    }

    /// With nothing shown a context token is a token like any other, as in the reference.
    fn check_context(&self, ids: &[u32], tiles: &[Tiles]) -> Result<()> {
        let found = ids.iter().filter(|&&id| id == self.context).count();
        let shown: usize = tiles.iter().map(|tiles| tiles.count).sum();
        let needed = shown * self.config.tile_tokens();
        if shown > 0 && found != needed {
            let reason = format!(
                "has {found} {CONTEXT} for the {needed} tokens of its pictures; leave {CONTEXT} out of the text"
            );
            return Err(Error::request(Field::Prompt, reason));
        }
        Ok(())
    }

    /// Reads a prompt: its hidden states `[1, layers + 1, tokens, hidden]`, and what is needed to go on.
    ///
    /// # Errors
    /// Whatever `before_layer` returns.
    pub async fn read(
        &self,
        inputs: &Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<(Decoding<'_>, Tensor<4>)> {
        let embeddings = self.embed(inputs, before_layer).await?;
        self.llm
            .read(embeddings, &inputs.sequence, before_layer)
            .await
    }

    /// Token vectors `[1, tokens, hidden]`, with the projector's in place of context tokens.
    async fn embed(
        &self,
        inputs: &Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let mut pictures = Vec::with_capacity(inputs.tiles.len());
        // One after the other: a layer's activations are then those of one picture's tiles.
        for tiles in &inputs.tiles {
            let seen = self
                .vision_model
                .forward(self.pixel_tensor(tiles), before_layer)
                .await?;
            let tokens = self.projector.project(self.projector.pixel_shuffle(seen));
            pictures.push(tokens.flatten::<2>(0, 1)); // [tiles * tokens, hidden]
        }
        let shown = match pictures.is_empty() {
            true => vec![],
            false => vec![(self.context, Tensor::cat(pictures, 0))],
        };
        Ok(self.llm.embed(&inputs.sequence.ids, shown))
    }

    /// The pixels of one picture, `[tiles, 3, size, size]`.
    pub fn pixel_tensor(&self, tiles: &Tiles) -> Tensor<4> {
        let size = self.config.tile_size();
        let values = TensorData::new(tiles.pixel_values.clone(), [tiles.count, 3, size, size]);
        Tensor::from_data(values, self.llm.device())
    }
}
