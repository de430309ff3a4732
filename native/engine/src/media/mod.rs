//! Reads input files: images, videos and audio of the common formats.
//!
//! The content decides the format, not the extension. Sizes and lengths are checked before memory is
//! allocated, since a small file may claim to be huge.

pub mod audio;
mod check;
pub mod gif;
pub mod image;
mod input;
mod kind;
mod sniff;
pub mod video;

use std::path::Path;

use x2i_core::video::sampling::Sampling;
use x2i_core::{Part, Result};

pub use check::{check, hash};
pub use input::Input;
pub use kind::Kind;

/// Reads a file as a `kind`; `sampling` chooses the frames of a video.
///
/// # Errors
/// [`x2i_core::Error::MissingFile`], [`x2i_core::Error::Io`], or the kind's own error when the file
/// is of another kind, broken, too large or too long.
pub fn read(kind: Kind, path: &Path, sampling: Sampling) -> Result<Input<Part>> {
    match kind {
        Kind::Image => image::read(path).map(|input| input.map(Part::Image)),
        Kind::Video => video::read(path, sampling).map(|input| input.map(Part::Video)),
        Kind::Audio => audio::read(path).map(|input| input.map(Part::Audio)),
    }
}
