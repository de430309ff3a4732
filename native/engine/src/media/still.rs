//! Pictures that need ffmpeg: HEIC, AVIF, JPEG 2000, JPEG XL, and the rarer kinds of TIFF.

use std::io::Write;
use std::path::Path;

use image::DynamicImage;
use x2i_core::{Error, Result};

use super::ffmpeg::{Failure, Source};
use super::heif;
use super::kind::Kind;
use super::limits::{PICTURE_FILE, PICTURE_PIXELS};
use super::reading::Reading;
use super::sniff::Format;

/// What to do without ffmpeg.
const INSTEAD: &str = "convert it to PNG or JPEG";
/// Where a HEIF file says that it is made of tiles, in bytes: its boxes stand in front.
const BOXES: usize = 1 << 16;

/// A picture as ffmpeg gives it.
pub enum Made {
    /// A PNG file of 8 bits.
    Png(Vec<u8>),
    /// One that is decoded and upright.
    Picture(DynamicImage),
}

/// Decodes a picture. `path` is the file of `bytes`, if there is one that ffmpeg can read.
///
/// # Errors
/// [`Error::Image`] when there is no ffmpeg or it can't read the picture; [`Error::Cancelled`].
pub fn decode(
    name: &str,
    bytes: &[u8],
    path: Option<&Path>,
    format: Format,
    reading: &Reading,
) -> Result<Made> {
    let unread = |reason: &str| Error::image(name, advice(format, reason));
    if matches!(format, Format::Heic | Format::Avif) {
        let still = heif::read(bytes).map_err(|reason| Error::image(name, reason))?;
        if let Some(still) = still {
            let picture = heif::decode(still, INSTEAD, reading);
            return picture
                .map(Made::Picture)
                .map_err(|failure| explain(failure, name, unread));
        }
    }
    png(name, bytes, path, format, reading).map(Made::Png)
}

/// The picture as a PNG file of 8 bits. `path` is the file of `bytes`, if there is one that ffmpeg can
/// read.
///
/// # Errors
/// [`Error::Image`] when there is no ffmpeg or it can't read the picture; [`Error::Cancelled`].
fn png(
    name: &str,
    bytes: &[u8],
    path: Option<&Path>,
    format: Format,
    reading: &Reading,
) -> Result<Vec<u8>> {
    let unread = |reason: &str| Error::image(name, advice(format, reason));
    // ffmpeg would give the first tile.
    let boxes = &bytes[..bytes.len().min(BOXES)];
    let is_heif = matches!(format, Format::Heic | Format::Avif);
    if is_heif && boxes.windows(4).any(|name| name == b"grid") {
        return Err(unread(
            "it is made of tiles in a way that x2i does not know",
        ));
    }
    let copy = match path {
        Some(_) => None,
        None => Some(copy(bytes).map_err(|error| crate::files::io_error(name, error))?),
    };
    let Some(path) = path.or(copy.as_ref().map(|copy| copy.path())) else {
        return Err(unread("it is in no file"));
    };
    let source = Source {
        path,
        format,
        pixels: PICTURE_PIXELS,
        instead: INSTEAD,
        cancelled: reading.cancelled,
    };
    let output = [
        "-map",
        "0:v:0",
        "-frames:v",
        "1",
        "-pix_fmt",
        "rgba",
        "-c:v",
        "png",
        "-f",
        "image2pipe",
        "-",
    ];
    let png = source.bytes(&output, PICTURE_FILE as usize);
    match png.map_err(|failure| explain(failure, name, unread))? {
        Some(png) if !png.is_empty() => Ok(png),
        _ => Err(unread("it gives no picture")),
    }
}

/// The error of a failure; `unread` has the advice for a picture that ffmpeg can't read.
fn explain(failure: Failure, name: &str, unread: impl Fn(&str) -> Error) -> Error {
    match failure {
        Failure::Reason(reason) if !reason.contains("install ffmpeg") => unread(&reason),
        failure => failure.error(Kind::Image, name),
    }
}

/// A temporary file, which only this user can read.
fn copy(bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    file.flush()?;
    Ok(file)
}

fn advice(format: Format, reason: &str) -> String {
    let (kind, tool) = match format {
        Format::Heic => (
            "a HEIC picture",
            "heif-convert IN out.png (Debian: apt install libheif-examples)",
        ),
        Format::Avif => (
            "an AVIF picture",
            "avifdec IN out.png (Debian: apt install libavif-bin)",
        ),
        Format::Jxl => (
            "a JPEG XL picture",
            "djxl IN out.png (Debian: apt install libjxl-tools)",
        ),
        _ => ("a picture", "magick IN out.png"),
    };
    format!("is {kind} that the ffmpeg here can't read ({reason}); convert it, as by {tool}")
}
