//! Reads image files of the common formats as 8-bit sRGB, rotated as EXIF says.
//!
//! PNG, JPEG, WebP, GIF, BMP, ICO, TGA, TIFF and PNM are decoded here, others by ffmpeg. Transparent pictures are composed over a [`Background`](super::Background).

use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use sha2::{Digest, Sha256};
use x2i_core::{Error, Image, Result};

use super::alpha::flatten;
use super::icc;
use super::ico;
use super::input::Input;
use super::jpeg;
use super::kind::Kind;
use super::limits::{PICTURE_BYTES, PICTURE_FILE, PICTURE_PIXELS, PICTURE_SIDE};
use super::reading::Reading;
use super::sniff::{self, Format};
use super::still::{self, Made};
use crate::files::{hex, io_error, open_stream};

/// The formats that are read, for [`sniff::mistaken`].
pub(super) const FORMATS: &str = "png, jpeg, webp, gif, bmp, ico, tga, tiff or pnm; heic, avif, jpeg 2000 and jpeg xl \
                       through ffmpeg; convert others, as by: magick IN out.png";
/// The most bytes that a PNG's color profile unpacks to, with rows that are being decoded.
const BESIDE_PIXELS: u64 = 32 << 20;
/// The end of a TGA file, which has no signature in front.
const TGA_END: &[u8] = b"TRUEVISION-XFILE.\0";

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
    let file = open_stream(path).map_err(failed)?;
    let mut bytes = vec![];
    file.take(PICTURE_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > PICTURE_FILE {
        let reason = format!("is a file of more than {PICTURE_FILE} bytes, too large for an image");
        return Err(Error::image(name, reason));
    }
    Ok(Input {
        value: decode_file(&name, &bytes, Some(path), reading)?,
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
    decode_file(name, bytes, None, reading)
}

fn decode_file(name: &str, whole: &[u8], path: Option<&Path>, reading: &Reading) -> Result<Image> {
    let bytes = sniff::without_junk(whole);
    let format = Format::of(bytes);
    let foreign = |format| {
        // A shell's pipe was read to its end, and ffmpeg knows nothing of junk.
        let path = path.filter(|path| path.is_file() && bytes.len() == whole.len());
        match still::decode(name, bytes, path, format, reading)? {
            Made::Png(png) => picture(name, &png, ImageFormat::Png),
            Made::Picture(picture) => Ok(picture),
        }
    };
    let picture = match (format.and_then(native), format) {
        (Some(ImageFormat::Tiff), Some(tiff)) => match picture(name, bytes, ImageFormat::Tiff) {
            Err(Trouble::Unsupported(_)) => foreign(tiff),
            other => other,
        },
        (Some(ImageFormat::Ico), _) => match ico::png_in(bytes) {
            Some(png) => picture(name, png, ImageFormat::Png),
            None => picture(name, bytes, ImageFormat::Ico),
        },
        (Some(native), _) => picture(name, bytes, native),
        (None, Some(format)) if format.kind() == Kind::Image => foreign(format),
        (None, None) if is_tga(name, bytes) => picture(name, bytes, ImageFormat::Tga),
        _ => return Err(sniff::mistaken(name, bytes, Kind::Image, FORMATS)),
    };
    let rgb = flatten(picture?, reading.background);
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    Image::new(width, height, rgb.into_raw()).map_err(|error| match error {
        Error::Image { reason, .. } => Error::image(name, reason),
        other => other,
    })
}

/// The decoder of a format; `None` for one that needs ffmpeg.
pub(super) fn native(format: Format) -> Option<ImageFormat> {
    Some(match format {
        Format::Png => ImageFormat::Png,
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Webp => ImageFormat::WebP,
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::Ico => ImageFormat::Ico,
        Format::Tiff => ImageFormat::Tiff,
        Format::Pnm => ImageFormat::Pnm,
        _ => return None,
    })
}

/// TGA has a signature at its end, and only in its second version.
pub(super) fn is_tga(name: &str, bytes: &[u8]) -> bool {
    let kind = matches!(bytes, [_, 0 | 1, 1..=3 | 9..=11, ..]);
    let named = name.to_ascii_lowercase().ends_with(".tga");
    kind && (named || bytes.ends_with(TGA_END))
}

/// Why a picture can't be had.
enum Trouble {
    /// The decoder does not know this kind of the format.
    Unsupported(Error),
    Error(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unsupported(error) | Trouble::Error(error) => error,
        }
    }
}

/// The picture in sRGB, upright.
fn picture(name: &str, bytes: &[u8], format: ImageFormat) -> Result<DynamicImage, Trouble> {
    let broken = |error: ImageError| {
        let said = Error::image(name, format!("can't be read: {error}"));
        match error {
            ImageError::Unsupported(_) => Trouble::Unsupported(said),
            _ => Trouble::Error(said),
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    if format == ImageFormat::Png {
        // What is packed beside the pixels; their own number is checked below.
        let mut beside = Limits::default();
        beside.max_alloc = Some(BESIDE_PIXELS);
        reader.limits(beside);
    }
    let mut decoder = reader.into_decoder().map_err(broken)?;
    check_size(name, &decoder)?;
    if format == ImageFormat::Jpeg && jpeg::is_cut(bytes, decode_jpeg) {
        let reason = "is cut short: it ends within its pixels; get the whole file";
        return Err(Error::image(name, reason).into());
    }
    let orientation = decoder.orientation().map_err(broken)?;
    let profile = decoder.icc_profile().ok().flatten();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if let Some(profile) = profile {
        picture = icc::to_srgb(picture, &profile);
    }
    picture.apply_orientation(orientation);
    Ok(picture)
}

fn decode_jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let picture = image::load_from_memory_with_format(bytes, ImageFormat::Jpeg);
    Some(picture.ok()?.into_bytes())
}

/// Checks the size that the header states, before anything is decoded.
pub(super) fn check_size(name: &str, decoder: &impl ImageDecoder) -> Result<()> {
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
