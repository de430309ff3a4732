//! Videos: through the ffmpeg program, or an animated GIF, or a folder of frames.
//!
//! Only the frames that a model looks at are kept, and those are made smaller when they are large
//! and many, so that an hour takes no more memory than a minute. Left out: sound (`--audio` takes a
//! video's), since X2I's scripts show a model the frames alone.

pub mod ffmpeg;
pub mod folder;

use std::path::Path;

use x2i_core::image::resize::resize_bicubic;
use x2i_core::video::sampling::Sampling;
use x2i_core::{Error, Image, Result, Video};

use super::sniff::{self, Format, Kind};
use super::{Input, gif};
use crate::models::hashes::hash_file;
use crate::models::io_error;

/// The most pixels of all frames that are kept: 400 MB.
pub const MAX_PIXELS: usize = 1 << 27;
/// The most frames that are kept.
pub const MAX_FRAMES: usize = 768;
/// The largest GIF, in bytes: it is read whole.
const MAX_GIF: u64 = 1 << 30;
/// What [`sniff::mistaken`] says that we read.
const FORMATS: &str = "gif, a folder of frames, or what ffmpeg reads, as mp4";

/// Reads a video: the frames that `sampling` chooses.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Video`] when it is no video, broken or too
/// large, or when the ffmpeg program is needed and not there.
pub fn read(path: &Path, sampling: Sampling) -> Result<Input<Video>> {
    let name = path.display().to_string();
    if path.is_dir() {
        return folder::read(&name, path, sampling.fps());
    }
    let failed = |error| io_error(&name, error);
    let start = sniff::start_of(path).map_err(failed)?;
    let mistaken = || {
        let reason = sniff::mistaken(&start, Kind::Video, FORMATS);
        Err(Error::video(&name, reason))
    };
    let value = match Format::of(&start) {
        Some(Format::Gif) => {
            if path.metadata().map_err(failed)?.len() > MAX_GIF {
                return Err(Error::video(
                    name,
                    format!("is a GIF of more than {MAX_GIF} bytes"),
                ));
            }
            decode_gif(&name, &std::fs::read(path).map_err(failed)?, sampling)?
        }
        // An Ogg file may hold a video.
        Some(format) if format.kind() != Kind::Video && format != Format::Ogg => return mistaken(),
        // ffmpeg would make pictures of text, and follow the addresses of a playlist.
        None if start.iter().all(|&byte| is_text(byte)) => return mistaken(),
        _ => ffmpeg::frames(&name, path, sampling)?,
    };
    Ok(Input {
        value,
        sha256: hash_file(path)?,
    })
}

fn is_text(byte: u8) -> bool {
    byte >= b' ' || byte.is_ascii_whitespace()
}

/// The frames of an animated GIF that `sampling` chooses; `name` is for messages.
///
/// # Errors
/// [`Error::Video`] when it is broken or too large.
pub fn decode_gif(name: &str, bytes: &[u8], sampling: Sampling) -> Result<Video> {
    let facts = gif::facts(name, bytes)?;
    let fps = facts.frames as f64 / facts.seconds;
    let chosen = sampling.choose(facts.frames, fps)?;
    let mut kept = Kept::new(name, chosen.len());
    gif::decode(name, bytes, &facts, &chosen, &mut |frame| kept.push(frame))?;
    kept.video(fps * chosen.len() as f64 / facts.frames as f64)
}

/// Frames as they come, made smaller where there are many.
struct Kept<'a> {
    name: &'a str,
    /// Pixels that each may have.
    most: usize,
    frames: Vec<Image>,
}

impl<'a> Kept<'a> {
    /// For about `count` frames.
    fn new(name: &'a str, count: usize) -> Self {
        Self {
            name,
            most: MAX_PIXELS / count.max(1),
            frames: vec![],
        }
    }

    fn push(&mut self, frame: Image) -> Result<()> {
        let shrink = (self.most as f64 / (frame.width() * frame.height()) as f64).sqrt();
        let frame = match shrink < 1.0 {
            true => {
                let side = |side: usize| ((side as f64 * shrink) as usize).max(1);
                resize_bicubic(&frame, side(frame.width()), side(frame.height()))?
            }
            false => frame,
        };
        self.frames.push(frame);
        Ok(())
    }

    fn video(self, fps: f64) -> Result<Video> {
        Video::new(self.frames, fps).map_err(|error| match error {
            Error::Video { reason, .. } => Error::video(self.name, reason),
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_large_frames_are_made_smaller() {
        let mut kept = Kept::new("x", MAX_FRAMES);
        let frame = Image::new(1920, 1080, vec![7; 1920 * 1080 * 3]).unwrap();
        kept.push(frame).unwrap();
        let pixels = kept.frames[0].width() * kept.frames[0].height();
        assert!(
            (160_000..=MAX_PIXELS / MAX_FRAMES).contains(&pixels),
            "{pixels}"
        );
        let mut kept = Kept::new("x", 4);
        kept.push(Image::new(1920, 1080, vec![7; 1920 * 1080 * 3]).unwrap())
            .unwrap();
        assert_eq!(kept.frames[0].width(), 1920);
    }
}
