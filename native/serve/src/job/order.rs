//! A job as a client orders it: numbers, texts, and inputs by the hash of their bytes.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use x2i_core::image::{Background, Hint};
use x2i_core::{Cache, Conditioning, Preview};
use x2i_engine::{Format, Kind, Settings};

use super::id::InputId;

/// The most images of a job.
pub const MAX_IMAGES: usize = 64;

/// A job as it is ordered. A model fills in the numbers that are not given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// The model's name; the first of the server's models without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The prompt's parts in reading order.
    pub parts: Vec<PartOrder>,
    /// Earlier turns of a conversation, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<TurnOrder>,
    /// The numbers. The queue gives a seed where there is none, so that a job that is painted again is painted alike.
    #[serde(default)]
    pub numbers: Numbers,
    /// The initial image (img2img).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitOrder>,
    /// The control image of LightControl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<ControlOrder>,
    /// LoRAs by the names that the server gives them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<LoraOrder>,
    /// How many images; the seed of each is one more than the seed before it.
    pub images: NonZeroUsize,
    /// The files of the images.
    #[serde(default)]
    pub file: FileOrder,
    /// Whether events show the image after every step.
    #[serde(default)]
    pub previews: bool,
    /// What is made.
    #[serde(default)]
    pub wanted: Wanted,
}

/// What a job makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Images.
    #[default]
    Images,
    /// `txt` and `vec` for other samplers, as one safetensors file: the job's only output.
    Conditioning,
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartOrder {
    /// Text in any language.
    Text(String),
    /// An image.
    Image(InputFile),
    /// A video.
    Video(InputFile),
    /// A sound.
    Audio(InputFile),
}

/// An input of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The SHA-256 of its bytes.
    pub id: InputId,
    /// Its name in the image's record: a file name without folders.
    pub name: String,
}

/// An earlier turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnOrder {
    /// What the user showed and said.
    pub parts: Vec<PartOrder>,
    /// What the LLM answered.
    pub answer: String,
}

/// An initial image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InitOrder {
    /// The image.
    pub image: InputFile,
    /// Its strength, above 0 and at most 1; the engine's default without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
}

/// A control image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlOrder {
    /// The image.
    pub image: InputFile,
    /// How much it counts; 1 in training.
    pub scale: f32,
    /// What of it steers; what the weights were trained with, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Hint>,
}

/// A LoRA.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraOrder {
    /// Its name on the server.
    pub name: String,
    /// How much it counts.
    pub scale: f32,
}

/// The files of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOrder {
    /// The format.
    #[serde(default)]
    pub format: ImageFormat,
    /// JPEG's quality, from 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
}

/// The format of an image's file, as clients name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Without loss.
    #[default]
    Png,
    /// With loss.
    Jpeg,
    /// Without loss.
    Webp,
}

/// The numbers of a job; the model has a default for each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbers {
    /// The width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// The height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// Steps of the transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Guidance of a guidance-distilled transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f32>,
    /// The threshold of first-block caching.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<f64>,
    /// The seed of the first image's noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whose hidden states condition the transformer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditioning: Option<Conditioning>,
    /// Frames per second that the LLM reads of a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_fps: Option<f64>,
    /// What lies under transparent pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<Background>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            model: None,
            parts: vec![],
            turns: vec![],
            numbers: Numbers::default(),
            init: None,
            control: None,
            loras: vec![],
            images: NonZeroUsize::MIN,
            file: FileOrder::default(),
            previews: false,
            wanted: Wanted::default(),
        }
    }
}

impl Order {
    /// All inputs that it names.
    pub fn inputs(&self) -> impl Iterator<Item = &InputFile> + Clone {
        let earlier = self.turns.iter().flat_map(|turn| &turn.parts);
        let parts = earlier.chain(&self.parts).filter_map(PartOrder::input);
        let init = self.init.iter().map(|init| &init.image);
        let control = self.control.iter().map(|control| &control.image);
        parts.chain(init).chain(control)
    }

    /// The numbers as the engine takes them, for the image of this number from 0.
    pub fn settings(&self, index: usize) -> Settings {
        let numbers = &self.numbers;
        Settings {
            size: None,
            width: numbers.width,
            height: numbers.height,
            steps: numbers.steps,
            guidance: numbers.guidance,
            cache: numbers.cache.map(Cache::FirstBlock),
            seed: numbers.seed.map(|seed| seed.wrapping_add(index as u64)),
            conditioning: numbers.conditioning,
            video_fps: numbers.video_fps,
            background: numbers.background,
            preview: match self.previews {
                true => Preview::On,
                false => Preview::Off,
            },
        }
    }
}

impl PartOrder {
    /// Its input; `None` for text.
    pub fn input(&self) -> Option<&InputFile> {
        match self {
            Self::Text(_) => None,
            Self::Image(input) | Self::Video(input) | Self::Audio(input) => Some(input),
        }
    }

    /// A part of a kind.
    pub fn of(kind: Kind, input: InputFile) -> Self {
        match kind {
            Kind::Image => Self::Image(input),
            Kind::Video => Self::Video(input),
            Kind::Audio => Self::Audio(input),
        }
    }
}

impl ImageFormat {
    /// The engine's format.
    pub fn format(self) -> Format {
        match self {
            Self::Png => Format::Png,
            Self::Jpeg => Format::Jpeg,
            Self::Webp => Format::Webp,
        }
    }

    /// As clients name it, also the extension of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_names_all_of_its_inputs() {
        let input = |name: &str| InputFile {
            id: InputId::of(name.as_bytes()),
            name: name.into(),
        };
        let order = Order {
            parts: vec![PartOrder::Text("a".into()), PartOrder::Image(input("b"))],
            turns: vec![TurnOrder {
                parts: vec![PartOrder::Audio(input("a"))],
                answer: "yes".into(),
            }],
            init: Some(InitOrder {
                image: input("c"),
                strength: None,
            }),
            control: Some(ControlOrder {
                image: input("d"),
                scale: 1.0,
                hint: None,
            }),
            ..Order::default()
        };
        let names: Vec<_> = order.inputs().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        let json = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&json).unwrap(), order);
    }

    #[test]
    fn images_of_a_job_have_seeds_in_a_row() {
        let numbers = Numbers {
            seed: Some(u64::MAX),
            ..Numbers::default()
        };
        let order = Order {
            numbers,
            ..Order::default()
        };
        assert_eq!(order.settings(0).seed, Some(u64::MAX));
        assert_eq!(order.settings(1).seed, Some(0));
    }
}
