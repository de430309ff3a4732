//! What X2I can do and the APIs of others have no names for: the same fields on all of their routes, flat or in an object
//! `x2i`, in JSON and in forms.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use x2i_core::Conditioning;
use x2i_core::image::Background;
use x2i_engine::Kind;

use super::app::App;
use super::error::ApiError;
use super::intake;
use super::jobs::{ControlBody, LoraBody, TurnBody, turns};
use super::reference;
use crate::job::{ControlOrder, InitOrder, InputFile, Order, PartOrder};

/// The object that may hold them.
const NESTED: &str = "x2i";

/// Fields of X2I's own.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Extras {
    /// The seed of the first image's noise; those of the others follow. A random one without it.
    #[schema(minimum = 0)]
    pub seed: Option<u64>,
    /// Steps of the transformer; also `num_inference_steps`.
    #[serde(alias = "num_inference_steps")]
    #[schema(minimum = 1, maximum = 1000)]
    pub steps: Option<usize>,
    /// Guidance of a guidance-distilled transformer; also `guidance_scale`.
    #[serde(alias = "guidance_scale")]
    #[schema(minimum = 0)]
    pub guidance: Option<f32>,
    /// The threshold of first-block caching; off without one.
    #[schema(minimum = 0)]
    pub cache: Option<f64>,
    /// An image to begin with: a data URL or the id of an upload.
    pub init_image: Option<String>,
    /// How far to leave the initial image, above 0 and at most 1. An edit with it begins with its first image.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub strength: Option<f64>,
    /// LoRAs by their names on the server.
    #[schema(value_type = Option<Vec<LoraBody>>)]
    pub loras: Option<OneOrMany<NameOrLora>>,
    /// An image that LightControl steers by, or an object with it, `scale` and `hint`.
    #[schema(value_type = Option<ControlBody>)]
    pub control: Option<ImageOrControl>,
    /// Videos that the LLM is shown: data URLs or ids of uploads.
    #[schema(value_type = Option<Vec<String>>)]
    pub video: Option<OneOrMany<String>>,
    /// Sounds that the LLM hears: data URLs or ids of uploads.
    #[schema(value_type = Option<Vec<String>>)]
    pub audio: Option<OneOrMany<String>>,
    /// Frames per second that the LLM reads of a video.
    pub video_fps: Option<f64>,
    /// `prompt`, or `answer` for the LLM's answer.
    #[schema(value_type = Option<ConditioningName>)]
    pub conditioning: Option<Conditioning>,
    /// Earlier turns of a conversation, oldest first.
    pub turns: Option<Vec<TurnBody>>,
    /// What lies under transparent pixels of inputs: six digits in hex, `white`, `black` or `dropped`.
    #[schema(value_type = Option<String>, pattern = "^(#?[0-9a-fA-F]{6}|white|black|dropped)$")]
    pub background_color: Option<Background>,
}

/// Whose hidden states condition the transformer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Conditioning)]
pub enum ConditioningName {
    /// The prompt's.
    Prompt,
    /// The LLM's answer's.
    Answer,
}

/// One, or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The list.
    pub fn all(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(all) => all,
        }
    }
}

/// A LoRA by its name alone, or with its scale.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum NameOrLora {
    /// Its name.
    Name(String),
    /// With its scale.
    Lora(LoraBody),
}

/// A control image alone, or with its scale and hint.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum ImageOrControl {
    /// The image.
    Image(String),
    /// With scale and hint.
    Control(ControlBody),
    /// The scale and hint of a form's file.
    File(ControlFile),
}

/// How the file `control` of a form steers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlFile {
    scale: Option<f32>,
    hint: Option<x2i_core::image::Hint>,
}

impl Extras {
    /// Names of its fields.
    const NAMES: [&str; 16] = [
        "seed",
        "steps",
        "num_inference_steps",
        "guidance",
        "guidance_scale",
        "cache",
        "init_image",
        "strength",
        "loras",
        "control",
        "video",
        "audio",
        "video_fps",
        "conditioning",
        "turns",
        "background_color",
    ];

    /// Fields that are files in forms.
    pub const FILES: [&str; 4] = ["init_image", "control", "video", "audio"];

    /// Adds what they say to an order.
    ///
    /// # Errors
    /// For an input that can't be read, by its name.
    pub async fn apply(
        self,
        app: &Arc<App>,
        files: &[(String, InputFile)],
        order: &mut Order,
    ) -> Result<(), ApiError> {
        let numbers = &mut order.numbers;
        numbers.seed = self.seed;
        numbers.steps = self.steps;
        numbers.guidance = self.guidance;
        numbers.cache = self.cache;
        numbers.video_fps = self.video_fps;
        numbers.background = self.background_color;
        numbers.conditioning = self.conditioning.or(numbers.conditioning);
        for (kind, given, param) in [
            (Kind::Video, self.video, "video"),
            (Kind::Audio, self.audio, "audio"),
        ] {
            let inputs = inputs(app, given, param, files).await?;
            let parts = inputs.into_iter().map(|input| PartOrder::of(kind, input));
            order.parts.extend(parts);
        }
        if let Some(earlier) = self.turns {
            order.turns = turns(app, earlier, files).await?;
        }
        let loras = self.loras.map(OneOrMany::all).unwrap_or_default();
        order.loras = loras
            .into_iter()
            .map(NameOrLora::body)
            .map(LoraBody::order)
            .collect();
        order.control = control(app, self.control, files).await?;
        order.init = init(app, self.init_image, self.strength, files).await?;
        Ok(())
    }
}

impl NameOrLora {
    fn body(self) -> LoraBody {
        match self {
            Self::Name(name) => LoraBody { name, scale: None },
            Self::Lora(lora) => lora,
        }
    }
}

/// Inputs of a field: those that a text refers to, then the form's files of that name.
///
/// # Errors
/// For one that can't be read.
pub async fn inputs(
    app: &Arc<App>,
    given: Option<OneOrMany<String>>,
    param: &str,
    files: &[(String, InputFile)],
) -> Result<Vec<InputFile>, ApiError> {
    let mut inputs = vec![];
    for text in given.map(OneOrMany::all).unwrap_or_default() {
        inputs.push(reference::input(app, &text, param, files).await?);
    }
    let sent = files.iter().filter(|(name, _)| name == param);
    inputs.extend(sent.map(|(_, file)| file.clone()));
    Ok(inputs)
}

/// The one input of a field.
async fn input(
    app: &Arc<App>,
    given: Option<String>,
    param: &str,
    files: &[(String, InputFile)],
) -> Result<Option<InputFile>, ApiError> {
    let inputs = inputs(app, given.map(OneOrMany::One), param, files).await?;
    match <[InputFile; 1]>::try_from(inputs) {
        Ok([input]) => Ok(Some(input)),
        Err(none) if none.is_empty() => Ok(None),
        Err(_) => Err(ApiError::param(
            param,
            format!("{param}: there may be only one"),
        )),
    }
}

async fn control(
    app: &Arc<App>,
    given: Option<ImageOrControl>,
    files: &[(String, InputFile)],
) -> Result<Option<ControlOrder>, ApiError> {
    let (image, scale, hint, has_more) = match given {
        None => (None, None, None, false),
        Some(ImageOrControl::Image(image)) => (Some(image), None, None, false),
        Some(ImageOrControl::Control(ControlBody { image, scale, hint })) => {
            (Some(image), scale, hint, false)
        }
        Some(ImageOrControl::File(ControlFile { scale, hint })) => (None, scale, hint, true),
    };
    match input(app, image, "control", files).await? {
        Some(image) => Ok(Some(ControlOrder {
            image,
            scale: scale.unwrap_or(1.0),
            hint,
        })),
        None if has_more => Err(ApiError::param(
            "control.image",
            "control.image: is missing",
        )),
        None => Ok(None),
    }
}

async fn init(
    app: &Arc<App>,
    given: Option<String>,
    strength: Option<f64>,
    files: &[(String, InputFile)],
) -> Result<Option<InitOrder>, ApiError> {
    match input(app, given, "init_image", files).await? {
        Some(image) => Ok(Some(InitOrder { image, strength })),
        None if strength.is_some() => {
            Err(ApiError::param("strength", "strength: needs an init_image"))
        }
        None => Ok(None),
    }
}

/// A body in two: what the API has names for, and X2I's own fields. What stands in the object has precedence.
///
/// # Errors
/// Naming what is unknown, or of another type.
pub fn split<T: DeserializeOwned>(mut fields: Map<String, Value>) -> Result<(T, Extras), ApiError> {
    let mut extras = Map::new();
    for name in Extras::NAMES {
        if let Some(value) = fields.shift_remove(name) {
            extras.insert(name.to_owned(), value);
        }
    }
    match fields.shift_remove(NESTED) {
        None | Some(Value::Null) => {}
        Some(Value::Object(nested)) => {
            for (name, value) in nested {
                let param = format!("{NESTED}.{name}");
                if !Extras::NAMES.contains(&name.as_str()) {
                    let message = format!("there is no parameter {param}");
                    return Err(ApiError::unknown_param(param, message));
                }
                extras.insert(name, value);
            }
        }
        Some(_) => return Err(ApiError::param(NESTED, "x2i: must be an object")),
    }
    Ok((intake::typed(fields)?, intake::typed(extras)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        prompt: String,
    }

    fn read(value: Value) -> Result<(Body, Extras), ApiError> {
        split(value.as_object().unwrap().clone())
    }

    #[test]
    fn extras_are_flat_or_nested_under_either_name() {
        let (body, extras) =
            read(json!({"prompt": "a", "num_inference_steps": 3, "x2i": {"seed": 7}})).unwrap();
        assert_eq!(
            (body.prompt.as_str(), extras.steps, extras.seed),
            ("a", Some(3), Some(7))
        );
        let (_, extras) = read(
            json!({"prompt": "a", "loras": ["x", {"name": "y", "scale": 0.5}], "audio": "id"}),
        )
        .unwrap();
        assert_eq!(extras.loras.unwrap().all().len(), 2);
        assert_eq!(extras.audio.unwrap().all(), ["id"]);
    }

    #[test]
    fn what_is_wrong_in_them_is_named() {
        let refused = |value| read(value).unwrap_err().failure.param.unwrap();
        assert_eq!(refused(json!({"prompt": "a", "colour": 1})), "colour");
        assert_eq!(
            refused(json!({"prompt": "a", "x2i": {"colour": 1}})),
            "x2i.colour"
        );
        assert_eq!(refused(json!({"prompt": "a", "steps": "many"})), "steps");
        assert_eq!(refused(json!({"prompt": "a", "x2i": 1})), "x2i");
    }

    #[test]
    fn all_of_their_names_are_known() {
        for name in Extras::NAMES {
            let fields = Map::from_iter([(name.to_owned(), Value::Null)]);
            intake::typed::<Extras>(fields).unwrap();
            let wrong = Map::from_iter([(name.to_owned(), json!({"no": "such"}))]);
            let error = intake::typed::<Extras>(wrong).unwrap_err();
            assert_eq!(
                error.failure.param.unwrap().split('.').next(),
                Some(name),
                "{name}"
            );
        }
    }
}
