//! Recognizes the format of a file by its first bytes.
//!
//! Source: the signatures in the formats' specifications. The rest of the file may still be broken.

use std::io::{self, Read};
use std::path::Path;

use x2i_core::Error;

use super::kind::Kind;
use crate::files::open_stream;

/// Formats with a known signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as users name them")]
pub enum Format {
    Png,
    Jpeg,
    Webp,
    Gif,
    Bmp,
    Ico,
    Tiff,
    /// PBM, PGM, PPM and PAM.
    Pnm,
    /// JPEG 2000.
    Jp2,
    Jxl,
    Heic,
    Avif,
    Wav,
    /// WAV of more than 4 GB, and Sony's Wave64.
    Rf64,
    W64,
    Flac,
    Ogg,
    Mp3,
    /// AAC in an ADTS stream.
    Aac,
    Ac3,
    Eac3,
    Aiff,
    Caf,
    Au,
    Amr,
    /// MP4, QuickTime and 3GP.
    Mp4,
    /// Matroska and WebM.
    Matroska,
    Avi,
    /// An MPEG program stream.
    Mpeg,
    /// A raw MPEG video.
    MpegVideo,
    MpegTs,
    Flv,
    /// WMV and WMA.
    Asf,
    Mxf,
    Ivf,
    Y4m,
    /// A raw HEVC stream. No file is taken for one: it is made of a HEIC picture's tiles.
    Hevc,
}

/// What files begin with, where that is enough.
const SIGNATURES: [(&[u8], Format); 31] = [
    (b"\x89PNG\r\n\x1a\n", Format::Png),
    (b"\xff\xd8\xff", Format::Jpeg),
    (b"GIF87a", Format::Gif),
    (b"GIF89a", Format::Gif),
    (b"BM", Format::Bmp),
    (b"\0\0\x01\0", Format::Ico),
    (b"II*\0", Format::Tiff),
    (b"MM\0*", Format::Tiff),
    (b"II+\0", Format::Tiff),
    (b"MM\0+", Format::Tiff),
    (b"\0\0\0\x0cjP  ", Format::Jp2),
    (b"\xff\x4f\xff\x51", Format::Jp2),
    (b"\0\0\0\x0cJXL ", Format::Jxl),
    (b"\xff\x0a", Format::Jxl),
    (b"RF64", Format::Rf64),
    (b"BW64", Format::Rf64),
    (b"riff\x2e\x91\xcf\x11", Format::W64),
    (b"fLaC", Format::Flac),
    (b"OggS", Format::Ogg),
    (b"ID3", Format::Mp3),
    (b"caff", Format::Caf),
    (b".snd", Format::Au),
    (b"#!AMR", Format::Amr),
    (b"\x1a\x45\xdf\xa3", Format::Matroska),
    (b"\0\0\x01\xba", Format::Mpeg),
    (b"\0\0\x01\xb3", Format::MpegVideo),
    (b"FLV\x01", Format::Flv),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format::Asf),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", Format::Mxf),
    (b"DKIF\0\0", Format::Ivf),
    (b"YUV4MPEG2 ", Format::Y4m),
];

/// The number of bytes that [`Format::of`] needs: three packets of an MPEG transport stream.
pub const SIGNATURE: usize = 600;

/// The first [`SIGNATURE`] bytes of a file, or all of a shorter one.
///
/// # Errors
/// The system's. A pipe or a device, which might never give a byte, is refused, but for the standard
/// input and pipes that a shell has opened.
pub fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = vec![];
    let file = open_stream(path)?;
    file.take(SIGNATURE as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// The bytes that are searched for a sound, or for a picture with something in front.
pub const JUNK: usize = 1 << 16;

/// The format of a file that may hold sound, and where that begins: an MP3 file may have junk in front,
/// and a tag of MP3 may stand before another format. `bytes` are its first [`JUNK`].
pub fn sound_in(bytes: &[u8]) -> Option<(Format, usize)> {
    match Format::of(bytes) {
        Some(Format::Mp3) if bytes.starts_with(b"ID3") => {
            // Four times seven bits.
            let length = bytes
                .get(6..10)?
                .iter()
                .fold(0, |length, &byte| length << 7 | usize::from(byte & 0x7f));
            match bytes.get(10 + length..).and_then(Format::of) {
                Some(format @ (Format::Aac | Format::Flac)) => Some((format, 10 + length)),
                _ => Some((Format::Mp3, 0)),
            }
        }
        Some(format) if format.kind() != Kind::Image => Some((format, 0)),
        Some(_) => None,
        None => mp3_in(bytes).map(|place| (Format::Mp3, place)),
    }
}

/// Where three frames of MP3 follow each other.
fn mp3_in(bytes: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&place| {
        let second = frame_length(&bytes[place..]).map(|length| place + length);
        let third = second.and_then(|at| Some(at + frame_length(bytes.get(at..)?)?));
        third.is_some_and(|at| {
            bytes
                .get(at..)
                .is_some_and(|rest| frame_length(rest).is_some())
        })
    })
}

/// The length of the frame of MPEG audio, layer 3, that begins here (ISO 11172-3, 2.4.2.3).
fn frame_length(bytes: &[u8]) -> Option<usize> {
    /// Kilobits a second of MPEG 1, and of 2 and 2.5.
    const BITRATES: [[usize; 15]; 2] = [
        [
            0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ],
        [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    if !is_mpeg_audio(bytes) {
        return None;
    }
    let version = bytes[1] >> 3 & 3;
    let (first, quarter) = (version == 3, version == 0);
    let kilobits = BITRATES[usize::from(!first)][usize::from(bytes[2] >> 4)];
    let rate = [44_100, 48_000, 32_000][usize::from(bytes[2] >> 2 & 3)];
    let rate = if first {
        rate
    } else if quarter {
        rate / 4
    } else {
        rate / 2
    };
    let samples = if first { 1152 } else { 576 };
    let length = samples / 8 * kilobits * 1000 / rate + usize::from(bytes[2] >> 1 & 1);
    (kilobits > 0).then_some(length)
}

/// The file without white space and zeros in front, where a known picture begins after at most 64 of them.
pub fn without_junk(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &&u8| byte.is_ascii_whitespace() || **byte == 0;
    let blanks = bytes.iter().take(64).take_while(blank).count();
    let starts = (1..=blanks).map(|start| &bytes[start..]);
    let picture =
        |bytes: &&[u8]| Format::of(bytes).is_some_and(|format| format.kind() == Kind::Image);
    match Format::of(bytes) {
        Some(_) => bytes,
        None => starts.rev().find(picture).unwrap_or(bytes),
    }
}

impl Format {
    /// The format of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let riff = |form: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(form);
        let form = |kind: &[u8]| bytes.starts_with(b"FORM") && bytes.get(8..12) == Some(kind);
        let found = [
            (riff(b"WEBP"), Self::Webp),
            (riff(b"WAVE"), Self::Wav),
            (riff(b"AVI "), Self::Avi),
            (form(b"AIFF") || form(b"AIFC"), Self::Aiff),
            (is_pnm(bytes), Self::Pnm),
            (is_mpeg_audio(bytes), Self::Mp3),
            (is_adts(bytes), Self::Aac),
            (is_transport_stream(bytes), Self::MpegTs),
        ];
        let mut signatures = SIGNATURES.iter();
        let signature = signatures.find(|(signature, _)| bytes.starts_with(signature));
        let mut found = found.into_iter();
        signature
            .map(|(_, format)| *format)
            .or_else(|| found.find_map(|(is, format)| is.then_some(format)))
            .or_else(|| ac3(bytes))
            .or_else(|| iso(bytes))
    }

    /// The usual kind of its files: an Ogg, MP4 or ASF file may be audio or video.
    pub fn kind(self) -> Kind {
        match self {
            Self::Png | Self::Jpeg | Self::Webp | Self::Gif | Self::Bmp => Kind::Image,
            Self::Ico | Self::Tiff | Self::Pnm | Self::Jp2 | Self::Jxl => Kind::Image,
            Self::Heic | Self::Avif => Kind::Image,
            Self::Wav | Self::Rf64 | Self::W64 | Self::Flac | Self::Ogg | Self::Mp3 => Kind::Audio,
            Self::Aac | Self::Ac3 | Self::Eac3 | Self::Aiff | Self::Caf | Self::Au => Kind::Audio,
            Self::Amr => Kind::Audio,
            Self::Mp4 | Self::Matroska | Self::Avi | Self::Mpeg | Self::MpegVideo => Kind::Video,
            Self::MpegTs | Self::Flv | Self::Asf | Self::Mxf | Self::Ivf | Self::Y4m => Kind::Video,
            Self::Hevc => Kind::Video,
        }
    }

    /// ffmpeg's name of the container; `None` for a format that ffmpeg is not asked to read.
    pub fn demuxer(self) -> Option<&'static str> {
        Some(match self {
            Self::Png | Self::Jpeg | Self::Webp | Self::Gif => return None,
            Self::Bmp | Self::Ico | Self::Pnm => return None,
            Self::Tiff => "tiff_pipe",
            Self::Jp2 => "j2k_pipe",
            Self::Jxl => "jpegxl_pipe",
            Self::Heic | Self::Avif | Self::Mp4 => "mov",
            Self::Wav | Self::Rf64 => "wav",
            Self::W64 => "w64",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
            Self::Aiff => "aiff",
            Self::Caf => "caf",
            Self::Au => "au",
            Self::Amr => "amr",
            Self::Matroska => "matroska",
            Self::Avi => "avi",
            Self::Mpeg => "mpeg",
            Self::MpegVideo => "mpegvideo",
            Self::MpegTs => "mpegts",
            Self::Flv => "flv",
            Self::Asf => "asf",
            Self::Mxf => "mxf",
            Self::Ivf => "ivf",
            Self::Y4m => "yuv4mpegpipe",
            Self::Hevc => "hevc",
        })
    }
}

/// `P1` to `P7` and white space, or a comment.
fn is_pnm(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..]
    )
}

/// AC-3 or its successor, by the version in the first frame.
fn ac3(bytes: &[u8]) -> Option<Format> {
    let &[0x0b, 0x77, _, _, _, version, ..] = bytes else {
        return None;
    };
    match version >> 3 {
        0..=10 => Some(Format::Ac3),
        11..=16 => Some(Format::Eac3),
        _ => None,
    }
}

/// A file of boxes, as MP4: by its brands, or in old QuickTime files by the first box.
fn iso(bytes: &[u8]) -> Option<Format> {
    let name = bytes.get(4..8)?;
    let old: [&[u8]; 5] = [b"moov", b"mdat", b"wide", b"free", b"skip"];
    if name != b"ftyp" {
        return old.contains(&name).then_some(Format::Mp4);
    }
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.min(bytes.len());
    // Text may have these letters in this place too.
    if length % 4 != 0 || !(16..1 << 16).contains(&length) {
        return None;
    }
    let brands = bytes.get(8..end)?.chunks_exact(4).enumerate();
    // The second number is a version.
    let brands: Vec<&[u8]> = brands.filter(|(n, _)| *n != 1).map(|(_, b)| b).collect();
    let has = |wanted: &[&[u8; 4]]| {
        brands
            .iter()
            .any(|brand| wanted.iter().any(|w| w[..] == **brand))
    };
    let main = brands.first().copied().unwrap_or_default();
    let picture = [
        &b"mif1"[..],
        b"msf1",
        b"heic",
        b"heix",
        b"hevc",
        b"heim",
        b"heis",
        b"avif",
        b"avis",
    ];
    Some(match picture.contains(&main) {
        true if has(&[b"avif", b"avis"]) => Format::Avif,
        true => Format::Heic,
        false => Format::Mp4,
    })
}

/// Packets of 188 bytes that begin with `G`, or of 192 with a clock before it.
fn is_transport_stream(bytes: &[u8]) -> bool {
    let packets = |first: usize, length: usize| {
        let at = |n: usize| bytes.get(first + n * length) == Some(&b'G');
        at(0) && at(1) && at(2)
    };
    packets(0, 188) || packets(4, 192)
}

/// True for the header of an AAC frame in an ADTS stream, with a known rate and a length.
fn is_adts(bytes: &[u8]) -> bool {
    let &[0xff, second, third, fourth, fifth, ..] = bytes else {
        return false;
    };
    let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3;
    second & 0xf6 == 0xf0 && third >> 2 & 15 < 13 && length >= 7
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
        let cases: [(&[u8], Option<Format>); 20] = [
            (b"RIFF\x00\x00\x00\x00WAVEfmt ", Some(Format::Wav)),
            (b"RIFF\x00\x00\x00\x00AVI LIST", Some(Format::Avi)),
            (b"\xff\xfb\x90\x64", Some(Format::Mp3)),
            (b"\xff\xff\xff\xff", None),
            (b"\x00\x00\x00\x20ftypisom", Some(Format::Mp4)),
            (b"\xff\xd8\xff\xe0", Some(Format::Jpeg)),
            (
                b"\x00\x00\x00\x18ftypheic\0\0\0\0mif1heic",
                Some(Format::Heic),
            ),
            (
                b"\x00\x00\x00\x1cftypmif1\0\0\0\0mif1avifmiaf",
                Some(Format::Avif),
            ),
            (
                b"\x00\x00\x00\x18ftypmp42\0\0\0\0heicmp42",
                Some(Format::Mp4),
            ),
            (b"\x00\x00\x00\x08wide", Some(Format::Mp4)),
            (b"<!--ftypjp2 --><MPD>", None),
            (b"#EXTM3U\n#\x01\n", None),
            (b"\xff\xf1\x50\x80\x02\x1f\xfc", Some(Format::Aac)),
            (b"\x0b\x77\x00\x00\x14\x40", Some(Format::Ac3)),
            (b"\x0b\x77\x00\x00\x14\x80", Some(Format::Eac3)),
            (b"P6\n1 1\n255\n", Some(Format::Pnm)),
            (b"II*\0\x08", Some(Format::Tiff)),
            (b"hello", None),
            (b"\xff", None),
            (b"", None),
        ];
        for (bytes, format) in cases {
            assert_eq!(Format::of(bytes), format, "{bytes:?}");
        }
    }

    #[test]
    fn a_sound_is_found_behind_junk_and_a_picture_behind_blanks() {
        // 144 * 128000 / 44100 and no byte to fill.
        let mut frame = b"\xff\xfb\x90\x64".to_vec();
        frame.resize(417, 0);
        let frames = frame.repeat(3);
        let junk = [&b"junk \xff\xfb\x90 of any kind"[..], &frames].concat();
        assert_eq!(sound_in(&junk), Some((Format::Mp3, 20)));
        assert_eq!(sound_in(&junk[..junk.len() - 415]), None);
        assert_eq!(
            sound_in(b"ID3\x04\0\0\0\0\0\x02..fLaC"),
            Some((Format::Flac, 12))
        );
        assert_eq!(sound_in(b"hello"), None);
        assert_eq!(without_junk(b"\n\0\xff\xd8\xff\xe0"), b"\xff\xd8\xff\xe0");
        assert_eq!(without_junk(b"\n\nhello"), b"\n\nhello");
        assert_eq!(without_junk(b"\0\0\x01\0\x01\0"), b"\0\0\x01\0\x01\0");
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
