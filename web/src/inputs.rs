//! Reads the parts of a prompt from JavaScript: decoded inputs and their records for the metadata.

use js_sys::{Array, Float32Array, Uint8ClampedArray};
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::png::{PartRecord, UsedFile};
use x2i_core::video::sampling::Sampling;
use x2i_core::{Audio, Error, Field, Image, Part, Turn, Video};

use crate::failure::{Failure, Result};
use crate::js;

/// The parts in order, and the record of each; `sampling` is the model's.
///
/// # Errors
/// `request` for a value that is not a part; `image`, `video` or `audio` for one that can't be used.
pub fn parts(value: &JsValue, sampling: Sampling) -> Result<(Vec<Part>, Vec<PartRecord>)> {
    let list = value.dyn_ref::<Array>();
    let list = list.ok_or_else(|| Failure::request(Field::Prompt, "must be a list of parts"))?;
    let read = list.iter().map(|part| read_part(&part, sampling));
    let read: Vec<_> = read.collect::<Result<_>>()?;
    Ok(read.into_iter().unzip())
}

/// Earlier turns, oldest first: the last `most` of them, or all.
///
/// # Errors
/// As [`parts`].
pub fn turns(value: &JsValue, sampling: Sampling, most: Option<usize>) -> Result<Vec<Turn>> {
    let list: Vec<JsValue> = match value.dyn_ref::<Array>() {
        Some(list) => list.to_vec(),
        None => vec![],
    };
    let first = list.len() - most.unwrap_or(usize::MAX).min(list.len());
    let turn = |turn: &JsValue| {
        let (parts, _) = parts(&js::get(turn, "prompt"), sampling)?;
        let answer = js::get(turn, "answer").as_string().unwrap_or_default();
        Ok(Turn { parts, answer })
    };
    list[first..].iter().map(turn).collect()
}

/// The name and hash of an input.
pub fn used_file(value: &JsValue) -> UsedFile {
    let text = |field| js::get(value, field).as_string().unwrap_or_default();
    UsedFile {
        file: text("name"),
        sha256: text("sha256"),
    }
}

fn read_part(part: &JsValue, sampling: Sampling) -> Result<(Part, PartRecord)> {
    if let Some(text) = js::get(part, "text").as_string() {
        return Ok((Part::Text(text.clone()), PartRecord::Text(text)));
    }
    let given = |kind| Some(js::get(part, kind)).filter(|value| !value.is_undefined());
    if let Some(value) = given("image") {
        let UsedFile { file, sha256 } = used_file(&value);
        let image = image(&value)?;
        return Ok((Part::Image(image), PartRecord::Image { file, sha256 }));
    }
    if let Some(value) = given("video") {
        let UsedFile { file, sha256 } = used_file(&value);
        let video = read_video(&file, &value, sampling)?;
        let fps = sampling.fps();
        let record = PartRecord::Video { file, sha256, fps };
        return Ok((Part::Video(video), record));
    }
    if let Some(value) = given("audio") {
        let UsedFile { file, sha256 } = used_file(&value);
        let audio = read_audio(&file, &value)?;
        return Ok((Part::Audio(audio), PartRecord::Audio { file, sha256 }));
    }
    let reason = "a part must be a text, or { text }, { image }, { video } or { audio }";
    Err(Failure::request(Field::Prompt, reason))
}

/// An image: `{ name, width, height, pixels }` with RGBA pixels. Transparency is dropped: the pixels below it
/// become visible. (The native program puts them on white.)
///
/// # Errors
/// `image` for another value.
pub fn image(value: &JsValue) -> Result<Image> {
    let name = used_file(value).file;
    let broken = || Failure::new("image", format!("{name}: is not a decoded image"));
    pixels(value)?.ok_or_else(broken)
}

/// The image; `None` when the value is not one.
fn pixels(value: &JsValue) -> Result<Option<Image>> {
    let side = |field| js::get(value, field).as_f64().map(|side| side as usize);
    let pixels = js::get(value, "pixels");
    let Some(((width, height), view)) = side("width")
        .zip(side("height"))
        .zip(pixels.dyn_ref::<Uint8ClampedArray>())
    else {
        return Ok(None);
    };
    let rgb = view.to_vec();
    let rgb = rgb
        .chunks_exact(4)
        .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]);
    Ok(Some(Image::new(width, height, rgb.collect())?))
}

fn read_video(name: &str, value: &JsValue, sampling: Sampling) -> Result<Video> {
    let broken = || Failure::new("video", format!("{name}: has a frame that is not an image"));
    let frames = js::get(value, "frames");
    let frames = frames.dyn_ref::<Array>().ok_or_else(broken)?.iter();
    let frames = frames.map(|frame| pixels(&frame)?.ok_or_else(broken));
    let fps = js::get(value, "fps").as_f64();
    let video = Video::new(
        frames.collect::<Result<_>>()?,
        fps.unwrap_or(sampling.fps()),
    );
    Ok(video.map_err(|error| match error {
        Error::Video { reason, .. } => Error::video(name, reason),
        other => other,
    })?)
}

fn read_audio(name: &str, value: &JsValue) -> Result<Audio> {
    let samples = js::get(value, "samples");
    let samples = samples.dyn_ref::<Float32Array>();
    let samples =
        samples.ok_or_else(|| Failure::new("audio", format!("{name}: is not decoded audio")))?;
    let rate = js::get(value, "sampleRate").as_f64().unwrap_or_default() as usize;
    Ok(
        Audio::resampled(samples.to_vec(), rate).map_err(|error| match error {
            Error::Audio { reason, .. } => Error::audio(name, reason),
            other => other,
        })?,
    )
}
