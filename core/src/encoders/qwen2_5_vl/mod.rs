//! Qwen2.5-VL: text and pictures in, hidden states of all layers and an answer out.
//!
//! `input` makes ids and patches of a prompt, `vision` makes tokens of patches, the shared language
//! model reads them and answers. Source: transformers 4.49's `modeling_qwen2_5_vl.py` and X2I's
//! `infer/inference_qwenvl.py`. Left out: batches of prompts; `video::sampling` chooses frames.

pub mod input;
pub mod patches;
pub mod positions;
pub mod vision;
pub mod windows;

#[cfg(test)]
mod tests;

use burn::tensor::{Tensor, TensorData};

use self::input::Inputs;
use self::patches::{Patcher, Patches};
use self::vision::VisionTower;
use self::windows::Layout;
use super::decoding::Decoding;
use super::llm::Llm;
use super::sequence::PadWith;
use super::{EncodeOptions, Encoded};
use crate::config::{EncoderPart, Padding, PreprocessorConfig, Qwen2_5VlConfig};
use crate::error::{Error, Result};
use crate::image::resize::resize_bicubic;
use crate::request::{OnProgress, Part, Phase, Prompt, report};
use crate::tokenizer::chat::VisionIds;
use crate::tokenizer::{ChatTemplate, Tokenizer};
use crate::video::Video;
use crate::weights::Scope;

/// Qwen2.5-VL on a device.
pub struct Qwen2_5Vl {
    config: Qwen2_5VlConfig,
    preprocessor: PreprocessorConfig,
    chat_template: ChatTemplate,
    llm: Llm,
    /// None when the weights are a decoder's alone (llama.cpp keeps the tower in another file).
    vision: Option<VisionTower>,
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
        let visual = scope.child("visual");
        let vision = match visual.contains("patch_embed.proj.weight") {
            true => Some(VisionTower::load(&config.vision_config, &visual).await?),
            false => None,
        };
        let (sections, generation) = (&config.rope_scaling.mrope_section, part.generation.clone());
        Ok(Self {
            preprocessor: part.preprocessor.clone(),
            chat_template: ChatTemplate::new(part.chat_template.clone())?,
            llm: Llm::load(&config.decoder, sections, tokenizer, generation, scope).await?,
            vision,
            config: config.clone(),
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.llm.tokenizer()
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
        let mut before_block = async || report(on_progress, Phase::Encode, 0, 1).await;
        let embeddings = self.embed(&inputs, &mut before_block).await?;
        self.llm
            .encode(embeddings, &inputs.sequence, options, on_progress)
            .await
    }

    /// A prompt through the chat template, the image processor and the tokenizer.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), short of the device's.
    pub fn prepare(&self, prompt: &Prompt, options: &EncodeOptions) -> Result<Inputs> {
        let images = self.cut_images(prompt, options.input_image_size)?;
        let videos = self.cut_videos(prompt, options.input_image_size)?;
        let messages = input::messages(prompt, options.prompt_format)?;
        let text = self.chat_template.render(&messages, VisionIds::Omit)?;
        self.assemble(&text, images, videos, options.padding)
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
                token: self.llm.pad_token()?,
            }),
            None => None,
        };
        Inputs::new(
            &self.llm.tokenizer().encode(text)?,
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
        self.llm
            .read(embeddings, &inputs.sequence, before_layer)
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

    /// X2I's scripts give frames as many pixels as pictures.
    fn cut_videos(&self, prompt: &Prompt, size: Option<[usize; 2]>) -> Result<Vec<Patches>> {
        let videos = prompt.all_parts().filter_map(|part| match part {
            Part::Video(video) => Some(video),
            _ => None,
        });
        let patcher = self.patcher();
        let frames_a_step = self.config.vision_config.temporal_patch_size as f64;
        let cut = |(index, video): (usize, &Video)| {
            let seconds_per_grid = (frames_a_step / video.fps()) as f32;
            let name = format!("video {}", index + 1);
            match size {
                Some([width, height]) => {
                    let frames = patcher.fetch(&name, video.frames(), width * height)?;
                    patcher.frames(&name, &frames, seconds_per_grid)
                }
                None => patcher.frames(&name, video.frames(), seconds_per_grid),
            }
        };
        videos.enumerate().map(cut).collect()
    }

    /// Token vectors `[1, tokens, hidden]`, with the vision tower's in place of placeholders.
    async fn embed(
        &self,
        inputs: &Inputs,
        before_block: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let mut shown = vec![];
        for (placeholder, visuals) in [
            (self.config.image_token_id, &inputs.images),
            (self.config.video_token_id, &inputs.videos),
        ] {
            if !visuals.is_empty() {
                shown.push((placeholder, self.look(visuals, before_block).await?));
            }
        }
        Ok(self.llm.embed(&inputs.sequence.ids, shown))
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
        Tensor::from_data(
            TensorData::new(values, [patches, pixels]),
            self.llm.device(),
        )
    }
}
