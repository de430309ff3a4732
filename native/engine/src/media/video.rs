//! Reads videos: through the program ffmpeg, or from an animated GIF, PNG or WebP or a folder of frames.
//!
//! Only the frames that the LLM reads are kept. They are scaled down when they are large and many, so
//! that an hour takes no more memory than a minute. Not here: the audio, since X2I's scripts give the
//! LLM only the frames (a video can be given as audio too).

pub(super) mod folder;
mod frames;
mod kept;
mod select;

use std::io::Read;
use std::path::Path;

use x2i_core::video::sampling::Sampling;
use x2i_core::{Error, Result, Video};

use kept::Kept;
pub use kept::{MAX_FRAMES, MAX_PIXELS};

use super::animation;
use super::ffmpeg::Source;
use super::input::Input;
use super::kind::Kind;
use super::limits::{ANIMATION_FILE, VIDEO_PIXELS};
use super::reading::Reading;
use super::sniff::{self, Format};
use crate::files::{hash_file, io_error, open_stream};

/// The formats that are read, for [`sniff::mistaken`].
pub(super) const FORMATS: &str =
    "an animated gif, png or webp, a folder of frames, or what ffmpeg reads, such as mp4";

/// Reads a video: the frames that `reading` chooses.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Video`] when it is not a video, broken or too
/// large, or when it needs the program ffmpeg and there is none; [`Error::Cancelled`].
pub fn read<'a>(path: &Path, reading: impl Into<Reading<'a>>) -> Result<Input<Video>> {
    let (name, reading) = (path.display().to_string(), &reading.into());
    if path.is_dir() {
        return folder::read(&name, path, reading);
    }
    let failed = |error| io_error(&name, error);
    let start = sniff::start_of(path).map_err(failed)?;
    let mistaken = || Err(sniff::mistaken(&name, &start, Kind::Video, FORMATS));
    let value = match Format::of(&start) {
        Some(Format::Gif | Format::Png | Format::Webp) => {
            let mut bytes = vec![];
            let mut file = open_stream(path).map_err(failed)?.take(ANIMATION_FILE + 1);
            file.read_to_end(&mut bytes).map_err(failed)?;
            if bytes.len() as u64 > ANIMATION_FILE {
                let reason = format!("is an animation of more than {ANIMATION_FILE} bytes");
                return Err(Error::video(name, reason));
            }
            match decode_animation(&name, &bytes, reading)? {
                Some(video) => video,
                None => return mistaken(),
            }
        }
        // An Ogg file may hold a video. Text that is rendered or that names other files is none of these.
        Some(format) if format.kind() == Kind::Video || format == Format::Ogg => {
            let source = Source {
                path,
                format,
                pixels: VIDEO_PIXELS,
                instead: "give an animated GIF or a folder of frames",
                cancelled: reading.cancelled,
            };
            frames::read(&name, &source, reading)?
        }
        _ => return mistaken(),
    };
    Ok(Input {
        value,
        sha256: hash_file(path)?,
    })
}

/// The frames of an animated GIF that `sampling` chooses; `name` is for messages.
///
/// # Errors
/// [`Error::Video`] when it is broken or too large.
pub fn decode_gif(name: &str, bytes: &[u8], sampling: Sampling) -> Result<Video> {
    let facts = animation::gif::facts(name, bytes)?;
    decode_frames(name, bytes, &facts, &sampling.into())
}

/// The chosen frames of an animated GIF, PNG or WebP; `None` for a picture that stands still.
fn decode_animation(name: &str, bytes: &[u8], reading: &Reading) -> Result<Option<Video>> {
    let facts = animation::facts(name, bytes)?;
    let video = facts.map(|facts| decode_frames(name, bytes, &facts, reading));
    video.transpose()
}

fn decode_frames(
    name: &str,
    bytes: &[u8],
    facts: &animation::Facts,
    reading: &Reading,
) -> Result<Video> {
    let fps = facts.frames as f64 / facts.seconds;
    let chosen = reading.sampling.choose(facts.frames, fps)?;
    let mut kept = Kept::new(name, chosen.len());
    let mut keep = |frame| kept.push(frame);
    animation::decode(name, bytes, facts, &chosen, reading, &mut keep)?;
    kept.video(fps * chosen.len() as f64 / facts.frames as f64)
}
