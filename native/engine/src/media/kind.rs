//! The kinds of input files.

use std::fmt;

use x2i_core::{Error, Field, Part};

/// The kinds of input files. `Display` gives one with its article, for messages: `an image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An image.
    Image,
    /// A video, which is read as frames.
    Video,
    /// An audio file.
    Audio,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Image, Self::Video, Self::Audio];

    /// The kind of a prompt part; `None` for text.
    pub fn of(part: &Part) -> Option<Self> {
        match part {
            Part::Text(_) => None,
            Part::Image(_) => Some(Self::Image),
            Part::Video(_) => Some(Self::Video),
            Part::Audio(_) => Some(Self::Audio),
        }
    }

    /// The field of a job that takes it.
    pub fn field(self) -> Field {
        match self {
            Self::Image => Field::Image,
            Self::Video => Field::Video,
            Self::Audio => Field::Audio,
        }
    }

    /// The error of a file of this kind.
    pub(crate) fn error(self, name: &str, reason: String) -> Error {
        match self {
            Self::Image => Error::image(name, reason),
            Self::Video => Error::video(name, reason),
            Self::Audio => Error::audio(name, reason),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "an image",
            Self::Video => "a video",
            Self::Audio => "an audio file",
        })
    }
}
