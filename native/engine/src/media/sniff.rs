//! Recognizes the format of a file by its first bytes.
//!
//! Source: the signatures in the formats' specifications. The rest of the file may still be broken.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use x2i_core::Error;

use super::kind::Kind;

/// Formats with a known signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as users name them")]
pub enum Format {
    Png,
    Jpeg,
    Webp,
    Gif,
    Bmp,
    Wav,
    Flac,
    Ogg,
    Mp3,
    Mp4,
    /// Matroska and WebM.
    Matroska,
    Avi,
    /// An MPEG program stream or a raw MPEG video.
    Mpeg,
    Flv,
}

/// The number of bytes that [`Format::of`] needs.
pub const SIGNATURE: usize = 16;

/// The first [`SIGNATURE`] bytes of a file, or all of a shorter one.
///
/// # Errors
/// The system's.
pub fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = vec![];
    let file = File::open(path)?;
    file.take(SIGNATURE as u64).read_to_end(&mut start)?;
    Ok(start)
}

impl Format {
    /// The format of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let starts = |signature: &[u8]| bytes.starts_with(signature);
        let riff = |form: &[u8]| starts(b"RIFF") && bytes.get(8..12) == Some(form);
        let found = [
            (starts(b"\x89PNG\r\n\x1a\n"), Self::Png),
            (starts(b"\xff\xd8\xff"), Self::Jpeg),
            (riff(b"WEBP"), Self::Webp),
            (starts(b"GIF87a") || starts(b"GIF89a"), Self::Gif),
            (starts(b"BM"), Self::Bmp),
            (riff(b"WAVE"), Self::Wav),
            (starts(b"fLaC"), Self::Flac),
            (starts(b"OggS"), Self::Ogg),
            (starts(b"ID3") || is_mpeg_audio(bytes), Self::Mp3),
            (bytes.get(4..8) == Some(b"ftyp"), Self::Mp4),
            (starts(b"\x1a\x45\xdf\xa3"), Self::Matroska),
            (riff(b"AVI "), Self::Avi),
            (
                starts(b"\x00\x00\x01\xba") || starts(b"\x00\x00\x01\xb3"),
                Self::Mpeg,
            ),
            (starts(b"FLV\x01"), Self::Flv),
        ];
        found
            .into_iter()
            .find_map(|(is, format)| is.then_some(format))
    }

    /// The usual kind of its files: an Ogg or MP4 file may be audio or video.
    pub fn kind(self) -> Kind {
        match self {
            Self::Png | Self::Jpeg | Self::Webp | Self::Gif | Self::Bmp => Kind::Image,
            Self::Wav | Self::Flac | Self::Ogg | Self::Mp3 => Kind::Audio,
            Self::Mp4 | Self::Matroska | Self::Avi | Self::Mpeg | Self::Flv => Kind::Video,
        }
    }
}

/// True for the header of an MPEG audio frame of layer 3: eleven set bits, and no reserved value.
fn is_mpeg_audio(bytes: &[u8]) -> bool {
    let &[0xff, second, third, ..] = bytes else {
        return false;
    };
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    let (bitrate, rate) = (third >> 4, third >> 2 & 3);
    second >= 0xe0 && version != 1 && layer == 1 && bitrate != 15 && rate != 3
}

/// The error for a file that can't be read as a `wanted`; `formats` lists those that can.
pub fn mistaken(name: &str, bytes: &[u8], wanted: Kind, formats: &str) -> Error {
    match Format::of(bytes).map(Format::kind) {
        _ if bytes.is_empty() => {
            wanted.error(name, format!("is empty; expected {wanted} ({formats})"))
        }
        Some(kind) if kind != wanted => wanted
            .error(name, format!("is {kind}, not {wanted}"))
            .mended_by(kind.field()),
        _ => wanted.error(name, format!("is not {wanted} ({formats})")),
    }
}

#[cfg(test)]
mod tests {
    use x2i_core::Field;

    use super::*;

    #[test]
    fn formats_are_known_by_content() {
        let cases: [(&[u8], Option<Format>); 9] = [
            (b"RIFF\x00\x00\x00\x00WAVEfmt ", Some(Format::Wav)),
            (b"RIFF\x00\x00\x00\x00AVI LIST", Some(Format::Avi)),
            (b"\xff\xfb\x90\x64", Some(Format::Mp3)),
            (b"\xff\xff\xff\xff", None),
            (b"\x00\x00\x00\x20ftypisom", Some(Format::Mp4)),
            (b"\xff\xd8\xff\xe0", Some(Format::Jpeg)),
            (b"hello", None),
            (b"\xff", None),
            (b"", None),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::of(bytes), format, "{bytes:?}");
        }
    }

    #[test]
    fn a_file_of_another_kind_says_which_field_takes_it() {
        let error = mistaken("x", b"ID3\x04", Kind::Image, "png");
        assert_eq!(error.to_string(), "x: is an audio file, not an image");
        assert!(matches!(
            error,
            Error::Remedy {
                field: Field::Audio,
                ..
            }
        ));
        let error = mistaken("x", b"hello", Kind::Audio, "wav");
        assert_eq!(error.to_string(), "x: is not an audio file (wav)");
    }
}
