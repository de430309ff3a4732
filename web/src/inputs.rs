//! Reads the parts of a prompt from JavaScript: decoded inputs and their records for the metadata.

use js_sys::{Array, Float32Array, Uint8ClampedArray};
use wasm_bindgen::{JsCast, JsValue};
use x2i_core::png::{PartRecord, UsedFile};
use x2i_core::video::sampling::Sampling;
use x2i_core::{Audio, Background, Error, Field, Image, Part, Turn, Video};

use crate::failure::{Failure, Result};
use crate::js;

/// How inputs are read.
#[derive(Clone, Copy)]
pub struct Reading {
    /// The frames that are taken of a video.
    pub sampling: Sampling,
    /// What lies under transparent pixels.
    pub background: Background,
}

/// The parts in order, and the record of each.
///
/// # Errors
/// `request` for a value that is not a part; `image`, `video` or `audio` for one that can't be used.
pub fn parts(value: &JsValue, reading: Reading) -> Result<(Vec<Part>, Vec<PartRecord>)> {
    let list = value.dyn_ref::<Array>();
    let list = list.ok_or_else(|| Failure::request(Field::Prompt, "must be a list of parts"))?;
    let read = list.iter().map(|part| read_part(&part, reading));
    let read: Vec<_> = read.collect::<Result<_>>()?;
    Ok(read.into_iter().unzip())
}

/// Earlier turns, oldest first: the last `most` of them, or all.
///
/// # Errors
/// As [`parts`].
pub fn turns(value: &JsValue, reading: Reading, most: Option<usize>) -> Result<Vec<Turn>> {
    let list: Vec<JsValue> = match value.dyn_ref::<Array>() {
        Some(list) => list.to_vec(),
        None => vec![],
    };
    let first = list.len() - most.unwrap_or(usize::MAX).min(list.len());
    let turn = |turn: &JsValue| {
        let (parts, _) = parts(&js::get(turn, "prompt"), reading)?;
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

fn read_part(part: &JsValue, reading: Reading) -> Result<(Part, PartRecord)> {
    if let Some(text) = js::get(part, "text").as_string() {
        return Ok((Part::Text(text.clone()), PartRecord::Text(text)));
    }
    let given = |kind| Some(js::get(part, kind)).filter(|value| !value.is_undefined());
    if let Some(value) = given("image") {
        let UsedFile { file, sha256 } = used_file(&value);
        let image = image(&value, reading.background)?;
        return Ok((Part::Image(image), PartRecord::Image { file, sha256 }));
    }
    if let Some(value) = given("video") {
        let UsedFile { file, sha256 } = used_file(&value);
        let video = read_video(&file, &value, reading)?;
        let fps = reading.sampling.fps();
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

/// An image: `{ name, width, height, pixels }` with RGBA pixels, which are put on the background.
///
/// # Errors
/// `image` for another value.
pub fn image(value: &JsValue, background: Background) -> Result<Image> {
    let name = used_file(value).file;
    let broken = || Failure::new("image", format!("{name}: is not a decoded image"));
    pixels(value, background)?.ok_or_else(broken)
}

/// The image; `None` when the value is not one.
fn pixels(value: &JsValue, background: Background) -> Result<Option<Image>> {
    let side = |field| js::get(value, field).as_f64().map(|side| side as usize);
    let pixels = js::get(value, "pixels");
    let Some(((width, height), view)) = side("width")
        .zip(side("height"))
        .zip(pixels.dyn_ref::<Uint8ClampedArray>())
    else {
        return Ok(None);
    };
    let rgb = background.flatten(&view.to_vec());
    Ok(Some(Image::new(width, height, rgb)?))
}

fn read_video(name: &str, value: &JsValue, reading: Reading) -> Result<Video> {
    let broken = || Failure::new("video", format!("{name}: has a frame that is not an image"));
    let frames = js::get(value, "frames");
    let frames = frames.dyn_ref::<Array>().ok_or_else(broken)?.iter();
    let frames = frames.map(|frame| pixels(&frame, reading.background)?.ok_or_else(broken));
    let fps = js::get(value, "fps").as_f64();
    let video = Video::new(
        frames.collect::<Result<_>>()?,
        fps.unwrap_or(reading.sampling.fps()),
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
