//! Input files: pictures, videos and sounds of the common formats, found by content.
//!
//! What a name's ending says is not believed. Sizes and lengths are checked before what they claim
//! is allocated, since a small file may claim to be huge.

pub mod audio;
pub mod gif;
pub mod image;
pub mod sniff;
pub mod video;

use std::path::Path;

use x2i_core::video::sampling::Sampling;
use x2i_core::{Part, Result};

pub use sniff::Kind;

/// What a file holds, and the hash of its bytes.
#[derive(Debug)]
pub struct Input<T> {
    /// What it holds.
    pub value: T,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

/// Reads a file that was given as `kind`; `sampling` chooses the frames of a video.
///
/// # Errors
/// [`x2i_core::Error::MissingFile`], [`x2i_core::Error::Io`], or the kind's own error when the file
/// is something else, broken, too large or too long.
pub fn read(kind: Kind, path: &Path, sampling: Sampling) -> Result<Input<Part>> {
    match kind {
        Kind::Image => image::read(path).map(|input| input.map(Part::Image)),
        Kind::Video => video::read(path, sampling).map(|input| input.map(Part::Video)),
        Kind::Audio => audio::read(path).map(|input| input.map(Part::Audio)),
    }
}

impl<T> Input<T> {
    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Input<U> {
        Input {
            value: convert(self.value),
            sha256: self.sha256,
        }
    }
}

/// Bytes in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
