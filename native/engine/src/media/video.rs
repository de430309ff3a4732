//! Reads videos: through the program ffmpeg, or from an animated GIF or a folder of frames.
//!
//! Only the frames that the LLM reads are kept. They are scaled down when they are large and many, so
//! that an hour takes no more memory than a minute. Not here: the audio, since X2I's scripts give the
//! LLM only the frames (a video can be given as audio too).

pub mod ffmpeg;
pub(super) mod folder;
mod kept;

use std::path::Path;

use x2i_core::video::sampling::Sampling;
use x2i_core::{Error, Result, Video};

use kept::Kept;
pub use kept::{MAX_FRAMES, MAX_PIXELS};

use super::gif;
use super::input::Input;
use super::kind::Kind;
use super::sniff::{self, Format};
use crate::files::{hash_file, io_error};

/// The largest GIF, in bytes: it is read into memory.
const MAX_GIF: u64 = 1 << 30;
/// The formats that are read, for [`sniff::mistaken`].
pub(super) const FORMATS: &str = "gif, a folder of frames, or what ffmpeg reads, such as mp4";

/// Reads a video: the frames that `sampling` chooses.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Video`] when it is not a video, broken or too
/// large, or when it needs the program ffmpeg and there is none.
pub fn read(path: &Path, sampling: Sampling) -> Result<Input<Video>> {
    let name = path.display().to_string();
    if path.is_dir() {
        return folder::read(&name, path, sampling.fps());
    }
    let failed = |error| io_error(&name, error);
    let start = sniff::start_of(path).map_err(failed)?;
    let mistaken = || Err(sniff::mistaken(&name, &start, Kind::Video, FORMATS));
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
        // ffmpeg would render text as images, and follow the addresses of a playlist.
        None if is_text(&start) => return mistaken(),
        _ => ffmpeg::frames(&name, path, sampling)?,
    };
    Ok(Input {
        value,
        sha256: hash_file(path)?,
    })
}

/// Whether a file begins like a text.
pub(super) fn is_text(start: &[u8]) -> bool {
    let is_text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    start.iter().all(is_text)
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
