//! What a caller asks for, and what it hears while waiting.

mod cache;

use std::ops::ControlFlow;

use crate::audio::Audio;
pub use crate::config::Conditioning;
use crate::config::ModelConfig;
use crate::error::{Error, Field, Result};
use crate::image::{Hint, Image};
use crate::video::Video;
pub use cache::Cache;

/// One part of a prompt, in the order in which the model reads them.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Text in any language.
    Text(String),
    /// A picture.
    Image(Image),
    /// Moving pictures.
    Video(Video),
    /// Sound.
    Audio(Audio),
}

/// An earlier turn of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// What the user showed and said.
    pub parts: Vec<Part>,
    /// What the LLM answered.
    pub answer: String,
}

/// What the multimodal LLM is shown: earlier turns, then parts in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prompt {
    /// What was said before, oldest first.
    pub earlier: Vec<Turn>,
    /// Text, pictures and sounds of this turn in reading order.
    pub parts: Vec<Part>,
}

impl Prompt {
    /// A prompt without earlier turns.
    pub fn new(parts: Vec<Part>) -> Self {
        Self {
            earlier: vec![],
            parts,
        }
    }

    /// A prompt of text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(vec![Part::Text(text.into())])
    }

    /// The parts of all turns, in reading order.
    pub fn all_parts(&self) -> impl Iterator<Item = &Part> {
        let earlier = self.earlier.iter().flat_map(|turn| &turn.parts);
        earlier.chain(&self.parts)
    }

    /// Refuses parts that the model can't read, before any weight is.
    ///
    /// # Errors
    /// [`Error::Modality`] naming the models that can.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let encoder = &config.encoder.config;
        let has = |kind: fn(&Part) -> bool| self.all_parts().any(kind);
        if has(|part| matches!(part, Part::Audio(_))) {
            encoder.check_hears()?;
        }
        match has(|part| matches!(part, Part::Image(_) | Part::Video(_))) {
            true => config.check_sees(),
            false => Ok(()),
        }
    }

    /// The pictures of all turns, in order.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.all_parts().filter_map(|part| match part {
            Part::Image(image) => Some(image),
            _ => None,
        })
    }

    /// All text parts of this turn, joined by a space.
    pub fn joined_text(&self) -> String {
        joined_text(&self.parts)
    }

    /// True when this turn shows and says nothing.
    fn is_blank(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Text(text) => text.trim().is_empty(),
            Part::Image(_) | Part::Video(_) | Part::Audio(_) => false,
        })
    }
}

/// The text among `parts`, joined by a space.
pub(crate) fn joined_text(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// One picture to make.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What to paint.
    pub prompt: Prompt,
    /// Width in pixels, a multiple of 16.
    pub width: usize,
    /// Height in pixels, a multiple of 16.
    pub height: usize,
    /// Flow-matching steps, at least 1.
    pub steps: usize,
    /// Guidance of a guidance-distilled transformer (FLUX.1-dev); others ignore it.
    pub guidance: f32,
    /// Seed of the noise: `torch.Generator("cpu").manual_seed(seed)`.
    pub seed: u64,
    /// Whose hidden states paint the picture.
    pub conditioning: Conditioning,
    /// Whether steps may reuse the work of earlier ones; the picture is another one, if nearly the same.
    pub cache: Cache,
    /// Whether progress shows the picture after each step; the picture itself is the same.
    pub preview: Preview,
    /// The picture to begin with; noise alone without one.
    pub init: Option<Init>,
    /// The picture that steers; none without one.
    pub control: Option<Control>,
}

/// A picture to begin with (img2img).
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    /// The picture; it is resized to the request's size, as PIL's LANCZOS does.
    pub image: Image,
    /// How far to leave it, above 0 and at most 1: the share of the steps that are made. At 1 nothing
    /// of it is left.
    pub strength: f64,
}

/// A picture that LightControl steers by; its weights are [`crate::LoadOptions::control`].
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// The picture, or one whose `hint` has the form that the weights were trained with (edges, depth, ...); it is resized
    /// to the request's size, as PIL's LANCZOS does.
    pub image: Image,
    /// What of the resized picture steers.
    pub hint: Hint,
    /// How much it counts; 1 in training.
    pub scale: f32,
}

impl Init {
    /// The first of `steps` steps that is made, as diffusers' `FluxImg2ImgPipeline` counts.
    pub fn first_step(&self, steps: usize) -> usize {
        let made = (steps as f64 * self.strength).min(steps as f64);
        ((steps as f64 - made) as usize).min(steps.saturating_sub(1))
    }
}

/// Whether the picture is shown while it is painted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preview {
    /// Progress is numbers.
    #[default]
    Off,
    /// Every step is decoded, in small.
    On,
}

/// The largest side that a request may ask for, in pixels.
pub const MAX_SIDE: usize = 8192;
/// The most steps that a request may ask for.
pub const MAX_STEPS: usize = 1000;

impl Request {
    /// A request with the model's defaults and seed 0.
    pub fn new(prompt: Prompt, config: &ModelConfig) -> Self {
        let defaults = &config.defaults;
        Self {
            prompt,
            width: defaults.width,
            height: defaults.height,
            steps: defaults.steps,
            guidance: defaults.guidance,
            seed: 0,
            conditioning: defaults.conditioning,
            cache: Cache::Off,
            preview: Preview::Off,
            init: None,
            control: None,
        }
    }

    /// Checks every number once, so that the graph can trust them.
    ///
    /// # Errors
    /// [`Error::Request`] names the field and what it accepts.
    pub fn validate(&self) -> Result<()> {
        for (field, side) in [(Field::Width, self.width), (Field::Height, self.height)] {
            if side == 0 || side % 16 != 0 || side > MAX_SIDE {
                return Err(Error::request(
                    field,
                    format!("{side} must be a multiple of 16 between 16 and {MAX_SIDE}"),
                ));
            }
        }
        if self.steps == 0 || self.steps > MAX_STEPS {
            return Err(Error::request(
                Field::Steps,
                format!("{} must be between 1 and {MAX_STEPS}", self.steps),
            ));
        }
        if !self.guidance.is_finite() || self.guidance < 0.0 {
            return Err(Error::request(
                Field::Guidance,
                format!("{} must be a number of at least 0", self.guidance),
            ));
        }
        self.cache.validate()?;
        if let Some(Init { strength, .. }) = self.init
            && !(strength > 0.0 && strength <= 1.0)
        {
            return Err(Error::request(
                Field::Strength,
                format!("{strength} must be above 0 and at most 1"),
            ));
        }
        if let Some(Control { scale, .. }) = self.control
            && !scale.is_finite()
        {
            return Err(Error::request(
                Field::ControlScale,
                format!("{scale} is no scale"),
            ));
        }
        if self.prompt.is_blank() {
            return Err(Error::request(Field::Prompt, "is empty; say what to paint"));
        }
        Ok(())
    }
}

/// What the pipeline is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading weights to the device; counted in bytes over all parts that are loaded now: the
    /// model, or one part of it after the other ([`crate::Memory::Low`]).
    Load,
    /// The LLM reads the prompt (and answers), counted in tokens of the answer; before it the VAE's
    /// encoder reads the picture to begin with, counted in its parts.
    Encode,
    /// The transformer paints; counted in transformer blocks over all steps.
    Denoise,
    /// The VAE decodes; counted in its blocks.
    Decode,
}

/// One progress event: `done` of `total` units of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is going on.
    pub phase: Phase,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// Where painting stands; none in other phases.
    pub steps: Option<Steps>,
    /// The picture as it looks so far, on the event that ends a step ([`Preview::On`]).
    pub preview: Option<Image>,
    /// What the LLM said, on the event that ends [`Phase::Encode`] ([`Conditioning::Answer`]).
    pub answer: Option<String>,
    /// How much of the prompt is read, on the events before the LLM's layers read it.
    pub prompt_tokens: Option<PromptTokens>,
}

/// What the LLM answered, and how sure it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// The probability with which its least certain token was chosen, 0 to 1; of all its tokens, or of those that
    /// count ([`Certainty`](crate::config::Certainty)).
    pub certainty: f32,
    /// The name of what it does not know, as it stands in an answer that says so
    /// ([`Unknown`](crate::config::Unknown)).
    pub unknown: Option<String>,
    /// What else it could have answered, the likeliest first, at most three. None where it knows what is asked for,
    /// and is as sure as the model's answers have to be, or the model does not say how sure that is.
    pub alternatives: Option<Vec<Alternative>>,
}

impl Answer {
    /// What it calls unknown and the nearest that is known, in a sentence; none where it calls nothing unknown.
    pub fn ignorance(&self) -> Option<String> {
        let name = self.unknown.as_ref()?;
        let known = self.alternatives.iter().flatten();
        let names: Vec<&str> = known.filter_map(|other| other.name.as_deref()).collect();
        Some(match names.join(", ") {
            nearest if nearest.is_empty() => format!("I know no {name}"),
            nearest => format!("I know no {name}. Nearest: {nearest}"),
        })
    }
}

/// Another answer: it begins alike, and goes on with another token where the answer was least certain. To an answer
/// that names something unknown, it is one that begins otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// The answer.
    pub text: String,
    /// What it names in place of what is unknown; none beside an answer that is unsure.
    pub name: Option<String>,
    /// The probability of that token, 0 to 1; of a first one, where the answer's own first one is not allowed.
    pub probability: f32,
}

/// How much of a prompt the LLM reads: X2I's layouts cut words behind the padding's length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptTokens {
    /// Tokens that are read, the chat template's among them and padding not.
    pub read: usize,
    /// Tokens at the prompt's end that are left out.
    pub left: usize,
}

/// Finished steps of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// How many are finished.
    pub done: usize,
    /// How many there are.
    pub total: usize,
}

/// Hears progress; [`ControlFlow::Break`] cancels within one transformer block.
///
/// A browser has one thread: what it awaits here is its only chance to hear that it should stop.
pub trait OnProgress: AsyncFnMut(Progress) -> ControlFlow<()> {}

impl<F: AsyncFnMut(Progress) -> ControlFlow<()>> OnProgress for F {}

impl Progress {
    /// An event that only counts.
    pub fn count(phase: Phase, done: usize, total: usize) -> Self {
        Self {
            phase,
            done: done as u64,
            total: total as u64,
            steps: None,
            preview: None,
            answer: None,
            prompt_tokens: None,
        }
    }

    /// Tells the caller, and turns `Break` into [`Error::Cancelled`].
    pub(crate) async fn tell(self, on_progress: &mut impl OnProgress) -> Result<()> {
        match on_progress(self).await {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

/// Reports one event that only counts.
pub(crate) async fn report(
    on_progress: &mut impl OnProgress,
    phase: Phase,
    done: usize,
    total: usize,
) -> Result<()> {
    Progress::count(phase, done, total).tell(on_progress).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_that_are_left_out_are_counted_as_diffusers_does() {
        let image = Image::new(1, 1, vec![0; 3]).expect("a pixel");
        let first = |steps, strength| {
            let image = image.clone();
            Init { image, strength }.first_step(steps)
        };
        assert_eq!(first(28, 0.6), 11);
        assert_eq!(first(5, 0.6), 2, "3.0000001 steps in f32 would be one more");
        assert_eq!(first(4, 0.5), 2);
        assert_eq!(first(4, 1.0), 0);
        assert_eq!(first(4, 0.1), 3);
        assert_eq!(first(1, 0.01), 0);
        assert_eq!(
            first(1000, f64::MIN_POSITIVE),
            999,
            "one step is made at least"
        );
    }
}
