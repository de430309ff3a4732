//! The body of a request for images.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use x2i_engine::Kind;

use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extras::{Extras, OneOrMany, inputs};
use crate::http::intake::Form;
use crate::http::jobs::{file, images};
use crate::job::{ImageFormat, InitOrder, InputFile, Numbers, Order, PartOrder};

/// The most images of an edit, as OpenAI's.
const MOST_IMAGES: usize = 16;
/// Names of OpenAI's own models begin so. Programs ask for them by default; the server's first model answers.
const OPENAI: [&str; 3] = ["gpt-image", "chatgpt-image", "dall-e"];

/// How forms are read.
pub(super) const FORM: Form = Form {
    texts: &[
        "prompt",
        "model",
        "size",
        "user",
        "background_color",
        "name",
        "text",
        "answer",
        "hint",
        "conditioning",
    ],
    files: &[
        "image",
        "images",
        "mask",
        "init_image",
        "control",
        "video",
        "audio",
    ],
};

/// Images to make. X2I's own fields stand beside these, or in an object `x2i`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are known and ignored")]
pub struct ImagesBody {
    /// What to paint, in any language.
    #[schema(min_length = 1, pattern = r"\S")]
    pub prompt: String,
    /// The model's name; the server's first without one, and for the names of OpenAI's own models.
    pub model: Option<String>,
    /// How many images.
    #[schema(minimum = 1, maximum = 64)]
    pub n: Option<usize>,
    /// `auto`, or width and height in pixels, multiples of 16: `1024x768`.
    #[schema(pattern = "^(auto|[1-9][0-9]{0,3}x[1-9][0-9]{0,3})$")]
    pub size: Option<String>,
    /// Images that the LLM is shown before the prompt, at most 16: data URLs or ids of uploads.
    #[serde(alias = "images")]
    #[schema(value_type = Option<Vec<String>>, max_items = 16)]
    pub image: Option<OneOrMany<Picture>>,
    /// `png`, `jpeg` or `webp`.
    #[schema(value_type = Option<FormatName>)]
    pub output_format: Option<ImageFormat>,
    /// JPEG's quality, from 0 to 100.
    #[schema(minimum = 0, maximum = 100)]
    pub output_compression: Option<u8>,
    /// How images come: in the answer, or by URLs of this server.
    pub response_format: Option<ResponseFormat>,
    /// Whether they come as server-sent events.
    pub stream: Option<bool>,
    /// How many unfinished images a stream shows of each image.
    #[schema(minimum = 0, maximum = 3)]
    pub partial_images: Option<usize>,
    /// `auto` or `opaque`.
    #[schema(value_type = Option<String>, pattern = "^(auto|opaque)$")]
    pub background: Option<Background>,
    /// Ignored: the number of steps is `steps`.
    pub quality: Option<Value>,
    /// Ignored.
    pub style: Option<Value>,
    /// Ignored.
    pub moderation: Option<Value>,
    /// Ignored.
    pub user: Option<Value>,
    /// Ignored.
    pub safety_identifier: Option<Value>,
    /// Ignored.
    pub input_fidelity: Option<Value>,
    /// Refused: there is no inpainting.
    #[schema(ignore)]
    mask: Option<Value>,
}

/// An image as a text, or as an object of OpenAI's.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Picture {
    /// A data URL or an upload's id.
    Text(String),
    /// The same in an object.
    Url(ImageUrl),
}

/// An image in an object.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageUrl {
    image_url: String,
}

/// The formats of files.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ImageFormat)]
pub enum FormatName {
    /// Without loss.
    Png,
    /// With loss.
    Jpeg,
    /// Without loss.
    Webp,
}

/// How images come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// In the answer, as base64.
    #[default]
    B64Json,
    /// By URLs of this server.
    Url,
}

/// What is behind a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// What the model paints.
    Auto,
    /// The same.
    Opaque,
    /// Refused: pictures have no transparency.
    Transparent,
}

impl ImagesBody {
    /// The order, with its inputs kept.
    ///
    /// # Errors
    /// For what can't be done, by its name.
    pub(super) async fn order(
        self,
        app: &Arc<App>,
        mut extras: Extras,
        files: &[(String, InputFile)],
    ) -> Result<Order, ApiError> {
        self.check(files)?;
        let mut pictures = self.pictures(app, files).await?;
        let (width, height) = size(self.size.as_deref())?.unzip();
        let stands_in = extras.strength.is_some() && extras.init_image.is_none();
        let strength = extras
            .strength
            .take_if(|_| stands_in && !pictures.is_empty());
        let begins = strength.map(|strength| InitOrder {
            image: pictures.remove(0),
            strength: Some(strength),
        });
        let numbers = Numbers {
            width,
            height,
            ..Numbers::default()
        };
        let mut order = Order {
            model: model(app, self.model).await?,
            parts: pictures
                .into_iter()
                .map(|picture| PartOrder::of(Kind::Image, picture))
                .collect(),
            numbers,
            images: images(self.n)?,
            file: file(
                self.output_format,
                self.output_compression.map(|quality| quality.max(1)),
            )?,
            previews: self.stream == Some(true) && self.partial_images.unwrap_or(0) > 0,
            ..Order::default()
        };
        extras.apply(app, files, &mut order).await?;
        order.init = begins.or(order.init);
        order.parts.push(PartOrder::Text(self.prompt));
        Ok(order)
    }

    fn check(&self, files: &[(String, InputFile)]) -> Result<(), ApiError> {
        let has_mask = self.mask.is_some() || files.iter().any(|(name, _)| name == "mask");
        if has_mask {
            return Err(ApiError::param(
                "mask",
                "mask: there is no inpainting; X2I reads images as parts of the prompt",
            ));
        }
        if self.background == Some(Background::Transparent) {
            return Err(ApiError::param(
                "background",
                "background: images are opaque; leave it out, or say auto or opaque",
            ));
        }
        if self.partial_images.is_some_and(|images| images > 3) {
            return Err(ApiError::param(
                "partial_images",
                "partial_images: must be between 0 and 3",
            ));
        }
        let known =
            |name: &str| name == "image" || name == "images" || Extras::FILES.contains(&name);
        match files.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(ApiError::unknown_param(
                name,
                format!("there is no file {name}"),
            )),
            None => Ok(()),
        }
    }

    /// The images that the LLM is shown.
    async fn pictures(
        &self,
        app: &Arc<App>,
        files: &[(String, InputFile)],
    ) -> Result<Vec<InputFile>, ApiError> {
        let texts = match &self.image {
            None => None,
            Some(OneOrMany::One(picture)) => Some(OneOrMany::One(picture.text())),
            Some(OneOrMany::Many(pictures)) => Some(OneOrMany::Many(
                pictures.iter().map(Picture::text).collect(),
            )),
        };
        let pictures = inputs(app, texts, "image", files).await?;
        match pictures.len() > MOST_IMAGES {
            true => Err(ApiError::param(
                "image",
                format!("image: {} are more than {MOST_IMAGES}", pictures.len()),
            )),
            false => Ok(pictures),
        }
    }
}

impl Picture {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Url(url) => url.image_url.clone(),
        }
    }
}

/// Width and height of `WxH`; the model's for `auto`.
///
/// # Errors
/// For another text.
pub fn size(text: Option<&str>) -> Result<Option<(usize, usize)>, ApiError> {
    let text = match text {
        None | Some("" | "auto") => return Ok(None),
        Some(text) => text,
    };
    let sides = text.split_once(['x', 'X']);
    let sides = sides.and_then(|(width, height)| Some((side(width)?, side(height)?)));
    let wrong = || {
        ApiError::param(
            "size",
            format!("size: {text} must be auto, or WIDTHxHEIGHT in multiples of 16"),
        )
    };
    sides.map(Some).ok_or_else(wrong)
}

fn side(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let side: usize = text.parse().ok().filter(|_| digits)?;
    (side > 0 && side.is_multiple_of(16) && side <= x2i_core::request::MAX_SIDE).then_some(side)
}

/// The model that is meant: the server's first one for the name of one of OpenAI's.
///
/// # Errors
/// Of the queue.
pub async fn model(app: &App, asked: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(asked) = asked else { return Ok(None) };
    let is_openais = OPENAI.iter().any(|family| asked.starts_with(family));
    match is_openais && !app.model_names().await?.contains(&asked) {
        true => Ok(None),
        false => Ok(Some(asked)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_width_and_height_in_multiples_of_16() {
        assert_eq!(size(Some("1024x768")).unwrap(), Some((1024, 768)));
        assert_eq!(size(Some("auto")).unwrap(), None);
        assert_eq!(size(None).unwrap(), None);
        for wrong in [
            "1024",
            "100x100",
            "0x16",
            "-16x16",
            "16x16x16",
            "+16x16",
            "16x9999999999999999999",
        ] {
            assert_eq!(
                size(Some(wrong)).unwrap_err().failure.param.as_deref(),
                Some("size")
            );
        }
    }
}
