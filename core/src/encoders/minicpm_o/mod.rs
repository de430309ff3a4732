//! MiniCPM-o 2.6: reads text, images, videos and sounds; gives hidden states of all layers and an
//! answer.
//!
//! `input` and `slices` make ids, views and spectrograms of a prompt; `vision` and `resampler` make
//! tokens of views, `audio` of spectrograms; the shared language model reads them. Sources: X2I's
//! `minicpm/` and `infer/inference_minicpm.py`. Not supported: speech output, streaming, batches of
//! prompts.

pub mod audio;
mod block;
pub mod input;
pub mod resampler;
pub mod slices;
pub mod vision;

use burn::tensor::Tensor;

use self::audio::AudioTower;
use self::input::{CHAT_TEMPLATE, Counts, Inputs, PLACEHOLDER, PLACES, Shown};
use self::resampler::Resampler;
use self::slices::{Slicer, View};
use self::vision::VisionTower;
use super::family::Family;
use super::llm::Llm;
use super::options::{EncodeOptions, resized};
use super::sequence::{Positions, Sequence, pad};
use crate::audio::Audio;
use crate::audio::log_mel::{CLIP, HOP, LogMel, Mel};
use crate::config::{EncoderPart, MiniCpmOConfig, Padding, PreprocessorConfig, SliceConfig};
use crate::error::{Error, Field, Result};
use crate::request::{Part, Prompt};
use crate::tokenizer::chat::VisionIds;
use crate::tokenizer::{ChatTemplate, Rendered, Tokenizer};
use crate::weights::Scope;

/// X2I's script shows every image as one view, however large.
const SCRIPT_SLICES: usize = 1;

/// Tensors of the parts that see and hear: with one of each part, all of them have to be there.
const VISION: [&str; 3] = [
    "resampler.query",
    "resampler.kv_proj.weight",
    "vpm.embeddings.patch_embedding.weight",
];
const AUDIO: [&str; 3] = [
    "apm.conv1.weight",
    "apm.conv2.weight",
    "audio_projection_layer.linear1.weight",
];

/// MiniCPM-o on a device.
pub struct MiniCpmO {
    config: MiniCpmOConfig,
    preprocessor: PreprocessorConfig,
    chat_template: ChatTemplate,
    log_mel: LogMel,
    llm: Llm,
    /// None where the weights hold none.
    vision: Option<(VisionTower, Resampler)>,
    /// None where the weights hold none.
    audio: Option<AudioTower>,
}

impl Family for MiniCpmO {
    type Config = MiniCpmOConfig;
    type Inputs = Inputs;

    async fn load(
        config: &MiniCpmOConfig,
        part: &EncoderPart,
        tokenizer: Tokenizer,
        scope: &Scope<'_>,
    ) -> Result<Self> {
        let any = |names: &[&str]| names.iter().any(|name| scope.contains(name));
        let vision = match any(&VISION) {
            true => Some((
                VisionTower::load(config, &scope.child("vpm")).await?,
                Resampler::load(config, &scope.child("resampler")).await?,
            )),
            false => None,
        };
        let audio = match any(&AUDIO) {
            true => Some(AudioTower::load(config, scope).await?),
            false => None,
        };
        let (decoder, generation) = (&config.decoder, part.generation.clone());
        let sections = [decoder.head_dim() / 2];
        let template = part.chat_template.clone();
        let llm = scope.child("llm");
        Ok(Self {
            preprocessor: part.preprocessor.clone(),
            chat_template: ChatTemplate::new(Some(
                template.unwrap_or_else(|| CHAT_TEMPLATE.to_owned()),
            ))?,
            log_mel: LogMel::new(config.audio_config.num_mel_bins),
            llm: Llm::load(decoder, &sections, tokenizer, generation, &llm).await?,
            vision,
            audio,
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
        let slicer = self.slicer(SCRIPT_SLICES);
        let mut shown = vec![];
        let mut sounds = 0;
        for part in prompt.all_parts() {
            match part {
                Part::Text(_) => {}
                Part::Image(image) => {
                    let image = resized(image, options.input_image_size)?;
                    shown.push(Shown::Image(slicer.image(&image)?));
                }
                Part::Video(video) => {
                    for index in input::frames(video) {
                        shown.push(Shown::Image(slicer.image(&video.frames()[index])?));
                    }
                }
                Part::Audio(audio) => {
                    sounds += 1;
                    shown.push(self.hear(&format!("audio {sounds}"), audio)?);
                }
            }
        }
        let mut quoter = self.tokenizer().quoter(PLACES);
        let quote = |words: &str| quoter.quote(words);
        let messages = input::messages(prompt, options.prompt_format, quote);
        let text = self.chat_template.render(&messages, VisionIds::Omit)?;
        let text = self.counts().expand(&text, &shown)?;
        self.assemble_expanded(&quoter.restore(&text)?, shown, options.padding)
    }

    async fn embed(
        &self,
        inputs: &Inputs,
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Tensor<3>> {
        let (mut views, mut clips) = (vec![], vec![]);
        for shown in &inputs.shown {
            match shown {
                Shown::Image(image) => views.extend(&image.views),
                Shown::Audio(sound) => clips.extend(sound),
            }
        }
        let mut seen = self.look(&views, before_layer).await?.into_iter();
        let mut heard = self.listen(&clips, before_layer).await?.into_iter();
        // In reading order, since images and sounds share one placeholder.
        let mut rows = vec![];
        for shown in &inputs.shown {
            match shown {
                Shown::Image(image) => rows.extend(seen.by_ref().take(image.views.len())),
                Shown::Audio(sound) => rows.extend(heard.by_ref().take(sound.len())),
            }
        }
        let shown = match rows.is_empty() {
            true => vec![],
            false => vec![(self.placeholder()?, Tensor::cat(rows, 0))],
        };
        Ok(self.llm.embed(&inputs.sequence.ids, shown))
    }
}

impl MiniCpmO {
    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.llm.tokenizer()
    }

    /// The vision tower and the resampler, where the weights have them.
    pub fn vision(&self) -> Option<&(VisionTower, Resampler)> {
        self.vision.as_ref()
    }

    /// The audio tower, where the weights have one.
    pub fn audio(&self) -> Option<&AudioTower> {
        self.audio.as_ref()
    }

    /// The spectrograms of sounds.
    pub fn log_mel(&self) -> &LogMel {
        &self.log_mel
    }

    /// The inputs of a rendered template, and of what is shown and heard in it.
    ///
    /// # Errors
    /// As [`Family::prepare`].
    pub fn assemble(
        &self,
        text: &str,
        shown: Vec<Shown>,
        padding: Option<Padding>,
    ) -> Result<Inputs> {
        let text = self.counts().expand(text, &shown)?;
        self.assemble_expanded(&Rendered::from(&text), shown, padding)
    }

    /// The inputs of a text that has placeholders where it had places.
    fn assemble_expanded(
        &self,
        text: &Rendered,
        shown: Vec<Shown>,
        padding: Option<Padding>,
    ) -> Result<Inputs> {
        let counts = self.counts();
        let ids = self.tokenizer().encode_rendered(text)?;
        let placeholder = match shown.is_empty() {
            true => None,
            false => Some(self.placeholder()?),
        };
        if let Some(placeholder) = placeholder {
            let found = ids.iter().filter(|&&id| id == placeholder).count();
            let tokens: usize = shown.iter().map(|shown| counts.of(shown)).sum();
            if found != tokens {
                let reason = format!(
                    "has {found} `{PLACEHOLDER}` for {tokens} tokens of what is shown or heard"
                );
                return Err(Error::request(Field::Prompt, reason));
            }
        }
        let (padding, most) = (self.llm.pad_with(padding)?, self.llm.max_positions());
        let padded = pad(ids, padding, placeholder.as_slice(), most)?;
        Ok(Inputs {
            sequence: Sequence {
                // X2I's training masks no padding: it is read like any token.
                keep: vec![true; padded.ids.len()],
                positions: Positions::counted(padded.ids.len()),
                ids: padded.ids,
                tokens: padded.tokens,
            },
            shown,
        })
    }

    /// Cuts images into views, and large ones into up to `most` slices.
    pub fn slicer(&self, most: usize) -> Slicer<'_> {
        Slicer {
            slices: SliceConfig {
                max_slice_nums: most,
                ..self.config.slice_config
            },
            patch_size: self.config.vision_config.patch_size,
            preprocessor: &self.preprocessor,
        }
    }

    /// A sound's spectrograms, in clips of 30 s (or as long as the tower has positions); `name` is
    /// for messages.
    ///
    /// # Errors
    /// [`Error::Audio`] for a sound that is too short for one token, or longer than the model reads.
    pub fn hear(&self, name: &str, audio: &Audio) -> Result<Shown> {
        let positions = self.config.audio_config.max_source_positions;
        let longest = CLIP.min(positions.saturating_mul(2 * HOP));
        let clips = audio.samples().chunks(longest);
        let tokens = |clip: &[f32]| self.counts().clip(clip.len().div_ceil(HOP));
        let (tokens, most) = (
            clips.clone().map(tokens).sum::<usize>(),
            self.llm.max_positions(),
        );
        if tokens == 0 {
            let reason = format!("lasts {:.3} s, too short to be heard", audio.seconds());
            return Err(Error::audio(name, reason));
        }
        if tokens > most {
            let reason = format!(
                "lasts {:.0} s, which are {tokens} tokens; the model reads at most {most}",
                audio.seconds()
            );
            return Err(Error::audio(name, reason));
        }
        let clips = clips.map(|clip| self.log_mel.spectrogram(clip));
        Ok(Shown::Audio(clips.collect()))
    }

    /// The tokens of every view, `[queries, hidden]` each.
    async fn look(
        &self,
        views: &[&View],
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Vec<Tensor<2>>> {
        if views.is_empty() {
            return Ok(vec![]);
        }
        let (tower, resampler) = self.vision.as_ref().ok_or_else(|| Error::Modality {
            model: "this encoder (its weights hold no vision tower)".into(),
            modality: "images",
            alternatives: "MiniCPM-o with the tensors of `vpm.*` and `resampler.*`",
        })?;
        let mut tokens = Vec::with_capacity(views.len());
        let alike = views.chunk_by(|one, next| one.grid == next.grid);
        for batch in alike.flat_map(|run| run.chunks(self.config.vision_batch_size)) {
            let patches = tower.forward(batch, before_layer).await?;
            let batch_tokens = resampler.forward(patches, batch[0].grid);
            tokens.extend(batch_tokens.iter_dim(0).map(|view| view.squeeze_dim(0)));
        }
        Ok(tokens)
    }

    /// The tokens of every clip, `[tokens, hidden]` each.
    async fn listen(
        &self,
        clips: &[&Mel],
        before_layer: &mut impl AsyncFnMut() -> Result<()>,
    ) -> Result<Vec<Tensor<2>>> {
        let Some(longest) = clips.iter().map(|mel| mel.frames).max() else {
            return Ok(vec![]);
        };
        let tower = self.audio.as_ref().ok_or_else(|| Error::Modality {
            model: "this encoder (its weights hold no audio tower)".into(),
            modality: "audio",
            alternatives: "MiniCPM-o with the tensors of `apm.*` and `audio_projection_layer.*`",
        })?;
        let mut tokens = Vec::with_capacity(clips.len());
        for mel in clips {
            tokens.push(tower.forward(mel, longest, before_layer).await?);
        }
        Ok(tokens)
    }

    fn counts(&self) -> Counts {
        Counts {
            view: self.config.query_num,
            pool_step: self.config.audio_pool_step,
        }
    }

    /// The token that stands for one of an image or a sound.
    fn placeholder(&self) -> Result<u32> {
        self.tokenizer().token_to_id(PLACEHOLDER).ok_or_else(|| {
            Error::config(
                "tokenizer.json",
                format!("has no {PLACEHOLDER}, which stands for what is shown or heard"),
            )
        })
    }
}

#[cfg(test)]
mod tests;
