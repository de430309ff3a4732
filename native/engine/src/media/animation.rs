//! Reads animations: GIF, APNG and animated WebP. Frames are counted without decoding, and decoded one
//! by one.
//!
//! Not here: loops and comments.

mod apng;
mod facts;
pub mod gif;
mod webp;

use std::io::Cursor;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Frames, ImageResult};
use x2i_core::{Error, Image, Result};

use super::alpha::flatten;
use super::limits;
use super::reading::Reading;
use super::sniff::Format;

pub use facts::Facts;

/// The facts of an animation; `None` for a picture that stands still.
///
/// # Errors
/// [`Error::Video`] when it is broken, ends within a frame, or has no frames or too many.
pub(super) fn facts(name: &str, bytes: &[u8]) -> Result<Option<Facts>> {
    match Format::of(bytes) {
        Some(Format::Gif) => gif::facts(name, bytes).map(Some),
        Some(Format::Png) => apng::facts(name, bytes),
        Some(Format::Webp) => webp::facts(name, bytes),
        _ => Ok(None),
    }
}

/// Decodes up to the last of the `wanted` frames (indices in order), and hands these to `keep`.
///
/// # Errors
/// [`Error::Video`] when a frame can't be decoded or there is too much to decode, [`Error::Cancelled`],
/// and the errors of `keep`.
pub(super) fn decode(
    name: &str,
    bytes: &[u8],
    facts: &Facts,
    wanted: &[usize],
    reading: &Reading,
    keep: &mut impl FnMut(Image) -> Result<()>,
) -> Result<()> {
    let count = wanted.last().map_or(0, |last| last + 1);
    check_work(name, facts.size, count, bytes.len())?;
    let broken = |error: image::ImageError| Error::video(name, format!("can't be read: {error}"));
    for (index, frame) in frames(bytes).map_err(broken)?.take(count).enumerate() {
        if (reading.cancelled)() {
            return Err(Error::Cancelled);
        }
        let frame = frame.map_err(broken)?;
        if wanted.binary_search(&index).is_ok() {
            let rgb = flatten(frame.into_buffer().into(), reading.background);
            let (width, height) = (rgb.width() as usize, rgb.height() as usize);
            keep(Image::new(width, height, rgb.into_raw())?)?;
        }
    }
    Ok(())
}

/// Checks the cost of decoding `count` frames, each of which is drawn on the whole screen.
fn check_work(name: &str, size: [usize; 2], count: usize, bytes: usize) -> Result<()> {
    let [width, height] = size.map(|side| side as u64);
    let (screen, most) = (
        limits::ANIMATION_SCREEN,
        limits::animation_pixels(bytes as u64),
    );
    let pixels = width.saturating_mul(height);
    if pixels > screen || pixels.saturating_mul(count as u64) > most {
        let reason = format!(
            "has {count} frames of {width}x{height}; the most are {screen} pixels of one and {most} of all \
             (a larger file may have more); make it smaller"
        );
        return Err(Error::video(name, reason));
    }
    Ok(())
}

fn frames(bytes: &[u8]) -> ImageResult<Frames<'_>> {
    let bytes = Cursor::new(bytes);
    Ok(match Format::of(bytes.get_ref()) {
        Some(Format::Png) => PngDecoder::new(bytes)?.apng()?.into_frames(),
        Some(Format::Webp) => WebPDecoder::new(bytes)?.into_frames(),
        _ => GifDecoder::new(bytes)?.into_frames(),
    })
}
