//! The teacher of AlignNet: FLUX.1's own text encoders, T5 and CLIP, with their tokenizers.
//!
//! Training compares what the transformer does with the teacher's conditioning and with AlignNet's. The
//! caption goes in as it is, without a template. Source: X2I `train/train_*.py`, diffusers'
//! `FluxPipeline`. Left out: attention masks (X2I and FLUX give none, so that padding takes part), and
//! dropout.

mod charsmap;
mod clip;
mod clip_tokenizer;
mod ids;
mod sentencepiece;
mod t5;
mod t5_tokenizer;
#[cfg(test)]
mod tests;

use burn::tensor::Device;

use crate::align_net::Conditioning;
use crate::error::Result;
use crate::model::{self, ModelSource, TeacherParts, TokenizerFiles};
use crate::weights::{Component, OnRead, Scope, WeightFile, Weights};

pub use clip::{ClipOutput, ClipText};
pub use clip_tokenizer::ClipTokenizer;
pub use t5::T5Encoder;
pub use t5_tokenizer::T5Tokenizer;

/// Tokens of T5 for a caption, as diffusers and X2I have it.
pub const T5_TOKENS: usize = 512;

/// Both encoders with their tokenizers.
#[derive(Debug)]
pub struct Teacher {
    t5: T5Encoder,
    t5_tokenizer: T5Tokenizer,
    clip: ClipText,
    clip_tokenizer: ClipTokenizer,
}

impl Teacher {
    /// Loads all parts onto `device`; [`model::read_teacher`] finds them. `on_read` hears of every tensor,
    /// and may end it.
    ///
    /// # Errors
    /// [`crate::Error::MissingFile`], [`crate::Error::MissingTensor`] or [`crate::Error::Shape`];
    /// [`crate::Error::Config`] when a tokenizer is of another model than its encoder.
    pub async fn load(
        source: &dyn ModelSource,
        parts: &TeacherParts,
        device: &Device,
        on_read: Option<&dyn OnRead>,
    ) -> Result<Self> {
        let (t5_tokenizer, clip_tokenizer) = read_tokenizers(source, parts).await?;
        let t5 = model::open_weights(source, Component::T5, &parts.t5.weights).await?;
        let config = parts.t5_config(&t5)?;
        t5_tokenizer.check_rows(config.vocab_size)?;
        let t5 = T5Encoder::load(&config, &scope(&t5, device, on_read)).await?;
        let config = &parts.clip.config;
        clip_tokenizer.check_rows(config.vocab_size)?;
        let clip = model::open_weights(source, Component::ClipText, &parts.clip.weights).await?;
        let clip = ClipText::load(config, &scope(&clip, device, on_read)).await?;
        Ok(Self {
            t5,
            t5_tokenizer,
            clip,
            clip_tokenizer,
        })
    }

    /// T5's encoder.
    pub fn t5(&self) -> &T5Encoder {
        &self.t5
    }

    /// CLIP's text model.
    pub fn clip(&self) -> &ClipText {
        &self.clip
    }

    /// The conditioning of one caption: `txt` `[1, 512, width of T5]`, `vec` `[1, width of CLIP]`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] when a tokenizer's rules contradict each other.
    pub fn encode(&self, caption: &str) -> Result<Conditioning> {
        self.encode_batch(&[caption], T5_TOKENS)
    }

    /// The same of several captions, which are the batch, each cut or filled up to `tokens` of T5: FLUX.1-dev has 512,
    /// FLUX.1-schnell 256.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    ///
    /// # Panics
    /// Without a caption.
    pub fn encode_batch(&self, captions: &[&str], tokens: usize) -> Result<Conditioning> {
        let t5 = captions
            .iter()
            .map(|caption| self.t5_tokenizer.encode(caption, tokens));
        let clip = captions
            .iter()
            .map(|caption| self.clip_tokenizer.encode(caption, self.clip.tokens()));
        let (t5, clip) = (
            t5.collect::<Result<Vec<_>>>()?,
            clip.collect::<Result<Vec<_>>>()?,
        );
        Ok(Conditioning {
            txt: self.t5.forward(&t5),
            vec: self.clip.forward(&clip).pooler_output,
        })
    }
}

fn scope<'a>(
    weights: &'a Weights,
    device: &'a Device,
    on_read: Option<&'a dyn OnRead>,
) -> Scope<'a> {
    let scope = weights.scope(device);
    match on_read {
        Some(on_read) => scope.heard_by(on_read),
        None => scope,
    }
}

/// The tokenizers of T5 and CLIP.
///
/// # Errors
/// [`crate::Error::MissingFile`] naming the file that is looked for first, [`crate::Error::Config`] for
/// one that can't be read.
pub async fn read_tokenizers(
    source: &dyn ModelSource,
    parts: &TeacherParts,
) -> Result<(T5Tokenizer, ClipTokenizer)> {
    let t5 = match parts.t5_tokenizer(source).await? {
        TokenizerFiles::Json { name, json } => T5Tokenizer::from_json(&name, &json)?,
        TokenizerFiles::SentencePiece {
            name,
            model,
            config,
        } => T5Tokenizer::from_sentencepiece(&name, &model, config.as_deref())?,
        TokenizerFiles::Gguf(file) => {
            T5Tokenizer::from_gguf(&WeightFile::open(source.open(&file).await?).await?)?
        }
    };
    let files = parts.clip_tokenizer(source).await?;
    let clip = ClipTokenizer::new(&files.name, &files.vocab, &files.merges)?;
    Ok((t5, clip))
}
