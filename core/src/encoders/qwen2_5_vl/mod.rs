//! Qwen2.5-VL: text and pictures in, hidden states of all layers and an answer out.
//!
//! `input` makes ids and patches of a prompt, `vision` makes tokens of patches, the shared decoder
//! reads them, `generate` answers. Source: transformers 4.49's `modeling_qwen2_5_vl.py` and X2I's
//! `infer/inference_qwenvl.py`. Left out: choosing frames of a video, and batches of prompts.

pub mod generate;
pub mod input;
pub mod patches;
pub mod positions;
pub mod vision;
pub mod windows;

#[cfg(test)]
mod tests;

use burn::tensor::{Device, Int, Tensor, TensorData};

use self::generate::Decoding;
use self::input::{Inputs, PadWith};
use self::patches::{Patcher, Patches};
use self::vision::VisionTower;
use self::windows::Layout;
use super::qwen2::{Qwen2, Qwen2Config, Rotary};
use super::sampling::Sampler;
use super::{EncodeOptions, Encoded};
use crate::config::{EncoderPart, GenerationConfig, Padding, PreprocessorConfig, Qwen2_5VlConfig};
use crate::error::{Error, Result};
use crate::image::resize::resize_bicubic;
use crate::request::{Conditioning, OnProgress, Phase, Prompt, report};
use crate::tokenizer::chat::VisionIds;
use crate::tokenizer::{ChatTemplate, Message, SpecialTokens, Tokenizer};
use crate::weights::Scope;

/// Qwen2.5-VL on a device.
pub struct Qwen2_5Vl {
    config: Qwen2_5VlConfig,
    preprocessor: PreprocessorConfig,
    generation: GenerationConfig,
    tokenizer: Tokenizer,
    chat_template: ChatTemplate,
    decoder: Qwen2,
    /// None when the weights are a decoder's alone (llama.cpp keeps the tower in another file).
    vision: Option<VisionTower>,
    rotary: Rotary,
    device: Device,
}

impl Qwen2_5Vl {
    /// Reads the decoder, its head and the vision tower.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`], or [`Error::Config`] for a broken template.
    pub async fn load(
        config: &Qwen2_5VlConfig,
        part: &EncoderPart,
        tokenizer: Tokenizer,
        scope: &Scope<'_>,
    ) -> Result<Self> {
        let decoder = Qwen2Config {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            rms_norm_eps: config.rms_norm_eps,
            tie_word_embeddings: config.tie_word_embeddings,
        };
        let visual = scope.child("visual");
        let vision = match visual.contains("patch_embed.proj.weight") {
            true => Some(VisionTower::load(&config.vision_config, &visual).await?),
            false => None,
        };
        Ok(Self {
            preprocessor: part.preprocessor.clone(),
            generation: part.generation.clone(),
            chat_template: ChatTemplate::new(part.chat_template.clone())?,
            decoder: Qwen2::load(&decoder, scope).await?,
            vision,
            rotary: Rotary::new(
                config.head_dim(),
                config.rope_theta,
                &config.rope_scaling.mrope_section,
            ),
            tokenizer,
            device: scope.device().clone(),
            config: config.clone(),
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The vision tower, where the weights have one.
    pub fn vision(&self) -> Option<&VisionTower> {
        self.vision.as_ref()
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
        let prompt_tokens = inputs.ids.len();
        match options.conditioning {
            Conditioning::Prompt => {
                let mut before_layer = async || report(on_progress, Phase::Encode, 0, 1).await;
                let (_, hidden_states) = self.read(&inputs, &mut before_layer).await?;
                report(on_progress, Phase::Encode, 1, 1).await?;
                Ok(Encoded {
                    hidden_states,
                    prompt_tokens,
                    answer: None,
                })
            }
            Conditioning::Answer => {
                let answer = self.answer(&inputs, options, on_progress).await?;
                let text = self.tokenizer.decode(&answer.tokens, SpecialTokens::Skip)?;
                let hidden_states = answer.hidden_states.ok_or_else(|| {
                    Error::request(
                        "--answer",
                        "the LLM's answer is empty; paint from the prompt, or ask for more tokens",
                    )
                })?;
                Ok(Encoded {
                    hidden_states,
                    prompt_tokens,
                    answer: Some(text),
                })
            }
        }
    }

    /// A prompt through the chat template, the image processor and the tokenizer.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), short of the device's.
    pub fn prepare(&self, prompt: &Prompt, options: &EncodeOptions) -> Result<Inputs> {
        let images = self.cut_images(prompt, options.input_image_size)?;
        let message = Message::user(input::message(prompt, options.prompt_format));
        let text = self.chat_template.render(&[message], VisionIds::Omit)?;
        self.assemble(&text, images, vec![], options.padding)
    }

    /// The same from a rendered template and patches.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn assemble(
        &self,
        text: &str,
        images: Vec<Patches>,
        videos: Vec<Patches>,
        padding: Option<Padding>,
    ) -> Result<Inputs> {
        let padding = match padding {
            Some(padding) => Some(PadWith {
                padding,
                token: self.pad_token()?,
            }),
            None => None,
        };
        Inputs::new(
            &self.tokenizer.encode(text)?,
            images,
            videos,
            padding,
            &self.config,
        )
    }

    /// Cuts pictures and frames of video into patches.
    pub fn patcher(&self) -> Patcher<'_> {
        Patcher {
            vision: &self.config.vision_config,
            preprocessor: &self.preprocessor,
        }
    }

    /// Reads a prompt: its hidden states `[1, layers + 1, tokens, hidden]`, and what is needed to go on.
    ///
    /// # Errors
    /// [`Error::Modality`] for pictures without a vision tower, and whatever `before_layer` returns.
    pub async fn read(
        &self,
        inputs: &Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<(Decoding<'_>, Tensor<4>)> {
        let embeddings = self.embed(inputs, before_layer).await?;
        let mut decoding = Decoding::new(&self.decoder, &self.rotary, &self.device);
        let states = decoding.prefill(embeddings, inputs, before_layer).await?;
        Ok((decoding, states))
    }

    async fn answer(
        &self,
        inputs: &Inputs,
        options: &EncodeOptions,
        on_progress: &mut impl OnProgress,
    ) -> Result<generate::Answer> {
        // Positions end where the model's do; at least one token is asked for.
        let room = self
            .config
            .max_position_embeddings
            .saturating_sub(inputs.ids.len());
        let most = options.max_new_tokens.min(room).max(1);
        let mut sampler = Sampler::new(self.generation.clone(), &inputs.ids, options.seed);
        let mut before_layer = async || report(on_progress, Phase::Encode, 0, most).await;
        let (decoding, states) = self.read(inputs, &mut before_layer).await?;
        let logits = self.decoder.logits(&states);
        decoding
            .answer(logits, &mut sampler, &self.end_tokens(), most, on_progress)
            .await
    }

    fn cut_images(&self, prompt: &Prompt, size: Option<[usize; 2]>) -> Result<Vec<Patches>> {
        let patcher = self.patcher();
        let cut = |(index, image)| {
            let name = format!("image {}", index + 1);
            match size {
                Some([width, height]) => {
                    patcher.image(&name, &resize_bicubic(image, width, height)?)
                }
                None => patcher.image(&name, image),
            }
        };
        prompt.images().enumerate().map(cut).collect()
    }

    /// Token vectors `[1, tokens, hidden]`, with the vision tower's in place of placeholders.
    async fn embed(
        &self,
        inputs: &Inputs,
        before_block: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let text = self.decoder.embed(&inputs.ids, &self.device);
        let mut rows: Vec<i32> = (0..inputs.ids.len() as i32).collect();
        let mut tables = vec![text];
        let mut next = inputs.ids.len() as i32;
        let kinds = [
            (self.config.image_token_id, &inputs.images),
            (self.config.video_token_id, &inputs.videos),
        ];
        for (placeholder, visuals) in kinds {
            if visuals.is_empty() {
                continue;
            }
            tables.push(self.look(visuals, before_block).await?.unsqueeze());
            for (row, _) in rows
                .iter_mut()
                .zip(&inputs.ids)
                .filter(|(_, id)| **id == placeholder)
            {
                *row = next;
                next += 1;
            }
        }
        if tables.len() == 1 {
            return Ok(tables.remove(0));
        }
        let tokens = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [tokens]), &self.device);
        Ok(Tensor::cat(tables, 1).select(1, rows))
    }

    /// The vision tower's tokens `[tokens, hidden]` of pictures or videos.
    async fn look(
        &self,
        visuals: &[Patches],
        before_block: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<2>> {
        let vision = self.vision.as_ref().ok_or_else(|| Error::Modality {
            model: "this encoder (its weights hold no vision tower)".into(),
            modality: "images",
            alternatives: "Qwen2.5-VL with the tensors of `visual.*`",
        })?;
        let grids: Vec<_> = visuals.iter().map(|visual| visual.grid).collect();
        let layout = Layout::new(&grids, &self.config.vision_config);
        vision
            .forward(self.pixel_tensor(visuals), &layout, before_block)
            .await
    }

    /// Patches of all pictures, `[patches, pixels]`.
    pub fn pixel_tensor(&self, visuals: &[Patches]) -> Tensor<2> {
        let values: Vec<f32> = visuals
            .iter()
            .flat_map(|visual| visual.pixel_values.iter().copied())
            .collect();
        let patches: usize = visuals.iter().map(|visual| visual.grid.patches()).sum();
        let pixels = values.len() / patches.max(1);
        Tensor::from_data(TensorData::new(values, [patches, pixels]), &self.device)
    }

    fn pad_token(&self) -> Result<u32> {
        let configured = self.generation.pad_token_id;
        configured
            .or_else(|| self.tokenizer.token_to_id("<|endoftext|>"))
            .ok_or_else(|| {
                Error::config(
                    "generation_config.json",
                    "has no pad_token_id, and the tokenizer has no <|endoftext|>",
                )
            })
    }

    /// The tokens that end an answer; Qwen's own where the config names none.
    fn end_tokens(&self) -> Vec<u32> {
        if !self.generation.eos_token_id.is_empty() {
            return self.generation.eos_token_id.clone();
        }
        let own = ["<|im_end|>", "<|endoftext|>"];
        own.iter()
            .filter_map(|token| self.tokenizer.token_to_id(token))
            .collect()
    }
}
