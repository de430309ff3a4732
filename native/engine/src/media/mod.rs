//! Reads input files: images, videos and audio of the common formats.
//!
//! The content decides the format, not the extension. Sizes and lengths are checked before memory is
//! allocated, since a small file may claim to be huge.

mod alpha;
pub mod animation;
pub mod audio;
mod check;
pub mod ffmpeg;
mod guard;
mod heif;
mod icc;
mod ico;
pub mod image;
mod input;
mod jpeg;
mod kind;
mod limits;
mod reading;
mod sniff;
mod sound;
mod still;
pub mod video;
mod wav;

use std::path::Path;

use x2i_core::{Part, Result};

pub use check::{check, hash};
pub use input::Input;
pub use kind::Kind;
pub(crate) use reading::never;
pub use reading::{Background, Reading};

/// Reads a file as a `kind`. `reading` says how; a [`Sampling`](x2i_core::video::sampling::Sampling) of
/// a video's frames alone will do.
///
/// # Errors
/// [`x2i_core::Error::MissingFile`], [`x2i_core::Error::Io`], or the kind's own error when the file
/// is of another kind, broken, too large or too long; [`x2i_core::Error::Cancelled`].
pub fn read<'a>(kind: Kind, path: &Path, reading: impl Into<Reading<'a>>) -> Result<Input<Part>> {
    let reading = reading.into();
    match kind {
        Kind::Image => image::read_with(path, &reading).map(|input| input.map(Part::Image)),
        Kind::Video => video::read(path, reading).map(|input| input.map(Part::Video)),
        Kind::Audio => audio::read_with(path, &reading).map(|input| input.map(Part::Audio)),
    }
}
