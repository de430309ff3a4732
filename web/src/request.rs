//! Reads a request from JavaScript, and returns an image to it.

use js_sys::{Array, BigInt, Object, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::image::Hint;
use x2i_core::png::{ControlRecord, InitRecord, PartRecord, UsedFile};
use x2i_core::video::sampling::Sampling;
use x2i_core::{
    Answer, Background, Cache, Conditioning, Control, Field, Image, Init, ModelConfig, Preview,
    Prompt, Request,
};

use crate::failure::{Failure, Result};
use crate::inputs::{self, Reading};
use crate::js;

/// The default strength of an initial image, as in diffusers.
const STRENGTH: f64 = 0.6;

/// A request, and the records of its files for the metadata.
pub struct Asked {
    /// For the pipeline.
    pub request: Request,
    /// The parts of the prompt.
    pub parts: Vec<PartRecord>,
    /// The initial image.
    pub init: Option<InitRecord>,
    /// The control image.
    pub control: Option<ControlRecord>,
    /// What lies under the transparent pixels of its pictures; the default where it has none.
    pub background: Background,
}

/// Reads `{ prompt, turns, init?, control?, seed, width?, height?, steps?, guidance?, cache?,
/// conditioning?, videoFps?, background?, preview }`; `control_weights` are LightControl's weights of the loaded
/// model.
///
/// # Errors
/// `request`, which names the field; `image`, `video` or `audio` for an input that can't be used.
pub fn read(
    value: &JsValue,
    config: &ModelConfig,
    control_weights: Option<&UsedFile>,
) -> Result<Asked> {
    let reading = Reading {
        sampling: sampling(config, optional_number(value, "videoFps", Field::VideoFps)?)?,
        background: read_background(value)?,
    };
    let (shown, parts) = inputs::parts(&js::get(value, "prompt"), reading)?;
    let most = config.defaults.earlier_turns;
    let prompt = Prompt {
        earlier: inputs::turns(&js::get(value, "turns"), reading, most)?,
        parts: shown,
    };
    let mut request = Request::new(prompt, config);
    let (init, init_record) = read_init(value, reading.background)?.unzip();
    let (control, control_record) =
        read_control(value, reading.background, control_weights)?.unzip();
    request.init = init;
    request.control = control;
    request.seed = read_seed(&js::get(value, "seed"))?;
    for (key, field, place) in [
        ("width", Field::Width, &mut request.width),
        ("height", Field::Height, &mut request.height),
        ("steps", Field::Steps, &mut request.steps),
    ] {
        if let Some(number) = optional_number(value, key, field)? {
            *place = whole(field, number)?;
        }
    }
    if let Some(guidance) = optional_number(value, "guidance", Field::Guidance)? {
        request.guidance = guidance as f32;
    }
    request.cache = read_cache(&js::get(value, "cache"))?;
    request.conditioning = match js::get(value, "conditioning").as_string().as_deref() {
        None => request.conditioning,
        Some("prompt") => Conditioning::Prompt,
        Some("answer") => Conditioning::Answer,
        Some(other) => {
            let reason = format!("`{other}` must be prompt or answer");
            return Err(Failure::request(Field::Conditioning, reason));
        }
    };
    request.preview = match js::get(value, "preview").is_truthy() {
        true => Preview::On,
        false => Preview::Off,
    };
    request.validate()?;
    Ok(Asked {
        background: match init_record.is_some() || control_record.is_some() || show(&parts) {
            true => reading.background,
            false => Background::default(),
        },
        request,
        parts,
        init: init_record,
        control: control_record,
    })
}

/// Whether a prompt shows images or videos.
fn show(parts: &[PartRecord]) -> bool {
    let is_shown =
        |part: &PartRecord| matches!(part, PartRecord::Image { .. } | PartRecord::Video { .. });
    parts.iter().any(is_shown)
}

/// The sampling of a video: `fps` frames per second, or the model's rate.
///
/// # Errors
/// `request` for a rate that is not above 0.
pub fn sampling(config: &ModelConfig, fps: Option<f64>) -> Result<Sampling> {
    let own = config.encoder.config.video_sampling();
    match fps {
        None => Ok(own),
        Some(fps) if fps.is_finite() && fps > 0.0 => Ok(own.at(fps)),
        Some(fps) => {
            let reason = format!("{fps} must be above 0");
            Err(Failure::request(Field::VideoFps, reason))
        }
    }
}

/// What lies under transparent pixels: a color, or `dropped`; white by default.
fn read_background(value: &JsValue) -> Result<Background> {
    let given = js::get(value, "background");
    if given.is_undefined() || given.is_null() {
        return Ok(Background::default());
    }
    let text = given.as_string().unwrap_or_default();
    let read = text.parse::<Background>();
    read.map_err(|reason| Failure::new("request", format!("background: {reason}")))
}

/// The initial image, and its record.
fn read_init(value: &JsValue, background: Background) -> Result<Option<(Init, InitRecord)>> {
    let init = js::get(value, "init");
    if init.is_undefined() {
        return Ok(None);
    }
    let image = js::get(&init, "image");
    let strength = optional_number(&init, "strength", Field::Strength)?.unwrap_or(STRENGTH);
    let record = InitRecord {
        picture: inputs::used_file(&image),
        strength,
    };
    let image = inputs::image(&image, background)?;
    Ok(Some((Init { image, strength }, record)))
}

/// The control image for these weights, and its record.
fn read_control(
    value: &JsValue,
    background: Background,
    weights: Option<&UsedFile>,
) -> Result<Option<(Control, ControlRecord)>> {
    let control = js::get(value, "control");
    if control.is_undefined() {
        return Ok(None);
    }
    let weights = weights.ok_or_else(|| {
        let reason = "needs LightControl's weights; load the model with controlWeights";
        Failure::request(Field::Control, reason)
    })?;
    let image = js::get(&control, "image");
    let scale = optional_number(&control, "scale", Field::ControlScale)?.unwrap_or(1.0) as f32;
    let record = ControlRecord {
        picture: inputs::used_file(&image),
        weights: weights.clone(),
        scale,
        hint: Hint::Source,
    };
    let image = inputs::image(&image, background)?;
    let hint = Hint::Source;
    Ok(Some((Control { image, hint, scale }, record)))
}

/// `off` or a threshold; off without one.
fn read_cache(value: &JsValue) -> Result<Cache> {
    if value.is_undefined() || value.is_null() {
        return Ok(Cache::Off);
    }
    match (value.as_f64(), value.as_string()) {
        (Some(threshold), _) => Ok(Cache::FirstBlock(threshold)),
        (None, Some(text)) if text == "off" => Ok(Cache::Off),
        _ => Err(Failure::request(Field::Cache, "must be off or a number")),
    }
}

fn read_seed(value: &JsValue) -> Result<u64> {
    let wrong = || {
        Failure::request(
            Field::Seed,
            "must be a whole number from 0 to 2^53 - 1, or a bigint below 2^64",
        )
    };
    if let Some(number) = value.as_f64() {
        let whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
        return whole.then_some(number as u64).ok_or_else(wrong);
    }
    let big = value.dyn_ref::<BigInt>().ok_or_else(wrong)?;
    u64::try_from(big.clone()).map_err(|_| wrong())
}

/// The number in a property of `value`, if there is one; `field` is for messages.
fn optional_number(value: &JsValue, key: &str, field: Field) -> Result<Option<f64>> {
    let found = js::get(value, key);
    if found.is_undefined() || found.is_null() {
        return Ok(None);
    }
    let number = found.as_f64().filter(|number| number.is_finite());
    let number = number.ok_or_else(|| Failure::request(field, "must be a finite number"))?;
    Ok(Some(number))
}

fn whole(field: Field, number: f64) -> Result<usize> {
    if number.fract() == 0.0 && (0.0..1e9).contains(&number) {
        return Ok(number as usize);
    }
    let reason = format!("{number} must be a whole number of at least 0");
    Err(Failure::request(field, reason))
}

/// A result for JavaScript: `{ width, height, pixels, png, metadata, answer?, certainty?, unknown?, alternatives? }`.
pub fn painting(image: &Image, png: &[u8], metadata: JsValue, answer: Option<&Answer>) -> Object {
    let object = crate::events::pixels(image);
    js::set(&object, "png", Uint8Array::from(png));
    js::set(&object, "metadata", metadata);
    if let Some(answer) = answer {
        js::set(&object, "answer", answer.text.as_str());
        js::set(&object, "certainty", answer.certainty);
        if let Some(name) = &answer.unknown {
            js::set(&object, "unknown", name.as_str());
        }
        if let Some(alternatives) = &answer.alternatives {
            let alternatives = alternatives.iter().map(|other| {
                let object = Object::new();
                js::set(&object, "answer", other.text.as_str());
                if let Some(name) = &other.name {
                    js::set(&object, "name", name.as_str());
                }
                js::set(&object, "probability", other.probability);
                object
            });
            js::set(&object, "alternatives", alternatives.collect::<Array>());
        }
    }
    object
}
