//! InternVL2.5: reads text, images and frames of video; gives hidden states of all layers and an
//! answer.
//!
//! `input` renders the conversation, `tiles` cuts its images, `vision` and `projector` make tokens
//! of tiles, and the shared language model reads them. Source: X2I's
//! `model_internvl/internvl/modeling_internvl_chat.py` and `infer/inference_internvl.py`. Not
//! supported: the sizes whose decoder is InternLM2, which X2I has no aligners for, and batches of
//! prompts.

pub mod input;
mod positions;
pub mod projector;
pub mod tiles;
pub mod vision;

use burn::tensor::{Tensor, TensorData};

use self::input::{CONTEXT, Conversation, Inputs, Viewer};
use self::projector::Projector;
use self::tiles::{Tiler, Tiles};
use self::vision::InternVit;
use super::family::Family;
use super::llm::Llm;
use super::options::EncodeOptions;
use super::sequence::{Padded, Positions, Sequence, pad};
use crate::config::{Conditioning, EncoderPart, InternVl2_5Config, Padding};
use crate::error::{Error, Field, Result};
use crate::request::Prompt;
use crate::tokenizer::{Rendered, Tokenizer};
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

impl Family for InternVl2_5 {
    type Config = InternVl2_5Config;
    type Inputs = Inputs;

    async fn load(
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

    fn llm(&self) -> &Llm {
        &self.llm
    }

    fn sequence(inputs: &Inputs) -> &Sequence {
        &inputs.sequence
    }

    /// There is no padding before an answer: the model goes on from the prompt's last token.
    fn prepare(&self, prompt: &Prompt, options: &EncodeOptions) -> Result<Inputs> {
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
        self.assemble(shown.rendered(), shown.tiles, padding)
    }

    async fn embed(
        &self,
        inputs: &Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let mut pictures = Vec::with_capacity(inputs.tiles.len());
        // One after the other: a layer's activations are then those of one image's tiles.
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
}

impl InternVl2_5 {
    /// The vision tower.
    pub fn vision_model(&self) -> &InternVit {
        &self.vision_model
    }

    /// From the vision tower to the decoder.
    pub fn projector(&self) -> &Projector {
        &self.projector
    }

    /// The inputs of a rendered text and its tiles. Text is cut to the padding's length; a prompt
    /// whose images reach beyond that length is read whole.
    ///
    /// # Errors
    /// As [`Family::prepare`].
    pub fn assemble(
        &self,
        text: impl Into<Rendered>,
        tiles: Vec<Tiles>,
        padding: Option<Padding>,
    ) -> Result<Inputs> {
        let ids = self.llm.tokenizer().encode_rendered(&text.into())?;
        let placeholders = match tiles.is_empty() {
            true => vec![],
            false => vec![self.context],
        };
        self.check_context(&ids, &tiles)?;
        let reaches_beyond = |padding: &Padding| {
            let last = ids.iter().rposition(|id| placeholders.contains(id));
            last.is_some_and(|last| last >= padding.max_length)
        };
        let padding = padding.filter(|padding| !reaches_beyond(padding));
        let padding = self.llm.pad_with(padding)?;
        let most = self.llm.max_positions();
        let Padded { ids, keep, tokens } = pad(ids, padding, &placeholders, most)?;
        Ok(Inputs {
            sequence: Sequence {
                positions: Positions::counted(ids.len()),
                ids,
                keep,
                tokens,
            },
            tiles,
        })
    }

    /// Without images a context token is a token like any other, as in the reference.
    fn check_context(&self, ids: &[u32], tiles: &[Tiles]) -> Result<()> {
        let found = ids.iter().filter(|&&id| id == self.context).count();
        let shown: usize = tiles.iter().map(|tiles| tiles.count).sum();
        let needed = shown * self.config.tile_tokens();
        if shown > 0 && found != needed {
            let reason = format!("has {found} {CONTEXT} for the {needed} tokens of its pictures");
            return Err(Error::request(Field::Prompt, reason));
        }
        Ok(())
    }

    /// The pixels of one image, `[tiles, 3, size, size]`.
    pub fn pixel_tensor(&self, tiles: &Tiles) -> Tensor<4> {
        let size = self.config.tile_size();
        let values = TensorData::new(tiles.pixel_values.clone(), [tiles.count, 3, size, size]);
        Tensor::from_data(values, self.llm.device())
    }
}

#[cfg(test)]
mod tests;
