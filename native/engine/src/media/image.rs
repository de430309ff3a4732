//! Reads image files of the common formats as 8-bit RGB, rotated as EXIF says.
//!
//! Transparency is dropped as by PIL's `convert("RGB")`, which the models were trained with.

use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader};
use sha2::{Digest, Sha256};
use x2i_core::image::MAX_PIXELS;
use x2i_core::{Error, Image, Result};

use super::input::Input;
use super::kind::Kind;
use super::sniff;
use crate::files::{hex, io_error};

/// The largest file that is read, in bytes: an uncompressed image of the most pixels.
const MAX_FILE: u64 = 4 * MAX_PIXELS as u64;
/// The formats that are read, for [`sniff::mistaken`].
pub(super) const FORMATS: &str = "png, jpeg, webp, gif or bmp";

/// Reads an image; its content decides the format.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Image`] when it is not an image, broken or too
/// large.
pub fn read(path: &Path) -> Result<Input<Image>> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Error::image(name, "is a folder, not an image"));
    }
    let failed = |error| io_error(&name, error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = vec![];
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(sniff::mistaken(&name, &bytes, Kind::Image, FORMATS));
    }
    Ok(Input {
        value: decode(&name, &bytes)?,
        sha256: hex(&Sha256::digest(&bytes)),
    })
}

/// Decodes an image file in memory; `name` is for messages.
///
/// # Errors
/// [`Error::Image`] when it is not an image, broken or too large.
pub fn decode(name: &str, bytes: &[u8]) -> Result<Image> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| io_error(name, error))?;
    if reader.format().is_none() {
        return Err(sniff::mistaken(name, bytes, Kind::Image, FORMATS));
    }
    let broken = |error: image::ImageError| Error::image(name, format!("can't be read: {error}"));
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    // Checked before decoding: a small file may claim to be a huge image.
    if u64::from(width) * u64::from(height) > MAX_PIXELS as u64 {
        return Err(Error::image(
            name,
            format!("{width}x{height} is more than {MAX_PIXELS} pixels"),
        ));
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Image::new(width, height, rgb.into_raw()).map_err(|error| match error {
        Error::Image { reason, .. } => Error::image(name, reason),
        other => other,
    })
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
