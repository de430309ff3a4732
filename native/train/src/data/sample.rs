//! A sample: its caption, its other fields, and its pictures.

use std::sync::Arc;

use serde_json::{Map, Value};
use x2i_core::{Error, Image, Result, prompt};
use x2i_engine::media;

use super::problem::Problem;
use super::text::first_words;

/// What a data set is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// AlignNet by distillation: captions alone; pictures are never opened.
    Distill,
    /// LightControl: a picture, or a pair with an instruction. Captions are optional.
    Control,
    /// LoRA: a caption with a picture, or a pair with an instruction.
    Paint,
}

/// What LightControl's prompt asks for where a sample has no instruction.
const DESCRIBE: &str = "\u{8BF7}\u{63CF}\u{8FF0}\u{8FD9}\u{5F20}\u{56FE}\u{7247}";

/// An encoded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Its name, for messages.
    pub name: String,
    /// The bytes of its file.
    pub bytes: Arc<[u8]>,
}

/// One sample of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name in the data set. It is no path: caches are named by content.
    pub key: String,
    /// What the picture shows.
    pub caption: Option<String>,
    /// How the source becomes the target; pairs have one.
    pub instruction: Option<String>,
    /// The picture; of a pair the source.
    pub picture: Option<Picture>,
    /// The target of a pair.
    pub edited: Option<Picture>,
    /// What steers, where the data has it; for LightControl alone.
    pub hint: Option<Picture>,
    /// The fields of its JSON.
    pub fields: Map<String, Value>,
}

/// The decoded pictures of a sample.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// What is to be painted.
    pub target: Image,
    /// What it is made from: the hint file, of a pair the source, else the target itself.
    pub hint: Image,
}

impl Sample {
    /// The LLM's prompt in AlignNet's training.
    pub fn distill_text(&self) -> String {
        prompt::training(self.caption.as_deref().unwrap_or_default())
    }

    /// The LLM's prompt in LightControl's training.
    pub fn control_text(&self) -> String {
        prompt::light_control(first_words(self.instruction.as_deref().unwrap_or(DESCRIBE)))
    }

    /// The picture that is painted.
    pub fn target(&self) -> Option<&Picture> {
        self.edited.as_ref().or(self.picture.as_ref())
    }

    /// The decoded source of a pair.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub fn source(&self) -> Result<Image> {
        let picture = self.picture.as_ref().ok_or(Problem::MissingImage);
        picture
            .and_then(decode)
            .map_err(|problem| self.unread(problem))
    }

    /// The error of a sample that can't be used, which a run goes on without.
    pub(crate) fn unread(&self, problem: Problem) -> Error {
        unread(&self.key, &problem)
    }

    /// Decodes the pictures as 8-bit RGB, upright.
    ///
    /// # Errors
    /// [`Problem::MissingImage`], [`Problem::BadImage`], or [`Problem::SizeMismatch`] for a pair, or a picture and its
    /// hint, of two sizes.
    pub fn decode(&self) -> std::result::Result<Pictures, Problem> {
        let picture = self.picture.as_ref().ok_or(Problem::MissingImage)?;
        let hint = decode(self.hint.as_ref().unwrap_or(picture))?;
        let target = match (&self.edited, &self.hint) {
            (None, None) => hint.clone(),
            (Some(target), _) => decode(target)?,
            (None, Some(_)) => decode(picture)?,
        };
        let sides = |image: &Image| [image.width(), image.height()];
        match sides(&hint) == sides(&target) {
            true => Ok(Pictures { target, hint }),
            false => Err(Problem::SizeMismatch(sides(&hint), sides(&target))),
        }
    }
}

/// The error of the sample of this name that can't be used.
pub(super) fn unread(key: &str, problem: &Problem) -> Error {
    Error::image(format!("sample {key}"), problem.to_string())
}

fn decode(picture: &Picture) -> std::result::Result<Image, Problem> {
    media::image::decode(&picture.name, &picture.bytes).map_err(|error| {
        let message = error.to_string();
        let reason = message.strip_prefix(&format!("{}: ", picture.name));
        Problem::BadImage(reason.unwrap_or(&message).to_owned())
    })
}
