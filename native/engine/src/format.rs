//! The formats of a written image, each with the record of its making: PNG, JPEG and WebP.
//!
//! A PNG has the record in a text chunk (`x2i_core::png`), JPEG and WebP in EXIF. PNG and WebP are
//! written without loss. Left out: lossy WebP, which the `image` crate does not write.

mod containers;
mod exif;

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageReader};
use x2i_core::image::MAX_PIXELS;
use x2i_core::png::{self, Metadata, PngFacts};
use x2i_core::{Error, Image, Result};

use crate::files::io_error;

/// JPEG's quality where none is asked for.
pub const QUALITY: u8 = 95;
/// The largest JPEG or WebP that is searched for a record, in bytes.
const MAX_FILE: u64 = 4 * MAX_PIXELS as u64;
/// Extensions of formats that are not written.
const OTHERS: [&str; 12] = [
    "gif", "bmp", "tif", "tiff", "avif", "svg", "heic", "jxl", "jp2", "ico", "tga", "ppm",
];

/// The format of an image file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Without loss.
    #[default]
    Png,
    /// With loss, of a quality from 1 to 100.
    Jpeg,
    /// Without loss.
    Webp,
}

/// What an image file says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The format.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bits of a channel and the kind of colour: `8-bit rgb`.
    pub color: String,
    /// The record of its making.
    pub metadata: Option<Metadata>,
}

impl Format {
    /// The format that a file's name asks for; PNG for a name without one.
    ///
    /// # Errors
    /// [`Error::Image`] for the extension of a format that is not written.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match extension.to_lowercase().as_str() {
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            "webp" => Ok(Self::Webp),
            other if OTHERS.contains(&other) => Err(Error::image(
                path.display().to_string(),
                format!(
                    "images are written as PNG, JPEG or WebP, not as {other}; name it .png, .jpg or .webp"
                ),
            )),
            _ => Ok(Self::Png),
        }
    }

    /// The format's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Webp => "WebP",
        }
    }

    /// The image as a file with its record; `quality` is JPEG's, from 1 to 100.
    ///
    /// # Errors
    /// [`Error::Image`] when the encoder refuses.
    pub fn encode(self, image: &Image, metadata: &Metadata, quality: u8) -> Result<Vec<u8>> {
        match self {
            Self::Png => png::encode(image, metadata),
            Self::Jpeg => jpeg(image, metadata, quality),
            Self::Webp => webp(image, metadata),
        }
    }

    /// The format of a file that begins so, where it is one of these.
    pub fn sniff(start: &[u8]) -> Option<Self> {
        match start {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::Webp),
            _ => None,
        }
    }
}

fn jpeg(image: &Image, metadata: &Metadata, quality: u8) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::image("jpeg", reason);
    let record = metadata.to_json().map_err(refused)?;
    let mut bytes = vec![];
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, quality);
    let exif = exif::write(&record);
    let fits = exif.len() <= containers::MOST_EXIF;
    if fits {
        let set = encoder.set_exif_metadata(exif);
        set.map_err(|error| refused(error.to_string()))?;
    }
    let (width, height) = (image.width() as u32, image.height() as u32);
    let written = encoder.write_image(image.pixels(), width, height, ExtendedColorType::Rgb8);
    written.map_err(|error| refused(error.to_string()))?;
    match fits {
        true => Ok(bytes),
        false => Ok(containers::with_comments(&bytes, &record)),
    }
}

fn webp(image: &Image, metadata: &Metadata) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::image("webp", reason);
    let record = metadata.to_json().map_err(refused)?;
    let mut bytes = vec![];
    let mut encoder = WebPEncoder::new_lossless(&mut bytes);
    let set = encoder.set_exif_metadata(exif::write(&record));
    set.map_err(|error| refused(error.to_string()))?;
    let (width, height) = (image.width() as u32, image.height() as u32);
    let written = encoder.write_image(image.pixels(), width, height, ExtendedColorType::Rgb8);
    written.map_err(|error| refused(error.to_string()))?;
    Ok(bytes)
}

/// Reads an image file's facts and record. A file that is cut short is an error even where the record
/// came through. A file of no known format is read as a PNG, for its message.
///
/// # Errors
/// [`Error::Image`] naming `name`: not an image, broken, or with a record of another version;
/// [`Error::Io`].
pub fn read_facts(name: &str, mut file: File) -> Result<Facts> {
    let failed = |error| io_error(name, error);
    let mut start = vec![];
    let read = file.by_ref().take(16).read_to_end(&mut start);
    read.and_then(|_| file.rewind()).map_err(failed)?;
    let format = Format::sniff(&start).unwrap_or_default();
    if format == Format::Png {
        let PngFacts {
            width,
            height,
            color,
            metadata,
        } = png::decode(name, BufReader::new(file))?;
        return Ok(Facts {
            format,
            width,
            height,
            color,
            metadata,
        });
    }
    let mut bytes = vec![];
    file.take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    facts_of(name, format, &bytes)
}

fn facts_of(name: &str, format: Format, bytes: &[u8]) -> Result<Facts> {
    let broken =
        |error: String| Error::image(name, format!("is not a whole {}: {error}", format.name()));
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let reader = reader.map_err(|error| io_error(name, error))?;
    let dimensions = reader.into_dimensions();
    let (width, height) = dimensions.map_err(|error| broken(error.to_string()))?;
    let record = match format {
        Format::Webp => containers::webp_record(bytes),
        _ => containers::jpeg_record(bytes),
    };
    let record = record.map_err(|reason| broken(reason.into()))?;
    let metadata = record.map(|json| Metadata::from_json(name, &json));
    Ok(Facts {
        format,
        width,
        height,
        color: "8-bit rgb".into(),
        metadata: metadata.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use x2i_core::png::{DeviceRecord, ModelRecord, PartRecord, Versions};
    use x2i_core::{Background, Conditioning};

    use super::*;

    fn record(prompt: &str) -> Metadata {
        Metadata {
            format: 1,
            versions: Versions::current(),
            model: ModelRecord {
                name: "tiny".into(),
                place: "models/猫".into(),
                files: [("a\u{1b}".to_owned(), "ab".to_owned())].into(),
            },
            prompt: vec![PartRecord::Text(prompt.into())],
            width: 16,
            height: 8,
            steps: 4,
            guidance: 3.5,
            cache: None,
            seed: u64::MAX,
            conditioning: Conditioning::Prompt,
            sampler: "flow_match_euler".into(),
            device: DeviceRecord {
                id: "cpu".into(),
                name: "test".into(),
                exact: false,
                precision: None,
            },
            answer: None,
            loras: vec![],
            init: None,
            control: None,
            background: Background::default(),
        }
    }

    fn image() -> Image {
        let pixels = (0..16 * 8 * 3).map(|at| (at * 7 % 251) as u8).collect();
        Image::new(16, 8, pixels).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Facts> {
        use std::io::Write;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        read_facts("x", file)
    }

    #[test]
    fn a_names_extension_is_the_format() {
        let of = |name: &str| Format::of(Path::new(name)).ok();
        assert_eq!(of("a.JPG"), Some(Format::Jpeg));
        assert_eq!(of("b/a.jpeg"), Some(Format::Jpeg));
        assert_eq!(of("a.webp"), Some(Format::Webp));
        assert_eq!(of("a.png"), Some(Format::Png));
        assert_eq!(of("a.v2"), Some(Format::Png));
        assert_eq!(of("a.tiff"), None);
    }

    #[test]
    fn every_format_gives_its_record_back() {
        // Longer than a segment of JPEG, and with text of all kinds.
        let prompts = ["a \"red\" apple\n红苹果 🍎", &"猫 and dog ".repeat(20_000)];
        for format in [Format::Png, Format::Jpeg, Format::Webp] {
            for prompt in prompts {
                let written = format.encode(&image(), &record(prompt), 95).unwrap();
                let facts = read(&written).unwrap();
                assert_eq!(facts.metadata, Some(record(prompt)), "{format:?}");
                assert_eq!((facts.width, facts.height), (16, 8));
                assert_eq!(facts.format, format);
                assert_eq!(Format::sniff(&written), Some(format));
                let decoded = image::load_from_memory(&written).unwrap().into_rgb8();
                match format {
                    Format::Jpeg => assert_eq!(decoded.dimensions(), (16, 8)),
                    _ => assert_eq!(decoded.into_raw(), image().pixels()),
                }
            }
        }
    }

    #[test]
    fn a_lower_quality_is_a_smaller_file() {
        let length = |quality| {
            let written = Format::Jpeg.encode(&image(), &record("x"), quality);
            written.unwrap().len()
        };
        assert!(length(10) < length(95));
        assert!(length(95) < length(100));
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
        for format in [Format::Jpeg, Format::Webp] {
            let whole = format.encode(&image(), &record("x"), 95).unwrap();
            for length in 0..whole.len() {
                let message = match read(&whole[..length]) {
                    Ok(_) => panic!("{format:?} cut at {length} was accepted"),
                    Err(error) => error.to_string(),
                };
                assert!(message.starts_with("x: "), "{message}");
            }
        }
    }

    #[test]
    fn changed_bytes_never_panic() {
        for format in [Format::Jpeg, Format::Webp] {
            let whole = format.encode(&image(), &record("x"), 95).unwrap();
            for place in 0..whole.len().min(700) {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut broken = whole.clone();
                    broken[place] = value;
                    let _ = read(&broken);
                }
            }
        }
    }

    #[test]
    fn pictures_of_others_have_no_record() {
        let mut plain = vec![];
        let encoder = JpegEncoder::new(&mut plain);
        let rgb = ExtendedColorType::Rgb8;
        encoder.write_image(image().pixels(), 16, 8, rgb).unwrap();
        assert_eq!(read(&plain).unwrap().metadata, None);
    }
}
