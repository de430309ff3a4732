//! The body of a job's order.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Deserialize;
use utoipa::ToSchema;
use x2i_core::Conditioning;
use x2i_core::image::{Background, Hint};
use x2i_engine::Kind;

use crate::http::app::{App, MOST_PARTS};
use crate::http::error::ApiError;
use crate::http::intake::Form;
use crate::http::reference;
use crate::job::{
    ControlOrder, FileOrder, ImageFormat, InitOrder, InputFile, LoraOrder, MAX_IMAGES, Numbers,
    Order, PartOrder, TurnOrder, Wanted,
};

/// How forms of orders are read.
pub const FORM: Form = Form {
    texts: &["prompt", "model", "background"],
    files: &["image", "video", "audio", "init_image"],
};

/// A job to order. Inputs are data URLs, ids of uploads, or `@NAME` for a file of the form.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JobOrder)]
pub struct JobBody {
    /// The model's name; the server's first without one.
    pub model: Option<String>,
    /// Text in any language, after the `parts`.
    pub prompt: Option<String>,
    /// Parts of the prompt in reading order.
    #[serde(default)]
    #[schema(value_type = Option<Vec<PartBody>>)]
    pub parts: Vec<PartBody>,
    /// Earlier turns of a conversation, oldest first.
    #[serde(default)]
    #[schema(value_type = Option<Vec<TurnBody>>)]
    pub turns: Vec<TurnBody>,
    /// How many images.
    #[schema(minimum = 1, maximum = 64)]
    pub n: Option<usize>,
    /// Width in pixels, a multiple of 16.
    #[schema(minimum = 16, maximum = 8192)]
    pub width: Option<usize>,
    /// Height in pixels, a multiple of 16.
    #[schema(minimum = 16, maximum = 8192)]
    pub height: Option<usize>,
    /// Steps of the transformer.
    #[schema(minimum = 1, maximum = 1000)]
    pub steps: Option<usize>,
    /// Guidance of a guidance-distilled transformer.
    #[schema(minimum = 0)]
    pub guidance: Option<f32>,
    /// The threshold of first-block caching; off without one.
    #[schema(minimum = 0)]
    pub cache: Option<f64>,
    /// The seed of the first image's noise; those of the others follow. A random one without it.
    #[schema(minimum = 0)]
    pub seed: Option<u64>,
    /// `prompt`, or `answer` for the LLM's answer.
    #[schema(value_type = Option<String>)]
    pub conditioning: Option<Conditioning>,
    /// Frames per second that the LLM reads of a video.
    pub video_fps: Option<f64>,
    /// What lies under transparent pixels: six digits in hex, `white`, `black` or `dropped`.
    #[schema(value_type = Option<String>)]
    pub background: Option<Background>,
    /// An image to begin with.
    pub init_image: Option<String>,
    /// How far to leave it, above 0 and at most 1.
    pub strength: Option<f64>,
    /// An image that LightControl steers by.
    pub control: Option<ControlBody>,
    /// LoRAs by their names on the server.
    #[serde(default)]
    #[schema(value_type = Option<Vec<LoraBody>>)]
    pub loras: Vec<LoraBody>,
    /// `png`, `jpeg` or `webp`.
    #[schema(value_type = Option<String>)]
    pub output_format: Option<ImageFormat>,
    /// JPEG's quality, from 1 to 100.
    #[schema(minimum = 1, maximum = 100)]
    pub output_compression: Option<u8>,
    /// Whether events show the image after every step.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    pub previews: bool,
    /// `images`, or `conditioning` for `txt` and `vec` as safetensors.
    #[schema(value_type = Option<String>)]
    #[serde(default)]
    pub wanted: Wanted,
}

/// A part of a prompt: one of these.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PartBody {
    /// Text.
    Text(String),
    /// An image.
    Image(String),
    /// A video.
    Video(String),
    /// A sound.
    Audio(String),
}

/// An earlier turn.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TurnBody {
    /// What the user showed and said.
    pub parts: Vec<PartBody>,
    /// What the LLM answered.
    pub answer: String,
}

/// A control image.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ControlBody {
    /// The image.
    pub image: String,
    /// How much it counts; 1 without it.
    pub scale: Option<f32>,
    /// `source`, `edges` or `gray`: what of it steers; what the weights were trained with, without it.
    #[schema(value_type = Option<String>)]
    pub hint: Option<Hint>,
}

/// A LoRA.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraBody {
    /// Its name on the server.
    pub name: String,
    /// How much it counts; 1 without it.
    pub scale: Option<f32>,
}

impl JobBody {
    /// The order, with its inputs kept.
    ///
    /// # Errors
    /// For a number out of range or an input that can't be read, by its name.
    pub async fn order(
        self,
        app: &Arc<App>,
        files: &[(String, InputFile)],
    ) -> Result<Order, ApiError> {
        let mut parts = parts(app, self.parts, files).await?;
        parts.extend(self.prompt.map(PartOrder::Text));
        let turns = turns(app, self.turns, files).await?;
        let init = match self.init_image {
            Some(text) => Some(InitOrder {
                image: reference::input(app, &text, "init_image", files).await?,
                strength: self.strength,
            }),
            None if self.strength.is_some() => {
                return Err(ApiError::param("strength", "strength: needs an init_image"));
            }
            None => None,
        };
        let control = match self.control {
            Some(control) => Some(ControlOrder {
                image: reference::input(app, &control.image, "control.image", files).await?,
                scale: control.scale.unwrap_or(1.0),
                hint: control.hint,
            }),
            None => None,
        };
        Ok(Order {
            model: self.model,
            parts,
            turns,
            numbers: Numbers {
                width: self.width,
                height: self.height,
                steps: self.steps,
                guidance: self.guidance,
                cache: self.cache,
                seed: self.seed,
                conditioning: self.conditioning,
                video_fps: self.video_fps,
                background: self.background,
            },
            init,
            control,
            loras: self.loras.into_iter().map(LoraBody::order).collect(),
            images: images(self.n)?,
            file: file(self.output_format, self.output_compression)?,
            previews: self.previews,
            wanted: self.wanted,
        })
    }
}

impl LoraBody {
    /// The LoRA as it is ordered.
    pub fn order(self) -> LoraOrder {
        LoraOrder {
            name: self.name,
            scale: self.scale.unwrap_or(1.0),
        }
    }
}

/// The number of images.
///
/// # Errors
/// For one out of range.
pub fn images(n: Option<usize>) -> Result<NonZeroUsize, ApiError> {
    let n = n.unwrap_or(1);
    let in_range = NonZeroUsize::new(n).filter(|n| n.get() <= MAX_IMAGES);
    in_range
        .ok_or_else(|| ApiError::param("n", format!("n: {n} must be between 1 and {MAX_IMAGES}")))
}

/// The files of images.
///
/// # Errors
/// For a quality out of range.
pub fn file(format: Option<ImageFormat>, quality: Option<u8>) -> Result<FileOrder, ApiError> {
    if quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
        return Err(ApiError::param(
            "output_compression",
            "output_compression: must be between 1 and 100",
        ));
    }
    Ok(FileOrder {
        format: format.unwrap_or_default(),
        quality,
    })
}

/// Earlier turns, with their inputs kept.
///
/// # Errors
/// For an input that can't be read.
pub async fn turns(
    app: &Arc<App>,
    bodies: Vec<TurnBody>,
    files: &[(String, InputFile)],
) -> Result<Vec<TurnOrder>, ApiError> {
    let mut turns = vec![];
    for TurnBody {
        parts: shown,
        answer,
    } in bodies
    {
        let parts = parts(app, shown, files).await?;
        turns.push(TurnOrder { parts, answer });
    }
    Ok(turns)
}

async fn parts(
    app: &Arc<App>,
    bodies: Vec<PartBody>,
    files: &[(String, InputFile)],
) -> Result<Vec<PartOrder>, ApiError> {
    if bodies.len() > MOST_PARTS {
        let message = format!("parts: {} are more than {MOST_PARTS}", bodies.len());
        return Err(ApiError::param("parts", message));
    }
    let mut parts = vec![];
    for body in bodies {
        let (kind, text, param) = match body {
            PartBody::Text(text) => {
                parts.push(PartOrder::Text(text));
                continue;
            }
            PartBody::Image(text) => (Kind::Image, text, "image"),
            PartBody::Video(text) => (Kind::Video, text, "video"),
            PartBody::Audio(text) => (Kind::Audio, text, "audio"),
        };
        parts.push(PartOrder::of(
            kind,
            reference::input(app, &text, param, files).await?,
        ));
    }
    Ok(parts)
}
