//! A request as JavaScript gives it, and a picture as JavaScript takes it.

use js_sys::{Array, BigInt, Object, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::png::PartRecord;
use x2i_core::{Conditioning, Image, ModelConfig, Part, Preview, Prompt, Request};

use crate::failure::{Failure, Result};
use crate::js;

/// What was asked for, and what the PNG will say of the prompt.
pub struct Asked {
    /// For the pipeline.
    pub request: Request,
    /// For the PNG.
    pub parts: Vec<PartRecord>,
}

/// Reads `{ prompt, seed, width?, height?, steps?, guidance?, conditioning?, preview }`.
///
/// # Errors
/// `request` naming the field, `image` for a picture that can't be used.
pub fn read(value: &JsValue, config: &ModelConfig) -> Result<Asked> {
    let (prompt, parts) = read_prompt(&js::get(value, "prompt"))?;
    let mut request = Request::new(prompt, config);
    request.seed = read_seed(&js::get(value, "seed"))?;
    for (field, place) in [
        ("width", &mut request.width),
        ("height", &mut request.height),
        ("steps", &mut request.steps),
    ] {
        if let Some(number) = optional_number(value, field)? {
            *place = whole(field, number)?;
        }
    }
    if let Some(guidance) = optional_number(value, "guidance")? {
        request.guidance = guidance as f32;
    }
    request.conditioning = match js::get(value, "conditioning").as_string().as_deref() {
        None => request.conditioning,
        Some("prompt") => Conditioning::Prompt,
        Some("answer") => Conditioning::Answer,
        Some(other) => {
            let reason = format!("conditioning: `{other}` must be prompt or answer");
            return Err(Failure::new("request", reason));
        }
    };
    request.preview = match js::get(value, "preview").is_truthy() {
        true => Preview::On,
        false => Preview::Off,
    };
    request.validate()?;
    Ok(Asked { request, parts })
}

fn read_prompt(value: &JsValue) -> Result<(Prompt, Vec<PartRecord>)> {
    let list = value.dyn_ref::<Array>().ok_or_else(|| {
        Failure::new(
            "request",
            "prompt: must be text, or a list of texts and images",
        )
    })?;
    let (mut input, mut parts) = (Vec::new(), Vec::new());
    for part in list.iter() {
        if let Some(text) = js::get(&part, "text").as_string() {
            parts.push(PartRecord::Text(text.clone()));
            input.push(Part::Text(text));
            continue;
        }
        let image = js::get(&part, "image");
        let text = |field| js::get(&image, field).as_string().unwrap_or_default();
        input.push(Part::Image(read_image(&text("name"), &image)?));
        parts.push(PartRecord::Image {
            file: text("name"),
            sha256: text("sha256"),
        });
    }
    Ok((Prompt::new(input), parts))
}

/// `{ width, height, pixels }` with RGBA pixels; transparency is dropped, as natively.
fn read_image(name: &str, value: &JsValue) -> Result<Image> {
    let broken = || Failure::new("image", format!("{name}: is no decoded picture"));
    let side = |field| js::get(value, field).as_f64().map(|side| side as usize);
    let (width, height) = side("width").zip(side("height")).ok_or_else(broken)?;
    let pixels = js::get(value, "pixels");
    let view = pixels
        .dyn_ref::<js_sys::Uint8ClampedArray>()
        .ok_or_else(broken)?;
    let rgb = view
        .to_vec()
        .chunks_exact(4)
        .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]])
        .collect();
    Ok(Image::new(width, height, rgb)?)
}

fn read_seed(value: &JsValue) -> Result<u64> {
    let wrong = || {
        Failure::new(
            "request",
            "seed: must be a whole number from 0 to 2^53 - 1, or a bigint below 2^64",
        )
    };
    if let Some(number) = value.as_f64() {
        let whole = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
        return whole.then_some(number as u64).ok_or_else(wrong);
    }
    let big = value.dyn_ref::<BigInt>().ok_or_else(wrong)?;
    u64::try_from(big.clone()).map_err(|_| wrong())
}

fn optional_number(value: &JsValue, field: &'static str) -> Result<Option<f64>> {
    let found = js::get(value, field);
    if found.is_undefined() || found.is_null() {
        return Ok(None);
    }
    let number = found.as_f64().filter(|number| number.is_finite());
    let number = number
        .ok_or_else(|| Failure::new("request", format!("{field}: must be a finite number")))?;
    Ok(Some(number))
}

fn whole(field: &'static str, number: f64) -> Result<usize> {
    if number.fract() == 0.0 && (0.0..1e9).contains(&number) {
        return Ok(number as usize);
    }
    let reason = format!("{field}: {number} must be a whole number of at least 0");
    Err(Failure::new("request", reason))
}

/// `{ width, height, pixels, png, metadata, answer? }`.
pub fn painting(image: &Image, png: &[u8], metadata: JsValue, answer: Option<&str>) -> Object {
    let object = crate::events::pixels(image);
    js::set(&object, "png", Uint8Array::from(png));
    js::set(&object, "metadata", metadata);
    if let Some(answer) = answer {
        js::set(&object, "answer", answer);
    }
    object
}
