//! Qwen2.5-VL: reads text, images and videos; gives hidden states of all layers and an answer.
//!
//! `input` makes ids and patches of a prompt, `vision` makes tokens of patches, and the shared
//! language model reads them. Source: transformers 4.49's `modeling_qwen2_5_vl.py` and X2I's
//! `infer/inference_qwenvl.py`. Not supported: batches of prompts. Not here: choosing frames of a
//! video (`video::sampling`).

pub mod input;
pub mod patches;
mod positions;
pub mod vision;
pub mod windows;

use burn::tensor::{Tensor, TensorData};

use self::input::Inputs;
use self::patches::{Patcher, Patches};
use self::vision::VisionTower;
use self::windows::Layout;
use super::family::Family;
use super::llm::{Llm, check_id};
use super::options::{EncodeOptions, resized};
use super::sequence::Sequence;
use crate::config::{EncoderPart, Padding, PreprocessorConfig, Qwen2_5VlConfig};
use crate::error::{Error, Result};
use crate::request::{Part, Prompt};
use crate::tokenizer::chat::VisionIds;
use crate::tokenizer::{ChatTemplate, Rendered, Tokenizer};
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

impl Family for Qwen2_5Vl {
    type Config = Qwen2_5VlConfig;
    type Inputs = Inputs;

    async fn load(
        config: &Qwen2_5VlConfig,
        part: &EncoderPart,
        tokenizer: Tokenizer,
        scope: &Scope<'_>,
    ) -> Result<Self> {
        let rows = config.decoder.vocab_size;
        for (key, id) in [
            ("image_token_id", config.image_token_id),
            ("video_token_id", config.video_token_id),
        ] {
            check_id("config.json", key, Some(id), rows)?;
        }
        for (token, key, id) in [
            ("<|image_pad|>", "image_token_id", config.image_token_id),
            ("<|video_pad|>", "video_token_id", config.video_token_id),
        ] {
            tokenizer.check_id(token, "config.json", key, id)?;
        }
        let visual = scope.child("visual");
        let parts = ["patch_embed.proj.weight", "merger.ln_q.weight"];
        let vision = match parts.iter().any(|name| visual.contains(name)) {
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

    fn llm(&self) -> &Llm {
        &self.llm
    }

    fn sequence(inputs: &Inputs) -> &Sequence {
        &inputs.sequence
    }

    fn prepare(&self, prompt: &Prompt, options: &EncodeOptions) -> Result<Inputs> {
        let images = self.cut_images(prompt, options.input_image_size)?;
        let videos = self.cut_videos(prompt, options.input_image_size)?;
        let mut quoter = self.llm.tokenizer().quoter(&[]);
        let mut messages = input::messages(prompt, options.prompt_format)?;
        for message in &mut messages {
            message.quote(&mut quoter);
        }
        let text = self.chat_template.render(&messages, VisionIds::Omit)?;
        self.assemble(quoter.restore(&text)?, images, videos, options.padding)
    }

    async fn embed(
        &self,
        inputs: &Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let mut shown = vec![];
        for (placeholder, visuals) in [
            (self.config.image_token_id, &inputs.images),
            (self.config.video_token_id, &inputs.videos),
        ] {
            if !visuals.is_empty() {
                shown.push((placeholder, self.look(visuals, before_layer).await?));
            }
        }
        Ok(self.llm.embed(&inputs.sequence.ids, shown))
    }
}

impl Qwen2_5Vl {
    /// The vision tower, where the weights have one.
    pub fn vision(&self) -> Option<&VisionTower> {
        self.vision.as_ref()
    }

    /// The inputs of a rendered template and of its images' and videos' patches.
    ///
    /// # Errors
    /// As [`Family::prepare`].
    pub fn assemble(
        &self,
        text: impl Into<Rendered>,
        images: Vec<Patches>,
        videos: Vec<Patches>,
        padding: Option<Padding>,
    ) -> Result<Inputs> {
        let ids = self.llm.tokenizer().encode_rendered(&text.into())?;
        let padding = self.llm.pad_with(padding)?;
        Inputs::new(&ids, images, videos, padding, &self.config)
    }

    /// Cuts images and frames of video into patches.
    pub fn patcher(&self) -> Patcher<'_> {
        Patcher {
            vision: &self.config.vision_config,
            preprocessor: &self.preprocessor,
        }
    }

    fn cut_images(&self, prompt: &Prompt, size: Option<[usize; 2]>) -> Result<Vec<Patches>> {
        let patcher = self.patcher();
        let cut =
            |(index, image)| patcher.image(&format!("image {}", index + 1), &resized(image, size)?);
        prompt.images().enumerate().map(cut).collect()
    }

    /// X2I's scripts give frames as many pixels as images.
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

    /// The vision tower's tokens `[tokens, hidden]` of images or videos.
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

    /// Patches of all images, `[patches, pixels]`.
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

#[cfg(test)]
mod tests;
