//! Reads image files of the common formats as 8-bit RGB, rotated as EXIF says.
//!
//! Transparent pictures are composed over a [`Background`](super::Background).

use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};
use sha2::{Digest, Sha256};
use x2i_core::{Error, Image, Result};

use super::alpha::flatten;
use super::input::Input;
use super::kind::Kind;
use super::limits::{PICTURE_BYTES, PICTURE_FILE, PICTURE_PIXELS, PICTURE_SIDE};
use super::reading::Reading;
use super::sniff;
use crate::files::{hex, io_error};

/// The formats that are read, for [`sniff::mistaken`].
const FORMATS: &str = "png, jpeg, webp, gif or bmp";

/// Reads an image, as [`read_with`] does, with the defaults.
///
/// # Errors
/// As [`read_with`].
pub fn read(path: &Path) -> Result<Input<Image>> {
    read_with(path, &Reading::default())
}

/// Reads an image; its content decides the format.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Image`] when it is not an image, broken or too
/// large; [`Error::Cancelled`].
pub fn read_with(path: &Path, reading: &Reading) -> Result<Input<Image>> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Error::image(name, "is a folder, not an image"));
    }
    let failed = |error| io_error(&name, error);
    let file = sniff::open(path).map_err(failed)?;
    let mut bytes = vec![];
    file.take(PICTURE_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > PICTURE_FILE {
        let reason = format!("is a file of more than {PICTURE_FILE} bytes, too large for an image");
        return Err(Error::image(name, reason));
    }
    Ok(Input {
        value: decode_with(&name, &bytes, reading)?,
        sha256: hex(&Sha256::digest(&bytes)),
    })
}

/// Decodes an image file in memory with the defaults; `name` is for messages.
///
/// # Errors
/// As [`decode_with`].
pub fn decode(name: &str, bytes: &[u8]) -> Result<Image> {
    decode_with(name, bytes, &Reading::default())
}

/// Decodes an image file in memory; `name` is for messages.
///
/// # Errors
/// [`Error::Image`] when it is not an image, broken or too large; [`Error::Cancelled`].
pub fn decode_with(name: &str, bytes: &[u8], reading: &Reading) -> Result<Image> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| io_error(name, error))?;
    if reader.format().is_none() {
        return Err(sniff::mistaken(name, bytes, Kind::Image, FORMATS));
    }
    let picture = picture(name, reader)?;
    let rgb = flatten(picture, reading.background);
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Image::new(width, height, rgb.into_raw()).map_err(|error| match error {
        Error::Image { reason, .. } => Error::image(name, reason),
        other => other,
    })
}

fn picture(name: &str, reader: ImageReader<Cursor<&[u8]>>) -> Result<DynamicImage> {
    let broken = |error: ImageError| Error::image(name, format!("can't be read: {error}"));
    let mut decoder = reader.into_decoder().map_err(broken)?;
    check_size(name, &decoder)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Checks the size that the header states, before anything is decoded.
fn check_size(name: &str, decoder: &impl ImageDecoder) -> Result<()> {
    let (width, height) = decoder.dimensions();
    let refused = |most: String| {
        let reason = format!("{width}x{height} {most}; make it smaller");
        Err(Error::image(name, reason))
    };
    if width.max(height) > PICTURE_SIDE {
        return refused(format!("has a side of more than {PICTURE_SIDE} pixels"));
    }
    if u64::from(width) * u64::from(height) > PICTURE_PIXELS {
        return refused(format!("is more than {PICTURE_PIXELS} pixels"));
    }
    match decoder.total_bytes() > PICTURE_BYTES {
        true => refused(format!(
            "of {:?} is more than {PICTURE_BYTES} bytes",
            decoder.color_type()
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_said_to_be_none() {
        for bytes in [&b""[..], b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a"] {
            let message = decode("x", bytes).unwrap_err().to_string();
            assert!(message.starts_with("x: "), "{message}");
        }
    }
}
